//! Moments that are asked for, and what ends by what: reservations that are taken up or revoked, intents of a node that
//! records nothing more, and moments that are not there.

use std::os::unix::net::UnixListener;

use purser_events::ledger::capacity::{PortRange, SubnetRange};
use purser_events::ledger::claims::ReservationRef;
use purser_events::ledger::{Admit, Capacity, Demand, Ledger, LedgerCommand, Reserve, WhenFull};
use purser_events::{
    Bytes, Cause, CommandId, Context, Cpu, CpuTopology, Decider, NodeUid, Origin, PodUid, Policy, Principal,
    StreamId, StreamKind, Timestamp,
};
use purser_replay::{Exit, Surroundings};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answers::Lived;
use crate::life::Step;
use crate::serve;
use crate::support::{COMMAND, NODE, POD, START, event, started, surroundings, tool_in};
use crate::watched;

const SECOND: i64 = 1_000_000;
const RESERVATION: Uuid = Uuid::from_u128(77);

/// A node whose ledger is asked for something at each of these seconds.
fn asked(commands: Vec<(i64, LedgerCommand)>) -> Lived {
    let origin = |cause| Origin { cause, correlation: COMMAND, principal: Principal::new("uid:1000") };
    let node = NodeUid(NODE).stream();
    let began = event("node.started", &started());
    let mut steps = vec![Step { stream: node, event: began, origin: origin(Cause::Node), time: START }];
    let (mut ledger, stream) = (Ledger::default(), StreamId { kind: StreamKind::Ledger, id: NODE });
    for ((second, command), number) in commands.into_iter().zip(1..) {
        let time = START + second * SECOND;
        let context = Context { now: Timestamp(time), policy: Policy::default(), cordoned: None };
        let events = ledger.decide(&command, &context).unwrap();
        assert!(!events.is_empty(), "{command:?}");
        for event in events {
            ledger.follow(&event).unwrap();
            let origin = origin(Cause::Command(CommandId(Uuid::from_u128(number))));
            steps.push(Step { stream, event: event.into(), origin, time });
        }
    }
    Lived::of(steps)
}

fn capacity() -> LedgerCommand {
    let cpu = |id: u16| Cpu { id, core: u32::from(id), package: 0, node: 0 };
    LedgerCommand::SetCapacity(Box::new(Capacity {
        cpus: CpuTopology { cpus: (0..8).map(cpu).collect() },
        memory: Bytes(64),
        disk: Bytes(100),
        gpus: vec![],
        ports: PortRange { first: 30_000, last: 30_010 },
        subnets: SubnetRange { first: [10, 88, 0], count: 4 },
        custom: [].into(),
    }))
}

fn demand() -> Demand {
    Demand { memory: Bytes(40), ..Demand::default() }
}

fn reserve() -> LedgerCommand {
    let (owner, namespace) = ("ci".to_owned(), "red".to_owned());
    let asked = Reserve { reservation: RESERVATION, owner, namespace, demand: demand(), ttl_ms: 60_000 };
    LedgerCommand::Reserve(Box::new(asked))
}

fn admit() -> LedgerCommand {
    let (when_full, adopt, waited, reservation) = (WhenFull::Wait, false, false, None);
    let (pod, namespace, priority) = (PodUid(POD), "red".to_owned(), 0);
    let demand = demand();
    LedgerCommand::Admit(Box::new(Admit {
        pod,
        namespace,
        demand,
        priority,
        when_full,
        reservation,
        adopt,
        waited,
        stays: false,
    }))
}

#[test]
fn an_operator_may_give_up_what_its_owner_could_not_any_more() {
    let revoke = LedgerCommand::Revoke { reservation: RESERVATION };
    let lived = asked(vec![(0, capacity()), (1, reserve()), (120, revoke)]);
    let told = lived.tool(&["replay-check"]);
    assert_eq!(told.exit, Exit::Ok, "{}{}", told.out, told.notes);
    // Its owner gave it up in time.
    let reservation = ReservationRef { id: RESERVATION, token: 1 };
    let cancel = LedgerCommand::Cancel { reservation, owner: "ci".to_owned() };
    let lived = asked(vec![(0, capacity()), (1, reserve()), (20, cancel)]);
    assert_eq!(lived.tool(&["replay-check"]).exit, Exit::Ok);
}

