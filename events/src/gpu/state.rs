//! What a GPU is to this node, and the rules by which that changes.
//!
//! Nothing of a GPU that was of no use is given out before it has been fine for the whole of its probation. A GPU that
//! comes and goes makes no stream of events: once it was of no use, whatever it does must last before it counts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command::{GpuCommand, GpuRejection, Look, Standing};
use super::event::{
    Cordoned, DrainOutcome, DrainRequested, FactsChanged, FaultNoted, Found, GpuEvent, HealthChanged,
    Uncordoned,
};
use super::health::{Cordon, Degradation, Drain, Evidence, Fault, GpuFacts, GpuHealthPolicy, Health};
use crate::context::Context;
use crate::decider::{Decider, IllegalTransition};
use crate::ids::StreamKind;
use crate::ledger::GpuUuid;
use crate::units::{Bytes, MilliTflops, Timestamp};
use crate::view::{by_text, from_text};
use crate::violation::Violations;

/// Longest reason that is kept, in bytes.
const REASON_LEN_MAX: usize = 256;
/// Shortest time between two notes of one kind of fault, and between two of a GPU's facts, in milliseconds.
const NOTE_EVERY_MS: u64 = 60_000;
/// Most kinds of faults that are noted of one GPU.
const FAULT_KINDS_MAX: usize = 64;

/// One GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Gpu {
    /// It was never seen.
    #[default]
    Unknown,
    /// It was.
    Known(Box<GpuState>),
}

/// What is known of a GPU that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuState {
    /// What it is.
    pub facts: GpuFacts,
    /// When that was recorded.
    pub facts_at: Timestamp,
    /// How it is.
    pub health: Health,
    /// Since when.
    pub since: Timestamp,
    /// What was seen then.
    pub evidence: Evidence,
    /// How often it was of no use again before its probation was over, one after the other.
    pub relapses: u32,
    /// That nothing of it is given out, if somebody wants that.
    pub cordon: Option<Cordon>,
    /// That pods are to leave it, if somebody wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Faults that its driver told of, by their number.
    #[serde(serialize_with = "by_text", deserialize_with = "from_text")]
    pub faults: BTreeMap<u32, FaultCount>,
    /// Its violations, and those of pods on it.
    #[serde(default, skip_serializing_if = "Violations::is_empty")]
    pub violations: Violations,
}

/// How often a kind of fault was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultCount {
    /// How often.
    pub count: u64,
    /// When last.
    pub last_at: Timestamp,
    /// When it was noted last.
    pub noted_at: Timestamp,
}

impl Gpu {
    /// The word for how it stands.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.known().map_or("Unknown", GpuState::word)
    }

    /// What is known of it, if it was ever seen.
    #[must_use]
    pub fn known(&self) -> Option<&GpuState> {
        match self {
            Gpu::Unknown => None,
            Gpu::Known(gpu) => Some(gpu),
        }
    }

    /// What is given out of it, if anything is: its name, model, memory and compute.
    #[must_use]
    pub fn to_give_out(&self) -> Option<(&GpuUuid, &str, Bytes, Option<MilliTflops>)> {
        self.known().filter(|gpu| gpu.takes_pods()).and_then(|gpu| {
            let GpuFacts { uuid, model, memory, tflops, is_divided, .. } = &gpu.facts;
            if *is_divided == Some(true) {
                return None;
            }
            Some((uuid, model.as_deref()?, (*memory)?, *tflops))
        })
    }
}

