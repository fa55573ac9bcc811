use super::*;
use crate::merkle::leaf_hash;
use crate::random::SeededRandom;

fn signer(dir: &std::path::Path, origin: &str) -> CheckpointSigner {
    let ring = SigningRing::open_or_create(dir, &SeededRandom::new(1)).unwrap();
    CheckpointSigner::new(KeyName::parse(origin).unwrap(), ring)
}

fn at(position: u64) -> Position {
    Position::new(position).unwrap()
}

#[test]
fn a_tree_is_signed_once_and_never_a_smaller_one_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let signer = signer(dir.path(), "example.com/log");
    let (small, large) = (leaf_hash(b"small"), leaf_hash(b"large"));
    let sign = |size, root| signer.sign((at(size), root), Duration::ZERO, Duration::ZERO);
    let first = sign(3, small);
    assert!(Arc::ptr_eq(&first, &sign(3, small)));
    let second = sign(5, large);
    assert!(Arc::ptr_eq(&second, &sign(3, small)));
    for signed in [&first, &second] {
        let opened = Checkpoint::open(&signed.note, signer.keys()).unwrap();
        assert_eq!(opened, signed.checkpoint);
    }
    assert_eq!((second.checkpoint.size, second.checkpoint.root), (5, large));
}

#[test]
fn for_who_follows_one_is_made_in_a_second_however_the_log_grows() {
    let dir = tempfile::tempdir().unwrap();
    let signer = signer(dir.path(), "example.com/log");
    let sign = |size, millis| {
        signer.sign((at(size), leaf_hash(b"a")), Duration::from_millis(millis), DOES_FOR)
    };
    let first = sign(3, 5_000);
    for size in 4..1_000 {
        assert!(Arc::ptr_eq(&first, &sign(size, 5_999)));
    }
    assert_eq!(sign(1_000, 6_000).checkpoint.size, 1_000);
    // Who asks for one by itself gets what covers the log.
    let now = Duration::from_secs(6);
    assert_eq!(
        signer.sign((at(1_001), leaf_hash(b"b")), now, Duration::ZERO).checkpoint.size,
        1_001
    );
}

#[test]
fn a_log_has_a_name_of_its_own_in_each_generation() {
    let first = Hash(std::array::from_fn(|at| u8::try_from(at).unwrap()));
    let own = "keyledger/000102030405060708090a0b0c0d0e0f";
    assert_eq!(origin_of(None, &first, 1).unwrap().as_str(), own);
    let next = origin_of(None, &first, 2).unwrap();
    assert_eq!(next.as_str(), format!("{own}/generation-2"));
    let given = KeyName::parse("example.com/keys").unwrap();
    assert_eq!(origin_of(Some(&given), &first, 1).unwrap(), given);
    let next = origin_of(Some(&given), &first, u64::MAX).unwrap();
    assert_eq!(next.as_str(), "example.com/keys/generation-18446744073709551615");
}
