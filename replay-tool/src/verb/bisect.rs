//! `bisect`: the first record after which something holds.
//!
//! Without `--monotone` every moment is looked at. With it, what holds once is taken to hold ever after, and the middle
//! of what is left is looked at each time. A few worlds are kept from each reading of the journal, so that four questions
//! need one reading.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::{Command, Stdio};

use purser_events::{Seq, Timestamp};
use purser_storage::StoredRecord;
use serde_json::{Value, json};

use crate::cli::{BisectArgs, BisectHow, Output};
use crate::entity::Entity;
use crate::expr::StateExpr;
use crate::failure::{Exit, Failure};
use crate::fold::{Folded, Until};
use crate::reading::Reading;
use crate::source::Place;
use crate::{Console, render};

/// Worlds that are kept at a time: fewer readings of the journal for more memory.
const WORLDS_MAX: u64 = 15;

/// The exit code with which a command says that it cannot tell.
const CANNOT_TELL: i32 = 125;

/// What may hold.
enum Question<'a> {
    Condition(&'a StateExpr),
    Command(&'a [OsString]),
}

/// What was found about a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    CannotTell,
}

/// The first record after which it holds, and those right before it about which nobody can tell.
struct Found {
    first: Seq,
    untold: Option<(Seq, Seq)>,
}

struct Search<'a> {
    args: &'a BisectArgs,
    question: Question<'a>,
    asked: u64,
    /// How the worst of what was read ends.
    exit: Exit,
}

pub(crate) fn run(
    args: &BisectArgs,
    place: &Place,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let question = match (&args.holds, &args.how) {
        (Some(condition), None) => Question::Condition(condition),
        (None, Some(BisectHow::Run(run))) => Question::Command(&run.command),
        (Some(_), Some(_)) | (None, None) => return Err(Failure::OneQuestion),
    };
    let mut search = Search { args, question, asked: 0, exit: Exit::Ok };
    let good = args.good.map_or(Until::Seq(Seq::ZERO), |good| good.seen_from(now));
    let bad = args.bad.map(|bad| bad.seen_from(now));
    let found = if args.monotone {
        place.again()?;
        search.halves(good, bad, place, console)?
    } else {
        search.each(good, bad, place, console)?
    };
    search.tell(found, place, console)
}

impl Search<'_> {
    /// Whether it holds in a world.
    fn ask(&mut self, folded: &Folded) -> Result<Answer, Failure> {
        self.asked += 1;
        let state = self.state(folded);
        match &self.question {
            Question::Condition(condition) => {
                let time = folded.time.unwrap_or_default();
                let holds = condition.holds(folded.world.head.0, time, &state);
                Ok(if holds { Answer::Yes } else { Answer::No })
            }
            Question::Command(command) => run_command(command, folded, &state),
        }
    }

    /// What is asked about; null if the entity is not there.
    fn state(&self, folded: &Folded) -> Value {
        let world = &folded.world;
        let entity = match (&self.args.stream, &self.args.pod) {
            (None, None) => return json!(world),
            (Some(stream), _) => Entity::of_stream(world, stream.0),
            (None, Some(pod)) => Entity::of_pod(world, pod),
        };
        entity.map(|entity| entity.state).unwrap_or_default()
    }

    /// Looks at every moment.
    fn each(
        &mut self,
        good: Until,
        bad: Option<Until>,
        place: &Place,
        console: &mut Console<'_>,
    ) -> Result<Option<Found>, Failure> {
        let mut reading = Reading::whole(place)?;
        let (mut folded, mut untold, mut begun) = (Folded::default(), None, false);
        while let Some(stored) = reading.next() {
            if bad.is_some_and(|bad| bad.is_before(&stored.header)) {
                break;
            }
            if !begun && good.is_before(&stored.header) {
                begun = true;
                self.must_not_hold(&folded)?;
            }
            let seq = stored.header.seq;
            folded.apply(stored, console);
            if !begun {
                continue;
            }
            match self.ask(&folded)? {
                Answer::Yes => {
                    self.exit = self.exit.or_worse(folded.exit);
                    return Ok(Some(Found { first: seq, untold }));
                }
                Answer::No => untold = None,
                Answer::CannotTell => untold = Some((untold.map_or(seq, |(first, _)| first), seq)),
            }
        }
        self.exit = self.exit.or_worse(folded.exit);
        reading.end(Exit::Ok, console)?;
        folded.reaches(bad)?;
        if begun { Ok(None) } else { Err(nothing_between(good, bad, &folded)) }
    }

    /// Looks at the middle of what is left.
    fn halves(
        &mut self,
        good: Until,
        bad: Option<Until>,
        place: &Place,
        console: &mut Console<'_>,
    ) -> Result<Option<Found>, Failure> {
        let (mut low, at_end) = ends(good, bad, place, console)?;
        self.must_not_hold(&low)?;
        self.exit = self.exit.or_worse(at_end.exit);
        if self.ask(&at_end)? != Answer::Yes {
            return Ok(None);
        }
        let mut high = at_end.world.head;
        drop(at_end);
        while low.world.head.next() < high {
            let mut worlds = between(&low, high, place)?;
            while !worlds.is_empty() {
                let mut later = worlds.split_off(worlds.len() / 2);
                let middle = later.remove(0);
                match self.ask(&middle)? {
                    Answer::Yes => high = middle.world.head,
                    Answer::No => (low, worlds) = (middle, later),
                    // From here on every moment counts.
                    Answer::CannotTell => {
                        let (good, bad) = (Until::Seq(low.world.head), Until::Seq(high));
                        return silently(|silent| self.each(good, Some(bad), place, silent));
                    }
                }
            }
        }
        Ok(Some(Found { first: high, untold: None }))
    }

    fn must_not_hold(&mut self, folded: &Folded) -> Result<(), Failure> {
        match self.ask(folded)? {
            Answer::Yes => Err(Failure::HoldsAlready { seq: folded.world.head }),
            Answer::No | Answer::CannotTell => Ok(()),
        }
    }

    fn tell(&self, found: Option<Found>, place: &Place, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let how = if self.args.monotone { "taken to hold ever after" } else { "looked at every moment" };
        let Some(Found { first, untold }) = found else {
            if self.args.output == Output::Json {
                console.line(format_args!("{}", json!({ "first": null, "asked": self.asked })))?;
            }
            console.note(format_args!(
                "it holds at no moment that was looked at ({how}, asked {} times)",
                self.asked
            ));
            return Ok(self.exit.or_worse(Exit::NothingMatched));
        };
        // Standard input is gone by now: the number must do.
        let record = if place.is_once_only() { None } else { record(first, place)? };
        match self.args.output {
            Output::Text => match &record {
                Some(stored) => console.line(format_args!("{}", render::oneline(stored, &stored.event())))?,
                None => console.line(format_args!("{first}"))?,
            },
            Output::Json => {
                let record = record.as_ref().map(|stored| render::record_json(stored, &stored.event()));
                let untold = untold.map(|(first, last)| json!({ "first": first, "last": last }));
                let value = json!({
                    "first": first, "record": record, "untold": untold, "asked": self.asked,
                    "monotone": self.args.monotone,
                });
                console.line(format_args!("{}", render::pretty(&value)))?;
            }
        }
        console.note(format_args!("it holds first after record {first} ({how}, asked {} times)", self.asked));
        if let Some((from, to)) = untold {
            console.note(format_args!(
                "or it began in records {from} to {to}, about which the command could not tell"
            ));
        }
        Ok(self.exit)
    }
}

