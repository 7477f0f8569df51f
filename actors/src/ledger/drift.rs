//! Comparing the machine with the ledger: what runs without having been given anything, what was given and is used by
//! somebody else, what is left of pods that are gone, and who runs on processors that are not his. Nothing is mended by
//! guess: it is recorded, and shown.
//!
//! What is seen once may be under way: a pod may begin or end between two questions. What is seen at two looks in a row
//! is drift. What could not be looked at is neither there nor gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use purser_events::ledger::event::{Drift, DriftFound};
use purser_events::ledger::{DriftReport, HolderId, Ledger, LedgerCommand};
use purser_events::pod::{Pod, PodState};
use purser_events::{Cause, CpuSet, PodUid, World};

use super::{LedgerActor, pins, ports, recover};
use crate::directory::Directory;
use crate::entity::{By, Execute, Refusal};
use crate::port::{ContainerKey, Containers, RuntimeError};
use crate::shell::Shell;
use crate::sweep::is_known;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(60);
/// Network interfaces of ours begin like this.
const INTERFACE_MARK: &str = "purser";

/// Begins to look at pods and machine, for as long as the actors' thread lives: first at once, and then from time to
/// time. Every pod of the journal must have its actor again.
pub(crate) fn watch(shell: &Arc<Shell>, ledger: &Addr<LedgerActor>, directory: &Addr<Directory>) {
    let (shell, ledger, directory) = (shell.clone(), ledger.clone(), directory.clone());
    actix::spawn(async move {
        let mut suspects = BTreeSet::new();
        loop {
            recover::agree(&shell, &ledger, &directory).await;
            ports::look_for_waiting(&shell, &ledger).await;
            // An alarm may have come when nothing could be recorded.
            ask(&shell, &ledger, LedgerCommand::CheckTime).await;
            let seen = look(&shell).await;
            let report = shell.live.read(|world| confirmed(seen.clone(), &suspects, &world.ledger));
            suspects = seen.found.into_iter().map(|found| found.drift).collect();
            tell(&shell, &ledger, report).await;
            shell.clock.sleep(INTERVAL).await;
        }
    });
}

/// What of a look is told: what the last one saw too, or what is on record.
fn confirmed(seen: DriftReport, suspects: &BTreeSet<Drift>, ledger: &Ledger) -> DriftReport {
    let is_confirmed =
        |found: &DriftFound| suspects.contains(&found.drift) || ledger.drifts.contains(&found.drift);
    DriftReport { found: seen.found.into_iter().filter(is_confirmed).collect(), ..seen }
}

async fn tell(shell: &Shell, ledger: &Addr<LedgerActor>, report: DriftReport) {
    for DriftFound { drift, detail } in &report.found {
        if !shell.live.read(|world| world.ledger.drifts.contains(drift)) {
            tracing::warn!(drift = drift.word(), %detail, "the machine is not as the ledger says");
        }
    }
    ask(shell, ledger, LedgerCommand::ReportDrift(report)).await;
}

async fn ask(shell: &Shell, ledger: &Addr<LedgerActor>, command: LedgerCommand) {
    let by = By::node(Cause::Node, shell.ids.uuid());
    match ledger.send(Execute::<Ledger> { command, by }).await {
        // It is looked at again.
        Ok(Ok(_) | Err(Refusal::Busy { .. } | Refusal::NoRoom)) | Err(_) => {}
        Ok(Err(error)) => tracing::error!(%error, "failed to record in what the machine differs"),
    }
}

/// Everything in which machine and ledger differ now.
async fn look(shell: &Shell) -> DriftReport {
    let mut report = DriftReport::default();
    without_grant(shell, &mut report).await;
    foreign_listeners(shell, &mut report).await;
    stray_interfaces(shell, &mut report).await;
    stray_cgroups(shell, &mut report).await;
    wrong_cpus(shell, &mut report).await;
    report
}

/// Notes that all drift of a kind, which `like` is one of, could not be seen.
fn note_unseen(report: &mut DriftReport, word: &'static str, error: &dyn Display) {
    tracing::warn!(drift = word, %error, "failed to compare the machine with the ledger");
    report.unseen.insert(word);
}

