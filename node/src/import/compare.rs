//! What an import would change of what the service has, field by field.

use purser_events::ledger::tenant::{Operation, Period, Rate};
use purser_events::ledger::{ResourceKind, Tenant};
use serde::Serialize;

use super::convert::Finding;
use super::field::{Place, legacy_fields};

/// What becomes of a field in the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It had nothing in this place.
    Created,
    /// It had something else.
    Changed,
    /// It had something, and will have nothing.
    Removed,
    /// It had the same.
    Unchanged,
}

/// A field compared with what the service has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// What becomes of it.
    pub change: Change,
    /// What the service had; none if it had nothing.
    pub held: Option<String>,
}

impl Compared {
    /// In a few words, as in `changed from 64Gi`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let held = self.held.as_deref().unwrap_or_default();
        match self.change {
            Change::Created => "created".to_owned(),
            Change::Changed => format!("changed from {held}"),
            Change::Removed => format!("removed, was {held}"),
            Change::Unchanged => "unchanged".to_owned(),
        }
    }
}

/// Says of each field what becomes of it when the service has `held` and is to have `wanted`.
pub fn compare(findings: &mut [Finding], held: Option<&Tenant>, wanted: &Tenant) {
    for finding in findings {
        let field = legacy_fields().iter().find(|field| field.path == finding.field);
        let Some(place) = field.map(|field| &field.place) else { continue };
        let held = held.and_then(|held| found(held, place));
        let change = match (&held, found(wanted, place)) {
            (None, None) => continue,
            (None, Some(_)) => Change::Created,
            (Some(_), None) => Change::Removed,
            (Some(held), Some(wanted)) if *held == wanted => Change::Unchanged,
            (Some(_), Some(_)) => Change::Changed,
        };
        finding.compared = Some(Compared { change, held });
    }
}

/// What a tenant has in the place of a field.
fn found(tenant: &Tenant, place: &Place) -> Option<String> {
    let requests = &tenant.requests;
    match place {
        Place::Quota(kind, _) => tenant.quota.as_ref()?.bound(kind).map(|amount| kind.show(amount)),
        Place::PodsOfNode => found(tenant, &Place::Quota(ResourceKind::Pods, 1)),
        Place::Rate(operation, _) => requests.rates.get(operation).map(|rate| shown_rate(*operation, *rate)),
        Place::Burst => requests.rates.get(&Operation::Any)?.burst.map(|burst| burst.to_string()),
        Place::Concurrent => requests.concurrent.map(|most| most.to_string()),
        Place::Enabled | Place::Nowhere => None,
    }
}

/// A rate in words, without its burst.
pub(super) fn shown_rate(operation: Operation, rate: Rate) -> String {
    let period = match rate.per {
        Period::Second => "second",
        Period::Minute => "minute",
        Period::Hour => "hour",
    };
    format!("{} {} per {period}", operation.word(), rate.count)
}
