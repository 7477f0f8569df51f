//! What the node and a worker answer, given what has happened to them.

use purser_events::gpu::{GpuHealthPolicy, GpuPolicyError};
use purser_events::node::event::{
    Cordoned, DiskPressure, DiskPressureChanged, JournalTrimmed, OrphanRemoved, PolicySet,
    RedactionCompleted, RedactionRequested, RuntimeFound, RuntimeLost, SegmentRewritten, SegmentSealed,
    Started, Stopped, Uncordoned,
};
use purser_events::node::{Node, NodeCommand, NodeEvent, NodeRejection};
use purser_events::pod::event::{Exit, ExitReason};
use purser_events::pod::spec::RuntimeClass;
use purser_events::worker::event::{Exited, Registered};
use purser_events::worker::{ProcessIdentity, Worker, WorkerCommand, WorkerEvent, WorkerRejection};
use purser_events::{BackOffPolicy, Bytes, Context, Decider, NodeUid, PodUid, Policy, Seq, WorkerUid};
use purser_tests::scenario::{NOON, Scenario};
use purser_tests::specs::name;
use uuid::Uuid;

fn facts(node: u128) -> Started {
    Started {
        node: NodeUid(Uuid::from_u128(node)),
        hostname: "host".to_owned(),
        boot_id: Uuid::from_u128(7),
        version: "0.1.0".to_owned(),
        kernel: "6.1.0".to_owned(),
        cores: 2,
        memory: Bytes(1 << 30),
        pid: 42,
        recovery: None,
    }
}

fn up() -> Vec<NodeEvent> {
    vec![facts(1).into()]
}

#[test]
fn a_start_without_a_stop_before_it_is_counted() {
    let crashed = Scenario::<Node>::given(up()).after(NodeCommand::Start(facts(1)));
    let node = crashed.state().known().unwrap();
    assert_eq!((node.starts, node.unclean_starts, node.up), (2, 1, true));
    let stop = NodeCommand::Stop { reason: "SIGTERM".to_owned() };
    let clean = Scenario::<Node>::given(up()).after(stop).after(NodeCommand::Start(facts(1)));
    assert_eq!(clean.state().known().unwrap().unclean_starts, 0);
}

#[test]
fn the_journal_of_another_node_is_refused() {
    let owner = NodeUid(Uuid::from_u128(1));
    Scenario::<Node>::given(up())
        .when(NodeCommand::Start(facts(2)))
        .then_refused(NodeRejection::OtherNode { owner });
}

#[test]
fn nothing_can_be_asked_before_a_start() {
    let commands = [
        NodeCommand::Uncordon,
        NodeCommand::Stop { reason: String::new() },
        NodeCommand::SetPolicy(Policy::default()),
    ];
    for command in commands {
        Scenario::<Node>::given(Vec::<NodeEvent>::new())
            .when(command)
            .then_refused(NodeRejection::NotStarted);
    }
}

#[test]
fn stop_and_cordon_happen_once() {
    let stop = || NodeCommand::Stop { reason: "SIGTERM".to_owned() };
    Scenario::<Node>::given(up()).when(stop()).then([Stopped { reason: "SIGTERM".to_owned() }]);
    Scenario::<Node>::given(up()).after(stop()).when(stop()).then_nothing();
    let cordon = |reason: &str| NodeCommand::Cordon { reason: reason.to_owned() };
    let cordoned = || Scenario::<Node>::given(up()).after(cordon("disk"));
    Scenario::<Node>::given(up()).when(cordon("disk")).then([Cordoned { reason: "disk".to_owned() }]);
    cordoned().when(cordon("disk")).then_nothing();
    cordoned().when(cordon("fans")).then([Cordoned { reason: "fans".to_owned() }]);
    cordoned().when(NodeCommand::Uncordon).then([Uncordoned {}]);
    Scenario::<Node>::given(up()).when(NodeCommand::Uncordon).then_nothing();
    Scenario::<Node>::given(up())
        .when(cordon(&"x".repeat(257)))
        .then_refused(NodeRejection::ReasonTooLong { len: 257 });
}

