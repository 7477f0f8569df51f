//! Logical processors: sets of them, and how those of a machine lie to each other.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Logical processors by number, in order. All formats show it as the kernel does: `0-3,8`; nothing for none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "CpuText", into = "CpuText")]
pub struct CpuSet(BTreeSet<u16>);

impl CpuSet {
    /// Processors that a set may have: the numbers from 0 up to one less than this.
    pub const CPUS_MAX: u16 = 4_096;

    /// Longest text that is read, in bytes: more than any set's own.
    const TEXT_LEN_MAX: usize = 32 << 10;

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn contains(&self, cpu: u16) -> bool {
        self.0.contains(&cpu)
    }

    /// Their numbers, ascending.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        self.0.iter().copied()
    }

    /// Adds one and says whether it is new. A number from [`CpuSet::CPUS_MAX`] on is never added.
    pub fn insert(&mut self, cpu: u16) -> bool {
        cpu < CpuSet::CPUS_MAX && self.0.insert(cpu)
    }

    /// Those that are in this set, in the other or in both.
    #[must_use]
    pub fn union(&self, other: &CpuSet) -> CpuSet {
        CpuSet(&self.0 | &other.0)
    }

    /// Those of this set that the other does not have.
    #[must_use]
    pub fn difference(&self, other: &CpuSet) -> CpuSet {
        CpuSet(&self.0 - &other.0)
    }
}

/// Takes what [`CpuSet::insert`] adds.
impl FromIterator<u16> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u16>>(cpus: I) -> CpuSet {
        CpuSet(cpus.into_iter().filter(|cpu| *cpu < CpuSet::CPUS_MAX).collect())
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if_eq(&(last + 1)) {
                last = next;
            }
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

/// Why a text is no list of processors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuSetError {
    /// The text has a part that is neither a number nor a range.
    #[error("`{part}` is neither the number of a processor nor a range of them: write it as in `0-3,8`")]
    Part {
        /// The part; its first 32 characters if it is longer.
        part: String,
    },
    /// A range ends before it begins.
    #[error("the range {first}-{last} ends before it begins")]
    Backwards {
        /// Its first number.
        first: u16,
        /// Its last number.
        last: u16,
    },
    /// A number is out of range.
    #[error("processor {cpu} is more than {max}, the highest that can be handled", max = CpuSet::CPUS_MAX - 1)]
    TooHigh {
        /// The number.
        cpu: u16,
    },
    /// The text is longer than that of any set.
    #[error("a list of processors has at most {max} bytes, and this one has {len}", max = CpuSet::TEXT_LEN_MAX)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl FromStr for CpuSet {
    type Err = CpuSetError;

    fn from_str(text: &str) -> Result<CpuSet, CpuSetError> {
        if text.len() > CpuSet::TEXT_LEN_MAX {
            return Err(CpuSetError::TooLong { len: text.len() });
        }
        let mut set = CpuSet::default();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, part)?, number(last, part)?);
            if last < first {
                return Err(CpuSetError::Backwards { first, last });
            }
            if last >= CpuSet::CPUS_MAX {
                return Err(CpuSetError::TooHigh { cpu: last });
            }
            set.0.extend(first..=last);
        }
        Ok(set)
    }
}

fn number(text: &str, part: &str) -> Result<u16, CpuSetError> {
    // Digits only: the library's parser would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| CpuSetError::Part { part: part.chars().take(32).collect() })
}

/// A set as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename = "CpuSet")]
struct CpuText(String);

impl TryFrom<CpuText> for CpuSet {
    type Error = CpuSetError;

    fn try_from(CpuText(text): CpuText) -> Result<CpuSet, CpuSetError> {
        text.parse()
    }
}

impl From<CpuSet> for CpuText {
    fn from(cpus: CpuSet) -> CpuText {
        CpuText(cpus.to_string())
    }
}

/// A logical processor and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// Its number, below [`CpuSet::CPUS_MAX`].
    pub id: u16,
    /// Its core within its package: logical processors of one core share its units.
    pub core: u32,
    /// Its package: what sits in one socket.
    pub package: u32,
    /// Its NUMA node: the memory that is near to it.
    pub node: u32,
}

/// The processors that may be given out, ascending by number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuTopology {
    /// Each of them once; at most [`CpuSet::CPUS_MAX`].
    pub cpus: Vec<Cpu>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn set(text: &str) -> CpuSet {
        text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"))
    }

    #[test]
    fn a_set_is_written_as_the_kernel_writes_it() {
        for text in ["", "0", "0-1", "0-3,8", "1,3,5-7,4095"] {
            assert_eq!(set(text).to_string(), text);
        }
        assert_eq!(set("8,0-2,1-3").to_string(), "0-3,8");
        assert_eq!(set("0-4095").len(), 4_096);
        assert_eq!(serde_json::to_string(&set("0-3,8")).unwrap(), "\"0-3,8\"");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [",", "0,", "a", "+1", "-1", "1-", "1-2-3", " 1", "1\n", "0x1", "65536", "0-1:1/2"] {
            assert!(matches!(text.parse::<CpuSet>(), Err(CpuSetError::Part { .. })), "{text}");
        }
        assert_eq!("3-1".parse::<CpuSet>(), Err(CpuSetError::Backwards { first: 3, last: 1 }));
        assert_eq!("0-4096".parse::<CpuSet>(), Err(CpuSetError::TooHigh { cpu: 4_096 }));
        let long = "0,".repeat(20_000);
        assert_eq!(long.parse::<CpuSet>(), Err(CpuSetError::TooLong { len: 40_000 }));
        let error = serde_json::from_str::<CpuSet>("\"7-x\"").unwrap_err().to_string();
        assert!(error.starts_with("`7-x` is neither the number"), "{error}");
    }

    #[test]
    fn a_number_that_is_too_high_is_not_added() {
        let mut held = set("1");
        assert!(held.insert(0) && !held.insert(0) && !held.insert(4_096));
        assert_eq!(held, [0, 1, 4_096, u16::MAX].into_iter().collect());
        assert_eq!(held.to_string(), "0-1");
    }

    proptest! {
        #[test]
        fn every_set_is_read_back_as_it_was(a: BTreeSet<u16>, b: BTreeSet<u16>, cpu in any::<u16>()) {
            let (left, right): (CpuSet, CpuSet) = (a.into_iter().collect(), b.into_iter().collect());
            let both = left.union(&right);
            assert_eq!(set(&both.to_string()), both);
            assert_eq!(both.contains(cpu), left.contains(cpu) || right.contains(cpu));
            let only = both.difference(&right);
            assert_eq!(only.contains(cpu), left.contains(cpu) && !right.contains(cpu));
            assert_eq!(only.union(&right), both);
        }

        #[test]
        fn no_text_makes_the_parser_fail_badly(text in "[0-9,-]{0,24}") {
            if let Ok(read) = text.parse::<CpuSet>() {
                assert_eq!(set(&read.to_string()), read);
            }
        }
    }
}
