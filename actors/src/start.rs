//! Bringing the node up: from a journal that has been read to actors that take requests.

use std::sync::Arc;

use actix::{Actor, Addr};
use purser_events::ledger::{Capacity, Ledger, LedgerCommand, LedgerPolicy, LedgerRejection};
use purser_events::node::event::{Recovery, Started, StoreRecovery};
use purser_events::node::{Node, NodeCommand, NodeRejection};
use purser_events::pod::spec::RuntimeClass;
use purser_events::view::Quarantine;
use purser_events::violation::MonitorPolicy;
use purser_events::{Bytes, Cause, NodeUid, Policy, Seq, StreamId, StreamKind, World};
use purser_storage::found::{Found, StoreFound};
use uuid::Uuid;

use crate::directory::{Directory, Recover};
use crate::entity::{By, Entity, Execute, Refusal};
use crate::ledger::count::Counts;
use crate::ledger::{self, Attach, LedgerActor};
use crate::node::NodeActor;
use crate::retention::Keeping;
use crate::service::{Addresses, Service};
use crate::shell::Shell;
use crate::{audit, gpu, metering, monitor, pool, retention, runtimes, sweep};

/// What the node is made of.
pub struct Parts {
    /// Journal, live view and ports.
    pub shell: Shell,
    /// Facts of the host.
    pub host: HostFacts,
    /// The policy of the config: in force from here on.
    pub policy: Policy,
    /// How violations are seen and answered, by the config.
    pub monitor: MonitorPolicy,
    /// What the machine has to give out, and how.
    pub resources: Resources,
    /// The runtime of pods that name none.
    pub default_runtime: RuntimeClass,
    /// How the journal's past is kept.
    pub keeping: Keeping,
}

/// Facts of the host at this start.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Host name.
    pub hostname: String,
    /// Which boot of the host.
    pub boot_id: Uuid,
    /// Release of the service.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor cores that are online.
    pub cores: u32,
    /// Memory of the host.
    pub memory: Bytes,
    /// Process id of the service.
    pub pid: u32,
}

/// What the machine has to give out, and how.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// What there is; GPUs are what the port shows.
    pub capacity: Capacity,
    /// How it is given out, by the config.
    pub policy: LedgerPolicy,
}

/// Why the node could not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node's own entity refuses.
    #[error("failed to record the start of the node: {0}")]
    Node(Refusal<NodeRejection>),
    /// The ledger refuses the config's policy, or cannot be written.
    #[error("failed to put the config's limits in force: {0}")]
    Ledger(Refusal<LedgerRejection>),
    /// The node's own history cannot be read on: whether it takes pods, and by which policy, is unknown.
    #[error(
        "record {seq} of the node's own stream cannot be followed ({reason}); run the release that wrote it, or keep \
         the data folder and begin with a new one"
    )]
    Quarantined {
        /// The record.
        seq: Seq,
        /// Why.
        reason: String,
    },
    /// An actor ended while it was needed.
    #[error("failed to start the actors: {0}")]
    Actors(actix::MailboxError),
}

