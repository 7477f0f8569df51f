//! What was measured since the last event, summed up. Only whole samples count: what could not be measured is left out,
//! and never stands as nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use purser_events::ledger::event::{self, GpuUsed, NodeUse, PodUse, UseRecorded};
use purser_events::{Bytes, MilliCpu, PodUid, Timestamp};

use super::disk::Counted;
use super::{Latest, PodSample};
use crate::port::{ContainerKey, ContainerUse, GpuUse, MachineUse};

/// What the containers of pods said at one moment, each with the time that had passed when it was asked.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// By pod; a container that is gone is not among them.
    pub(super) pods: BTreeMap<PodUid, Vec<(ContainerKey, ContainerUse, Duration)>>,
    /// Pods of which a container could not be measured.
    pub(super) missed: BTreeSet<PodUid>,
}

/// What was measured since the last event.
#[derive(Debug)]
pub(super) struct Window {
    began: Duration,
    containers: BTreeMap<ContainerKey, Reading>,
    machine: Option<Reading>,
    pods: BTreeMap<PodUid, Sums>,
    node: NodeSums,
    gpus: GpuSums,
    pod_gpus: BTreeMap<PodUid, GpuSums>,
    latest_node: Option<NodeUse>,
    latest: BTreeMap<PodUid, PodSample>,
    running: usize,
}

/// Processor time that was used until a moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    cpu_us: u64,
    passed: Duration,
}

/// The sum of samples, how many there were, and the largest.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: u32,
    sum: u128,
    max: u64,
}

#[derive(Debug, Default)]
struct Sums {
    cpu: Sum,
    memory: Sum,
}

/// What was used of GPUs, over all of them together.
#[derive(Debug, Clone, Copy, Default)]
struct GpuSums {
    share: Sum,
    memory: Sum,
}

#[derive(Debug, Default)]
struct NodeSums {
    cpu: Sum,
    memory: Sum,
    disk: Bytes,
}

impl Reading {
    /// Thousandths of a core since an earlier reading; none where nothing passed, or where what was counted began anew.
    fn rate_since(self, earlier: Reading) -> Option<u64> {
        let used_us = u128::from(self.cpu_us.checked_sub(earlier.cpu_us)?);
        let passed_us = self.passed.checked_sub(earlier.passed)?.as_micros();
        let exact = (used_us * 1_000).checked_div(passed_us)?;
        Some(u64::try_from(exact).unwrap_or(u64::MAX))
    }
}

impl Sum {
    fn add(&mut self, amount: u64) {
        self.count += 1;
        self.sum += u128::from(amount);
        self.max = self.max.max(amount);
    }

    fn mean(self) -> u64 {
        let exact = self.sum.checked_div(u128::from(self.count)).unwrap_or(0);
        u64::try_from(exact).unwrap_or(u64::MAX)
    }

    /// As it is recorded, if there was any sample.
    fn measured(self) -> Option<event::Measured> {
        let Sum { count: samples, max, .. } = self;
        (0 < samples).then(|| event::Measured { samples, mean: self.mean(), max })
    }
}

impl GpuSums {
    fn add(&mut self, used: GpuUse) {
        used.share_percent.into_iter().for_each(|percent| self.share.add(percent));
        used.memory.into_iter().for_each(|bytes| self.memory.add(bytes.0));
    }

    fn summed_up(self) -> GpuUsed {
        GpuUsed { share: self.share.measured(), memory: self.memory.measured() }
    }
}

impl Window {
    /// A window that begins when so much time has passed.
    pub(super) fn new(began: Duration) -> Window {
        Window {
            began,
            containers: BTreeMap::new(),
            machine: None,
            pods: BTreeMap::new(),
            node: NodeSums::default(),
            gpus: GpuSums::default(),
            pod_gpus: BTreeMap::new(),
            latest_node: None,
            latest: BTreeMap::new(),
            running: 0,
        }
    }

    /// How long it is when so much time has passed.
    pub(super) fn length(&self, passed: Duration) -> Duration {
        passed.saturating_sub(self.began)
    }

    /// What was measured last, with what pods have on disk as far as it was counted.
    pub(super) fn latest(&self, disks: &BTreeMap<PodUid, Counted>) -> Latest {
        let with_disk = |(pod, sample): (&PodUid, &PodSample)| {
            let disk = disks.get(pod).map(|counted| (counted.bytes, counted.at));
            (*pod, PodSample { disk, ..*sample })
        };
        Latest {
            node: self.latest_node,
            pods: self.latest.iter().map(with_disk).collect(),
            running: self.running,
            ..Latest::default()
        }
    }

