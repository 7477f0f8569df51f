//! Kubernetes quantities: exact numbers with a suffix, such as `250m`, `1.5Gi` or `1e3`.

use purser_events::{Bytes, MilliCpu, MilliTflops};

/// Most characters of a quantity; real ones have a dozen.
const TEXT_LEN_MAX: usize = 64;
/// Most digits before the point: more is beyond every range whatever the suffix.
const WHOLE_DIGITS_MAX: usize = 19;
/// Digits after the point that are kept; those behind only decide that the value is rounded up.
const FRACTION_DIGITS_MAX: usize = 18;

/// Why a quantity was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuantityError {
    /// Not of the form that Kubernetes reads.
    #[error("must be a quantity such as 250m, 1.5, 512Mi or 1e3")]
    Malformed,
    /// Less than nothing.
    #[error("must not be negative")]
    Negative,
    /// Parts of a byte.
    #[error("is in parts of a byte: `m` means thousandths, for millions write `M` or `Mi`")]
    PartOfByte,
    /// Cores counted as bytes are.
    #[error("has a unit of bytes: cores are written as in 250m, 1.5 or 2")]
    BytesOfCore,
    /// TFLOPS with another suffix than theirs.
    #[error("must be a number of TFLOPS such as 62.5, 500m or 1k: `m`, `k`, `M` and `G` are its suffixes")]
    NotTflops,
    /// More than Kubernetes can count.
    #[error("is larger than the largest quantity")]
    TooLarge,
}

/// Reads an amount of processor time; less than a thousandth of a core counts as one.
pub(crate) fn milli_cpu(text: &str) -> Result<MilliCpu, QuantityError> {
    let quantity = Quantity::parse(text)?;
    if quantity.two != 0 {
        return Err(QuantityError::BytesOfCore);
    }
    let milli = quantity.times_rounded_up(1_000)?;
    // The range of a quantity is that of whole cores.
    if milli / 1_000 > i64::MAX.unsigned_abs() { Err(QuantityError::TooLarge) } else { Ok(MilliCpu(milli)) }
}

/// Reads an amount of compute of a GPU in TFLOPS; less than a thousandth of one counts as one.
pub(crate) fn milli_tflops(text: &str) -> Result<MilliTflops, QuantityError> {
    let is_known =
        text.ends_with(['m', 'k', 'M', 'G', '.']) || text.ends_with(|last: char| last.is_ascii_digit());
    let quantity = Quantity::parse(text)?;
    let has_exponent = text.contains(['e', 'E']);
    if quantity.two != 0 || has_exponent || !is_known {
        return Err(QuantityError::NotTflops);
    }
    quantity.times_rounded_up(1_000).map(MilliTflops)
}

/// Reads an amount of memory; part of a byte counts as one. Unlike Kubernetes, which takes it and warns, this refuses
/// thousandths of a byte and less that are no whole bytes: whoever writes `128m` means something else.
pub(crate) fn bytes(text: &str) -> Result<Bytes, QuantityError> {
    let quantity = Quantity::parse(text)?;
    if text.ends_with(['m', 'u', 'n']) && !quantity.is_whole() {
        return Err(QuantityError::PartOfByte);
    }
    quantity.times_rounded_up(1).map(Bytes)
}

/// `digits * 10^ten * 2^two`, and a little more if `more`.
struct Quantity {
    digits: u128,
    more: bool,
    ten: i32,
    two: u32,
}

impl Quantity {
    fn parse(text: &str) -> Result<Quantity, QuantityError> {
        if text.len() > TEXT_LEN_MAX {
            return Err(QuantityError::Malformed);
        }
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_len = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(QuantityError::Malformed);
        }
        let (ten, two) = multiplier(suffix)?;
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let is_zero = whole.is_empty() && fraction.is_empty();
        if negative && !is_zero {
            return Err(QuantityError::Negative);
        }
        if whole.len() > WHOLE_DIGITS_MAX {
            return Err(QuantityError::TooLarge);
        }
        let (kept, cut) = fraction.split_at(fraction.len().min(FRACTION_DIGITS_MAX));
        let digits = whole.bytes().chain(kept.bytes());
        let digits = digits.fold(0_u128, |value, digit| value * 10 + u128::from(digit - b'0'));
        let places = i32::try_from(kept.len()).expect("at most 18 digits are kept");
        Ok(Quantity { digits, more: !cut.is_empty(), ten: ten - places, two })
    }

    fn is_whole(&self) -> bool {
        let power = 10_u128.checked_pow(self.ten.unsigned_abs());
        let divides = power.is_some_and(|power| (self.digits << self.two).is_multiple_of(power));
        !self.more && (0 <= self.ten || self.digits == 0 || divides)
    }

    /// The value in units of `1 / scale`, rounded up.
    fn times_rounded_up(&self, scale: u128) -> Result<u64, QuantityError> {
        if self.digits == 0 {
            return Ok(u64::from(self.more));
        }
        let binary = self.digits.checked_mul(1 << self.two).and_then(|value| value.checked_mul(scale));
        let binary = binary.ok_or(QuantityError::TooLarge)?;
        let power = 10_u128.checked_pow(self.ten.unsigned_abs());
        let value = match (self.ten >= 0, power) {
            (true, Some(power)) => binary.checked_mul(power).ok_or(QuantityError::TooLarge)?,
            (true, None) => return Err(QuantityError::TooLarge),
            (false, Some(power)) if self.more => binary / power + 1,
            (false, Some(power)) => binary.div_ceil(power),
            // Divided by more than any number that a u128 holds: next to nothing, and rounded up.
            (false, None) => 1,
        };
        let max = u128::from(i64::MAX.unsigned_abs()) * scale;
        u64::try_from(value).ok().filter(|_| value <= max).ok_or(QuantityError::TooLarge)
    }
}

