//! What Prometheus would have been told of a world: the metrics of `docs/metrics.md` that follow from the journal alone,
//! under the same names, and what pods were measured to use.

use std::collections::BTreeMap;

use purser_events::ledger::Amounts;
use purser_events::ledger::event::{Drift, UseRecorded};
use purser_events::ledger::grant::HolderId;
use purser_events::pod::Pod;
use purser_events::pod::state::Phase;
use purser_events::view::World;
use purser_events::{Event, PodUid};

/// A metric.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) is_counter: bool,
    pub(crate) help: &'static str,
}

macro_rules! metrics {
    ($($number:ident $kind:ident $name:literal $help:literal;)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "names of constants")]
        enum Number { $($number),* }
        $(const $number: usize = Number::$number as usize;)*
        /// Every metric, in the order in which they are written.
        pub(crate) const METRICS: &[Metric] =
            &[$(Metric { name: $name, is_counter: metrics!(@ $kind), help: $help }),*];
    };
    (@ counter) => { true };
    (@ gauge) => { false };
}

metrics! {
    PODS gauge "purser_pods" "Pods that are not gone, by state.";
    WAITING gauge "purser_admission_waiting" "Pods that wait for resources.";
    RESTARTS counter "purser_container_restarts" "Times that a container was started again after it had ended.";
    READY gauge "purser_container_ready" "Whether a container runs and can serve.";
    OOM_KILLS counter "purser_container_oom_kills" "Times that the kernel killed something in a container for want of memory.";
    POD_CPU gauge "purser_pod_used_cpu_millicores" "Mean processor time of a pod in the last span that was measured.";
    POD_MEMORY gauge "purser_pod_used_memory_bytes" "Mean memory of a pod in the last span that was measured.";
    POD_DISK gauge "purser_pod_used_disk_bytes" "Disk of a pod at the end of the last span that was measured.";
    WORKERS_REGISTERED counter "purser_workers_registered" "Worker processes that were ever registered.";
    CAPACITY gauge "purser_resource_capacity" "What the machine has of a resource.";
    ALLOCATABLE gauge "purser_resource_allocatable" "What of a resource is given out at most.";
    ALLOCATED gauge "purser_resource_allocated" "What of a resource pods have.";
    RESERVED gauge "purser_resource_reserved" "What of a resource is kept by reservations.";
    TENANT_USED gauge "purser_tenant_used" "What a tenant's pods and reservations have.";
    RESERVATIONS gauge "purser_reservations" "Reservations that are in force.";
    DRIFT gauge "purser_drift" "Ways in which the machine differs from the ledger, by kind.";
    HEAD gauge "purser_journal_head_seq" "Sequence number of the last record.";
}

/// What was measured last of each pod.
#[derive(Default)]
pub(crate) struct Measured(BTreeMap<PodUid, (u64, u64, u64)>);

impl Measured {
    /// Takes notice of what a record says.
    pub(crate) fn note(&mut self, event: &Event) {
        if let Event::Ledger(purser_events::ledger::LedgerEvent::UseRecorded(part)) = event {
            self.set(part);
        }
    }

    fn set(&mut self, part: &UseRecorded) {
        let pods = part.pods.iter();
        self.0 = pods.map(|used| (used.pod, (used.cpu_mean.0, used.memory_mean.0, used.disk.0))).collect();
    }
}

/// Takes a sample: the metric's number, its labels and its value.
pub(crate) type Told<'a> = dyn FnMut(usize, &[(&str, &str)], u64) + 'a;

/// Tells every sample of a world: the metric's number, its labels and its value.
pub(crate) fn tell(world: &World, measured: &Measured, told: &mut Told<'_>) {
    let mut phases: BTreeMap<&str, u64> = Phase::WORDS.iter().map(|word| (*word, 0)).collect();
    for pod in world.pods.values() {
        *phases.entry(pod.word()).or_default() += 1;
    }
    phases.into_iter().for_each(|(phase, count)| told(PODS, &[("phase", phase)], count));
    told(WAITING, &[], world.ledger.waiting.size() as u64);
    world.pods.values().filter_map(Pod::live).for_each(|pod| {
        let (namespace, name) = (("namespace", pod.spec.id.namespace()), ("pod", pod.spec.id.name()));
        for container in &pod.containers {
            let labels = [namespace, name, ("container", container.name.as_str())];
            told(RESTARTS, &labels, container.restarts.into());
            told(READY, &labels, container.is_ready().into());
            told(OOM_KILLS, &labels, container.oom_kills.into());
        }
        if let Some((cpu, memory, disk)) = measured.0.get(&pod.uid) {
            told(POD_CPU, &[namespace, name], *cpu);
            told(POD_MEMORY, &[namespace, name], *memory);
            told(POD_DISK, &[namespace, name], *disk);
        }
    });
    told(WORKERS_REGISTERED, &[], world.workers_registered);
    tell_ledger(world, told);
    told(HEAD, &[], world.head.0);
}

fn tell_ledger(world: &World, told: &mut Told<'_>) {
    let ledger = &world.ledger;
    let mut reserved = Amounts::default();
    for (_, holding) in
        ledger.holdings.iter().filter(|(holder, _)| matches!(holder, HolderId::Reservation(_)))
    {
        for (kind, amount) in holding.grant.amounts().iter() {
            let sum = reserved.0.entry(kind.clone()).or_default();
            *sum = sum.saturating_add(amount);
        }
    }
    for (kind, usage) in ledger.managers.all().flat_map(|manager| manager.usage(ledger.policy.strict)) {
        let labels = [("resource", kind.word())];
        told(CAPACITY, &labels, usage.capacity);
        told(ALLOCATABLE, &labels, usage.allocatable);
        told(ALLOCATED, &labels, usage.allocated.saturating_sub(reserved.get(&kind)));
        told(RESERVED, &labels, reserved.get(&kind));
    }
    for (tenant, used) in &ledger.used {
        for (kind, amount) in used.iter() {
            told(TENANT_USED, &[("tenant", tenant.as_str()), ("resource", kind.word())], amount);
        }
    }
    told(RESERVATIONS, &[], ledger.reservations.size() as u64);
    for kind in Drift::WORDS {
        let found = ledger.drifts.iter().filter(|drift| drift.word() == kind).count();
        told(DRIFT, &[("kind", kind)], found as u64);
    }
}
