//! What was seen of the GPUs, as the detector takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use purser_events::gpu::{Gpu, Health};
use purser_events::ledger::{GpuUuid, HolderId, Qos};
use purser_events::pod::{Pod, PodState};
use purser_events::violation::ViolationKind;
use purser_events::violation::detector::{GpuSample, Holder, Owner, ProcessUse, Soundness};
use purser_events::{Bytes, PodUid, Timestamp, World};

use crate::port::{
    DriverState, GpuPart, GpuProcess, GpuReadings, GpuState, ProcessOwner, SeenGpu, SeenGpus, Slowdown,
};

/// How old figures may be before they count as missing.
const STALE: Duration = Duration::from_secs(5);

/// Which figures were looked at last, and what they said of pods that were given nothing.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    last: BTreeMap<GpuUuid, (Timestamp, Duration)>,
    /// Pods that use a GPU of which they were given nothing.
    guests: BTreeMap<GpuUuid, BTreeSet<PodUid>>,
    /// GPUs that had nothing new to say at the last evaluation: what they say next counts as it.
    owed: BTreeSet<GpuUuid>,
}

/// Whether figures are worth a look.
enum Figures<'a> {
    /// They are new.
    New(&'a GpuReadings),
    /// They were looked at before.
    Known,
    /// There are none.
    Missing,
}

impl Freshness {
    fn of<'a>(&mut self, gpu: &'a SeenGpu, passed: Duration) -> Figures<'a> {
        let Some(readings) = gpu.readings.as_ref().filter(|_| gpu.state == GpuState::Ready) else {
            return Figures::Missing;
        };
        match self.last.get(&gpu.uuid) {
            Some((at, seen)) if *at == readings.at => {
                if STALE <= passed.saturating_sub(*seen) {
                    Figures::Missing
                } else {
                    Figures::Known
                }
            }
            Some(_) | None => {
                self.last.insert(gpu.uuid.clone(), (readings.at, passed));
                Figures::New(readings)
            }
        }
    }

    /// Adds those who use a GPU and were given nothing of it: they may use nothing of it. Where processes cannot be told,
    /// or whose one is cannot, they are also those of the last look, and those who are told of on record, as long as they
    /// run: that nothing can be seen ends nothing.
    fn add_guests(
        &mut self,
        gpu: &GpuUuid,
        processes: Option<&[ProcessUse]>,
        held: &mut BTreeMap<PodUid, Holder>,
        world: &World,
    ) {
        let is_whole = processes.is_some_and(|all| all.iter().all(|process| process.owner != Owner::Untold));
        let using = processes.into_iter().flatten().filter_map(|process| match process.owner {
            Owner::Pod(pod) => Some(pod),
            Owner::GonePod(_) | Owner::Unknown(_) | Owner::Untold | Owner::Ended => None,
        });
        let mut guests: BTreeSet<PodUid> = using.filter(|pod| !held.contains_key(pod)).collect();
        if !is_whole {
            let last = self.guests.get(gpu).into_iter().flatten().copied();
            guests.extend(last.chain(told_of(world, gpu)).filter(|pod| runs(world, *pod)));
        }
        if processes.is_some() {
            self.guests.insert(gpu.clone(), guests.clone());
        }
        for pod in guests {
            let nothing =
                Holder { share: 0, memory: Bytes(0), qos: qos(world, pod), priority: priority(world, pod) };
            held.entry(pod).or_insert(nothing);
        }
    }
}

/// The pods of which it is on record that they use too much of a GPU.
fn told_of(world: &World, gpu: &GpuUuid) -> impl Iterator<Item = PodUid> {
    let known = world.gpus.get(gpu).and_then(|gpu| gpu.known());
    let open = known.into_iter().flat_map(|known| known.violations.open.values());
    open.filter(|episode| episode.kind != ViolationKind::ZombieGpuProcess).filter_map(|episode| episode.pod)
}

