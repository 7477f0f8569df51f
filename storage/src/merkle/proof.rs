//! Making proofs: one pass over the leaves, and memory that grows with the height of the tree alone.
//!
//! Every node of a proof is the root over a run of neighbouring leaves, and these runs never overlap. So they are
//! laid out first, from the sizes alone, and then hashed as the leaves go by.

use std::ops::Range;

use super::{Frontier, Leaf, SizeError, split};
use crate::frame::Hash;

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    /// No such proof can be asked for.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The leaves ended before those that the proof needs.
    #[error("there are {read} leaves, the proof is over {size}")]
    TooFewLeaves {
        /// Leaves there.
        read: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// A leaf could not be read.
    #[error("failed to read leaf {index}")]
    Leaf {
        /// Which leaf, from 0.
        index: u64,
        /// What the caller's iterator said.
        source: E,
    },
}

/// The proof that leaf `index`, counted from 0, is in the tree of the first `size` leaves (RFC 6962, section 2.1.1).
/// `leaves` begins with leaf 0; no more than `size` are taken.
///
/// # Errors
///
/// When there is no such leaf, or the leaves end or cannot be read.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    leaves: impl Iterator<Item = Result<Leaf, E>>,
) -> Result<Vec<Hash>, ProofError<E>> {
    SizeError::leaf_in(index, size)?;
    hash_runs(&inclusion_runs(index, size), size, leaves)
}

/// The proof that the tree of the first `old` leaves became the tree of the first `new` by appending alone (RFC 6962,
/// section 2.1.2); empty if `old` is 0 or equals `new`. `leaves` begins with leaf 0; no more than `new` are taken.
///
/// # Errors
///
/// When `old` is above `new`, or the leaves end or cannot be read.
pub fn consistency_proof<E>(
    old: u64,
    new: u64,
    leaves: impl Iterator<Item = Result<Leaf, E>>,
) -> Result<Vec<Hash>, ProofError<E>> {
    SizeError::grows(old, new)?;
    hash_runs(&consistency_runs(old, new), new, leaves)
}

/// From the root down to the leaf, the other half at every step; in a proof the lowest comes first.
fn inclusion_runs(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    let mut tree = 0..size;
    while tree.end - tree.start > 1 {
        let middle = tree.start + split(tree.end - tree.start);
        if index < middle {
            runs.push(middle..tree.end);
            tree.end = middle;
        } else {
            runs.push(tree.start..middle);
            tree.start = middle;
        }
    }
    runs.reverse();
    runs
}

/// From the root down to the place where the old tree ends, the other half at every step.
fn consistency_runs(old: u64, new: u64) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    if old == 0 {
        return runs;
    }
    let mut tree = 0..new;
    while tree.end > old {
        let middle = tree.start + split(tree.end - tree.start);
        if old <= middle {
            runs.push(middle..tree.end);
            tree.end = middle;
        } else {
            runs.push(tree.start..middle);
            tree.start = middle;
        }
    }
    // A subtree that begins with the first leaf is the old tree itself, whose root the verifier has.
    if tree.start > 0 {
        runs.push(tree);
    }
    runs.reverse();
    runs
}

/// The root over each run, in the order of `runs`.
fn hash_runs<E>(
    runs: &[Range<u64>],
    size: u64,
    mut leaves: impl Iterator<Item = Result<Leaf, E>>,
) -> Result<Vec<Hash>, ProofError<E>> {
    let mut in_order: Vec<_> = runs.iter().zip(0..).collect();
    in_order.sort_by_key(|(run, _)| run.start);
    let mut hashed: Vec<(usize, Hash)> = Vec::with_capacity(runs.len());
    let mut read = 0;
    for (run, place) in in_order {
        let mut frontier = Frontier::new();
        while read < run.end {
            let leaf = match leaves.next() {
                Some(Ok(leaf)) => leaf,
                Some(Err(source)) => return Err(ProofError::Leaf { index: read, source }),
                None => return Err(ProofError::TooFewLeaves { read, size }),
            };
            if read >= run.start {
                frontier.append(leaf);
            }
            read += 1;
        }
        hashed.push((place, frontier.root()));
    }
    hashed.sort_by_key(|(place, _)| *place);
    Ok(hashed.into_iter().map(|(_, hash)| hash).collect())
}
