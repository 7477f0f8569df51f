//! The Merkle tree over a journal's records (RFC 6962, section 2.1), and what can be proven with it.
//!
//! The data of leaf `n` is the 32-byte chain hash of record `n + 1`:
//!
//! ```text
//! empty tree = SHA-256 of nothing
//! leaf       = SHA-256(0x00 ‖ chain hash)
//! node       = SHA-256(0x01 ‖ left ‖ right)
//! ```
//!
//! The left part of a node takes the largest power of two of leaves that is smaller than all of them. Nothing here
//! knows where records lie: proofs are made from leaves that the caller hands in, in order, once.

mod proof;
mod verify;

use sha2::{Digest, Sha256};

use crate::frame::Hash;

pub use proof::{ProofError, consistency_proof, inclusion_proof};
pub use verify::{ProofRejection, verify_consistency, verify_inclusion};

/// Most leaves of a tree. One a nanosecond would take 36 years.
pub const LEN_MAX: u64 = 1 << 60;

const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;
const HASH_LEN: usize = size_of::<Hash>();
const COUNT_LEN: usize = size_of::<u64>();

/// Hash of one leaf. A type of its own, so that a record's hash is never taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf(Hash);

impl Leaf {
    /// The leaf of a record, from its hash in the chain.
    #[must_use]
    pub fn of_record(hash: &Hash) -> Leaf {
        // In one piece: to hand over parts that are shorter than a block costs more than to hash it.
        let mut data = [LEAF_PREFIX; 1 + HASH_LEN];
        data[1..].copy_from_slice(hash);
        Leaf(Sha256::digest(data).into())
    }

    /// The leaf of any data.
    #[must_use]
    pub fn of_data(data: &[u8]) -> Leaf {
        Leaf(Sha256::new().chain_update([LEAF_PREFIX]).chain_update(data).finalize().into())
    }

    /// The hash itself, as it stands in proofs.
    #[must_use]
    pub fn hash(&self) -> &Hash {
        &self.0
    }
}

/// Sizes and places that no proof is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// The tree has no such leaf.
    #[error("there is no leaf {index} in a tree of {size}")]
    NoSuchLeaf {
        /// Which leaf, from 0.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// A tree does not grow into a smaller one.
    #[error("a tree of {old} leaves does not become one of {new}")]
    Shrinks {
        /// Leaves in the older tree.
        old: u64,
        /// Leaves in the newer tree.
        new: u64,
    },
}

impl SizeError {
    fn leaf_in(index: u64, size: u64) -> Result<(), SizeError> {
        if index < size { Ok(()) } else { Err(SizeError::NoSuchLeaf { index, size }) }
    }

    fn grows(old: u64, new: u64) -> Result<(), SizeError> {
        if old <= new { Ok(()) } else { Err(SizeError::Shrinks { old, new }) }
    }
}

/// Root of the tree that has no leaf.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut data = [NODE_PREFIX; 1 + 2 * HASH_LEN];
    data[1..=HASH_LEN].copy_from_slice(left);
    data[1 + HASH_LEN..].copy_from_slice(right);
    Sha256::digest(data).into()
}

/// Leaves in the left part of a tree of `len` leaves: the largest power of two below `len`, which is at least 2.
fn split(len: u64) -> u64 {
    1 << (len - 1).ilog2()
}

/// Why bytes are not a frontier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// They are not as many as its number of leaves asks for.
    #[error("frontier has {len} bytes, {expected} expected")]
    Length {
        /// Bytes there.
        len: usize,
        /// Bytes that should be there.
        expected: usize,
    },
    /// It claims more leaves than a tree can have.
    #[error("frontier claims {len} leaves, at most {LEN_MAX} are possible")]
    TooLarge {
        /// Claimed number of leaves.
        len: u64,
    },
}

/// The right edge of a tree: as much of it as is needed to append leaves and to know the root.
///
/// It holds the roots of the full subtrees that the leaves make, the largest first: one for each bit that is set in
/// the number of leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    len: u64,
    nodes: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the tree that has no leaf.
    #[must_use]
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// Number of leaves.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no leaf.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a leaf at the right: one hash on average, and as many as the tree is high at worst.
    pub fn append(&mut self, leaf: Leaf) {
        let mut hash = leaf.0;
        // Each full subtree as high as the one that just became full is its left sibling.
        for _ in 0..self.len.trailing_ones() {
            let left = self.nodes.pop().expect("there is a node for each bit of the length");
            hash = node(&left, &hash);
        }
        self.nodes.push(hash);
        self.len += 1;
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        match nodes.next() {
            Some(last) => nodes.fold(*last, |right, left| node(left, &right)),
            None => empty_root(),
        }
    }

    /// Number of leaves (u64, little-endian), then the nodes, the largest subtree first. There is no checksum: who
    /// stores these bytes compares the root with one that is known from elsewhere.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(COUNT_LEN + self.nodes.len() * HASH_LEN);
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes.extend(self.nodes.iter().flatten());
        bytes
    }

    /// The frontier that was written as these bytes.
    ///
    /// # Errors
    ///
    /// When there are too few or too many bytes, or more leaves than are possible.
    pub fn from_bytes(bytes: &[u8]) -> Result<Frontier, FrontierError> {
        let Some((count, nodes)) = bytes.split_first_chunk::<COUNT_LEN>() else {
            return Err(FrontierError::Length { len: bytes.len(), expected: COUNT_LEN });
        };
        let len = u64::from_le_bytes(*count);
        if len > LEN_MAX {
            return Err(FrontierError::TooLarge { len });
        }
        let (nodes, rest) = nodes.as_chunks::<HASH_LEN>();
        let nodes_expected = (0..u64::BITS).filter(|bit| len >> bit & 1 == 1).count();
        if nodes.len() != nodes_expected || !rest.is_empty() {
            let expected = COUNT_LEN + nodes_expected * HASH_LEN;
            return Err(FrontierError::Length { len: bytes.len(), expected });
        }
        Ok(Frontier { len, nodes: nodes.to_vec() })
    }
}

impl Extend<Leaf> for Frontier {
    fn extend<T: IntoIterator<Item = Leaf>>(&mut self, leaves: T) {
        for leaf in leaves {
            self.append(leaf);
        }
    }
}

#[cfg(test)]
mod tests;
