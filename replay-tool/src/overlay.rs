//! Another policy: what of the ledger's recorded rules is to be different, by a preset and out of a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use purser_events::causes;
use purser_events::ledger::policy::Preset;
use purser_events::ledger::{LedgerPolicy, Limits, Tenant, TenantId};
use purser_events::pool::simulate::Instead;
use purser_events::pool::{PoolName, PoolSpec, ScalingPolicy, SlotPolicy, TaskPolicy};
use purser_events::violation::MonitorPolicy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// Longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// What is to be different.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// Takes the place of the recorded limits of processors, memory and disk, under what the file says.
    preset: Option<Preset>,
    policy: Map<String, Value>,
    /// By tenant.
    pub(crate) tenants: BTreeMap<TenantId, Map<String, Value>>,
    /// What is to differ of pools.
    pub(crate) pools: BTreeMap<PoolName, OfPool>,
    /// How violations are to be seen and answered.
    pub(crate) monitor: Map<String, Value>,
}

/// What is to differ of a pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OfPool {
    scaling: Map<String, Value>,
    slots: Map<String, Value>,
    tasks: Map<String, Value>,
}

/// What of the monitor's policy can be judged by what is on record of violations.
const ASKABLE: [&str; 7] =
    ["cpuPercent", "memoryPercent", "gpuPercent", "raiseMs", "strict", "exclusiveNode", "maxActions"];

/// How a policy file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As TOML.
    Toml,
    /// As YAML.
    Yaml,
    /// As JSON.
    Json,
}

/// Says what is wrong with a policy file, if anything is.
///
/// # Errors
/// What is wrong, with its causes.
pub fn check(text: &str, form: Form) -> Result<(), String> {
    Overlay::parse(text, form).map(drop).map_err(|error| causes::told(&error))
}

/// Why a policy file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OverlayError {
    #[error("it has {len} bytes, more than the {FILE_LEN_MAX} of a policy")]
    TooLong { len: u64 },
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    #[error(transparent)]
    Yaml(#[from] Box<serde_saphyr::Error>),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("`{at}` must be a table")]
    NoTable { at: String },
    #[error("there is no field `{at}`: take it out; here are {known}")]
    Unknown { at: String, known: String },
    #[error("`{at}` makes no sense")]
    Bad { at: String, source: serde_json::Error },
    #[error("`{id}` is no tenant's name")]
    Tenant { id: String, source: purser_events::NameError },
    #[error("`{id}` is no pool's name")]
    Pool { id: String, source: purser_events::NameError },
    #[error("there is no pool `{name}` in the journal: here are {known}")]
    NoPool { name: String, known: String },
    #[error("`pools.{name}.scaling.timeZone` cannot be another one: what its clock said is not on record")]
    Zone { name: String },
    #[error("`pools.{name}` makes no sense")]
    Pools { name: String, source: purser_events::pool::PoolSpecError },
    #[error("`monitor` makes no sense")]
    Monitor(#[from] purser_events::violation::policy::MonitorPolicyError),
    #[error(
        "`monitor.{field}` cannot be asked about: samples are not on record, only what came of them; here are {known}"
    )]
    NotAskable { field: String, known: String },
    #[error("the node would have refused it")]
    Refused(#[from] purser_events::ledger::LedgerRejection),
}

impl Overlay {
    /// A preset, and what a file says on top of it.
    pub(crate) fn of(preset: Option<Preset>, path: Option<&Path>) -> Result<Overlay, Failure> {
        let overlay = path.map_or_else(|| Ok(Overlay::default()), Overlay::read)?;
        Ok(Overlay { preset, ..overlay })
    }

