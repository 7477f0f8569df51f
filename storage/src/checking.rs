//! What a start reads is checked on a thread of its own, a little ahead of who makes use of it: to take the hashes of
//! records takes about as long as to decode and fold them.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::Builder;

use purser_events::Seq;

use crate::error::JournalError;
use crate::open::damaged;
use crate::segment::entry::Entry;
use crate::segment::set::SegmentsError;
use crate::segment::walk::Walk;
use crate::verify::{Fault, Head, Verifier};

/// Entries that are handed over at once: they stay in the processor's cache meanwhile.
const BATCH_LEN: usize = 256;

/// Batches that may be ahead.
const BATCHES_AHEAD: usize = 4;

/// Hands every record after `begin` to `each`, once it is checked, and every answer behind `begin`, in order. `known` is
/// a record that must be as it says. What `each` leaves of an entry serves for a later one. At the end the verifier
/// knows what was met.
pub(crate) fn each_checked(
    dir: &Path,
    walk: Walk,
    begin: Head,
    known: Option<Head>,
    mut each: impl FnMut(&mut Entry) -> Result<(), JournalError>,
) -> Result<Verifier, JournalError> {
    std::thread::scope(|scope| {
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        let (used, spare) = channel();
        // A mark stands at a commit, so some of what is read may be known already.
        let passed_begin = walk.next_seq() > begin.seq;
        let checker = Checker { walk, begin, known, passed_begin, verifier: Verifier::after(begin), spare };
        let thread = Builder::new().name("journal-checker".to_owned());
        let thread =
            thread.spawn_scoped(scope, move || checker.run(&sender)).map_err(JournalError::Thread)?;
        for mut batch in batches {
            batch.iter_mut().try_for_each(&mut each)?;
            // It may have come to its end.
            let _ = used.send(batch);
        }
        let checked = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        checked.map_err(|error| damaged(dir, error))
    })
}

struct Checker {
    walk: Walk,
    begin: Head,
    known: Option<Head>,
    /// Whether what comes is behind `begin`.
    passed_begin: bool,
    verifier: Verifier,
    /// Batches that were made use of.
    spare: Receiver<Vec<Entry>>,
}

impl Checker {
    /// Reads to the end, or to the first fault, after which comes nothing more.
    fn run(mut self, batches: &SyncSender<Vec<Entry>>) -> Result<Verifier, SegmentsError> {
        loop {
            let mut batch = self.empty_batch();
            let filled = self.fill(&mut batch);
            let ended = batch.len() < BATCH_LEN;
            // Nobody wants it any more: who was to make use of it has failed.
            let unwanted = batches.send(batch).is_err();
            filled?;
            if ended || unwanted {
                return Ok(self.verifier);
            }
        }
    }

    fn empty_batch(&self) -> Vec<Entry> {
        let mut batch = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH_LEN));
        // Here, where they came from: what its entries lie in is then free for what is read next.
        batch.clear();
        batch
    }

    fn fill(&mut self, batch: &mut Vec<Entry>) -> Result<(), SegmentsError> {
        while batch.len() < BATCH_LEN {
            let Some(entry) = self.walk.step()? else { break };
            match entry {
                Entry::Record(record) if record.header.seq <= self.begin.seq => {
                    self.passed_begin = record.header.seq == self.begin.seq;
                }
                Entry::Record(record) => {
                    let checked = self.verifier.check(&record).and_then(|()| self.check_known());
                    let sound = Seq(record.header.seq.0 - 1);
                    checked.map_err(|source| SegmentsError::Fault { sound, source })?;
                    batch.push(Entry::Record(record));
                }
                Entry::Answer(answer) if self.passed_begin => batch.push(Entry::Answer(answer)),
                Entry::Answer(_)
                | Entry::Opened(_)
                | Entry::Closed
                | Entry::Evidence(_)
                | Entry::Footer(_) => {}
            }
        }
        Ok(())
    }

    fn check_known(&self) -> Result<(), Fault> {
        let head = self.verifier.head();
        match self.known {
            Some(known) if known.seq == head.seq && known.hash != head.hash => {
                Err(Fault::Replaced { seq: head.seq })
            }
            Some(_) | None => Ok(()),
        }
    }
}
