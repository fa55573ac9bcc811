use std::convert::Infallible;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::merkle::tests::{INPUTS, ROOTS};
use crate::merkle::{Frontier, leaf_hash};

/// A tree all of whose leaves are kept.
struct Leaves(Vec<Hash>);

impl Leaves {
    fn of(records: &[Vec<u8>]) -> Self {
        Leaves(records.iter().map(|record| leaf_hash(record)).collect())
    }

    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        let width = 1_usize << level;
        let first = usize::try_from(index).unwrap() * width;
        let mut tree = Frontier::new();
        self.0[first..first + width].iter().for_each(|leaf| tree.push(*leaf));
        Ok(tree.root())
    }

    fn root(&self, size: u64) -> Hash {
        let mut tree = Frontier::new();
        self.0.iter().take(usize::try_from(size).unwrap()).for_each(|leaf| tree.push(*leaf));
        tree.root()
    }

    fn inclusion(&self, leaf: u64, size: u64) -> Vec<Hash> {
        let Ok(proof) = inclusion_proof(|level, index| self.node(level, index), leaf, size);
        proof
    }

    fn consistency(&self, from: u64, to: u64) -> Vec<Hash> {
        let Ok(proof) = consistency_proof(|level, index| self.node(level, index), from, to);
        proof
    }
}

fn published() -> Leaves {
    Leaves(INPUTS.iter().map(|input| leaf_hash(input)).collect())
}

fn hashes(texts: &[&str]) -> Vec<Hash> {
    let byte = |text: &str, at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    texts.iter().map(|text| Hash(std::array::from_fn(|at| byte(text, at)))).collect()
}

/// The paths of the Certificate Transparency reference tests (`merkle_tree_test.cc`): leaf, size, path.
const PATHS: [(u64, u64, &[&str]); 4] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
];

/// From the same tests: sizes and proof.
const CONSISTENT: [(u64, u64, &[&str]); 4] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn root_of(size: u64) -> Hash {
    hashes(&[ROOTS[usize::try_from(size).unwrap()]])[0]
}

#[test]
fn proofs_are_those_of_the_published_vectors() {
    let tree = published();
    for (leaf, size, path) in PATHS {
        let proof = tree.inclusion(leaf, size);
        assert_eq!(proof, hashes(path), "leaf {leaf} of {size}");
        let hash = leaf_hash(INPUTS[usize::try_from(leaf).unwrap()]);
        verify_inclusion(&hash, leaf, size, &proof, &root_of(size)).unwrap();
    }
    for (from, to, expected) in CONSISTENT {
        let proof = tree.consistency(from, to);
        assert_eq!(proof, hashes(expected), "{from} to {to}");
        verify_consistency((from, &root_of(from)), (to, &root_of(to)), &proof).unwrap();
    }
}

#[test]
fn sizes_and_places_that_no_tree_has_are_refused() {
    let (hash, root) = (leaf_hash(b""), root_of(1));
    assert_eq!(verify_inclusion(&hash, 1, 1, &[], &root), Err(BadProof));
    assert_eq!(verify_inclusion(&hash, 0, 0, &[], &root), Err(BadProof));
    assert_eq!(verify_inclusion(&hash, u64::MAX, u64::MAX, &[], &root), Err(BadProof));
    let empty = root_of(0);
    assert_eq!(verify_consistency((0, &empty), (1, &root), &[]), Err(BadProof));
    assert_eq!(verify_consistency((2, &root_of(2)), (1, &root), &[]), Err(BadProof));
    assert_eq!(verify_consistency((3, &root_of(3)), (5, &root_of(5)), &[]), Err(BadProof));
}

fn oracle(records: &[Vec<u8>]) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    records.iter().for_each(|record| tree.push(record.clone()));
    tree
}

fn flat(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}

fn oracle_root(hash: Hash, size: u64) -> RootHash<Sha256> {
    RootHash::new(hash.0.into(), size)
}

/// Every proof that one flipped bit, or one hash too many or too few, makes of a proof.
fn mutated(proof: &[Hash], bit: usize) -> Vec<Vec<Hash>> {
    let flipped = (0..proof.len()).map(|at| {
        let mut proof = proof.to_vec();
        proof[at].0[bit / 8] ^= 1 << (bit % 8);
        proof
    });
    let without = (0..proof.len()).map(|at| [&proof[..at], &proof[at + 1..]].concat());
    let longer = [[proof, &[Hash([0; 32])]].concat(), [&[Hash([0; 32])], proof].concat()];
    flipped.chain(without).chain(longer).collect()
}

