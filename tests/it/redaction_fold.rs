//! The world after a redaction: replaying what is left of a journal comes to the same as having lived through it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;
use purser_events::node::event::{RedactionCompleted, RedactionRequested, Started};
use purser_events::pod::PodSpec;
use purser_events::pod::spec::RestartPolicy;
use purser_events::worker::WorkerEvent;
use purser_events::{
    Bytes, Cause, Event, Header, NodeUid, Origin, PodId, PodUid, Principal, Record, Seq, StreamId,
    StreamVersion, WorkerUid, World, invariant,
};
use purser_tests::scenario::NOON;
use uuid::Uuid;

use crate::pod_model::{Life, Step, spec, step};

/// Rounds within which every pod that is to go is gone.
const ROUNDS_MAX: usize = 500;

/// A life from its beginning; to its end, if it is to end.
fn life(uid: PodUid, name: &str, steps: &[Step], ends: bool) -> Life {
    let id = PodId::new("default", name).expect("a name");
    let spec = PodSpec { id, ..spec(RestartPolicy::Always, 1, 2, true) };
    let mut life = Life::begin_as(uid, spec);
    for step in steps.iter().filter(|step| !matches!(step, Step::Delete(_))) {
        life.take(step);
    }
    let ending = [
        Step::Delete(0),
        Step::Wait(100_000),
        Step::Setup(false),
        Step::Created(0, false, true),
        Step::Exits(0, 1),
        Step::Removed(0),
        Step::CleanedUp,
    ];
    for _ in 0..ROUNDS_MAX {
        if !ends || purser_events::Decider::is_terminal(&life.pod) {
            return life;
        }
        ending.iter().for_each(|step| life.take(step));
    }
    panic!("a pod that is to go does not: {:?}", life.pod);
}

/// Records of a whole node in order.
struct History {
    records: Vec<Record>,
    node_version: u64,
}

impl History {
    fn begin() -> History {
        let mut history = History { records: vec![], node_version: 0 };
        history.node(Event::Node(
            Started {
                node: NodeUid(Uuid::from_u128(1)),
                hostname: "host".to_owned(),
                boot_id: Uuid::from_u128(2),
                version: "0".to_owned(),
                kernel: "k".to_owned(),
                cores: 1,
                memory: Bytes(1),
                pid: 1,
                recovery: None,
            }
            .into(),
        ));
        history
    }

    /// Adds a record at the end; its time is another than any that its event speaks of.
    fn push(&mut self, record: Record) {
        let seq = Seq(self.records.len() as u64 + 1);
        let time = NOON.plus_ms(seq.0 * 1_001);
        self.records.push(Record { header: Header { seq, time, ..record.header }, ..record });
    }

    fn node(&mut self, event: Event) {
        self.node_version += 1;
        let origin = Origin { cause: Cause::Node, correlation: Uuid::nil(), principal: Principal::node() };
        let (stream, version) = (NodeUid(Uuid::from_u128(1)).stream(), StreamVersion(self.node_version));
        let header = Header { seq: Seq(0), stream, version, time: NOON, epoch: 1, origin };
        self.push(Record { header, event });
    }

    fn redact(&mut self, pod: PodUid) -> BTreeSet<StreamId> {
        let registered = |record: &Record| match &record.event {
            Event::Worker(WorkerEvent::Registered(worker)) if worker.pod == pod => {
                Some(WorkerUid(record.header.stream.id))
            }
            Event::Worker(_)
            | Event::Pod(_)
            | Event::Node(_)
            | Event::Ledger(_)
            | Event::Gpu(_)
            | Event::Pool(_) => None,
        };
        let workers: Vec<WorkerUid> = self.records.iter().filter_map(registered).collect();
        let redaction = Uuid::from_u128(9);
        let streams = workers.iter().map(|worker| worker.stream()).chain([pod.stream()]).collect();
        let reason = "asked for".to_owned();
        let request = RedactionRequested { redaction, pods: vec![pod], workers, reason };
        self.node(Event::Node(request.into()));
        let (records, segments) = (1, vec![]);
        let completed = RedactionCompleted { redaction, records, segments, keys_destroyed: 0, more: false };
        self.node(Event::Node(completed.into()));
        streams
    }

