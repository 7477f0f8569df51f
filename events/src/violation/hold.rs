//! How pods are held while they break a limit: what follows from the episodes that are open and have reached the rung.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Outcome;
use super::kind::{Level, ViolationKind};
use super::state::{Episode, Measure};
use crate::gpu::Gpu;
use crate::ids::PodUid;
use crate::ledger::GpuUuid;
use crate::units::{Bytes, MilliCpu};
use crate::view::World;
use crate::view::violations::{PastEpisode, StepKind};

/// Percent that a container keeps of its processor time while its pod is held.
const KEPT_PERCENT: u64 = 25;
/// Processor time that a container is taken to have that was given no limit, and the least that it keeps.
const UNLIMITED: MilliCpu = MilliCpu(1_000);
const LEAST: MilliCpu = MilliCpu(10);

/// What of a pod is held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// The processor time of its containers: a GPU works on what processors have asked of it.
    Processors,
    /// What it may still take of a GPU's memory.
    GpuMemory(GpuUuid),
}

impl Held {
    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Held::Processors => "processors",
            Held::GpuMemory(_) => "gpu-memory",
        }
    }
}

/// What of which pods is held, with what the pod may have of it: bytes of a GPU's memory, and nothing of note of
/// processor time, see [`processor_time`].
pub type Holds = BTreeMap<(PodUid, Held), Bytes>;

/// What the rung asks for where this kind of violation was seen on this GPU; none if it asks for nothing.
#[must_use]
pub fn asked_for(kind: ViolationKind, gpu: &GpuUuid) -> Option<Held> {
    use ViolationKind as K;
    match kind {
        K::GpuOverQuota => Some(Held::Processors),
        K::GpuMemoryOverQuota => Some(Held::GpuMemory(gpu.clone())),
        K::GpuOverQuotaIdle
        | K::GpuDeviceSaturated
        | K::LimiterBypass
        | K::ZombieGpuProcess
        | K::UnknownProcess
        | K::OrphanMemory
        | K::DeviceHealth
        | K::ThermalThrottle
        | K::CpuUsage
        | K::MemoryUsage => None,
    }
}

/// What is to be held now: what was asked for and is not over, and what was done and goes on.
#[must_use]
pub fn holds(world: &World) -> Holds {
    let known = world.gpus.iter().filter_map(|(uuid, gpu): (_, &Gpu)| Some((uuid, gpu.known()?)));
    let open = known.flat_map(|(gpu, known)| known.violations.open.values().map(move |open| (gpu, open)));
    let held = |(gpu, episode): (&GpuUuid, &Episode)| {
        let is_held = match episode.measures.get(&Level::Throttle)? {
            Measure::Requested { .. } | Measure::Ended(Outcome::Completed) => true,
            Measure::Ended(Outcome::Failed | Outcome::Skipped) => false,
        };
        let held = asked_for(episode.kind, gpu).filter(|_| is_held)?;
        Some(((episode.pod?, held), Bytes(episode.limit)))
    };
    open.filter_map(held).collect()
}

/// What may be held of pods because of episodes that are remembered, open or over.
#[must_use]
pub fn ever_held(world: &World) -> BTreeSet<(PodUid, Held)> {
    let held = |episode: &PastEpisode| {
        let is_asked = |step: &crate::view::violations::EpisodeStep| {
            step.level == Level::Throttle && step.what == StepKind::Requested
        };
        episode.steps.iter().find(|step| is_asked(step))?;
        Some((episode.pod?, asked_for(episode.kind, episode.gpu.as_ref()?)?))
    };
    world.violations.all().filter_map(held).collect()
}

/// The processor time that a container may have while its pod is held. `limit` is what it was given; none for no limit.
#[must_use]
pub fn processor_time(limit: Option<MilliCpu>) -> MilliCpu {
    let given = limit.unwrap_or(UNLIMITED);
    let kept = given.0.saturating_mul(KEPT_PERCENT) / 100;
    // Never more than it was given.
    MilliCpu(kept.max(LEAST.0).min(given.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_keeps_a_quarter_and_never_gets_more_than_it_was_given() {
        assert_eq!(processor_time(Some(MilliCpu(2_000))), MilliCpu(500));
        assert_eq!(processor_time(None), MilliCpu(250));
        assert_eq!(processor_time(Some(MilliCpu(20))), MilliCpu(10));
        assert_eq!(processor_time(Some(MilliCpu(5))), MilliCpu(5));
    }
}
