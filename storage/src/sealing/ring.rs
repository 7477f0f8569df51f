//! All keys that have sealed one journal, and for which sizes the signature of each counts.
//!
//! It begins with one verifier key that somebody kept, and grows by successions alone.

use std::collections::BTreeSet;

use purser_events::Timestamp;

use super::{PeriodStart, Succession};
use crate::checkpoint::{Checkpoint, CheckpointError, NoteError, PublicKey, SignedNote, VerifierKey};

/// Why a succession does not continue the ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingRejection {
    /// It is of another journal.
    #[error("succession is of `{found}`, not of `{expected}`")]
    OtherOrigin {
        /// The ring's journal.
        expected: String,
        /// The succession's.
        found: String,
    },
    /// Successions between are missing.
    #[error("succession begins period {found}, the next one is {expected}")]
    Gap {
        /// The next period.
        expected: u64,
        /// The succession's.
        found: u64,
    },
    /// The key of the period before did not sign it.
    #[error("succession to period {period} is not signed by the key before it")]
    Forged {
        /// The period it should begin.
        period: u64,
    },
    /// It is in the ring already.
    #[error("succession to period {period} was seen already")]
    Repeated {
        /// The period it begins.
        period: u64,
    },
    /// One key appointed two successors: somebody else had it, or two nodes share it.
    #[error("period {period} was begun twice, differently: the key before it was used by two")]
    Fork {
        /// The period that has two beginnings.
        period: u64,
    },
    /// The tree would have shrunk.
    #[error("period {period} begins at {size} records, the one before it at {before}")]
    SizeStepsBack {
        /// The period it begins.
        period: u64,
        /// Leaves at its start.
        size: u64,
        /// Leaves at the start before.
        before: u64,
    },
    /// The tree has not grown, but is another.
    #[error("periods {} and {period} begin at the same size with different roots", period - 1)]
    RootDiffers {
        /// The period it begins.
        period: u64,
    },
    /// It begins before the period ahead of it.
    #[error("period {period} begins before the one ahead of it")]
    TimeStepsBack {
        /// The period it begins.
        period: u64,
    },
    /// The key has sealed before, and may be known to somebody since.
    #[error("key of period {period} was used before")]
    KeyReused {
        /// The period it should seal.
        period: u64,
    },
}

/// Why a note is not a checkpoint that the ring stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealRejection {
    /// It is not a checkpoint, is of another journal, or is not signed by a key of the ring.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is signed by a key of the ring whose period is another.
    #[error("checkpoint of {size} records is signed with the key of period {period}, which had another part")]
    OutOfPeriod {
        /// Leaves of the checkpoint.
        size: u64,
        /// Whose key it is.
        period: u64,
    },
    /// It has another root than the succession at the same size.
    #[error("checkpoint of {size} records contradicts the start of period {period}")]
    Contradicts {
        /// Leaves of both.
        size: u64,
        /// Which period began there.
        period: u64,
    },
}

/// One period, as an auditor sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// Where it begins. The time of period 0 is not known: it is the beginning of time.
    pub start: PeriodStart,
    /// Leaves at the start of the next; none if this is the last.
    pub end: Option<u64>,
    /// Whose signature counts from `start.size` to `end`, both included.
    pub key: VerifierKey,
}

/// A checkpoint that the ring stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What was sealed.
    pub checkpoint: Checkpoint,
    /// Number of the period whose key sealed it.
    pub period: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    start: PeriodStart,
    // Not a `VerifierKey`: there may be tens of thousands.
    public: PublicKey,
}

/// The keys of one journal, from the first on.
#[derive(Debug, Clone)]
pub struct KeyRing {
    origin: String,
    /// By number, without gaps; never empty.
    entries: Vec<Entry>,
    used: BTreeSet<PublicKey>,
}

impl KeyRing {
    /// The ring of a journal whose first key is the one with this verifier key.
    #[must_use]
    pub fn from_root(root: &VerifierKey) -> KeyRing {
        let entry = Entry { start: PeriodStart::first(Timestamp(i64::MIN)), public: *root.public() };
        let used = BTreeSet::from([entry.public]);
        KeyRing { origin: root.name().to_owned(), entries: vec![entry], used }
    }

