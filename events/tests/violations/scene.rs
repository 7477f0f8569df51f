//! A GPU that is sampled each second, and what becomes of its violations.

use std::collections::BTreeMap;

use purser_events::ledger::{GpuUuid, Qos};
use purser_events::violation::detector::{Detector, GpuSample, Holder, Moment, Owner, ProcessUse, Soundness};
use purser_events::violation::event::Outcome;
use purser_events::violation::{
    Level, MonitorPolicy, ViolationCommand, ViolationEvent, ViolationKind, Violations,
};
use purser_events::{Bytes, PodUid, Timestamp};
use uuid::Uuid;

/// A gibibyte.
pub(crate) const GIB: u64 = 1 << 30;

pub(crate) fn pod(number: u64) -> PodUid {
    PodUid(Uuid::from_u128(u128::from(number)))
}

/// A GPU that answers, is used by nobody and belongs to nobody.
pub(crate) fn idle() -> GpuSample {
    GpuSample {
        gpu: GpuUuid::new("GPU-0").expect("a name"),
        soundness: Soundness::Sound,
        utilization: Some(0),
        memory_used: Some(Bytes(0)),
        slowed: Some(false),
        processes: Some(vec![]),
        holders: BTreeMap::new(),
    }
}

/// A process that holds so many GiB and keeps the GPU busy for so many percent of the time.
pub(crate) fn process(pid: u32, owner: Owner, gib: u64, sm_percent: u32) -> ProcessUse {
    ProcessUse { pid, owner, memory: Some(Bytes(gib * GIB)), sm_percent: Some(sm_percent) }
}

pub(crate) fn holder(share: u32, gib: u64, rank: i32) -> Holder {
    Holder { share, memory: Bytes(gib * GIB), qos: Qos::Medium, priority: rank }
}

/// A GPU, its violations and all that has happened to them.
pub(crate) struct Scene {
    pub(crate) policy: MonitorPolicy,
    pub(crate) violations: Violations,
    /// With the second in which each happened.
    pub(crate) events: Vec<(u64, ViolationEvent)>,
    pub(crate) second: u64,
    /// How far the clock on the wall is ahead of the time that has passed, in seconds.
    pub(crate) wall_ahead_s: i64,
    detector: Detector,
    evaluated: u64,
    ids: u128,
}

impl Scene {
    /// With the default policy, and past the time after a start in which nothing is judged.
    pub(crate) fn new() -> Scene {
        Scene::with(MonitorPolicy { warm_up_ms: 0, ..MonitorPolicy::default() })
    }

    pub(crate) fn with(policy: MonitorPolicy) -> Scene {
        Scene {
            policy,
            violations: Violations::default(),
            events: vec![],
            second: 1_000,
            wall_ahead_s: 1_750_000_000,
            detector: Detector::new(1_000_000),
            evaluated: 1_000,
            ids: 0,
        }
    }

    /// The service is started again: its timers are gone, the journal is not.
    pub(crate) fn restart(&mut self) {
        self.detector = Detector::new(self.second * 1_000);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp((i64::try_from(self.second).expect("a few") + self.wall_ahead_s) * 1_000_000)
    }

    /// Looks once a second, for so many seconds.
    pub(crate) fn seconds(&mut self, seconds: u64, sample: &GpuSample) -> &mut Scene {
        (0..seconds).for_each(|_| self.look(sample));
        self
    }

    fn look(&mut self, sample: &GpuSample) {
        self.second += 1;
        let evaluates = self.policy.interval_ms <= (self.second - self.evaluated) * 1_000;
        if evaluates {
            self.evaluated = self.second;
        }
        let moment = Moment { now_ms: self.second * 1_000, evaluates };
        for proposal in self.detector.gpu(sample, &self.violations, &self.policy, moment) {
            self.ids += 1;
            let command = proposal.command(Uuid::from_u128(self.ids), self.now(), &self.policy);
            self.tell(&command);
        }
    }

    /// Carries out a command if it is not refused.
    pub(crate) fn tell(&mut self, command: &ViolationCommand) {
        for event in self.violations.decide(command, self.now()).unwrap_or_default() {
            self.violations.follow(&event).unwrap_or_else(|| panic!("{event:?} cannot follow"));
            self.events.push((self.second, event));
        }
    }

    /// Says of everything that is to be done that it came to this.
    pub(crate) fn enforce(&mut self, outcome: impl Fn(Level) -> Outcome) {
        let open: Vec<_> = self.violations.open.iter().map(|(id, it)| (*id, it.pending())).collect();
        for (id, pending) in open {
            if let Some((level, _)) = pending {
                let (outcome, reason) = (outcome(level), "as the test has it".to_owned());
                self.tell(&ViolationCommand::ReportEnforcement { id, level, outcome, reason });
            }
        }
    }

    /// What an episode is of, also once it is over.
    pub(crate) fn whose(&self, id: Uuid) -> (ViolationKind, Option<PodUid>) {
        let of = self.events.iter().find_map(|(_, event)| match event {
            ViolationEvent::Detected(it) if it.id == id => Some((it.kind, it.pod)),
            _ => None,
        });
        of.expect("it was told of")
    }

    /// What has happened, in words.
    pub(crate) fn told(&self) -> Vec<String> {
        use ViolationEvent as E;
        let told = self.events.iter().map(|(_, event)| match event {
            E::Detected(it) => format!("{} of {} at {}", it.kind, whose(it.pod), it.level),
            E::Escalated(it) => format!("{} to {}", it.from, it.to),
            E::EnforcementRequested(it) => format!("do {}", it.level),
            E::EnforcementEnded(it) => format!("{} {}", it.level, it.outcome.word()),
            E::Resolved(_) => "resolved".to_owned(),
            E::GapOpened(it) => format!("gap: {}", it.cause.word()),
            E::GapClosed(_) => "gap over".to_owned(),
        });
        told.collect()
    }
}

fn whose(pod: Option<PodUid>) -> String {
    pod.map_or_else(|| "nobody".to_owned(), |pod| pod.0.as_u128().to_string())
}
