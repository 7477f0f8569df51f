//! `replay-check`: makes every recorded decision again, by this release's rules, and compares.

use std::collections::BTreeMap;

use purser_events::event::LAYOUTS;
use purser_events::gpu::Gpu;
use purser_events::ledger::Ledger;
use purser_events::node::Node;
use purser_events::pod::Pod;
use purser_events::pool::Pool;
use purser_events::view::World;
use purser_events::worker::Worker;
use purser_events::{
    Context, Event, Header, IllegalTransition, PodUid, Seq, StreamKind, Timestamp, WorkerUid,
};
use purser_storage::StoredRecord;
use serde_json::{Value, json};

use crate::cli::{Output, ReplayCheckArgs};
use crate::decisions::{self, About, Circumstances, Outcome, Redecided};
use crate::failure::{Exit, Failure};
use crate::fold::Folded;
use crate::reading::Reading;
use crate::source::Place;
use crate::{Console, render};

/// Most records of one decision: nothing leads to more at once.
const DECISION_LEN_MAX: usize = 20_000;

/// Characters of a command that are shown.
const COMMAND_LEN_MAX: usize = 2_000;

/// Differences that are told one by one.
const TOLD_MAX: usize = 20;

/// What was found of one kind of stream.
#[derive(Default)]
struct Count {
    /// Decisions with the same outcome.
    same: u64,
    /// Records that they account for.
    records: u64,
    /// Decisions with another.
    other: u64,
    /// Decisions that differ, and of which a record is in an older version: the rules of then are not those of today.
    older: u64,
    /// Records that cannot be decided again: withheld, unreadable, or of a stream that is not folded any more.
    untold: u64,
    /// Records that follow from looks or samples, of which only changes are on record.
    seen: u64,
}

/// A decision with another outcome.
struct Difference {
    seq: Seq,
    place: String,
    command: String,
    recorded: Vec<Value>,
    decided: Result<Vec<Value>, String>,
}

impl Difference {
    /// A record that cannot have come after those before it.
    fn impossible(
        header: &Header,
        recorded: Option<&(impl Clone + Into<Event>)>,
        illegal: &IllegalTransition,
    ) -> Difference {
        Difference {
            seq: header.seq,
            place: format!("{}@{}", header.stream, header.version),
            command: "none can have led to it".to_owned(),
            recorded: recorded.map(|event| json!(Into::<Event>::into(event.clone()))).into_iter().collect(),
            decided: Err(illegal.to_string()),
        }
    }
}

struct Check {
    folded: Folded,
    slack_us: i64,
    counts: BTreeMap<StreamKind, Count>,
    differences: Vec<Difference>,
    /// What was in force before the last record of the node, and when that was written.
    before: Option<(Context, Timestamp)>,
}

pub(crate) fn run(args: &ReplayCheckArgs, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut reading = Reading::whole(place)?;
    let slack_us = i64::try_from(args.slack.0).unwrap_or(i64::MAX);
    let (counts, differences) = <_>::default();
    let mut check = Check { folded: Folded::default(), slack_us, counts, differences, before: None };
    let mut group: Vec<StoredRecord> = Vec::new();
    while let Some(stored) = reading.next() {
        let goes_on = group.first().is_none_or(|first| may_be_one(&first.header, &stored.header));
        if !goes_on || group.len() == DECISION_LEN_MAX {
            check.decide(std::mem::take(&mut group), console);
            if args.first && !check.differences.is_empty() {
                break;
            }
        }
        group.push(stored);
    }
    check.decide(group, console);
    check.tell(args.output, console)?;
    let differs = check.counts.values().any(|count| count.other > 0);
    // What is impossible is a difference here, and is told as one.
    let found = if differs { Exit::Determinism.or_worse(check.folded.unread) } else { check.folded.exit };
    reading.end(found, console)
}

/// Whether two records can be of one decision: one command's records stand together, and have one origin.
fn may_be_one(first: &Header, next: &Header) -> bool {
    first.stream == next.stream && first.origin == next.origin && first.epoch == next.epoch
}