/// Pods of which the runtimes hold containers, and which are on record as having nothing.
async fn without_grant(shell: &Shell, report: &mut DriftReport) {
    let mut running = BTreeSet::new();
    for runtime in shell.runtimes.values() {
        match runtime.list().await {
            Ok(keys) => running.extend(keys.into_iter().map(|key| key.pod)),
            Err(error) => note_unseen(report, Drift::RUNS_WITHOUT_GRANT, &error),
        }
    }
    report.found.extend(shell.live.read(|world| lacking(world, &running)));
}

/// Those of the pods that run which are on record as having nothing, and should have something.
fn lacking(world: &World, running: &BTreeSet<PodUid>) -> Vec<DriftFound> {
    let lacks = |uid: &&PodUid| {
        let pod = world.pods.get(uid).and_then(Pod::live);
        pod.is_some_and(PodState::holds_resources) && world.ledger.grant(**uid).is_none()
    };
    let found = running.iter().filter(lacks).map(|pod| DriftFound {
        drift: Drift::RunsWithoutGrant(*pod),
        detail: format!(
            "pod {pod} runs, and nothing is put down for it: report this with an export of the journal"
        ),
    });
    found.collect()
}

/// Ports that a pod leases and on which a process listens that is none of its own.
async fn foreign_listeners(shell: &Shell, report: &mut DriftReport) {
    let leases: BTreeMap<_, _> = shell.live.read(|world| world.ledger.managers.network.ports().collect());
    if leases.is_empty() {
        return;
    }
    let listeners = match shell.machine.listeners().await {
        Ok(listeners) => listeners,
        Err(error) => return note_unseen(report, Drift::FOREIGN_LISTENER, &error),
    };
    for (port, pids) in listeners {
        let Some(holder) = leases.get(&port) else { continue };
        let own = match own_processes(shell, *holder).await {
            Ok(own) => own,
            Err(error) => {
                note_unseen(report, Drift::FOREIGN_LISTENER, &error);
                continue;
            }
        };
        // Whose a listener is cannot always be seen: what is not known is no evidence.
        let foreign = pids.iter().find(|pid| !own.contains(pid));
        if let Some(pid) = foreign {
            let detail = format!(
                "port {}/{} is leased by {holder}, and process {pid}, which is none of its own, listens on it: stop that \
                 process, or keep its port out of `resources.ports`",
                port.number, port.protocol
            );
            report.found.push(DriftFound { drift: Drift::ForeignListener(port), detail });
        }
    }
}

/// Every process of a holder; a reservation has none.
pub(crate) async fn own_processes(shell: &Shell, holder: HolderId) -> Result<BTreeSet<u32>, RuntimeError> {
    let HolderId::Pod(uid) = holder else { return Ok(BTreeSet::new()) };
    let containers = shell.live.read(|world| {
        let pod = world.pods.get(&uid).and_then(Pod::live)?;
        Some((pod.spec.runtime, ContainerKey::running(pod).collect::<Vec<_>>()))
    });
    let mut all = BTreeSet::new();
    let Some((class, keys)) = containers else { return Ok(all) };
    let Some(runtime) = shell.runtime(class) else { return Ok(all) };
    for key in keys {
        all.extend(runtime.processes(&key).await?);
    }
    Ok(all)
}

/// Interfaces that look like ours: no pod has one of its own yet, so none may be there.
async fn stray_interfaces(shell: &Shell, report: &mut DriftReport) {
    let names = match shell.machine.interfaces().await {
        Ok(names) => names,
        Err(error) => return note_unseen(report, Drift::STRAY_INTERFACE, &error),
    };
    let ours = names.into_iter().filter(|name| name.starts_with(INTERFACE_MARK));
    report.found.extend(ours.map(|name| DriftFound {
        detail: format!("network interface {name} belongs to no pod: remove it with `ip link delete {name}`"),
        drift: Drift::StrayInterface(name),
    }));
}

/// Control groups of pods that the journal does not know.
async fn stray_cgroups(shell: &Shell, report: &mut DriftReport) {
    for runtime in shell.runtimes.values() {
        let groups = match runtime.cgroups().await {
            Ok(groups) => groups,
            Err(error) => {
                note_unseen(report, Drift::STRAY_CGROUP, &error);
                continue;
            }
        };
        // Asked after the list was made: a pod is on record before its group is made.
        let stray = groups.into_iter().filter(|(uid, _)| !shell.live.read(|world| is_known(world, *uid)));
        report.found.extend(stray.map(|(uid, path)| {
            let path = path.display();
            DriftFound {
                drift: Drift::StrayCgroup(path.to_string()),
                detail: format!(
                    "control group {path} is of pod {uid}, which the journal does not know: end what is in its \
                     `cgroup.procs`, and remove it with `rmdir`"
                ),
            }
        }));
    }
}

