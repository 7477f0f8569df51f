//! Container runtimes as the actors see them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use purser_events::ledger::GpuUuid;
use purser_events::pod::PodState;
use purser_events::pod::event::{Exit, FailureClass, ResolvedImage};
use purser_events::pod::spec::{ContainerSpec, PodSpec, Resources, RuntimeClass};
use purser_events::worker::ProcessIdentity;
use purser_events::{Bytes, ContainerName, CpuSet, MilliCpu, PodUid, Timestamp};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

/// One try to run one container of one pod incarnation: what a runtime's own id stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerKey {
    /// The pod's incarnation.
    pub pod: PodUid,
    /// The container in it.
    pub container: ContainerName,
    /// Which try, from 1.
    pub attempt: u32,
}

impl ContainerKey {
    /// The tries that run of a pod.
    pub fn running(pod: &PodState) -> impl Iterator<Item = ContainerKey> {
        pod.containers.iter().filter_map(|container| {
            let attempt = container.attempt()?.number;
            Some(ContainerKey { pod: pod.uid, container: container.name.clone(), attempt })
        })
    }
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.pod, self.container, self.attempt)
    }
}

/// What a runtime must make ready before the first container of a pod starts.
#[derive(Debug, Clone)]
pub struct PodPlan {
    /// The pod's incarnation.
    pub uid: PodUid,
    /// What it is to be.
    pub spec: Arc<PodSpec>,
    /// The GPUs that it was given.
    pub gpus: Vec<GpuUuid>,
}

/// What a runtime must start.
#[derive(Debug, Clone)]
pub struct ContainerPlan {
    /// Which try of which container.
    pub key: ContainerKey,
    /// The pod that it belongs to.
    pub pod: Arc<PodSpec>,
    /// The container, as in the manifest.
    pub spec: ContainerSpec,
    /// Environment with every `$(VAR)` expanded, in order.
    pub env: Vec<(String, String)>,
    /// `command` with every `$(VAR)` expanded.
    pub command: Vec<String>,
    /// `args` with every `$(VAR)` expanded.
    pub args: Vec<String>,
    /// The image that setup found for it; none for the process runtime.
    pub image: Option<ResolvedImage>,
    /// The processors that it may run on; none for every processor that the runtime may use.
    pub cpus: Option<CpuSet>,
    /// Its GPUs, of those that the pod was given.
    pub gpus: Vec<GpuUuid>,
    /// What it may have of each of them; none if it has none, or has them alone.
    pub gpu_slice: Option<GpuSlice>,
}

/// What of several GPUs a container may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuSlice {
    /// How many GPUs.
    pub count: usize,
    /// Compute of each, in percent: the least of them.
    pub share: u32,
    /// Memory of each: the least of them.
    pub memory: Bytes,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedContainer {
    /// Its main process.
    pub process: ProcessIdentity,
    /// When it started.
    pub started_at: Timestamp,
}

/// What a container has used, as the kernel accounts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerUse {
    /// Processor time of all its processes since its start, in microseconds; those that have ended count too.
    pub cpu_us: u64,
    /// Memory that it holds now and that the kernel could not take back at once: without pages of files that nobody
    /// has used for long.
    pub memory: Bytes,
    /// The most memory that it has held, such pages included; none where the kernel does not keep it.
    pub memory_peak: Option<Bytes>,
}

/// Limits that a container that runs is to be held to from now on.
#[derive(Debug, Clone)]
pub struct ResizePlan {
    /// Which try of which container.
    pub key: ContainerKey,
    /// Its limits and requests.
    pub resources: Resources,
    /// The pod that it belongs to, with its containers' new sizes.
    pub pod: Arc<PodSpec>,
    /// Processor time that it is held to while its pod violates a limit: less than the limit.
    pub held_to: Option<MilliCpu>,
}

/// Limits that the kernel holds a container to; none for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitsInForce {
    /// Most processor time.
    pub cpu: Option<MilliCpu>,
    /// Most memory.
    pub memory: Option<Bytes>,
}

/// What a runtime knows of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: it was never created, or has been removed.
    Absent,
    /// It was created and never ran; it may be removed and tried again.
    Created,
    /// It runs.
    Running(StartedContainer),
    /// It ran and ended.
    Exited {
        /// What ran.
        started: Option<StartedContainer>,
        /// How it ended.
        exit: Exit,
    },
}

/// How a container is made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM to the main process.
    Terminate,
    /// SIGKILL to every process of the container.
    Kill,
}

/// Why a runtime could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuntimeError {
    /// What kind of failure it was: says whether a later try may succeed.
    pub class: FailureClass,
    /// What the runtime said and what to do about it; at most 1,024 bytes, no secrets, no environment values.
    pub message: String,
}