/// What a suffix multiplies by: a power of ten and a power of two.
fn multiplier(suffix: &str) -> Result<(i32, u32), QuantityError> {
    let powers = match suffix {
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "" => (0, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        _ => (exponent(suffix)?, 0),
    };
    Ok(powers)
}

/// The exponent in a suffix such as `e3` or `E-2`.
fn exponent(suffix: &str) -> Result<i32, QuantityError> {
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Malformed)?;
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(QuantityError::Malformed);
    }
    let exponent: i32 = digits.parse().map_err(|_| QuantityError::TooLarge)?;
    // Beyond this every value is out of range or next to nothing; the clamp keeps sums of exponents small.
    Ok(exponent.clamp(-1_000, 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_in_every_form() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1_000),
            ("+1", 1_000),
            ("-0", 0),
            ("250m", 250),
            ("0.1", 100),
            (".5", 500),
            ("2.", 2_000),
            ("1e3", 1_000_000),
            ("1E-3", 1),
            ("5e-1", 500),
            ("1k", 1_000_000),
            ("100u", 1),
            ("1001u", 2),
            ("1n", 1),
            ("0.0001", 1),
            ("1.0005", 1_001),
            ("0.00000000000000000000000001", 1),
            ("1.00000000000000000000000001", 1_001),
            ("1e-999", 1),
        ] {
            assert_eq!(milli_cpu(text), Ok(MilliCpu(milli)), "{text}");
        }
    }

    #[test]
    fn memory_is_read_in_every_form() {
        for (text, expected) in [
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129M", 129_000_000),
            ("128974848000m", 128_974_848),
            ("123Mi", 123 << 20),
            ("1.5Gi", 3 << 29),
            ("0.5Ki", 512),
            ("2000m", 2),
            ("0m", 0),
            ("1Ti", 1 << 40),
            ("2Pi", 1 << 51),
            ("7Ei", 7 << 60),
            ("1P", 1_000_000_000_000_000),
            ("9E", 9_000_000_000_000_000_000),
            ("9223372036854775807", i64::MAX.unsigned_abs()),
            ("00000000000000000000000000001", 1),
        ] {
            assert_eq!(bytes(text), Ok(Bytes(expected)), "{text}");
        }
    }

    #[test]
    fn compute_of_gpus_is_read_in_every_form() {
        for (text, milli) in [
            ("312", 312_000),
            ("62.5", 62_500),
            ("500m", 500),
            ("0.5m", 1),
            ("1.979k", 1_979_000),
            ("1M", 1_000_000_000),
            ("2G", 2_000_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(milli_tflops(text), Ok(MilliTflops(milli)), "{text}");
        }
        for text in ["1Ki", "1T", "1P", "1E", "1e3", "1u", "1n", "1Gi"] {
            assert_eq!(milli_tflops(text), Err(QuantityError::NotTflops), "{text}");
        }
        for (text, error) in [
            ("", QuantityError::Malformed),
            ("10K", QuantityError::Malformed),
            ("-1", QuantityError::Negative),
        ] {
            assert_eq!(milli_tflops(text), Err(error), "{text}");
        }
    }

    #[test]
    fn confused_units_are_refused() {
        for text in ["128m", "1500m", "0.5m", "1u", "1n", "0.0000000000000000000000001m"] {
            assert_eq!(bytes(text), Err(QuantityError::PartOfByte), "{text}");
        }
        for text in ["1Ki", "2Mi", "0.5Gi"] {
            assert_eq!(milli_cpu(text), Err(QuantityError::BytesOfCore), "{text}");
        }
    }

    #[test]
    fn what_kubernetes_cannot_read_is_refused() {
        for text in [
            "", " ", ".", "-", "+", "1 ", " 1", "1 Gi", "Gi", "1g", "1K", "1gi", "1mi", "1KiB", "0x10",
            "1..2", "1.2.3", "1e", "1e+", "1e1.5", "1ee3", "--1", "1_000", "1,5", "NaN", "inf", "é",
            "1\u{661}", "1Gi\0",
        ] {
            assert_eq!(bytes(text), Err(QuantityError::Malformed), "{text:?}");
        }
        assert_eq!(bytes(&"1".repeat(65)), Err(QuantityError::Malformed));
    }

    #[test]
    fn ranges_hold() {
        for text in ["-1", "-0.1", "-1Gi", "-1m", "-1e-9"] {
            assert_eq!(bytes(text), Err(QuantityError::Negative), "{text}");
        }
        for text in ["8Ei", "10E", "9223372036854775808", "1e19", "1e999999999999", "1e99", "1.123456789Ei00"]
        {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(bytes("8Ei"), Err(QuantityError::TooLarge));
        assert_eq!(bytes("1e99"), Err(QuantityError::TooLarge));
        assert_eq!(bytes("1e99999999999"), Err(QuantityError::TooLarge));
        assert_eq!(milli_cpu("9223372036854775807"), Err(QuantityError::TooLarge));
    }
}
