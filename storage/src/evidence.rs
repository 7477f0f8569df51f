//! Evidence: what stands in the journal beside its records and vouches for them.
//!
//! It is no part of the chain of hashes, and a journal without it is a whole journal. A checkpoint lies with the right
//! edge of its tree, so that whoever goes on from there need not read the records before it again.

use crate::checkpoint::{Checkpoint, CheckpointError, SignedNote};
use crate::merkle::{Frontier, FrontierError};
use crate::sealing::Succession;

/// What the line says that names the checkpoint before.
const PREVIOUS: &str = "previous ";

/// Something that vouches for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// How many records there were, and which.
    Checkpoint(Box<SealedTree>),
    /// Who signs from here on.
    Succession(Box<Succession>),
}

/// Why bytes are not a checkpoint with its tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedTreeError {
    /// They end too early.
    #[error("checkpoint of the journal is cut short")]
    CutShort,
    /// The tree's edge is not one.
    #[error(transparent)]
    Frontier(#[from] FrontierError),
    /// The note is not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The edge is of another tree than the one that was signed.
    #[error("frontier is not that of the tree in its checkpoint")]
    OtherTree,
}

/// A signed checkpoint with the right edge of its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedTree {
    note: SignedNote,
    checkpoint: Checkpoint,
    frontier: Frontier,
}

impl SealedTree {
    /// Puts a note and a tree together. Whose signature it is has to be checked still.
    ///
    /// # Errors
    ///
    /// When the note is not a checkpoint, or one of another tree.
    pub fn new(note: SignedNote, frontier: Frontier) -> Result<SealedTree, SealedTreeError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.size() != frontier.len() || *checkpoint.root() != frontier.root() {
            return Err(SealedTreeError::OtherTree);
        }
        Ok(SealedTree { note, checkpoint, frontier })
    }

    /// What was signed, with its signatures.
    #[must_use]
    pub fn note(&self) -> &SignedNote {
        &self.note
    }

    /// What was signed.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The right edge of the tree.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Size of the checkpoint before this one, as it says: 0 if it is the first; none if it does not say.
    #[must_use]
    pub fn previous(&self) -> Option<u64> {
        let mut lines = self.checkpoint.extensions().iter();
        lines.find_map(|line| line.strip_prefix(PREVIOUS)?.parse().ok())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let frontier = self.frontier.to_bytes();
        let len = u16::try_from(frontier.len()).expect("a frontier has at most 61 hashes");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&frontier);
        out.extend_from_slice(self.note.to_string().as_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SealedTree, SealedTreeError> {
        let (len, rest) = bytes.split_first_chunk().ok_or(SealedTreeError::CutShort)?;
        let len = usize::from(u16::from_le_bytes(*len));
        let (frontier, note) = rest.split_at_checked(len).ok_or(SealedTreeError::CutShort)?;
        let note = SignedNote::parse(note).map_err(CheckpointError::from)?;
        SealedTree::new(note, Frontier::from_bytes(frontier)?)
    }
}

/// The line of a checkpoint that says of which size the one before it is.
pub(crate) fn previous_line(size: u64) -> String {
    format!("{PREVIOUS}{size}")
}

/// The newest evidence of each kind; each segment begins with it, so that nobody has to look in the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) checkpoint: Option<Box<SealedTree>>,
    pub(crate) succession: Option<Box<Succession>>,
}

impl Newest {
    pub(crate) fn note(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Checkpoint(tree) => self.checkpoint = Some(tree),
            Evidence::Succession(succession) => self.succession = Some(succession),
        }
    }

    pub(crate) fn to_evidence(&self) -> Vec<Evidence> {
        // A succession may be younger than the checkpoint, and so comes after it.
        let checkpoint = self.checkpoint.clone().map(Evidence::Checkpoint);
        let succession = self.succession.clone().map(Evidence::Succession);
        checkpoint.into_iter().chain(succession).collect()
    }
}
