//! Violations in which nothing is empty and every state is there.

use std::collections::BTreeMap;

use purser_events::node::MonitorPolicies;
use purser_events::node::event::MonitorPolicySet;
use purser_events::view::ViolationHistory;
use purser_events::view::violations::{EpisodeStep, OpenGap, PastEpisode, PastGap, PodGaps, StepKind, Sum};
use purser_events::violation::event::{GapCause, Outcome};
use purser_events::violation::state::{EndedEpisode, Gap};
use purser_events::violation::{Episode, Level, Measure, ViolationKind, Violations};
use purser_events::{PodUid, Seq};
use uuid::Uuid;

use super::{AT, golden};

/// Every outcome of a measure.
const OUTCOMES: [Outcome; 3] = [Outcome::Completed, Outcome::Failed, Outcome::Skipped];

fn pod() -> PodUid {
    PodUid(Uuid::from_u128(1))
}

pub(super) fn policies() -> MonitorPolicies {
    let mut set: MonitorPolicySet = golden("node.monitor-policy-set.v1");
    set.policy.allowed_processes = vec!["Xorg".to_owned()];
    MonitorPolicies { in_force: set.policy.clone(), of_config: Some(set.policy) }
}

/// The violations of an entity: one of each kind, on each rung.
pub(super) fn of_entity() -> Violations {
    let levels = Level::ALL.into_iter().cycle();
    let open = ViolationKind::ALL.into_iter().zip(levels).zip(300_u128..).map(|((kind, level), id)| {
        let ended = OUTCOMES.into_iter().zip([Level::Throttle, Level::Evict, Level::Cordon]);
        let mut measures: BTreeMap<Level, Measure> =
            ended.map(|(outcome, level)| (level, Measure::Ended(outcome))).collect();
        measures.insert(level, Measure::Requested { at: AT, grace_s: 30 });
        let evidence = "more than it may".to_owned();
        let episode =
            Episode { kind, pod: Some(pod()), level, since: AT, peak: 12, limit: 10, evidence, measures };
        (Uuid::from_u128(id), episode)
    });
    let ended =
        EndedEpisode { kind: ViolationKind::GpuOverQuota, pod: Some(pod()), level: Level::Evict, at: AT };
    Violations {
        open: open.collect(),
        ended: vec![ended],
        last_eviction: Some(AT),
        gap: Some(Gap { since: AT, cause: GapCause::DriverAway, pods: vec![pod()] }),
    }
}

/// A history with an episode of each sort, and one of which nothing is to be told.
pub(super) fn history() -> ViolationHistory {
    let whats = [StepKind::Escalated, StepKind::Requested, StepKind::Resolved];
    let whats = whats.into_iter().chain(OUTCOMES.map(StepKind::Ended));
    let steps = whats.map(|what| EpisodeStep {
        seq: Seq(35),
        at: AT,
        level: Level::Warn,
        what,
        reason: "it goes on".to_owned(),
    });
    let episode = PastEpisode {
        id: Uuid::from_u128(300),
        stream: pod().stream(),
        kind: ViolationKind::CpuUsage,
        gpu: "GPU-1".to_owned().try_into().ok(),
        pod: Some(pod()),
        level: Level::Warn,
        since: AT,
        until: Some(AT),
        duration_ms: Some(5),
        peak: 12,
        limit: 10,
        area: Some(7),
        evidence: "more than it may".to_owned(),
        steps: steps.collect(),
    };
    let causes = [GapCause::ServiceDown, GapCause::DriverAway, GapCause::NoFigures];
    let gaps = PodGaps {
        total_ms: 9,
        count: 3,
        open: causes.map(|cause| OpenGap { stream: pod().stream(), since: AT, cause }).to_vec(),
        recent: causes.map(|cause| PastGap { since: AT, until: AT, cause }).into(),
    };
    let sum = Sum { begun: 3, ended_ms: 9 };
    ViolationHistory {
        episodes: BTreeMap::from([(Seq(33), Some(episode)), (Seq(34), None)]),
        open: BTreeMap::from([(Uuid::from_u128(301), Seq(36))]),
        gaps: BTreeMap::from([(pod(), gaps)]),
        sums: BTreeMap::from([(pod(), BTreeMap::from([(ViolationKind::CpuUsage, sum)]))]),
    }
}