impl Check {
    fn decide(&mut self, group: Vec<StoredRecord>, console: &mut Console<'_>) {
        let mut left = group;
        while let Some(first) = left.first() {
            let kind = first.header.stream.kind;
            let len = match kind {
                StreamKind::Node => self.next::<Node>(&left),
                StreamKind::Pod => self.next::<Pod>(&left),
                StreamKind::Worker => self.next::<Worker>(&left),
                StreamKind::Ledger => self.next::<Ledger>(&left),
                StreamKind::Gpu => self.next::<Gpu>(&left),
                StreamKind::Pool => self.next::<Pool>(&left),
            };
            if kind == StreamKind::Node {
                let context = decisions::context(&self.folded.world, first.header.time);
                self.before = Some((context, first.header.time));
            }
            let rest = left.split_off(len.clamp(1, left.len()));
            left.into_iter().for_each(|stored| self.folded.apply(stored, console));
            left = rest;
        }
    }

    /// Makes the decision again with which records begin; gives how many of them it accounts for.
    fn next<D: Redecided + InWorld>(&mut self, records: &[StoredRecord]) -> usize {
        let Some(header) = records.first().map(|first| first.header.clone()) else { return 0 };
        let count = self.counts.entry(D::KIND).or_default();
        let events: Vec<Event> = records.iter().map_while(|stored| stored.event().ok()).collect();
        let own: Vec<D::Event> = events.iter().map_while(|event| D::of(event).cloned()).collect();
        let world = &self.folded.world;
        if own.is_empty() || world.quarantined.contains_key(&header.stream) || D::is_withheld(world, &header)
        {
            count.untold += 1;
            return 1;
        }
        let state = D::in_world(world, &header);
        if let Some(Err(illegal)) = own.first().map(|first| state.clone().follow(first)) {
            // Nobody can have decided it, and a decider that is asked for it may not be told from a defect.
            count.other += 1;
            if self.differences.len() < TOLD_MAX {
                self.differences.push(Difference::impossible(&header, own.first(), &illegal));
            }
            return 1;
        }
        let mut contexts = vec![decisions::context(world, header.time)];
        let recent = |at: &Timestamp| header.time.0.abs_diff(at.0) <= self.slack_us.unsigned_abs();
        contexts
            .extend(self.before.as_ref().filter(|(_, at)| recent(at)).map(|(context, _)| context.clone()));
        let circumstances = Circumstances { contexts, slack_us: self.slack_us };
        let about = About { time: header.time, cause: header.origin.cause };
        match decisions::again(&state, &own, about, &circumstances) {
            Some(Outcome::Same { len, .. }) => {
                count.same += 1;
                count.records += len as u64;
                len
            }
            Some(Outcome::Other { command, decided }) => {
                let recorded = records.get(..own.len()).unwrap_or_default();
                if recorded.iter().any(is_older) {
                    count.older += 1;
                } else {
                    count.other += 1;
                    if self.differences.len() < TOLD_MAX {
                        self.differences.push(difference::<D>(&header, &command, &own, decided));
                    }
                }
                // What followed from it cannot be told from what did not.
                own.len()
            }
            None => {
                count.seen += 1;
                1
            }
        }
    }

