//! Tests of the tree: known answers, every proof of small trees against a plain recursive reading of the RFC, and
//! everything near a proof that is none.

use std::convert::Infallible;

use super::*;

/// The leaves of the reference tree in Certificate Transparency's own tests, in hex.
const CT_LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

/// The roots over the first 0 to 8 of them.
const CT_ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Sizes up to which everything is tried.
const SIZE_MAX: usize = 70;

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "half a byte in {hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hash(hex: &str) -> Hash {
    bytes(hex).try_into().unwrap()
}

fn ct_leaves() -> Vec<Leaf> {
    CT_LEAVES.iter().map(|leaf| Leaf::of_data(&bytes(leaf))).collect()
}

fn leaves(len: usize) -> Vec<Leaf> {
    (0..len as u64).map(|n| Leaf::of_record(&Sha256::digest(n.to_le_bytes()).into())).collect()
}

fn frontier(leaves: &[Leaf]) -> Frontier {
    let mut frontier = Frontier::new();
    frontier.extend(leaves.iter().copied());
    frontier
}

fn readable(leaves: &[Leaf]) -> impl Iterator<Item = Result<Leaf, Infallible>> {
    leaves.iter().copied().map(Ok)
}

fn inclusion(index: usize, leaves: &[Leaf]) -> Vec<Hash> {
    inclusion_proof(index as u64, leaves.len() as u64, readable(leaves)).unwrap()
}

fn consistency(old: usize, leaves: &[Leaf]) -> Vec<Hash> {
    consistency_proof(old as u64, leaves.len() as u64, readable(leaves)).unwrap()
}

/// The RFC's own recursive definitions, with no thought for cost.
mod reference {
    use super::*;

    fn middle(len: usize) -> usize {
        (0..).map(|bit| 1 << bit).take_while(|power| *power < len).last().unwrap()
    }

    pub(super) fn root(leaves: &[Leaf]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => leaf.0,
            _ => {
                let (left, right) = leaves.split_at(middle(leaves.len()));
                Sha256::digest([&[0x01][..], &root(left), &root(right)].concat()).into()
            }
        }
    }

    pub(super) fn path(index: usize, leaves: &[Leaf]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let middle = middle(leaves.len());
        let (left, right) = leaves.split_at(middle);
        let (mut path, other) = if index < middle {
            (path(index, left), root(right))
        } else {
            (path(index - middle, right), root(left))
        };
        path.push(other);
        path
    }

    pub(super) fn proof(old: usize, leaves: &[Leaf]) -> Vec<Hash> {
        if old == 0 { Vec::new() } else { subproof(old, leaves, true) }
    }

    fn subproof(old: usize, leaves: &[Leaf], is_whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if is_whole { Vec::new() } else { vec![root(leaves)] };
        }
        let middle = middle(leaves.len());
        let (left, right) = leaves.split_at(middle);
        let (mut proof, other) = if old <= middle {
            (subproof(old, left, is_whole), root(right))
        } else {
            (subproof(old - middle, right, false), root(left))
        };
        proof.push(other);
        proof
    }
}

#[test]
fn roots_are_those_of_certificate_transparency() {
    let leaves = ct_leaves();
    for (len, root) in CT_ROOTS.iter().enumerate() {
        assert_eq!(frontier(&leaves[..len]).root(), hash(root), "root over {len} leaves");
    }
}

#[test]
fn proofs_are_those_of_certificate_transparency() {
    let leaves = ct_leaves();
    let path = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(inclusion(5, &leaves), path.map(hash));
    let proof = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(consistency(6, &leaves), proof.map(hash));
    let proof = [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ];
    assert_eq!(consistency(2, &leaves[..5]), proof.map(hash));
}

#[test]
fn frontiers_have_the_roots_of_the_reference() {
    let leaves = leaves(4_100);
    let larger = [127, 128, 129, 1_000, 1_023, 1_024, 1_025, 4_095, 4_096, 4_097, 4_100];
    let mut frontier = Frontier::new();
    for (leaf, len) in leaves.iter().zip(1..) {
        frontier.append(*leaf);
        if len <= SIZE_MAX || larger.contains(&len) {
            assert_eq!(frontier.root(), reference::root(&leaves[..len]), "root over {len} leaves");
        }
    }
}