    /// Takes in the next succession.
    ///
    /// # Errors
    ///
    /// When it is not the next, not the word of the key before, or cannot be true; the ring stays as it is.
    pub fn advance(&mut self, succession: &Succession) -> Result<(), RingRejection> {
        let (start, key) = (succession.start(), succession.key());
        let period = start.number;
        if key.name() != self.origin {
            let (expected, found) = (self.origin.clone(), key.name().to_owned());
            return Err(RingRejection::OtherOrigin { expected, found });
        }
        let expected = self.entries.len() as u64;
        let before = period.checked_sub(1).and_then(|before| self.entry(before));
        let Some(before) = before else {
            return Err(RingRejection::Gap { expected, found: period });
        };
        if !succession.is_signed_by(&self.verifier(before)) {
            return Err(RingRejection::Forged { period });
        }
        if let Some(known) = self.entry(period) {
            let is_known = known.start == *start && known.public == *key.public();
            return Err(if is_known {
                RingRejection::Repeated { period }
            } else {
                RingRejection::Fork { period }
            });
        }
        if start.size < before.start.size {
            let (size, before) = (start.size, before.start.size);
            return Err(RingRejection::SizeStepsBack { period, size, before });
        }
        if start.size == before.start.size && start.root != before.start.root {
            return Err(RingRejection::RootDiffers { period });
        }
        if start.started_at < before.start.started_at {
            return Err(RingRejection::TimeStepsBack { period });
        }
        if !self.used.insert(*key.public()) {
            return Err(RingRejection::KeyReused { period });
        }
        self.entries.push(Entry { start: *start, public: *key.public() });
        Ok(())
    }

    /// Which journal it is of.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of the last period.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.entries.len() as u64 - 1
    }

    /// The period of this number; none if the ring does not know it.
    #[must_use]
    pub fn period(&self, number: u64) -> Option<Period> {
        let entry = self.entry(number)?;
        let end = self.entry(number + 1).map(|next| next.start.size);
        Some(Period { start: entry.start, end, key: self.verifier(entry) })
    }

    /// The periods whose keys may sign a checkpoint of this size: one, or a few where one ends and the next begins.
    pub fn periods_at(&self, size: u64) -> impl Iterator<Item = Period> {
        self.entries_at(size).filter_map(|entry| self.period(entry.start.number))
    }

    /// The checkpoint in a note, if the key of its own period has signed it.
    ///
    /// # Errors
    ///
    /// When it is not a checkpoint of this journal, or not by the key whose signature counts at its size.
    pub fn verify(&self, note: &SignedNote) -> Result<Sealed, SealRejection> {
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin() != self.origin {
            let origin = checkpoint.origin().to_owned();
            return Err(CheckpointError::NotItsOwn { origin }.into());
        }
        let size = checkpoint.size();
        let keys: Vec<_> = self.entries_at(size).map(|entry| self.verifier(entry)).collect();
        let signed_by = match note.verify(&keys) {
            Ok(signed_by) => signed_by,
            Err(error) => return Err(self.rejection(note, size, error)),
        };
        for entry in self.entries_at(size) {
            if entry.start.size == size && entry.start.root != *checkpoint.root() {
                return Err(SealRejection::Contradicts { size, period: entry.start.number });
            }
        }
        let sealed_by =
            self.entries_at(size).find(|entry| signed_by.iter().any(|key| *key.public() == entry.public));
        let period = sealed_by.expect("only keys of these periods were tried").start.number;
        Ok(Sealed { checkpoint, period })
    }

    /// Tells a key that was used outside its period from a signature of nobody.
    fn rejection(&self, note: &SignedNote, size: u64, error: NoteError) -> SealRejection {
        let signed = |entry: &&Entry| {
            let key = self.verifier(entry);
            note.signatures().iter().any(|signature| signature.is_by(&key, note.text()))
        };
        match self.entries.iter().find(signed) {
            Some(entry) => SealRejection::OutOfPeriod { size, period: entry.start.number },
            None => SealRejection::Checkpoint(error.into()),
        }
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number).ok()?)
    }

    fn entries_at(&self, size: u64) -> impl Iterator<Item = &Entry> {
        // The one before the first that begins there or later still counts at its very end.
        let from = self.entries.partition_point(|entry| entry.start.size < size).saturating_sub(1);
        self.entries.iter().skip(from).take_while(move |entry| entry.start.size <= size)
    }

    fn verifier(&self, entry: &Entry) -> VerifierKey {
        VerifierKey::new(&self.origin, &entry.public)
            .expect("name and key were those of a verifier key before")
    }
}
