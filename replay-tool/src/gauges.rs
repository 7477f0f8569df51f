//! What Prometheus would have been told of a world: the metrics of `docs/metrics.md` that follow from the journal alone,
//! under the same names, and what pods were measured to use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use purser_events::gpu::Health;
use purser_events::ledger::event::{Drift, UseRecorded};
use purser_events::ledger::grant::HolderId;
use purser_events::ledger::{Amounts, TenantId};
use purser_events::node::event::DiskPressure;
use purser_events::pod::Pod;
use purser_events::pod::state::Phase;
use purser_events::pool::{Member, Pool, TaskState};
use purser_events::view::World;
use purser_events::violation::ViolationKind;
use purser_events::violation::hold::holds;
use purser_events::{Event, PodId, PodUid, Timestamp};

/// A metric.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) is_counter: bool,
    /// Decimals that its values have.
    pub(crate) decimals: u8,
    pub(crate) help: &'static str,
}

impl Metric {
    /// A value as it is written.
    pub(crate) fn shown(&self, value: u64) -> String {
        let unit = 10_u64.pow(self.decimals.into());
        match value % unit {
            0 => (value / unit).to_string(),
            part => format!("{}.{part:0width$}", value / unit, width = self.decimals.into()),
        }
    }
}

macro_rules! metrics {
    ($($number:ident $kind:ident $name:literal $help:literal;)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "names of constants")]
        enum Number { $($number),* }
        $(const $number: usize = Number::$number as usize;)*
        /// Every metric, in the order in which they are written.
        pub(crate) const METRICS: &[Metric] =
            &[$(Metric {
                name: $name, is_counter: metrics!(@ $kind).0, decimals: metrics!(@ $kind).1, help: $help,
            }),*];
    };
    (@ counter) => { (true, 0) };
    (@ gauge) => { (false, 0) };
    // Told in hundredths, and in thousandths.
    (@ ratio) => { (false, 2) };
    (@ seconds) => { (false, 3) };
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
    PODS_ADMITTED counter "purser_pods_admitted" "Incarnations of pods that were ever admitted.";
    WORKERS gauge "purser_workers" "Worker processes that the node knows, by state.";
    STARTS counter "purser_node_starts" "Starts of the service that the journal knows.";
    UNCLEAN_STARTS counter "purser_node_unclean_starts" "Starts of the service that found no orderly stop before them.";
    ORPHANS counter "purser_node_orphans_removed" "Containers of this node that no pod knew, and which were removed.";
    CORDONED gauge "purser_node_cordoned" "Whether the node refuses new pods.";
    DISK_PRESSURE gauge "purser_node_disk_pressure" "How full the journal's disk is.";
    TENANT_QUOTA gauge "purser_tenant_quota" "What a tenant's pods may have together, where there is a bound.";
    GPU_HEALTH gauge "purser_gpu_health" "How a GPU is on record: 1 for one of the words, 0 for the others.";
    GPU_MEMORY gauge "purser_gpu_memory_total_bytes" "Memory of a GPU.";
    POD_GPU_SHARE ratio "purser_pod_gpu_utilization_limit_ratio" "Share of a GPU that a pod was given.";
    POD_GPU_MEMORY gauge "purser_pod_gpu_memory_limit_bytes" "Memory of a GPU that a pod was given.";
    VIOLATIONS_ACTIVE gauge "purser_violations_active" "Violations of a kind that are open.";
    POD_THROTTLED gauge "purser_pod_throttled" "A pod is held back because of a violation.";
    POD_VIOLATIONS counter "pod_management_resource_violations" "Violations of a pod by their kind, of those that are remembered.";
    POD_VIOLATION_SECONDS seconds "pod_management_violation_duration_seconds" "How long the violations of a pod of a kind have lasted together.";
    POOL_STATE gauge "purser_pool_state" "How a pool stands: 1 for the state that it is in, 0 for the others.";
    POOL_MEMBERS gauge "purser_pool_members" "Pods of a pool by state.";
    POOL_WANTED gauge "purser_pool_members_wanted" "Pods that there are to be.";
    POOL_MAX gauge "purser_pool_members_max" "Pods that there are to be at most.";
    POOL_OUTDATED gauge "purser_pool_members_outdated" "Pods of an older revision of a pool.";
    POOL_SLOTS gauge "purser_pool_slots" "Slots of a pool's pods by state.";
    POOL_TASKS gauge "purser_pool_tasks" "Tasks that are not over, by state.";
    POOL_SUBMITTED counter "purser_pool_tasks_submitted" "Tasks that a pool was ever given.";
    POOL_ENDED counter "purser_pool_tasks_ended" "Tasks of a pool that are over.";
    POOL_QUEUE_AGE seconds "purser_pool_queue_age_seconds" "How long the task has waited that waits longest; 0 if none does.";
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

