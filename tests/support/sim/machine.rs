//! The machine under the node: its containers and folders, which outlive the node, and a runtime that the node asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use purser_actors::port::{
    self, Clock, ContainerKey, ContainerPlan, ContainerUse, Containers, ExecIo, FieldError, LimitsInForce,
    LoadedImage, MachineCapacity, MachineUse, Notice, PodPlan, ProbeTransport, ProbeVerdict, ProcessOwner,
    ResizePlan, RuntimeError, Signal, Standing, StartedContainer,
};
use purser_events::ledger::{Capacity, Port};
use purser_events::pod::PodSpec;
use purser_events::pod::event::{Exit, ExitReason, FailureClass, ResolvedImage};
use purser_events::pod::spec::RuntimeClass;
use purser_events::worker::ProcessIdentity;
use purser_events::{Bytes, CpuSet, MilliCpu, PodUid};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::node::capacity;
use super::time::SimClock;
use super::turns::{Asked, Fate, Turns};

/// Notices that may wait.
const NOTICES: usize = 64;

/// A container of the machine.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// What runs, or ran.
    pub(super) started: StartedContainer,
    /// How it ended.
    pub(super) exit: Option<Exit>,
    /// Whether it was asked to end.
    pub(super) asked_to_end: bool,
    /// Whether it ends by itself, as init containers do.
    pub(super) is_init: bool,
    /// The processors that it was told to run on; none if it was never told.
    pub(super) cpus: Option<CpuSet>,
    /// What it says that it has used.
    pub(super) used: ContainerUse,
}

#[derive(Debug, Default)]
struct State {
    containers: BTreeMap<ContainerKey, Held>,
    /// The pods that have a folder, and what is in it.
    folders: BTreeMap<PodUid, Bytes>,
    /// The limits that containers were given while they ran.
    limits: BTreeMap<ContainerKey, LimitsInForce>,
    processes: u32,
    boot: u128,
    down: bool,
    notices: Option<mpsc::Sender<Notice>>,
    forgets_removals: bool,
    /// What the node did that it must never do.
    offences: Vec<String>,
}

/// The machine. Clones are the same machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Machine {
    state: Arc<Mutex<State>>,
    clock: SimClock,
    turns: Turns,
}