/// Containers of which a process may run on processors that the pod was not given: those of others, who have them alone.
async fn wrong_cpus(shell: &Shell, report: &mut DriftReport) {
    for (class, key, cpus) in shell.live.read(pins::wanted) {
        let Some(runtime) = shell.runtime(class) else { continue };
        match strays(shell, runtime.as_ref(), &key, &cpus).await {
            Ok(None) => {}
            Ok(Some((pid, held))) => {
                let detail = format!(
                    "process {pid} of container {key} may run on processors {held}, and was given {cpus}: it has changed \
                     that itself, or could not be moved; see the service's log"
                );
                report.found.push(DriftFound { drift: Drift::WrongCpus(key.pod), detail });
            }
            Err(error) => note_unseen(report, Drift::WRONG_CPUS, &error),
        }
    }
}

/// A process of a container that may run elsewhere than on `cpus`, and where.
async fn strays(
    shell: &Shell,
    runtime: &dyn Containers,
    key: &ContainerKey,
    cpus: &CpuSet,
) -> Result<Option<(u32, CpuSet)>, Box<dyn std::error::Error>> {
    for pid in runtime.processes(key).await? {
        // One that is gone runs nowhere.
        let Some(held) = shell.machine.allowed_cpus(pid).await? else { continue };
        if held.iter().any(|cpu| !cpus.contains(cpu)) {
            return Ok(Some((pid, held)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use purser_events::ledger::event::{Allocated, ReleaseReason, Released};
    use purser_events::ledger::{Demand, Grant, LedgerEvent, TenantId};
    use purser_events::pod::PodEvent;
    use purser_events::pod::event::Admitted;
    use purser_events::{Decider, Timestamp};

    use super::*;

    /// A pod that was admitted, as the samples on file have it.
    fn admitted() -> (PodUid, Pod) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../storage/golden/pod.admitted.v3.json");
        let samples: Vec<Admitted> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let admitted = samples.into_iter().next().unwrap();
        let uid = admitted.uid;
        (uid, Pod::default().evolve(&PodEvent::from(admitted)).unwrap())
    }

    fn happens(world: &mut World, event: impl Into<LedgerEvent>) {
        world.ledger = world.ledger.evolve(&event.into()).unwrap();
    }

    #[test]
    fn a_pod_that_runs_and_has_nothing_on_the_ledger_is_drift_until_it_has() {
        let (uid, pod) = admitted();
        let mut world = World { pods: [(uid, pod)].into_iter().collect(), ..World::default() };
        let running = BTreeSet::from([uid, PodUid(uuid::Uuid::from_u128(7))]);
        let found = lacking(&world, &running);
        assert_eq!(found.iter().map(|it| &it.drift).collect::<Vec<_>>(), [&Drift::RunsWithoutGrant(uid)]);
        assert!(found[0].detail.contains(&uid.to_string()), "{}", found[0].detail);
        assert_eq!(lacking(&world, &BTreeSet::new()), [], "what does not run lacks nothing");
        let (tenant, grant) = (TenantId::new("red").unwrap(), Grant::default());
        let (demand, at) = (Demand::default(), Timestamp(0));
        happens(&mut world, Allocated { pod: uid, tenant, priority: 0, demand, grant, at, stays: false });
        assert_eq!(lacking(&world, &running), []);
        happens(&mut world, Released { pod: uid, reason: ReleaseReason::FoundLater });
        assert_eq!(lacking(&world, &running), found);
    }

    #[test]
    fn what_is_seen_once_is_no_drift_yet() {
        let (uid, _) = admitted();
        let found = DriftFound { drift: Drift::RunsWithoutGrant(uid), detail: String::new() };
        let seen = DriftReport { found: vec![found.clone()], ..DriftReport::default() };
        let mut ledger = Ledger::default();
        assert_eq!(confirmed(seen.clone(), &BTreeSet::new(), &ledger).found, []);
        assert_eq!(confirmed(seen.clone(), &BTreeSet::from([found.drift.clone()]), &ledger), seen);
        ledger = ledger.evolve(&found.into()).unwrap();
        assert_eq!(confirmed(seen.clone(), &BTreeSet::new(), &ledger), seen, "what is on record stays");
    }
}
