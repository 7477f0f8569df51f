//! The façade: what the API may ask of the node, from any thread.

mod accepted;
mod advice;
mod agents;
mod error;
mod gpus;
mod images;
pub mod ledger;
mod past;
mod pools;
mod prospect;
mod resize;
mod room;
mod task_past;
mod used;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use actix::Addr;
use purser_events::invariant::Inconsistency;
use purser_events::node::{Node, NodeCommand, NodeRejection};
use purser_events::pod::event::StopWhy;
use purser_events::pod::spec::RuntimeClass;
use purser_events::pod::{Pod, PodCommand, PodRejection, PodSpec};
use purser_events::violation::MonitorPolicy;
use purser_events::{
    Cause, CommandId, ContainerName, Decider, Origin, PodId, PodUid, Principal, Seq, Timestamp, World,
};
use purser_storage::{Journal, StoredAnswer};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use uuid::Uuid;

use crate::directory::{Apply, Directory, Find};
pub use crate::entity::CommandKey;
use crate::entity::{By, Done, Execute, Refusal};
use crate::gpu::GpuActors;
use crate::ledger::LedgerActor;
use crate::ledger::count::Counts;
use crate::metering::Meter;
use crate::node::NodeActor;
use crate::paths::PodPaths;
use crate::pod::{Exec, PodActor};
use crate::pool::{PoolActors, PoolRegistry};
use crate::port::{ExecIo, FieldError};
use crate::retention::HouseStanding;
use crate::shell::Shell;
use crate::verdict::recall;
pub use accepted::{Accepted, Outcome};
use accepted::{accepted, accepted_word};
pub use agents::AgentError;
pub use error::ServiceError;
pub use pools::{PoolAccepted, TaskAccepted};

/// Requests that may be under way at once; more are told to come again.
const REQUESTS_MAX: usize = 512;
/// What a caller is told to wait when the node is busy, in milliseconds.
const RETRY_AFTER_MS: u64 = 200;
/// The reason of a cordon for which nobody gave one.
const CORDON_REASON: &str = "cordoned by an operator";
/// Times that a request is made again when it met an entity that never came to be.
const RETIRED_RETRIES: usize = 8;

/// A handle on the running node. Cheap to clone; works from any thread and any tokio runtime.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    shell: Arc<Shell>,
    directory: Addr<Directory>,
    node: Addr<NodeActor>,
    ledger: Addr<LedgerActor>,
    gpus: GpuActors,
    pools: PoolActors,
    pool_registry: Addr<PoolRegistry>,
    counts: Counts,
    default_runtime: RuntimeClass,
    house: HouseStanding,
    meter: Meter,
    permits: Semaphore,
    ready: AtomicBool,
    stopping: AtomicBool,
    places_of_use: Mutex<used::Places>,
    tasks_coming: Mutex<pools::TasksComing>,
}

/// The actors that requests go to.
pub(crate) struct Addresses {
    pub(crate) directory: Addr<Directory>,
    pub(crate) node: Addr<NodeActor>,
    pub(crate) ledger: Addr<LedgerActor>,
    pub(crate) gpus: GpuActors,
    pub(crate) pools: PoolActors,
    pub(crate) pool_registry: Addr<PoolRegistry>,
    pub(crate) counts: Counts,
}

/// Who asks, in which conversation, and what makes a retry recognisable.
#[derive(Debug, Clone)]
pub struct Request {
    /// On whose behalf.
    pub principal: Principal,
    /// The conversation.
    pub correlation: Uuid,
    /// Present if the caller gave an idempotency key.
    pub command: Option<CommandKey>,
}