#[test]
fn a_policy_must_make_sense_and_is_set_once() {
    let policy = |first_ms, max_ms, reset_after_ms| Policy {
        back_off: BackOffPolicy { first_ms, max_ms, reset_after_ms },
        ..Policy::default()
    };
    let set = |policy: &Policy| NodeCommand::SetPolicy(policy.clone());
    Scenario::<Node>::given(up()).when(set(&Policy::default())).then_nothing();
    let quick = policy(50, 400, 60_000);
    let policy_set = |policy: &Policy, from_config| PolicySet { policy: policy.clone(), from_config };
    Scenario::<Node>::given(up()).when(set(&quick)).then([policy_set(&quick, true)]);
    Scenario::<Node>::given(up()).after(set(&quick)).when(set(&quick)).then_nothing();
    for bad in [policy(0, 400, 1), policy(500, 400, 1), policy(50, 400, 0)] {
        Scenario::<Node>::given(up()).when(set(&bad)).then_refused(NodeRejection::BadBackOff);
    }
    // What an operator sets stays until the config changes.
    let gpus = GpuHealthPolicy { probation_ms: 5_000, ..GpuHealthPolicy::default() };
    let of_gpus = || NodeCommand::SetGpuPolicy(gpus.clone());
    let changed = Policy { gpus: gpus.clone(), ..quick.clone() };
    let had = || Scenario::<Node>::given(up()).after(set(&quick));
    had().when(of_gpus()).then([policy_set(&changed, false)]);
    had().after(of_gpus()).when(set(&quick)).then_nothing();
    had().after(of_gpus()).when(set(&Policy::default())).then([policy_set(&Policy::default(), true)]);
    had().after(of_gpus()).when(of_gpus()).then_nothing();
    let error = GpuPolicyError::Time { field: "probationMs".to_owned(), given: 1, max: 86_400_000 };
    had()
        .when(NodeCommand::SetGpuPolicy(GpuHealthPolicy { probation_ms: 1, ..gpus.clone() }))
        .then_refused(NodeRejection::BadGpuPolicy { error });
}

#[test]
fn a_runtime_is_lost_once_and_found_once() {
    let lost = RuntimeLost { runtime: RuntimeClass::Containerd, message: "connection refused".to_owned() };
    let found = RuntimeFound { runtime: RuntimeClass::Containerd, version: "1.6.20".to_owned() };
    let report_lost = || NodeCommand::ReportRuntimeLost(lost.clone());
    let report_found = || NodeCommand::ReportRuntimeFound(found.clone());
    Scenario::<Node>::given(up()).when(report_lost()).then([lost.clone()]);
    Scenario::<Node>::given(up()).after(report_lost()).when(report_lost()).then_nothing();
    Scenario::<Node>::given(up()).after(report_lost()).when(report_found()).then([found.clone()]);
    Scenario::<Node>::given(up()).after(report_found()).when(report_found()).then_nothing();
    let orphan = OrphanRemoved { runtime: RuntimeClass::Process, id: "x".to_owned() };
    Scenario::<Node>::given(up()).when(NodeCommand::ReportOrphan(orphan.clone())).then([orphan]);
}

#[test]
fn a_segment_is_sealed_once_and_history_is_trimmed_once() {
    let sealed = |last: u64| SegmentSealed {
        first: Seq(last - 9),
        last: Seq(last),
        last_hash: "aa".to_owned(),
        content: "bb".to_owned(),
    };
    let report_sealed = |last| NodeCommand::ReportSealed(sealed(last));
    Scenario::<Node>::given(up()).when(report_sealed(10)).then([sealed(10)]);
    let after = || Scenario::<Node>::given(up()).after(report_sealed(10)).after(report_sealed(20));
    after().when(report_sealed(10)).then_nothing();
    after().when(report_sealed(20)).then_nothing();
    after().when(report_sealed(30)).then([sealed(30)]);
    let trimmed = |upto: u64| JournalTrimmed {
        upto: Seq(upto),
        upto_hash: "aa".to_owned(),
        segments: 1,
        bytes: Bytes(5),
    };
    let report_trimmed = |upto| NodeCommand::ReportTrimmed(trimmed(upto));
    Scenario::<Node>::given(up()).when(report_trimmed(10)).then([trimmed(10)]);
    Scenario::<Node>::given(up()).after(report_trimmed(10)).when(report_trimmed(10)).then_nothing();
    Scenario::<Node>::given(up()).after(report_trimmed(10)).when(report_trimmed(20)).then([trimmed(20)]);
    let fresh = || Scenario::<Node>::given(Vec::<NodeEvent>::new());
    fresh().when(report_sealed(10)).then_refused(NodeRejection::NotStarted);
}

