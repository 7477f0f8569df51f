//! One life of the node: its journal and its actors, which move only when they are polled.

use std::cell::RefCell;
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use purser_actors::paths::PodPaths;
use purser_actors::port::Clock;
use purser_actors::port::containers::Runtimes;
use purser_actors::start::Resources;
use purser_actors::{DiskWork, HostFacts, Keeping, LiveWorld, Parts, Service, Shell};
use purser_events::ledger::capacity::PortRange;
use purser_events::ledger::policy::Preemption;
use purser_events::ledger::{Capacity, LedgerPolicy};
use purser_events::pod::spec::RuntimeClass;
use purser_events::{
    Bytes, Cause, CommandId, Cpu, CpuTopology, NodeUid, Origin, Policy, Principal, StreamVersion,
};
use purser_storage::{
    Append, CommandWrite, Journal, JournalConfig, JournalError, SEGMENT_BYTES_MIN, StreamWrite,
};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use uuid::Uuid;

use super::disk::SimDisk;
use super::gate::Gate;
use super::host::Host;
use super::machine::Machine;
use super::store::SimStores;
use super::time::SimClock;
use super::turns::Turns;
use crate::counts::Counts;
use crate::gpus::ScriptedGpus;

/// Age at which a segment is sealed, in milliseconds: little, so that a run seals many.
const SEGMENT_AGE_MS: u64 = 20_000;
/// The request that changes nothing, see [`Gate`].
const NUDGE: Uuid = Uuid::from_u128(0x4e55_4447_4500);

/// What the node stands on, and what outlives it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ground {
    /// Files of the journal.
    pub(super) disk: SimDisk,
    /// Its store.
    pub(super) stores: SimStores,
    /// Time and ids.
    pub(super) clock: SimClock,
    /// Dealings with the outside.
    pub(super) turns: Turns,
    /// Containers.
    pub(super) machine: Machine,
    /// What pools need of the host.
    pub(super) host: Host,
    /// GPUs.
    pub(super) gpus: ScriptedGpus,
    /// Longest time until a lazy append is synced, in milliseconds: 0, or for ever. Anything between would depend on
    /// how fast threads are.
    pub(super) lazy_ms_max: u64,
}

impl Ground {
    /// A machine on which nothing has happened, with so many GPUs.
    pub(super) fn new(gpus: u32) -> Ground {
        let gpus = ScriptedGpus::fine(gpus);
        let (clock, turns) = (SimClock::default(), Turns::default());
        let machine = Machine::new(clock.clone(), turns.clone());
        let host = Host::new(turns.clone());
        Ground { clock, turns, machine, host, gpus, ..Ground::default() }
    }
}

/// A node that lives.
pub(super) struct Node {
    journal: Journal,
    live: LiveWorld,
    gate: Gate,
    clock: SimClock,
    /// Dropped before the runtime that it runs on.
    tasks: Option<LocalSet>,
    runtime: Runtime,
    service: Rc<RefCell<Option<Service>>>,
    /// Why it could not start, if so.
    refused: Rc<RefCell<Option<String>>>,
    woken: Arc<Woken>,
}

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Woken>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Node {
    /// Opens the journal and begins to start the actors.
    ///
    /// # Errors
    /// The journal does not open.
    ///
    /// # Panics
    /// This machine gives no thread.
    pub(super) fn start(ground: &Ground, dir: &Path) -> Result<Node, JournalError> {
        let (live, gate) = (LiveWorld::new(), Gate::default());
        let journal = open(ground, dir, &live, &gate)?;
        Counts::begin(&journal)?;
        gate.shut();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let node = Node {
            journal,
            live,
            gate,
            clock: ground.clock.clone(),
            tasks: Some(LocalSet::new()),
            runtime: runtime.expect("a runtime of this thread alone needs nothing"),
            service: Rc::default(),
            refused: Rc::default(),
            woken: Arc::default(),
        };
        node.nudge();
        let is_held = node.gate.await_arrival(|| node.has_failed());
        assert!(is_held, "the journal's thread takes its first group");
        let parts = parts(ground, &node.journal, &node.live);
        let (service, refused) = (node.service.clone(), node.refused.clone());
        node.spawn(async move {
            match purser_actors::start(parts).await {
                Ok(started) => *service.borrow_mut() = Some(started),
                Err(error) => *refused.borrow_mut() = Some(error.to_string()),
            }
        });
        Ok(node)
    }

    /// The service, once it has started.
    pub(super) fn service(&self) -> Option<Service> {
        self.service.borrow().clone()
    }

    /// Why it could not start, if so.
    pub(super) fn refused(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    /// The journal.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The world as the node shows it.
    pub(super) fn live(&self) -> &LiveWorld {
        &self.live
    }

    /// Whether the journal takes no more: a node ends then.
    pub(super) fn has_failed(&self) -> bool {
        self.journal.fatal().borrow().is_some()
    }

    /// Adds a task beside the actors.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if let Some(tasks) = &self.tasks {
            tasks.spawn_local(task);
        }
    }

    /// Lets the actors go on until each of them waits for something.
    pub(super) fn poll(&mut self) {
        let Node { tasks: Some(tasks), runtime, woken, .. } = self else { return };
        let waker = Waker::from(Arc::clone(woken));
        woken.0.store(true, Ordering::Release);
        while woken.0.swap(false, Ordering::AcqRel) {
            runtime.block_on(poll_fn(|_| {
                let _ = Pin::new(&mut *tasks).poll(&mut Context::from_waker(&waker));
                Poll::Ready(())
            }));
        }
    }

    /// Lets the journal write the group that it holds and take the next one; false if it failed.
    pub(super) fn write_group(&self) -> bool {
        self.nudge();
        self.gate.let_on();
        self.gate.await_arrival(|| self.has_failed())
    }

    /// Lets time pass, for the actors' own timeouts as well.
    pub(super) fn advance(&mut self, time: Duration) {
        self.clock.advance(time);
        self.runtime.block_on(tokio::time::advance(time));
    }

    /// Ends the node where it stands: whatever it still does has no effect, since disk and turns are dead already.
    pub(super) fn end(self) {
        drop(self);
    }

    /// Puts a request into the journal's queue that changes nothing.
    fn nudge(&self) {
        let stream = NodeUid(NUDGE).stream();
        let write = StreamWrite { stream, expected: StreamVersion::NONE, events: vec![] };
        let command = CommandWrite { id: CommandId(NUDGE), fingerprint: [0; 32], answer: vec![] };
        let origin = Origin { cause: Cause::Node, correlation: NUDGE, principal: Principal::node() };
        let append = Append { writes: vec![write], origin, command: Some(command) };
        let mut append = Box::pin(self.journal.append(append));
        // It is in the queue once it was polled; nobody waits for the answer.
        let _ = append.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Whoever drops the journal waits for its thread.
        self.gate.open();
        drop(self.tasks.take());
    }
}