/// Tells every sample of a world at a moment: the metric's number, its labels and its value.
pub(crate) fn tell(world: &World, measured: &Measured, now: Timestamp, told: &mut Told<'_>) {
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
    tell_node(world, told);
    tell_gpus(world, told);
    tell_violations(world, now, told);
    let there = world.pools.iter().filter(|(_, pool)| pool.exists());
    there.for_each(|(name, pool)| tell_pool(name.as_str(), pool, now, told));
}

fn tell_node(world: &World, told: &mut Told<'_>) {
    told(PODS_ADMITTED, &[], world.registry.admitted);
    for state in ["Running", "Exited"] {
        let count = world.workers.values().filter(|worker| worker.word() == state).count();
        told(WORKERS, &[("state", state)], count as u64);
    }
    let Some(node) = world.node.known() else { return };
    told(STARTS, &[], node.starts);
    told(UNCLEAN_STARTS, &[], node.unclean_starts);
    told(ORPHANS, &[], node.orphans_removed);
    told(CORDONED, &[], node.cordoned.is_some().into());
    let pressure = match node.disk_pressure() {
        DiskPressure::Fine => 0,
        DiskPressure::Low => 1,
        DiskPressure::Full => 2,
    };
    told(DISK_PRESSURE, &[], pressure);
}

fn tell_gpus(world: &World, told: &mut Told<'_>) {
    for (uuid, gpu) in &world.gpus {
        for word in Health::WORDS {
            told(GPU_HEALTH, &[("uuid", uuid.as_str()), ("health", word)], (gpu.word() == word).into());
        }
        if let Some(memory) = gpu.known().and_then(|known| known.facts.memory) {
            told(GPU_MEMORY, &[("uuid", uuid.as_str())], memory.0);
        }
    }
    for pod in world.pods.values().filter_map(Pod::live) {
        let Some(holding) = world.ledger.holdings.get(&HolderId::Pod(pod.uid)) else { continue };
        let (namespace, name) = (("namespace", pod.spec.id.namespace()), ("pod", pod.spec.id.name()));
        for grant in &holding.grant.gpus {
            let labels = [namespace, name, ("uuid", grant.uuid.as_str())];
            told(POD_GPU_SHARE, &labels, grant.share.into());
            told(POD_GPU_MEMORY, &labels, grant.memory.0);
        }
    }
}

