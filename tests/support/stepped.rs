//! A node in the test's own process, on a clock that the test moves on: its processes and its machine are real, and so is
//! its API, on a socket.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use purser_actors::paths::PodPaths;
use purser_actors::port::containers::Runtimes;
use purser_actors::port::{Clock, Gpus};
use purser_actors::start::Resources;
use purser_actors::{HostFacts, Keeping, LiveWorld, Parts, Service, Shell};
use purser_events::ledger::Capacity;
use purser_events::pod::spec::RuntimeClass;
use purser_events::violation::MonitorPolicy;
use purser_events::{Bytes, Policy, Timestamp};
use purser_node::adapter::clock::UuidV7;
use purser_node::adapter::machine::ProcMachine;
use purser_node::adapter::probes::NetworkProbes;
use purser_node::adapter::process::{ProcessRuntime, Settings};
use purser_node::agents::Agents;
use purser_node::api::admission::{Gate, Limits};
use purser_node::api::listen::{Server, bind_socket};
use purser_node::api::router::router;
use purser_node::api::state::Api;
use purser_node::config::{self, Surroundings};
use purser_node::metrics::Exposition;
use purser_storage::{Journal, JournalConfig};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::binaries::Binaries;
use crate::gpus::NamedGpus;
use crate::{bounded, leftovers};

/// When such a node starts: 2026-03-01T12:00:00Z.
pub const START: Timestamp = Timestamp(1_772_366_400_000_000);

/// A clock that stands still until it is moved on.
#[derive(Debug)]
pub struct Stepped(pub watch::Sender<Timestamp>);

#[async_trait]
impl Clock for Stepped {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn passed(&self) -> Duration {
        Duration::from_millis(self.now().ms_since(START))
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let until = self.now().plus_ms(u64::try_from(time.as_millis()).expect("nobody sleeps so long"));
        let mut now = self.0.subscribe();
        Box::pin(async move { drop(now.wait_for(|now| until <= *now).await) })
    }

    async fn sleep_until(&self, moment: Timestamp) {
        drop(self.0.subscribe().wait_for(|now| moment <= *now).await);
    }
}

/// Times that the actors' thread is given to others before it is asked whether all sleep again.
const TURNS: usize = 50;
/// Longest wait for that: some who were woken never sleep again.
const SETTLE: Duration = Duration::from_millis(500);

/// Moves a clock on, and lets the actors on this thread work until as many sleep as before. So what follows from one
/// step is done before the next, also on a slow machine.
pub async fn step(moved: &watch::Sender<Timestamp>, ms: u64) {
    let sleepers = moved.receiver_count();
    moved.send_modify(|now| *now = now.plus_ms(ms));
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    let deadline = tokio::time::Instant::now() + SETTLE;
    while moved.receiver_count() < sleepers && tokio::time::Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
}

/// Such a clock whose time of day is set otherwise now and then, in milliseconds; time passes all the same.
#[derive(Debug)]
pub struct SetAnew {
    /// The time that passes.
    pub passing: Stepped,
    /// How far the time of day is from it, in milliseconds.
    pub off_ms: watch::Sender<i64>,
}

#[async_trait]
impl Clock for SetAnew {
    fn now(&self) -> Timestamp {
        let (now, off_ms) = (self.passing.now(), *self.off_ms.borrow());
        let off = now.plus_ms(off_ms.unsigned_abs());
        let ahead_us = off.0 - now.0;
        if off_ms < 0 { Timestamp(now.0 - ahead_us) } else { off }
    }

    fn passed(&self) -> Duration {
        self.passing.passed()
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.passing.sleep(time)
    }

    async fn sleep_until(&self, moment: Timestamp) {
        let (mut passing, mut set) = (self.passing.0.subscribe(), self.off_ms.subscribe());
        while self.now() < moment {
            let changed = async {
                tokio::select! {
                    changed = passing.changed() => changed,
                    changed = set.changed() => changed,
                }
            };
            if changed.await.is_err() {
                return;
            }
        }
    }
}

