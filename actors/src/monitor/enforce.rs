//! Carrying out what rungs of the ladder ask for: whatever is requested in the journal and not over is taken up at every
//! look, so that a start goes on where a stop has cut it off. Nothing is done twice: what goes to a pod has the name of
//! the episode and the rung as its key, and the journal remembers the answer.

use std::collections::BTreeSet;

use actix::Addr;
use purser_events::gpu::{Gpu, GpuCommand};
use purser_events::ledger::GpuUuid;
use purser_events::pod::event::StopWhy;
use purser_events::pod::{Pod, PodCommand, PodState};
use purser_events::violation::event::Outcome;
use purser_events::violation::{Episode, Level, ViolationCommand, ViolationKind};
use purser_events::{Cause, CommandId, PodUid, Principal, Timestamp, World};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Monitor, millis};
use crate::directory::FindUid;
use crate::entity::{By, CommandKey, Execute, Refusal};
use crate::pod::PodActor;
use crate::port::{ContainerKey, GpuProcess, GpuState, ProcessOwner, SeenGpu, SeenGpus};

/// How long a GPU's driver may need to take memory back once a process has ended, in milliseconds.
pub(super) const SETTLE_MS: u64 = 30_000;

/// Something that is to be done and is not over.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) gpu: GpuUuid,
    pub(super) id: Uuid,
    pub(super) kind: ViolationKind,
    pod: Option<PodUid>,
    level: Level,
    pub(super) grace_s: u32,
    /// For how long this service has gone on with it, in milliseconds, whatever the clock was set to.
    pub(super) waited_ms: u64,
    evidence: String,
}

/// What a look at something that is under way says.
pub(super) enum Progress {
    /// It goes on.
    Goes,
    /// It is over.
    Over(Outcome, String),
}

/// The violations that last, over all GPUs.
fn open_ids(world: &World) -> BTreeSet<Uuid> {
    let known = world.gpus.values().filter_map(Gpu::known);
    known.flat_map(|known| known.violations.open.keys().copied()).collect()
}

/// What is to be done and is not over, over all GPUs.
pub(super) fn tasks(world: &World) -> Vec<Task> {
    let known = world.gpus.iter().filter_map(|(uuid, gpu)| Some((uuid, gpu.known()?)));
    let open = known.flat_map(|(gpu, known)| known.violations.open.iter().map(move |open| (gpu, open)));
    let task = |(gpu, (id, episode)): (&GpuUuid, (&Uuid, &Episode))| {
        let (level, grace_s) = episode.pending()?;
        Some(Task::of(gpu, *id, episode, level, grace_s))
    };
    open.filter_map(task).collect()
}

impl Task {
    /// A rung of an episode of this GPU.
    pub(super) fn of(gpu: &GpuUuid, id: Uuid, episode: &Episode, level: Level, grace_s: u32) -> Task {
        let (kind, pod, evidence) = (episode.kind, episode.pod, episode.evidence.clone());
        Task { gpu: gpu.clone(), id, kind, pod, level, grace_s, waited_ms: 0, evidence }
    }
}

impl Monitor {
    /// Goes on with what is to be done: with what was begun before, or with what was not.
    pub(super) async fn carry_on(&mut self, seen: &SeenGpus, is_begun: bool) {
        for task in self.tasks(is_begun) {
            let progress = match (task.level, task.pod) {
                (Level::Cordon, _) => self.cordon(&task).await,
                (Level::Evict, Some(pod)) if task.kind == ViolationKind::ZombieGpuProcess => {
                    self.end_zombies(&task, pod, seen).await
                }
                (Level::Evict, Some(pod)) => self.evict(&task, pod, seen).await,
                (Level::Evict, None) if task.kind == ViolationKind::UnknownProcess => {
                    self.end_strangers(&task, seen).await
                }
                (Level::Evict, None) => skip("it belongs to no pod that could be stopped"),
                (Level::Throttle, Some(pod)) => self.throttle(&task, pod, seen).await,
                (Level::Throttle, None) => skip("it belongs to no pod that could be slowed"),
                (Level::Record | Level::Warn, _) => skip("nothing is to be done for this rung"),
            };
            if let Progress::Over(outcome, reason) = progress {
                let (id, level) = (task.id, task.level);
                let report = ViolationCommand::ReportEnforcement { id, level, outcome, reason };
                self.tell_gpu(&task.gpu, report).await;
            }
        }
    }

