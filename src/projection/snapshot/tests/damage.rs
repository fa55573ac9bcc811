//! Snapshots that are not as they were written.

use std::convert::Infallible;
use std::fs;

use super::house::{self, Place, Story};
use super::*;
use crate::domain::command::Act;
use crate::domain::testing::*;
use crate::progress::Silent;

/// A story of some keys, its last position, and its snapshot.
fn snapshot(keys: u8) -> (Story, Place, Position) {
    let mut world = World::new();
    world.does(Act::PutAccount(crate::domain::account_rules::PutAccount {
        plan: Some(plan_name("enterprise")),
        ..put("a")
    }));
    for key in 1..=keys {
        world.does(Act::CreateKey(create("a", key)));
    }
    let (story, place) = (Story::of_world(world, 4), Place::new());
    let last = *story.log.ends().last().unwrap();
    place.make(&story, None, last);
    (story, place, last)
}

/// What opening, checking and loading say of the bytes.
fn verdict(place: &Place, at: Position, bytes: &[u8]) -> Result<(), SnapshotError> {
    fs::write(place.store.path(at), bytes).unwrap();
    let snapshot = place.store.open(at)?;
    let loaded = load(&snapshot, |_| Ok::<_, Infallible>(Default::default()), &Silent);
    // Whoever loads finds what whoever only checks finds.
    match (loaded, snapshot.check()) {
        (Ok(_), Ok(())) => Ok(()),
        (Err(LoadError::Snapshot(error)), Err(_)) => Err(error),
        (loaded, checked) => panic!("loaded: {:?}, checked: {checked:?}", loaded.map(|_| ())),
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let (_, place, last) = snapshot(3);
    let whole = place.bytes(last);
    assert_eq!(verdict(&place, last, &whole), Ok(()));
    for at in 0..whole.len() {
        for bit in [0, 3, 7] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            assert!(verdict(&place, last, &bytes).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn every_truncation_and_what_is_added_is_found() {
    let (_, place, last) = snapshot(2);
    let whole = place.bytes(last);
    for length in 0..whole.len() {
        assert!(verdict(&place, last, &whole[..length]).is_err(), "{length} bytes");
    }
    assert!(verdict(&place, last, &[&whole[..], b"\0"].concat()).is_err());
}

/// Where the blocks of keys lie in the file, with their MACs.
fn key_blocks(snapshot: &Snapshot) -> Vec<std::ops::Range<usize>> {
    snapshot.blocks(Section::Keys).map(|number| snapshot.place(number)).collect()
}

#[test]
fn blocks_that_change_places_are_found() {
    let (_, place, last) = snapshot(200);
    let blocks = key_blocks(&place.store.open(last).unwrap());
    let whole = place.bytes(last);
    let same = blocks.iter().skip(1).find(|block| block.len() == blocks[0].len());
    let other = same.expect("keys alike fill blocks alike").clone();
    let mut bytes = whole.clone();
    bytes[blocks[0].clone()].copy_from_slice(&whole[other.clone()]);
    bytes[other].copy_from_slice(&whole[blocks[0].clone()]);
    assert_eq!(verdict(&place, last, &bytes), Err(SnapshotError::Damaged("the MAC of a block")));
}

#[test]
fn a_block_of_another_snapshot_is_found() {
    let (story, place, last) = snapshot(200);
    let earlier = story.log.ends()[49];
    let other = place.make(&story, None, earlier);
    let newest = place.store.open(last).unwrap();
    let (ours, theirs) = (key_blocks(&newest), key_blocks(&other));
    assert_eq!(
        (newest.blocks(Section::Keys).start, ours[0].len()),
        (other.blocks(Section::Keys).start, theirs[0].len())
    );
    let mut bytes = place.bytes(last);
    let foreign = place.bytes(earlier)[theirs[0].clone()].to_vec();
    assert_eq!(
        bytes[ours[0].clone()].split_last_chunk::<16>().unwrap().0,
        foreign.split_last_chunk::<16>().unwrap().0,
        "the same keys in it"
    );
    bytes[ours[0].clone()].copy_from_slice(&foreign);
    assert_eq!(verdict(&place, last, &bytes), Err(SnapshotError::Damaged("the MAC of a block")));
}

#[test]
fn a_snapshot_under_the_name_of_another_position_is_refused() {
    let (_, place, last) = snapshot(2);
    fs::rename(place.store.path(last), place.store.path(last.next())).unwrap();
    let refused = place.store.open(last.next()).unwrap_err();
    assert_eq!(refused, SnapshotError::Damaged("its name is not of its position"));
}

#[test]
fn a_snapshot_of_another_installation_is_refused() {
    let (_, place, last) = snapshot(2);
    let dir = place.dir.path().join("snapshots");
    let other = store::SnapshotStore::new(dir, house::keys(2));
    let refused = other.open(last).unwrap_err();
    assert_eq!(refused, SnapshotError::Damaged("the MAC of its header and index"));
}

#[test]
fn a_damaged_previous_snapshot_makes_no_new_one() {
    let (story, _, last) = snapshot(200);
    let earlier = story.log.ends()[49];
    let other = Place::new();
    let snapshot = other.make(&story, None, earlier);
    let block = key_blocks(&snapshot)[0].clone();
    let mut bytes = other.bytes(earlier);
    bytes[block.start + 10] ^= 1;
    fs::write(other.store.path(earlier), bytes).unwrap();
    let damaged = other.store.open(earlier).unwrap();
    let refused = other.try_make(&story.log, Some(damaged), last).unwrap_err();
    assert!(refused.to_string().contains("the MAC of a block"), "{refused}");
    assert_eq!(other.names(), [format!("{:020}.kls", earlier.get())]);
}