/// Of pods that are there; all kinds are always told, so that a zero can be told from no answer.
fn tell_violations(world: &World, now: Timestamp, told: &mut Told<'_>) {
    let mut active: BTreeMap<ViolationKind, u64> =
        ViolationKind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    let entries = world.registry.entries.iter();
    let names: BTreeMap<PodUid, &PodId> = entries.map(|(id, entry)| (entry.uid, id)).collect();
    let mut pods: BTreeMap<(&PodId, ViolationKind), (u64, u64)> = BTreeMap::new();
    for episode in world.violations.all() {
        if episode.until.is_none() {
            *active.entry(episode.kind).or_default() += 1;
        }
        let Some(id) = episode.pod.and_then(|pod| names.get(&pod)) else { continue };
        let (count, lasted_ms) = pods.entry((id, episode.kind)).or_default();
        *count += 1;
        let lasted = episode.duration_ms.unwrap_or_else(|| now.ms_since(episode.since));
        *lasted_ms = lasted_ms.saturating_add(lasted);
    }
    active.into_iter().for_each(|(kind, count)| told(VIOLATIONS_ACTIVE, &[("kind", kind.word())], count));
    for (pod, held) in holds(world).into_keys() {
        let Some(id) = names.get(&pod) else { continue };
        let labels = [("namespace", id.namespace()), ("pod", id.name()), ("resource", held.word())];
        told(POD_THROTTLED, &labels, 1);
    }
    for ((id, kind), (count, lasted_ms)) in pods {
        let pod = id.to_string();
        let labels =
            [("pod_id", pod.as_str()), ("namespace", id.namespace()), ("violation_type", kind.word())];
        told(POD_VIOLATIONS, &labels, count);
        told(POD_VIOLATION_SECONDS, &labels, lasted_ms);
    }
}

/// The states of each kind. All of them are always told, as the service does.
const POOL_STATES: [&str; 4] = ["active", "frozen", "gave-up", "leaving"];
const MEMBER_STATES: [&str; 6] = ["requested", "starting", "connected", "away", "removing", "lost"];
const SLOT_STATES: [&str; 3] = ["idle", "running", "reserved"];
const TASK_STATES: [&str; 3] = ["pending", "running", "apply_pending"];

fn tell_pool(name: &str, pool: &Pool, now: Timestamp, told: &mut Told<'_>) {
    let of = ("pool", name);
    for state in POOL_STATES {
        told(POOL_STATE, &[of, ("state", state)], (pool.word() == state).into());
    }
    let members = || pool.members.values();
    for state in MEMBER_STATES {
        let count = members().filter(|member| member.word() == state).count();
        told(POOL_MEMBERS, &[of, ("state", state)], count as u64);
    }
    let slots = || members().filter(|member| member.is_live()).flat_map(|member| &member.slots);
    for state in SLOT_STATES {
        told(POOL_SLOTS, &[of, ("state", state)], slots().filter(|slot| slot.word() == state).count() as u64);
    }
    for state in TASK_STATES {
        let count = pool.tasks.values().filter(|task| task.word() == state).count();
        told(POOL_TASKS, &[of, ("state", state)], count as u64);
    }
    told(POOL_WANTED, &[of], pool.scaling.wanted.into());
    told(POOL_MAX, &[of], pool.spec.as_ref().map_or(0, |spec| spec.scaling.max_replicas.into()));
    let is_outdated = |member: &&Arc<Member>| member.is_live() && member.revision < pool.revision;
    told(POOL_OUTDATED, &[of], members().filter(is_outdated).count() as u64);
    let pending = pool.tasks.values().filter(|task| matches!(task.state, TaskState::Pending { .. }));
    let age_ms = pending.map(|task| task.since).min().map_or(0, |since| now.ms_since(since));
    told(POOL_QUEUE_AGE, &[of], age_ms);
    told(POOL_SUBMITTED, &[of], pool.submitted);
    told(POOL_ENDED, &[of], pool.ended_count);
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
    let tenants: BTreeSet<&TenantId> = ledger.used.keys().chain(ledger.tenants.keys()).collect();
    for tenant in tenants {
        for (kind, most) in ledger.quota(tenant).quota.iter() {
            told(TENANT_QUOTA, &[("tenant", tenant.as_str()), ("resource", kind.word())], most);
        }
    }
    told(RESERVATIONS, &[], ledger.reservations.size() as u64);
    for kind in Drift::WORDS {
        let found = ledger.drifts.iter().filter(|drift| drift.word() == kind).count();
        told(DRIFT, &[("kind", kind)], found as u64);
    }
}
