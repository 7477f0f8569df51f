//! Forward-secure sealing: who takes today's key cannot seal yesterday's records.
//!
//! Checkpoints are signed with a key that is replaced, period after period. The key of a period signs who comes after
//! it, together with the tree as it is at that moment, and is then erased:
//!
//! ```text
//! key 0 ──signs──▶ key 1, from size 5,000, root a1… ──signs──▶ key 2, from size 9,000, root 7c… ──signs──▶ …
//!   ╰ its verifier key is kept off the host
//! ```
//!
//! With the verifier key of key 0 alone an auditor follows the successions and knows for every size of the journal
//! whose signature counts. A stolen key can go on from where it is, but its predecessors are gone, and what the tree
//! was when it took over is signed by one of them.
//!
//! Nothing here asks for the time or for randomness, and only [`KeyFile`] touches the disk.

pub mod file;
pub mod ring;
pub mod succession;

use purser_events::Timestamp;

use crate::checkpoint::{Checkpoint, CheckpointError, KeyError, NoteSigner, Seed, SignedNote, VerifierKey};
use crate::frame::Hash;
use crate::merkle;

pub use file::{KeyFile, KeyFileError};
pub use ring::{KeyRing, Period, RingRejection, SealRejection, Sealed};
pub use succession::{Succession, SuccessionError};

/// Why a key cannot do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// The journal's name cannot be that of a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The checkpoint is of another journal, or cannot be signed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tree is smaller than it was when the key took over.
    #[error("journal has {size} records, it had {start} when this key took over")]
    SizeStepsBack {
        /// Leaves now.
        size: u64,
        /// Leaves at the start of the key's period.
        start: u64,
    },
    /// The tree is as large as it was when the key took over, but another.
    #[error("journal of {size} records has another root than when this key took over")]
    RootDiffers {
        /// Leaves of both.
        size: u64,
    },
    /// The tree has more leaves than is possible.
    #[error("journal cannot have {size} records")]
    TooLarge {
        /// Leaves it should have.
        size: u64,
    },
    /// The next key would be the present one: the source of seeds is broken.
    #[error("seed of the next key is that of the present one: the source of randomness is broken")]
    SameKey,
}

/// Where a period begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodStart {
    /// The period's number; 0 is the first.
    pub number: u64,
    /// When it began, by the node's clock; never before the one ahead of it began.
    pub started_at: Timestamp,
    /// Leaves that the tree had.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
}

impl PeriodStart {
    /// The first period covers a journal from its first record.
    pub(crate) fn first(started_at: Timestamp) -> PeriodStart {
        PeriodStart { number: 0, started_at, size: 0, root: merkle::empty_root() }
    }

    /// Whether a tree can be one that was there at this start or has grown since.
    fn check_growth(&self, size: u64, root: &Hash) -> Result<(), SealingError> {
        if size > merkle::LEN_MAX {
            return Err(SealingError::TooLarge { size });
        }
        if size < self.size {
            return Err(SealingError::SizeStepsBack { size, start: self.size });
        }
        if size == self.size && *root != self.root {
            return Err(SealingError::RootDiffers { size });
        }
        Ok(())
    }
}

/// How a key came to be the one that seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appointment {
    /// It is the first: its verifier key is kept off the host.
    Root {
        /// When it was made.
        created_at: Timestamp,
    },
    /// The key before it said so.
    Succession(Box<Succession>),
}

/// The secret key of one period; wiped when dropped.
#[derive(Debug)]
pub struct SealingKey {
    signer: NoteSigner,
    appointment: Appointment,
}

impl SealingKey {
    /// Makes the first key of a journal.
    ///
    /// # Errors
    ///
    /// When the origin cannot be the name of a key.
    pub fn first(origin: &str, seed: &Seed, created_at: Timestamp) -> Result<SealingKey, SealingError> {
        let signer = NoteSigner::new(origin, seed)?;
        Ok(SealingKey { signer, appointment: Appointment::Root { created_at } })
    }

    /// Makes the next key and appoints it, from a tree of `size` leaves with this root on. A clock that went back does
    /// not hold it up: the new period then begins when this one began.
    ///
    /// Keep the new key with [`KeyFile::replace`], then write its succession into the journal, then drop this one: a
    /// start that finds the file's succession missing in the journal writes it there first.
    ///
    /// # Errors
    ///
    /// When the tree cannot have grown out of the one at this key's start, or the seed is a used one.
    pub fn succeed(
        &self,
        seed: &Seed,
        size: u64,
        root: &Hash,
        now: Timestamp,
    ) -> Result<SealingKey, SealingError> {
        let start = self.start();
        start.check_growth(size, root)?;
        let signer = NoteSigner::new(self.origin(), seed)?;
        if signer.verifier() == self.verifier() {
            return Err(SealingError::SameKey);
        }
        let next = PeriodStart {
            number: start.number + 1,
            started_at: now.max(start.started_at),
            size,
            root: *root,
        };
        let succession = Succession::sign(next, signer.verifier().clone(), &self.signer);
        Ok(SealingKey { signer, appointment: Appointment::Succession(Box::new(succession)) })
    }

    /// Signs a checkpoint of the key's own period.
    ///
    /// # Errors
    ///
    /// When it is of another journal, or of a tree that cannot have grown out of the one at this key's start.
    pub fn seal(&self, checkpoint: &Checkpoint) -> Result<SignedNote, SealingError> {
        self.start().check_growth(checkpoint.size(), checkpoint.root())?;
        Ok(checkpoint.sign(&self.signer)?)
    }

    /// Which journal it seals.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.verifier().name()
    }

    /// Its public half.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// Where its period begins.
    #[must_use]
    pub fn start(&self) -> PeriodStart {
        match &self.appointment {
            Appointment::Root { created_at } => PeriodStart::first(*created_at),
            Appointment::Succession(succession) => *succession.start(),
        }
    }

    /// How it came to be the one that seals.
    #[must_use]
    pub fn appointment(&self) -> &Appointment {
        &self.appointment
    }
}

#[cfg(test)]
mod tests;
