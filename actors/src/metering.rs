//! Measuring what pods and machine really use: a sample every few seconds, and every few minutes one event that sums
//! them up. Samples themselves are not recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::Addr;
use purser_events::ledger::event::{NodeUse, PodUse, UseRecorded};
use purser_events::ledger::{Ledger, LedgerCommand};
use purser_events::pod::Pod;
use purser_events::pod::spec::RuntimeClass;
use purser_events::{Bytes, Cause, MilliCpu, PodUid, Timestamp, World};

use crate::entity::{By, Execute, Refusal};
use crate::ledger::LedgerActor;
use crate::port::ContainerKey;
use crate::shell::Shell;

/// Time between two samples, in milliseconds.
const SAMPLE_MS: u64 = 10_000;
/// Time that one event sums up, in milliseconds.
const WINDOW_MS: u64 = 300_000;

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
    /// Processor time, in thousandths of a core, and memory of each pod that runs.
    pub pods: BTreeMap<PodUid, (MilliCpu, Bytes)>,
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
        let mut window = Window::new(shell.clock.now());
        loop {
            shell.clock.sleep_until(shell.clock.now().plus_ms(SAMPLE_MS)).await;
            window.sample(&shell).await;
            told.set(window.latest());
            let now = shell.clock.now();
            if WINDOW_MS <= now.ms_since(window.from) || now < window.from {
                let recorded = window.close(&shell, now).await;
                record(&shell, &ledger, recorded).await;
            }
        }
    });
    meter
}

async fn record(shell: &Shell, ledger: &Addr<LedgerActor>, used: UseRecorded) {
    if used.pods.is_empty() {
        return;
    }
    let by = By::node(Cause::Node, shell.ids.uuid());
    let command = LedgerCommand::RecordUse(Box::new(used));
    match ledger.send(Execute::<Ledger> { command, by }).await {
        // What was not recorded for want of room is lost: the next minutes are measured as well.
        Ok(Ok(_) | Err(Refusal::Busy { .. } | Refusal::NoRoom)) | Err(_) => {}
        Ok(Err(error)) => tracing::error!(%error, "failed to record what pods used"),
    }
}

/// What was measured since the last event.
struct Window {
    from: Timestamp,
    at: Timestamp,
    containers: BTreeMap<ContainerKey, u64>,
    machine_cpu_us: Option<u64>,
    pods: BTreeMap<PodUid, Sums>,
    node: NodeSums,
    latest: Latest,
}

#[derive(Default)]
struct Sums {
    runtime: Option<RuntimeClass>,
    samples: u32,
    cpu: u128,
    cpu_max: u64,
    memory: u128,
    memory_max: u64,
}

#[derive(Default)]
struct NodeSums {
    samples: u32,
    cpu: u128,
    memory: u128,
    disk: u64,
}

impl Window {
    fn new(now: Timestamp) -> Window {
        Window {
            from: now,
            at: now,
            containers: BTreeMap::new(),
            machine_cpu_us: None,
            pods: BTreeMap::new(),
            node: NodeSums::default(),
            latest: Latest::default(),
        }
    }

    fn latest(&self) -> Latest {
        self.latest.clone()
    }

    /// Measures once. Processor time is what was used since the last sample: a container's first one only begins it.
    async fn sample(&mut self, shell: &Shell) {
        let now = shell.clock.now();
        let passed_us = now.ms_since(self.at).saturating_mul(1_000);
        self.at = now;
        self.latest = Latest::default();
        self.sample_machine(shell, passed_us).await;
        let mut seen = BTreeMap::new();
        let mut pods: BTreeMap<PodUid, (RuntimeClass, u64, u64)> = BTreeMap::new();
        for (class, key) in shell.live.read(running) {
            let Some(runtime) = shell.runtime(class) else { continue };
            let Ok(Some(used)) = runtime.usage(&key).await else { continue };
            let before = self.containers.get(&key).copied();
            let cpu = before.map_or(0, |before| rate(used.cpu_us.saturating_sub(before), passed_us));
            let pod = pods.entry(key.pod).or_insert((class, 0, 0));
            pod.1 = pod.1.saturating_add(cpu);
            pod.2 = pod.2.saturating_add(used.memory.0);
            seen.insert(key, used.cpu_us);
        }
        self.containers = seen;
        for (pod, (class, cpu, memory)) in pods {
            self.latest.pods.insert(pod, (MilliCpu(cpu), Bytes(memory)));
            self.pods.entry(pod).or_default().add(class, cpu, memory);
        }
    }