impl Machine {
    /// A machine on which nothing runs.
    pub(super) fn new(clock: SimClock, turns: Turns) -> Machine {
        Machine { state: Arc::default(), clock, turns }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every container that it holds.
    pub(super) fn containers(&self) -> BTreeMap<ContainerKey, Held> {
        self.state().containers.clone()
    }

    /// Pods that have a folder.
    pub(super) fn folders(&self) -> BTreeSet<PodUid> {
        self.state().folders.keys().copied().collect()
    }

    /// What the node did that it must never do.
    pub(super) fn offences(&self) -> Vec<String> {
        self.state().offences.clone()
    }

    /// Which boot this is.
    pub(super) fn boot(&self) -> Uuid {
        Uuid::from_u128(0xb007_0000 + self.state().boot)
    }

    /// From now on removals have no effect: a planted defect.
    pub(super) fn forget_removals(&self) {
        self.state().forgets_removals = true;
    }

    /// Whether the runtime does not answer.
    pub(super) fn is_down(&self) -> bool {
        self.state().down
    }

    /// Makes the runtime answer, or not, and says so unless the notice is lost.
    pub(super) fn set_down(&self, down: bool, is_told: bool) {
        self.state().down = down;
        let notice = if down {
            Notice::Lost { message: "it went away".to_owned() }
        } else {
            Notice::Found { version: "simulated 1".to_owned() }
        };
        if is_told {
            self.notice(notice);
        }
    }

    /// Tells the node of something, if it listens.
    pub(super) fn notice(&self, notice: Notice) {
        if let Some(notices) = &self.state().notices {
            // A full queue loses notices, as a real one would.
            let _ = notices.try_send(notice);
        }
    }

    /// A container ends.
    pub(super) fn exit(&self, key: &ContainerKey, code: u8, reason: ExitReason) {
        let finished_at = self.clock.now();
        if let Some(held) = self.state().containers.get_mut(key) {
            held.exit.get_or_insert(Exit { code, reason, finished_at });
        }
    }

    /// From now on a container has used this much.
    pub(super) fn set_use(&self, key: &ContainerKey, used: ContainerUse) {
        if let Some(held) = self.state().containers.get_mut(key) {
            held.used = used;
        }
    }

    /// From now on a pod that has a folder has this much on disk.
    pub(super) fn set_disk_use(&self, pod: PodUid, bytes: Bytes) {
        if let Some(held) = self.state().folders.get_mut(&pod) {
            *held = bytes;
        }
    }

    /// The machine starts again: nothing runs any more.
    pub(super) fn reboot(&self) {
        let finished_at = self.clock.now();
        let mut state = self.state();
        state.boot += 1;
        (state.down, state.notices) = (false, None);
        for held in state.containers.values_mut() {
            held.exit.get_or_insert(Exit { code: 137, reason: ExitReason::Lost, finished_at });
        }
    }

    /// Whether who waits for this container's end is to be told something.
    pub(super) fn has_ended(&self, key: &ContainerKey) -> bool {
        self.state().containers.get(key).is_none_or(|held| held.exit.is_some())
    }

    /// A call's beginning: it may fail before it had any effect.
    async fn begin(&self, call: &'static str) -> Result<(), RuntimeError> {
        let fate = self.turns.take(Asked::Begin(call)).await;
        self.fate(fate, call)
    }

    /// A call's end: it may seem to fail though it had its effect.
    async fn end(&self, call: &'static str) -> Result<(), RuntimeError> {
        let fate = self.turns.take(Asked::End(call)).await;
        self.fate(fate, call)
    }

    fn fate(&self, fate: Fate, call: &'static str) -> Result<(), RuntimeError> {
        if self.is_down() {
            return Err(RuntimeError::new(FailureClass::Unavailable, "the runtime does not answer"));
        }
        match fate {
            Fate::Well => Ok(()),
            Fate::Badly => Err(RuntimeError::new(FailureClass::Runtime, format!("{call} failed"))),
        }
    }

    fn start_container(&self, plan: &ContainerPlan) -> Result<StartedContainer, RuntimeError> {
        let started_at = self.clock.now();
        let boot_id = self.boot();
        let mut state = self.state();
        let key = &plan.key;
        if !state.folders.contains_key(&key.pod) {
            state.offences.push(format!("{key} was started before its pod was set up"));
        }
        let same = |other: &ContainerKey| other.pod == key.pod && other.container == key.container;
        let doubled = state.containers.iter().find(|(other, held)| same(other) && held.exit.is_none());
        if let Some((other, _)) = doubled {
            let offence = format!("{key} was started while {other} ran");
            state.offences.push(offence);
            return Err(RuntimeError::new(FailureClass::Runtime, "it runs already"));
        }
        if state.containers.contains_key(key) {
            return Err(RuntimeError::new(FailureClass::Runtime, "there is one of that name"));
        }
        state.processes += 1;
        let host_pid = 1_000 + state.processes;
        let process = ProcessIdentity {
            host_pid,
            start_time_ticks: u64::from(host_pid) * 100,
            boot_id,
            container_pid: 1,
        };
        let started = StartedContainer { process, started_at };
        let is_init = plan.pod.init_containers.iter().any(|init| init.name == key.container);
        let held = Held {
            started: started.clone(),
            exit: None,
            asked_to_end: false,
            is_init,
            cpus: plan.cpus.clone(),
            used: ContainerUse { cpu_us: 0, memory: Bytes(0), memory_peak: None },
        };
        state.containers.insert(key.clone(), held);
        Ok(started)
    }

    fn standing(&self, key: &ContainerKey) -> Standing {
        let held = self.state().containers.get(key).cloned();
        match held {
            None => Standing::Absent,
            Some(Held { started, exit: None, .. }) => Standing::Running(started),
            Some(Held { started, exit: Some(exit), .. }) => Standing::Exited { started: Some(started), exit },
        }
    }

    fn lost(&self) -> Exit {
        Exit { code: 137, reason: ExitReason::Lost, finished_at: self.clock.now() }
    }
}

#[async_trait]
impl Containers for Machine {
    fn class(&self) -> RuntimeClass {
        RuntimeClass::Process
    }

    async fn version(&self) -> Result<String, RuntimeError> {
        self.begin("version").await?;
        Ok("simulated 1".to_owned())
    }

    fn unsupported(&self, _: &PodSpec) -> Vec<FieldError> {
        vec![]
    }

    fn enforces_limits(&self) -> bool {
        true
    }

