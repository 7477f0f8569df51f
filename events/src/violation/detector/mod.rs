//! From samples to proposals: what is violated, for how long, and what is to be done. Pure: the samples and a clock that
//! only goes forward are arguments, and which episodes are open is the entity's to say. Timers are in memory alone: a
//! restart begins them anew, after a time in which nothing is judged.

mod gpu;
mod look;
mod pod;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

pub use gpu::{GpuSample, Holder, Owner, ProcessUse, Soundness};
pub use pod::{PodSample, Use};

use uuid::Uuid;

use self::look::{Condition, Seen};
use self::watch::{Hold, Smoothed, Watch};
use super::command::ViolationCommand;
use super::event::{GapCause, Outcome};
use super::kind::{Level, ViolationKind};
use super::policy::MonitorPolicy;
use super::state::{Episode, Violations};
use crate::ids::PodUid;
use crate::ledger::GpuUuid;

/// Evaluations without figures before limits count as not checked.
const MISSED_MAX: u64 = 2;

/// Whose violations they are: one stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A GPU's.
    Gpu(GpuUuid),
    /// A pod's.
    Pod(PodUid),
}

/// The moment of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds of a clock that only goes forward.
    pub now_ms: u64,
    /// Whether it is an evaluation, which counts for the ladder.
    pub evaluates: bool,
}

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    /// A violation has begun.
    Open {
        /// What is violated.
        kind: ViolationKind,
        /// Who does it.
        pod: Option<PodUid>,
        /// What was seen.
        value: u64,
        /// What is allowed.
        limit: u64,
        /// What was seen, in words.
        evidence: String,
    },
    /// It is to climb a rung.
    Escalate {
        /// Which.
        id: Uuid,
        /// To which.
        to: Level,
        /// The most that was seen.
        peak: u64,
        /// Why.
        reason: String,
    },
    /// It has ended.
    Resolve {
        /// Which.
        id: Uuid,
        /// The most that was seen.
        peak: u64,
        /// Use over the limit, summed over seconds; none if a part of it was not seen, as over a restart.
        area: Option<u64>,
        /// Why.
        reason: String,
    },
    /// Limits are not checked.
    OpenGap {
        /// For how long they have not been, in milliseconds.
        lasted_ms: u64,
        /// Why.
        cause: GapCause,
        /// Whose.
        pods: Vec<PodUid>,
    },
    /// Limits are checked again.
    CloseGap,
}

/// Watches every GPU and pod.
#[derive(Debug, Clone)]
pub struct Detector {
    started_ms: u64,
    scopes: BTreeMap<Scope, Watched>,
}

/// What is watched of one GPU or pod.
#[derive(Debug, Clone, Default)]
struct Watched {
    conditions: BTreeMap<(ViolationKind, Option<PodUid>), Watch>,
    smoothed: BTreeMap<PodUid, Smoothed>,
    /// Since when a pod's limits cannot be checked.
    missing_since_ms: BTreeMap<PodUid, u64>,
}

impl Proposal {
    /// As a command to the entity, as the policy has it. `id` becomes the name of an episode that begins, `now` is the
    /// time by the clock.
    #[must_use]
    pub fn command(self, id: Uuid, now: crate::Timestamp, policy: &MonitorPolicy) -> ViolationCommand {
        match self {
            Proposal::Open { kind, pod, value, limit, evidence } => {
                let (cool_down_ms, max) = (policy.cool_down_ms, policy.max_level(kind));
                ViolationCommand::Open { id, kind, pod, value, limit, evidence, cool_down_ms, max }
            }
            Proposal::Escalate { id, to, peak, reason } => {
                ViolationCommand::escalate(policy, id, to, peak, reason)
            }
            Proposal::Resolve { id, peak, area, reason } => {
                ViolationCommand::Resolve { id, peak, area, reason }
            }
            Proposal::OpenGap { lasted_ms, cause, pods } => {
                let since = now.minus_ms(lasted_ms);
                ViolationCommand::OpenGap { since, cause, pods }
            }
            Proposal::CloseGap => ViolationCommand::CloseGap,
        }
    }
}