/// What the node takes for the kernel's folder of devices: the real one, but for network interfaces, of which there are
/// those that a test makes.
fn sys(folder: &Path) -> PathBuf {
    let sys = folder.join("sys");
    fs::create_dir_all(sys.join("class/net")).expect("a folder can be made");
    let devices = sys.join("devices");
    // A node that was here before has left it.
    if !devices.exists() {
        std::os::unix::fs::symlink("/sys/devices", devices).expect("a link can be made");
    }
    sys
}

/// A place for agents that nobody serves.
fn agents(paths: &PodPaths) -> Agents {
    let agents = Agents::open(&paths.agents(), None, |buffer| {
        buffer.fill(7);
        Ok(())
    });
    let agents = agents.expect("folders can be made");
    // Members' folders lead to it, whoever listens there.
    fs::write(agents.socket(), "").expect("a file can be made");
    agents
}

/// A node without pods, on the arbiter of the caller, that gives this out.
///
/// # Panics
/// It does not start.
pub async fn node(folder: &Path, paths: &PodPaths, clock: Arc<Stepped>, capacity: Capacity) -> Service {
    let gpus = Arc::new(NamedGpus(capacity.gpus.clone()));
    node_with(folder, paths, clock, capacity, gpus).await
}

/// Such a node with these GPUs: those of `capacity` are what it is told at its start.
///
/// # Panics
/// It does not start.
pub async fn node_with(
    folder: &Path,
    paths: &PodPaths,
    clock: Arc<dyn Clock>,
    capacity: Capacity,
    gpus: Arc<dyn Gpus>,
) -> Service {
    let live = LiveWorld::new();
    let (replayed, committed) = (live.clone(), live.clone());
    let journal = Journal::open(
        JournalConfig::new(folder.join("journal")),
        || START,
        move |record| replayed.replay(record),
        move |records| committed.commit(records),
    );
    // Of its own: what another node's pods have in it would be a stranger's.
    let cgroup_prefix = leftovers::node_name(folder);
    let settings = Settings { cgroup_prefix, ..Settings::with_shim(Binaries::built().purserd.clone()) };
    let process = ProcessRuntime::new(paths.clone(), settings);
    let shell = Shell {
        journal: journal.expect("the journal opens"),
        live,
        clock,
        ids: Arc::new(UuidV7),
        runtimes: Runtimes::from([(RuntimeClass::Process, Arc::new(process) as _)]),
        machine: Arc::new(ProcMachine {
            sys_root: sys(folder),
            ..ProcMachine::own(folder, crate::gpus::no_owners())
        }),
        gpus,
        probes: Arc::new(NetworkProbes),
        pools: Arc::new(agents(paths)),
        paths: paths.clone(),
    };
    let host = HostFacts {
        hostname: "host".to_owned(),
        boot_id: Uuid::from_u128(1),
        version: "0".to_owned(),
        kernel: "0".to_owned(),
        cores: 1,
        memory: Bytes(1 << 30),
        pid: 1,
    };
    let resources = Resources { capacity, ..Resources::default() };
    let (policy, default_runtime) = (Policy::default(), RuntimeClass::Process);
    let monitor = MonitorPolicy::default();
    let parts =
        Parts { shell, host, policy, monitor, resources, default_runtime, keeping: Keeping::default() };
    purser_actors::start(parts).await.expect("the node starts")
}

