//! Proofs that one record is in a journal, as text in the form of C2SP `tlog-proof`: whoever has the verifier key and
//! the record can check one without the journal.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index <of the leaf, from 0: the record's number less one>
//! <sibling's hash, base64>
//! …
//!
//! <signed checkpoint>
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use purser_events::Seq;

use crate::checkpoint::{Checkpoint, CheckpointError, SignedNote};
use crate::frame::Hash;
use crate::merkle::{self, Leaf, ProofRejection};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Why a text is not a proof, or does not prove what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Its first line is another.
    #[error("text is not a proof: its first line is not `{FIRST_LINE}`")]
    Foreign,
    /// It has no empty line with a checkpoint behind it.
    #[error("proof has no checkpoint")]
    CutShort,
    /// The line with the leaf's place is missing or malformed.
    #[error("proof does not say in its one decimal form of which leaf it is")]
    Index,
    /// A line is not a hash.
    #[error("line {line} of the proof is not 32 bytes in base64")]
    Hash {
        /// Which line, from 1.
        line: usize,
    },
    /// What it ends with is not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is of another record.
    #[error("proof is of record {found}, not of record {expected}")]
    OtherRecord {
        /// The record asked about.
        expected: Seq,
        /// The one that it is of.
        found: Seq,
    },
    /// It does not lead from the record to the checkpoint.
    #[error(transparent)]
    Proof(#[from] ProofRejection),
}

/// A record's way up to a signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The record's place among the leaves, from 0.
    pub index: u64,
    /// The siblings on the way, the lowest first.
    pub hashes: Vec<Hash>,
    /// What it leads to. Whose signature it has is to be checked by whoever knows the keys.
    pub note: SignedNote,
}

impl TlogProof {
    /// Reads a proof; extra data in it is passed over, since nobody vouches for it.
    ///
    /// # Errors
    ///
    /// When the text is not a proof.
    pub fn parse(text: &str) -> Result<TlogProof, TlogProofError> {
        let (head, note) = text.split_once("\n\n").ok_or(TlogProofError::CutShort)?;
        let mut lines = head.split('\n').zip(1..).peekable();
        if lines.next().is_none_or(|(line, _)| line != FIRST_LINE) {
            return Err(TlogProofError::Foreign);
        }
        lines.next_if(|(line, _)| line.starts_with("extra "));
        let index = lines.next().and_then(|(line, _)| {
            let digits = line.strip_prefix("index ")?;
            digits.parse::<u64>().ok().filter(|index| index.to_string() == digits)
        });
        let index = index.ok_or(TlogProofError::Index)?;
        let hash = |(text, line): (&str, usize)| {
            let bytes = STANDARD.decode(text).ok();
            bytes.and_then(|bytes| Hash::try_from(bytes).ok()).ok_or(TlogProofError::Hash { line })
        };
        let hashes = lines.map(hash).collect::<Result<_, _>>()?;
        let note = SignedNote::parse(note.as_bytes()).map_err(CheckpointError::from)?;
        Ok(TlogProof { index, hashes, note })
    }

    /// Checks that the record of this number, with this hash in the chain, is under the checkpoint. Whether the
    /// checkpoint's signature counts is another question.
    ///
    /// # Errors
    ///
    /// When the proof does not show it.
    pub fn check(&self, seq: Seq, hash: &Hash) -> Result<Checkpoint, TlogProofError> {
        let found = Seq(self.index.saturating_add(1));
        if found != seq {
            return Err(TlogProofError::OtherRecord { expected: seq, found });
        }
        let checkpoint = Checkpoint::parse(self.note.text())?;
        let leaf = Leaf::of_record(hash);
        merkle::verify_inclusion(leaf, self.index, checkpoint.size(), &self.hashes, checkpoint.root())?;
        Ok(checkpoint)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{FIRST_LINE}\nindex {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(formatter, "{}", STANDARD.encode(hash)))?;
        write!(formatter, "\n{}", self.note)
    }
}