#[test]
fn who_takes_up_a_reservation_waits_no_more() {
    let Lived { mut steps, .. } = asked(vec![(0, capacity()), (1, reserve()), (5, admit())]);
    let at = Timestamp(START + 9 * SECOND);
    let activated = json!({ "reservation": RESERVATION, "pod": POD, "priority": 0, "at": at });
    let last = steps.last().unwrap();
    let (stream, origin) = (last.stream, last.origin.clone());
    steps.push(Step { stream, event: event("ledger.reservation-activated", &activated), origin, time: at.0 });
    let lived = Lived::of(steps);
    assert_eq!(lived.worlds().last().unwrap().ledger.waits(PodUid(POD)), None);
    let waiting = |at: &str| {
        let open = lived.json(&["intents", "--all", "--at", at]);
        open.as_array().unwrap().iter().filter(|row| row["type"] == "ledger.queued").count()
    };
    let queued = lived.steps.iter().position(|step| step.event.layout().name == "ledger.queued").unwrap() + 1;
    assert_eq!((waiting(&queued.to_string()), waiting(&lived.steps.len().to_string())), (1, 0));
    let stats = lived.json(&["stats"]);
    assert_eq!(stats["took"]["ledger.queued"]["maxUs"], json!(4 * SECOND), "{stats}");
}

#[test]
fn what_a_gpu_has_on_record_of_a_pod_is_of_that_pod() {
    let lived = watched::lived();
    let named: Vec<u64> = lived
        .steps
        .iter()
        .zip(1..)
        .filter(|(step, _)| step.event.layout().name.starts_with("gpu."))
        .map(|(_, seq)| seq)
        .collect();
    let seqs = |args: &[&str]| -> Vec<u64> {
        let told = lived.tool(&[args, &["-o", "jsonl"]].concat());
        let lines = told.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|row| row["header"]["seq"].as_u64().unwrap()).collect()
    };
    let of_pod: Vec<u64> =
        seqs(&["log", "--pod", "web"]).into_iter().filter(|seq| named.contains(seq)).collect();
    // Its two violations with all that was done about them; not how the GPU is, nor what nobody does.
    assert_eq!(of_pod, [11, 12, 13, 14, 15, 16, 21]);
    let rows = lived.json(&["timeline", "web"]);
    let rows = rows.as_array().unwrap().iter().map(|row| row["seq"].as_u64().unwrap());
    assert_eq!(rows.filter(|seq| named.contains(seq)).collect::<Vec<_>>(), of_pod);
}

/// An hour after noon, when nothing has been recorded for long.
const LATER: &str = "2026-03-01T12:30:00Z";

#[test]
fn how_long_something_is_open_is_told_as_of_the_moment_that_was_asked_for() {
    // It hangs while a container is created, and records nothing more.
    let lived = Lived::of(watched::steps().into_iter().take(7).collect());
    let open_us = |args: &[&str]| {
        let told = lived.tool(&[&["intents", "--all", "-o", "json"], args].concat());
        let rows: Value = serde_json::from_str(&told.out).unwrap();
        rows.as_array().unwrap().first().map(|row| row["openUs"].as_i64().unwrap())
    };
    // Of a recording its last record is the end; a time that is asked for is one.
    assert_eq!(open_us(&["--at", "7"]), Some(4 * SECOND));
    assert_eq!(open_us(&["--at", "2026-03-01T12:00:06Z"]), Some(4 * SECOND));
    assert_eq!(open_us(&[]), Some(4 * SECOND));
    let late = open_us(&["--at", LATER]).unwrap();
    assert!(29 * 60 * SECOND < late && late < 30 * 60 * SECOND, "{late}");
    assert_eq!(open_us(&["--at", "7", "--older-than", "5m"]), None);
    assert!(open_us(&["--at", LATER, "--older-than", "5m"]).is_some(), "a node that hangs is found");
    // A node that lives is looked at now.
    let (socket, file) = (lived.path("purser.sock"), lived.path("export"));
    let listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(lived.tool(&["export", &file]).exit, Exit::Ok);
    let export = std::fs::read(&file).unwrap();
    let server = std::thread::spawn(move || {
        serve(&listener, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &export)
    });
    let now = Surroundings { now: || LATER.parse().unwrap(), ..surroundings() };
    let told = tool_in(&now, &["intents", "--all", "-o", "json", "--socket", &socket]);
    server.join().unwrap();
    let rows: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(rows[0]["openUs"].as_i64(), Some(late), "{}", told.notes);
}