impl GpuState {
    /// The word for how it stands.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.cordon.is_some() { self.health.word_cordoned() } else { self.health.word() }
    }

    /// Whether it takes pods.
    #[must_use]
    pub fn takes_pods(&self) -> bool {
        self.cordon.is_none() && self.health.takes_pods()
    }

    fn found(found: &Found) -> GpuState {
        GpuState {
            facts: found.facts.clone(),
            facts_at: found.at,
            health: found.health.clone(),
            since: found.at,
            evidence: found.evidence.clone(),
            relapses: 0,
            cordon: None,
            drain: None,
            faults: BTreeMap::new(),
            violations: Violations::default(),
        }
    }

    /// What a look leads to.
    fn look(&self, look: &Look, context: &Context) -> Vec<GpuEvent> {
        let (policy, at) = (&context.policy.gpus, context.now);
        let mut events = vec![];
        let facts = self.facts.after(&look.facts);
        let is_other = facts != self.facts;
        if is_other && (self.facts.is_part_of(&facts) || is_due(self.facts_at, at)) {
            events.push(FactsChanged { facts, at }.into());
        }
        let is_faulty = matches!(self.health, Health::Faulty { .. });
        let due = look.faults.iter().filter(|(xid, _)| match self.faults.get(xid) {
            // What takes it out is noted with that.
            _ if !is_faulty && policy.is_fatal(**xid) => true,
            Some(noted) => is_due(noted.noted_at, at),
            None => self.faults.len() < FAULT_KINDS_MAX,
        });
        let noted =
            due.map(|(xid, (count, last_at))| FaultNoted { xid: *xid, count: *count, last_at: *last_at, at });
        // Each kind is of its own, so all of them together may be a few more than there is room for: once.
        events.extend(noted.map(GpuEvent::from));
        if let Some((health, for_ms)) = self.after(look, policy) {
            let evidence = Evidence { for_ms, ..look.evidence.clone() };
            events.push(HealthChanged { health, evidence, at }.into());
        }
        events
    }

    /// Its health after a look, and how long that was seen, if it is another.
    fn after(&self, look: &Look, policy: &GpuHealthPolicy) -> Option<(Health, u64)> {
        if matches!(self.health, Health::Faulty { .. }) {
            return None;
        }
        if let Some(fault) = self.fault(look, policy) {
            return Some((Health::Faulty { fault }, 0));
        }
        let is_settled = policy.settle_ms_after(self.relapses) <= look.steady_ms;
        let standing = look.standing.as_ref()?;
        let was_fine = self.health.takes_pods();
        match (standing, &self.health) {
            (Standing::Answers, Health::Lost { .. } | Health::Unresponsive { .. }) => {
                is_settled.then_some((Health::Probation, look.steady_ms))
            }
            (Standing::Answers, Health::Probation) if look.steady_ms < policy.probation_ms => None,
            (Standing::Answers, _) => {
                let health = self.speed(look, policy);
                (health != self.health).then_some((health, look.steady_ms))
            }
            (Standing::Unresponsive { .. }, Health::Unresponsive { .. })
            | (Standing::Lost { .. }, Health::Lost { .. }) => None,
            (Standing::Unresponsive { call }, _) if was_fine || is_settled => {
                Some((Health::Unresponsive { call: call.clone() }, look.steady_ms))
            }
            (Standing::Lost { reason }, _) if was_fine || is_settled => {
                Some((Health::Lost { reason: reason.clone() }, look.steady_ms))
            }
            (Standing::Unresponsive { .. } | Standing::Lost { .. }, _) => None,
        }
    }

    /// The fault that a look shows and that takes the GPU out.
    fn fault(&self, look: &Look, policy: &GpuHealthPolicy) -> Option<Fault> {
        let told = look.faults.iter().find(|(xid, _)| policy.is_fatal(**xid));
        if let Some((xid, (_, at))) = told {
            return Some(Fault::Xid { xid: *xid, at: *at });
        }
        match (self.facts.ecc_uncorrected, look.evidence.ecc_uncorrected) {
            (Some(before), Some(now)) if before < now => Some(Fault::Ecc { before, now }),
            (Some(_) | None, _) => None,
        }
    }

    /// The health of a GPU that works, by how fast it is: what slows it down counts once it has lasted, and until it has
    /// been over for as long.
    fn speed(&self, look: &Look, policy: &GpuHealthPolicy) -> Health {
        let known = match &self.health {
            Health::Degraded { reasons } => reasons.clone(),
            _ => BTreeSet::new(),
        };
        let counts = |reason: &Degradation| {
            let lasting = look.slowed.get(reason).copied().unwrap_or_default();
            let has_lasted = policy.slowdown_ms <= lasting.for_ms;
            if known.contains(reason) { lasting.is_on || !has_lasted } else { lasting.is_on && has_lasted }
        };
        let reasons: BTreeSet<Degradation> = Degradation::ALL.into_iter().filter(counts).collect();
        if reasons.is_empty() { Health::Healthy } else { Health::Degraded { reasons } }
    }

    fn uncordon(&self, uncordoned: Uncordoned) -> Vec<GpuEvent> {
        let is_faulty = matches!(self.health, Health::Faulty { .. });
        if self.cordon.is_none() && !is_faulty {
            return vec![];
        }
        let at = uncordoned.at;
        let evidence = Evidence { ecc_uncorrected: uncordoned.ecc_uncorrected, ..Evidence::default() };
        let mut events: Vec<GpuEvent> = self.end_drain(DrainOutcome::GivenUp, at).into_iter().collect();
        events.push(uncordoned.into());
        if is_faulty || self.health.takes_pods() {
            events.push(HealthChanged { health: Health::Probation, evidence, at }.into());
        }
        events
    }

    /// The state after another health; none if the one never follows the other.
    fn with_health(&self, changed: &HealthChanged) -> Option<GpuState> {
        use Health as H;
        let follows = match (&self.health, &changed.health) {
            (H::Faulty { .. }, health) => *health == H::Probation,
            // What was of no use is fine again by way of its probation alone.
            (H::Lost { .. } | H::Unresponsive { .. }, H::Healthy | H::Degraded { .. })
            | (H::Lost { .. }, H::Lost { .. })
            | (H::Unresponsive { .. }, H::Unresponsive { .. }) => false,
            (before, health) => before != health,
        };
        let relapses = match (&self.health, &changed.health) {
            (_, H::Healthy | H::Degraded { .. }) | (H::Faulty { .. }, _) => 0,
            (H::Probation, _) => self.relapses.saturating_add(1),
            (_, _) => self.relapses,
        };
        if !follows {
            return None;
        }
        let mut next = self.clone();
        if let H::Faulty { fault: Fault::Ecc { now, .. } } = &changed.health {
            next.facts.ecc_uncorrected = Some(*now);
        }
        (next.health, next.since) = (changed.health.clone(), changed.at);
        (next.evidence, next.relapses) = (changed.evidence.clone(), relapses);
        Some(next)
    }

    fn with_fault(&self, noted: &FaultNoted) -> GpuState {
        let FaultNoted { xid, count, last_at, at } = *noted;
        let mut next = self.clone();
        let before = next.faults.get(&xid).map_or(0, |fault| fault.count);
        let count = before.saturating_add(count);
        next.faults.insert(xid, FaultCount { count, last_at, noted_at: at });
        next
    }
}

