//! Making a store from the segments ahead of the start that needs it: beside the one in use, compared with the
//! segments to the last entry, and only then put in place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use purser_events::{CommandId, Header, Seq, StreamId, StreamVersion};

use crate::answers::{self, ANSWERS_LEN_MAX, StoredAnswer};
use crate::disk::SystemDisk;
use crate::error::JournalError;
use crate::folder::{Folder, HeadFile};
use crate::index;
use crate::open::{Pass, damaged};
use crate::segment::entry::{AnswerEntry, Entry};
use crate::segment::set::{Loaded, Segments};
use crate::store::{Backend, Store, made_folder, make_folder, put_in_place};
use crate::verify::Head;

/// Records between two words about how far it has come.
const TOLD_EVERY: u64 = 4_096;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The store is made.
    Make,
    /// It is compared with the segments.
    Check,
}

/// What the new store was found to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Records whose places it has.
    pub records: u64,
    /// Streams.
    pub streams: u64,
    /// Answers to commands.
    pub answers: u64,
}

/// Makes the store of the closed journal in `dir` anew, kept by `to`, and removes the others. `tell` hears the step,
/// the record that it has come to, and the last one.
///
/// A stop at any moment leaves the store that was there, or the new one, or none, which the next start makes; never
/// half of one.
///
/// # Errors
/// The journal is in use or damaged, the store cannot be made, or what is read from it is not what the segments say;
/// the one that was there is then as before.
pub fn migrate(
    dir: &Path,
    to: Backend,
    cache_bytes: u64,
    tell: &mut dyn FnMut(Step, u64, u64),
) -> Result<Migrated, JournalError> {
    let _held = Folder::hold(dir)?;
    let known = HeadFile::read(&SystemDisk, dir)?;
    let loaded = Segments::load(Arc::new(SystemDisk), dir, false).map_err(|error| damaged(dir, error))?;
    let Loaded { segments, before, head, .. } = loaded;
    let segments = Arc::new(segments);
    let made = made_folder(dir);
    make_folder(&made)?;
    tell(Step::Make, before.seq.0, head.seq.0);
    let store = to.open(&made, cache_bytes)?;
    let pass = Pass {
        dir,
        segments: &segments,
        store: &*store,
        applied: before,
        restored: before,
        known,
        keys: None,
        // Whoever opens it next has those go that are too old.
        command_ids_kept_ms: 0,
    };
    let mut done = before.seq.0;
    pass.run(&mut |_| {
        done += 1;
        if done.is_multiple_of(TOLD_EVERY) {
            tell(Step::Make, done, head.seq.0);
        }
    })?;
    store.sync()?;
    drop(store);
    // As the next start will find it.
    let store = to.open(&made, cache_bytes)?;
    let check = Check { dir, segments: &segments, store: &*store, before, head };
    let migrated = check.run(tell)?;
    drop(store);
    put_in_place(dir, &made, to.name())?;
    Ok(migrated)
}

/// Compares a store with the segments.
struct Check<'a> {
    dir: &'a Path,
    segments: &'a Arc<Segments>,
    store: &'a dyn Store,
    before: Head,
    head: Head,
}

/// What the segments say beside their records.
#[derive(Default)]
struct Expected {
    streams: BTreeMap<StreamId, (StreamVersion, Vec<Seq>)>,
    answers: BTreeMap<u64, (CommandId, StoredAnswer)>,
}

impl Check<'_> {
    fn run(&self, tell: &mut dyn FnMut(Step, u64, u64)) -> Result<Migrated, JournalError> {
        let applied = index::applied(self.store)?;
        if applied != Some(self.head) && self.head != self.before {
            return Err(JournalError::Value { name: "applied" });
        }
        let expected = self.expected(tell)?;
        for (&stream, (first, seqs)) in &expected.streams {
            let found = index::stream(self.store, stream, *first, self.before.seq, usize::MAX)?;
            if found != *seqs {
                return Err(JournalError::Value { name: "stream index" });
            }
        }
        let mut answers = 0;
        for (&order, (id, answer)) in &expected.answers {
            if answers::find(self.store, *id)? != Some((answer.clone(), order)) {
                return Err(JournalError::Answer { id: *id });
            }
            answers += 1;
        }
        let records = self.head.seq.0 - self.before.seq.0;
        Ok(Migrated { records, streams: expected.streams.len() as u64, answers })
    }

    /// What the segments say.
    fn expected(&self, tell: &mut dyn FnMut(Step, u64, u64)) -> Result<Expected, JournalError> {
        let mut expected = Expected::default();
        let mut walk = self.segments.walk(self.before.seq.next())?;
        while let Some(entry) = walk.step().map_err(|error| damaged(self.dir, error))? {
            match entry {
                Entry::Record(record) => {
                    let Header { seq, stream, version, .. } = record.header;
                    let (_, seqs) = expected.streams.entry(stream).or_insert((version, Vec::new()));
                    seqs.push(seq);
                    if seq.0.is_multiple_of(TOLD_EVERY) {
                        tell(Step::Check, seq.0, self.head.seq.0);
                    }
                }
                Entry::Answer(AnswerEntry { id, order, answer, .. }) => {
                    expected.answers.insert(order, (id, answer));
                    if expected.answers.len() as u64 > ANSWERS_LEN_MAX {
                        expected.answers.pop_first();
                    }
                }
                Entry::Opened(_) | Entry::Closed | Entry::Evidence(_) | Entry::Footer(_) => {}
            }
        }
        Ok(expected)
    }
}
