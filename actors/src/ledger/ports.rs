//! Looking whether strangers listen on ports, before these are given out.
//!
//! It is looked when somebody asks for ports, and from time to time while somebody waits for some. So a port that a
//! stranger takes in between is still given out; the leak detector tells of it.

use std::collections::BTreeSet;

use actix::Addr;
use purser_events::ledger::{Demand, Ledger, LedgerCommand, Port};
use purser_events::{Cause, World};

use super::LedgerActor;
use crate::entity::{By, Execute, Refusal};
use crate::shell::Shell;

/// Looks for somebody who asks for ports; of others nothing is looked for.
pub(crate) async fn look_for(shell: &Shell, ledger: &Addr<LedgerActor>, demand: &Demand) {
    if asks_for_ports(demand) {
        look(shell, ledger, &demand.fixed_ports).await;
    }
}

/// Looks if somebody waits for ports.
pub(super) async fn look_for_waiting(shell: &Shell, ledger: &Addr<LedgerActor>) {
    let is_any = |world: &World| world.ledger.waiting.values().any(|waiting| asks_for_ports(&waiting.demand));
    if shell.live.read(is_any) {
        look(shell, ledger, &BTreeSet::new()).await;
    }
}

fn asks_for_ports(demand: &Demand) -> bool {
    demand.ports != 0 || !demand.fixed_ports.is_empty()
}

/// Tells the ledger what is listened on of its range and of what is asked for by number.
async fn look(shell: &Shell, ledger: &Addr<LedgerActor>, asked: &BTreeSet<Port>) {
    let seen = match shell.machine.listened().await {
        Ok(seen) => seen,
        Err(error) => {
            tracing::warn!(%error, "failed to look which ports are listened on; what is known stands");
            return;
        }
    };
    let listened = shell.live.read(|world| {
        let range = world.ledger.capacity.ports;
        let waiting = world.ledger.waiting.values().flat_map(|waiting| &waiting.demand.fixed_ports);
        let wanted: BTreeSet<&Port> = asked.iter().chain(waiting).collect();
        let counts = |port: &Port| (range.first..=range.last).contains(&port.number) || wanted.contains(port);
        seen.into_iter().filter(counts).collect()
    });
    let by = By::node(Cause::Node, shell.ids.uuid());
    match ledger.send(Execute::<Ledger> { command: LedgerCommand::SeePorts { listened }, by }).await {
        // It is looked at again. A ledger that is gone went with the service.
        Ok(Ok(_) | Err(Refusal::Busy { .. } | Refusal::NoRoom)) | Err(_) => {}
        Ok(Err(error)) => tracing::error!(%error, "failed to record which ports strangers have"),
    }
}
