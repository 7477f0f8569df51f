//! Violations as metrics, as far as the world remembers them: the series of a pod go with it.

use std::collections::{BTreeMap, BTreeSet};

use metrics::{counter, gauge};
use purser_actors::metric;
use purser_events::violation::ViolationKind;
use purser_events::violation::hold::{Held, holds};
use purser_events::{PodId, PodUid, Timestamp, World};

use super::process::exact;

/// What is shown of violations.
pub(super) struct Figures {
    active: BTreeMap<ViolationKind, u64>,
    pods: BTreeMap<(PodId, ViolationKind), OfPod>,
    held: BTreeSet<(PodId, &'static str)>,
}

/// The violations of one kind of one pod.
#[derive(Default)]
struct OfPod {
    count: u64,
    lasted_ms: u64,
}

impl Figures {
    /// Takes them out of the world.
    pub(super) fn of(world: &World, now: Timestamp) -> Figures {
        // All kinds are always shown, so that a zero can be told from no answer.
        let mut active: BTreeMap<ViolationKind, u64> =
            ViolationKind::ALL.into_iter().map(|kind| (kind, 0)).collect();
        let names: BTreeMap<PodUid, &PodId> =
            world.registry.entries.iter().map(|(id, entry)| (entry.uid, id)).collect();
        let mut pods: BTreeMap<(PodId, ViolationKind), OfPod> = BTreeMap::new();
        // What was, as it is summed up: it does not go back when episodes are forgotten.
        for (pod, kinds) in &world.violations.sums {
            let Some(id) = names.get(pod) else { continue };
            for (kind, sum) in kinds {
                let of_pod = pods.entry((PodId::clone(id), *kind)).or_default();
                of_pod.count = of_pod.count.saturating_add(sum.begun);
                of_pod.lasted_ms = of_pod.lasted_ms.saturating_add(sum.ended_ms);
            }
        }
        for episode in world.violations.all().filter(|episode| episode.until.is_none()) {
            *active.entry(episode.kind).or_default() += 1;
            let Some(id) = episode.pod.and_then(|pod| names.get(&pod)) else { continue };
            let of_pod = pods.entry((PodId::clone(id), episode.kind)).or_default();
            of_pod.lasted_ms = of_pod.lasted_ms.saturating_add(now.ms_since(episode.since));
        }
        let held = |((pod, held), _)| Some((PodId::clone(names.get(&pod)?), Held::word(&held)));
        let held = holds(world).into_iter().filter_map(held).collect();
        Figures { active, pods, held }
    }

    /// Puts them into the recorder in force.
    pub(super) fn record(&self) {
        for (kind, count) in &self.active {
            gauge!(metric::VIOLATIONS_ACTIVE.name, "kind" => kind.word()).set(exact(*count));
        }
        for (id, resource) in &self.held {
            let labels = [
                ("namespace", id.namespace().to_owned()),
                ("pod", id.name().to_owned()),
                ("resource", (*resource).to_owned()),
            ];
            gauge!(metric::POD_THROTTLED.name, &labels).set(1.0);
        }
        for ((id, kind), of_pod) in &self.pods {
            let labels = [
                ("pod_id", id.to_string()),
                ("namespace", id.namespace().to_owned()),
                ("violation_type", kind.word().to_owned()),
            ];
            counter!(metric::POD_VIOLATIONS.name, &labels).absolute(of_pod.count);
            gauge!(metric::POD_VIOLATION_SECONDS.name, &labels).set(exact(of_pod.lasted_ms) / 1_000.0);
        }
    }
}