    async fn set_up(&self, plan: &PodPlan) -> Result<Vec<ResolvedImage>, RuntimeError> {
        self.begin("set up").await?;
        self.state().folders.entry(plan.uid).or_default();
        self.end("set up").await?;
        Ok(vec![])
    }

    async fn start(&self, plan: &ContainerPlan) -> Result<StartedContainer, RuntimeError> {
        self.begin("start").await?;
        let started = self.start_container(plan)?;
        // What a failed try made does not run on; it is there until it is removed.
        self.end("start").await.inspect_err(|_| self.exit(&plan.key, 137, ExitReason::StartError))?;
        Ok(started)
    }

    async fn inspect(&self, key: &ContainerKey) -> Result<Standing, RuntimeError> {
        self.begin("inspect").await?;
        let standing = self.standing(key);
        self.end("inspect").await?;
        Ok(standing)
    }

    async fn wait(&self, key: &ContainerKey) -> Result<Exit, RuntimeError> {
        // Passing failures are waited out inside.
        let _ = self.turns.take(Asked::Ended(key.clone())).await;
        let exit = self.state().containers.get(key).and_then(|held| held.exit.clone());
        Ok(exit.unwrap_or_else(|| self.lost()))
    }

    async fn signal(&self, key: &ContainerKey, signal: Signal) -> Result<(), RuntimeError> {
        self.begin("signal").await?;
        match signal {
            Signal::Kill => self.exit(key, 137, ExitReason::Error),
            Signal::Terminate => {
                if let Some(held) = self.state().containers.get_mut(key) {
                    held.asked_to_end = true;
                }
            }
        }
        self.end("signal").await
    }

    async fn set_cpus(&self, key: &ContainerKey, cpus: &CpuSet) -> Result<(), RuntimeError> {
        self.begin("set cpus").await?;
        if let Some(held) = self.state().containers.get_mut(key) {
            held.cpus = Some(cpus.clone());
        }
        self.end("set cpus").await
    }

    async fn set_cpu_limit(&self, _: &ContainerKey, _: Option<MilliCpu>) -> Result<(), RuntimeError> {
        // It has no control groups: what it does is what its script says.
        self.begin("set a limit of processor time").await?;
        self.end("set a limit of processor time").await
    }

    fn cannot_resize(&self) -> Option<String> {
        None
    }

    async fn resize(&self, plan: &ResizePlan) -> Result<(), RuntimeError> {
        self.begin("resize").await?;
        let limits = LimitsInForce { cpu: plan.resources.cpu_limit, memory: plan.resources.memory_limit };
        self.state().limits.insert(plan.key.clone(), limits);
        self.end("resize").await
    }

    async fn limits(&self, key: &ContainerKey) -> Result<Option<LimitsInForce>, RuntimeError> {
        Ok(self.state().limits.get(key).copied())
    }

    async fn end_rest(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.signal(key, Signal::Kill).await
    }

    async fn set_gpu_memory_limit(&self, _: PodUid, _: &str, _: Option<Bytes>) -> Result<(), RuntimeError> {
        self.begin("set a limit of a GPU's memory").await?;
        Err(RuntimeError::new(FailureClass::Invalid, "the simulated kernel has no such limit"))
    }

    async fn usage(&self, key: &ContainerKey) -> Result<Option<ContainerUse>, RuntimeError> {
        self.begin("usage").await?;
        Ok(self.state().containers.get(key).map(|held| held.used))
    }

    async fn processes(&self, key: &ContainerKey) -> Result<BTreeSet<u32>, RuntimeError> {
        self.begin("processes").await?;
        Ok(match self.standing(key) {
            Standing::Running(started) => BTreeSet::from([started.process.host_pid]),
            Standing::Absent | Standing::Created | Standing::Exited { .. } => BTreeSet::new(),
        })
    }

    async fn cgroups(&self) -> Result<BTreeMap<PodUid, PathBuf>, RuntimeError> {
        self.begin("cgroups").await?;
        let containers = self.containers();
        let running = containers.iter().filter(|(_, held)| held.exit.is_none()).map(|(key, _)| key.pod);
        Ok(running.map(|uid| (uid, Path::new("/groups").join(uid.to_string()))).collect())
    }

    async fn disk_use(&self, pod: PodUid) -> Result<Bytes, RuntimeError> {
        self.begin("disk use").await?;
        Ok(self.state().folders.get(&pod).copied().unwrap_or_default())
    }

