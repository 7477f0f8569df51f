//! The thread that seals.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use purser_events::{Seq, Timestamp};
use tokio::sync::oneshot;

use super::exchange::Committed;
use super::{Sealed, SealerError, SealingConfig, SealingObserver};
use crate::checkpoint::{Checkpoint, Seed};
use crate::evidence::{Evidence, SealedTree, previous_line};
use crate::frame::Hash;
use crate::merkle::{Frontier, Leaf};
use crate::request::{Prepared, Request};
use crate::sealing::{Appointment, KeyFile, SealingError, SealingKey};
use crate::segment::entry::Entry;
use crate::segment::set::SegmentsError;
use crate::terms::{Durability, Terms};

/// Time between two looks at whether the thread that writes has taken what waits for it, and the time that is left to
/// commits to take it along.
const BEHIND: Duration = Duration::from_millis(50);

/// Time that a commit waits for others to be looked at with it.
const GATHERING: Duration = Duration::from_millis(10);

pub(super) struct Sealer {
    pub(super) journal: Sealed,
    pub(super) config: SealingConfig,
    pub(super) seeds: Box<dyn FnMut() -> io::Result<Seed> + Send>,
    pub(super) now: Box<dyn Fn() -> Timestamp + Send>,
    pub(super) observer: Box<dyn SealingObserver>,
    pub(super) key_file: KeyFile,
    pub(super) key: SealingKey,
    /// Over all durable records that were seen.
    pub(super) frontier: Frontier,
    /// Size of the last checkpoint.
    pub(super) sealed: u64,
    /// When the first record came that is not under a checkpoint.
    pub(super) unsealed_since: Option<Instant>,
    /// When the key is to be replaced.
    pub(super) replace_at: Instant,
    /// Whether the thread that writes was not asked yet to take what was put last.
    pub(super) unasked: bool,
}

impl Sealer {
    /// Seals until nobody tells of commits any more, and then what is left.
    pub(super) fn run(mut self, commits: &Receiver<Committed>) {
        if let Err(error) = self.serve(commits) {
            super::stopped(&self.journal.exchange, &error);
        }
    }

