//! A table of prices for a unit and an hour, and what an amount over a time costs: whole numbers throughout.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use purser_events::ledger::ResourceKind;
use serde::Deserialize;

use crate::failure::Failure;

/// Parts of a currency's unit in which prices are counted: nine decimals.
const PRICE_DECIMALS: u32 = 9;

/// Most decimals of what a bill is counted in.
const DECIMALS_MAX: u32 = 6;

const HOUR_US: u128 = 3_600_000_000;

/// Most decimals of units and hours: a byte for a second is within.
const CHECKED_DECIMALS_MAX: u32 = 18;

/// Longest file of prices, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// What is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Basis {
    /// What pods had, whether they used it or not.
    Allocated,
    /// What reservations kept.
    Reserved,
    /// What pods were measured to use.
    Used,
}

impl Basis {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Basis::Allocated => "allocated",
            Basis::Reserved => "reserved",
            Basis::Used => "used",
        }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    currency: String,
    decimals: u32,
    #[serde(default)]
    allocated: BTreeMap<String, String>,
    #[serde(default)]
    reserved: BTreeMap<String, String>,
    #[serde(default)]
    used: BTreeMap<String, String>,
}

/// Prices that were checked.
#[derive(Debug)]
pub struct Prices {
    pub(crate) currency: String,
    /// Decimals of the smallest unit that a bill is counted in.
    decimals: u32,
    /// For a unit and an hour, in the ninth decimal of the currency.
    prices: BTreeMap<(Basis, ResourceKind), u64>,
}