impl Service {
    pub(crate) fn new(
        shell: Arc<Shell>,
        addresses: Addresses,
        default_runtime: RuntimeClass,
        house: HouseStanding,
        meter: Meter,
    ) -> Service {
        let Addresses { directory, node, ledger, gpus, pools, pool_registry, counts } = addresses;
        let permits = Semaphore::new(REQUESTS_MAX);
        let (ready, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
        let inner = Inner {
            shell,
            directory,
            node,
            ledger,
            gpus,
            pools,
            pool_registry,
            counts,
            default_runtime,
            house,
            meter,
            permits,
            ready,
            stopping,
            places_of_use: Mutex::default(),
            tasks_coming: Mutex::default(),
        };
        Service { inner: Arc::new(inner) }
    }

    /// Says that recovery is over.
    pub(crate) fn set_ready(&self) {
        self.inner.ready.store(true, Ordering::Release);
    }

    /// Runs a pod, unless it runs already.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn apply(&self, spec: PodSpec, by: Request) -> Result<Accepted, ServiceError> {
        let _permit = self.permit()?;
        let (id, by) = (spec.id.clone(), by.into_by());
        let outcome_word = |done: &Done| self.applied_word(done);
        // A retry gets the first answer, whatever has become of the node since.
        if let Some(first) = self.recalled::<Pod>(&by)? {
            return accepted(id, first, outcome_word);
        }
        let invalid = self.check(&spec);
        if !invalid.is_empty() {
            return Err(ServiceError::Invalid(invalid));
        }
        self.check_room(&id)?;
        for _ in 0..RETIRED_RETRIES {
            let apply = Apply { spec: spec.clone(), by: by.clone() };
            match self.inner.directory.send(apply).await.map_err(|_| ServiceError::Stopping)? {
                Err(Refusal::Retired) => {}
                outcome => return accepted(id, outcome, outcome_word),
            }
        }
        Err(ServiceError::Busy { retry_after_ms: RETRY_AFTER_MS })
    }

