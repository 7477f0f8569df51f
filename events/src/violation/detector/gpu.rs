//! What a sample of a GPU says: each pod against its own share of it, the processes on it, and the device itself.

use std::collections::{BTreeMap, BTreeSet};

use super::super::event::GapCause;
use super::super::kind::{Level, ViolationKind};
use super::super::policy::MonitorPolicy;
use super::super::state::{Episode, Violations};
use super::Proposal;
use super::look::{Condition, Seen};
use super::watch::{Hold, Side, Smoothed};
use crate::ids::PodUid;
use crate::ledger::{GpuUuid, Qos};
use crate::units::Bytes;

/// Permille over its share from which on a pod is over it, and within which it is no longer.
const SHARE_RAISE: u64 = 50;
const SHARE_CLEAR: u64 = 20;
/// Memory over its limit that a pod may hold: what a driver's own bookkeeping comes to.
const MEMORY_MARGIN: u64 = 64 << 20;
/// Permille below the threshold at which a GPU is no longer saturated.
const SATURATED_HYSTERESIS: u64 = 50;
/// Memory that no process has: from which on it is orphaned, and below which it is no longer.
const ORPHAN_RAISE: u64 = 512 << 20;
const ORPHAN_CLEAR: u64 = 256 << 20;
/// Percent of a GPU's processors that are all of them.
const WHOLE_SHARE: u32 = 100;
/// Processes that evidence names.
const NAMED_MAX: usize = 8;

const MEMORY: Condition = Condition { raise: Hold::looks(2), clear: Hold::looks(2) };
const SATURATED: Condition = Condition { raise: Hold::looks(3), clear: Hold::looks(3) };
const ZOMBIE: Condition = Condition { raise: Hold::ms(30_000), clear: Hold::looks(1) };
const UNKNOWN: Condition = Condition { raise: Hold::looks(2), clear: Hold::looks(1) };
const ORPHAN: Condition = Condition { raise: Hold::ms(60_000), clear: Hold::looks(2) };
const HEALTH: Condition = Condition { raise: Hold::looks(1), clear: Hold::ms(60_000) };
const THERMAL: Condition = Condition { raise: Hold::ms(30_000), clear: Hold::ms(30_000) };

/// What was seen of a GPU at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuSample {
    /// Which.
    pub gpu: GpuUuid,
    /// Whether it is of use.
    pub soundness: Soundness,
    /// Percent of the time that it was busy; none if that cannot be told.
    pub utilization: Option<u32>,
    /// Memory that is used, by whomever; none if that cannot be told.
    pub memory_used: Option<Bytes>,
    /// Whether the hardware slows it for heat or for want of power; none if that cannot be told.
    pub slowed: Option<bool>,
    /// Processes that use it; none if that cannot be told.
    pub processes: Option<Vec<ProcessUse>>,
    /// Pods that were given something of it.
    pub holders: BTreeMap<PodUid, Holder>,
}

/// Whether a GPU is of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soundness {
    /// It is.
    Sound,
    /// It is not, for this reason.
    Faulty(String),
    /// That cannot be told: it has not been looked at.
    Untold,
}

/// What a pod was given of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Percent of its processors.
    pub share: u32,
    /// Of its memory.
    pub memory: Bytes,
    /// How much it matters here: the least is evicted first, and the most never.
    pub qos: Qos,
    /// How much it matters among those of the same QoS.
    pub priority: i32,
}

/// A process that uses a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessUse {
    /// Its id.
    pub pid: u32,
    /// Whose it is.
    pub owner: Owner,
    /// What of the GPU's memory it holds; none if that cannot be told.
    pub memory: Option<Bytes>,
    /// Percent of the time that the GPU was busy for it; none if that cannot be told.
    pub sm_percent: Option<u32>,
}

/// Whose a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A pod's that runs.
    Pod(PodUid),
    /// A pod's of which nothing is to run any more.
    GonePod(PodUid),
    /// Nobody's that this node knows, with its name if that can be read.
    Unknown(Option<String>),
    /// That could not be told this time: it may be anybody's.
    Untold,
    /// It has ended meanwhile, or its id is another's now.
    Ended,
}

impl GpuSample {
    /// Whose limits cannot be checked on it, and why.
    pub(super) fn missing(&self) -> (GapCause, BTreeSet<PodUid>) {
        let cause = match self.soundness {
            Soundness::Faulty(_) => GapCause::DriverAway,
            Soundness::Sound | Soundness::Untold => GapCause::NoFigures,
        };
        let unchecked = self.holders.iter().filter(|(pod, holder)| !self.tells_of(**pod, holder));
        (cause, unchecked.map(|(pod, _)| *pod).collect())
    }

    /// Whether it has the figures that a pod's limits are checked with.
    fn tells_of(&self, pod: PodUid, holder: &Holder) -> bool {
        let Some(mut processes) = self.of(pod).filter(|_| !self.hides_owners()) else { return false };
        // Whoever was given all of the processors cannot use too much of them: an instance tells of no use.
        let is_bounded = holder.share < WHOLE_SHARE;
        let has_figures =
            |process: &ProcessUse| process.memory.is_some() && (!is_bounded || process.sm_percent.is_some());
        (!is_bounded || self.utilization.is_some()) && processes.all(has_figures)
    }