impl Detector {
    /// Begins to watch at that moment.
    #[must_use]
    pub fn new(now_ms: u64) -> Detector {
        Detector { started_ms: now_ms, scopes: BTreeMap::new() }
    }

    /// What follows from a sample of a GPU whose violations are `known`.
    pub fn gpu(
        &mut self,
        sample: &GpuSample,
        known: &Violations,
        policy: &MonitorPolicy,
        moment: Moment,
    ) -> Vec<Proposal> {
        if self.is_warming_up(policy, moment) {
            return vec![];
        }
        let watched = self.scopes.entry(Scope::Gpu(sample.gpu.clone())).or_default();
        let zombies = watched.pods(ViolationKind::ZombieGpuProcess);
        let seen = gpu::see(sample, known, &zombies, &mut watched.smoothed, policy, moment.now_ms);
        let mut proposals = watched.judge(&seen, known, policy, moment);
        gpu::spare_all_but_the_worst(&mut proposals, sample, known, &seen);
        proposals.extend(watched.gap(sample.missing(), known, policy, moment));
        proposals
    }

    /// What follows from a sample of a pod whose violations are `known`.
    pub fn pod(
        &mut self,
        sample: &PodSample,
        known: &Violations,
        policy: &MonitorPolicy,
        moment: Moment,
    ) -> Vec<Proposal> {
        if self.is_warming_up(policy, moment) {
            return vec![];
        }
        let watched = self.scopes.entry(Scope::Pod(sample.pod)).or_default();
        let mut proposals = watched.judge(&pod::see(sample, policy), known, policy, moment);
        proposals.extend(watched.gap(sample.missing(), known, policy, moment));
        proposals
    }

    /// Forgets every GPU and pod but these.
    pub fn keep(&mut self, scopes: &BTreeSet<Scope>) {
        self.scopes.retain(|scope, _| scopes.contains(scope));
    }

    fn is_warming_up(&self, policy: &MonitorPolicy, moment: Moment) -> bool {
        moment.now_ms.saturating_sub(self.started_ms) < policy.warm_up_ms
    }
}

impl Watched {
    /// The pods of which a condition is watched.
    fn pods(&self, kind: ViolationKind) -> BTreeSet<PodUid> {
        let of_kind = self.conditions.keys().filter(|(watched, _)| *watched == kind);
        of_kind.filter_map(|(_, pod)| *pod).collect()
    }

    /// What follows from what was seen.
    fn judge(
        &mut self,
        seen: &[Seen],
        known: &Violations,
        policy: &MonitorPolicy,
        moment: Moment,
    ) -> Vec<Proposal> {
        let mut proposals = vec![];
        for seen in seen {
            let watch = self.conditions.entry((seen.kind, seen.pod)).or_default();
            match seen.side {
                Some(side) => watch.look(side, seen.value, seen.limit, moment.now_ms),
                None => watch.miss(),
            }
            let open = known.find(seen.kind, seen.pod);
            watch.on_rung(open.map(|(_, episode)| episode.level));
            if moment.evaluates && open.is_some_and(|(_, episode)| episode.pending().is_none()) {
                watch.evaluate();
            }
            proposals.extend(step(watch, seen, open, known, policy));
        }
        let is_seen = |kind, pod| seen.iter().any(|seen| (seen.kind, seen.pod) == (kind, pod));
        let gone = known.open.iter().filter(|(_, episode)| !is_seen(episode.kind, episode.pod));
        let over = gone.filter(|(_, episode)| episode.pending().is_none());
        proposals.extend(over.map(|(id, episode)| {
            let watch = self.conditions.get(&(episode.kind, episode.pod));
            let (peak, area) = watch.map_or((0, None), Watch::figures);
            let reason = "the pod has nothing here any more".to_owned();
            Proposal::Resolve { id: *id, peak: peak.max(episode.peak), area, reason }
        }));
        let is_open = |kind, pod| known.find(kind, pod).is_some();
        self.conditions.retain(|(kind, pod), _| is_seen(*kind, *pod) || is_open(*kind, *pod));
        let left = self.conditions.iter_mut().filter(|((kind, pod), _)| !is_seen(*kind, *pod));
        left.for_each(|(_, watch)| watch.leave());
        proposals
    }