    /// Stops a pod; it can be started again. Returns once the stop is on record, not once it is over.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn stop(
        &self,
        id: &PodId,
        grace_s: Option<u32>,
        by: Request,
    ) -> Result<Accepted, ServiceError> {
        self.command(id, PodCommand::Stop { grace_s, why: StopWhy::Asked }, by).await
    }

    /// Starts a pod that has stopped or failed.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn start(&self, id: &PodId, by: Request) -> Result<Accepted, ServiceError> {
        self.start_again(id, by).await
    }

    /// Removes a pod for good. Returns once the removal is on record, not once it is over.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn delete(
        &self,
        id: &PodId,
        grace_s: Option<u32>,
        by: Request,
    ) -> Result<Accepted, ServiceError> {
        self.command(id, PodCommand::Delete { grace_s }, by).await
    }

    async fn command(&self, id: &PodId, command: PodCommand, by: Request) -> Result<Accepted, ServiceError> {
        let _permit = self.permit()?;
        let by = by.into_by();
        // A retry may come after the pod is gone, and its actor with it.
        if let Some(first) = self.recalled::<Pod>(&by)? {
            return accepted(id.clone(), first, accepted_word);
        }
        let pod = self.find(id).await?;
        // An actor that ends meanwhile does so because its pod is gone.
        let gone = |_| ServiceError::Pod(PodRejection::NotFound);
        let outcome = match pod.send(Execute { command, by }).await.map_err(gone)? {
            Err(Refusal::Retired) => Err(Refusal::Rejected(PodRejection::NotFound)),
            outcome => outcome,
        };
        accepted(id.clone(), outcome, accepted_word)
    }

    /// Runs a command in a container to its end and returns its exit code. Dropping the future kills it.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn exec(
        &self,
        id: &PodId,
        container: Option<ContainerName>,
        argv: Vec<String>,
        io: ExecIo,
        by: Request,
    ) -> Result<u8, ServiceError> {
        let permit = self.permit()?;
        let by = by.into_by();
        if let Some(first) = self.recalled::<Pod>(&by)? {
            first.map_err(pod_error)?;
            return Err(ServiceError::AlreadyRun);
        }
        let pod = self.find(id).await?;
        let gone = |_| ServiceError::Pod(PodRejection::NotFound);
        let (done, ended) = oneshot::channel();
        let begun = pod.send(Exec { container, argv, io, by, done }).await.map_err(gone)?;
        begun.map_err(pod_error)?;
        // A command may run for days: it must not count against those who only ask.
        drop(permit);
        ended.await.map_err(|_| ServiceError::Stopping)?.map_err(ServiceError::Exec)
    }

    /// Makes the node refuse new pods. Whoever gives no reason leaves the one in force as it is.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn cordon(&self, reason: Option<String>, by: Request) -> Result<Seq, ServiceError> {
        let in_force = || self.world(|world| world.node.known().and_then(|node| node.cordoned.clone()));
        let given = reason.filter(|reason| !reason.is_empty());
        let reason = given.or_else(in_force).unwrap_or_else(|| CORDON_REASON.to_owned());
        self.node_command(NodeCommand::Cordon { reason }, by).await
    }

    /// Makes the node take new pods again.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn uncordon(&self, by: Request) -> Result<Seq, ServiceError> {
        let node = self.node_command(NodeCommand::Uncordon, by.clone()).await?;
        self.serve_waiting(by).await;
        Ok(node)
    }

    /// Puts a policy in force by which violations are seen and answered.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn set_monitor(&self, policy: MonitorPolicy, by: Request) -> Result<Seq, ServiceError> {
        self.node_command(NodeCommand::SetMonitor(Box::new(policy)), by).await
    }

    async fn node_command(&self, command: NodeCommand, by: Request) -> Result<Seq, ServiceError> {
        let _permit = self.permit()?;
        let by = by.into_by();
        let outcome = self.inner.node.send(Execute::<Node> { command, by }).await;
        outcome.map_err(|_| ServiceError::Stopping)?.map(|done| done.seq).map_err(node_error)
    }

    /// Records that the service goes down; pods go on. From here on every request is refused.
    pub async fn shut_down(&self, reason: &str) {
        self.inner.stopping.store(true, Ordering::Release);
        let by = By::node(Cause::Node, self.inner.shell.ids.uuid());
        let command = NodeCommand::Stop { reason: reason.to_owned() };
        if let Err(error) = self.inner.node.send(Execute::<Node> { command, by }).await {
            tracing::warn!(%error, "failed to record the stop");
        }
    }

    /// Reads the live view: at least as new as every answer given so far.
    pub fn world<R>(&self, read: impl FnOnce(&World) -> R) -> R {
        self.inner.shell.live.read(read)
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.inner.shell.journal
    }

    /// Sealed segments of the journal that the archive does not have yet; none without an archive.
    #[must_use]
    pub fn segments_to_archive(&self) -> usize {
        self.inner.house.waiting(&self.inner.shell.journal)
    }

    /// Why the last try to archive a segment failed, if it did.
    #[must_use]
    pub fn archive_failure(&self) -> Option<String> {
        self.inner.house.failure()
    }

    /// Sealed segments that were found damaged since the service started, by their first record.
    #[must_use]
    pub fn damaged_segments(&self) -> Vec<Seq> {
        self.inner.house.damaged().into_iter().collect()
    }

    /// Where pods' files are.
    #[must_use]
    pub fn paths(&self) -> &PodPaths {
        &self.inner.shell.paths
    }

    /// The time by the node's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.shell.clock.now()
    }

    /// What of a specification this node cannot do.
    #[must_use]
    pub fn check(&self, spec: &PodSpec) -> Vec<FieldError> {
        match self.inner.shell.runtime(spec.runtime) {
            Some(runtime) => runtime.unsupported(spec),
            None => {
                let known: Vec<&str> = self.inner.shell.runtimes.keys().map(|class| class.word()).collect();
                let message = format!(
                    "this node has no runtime `{}`; it has {}",
                    spec.runtime.word(),
                    known.join(" and ")
                );
                vec![FieldError { path: "spec.runtimeClassName".to_owned(), message }]
            }
        }
    }

    /// Whether containers of pods of this class are held to their limits.
    #[must_use]
    pub fn enforces_limits(&self, class: RuntimeClass) -> bool {
        self.inner.shell.runtime(class).is_some_and(|runtime| runtime.enforces_limits())
    }

    /// Whether this node has the runtime of pods of this class.
    #[must_use]
    pub fn has_runtime(&self, class: RuntimeClass) -> bool {
        self.inner.shell.runtimes.contains_key(&class)
    }

    /// The pods that nobody looks after: the node lacks their runtime, or cannot follow their records.
    #[must_use]
    pub fn unmanaged(&self) -> Vec<PodId> {
        self.world(|world| {
            let lacks_runtime = |uid| {
                world.pod(uid).and_then(Pod::live).is_some_and(|pod| !self.has_runtime(pod.spec.runtime))
            };
            let unmanaged = |uid: PodUid| world.quarantined.contains_key(&uid.stream()) || lacks_runtime(uid);
            let entries = world.registry.entries.iter().filter(|(_, entry)| unmanaged(entry.uid));
            entries.map(|(id, _)| id.clone()).collect()
        })
    }

    /// The runtime of pods that name none.
    #[must_use]
    pub fn default_runtime(&self) -> RuntimeClass {
        self.inner.default_runtime
    }

    /// Whether recovery is over and requests are taken.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.inner.ready.load(Ordering::Acquire) && !self.inner.stopping.load(Ordering::Acquire)
    }

    /// What the last self-check found to be inconsistent.
    #[must_use]
    pub fn inconsistencies(&self) -> Vec<Inconsistency> {
        self.inner.shell.live.inconsistencies()
    }

    fn permit(&self) -> Result<SemaphorePermit<'_>, ServiceError> {
        if !self.ready() {
            return Err(ServiceError::Stopping);
        }
        let busy = |_| ServiceError::Busy { retry_after_ms: RETRY_AFTER_MS };
        self.inner.permits.try_acquire().map_err(busy)
    }

    async fn find(&self, id: &PodId) -> Result<Addr<PodActor>, ServiceError> {
        let found = self.inner.directory.send(Find { id: id.clone() }).await;
        let on_record = || self.world(|world| world.registry.entries.contains_key(id));
        found.map_err(|_| ServiceError::Stopping)?.ok_or_else(|| {
            let unmanaged = PodRejection::Unmanaged { id: id.clone() };
            ServiceError::Pod(if on_record() { unmanaged } else { PodRejection::NotFound })
        })
    }

    fn recalled<D: Decider>(&self, by: &By) -> Result<Option<Answer<D>>, ServiceError> {
        let Some(key) = by.key else { return Ok(None) };
        Ok(self.first_answer(key.id)?.map(|answer| recall::<D>(&answer, key, self.journal())))
    }

    fn first_answer(&self, id: CommandId) -> Result<Option<StoredAnswer>, ServiceError> {
        self.inner.shell.journal.answer(id).map_err(|error| {
            tracing::error!(%error, "failed to look up a command id");
            ServiceError::Stopping
        })
    }
}

