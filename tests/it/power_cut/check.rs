//! What must hold of a journal that is opened after the power was cut.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use purser_events::causes::told;
use purser_events::{NodeUid, Record, Seq, StreamVersion};
use purser_storage::offline::Source;
use purser_storage::store::Backend;
use purser_storage::{Journal, StreamWrite};
use uuid::Uuid;

use super::kept::{self, Kind};
use super::workload::{self, Ack, CommitId, JOURNAL, Label};

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Something that was acknowledged is not there, or is not what it was.
    Lost(String),
    /// The journal does not open, or not without a panic.
    Refused(String),
    /// The journal opens, but breaks another of its promises.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Lost(what) => write!(f, "acknowledged but lost: {what}"),
            Failure::Refused(what) => write!(f, "does not open: {what}"),
            Failure::Broken(what) => write!(f, "broken: {what}"),
        }
    }
}

type Checked = Result<(), Failure>;

fn broken(what: impl fmt::Display) -> Failure {
    Failure::Broken(what.to_string())
}

/// Opens the journal that is in a folder after a cut and checks it against all that was acknowledged before.
pub(super) fn survives(folder: &Path, acks: &[Ack], kind: Kind) -> Checked {
    let checked = panic::catch_unwind(AssertUnwindSafe(|| match kind {
        Kind::Plain => check(&folder.join(JOURNAL), acks),
        Kind::Kept(backend) => check_kept(folder, acks, backend),
    }));
    checked.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure::Refused(format!("a panic: {}", text.unwrap_or_default())))
    })
}

fn check(dir: &Path, acks: &[Ack]) -> Checked {
    let (journal, records) = workload::open(dir).map_err(|error| Failure::Refused(told(&error)))?;
    without_gaps(&records)?;
    acks.iter().try_for_each(|ack| kept(&records, ack).and_then(|()| answered(&journal, ack)))?;
    let commits = commits_whole(&records)?;
    answers_in_step(&journal, &commits)?;
    exports(&journal, records.len())?;
    let appended = goes_on(&journal, Seq(records.len() as u64))?;
    journal.close().map_err(|error| broken(told(&error)))?;
    // As an auditor sees it, who also looks at the indexes.
    let copy = Source::from_folder(dir).map_err(|error| broken(told(&error)))?;
    let mut last = Seq::ZERO;
    for record in copy {
        last = record.map_err(|error| broken(told(&error)))?.header.seq;
    }
    if last == appended { Ok(()) } else { Err(broken(format!("the folder ends at {last}, not {appended}"))) }
}

/// The same of a journal of which a part may lie in the archive, and whose house is then kept again.
fn check_kept(folder: &Path, acks: &[Ack], backend: Backend) -> Checked {
    let dir = folder.join(JOURNAL);
    let (journal, left) = kept::open(&dir, backend).map_err(|error| Failure::Refused(told(&error)))?;
    let is_left = |seq: Seq| !kept::is_trimmed(&journal, seq);
    acks.iter().filter(|ack| is_left(ack.first)).try_for_each(|ack| answered(&journal, ack))?;
    exports(&journal, left.len())?;
    let head = journal.head().seq;
    let appended = goes_on(&journal, head)?;
    kept::keep_house_once(&journal, folder).map_err(broken)?;
    journal.close().map_err(|error| broken(told(&error)))?;
    let mut chain = kept::chain(folder, false).map_err(Failure::Lost)?;
    if chain.pop().is_none_or(|last| last.header.seq != appended) {
        return Err(broken(format!("the chain does not end at {appended}")));
    }
    without_gaps(&chain)?;
    if !chain.ends_with(&left) {
        return Err(broken("the journal's records are not the end of the chain"));
    }
    acks.iter().try_for_each(|ack| kept(&chain, ack))?;
    commits_whole(&chain)?;
    kept::nothing_unfinished(folder).map_err(broken)?;
    // It is sealed on as well.
    let (journal, _) = kept::open(&dir, backend).map_err(|error| Failure::Refused(told(&error)))?;
    kept::seal(&journal, folder).map_err(broken)?;
    journal.close().map_err(|error| broken(told(&error)))?;
    kept::chain(folder, true).map_err(broken).map(drop)
}

fn without_gaps(records: &[Record]) -> Checked {
    let expected = (1..).map(Seq);
    let gap = records.iter().zip(expected).find(|(record, expected)| record.header.seq != *expected);
    gap.map_or(Ok(()), |(record, expected)| {
        Err(broken(format!("record {} stands where {expected} should", record.header.seq)))
    })
}

