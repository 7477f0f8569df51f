//! Ledger and pods made to agree: after a start, when the two may have been cut off from each other, and from time to
//! time afterwards, because a message may have been lost.

use std::sync::Arc;

use actix::{Addr, MailboxError};
use purser_events::ledger::event::ReleaseReason;
use purser_events::ledger::{HolderId, Ledger};
use purser_events::pod::{PodSpec, PodState};
use purser_events::{Cause, PodUid, World};

use super::{GiveBack, LedgerActor, PutDown, SettleResize};
use crate::directory::{Directory, Everyone, FindUid};
use crate::entity::By;
use crate::pod::Agree;
use crate::shell::Shell;

/// What is to be done so that ledger and pod agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The pod has something, or waits, and is not to.
    GiveBack,
    /// The pod runs, and nothing is put down for it.
    Adopt(Arc<PodSpec>),
    /// The pod believes to wait, and does not.
    Queue(Arc<PodSpec>),
    /// The pod has other amounts, or is to keep those of before, and the ledger does not know.
    SettleResize {
        /// The generation of the pod that they are for.
        generation: u32,
        /// Whether it has them.
        done: bool,
    },
    /// The pod waits for what it has.
    TakeUp,
    /// The pod was to make way for another, and was not told.
    MakeWay {
        /// Seconds that it has to end.
        grace_s: u32,
        /// For which.
        by: PodUid,
    },
}

impl Step {
    /// What is to be done about a pod as it is, if anything is. A pod that is none (any more) has nothing.
    pub(crate) fn of(ledger: &Ledger, uid: PodUid, pod: Option<&PodState>) -> Option<Step> {
        let (holding, waits) = (ledger.holdings.get(&HolderId::Pod(uid)), ledger.waits(uid).is_some());
        let is_idle = match pod {
            Some(pod) => holding.is_some() && !pod.may_hold_resources() || waits && !pod.awaits_resources,
            None => holding.is_some() || waits,
        };
        if is_idle {
            return Some(Step::GiveBack);
        }
        let pod = pod?;
        if let Some(resizing) = holding.and_then(|holding| holding.resizing)
            && let Some(done) = pod.has_resized(resizing.generation)
        {
            return Some(Step::SettleResize { generation: resizing.generation, done });
        }
        match holding {
            Some(_) if pod.awaits_resources => Some(Step::TakeUp),
            Some(holding) if pod.is_wanted() => {
                let grace_s = ledger.policy.preemption_grace_s;
                holding.leaves_for.map(|by| Step::MakeWay { grace_s, by })
            }
            Some(_) => None,
            None if waits => None,
            None if pod.holds_resources() => Some(Step::Adopt(pod.spec.clone())),
            None => pod.awaits_resources.then(|| Step::Queue(pod.spec.clone())),
        }
    }
}

/// What is to be done about every pod, as the journal has it.
pub(super) fn steps(world: &World) -> Vec<(PodUid, Step)> {
    let ledger = &world.ledger;
    let holding = ledger.holdings.keys().filter_map(|holder| match holder {
        HolderId::Pod(pod) => Some(*pod),
        HolderId::Reservation(_) => None,
    });
    let waiting = ledger.waiting.values().map(|waiting| waiting.pod);
    let unknown = holding.chain(waiting).filter(|uid| !world.pods.contains_key(uid));
    let pods = world.pods.iter().map(|(uid, pod)| (*uid, pod.live()));
    let all = pods.chain(unknown.map(|uid| (uid, None)));
    // Nothing is certain about a pod whose records cannot be followed, or are withheld: it keeps what it has.
    let is_certain =
        |uid: &PodUid| !world.quarantined.contains_key(&uid.stream()) && !world.withheld.contains(uid);
    let steps = all.filter(|(uid, _)| is_certain(uid));
    steps.filter_map(|(uid, pod)| Some((uid, Step::of(ledger, uid, pod)?))).collect()
}

/// Puts the ledger right after a stop: before requests are taken, so nothing else is under way. What pods are to be told
/// they are told once they are back.
///
/// # Errors
/// The ledger's actor is gone.
pub(crate) async fn recover(shell: &Shell, ledger: &Addr<LedgerActor>, by: &By) -> Result<(), MailboxError> {
    for (pod, step) in shell.live.read(steps) {
        let by = by.clone();
        match step {
            Step::GiveBack => ledger.send(GiveBack { pod, reason: ReleaseReason::FoundAtStart, by }).await?,
            Step::Adopt(spec) => ledger.send(PutDown { pod, spec, adopt: true, by }).await?,
            Step::Queue(spec) => ledger.send(PutDown { pod, spec, adopt: false, by }).await?,
            Step::SettleResize { generation, done } => {
                ledger.send(SettleResize { pod, generation, done, by }).await?;
            }
            Step::TakeUp | Step::MakeWay { .. } => {}
        }
    }
    Ok(())
}

/// Makes ledger and pods agree while both work: each pod looks for itself, between two of its messages, so nothing that
/// it has asked for is under way. What is gone has nobody to look.
pub(super) async fn agree(shell: &Shell, ledger: &Addr<LedgerActor>, directory: &Addr<Directory>) {
    for pod in directory.send(Everyone).await.unwrap_or_default() {
        // One that has much to do is looked at next time; one that is gone meanwhile had its last word.
        let _ = pod.try_send(Agree);
    }
    for (pod, step) in shell.live.read(steps) {
        // Who asks for something has an actor from before he asks until he is gone.
        if step == Step::GiveBack && matches!(directory.send(FindUid { uid: pod }).await, Ok(None)) {
            tracing::error!(%pod, "a pod that is gone still had resources");
            let by = By::node(Cause::Node, shell.ids.uuid());
            // A ledger that is gone went with the service.
            let _ = ledger.send(GiveBack { pod, reason: ReleaseReason::FoundLater, by }).await;
        }
    }
}