    fn tell(&self, output: Output, console: &mut Console<'_>) -> Result<(), Failure> {
        if output == Output::Json {
            return console.line(format_args!("{}", render::pretty(&self.json())));
        }
        for (kind, Count { same, records, other, older, untold, seen }) in &self.counts {
            let mut line = format!("{}  {same} decisions as recorded, {records} records", kind.word());
            for (count, what) in [
                (other, "decisions differ"),
                (older, "differ and have a record of an older version"),
                (untold, "records cannot be decided again"),
                (seen, "records follow from looks or samples, which are not on record"),
            ] {
                if *count > 0 {
                    line.push_str(&format!("; {count} {what}"));
                }
            }
            console.line(format_args!("{line}"))?;
        }
        for (number, Difference { seq, place, command, recorded, decided }) in
            self.differences.iter().enumerate()
        {
            let which = if number == 0 { "first difference" } else { "difference" };
            console.line(format_args!("{which}  record {seq} of {place}"))?;
            console.line(format_args!("    command   {}", render::safe(command)))?;
            for event in recorded {
                console.line(format_args!("    recorded  {}", render::compact(event)))?;
            }
            match decided {
                Ok(events) if events.is_empty() => console.line(format_args!("    decided   nothing"))?,
                Ok(events) => events.iter().try_for_each(|event| {
                    console.line(format_args!("    decided   {}", render::compact(event)))
                })?,
                Err(rejection) => {
                    console.line(format_args!("    decided   refused: {}", render::safe(rejection)))?;
                }
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let kinds: BTreeMap<&str, Value> = self
            .counts
            .iter()
            .map(|(kind, Count { same, records, other, older, untold, seen })| {
                let value = json!({
                    "same": same, "records": records, "other": other, "older": older, "untold": untold,
                    "seen": seen,
                });
                (kind.word(), value)
            })
            .collect();
        let differences =
            self.differences.iter().map(|Difference { seq, place, command, recorded, decided }| {
                json!({
                    "seq": seq, "stream": place, "command": command, "recorded": recorded,
                    "decided": decided.as_ref().ok(), "refused": decided.as_ref().err(),
                })
            });
        json!({ "kinds": kinds, "differences": differences.collect::<Vec<_>>() })
    }
}

/// Whether a record is in a version that this release does not write any more.
fn is_older(stored: &StoredRecord) -> bool {
    LAYOUTS
        .iter()
        .any(|layout| layout.number == stored.layout_number && stored.layout_version < layout.version)
}

fn difference<D: Redecided>(
    header: &Header,
    command: &D::Command,
    recorded: &[D::Event],
    decided: Result<Vec<D::Event>, D::Rejection>,
) -> Difference {
    let events = |events: &[D::Event]| -> Vec<Value> {
        events.iter().take(TOLD_MAX).map(|event| json!(Into::<Event>::into(event.clone()))).collect()
    };
    Difference {
        seq: header.seq,
        place: format!("{}@{}", header.stream, header.version),
        command: format!("{command:?}").chars().take(COMMAND_LEN_MAX).collect(),
        recorded: events(recorded),
        decided: decided.map(|decided| events(&decided)).map_err(|rejection| rejection.to_string()),
    }
}

/// An entity as the world has it.
trait InWorld: Sized {
    /// What it is; nothing yet if the world does not know it.
    fn in_world(world: &World, header: &Header) -> Self;

    /// Whether its records are withheld.
    fn is_withheld(_world: &World, _header: &Header) -> bool {
        false
    }
}

impl InWorld for Node {
    fn in_world(world: &World, _: &Header) -> Node {
        world.node.clone()
    }
}

impl InWorld for Ledger {
    fn in_world(world: &World, _: &Header) -> Ledger {
        world.ledger.clone()
    }
}

impl InWorld for Pod {
    fn in_world(world: &World, header: &Header) -> Pod {
        world.pods.get(&PodUid(header.stream.id)).cloned().unwrap_or_default()
    }

    fn is_withheld(world: &World, header: &Header) -> bool {
        world.withheld.contains(&PodUid(header.stream.id))
    }
}

impl InWorld for Worker {
    fn in_world(world: &World, header: &Header) -> Worker {
        world.workers.get(&WorkerUid(header.stream.id)).cloned().unwrap_or_default()
    }
}

impl InWorld for Gpu {
    fn in_world(world: &World, header: &Header) -> Gpu {
        let known = world.gpus.iter().find(|(uuid, _)| uuid.stream() == header.stream);
        known.map(|(_, gpu)| gpu.clone()).unwrap_or_default()
    }
}

impl InWorld for Pool {
    fn in_world(world: &World, header: &Header) -> Pool {
        let known = world.pools.iter().find(|(name, _)| name.stream() == header.stream);
        known.map(|(_, pool)| pool.clone()).unwrap_or_default()
    }
}
