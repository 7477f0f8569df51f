//! A pool back to a manifest: applying it again changes nothing.

use purser_events::pool::{OnEnd, PoolName, PoolSpec, Reference, ReferenceKind, SlotRule, Weekday};
use serde_json::{Value, json};

use super::super::render::{compact, to_manifest};
use super::table::{API_VERSION, DAYS, KIND};
use super::window::shown;

/// The manifest of a pool, with every default written out.
#[must_use]
pub fn pool_manifest(name: &PoolName, spec: &PoolSpec) -> Value {
    let PoolSpec { namespace, template, slots, scaling, tasks, agents, references } = spec;
    let mut pod = to_manifest(template);
    let labels = pod.pointer_mut("/metadata/labels").map(Value::take);
    let annotations = pod.pointer_mut("/metadata/annotations").map(Value::take);
    let windows = scaling.freezes.iter().map(|window| {
        let of_window = DAYS.iter().zip(Weekday::ALL).filter(|(_, day)| window.days.contains(day));
        let days: Vec<&str> = of_window.map(|(word, _)| *word).collect();
        json!({ "days": days, "from": shown(window.from_minute), "to": shown(window.to_minute) })
    });
    let refs = |kind: ReferenceKind| -> Vec<Value> {
        let of_kind = references.iter().filter(|reference| reference.kind == kind);
        of_kind.map(|Reference { name, .. }| json!({ "name": name })).collect()
    };
    compact(json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "replicas": { "min": scaling.min_replicas, "max": scaling.max_replicas },
            "slots": { "policy": rule_word(slots.rule), "count": slots.count },
            "template": {
                "metadata": { "labels": labels, "annotations": annotations },
                "spec": pod.get_mut("spec").map(Value::take),
            },
            "scaling": {
                "upAbovePercent": scaling.up_above_permille / 10,
                "downBelowPercent": scaling.down_below_permille / 10,
                "stabilizationSeconds": {
                    "up": scaling.up_stable_ms / 1_000, "down": scaling.down_stable_ms / 1_000,
                },
                "maxUnavailable": scaling.max_unavailable,
            },
            "freezeWindows": windows.collect::<Vec<_>>(),
            "timeZone": scaling.time_zone,
            "tasks": {
                "onLost": on_end_word(tasks.on_lost),
                "onFailed": on_end_word(tasks.on_failed),
                "attempts": tasks.attempts_max,
                "backOffSeconds": {
                    "first": tasks.back_off.first_ms / 1_000, "max": tasks.back_off.max_ms / 1_000,
                },
                "timeoutSeconds": tasks.timeout_s,
                "reservationSeconds": tasks.reservation_ttl_s,
                "queueMax": tasks.queue_max,
                "keptMax": tasks.kept_max,
            },
            "agents": {
                "offlineAfterSeconds": agents.offline_after_ms / 1_000,
                "startWithinSeconds": agents.start_within_ms / 1_000,
                "cancelGraceSeconds": agents.cancel_grace_s,
            },
            "secretRefs": refs(ReferenceKind::Secret),
            "configRefs": refs(ReferenceKind::Config),
        },
    }))
}

fn on_end_word(on_end: OnEnd) -> &'static str {
    match on_end {
        OnEnd::Retry => "retry",
        OnEnd::Fail => "fail",
    }
}

/// The word of a rule for slots.
fn rule_word(rule: SlotRule) -> &'static str {
    match rule {
        SlotRule::Seed => "seed",
        SlotRule::Exclusive => "exclusive",
        SlotRule::Flexible => "flexible",
    }
}
