//! How many pods there are to be.

use serde_json::Value;

use super::Wish;
use super::note::Notes;
use super::scaler::Scaler;

/// Pods of a Deployment that does not say.
const REPLICAS: u32 = 1;

/// Pods at least and at most: as asked for, else as its autoscaler has them, else as many as the Deployment has.
pub(super) fn bounds(
    given: Option<Value>,
    scaler: Option<Scaler>,
    wish: &Wish,
    notes: &mut Notes,
) -> (u32, u32) {
    let replicas = match given {
        None | Some(Value::Null) => REPLICAS,
        Some(value) => match value.as_u64().and_then(|count| u32::try_from(count).ok()) {
            Some(count) => count,
            None => {
                notes.open("spec.replicas", "must be a whole number");
                REPLICAS
            }
        },
    };
    let (min, max) = match scaler {
        None => (replicas, replicas.max(1)),
        Some(scaler) => {
            let (min, max) = scaler.bounds(replicas);
            notes.changed("spec.replicas", format!("{min} to {max}, as {} has it", scaler.shown()));
            notes.left_out(&scaler.shown(), "a pool goes by the use of its slots: see spec.scaling");
            (min, max)
        }
    };
    let (min, max) = (wish.min.unwrap_or(min), wish.max.unwrap_or_else(|| max.max(wish.min.unwrap_or(min))));
    if replicas == 0 {
        notes.changed(
            "spec.replicas",
            "0 was all there were to be; a pool of at most 0 pods runs nothing: at most 1",
        );
    } else if min == max && wish.max.is_none() {
        let more = "always as many: raise spec.replicas.max, or lower min, to have the pool scale itself";
        notes.changed("spec.replicas", format!("{min} at least and at most; {more}"));
    }
    (min, max)
}

/// Pods that may be missing while they are rebuilt, if the Deployment says.
pub(super) fn max_unavailable(
    strategy: Option<Value>,
    (_, max): (u32, u32),
    notes: &mut Notes,
) -> Option<u32> {
    let strategy = strategy.filter(|value| !value.is_null())?;
    if strategy.get("type").and_then(Value::as_str) == Some("Recreate") {
        notes.changed("spec.strategy", "all pods may be rebuilt at once, each when its slots are idle");
        return Some(max.max(1));
    }
    let rolling = strategy.get("rollingUpdate");
    if rolling.and_then(|rolling| rolling.get("maxSurge")).is_some_and(|surge| !surge.is_null()) {
        notes.left_out(
            "spec.strategy.rollingUpdate.maxSurge",
            "there are never more pods than spec.replicas.max",
        );
    }
    let path = "spec.strategy.rollingUpdate.maxUnavailable";
    match rolling?.get("maxUnavailable")? {
        Value::Null => None,
        Value::String(text) => {
            let Some(percent) = text.strip_suffix('%').and_then(|percent| percent.parse::<u32>().ok()) else {
                notes.open(path, "must be a whole number, or one with %");
                return None;
            };
            // Rounded down as in Kubernetes; at least one, as a pool that may spare none could never be rebuilt.
            let count = (max.saturating_mul(percent.min(100)) / 100).max(1);
            notes.changed(path, format!("{percent}% of {max} pods is {count}"));
            Some(count)
        }
        value => match value.as_u64().and_then(|count| u32::try_from(count).ok()) {
            Some(0) => {
                notes.changed(path, "1: a pool makes no pod beyond its maximum, so one at a time is missing");
                Some(1)
            }
            Some(count) => Some(count),
            None => {
                notes.open(path, "must be a whole number, or one with %");
                None
            }
        },
    }
}
