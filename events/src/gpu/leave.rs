//! How a GPU is emptied of pods, and how one that is gone for good is forgotten.

use super::command::GpuRejection;
use super::event::{Cordoned, DrainEnded, DrainOutcome, DrainRequested, Forgotten, GpuEvent};
use super::health::Health;
use super::state::GpuState;
use crate::record::Principal;
use crate::units::Timestamp;

/// Longest time that pods may be given to end, in seconds: a day.
pub const DRAIN_GRACE_S_MAX: u32 = 86_400;

impl GpuState {
    /// What a wish to have no pods on it leads to.
    pub(super) fn begin_drain(
        &self,
        by: &Principal,
        reason: &str,
        grace_s: Option<u32>,
        at: Timestamp,
    ) -> Result<Vec<GpuEvent>, GpuRejection> {
        super::state::check_reason(reason)?;
        if let Some(grace_s) = grace_s.filter(|grace_s| DRAIN_GRACE_S_MAX < *grace_s) {
            return Err(GpuRejection::GraceTooLong { grace_s });
        }
        let cordon = self.cordon.as_ref().is_none_or(|cordon| cordon.reason != reason);
        let cordon = cordon.then(|| Cordoned { by: by.clone(), reason: reason.to_owned(), at }.into());
        let drain = self.drain.as_ref().is_none_or(|drain| drain.grace_s != grace_s);
        let drain = drain.then(|| DrainRequested { by: by.clone(), grace_s, at }.into());
        // Another grace replaces the one before.
        let ended = drain.as_ref().and_then(|_: &GpuEvent| self.end_drain(DrainOutcome::GivenUp, at));
        Ok(cordon.into_iter().chain(ended).chain(drain).collect())
    }

    /// The end of a drain, if there is one.
    pub(super) fn end_drain(&self, outcome: DrainOutcome, at: Timestamp) -> Option<GpuEvent> {
        self.drain.as_ref().map(|_| DrainEnded { outcome, at }.into())
    }

    /// What a wish to forget it leads to. `holders` is how many have something of it, and `is_seen` whether the driver
    /// or the config still names it.
    pub(super) fn forget(
        &self,
        by: &Principal,
        holders: u64,
        is_seen: bool,
        at: Timestamp,
    ) -> Result<Vec<GpuEvent>, GpuRejection> {
        let Health::Lost { .. } = &self.health else {
            return Err(GpuRejection::NotLost { health: self.health.word().to_owned() });
        };
        if is_seen {
            return Err(GpuRejection::StillNamed);
        }
        if 0 < holders {
            return Err(GpuRejection::StillHeld { holders });
        }
        let violations = self.violations.end("the GPU is forgotten", at).into_iter().map(GpuEvent::from);
        let drain = self.end_drain(DrainOutcome::GivenUp, at);
        Ok(violations.chain(drain).chain([Forgotten { by: by.clone(), at }.into()]).collect())
    }
}