    /// The machine was measured. Its first sample only begins its processor time.
    pub(super) fn node(&mut self, used: MachineUse, passed: Duration) {
        let reading = Reading { cpu_us: used.cpu_us, passed };
        let before = self.machine.replace(reading);
        let rate = before.and_then(|before| reading.rate_since(before));
        self.latest_node = rate.map(|cpu| {
            self.node.cpu.add(cpu);
            self.node.memory.add(used.memory.0);
            self.node.disk = used.disk;
            NodeUse { cpu_mean: MilliCpu(cpu), memory_mean: used.memory, disk: used.disk }
        });
    }

    /// The machine could not be measured.
    pub(super) fn node_missed(&mut self) {
        self.latest_node = None;
    }

    /// GPUs were looked at: what everybody uses of them, and what each pod does that has something of them.
    pub(super) fn gpus(&mut self, all: GpuUse, pods: BTreeMap<PodUid, GpuUse>) {
        self.gpus.add(all);
        for (pod, used) in pods {
            self.pod_gpus.entry(pod).or_default().add(used);
        }
    }

    /// Pods were measured. Of one of which a container could not be, what was measured before stays.
    pub(super) fn pods(&mut self, measured: Measured, at: Timestamp) {
        let Measured { pods, missed } = measured;
        self.running = pods.len();
        self.latest.retain(|pod, _| pods.contains_key(pod));
        let mut readings = BTreeMap::new();
        for (pod, containers) in pods {
            let (mut cpu, mut memory) = (Some(0_u64), 0_u64);
            let is_there = !containers.is_empty();
            for (key, used, passed) in containers {
                let reading = Reading { cpu_us: used.cpu_us, passed };
                let before = self.containers.get(&key);
                let rate = before.and_then(|before| reading.rate_since(*before));
                cpu = cpu.zip(rate).map(|(sum, rate)| sum.saturating_add(rate));
                memory = memory.saturating_add(used.memory.0);
                readings.insert(key, reading);
            }
            if is_there && !missed.contains(&pod) {
                let sums = self.pods.entry(pod).or_default();
                sums.memory.add(memory);
                cpu.into_iter().for_each(|cpu| sums.cpu.add(cpu));
                let sample = PodSample { at, cpu: cpu.map(MilliCpu), memory: Bytes(memory), disk: None };
                self.latest.insert(pod, sample);
            }
        }
        // The next rate of one that could not be measured is over all of the time since it last was.
        let kept = std::mem::take(&mut self.containers).into_iter();
        let kept = kept.filter(|(key, _)| missed.contains(&key.pod));
        self.containers = kept.chain(readings).collect();
    }

    /// Sums up what was measured, and begins anew. None if the machine could not be measured at all.
    pub(super) fn close(
        &mut self,
        now: Timestamp,
        passed: Duration,
        disks: &BTreeMap<PodUid, Counted>,
    ) -> Option<UseRecorded> {
        let length_us = i64::try_from(self.length(passed).as_micros()).unwrap_or(i64::MAX);
        self.began = passed;
        let (pods, node) = (std::mem::take(&mut self.pods), std::mem::take(&mut self.node));
        let gpus = std::mem::take(&mut self.gpus).summed_up();
        let pod_gpus = std::mem::take(&mut self.pod_gpus);
        let of_gpus = |pod| pod_gpus.get(&pod).copied().unwrap_or_default().summed_up();
        let pods = pods.into_iter().map(|(pod, sums)| sums.summed_up(pod, disks.get(&pod), of_gpus(pod)));
        let pods: Vec<PodUse> = pods.collect();
        let node_use = NodeUse {
            cpu_mean: MilliCpu(node.cpu.mean()),
            memory_mean: Bytes(node.memory.mean()),
            disk: node.disk,
        };
        // As long as it was, though the clock may have been set since it began.
        let from = Timestamp(now.0.saturating_sub(length_us));
        (node.cpu.count != 0).then_some(UseRecorded { from, to: now, pods, node: node_use, gpus })
    }
}

