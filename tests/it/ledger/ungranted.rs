//! A pod that runs and that nothing is put down for, of which the node cannot make sense: it is left alone, and told of.

use std::sync::Arc;

use purser_actors::paths::PodPaths;
use purser_actors::port::Clock;
use purser_actors::service::{Request, Service};
use purser_events::ledger::event::{Drift, ReleaseReason, Released};
use purser_events::ledger::{Capacity, LedgerEvent};
use purser_events::{
    Bytes, Cause, Cpu, CpuTopology, Event, Origin, PodUid, Principal, Seq, StreamId, StreamKind,
    StreamVersion,
};
use purser_storage::{Append, Journal, JournalConfig, StreamWrite};
use purser_tests::stepped::{START, Stepped, node, step};
use purser_tests::{bounded, leftovers, specs};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

/// Time between two looks, in milliseconds.
const INTERVAL_MS: u64 = 60_000;

/// The folder of a node; every process in it ends with the test.
struct Ground(TempDir);

impl Drop for Ground {
    fn drop(&mut self) {
        leftovers::end_processes(self.0.path());
        leftovers::end_control_groups(self.0.path());
    }
}

fn capacity() -> Capacity {
    let cpu = |id| Cpu { id, core: u32::from(id), package: 0, node: 0 };
    let cpus = CpuTopology { cpus: (0..2).map(cpu).collect() };
    Capacity { cpus, memory: Bytes(1 << 30), ..Capacity::default() }
}

/// Runs a pod; gives its uid and its process.
async fn run(service: &Service) -> (PodUid, u32) {
    let spec = specs::pod("robbed", vec![specs::container("main", &["/bin/sleep", "1000"])]);
    let request = Request { principal: Principal::new("test"), correlation: Uuid::nil(), command: None };
    let uid = service.apply(spec, request).await.unwrap().uid;
    let deadline = tokio::time::Instant::now() + bounded::PATIENCE;
    loop {
        let pid = service.world(|world| {
            let live = world.pod(uid)?.live()?;
            Some(live.containers.first()?.attempt()?.process.host_pid)
        });
        match pid {
            Some(pid) if pid != 0 => return (uid, pid),
            _ => assert!(tokio::time::Instant::now() < deadline, "it does not run"),
        }
        tokio::task::yield_now().await;
    }
}

/// Has a node that does not run have what no service would write: the ledger takes back what a pod has, and the pod's
/// first record comes again, which nothing can follow.
fn spoil(folder: &std::path::Path, pod: PodUid) {
    let config = JournalConfig::new(folder.join("journal"));
    let journal = Journal::open(config, || START, |_| {}, |_| {}).unwrap();
    let records = journal.read(Seq(1), 10_000).unwrap();
    let last = |is_it: &dyn Fn(StreamId) -> bool| {
        let of = records.iter().map(|record| &record.header).filter(|header| is_it(header.stream));
        of.max_by_key(|header| header.version).map(|header| (header.stream, header.version)).unwrap()
    };
    let first = records.iter().find(|record| record.header.stream == pod.stream()).unwrap();
    let again = first.event().unwrap();
    let released = LedgerEvent::from(Released { pod, reason: ReleaseReason::Ended });
    let write = |(stream, expected): (StreamId, StreamVersion), event: Event| StreamWrite {
        stream,
        expected,
        events: vec![event],
    };
    let writes = vec![
        write(last(&|stream| stream.kind == StreamKind::Ledger), Event::from(released)),
        write(last(&|stream| stream == pod.stream()), again),
    ];
    let origin = Origin { cause: Cause::Node, correlation: Uuid::from_u128(1), principal: Principal::node() };
    let append = Append { writes, origin, command: None };
    tokio::runtime::Runtime::new().unwrap().block_on(journal.append(append)).unwrap();
    journal.close().unwrap();
}

/// How often drift of a pod that runs without a grant is on record.
fn told(service: &Service) -> usize {
    let records = service.journal().read(Seq(1), 10_000).unwrap();
    let is_it = |event: &Event| match event {
        Event::Ledger(LedgerEvent::DriftFound(found)) => matches!(found.drift, Drift::RunsWithoutGrant(_)),
        _ => false,
    };
    records.iter().filter(|record| record.event().is_ok_and(|event| is_it(&event))).count()
}

#[test]
fn a_pod_that_runs_without_a_grant_and_cannot_be_followed_is_told_of_once_and_left_alone() {
    let ground = Ground(tempfile::Builder::new().prefix("purser-").tempdir().unwrap());
    let folder = ground.0.path();
    let paths = PodPaths::new(folder.join("pods"));
    let moved = watch::Sender::new(START);
    let clock = || Arc::new(Stepped(moved.clone()));
    let (uid, pid) = actix::System::new().block_on(async {
        let service = node(folder, &paths, clock(), capacity()).await;
        let run = run(&service).await;
        for _ in 0..3 {
            step(&moved, INTERVAL_MS).await;
        }
        assert_eq!(told(&service), 0, "a pod that has what it was given is no drift");
        service.shut_down("the test has it so").await;
        service.journal().clone().close().unwrap();
        run
    });
    spoil(folder, uid);
    actix::System::new().block_on(async {
        let service = node(folder, &paths, clock(), capacity()).await;
        assert!(service.world(|world| world.ledger.grant(uid).is_none()));
        let drift = Drift::RunsWithoutGrant(uid);
        let is_told = || service.world(|world| world.ledger.drifts.contains(&drift));
        let deadline = clock().now().plus_ms(20 * INTERVAL_MS);
        while !is_told() {
            assert!(clock().now() < deadline, "it is not told of");
            step(&moved, INTERVAL_MS).await;
        }
        for _ in 0..3 {
            step(&moved, INTERVAL_MS).await;
        }
        assert!(is_told() && told(&service) == 1);
        assert!(std::fs::metadata(format!("/proc/{pid}")).is_ok(), "nothing is mended by guess");
        service.shut_down("the test has it so").await;
        service.journal().clone().close().unwrap();
    });
}
