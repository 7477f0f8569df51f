//! What an entity does when the journal's disk has no room for everyone.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use purser_actors::entity::{By, CommandKey, Committed, Entity, Execute, Refusal};
use purser_actors::paths::PodPaths;
use purser_actors::port::Clock;
use purser_actors::port::containers::Runtimes;
use purser_actors::{LiveWorld, Shell};
use purser_events::node::event::{RuntimeLost, Started};
use purser_events::node::{Node, NodeCommand, NodeRejection};
use purser_events::pod::spec::RuntimeClass;
use purser_events::{BackOffPolicy, Bytes, Cause, CommandId, NodeUid, Origin, Policy, Principal, Timestamp};
use purser_node::adapter::clock::UuidV7;
use purser_node::adapter::machine::ProcMachine;
use purser_node::adapter::probes::NetworkProbes;
use purser_storage::disk::{Disk, DiskFile, SystemDisk};
use purser_storage::store::{Backend, FolderStores};
use purser_storage::{BallastStanding, Journal, JournalConfig, Space};
use purser_tests::gpus::NamedGpus;
use tempfile::TempDir;
use uuid::Uuid;

const NODE: Uuid = Uuid::from_u128(1);
const BALLAST: u64 = 1 << 20;

/// The system's disk, with as much room as the test says.
struct Claimed(Arc<AtomicU64>);

impl Disk for Claimed {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        SystemDisk.create(path)
    }

    fn open(&self, path: &Path, to_write: bool) -> io::Result<Box<dyn DiskFile>> {
        SystemDisk.open(path, to_write)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_dir(path)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        SystemDisk.names(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(dir)
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space { used: 1 << 30, available: self.0.load(Ordering::SeqCst) })
    }
}

/// A clock that stands still; nothing here may wait for it.
struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn passed(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        unreachable!("an entity waits by the moment")
    }

    async fn sleep_until(&self, _: Timestamp) {
        panic!("an entity waits for room");
    }
}

struct Scene {
    shell: Shell,
    node: Entity<Node>,
    available: Arc<AtomicU64>,
    _folder: TempDir,
}

impl Scene {
    /// A node that has started, with a ballast and all the room there is.
    async fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let available = Arc::new(AtomicU64::new(1 << 40));
        let dir = folder.path().join("journal");
        let stores = FolderStores { dir: dir.clone(), backend: Backend::Sled, cache_bytes: 1 << 20 };
        let config = JournalConfig { ballast_bytes: BALLAST, ..JournalConfig::new(dir) };
        let live = LiveWorld::new();
        let (replayed, committed) = (live.clone(), live.clone());
        let journal = Journal::open_on(
            Arc::new(Claimed(available.clone())),
            &stores,
            config,
            || Timestamp(0),
            move |record| replayed.replay(record),
            move |records| committed.commit(records),
        );
        let shell = Shell {
            journal: journal.unwrap(),
            live,
            clock: Arc::new(Still),
            ids: Arc::new(UuidV7),
            runtimes: Runtimes::new(),
            machine: Arc::new(ProcMachine::own(folder.path(), purser_tests::gpus::no_owners())),
            gpus: Arc::new(NamedGpus::default()),
            probes: Arc::new(NetworkProbes),
            pools: Arc::new(purser_tests::no_pools::NoPools),
            paths: PodPaths::new(folder.path().join("pods")),
        };
        assert!(shell.journal.make_ballast(95).unwrap());
        let mut scene = Scene { shell, node: Entity::new(NODE), available, _folder: folder };
        let started = Started {
            node: NodeUid(NODE),
            hostname: "host".to_owned(),
            boot_id: Uuid::nil(),
            version: "0".to_owned(),
            kernel: "0".to_owned(),
            cores: 1,
            memory: Bytes(1),
            pid: 1,
            recovery: None,
        };
        assert!(scene.carry_out(NodeCommand::Start(started), by_node()).await.unwrap());
        scene
    }

    async fn decide(&self, command: NodeCommand, by: By) -> Result<Committed<Node>, Refusal<NodeRejection>> {
        self.node.commit(&Execute { command, by }, &self.shell).await
    }

    /// Carries out a command; says whether anything happened.
    async fn carry_out(&mut self, command: NodeCommand, by: By) -> Result<bool, Refusal<NodeRejection>> {
        let committed = self.decide(command, by).await?;
        Ok(self.node.accept(committed).0.changed)
    }
}

fn by_node() -> By {
    By::node(Cause::Node, NODE)
}

fn asked(id: u128, key: bool) -> By {
    let id = CommandId(Uuid::from_u128(id));
    let origin = Origin { cause: Cause::Command(id), correlation: NODE, principal: Principal::new("uid:0") };
    By { origin, key: key.then_some(CommandKey { id, fingerprint: [1; 32] }) }
}

fn cordon() -> NodeCommand {
    NodeCommand::Cordon { reason: "the disk is full".to_owned() }
}

fn policy() -> NodeCommand {
    let back_off = BackOffPolicy { first_ms: 1, max_ms: 2, reset_after_ms: 3 };
    NodeCommand::SetPolicy(Policy { back_off, ..Policy::default() })
}

#[tokio::test]
async fn an_observation_is_refused_at_once_and_may_be_told_again() {
    let mut scene = Scene::new().await;
    let lost = || {
        NodeCommand::ReportRuntimeLost(RuntimeLost {
            runtime: RuntimeClass::Containerd,
            message: "gone".to_owned(),
        })
    };
    scene.shell.journal.shed_observations(true);
    assert_eq!(scene.carry_out(lost(), by_node()).await.unwrap_err(), Refusal::NoRoom);
    assert!(scene.carry_out(policy(), by_node()).await.unwrap());
    scene.shell.journal.shed_observations(false);
    assert!(scene.carry_out(lost(), by_node()).await.unwrap());
}

#[tokio::test]
async fn on_a_full_disk_what_is_asked_for_is_refused_and_what_ends_things_is_not() {
    let mut scene = Scene::new().await;
    scene.available.store(BALLAST / 8, Ordering::SeqCst);
    for key in [true, false] {
        let refused = scene.carry_out(policy(), asked(1, key)).await.unwrap_err();
        assert_eq!((refused, scene.shell.journal.ballast()), (Refusal::NoRoom, BallastStanding::Held));
    }
    // It is so already: that can be said without a record, but then it is not remembered.
    assert!(!scene.carry_out(NodeCommand::Uncordon, asked(2, true)).await.unwrap());
    assert_eq!(scene.shell.journal.answer(CommandId(Uuid::from_u128(2))).unwrap(), None);
    assert!(scene.carry_out(cordon(), asked(3, true)).await.unwrap());
    assert_eq!(scene.shell.journal.ballast(), BallastStanding::GivenUp);
    assert!(scene.shell.journal.answer(CommandId(Uuid::from_u128(3))).unwrap().is_some());
}

/// Dropping it would leave the journal behind what is so, and waiting would hold up a stop.
#[tokio::test]
async fn on_a_full_disk_what_the_node_did_is_still_recorded() {
    let mut scene = Scene::new().await;
    scene.available.store(BALLAST / 8, Ordering::SeqCst);
    assert!(scene.carry_out(policy(), by_node()).await.unwrap());
    assert_eq!(scene.shell.journal.ballast(), BallastStanding::GivenUp);
}