    /// What is to be done, with how long that has taken since this service began it or took it up.
    fn tasks(&mut self, is_begun: bool) -> Vec<Task> {
        let (now, mut tasks) = (self.shell.clock.passed(), self.shell.live.read(tasks));
        self.begun.retain(|(id, level), _| tasks.iter().any(|task| (task.id, task.level) == (*id, *level)));
        let open = self.shell.live.read(open_ids);
        self.strangers.keep(|id| open.contains(&id));
        tasks.retain(|task| self.begun.contains_key(&(task.id, task.level)) == is_begun);
        for task in &mut tasks {
            let begun = *self.begun.entry((task.id, task.level)).or_insert(now);
            task.waited_ms = millis(now.saturating_sub(begun));
        }
        tasks
    }

    /// Stops a pod, and looks whether its memory comes back.
    async fn evict(&self, task: &Task, pod: PodUid, seen: &SeenGpus) -> Progress {
        let standing = self.shell.live.read(|world| Standing::of(world, pod));
        if standing == Standing::Wanted {
            return self.stop(task, pod).await;
        }
        let patience_ms = u64::from(task.grace_s) * 1_000 + SETTLE_MS;
        let is_late = patience_ms <= task.waited_ms;
        if standing == Standing::Ending {
            return if is_late { failed("the pod does not end") } else { Progress::Goes };
        }
        match pids_of(task, pod, seen) {
            Some(pids) if pids.is_empty() => done("the pod has ended, and what it held came back"),
            Some(pids) if is_late => {
                failed(&format!("the pod has ended, and {} of its processes go on", pids.len()))
            }
            // Without figures nothing can be said; the driver may come back.
            Some(_) | None => Progress::Goes,
        }
    }

    async fn stop(&self, task: &Task, pod: PodUid) -> Progress {
        let Ok(Some(actor)) = self.directory.send(FindUid { uid: pod }).await else {
            return failed(
                "the pod cannot be reached: its runtime is missing, or its records are in quarantine",
            );
        };
        let actor: Addr<PodActor> = actor;
        let by = By { key: Some(key(task)), ..self.by_of(task) };
        let why = StopWhy::Evicted { kind: task.kind, gpu: task.gpu.clone() };
        let command = PodCommand::Stop { grace_s: Some(task.grace_s), why };
        match actor.send(Execute::<Pod> { command, by }).await {
            // The first answer again: it was stopped, and somebody has started it since.
            Ok(Ok(answer)) if answer.replayed && self.is_wanted(pod) => {
                done("the pod was stopped, and was started again since")
            }
            Ok(Ok(_) | Err(Refusal::Busy { .. } | Refusal::NoRoom | Refusal::Retired)) | Err(_) => {
                Progress::Goes
            }
            Ok(Err(refusal)) => failed(&format!("the pod was not stopped: {refusal}")),
        }
    }

    fn is_wanted(&self, pod: PodUid) -> bool {
        self.shell.live.read(|world| Standing::of(world, pod)) == Standing::Wanted
    }

    /// Ends what is left of a pod that is gone, in every container that its processes are in.
    async fn end_zombies(&self, task: &Task, pod: PodUid, seen: &SeenGpus) -> Progress {
        let Some(pids) = pids_of(task, pod, seen) else { return Progress::Goes };
        if pids.is_empty() {
            return done("its processes have ended");
        }
        if SETTLE_MS <= task.waited_ms {
            return failed("its processes cannot be ended: the kernel waits for the driver");
        }
        let keys: BTreeSet<ContainerKey> = owners(task, seen).filter(|key| key.pod == pod).collect();
        for runtime in self.shell.runtimes.values() {
            for key in &keys {
                if let Err(error) = runtime.end_rest(key).await {
                    tracing::debug!(%error, container = %key, "failed to end what is left of a pod");
                }
            }
        }
        Progress::Goes
    }