    fn of(&self, pod: PodUid) -> Option<impl Iterator<Item = &ProcessUse>> {
        let processes = self.processes.as_ref()?;
        Some(processes.iter().filter(move |process| process.owner == Owner::Pod(pod)))
    }

    /// Whether it lists a process that may be anybody's.
    fn hides_owners(&self) -> bool {
        self.untold().next().is_some()
    }

    fn untold(&self) -> impl Iterator<Item = &ProcessUse> {
        self.processes.iter().flatten().filter(|process| process.owner == Owner::Untold)
    }

    /// The processes of such an owner. That there are none cannot be told while one may be anybody's.
    fn owned(&self, is_it: impl Fn(&Owner) -> bool) -> Option<Vec<&ProcessUse>> {
        let processes = self.processes.as_ref()?;
        let owned: Vec<_> = processes.iter().filter(|process| is_it(&process.owner)).collect();
        (!owned.is_empty() || !self.hides_owners()).then_some(owned)
    }
}

/// What a sample says. `zombies` are the pods that had some at the last look.
pub(super) fn see(
    sample: &GpuSample,
    known: &Violations,
    zombies: &BTreeSet<PodUid>,
    smoothed: &mut BTreeMap<PodUid, Smoothed>,
    policy: &MonitorPolicy,
    now_ms: u64,
) -> Vec<Seen> {
    smoothed.retain(|pod, _| sample.holders.contains_key(pod));
    let mut seen = device(sample, policy);
    seen.extend(left_behind(sample, known, zombies));
    for (pod, holder) in &sample.holders {
        let of = smoothed.entry(*pod).or_default();
        seen.extend(share(sample, *pod, *holder, of, policy, now_ms));
        seen.push(memory(sample, *pod, *holder));
    }
    seen
}

/// A pod's use of the processors: a violation where others want them, a note where nobody does.
fn share(
    sample: &GpuSample,
    pod: PodUid,
    holder: Holder,
    smoothed: &mut Smoothed,
    policy: &MonitorPolicy,
    now_ms: u64,
) -> [Seen; 2] {
    let is_hidden = sample.untold().any(|process| process.sm_percent != Some(0));
    let used = sample.of(pod).filter(|_| !is_hidden).and_then(|processes| {
        processes
            .map(|process| process.sm_percent)
            .try_fold(0_u64, |sum, percent| Some(sum.saturating_add(u64::from(percent?))))
    });
    let used = used.map(|percent| smoothed.add(percent.min(100) * 10, now_ms));
    let limit = u64::from(holder.share) * 10;
    let contended = sample.utilization.map(|percent| policy.gpu_percent < percent);
    let condition = Condition { raise: Hold::ms(policy.raise_ms), clear: Hold::ms(policy.clear_ms) };
    let of = |kind, wants_contention| {
        let bounds = (limit + SHARE_RAISE, limit + SHARE_CLEAR);
        let seen = Seen::figure((kind, Some(pod)), used, limit, bounds, condition);
        let side = match (seen.side, contended) {
            // Over, but not in this way: neither begins nor ends.
            (Some(Side::Over), Some(contended)) if contended != wants_contention => Some(Side::Between),
            (Some(Side::Over), None) => None,
            (side, _) => side,
        };
        Seen { side, cap: cap(holder), ..seen }
    };
    [of(ViolationKind::GpuOverQuota, true), of(ViolationKind::GpuOverQuotaIdle, false)]
}

/// A pod's memory. A process whose memory cannot be told makes that of its pod unknown; one that may be anybody's clears
/// nobody, and what a pod holds beside it counts.
fn memory(sample: &GpuSample, pod: PodUid, holder: Holder) -> Seen {
    let used = sample.of(pod).and_then(|mut processes| {
        processes.try_fold(0_u64, |sum, process| Some(sum.saturating_add(process.memory?.0)))
    });
    let limit = holder.memory.0;
    let raise_at = limit.saturating_add(MEMORY_MARGIN.max(limit / 100));
    let is_hidden = sample.untold().any(|process| process.memory != Some(Bytes(0)));
    let used = used.filter(|used| !is_hidden || raise_at < *used);
    let bounds = (raise_at, limit.saturating_add(1));
    let seen = Seen::figure((ViolationKind::GpuMemoryOverQuota, Some(pod)), used, limit, bounds, MEMORY);
    Seen { cap: cap(holder), ..seen }
}

/// The last rung for what a pod does.
fn cap(holder: Holder) -> Level {
    match holder.qos {
        Qos::Critical => Level::Throttle,
        Qos::Low | Qos::Medium | Qos::High => Level::Cordon,
    }
}

