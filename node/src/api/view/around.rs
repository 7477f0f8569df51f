//! What of a pod's view is in the world around it: what it has or waits for, on whose account, and for whom it was
//! stopped.

use std::collections::BTreeMap;

use purser_actors::port::LimitsInForce;
use purser_actors::service::ledger::name_of;
use purser_events::ledger::HolderId;
use purser_events::pod::event::{StopCause, StopWhy};
use purser_events::pod::{Phase, PodState};
use purser_events::{ContainerName, World};

use crate::api::ledger::grant::Standing;

/// Limits in force by container.
pub type Limits = BTreeMap<ContainerName, LimitsInForce>;

/// The world around a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Around {
    /// How it stands to the ledger.
    pub standing: Standing,
    /// On whose account it goes.
    pub tenant: Option<String>,
    /// What the kernel holds its containers to, as far as that was looked up.
    pub limits: Limits,
    /// Why it was stopped, in a word and in a sentence, if nobody asked for that.
    pub stopped: Option<(&'static str, String)>,
}

impl Around {
    /// What is around a pod that stands so to the ledger.
    #[must_use]
    pub fn of(world: &World, pod: &PodState, standing: Standing) -> Around {
        let tenant = world.ledger.tenant_of(pod.spec.id.namespace()).map(|tenant| tenant.to_string());
        Around { standing, tenant, limits: Limits::new(), stopped: stopped(world, pod) }
    }
}

fn stopped(world: &World, pod: &PodState) -> Option<(&'static str, String)> {
    match pod.phase {
        Phase::Stopping { .. } | Phase::Stopped(StopCause::Requested) => {}
        Phase::Pending
        | Phase::Provisioning
        | Phase::Running
        | Phase::Stopped(StopCause::Completed)
        | Phase::Terminating { .. }
        | Phase::Failed(_) => return None,
    }
    match &pod.stop_why {
        StopWhy::Asked => None,
        StopWhy::Preempted { by } => {
            let by = name_of(world, HolderId::Pod(*by));
            Some(("Preempted", format!("it made way for {by}, which matters more")))
        }
        StopWhy::Evicted { kind, gpu } => {
            Some(("Evicted", format!("its violation {} of {gpu} went on", kind.word())))
        }
    }
}