    fn read(path: &Path) -> Result<Overlay, Failure> {
        let open = |source| Failure::Open { path: path.to_owned(), source };
        let len = fs::metadata(path).map_err(open)?.len();
        if FILE_LEN_MAX < len {
            return Err(Failure::Policy {
                path: path.to_owned(),
                source: Box::new(OverlayError::TooLong { len }),
            });
        }
        let text = fs::read_to_string(path).map_err(open)?;
        let form = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Form::Json,
            Some("yaml" | "yml") => Form::Yaml,
            Some(_) | None => Form::Toml,
        };
        let wrong = |error: OverlayError| Failure::Policy { path: path.to_owned(), source: Box::new(error) };
        Overlay::parse(&text, form).map_err(wrong)
    }

    fn parse(text: &str, form: Form) -> Result<Overlay, OverlayError> {
        let value: Value = match form {
            Form::Json => serde_json::from_str(text)?,
            // Its reader bounds how deep and how large what aliases make of it is. A file of comments says nothing.
            Form::Yaml => {
                serde_saphyr::from_str::<Option<Value>>(text).map_err(Box::new)?.unwrap_or(json!({}))
            }
            Form::Toml => toml::from_str(text)?,
        };
        let mut overlay = Overlay::default();
        for (name, part) in table(value, "the file")? {
            match name.as_str() {
                "policy" => overlay.policy = table(camel(part), "policy")?,
                "tenants" => {
                    for (id, tenant) in table(part, "tenants")? {
                        let at = format!("tenants.{id}");
                        let name =
                            TenantId::new(&id).map_err(|source| OverlayError::Tenant { id, source })?;
                        overlay.tenants.insert(name, table(camel(tenant), &at)?);
                    }
                }
                "pools" => {
                    for (id, pool) in table(part, "pools")? {
                        let name = PoolName::new(&id);
                        let name = name.map_err(|source| OverlayError::Pool { id: id.clone(), source })?;
                        overlay.pools.insert(name, OfPool::of(pool, &format!("pools.{id}"))?);
                    }
                }
                "monitor" => overlay.monitor = table(camel(part), "monitor")?,
                _ => {
                    let known = "policy, tenants, pools and monitor".to_owned();
                    return Err(OverlayError::Unknown { at: name, known });
                }
            }
        }
        // What makes no sense is told before anything is read.
        overlay.policy(&LedgerPolicy::default())?;
        overlay.tenants.keys().try_for_each(|id| overlay.tenant(id, &Tenant::default()).map(drop))?;
        let (scaling, slots, tasks) = <(ScalingPolicy, SlotPolicy, TaskPolicy)>::default();
        for (name, of) in &overlay.pools {
            overlaid(&of.scaling, &scaling, &format!("pools.{name}.scaling"))?;
            overlaid(&of.slots, &slots, &format!("pools.{name}.slots"))?;
            overlaid(&of.tasks, &tasks, &format!("pools.{name}.tasks"))?;
        }
        overlay.monitor(&MonitorPolicy::default())?;
        Ok(overlay)
    }

    /// Rules with what is to be different in them.
    pub(crate) fn policy(&self, recorded: &LedgerPolicy) -> Result<LedgerPolicy, OverlayError> {
        let mut recorded = recorded.clone();
        recorded.limits.extend(self.preset.map(Preset::limits).unwrap_or_default());
        let mut base = json!(recorded);
        for (name, part) in &self.policy {
            let at = format!("policy.{name}");
            known(&base, name, &at)?;
            match (name.as_str(), part) {
                ("limits", Value::Object(kinds)) => {
                    for (kind, limits) in kinds {
                        let at = format!("{at}.{kind}");
                        let slot = &mut base["limits"][kind.as_str()];
                        if slot.is_null() {
                            *slot = json!(Limits::default());
                        }
                        for (field, value) in table(limits.clone(), &at)? {
                            known(slot, &field, &format!("{at}.{field}"))?;
                            slot[field] = value;
                        }
                    }
                }
                ("defaultQuota" | "defaultRequests", Value::Object(_)) => base[name.as_str()] = part.clone(),
                _ => base[name.as_str()] = part.clone(),
            }
            // Told with the field that is wrong.
            serde_json::from_value::<LedgerPolicy>(base.clone())
                .map_err(|source| OverlayError::Bad { at, source })?;
        }
        serde_json::from_value(base).map_err(|source| OverlayError::Bad { at: "policy".to_owned(), source })
    }

    /// What is to hold of a pool that is otherwise as it was last.
    pub(crate) fn pool(&self, name: &PoolName, spec: &PoolSpec) -> Result<Instead, OverlayError> {
        let of = self.pools.get(name).cloned().unwrap_or_default();
        let at = |part: &str| format!("pools.{name}.{part}");
        let scaling = overlaid(&of.scaling, &spec.scaling, &at("scaling"))?;
        if scaling.time_zone != spec.scaling.time_zone {
            return Err(OverlayError::Zone { name: name.to_string() });
        }
        let slots = overlaid(&of.slots, &spec.slots, &at("slots"))?;
        let tasks = overlaid(&of.tasks, &spec.tasks, &at("tasks"))?;
        let instead = Instead {
            scaling: Some(scaling),
            slots: (!of.slots.is_empty()).then_some(slots),
            tasks: (!of.tasks.is_empty()).then_some(tasks),
        };
        let checked = instead.overlaid(spec).check();
        checked.map_err(|source| OverlayError::Pools { name: name.to_string(), source })?;
        Ok(instead)
    }

    /// How violations are to be seen and answered that were by a recorded policy.
    pub(crate) fn monitor(&self, recorded: &MonitorPolicy) -> Result<MonitorPolicy, OverlayError> {
        let base = json!(recorded);
        for field in self.monitor.keys() {
            known(&base, field, &format!("monitor.{field}"))?;
            if !ASKABLE.contains(&field.as_str()) {
                return Err(OverlayError::NotAskable { field: field.clone(), known: ASKABLE.join(", ") });
            }
        }
        let other: MonitorPolicy = overlaid(&self.monitor, recorded, "monitor")?;
        other.check()?;
        Ok(other)
    }

    /// A tenant's bounds with what is to be different in them.
    pub(crate) fn tenant(&self, id: &TenantId, recorded: &Tenant) -> Result<Tenant, OverlayError> {
        let mut base = json!(recorded);
        for (name, part) in self.tenants.get(id).into_iter().flatten() {
            known(&base, name, &format!("tenants.{id}.{name}"))?;
            base[name.as_str()] = part.clone();
        }
        let bad = |source| OverlayError::Bad { at: format!("tenants.{id}"), source };
        serde_json::from_value(base).map_err(bad)
    }
}

