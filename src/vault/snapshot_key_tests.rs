//! MACs of snapshots: known values, and that each depends on all it should depend on.

use super::*;
use crate::vault::key_file::tests::write_key;
use crate::vault::key_name::Role;

/// Keys of key-encryption keys 1 and 2.
fn keys() -> SnapshotKeys {
    let dir = tempfile::tempdir().unwrap();
    write_key(dir.path(), Role::Kek, 1, 1);
    write_key(dir.path(), Role::Kek, 2, 2);
    SnapshotKeys::derive(&KekRing::open(dir.path()).unwrap())
}

fn at(position: u64) -> Position {
    Position::new(position).unwrap()
}

#[test]
fn a_mac_is_the_one_of_the_definition() {
    let dir = tempfile::tempdir().unwrap();
    write_key(dir.path(), Role::Kek, 1, 1);
    let ring = KekRing::open(dir.path()).unwrap();
    let kek = *ring.current().1.bytes();
    let chained = |key: &[u8], message: &[u8]| -> [u8; 32] {
        Hmac::<Sha256>::new_from_slice(key)
            .unwrap()
            .chain_update(message)
            .finalize()
            .into_bytes()
            .into()
    };
    let of_all = chained(&kek, b"keyledger/v1/snapshot");
    let of_one = chained(&of_all, &[&[0, 0, 0, 0, 0, 0, 0, 7][..], &[9; 32]].concat());
    let expected = chained(&of_one, b"some message");
    let mac = SnapshotKeys::derive(&ring).of(1, at(7), &[9; 32]).unwrap();
    assert_eq!(mac.mac(&[b"some ", b"message"]), expected[..16]);
}

#[test]
fn a_mac_depends_on_version_position_root_and_message() {
    let keys = keys();
    let mac = keys.of(1, at(7), &[9; 32]).unwrap();
    let sum = mac.mac(&[b"a", b"b"]);
    assert!(mac.is_of(&[b"ab"], &sum), "pieces are only pieces");
    assert!(!mac.is_of(&[b"ac"], &sum));
    let others =
        [keys.of(2, at(7), &[9; 32]), keys.of(1, at(8), &[9; 32]), keys.of(1, at(7), &[8; 32])];
    for other in others {
        assert!(!other.unwrap().is_of(&[b"ab"], &sum));
    }
}

#[test]
fn new_snapshots_are_made_under_the_highest_version_and_unknown_ones_have_no_key() {
    let keys = keys();
    assert_eq!(keys.current(), 2);
    assert!(keys.of(3, at(1), &[0; 32]).is_none());
}

#[test]
fn debug_shows_no_key() {
    let keys = keys();
    assert_eq!(format!("{keys:?}"), "SnapshotKeys { keys: {1: SecretKey(..), 2: SecretKey(..)} }");
    assert_eq!(format!("{:?}", keys.of(1, at(1), &[0; 32]).unwrap()), "SnapshotMac(..)");
}
