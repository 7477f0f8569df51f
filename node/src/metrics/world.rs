//! What the world and the journal say now, as metrics.

use std::collections::BTreeMap;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use purser_actors::metric::{self, Metric};
use purser_actors::service::Service;
use purser_events::invariant::{Inconsistency, Invariant};
use purser_events::node::event::DiskPressure;
use purser_events::node::state::{NodeState, RuntimeStanding};
use purser_events::pod::spec::RuntimeClass;
use purser_events::pod::{Phase, PodState};
use purser_events::worker::Worker;
use purser_events::{PodId, World};
use purser_storage::Class;
use purser_storage::projection::ProjectionState;
use purser_storage::sealer::SealingState;

use super::process::exact;
use super::{gpus, ledger, pods, pools, process, violations};

/// The metrics that are kept by the process' own recorder instead.
const COUNTED: [Metric; 23] = [
    metric::POOL_DECISIONS,
    metric::VIOLATIONS,
    metric::VIOLATION_DURATION,
    metric::MONITORING_CYCLES,
    metric::MONITORING_ERRORS,
    metric::MONITORING_SECONDS,
    metric::NVML_CALL,
    metric::NVML_ERRORS,
    metric::NVML_DISCARDED,
    metric::ADMISSIONS_REFUSED,
    metric::TENANT_REFUSED,
    metric::STALE_TOKENS,
    metric::JOURNAL_CHECKPOINTS,
    metric::WITNESS_FAILURES,
    metric::JOURNAL_APPEND,
    metric::JOURNAL_FSYNC,
    metric::JOURNAL_BATCH,
    metric::API_REQUESTS,
    metric::API_SECONDS,
    metric::RESOURCE_ALLOCATIONS,
    metric::RESOURCE_RELEASES,
    metric::DECISION,
    metric::SAMPLES_MISSED,
];

/// Whether a metric is rendered here.
pub(super) fn renders(metric: &Metric) -> bool {
    !COUNTED.contains(metric)
}

/// The metrics of this module in Prometheus' text format.
pub(super) fn render(service: &Service) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        metric::ALL.iter().filter(|metric| renders(metric)).for_each(metric::describe);
        // Taken out first: nothing is committed while the world is read.
        let figures = service.world(|world| Figures::of(world, |class| service.has_runtime(class)));
        figures.record();
        ledger::record(service);
        let now = service.now();
        service.world(|world| violations::Figures::of(world, now)).record();
        pools::record(service);
        gpus::record(&service.gpus());
        service.world(gpus::record_health);
        pods::record(service);
        gauge!(metric::PODS_UNMANAGED.name).set(exact(service.unmanaged().len() as u64));
        record_journal(service);
        record_segments(service);
        record_projections(service);
        record_inconsistencies(&service.inconsistencies());
        process::record();
        gauge!(metric::BUILD.name, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    });
    recorder.handle().render()
}

/// What is shown of the world.
struct Figures {
    phases: BTreeMap<&'static str, u64>,
    workers: BTreeMap<&'static str, u64>,
    containers: Vec<ContainerFigures>,
    admitted: u64,
    registered: u64,
    starts: u64,
    unclean_starts: u64,
    orphans: u64,
    cordoned: bool,
    disk_pressure: DiskPressure,
    runtimes: Vec<(&'static str, bool)>,
}

struct ContainerFigures {
    pod: PodId,
    container: String,
    restarts: u32,
    oom_kills: u32,
    ready: bool,
}

impl Figures {
    fn of(world: &World, has_runtime: impl Fn(RuntimeClass) -> bool) -> Figures {
        // All of them are always shown, so that a zero can be told from no answer.
        let mut phases: BTreeMap<&'static str, u64> =
            Phase::WORDS.into_iter().map(|phase| (phase, 0)).collect();
        for entry in world.registry.entries.values() {
            if let Some(phase) = Phase::WORDS.into_iter().find(|phase| *phase == entry.phase) {
                *phases.entry(phase).or_default() += 1;
            }
        }
        let mut workers = BTreeMap::from([("Running", 0), ("Exited", 0)]);
        for worker in world.workers.values() {
            *workers.entry(Worker::word(worker)).or_default() += 1;
        }
        let live = world.pods.values().filter_map(|pod| pod.live());
        let node = world.node.known();
        Figures {
            phases,
            workers,
            containers: live.flat_map(ContainerFigures::of).collect(),
            admitted: world.registry.admitted,
            registered: world.workers_registered,
            starts: node.map_or(0, |node| node.starts),
            unclean_starts: node.map_or(0, |node| node.unclean_starts),
            orphans: node.map_or(0, |node| node.orphans_removed),
            disk_pressure: node.map(NodeState::disk_pressure).unwrap_or_default(),
            cordoned: node.is_some_and(|node| node.cordoned.is_some()),
            runtimes: node.map_or_else(Vec::new, |node| {
                // One that the node does not have any more was up when it was last heard of.
                let up = |class, standing: &RuntimeStanding| {
                    has_runtime(class) && matches!(standing, RuntimeStanding::Up { .. })
                };
                node.runtimes.iter().map(|(class, standing)| (class.word(), up(*class, standing))).collect()
            }),
        }
    }

