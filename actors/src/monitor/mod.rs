//! The monitor: it looks at GPUs and pods, has violations put on record, and sees to it that they are answered.
//!
//! It decides nothing: the [`Detector`] says what follows from samples, and the GPU or pod whose violation it is decides
//! whether that is so. Samples are not recorded.

mod enforce;
mod hold;
mod look;
mod strangers;
pub(crate) mod tell;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use metrics::{counter, histogram};
use purser_events::gpu::{Gpu, GpuCommand};
use purser_events::ledger::GpuUuid;
use purser_events::pod::{Pod, PodCommand, PodState};
use purser_events::violation::detector::{Detector, Moment, Scope};
use purser_events::violation::event::GapCause;
use purser_events::violation::{Level, MonitorPolicy, ViolationCommand, Violations};
use purser_events::{Cause, PodUid, Timestamp, World};
use uuid::Uuid;

use self::hold::Holds;
use self::look::Freshness;
use self::strangers::Strangers;
use self::usage::Usage;
use crate::directory::{Directory, FindUid};
use crate::entity::{By, Execute, Refusal};
use crate::gpu::GpuActors;
use crate::metric;
use crate::pod::report;
use crate::shell::Shell;

/// Time between two looks at the GPUs.
const LOOK: Duration = Duration::from_secs(1);

/// Looks, and has recorded what it sees.
struct Monitor {
    shell: Arc<Shell>,
    directory: Addr<Directory>,
    gpus: GpuActors,
    detector: Detector,
    freshness: Freshness,
    usage: Usage,
    evaluated: Duration,
    /// What is to be told of the time in which nobody checked any limit, by GPU, until it is on record.
    absences: BTreeMap<GpuUuid, ViolationCommand>,
    /// When this service began, or took up, what is being done about violations.
    begun: BTreeMap<(Uuid, Level), Duration>,
    holds: Holds,
    strangers: Strangers,
}

/// Begins to look, for as long as the actors' thread lives. `stopped_at` is when the last record before this start was
/// written: from then on nobody has checked any limit.
pub(crate) fn begin(
    shell: &Arc<Shell>,
    directory: &Addr<Directory>,
    gpus: &GpuActors,
    stopped_at: Option<Timestamp>,
) {
    let started = shell.clock.passed();
    let mut monitor = Monitor {
        shell: shell.clone(),
        directory: directory.clone(),
        gpus: gpus.clone(),
        detector: Detector::new(millis(started)),
        freshness: Freshness::default(),
        usage: Usage::default(),
        evaluated: started,
        absences: stopped_at.map(|since| shell.live.read(|world| absences(world, since))).unwrap_or_default(),
        begun: BTreeMap::new(),
        holds: Holds::default(),
        strangers: Strangers::default(),
    };
    actix::spawn(async move {
        monitor.tell_absences().await;
        loop {
            monitor.shell.clock.sleep(LOOK).await;
            monitor.look().await;
        }
    });
}

impl Monitor {
    /// Puts on record that limits were not checked while the service was away. What is told late ends late: that too little
    /// was checked is said rather than too much.
    async fn tell_absences(&mut self) {
        for (gpu, gap) in std::mem::take(&mut self.absences) {
            if !self.tell_gpu(&gpu, gap.clone()).await {
                self.absences.insert(gpu, gap);
            }
        }
    }

    /// Looks once at the GPUs, and at the pods when it is time for an evaluation.
    async fn look(&mut self) {
        self.tell_absences().await;
        let began = self.shell.clock.passed();
        let policy = self.shell.live.read(policy);
        let interval = Duration::from_millis(policy.interval_ms);
        let evaluates = interval <= began.saturating_sub(self.evaluated);
        let moment = Moment { now_ms: millis(began), evaluates };
        let seen = self.shell.gpus.seen();
        // What was done is on record before the look that finds nothing left to do.
        self.carry_on(&seen, true).await;
        self.look_at_gpus(&seen, &policy, moment).await;
        if evaluates {
            self.evaluated = began;
            let failed = self.look_at_pods(&policy, moment).await;
            counter!(metric::MONITORING_CYCLES.name).increment(1);
            counter!(metric::MONITORING_ERRORS.name).increment(failed);
            let took = self.shell.clock.passed().saturating_sub(began);
            histogram!(metric::MONITORING_SECONDS.name).record(took.as_secs_f64());
        }
        self.carry_on(&seen, false).await;
        self.end_late_strangers(&seen).await;
        self.keep_holds(&seen).await;
    }

