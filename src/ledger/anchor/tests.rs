//! The anchor: its bytes, what survives damage, and the keeper.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::merkle::leaf_hash;

fn at(position: u64) -> Position {
    Position::new(position).unwrap()
}

fn anchor_path() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("anchor");
    (dir, path)
}

/// Flips one bit of the file.
fn damage(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_layout_is_the_documented_one() {
    let (_dir, path) = anchor_path();
    let root = leaf_hash(b"a");
    Anchor::create(&path).unwrap().write(at(5), root).unwrap();

    let slot = |generation: u8, position: u8, root: Hash| {
        let mut slot = b"KLAN\x00\x01\x00\x00".to_vec();
        slot.extend([0, 0, 0, 0, 0, 0, 0, generation]);
        slot.extend([0, 0, 0, 0, 0, 0, 0, position]);
        slot.extend(root.0);
        slot.resize(4092, 0);
        slot.extend(crc32fast::hash(&slot).to_be_bytes());
        slot
    };
    let expected = [slot(2, 5, root), slot(1, 0, Frontier::new().root())].concat();
    assert_eq!(fs::read(&path).unwrap(), expected);
}

#[test]
fn the_newest_slot_counts_and_a_damaged_one_leaves_the_one_before() {
    let (_dir, path) = anchor_path();
    let mut anchor = Anchor::create(&path).unwrap();
    let empty = AnchorState { position: None, root: Frontier::new().root() };
    assert_eq!(Anchor::open(&path).unwrap().1, empty);
    for position in 1..=4_u8 {
        let root = leaf_hash(&[position]);
        let position = at(position.into());
        anchor.write(position, root).unwrap();
        assert_eq!(Anchor::read(&path), Ok(AnchorState { position: Some(position), root }));
    }
    // Generation 5 is in the second slot.
    damage(&path, SLOT_BYTES + 30);
    let (mut reopened, state) = Anchor::open(&path).unwrap();
    assert_eq!(state.position, Some(at(3)));
    // The next write goes over the damaged slot, not over the good one.
    reopened.write(at(9), leaf_hash(b"9")).unwrap();
    assert_eq!(Anchor::read(&path).unwrap().position, Some(at(9)));
    damage(&path, SLOT_BYTES + 30);
    assert_eq!(Anchor::read(&path).unwrap().position, Some(at(3)));
}

#[test]
fn an_anchor_without_a_whole_slot_is_refused_not_read_as_empty() {
    let (_dir, path) = anchor_path();
    assert_eq!(Anchor::read(&path), Err(AnchorError::Missing));
    Anchor::create(&path).unwrap().write(at(5), leaf_hash(b"a")).unwrap();
    let whole = fs::read(&path).unwrap();

    damage(&path, 20);
    damage(&path, SLOT_BYTES + CHECKSUM_AT);
    assert_eq!(Anchor::read(&path), Err(AnchorError::Damaged));
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(Anchor::read(&path), Err(AnchorError::Damaged));
    fs::write(&path, b"").unwrap();
    assert_eq!(Anchor::read(&path), Err(AnchorError::Damaged));
}

#[test]
fn an_altered_bit_anywhere_in_a_slot_makes_it_invalid() {
    let slot = encode(7, &AnchorState { position: Some(at(5)), root: leaf_hash(b"a") });
    assert!(decode(&slot, 1).is_ok());
    assert_eq!(decode(&slot, 0), Err(AnchorError::Damaged), "in the place of the other");
    for offset in 0..SLOT_BYTES {
        let mut altered = slot;
        altered[offset] ^= 0x10;
        assert!(decode(&altered, 1).is_err(), "offset {offset}");
    }
}

#[test]
fn a_damaged_slot_beside_a_whole_one_is_told_and_one_never_written_is_none() {
    let (_dir, path) = anchor_path();
    let mut anchor = Anchor::create(&path).unwrap();
    assert_eq!(Anchor::examine(&path).unwrap().damaged_slot, None);
    damage(&path, 100);
    assert_eq!(Anchor::examine(&path).unwrap().damaged_slot, Some(0));
    anchor.write(at(1), leaf_hash(b"a")).unwrap();
    assert_eq!(Anchor::examine(&path).unwrap().damaged_slot, None);
    for slot in [0, 1] {
        damage(&path, slot * SLOT_BYTES + 4000);
        assert_eq!(Anchor::examine(&path).unwrap().damaged_slot, Some(slot));
        damage(&path, slot * SLOT_BYTES + 4000);
    }
}

#[test]
fn an_anchor_of_a_newer_version_is_refused_as_such() {
    let (_dir, path) = anchor_path();
    Anchor::create(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[SLOT_BYTES + 5] = 2;
    let checksum = crc32fast::hash(&bytes[SLOT_BYTES..SLOT_BYTES + CHECKSUM_AT]);
    bytes[SLOT_BYTES + CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    assert_eq!(Anchor::read(&path), Err(AnchorError::Newer(2)));
}

#[test]
fn an_existing_anchor_is_not_made_again() {
    let (_dir, path) = anchor_path();
    Anchor::create(&path).unwrap().write(at(5), leaf_hash(b"a")).unwrap();
    let again = Anchor::create(&path).unwrap_err();
    assert_eq!(again, AnchorError::from(io::Error::from(io::ErrorKind::AlreadyExists)));
    assert_eq!(Anchor::read(&path).unwrap().position, Some(at(5)));
}

#[test]
fn a_closed_keeper_has_written_the_last_head_noted() {
    let (_dir, path) = anchor_path();
    let keeper = AnchorKeeper::start(Anchor::create(&path).unwrap()).unwrap();
    for position in 1..=200_u8 {
        keeper.note(at(position.into()), leaf_hash(&[position]));
    }
    keeper.close();
    let expected = AnchorState { position: Some(at(200)), root: leaf_hash(&[200]) };
    assert_eq!(Anchor::read(&path), Ok(expected));
}

#[test]
fn a_keeper_that_was_told_nothing_leaves_the_anchor_alone() {
    let (_dir, path) = anchor_path();
    AnchorKeeper::start(Anchor::create(&path).unwrap()).unwrap().close();
    assert_eq!(Anchor::read(&path).unwrap().position, None);
}