    fn record(&self) {
        for (phase, count) in &self.phases {
            gauge!(metric::PODS.name, "phase" => *phase).set(exact(*count));
        }
        for (state, count) in &self.workers {
            gauge!(metric::WORKERS.name, "state" => *state).set(exact(*count));
        }
        for (runtime, up) in &self.runtimes {
            gauge!(metric::RUNTIME_UP.name, "runtime" => *runtime).set(f64::from(u8::from(*up)));
        }
        counter!(metric::PODS_ADMITTED.name).absolute(self.admitted);
        counter!(metric::WORKERS_REGISTERED.name).absolute(self.registered);
        counter!(metric::STARTS.name).absolute(self.starts);
        counter!(metric::UNCLEAN_STARTS.name).absolute(self.unclean_starts);
        counter!(metric::ORPHANS.name).absolute(self.orphans);
        let pressure = match self.disk_pressure {
            DiskPressure::Fine => 0.0,
            DiskPressure::Low => 1.0,
            DiskPressure::Full => 2.0,
        };
        gauge!(metric::DISK_PRESSURE.name).set(pressure);
        gauge!(metric::CORDONED.name).set(f64::from(u8::from(self.cordoned)));
        self.containers.iter().for_each(ContainerFigures::record);
    }
}

impl ContainerFigures {
    fn of(pod: &PodState) -> impl Iterator<Item = ContainerFigures> + '_ {
        pod.containers.iter().map(|container| ContainerFigures {
            pod: pod.spec.id.clone(),
            container: container.name.to_string(),
            restarts: container.restarts,
            oom_kills: container.oom_kills,
            ready: container.is_ready(),
        })
    }

    fn record(&self) {
        let labels = [
            ("namespace", self.pod.namespace().to_owned()),
            ("pod", self.pod.name().to_owned()),
            ("container", self.container.clone()),
        ];
        counter!(metric::CONTAINER_RESTARTS.name, &labels).absolute(self.restarts.into());
        counter!(metric::CONTAINER_OOM_KILLS.name, &labels).absolute(self.oom_kills.into());
        gauge!(metric::CONTAINER_READY.name, &labels).set(f64::from(u8::from(self.ready)));
    }
}

fn record_journal(service: &Service) {
    match service.journal().stats() {
        Ok(stats) => {
            gauge!(metric::JOURNAL_HEAD.name).set(exact(stats.head.seq.0));
            gauge!(metric::JOURNAL_BYTES.name).set(exact(stats.bytes_on_disk));
            let sealing = service.journal().sealing();
            let sealing = sealing.borrow();
            gauge!(metric::JOURNAL_SEALED.name).set(exact(sealing.sealed));
            gauge!(metric::JOURNAL_SEALING.name).set(exact(u64::from(sealing.state == SealingState::On)));
            gauge!(metric::JOURNAL_BALLAST.name).set(exact(stats.ballast_bytes));
            for class in Class::ALL {
                let (waiting, refused) = (*stats.waiting.of(class), *stats.refused.of(class));
                gauge!(metric::JOURNAL_QUEUE.name, "class" => class.word()).set(exact(waiting as u64));
                counter!(metric::JOURNAL_REFUSED.name, "class" => class.word()).absolute(refused);
            }
        }
        // The series are missing then, which an alert can see.
        Err(error) => tracing::warn!(%error, "failed to measure the journal"),
    }
    match service.journal().space() {
        Ok(space) => {
            gauge!(metric::JOURNAL_DISK_USED.name).set(f64::from(space.used_percent()));
            gauge!(metric::JOURNAL_DISK_AVAILABLE.name).set(exact(space.available));
        }
        Err(error) => tracing::warn!(%error, "failed to measure the journal's disk"),
    }
}

fn record_segments(service: &Service) {
    let segments = service.journal().segments();
    let compressed = segments.iter().filter(|segment| segment.compressed).count();
    for (state, count) in [("plain", segments.len() - compressed), ("compressed", compressed)] {
        gauge!(metric::JOURNAL_SEGMENTS.name, "state" => state).set(exact(count as u64));
    }
    gauge!(metric::JOURNAL_FIRST.name).set(exact(service.journal().before().seq.next().0));
    gauge!(metric::JOURNAL_SEGMENTS_DAMAGED.name).set(exact(service.damaged_segments().len() as u64));
    gauge!(metric::JOURNAL_TO_ARCHIVE.name).set(exact(service.segments_to_archive() as u64));
}

fn record_projections(service: &Service) {
    let head = service.journal().head().seq;
    for status in service.journal().projections() {
        let projection = || ("projection", status.name.clone());
        gauge!(metric::PROJECTION_LAG.name, &[projection()]).set(exact(status.lag(head)));
        let passed_over = status.answering.map_or(0, |generation| generation.passed_over);
        gauge!(metric::PROJECTION_PASSED_OVER.name, &[projection()]).set(exact(passed_over));
        for state in ProjectionState::ALL {
            let labels = [projection(), ("state", state.word().to_owned())];
            gauge!(metric::PROJECTION_STATE.name, &labels).set(f64::from(u8::from(state == status.state())));
        }
    }
}

fn record_inconsistencies(found: &[Inconsistency]) {
    for invariant in Invariant::ALL {
        let count = found.iter().filter(|inconsistency| inconsistency.invariant == invariant).count();
        gauge!(metric::INCONSISTENCIES.name, "invariant" => format!("{invariant:?}"))
            .set(exact(count as u64));
    }
}