impl OfPool {
    fn of(pool: Value, at: &str) -> Result<OfPool, OverlayError> {
        let mut of = OfPool::default();
        for (name, part) in table(camel(pool), at)? {
            let place = format!("{at}.{name}");
            let into = match name.as_str() {
                "scaling" => &mut of.scaling,
                "slots" => &mut of.slots,
                "tasks" => &mut of.tasks,
                _ => {
                    let known = "scaling, slots and tasks".to_owned();
                    return Err(OverlayError::Unknown { at: place, known });
                }
            };
            *into = table(part, &place)?;
        }
        Ok(of)
    }
}

/// A part of what is on record, with what is to be different in it.
fn overlaid<T: Serialize + DeserializeOwned>(
    other: &Map<String, Value>,
    recorded: &T,
    at: &str,
) -> Result<T, OverlayError> {
    let mut base = json!(recorded);
    for (field, part) in other {
        known(&base, field, &format!("{at}.{field}"))?;
        base[field.as_str()] = part.clone();
    }
    serde_json::from_value(base).map_err(|source| OverlayError::Bad { at: at.to_owned(), source })
}

fn table(value: Value, at: &str) -> Result<Map<String, Value>, OverlayError> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(OverlayError::NoTable { at: at.to_owned() }),
    }
}

fn known(base: &Value, name: &str, at: &str) -> Result<(), OverlayError> {
    let fields = base.as_object();
    if fields.is_some_and(|fields| fields.contains_key(name)) {
        return Ok(());
    }
    let known = fields.into_iter().flat_map(Map::keys).map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(OverlayError::Unknown { at: at.to_owned(), known })
}

