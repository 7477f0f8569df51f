//! A journal's folder read through on several threads: what each record is by itself (its checksum, its hash, what its
//! payload says) is found out beside others; what they are to each other is compared one after the other.
//!
//! Everything is checked that [`crate::segment::walk::Walk`] and [`Verifier`] check, and the first fault is the same.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use purser_events::Seq;
use sha2::{Digest, Sha256};

use crate::evidence::Evidence;
use crate::folder::{FolderError, io_error};
use crate::frame::{self, FrameError, Hash, PREFIX_LEN};
use crate::offline::SourceError;
use crate::pipeline::{begin, in_order};
use crate::record::StoredRecord;
use crate::segment::entry::Entry;
use crate::segment::footer::Footer;
use crate::segment::order::Order;
use crate::segment::rows::{Cuts, Origin, Row, Stop};
use crate::segment::set::SegmentsError;
use crate::segment::walk::Walk;
use crate::subjects::SubjectKeys;
use crate::verify::{Fault, Head, Position, Verifier};

/// Rows whose content waits to be hashed.
const CONTENT_AHEAD: usize = 4;

/// What comes next in a journal that is read through.
#[derive(Debug)]
pub enum Scanned<T> {
    /// A record that is sound, and what was made of it.
    Record(Position, T),
    /// Something that vouches for records before it; nothing of it is checked yet.
    Evidence(Evidence),
}

/// What a scan goes by.
pub(crate) struct Scan<'a, L, F> {
    pub walk: &'a mut Walk,
    pub verifier: &'a mut Verifier,
    /// A record that must be as it says.
    pub known: Option<Head>,
    /// With which sealed payloads are read.
    pub keys: Option<&'a SubjectKeys>,
    /// Called on several threads, also for records that turn out not to be sound.
    pub look: &'a L,
    /// Called in order, for what is sound.
    pub each: F,
}

impl<L, F> Scan<'_, L, F> {
    /// Reads all that is left of the walk.
    pub(crate) fn run<T: Send>(self) -> Result<(), SourceError>
    where
        L: Fn(&StoredRecord) -> T + Sync,
        F: FnMut(Scanned<T>),
    {
        let Scan { walk, verifier, known, keys, look, each } = self;
        let checks_content = walk.is_checking_content();
        let (rows, order) = walk.take_rows();
        let dir = rows.dir().to_owned();
        thread::scope(|scope| {
            let (to_hash, to_be_hashed) = sync_channel(CONTENT_AHEAD);
            let (hashed, contents) = channel();
            let failed = |error| SourceError::from(io_error("start a thread to read", &dir, error));
            begin(scope, "journal-content", move || hash_contents(&to_be_hashed, &hashed)).map_err(failed)?;
            // First to who hashes it: whoever waits for that hash has it then.
            let rows = rows.inspect(move |row: &Row| {
                if checks_content && row.of.sealed && row.of.is_whole {
                    let _ = to_hash.send((Arc::clone(&row.of), row.cuts.clone()));
                }
            });
            let mut fold = Fold { order, verifier, known, contents, checks_content, segment: None, each };
            let mut ended = Ok(());
            let work = |row| Looked::at(row, keys, look);
            in_order(rows, &work, |row| {
                let next = fold.row(row);
                let goes_on = matches!(next, Ok(true));
                ended = next.map(drop);
                goes_on
            })
            .map_err(failed)?;
            ended
        })
    }
}

/// Hashes what stands in segments, and tells each hash when its footer comes.
fn hash_contents(rows: &Receiver<(Arc<Origin>, Cuts)>, hashed: &Sender<(Seq, Hash)>) {
    let mut now: Option<(Seq, Sha256)> = None;
    for (of, cuts) in rows {
        // What is behind a segment without a footer is read by nobody.
        let (_, mut hash) = now
            .take()
            .filter(|(first, _)| *first == of.first)
            .unwrap_or_else(|| (of.first, Sha256::new().chain_update(of.header)));
        hash.update(cuts.content());
        if !cuts.ends_with_footer {
            now = Some((of.first, hash));
        } else if hashed.send((of.first, hash.finalize().into())).is_err() {
            return;
        }
    }
}

/// A row whose entries were each looked at by itself.
struct Looked<T> {
    of: Arc<Origin>,
    seen: Vec<(u64, Seen<T>)>,
    stop: Option<Stop>,
}

enum Seen<T> {
    Record(Position, Link, T),
    Other(Box<Entry>),
    Bad(FrameError),
    /// A key could not be read.
    Failed(FolderError),
}

/// Whether a record has the hash that follows from the record before it.
enum Link {
    /// From the one before it in its row.
    Fits(bool),
    /// That one is in another row.
    Unknown(Box<StoredRecord>),
}