impl Prices {
    /// Reads a table.
    pub(crate) fn read(path: &Path) -> Result<Prices, Failure> {
        let wrong = |reason: String| Failure::Prices { path: path.to_owned(), reason };
        let len = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if len > FILE_LEN_MAX {
            return Err(wrong(format!("it is longer than {FILE_LEN_MAX} bytes")));
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        text.parse().map_err(wrong)
    }

    /// The price of a resource, if there is one.
    pub(crate) fn of(&self, basis: Basis, kind: &ResourceKind) -> Option<u64> {
        self.prices.get(&(basis, kind.clone())).copied()
    }

    /// What a resource costs of which there was so much, times microseconds: in the smallest unit, a half rounded up.
    pub(crate) fn cost(&self, kind: &ResourceKind, amount_us: u128, price: u64) -> Option<u128> {
        let divisor = unit(kind) * HOUR_US * 10_u128.pow(PRICE_DECIMALS - self.decimals);
        let product = amount_us.checked_mul(price.into())?;
        Some(product.checked_add(divisor / 2)? / divisor)
    }

    /// A sum as people read it.
    pub(crate) fn money(&self, smallest: u128) -> String {
        point(smallest, self.decimals)
    }

    /// A price as people read it.
    pub(crate) fn price(price: u64) -> String {
        let text = point(price.into(), PRICE_DECIMALS);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl FromStr for Prices {
    type Err = String;

    fn from_str(text: &str) -> Result<Prices, String> {
        let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
        let Table { currency, decimals, allocated, reserved, used } = table;
        let is_fine = |char: char| char.is_alphanumeric();
        if currency.is_empty() || currency.len() > 8 || !currency.chars().all(is_fine) {
            return Err("`currency` must be 1 to 8 letters or digits, as in EUR".to_owned());
        }
        if decimals > DECIMALS_MAX {
            return Err(format!("`decimals` must be 0 to {DECIMALS_MAX}"));
        }
        let mut prices = BTreeMap::new();
        for (basis, part) in [(Basis::Allocated, allocated), (Basis::Reserved, reserved), (Basis::Used, used)]
        {
            for (name, price) in part {
                let field = || format!("`{}.{name}`", basis.word());
                let kind: ResourceKind =
                    name.parse().map_err(|error| format!("{}: `{name}` {error}", field()))?;
                if basis == Basis::Used && !is_measured(&kind) {
                    return Err(format!(
                        "{}: of pods only cpu, memory, disk, gpu-share and gpu-memory are measured",
                        field()
                    ));
                }
                let price = decimal(&price).ok_or_else(|| {
                    format!("{}: expected a text as in \"0.031\", at most 9 decimals", field())
                })?;
                prices.insert((basis, kind), price);
            }
        }
        if prices.is_empty() {
            return Err("it has no prices under `allocated`, `reserved` or `used`".to_owned());
        }
        Ok(Prices { currency, decimals, prices })
    }
}

fn is_measured(kind: &ResourceKind) -> bool {
    use ResourceKind as Kind;
    matches!(kind, Kind::Cpu | Kind::Memory | Kind::Disk | Kind::GpuShare | Kind::GpuMemory)
}

/// How many of the ledger's parts are one unit that has a price: a core, a GiB, a whole GPU, a piece.
fn unit(kind: &ResourceKind) -> u128 {
    match kind {
        ResourceKind::Cpu => 1_000,
        ResourceKind::Memory | ResourceKind::Disk | ResourceKind::GpuMemory => 1 << 30,
        ResourceKind::GpuShare => 100,
        ResourceKind::Pods
        | ResourceKind::Gpus
        | ResourceKind::Ports
        | ResourceKind::Subnets
        | ResourceKind::Custom(_) => 1,
    }
}

/// What one unit that has a price is called.
pub(crate) fn unit_word(kind: &ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Cpu => "core",
        ResourceKind::Memory | ResourceKind::Disk | ResourceKind::GpuMemory => "GiB",
        ResourceKind::GpuShare | ResourceKind::Gpus => "GPU",
        ResourceKind::Pods => "pod",
        ResourceKind::Ports => "port",
        ResourceKind::Subnets => "subnet",
        ResourceKind::Custom(_) => "piece",
    }
}

/// Units and hours by which a reader can check a line: rounded down to six decimals, or to as many as it takes for six
/// digits to be seen.
pub(crate) fn unit_hours_to_check(kind: &ResourceKind, amount_us: u128) -> String {
    let whole = unit(kind) * HOUR_US;
    let (hours, rest) = (amount_us / whole, amount_us % whole);
    let digits = |decimals: u32| rest.saturating_mul(10_u128.pow(decimals)) / whole;
    let is_enough = |decimals: &u32| hours > 0 || rest == 0 || digits(*decimals) >= 100_000;
    let decimals = (6..=CHECKED_DECIMALS_MAX).find(is_enough).unwrap_or(CHECKED_DECIMALS_MAX);
    let width = decimals as usize;
    format!("{hours}.{:0width$}", digits(decimals))
}

/// Units and hours as programs read them, rounded down to six decimals.
pub(crate) fn unit_hours(kind: &ResourceKind, amount_us: u128) -> String {
    let (whole, part) = (unit(kind) * HOUR_US, 1_000_000);
    let (hours, rest) = (amount_us / whole, amount_us % whole);
    format!("{hours}.{:06}", rest * part / whole)
}

/// A number of smallest units with its decimal point.
fn point(value: u128, decimals: u32) -> String {
    let one = 10_u128.pow(decimals);
    let width = decimals as usize;
    match decimals {
        0 => value.to_string(),
        _ => format!("{}.{:0width$}", value / one, value % one),
    }
}

/// A price in the ninth decimal.
fn decimal(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let places = u32::try_from(part.len()).ok()?;
    if !digits(whole) || !digits(part) || places > PRICE_DECIMALS {
        return None;
    }
    let part = part.parse::<u64>().ok()?.checked_mul(10_u64.pow(PRICE_DECIMALS - places))?;
    whole.parse::<u64>().ok()?.checked_mul(10_u64.pow(PRICE_DECIMALS))?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(text: &str) -> Result<Prices, String> {
        str::parse::<Prices>(text)
    }

    #[test]
    fn a_half_is_rounded_up_and_nothing_is_lost_before() {
        let prices = prices("currency = 'EUR'\ndecimals = 2\n[allocated]\ncpu = '0.03'\n").unwrap();
        let price = prices.of(Basis::Allocated, &ResourceKind::Cpu).unwrap();
        let cost = |milli_hours: u128| prices.cost(&ResourceKind::Cpu, milli_hours * HOUR_US, price).unwrap();
        // A core and an hour are three cents.
        assert_eq!(cost(1_000), 3);
        assert_eq!(cost(166), 0);
        assert_eq!(cost(167), 1);
        assert_eq!(cost(500), 2);
        assert_eq!(prices.money(cost(1_000_000)), "30.00");
        assert_eq!(Prices::price(price), "0.03");
        assert_eq!(prices.cost(&ResourceKind::Cpu, u128::MAX, price), None);
        assert_eq!(unit_hours(&ResourceKind::Cpu, 1_500 * HOUR_US), "1.500000");
    }

    #[test]
    fn a_quantity_has_as_many_digits_as_it_takes_to_check_a_line() {
        let told = |kind, amount_us| unit_hours_to_check(&kind, amount_us);
        assert_eq!(told(ResourceKind::Cpu, 1_500 * HOUR_US), "1.500000");
        assert_eq!(told(ResourceKind::Memory, (3 << 30) * HOUR_US / 2), "1.500000");
        assert_eq!(told(ResourceKind::Pods, 0), "0.000000");
        // Eight bytes for 437 s, which are 8 * 437 / 3600 / 2^30 GiB hours.
        assert_eq!(told(ResourceKind::Memory, 8 * 437_000_000), "0.000000000904417");
        assert_eq!(told(ResourceKind::Cpu, 1), "0.000000000000277777");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let told = |text: &str| prices(text).err().unwrap();
        assert!(told("currency = 'EUR'\ndecimals = 2\n").contains("no prices"));
        assert!(told("currency = ''\ndecimals = 2\n").contains("`currency`"));
        assert!(told("currency = 'EUR'\ndecimals = 9\n").contains("`decimals`"));
        let table = |line: &str| told(&format!("currency = 'EUR'\ndecimals = 2\n{line}\n"));
        assert!(table("[allocated]\nflops = '1'").contains("`allocated.flops`"));
        assert!(table("[allocated]\ncpu = '-1'").contains("`allocated.cpu`"));
        assert!(table("[allocated]\ncpu = '0.0000000001'").contains("`allocated.cpu`"));
        assert!(table("[used]\ngpus = '1'").contains("`used.gpus`"));
        assert!(table("[spent]\ncpu = '1'").contains("unknown field"));
    }
}
