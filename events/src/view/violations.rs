//! The history of violations: which there were lately, of pods that are gone as well, and when limits were not checked.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{PodUid, Seq, StreamId};
use crate::ledger::GpuUuid;
use crate::record::Header;
use crate::units::Timestamp;
use crate::violation::event::{Detected, GapCause, Outcome};
use crate::violation::{Level, ViolationEvent, ViolationKind};

/// Episodes that are remembered: of those that have ended the oldest go first, and none that is open.
const EPISODES_MAX: usize = 1_000;
/// Gaps of one pod that are remembered one by one.
const GAPS_MAX: usize = 16;

/// What there was of violations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViolationHistory {
    /// Episodes by the record with which each began; none of a pod that was redacted.
    pub episodes: BTreeMap<Seq, Option<PastEpisode>>,
    /// Those that are open, by their ids.
    pub open: BTreeMap<Uuid, Seq>,
    /// Times in which the limits of a pod were not checked.
    pub gaps: BTreeMap<PodUid, PodGaps>,
    /// What there was of each kind, by the pod: also of episodes that are not remembered any more.
    pub sums: BTreeMap<PodUid, BTreeMap<ViolationKind, Sum>>,
}

/// The episodes of one kind of one pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sum {
    /// How many have begun.
    pub begun: u64,
    /// How long those were open that have ended, in milliseconds.
    pub ended_ms: u64,
}

/// One episode, open or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastEpisode {
    /// Which.
    pub id: Uuid,
    /// The stream that tells of it.
    pub stream: StreamId,
    /// What was violated.
    pub kind: ViolationKind,
    /// On which GPU; none if it was a pod's alone.
    pub gpu: Option<GpuUuid>,
    /// By whom; none if no pod did it.
    pub pod: Option<PodUid>,
    /// The last rung.
    pub level: Level,
    /// When it began.
    pub since: Timestamp,
    /// When it ended; none if it is open.
    pub until: Option<Timestamp>,
    /// How long it was open, in milliseconds; none if it is.
    pub duration_ms: Option<u64>,
    /// The most that was seen, in the unit of the kind.
    pub peak: u64,
    /// What is allowed.
    pub limit: u64,
    /// Use over the limit, summed over seconds; none while it is open, and if it was not watched as a whole.
    pub area: Option<u64>,
    /// What was seen when it began.
    pub evidence: String,
    /// What became of it, in order.
    pub steps: Vec<EpisodeStep>,
}

/// A step of an episode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EpisodeStep {
    /// The record that tells of it.
    pub seq: Seq,
    /// When that was written.
    pub at: Timestamp,
    /// The rung.
    pub level: Level,
    /// What was done.
    pub what: StepKind,
    /// Why, or what came of it.
    pub reason: String,
}

/// What a step of an episode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// It climbed to the rung.
    Escalated,
    /// Something was to be done for the rung.
    Requested,
    /// That was over.
    Ended(Outcome),
    /// The episode ended.
    Resolved,
}

/// When the limits of a pod were not checked. Gaps that overlap are one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodGaps {
    /// How long in all, in milliseconds, of those that are over.
    pub total_ms: u64,
    /// How many are over.
    pub count: u64,
    /// The stream of each that is open, with its cause: there may be one a GPU.
    pub open: Vec<OpenGap>,
    /// The last ones, oldest first.
    pub recent: VecDeque<PastGap>,
}

/// A gap that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenGap {
    /// The stream that tells of it.
    pub stream: StreamId,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub cause: GapCause,
}

/// A gap that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastGap {
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Why: the first cause, if there were several.
    pub cause: GapCause,
}

impl ViolationHistory {
    /// Whether there was nothing.
    pub(super) fn is_empty(&self) -> bool {
        *self == ViolationHistory::default()
    }

    /// Episodes that can be told of, oldest first.
    #[must_use]
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &PastEpisode> {
        self.episodes.values().flatten()
    }

    /// Takes notice of what has happened to the violations of a GPU, or of a pod.
    pub(crate) fn note(&mut self, gpu: Option<&GpuUuid>, header: &Header, event: &ViolationEvent) {
        use ViolationEvent as E;
        let step = |level, what, reason: &str| EpisodeStep {
            seq: header.seq,
            at: header.time,
            level,
            what,
            reason: reason.to_owned(),
        };
        match event {
            E::Detected(detected) => self.begin(gpu, header, detected),
            E::Escalated(it) => self.change(it.id, |episode| {
                (episode.level, episode.peak) = (it.to, episode.peak.max(it.peak));
                episode.steps.push(step(it.to, StepKind::Escalated, &it.reason));
            }),
            E::EnforcementRequested(it) => self.change(it.id, |episode| {
                episode.steps.push(step(it.level, StepKind::Requested, ""));
            }),
            E::EnforcementEnded(it) => self.change(it.id, |episode| {
                episode.steps.push(step(it.level, StepKind::Ended(it.outcome), &it.reason));
            }),
            E::Resolved(it) => {
                self.change(it.id, |episode| {
                    (episode.until, episode.duration_ms) = (Some(it.at), Some(it.duration_ms));
                    (episode.peak, episode.area) = (it.peak, it.area);
                    episode.steps.push(step(episode.level, StepKind::Resolved, &it.reason));
                });
                self.sum_up(it.id, it.duration_ms);
                self.open.remove(&it.id);
            }
            E::GapOpened(it) => {
                for pod in &it.pods {
                    let open = OpenGap { stream: header.stream, since: it.since, cause: it.cause };
                    self.gaps.entry(*pod).or_default().begin(open);
                }
            }
            E::GapClosed(it) => self.close_gaps(header, it.duration_ms),
        }
    }

