//! The Merkle tree over all records, as RFC 6962 section 2.1 defines it: its roots, proofs, hash tiles and
//! signed checkpoints. Pure.
//!
//! A leaf is SHA-256(0x00 ‖ record), a node SHA-256(0x01 ‖ left ‖ right), the root of the empty tree
//! SHA-256 of nothing. Record number n of the log (its position, from 1) is leaf n - 1 of the tree,
//! so a tree over everything up to a position has that position as its size.

pub mod checkpoint;
pub mod cosignature;
pub mod note;
pub mod proof;
pub mod tile;

use std::fmt;

use sha2::{Digest, Sha256};

/// Bytes of a SHA-256 hash.
pub const HASH_BYTES: usize = 32;

/// Most leaves of a tree. Half the range, so that counting on never overflows.
pub const MAX_TREE_SIZE: u64 = u64::MAX / 2;

/// A SHA-256 hash: of a leaf, a node or a whole tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The leaf of a record: SHA-256(0x00 ‖ record).
#[must_use]
pub fn leaf_hash(record: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0x00]).chain_update(record).finalize().into())
}

/// The node over two subtrees: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(
        Sha256::new()
            .chain_update([0x01])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// What has to be kept of a tree to go on adding leaves: the roots of its full subtrees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One root for each bit set in `size`, that of the largest subtree first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The frontier of a tree of `size` leaves with these peaks, largest subtree first. None unless
    /// there is one peak for each bit set in `size`, and `size` is at most [`MAX_TREE_SIZE`].
    #[must_use]
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let fits = size <= MAX_TREE_SIZE && peaks.len() == peak_count(size);
        fits.then_some(Frontier { size, peaks })
    }

    /// Adds a leaf behind the last one. Amortised constant time.
    pub fn push(&mut self, leaf: Hash) {
        let mut right = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("a peak stands for each bit set in the size");
            right = node_hash(&left, &right);
        }
        self.peaks.push(right);
        self.size += 1;
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let smallest_first = self.peaks.iter().rev().copied();
        smallest_first
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(|| Hash(Sha256::digest([]).into()))
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the full subtrees, the largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }
}

/// How many peaks a tree of `size` leaves has: one for each bit set.
#[must_use]
pub fn peak_count(size: u64) -> usize {
    size.count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The leaf inputs of the Certificate Transparency reference tests (`merkle_tree_test.cc`).
    pub(super) const INPUTS: [&[u8]; 8] = [
        b"",
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];

    /// The roots over the first 0, 1, … 8 inputs, from the same tests.
    pub(super) const ROOTS: [&str; 9] = [
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

    /// MTH of RFC 6962 section 2.1, as it is written there.
    fn naive_root(records: &[Vec<u8>]) -> Hash {
        match records {
            [] => Hash(Sha256::digest([]).into()),
            [record] => leaf_hash(record),
            _ => {
                let split = records.len().next_power_of_two() / 2;
                let (left, right) = records.split_at(split);
                node_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_published_vectors() {
        let mut tree = Frontier::new();
        assert_eq!(tree.root().to_string(), ROOTS[0]);
        for (input, root) in INPUTS.iter().zip(&ROOTS[1..]) {
            tree.push(leaf_hash(input));
            assert_eq!(tree.root().to_string(), *root);
        }
        assert_eq!(tree.size(), 8);
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let peak = leaf_hash(b"a");
        assert!(Frontier::from_parts(0, vec![]).is_some());
        assert!(Frontier::from_parts(0, vec![peak]).is_none());
        assert!(Frontier::from_parts(6, vec![peak, peak]).is_some());
        assert!(Frontier::from_parts(6, vec![peak]).is_none());
        assert!(Frontier::from_parts(6, vec![peak; 3]).is_none());
        assert!(Frontier::from_parts(MAX_TREE_SIZE + 1, vec![peak]).is_none());
        assert!(Frontier::from_parts(MAX_TREE_SIZE, vec![peak; 63]).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn root_is_that_of_the_definition_and_survives_its_parts(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..70)
        ) {
            let mut tree = Frontier::new();
            for record in &records {
                tree = Frontier::from_parts(tree.size(), tree.peaks().to_vec()).unwrap();
                tree.push(leaf_hash(record));
            }
            prop_assert_eq!(tree.size(), records.len() as u64);
            prop_assert_eq!(tree.root(), naive_root(&records));
        }
    }
}