impl RuntimeError {
    /// Longest message that is kept, in bytes.
    pub const MESSAGE_LEN_MAX: usize = 1_024;

    /// A failure with its message, which is cut if it is too long.
    pub fn new(class: FailureClass, message: impl Into<String>) -> RuntimeError {
        let mut message = message.into();
        let mut end = message.len().min(RuntimeError::MESSAGE_LEN_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        RuntimeError { class, message }
    }
}

/// A field of a manifest that is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FieldError {
    /// Where, as in `spec.containers[0].image`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// An image that is on this node, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// The whole name under which the runtime holds it.
    pub reference: String,
    /// Digest of its manifest for this machine.
    pub digest: String,
}

/// Where the output of a command in a container belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output, at most 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecChunk {
    /// Which stream it came from.
    pub stream: OutputStream,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The ends of a command that runs in a container.
pub struct ExecIo {
    /// What it reads; nothing if none.
    pub stdin: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Where its output goes. A receiver that is gone does not end the command.
    pub output: mpsc::Sender<ExecChunk>,
}

/// Something that a runtime noticed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The kernel killed a process for want of memory within a container's limit.
    OutOfMemory(ContainerKey),
    /// The runtime stopped answering.
    Lost {
        /// What was seen.
        message: String,
    },
    /// The runtime answers (again).
    Found {
        /// What it calls itself.
        version: String,
    },
}