/// Starts the actors on the current arbiter and returns once every pod of the journal has its actor again and
/// requests are taken. What was open is finished from here on, beside the requests.
///
/// # Errors
/// The start could not be recorded.
pub async fn start(parts: Parts) -> Result<Service, StartError> {
    let Parts { shell, host, policy, monitor: monitor_policy, resources, default_runtime, keeping } = parts;
    let shell = Arc::new(shell);
    let stopped_at = monitor::tell::last_record_at(&shell);
    let known = shell.live.read(|world| world.node_uid.map(|uid| (uid, world.node.clone())));
    let (uid, state) = known.unwrap_or_else(|| (NodeUid(shell.ids.uuid()), Node::default()));
    let ledger_stream = StreamId { kind: StreamKind::Ledger, id: uid.0 };
    let quarantined = shell.live.read(|world| {
        let of = |stream| world.quarantined.get(&stream).cloned();
        of(uid.stream()).or_else(|| of(ledger_stream))
    });
    if let Some(Quarantine { seq, reason }) = quarantined {
        return Err(StartError::Quarantined { seq, reason });
    }
    let node = NodeActor::new(Entity::recovered(uid.0, state, &shell), shell.clone()).start();
    // One conversation for all that the start leads to.
    let by = By::node(Cause::Node, shell.ids.uuid());
    let commands = [
        NodeCommand::Start(started(uid, host, shell.journal.found())),
        NodeCommand::SetPolicy(policy),
        NodeCommand::ConfigureMonitor(Box::new(monitor_policy)),
    ];
    for command in commands {
        let execute = Execute::<Node> { command, by: by.clone() };
        node.send(execute).await.map_err(StartError::Actors)?.map_err(StartError::Node)?;
    }
    let gpus = gpu::begin(&shell).await;
    let (ledger, counts) = begin_ledger(&shell, uid, resources, &by).await?;
    let directory = Directory::new(shell.clone(), ledger.clone()).start();
    ledger.send(Attach(directory.clone())).await.map_err(StartError::Actors)?;
    let pods = shell.live.read(|world| {
        let sound = |uid: &purser_events::PodUid| !world.quarantined.contains_key(&uid.stream());
        world.pods.iter().filter(|(uid, _)| sound(uid)).map(|(uid, pod)| (*uid, pod.clone())).collect()
    });
    let left_alone = directory.send(Recover { pods }).await.map_err(StartError::Actors)?;
    for id in left_alone {
        tracing::error!(pod = %id, "this node has no runtime of the pod's class now; the pod is left as it is");
    }
    let (pools, pool_registry) = pool::begin(&shell, &directory, &by).await;
    ledger::watch(&shell, &ledger, &directory);
    let house = retention::begin(&shell, &node, keeping);
    let meter = metering::begin(&shell, &ledger);
    gpu::watch(&shell, &gpus, &ledger, &directory);
    let addresses = Addresses {
        directory: directory.clone(),
        node: node.clone(),
        ledger,
        gpus: gpus.clone(),
        pools,
        pool_registry,
        counts,
    };
    let service = Service::new(shell.clone(), addresses, default_runtime, house, meter);
    monitor::begin(&shell, &directory, &gpus, stopped_at);
    runtimes::watch(&shell, &directory, &node, by);
    sweep::begin(&shell);
    audit::begin(&shell, &directory);
    service.set_ready();
    Ok(service)
}

/// Starts the ledger, and puts right what a stop has cut off between it and the pods.
async fn begin_ledger(
    shell: &Arc<Shell>,
    node: NodeUid,
    resources: Resources,
    by: &By,
) -> Result<(Addr<LedgerActor>, Counts), StartError> {
    let state = shell.live.read(|world| world.ledger.clone());
    let ledger = LedgerActor::new(Entity::recovered(node.0, state, shell), shell.clone());
    let counts = ledger.counts();
    let ledger = ledger.start();
    let Resources { mut capacity, policy } = resources;
    capacity.gpus = shell.live.read(World::gpus_to_give_out);
    let subnets = capacity.subnets;
    let commands = [
        LedgerCommand::SetCapacity(Box::new(capacity)),
        LedgerCommand::Configure(Box::new(policy)),
        LedgerCommand::CheckTime,
    ];
    for command in commands {
        let execute = Execute::<Ledger> { command, by: by.clone() };
        ledger.send(execute).await.map_err(StartError::Actors)?.map_err(StartError::Ledger)?;
    }
    let in_force = shell.live.read(|world| world.ledger.capacity.subnets);
    if in_force != subnets {
        tracing::warn!(
            "`resources.subnets` is not in force: pods have subnets of the range before, which stays until a start at \
             which nobody has one"
        );
    }
    ledger::recover(shell, &ledger, by).await.map_err(StartError::Actors)?;
    Ok((ledger, counts))
}

fn started(node: NodeUid, host: HostFacts, found: Found) -> Started {
    let HostFacts { hostname, boot_id, version, kernel, cores, memory, pid } = host;
    let Found { closed, torn_bytes, snapshot, store } = found;
    let store = match store {
        StoreFound::Kept => StoreRecovery::Kept,
        StoreFound::CaughtUp => StoreRecovery::CaughtUp,
        StoreFound::MadeAgain => StoreRecovery::MadeAgain,
    };
    let recovery = Some(Recovery { closed, torn_bytes, snapshot, store });
    Started { node, hostname, boot_id, version, kernel, cores, memory, pid, recovery }
}
