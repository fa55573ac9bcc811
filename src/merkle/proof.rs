//! Inclusion and consistency proofs of RFC 6962, sections 2.1.1 and 2.1.2, and their verification as in
//! RFC 9162, sections 2.1.3.2 and 2.1.4.2.
//!
//! A proof is made of *nodes*: node i of level l is the root over the 2^l leaves from i · 2^l on. Where
//! they come from is the caller's, and so are its errors.

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;

use thiserror::Error;

use crate::merkle::{Hash, node_hash};

/// Most hashes of a proof: a tree of the largest size is 63 nodes high, and a proof has at most one more.
pub const MAX_PROOF_HASHES: usize = 64;

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the proof does not lead to the root")]
pub struct BadProof;

/// Leaves from `first` on, behind which `end` is. Those of one come from cutting a tree in two as RFC 6962
/// does, so that `first` is a multiple of the largest power of two that is less than their number.
#[derive(Clone, Copy)]
struct Span {
    first: u64,
    end: u64,
}

impl Span {
    fn len(self) -> u64 {
        self.end - self.first
    }

    /// The halves: of the first, the length is the largest power of two that is less than the whole.
    fn cut(self) -> (Span, Span) {
        let middle = self.first + self.len().next_power_of_two() / 2;
        (Span { end: middle, ..self }, Span { first: middle, ..self })
    }

    fn root<E>(self, nodes: &mut dyn FnMut(u32, u64) -> Result<Hash, E>) -> Result<Hash, E> {
        if self.len().is_power_of_two() {
            let level = self.len().trailing_zeros();
            return nodes(level, self.first >> level);
        }
        let (left, right) = self.cut();
        Ok(node_hash(&left.root(nodes)?, &right.root(nodes)?))
    }
}

/// The root of the tree over the first `size` leaves, which MUST be at least 1.
///
/// # Errors
/// Those of `nodes`.
pub fn root<E>(mut nodes: impl FnMut(u32, u64) -> Result<Hash, E>, size: u64) -> Result<Hash, E> {
    Span { first: 0, end: size }.root(&mut nodes)
}

/// Proves that leaf `leaf`, from 0, is in the tree of `size` leaves. The leaf MUST be one of them.
///
/// # Errors
/// Those of `nodes`.
pub fn inclusion_proof<E>(
    mut nodes: impl FnMut(u32, u64) -> Result<Hash, E>,
    leaf: u64,
    size: u64,
) -> Result<Vec<Hash>, E> {
    let mut span = Span { first: 0, end: size };
    let mut siblings = Vec::new();
    while span.len() > 1 {
        let (left, right) = span.cut();
        let (next, sibling) = if leaf < right.first { (left, right) } else { (right, left) };
        siblings.push(sibling.root(&mut nodes)?);
        span = next;
    }
    siblings.reverse();
    Ok(siblings)
}

/// Proves that the tree of `from` leaves is the beginning of the one of `to`. `from` MUST be at least 1 and at
/// most `to`.
///
/// # Errors
/// Those of `nodes`.
pub fn consistency_proof<E>(
    mut nodes: impl FnMut(u32, u64) -> Result<Hash, E>,
    from: u64,
    to: u64,
) -> Result<Vec<Hash>, E> {
    let mut span = Span { first: 0, end: to };
    let mut hashes = Vec::new();
    while from != span.end {
        let (left, right) = span.cut();
        let (next, sibling) = if from <= left.end { (left, right) } else { (right, left) };
        hashes.push(sibling.root(&mut nodes)?);
        span = next;
    }
    // A subtree that the older tree as a whole is, is known to who has its root.
    if span.first != 0 {
        hashes.push(span.root(&mut nodes)?);
    }
    hashes.reverse();
    Ok(hashes)
}

/// The place of a node among those of its level, and the last place of that level.
struct Climb {
    at: u64,
    last: u64,
}

impl Climb {
    fn up(&mut self) {
        (self.at, self.last) = (self.at >> 1, self.last >> 1);
    }

    /// Whether the next hash of the proof stands to the left.
    fn is_right(&self) -> bool {
        self.at & 1 == 1 || self.at == self.last
    }

    /// Up to where the node was put together with one to its left.
    fn skip_alone(&mut self) {
        while self.at & 1 == 0 && self.at != 0 {
            self.up();
        }
    }
}

/// Holds that `leaf_hash` is leaf `leaf`, from 0, of the tree of `size` leaves with this root.
///
/// # Errors
/// [`BadProof`] if the proof does not show it.
pub fn verify_inclusion(
    leaf_hash: &Hash,
    leaf: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), BadProof> {
    if leaf >= size {
        return Err(BadProof);
    }
    let mut climb = Climb { at: leaf, last: size - 1 };
    let mut found = *leaf_hash;
    for sibling in proof {
        if climb.last == 0 {
            return Err(BadProof);
        }
        if climb.is_right() {
            found = node_hash(sibling, &found);
            climb.skip_alone();
        } else {
            found = node_hash(&found, sibling);
        }
        climb.up();
    }
    if climb.last == 0 && found == *root { Ok(()) } else { Err(BadProof) }
}

/// Holds that the tree of `from` leaves with the root `from_root` is the beginning of the tree of `to` leaves
/// with the root `to_root`. Of an empty tree nothing can be shown.
///
/// # Errors
/// [`BadProof`] if the proof does not show it.
pub fn verify_consistency(
    (from, from_root): (u64, &Hash),
    (to, to_root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), BadProof> {
    if from == 0 || from > to {
        return Err(BadProof);
    }
    if from == to {
        return if proof.is_empty() && from_root == to_root { Ok(()) } else { Err(BadProof) };
    }
    let mut climb = Climb { at: from - 1, last: to - 1 };
    while climb.at & 1 == 1 {
        climb.up();
    }
    let (begun, rest) = match proof {
        _ if from.is_power_of_two() => (*from_root, proof),
        [first, rest @ ..] => (*first, rest),
        [] => return Err(BadProof),
    };
    let (mut older, mut newer) = (begun, begun);
    for sibling in rest {
        if climb.last == 0 {
            return Err(BadProof);
        }
        if climb.is_right() {
            older = node_hash(sibling, &older);
            newer = node_hash(sibling, &newer);
            climb.skip_alone();
        } else {
            newer = node_hash(&newer, sibling);
        }
        climb.up();
    }
    let holds = climb.last == 0 && older == *from_root && newer == *to_root;
    if holds { Ok(()) } else { Err(BadProof) }
}