impl Sums {
    /// What is recorded of a pod. Without any figure of its processor time or its disk it has no whole sample.
    fn summed_up(&self, pod: PodUid, disk: Option<&Counted>, gpus: GpuUsed) -> PodUse {
        PodUse {
            pod,
            samples: if disk.is_some() { self.cpu.count } else { 0 },
            cpu_mean: MilliCpu(self.cpu.mean()),
            cpu_max: MilliCpu(self.cpu.max),
            memory_mean: Bytes(self.memory.mean()),
            memory_max: Bytes(self.memory.max),
            disk: disk.map(|counted| counted.bytes).unwrap_or_default(),
            gpus,
        }
    }
}

#[cfg(test)]
mod tests {
    use purser_events::ContainerName;
    use uuid::Uuid;

    use super::*;

    const POD: PodUid = PodUid(Uuid::from_u128(1));
    const NOON: Timestamp = Timestamp(1_772_366_400_000_000);

    /// A container of the pod, by its number.
    fn key(number: u32) -> ContainerKey {
        ContainerKey { pod: POD, container: ContainerName::new("main").unwrap(), attempt: number }
    }

    /// What its containers have used by then: number, milliseconds of processor time, memory.
    fn measured(at_s: u64, containers: &[(u32, u64, u64)]) -> Measured {
        let used = |(number, cpu_ms, memory): &(u32, u64, u64)| {
            let used = ContainerUse { cpu_us: cpu_ms * 1_000, memory: Bytes(*memory), memory_peak: None };
            (key(*number), used, Duration::from_secs(at_s))
        };
        let containers = containers.iter().map(used).collect();
        Measured { pods: [(POD, containers)].into(), missed: BTreeSet::new() }
    }

    fn missed(at_s: u64, containers: &[(u32, u64, u64)]) -> Measured {
        Measured { missed: [POD].into(), ..measured(at_s, containers) }
    }

    fn counted(bytes: u64) -> BTreeMap<PodUid, Counted> {
        [(POD, Counted { bytes: Bytes(bytes), at: NOON })].into()
    }

    /// What is recorded of the pod after these samples.
    fn recorded(samples: Vec<Measured>) -> PodUse {
        let mut window = Window::new(Duration::ZERO);
        for second in [0, 1] {
            window.node(MachineUse::default(), Duration::from_secs(second));
        }
        samples.into_iter().for_each(|measured| window.pods(measured, NOON));
        let used = window.close(NOON, Duration::from_secs(300), &counted(7)).unwrap();
        assert_eq!(used.to.ms_since(used.from), 300_000);
        used.pods[0].clone()
    }

    #[test]
    fn the_first_sample_counts_for_memory_alone() {
        let used = recorded(vec![
            measured(10, &[(1, 50_000, 100)]),
            measured(20, &[(1, 55_000, 200)]),
            measured(30, &[(1, 60_000, 300)]),
        ]);
        assert_eq!((used.samples, used.cpu_mean, used.cpu_max), (2, MilliCpu(500), MilliCpu(500)));
        assert_eq!((used.memory_mean, used.memory_max, used.disk), (Bytes(200), Bytes(300), Bytes(7)));
    }

    #[test]
    fn a_container_that_is_new_makes_its_pods_processor_time_unknown_once() {
        let used = recorded(vec![
            measured(10, &[(1, 0, 1)]),
            measured(20, &[(1, 4_000, 1), (2, 90_000, 1)]),
            measured(30, &[(1, 8_000, 1), (2, 91_000, 1)]),
        ]);
        assert_eq!((used.samples, used.cpu_mean), (1, MilliCpu(500)));
        assert_eq!((used.memory_mean, used.memory_max), (Bytes(1), Bytes(2)));
    }

    #[test]
    fn a_container_that_cannot_be_measured_leaves_its_pod_out_and_biases_nothing() {
        let mut window = Window::new(Duration::ZERO);
        window.pods(measured(10, &[(1, 0, 100), (2, 0, 50)]), NOON);
        window.pods(missed(20, &[(1, 1_000, 100)]), NOON.plus_ms(10_000));
        let latest = window.latest(&BTreeMap::new());
        assert_eq!((latest.running, latest.pods[&POD].memory, latest.pods[&POD].at), (1, Bytes(150), NOON));
        // Ten seconds of one and twenty of the other.
        window.pods(measured(30, &[(1, 3_000, 100), (2, 8_000, 50)]), NOON.plus_ms(20_000));
        assert_eq!(window.latest(&counted(9)).pods[&POD].cpu, Some(MilliCpu(600)));
        assert_eq!(window.latest(&counted(9)).pods[&POD].disk, Some((Bytes(9), NOON)));
        let used =
            recorded(vec![measured(10, &[(1, 0, 100)]), missed(20, &[]), measured(30, &[(1, 0, 100)])]);
        assert_eq!((used.samples, used.memory_mean), (1, Bytes(100)));
    }