fn open(ground: &Ground, dir: &Path, live: &LiveWorld, gate: &Gate) -> Result<Journal, JournalError> {
    let config = JournalConfig {
        boot_id: Some(ground.machine.boot()),
        segment_bytes: SEGMENT_BYTES_MIN,
        segment_age_ms: SEGMENT_AGE_MS,
        lazy_ms_max: ground.lazy_ms_max,
        // What is in each group is the simulator's to say, see [`Gate`].
        group_wait_us_max: 0,
        snapshot_every: u64::MAX,
        ..JournalConfig::new(dir)
    };
    let (replayed, committed) = (live.clone(), live.clone());
    let (gate, clock) = (gate.clone(), ground.clock.clone());
    Journal::open_on_with_snapshots(
        Arc::new(ground.disk.clone()),
        &ground.stores,
        config,
        move || {
            gate.pass();
            clock.now()
        },
        move |record| replayed.replay(record),
        move |records| committed.commit(records),
        live.clone(),
    )
}

fn parts(ground: &Ground, journal: &Journal, live: &LiveWorld) -> Parts {
    let Ground { clock, machine, .. } = ground;
    let shell = Shell {
        journal: journal.clone(),
        live: live.clone(),
        clock: Arc::new(clock.clone()),
        ids: Arc::new(clock.clone()),
        runtimes: Runtimes::from([(RuntimeClass::Process, Arc::new(machine.clone()) as _)]),
        machine: Arc::new(machine.clone()),
        gpus: Arc::new(ground.gpus.clone()),
        probes: Arc::new(machine.clone()),
        pools: Arc::new(ground.host.clone()),
        paths: PodPaths::new("/pods"),
    };
    let host = HostFacts {
        hostname: "host".to_owned(),
        boot_id: machine.boot(),
        version: "0".to_owned(),
        kernel: "0".to_owned(),
        cores: 1,
        memory: Bytes(1 << 30),
        pid: 1,
    };
    Parts {
        shell,
        host,
        policy: Policy::default(),
        monitor: purser_events::violation::MonitorPolicy::default(),
        resources: resources(),
        default_runtime: RuntimeClass::Process,
        keeping: Keeping { disk_work: DiskWork::InOrder, ..Keeping::default() },
    }
}

/// A machine so small that pods must wait for each other.
pub(super) fn capacity() -> Capacity {
    let cpu = |id| Cpu { id, core: u32::from(id), package: 0, node: 0 };
    Capacity {
        cpus: CpuTopology { cpus: (0..4).map(cpu).collect() },
        memory: Bytes(4 << 30),
        disk: Bytes(8 << 30),
        ports: PortRange { first: 30_000, last: 30_003 },
        ..Capacity::default()
    }
}

fn resources() -> Resources {
    let policy = LedgerPolicy {
        preemption: Preemption::LowerPriorityOnly,
        preemption_grace_s: 5,
        ..LedgerPolicy::default()
    };
    Resources { capacity: capacity(), policy }
}