/// Lists of any length are recorded in parts, and a redaction is one at a time.
#[test]
fn a_redaction_is_asked_for_once_and_ends_once() {
    let id = Uuid::from_u128;
    let request = |redaction, pods: u128, reason: &str| RedactionRequested {
        redaction: id(redaction),
        pods: (0..pods).map(|pod| PodUid(id(pod))).collect(),
        workers: vec![WorkerUid(id(7))],
        reason: reason.to_owned(),
    };
    let ask = |redaction, reason| NodeCommand::RequestRedaction(request(redaction, 1, reason));
    let completed = |redaction, segments: u64| RedactionCompleted {
        redaction: id(redaction),
        records: 9,
        segments: (0..segments)
            .map(|first| SegmentRewritten {
                first: Seq(first),
                before: "aa".to_owned(),
                after: "bb".to_owned(),
            })
            .collect(),
        keys_destroyed: 1,
        more: false,
    };
    let end = |redaction| NodeCommand::CompleteRedaction(completed(redaction, 1));
    Scenario::<Node>::given(up()).when(ask(1, "why")).then([request(1, 1, "why")]);
    for bad in ["", "  ", "two\nlines", "a\u{1b}[2J"] {
        Scenario::<Node>::given(up()).when(ask(1, bad)).then_refused(NodeRejection::BadReason);
    }
    let long = "x".repeat(257);
    Scenario::<Node>::given(up()).when(ask(1, &long)).then_refused(NodeRejection::ReasonTooLong { len: 257 });
    let asked = || Scenario::<Node>::given(up()).after(ask(1, "why"));
    asked().when(ask(2, "why")).then_refused(NodeRejection::RedactionPending { redaction: id(1) });
    asked().when(end(2)).then_refused(NodeRejection::NoSuchRedaction { redaction: id(2) });
    asked().when(end(1)).then([completed(1, 1)]);
    asked().after(end(1)).when(end(1)).then_refused(NodeRejection::NoSuchRedaction { redaction: id(1) });
    asked().after(end(1)).when(ask(2, "why")).then([request(2, 1, "why")]);

    let many = NodeCommand::RequestRedaction(request(3, 2_500, "why"));
    let asked_much = Scenario::<Node>::given(up()).after(many);
    let pending = asked_much.state().known().and_then(|node| node.redaction.as_ref());
    let pending = pending.expect("it was asked for");
    assert_eq!((pending.pods.len(), pending.streams().len()), (2_500, 2_501));
    let decided = asked().state().decide(
        &NodeCommand::CompleteRedaction(completed(1, 600)),
        &Context { now: NOON, policy: Policy::default(), cordoned: None },
    );
    let parts: Vec<RedactionCompleted> = decided
        .expect("it was asked for")
        .into_iter()
        .map(|event| match event {
            NodeEvent::RedactionCompleted(part) => part,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(parts.iter().map(|part| part.segments.len()).sum::<usize>(), 600);
    assert_eq!(parts.iter().map(|part| part.records).sum::<u64>(), 9);
    let more: Vec<bool> = parts.iter().map(|part| part.more).collect();
    assert_eq!(more, [true, true, false]);
}

fn worker(pid: u32) -> Registered {
    let boot_id = Uuid::from_u128(7);
    let process = ProcessIdentity { host_pid: pid, start_time_ticks: 5, boot_id, container_pid: 1 };
    Registered { pod: PodUid(Uuid::from_u128(1)), container: name("app"), attempt: 1, process }
}

#[test]
fn a_worker_is_one_process_and_ends_once() {
    let register = |pid| WorkerCommand::Register(worker(pid));
    let exit = Exit { code: 0, reason: ExitReason::Completed, finished_at: NOON };
    let end = || WorkerCommand::ReportExit { exit: exit.clone() };
    let fresh = || Scenario::<Worker>::given(Vec::<WorkerEvent>::new());
    fresh().when(register(9)).then([worker(9)]);
    fresh().when(end()).then_refused(WorkerRejection::NotRegistered);
    let running = || fresh().after(register(9));
    running().when(register(9)).then_nothing();
    running().when(register(10)).then_refused(WorkerRejection::OtherProcess);
    // The same pid, started at another time, is another process.
    let mut reused = worker(9);
    reused.process.start_time_ticks += 1;
    running().when(WorkerCommand::Register(reused)).then_refused(WorkerRejection::OtherProcess);
    running().when(end()).then([Exited { exit: exit.clone() }]);
    running().after(end()).when(end()).then_nothing();
    running().after(end()).when(register(9)).then_refused(WorkerRejection::Ended);
    assert!(running().after(end()).state().is_terminal());
}

#[test]
fn a_disk_that_fills_up_is_recorded_once_a_change() {
    let is = |pressure, used_percent| DiskPressureChanged { pressure, used_percent };
    let seen = |pressure, used_percent| NodeCommand::ReportDiskPressure(is(pressure, used_percent));
    Scenario::<Node>::given(up()).when(seen(DiskPressure::Fine, 40)).then_nothing();
    Scenario::<Node>::given(up()).when(seen(DiskPressure::Low, 90)).then([is(DiskPressure::Low, 90)]);
    let low = || Scenario::<Node>::given(up()).after(seen(DiskPressure::Low, 90));
    low().when(seen(DiskPressure::Low, 91)).then_nothing();
    low().when(seen(DiskPressure::Full, 96)).then([is(DiskPressure::Full, 96)]);
    assert_eq!(low().state().known().unwrap().disk_pressure(), DiskPressure::Low);
    let fine = low().after(seen(DiskPressure::Fine, 50));
    assert_eq!(fine.state().known().unwrap().disk_pressure, None);
}
