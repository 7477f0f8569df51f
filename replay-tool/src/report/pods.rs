//! Pods of a report: as many as a page shows, those that matter most.

use std::collections::BTreeMap;

use purser_events::PodUid;
use purser_events::pod::{Pod, PodEvent, PodState};

use super::{Bar, next_bar};

/// Most pods that are shown.
const PODS_MAX: usize = 200;

/// What is shown of a pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) phases: Vec<Bar>,
    pub(crate) restarts: u32,
    /// The phase that it was in last.
    pub(crate) phase: String,
    pub(crate) is_over: bool,
    pub(crate) has_failed: bool,
    /// Its place among all, from 0.
    pub(crate) number: u64,
}

/// The pods that are shown, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    lives: BTreeMap<PodUid, Life>,
    /// Tenants of pods whose admission is still to come, as the ledger decides before it: few at a time.
    tenants: BTreeMap<PodUid, String>,
    pub(crate) admitted: u64,
    pub(crate) failed: u64,
}

impl Pods {
    /// Those that are shown, the oldest first.
    pub(crate) fn shown(&self) -> Vec<(&PodUid, &Life)> {
        let mut shown: Vec<_> = self.lives.iter().collect();
        shown.sort_by_key(|(_, life)| life.number);
        shown
    }

    /// What a pod is called, if it is among those that are shown.
    pub(super) fn name(&self, uid: PodUid) -> Option<String> {
        self.lives.get(&uid).map(|life| life.name.clone())
    }

    /// Says on whose account a pod goes.
    pub(super) fn set_tenant(&mut self, uid: PodUid, tenant: &str) {
        match self.lives.get_mut(&uid) {
            Some(life) => tenant.clone_into(&mut life.tenant),
            None if self.tenants.len() < PODS_MAX => {
                self.tenants.insert(uid, tenant.to_owned());
            }
            None => {}
        }
    }

    /// Takes notice of what happened to a pod; `pod` is what it is now, none if it is gone.
    pub(super) fn note(&mut self, uid: PodUid, event: &PodEvent, pod: Option<&Pod>, now: i64) {
        if let PodEvent::Admitted(admitted) = event {
            let id = &admitted.spec.id;
            let name = format!("{}/{}", id.namespace(), id.name());
            let tenant = self.tenants.remove(&uid).unwrap_or_default();
            let life = Life { name, tenant, number: self.admitted, ..Life::default() };
            self.admitted += 1;
            self.make_room();
            self.lives.insert(uid, life);
        }
        let failed = matches!(event, PodEvent::Failed(_));
        self.failed += u64::from(failed);
        let Some(life) = self.lives.get_mut(&uid) else { return };
        life.has_failed |= failed;
        match pod {
            Some(pod) => {
                pod.word().clone_into(&mut life.phase);
                life.restarts = pod.live().map_or(life.restarts, PodState::restarts);
                next_bar(&mut life.phases, now, Some(&life.phase));
            }
            None => {
                "Terminated".clone_into(&mut life.phase);
                life.is_over = true;
                next_bar(&mut life.phases, now, None);
            }
        }
    }

    /// Drops one pod if there are too many: the oldest that is gone and did not fail, else the oldest that is gone, else
    /// the oldest.
    fn make_room(&mut self) {
        if self.lives.len() < PODS_MAX {
            return;
        }
        let least = self.lives.iter().min_by_key(|(_, life)| (!life.is_over, life.has_failed, life.number));
        if let Some(uid) = least.map(|(uid, _)| *uid) {
            self.lives.remove(&uid);
        }
    }
}