    fn begin(&mut self, gpu: Option<&GpuUuid>, header: &Header, detected: &Detected) {
        self.make_room();
        let episode = PastEpisode {
            id: detected.id,
            stream: header.stream,
            kind: detected.kind,
            gpu: gpu.cloned(),
            pod: detected.pod,
            level: detected.level,
            since: detected.at,
            until: None,
            duration_ms: None,
            peak: detected.value,
            limit: detected.limit,
            area: None,
            evidence: detected.evidence.clone(),
            steps: vec![],
        };
        self.episodes.insert(header.seq, Some(episode));
        self.open.insert(detected.id, header.seq);
        if let Some(pod) = detected.pod {
            self.sums.entry(pod).or_default().entry(detected.kind).or_default().begun += 1;
        }
    }

    fn sum_up(&mut self, id: Uuid, duration_ms: u64) {
        let episode = self.open.get(&id).and_then(|seq| self.episodes.get(seq)).and_then(Option::as_ref);
        let Some((pod, kind)) = episode.and_then(|episode| Some((episode.pod?, episode.kind))) else {
            return;
        };
        let sum = self.sums.entry(pod).or_default().entry(kind).or_default();
        sum.ended_ms = sum.ended_ms.saturating_add(duration_ms);
    }

    fn change(&mut self, id: Uuid, how: impl FnOnce(&mut PastEpisode)) {
        let seq = self.open.get(&id);
        if let Some(episode) = seq.and_then(|seq| self.episodes.get_mut(seq)).and_then(Option::as_mut) {
            how(episode);
        }
    }

    fn close_gaps(&mut self, header: &Header, duration_ms: u64) {
        for gaps in self.gaps.values_mut() {
            let Some(place) = gaps.open.iter().position(|open| open.stream == header.stream) else {
                continue;
            };
            let closed = gaps.open.remove(place);
            if let Some(other) = gaps.open.first_mut() {
                // It goes on for another reason, and has begun when the first of them did.
                other.since = other.since.min(closed.since);
                continue;
            }
            let until = header.time.max(closed.since.plus_ms(duration_ms));
            gaps.count += 1;
            gaps.total_ms = gaps.total_ms.saturating_add(until.ms_since(closed.since));
            if gaps.recent.len() == GAPS_MAX {
                gaps.recent.pop_front();
            }
            gaps.recent.push_back(PastGap { since: closed.since, until, cause: closed.cause });
        }
    }

    /// Takes notice of an episode of which nothing can be told.
    pub(super) fn note_withheld(&mut self, seq: Seq) {
        self.make_room();
        self.episodes.insert(seq, None);
    }

    /// Forgets what a pod's own stream told.
    pub(super) fn forget(&mut self, pod: PodUid) {
        let stream = pod.stream();
        for episode in self.episodes.values_mut() {
            if let Some(known) = episode.take_if(|known| known.stream == stream) {
                self.open.remove(&known.id);
            }
        }
        self.gaps.remove(&pod);
        self.sums.remove(&pod);
    }

    /// Forgets the gaps and sums of pods that are remembered nowhere else.
    pub(super) fn keep_pods(&mut self, is_known: impl Fn(PodUid) -> bool) {
        self.gaps.retain(|pod, _| is_known(*pod));
        self.sums.retain(|pod, _| is_known(*pod));
    }

    /// Open ones stay: there is one of a kind and a pod at most, so that they are bounded without it.
    fn make_room(&mut self) {
        let is_over = |episode: &Option<PastEpisode>| episode.as_ref().is_none_or(|it| it.until.is_some());
        while EPISODES_MAX <= self.episodes.len().saturating_sub(self.open.len()) {
            let oldest = self.episodes.iter().find(|(_, episode)| is_over(episode)).map(|(seq, _)| *seq);
            let Some(oldest) = oldest else { return };
            self.episodes.remove(&oldest);
        }
    }
}

impl PodGaps {
    /// One that begins where the last one ended goes on with it.
    fn begin(&mut self, gap: OpenGap) {
        let goes_on = |last: &&PastGap| self.open.is_empty() && gap.since <= last.until;
        let Some(last) = self.recent.back().filter(goes_on) else { return self.open.push(gap) };
        self.count = self.count.saturating_sub(1);
        self.total_ms = self.total_ms.saturating_sub(last.until.ms_since(last.since));
        self.open.push(OpenGap { since: last.since.min(gap.since), ..gap });
        self.recent.pop_back();
    }

    /// How long limits were not checked until `now`, in milliseconds.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> u64 {
        let open = self.open.iter().map(|open| open.since).min();
        self.total_ms.saturating_add(open.map_or(0, |since| now.ms_since(since)))
    }
}