fn records_and_sizes() -> impl Strategy<Value = (Vec<Vec<u8>>, u64, u64)> {
    let records = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 1..600);
    (records, any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
        |(records, one, other)| {
            let (one, other) = (one.index(records.len()), other.index(records.len()));
            let (small, large) = (one.min(other) as u64, one.max(other) as u64);
            (records, small, large)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn inclusion_is_proved_as_another_implementation_proves_it(
        (records, leaf, last) in records_and_sizes(),
        bit in 0_usize..256,
    ) {
        let (tree, size) = (Leaves::of(&records), last + 1);
        let place = usize::try_from(leaf).unwrap();
        let grown = oracle(&records[..usize::try_from(size).unwrap()]);
        let proof = tree.inclusion(leaf, size);
        let theirs = grown.prove_inclusion(place);
        prop_assert_eq!(flat(&proof), theirs.as_bytes());

        let (root, hash) = (tree.root(size), leaf_hash(&records[place]));
        prop_assert_eq!(root.0, <[u8; 32]>::from(*grown.root().as_bytes()));
        prop_assert_eq!(verify_inclusion(&hash, leaf, size, &proof, &root), Ok(()));
        let theirs = InclusionProof::<Sha256>::from_bytes(flat(&proof));
        prop_assert!(oracle_root(root, size).verify_inclusion(&records[place], leaf, &theirs).is_ok());
        let Ok(same) = super::root(|level, index| tree.node(level, index), size);
        prop_assert_eq!(same, root);

        for wrong in mutated(&proof, bit) {
            prop_assert_eq!(verify_inclusion(&hash, leaf, size, &wrong, &root), Err(BadProof));
        }
        let mut other = hash;
        other.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verify_inclusion(&other, leaf, size, &proof, &root), Err(BadProof));
        let mut other = root;
        other.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verify_inclusion(&hash, leaf, size, &proof, &other), Err(BadProof));
    }

    #[test]
    fn consistency_is_proved_as_another_implementation_proves_it(
        (records, from, to) in records_and_sizes(),
        bit in 0_usize..256,
    ) {
        let (tree, from, to) = (Leaves::of(&records), from + 1, to + 1);
        let grown = oracle(&records[..usize::try_from(to).unwrap()]);
        let proof = tree.consistency(from, to);
        let (old, new) = (tree.root(from), tree.root(to));
        if from < to {
            let added = usize::try_from(to - from).unwrap();
            let theirs = grown.prove_consistency(added);
            prop_assert_eq!(flat(&proof), theirs.as_bytes());
            let theirs = ConsistencyProof::<Sha256>::try_from_bytes(flat(&proof)).unwrap();
            let (old, new) = (oracle_root(old, from), oracle_root(new, to));
            prop_assert!(new.verify_consistency(&old, &theirs).is_ok());
        }
        prop_assert_eq!(verify_consistency((from, &old), (to, &new), &proof), Ok(()));

        for wrong in mutated(&proof, bit) {
            let shown = verify_consistency((from, &old), (to, &new), &wrong);
            prop_assert_eq!(shown, Err(BadProof));
        }
        let mut other = old;
        other.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verify_consistency((from, &other), (to, &new), &proof), Err(BadProof));
        let mut other = new;
        other.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verify_consistency((from, &old), (to, &other), &proof), Err(BadProof));
    }

    #[test]
    fn no_proof_is_longer_than_the_bound_and_none_makes_the_verifier_fail(
        size in 1_u64..=crate::merkle::MAX_TREE_SIZE,
        at in any::<u64>(),
        length in 0_usize..70,
    ) {
        let nodes = |_: u32, _: u64| Ok::<_, Infallible>(Hash([1; 32]));
        let (leaf, from) = (at % size, at % size + 1);
        let (Ok(path), Ok(consistent)) =
            (inclusion_proof(nodes, leaf, size), consistency_proof(nodes, from, size));
        prop_assert!(path.len() <= MAX_PROOF_HASHES && consistent.len() <= MAX_PROOF_HASHES);
        let any = vec![Hash([2; 32]); length];
        let hash = Hash([3; 32]);
        prop_assert_eq!(verify_inclusion(&hash, at, size, &any, &hash), if size == 1 && at == 0 && length == 0 { Ok(()) } else { Err(BadProof) });
        let other = Hash([4; 32]);
        prop_assert_eq!(verify_consistency((at, &hash), (size, &other), &any), Err(BadProof));
    }
}
