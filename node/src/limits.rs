//! Limits of a resource as people write them, in the config and in requests.

use purser_events::ledger::{Limits, ResourceKind};

use crate::amount::{self, AmountError};

/// Limits with their amounts as text. What is absent has its default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written<'a> {
    /// Most of what is there that is used at all.
    pub hard: Option<&'a str>,
    /// From here on the resource counts as degraded.
    pub soft: Option<&'a str>,
    /// How much is given out of what is there, in percent.
    pub overcommit_percent: Option<u32>,
    /// What is kept for the system, in percent.
    pub reserve_percent: Option<u32>,
    /// The soft limit in percent of the hard one.
    pub soft_percent: Option<u32>,
}

/// Amounts that are none, by their fields; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongAmounts {
    first: (&'static str, AmountError),
    second: Option<(&'static str, AmountError)>,
}

impl WrongAmounts {
    /// The first of them.
    #[must_use]
    pub fn first(&self) -> (&'static str, &AmountError) {
        (self.first.0, &self.first.1)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &AmountError)> {
        std::iter::once(&self.first).chain(&self.second).map(|(field, error)| (*field, error))
    }
}

impl Written<'_> {
    /// The limits, in the resource's unit. Whether they can be in force is not looked at.
    ///
    /// # Errors
    /// Every amount that is none.
    pub fn read(&self, kind: &ResourceKind) -> Result<Limits, WrongAmounts> {
        let amount = |field: &'static str, text: Option<&str>| {
            let read = text.map(|text| amount::read(kind, text)).transpose();
            read.map_err(|error| (field, error))
        };
        let (hard, soft) = match (amount("hard", self.hard), amount("soft", self.soft)) {
            (Ok(hard), Ok(soft)) => (hard, soft),
            (Err(first), second) => return Err(WrongAmounts { first, second: second.err() }),
            (Ok(_), Err(first)) => return Err(WrongAmounts { first, second: None }),
        };
        let plain = Limits::default();
        Ok(Limits {
            hard,
            soft,
            overcommit_percent: self.overcommit_percent.unwrap_or(plain.overcommit_percent),
            reserve_percent: self.reserve_percent.unwrap_or(plain.reserve_percent),
            soft_percent: self.soft_percent,
        })
    }
}