/// Whether so long has passed since something was noted that it may be again. A clock that went back makes it due.
fn is_due(noted: Timestamp, now: Timestamp) -> bool {
    now < noted || NOTE_EVERY_MS <= now.ms_since(noted)
}

pub(super) fn check_reason(reason: &str) -> Result<(), GpuRejection> {
    if REASON_LEN_MAX < reason.len() {
        return Err(GpuRejection::ReasonTooLong { len: reason.len() });
    }
    if reason.trim().is_empty() || reason.chars().any(char::is_control) {
        return Err(GpuRejection::BadReason);
    }
    Ok(())
}

impl Decider for Gpu {
    type Command = GpuCommand;
    type Event = GpuEvent;
    type Rejection = GpuRejection;

    const KIND: StreamKind = StreamKind::Gpu;

    fn decide(&self, command: &GpuCommand, context: &Context) -> Result<Vec<GpuEvent>, GpuRejection> {
        use GpuCommand as C;
        let at = context.now;
        match (command, self) {
            (C::ReportLook(look), Gpu::Unknown) => {
                let health = match &look.standing {
                    None => return Ok(vec![]),
                    Some(Standing::Answers) => Health::Healthy,
                    Some(Standing::Unresponsive { call }) => Health::Unresponsive { call: call.clone() },
                    Some(Standing::Lost { reason }) => Health::Lost { reason: reason.clone() },
                };
                let (facts, evidence) = (look.facts.clone(), look.evidence.clone());
                Ok(vec![Found { facts, health, evidence, at }.into()])
            }
            (C::ReportLook(look), Gpu::Known(gpu)) => Ok(gpu.look(look, context)),
            (C::Violation(command), Gpu::Known(gpu)) => {
                let events = gpu.violations.decide(command, at);
                let events = events.map_err(|error| GpuRejection::Violation { error })?;
                Ok(events.into_iter().map(GpuEvent::from).collect())
            }
            (
                C::Cordon { .. }
                | C::Uncordon { .. }
                | C::Violation(_)
                | C::Drain { .. }
                | C::EndDrain { .. }
                | C::Forget { .. },
                Gpu::Unknown,
            ) => Err(GpuRejection::NotFound),
            (C::Drain { by, reason, grace_s }, Gpu::Known(gpu)) => gpu.begin_drain(by, reason, *grace_s, at),
            (C::EndDrain { outcome }, Gpu::Known(gpu)) => {
                Ok(gpu.end_drain(*outcome, at).into_iter().collect())
            }
            (C::Forget { by, holders, is_seen }, Gpu::Known(gpu)) => gpu.forget(by, *holders, *is_seen, at),
            (C::Cordon { by, reason }, Gpu::Known(gpu)) => {
                check_reason(reason)?;
                if gpu.cordon.as_ref().is_some_and(|cordon| cordon.reason == *reason) {
                    return Ok(vec![]);
                }
                Ok(vec![Cordoned { by: by.clone(), reason: reason.clone(), at }.into()])
            }
            (C::Uncordon { by, ecc_uncorrected }, Gpu::Known(gpu)) => {
                Ok(gpu.uncordon(Uncordoned { by: by.clone(), ecc_uncorrected: *ecc_uncorrected, at }))
            }
        }
    }