#[test]
fn every_leaf_of_small_trees_is_proven_to_be_in_them() {
    let leaves = leaves(SIZE_MAX);
    for size in 1..=SIZE_MAX {
        let leaves = &leaves[..size];
        let root = frontier(leaves).root();
        for index in 0..size {
            let proof = inclusion(index, leaves);
            assert_eq!(proof, reference::path(index, leaves), "leaf {index} of {size}");
            let verified = verify_inclusion(leaves[index], index as u64, size as u64, &proof, &root);
            assert_eq!(verified, Ok(()), "leaf {index} of {size}");
        }
    }
}

#[test]
fn every_small_tree_is_proven_to_grow_into_the_larger() {
    let leaves = leaves(SIZE_MAX);
    let roots: Vec<_> = (0..=SIZE_MAX).map(|size| frontier(&leaves[..size]).root()).collect();
    for new in 0..=SIZE_MAX {
        for old in 0..=new {
            let proof = consistency(old, &leaves[..new]);
            assert_eq!(proof, reference::proof(old, &leaves[..new]), "{old} to {new}");
            let verified = verify_consistency(old as u64, new as u64, &proof, &roots[old], &roots[new]);
            assert_eq!(verified, Ok(()), "{old} to {new}");
        }
    }
}

/// Every list of nodes that is one step away from a proof: each bit flipped, each node dropped, doubled or swapped
/// with the next, and nodes added at each place.
fn near(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut near = Vec::new();
    for at in 0..proof.len() {
        for bit in 0..256 {
            let mut flipped = proof.to_vec();
            flipped[at][bit / 8] ^= 1 << (bit % 8);
            near.push(flipped);
        }
        let mut dropped = proof.to_vec();
        dropped.remove(at);
        near.push(dropped);
        let mut doubled = proof.to_vec();
        doubled.insert(at, proof[at]);
        near.push(doubled);
        if at + 1 < proof.len() {
            let mut swapped = proof.to_vec();
            swapped.swap(at, at + 1);
            near.push(swapped);
        }
    }
    for at in 0..=proof.len() {
        for extra in [[0; 32], empty_root()] {
            let mut added = proof.to_vec();
            added.insert(at, extra);
            near.push(added);
        }
    }
    near
}

fn flipped(hash: &Hash) -> Hash {
    let mut flipped = *hash;
    flipped[31] ^= 1;
    flipped
}

#[test]
fn what_is_near_an_inclusion_proof_is_refused() {
    let leaves = leaves(18);
    let roots: Vec<_> = (0..=18).map(|size| frontier(&leaves[..size]).root()).collect();
    for size in 1..=17 {
        for index in 0..size {
            let (at, of) = (index as u64, size as u64);
            let (leaf, root) = (leaves[index], &roots[size]);
            let proof = inclusion(index, &leaves[..size]);
            for near in near(&proof) {
                assert!(verify_inclusion(leaf, at, of, &near, root).is_err(), "{index} of {size}: {near:?}");
            }
            for other in (0..of + 2).filter(|other| *other != at) {
                assert!(
                    verify_inclusion(leaf, other, of, &proof, root).is_err(),
                    "{index} as {other} of {size}"
                );
            }
            for other in (0..=18).filter(|other| *other != size) {
                let verified = verify_inclusion(leaf, at, other as u64, &proof, &roots[other]);
                assert!(verified.is_err(), "{index} of {size} in the tree of {other}");
            }
            assert!(verify_inclusion(leaf, at, of, &proof, &flipped(root)).is_err());
            assert!(verify_inclusion(Leaf(flipped(&leaf.0)), at, of, &proof, root).is_err());
        }
    }
}

#[test]
fn what_is_near_a_consistency_proof_is_refused() {
    let leaves = leaves(18);
    let roots: Vec<_> = (0..=18).map(|size| frontier(&leaves[..size]).root()).collect();
    for new in 1..=17 {
        for old in 1..=new {
            let (from, to) = (old as u64, new as u64);
            let proof = consistency(old, &leaves[..new]);
            for near in near(&proof) {
                let verified = verify_consistency(from, to, &near, &roots[old], &roots[new]);
                assert!(verified.is_err(), "{old} to {new}: {near:?}");
            }
            // Other sizes with their own true roots: refused unless their proof happens to be the same, as is the
            // empty one of trees that have nothing to prove.
            for (from, to) in (0..=18).map(|other| (other, new)).chain((old..=18).map(|other| (old, other))) {
                let verified = verify_consistency(from as u64, to as u64, &proof, &roots[from], &roots[to]);
                let is_their_proof = from <= to && proof == reference::proof(from, &leaves[..to]);
                assert_eq!(
                    verified.is_ok(),
                    is_their_proof,
                    "{from} to {to} by the proof for {old} to {new}"
                );
            }
            let (old_flipped, new_flipped) = (flipped(&roots[old]), flipped(&roots[new]));
            assert!(verify_consistency(from, to, &proof, &old_flipped, &roots[new]).is_err());
            assert!(verify_consistency(from, to, &proof, &roots[old], &new_flipped).is_err());
            // A tree is consistent with itself, whatever its root.
            let verified = verify_consistency(from, to, &proof, &old_flipped, &new_flipped);
            assert_eq!(verified.is_ok(), old == new, "{old} to {new}");
        }
    }
}

