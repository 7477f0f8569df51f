//! Reservations and the time of day: it is set forward and back while they last, before they are told of as over and while
//! somebody waits for what they keep.

use std::sync::Arc;

use purser_actors::paths::PodPaths;
use purser_actors::service::ledger::ReserveRequest;
use purser_actors::service::{Request, Service};
use purser_events::ledger::{Capacity, Demand, ReservationRef};
use purser_events::{Bytes, Cpu, CpuTopology, PodUid, Principal, Timestamp};
use purser_tests::gpus::NamedGpus;
use purser_tests::stepped::{START, SetAnew, Stepped, node_with, step};
use purser_tests::{bounded, leftovers, specs};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

const HOUR_MS: i64 = 3_600_000;
/// How long a reservation of this test lasts.
const TTL_MS: u64 = 60_000;
const GIB: u64 = 1 << 30;

/// A machine with a gibibyte of memory to give out, and a clock that the test moves on and sets.
struct Scene {
    folder: TempDir,
    moved: watch::Sender<Timestamp>,
    off_ms: watch::Sender<i64>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        leftovers::end_processes(self.folder.path());
        leftovers::end_control_groups(self.folder.path());
    }
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::Builder::new().prefix("purser-").tempdir().unwrap();
        Scene { folder, moved: watch::Sender::new(START), off_ms: watch::Sender::new(0) }
    }

    async fn node(&self) -> Service {
        let cpu = |id| Cpu { id, core: u32::from(id), package: 0, node: 0 };
        let cpus = CpuTopology { cpus: (0..2).map(cpu).collect() };
        let capacity = Capacity { cpus, memory: Bytes(GIB), ..Capacity::default() };
        let clock = SetAnew { passing: Stepped(self.moved.clone()), off_ms: self.off_ms.clone() };
        let (paths, gpus) = (PodPaths::new(self.folder.path().join("pods")), NamedGpus(vec![]));
        node_with(self.folder.path(), &paths, Arc::new(clock), capacity, Arc::new(gpus)).await
    }

    /// Sets the time of day to be so far from the time that passes, and lets the actors work.
    async fn set(&self, off_ms: i64) {
        self.off_ms.send_replace(off_ms);
        step(&self.moved, 0).await;
    }
}

/// Lets the actors work until something is so, without any time that passes.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + bounded::PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "not so: {what}");
        tokio::task::yield_now().await;
    }
}

fn request() -> Request {
    Request { principal: Principal::new("test"), correlation: Uuid::nil(), command: None }
}

/// Keeps all of the memory for a minute.
async fn reserve(service: &Service) -> ReservationRef {
    let demand = Demand { memory: Bytes(GIB), ..Demand::default() };
    let wish = ReserveRequest { namespace: "default".to_owned(), demand, ttl_ms: TTL_MS };
    let made = service.reserve(wish, request()).await.unwrap();
    ReservationRef { id: made.id, token: made.token }
}

/// Asks for a pod that needs half of the memory.
async fn ask(service: &Service, name: &str) -> PodUid {
    let mut spec = specs::pod(name, vec![specs::container("main", &["/bin/sleep", "1000"])]);
    spec.containers[0].resources.memory_request = Some(Bytes(GIB / 2));
    service.apply(spec, request()).await.unwrap().uid
}

/// How many reservations are over by their time.
fn expired(service: &Service) -> usize {
    let records = service.journal().read(purser_events::Seq(1), 10_000).unwrap();
    let is_it = |name: &str| name == "ledger.reservation-expired";
    records.iter().filter(|record| record.event().is_ok_and(|event| is_it(event.layout().name))).count()
}

fn lasts(service: &Service, reservation: &ReservationRef) -> bool {
    service.world(|world| world.ledger.reservations.contains_key(&reservation.id))
}

fn has(service: &Service, pod: PodUid) -> bool {
    service.world(|world| world.ledger.grant(pod).is_some())
}

#[test]
fn a_clock_that_is_set_forward_ends_a_reservation_once_and_setting_it_back_brings_nothing_back() {
    let scene = Scene::new();
    actix::System::new().block_on(async {
        let service = scene.node().await;
        let kept = reserve(&service).await;
        let waiting = ask(&service, "waiting").await;
        scene.set(i64::try_from(TTL_MS).unwrap() - 1).await;
        assert!(lasts(&service, &kept) && !has(&service, waiting), "its time is not up");
        scene.set(HOUR_MS).await;
        until("who waits has it", || has(&service, waiting)).await;
        assert!(!lasts(&service, &kept));
        scene.set(-HOUR_MS).await;
        step(&scene.moved, TTL_MS).await;
        assert!(!lasts(&service, &kept) && has(&service, waiting));
        assert!(service.cancel_reservation(kept, request()).await.is_err(), "its token is stale");
        assert_eq!(expired(&service), 1);
        service.shut_down("the test has it so").await;
        service.journal().clone().close().unwrap();
    });
}

#[test]
fn a_clock_that_is_set_back_lets_a_reservation_last_until_it_shows_its_time_also_over_a_start() {
    let scene = Scene::new();
    actix::System::new().block_on(async {
        let service = scene.node().await;
        let kept = reserve(&service).await;
        scene.set(-HOUR_MS).await;
        // More time passes than it was to last, and nobody is told that it is over.
        for _ in 0..3 {
            step(&scene.moved, TTL_MS).await;
        }
        assert!(lasts(&service, &kept));
        service.shut_down("the test has it so").await;
        service.journal().clone().close().unwrap();

        let service = scene.node().await;
        step(&scene.moved, TTL_MS).await;
        assert!(lasts(&service, &kept), "a start reads the same clock");
        // It is put right: what is over by then ends at once, and once.
        scene.set(0).await;
        until("it is over", || !lasts(&service, &kept)).await;
        assert_eq!(expired(&service), 1);
        service.shut_down("the test has it so").await;
        service.journal().clone().close().unwrap();
    });
}