/// Such a node with its API. When it is dropped, it stops, and every process that it started is killed.
#[derive(Debug)]
pub struct SteppedNode {
    folder: TempDir,
    moved: watch::Sender<Timestamp>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl SteppedNode {
    /// Starts a node that gives this out, and waits until it answers. Its metrics are those of the test's process, of which
    /// there is one recorder: a test program can have one such node.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start(capacity: Capacity) -> SteppedNode {
        let folder =
            tempfile::Builder::new().prefix("purser-").tempdir().expect("a temporary folder can be made");
        let (moved, stop) = (watch::Sender::new(START), watch::Sender::new(false));
        let (own, clock, stopped) = (folder.path().to_path_buf(), Stepped(moved.clone()), stop.subscribe());
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(serve(&own, Arc::new(clock), capacity, stopped));
        });
        let node = SteppedNode { folder, moved, stop, thread: Some(thread) };
        bounded::until("the node answers", || {
            let is_over = node.thread.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(!is_over, "the node has ended");
            node.socket().exists()
        });
        node
    }

    /// Adds a network interface to those that the node sees, or takes it away.
    ///
    /// # Panics
    /// It is there already, or is not.
    pub fn set_interface(&self, name: &str, is_there: bool) {
        let path = self.folder.path().join("sys/class/net").join(name);
        let done = if is_there { fs::create_dir(path) } else { fs::remove_dir(path) };
        done.expect("the interface is as it was");
    }

    /// The socket of the API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    /// What the control group is called, in each hierarchy, in which the pods have theirs.
    #[must_use]
    pub fn control_group(&self) -> String {
        leftovers::node_name(self.folder.path())
    }

    /// Moves the clock on.
    pub fn step_ms(&self, ms: u64) {
        self.moved.send_modify(|now| *now = now.plus_ms(ms));
    }

    /// Runs the operator's command line, which must succeed, and gives back what it printed.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub fn purser_ok(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let mut command = Command::new(&Binaries::built().purser);
        let command = command.env("PURSER_SOCKET", self.socket()).env("NO_COLOR", "1").args(args);
        let output = bounded::output(command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("purser prints UTF-8")
    }
}

impl Drop for SteppedNode {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let ended = self.thread.take().map(JoinHandle::join);
        leftovers::end_processes(self.folder.path());
        leftovers::end_control_groups(self.folder.path());
        // A test that failed already says more than this would.
        assert!(std::thread::panicking() || !matches!(ended, Some(Err(_))), "the node has panicked");
    }
}

/// Serves the API of a node until told to stop.
async fn serve(folder: &Path, clock: Arc<Stepped>, capacity: Capacity, stop: watch::Receiver<bool>) {
    let file = folder.join("purserd.toml");
    let text = format!(
        "data-dir = {:?}\n\n[api]\nsocket = {:?}\n\n[runtime]\ndefault = \"process\"\n\n[containerd]\nenabled = \"never\"\n",
        folder,
        folder.join("api.sock")
    );
    fs::write(&file, text).expect("the config can be written");
    let alone = Surroundings { root: false, variables: BTreeMap::new() };
    let config = Arc::new(config::load(Some(&file), &alone).expect("the config is one"));
    let service = node(folder, &PodPaths::new(folder.join("pods")), clock, capacity).await;
    let api = Api {
        service: service.clone(),
        config: config.clone(),
        allowances: Arc::default(),
        cdi: None,
        exposition: Exposition::install().expect("no other node is in this process"),
        started_at: START,
        stop: stop.clone(),
    };
    let limits = Limits {
        per_second: config.api.requests_per_second,
        burst: config.api.requests_burst,
        open_max: config.api.requests_open_max,
        open_each: None,
    };
    let connections = TaskTracker::new();
    let server = Server {
        head_timeout: Duration::from_millis(config.api.head_timeout_ms.get()),
        stop: stop.clone(),
        connections: connections.clone(),
        router: router(api, Arc::new(Gate::new(limits, Arc::new(UuidV7)))),
    };
    let socket = bind_socket(&config.api.socket, None).await.expect("the socket can be bound");
    let mut stopped = stop;
    let serving = tokio::spawn(server.serve_socket(socket));
    drop(stopped.wait_for(|stop| *stop).await);
    connections.close();
    connections.wait().await;
    serving.abort();
    service.shut_down("the test is over").await;
    service.journal().clone().close().expect("the journal can be closed");
}
