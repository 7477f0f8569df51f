//! Every metric by name, once: what counts it and what renders it both read this table, and the manual is
//! tested against it.

/// What kind of series a metric has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the service is started again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution in buckets.
    Histogram,
}

impl Kind {
    /// The word in the exposition format.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of series it has.
    pub kind: Kind,
    /// The unit of its values, in words.
    pub unit: &'static str,
    /// The labels that every one of its series has.
    pub labels: &'static [&'static str],
    /// What it says.
    pub description: &'static str,
    /// The buckets' upper bounds, for a histogram.
    pub buckets: &'static [f64],
}

/// Buckets for what takes from 50 microseconds to 10 seconds.
const SECONDS: &[f64] = &[
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Buckets for what takes from 1 microsecond to 100 milliseconds.
const DECISIONS: &[f64] = &[
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_02,
    0.000_05,
    0.000_1,
    0.000_25,
    0.000_5,
    0.001,
    0.01,
    0.1,
];

/// Buckets for what takes from a second to a day.
const LONG: &[f64] = &[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0];

/// Buckets for how many records share one sync.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

macro_rules! metrics {
    ($($(#[$attribute:meta])* $constant:ident: $kind:ident $name:literal $unit:literal [$($label:literal),*] $buckets:ident = $description:literal;)*) => {
        $(
            #[doc = $description]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                description: $description,
                buckets: $buckets,
            };
        )*

        /// Every metric of the node, in the order of the manual.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

/// No buckets: the metric is no histogram.
const NONE: &[f64] = &[];

metrics! {
    PODS: Gauge "purser_pods" "pods" ["phase"] NONE = "Pods that are not gone, by state.";
    PODS_UNMANAGED: Gauge "purser_pods_unmanaged" "pods" [] NONE = "Pods that the node leaves as they are: it lacks their runtime, or cannot follow their records.";
    WORKERS: Gauge "purser_workers" "processes" ["state"] NONE = "Worker processes that the node knows, by state.";
    CONTAINER_RESTARTS: Counter "purser_container_restarts_total" "restarts" ["namespace", "pod", "container"] NONE = "Times that a container was started again after it had ended; the series goes with its pod.";
    CONTAINER_READY: Gauge "purser_container_ready" "0 or 1" ["namespace", "pod", "container"] NONE = "Whether a container runs and can serve; the series goes with its pod.";
    CONTAINER_OOM_KILLS: Counter "purser_container_oom_kills_total" "kills" ["namespace", "pod", "container"] NONE = "Times that the kernel killed something in a container for want of memory; the series goes with its pod.";
    PODS_ADMITTED: Counter "purser_pods_admitted_total" "pods" [] NONE = "Incarnations of pods that were ever admitted, over all starts of the service.";
    WORKERS_REGISTERED: Counter "purser_workers_registered_total" "processes" [] NONE = "Worker processes that were ever registered, over all starts of the service.";
    JOURNAL_HEAD: Gauge "purser_journal_head_seq" "records" [] NONE = "Sequence number of the last durable record.";
    JOURNAL_BYTES: Gauge "purser_journal_bytes" "bytes" [] NONE = "Size of the journal's files.";
    JOURNAL_APPEND: Histogram "purser_journal_append_seconds" "seconds" [] SECONDS = "Time from asking for an append until it is answered: durable, unless a probe will see the same again.";
    JOURNAL_FSYNC: Histogram "purser_journal_fsync_seconds" "seconds" [] SECONDS = "Time that one sync of the journal to disk takes.";
    JOURNAL_BATCH: Histogram "purser_journal_batch_records" "records" [] BATCH = "Records that were made durable by one sync.";
    JOURNAL_QUEUE: Gauge "purser_journal_queue_depth" "appends" ["class"] NONE = "Appends that wait for the journal's writer, by class: `safety`, `lifecycle` or `observation`.";
    JOURNAL_REFUSED: Counter "purser_journal_refused_total" "appends" ["class"] NONE = "Appends that were refused because too many waited or the disk had no room, by class.";
    JOURNAL_DISK_USED: Gauge "purser_journal_disk_used_percent" "percent" [] NONE = "Used part of the file system that the journal is on.";
    JOURNAL_DISK_AVAILABLE: Gauge "purser_journal_disk_available_bytes" "bytes" [] NONE = "Room left on the file system that the journal is on.";
    JOURNAL_BALLAST: Gauge "purser_journal_ballast_bytes" "bytes" [] NONE = "Room that the journal holds for stops and deletes on a full disk; 0 if it has none now.";
    JOURNAL_FIRST: Gauge "purser_journal_first_seq" "records" [] NONE = "Sequence number of the first record that was not trimmed.";
    JOURNAL_SEGMENTS: Gauge "purser_journal_segments" "segments" ["state"] NONE = "Sealed segments of the journal, by whether they are compressed.";
    JOURNAL_SEGMENTS_DAMAGED: Gauge "purser_journal_segments_damaged" "segments" [] NONE = "Sealed segments found damaged since the service started.";
    JOURNAL_TO_ARCHIVE: Gauge "purser_journal_segments_to_archive" "segments" [] NONE = "Sealed segments that wait for the archive.";
    PROJECTION_LAG: Gauge "purser_projection_lag_records" "records" ["projection"] NONE = "Records that the answers of a projection do not hold yet.";
    PROJECTION_STATE: Gauge "purser_projection_state" "0 or 1" ["projection", "state"] NONE = "What a projection does: 1 for the state that it is in, 0 for the others.";
    PROJECTION_PASSED_OVER: Gauge "purser_projection_passed_over_records" "records" ["projection"] NONE = "Records that concern a projection and could not be read.";
    JOURNAL_SEALED: Gauge "purser_journal_sealed_seq" "records" [] NONE = "Sequence number of the last record that a signed checkpoint is over.";
    JOURNAL_SEALING: Gauge "purser_journal_sealing" "0 or 1" [] NONE = "Whether the journal is sealed while it is written; 0 too if there is no key.";
    JOURNAL_CHECKPOINTS: Counter "purser_journal_checkpoints_total" "checkpoints" [] NONE = "Checkpoints that were signed.";
    WITNESS_FAILURES: Counter "purser_witness_failures_total" "checkpoints" ["witness"] NONE = "Checkpoints that a witness did not take.";
    API_REQUESTS: Counter "purser_api_requests_total" "requests" ["route", "method", "status"] NONE = "Requests answered, by route, method and status.";
    API_SECONDS: Histogram "purser_api_request_seconds" "seconds" ["route", "method"] SECONDS = "Time from a request until the head of its answer.";
    RESOURCE_CAPACITY: Gauge "purser_resource_capacity" "thousandths of a core, bytes, percent or pieces" ["resource"] NONE = "What the machine has of a resource.";
    RESOURCE_ALLOCATABLE: Gauge "purser_resource_allocatable" "as capacity" ["resource"] NONE = "What of a resource is given out at most.";
    RESOURCE_ALLOCATED: Gauge "purser_resource_allocated" "as capacity" ["resource"] NONE = "What of a resource pods have.";
    RESOURCE_RESERVED: Gauge "purser_resource_reserved" "as capacity" ["resource"] NONE = "What of a resource is kept by reservations.";
    RESOURCE_USED: Gauge "purser_resource_used" "as capacity" ["resource"] NONE = "What of a resource pods really use together; no series where that is not measured.";
    RESOURCE_USED_BY_MACHINE: Gauge "purser_resource_used_by_machine" "as capacity" ["resource"] NONE = "What of a resource everything on the machine uses; no series where that is not measured.";
    RESOURCE_ALLOCATED_RATIO: Gauge "purser_resource_allocated_ratio" "0 to 1, more if overcommitted" ["resource"] NONE = "What pods have of a resource, by what the machine has of it; no series where it has none.";
    RESOURCE_USED_RATIO: Gauge "purser_resource_used_ratio" "0 to 1, more beyond" ["resource"] NONE = "What pods really use of a resource, by what they have of it; no series where they have none, or it is not measured.";
    RESOURCE_FRAGMENTATION: Gauge "purser_resource_fragmentation_ratio" "0 to 1" ["resource"] NONE = "Part of what is free of a resource that is outside of its largest piece: a NUMA node, or a GPU; no series where it does not matter, or nothing is free.";
    RESOURCE_ALLOCATIONS: Counter "purser_resource_allocations_total" "times" ["resource"] NONE = "Times that some of a resource was given to a pod or kept for a reservation.";
    RESOURCE_RELEASES: Counter "purser_resource_releases_total" "times" ["resource"] NONE = "Times that some of a resource was taken back.";
    DECISION: Histogram "purser_decision_seconds" "seconds" ["entity"] DECISIONS = "Time that one decision takes, before it is written, by the kind of entity that decides.";
    RESOURCE_HEALTH: Gauge "purser_resource_health" "0 or 1" ["resource", "state"] NONE = "How the manager of a resource stands: 1 for the state that it is in, 0 for the others.";
    TENANT_USED: Gauge "purser_tenant_used" "as capacity" ["tenant", "resource"] NONE = "What a tenant's pods and reservations have; of the first 100 tenants.";
    TENANT_QUOTA: Gauge "purser_tenant_quota" "as capacity" ["tenant", "resource"] NONE = "What a tenant's pods may have together, where there is a bound; of the first 100 tenants.";
    TENANT_ALERT: Gauge "purser_tenant_alert" "1" ["tenant", "resource"] NONE = "A tenant has more of a bound than its alert says; no series while it has not; of the first 100 tenants.";
    TENANT_REFUSED: Counter "purser_tenant_requests_refused_total" "requests" ["tenant", "operation"] NONE = "Requests beyond a limit of their tenant, by the operation that is limited, or `concurrent`.";
    ADMISSION_WAITING: Gauge "purser_admission_waiting" "pods" [] NONE = "Pods that wait for resources.";
    ADMISSIONS_REFUSED: Counter "purser_admissions_refused_total" "refusals" ["resource"] NONE = "Pods and reservations that were refused because there was too little of a resource; `custom` for all that the node does not count.";
    STALE_TOKENS: Counter "purser_stale_tokens_refused_total" "refusals" ["reason"] NONE = "Times that somebody who spoke for a reservation was refused, by what is wrong: `gone`, `token`, `expired` or `owner`. Of `gone`, those of the last 1,000 that ended are on record too.";
    SAMPLES_MISSED: Counter "purser_use_samples_missed_total" "samples" [] NONE = "Samples of pods that were left out because a container could not be measured.";
    GPU_DRIVER_UP: Gauge "purser_gpu_driver_up" "0 or 1" [] NONE = "Whether the driver of the GPUs answers; no series where none is installed.";
    GPU_UP: Gauge "purser_gpu_up" "0 or 1" ["uuid"] NONE = "Whether a GPU answers; the series goes with the GPU.";
    GPU_HEALTH: Gauge "purser_gpu_health" "0 or 1" ["uuid", "health"] NONE = "How a GPU is on record: 1 for one of the words, 0 for the others.";
    GPU_INFO: Gauge "purser_gpu_info" "1" ["uuid", "gpu", "model", "driver", "pci_bus"] NONE = "Always 1; the labels say what a GPU is, its number to the driver, and where it is on the bus.";
    GPU_UTILIZATION: Gauge "purser_gpu_utilization_ratio" "0 to 1" ["uuid"] NONE = "Part of the time that anything ran on a GPU.";
    GPU_MEMORY_UTILIZATION: Gauge "purser_gpu_memory_utilization_ratio" "0 to 1" ["uuid"] NONE = "Part of the time that a GPU's memory was read or written.";
    GPU_MEMORY_TOTAL: Gauge "purser_gpu_memory_total_bytes" "bytes" ["uuid"] NONE = "Memory of a GPU.";
    GPU_MEMORY_USED: Gauge "purser_gpu_memory_used_bytes" "bytes" ["uuid"] NONE = "Memory of a GPU that is used, by whomever.";
    GPU_MEMORY_RESERVED: Gauge "purser_gpu_memory_reserved_bytes" "bytes" ["uuid"] NONE = "Memory of a GPU that its driver keeps for itself.";
    GPU_TEMPERATURE: Gauge "purser_gpu_temperature_celsius" "degrees Celsius" ["uuid", "sensor"] NONE = "Temperature of a GPU.";
    GPU_POWER: Gauge "purser_gpu_power_watts" "watts" ["uuid"] NONE = "What a GPU draws.";
    GPU_POWER_LIMIT: Gauge "purser_gpu_power_limit_watts" "watts" ["uuid"] NONE = "What a GPU may draw.";
    GPU_ENERGY: Counter "purser_gpu_energy_joules_total" "joules" ["uuid"] NONE = "What a GPU has drawn since its driver was loaded.";
    GPU_CLOCK: Gauge "purser_gpu_clock_hertz" "hertz" ["uuid", "clock"] NONE = "How fast the processors (`sm`) and the `memory` of a GPU run.";
    GPU_THROTTLE: Gauge "purser_gpu_throttle_active" "0 or 1" ["uuid", "reason"] NONE = "Whether something holds the clocks of a GPU down, by what: `idle`, `clocks_setting`, `power_cap`, `software_thermal`, `hardware_thermal`, `power_brake`, `hardware` or `other`.";
    GPU_ECC: Counter "purser_gpu_ecc_errors_total" "errors" ["uuid", "type", "volatility"] NONE = "Errors of a GPU's memory, `corrected` or `uncorrected`, over its life (`aggregate`).";
    GPU_REPLAYS: Counter "purser_gpu_pcie_replays_total" "transfers" ["uuid"] NONE = "Transfers over the bus of a GPU that had to be made again.";
    GPU_XIDS: Counter "purser_gpu_xid_errors_total" "faults" ["uuid", "xid"] NONE = "Faults that the driver told of since the service started, by NVIDIA's number; `other` for those without a series of their own.";
    GPU_PROCESSES: Gauge "purser_gpu_processes" "processes" ["uuid"] NONE = "Processes that use a GPU, whosever they are.";
    VIOLATIONS: Counter "purser_violations_total" "times" ["kind", "action"] NONE = "Times that a violation of a kind reached a rung of the ladder: `record`, `warn`, `throttle`, `evict` or `cordon`.";
    VIOLATIONS_ACTIVE: Gauge "purser_violations_active" "violations" ["kind"] NONE = "Violations of a kind that are open.";
    POD_THROTTLED: Gauge "purser_pod_throttled" "1" ["namespace", "pod", "resource"] NONE = "A pod is held back because of a violation: its `processors` or its `gpu-memory`; no series while it is not.";
    VIOLATION_DURATION: Histogram "purser_violation_duration_seconds" "seconds" ["kind"] LONG = "How long a violation of a kind was open, once it is over.";
    POD_VIOLATIONS: Counter "pod_management_resource_violations_total" "violations" ["pod_id", "namespace", "violation_type"] NONE = "Violations of a pod by their kind; the series goes with its pod.";
    POD_VIOLATION_SECONDS: Gauge "pod_management_violation_duration_seconds" "seconds" ["pod_id", "namespace", "violation_type"] NONE = "How long the violations of a pod of a kind have lasted together, an open one until now; the series goes with its pod.";
    MONITORING_CYCLES: Counter "pod_management_monitoring_cycles_total" "evaluations" [] NONE = "Evaluations of all pods and GPUs.";
    MONITORING_ERRORS: Counter "pod_management_monitoring_errors_total" "pods" [] NONE = "Pods whose use of a limit could not be read in an evaluation.";
    MONITORING_SECONDS: Histogram "pod_management_monitoring_duration_seconds" "seconds" [] SECONDS = "Time that one evaluation takes.";
    POD_GPU_UTILIZATION: Gauge "purser_pod_gpu_utilization_ratio" "0 to 1" ["namespace", "pod", "container", "uuid"] NONE = "Part of the time that a GPU was busy for a container; the series goes with its pod.";
    POD_GPU_UTILIZATION_LIMIT: Gauge "purser_pod_gpu_utilization_limit_ratio" "0 to 1" ["namespace", "pod", "uuid"] NONE = "Share of a GPU that a pod was given; the series goes with its pod.";
    POD_GPU_MEMORY_USED: Gauge "purser_pod_gpu_memory_used_bytes" "bytes" ["namespace", "pod", "container", "uuid"] NONE = "Memory of a GPU that a container uses; the series goes with its pod.";
    POD_GPU_MEMORY_LIMIT: Gauge "purser_pod_gpu_memory_limit_bytes" "bytes" ["namespace", "pod", "uuid"] NONE = "Memory of a GPU that a pod was given; the series goes with its pod.";
    POD_GPU_PROCESSES: Gauge "purser_pod_gpu_processes" "processes" ["namespace", "pod", "container", "uuid"] NONE = "Processes of a container that use a GPU; the series goes with its pod.";
    POOL_STATE: Gauge "purser_pool_state" "0 or 1" ["pool", "state"] NONE = "How a pool stands: 1 for the state that it is in (`active`, `frozen`, `gave-up` or `leaving`), 0 for the others; the series goes with its pool, as those of all that follow.";
    POOL_MEMBERS: Gauge "purser_pool_members" "pods" ["pool", "state"] NONE = "Pods of a pool by state: `requested`, `starting`, `connected`, `away`, `removing` or `lost`. `away` are those whose agent does not answer.";
    POOL_WANTED: Gauge "purser_pool_members_wanted" "pods" ["pool"] NONE = "Pods that there are to be.";
    POOL_MAX: Gauge "purser_pool_members_max" "pods" ["pool"] NONE = "Pods that there are to be at most.";
    POOL_OUTDATED: Gauge "purser_pool_members_outdated" "pods" ["pool"] NONE = "Pods of an older revision of a pool, which are made anew once they are idle.";
    POOL_SLOTS: Gauge "purser_pool_slots" "slots" ["pool", "state"] NONE = "Slots of a pool's pods by state: `idle`, `running` or `reserved`.";
    POOL_TASKS: Gauge "purser_pool_tasks" "tasks" ["pool", "state"] NONE = "Tasks that are not over, by state: `pending`, `running` or `apply_pending`, whose plan waits for its confirmation.";
    POOL_SUBMITTED: Counter "purser_pool_tasks_submitted_total" "tasks" ["pool"] NONE = "Tasks that a pool was ever given, over all starts of the service.";
    POOL_ENDED: Counter "purser_pool_tasks_ended_total" "tasks" ["pool"] NONE = "Tasks of a pool that are over, over all starts of the service.";
    POOL_QUEUE_AGE: Gauge "purser_pool_queue_age_seconds" "seconds" ["pool"] NONE = "How long the task has waited that waits longest; 0 if none does.";
    POOL_DECISIONS: Counter "purser_pool_decisions_total" "decisions" ["pool", "rule"] NONE = "Decisions on the number of a pool's pods since the service started, by the rule that made them.";
    SEED_PODS: Gauge "pod_management_pods_total" "pods" [] NONE = "Pods that are not gone. See `purser_pods`.";
    SEED_WORKERS: Gauge "pod_management_workers_total" "containers" ["pod_id", "namespace"] NONE = "Containers of a pod that run: each is a worker. See `purser_workers`.";
    SEED_HEALTHY_WORKERS: Gauge "pod_management_healthy_workers" "containers" ["pod_id", "namespace"] NONE = "Containers of a pod that run and can serve. See `purser_container_ready`.";
    SEED_CPU: Gauge "pod_management_cpu_usage_percent" "percent of one processor" ["pod_id", "namespace"] NONE = "Processor time of a pod; the series goes with it.";
    SEED_MEMORY_USED: Gauge "pod_management_memory_usage_bytes" "bytes" ["pod_id", "namespace"] NONE = "Memory of a pod; the series goes with it.";
    SEED_GPU: Gauge "pod_management_gpu_usage_percent" "percent" ["pod_id", "namespace", "device_idx", "device_uuid"] NONE = "Time that a GPU was busy for a pod; the series goes with it. See `purser_pod_gpu_utilization_ratio`.";
    NVML_CALL: Histogram "purser_nvml_call_duration_seconds" "seconds" ["call"] SECONDS = "Time that a call of the GPUs' management library takes, by call.";
    NVML_ERRORS: Counter "purser_nvml_errors_total" "calls" ["call", "code"] NONE = "Calls of the GPUs' management library that failed, by call and how; that a GPU does not have a figure is no failure.";
    NVML_DISCARDED: Counter "purser_nvml_samples_discarded_total" "figures" ["call"] NONE = "Figures of the GPUs' management library that cannot be true and were left out, by call.";
    RESERVATIONS: Gauge "purser_reservations" "reservations" [] NONE = "Reservations that are in force.";
    DRIFT: Gauge "purser_drift" "findings" ["kind"] NONE = "Ways in which the machine differs from the ledger, by kind.";
    INCONSISTENCIES: Gauge "purser_inconsistencies" "findings" ["invariant"] NONE = "Places where the node's state breaks one of its own rules: anything but 0 is a defect to report.";
    STARTS: Counter "purser_node_starts_total" "starts" [] NONE = "Starts of the service that the journal knows.";
    UNCLEAN_STARTS: Counter "purser_node_unclean_starts_total" "starts" [] NONE = "Starts of the service that found no orderly stop before them.";
    ORPHANS: Counter "purser_node_orphans_removed_total" "containers" [] NONE = "Containers of this node that no pod knew, and which were removed.";
    CORDONED: Gauge "purser_node_cordoned" "0 or 1" [] NONE = "Whether the node refuses new pods.";
    DISK_PRESSURE: Gauge "purser_node_disk_pressure" "0, 1 or 2" [] NONE = "How full the journal's disk is: 1 if observations are not recorded, 2 if new pods are refused too.";
    RUNTIME_UP: Gauge "purser_runtime_up" "0 or 1" ["runtime"] NONE = "Whether a container runtime answers.";
    BUILD: Gauge "purser_build_info" "1" ["version"] NONE = "Always 1; the labels say which release of the service runs.";
    CPU_SECONDS: Counter "process_cpu_seconds_total" "seconds" [] NONE = "Processor time that the service has used, user and system.";
    RESIDENT_BYTES: Gauge "process_resident_memory_bytes" "bytes" [] NONE = "Memory of the service that is in RAM.";
    OPEN_FDS: Gauge "process_open_fds" "descriptors" [] NONE = "File descriptors that the service has open.";
    MAX_FDS: Gauge "process_max_fds" "descriptors" [] NONE = "File descriptors that the service may open.";
    START_TIME: Gauge "process_start_time_seconds" "seconds" [] NONE = "When the service was started, in seconds since 1970.";
}

/// Tells the recorder in force what a metric says, so that its help and type are exposed.
pub fn describe(metric: &Metric) {
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(metric.name, metric.description),
        Kind::Gauge => metrics::describe_gauge!(metric.name, metric.description),
        Kind::Histogram => metrics::describe_histogram!(metric.name, metric.description),
    }
}