impl<T> Looked<T> {
    fn at(row: Row, keys: Option<&SubjectKeys>, look: &impl Fn(&StoredRecord) -> T) -> Looked<T> {
        let mut seen = Vec::with_capacity(row.cuts.len());
        let mut previous = None;
        for (at, bytes) in row.cuts.entries() {
            let entry = match Entry::parse_shared(bytes) {
                Ok(Entry::Record(record)) => see(record, &mut previous, keys, look),
                Ok(other) => Seen::Other(Box::new(other)),
                Err(source) => Seen::Bad(source),
            };
            let is_last = matches!(entry, Seen::Bad(_) | Seen::Failed(_));
            seen.push((at, entry));
            if is_last {
                break;
            }
        }
        Looked { of: row.of, seen, stop: row.stop }
    }
}

fn see<T>(
    mut record: StoredRecord,
    previous: &mut Option<Hash>,
    keys: Option<&SubjectKeys>,
    look: &impl Fn(&StoredRecord) -> T,
) -> Seen<T> {
    let link = match previous.replace(record.hash) {
        Some(previous) => Link::Fits(record.hash == frame::expected_hash(&record, &previous)),
        None => Link::Unknown(Box::new(record.clone())),
    };
    if let Some(Err(error)) = keys.map(|keys| keys.open(&mut record)) {
        return Seen::Failed(error);
    }
    Seen::Record(Position::of(&record), link, look(&record))
}

/// What entries are to each other.
struct Fold<'a, F> {
    order: Order,
    verifier: &'a mut Verifier,
    known: Option<Head>,
    /// Hashes of what stands in sealed segments, in order.
    contents: Receiver<(Seq, Hash)>,
    checks_content: bool,
    /// The first record of the segment that rows came from last.
    segment: Option<Seq>,
    each: F,
}

impl<F> Fold<'_, F> {
    /// Takes the next row, and says whether there may be more.
    fn row<T>(&mut self, row: Looked<T>) -> Result<bool, SourceError>
    where
        F: FnMut(Scanned<T>),
    {
        let Looked { of, seen, stop } = row;
        if self.segment.replace(of.first).is_some_and(|segment| segment != of.first) {
            self.order.segment(of.first)?;
        }
        // The record before, in this row.
        let mut previous = None;
        for (at, seen) in seen {
            match seen {
                Seen::Record(position, link, found) => {
                    self.order.record(&of.path, at, position.seq)?;
                    let previous = previous.replace(position.hash);
                    if position.seq > self.verifier.head().seq {
                        self.record(&position, &link, previous)?;
                        (self.each)(Scanned::Record(position, found));
                    }
                }
                Seen::Other(entry) => self.other::<T>(&of, at, *entry)?,
                Seen::Bad(source) => return self.bad(&of, at, source),
                Seen::Failed(error) => return Err(error.into()),
            }
        }
        match stop {
            None => Ok(true),
            Some(Stop::Limit) => Ok(false),
            Some(Stop::Bad { at, source }) => self.bad(&of, at, source),
            Some(Stop::End { at }) => {
                self.bad(&of, at, FrameError::CutShort { len: 0, announced: PREFIX_LEN })
            }
            Some(Stop::Failed(error)) => Err(error.into()),
        }
    }

    fn record(
        &mut self,
        position: &Position,
        link: &Link,
        previous: Option<Hash>,
    ) -> Result<(), SourceError> {
        let last = self.verifier.head().seq;
        let is_chained = |head: &Hash| match link {
            Link::Fits(fits) => *fits && previous == Some(*head),
            Link::Unknown(record) => record.hash == frame::expected_hash(record, head),
        };
        let checked = self.verifier.check_position(position, is_chained).and_then(|()| match self.known {
            Some(known) if known.seq == position.seq && known.hash != position.hash => {
                Err(Fault::Replaced { seq: position.seq })
            }
            Some(_) | None => Ok(()),
        });
        checked.map_err(|source| SourceError::Fault { last, source })
    }

    fn other<T>(&mut self, of: &Origin, at: u64, entry: Entry) -> Result<(), SegmentsError>
    where
        F: FnMut(Scanned<T>),
    {
        match entry {
            Entry::Answer(answer) => self.order.answer(&of.path, at, answer.order)?,
            Entry::Opened(_) => self.order.opened(),
            Entry::Evidence(evidence) => {
                // Before a part there are entries from the last place that can be found.
                if self.order.next_seq() > self.verifier.head().seq {
                    (self.each)(Scanned::Evidence(evidence));
                }
            }
            Entry::Footer(footer) if of.sealed => {
                self.order.footer(&of.path, &footer, self.content_fits(of, &footer))?;
            }
            Entry::Record(_) | Entry::Closed | Entry::Footer(_) => {}
        }
        Ok(())
    }

    fn content_fits(&self, of: &Origin, footer: &Footer) -> bool {
        let is_hashed = self.checks_content && of.is_whole;
        !is_hashed || self.contents.recv() == Ok((of.first, footer.content))
    }

    /// What is no entry is damage in a sealed segment. In the open one it is its end, or what a stop tore off there.
    fn bad(&self, of: &Origin, at: u64, source: FrameError) -> Result<bool, SourceError> {
        if of.sealed || source.is_unknown() {
            return Err(self.order.bad(&of.path, at, source).into());
        }
        Ok(false)
    }
}
