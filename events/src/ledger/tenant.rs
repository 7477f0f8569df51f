//! Tenants: who may have how much, and ask how often.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::resource::{Amounts, ResourceKind};
use crate::names::{NameError, check_label};

/// Name of a tenant: a DNS label. A namespace that no tenant names is a tenant of its own name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// A tenant's name, checked.
    ///
    /// # Errors
    /// It is no DNS label.
    pub fn new(text: &str) -> Result<TenantId, NameError> {
        check_label(text)?;
        Ok(TenantId(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TenantId {
    type Error = NameError;

    fn try_from(text: String) -> Result<TenantId, NameError> {
        TenantId::new(&text)
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> String {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a tenant may have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Its namespaces; if empty, the one of its own name. That one is on its account as long as no other tenant names it.
    pub namespaces: BTreeSet<String>,
    /// Most that its pods may have together; a kind that is absent is unbounded. Without one the node's default holds.
    pub quota: Option<Amounts>,
    /// Percent of a bound from which on an alert is raised, 1 to 100; none without.
    pub alert_percent: Option<u32>,
    /// Most that one pod may ask for; a kind that is absent is unbounded.
    pub pod_max: Amounts,
    /// What a pod is given that does not say: processor time, memory and disk.
    pub pod_default: Amounts,
    /// How often it may ask.
    pub requests: RequestLimits,
    /// The highest priority that its pods may have. Without one the node's default holds.
    #[serde(default)]
    pub priority_max: Option<i32>,
}

/// How often a tenant may ask the API, by what it asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLimits {
    /// Rates; an operation that is absent is unbounded.
    pub rates: BTreeMap<Operation, Rate>,
    /// Most requests under way at once.
    pub concurrent: Option<u32>,
}

impl RequestLimits {
    /// Checks all of it; `at` is the field that it stands in.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self, at: &str) -> Result<(), TenantError> {
        for (operation, rate) in &self.rates {
            let field = || format!("{at}.rates.{}", operation.word());
            if rate.count == 0 || rate.burst == Some(0) {
                let message = "must let at least one through".to_owned();
                return Err(TenantError { field: field(), message });
            }
            if BURST_MS_MAX < rate.full_after_ms() {
                let message = "must have its whole burst again within 100 years".to_owned();
                return Err(TenantError { field: field(), message });
            }
        }
        if self.concurrent == Some(0) {
            let message = "must be at least 1".to_owned();
            return Err(TenantError { field: format!("{at}.concurrent"), message });
        }
        Ok(())
    }
}

/// Longest time in which a rate that was used up has its whole burst again, in milliseconds: 100 years.
const BURST_MS_MAX: u64 = 100 * 365 * 24 * 3_600_000;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Anything: holds beside the others.
    Any,
    /// Run a pod, reserve, set a pool, submit a task.
    Create,
    /// Remove a pod or pool, give up a reservation.
    Delete,
    /// Stop, start, resize, run a command; unfreeze a pool; confirm, discard or cancel a task.
    Change,
    /// Look.
    Read,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Operation; 5] =
        [Operation::Any, Operation::Create, Operation::Delete, Operation::Change, Operation::Read];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Operation::Any => "any",
            Operation::Create => "create",
            Operation::Delete => "delete",
            Operation::Change => "change",
            Operation::Read => "read",
        }
    }
}

/// So many in such a time, kept as given: 5 an hour never becomes 0 a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// How many, from 1.
    pub count: u32,
    /// In which time.
    pub per: Period,
    /// How many at once after a pause, from 1; `count` if none.
    pub burst: Option<u32>,
}

impl Rate {
    /// Milliseconds after which a rate that was used up has its whole burst again, rounded up.
    #[must_use]
    pub fn full_after_ms(&self) -> u64 {
        let burst = u64::from(self.burst.unwrap_or(self.count));
        self.per.ms().saturating_mul(burst).div_ceil(u64::from(self.count.max(1)))
    }
}

/// A time in which requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Period {
    /// Its length in milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        match self {
            Period::Second => 1_000,
            Period::Minute => 60_000,
            Period::Hour => 3_600_000,
        }
    }
}

/// Most namespaces of one tenant.
pub const NAMESPACES_MAX: usize = 256;

/// Why a tenant is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field} {message}")]
#[serde(rename_all = "camelCase")]
pub struct TenantError {
    /// The field that is wrong.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Tenant {
    /// Checks all that can be checked without knowing the others.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), TenantError> {
        let wrong = |field: String, message: String| Err(TenantError { field, message });
        if NAMESPACES_MAX < self.namespaces.len() {
            return wrong("namespaces".to_owned(), format!("must be at most {NAMESPACES_MAX}"));
        }
        for name in &self.namespaces {
            if let Err(reason) = check_label(name) {
                return wrong(format!("namespaces: `{name}`"), reason.to_string());
            }
        }
        if let Some(percent) = self.alert_percent.filter(|percent| !(1..=100).contains(percent)) {
            return wrong("alertPercent".to_owned(), format!("must be 1 to 100, is {percent}"));
        }
        for (kind, amount) in self.pod_default.iter() {
            let may = matches!(kind, ResourceKind::Cpu | ResourceKind::Memory | ResourceKind::Disk);
            if !may {
                return wrong(
                    format!("podDefault.{kind}"),
                    "has no default: only cpu, memory and disk do".to_owned(),
                );
            }
            if self.pod_max.bound(kind).is_some_and(|max| max < amount) {
                return wrong(format!("podDefault.{kind}"), "is more than podMax allows".to_owned());
            }
        }
        self.requests.check("requests")
    }

    /// Whether the pods of a namespace are this tenant's.
    #[must_use]
    pub fn has(&self, id: &TenantId, namespace: &str) -> bool {
        if self.namespaces.is_empty() {
            id.as_str() == namespace
        } else {
            self.namespaces.contains(namespace)
        }
    }
}
