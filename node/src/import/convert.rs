//! A legacy quota turned into a tenant, with a report of every field: what was taken, changed and refused.

use std::collections::{BTreeMap, BTreeSet};

use purser_events::ledger::tenant::{Operation, Period, Rate, RequestLimits};
use purser_events::ledger::{Amounts, ResourceKind, Tenant, TenantId};
use serde::Serialize;
use serde_json::Value;

use super::compare::{Compared, shown_rate};
use super::field::{
    ENABLED, GROUPS, LegacyField, MAX_PODS, MAX_PODS_OF_NODE, Place, TENANT_ID, legacy_fields,
};
use super::read::Quota;
use crate::manifest::shown_key;

/// From here on an amount is likely to be in another unit than its field says: 1 PiB.
const BYTES_LIKELY_MAX: u64 = 1 << 50;
/// What a quota of the legacy kind bounds; other bounds of a tenant stay as they are.
const KINDS: [ResourceKind; 4] =
    [ResourceKind::Pods, ResourceKind::Cpu, ResourceKind::Memory, ResourceKind::Disk];

/// What is said of a rate that counts other requests now than it did.
const CHANGES_COUNT: &str = "counted changes of the configuration before; counts stops and starts of pods and commands in \
                             them now, which may be far more";

/// What became of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds as it was written.
    Taken,
    /// It holds, written otherwise.
    Changed,
    /// It does not hold, for the reason given.
    Refused,
}

impl Verdict {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Taken => "taken",
            Verdict::Changed => "changed",
            Verdict::Refused => "refused",
        }
    }
}

/// What became of one field of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The field in the file.
    pub field: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Its value in the file, or what held without one.
    pub old: String,
    /// Whether the file does not have it.
    pub is_default: bool,
    /// What holds now; none if it was refused.
    pub new: Option<String>,
    /// Why it was refused, or what to look at.
    pub note: Option<String>,
    /// What becomes of it in the service, once it was compared with that, and if there is a place for it.
    pub compared: Option<Compared>,
}

/// A tenant as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its name as in the file, shown.
    pub name: String,
    /// Its name and what it may have; none if the tenant as a whole is refused.
    pub tenant: Option<(TenantId, Tenant)>,
    /// Every field.
    pub findings: Vec<Finding>,
}

impl Imported {
    /// What the tenant is to be, if this is what it is now: what a legacy quota does not speak of stays.
    #[must_use]
    pub fn onto(imported: &Tenant, held: Option<&Tenant>) -> Tenant {
        let Some(held) = held else { return imported.clone() };
        let kept = held.quota.iter().flat_map(Amounts::iter).filter(|(kind, _)| !KINDS.contains(kind));
        let mut quota: BTreeMap<ResourceKind, u64> =
            kept.map(|(kind, amount)| (kind.clone(), amount)).collect();
        quota.extend(
            imported.quota.iter().flat_map(Amounts::iter).map(|(kind, amount)| (kind.clone(), amount)),
        );
        Tenant { quota: Some(Amounts(quota)), requests: imported.requests.clone(), ..held.clone() }
    }
}

/// Turns quotas into tenants. A tenant with a wrong value is refused as a whole: half of a policy is none.
#[must_use]
pub fn convert(quotas: Vec<Quota>) -> Vec<Imported> {
    let mut names = BTreeSet::new();
    quotas.into_iter().map(|quota| tenant(quota, &mut names)).collect()
}

