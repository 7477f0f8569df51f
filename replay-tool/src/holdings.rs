//! Who holds what of the ledger, and what a record changed about it.

use std::sync::Arc;

use purser_events::ledger::grant::HolderId;
use purser_events::ledger::state::Holding;
use purser_events::ledger::{Ledger, LedgerEvent};
use purser_events::{Decider, IllegalTransition};

/// What one holder had before a record, and has after it.
pub(crate) struct Change {
    pub(crate) holder: HolderId,
    pub(crate) was: Option<Arc<Holding>>,
    pub(crate) is: Option<Arc<Holding>>,
}

/// Folds a record of the ledger in, and says whose holdings it changed.
pub(crate) fn follow(ledger: &mut Ledger, event: &LedgerEvent) -> Result<Vec<Change>, IllegalTransition> {
    let before: Vec<_> = holders(event)
        .into_iter()
        .map(|holder| (holder, ledger.holdings.get(&holder).map(Arc::clone)))
        .collect();
    ledger.follow(event)?;
    let changes = before.into_iter().map(|(holder, was)| {
        let is = ledger.holdings.get(&holder).map(Arc::clone);
        Change { holder, was, is }
    });
    Ok(changes.filter(|change| change.was != change.is).collect())
}

/// The holders that a record is about.
fn holders(event: &LedgerEvent) -> Vec<HolderId> {
    use LedgerEvent as L;
    let reservation = match event {
        L::Reserved(part) => Some(part.reservation),
        L::ReservationActivated(part) => Some(part.reservation),
        L::ReservationExpired(part) => Some(part.reservation),
        L::ReservationCancelled(part) => Some(part.reservation),
        _ => None,
    };
    let pods = event.pods().into_iter().map(HolderId::Pod);
    pods.chain(reservation.map(HolderId::Reservation)).collect()
}
