//! Manifests of pools: documents to specs, and specs back to documents.

mod document;
mod render;
mod table;
mod template;
mod window;

use std::sync::Arc;

use purser_events::context::BackOffPolicy;
use purser_events::names::{check_label, check_subdomain};
use purser_events::pod::PodSpec;
use purser_events::pool::{
    AgentPolicy, FreezeWindow, OnEnd, PoolName, PoolSpec, Reference, ReferenceKind, ScalingPolicy,
    SlotPolicy, SlotRule, TaskPolicy, Weekday,
};
use serde_json::Value;

use self::document::{Document, Ref, Spec, Tasks, Window};
use super::error::FieldErrors;
use super::{Defaults, ManifestError, SPEC_BYTES_MAX, path, shape};

pub use render::pool_manifest;
pub use table::{API_VERSION, KIND, pool_fields};

/// Whether a document is meant to be a pool: its kind says so.
#[must_use]
pub fn is_pool(document: &Value) -> bool {
    document.get("kind").and_then(Value::as_str) == Some(KIND)
}

/// Turns one document into a checked pool.
///
/// # Errors
/// Every wrong field with its path, up to [`FIELD_ERRORS_MAX`](super::FIELD_ERRORS_MAX).
pub fn pool_spec(mut document: Value, defaults: &Defaults) -> Result<(PoolName, PoolSpec), ManifestError> {
    let mut errors = FieldErrors::default();
    check_kind(&document, &mut errors);
    if !errors.is_empty() {
        return Err(errors.into_error());
    }
    if let Some(document) = document.as_object_mut() {
        // What `purser get` shows may be applied again as it is.
        document.remove("status");
    }
    let template =
        document.get_mut("spec").and_then(Value::as_object_mut).and_then(|spec| spec.remove("template"));
    let document = shape::check_as(&table::POOL, table::refuse, document, &mut errors);
    let Document { metadata, spec } = match serde_path_to_error::deserialize(document) {
        Ok(document) => document,
        Err(error) => {
            // The shape bounds every number: what is left is a defect, and still no reason to stop.
            errors.add(&error.path().to_string(), "is out of range");
            return Err(errors.into_error());
        }
    };
    let name = name(&metadata.name, &mut errors);
    let namespace =
        metadata.namespace.filter(|given| !given.is_empty()).unwrap_or_else(|| defaults.namespace.clone());
    if let Err(error) = check_label(&namespace) {
        errors.add("metadata.namespace", error.to_string());
    }
    // What the template is called makes no difference: each pod gets a name of its own.
    let called = name.as_ref().map_or("pool", PoolName::as_str).to_owned();
    let of_pods = Defaults {
        namespace: check_label(&namespace).map_or_else(|_| "default".into(), |()| namespace.clone()),
        ..defaults.clone()
    };
    let template = template::read(template, &called, &of_pods, &mut errors);
    let spec = convert(namespace, template, spec, &mut errors);
    let (Some(name), Some(spec)) = (name, spec) else { return Err(errors.into_error()) };
    let bytes = serde_json::to_vec(&spec).map_or(usize::MAX, |text| text.len());
    if bytes > SPEC_BYTES_MAX {
        errors.add("", format!("the pool has {bytes} bytes as JSON, at most {SPEC_BYTES_MAX} are kept"));
    }
    errors.into_result((name, spec))
}

fn check_kind(document: &Value, errors: &mut FieldErrors) {
    if !document.is_object() {
        errors.add("", "must be a Pool: a map with apiVersion, kind, metadata and spec");
        return;
    }
    for (field, supported) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match document.get(field).and_then(Value::as_str) {
            Some(given) if given == supported => {}
            Some(given) => errors.add(field, format!("must be {supported}, is {}", path::key(given))),
            None => errors.add(field, format!("is required: must be the string {supported}")),
        }
    }
}