    async fn cordon(&self, task: &Task) -> Progress {
        let Some(actor) = self.gpus.find(&task.gpu) else { return Progress::Goes };
        let reason = format!("violation {} ({}): {}", task.id, task.kind, task.evidence);
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        let command = GpuCommand::Cordon { by: Principal::node(), reason };
        let by = By { key: Some(key(task)), ..self.by_of(task) };
        match actor.send(Execute { command, by }).await {
            Ok(Ok(_)) => done("the GPU takes no new pods"),
            Ok(Err(Refusal::Rejected(rejection))) => {
                failed(&format!("the GPU was not cordoned: {rejection}"))
            }
            Ok(Err(_)) | Err(_) => Progress::Goes,
        }
    }

    fn by_of(&self, task: &Task) -> By {
        let head = self.shell.live.head(task.gpu.stream());
        let cause = head.map_or(Cause::Node, |head| Cause::Record(head.seq));
        By::node(cause, task.id)
    }
}

/// Characters of a cordon's reason: at most 256 bytes in any script.
const REASON_CHARS_MAX: usize = 64;

/// How a pod that is to end stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is to run.
    Wanted,
    /// Something of it still runs.
    Ending,
    /// Nothing of it runs.
    Down,
}

impl Standing {
    fn of(world: &World, pod: PodUid) -> Standing {
        match world.pod(pod).and_then(Pod::live) {
            Some(live) if PodState::is_wanted(live) => Standing::Wanted,
            Some(live) if live.holds_resources() => Standing::Ending,
            Some(_) | None => Standing::Down,
        }
    }
}

/// The processes of a pod on the GPU of a task; none if that cannot be told.
fn pids_of(task: &Task, pod: PodUid, seen: &SeenGpus) -> Option<BTreeSet<u32>> {
    let (_, processes) = processes_of(task, seen)?;
    let of_pod = processes.iter().filter(|process| match &process.owner {
        ProcessOwner::Pod { pod: owner, .. } => *owner == pod,
        ProcessOwner::Unknown { .. } | ProcessOwner::Unreadable | ProcessOwner::Gone => false,
    });
    let pids: BTreeSet<u32> = of_pod.map(|process| process.pid).collect();
    let is_hidden = processes.iter().any(|process| process.owner == ProcessOwner::Unreadable);
    (!pids.is_empty() || !is_hidden).then_some(pids)
}

/// The processes on the GPU of a task, and when they were read; none if that cannot be told.
pub(super) fn processes_of<'a>(task: &Task, seen: &'a SeenGpus) -> Option<(Timestamp, &'a [GpuProcess])> {
    let readings = gpu_of(task, seen).filter(|gpu| gpu.state == GpuState::Ready)?.readings.as_ref()?;
    Some((readings.at, readings.processes.value()?))
}

/// The containers that processes on the GPU of a task are in.
fn owners(task: &Task, seen: &SeenGpus) -> impl Iterator<Item = ContainerKey> {
    let readings = gpu_of(task, seen).and_then(|gpu| gpu.readings.as_ref());
    let processes = readings.and_then(|readings| readings.processes.value());
    processes.into_iter().flatten().filter_map(|process| match &process.owner {
        ProcessOwner::Pod { pod, container, attempt, .. } => {
            Some(ContainerKey { pod: *pod, container: container.clone(), attempt: *attempt })
        }
        ProcessOwner::Unknown { .. } | ProcessOwner::Unreadable | ProcessOwner::Gone => None,
    })
}

fn gpu_of<'a>(task: &Task, seen: &'a SeenGpus) -> Option<&'a SeenGpu> {
    seen.gpus.iter().find(|gpu| gpu.uuid == task.gpu)
}

/// What makes a repeated try of one rung of one episode recognisable.
fn key(task: &Task) -> CommandKey {
    let mut hash = Sha256::new();
    hash.update(task.id.as_bytes());
    hash.update(task.level.word().as_bytes());
    let fingerprint: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&fingerprint[..16]);
    CommandKey { id: CommandId(uuid::Builder::from_custom_bytes(bytes).into_uuid()), fingerprint }
}

pub(super) fn done(reason: &str) -> Progress {
    Progress::Over(Outcome::Completed, reason.to_owned())
}

pub(super) fn failed(reason: &str) -> Progress {
    Progress::Over(Outcome::Failed, reason.to_owned())
}

pub(super) fn skip(reason: &str) -> Progress {
    Progress::Over(Outcome::Skipped, reason.to_owned())
}