/// What a command came to, first or again.
type Answer<D> = Result<Done, Refusal<<D as Decider>::Rejection>>;

impl Request {
    /// What is recorded of the request. Without a key of the caller, its conversation names the command as well, which
    /// takes no room in the records.
    fn into_by(self) -> By {
        let (correlation, principal) = (self.correlation, self.principal);
        let id = self.command.map_or(CommandId(correlation), |key| key.id);
        By { origin: Origin { cause: Cause::Command(id), correlation, principal }, key: self.command }
    }
}

fn pod_error(refusal: Refusal<PodRejection>) -> ServiceError {
    refused(refusal, ServiceError::Pod)
}

fn node_error(refusal: Refusal<NodeRejection>) -> ServiceError {
    refused(refusal, ServiceError::Node)
}

fn refused<R>(refusal: Refusal<R>, rejected: impl FnOnce(R) -> ServiceError) -> ServiceError {
    match refusal {
        Refusal::Rejected(rejection) => rejected(rejection),
        Refusal::KeyReused => ServiceError::KeyReused,
        Refusal::Busy { retry_after_ms } => ServiceError::Busy { retry_after_ms },
        Refusal::Retired => ServiceError::Busy { retry_after_ms: RETRY_AFTER_MS },
        Refusal::NoRoom => ServiceError::NoRoom { used_percent: None },
        Refusal::TooLarge { len, max } => ServiceError::SpecTooLarge { len, max },
        Refusal::Fenced => ServiceError::Stopping,
    }
}