fn name(text: &str, errors: &mut FieldErrors) -> Option<PoolName> {
    if text.is_empty() {
        errors.add("metadata.name", "is required");
        return None;
    }
    PoolName::new(text).map_err(|error| errors.add("metadata.name", error.to_string())).ok()
}

/// What a pool is to be; none if something of it is wrong.
fn convert(
    namespace: String,
    template: Option<PodSpec>,
    spec: Spec,
    errors: &mut FieldErrors,
) -> Option<PoolSpec> {
    let scaling = scaling(&spec, errors);
    let references = references(&spec.secret_refs, &spec.config_refs, errors);
    let tasks = tasks(&spec.tasks, errors);
    let default = AgentPolicy::default();
    let agents = AgentPolicy {
        offline_after_ms: spec.agents.offline_after_seconds.map_or(default.offline_after_ms, |s| s * 1_000),
        start_within_ms: spec.agents.start_within_seconds.map_or(default.start_within_ms, |s| s * 1_000),
        cancel_grace_s: spec.agents.cancel_grace_seconds.unwrap_or(default.cancel_grace_s),
    };
    let rule = match spec.slots.policy.as_deref() {
        Some("exclusive") => SlotRule::Exclusive,
        Some("flexible") => SlotRule::Flexible,
        // The table has no other word.
        Some(_) | None => SlotRule::Seed,
    };
    let slots = SlotPolicy { rule, count: spec.slots.count.unwrap_or(rule.default_count()) };
    let template = Arc::new(template?);
    let spec = PoolSpec { namespace, template, slots, scaling, tasks, agents, references };
    if errors.is_empty()
        && let Err(error) = spec.check()
    {
        // What the pool itself refuses beside all of this, by its own names.
        errors.add(&error.field, error.reason);
    }
    errors.is_empty().then_some(spec)
}

fn tasks(given: &Tasks, errors: &mut FieldErrors) -> TaskPolicy {
    let default = TaskPolicy::default();
    let on_end = |word: Option<&str>, default| match word {
        Some("retry") => OnEnd::Retry,
        Some("fail") => OnEnd::Fail,
        Some(_) | None => default,
    };
    let wait = &given.back_off_seconds;
    let first_ms = wait.first.map_or(default.back_off.first_ms, |seconds| seconds * 1_000);
    let max_ms = wait.max.map_or(default.back_off.max_ms.max(first_ms), |seconds| seconds * 1_000);
    if max_ms < first_ms {
        let message = format!("is {}, less than the {} of first", max_ms / 1_000, first_ms / 1_000);
        errors.add("spec.tasks.backOffSeconds.max", message);
    }
    TaskPolicy {
        on_lost: on_end(given.on_lost.as_deref(), default.on_lost),
        on_failed: on_end(given.on_failed.as_deref(), default.on_failed),
        attempts_max: given.attempts.unwrap_or(default.attempts_max),
        back_off: BackOffPolicy { first_ms, max_ms, ..default.back_off },
        timeout_s: given.timeout_seconds.unwrap_or(default.timeout_s),
        reservation_ttl_s: given.reservation_seconds.unwrap_or(default.reservation_ttl_s),
        queue_max: given.queue_max.unwrap_or(default.queue_max),
        kept_max: given.kept_max.unwrap_or(default.kept_max),
    }
}