    fn evolve(&self, event: &GpuEvent) -> Result<Gpu, IllegalTransition> {
        use GpuEvent as E;
        let illegal = |name| Err(IllegalTransition::new(self.word(), name));
        let next = match (event, self) {
            (E::Found(found), Gpu::Unknown) => GpuState::found(found),
            (E::Found(_), Gpu::Known(_)) => return illegal("gpu.found"),
            (E::FactsChanged(changed), Gpu::Known(gpu)) if changed.facts.uuid == gpu.facts.uuid => {
                GpuState { facts: changed.facts.clone(), facts_at: changed.at, ..GpuState::clone(gpu) }
            }
            (E::FactsChanged(_), _) => return illegal("gpu.facts-changed"),
            (E::HealthChanged(changed), Gpu::Known(gpu)) => match gpu.with_health(changed) {
                Some(next) => next,
                None => return illegal("gpu.health-changed"),
            },
            (E::HealthChanged(_), Gpu::Unknown) => return illegal("gpu.health-changed"),
            (E::FaultNoted(noted), Gpu::Known(gpu)) => gpu.with_fault(noted),
            (E::FaultNoted(_), Gpu::Unknown) => return illegal("gpu.fault-noted"),
            (E::Cordoned(cordoned), Gpu::Known(gpu)) => {
                let Cordoned { by, reason, at } = cordoned.clone();
                GpuState { cordon: Some(Cordon { by, reason, at }), ..GpuState::clone(gpu) }
            }
            (E::Cordoned(_), Gpu::Unknown) => return illegal("gpu.cordoned"),
            (E::Uncordoned(uncordoned), Gpu::Known(gpu)) => {
                let mut next = GpuState { cordon: None, ..GpuState::clone(gpu) };
                next.facts.ecc_uncorrected = uncordoned.ecc_uncorrected.or(next.facts.ecc_uncorrected);
                next
            }
            (E::Uncordoned(_), Gpu::Unknown) => return illegal("gpu.uncordoned"),
            (E::Violation(event), Gpu::Known(gpu)) => {
                let mut next = GpuState::clone(gpu);
                match next.violations.follow(event) {
                    Some(()) => next,
                    None => return illegal("gpu.violation"),
                }
            }
            (E::Violation(_), Gpu::Unknown) => return illegal("gpu.violation"),
            (E::DrainRequested(requested), Gpu::Known(gpu)) if gpu.drain.is_none() => {
                let DrainRequested { by, grace_s, at } = requested.clone();
                GpuState { drain: Some(Drain { by, grace_s, at }), ..GpuState::clone(gpu) }
            }
            (E::DrainRequested(_), _) => return illegal("gpu.drain-requested"),
            (E::DrainEnded(_), Gpu::Known(gpu)) if gpu.drain.is_some() => {
                GpuState { drain: None, ..GpuState::clone(gpu) }
            }
            (E::DrainEnded(_), _) => return illegal("gpu.drain-ended"),
            (E::Forgotten(_), Gpu::Known(gpu)) if matches!(gpu.health, Health::Lost { .. }) => {
                return Ok(Gpu::Unknown);
            }
            (E::Forgotten(_), _) => return illegal("gpu.forgotten"),
        };
        Ok(Gpu::Known(Box::new(next)))
    }

    fn is_terminal(&self) -> bool {
        false
    }
}
