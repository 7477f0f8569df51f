//! Comparing the machine with the ledger: what runs without having been given anything, what was given and is used by
//! somebody else, and who runs on processors that are not his. Nothing is mended by guess: it is recorded, and shown.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use actix::Addr;
use purser_events::ledger::event::{Drift, DriftFound, ReleaseReason};
use purser_events::ledger::{HolderId, Ledger, LedgerCommand};
use purser_events::pod::{Pod, PodState};
use purser_events::{Cause, PodUid, World};

use super::recover::Known;
use super::{LedgerActor, release};
use crate::entity::{By, Execute, Refusal};
use crate::shell::Shell;

/// Time between two looks, in milliseconds.
const INTERVAL_MS: u64 = 60_000;
/// Network interfaces of ours begin like this.
const INTERFACE_MARK: &str = "purser";

/// Begins to compare, for as long as the actors' thread lives.
pub(super) fn begin(shell: &Arc<Shell>, ledger: &Addr<LedgerActor>) {
    let (shell, ledger) = (shell.clone(), ledger.clone());
    actix::spawn(async move {
        let mut suspects = BTreeSet::new();
        loop {
            match look(&shell).await {
                Ok(found) => tell(&shell, &ledger, found).await,
                Err(error) => tracing::warn!(%error, "failed to compare the machine with the ledger"),
            }
            suspects = free_idle(&shell, &ledger, &suspects).await;
            shell.clock.sleep_until(shell.clock.now().plus_ms(INTERVAL_MS)).await;
        }
    });
}

async fn tell(shell: &Shell, ledger: &Addr<LedgerActor>, found: Vec<DriftFound>) {
    for drift in &found {
        if !shell.live.read(|world| world.ledger.drifts.contains(&drift.drift)) {
            tracing::warn!(drift = drift.drift.word(), detail = %drift.detail, "the machine is not as the ledger says");
        }
    }
    let by = By::node(Cause::Node, shell.ids.uuid());
    let execute = Execute::<Ledger> { command: LedgerCommand::ReportDrift(found), by };
    match ledger.send(execute).await {
        // It will be seen again.
        Ok(Ok(_) | Err(Refusal::Busy { .. } | Refusal::NoRoom)) | Err(_) => {}
        Ok(Err(error)) => tracing::error!(%error, "failed to record in what the machine differs"),
    }
}

/// Takes back what pods have that are not to have anything, if that was so at the last look already: a pod that is about
/// to be admitted has its resources before it is on record.
async fn free_idle(
    shell: &Shell,
    ledger: &Addr<LedgerActor>,
    suspects: &BTreeSet<PodUid>,
) -> BTreeSet<PodUid> {
    let idle: BTreeSet<PodUid> = shell.live.read(Known::of).idle.into_iter().collect();
    for pod in idle.intersection(suspects) {
        tracing::error!(%pod, "a pod that is gone still had resources");
        let by = By::node(Cause::Node, shell.ids.uuid());
        release(ledger, *pod, ReleaseReason::FoundLater, by).await;
    }
    idle
}

/// Everything in which machine and ledger differ now.
async fn look(shell: &Shell) -> io::Result<Vec<DriftFound>> {
    let mut found = without_grant(shell).await;
    found.extend(foreign_listeners(shell).await?);
    found.extend(stray_interfaces(shell).await?);
    Ok(found)
}

/// Pods of which the runtimes hold containers, and which are on record as having nothing.
async fn without_grant(shell: &Shell) -> Vec<DriftFound> {
    let mut running = BTreeSet::new();
    for runtime in shell.runtimes.values() {
        // A runtime that does not answer has said so already.
        running.extend(runtime.list().await.unwrap_or_default().into_iter().map(|key| key.pod));
    }
    let lacks = |world: &World, uid: &PodUid| {
        let pod = world.pods.get(uid).and_then(Pod::live);
        pod.is_some_and(PodState::holds_resources) && world.ledger.grant(*uid).is_none()
    };
    let lacking: Vec<PodUid> =
        shell.live.read(|world| running.iter().filter(|uid| lacks(world, uid)).copied().collect());
    let told = |pod: PodUid| DriftFound {
        drift: Drift::RunsWithoutGrant(pod),
        detail: format!(
            "pod {pod} runs, and nothing is put down for it: report this with an export of the journal"
        ),
    };
    lacking.into_iter().map(told).collect()
}

/// Ports that a pod leases and on which a process listens that is none of its own.
async fn foreign_listeners(shell: &Shell) -> io::Result<Vec<DriftFound>> {
    let leases: BTreeMap<_, _> = shell.live.read(|world| world.ledger.managers.network.ports().collect());
    if leases.is_empty() {
        return Ok(vec![]);
    }
    let listeners = shell.machine.listeners().await?;
    let mut found = vec![];
    for (port, pids) in listeners {
        let Some(holder) = leases.get(&port) else { continue };
        let own = match holder {
            HolderId::Pod(pod) => own_processes(shell, *pod).await?,
            HolderId::Reservation(_) => BTreeSet::new(),
        };
        // Whose a listener is cannot always be seen: what is not known is no evidence.
        let foreign = pids.iter().find(|pid| !own.contains(pid));
        if let Some(pid) = foreign {
            let detail = format!(
                "port {}/{} is leased by {holder}, and process {pid}, which is none of its own, listens on it: stop that \
                 process, or keep its port out of `resources.ports`",
                port.number, port.protocol
            );
            found.push(DriftFound { drift: Drift::ForeignListener(port), detail });
        }
    }
    Ok(found)
}

/// Every process of a pod.
async fn own_processes(shell: &Shell, pod: PodUid) -> io::Result<BTreeSet<u32>> {
    let mains: Vec<u32> = shell.live.read(|world| {
        let pod = world.pods.get(&pod).and_then(Pod::live);
        let containers = pod.into_iter().flat_map(|pod| &pod.containers);
        containers.filter_map(|container| Some(container.attempt()?.process.host_pid)).collect()
    });
    let mut all = BTreeSet::new();
    for pid in mains {
        all.extend(shell.machine.descendants(pid).await?);
    }
    Ok(all)
}

/// Interfaces that look like ours: no pod has one of its own yet, so none may be there.
async fn stray_interfaces(shell: &Shell) -> io::Result<Vec<DriftFound>> {
    let names = shell.machine.interfaces().await?;
    let ours = names.into_iter().filter(|name| name.starts_with(INTERFACE_MARK));
    let told = |name: String| DriftFound {
        detail: format!("network interface {name} belongs to no pod: remove it with `ip link delete {name}`"),
        drift: Drift::StrayInterface(name),
    };
    Ok(ours.map(told).collect())
}
