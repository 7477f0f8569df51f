//! Looks at the machine that are not worth a sample: what it has, which may change while the service runs, and which
//! leased ports are listened on.

use std::collections::BTreeSet;
use std::error::Error;

use actix::Addr;
use purser_events::ledger::{Grant, HolderId, Port};
use purser_events::pod::spec::Protocol;
use purser_events::{PodUid, World};

use super::report;
use crate::ledger::drift::own_processes;
use crate::ledger::{LedgerActor, Refit};
use crate::port::MachineCapacity;
use crate::shell::Shell;

/// Tells the ledger what the machine has now, if that is not what it knows.
pub(super) async fn at_capacity(shell: &Shell, ledger: &Addr<LedgerActor>) {
    let machine = match shell.machine.capacity().await {
        Ok(machine) => machine,
        Err(error) => {
            tracing::warn!(%error, "failed to look what the machine has; what is known stands");
            return;
        }
    };
    let is_known = |world: &World| {
        let known = &world.ledger.capacity;
        (&known.cpus, known.memory, known.disk) == (&machine.cpus, machine.memory, machine.disk)
    };
    if shell.live.read(is_known) {
        return;
    }
    let MachineCapacity { cpus, memory, disk } = &machine;
    tracing::info!(processors = cpus.cpus.len(), %memory, %disk, "the machine has other resources than before");
    report(ledger.send(Refit { machine: Some(machine) }).await, "what the machine has");
}

/// Leased ports on which the pods that lease them listen.
pub(super) async fn at_ports(shell: &Shell) -> Option<u64> {
    let found = count(shell).await;
    found.inspect_err(|error| tracing::warn!(%error, "failed to look who listens on leased ports")).ok()
}

async fn count(shell: &Shell) -> Result<u64, Box<dyn Error>> {
    let leases = shell.live.read(leases);
    if leases.is_empty() {
        return Ok(0);
    }
    let listeners = shell.machine.listeners().await?;
    let mut used = 0;
    for (pod, leased) in leases {
        let listened = |ports: &Vec<Port>| ports.iter().any(|port| listeners.contains_key(port));
        if !leased.iter().any(listened) {
            continue;
        }
        let own: BTreeSet<u32> = own_processes(shell, HolderId::Pod(pod)).await?;
        let is_own = |port: &Port| listeners.get(port).is_some_and(|pids| !pids.is_disjoint(&own));
        used += leased.iter().filter(|ports| ports.iter().any(is_own)).count() as u64;
    }
    Ok(used)
}

/// The ports of every pod, each as what may be listened on in its place: one that was chosen is leased for both
/// transports, and counts once.
fn leases(world: &World) -> Vec<(PodUid, Vec<Vec<Port>>)> {
    let of_pods = world.ledger.holdings.iter().filter_map(|(holder, holding)| match holder {
        HolderId::Pod(pod) => Some((*pod, ports(&holding.grant))),
        HolderId::Reservation(_) => None,
    });
    of_pods.filter(|(_, ports)| !ports.is_empty()).collect()
}

fn ports(grant: &Grant) -> Vec<Vec<Port>> {
    let chosen = grant.ports.iter().map(|number| {
        [Protocol::Tcp, Protocol::Udp].map(|protocol| Port { number: *number, protocol }).to_vec()
    });
    grant.fixed_ports.iter().map(|port| vec![*port]).chain(chosen).collect()
}