/// All that one client was told is there.
fn kept(records: &[Record], ack: &Ack) -> Checked {
    let Ack { commit, first, last, digest } = ack;
    let place = |seq: &Seq| usize::try_from(seq.0).expect("a small journal");
    let Some(found) = records.get(place(first) - 1..place(last)) else {
        let len = records.len();
        return Err(Failure::Lost(format!(
            "commit {commit}, records {first} to {last} of {len} that are left"
        )));
    };
    if workload::digest(found) != *digest {
        return Err(Failure::Lost(format!("commit {commit}: other records stand at {first} to {last}")));
    }
    Ok(())
}

/// The answer that one client was given is found again.
fn answered(journal: &Journal, ack: &Ack) -> Checked {
    let Ack { commit, first, last, .. } = ack;
    let Some(command) = commit.command() else { return Ok(()) };
    let stored = journal.answer(command.id).map_err(|error| broken(told(&error)))?;
    match stored {
        Some(stored) if stored.answer == command.answer && (stored.first, stored.last) == (*first, *last) => {
            Ok(())
        }
        Some(stored) => Err(Failure::Lost(format!("the answer of commit {commit} is {stored:?} now"))),
        None => Err(Failure::Lost(format!("the answer of commit {commit}"))),
    }
}

/// Each commit is there with all its events, in one row, or not at all.
fn commits_whole(records: &[Record]) -> Result<BTreeMap<CommitId, (Seq, Seq)>, Failure> {
    let mut commits = BTreeMap::new();
    let mut rest = records;
    while let Some(first) = rest.first() {
        let at = first.header.seq;
        let label = Label::of(&first.event).ok_or_else(|| broken(format!("record {at} is not ours")))?;
        let whole = rest.get(..label.count).ok_or_else(|| broken(format!("the commit at {at} is torn")))?;
        let in_order = whole.iter().enumerate().all(|(index, record)| {
            Label::of(&record.event) == Some(Label { index, ..label })
                && record.header.epoch == first.header.epoch
        });
        let last = Seq(at.0 + label.count as u64 - 1);
        if !in_order || commits.insert(label.commit, (at, last)).is_some() {
            return Err(broken(format!("the commit at {at} is not whole, or there twice")));
        }
        rest = &rest[label.count..];
    }
    Ok(commits)
}

/// Also where nobody was told: a commit that is there has its answer.
fn answers_in_step(journal: &Journal, commits: &BTreeMap<CommitId, (Seq, Seq)>) -> Checked {
    for (commit, places) in commits {
        let Some(command) = commit.command() else { continue };
        let stored = journal.answer(command.id).map_err(|error| broken(told(&error)))?;
        if stored.is_none_or(|stored| (stored.first, stored.last) != *places) {
            return Err(broken(format!("commit {commit} is there, but not its answer")));
        }
    }
    Ok(())
}

/// An export of it has every record, and passes every check of one.
fn exports(journal: &Journal, len: usize) -> Checked {
    let mut export = Vec::new();
    journal.export(journal.before().seq.next(), &mut export).map_err(|error| broken(told(&error)))?;
    let source = Source::from_export(Cursor::new(export)).map_err(|error| broken(told(&error)))?;
    let mut count = 0;
    for record in source {
        record.map_err(|error| broken(told(&error)))?;
        count += 1;
    }
    if count == len { Ok(()) } else { Err(broken(format!("{count} of {len} records are in the export"))) }
}

/// It takes a further record after `head` and reads it back; gives its place.
fn goes_on(journal: &Journal, head: Seq) -> Result<Seq, Failure> {
    // A stream that no client has.
    let stream = NodeUid(Uuid::max()).stream();
    let events = vec![workload::some_event()];
    let write = StreamWrite { stream, expected: StreamVersion::NONE, events };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let appended = runtime.block_on(journal.append(workload::append(vec![write], None)));
    let appended = appended.map_err(|error| broken(told(&error)))?;
    let written = appended.records.first().expect("one event is one record");
    let read = journal.read(written.header.seq, 2).map_err(|error| broken(told(&error)))?;
    let next = head.next();
    match &read[..] {
        [found] if found.header.seq == next && found.record().ok().as_ref() == Some(written) => Ok(next),
        _ => Err(broken(format!("the record appended at {next} is not read back: {read:?}"))),
    }
}
