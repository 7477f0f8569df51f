//! Ledger and pods made to agree: after a start, when the two may have been cut off from each other, and from time to
//! time afterwards.

use std::sync::Arc;

use actix::Addr;
use purser_events::ledger::event::ReleaseReason;
use purser_events::ledger::{HolderId, Ledger, LedgerCommand};
use purser_events::pod::{Pod, PodSpec, PodState};
use purser_events::{PodUid, World};

use super::{LedgerActor, admit, release};
use crate::entity::{By, Execute};
use crate::shell::Shell;

/// What the ledger has of a pod, and what it should have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Pods that have something, or wait, and are not to.
    pub(crate) idle: Vec<PodUid>,
    /// Pods that run, and for which nothing is put down.
    pub(crate) unaccounted: Vec<(PodUid, Arc<PodSpec>)>,
    /// Pods that believe to wait, and do not.
    pub(crate) lost: Vec<(PodUid, Arc<PodSpec>)>,
}

impl Known {
    /// Compares the two as the journal has them.
    pub(crate) fn of(world: &World) -> Known {
        let ledger = &world.ledger;
        let holding = ledger.holdings.keys().filter_map(|holder| match holder {
            HolderId::Pod(pod) => Some(*pod),
            HolderId::Reservation(_) => None,
        });
        let waiting = ledger.waiting.values().map(|waiting| waiting.pod);
        let idle =
            holding.filter(|uid| !may_hold(world, *uid)).chain(waiting.filter(|uid| !may_wait(world, *uid)));
        let mut known = Known { idle: idle.collect(), ..Known::default() };
        for (uid, pod) in world.pods.iter().filter_map(|(uid, pod)| Some((*uid, pod.live()?))) {
            let is_on_ledger = ledger.grant(uid).is_some() || ledger.waits(uid).is_some();
            if is_on_ledger || world.quarantined.contains_key(&uid.stream()) {
                continue;
            }
            if pod.holds_resources() {
                known.unaccounted.push((uid, pod.spec.clone()));
            } else if pod.awaits_resources {
                known.lost.push((uid, pod.spec.clone()));
            }
        }
        known
    }
}

/// Nothing is certain about a pod whose records cannot be followed, or are withheld: it keeps what it has.
fn is_uncertain(world: &World, uid: PodUid) -> bool {
    world.quarantined.contains_key(&uid.stream()) || world.withheld.contains(&uid)
}

fn live(world: &World, uid: PodUid) -> Option<&PodState> {
    world.pods.get(&uid).and_then(Pod::live)
}

fn may_hold(world: &World, uid: PodUid) -> bool {
    is_uncertain(world, uid) || live(world, uid).is_some_and(PodState::may_hold_resources)
}

fn may_wait(world: &World, uid: PodUid) -> bool {
    is_uncertain(world, uid) || live(world, uid).is_some_and(|pod| pod.awaits_resources)
}

/// Puts right what a stop has cut off: before requests are taken, so nothing else is under way.
pub(crate) async fn recover(shell: &Shell, ledger: &Addr<LedgerActor>, by: &By) {
    let Known { idle, unaccounted, lost } = shell.live.read(Known::of);
    for uid in idle {
        release(ledger, uid, ReleaseReason::FoundAtStart, by.clone()).await;
    }
    for (uid, spec) in unaccounted {
        put_down(ledger, uid, &spec, true, by).await;
    }
    for (uid, spec) in lost {
        put_down(ledger, uid, &spec, false, by).await;
    }
}

async fn put_down(ledger: &Addr<LedgerActor>, uid: PodUid, spec: &PodSpec, adopt: bool, by: &By) {
    let outcome = match admit(uid, spec, by) {
        Ok(admit) => {
            let admit = purser_events::ledger::Admit { adopt, reservation: None, ..admit };
            let command = LedgerCommand::Admit(Box::new(admit));
            ledger.send(Execute::<Ledger> { command, by: By { key: None, ..by.clone() } }).await
        }
        Err(error) => {
            tracing::error!(pod = %uid, %error, "a pod asks for what cannot be counted");
            return;
        }
    };
    if let Ok(Err(error)) = outcome {
        tracing::error!(pod = %uid, %error, "a pod's resources could not be put down");
    }
}