    /// The fold of all records, of which `is_withheld` says of which the header alone is left.
    fn fold(&self, is_withheld: impl Fn(&Header) -> bool) -> World {
        let mut world = World::default();
        for record in &self.records {
            if is_withheld(&record.header) {
                world.apply_withheld(&record.header, record.event.layout().number);
            } else {
                // While a stream is withheld in part, what is left of its workers need not fit.
                let _ = world.apply(record);
            }
        }
        world
    }
}

/// Lets lives go on in turns; those in one queue follow each other.
fn interleave(history: &mut History, queues: Vec<Vec<Record>>, turns: &[Index]) {
    let mut queues: Vec<_> = queues.into_iter().map(|queue| queue.into_iter().peekable()).collect();
    let mut turns = turns.iter().cycle();
    loop {
        queues.retain_mut(|queue| queue.peek().is_some());
        if queues.is_empty() {
            return;
        }
        let turn = turns.next().map_or(0, |turn| turn.index(queues.len()));
        let record = queues[turn].next().expect("empty ones are gone");
        history.push(record);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_redacted_journal_folds_to_what_was_lived(
        steps in prop::collection::vec(prop::collection::vec(step(), 0..40), 4),
        turns in prop::collection::vec(any::<Index>(), 1..60),
        subject in 0..3_u128,
        dice in any::<u64>(),
    ) {
        let uid = |number: u128| PodUid(Uuid::from_u128(100 + number));
        let lives: Vec<Life> = steps
            .iter()
            .enumerate()
            .map(|(number, steps)| {
                // The first two have one name, the last is never gone.
                let name = ["web", "web", "db", "cache"][number];
                life(uid(number as u128), name, steps, number < 3)
            })
            .collect();
        let mut lists: Vec<Vec<Record>> = lives.into_iter().map(|life| life.records).collect();
        let second = lists.remove(1);
        lists[0].extend(second);
        let mut history = History::begin();
        interleave(&mut history, lists, &turns);
        let streams = history.redact(uid(subject));

        let lived = history.fold(|_| false);
        prop_assert_eq!(invariant::check(&lived), vec![]);
        let is_subject = |header: &Header| streams.contains(&header.stream);
        let replayed = history.fold(is_subject);
        prop_assert_eq!(&replayed, &lived);
        prop_assert_eq!(replayed.digest(), lived.digest());
        // A part of the segments may be written anew already.
        let in_part = history.fold(|header| is_subject(header) && (dice >> (header.seq.0 % 64)) & 1 == 1);
        prop_assert_eq!(in_part.digest(), lived.digest());
        let told = serde_json::to_string(&lived).expect("a world can be written");
        prop_assert!(subject < 2 || !told.contains("db\""), "its name is still told: {}", told);
    }
}

/// Only so many of those that are gone are remembered, redacted or not.
#[test]
fn a_redaction_changes_nothing_about_how_many_are_remembered() {
    let uid = |number: u128| PodUid(Uuid::from_u128(100 + number));
    for subject in [2, 600] {
        let mut history = History::begin();
        for number in 0..1_010 {
            let lived = life(uid(number), &format!("pod-{number}"), &[], true);
            lived.records.into_iter().for_each(|record| history.push(record));
        }
        let streams = history.redact(uid(subject));
        let lived = history.fold(|_| false);
        assert_eq!(lived.registry.recent.len(), 1_000);
        let replayed = history.fold(|header| streams.contains(&header.stream));
        assert_eq!(replayed.digest(), lived.digest());
        let nameless = lived.registry.recent.iter().filter(|gone| gone.id.is_none());
        assert_eq!(nameless.count(), usize::from(subject == 600));
    }
}

/// Before its end, a redacted pod is told as one of which nothing more is known.
#[test]
fn before_its_end_a_redacted_pod_is_there_and_nothing_more() {
    let pod = PodUid(Uuid::from_u128(7));
    let mut history = History::begin();
    life(pod, "web", &[], true).records.into_iter().for_each(|record| history.push(record));
    let mut world = World::default();
    for record in &history.records[..3] {
        match record.header.stream == pod.stream() {
            true => world.apply_withheld(&record.header, record.event.layout().number),
            false => world.apply(record).expect("it fits"),
        }
    }
    assert_eq!((world.pods.len(), world.registry.admitted), (0, 1));
    assert_eq!(world.withheld, BTreeSet::from([pod]));
    assert_eq!(invariant::check(&world), vec![]);
}
