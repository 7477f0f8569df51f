//! Unsigned integers in one to ten bytes: seven bits a byte, lowest first, the top bit says that more follow.

/// Most bytes that a number takes.
pub(crate) const LEN_MAX: usize = 10;

/// Appends a number.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front; none if the bytes end in it, or it is wider than 64 bits.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for index in 0..LEN_MAX {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte holds the 64th bit alone.
        if index == LEN_MAX - 1 && byte > 1 {
            return None;
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let mut rest = &bytes[..];
            assert_eq!(take(&mut rest), Some(number));
            assert!(rest.is_empty());
            assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None, "{number} cut short was accepted");
        }
    }

    #[test]
    fn numbers_wider_than_64_bits_are_refused() {
        assert_eq!(take(&mut &[0xff; 9].iter().copied().chain([2]).collect::<Vec<u8>>()[..]), None);
        assert_eq!(take(&mut &[0xff; 11][..]), None);
    }
}