/// Processes of pods that are gone, by the pod. An episode that is open is looked at even when there are none, and where
/// processes cannot be told those of the last look are not gone.
fn left_behind(sample: &GpuSample, known: &Violations, last: &BTreeSet<PodUid>) -> Vec<Seen> {
    let pod_of = |process: &ProcessUse| match process.owner {
        Owner::GonePod(pod) => Some(pod),
        Owner::Pod(_) | Owner::Unknown(_) | Owner::Untold | Owner::Ended => None,
    };
    let mut pods: BTreeSet<PodUid> = sample.processes.iter().flatten().filter_map(pod_of).collect();
    let zombies = known.open.values().filter(|open| open.kind == ViolationKind::ZombieGpuProcess);
    pods.extend(zombies.filter_map(|open| open.pod));
    if sample.processes.is_none() || sample.hides_owners() {
        pods.extend(last);
    }
    let of = |pod: PodUid| {
        let processes = sample.owned(|owner| *owner == Owner::GonePod(pod));
        counted((ViolationKind::ZombieGpuProcess, Some(pod)), processes, ZOMBIE)
    };
    pods.into_iter().map(of).collect()
}

/// The device itself, and what is on it that belongs to no pod.
fn device(sample: &GpuSample, policy: &MonitorPolicy) -> Vec<Seen> {
    let threshold = u64::from(policy.gpu_percent) * 10;
    let busy = sample.utilization.map(|percent| u64::from(percent) * 10);
    let bounds = (threshold, threshold.saturating_sub(SATURATED_HYSTERESIS));
    let saturated = (ViolationKind::GpuDeviceSaturated, None);
    let stranger = |owner: &Owner| match owner {
        Owner::Unknown(name) => !name.as_ref().is_some_and(|name| policy.allows(name)),
        Owner::Pod(_) | Owner::GonePod(_) | Owner::Untold | Owner::Ended => false,
    };
    let strangers = sample.owned(stranger);
    let (is_faulty, fault) = match &sample.soundness {
        Soundness::Sound => (Some(0), "it answers"),
        Soundness::Faulty(reason) => (Some(1), reason.as_str()),
        Soundness::Untold => (None, "it has not answered yet"),
    };
    let slowed = sample.slowed.map(u64::from);
    vec![
        Seen::figure(saturated, busy, threshold, bounds, SATURATED),
        counted((ViolationKind::UnknownProcess, None), strangers, UNKNOWN),
        Seen::figure(
            (ViolationKind::OrphanMemory, None),
            orphaned(sample),
            0,
            (ORPHAN_RAISE, ORPHAN_CLEAR),
            ORPHAN,
        ),
        Seen::figure((ViolationKind::DeviceHealth, None), is_faulty, 0, (0, 1), HEALTH)
            .because(fault.to_owned()),
        Seen::figure((ViolationKind::ThermalThrottle, None), slowed, 0, (0, 1), THERMAL)
            .because("the hardware slows it for heat or for want of power".to_owned()),
    ]
}

/// Memory that is used while no process uses the GPU; what processes hold cannot be told apart from it.
fn orphaned(sample: &GpuSample) -> Option<u64> {
    let processes = sample.processes.as_ref()?;
    let used = sample.memory_used?.0;
    Some(if processes.is_empty() { used } else { 0 })
}

/// Processes that should not be there.
fn counted(
    of: (ViolationKind, Option<PodUid>),
    processes: Option<Vec<&ProcessUse>>,
    condition: Condition,
) -> Seen {
    let count = processes.as_ref().map(|processes| processes.len() as u64);
    let named = processes.iter().flatten().take(NAMED_MAX).map(|process| match &process.owner {
        Owner::Unknown(Some(name)) => format!("{} ({name})", process.pid),
        Owner::Pod(_) | Owner::GonePod(_) | Owner::Unknown(None) | Owner::Untold | Owner::Ended => {
            process.pid.to_string()
        }
    });
    let evidence = format!("processes {}", named.collect::<Vec<_>>().join(", "));
    Seen::figure(of, count, 0, (0, 1), condition).because(evidence)
}

/// Of several pods that are to be evicted from one GPU, all but the one that matters least and is over its limit most
/// wait; nobody is evicted while another eviction is under way.
pub(super) fn spare_all_but_the_worst(
    proposals: &mut Vec<Proposal>,
    sample: &GpuSample,
    known: &Violations,
    seen: &[Seen],
) {
    let under_way = known.open.values().filter_map(Episode::pending);
    let is_busy = under_way.into_iter().any(|(level, _)| level == Level::Evict);
    let standing = |proposal: &Proposal| {
        let Proposal::Escalate { id, to: Level::Evict, .. } = proposal else { return None };
        let episode = known.open.get(id)?;
        let holder = episode.pod.and_then(|pod| sample.holders.get(&pod));
        let rank = holder.map(|holder| (holder.qos, holder.priority));
        let of = seen.iter().find(|seen| (seen.kind, seen.pod) == (episode.kind, episode.pod))?;
        let ratio = u128::from(of.value) * 1_000 / u128::from(of.limit.max(1));
        Some((std::cmp::Reverse(rank), ratio, *id))
    };
    let worst = proposals.iter().filter_map(standing).max().map(|(_, _, id)| id);
    proposals.retain(|proposal| match proposal {
        Proposal::Escalate { id, to: Level::Evict, .. } => !is_busy && Some(*id) == worst,
        _ => true,
    });
}