    async fn sample_machine(&mut self, shell: &Shell, passed_us: u64) {
        let used = match shell.machine.usage().await {
            Ok(used) => used,
            Err(error) => {
                tracing::warn!(%error, "failed to measure what is used of the machine");
                self.machine_cpu_us = None;
                return;
            }
        };
        let before = self.machine_cpu_us.replace(used.cpu_us);
        let Some(before) = before else { return };
        let cpu = rate(used.cpu_us.saturating_sub(before), passed_us);
        self.latest.node =
            Some(NodeUse { cpu_mean: MilliCpu(cpu), memory_mean: used.memory, disk: used.disk });
        self.node.samples += 1;
        self.node.cpu += u128::from(cpu);
        self.node.memory += u128::from(used.memory.0);
        self.node.disk = used.disk.0;
    }

    /// Sums up what was measured, and begins anew.
    async fn close(&mut self, shell: &Shell, now: Timestamp) -> UseRecorded {
        let from = std::mem::replace(&mut self.from, now);
        let node = std::mem::take(&mut self.node);
        let mut pods = vec![];
        for (pod, sums) in std::mem::take(&mut self.pods) {
            let runtime = sums.runtime.and_then(|class| shell.runtime(class));
            let disk = match runtime {
                Some(runtime) => runtime.disk_use(pod).await.unwrap_or_default(),
                None => Bytes::default(),
            };
            pods.push(sums.summed_up(pod, disk));
        }
        let node = NodeUse {
            cpu_mean: MilliCpu(mean(node.cpu, node.samples)),
            memory_mean: Bytes(mean(node.memory, node.samples)),
            disk: Bytes(node.disk),
        };
        UseRecorded { from, to: now, pods, node }
    }
}

impl Sums {
    fn add(&mut self, class: RuntimeClass, cpu: u64, memory: u64) {
        self.runtime = Some(class);
        self.samples += 1;
        self.cpu += u128::from(cpu);
        self.cpu_max = self.cpu_max.max(cpu);
        self.memory += u128::from(memory);
        self.memory_max = self.memory_max.max(memory);
    }

    fn summed_up(&self, pod: PodUid, disk: Bytes) -> PodUse {
        PodUse {
            pod,
            samples: self.samples,
            cpu_mean: MilliCpu(mean(self.cpu, self.samples)),
            cpu_max: MilliCpu(self.cpu_max),
            memory_mean: Bytes(mean(self.memory, self.samples)),
            memory_max: Bytes(self.memory_max),
            disk,
        }
    }
}

/// Thousandths of a core: microseconds of processor time in microseconds that passed.
fn rate(used_us: u64, passed_us: u64) -> u64 {
    let exact = (u128::from(used_us) * 1_000).checked_div(u128::from(passed_us)).unwrap_or(0);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

fn mean(sum: u128, count: u32) -> u64 {
    let exact = sum.checked_div(u128::from(count)).unwrap_or(0);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Every container that runs.
fn running(world: &World) -> Vec<(RuntimeClass, ContainerKey)> {
    let pods = world.pods.iter().filter_map(|(uid, pod)| Some((*uid, Pod::live(pod)?)));
    let containers = pods.flat_map(|(uid, pod)| {
        let running = pod.containers.iter().filter_map(move |container| {
            let attempt = container.attempt()?.number;
            Some(ContainerKey { pod: uid, container: container.name.clone(), attempt })
        });
        running.map(|key| (pod.spec.runtime, key)).collect::<Vec<_>>()
    });
    containers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_means_never_divide_by_nothing() {
        assert_eq!((rate(5_000_000, 10_000_000), rate(1, 0), mean(7, 0), mean(7, 2)), (500, 0, 0, 3));
        assert_eq!(rate(u64::MAX, 1), u64::MAX);
    }
}
