//! Checking proofs, by the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2.
//!
//! Every node of a proof is used, each in the one place that the sizes leave for it: a proof with a node too few or
//! too many is refused, whatever its roots are.

use super::{Leaf, SizeError, empty_root, node};
use crate::frame::Hash;

/// Why a proof shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRejection {
    /// No such proof can be asked for.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// It has fewer nodes than trees of these sizes need.
    #[error("proof is too short for trees of these sizes")]
    TooShort,
    /// It has more nodes than trees of these sizes need.
    #[error("proof is too long for trees of these sizes")]
    TooLong,
    /// It leads to another root than that of the older tree.
    #[error("proof does not lead to the root of the older tree")]
    OldRootDiffers,
    /// It leads to another root than that of the tree, or of the newer one.
    #[error("proof does not lead to the root of the tree")]
    RootDiffers,
}

/// Where a proof stands on its way up: the leaf's place and the last place, both as seen from the present height.
struct Climb {
    place: u64,
    last: u64,
}

/// On which side the next node of a proof stands.
enum Side {
    Left,
    Right,
}

impl Climb {
    /// Takes one step up; none if the root is reached.
    fn step(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.place & 1 == 1 || self.place == self.last {
            // At the right edge there may be no sibling for a few heights. The place is odd, or the last and so not 0.
            let heights = self.place.trailing_zeros();
            self.place >>= heights;
            self.last >>= heights;
            Side::Left
        } else {
            Side::Right
        };
        self.place >>= 1;
        self.last >>= 1;
        Some(side)
    }

    fn has_arrived(&self) -> Result<(), ProofRejection> {
        if self.last == 0 { Ok(()) } else { Err(ProofRejection::TooShort) }
    }
}

/// Checks that `leaf` is leaf `index`, counted from 0, of the tree of `size` leaves that has this root.
///
/// Size and root must come from one checkpoint: a root alone does not say of how many leaves it is, and some proofs
/// take the same way up in trees of different sizes.
///
/// # Errors
///
/// When the proof does not show it.
pub fn verify_inclusion(
    leaf: Leaf,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofRejection> {
    SizeError::leaf_in(index, size)?;
    let mut climb = Climb { place: index, last: size - 1 };
    let mut hash = *leaf.hash();
    for sibling in proof {
        hash = match climb.step() {
            Some(Side::Left) => node(sibling, &hash),
            Some(Side::Right) => node(&hash, sibling),
            None => return Err(ProofRejection::TooLong),
        };
    }
    climb.has_arrived()?;
    if hash == *root { Ok(()) } else { Err(ProofRejection::RootDiffers) }
}

/// Checks that the tree of `old` leaves became the tree of `new` leaves by appending alone.
///
/// From an `old` of 0 every tree can grow: then only the root of the empty tree is checked.
///
/// # Errors
///
/// When the proof does not show it.
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofRejection> {
    SizeError::grows(old, new)?;
    if old == 0 && *old_root != empty_root() {
        return Err(ProofRejection::OldRootDiffers);
    }
    if old == new && old_root != new_root {
        return Err(ProofRejection::RootDiffers);
    }
    if old == 0 || old == new {
        return if proof.is_empty() { Ok(()) } else { Err(ProofRejection::TooLong) };
    }
    // The largest full subtree at the right edge of the old tree: what both trees have in common there.
    let height = old.trailing_zeros();
    let mut climb = Climb { place: (old - 1) >> height, last: (new - 1) >> height };
    let (first, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(ProofRejection::TooShort)?
    };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        match climb.step() {
            Some(Side::Left) => {
                old_hash = node(sibling, &old_hash);
                new_hash = node(sibling, &new_hash);
            }
            Some(Side::Right) => new_hash = node(&new_hash, sibling),
            None => return Err(ProofRejection::TooLong),
        }
    }
    climb.has_arrived()?;
    if old_hash != *old_root {
        return Err(ProofRejection::OldRootDiffers);
    }
    if new_hash == *new_root { Ok(()) } else { Err(ProofRejection::RootDiffers) }
}