    /// Whether limits have begun, or ceased, to be checked, and whose. A gap is of the same pods from its beginning to its
    /// end: where others come to be in it, another follows it.
    fn gap(
        &mut self,
        (cause, missing): (GapCause, BTreeSet<PodUid>),
        known: &Violations,
        policy: &MonitorPolicy,
        moment: Moment,
    ) -> Vec<Proposal> {
        self.missing_since_ms.retain(|pod, _| missing.contains(pod));
        for pod in missing {
            self.missing_since_ms.entry(pod).or_insert(moment.now_ms);
        }
        let told: BTreeSet<PodUid> = known.gap.iter().flat_map(|gap| gap.pods.iter().copied()).collect();
        let lasted = |since: u64| moment.now_ms.saturating_sub(since);
        let is_due = |(pod, since): &(&PodUid, &u64)| {
            told.contains(pod) || MISSED_MAX * policy.interval_ms <= lasted(**since)
        };
        let due: BTreeMap<PodUid, u64> =
            self.missing_since_ms.iter().filter(is_due).map(|(pod, since)| (*pod, lasted(*since))).collect();
        let pods: Vec<PodUid> = due.keys().copied().collect();
        let open = |lasted_ms| {
            (!pods.is_empty()).then(|| Proposal::OpenGap { lasted_ms, cause, pods: pods.clone() })
        };
        match &known.gap {
            None => open(due.values().copied().min().unwrap_or(0)).into_iter().collect(),
            Some(_) if due.keys().eq(&told) => vec![],
            Some(_) => [Proposal::CloseGap].into_iter().chain(open(0)).collect(),
        }
    }
}

/// What follows for one condition.
fn step(
    watch: &mut Watch,
    seen: &Seen,
    open: Option<(Uuid, &Episode)>,
    known: &Violations,
    policy: &MonitorPolicy,
) -> Option<Proposal> {
    let Condition { raise, clear } = seen.condition;
    let Some((id, episode)) = open else {
        if watch.has_held(raise) {
            let (kind, pod, value, limit) = (seen.kind, seen.pod, seen.value, seen.limit);
            return Some(Proposal::Open { kind, pod, value, limit, evidence: seen.evidence.clone() });
        }
        watch.stand_by();
        return None;
    };
    let (peak, area) = watch.figures();
    if episode.pending().is_some() {
        return None;
    }
    let clear_ms = if known.comes_back(episode, policy.cool_down_ms) { policy.cool_down_ms } else { 0 };
    if watch.has_cleared(Hold { ms: clear.ms.max(clear_ms), ..clear }) {
        let reason = format!("back within the limit: {}", seen.kind.unit().show(seen.value));
        return Some(Proposal::Resolve { id, peak, area, reason });
    }
    let to = episode.level.next().filter(|to| *to <= policy.max_level(seen.kind).min(seen.cap))?;
    if !watch.is_seen_over() {
        return None;
    }
    let (level, figure) = (episode.level, seen.kind.unit().show(seen.value));
    let reason = match episode.outcome() {
        Some(Outcome::Skipped | Outcome::Failed) => format!("{level} was of no use; {figure} now"),
        Some(Outcome::Completed) | None if policy.violations_max <= watch.strikes() => {
            format!("{} evaluations in a row at {level}; {figure} now", watch.strikes())
        }
        Some(Outcome::Completed) | None => return None,
    };
    Some(Proposal::Escalate { id, to, peak, reason })
}