#[test]
fn moments_that_are_not_there_are_not_asked_about() {
    let lived = Lived::new(3, 60);
    let last = lived.steps.len();
    let (end, beyond) = (last.to_string(), (last + 1).to_string());
    for args in [
        &["blame", "red/web-0", "--at", &beyond][..],
        &["intents", "--at", &beyond],
        &["state", "--at", &beyond],
        &["diff", &beyond],
        &["bisect", "--where", "workersRegistered >= 1", "--good", &beyond],
        &["bisect", "--monotone", "--where", "workersRegistered >= 1", "--good", &beyond],
        &["bisect", "--where", "workersRegistered >= 99", "--bad", &beyond],
    ] {
        let told = lived.tool(args);
        assert_eq!((told.exit, told.out.as_str()), (Exit::NothingMatched, ""), "{args:?}");
        let wanted = format!("holds records 1 to {last}, not record {beyond}");
        assert!(told.notes.contains(&wanted), "{args:?}: {}", told.notes);
    }
    for args in [&["--good", "20", "--bad", "10"][..], &["--good", "20", "--bad", "20"], &["--good", &end]] {
        for how in [
            &["bisect", "--where", "workersRegistered >= 1"][..],
            &["bisect", "--monotone", "--where", "pods"],
        ] {
            let told = lived.tool(&[how, args].concat());
            assert_eq!((told.exit, told.out.as_str()), (Exit::Usage, ""), "{args:?}: {}", told.notes);
            assert!(told.notes.contains("no record is after --good"), "{args:?}: {}", told.notes);
        }
    }
    assert_eq!(lived.tool(&["blame", "red/web-0", "--at", &end]).exit, Exit::Ok);
}

#[test]
fn what_was_not_looked_at_is_told() {
    let lived = Lived::new(3, 40);
    let (export, to) = (lived.path("export"), lived.path("salvaged"));
    assert_eq!(lived.tool(&["export", &export]).exit, Exit::Ok);
    // Nothing is left where nothing was found.
    let told = lived.tool(&["--export", "/nonexistent", "salvage", "--to", &to]);
    assert_eq!(told.exit, Exit::Usage, "{}", told.notes);
    let told = crate::support::tool(&["salvage", "--to", &to, "--export", "/nonexistent"]);
    assert_eq!(told.exit, Exit::Io);
    assert!(!std::path::Path::new(&to).exists());
    let mut bytes = std::fs::read(&export).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let socket = lived.path("purser.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        serve(&listener, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &bytes)
    });
    let told = crate::support::tool(&["salvage", "--to", &to, "--socket", &socket]);
    server.join().unwrap();
    assert_eq!(told.exit, Exit::Integrity, "{}", told.notes);
    assert!(told.out.contains("unread    what is behind the damage of the live node"), "{}", told.out);
}

#[test]
fn a_data_folder_is_read_and_nothing_is_put_into_it() {
    let lived = Lived::new(3, 20);
    let (journal, data) = (lived.path("journal"), lived.path(""));
    let wanted = lived.tool(&["log", "-o", "jsonl"]);
    assert_eq!(wanted.exit, Exit::Ok);
    let told = crate::support::tool(&["log", "-o", "jsonl", "--dir", &data]);
    assert_eq!((told.exit, told.out), (Exit::Ok, wanted.out), "the journal is in it: {}", told.notes);
    for inside in [format!("{journal}/kept"), journal.clone(), format!("{journal}/../journal/a/b")] {
        let told = crate::support::tool(&["state", "--dir", &journal, "--snapshots", &inside]);
        assert_eq!(told.exit, Exit::Usage, "{inside}: {}", told.notes);
        assert!(told.notes.contains("must lie outside"), "{}", told.notes);
    }
    let beside = lived.path("kept");
    assert_eq!(crate::support::tool(&["state", "--dir", &journal, "--snapshots", &beside]).exit, Exit::Ok);
}