    async fn look_at_gpus(&mut self, seen: &crate::port::SeenGpus, policy: &MonitorPolicy, moment: Moment) {
        let (shell, freshness) = (&self.shell, &mut self.freshness);
        let now = (shell.clock.passed(), moment.evaluates);
        let samples = shell.live.read(|world| look::at_gpus(seen, world, freshness, now));
        for (sample, evaluates) in samples {
            let moment = Moment { evaluates, ..moment };
            let known = self.shell.live.read(|world| of_gpu(world, &sample.gpu));
            // It is not on record yet, or its records cannot be followed.
            let Some(known) = known else { continue };
            for proposal in self.detector.gpu(&sample, &known, policy, moment) {
                let command = proposal.command(self.shell.ids.uuid(), self.shell.clock.now(), policy);
                self.tell_gpu(&sample.gpu, command).await;
            }
        }
    }

    /// Says how many pods could not be measured.
    async fn look_at_pods(&mut self, policy: &MonitorPolicy, moment: Moment) -> u64 {
        let running = self.shell.live.read(running);
        let mut kept: BTreeSet<Scope> = running.iter().map(|pod| Scope::Pod(pod.uid)).collect();
        kept.extend(
            self.shell.live.read(|world| world.gpus.keys().cloned().map(Scope::Gpu).collect::<Vec<_>>()),
        );
        self.detector.keep(&kept);
        let (samples, failed) = self.usage.sample(&self.shell, &running).await;
        for sample in samples {
            let Some(pod) = running.iter().find(|pod| pod.uid == sample.pod) else { continue };
            for proposal in self.detector.pod(&sample, &pod.violations, policy, moment) {
                let command = proposal.command(self.shell.ids.uuid(), self.shell.clock.now(), policy);
                self.tell_pod(pod.uid, command).await;
            }
        }
        failed
    }

    /// Tells a GPU what was seen of its violations, or done about them. What is not recorded is seen again: it says whether
    /// another try may be of use.
    async fn tell_gpu(&self, gpu: &GpuUuid, command: ViolationCommand) -> bool {
        let Some(actor) = self.gpus.find(gpu) else { return true };
        let by = self.by(self.shell.live.head(gpu.stream()).map(|head| head.seq));
        match actor.send(Execute::<Gpu> { command: GpuCommand::Violation(command), by }).await {
            Ok(Err(Refusal::Busy { .. } | Refusal::NoRoom)) => return false,
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(Refusal::Rejected(rejection))) => {
                tracing::debug!(%gpu, %rejection, "what was seen of a violation was not recorded");
            }
            Ok(Err(refusal)) => {
                tracing::error!(%gpu, %refusal, "failed to record what was seen of a violation");
            }
        }
        true
    }

    async fn tell_pod(&self, pod: PodUid, command: ViolationCommand) {
        let Ok(Some(actor)) = self.directory.send(FindUid { uid: pod }).await else { return };
        let by = self.by(self.shell.live.head(pod.stream()).map(|head| head.seq));
        report(&actor, PodCommand::Violation(command), by).await;
    }

    fn by(&self, last: Option<purser_events::Seq>) -> By {
        By::node(last.map_or(Cause::Node, Cause::Observation), self.shell.ids.uuid())
    }
}

/// That nobody checked the limits of those who have something of a GPU since that moment.
fn absences(world: &World, since: Timestamp) -> BTreeMap<GpuUuid, ViolationCommand> {
    let gap = |pods| ViolationCommand::OpenGap { since, cause: GapCause::ServiceDown, pods };
    let held = look::holders(world).into_iter();
    held.map(|(gpu, holders)| (gpu, gap(holders.into_keys().collect()))).collect()
}

/// The policy in force.
fn policy(world: &World) -> MonitorPolicy {
    world.node.known().map(|node| node.monitor.in_force.clone()).unwrap_or_default()
}

fn of_gpu(world: &World, gpu: &GpuUuid) -> Option<Violations> {
    world.gpus.get(gpu).and_then(Gpu::known).map(|known| known.violations.clone())
}

fn running(world: &World) -> Vec<PodState> {
    let live = world.pods.values().filter_map(Pod::live);
    live.filter(|pod| pod.containers.iter().any(|container| container.attempt().is_some())).cloned().collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
