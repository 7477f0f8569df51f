//! Folders of pods that are gone: also those that came to be after a pod had been cleaned up, seen by a clock that the
//! test moves on.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use purser_actors::paths::PodPaths;
use purser_actors::port::Clock;
use purser_actors::port::containers::Runtimes;
use purser_actors::start::Resources;
use purser_actors::{HostFacts, Keeping, LiveWorld, Parts, Service, Shell};
use purser_events::pod::spec::RuntimeClass;
use purser_events::{Bytes, PodUid, Policy, Timestamp};
use purser_node::adapter::clock::UuidV7;
use purser_node::adapter::machine::ProcMachine;
use purser_node::adapter::probes::NetworkProbes;
use purser_node::adapter::process::{ProcessRuntime, Settings};
use purser_storage::{Journal, JournalConfig};
use purser_tests::binaries::Binaries;
use purser_tests::bounded;
use tokio::sync::watch;
use uuid::Uuid;

/// 2026-03-01T12:00:00Z, in microseconds since 1970.
const START: i64 = 1_772_366_400_000_000;

/// A clock that stands still until it is moved on.
struct Stepped(watch::Sender<Timestamp>);

#[async_trait]
impl Clock for Stepped {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let until = self.now().plus_ms(u64::try_from(time.as_millis()).unwrap());
        let mut now = self.0.subscribe();
        Box::pin(async move { drop(now.wait_for(|now| until <= *now).await) })
    }

    async fn sleep_until(&self, moment: Timestamp) {
        drop(self.0.subscribe().wait_for(|now| moment <= *now).await);
    }
}

/// A node without pods, on the arbiter of the test.
async fn node(folder: &std::path::Path, paths: &PodPaths, clock: Arc<Stepped>) -> Service {
    let live = LiveWorld::new();
    let (replayed, committed) = (live.clone(), live.clone());
    let journal = Journal::open(
        JournalConfig::new(folder.join("journal")),
        || Timestamp(START),
        move |record| replayed.replay(record),
        move |records| committed.commit(records),
    )
    .unwrap();
    let process = ProcessRuntime::new(paths.clone(), Settings::with_shim(Binaries::built().purserd.clone()));
    let runtimes = Runtimes::from([(RuntimeClass::Process, Arc::new(process) as _)]);
    let (ids, probes) = (Arc::new(UuidV7), Arc::new(NetworkProbes));
    let machine = Arc::new(ProcMachine::own(folder));
    let shell = Shell { journal, live, clock, ids, runtimes, machine, probes, paths: paths.clone() };
    let host = HostFacts {
        hostname: "host".to_owned(),
        boot_id: Uuid::from_u128(1),
        version: "0".to_owned(),
        kernel: "0".to_owned(),
        cores: 1,
        memory: Bytes(1 << 30),
        pid: 1,
    };
    let (policy, default_runtime) = (Policy::default(), RuntimeClass::Process);
    let (resources, keeping) = (Resources::default(), Keeping::default());
    let parts = Parts { shell, host, policy, resources, default_runtime, keeping };
    purser_actors::start(parts).await.unwrap()
}

#[test]
fn a_folder_that_came_after_the_clean_up_goes_in_a_later_round() {
    let folder = tempfile::tempdir().unwrap();
    let paths = PodPaths::new(folder.path().join("pods"));
    let left = [1, 2].map(|number| paths.pod(PodUid(Uuid::from_u128(number))));
    std::fs::create_dir_all(&left[0]).unwrap();
    let (moved, _) = watch::channel(Timestamp(START));
    actix::System::new().block_on(async {
        let clock = Arc::new(Stepped(moved.clone()));
        let service = node(folder.path(), &paths, clock).await;
        gone(&left[0], || ()).await;
        // The first round has looked before this one came.
        std::fs::create_dir_all(left[1].join("volumes/cache")).unwrap();
        gone(&left[1], || moved.send_modify(|now| *now = now.plus_ms(60_000))).await;
        service.shut_down("the test is over").await;
        service.journal().clone().close().unwrap();
    });
    assert!(paths.root().is_dir(), "only folders of pods are removed");
}

/// Waits until a folder is gone: does a step, and lets the actors work, again and again.
async fn gone(folder: &std::path::Path, step: impl Fn()) {
    let deadline = tokio::time::Instant::now() + bounded::PATIENCE;
    while folder.exists() {
        assert!(tokio::time::Instant::now() < deadline, "`{}` stays", folder.display());
        step();
        tokio::task::yield_now().await;
    }
}