    async fn remove(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.begin("remove").await?;
        {
            let mut state = self.state();
            if !state.forgets_removals {
                state.containers.remove(key);
            }
        }
        self.end("remove").await
    }

    async fn clean_up(&self, pod: PodUid) -> Result<(), RuntimeError> {
        self.begin("clean up").await?;
        {
            let mut state = self.state();
            let running = state.containers.iter().find(|(key, held)| key.pod == pod && held.exit.is_none());
            if let Some((key, _)) = running {
                let offence = format!("the folder of {key} was removed while it ran");
                state.offences.push(offence);
            }
            state.folders.remove(&pod);
        }
        self.end("clean up").await
    }

    async fn pods(&self) -> Result<Vec<PodUid>, RuntimeError> {
        self.begin("pods").await?;
        Ok(self.folders().into_iter().collect())
    }

    async fn exec(&self, key: &ContainerKey, argv: &[String], _: ExecIo) -> Result<u8, RuntimeError> {
        let fate = self.turns.take(Asked::Begin("exec")).await;
        if self.has_ended(key) || self.is_down() {
            return Err(RuntimeError::new(FailureClass::Unavailable, "there is nothing to run it in"));
        }
        let failed = fate == Fate::Badly || argv.is_empty();
        Ok(u8::from(failed))
    }

    async fn load_image(&self, _: &Path, _: Option<&str>) -> Result<LoadedImage, RuntimeError> {
        Err(RuntimeError::new(FailureClass::Invalid, "this runtime has no images"))
    }

    async fn list(&self) -> Result<Vec<ContainerKey>, RuntimeError> {
        self.begin("list").await?;
        Ok(self.containers().into_keys().collect())
    }

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        let (sender, receiver) = mpsc::channel(NOTICES);
        self.state().notices = Some(sender);
        Some(receiver)
    }
}

/// Nothing of it is used, and nobody but pods is on it.
#[async_trait]
impl port::Machine for Machine {
    /// What the ledger was told at the start: this machine stays as it is.
    async fn capacity(&self) -> io::Result<MachineCapacity> {
        let Capacity { cpus, memory, disk, .. } = capacity();
        Ok(MachineCapacity { cpus, memory, disk })
    }

    async fn usage(&self) -> io::Result<MachineUse> {
        Ok(MachineUse::default())
    }

    async fn listeners(&self) -> io::Result<BTreeMap<Port, BTreeSet<u32>>> {
        Ok(BTreeMap::new())
    }

    async fn listened(&self) -> io::Result<BTreeSet<Port>> {
        Ok(BTreeSet::new())
    }

    async fn interfaces(&self) -> io::Result<BTreeSet<String>> {
        Ok(BTreeSet::new())
    }

    async fn allowed_cpus(&self, pid: u32) -> io::Result<Option<CpuSet>> {
        let state = self.state();
        let of_process = |held: &&Held| held.exit.is_none() && held.started.process.host_pid == pid;
        Ok(state.containers.values().find(of_process).and_then(|held| held.cpus.clone()))
    }

    async fn identify_stranger(&self, _: u32) -> io::Result<Option<ProcessIdentity>> {
        // Every process of it is a pod's.
        Ok(None)
    }

    async fn end_stranger(&self, _: &ProcessIdentity, _: Signal) -> io::Result<()> {
        Ok(())
    }

    async fn owner(&self, pid: u32) -> ProcessOwner {
        let state = self.state();
        let of_process = |held: &Held| held.exit.is_none() && held.started.process.host_pid == pid;
        let found = state.containers.iter().find(|(_, held)| of_process(held));
        found.map_or(ProcessOwner::Gone, |(key, _)| ProcessOwner::Pod {
            pod: key.pod,
            container: key.container.clone(),
            attempt: key.attempt,
            inner_pid: None,
        })
    }
}

#[async_trait]
impl ProbeTransport for Machine {
    async fn http_get(
        &self,
        _: &str,
        _: u16,
        path: &str,
        _: &[(String, String)],
        _: Duration,
    ) -> ProbeVerdict {
        let success = self.turns.take(Asked::Begin("http probe")).await == Fate::Well;
        ProbeVerdict { success, message: format!("asked for {path}") }
    }

    async fn tcp_connect(&self, _: &str, port: u16, _: Duration) -> ProbeVerdict {
        let success = self.turns.take(Asked::Begin("tcp probe")).await == Fate::Well;
        ProbeVerdict { success, message: format!("asked port {port}") }
    }
}