fn tenant(quota: Quota, names: &mut BTreeSet<TenantId>) -> Imported {
    let mut draft = Draft::default();
    let name = quota.id.as_ref().map_or_else(|| "-".to_owned(), shown);
    let id = match id(quota.id.as_ref(), names) {
        Ok(id) => Some(id),
        Err(message) => {
            draft.wrong(TENANT_ID, &name, message);
            None
        }
    };
    let mut given = BTreeMap::new();
    for (path, value) in quota.fields {
        if let Some(earlier) = given.insert(path.clone(), value) {
            draft.wrong(&shown_key(&path), &shown(&earlier), "is given more than once");
        }
    }
    draft.is_off = matches!(given.get(ENABLED).map(flag), Some(Some(false)));
    for field in legacy_fields() {
        let value = given.remove(field.path);
        if value.is_some() || field.default.is_some() {
            draft.take(field, value.as_ref());
        }
    }
    for (path, value) in given {
        let (field, old) = (shown_key(&path), shown(&value));
        if GROUPS.contains(&path.as_str()) {
            draft.wrong(&field, &old, "must be a map of limits");
        } else {
            draft.refuse(&field, old, false, "is no field of a quota".to_owned());
        }
    }
    if draft.is_wrong {
        draft.refuse_rest();
    }
    let is_fine = !draft.is_wrong;
    let Draft { quota, requests, findings, .. } = draft;
    let tenant = Tenant { quota: Some(Amounts(quota)), requests, ..Tenant::default() };
    Imported { name, tenant: id.filter(|_| is_fine).map(|id| (id, tenant)), findings }
}

fn id(given: Option<&Value>, names: &mut BTreeSet<TenantId>) -> Result<TenantId, String> {
    let text = match given {
        Some(Value::String(text)) => text,
        Some(_) => return Err("must be text".to_owned()),
        None => return Err("is required".to_owned()),
    };
    let id = TenantId::new(text).map_err(|error| format!("as the name of a tenant, {error}"))?;
    match names.insert(id.clone()) {
        true => Ok(id),
        false => Err("is given more than once: the first one counts".to_owned()),
    }
}

/// A tenant while its fields are read.
#[derive(Debug, Default)]
struct Draft {
    quota: BTreeMap<ResourceKind, u64>,
    requests: RequestLimits,
    findings: Vec<Finding>,
    /// Whether its bounds did not hold.
    is_off: bool,
    /// Whether a value is wrong.
    is_wrong: bool,
}

impl Draft {
    fn take(&mut self, field: &LegacyField, given: Option<&Value>) {
        let is_default = given.is_none();
        let value = given.cloned().or_else(|| field.default.map(Value::from)).unwrap_or_default();
        let old = shown(&value);
        let placed = match &field.place {
            Place::Nowhere => return self.refuse(field.path, old, is_default, field.note.to_owned()),
            Place::Enabled => enabled(&value),
            // Checked all the same: a wrong value may stand beside a wrong switch.
            place if self.is_off => number(&value, limit_of(place)).map(|_| None),
            Place::Quota(kind, unit) => self.bound(kind, *unit, &value).map(Some),
            Place::PodsOfNode => self.pods_of_node(&value).map(Some),
            Place::Rate(operation, period) => self.rate(*operation, *period, &value).map(Some),
            Place::Burst => self.burst(&value).map(Some),
            Place::Concurrent => at_least_one(&value).map(|count| {
                self.requests.concurrent = Some(count);
                Some((count.to_string(), None))
            }),
        };
        match placed {
            Ok(Some((new, note))) => {
                // What counts as a change is not what it was.
                let is_rate =
                    matches!(field.place, Place::Rate(operation, _) if operation != Operation::Change);
                let is_same = new == old || is_rate;
                let verdict = if is_same { Verdict::Taken } else { Verdict::Changed };
                let field = field.path.to_owned();
                self.findings.push(Finding {
                    field,
                    verdict,
                    old,
                    is_default,
                    new: Some(new),
                    note,
                    compared: None,
                });
            }
            Ok(None) => {
                let note = "the quota was switched off (enabled: false): the tenant has no such bound";
                self.refuse(field.path, old, is_default, note.to_owned());
            }
            Err(message) => self.wrong(field.path, &old, message),
        }
    }

    fn bound(&mut self, kind: &ResourceKind, unit: u64, value: &Value) -> Placed {
        let count = number(value, u64::MAX)?;
        let amount = count.checked_mul(unit).filter(|amount| *amount <= i64::MAX.unsigned_abs());
        let amount = amount.ok_or("is more than can be counted")?;
        let is_bytes = matches!(kind, ResourceKind::Memory | ResourceKind::Disk);
        let note = (is_bytes && BYTES_LIKELY_MAX < amount).then(|| {
            "more than 1 PiB: look whether it was written in the unit that the field names".to_owned()
        });
        // Put in as it is: 0 is a bound too, and no entry is none.
        self.quota.insert(kind.clone(), amount);
        Ok((kind.show(amount), note))
    }