/// The worlds at the first moment and at the last.
fn ends(
    good: Until,
    bad: Option<Until>,
    place: &Place,
    console: &mut Console<'_>,
) -> Result<(Folded, Folded), Failure> {
    let mut reading = Reading::whole(place)?;
    let (mut low, mut folded) = (None, Folded::default());
    let mut at_end = true;
    while let Some(stored) = reading.next() {
        if bad.is_some_and(|bad| bad.is_before(&stored.header)) {
            at_end = false;
            break;
        }
        if low.is_none() && good.is_before(&stored.header) {
            low = Some(folded.clone());
        }
        folded.apply(stored, console);
    }
    if at_end {
        reading.end(Exit::Ok, console)?;
        folded.reaches(bad)?;
    }
    match low {
        Some(low) => Ok((low, folded)),
        None => Err(nothing_between(good, bad, &folded)),
    }
}

/// Why there is nothing to look at, up to the last moment that was reached.
fn nothing_between(good: Until, bad: Option<Until>, folded: &Folded) -> Failure {
    let last = folded.world.head;
    let beyond = if bad.is_none() { good.is_reached(Seq(1), last).err() } else { None };
    beyond.unwrap_or(Failure::NothingBetween { last })
}

/// Worlds at even distances between one and a later record, from one reading.
fn between(low: &Folded, high: Seq, place: &Place) -> Result<Vec<Folded>, Failure> {
    let gap = high.0.saturating_sub(low.world.head.0);
    let step = (gap / (WORLDS_MAX + 1)).max(1);
    let mut next = Seq(low.world.head.0.saturating_add(step));
    let (mut folded, mut worlds) = (low.clone(), Vec::new());
    let mut reading = Reading::whole(place)?;
    // What cannot be folded was told at the first reading.
    silently(|silent| {
        while let Some(stored) = reading.next() {
            let seq = stored.header.seq;
            if seq >= high || worlds.len() as u64 == WORLDS_MAX {
                return Ok(worlds);
            }
            if seq > low.world.head {
                folded.apply(stored, silent);
            }
            if seq == next {
                worlds.push(folded.clone());
                next = Seq(next.0.saturating_add(step));
            }
        }
        reading.end(Exit::Ok, silent)?;
        Ok(worlds)
    })
}

/// Does something whose notes have been told already.
fn silently<T>(act: impl FnOnce(&mut Console<'_>) -> T) -> T {
    act(&mut Console { out: &mut std::io::sink(), notes: &mut std::io::sink() })
}

fn record(seq: Seq, place: &Place) -> Result<Option<StoredRecord>, Failure> {
    let mut reading = Reading::from(place, seq)?;
    while let Some(stored) = reading.next() {
        if stored.header.seq == seq {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}

/// Gives a command the state on its standard input, and takes its exit code: 0 is yes, 125 cannot tell, else no.
fn run_command(command: &[OsString], folded: &Folded, state: &Value) -> Result<Answer, Failure> {
    let (program, args) = command.split_first().ok_or(Failure::OneQuestion)?;
    let failed = |source| Failure::Command { program: program.to_string_lossy().into_owned(), source };
    let mut child = Command::new(program)
        .args(args)
        .env("PURSER_SEQ", folded.world.head.to_string())
        .env("PURSER_TIME", folded.time.map(|time| time.to_string()).unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A command need not read all of it.
        match input.write_all(format!("{state}\n").as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
    }
    let status = child.wait().map_err(failed)?;
    match status.code() {
        Some(0) => Ok(Answer::Yes),
        Some(CANNOT_TELL) => Ok(Answer::CannotTell),
        Some(126..) | None => Err(Failure::CommandFailed {
            program: program.to_string_lossy().into_owned(),
            status: status.to_string(),
        }),
        Some(_) => Ok(Answer::No),
    }
}