/// A container runtime. Every method may be called again after a crash with the same arguments.
#[async_trait]
pub trait Containers: Send + Sync + 'static {
    /// Which runtime it is.
    fn class(&self) -> RuntimeClass;

    /// Asks the runtime what it calls itself.
    ///
    /// # Errors
    /// It does not answer.
    async fn version(&self) -> Result<String, RuntimeError>;

    /// Says what of a pod this runtime cannot do, before the pod is admitted. Looks at nothing outside.
    fn unsupported(&self, spec: &PodSpec) -> Vec<FieldError>;

    /// Whether it holds containers to the limits that their pods ask for. Looks at nothing outside.
    fn enforces_limits(&self) -> bool;

    /// Fetches images and makes volumes. *Idempotent*: what is there already stays.
    ///
    /// # Errors
    /// An image or a volume cannot be had; what was made so far may stay for the next try.
    async fn set_up(&self, plan: &PodPlan) -> Result<Vec<ResolvedImage>, RuntimeError>;

    /// Creates a container and starts it. *Checkable* by [`Containers::inspect`]. What a failed try made is
    /// removed before it returns, or by [`Containers::remove`] later.
    ///
    /// # Errors
    /// It does not run.
    async fn start(&self, plan: &ContainerPlan) -> Result<StartedContainer, RuntimeError>;

    /// Says what the runtime knows of a container; also of one that an earlier process of the node started.
    ///
    /// # Errors
    /// The runtime does not answer.
    async fn inspect(&self, key: &ContainerKey) -> Result<Standing, RuntimeError>;

    /// Waits until a container has ended and says how; at once if it has. A container that the runtime does not
    /// know, or whose end nobody saw, has exit reason `Lost`. Survives a restart of the runtime.
    ///
    /// # Errors
    /// The runtime cannot be asked for good; passing failures are waited out inside.
    async fn wait(&self, key: &ContainerKey) -> Result<Exit, RuntimeError>;

    /// Sends a signal. *Idempotent*; a container that has ended or is gone is fine.
    ///
    /// # Errors
    /// The runtime does not answer.
    async fn signal(&self, key: &ContainerKey, signal: Signal) -> Result<(), RuntimeError>;

    /// Lets a container run on these processors alone, with all that it has started. *Idempotent*; a container that
    /// has ended or is gone is fine. A try that is cut off may have moved some of its processes: it is to be repeated.
    ///
    /// # Errors
    /// `Invalid`: this machine cannot give it any of these processors. Other classes: the runtime failed.
    async fn set_cpus(&self, key: &ContainerKey, cpus: &CpuSet) -> Result<(), RuntimeError>;

    /// Lets a container have so much processor time at most, or as much as there is. *Idempotent*; a container that has
    /// ended or is gone is fine.
    ///
    /// # Errors
    /// `Invalid`: nothing on this machine holds it to that. Other classes: the kernel or the runtime failed.
    async fn set_cpu_limit(&self, key: &ContainerKey, limit: Option<MilliCpu>) -> Result<(), RuntimeError>;

    /// Why it cannot hold what runs to other limits, if it cannot. Looks at nothing outside.
    fn cannot_resize(&self) -> Option<String>;

    /// Holds a container to other limits of processor time and memory, and weighs it anew. *Idempotent*; a container that
    /// has ended or is gone is fine.
    ///
    /// # Errors
    /// `Unavailable`: a later try may succeed. Other classes: the kernel or the runtime refuses, as it does a limit of
    /// memory below what is in use; some of the limits may be the new ones then.
    async fn resize(&self, plan: &ResizePlan) -> Result<(), RuntimeError>;

    /// The limits that the kernel holds a container to: none if it is gone, or nothing holds it to any.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn limits(&self, key: &ContainerKey) -> Result<Option<LimitsInForce>, RuntimeError>;

    /// Kills what is left in the control group of a container that does not run any more. *Idempotent*; that nothing is
    /// left, or was ever there, is fine.
    ///
    /// # Errors
    /// The kernel failed.
    async fn end_rest(&self, key: &ContainerKey) -> Result<(), RuntimeError>;

    /// Lets a pod have so much of the memory of the GPU at this address on the bus, or as much as there is. What it has
    /// already stays. *Idempotent*; a pod of which nothing runs is fine.
    ///
    /// # Errors
    /// `Invalid`: the kernel or the GPU's driver has no such limit. Other classes: the kernel failed.
    async fn set_gpu_memory_limit(
        &self,
        pod: PodUid,
        bus: &str,
        limit: Option<Bytes>,
    ) -> Result<(), RuntimeError>;

    /// What a container has used: none if it is gone. One that has ended and is not yet removed may still have its
    /// last figures.
    ///
    /// # Errors
    /// The kernel's figures cannot be read.
    async fn usage(&self, key: &ContainerKey) -> Result<Option<ContainerUse>, RuntimeError>;

    /// The processes of a container, commands that run in it too, as this machine numbers them: none if it is gone.
    ///
    /// # Errors
    /// The kernel or the runtime cannot be asked.
    async fn processes(&self, key: &ContainerKey) -> Result<BTreeSet<u32>, RuntimeError>;

    /// The pods that have a control group of this runtime and this node, known or not, and one such group of each.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    async fn cgroups(&self) -> Result<BTreeMap<PodUid, PathBuf>, RuntimeError>;

    /// Bytes that are allocated on disk below a pod's folder: its `emptyDir` volumes, its logs, and what the runtime
    /// keeps of it. A pod without a folder has none. Layers of images and what a container wrote over them lie
    /// elsewhere and are not in it.
    ///
    /// # Errors
    /// The folder cannot be read, or holds more than can be walked.
    async fn disk_use(&self, pod: PodUid) -> Result<Bytes, RuntimeError>;

    /// Removes whatever the runtime holds of a container, killing it first if it runs. The log stays.
    /// *Idempotent*.
    ///
    /// # Errors
    /// Something could not be removed.
    async fn remove(&self, key: &ContainerKey) -> Result<(), RuntimeError>;

    /// Removes a pod's volumes, logs and folders. *Idempotent*.
    ///
    /// # Errors
    /// Something could not be removed.
    async fn clean_up(&self, pod: PodUid) -> Result<(), RuntimeError>;

    /// The pods that have a folder on this node, known or not; what else lies beside these folders is not told.
    ///
    /// # Errors
    /// The folders cannot be listed.
    async fn pods(&self) -> Result<Vec<PodUid>, RuntimeError>;

    /// Runs a command in a running container to its end; the exit code is 128 + signal if a signal ended it.
    /// Dropping the future kills the command. *Once-only*.
    ///
    /// # Errors
    /// The command could not be run.
    async fn exec(&self, key: &ContainerKey, argv: &[String], io: ExecIo) -> Result<u8, RuntimeError>;

    /// Takes an image from an OCI archive (or a folder in the layout of one) under `name`, or under the archive's own
    /// if there is none. *Idempotent*. What is told of a failure does not name the path: whoever sent an archive knows
    /// it by another.
    ///
    /// # Errors
    /// `Invalid`: there is no name, or it is none, or the runtime has no images. `ImagePull`: the archive cannot be
    /// used. `ImageNotFound`: it has nothing for this machine. Other classes: the runtime failed.
    async fn load_image(&self, archive: &Path, name: Option<&str>) -> Result<LoadedImage, RuntimeError>;

    /// Every container that the runtime holds for this node, ended ones too.
    ///
    /// # Errors
    /// The runtime does not answer.
    async fn list(&self) -> Result<Vec<ContainerKey>, RuntimeError>;

    /// What the runtime notices by itself, from now on. Can be taken once.
    fn notices(&self) -> Option<mpsc::Receiver<Notice>>;
}

/// The runtimes of a node by class.
pub type Runtimes = BTreeMap<RuntimeClass, Arc<dyn Containers>>;