    /// This node is all there is: whatever bounds the pods of a tenant on each node bounds all that it has here.
    fn pods_of_node(&mut self, value: &Value) -> Placed {
        let kind = ResourceKind::Pods;
        let all = self.quota.get(&kind).copied();
        let (most, _) = self.bound(&kind, 1, value)?;
        let of_node = self.quota.get(&kind).copied();
        match all.filter(|all| of_node.is_some_and(|of_node| *all <= of_node)) {
            Some(all) => {
                self.quota.insert(kind.clone(), all);
                let note = (Some(all) != of_node).then(|| format!("{MAX_PODS} is the tighter bound"));
                Ok((kind.show(all), note))
            }
            None => {
                for finding in self.findings.iter_mut().filter(|finding| finding.field == MAX_PODS) {
                    if finding.verdict != Verdict::Refused {
                        finding.verdict = Verdict::Changed;
                        finding.new = Some(most.clone());
                        finding.note = Some(format!("{MAX_PODS_OF_NODE} is the tighter bound"));
                    }
                }
                Ok((most, None))
            }
        }
    }

    fn rate(&mut self, operation: Operation, per: Period, value: &Value) -> Placed {
        let count = at_least_one(value)?;
        let rate = Rate { count, per, burst: None };
        self.requests.rates.insert(operation, rate);
        let below_60 = per == Period::Hour && count < 60;
        let notes = [
            (operation == Operation::Change).then_some(CHANGES_COUNT),
            below_60.then_some("did not let any through before: it came to 0 a minute"),
        ];
        let notes: Vec<&str> = notes.into_iter().flatten().collect();
        Ok((shown_rate(operation, rate), (!notes.is_empty()).then(|| notes.join("; "))))
    }

    fn burst(&mut self, value: &Value) -> Placed {
        let burst = at_least_one(value)?;
        if let Some(rate) = self.requests.rates.get_mut(&Operation::Any) {
            rate.burst = Some(burst);
        }
        Ok((burst.to_string(), None))
    }

    fn refuse(&mut self, field: &str, old: String, is_default: bool, note: String) {
        let (field, verdict) = (field.to_owned(), Verdict::Refused);
        let note = Some(note);
        self.findings.push(Finding { field, verdict, old, is_default, new: None, note, compared: None });
    }

    /// Says of every field that was fine that it does not hold either.
    fn refuse_rest(&mut self) {
        for finding in self.findings.iter_mut().filter(|finding| finding.verdict != Verdict::Refused) {
            finding.verdict = Verdict::Refused;
            finding.new = None;
            finding.note = Some("the tenant is refused for another field".to_owned());
        }
    }

    fn wrong(&mut self, field: &str, old: &str, message: impl Into<String>) {
        self.is_wrong = true;
        self.refuse(field, old.to_owned(), false, message.into());
    }
}

/// What holds now, and what to look at; or what is wrong.
type Placed = Result<(String, Option<String>), String>;

fn enabled(value: &Value) -> Result<Option<(String, Option<String>)>, String> {
    match flag(value) {
        Some(is_on) => Ok(Some((is_on.to_string(), None))),
        None => Err("must be true or false".to_owned()),
    }
}

fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn limit_of(place: &Place) -> u64 {
    if matches!(place, Place::Quota(..) | Place::PodsOfNode) { u64::MAX } else { u64::from(u32::MAX) }
}

fn number(value: &Value, max: u64) -> Result<u64, String> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => crate::amount::read(&ResourceKind::Pods, text).ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let wrong = || match max {
        u64::MAX => "must be a whole number from 0, without a unit".to_owned(),
        max => format!("must be a whole number from 0 to {max}"),
    };
    number.filter(|number| *number <= max).ok_or_else(wrong)
}

fn at_least_one(value: &Value) -> Result<u32, String> {
    let count = number(value, u64::from(u32::MAX))?;
    match u32::try_from(count) {
        Ok(count) if count != 0 => Ok(count),
        _ => Err("must let at least one through: what nobody may do is said by a quota of 0".to_owned()),
    }
}

/// A value on one line: one from outside can be of any length and hold anything.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => shown_key(text),
        other => shown_key(&other.to_string()),
    }
}