/// Names of fields as the journal has them: `refuse-when-full` is `refuseWhenFull`. Kinds of resources and tenants keep
/// their names, which stand where a table of them does.
fn camel(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let rename = |name: &str| {
        let mut parts = name.split('-');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |mut name, part| {
            let mut chars = part.chars();
            name.extend(chars.next().map(|char| char.to_ascii_uppercase()));
            name + chars.as_str()
        })
    };
    let renamed = fields.into_iter().map(|(name, part)| {
        let name = rename(&name);
        let part = match (name.as_str(), part) {
            ("limits", Value::Object(kinds)) => {
                Value::Object(kinds.into_iter().map(|(kind, limits)| (kind, camel(limits))).collect())
            }
            ("defaultQuota" | "quota" | "podMax" | "podDefault" | "maxActions", part) => part,
            (_, part) => camel(part),
        };
        (name, part)
    });
    Value::Object(renamed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        causes::told(&Overlay::parse(text, Form::Toml).expect_err("it is wrong"))
    }

    #[test]
    fn only_what_is_named_differs() {
        let text = "[policy]\nrefuse-when-full = true\npreemption-grace-s = 7\n\
                    [policy.limits.memory]\novercommit-percent = 150\n[tenants.red.quota]\nmemory = 9";
        let overlay = Overlay::parse(text, Form::Toml).unwrap();
        let policy = overlay.policy(&LedgerPolicy { strict: true, ..LedgerPolicy::default() }).unwrap();
        assert!(policy.strict && policy.refuse_when_full && policy.preemption_grace_s == 7);
        let memory: Vec<u32> = policy.limits.values().map(|limits| limits.overcommit_percent).collect();
        assert_eq!(memory, [150]);
        let red = overlay.tenants.keys().next().unwrap();
        let tenant = overlay.tenant(red, &Tenant { alert_percent: Some(80), ..Tenant::default() }).unwrap();
        assert_eq!(tenant.alert_percent, Some(80));
        assert!(tenant.quota.is_some());
    }

    #[test]
    fn yaml_and_json_say_the_same_as_toml() {
        let toml = "[policy]\nrefuse-when-full = true\n[policy.limits.memory]\novercommit-percent = 150\n\
                    [tenants.red]\nalert-percent = 80";
        let yaml = "# other rules\npolicy:\n  refuse-when-full: true\n  limits: { memory: { overcommit-percent: 150 } }\n\
                    tenants:\n  red:\n    alert-percent: 80\n";
        let json = r#"{"policy": {"refuseWhenFull": true, "limits": {"memory": {"overcommitPercent": 150}}},
                       "tenants": {"red": {"alertPercent": 80}}}"#;
        let [toml, yaml, json] = [(toml, Form::Toml), (yaml, Form::Yaml), (json, Form::Json)]
            .map(|(text, form)| Overlay::parse(text, form).unwrap());
        for other in [&yaml, &json] {
            assert_eq!((&other.policy, &other.tenants), (&toml.policy, &toml.tenants));
        }
        assert!(Overlay::parse("# nothing", Form::Yaml).unwrap().policy.is_empty());
        let wrong = Overlay::parse("policy: [", Form::Yaml).expect_err("it is cut short");
        assert!(matches!(wrong, OverlayError::Yaml(_)), "{wrong}");
    }

    #[test]
    fn a_preset_stands_under_what_the_file_says() {
        let file = Overlay::parse("[policy.limits.memory]\novercommit-percent = 110", Form::Toml).unwrap();
        let overlay = Overlay { preset: Some(Preset::Aggressive), ..file };
        let policy = overlay.policy(&LedgerPolicy { strict: true, ..LedgerPolicy::default() }).unwrap();
        let mut wanted = Preset::Aggressive.limits();
        let memory = wanted.iter_mut().find(|(kind, _)| kind.word() == "memory");
        memory.unwrap().1.overcommit_percent = 110;
        assert_eq!((policy.limits, policy.strict), (wanted, true));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert!(told("[policies]").contains("no field `policies`"));
        assert!(told("[policy]\nrefuse = true").contains("no field `policy.refuse`"));
        assert!(told("[policy]\nstrict = 7").contains("`policy.strict` makes no sense"));
        assert!(told("[policy.limits.memory]\nhardest = 7").contains("`policy.limits.memory.hardest`"));
        assert!(told("[policy.limits.love]\nhard = 7").contains("`policy.limits` makes no sense"));
        assert!(told("policy = 3").contains("`policy` must be a table"));
        assert!(told("[tenants.\"no name\"]").contains("no tenant's name"));
        assert!(told("[tenants.red]\nweather = 1").contains("`tenants.red.weather`"));
        assert!(told("[policy").contains("TOML parse error"));
        assert!(told("[pools.\"no name\"]").contains("no pool's name"));
        assert!(told("[pools.ci]\nagents = 3").contains("no field `pools.ci.agents`"));
        assert!(told("[pools.ci]\nslots = 3").contains("`pools.ci.slots` must be a table"));
        assert!(told("[pools.ci.slots]\nsize = 3").contains("no field `pools.ci.slots.size`"));
        assert!(told("[pools.ci.tasks]\non-lost = 'weep'").contains("`pools.ci.tasks` makes no sense"));
        assert!(told("[monitor]\ncpu = 3").contains("no field `monitor.cpu`"));
        assert!(told("[monitor]\ncpu-percent = 300").contains("it must be 1 to 100"));
        assert!(told("[monitor]\ninterval-ms = 1000").contains("`monitor.intervalMs` cannot be asked about"));
        assert!(told("[pools.ci.scaling]\nmax = 3").contains("`pools.ci.scaling.max`"));
        assert!(told("[pools.ci.scaling]\nmax-replicas = 'x'").contains("`pools.ci.scaling` makes no sense"));
    }
}
