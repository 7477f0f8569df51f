//! What the ledger gives out follows the GPUs that answer, and nothing is recorded while they stay as they are.

use std::sync::Arc;

use purser_actors::paths::PodPaths;
use purser_actors::port::Gpus;
use purser_actors::service::Service;
use purser_events::Bytes;
use purser_events::ledger::{Capacity, GpuDevice};
use purser_fake_nvml::script::Faults;
use purser_tests::bounded;
use purser_tests::gpus::ToGiveOut;
use purser_tests::stepped::{START, Stepped, node_with, step};
use tokio::sync::watch;

use super::{Scene, device, script, uuid};

/// Steps in a row in which nothing is recorded: ten minutes.
const QUIET_STEPS: u32 = 60;

/// A node whose clock the test moves on.
struct Node<'a> {
    service: Service,
    moved: &'a watch::Sender<purser_events::Timestamp>,
}

impl Node<'_> {
    /// Moves the clock on until the ledger has exactly these GPUs to give out.
    async fn until(&self, numbers: &[u32]) {
        let wanted: Vec<_> = numbers.iter().copied().map(uuid).collect();
        let deadline = tokio::time::Instant::now() + bounded::PATIENCE;
        while self.given_out() != wanted {
            assert!(tokio::time::Instant::now() < deadline, "{:?} instead of {wanted:?}", self.given_out());
            self.step().await;
        }
    }

    /// Moves the clock on for a sample, and lets the actors work.
    async fn step(&self) {
        step(self.moved, 10_000).await;
    }

    fn given_out(&self) -> Vec<purser_events::ledger::GpuUuid> {
        self.service.world(|world| world.ledger.capacity.gpus.iter().map(|gpu| gpu.uuid.clone()).collect())
    }
}

#[test]
fn gpus_that_come_and_go_are_recorded_and_no_others() {
    let scene = Scene::new(&script(2));
    scene.until_given_out(&[0, 1]);
    let folder = tempfile::tempdir().unwrap();
    let paths = PodPaths::new(folder.path().join("pods"));
    let (moved, _) = watch::channel(START);
    actix::System::new().block_on(async {
        let clock = Arc::new(Stepped(moved.clone()));
        let gpus: Vec<GpuDevice> = scene.sensor.seen().to_give_out();
        let capacity = Capacity { gpus, memory: Bytes(1), ..Capacity::default() };
        let sensor: Arc<dyn Gpus> = scene.sensor.clone();
        let service = node_with(folder.path(), &paths, clock, capacity, sensor).await;
        let node = Node { service, moved: &moved };
        node.until(&[0, 1]).await;
        scene.driver.change(|script| script.devices.push(device(2)));
        scene.until_given_out(&[0, 1, 2]);
        node.until(&[0, 1, 2]).await;
        scene.driver.change(|script| {
            script.devices[1].faults = Faults { hang: ["*".to_owned()].into(), ..Faults::default() };
        });
        scene.until_given_out(&[0, 2]);
        node.until(&[0, 2]).await;
        scene.driver.change(|script| script.devices[1].faults = Faults::default());
        scene.until_given_out(&[0, 1, 2]);
        node.until(&[0, 1, 2]).await;
        scene.driver.unload();
        scene.until_given_out(&[]);
        node.until(&[]).await;
        // What becomes of GPUs that stay away is on record in steps, and then there is nothing more to record.
        let (mut head, mut quiet) = (node.service.world(|world| world.head), 0);
        for _ in 0..600 {
            node.step().await;
            let next = node.service.world(|world| world.head);
            quiet = if next == head { quiet + 1 } else { 0 };
            head = next;
            if quiet == QUIET_STEPS {
                break;
            }
        }
        assert_eq!(quiet, QUIET_STEPS, "nothing changes, and something is recorded all the time");
        node.service.shut_down("the test is over").await;
        node.service.journal().clone().close().unwrap();
    });
    purser_tests::leftovers::end_control_groups(folder.path());
}
