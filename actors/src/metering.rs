//! Measuring what pods and machine really use: a sample every few seconds, and every few minutes one event that sums
//! them up. Samples themselves are not recorded. Times between samples are those that have passed, whatever the clock
//! was set to.

mod disk;
mod gpus;
mod look;
mod window;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Addr, MailboxError};
use metrics::counter;
use purser_events::ledger::event::{NodeUse, UseRecorded};
use purser_events::ledger::{Ledger, LedgerCommand, LedgerRejection};
use purser_events::pod::Pod;
use purser_events::pod::spec::RuntimeClass;
use purser_events::{Bytes, Cause, MilliCpu, PodUid, Timestamp, World};

use self::disk::Disks;
use self::window::{Measured, Window};
use crate::entity::{By, Done, Execute, Refusal};
use crate::ledger::LedgerActor;
use crate::metric;
use crate::port::{ContainerKey, GpuUse};
use crate::shell::Shell;

/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(10);
/// Time that one event sums up.
const WINDOW: Duration = Duration::from_secs(300);
/// Time between two looks at what the machine has, and at who listens on leased ports.
const LOOK: Duration = Duration::from_secs(60);

/// What was measured last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    latest: Arc<Mutex<Latest>>,
}

/// What was measured last, of everything that could be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latest {
    /// The machine; none before the second sample, or if the kernel cannot be asked.
    pub node: Option<NodeUse>,
    /// Each pod that runs, as it was measured last; none of it before its first sample.
    pub pods: BTreeMap<PodUid, PodSample>,
    /// Pods that run.
    pub running: usize,
    /// Leased ports on which the pods that lease them listen; none if the kernel cannot be asked.
    pub ports: Option<u64>,
    /// GPUs, by whomever they are used.
    pub gpus: GpuUse,
    /// GPUs, as far as pods use them.
    pub pod_gpus: GpuUse,
}

/// What a pod used when it was measured last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodSample {
    /// When.
    pub at: Timestamp,
    /// Processor time; none before its containers were measured twice.
    pub cpu: Option<MilliCpu>,
    /// Memory.
    pub memory: Bytes,
    /// What it has on disk, and when that was counted; none before it was.
    pub disk: Option<(Bytes, Timestamp)>,
}

impl Meter {
    /// What was measured last.
    #[must_use]
    pub fn latest(&self) -> Latest {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, latest: Latest) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = latest;
    }
}

/// Begins to measure, for as long as the actors' thread lives.
pub(crate) fn begin(shell: &Arc<Shell>, ledger: &Addr<LedgerActor>) -> Meter {
    let meter = Meter::default();
    let (shell, ledger, told) = (shell.clone(), ledger.clone(), meter.clone());
    actix::spawn(async move {
        let mut window = Window::new(shell.clock.passed());
        let disks = Disks::default();
        let mut looked = shell.clock.passed();
        let mut ports = None;
        loop {
            shell.clock.sleep(SAMPLE).await;
            let pods = shell.live.read(running);
            disks.count_due(&shell, &pods);
            sample(&shell, &mut window, &pods).await;
            let passed = shell.clock.passed();
            if LOOK <= passed.saturating_sub(looked) {
                looked = passed;
                look::at_capacity(&shell, &ledger).await;
                ports = look::at_ports(&shell).await;
            }
            let (seen, given) = (shell.gpus.seen(), shell.live.read(gpus::given));
            let (gpus, pod_gpus) = (seen.used(), seen.used_by_pods());
            window.gpus(gpus, gpus::used(&seen, &given));
            let latest = Latest { ports, gpus, pod_gpus, ..window.latest(&disks.known()) };
            told.set(latest);
            if WINDOW <= window.length(shell.clock.passed()) {
                let closed = window.close(shell.clock.now(), shell.clock.passed(), &disks.known());
                record(&shell, &ledger, closed).await;
            }
        }
    });
    meter
}

async fn record(shell: &Shell, ledger: &Addr<LedgerActor>, used: Option<UseRecorded>) {
    let Some(used) = used.filter(|used| !used.pods.is_empty()) else { return };
    let command = LedgerCommand::RecordUse(Box::new(used));
    let by = By::node(Cause::Node, shell.ids.uuid());
    report(ledger.send(Execute::<Ledger> { command, by }).await, "what pods used");
}

/// Says so if the ledger could not take what was seen.
fn report(told: Result<Result<Done, Refusal<LedgerRejection>>, MailboxError>, what: &str) {
    match told {
        // What was not recorded for want of room is seen again, or lost: the next minutes are measured as well.
        Ok(Ok(_) | Err(Refusal::Busy { .. } | Refusal::NoRoom)) | Err(_) => {}
        Ok(Err(error)) => tracing::error!(%error, "failed to record {what}"),
    }
}

/// The pods that run, with their containers that do.
type Running = BTreeMap<PodUid, (RuntimeClass, Vec<ContainerKey>)>;

/// Measures once.
async fn sample(shell: &Shell, window: &mut Window, pods: &Running) {
    match shell.machine.usage().await {
        Ok(used) => window.node(used, shell.clock.passed()),
        Err(error) => {
            tracing::warn!(%error, "failed to measure what is used of the machine");
            window.node_missed();
        }
    }
    let mut measured = Measured::default();
    for (pod, (class, containers)) in pods {
        let Some(runtime) = shell.runtime(*class) else { continue };
        let mut found = vec![];
        for key in containers {
            match runtime.usage(key).await {
                Ok(used) => found.extend(used.map(|used| (key.clone(), used, shell.clock.passed()))),
                Err(error) => {
                    tracing::debug!(%error, container = %key.container, %pod, "failed to measure a container");
                    measured.missed.insert(*pod);
                }
            }
        }
        measured.pods.insert(*pod, found);
    }
    counter!(metric::SAMPLES_MISSED.name).increment(measured.missed.len() as u64);
    window.pods(measured, shell.clock.now());
}

fn running(world: &World) -> Running {
    let pods = world.pods.iter().filter_map(|(uid, pod)| Some((*uid, Pod::live(pod)?)));
    let pods =
        pods.map(|(uid, pod)| (uid, (pod.spec.runtime, ContainerKey::running(pod).collect::<Vec<_>>())));
    pods.filter(|(_, (_, containers))| !containers.is_empty()).collect()
}