fn scaling(spec: &Spec, errors: &mut FieldErrors) -> ScalingPolicy {
    let default = ScalingPolicy::default();
    let max = spec.replicas.max.unwrap_or_else(|| {
        errors.add("spec.replicas.max", "is required");
        u32::MAX
    });
    let min = spec.replicas.min.unwrap_or(default.min_replicas);
    if max < min {
        errors.add("spec.replicas.min", format!("is {min}, more than the {max} of spec.replicas.max"));
    }
    let given = &spec.scaling;
    let up_above = given.up_above_percent.map_or(default.up_above_permille, |percent| percent * 10);
    let down_below = given.down_below_percent.map_or(default.down_below_permille, |percent| percent * 10);
    if down_below >= up_above {
        let message = format!(
            "is {}, and must be less than the {} of upAbovePercent: the pool would grow and shrink at once",
            down_below / 10,
            up_above / 10
        );
        errors.add("spec.scaling.downBelowPercent", message);
    }
    ScalingPolicy {
        min_replicas: min,
        max_replicas: max,
        up_above_permille: up_above,
        down_below_permille: down_below,
        up_stable_ms: given.stabilization_seconds.up.map_or(default.up_stable_ms, |seconds| seconds * 1_000),
        down_stable_ms: given
            .stabilization_seconds
            .down
            .map_or(default.down_stable_ms, |seconds| seconds * 1_000),
        max_unavailable: given.max_unavailable.unwrap_or(default.max_unavailable),
        freezes: freezes(&spec.freeze_windows, errors),
        time_zone: zone(spec.time_zone.as_deref(), errors),
    }
}

fn freezes(windows: &[Window], errors: &mut FieldErrors) -> Vec<FreezeWindow> {
    let most = ScalingPolicy::FREEZES_MAX;
    if windows.len() > most {
        errors.add(
            "spec.freezeWindows",
            format!("there are {} windows, at most {most} are allowed", windows.len()),
        );
    }
    let window = |(index, window): (usize, &Window)| {
        let path = format!("spec.freezeWindows[{index}]");
        let (from_minute, to_minute) = window::ends(&window.from, &window.to, &path, errors)?;
        let mut days = vec![];
        for (at, word) in window.days.iter().enumerate() {
            let known = table::DAYS.iter().zip(Weekday::ALL).find(|(known, _)| *known == word);
            // One that the table does not have is on the list of errors already.
            let Some((_, day)) = known else { continue };
            if days.contains(&day) {
                errors.add(&format!("{path}.days[{at}]"), format!("{word} is given more than once"));
            }
            days.push(day);
        }
        if window.days.is_empty() {
            days.extend(Weekday::ALL);
        }
        days.sort();
        Some(FreezeWindow { days, from_minute, to_minute })
    };
    windows.iter().enumerate().filter_map(window).collect()
}

/// A zone by its own name.
fn zone(given: Option<&str>, errors: &mut FieldErrors) -> String {
    let Some(given) = given else { return "UTC".to_owned() };
    let found = jiff::tz::TimeZone::get(given).ok().filter(|zone| !zone.is_unknown());
    let name = found.as_ref().and_then(jiff::tz::TimeZone::iana_name);
    if name.is_none() {
        let message =
            "is no time zone of this machine: give one as Europe/Berlin, or UTC; zones come with its tzdata";
        errors.add("spec.timeZone", message);
    }
    name.unwrap_or("UTC").to_owned()
}

fn references(secrets: &[Ref], configs: &[Ref], errors: &mut FieldErrors) -> Vec<Reference> {
    let (count, most) = (secrets.len() + configs.len(), PoolSpec::REFERENCES_MAX);
    if count > most {
        errors.add(
            "spec.secretRefs",
            format!("with spec.configRefs has {count} names, at most {most} are allowed"),
        );
    }
    let mut found: Vec<Reference> = Vec::new();
    for (list, kind, given) in
        [("secretRefs", ReferenceKind::Secret, secrets), ("configRefs", ReferenceKind::Config, configs)]
    {
        for (index, Ref { name }) in given.iter().enumerate() {
            let path = format!("spec.{list}[{index}].name");
            let reference = Reference { kind, name: name.clone() };
            if name.is_empty() {
                errors.add(&path, "is required");
            } else if let Err(error) = check_subdomain(name) {
                errors.add(&path, error.to_string());
            } else if found.contains(&reference) {
                errors.add(&path, format!("{name} is given more than once"));
            } else {
                found.push(reference);
            }
        }
    }
    found
}
