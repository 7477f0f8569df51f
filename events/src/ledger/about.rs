//! Which pods an event of the ledger is about.

use super::event::{Drift, LedgerEvent};
use crate::ids::PodUid;

impl LedgerEvent {
    /// The pods to which something happens by it; none if it is about others, or about all of them alike.
    #[must_use]
    pub fn pods(&self) -> Vec<PodUid> {
        use LedgerEvent as E;
        match self {
            E::Allocated(it) => vec![it.pod],
            E::Queued(it) => vec![it.pod],
            E::Withdrawn(it) => vec![it.pod],
            E::Released(it) => vec![it.pod],
            E::PreemptionRequested(it) => it.victims.iter().copied().chain([it.pod]).collect(),
            E::ReservationActivated(it) => vec![it.pod],
            E::ResizeGranted(it) => vec![it.pod],
            E::ResizeSettled(it) => vec![it.pod],
            E::DriftFound(it) => of_drift(&it.drift),
            E::DriftResolved(it) => of_drift(&it.drift),
            E::CapacitySet(_)
            | E::PolicySet(_)
            | E::TenantSet(_)
            | E::TenantRemoved(_)
            | E::Reserved(_)
            | E::ReservationExpired(_)
            | E::ReservationCancelled(_)
            | E::StaleTokenRefused(_)
            | E::ManagerStopped(_)
            | E::ManagerStarted(_)
            | E::AlertRaised(_)
            | E::AlertCleared(_)
            | E::UseRecorded(_)
            | E::ForeignPortsSeen(_) => vec![],
        }
    }
}

fn of_drift(drift: &Drift) -> Vec<PodUid> {
    match drift {
        Drift::RunsWithoutGrant(pod) | Drift::WrongCpus(pod) => vec![*pod],
        Drift::StrayCgroup(_) | Drift::ForeignListener(_) | Drift::StrayInterface(_) => vec![],
    }
}