    fn serve(&mut self, commits: &Receiver<Committed>) -> Result<(), SealerError> {
        self.catch_up(self.head())?;
        self.wake_writer();
        loop {
            self.seal_if_due()?;
            self.replace_key_if_due()?;
            match commits.recv_timeout(self.time_left()) {
                Ok(committed) => {
                    // Not woken by every commit: what comes meanwhile waits in the channel.
                    std::thread::sleep(GATHERING);
                    self.take(&committed)?;
                    while let Ok(committed) = commits.try_recv() {
                        self.take(&committed)?;
                    }
                }
                // No commit came that took it along.
                Err(RecvTimeoutError::Timeout) if std::mem::take(&mut self.unasked) => self.wake_writer(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.catch_up(self.head())?;
        if self.unsealed() > 0 { self.seal() } else { Ok(()) }
    }

    fn head(&self) -> Seq {
        self.journal.published.state().head.seq
    }

    /// Records that are not under a checkpoint.
    fn unsealed(&self) -> u64 {
        self.frontier.len() - self.sealed
    }

    fn time_left(&self) -> Duration {
        let checkpoint = Duration::from_millis(self.config.checkpoint_ms.get());
        let mut next = self.unsealed_since.map(|since| since + checkpoint);
        if self.frontier.len() > self.key.start().size {
            next = Some(next.map_or(self.replace_at, |next| next.min(self.replace_at)));
        }
        // Without anything to seal there is nothing to be in time for; commits wake the thread.
        let left = next.map_or(checkpoint, |next| next.saturating_duration_since(Instant::now()));
        if self.unasked {
            left.min(BEHIND)
        } else if self.journal.exchange.has_room() {
            left
        } else {
            // What is due waits as long as the thread that writes is behind.
            left.max(BEHIND)
        }
    }

    fn take(&mut self, committed: &Committed) -> Result<(), SealerError> {
        // What found no room to wait, if anything.
        self.catch_up(Seq(committed.first.0 - 1))?;
        // What was read from the segments already, if anything.
        let known = (self.frontier.len() + 1).saturating_sub(committed.first.0);
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        for hash in committed.hashes.iter().skip(known) {
            self.append(hash)?;
            if self.unsealed().is_multiple_of(self.config.checkpoint_events.get())
                && self.journal.exchange.has_room()
            {
                self.seal()?;
            }
        }
        Ok(())
    }

    /// Reads the records up to one that is durable from the segments.
    fn catch_up(&mut self, to: Seq) -> Result<(), SealerError> {
        if self.frontier.len() >= to.0 {
            return Ok(());
        }
        let from = Seq(self.frontier.len() + 1);
        let mut walk = self.journal.segments.walk(from).map_err(SegmentsError::from)?;
        while self.frontier.len() < to.0 {
            let next = self.frontier.len() + 1;
            match walk.step()? {
                Some(Entry::Record(record)) if record.header.seq.0 < next => {}
                Some(Entry::Record(record)) if record.header.seq.0 == next => self.append(&record.hash)?,
                Some(Entry::Record(_)) | None => return Err(SealerError::Trimmed { seq: next }),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn append(&mut self, hash: &Hash) -> Result<(), SealerError> {
        self.frontier.append(Leaf::of_record(hash));
        self.unsealed_since.get_or_insert_with(Instant::now);
        let (size, start) = (self.frontier.len(), self.key.start());
        // What the key took over must be what is there.
        if size == start.size && self.frontier.root() != start.root {
            return Err(SealingError::RootDiffers { size }.into());
        }
        Ok(())
    }

    fn seal_if_due(&mut self) -> Result<(), SealerError> {
        let checkpoint = Duration::from_millis(self.config.checkpoint_ms.get());
        let is_old = self.unsealed_since.is_some_and(|since| since.elapsed() >= checkpoint);
        let is_due = is_old || self.unsealed() >= self.config.checkpoint_events.get();
        if is_due && self.unsealed() > 0 && self.journal.exchange.has_room() { self.seal() } else { Ok(()) }
    }

    fn seal(&mut self) -> Result<(), SealerError> {
        let size = self.frontier.len();
        let checkpoint = Checkpoint::new(self.key.origin(), size, self.frontier.root())
            .and_then(|checkpoint| checkpoint.with_extension(&previous_line(self.sealed)))
            .map_err(SealingError::from)?;
        let note = self.key.seal(&checkpoint)?;
        self.observer.sealed(&note, size);
        let tree = SealedTree::new(note, self.frontier.clone())
            .expect("the checkpoint was made of this frontier a moment ago");
        self.put(Evidence::Checkpoint(Box::new(tree)));
        (self.sealed, self.unsealed_since) = (size, None);
        self.journal.exchange.status.send_modify(|status| status.sealed = size);
        Ok(())
    }

    fn replace_key_if_due(&mut self) -> Result<(), SealerError> {
        // A key that has nothing new to seal gives nothing away.
        if Instant::now() < self.replace_at || self.frontier.len() == self.key.start().size {
            return Ok(());
        }
        let interval = Duration::from_millis(self.config.interval_ms.get());
        self.replace_at = Instant::now() + interval;
        let replaced = self.replace_key();
        let overdue = match replaced {
            Ok(()) => None,
            Err(SealerError::Key(error)) => return Err(error.into()),
            Err(error) => {
                // Which of the two keys is in place now decides who goes on.
                let (key_file, key) = KeyFile::load(&self.config.key_file)?;
                self.key_file = key_file;
                if key.verifier() == self.key.verifier() {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the sealing key is not replaced yet"
                    );
                    Some(error.to_string())
                } else {
                    self.go_on_with(key);
                    None
                }
            }
        };
        let period = self.key.start().number;
        self.journal.exchange.status.send_if_modified(|status| {
            let changed = status.period != period || status.overdue != overdue;
            (status.period, status.overdue) = (period, overdue);
            changed
        });
        Ok(())
    }

    fn replace_key(&mut self) -> Result<(), SealerError> {
        if self.unsealed() > 0 {
            self.seal()?;
        }
        let seed = (self.seeds)().map_err(SealerError::Seed)?;
        let next = self.key.succeed(&seed, self.frontier.len(), &self.frontier.root(), (self.now)())?;
        self.key_file.replace(&next)?;
        self.go_on_with(next);
        Ok(())
    }

    /// The key is in its file: now the journal hears of it, and the old one is dropped.
    fn go_on_with(&mut self, next: SealingKey) {
        if let Appointment::Succession(succession) = next.appointment() {
            self.put(Evidence::Succession(succession.clone()));
        }
        self.key = next;
    }

    /// Hands evidence over. The thread that writes is not woken for it at once: where commits come one after the other,
    /// a group of nothing but evidence comes between those who are answered together, and breaks up their groups.
    fn put(&mut self, evidence: Evidence) {
        self.journal.exchange.put(evidence);
        self.unasked = true;
    }

    /// Has the thread that writes take evidence along even if nobody else asks it for anything.
    fn wake_writer(&self) {
        if self.journal.exchange.is_empty() {
            return;
        }
        // Nobody waits for it to be durable: it goes along with the next sync.
        let terms = Terms { durability: Durability::Lazy, ..Terms::default() };
        let (append, (reply, _)) = (Prepared::empty(terms), oneshot::channel());
        // A full queue means that it is awake; on a full disk the evidence waits for what is taken.
        let _ = self.journal.queue.push(Request { append, reply });
    }
}
