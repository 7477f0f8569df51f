//! The violations of one GPU or pod at a moment: part of that entity's state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{
    Detected, EnforcementEnded, EnforcementRequested, Escalated, GapCause, GapOpened, Outcome, Resolved,
    ViolationEvent,
};
use super::kind::{Level, ViolationKind};
use crate::ids::PodUid;
use crate::units::Timestamp;

/// Episodes that have ended and may still raise the next of their kind.
const ENDED_MAX: usize = 64;

/// The violations of one GPU or pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Violations {
    /// Episodes that have not ended.
    pub open: BTreeMap<Uuid, Episode>,
    /// How far the last ones of each kind went, oldest first.
    pub ended: Vec<EndedEpisode>,
    /// When a pod was evicted last.
    pub last_eviction: Option<Timestamp>,
    /// Since when limits are not checked, if they are not.
    pub gap: Option<Gap>,
}

/// One violation, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Episode {
    /// What is violated.
    pub kind: ViolationKind,
    /// Who does it; none if no pod does.
    pub pod: Option<PodUid>,
    /// The rung that it is on.
    pub level: Level,
    /// When it began.
    pub since: Timestamp,
    /// The most that was seen, as far as it is on record.
    pub peak: u64,
    /// What is allowed.
    pub limit: u64,
    /// What was seen when it began, in words.
    pub evidence: String,
    /// What was done about it, by the rung.
    pub measures: BTreeMap<Level, Measure>,
}

/// Something that was to be done about a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// It is to be done: an open intent.
    Requested {
        /// Since when.
        at: Timestamp,
        /// Seconds that a pod has to end by itself.
        grace_s: u32,
    },
    /// It is over.
    Ended(Outcome),
}

/// How far an episode went that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedEpisode {
    /// What was violated.
    pub kind: ViolationKind,
    /// Who did it.
    pub pod: Option<PodUid>,
    /// The last rung.
    pub level: Level,
    /// When it ended.
    pub at: Timestamp,
}

/// A time in which limits are not checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub cause: GapCause,
    /// Whose.
    pub pods: Vec<PodUid>,
}

impl Violations {
    /// Whether nothing of note is in here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Violations::default()
    }

    /// The open episode of a kind and a pod, if there is one.
    #[must_use]
    pub fn find(&self, kind: ViolationKind, pod: Option<PodUid>) -> Option<(Uuid, &Episode)> {
        let mut open = self.open.iter();
        open.find(|(_, episode)| episode.kind == kind && episode.pod == pod)
            .map(|(id, episode)| (*id, episode))
    }

    /// Whether an episode began so soon after the last of its kind ended. Who comes and goes is told of once in that time:
    /// such an episode ends when the limit was kept for as long.
    #[must_use]
    pub fn comes_back(&self, episode: &Episode, within_ms: u64) -> bool {
        let mut last = self.ended.iter().filter(|last| (last.kind, last.pod) == (episode.kind, episode.pod));
        last.any(|last| episode.since.ms_since(last.at) < within_ms)
    }

    /// The state after an event; none, and unchanged, if the event cannot follow.
    #[must_use]
    pub fn follow(&mut self, event: &ViolationEvent) -> Option<()> {
        match event {
            ViolationEvent::Detected(detected) => self.detected(detected),
            ViolationEvent::Escalated(escalated) => self.escalated(escalated),
            ViolationEvent::EnforcementRequested(requested) => self.requested(requested),
            ViolationEvent::EnforcementEnded(ended) => self.enforced(ended),
            ViolationEvent::Resolved(resolved) => self.resolved(resolved),
            ViolationEvent::GapOpened(GapOpened { since, cause, pods }) => {
                self.gap.is_none().then_some(())?;
                self.gap = Some(Gap { since: *since, cause: *cause, pods: pods.clone() });
                Some(())
            }
            ViolationEvent::GapClosed(_) => self.gap.take().map(drop),
        }
    }

    fn detected(&mut self, detected: &Detected) -> Option<()> {
        let is_new =
            !self.open.contains_key(&detected.id) && self.find(detected.kind, detected.pod).is_none();
        is_new.then_some(())?;
        let episode = Episode {
            kind: detected.kind,
            pod: detected.pod,
            level: detected.level,
            since: detected.at,
            peak: detected.value,
            limit: detected.limit,
            evidence: detected.evidence.clone(),
            measures: BTreeMap::new(),
        };
        self.open.insert(detected.id, episode);
        Some(())
    }

    fn escalated(&mut self, escalated: &Escalated) -> Option<()> {
        let episode = self.open.get_mut(&escalated.id)?;
        let climbs = episode.level == escalated.from && escalated.from.next() == Some(escalated.to);
        climbs.then_some(())?;
        episode.level = escalated.to;
        episode.peak = episode.peak.max(escalated.peak);
        Some(())
    }

    fn requested(&mut self, requested: &EnforcementRequested) -> Option<()> {
        let episode = self.open.get_mut(&requested.id)?;
        let is_first = episode.level == requested.level && !episode.measures.contains_key(&requested.level);
        is_first.then_some(())?;
        let measure = Measure::Requested { at: requested.at, grace_s: requested.grace_s };
        episode.measures.insert(requested.level, measure);
        if requested.level == Level::Evict {
            self.last_eviction = Some(requested.at);
        }
        Some(())
    }

    fn enforced(&mut self, ended: &EnforcementEnded) -> Option<()> {
        let measure = self.open.get_mut(&ended.id)?.measures.get_mut(&ended.level)?;
        matches!(measure, Measure::Requested { .. }).then_some(())?;
        *measure = Measure::Ended(ended.outcome);
        Some(())
    }

    fn resolved(&mut self, resolved: &Resolved) -> Option<()> {
        let episode = self.open.get(&resolved.id)?;
        episode.pending().is_none().then_some(())?;
        let Episode { kind, pod, level, .. } = self.open.remove(&resolved.id)?;
        self.ended.retain(|ended| ended.kind != kind || ended.pod != pod);
        if self.ended.len() == ENDED_MAX {
            self.ended.remove(0);
        }
        self.ended.push(EndedEpisode { kind, pod, level, at: resolved.at });
        Some(())
    }
}

impl Episode {
    /// What is to be done now and is not over: its rung, and the grace in seconds.
    #[must_use]
    pub fn pending(&self) -> Option<(Level, u32)> {
        self.measures.iter().find_map(|(level, measure)| match measure {
            Measure::Requested { grace_s, .. } => Some((*level, *grace_s)),
            Measure::Ended(_) => None,
        })
    }

    /// What came of what its present rung asks for; none if that asks for nothing or is not over.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self.measures.get(&self.level) {
            Some(Measure::Ended(outcome)) => Some(*outcome),
            Some(Measure::Requested { .. }) | None => None,
        }
    }
}