    #[test]
    fn neither_a_clock_that_was_set_nor_a_counter_that_began_anew_makes_a_rate() {
        let mut window = Window::new(Duration::ZERO);
        window.pods(measured(10, &[(1, 9_000, 1)]), NOON);
        window.pods(measured(20, &[(1, 14_000, 1)]), Timestamp(0));
        assert_eq!(window.latest(&BTreeMap::new()).pods[&POD].cpu, Some(MilliCpu(500)));
        window.pods(measured(30, &[(1, 10, 1)]), NOON);
        assert_eq!(window.latest(&BTreeMap::new()).pods[&POD].cpu, None);
        window.pods(measured(30, &[(1, 20, 1)]), NOON);
        assert_eq!(window.latest(&BTreeMap::new()).pods[&POD].cpu, None, "no time has passed");
    }

    #[test]
    fn what_has_ended_is_not_running() {
        let mut window = Window::new(Duration::ZERO);
        window.pods(measured(10, &[(1, 0, 1)]), NOON);
        window.pods(Measured::default(), NOON);
        assert_eq!(window.latest(&counted(1)), Latest::default());
    }

    #[test]
    fn who_was_not_measured_whole_has_no_sample_and_a_machine_without_figures_no_event() {
        let mut window = Window::new(Duration::ZERO);
        window.pods(measured(10, &[(1, 0, 1)]), NOON);
        window.pods(measured(20, &[(1, 1, 1)]), NOON);
        window.node_missed();
        assert_eq!(window.close(NOON, Duration::from_secs(300), &counted(1)), None);
        let machine = |cpu_ms: u64| MachineUse { cpu_us: cpu_ms * 1_000, ..MachineUse::default() };
        window.node(machine(100), Duration::from_secs(310));
        window.node(machine(20_100), Duration::from_secs(320));
        window.pods(measured(320, &[(1, 1, 1)]), NOON);
        let used = window.close(NOON, Duration::from_secs(600), &BTreeMap::new()).unwrap();
        assert_eq!((used.node.cpu_mean, used.pods[0].samples), (MilliCpu(2_000), 0));
    }

    #[test]
    fn what_is_used_of_gpus_is_summed_up_as_far_as_it_was_told() {
        let mut window = Window::new(Duration::ZERO);
        for second in [10, 20] {
            window.node(MachineUse::default(), Duration::from_secs(second));
            window.pods(measured(second, &[(1, 0, 1)]), NOON);
        }
        let used = |share_percent, memory: Option<u64>| GpuUse { share_percent, memory: memory.map(Bytes) };
        window.gpus(used(Some(50), Some(10)), [(POD, used(Some(30), None))].into());
        window.gpus(used(Some(70), None), [(POD, used(Some(10), None))].into());
        window.gpus(used(None, None), BTreeMap::new());
        let recorded = window.close(NOON, Duration::from_secs(300), &counted(1)).unwrap();
        let figure = |samples, mean, max| Some(event::Measured { samples, mean, max });
        assert_eq!(recorded.gpus, GpuUsed { share: figure(2, 60, 70), memory: figure(1, 10, 10) });
        assert_eq!(recorded.pods[0].gpus, GpuUsed { share: figure(2, 20, 30), memory: None });
        window.node(MachineUse::default(), Duration::from_secs(310));
        window.pods(measured(310, &[(1, 0, 1)]), NOON);
        let next = window.close(NOON, Duration::from_secs(600), &counted(1)).unwrap();
        assert_eq!((next.gpus, next.pods[0].gpus), Default::default());
    }

    #[test]
    fn sums_do_not_wrap() {
        let mut sum = Sum::default();
        assert_eq!(sum.mean(), 0);
        [u64::MAX, u64::MAX].into_iter().for_each(|amount| sum.add(amount));
        assert_eq!((sum.mean(), sum.max), (u64::MAX, u64::MAX));
        let reading = |cpu_us, us| Reading { cpu_us, passed: Duration::from_micros(us) };
        assert_eq!(reading(u64::MAX, 1).rate_since(reading(0, 0)), Some(u64::MAX));
    }
}
