//! What violations answer to a command.

use uuid::Uuid;

use super::command::{ViolationCommand, ViolationRejection};
use super::event::{
    Detected, EnforcementEnded, EnforcementRequested, Escalated, GapClosed, GapOpened, Outcome, Resolved,
    ViolationEvent,
};
use super::kind::{Level, ViolationKind};
use super::state::{Episode, Violations};
use crate::ids::PodUid;
use crate::units::Timestamp;

/// Episodes that may be open at once in one stream.
const OPEN_MAX: usize = 256;
/// Bytes of a reason or of evidence that are kept.
const TEXT_LEN_MAX: usize = 512;

type Answer = Result<Vec<ViolationEvent>, ViolationRejection>;

impl Violations {
    /// Says what a command would make happen: events, none (it is already so), or a refusal.
    ///
    /// # Errors
    /// The named reason why it is refused.
    pub fn decide(&self, command: &ViolationCommand, now: Timestamp) -> Answer {
        use ViolationCommand as C;
        match command {
            C::Open { kind, pod, .. } if self.find(*kind, *pod).is_some() => Ok(vec![]),
            C::Open { .. } if self.open.len() >= OPEN_MAX => {
                Err(ViolationRejection::TooMany { open: self.open.len() })
            }
            C::Open { id, kind, pod, value, limit, evidence, cool_down_ms, max } => {
                let (level, repeats) = self.first_level(*kind, *pod, now, *cool_down_ms, *max);
                let (id, kind, pod, value, limit) = (*id, *kind, *pod, *value, *limit);
                let evidence = shortened(evidence);
                let detected = Detected { id, at: now, kind, pod, level, repeats, value, limit, evidence };
                let request = requested(id, level, now, 0);
                Ok([ViolationEvent::from(detected)].into_iter().chain(request).collect())
            }
            C::Escalate { id, to, reason, peak, grace_s, eviction_gap_ms } => {
                self.escalate(*id, *to, now, *eviction_gap_ms)?.map_or(Ok(vec![]), |episode| {
                    let peak = episode.peak.max(*peak);
                    let escalated =
                        Escalated { id: *id, from: episode.level, to: *to, reason: shortened(reason), peak };
                    let request = requested(*id, *to, now, *grace_s);
                    Ok([ViolationEvent::from(escalated)].into_iter().chain(request).collect())
                })
            }
            C::ReportEnforcement { id, level, outcome, reason } => {
                let pending = self.open.get(id).and_then(Episode::pending);
                let is_open = pending.is_some_and(|(open, _)| open == *level);
                let ended =
                    EnforcementEnded { id: *id, level: *level, outcome: *outcome, reason: shortened(reason) };
                Ok(if is_open { vec![ended.into()] } else { vec![] })
            }
            C::Resolve { id, peak, area, reason } => Ok(self.resolve(*id, *peak, *area, reason, now)),
            C::OpenGap { .. } if self.gap.is_some() => Ok(vec![]),
            C::OpenGap { since, cause, pods } => {
                let opened = GapOpened { since: (*since).min(now), cause: *cause, pods: pods.clone() };
                Ok(vec![opened.into()])
            }
            C::CloseGap => Ok(self.close_gap(now)),
        }
    }

    /// What ends with the pod whose violations these are.
    #[must_use]
    pub fn end(&self, reason: &str, now: Timestamp) -> Vec<ViolationEvent> {
        let resolved =
            self.open.iter().flat_map(|(id, episode)| self.resolve(*id, episode.peak, None, reason, now));
        resolved.chain(self.close_gap(now)).collect()
    }

    fn close_gap(&self, now: Timestamp) -> Vec<ViolationEvent> {
        let closed = self.gap.as_ref().map(|gap| GapClosed { duration_ms: now.ms_since(gap.since) });
        closed.map(ViolationEvent::from).into_iter().collect()
    }

    /// The rung on which an episode begins, and why if it is not the lowest: one below that of the last of its kind,
    /// and one more for each cool-down since. Nobody is evicted for what was before.
    fn first_level(
        &self,
        kind: ViolationKind,
        pod: Option<PodUid>,
        now: Timestamp,
        cool_down_ms: u64,
        max: Level,
    ) -> (Level, Option<String>) {
        let last = self.ended.iter().rev().find(|ended| ended.kind == kind && ended.pod == pod);
        let Some(last) = last else { return (Level::Record, None) };
        let ago_ms = now.ms_since(last.at);
        let rungs = 1 + ago_ms / cool_down_ms.max(1);
        let level = last.level.lowered(rungs).min(max).min(Level::Throttle);
        let repeats =
            format!("the last one went as far as {} and ended {} s ago", last.level, ago_ms / 1_000);
        (level, (Level::Record < level).then_some(repeats))
    }

    /// The episode that may climb; none if it is there already.
    fn escalate(
        &self,
        id: Uuid,
        to: Level,
        now: Timestamp,
        gap_ms: u64,
    ) -> Result<Option<&Episode>, ViolationRejection> {
        let episode = self.open.get(&id).ok_or(ViolationRejection::NotOpen { id })?;
        let level = episode.level;
        if to <= level {
            return Ok(None);
        }
        if level.next() != Some(to) {
            return Err(ViolationRejection::SkipsRungs { id, level, to });
        }
        if episode.pending().is_some() {
            return Err(ViolationRejection::Unfinished { id, level });
        }
        // A clock that went back holds nobody up.
        let before = self.last_eviction.filter(|last| *last <= now && to == Level::Evict);
        match before.map(|last| now.ms_since(last)) {
            Some(ago_ms) if ago_ms < gap_ms => Err(ViolationRejection::TooSoon { ago_ms, gap_ms }),
            Some(_) | None => Ok(Some(episode)),
        }
    }

    fn resolve(
        &self,
        id: Uuid,
        peak: u64,
        area: Option<u64>,
        reason: &str,
        now: Timestamp,
    ) -> Vec<ViolationEvent> {
        let Some(episode) = self.open.get(&id) else { return vec![] };
        let given_up = episode.pending().map(|(level, _)| EnforcementEnded {
            id,
            level,
            outcome: Outcome::Skipped,
            reason: shortened(&format!("no longer needed: {reason}")),
        });
        let (duration_ms, peak) = (now.ms_since(episode.since), episode.peak.max(peak));
        let resolved = Resolved { id, at: now, duration_ms, peak, area, reason: shortened(reason) };
        given_up.map(ViolationEvent::from).into_iter().chain([resolved.into()]).collect()
    }
}

/// The intent that a rung brings with it, if it does.
fn requested(id: Uuid, level: Level, at: Timestamp, grace_s: u32) -> Option<ViolationEvent> {
    let grace_s = if level == Level::Evict { grace_s } else { 0 };
    level.is_enforced().then(|| EnforcementRequested { id, at, level, grace_s }.into())
}

/// A text without control characters, and no longer than is kept.
fn shortened(text: &str) -> String {
    let mut kept: String = text.chars().filter(|character| !character.is_control()).collect();
    let mut end = kept.len().min(TEXT_LEN_MAX);
    while !kept.is_char_boundary(end) {
        end -= 1;
    }
    kept.truncate(end);
    kept
}
