//! Checkpoints: how many records a journal has and what their Merkle root is, in a text that is signed.
//!
//! The text is that of C2SP `tlog-checkpoint`, the signatures those of C2SP `signed-note` with Ed25519, so that
//! programs that know nothing of Purser can keep and compare them:
//!
//! ```text
//! <origin>
//! <size, decimal>
//! <root, base64>
//! <further lines, if any>
//!
//! — <key name, which is the origin> <base64 of the key's id and the signature>
//! ```

mod key;
mod note;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::frame::Hash;
use crate::merkle;

pub use key::{KEY_NAME_LEN_MAX, KeyError, NoteSigner, PublicKey, Seed, VerifierKey};
pub(crate) use key::{SIGNATURE_LEN, Signature};
pub use note::{NOTE_LEN_MAX, NoteError, NoteSignature, SIGNATURES_MAX, SignedNote};

/// Most lines behind the root.
pub const EXTENSIONS_MAX: usize = 16;

/// Longest line of a checkpoint, in bytes. An origin is no longer than the name of a key.
pub const LINE_LEN_MAX: usize = 1_024;

/// Why something is not a checkpoint, or not one to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It has fewer than three lines, or its last one does not end.
    #[error("checkpoint is cut short")]
    CutShort,
    /// A line is empty, too long, or holds a control character.
    #[error("line {line} of the checkpoint is empty, too long or holds control characters")]
    Line {
        /// Which line, from 1.
        line: usize,
    },
    /// It has more lines behind the root than are read.
    #[error("checkpoint has more than {EXTENSIONS_MAX} lines behind its root")]
    TooManyLines,
    /// The second line is not a number of leaves in its one decimal form.
    #[error("size of the checkpoint is not a decimal number of at most {}", merkle::LEN_MAX)]
    Size,
    /// The third line is not 32 bytes in base64.
    #[error("root of the checkpoint is not 32 bytes in base64")]
    Root,
    /// The signatures are not in order.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Keys that are known have signed it, but none that has the journal's name.
    #[error("no key of `{origin}` itself has signed the checkpoint")]
    NotItsOwn {
        /// What the checkpoint is of.
        origin: String,
    },
}

/// What a journal was at some size: no more and no other records up to there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// The checkpoint of a tree of `size` leaves that has this root.
    ///
    /// # Errors
    ///
    /// When the origin cannot be a line, or there are more leaves than a tree can have.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Checkpoint, CheckpointError> {
        if size > merkle::LEN_MAX {
            return Err(CheckpointError::Size);
        }
        check_line(1, origin, KEY_NAME_LEN_MAX)?;
        Ok(Checkpoint { origin: origin.to_owned(), size, root, extensions: Vec::new() })
    }

    /// The same with one more line behind the root.
    ///
    /// # Errors
    ///
    /// When it cannot be a line, or there are too many.
    pub fn with_extension(mut self, line: &str) -> Result<Checkpoint, CheckpointError> {
        if self.extensions.len() == EXTENSIONS_MAX {
            return Err(CheckpointError::TooManyLines);
        }
        check_line(self.extensions.len() + 4, line, LINE_LEN_MAX)?;
        self.extensions.push(line.to_owned());
        Ok(self)
    }

    /// Which journal it is of.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// The lines behind the root, without meaning here.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// Reads the text of a checkpoint, which says nothing before its signatures are verified.
    ///
    /// # Errors
    ///
    /// When it is not written exactly as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
        let lines = text.strip_suffix('\n').ok_or(CheckpointError::CutShort)?;
        let mut lines = lines.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::CutShort);
        };
        let size = size.parse::<u64>().ok().filter(|number| number.to_string() == size);
        let size = size.ok_or(CheckpointError::Size)?;
        let root = STANDARD.decode(root).ok().and_then(|root| Hash::try_from(root).ok());
        let checkpoint = Checkpoint::new(origin, size, root.ok_or(CheckpointError::Root)?)?;
        lines.try_fold(checkpoint, Checkpoint::with_extension)
    }

    /// Signs it with a key of the journal's own.
    ///
    /// # Errors
    ///
    /// When the key has another name than the checkpoint's origin.
    pub fn sign(&self, signer: &NoteSigner) -> Result<SignedNote, CheckpointError> {
        if signer.verifier().name() != self.origin {
            return Err(CheckpointError::NotItsOwn { origin: self.origin.clone() });
        }
        Ok(SignedNote::sign(&self.to_string(), signer)?)
    }

    /// The checkpoint in a note, once a trusted key that has the origin's name is found to have signed it.
    ///
    /// # Errors
    ///
    /// When there is no such signature, when one of a trusted key is wrong, or the text is not a checkpoint.
    pub fn verify(note: &SignedNote, trusted: &[VerifierKey]) -> Result<Checkpoint, CheckpointError> {
        let signed_by = note.verify(trusted)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if signed_by.iter().any(|key| key.name() == checkpoint.origin) {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::NotItsOwn { origin: checkpoint.origin })
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root))?;
        self.extensions.iter().try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

fn check_line(number: usize, line: &str, len_max: usize) -> Result<(), CheckpointError> {
    if line.is_empty() || line.len() > len_max || line.contains(char::is_control) {
        return Err(CheckpointError::Line { line: number });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