#[test]
fn from_the_empty_tree_only_its_own_root_counts() {
    let root = frontier(&leaves(3)).root();
    assert_eq!(verify_consistency(0, 3, &[], &empty_root(), &root), Ok(()));
    assert_eq!(verify_consistency(0, 3, &[], &root, &root), Err(ProofRejection::OldRootDiffers));
    assert_eq!(verify_consistency(0, 3, &[root], &empty_root(), &root), Err(ProofRejection::TooLong));
    assert_eq!(verify_consistency(0, 0, &[], &root, &root), Err(ProofRejection::OldRootDiffers));
}

#[test]
fn a_proof_of_the_largest_numbers_ends() {
    let proof = vec![[7; 32]; 200];
    let refused = verify_inclusion(leaves(1)[0], u64::MAX - 1, u64::MAX, &proof, &[7; 32]);
    assert_eq!(refused, Err(ProofRejection::TooLong));
    let refused = verify_consistency(u64::MAX - 1, u64::MAX, &proof, &[7; 32], &[7; 32]);
    assert_eq!(refused, Err(ProofRejection::TooLong));
}

#[test]
fn proofs_of_trees_that_are_not_there_are_not_made() {
    let leaves = leaves(5);
    let made = inclusion_proof(5, 5, readable(&leaves));
    assert_eq!(made, Err(SizeError::NoSuchLeaf { index: 5, size: 5 }.into()));
    let made = consistency_proof(6, 5, readable(&leaves));
    assert_eq!(made, Err(SizeError::Shrinks { old: 6, new: 5 }.into()));
    let made = inclusion_proof(1, 6, readable(&leaves));
    assert_eq!(made, Err(ProofError::TooFewLeaves { read: 5, size: 6 }));
}

#[test]
fn a_leaf_that_cannot_be_read_ends_the_proof() {
    let leaves = leaves(5);
    let failing =
        leaves.iter().zip(0..).map(|(leaf, index)| if index == 3 { Err("gone") } else { Ok(*leaf) });
    let made = consistency_proof(2, 5, failing);
    assert_eq!(made, Err(ProofError::Leaf { index: 3, source: "gone" }));
}

#[test]
fn no_more_leaves_are_taken_than_the_tree_has() {
    let leaves = leaves(9);
    let mut taken = 0;
    let counted = readable(&leaves).inspect(|_| taken += 1);
    consistency_proof(3, 5, counted).unwrap();
    assert_eq!(taken, 5);
}

#[test]
fn a_frontier_goes_on_after_it_was_stored() {
    let leaves = leaves(SIZE_MAX);
    for len in 0..SIZE_MAX {
        let mut stored = Frontier::from_bytes(&frontier(&leaves[..len]).to_bytes()).unwrap();
        assert_eq!(stored.len(), len as u64);
        assert_eq!(stored.is_empty(), len == 0);
        stored.append(leaves[len]);
        assert_eq!(stored, frontier(&leaves[..=len]));
    }
}

#[test]
fn bytes_that_are_no_frontier_are_refused() {
    let bytes = frontier(&leaves(7)).to_bytes();
    for len in 0..bytes.len() {
        assert!(Frontier::from_bytes(&bytes[..len]).is_err(), "cut at {len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    let expected = bytes.len();
    assert_eq!(Frontier::from_bytes(&longer), Err(FrontierError::Length { len: expected + 1, expected }));
    for len in [LEN_MAX + 1, u64::MAX] {
        let claimed = [&len.to_le_bytes()[..], &[0; 64 * HASH_LEN]].concat();
        assert_eq!(Frontier::from_bytes(&claimed), Err(FrontierError::TooLarge { len }));
    }
}