/// A sample of every GPU of which there is something new to say, and whether it counts as an evaluation: `evaluates` says
/// that it is time for one. `passed` only goes forward.
pub(super) fn at_gpus(
    seen: &SeenGpus,
    world: &World,
    freshness: &mut Freshness,
    (passed, evaluates): (Duration, bool),
) -> Vec<(GpuSample, bool)> {
    let mut holders = holders(world);
    freshness.last.retain(|uuid, _| seen.gpus.iter().any(|gpu| gpu.uuid == *uuid));
    freshness.guests.retain(|uuid, _| world.gpus.contains_key(uuid));
    freshness.owed.retain(|uuid| world.gpus.contains_key(uuid));
    let mut samples = vec![];
    // Nobody can look at a GPU that is only named, and what runs on a divided one runs on its instances.
    let is_looked_at = |gpu: &&SeenGpu| gpu.state != GpuState::Named && gpu.part != GpuPart::Divided;
    for gpu in seen.gpus.iter().filter(is_looked_at) {
        let mut held = holders.remove(&gpu.uuid).unwrap_or_default();
        let readings = match freshness.of(gpu, passed) {
            Figures::Known => {
                if evaluates {
                    freshness.owed.insert(gpu.uuid.clone());
                }
                continue;
            }
            Figures::New(readings) => Some(readings),
            Figures::Missing => None,
        };
        let processes = readings.and_then(|readings| readings.processes.value());
        let processes = processes.map(|processes| processes.iter().map(|process| used(process, world)));
        let processes: Option<Vec<ProcessUse>> = processes.map(Iterator::collect);
        freshness.add_guests(&gpu.uuid, processes.as_deref(), &mut held, world);
        let sample = GpuSample {
            gpu: gpu.uuid.clone(),
            soundness: soundness(gpu, world),
            utilization: readings.and_then(|readings| readings.utilization_percent.value().copied()),
            memory_used: readings.and_then(|readings| readings.memory_used.value().copied()),
            slowed: readings.and_then(|readings| readings.slowed_by.value()).map(is_slowed),
            processes,
            holders: held,
        };
        let is_owed = freshness.owed.remove(&gpu.uuid);
        samples.push((sample, evaluates || is_owed));
    }
    let listed: BTreeSet<&GpuUuid> = seen.gpus.iter().map(|gpu| &gpu.uuid).collect();
    for (gpu, state) in world.gpus.iter().filter(|(gpu, _)| !listed.contains(gpu)) {
        let mut held = holders.remove(gpu).unwrap_or_default();
        freshness.add_guests(gpu, None, &mut held, world);
        // Of one that is gone, and that concerns nobody, there is nothing to say.
        if held.is_empty() && state.known().is_none_or(|known| known.violations.open.is_empty()) {
            continue;
        }
        samples.push((unlisted(gpu.clone(), &seen.driver, held), evaluates));
    }
    samples
}

/// A sample of a GPU that the driver does not list.
fn unlisted(gpu: GpuUuid, driver: &DriverState, holders: BTreeMap<PodUid, Holder>) -> GpuSample {
    let faulty = |reason: &str| Soundness::Faulty(reason.to_owned());
    let soundness = match driver {
        DriverState::Starting => Soundness::Untold,
        DriverState::Absent => faulty("there is no driver"),
        DriverState::Up { .. } => faulty("the driver does not list it"),
        DriverState::Failing { reason } => faulty(&format!("the driver fails: {reason}")),
    };
    let (utilization, memory_used, slowed, processes) = (None, None, None, None);
    GpuSample { gpu, soundness, utilization, memory_used, slowed, processes, holders }
}

/// What pods were given of each GPU.
pub(super) fn holders(world: &World) -> BTreeMap<GpuUuid, BTreeMap<PodUid, Holder>> {
    let mut holders: BTreeMap<GpuUuid, BTreeMap<PodUid, Holder>> = BTreeMap::new();
    for (holder, holding) in &world.ledger.holdings {
        let HolderId::Pod(pod) = holder else { continue };
        for gpu in &holding.grant.gpus {
            let (qos, priority) = (qos(world, *pod), holding.priority);
            let holder = Holder { share: gpu.share, memory: gpu.memory, qos, priority };
            holders.entry(gpu.uuid.clone()).or_default().insert(*pod, holder);
        }
    }
    holders
}

fn qos(world: &World, pod: PodUid) -> Qos {
    world.pod(pod).and_then(Pod::live).map(|pod| pod.spec.claims.qos).unwrap_or_default()
}

fn priority(world: &World, pod: PodUid) -> i32 {
    world.ledger.holdings.get(&HolderId::Pod(pod)).map_or(0, |holding| holding.priority)
}

fn runs(world: &World, pod: PodUid) -> bool {
    world.pod(pod).and_then(Pod::live).is_some_and(PodState::holds_resources)
}

fn soundness(gpu: &SeenGpu, world: &World) -> Soundness {
    match &gpu.state {
        GpuState::Ready => {
            let known = world.gpus.get(&gpu.uuid).and_then(Gpu::known);
            let faulty = known.filter(|known| matches!(known.health, Health::Faulty { .. }));
            let reason = faulty.and_then(|known| known.health.detail());
            reason.map_or(Soundness::Sound, Soundness::Faulty)
        }
        GpuState::Named => Soundness::Sound,
        GpuState::Starting => Soundness::Untold,
        state @ (GpuState::Unresponsive { .. } | GpuState::Lost { .. } | GpuState::Contradicted { .. }) => {
            Soundness::Faulty(state.reason().unwrap_or_else(|| state.word().to_owned()))
        }
    }
}

fn is_slowed(by: &BTreeSet<Slowdown>) -> bool {
    by.contains(&Slowdown::HardwareThermal) || by.contains(&Slowdown::PowerBrake)
}

fn used(process: &GpuProcess, world: &World) -> ProcessUse {
    let owner = match &process.owner {
        ProcessOwner::Pod { pod, .. } => {
            if runs(world, *pod) {
                Owner::Pod(*pod)
            } else {
                Owner::GonePod(*pod)
            }
        }
        ProcessOwner::Unknown { name } => Owner::Unknown(name.clone()),
        ProcessOwner::Unreadable => Owner::Untold,
        ProcessOwner::Gone => Owner::Ended,
    };
    ProcessUse { pid: process.pid, owner, memory: process.memory, sm_percent: process.sm_percent }
}
