//! Starts from snapshots: that they give what a replay of everything gives, and what a snapshot that
//! is damaged or not of this log does.

use std::fs;

use super::house::{House, Place, copy};
use super::*;
use crate::app::call::{Call, NamedRequest};
use crate::app::create_key::NewKey;
use crate::app::recovery::RecoveryError;
use crate::domain::ids::{AccountRef, KeyId, Position};
use crate::domain::key_format::Environment;
use crate::domain::requests::Method;
use crate::projection::snapshot::store::SnapshotStore;

/// A place with small volumes.
pub(super) fn place() -> Place {
    let mut place = Place::new();
    place.config.ledger.volume_bytes = 4096;
    place
}

/// Puts accounts on record until there is a snapshot behind the head as it is now; answers where.
fn make_snapshot(house: &House) -> Position {
    let head = house.head().unwrap();
    let state = Arc::clone(&house.opened.app.vitals.snapshots);
    for _ in 0..10_000 {
        if let Some(newest) = state.newest().filter(|newest| *newest >= head) {
            return newest;
        }
        assert!(!state.failing(), "snapshots fail");
        let name = format!("filling-{}", house.head().unwrap());
        house.put_account(&name, AccountStatus::Active);
    }
    panic!("no snapshot is made");
}

/// CreateKey in `acme/a` under the request id 7; answers the key and whether the call was a repeat.
fn create_named(house: &House) -> (KeyId, bool) {
    let request = Some(NamedRequest { id: [7; 16], body: b"create a key".to_vec() });
    let call = Call { request, ..house.call(Method::CreateKey) };
    let new = NewKey {
        account: AccountRef::clone(&account("a")),
        name: "named".to_owned(),
        scopes: None,
        environment: Environment::Live,
        expire_time: None,
        allowed_cidrs: Vec::new(),
        metadata: Default::default(),
    };
    let (issued, done, _) = house.wait(house.opened.app.create_key(&call, new)).unwrap();
    (issued.view.id, done.replayed)
}

/// A life with a bit of everything, a snapshot, and some more; answers the key that is bound.
pub(super) fn lived(place: &Place) -> KeyId {
    let house = place.start();
    house.put_account("a", AccountStatus::Active);
    let plain = house.create_key("a", &[]);
    let bound = house.create_key("a", &["192.0.2.0/24"]);
    house.rotate(plain);
    assert!(!create_named(&house).1);
    make_snapshot(&house);
    let revoked = house.create_key("a", &["10.0.0.0/8"]);
    house.revoke(revoked);
    house.close();
    bound
}

pub(super) fn snapshots(place: &Place) -> Vec<PathBuf> {
    let vault = Vault::open(&place.path("keys"), &place.path("datakeys")).unwrap();
    let store = SnapshotStore::new(place.path("snapshots"), vault.data_keys.snapshot_keys());
    store.positions().unwrap().into_iter().map(|position| store.path(position)).collect()
}

/// What the table holds after a start, and whether a snapshot was used.
pub(super) fn started(place: &Place) -> (String, bool) {
    let house = place.start();
    let used = house.opened.app.vitals.snapshots.used();
    let picture = house.picture();
    house.close();
    (picture, used.is_some())
}

/// As [`started`], without any snapshot.
fn replayed(place: &Place) -> String {
    let aside = place.path("../aside");
    fs::rename(place.path("snapshots"), &aside).unwrap();
    let house = House { opened: place.open().unwrap() };
    assert_eq!(house.opened.app.vitals.snapshots.used(), None);
    let picture = house.picture();
    house.close();
    let _ = fs::remove_dir_all(place.path("snapshots"));
    fs::rename(aside, place.path("snapshots")).unwrap();
    picture
}

#[test]
fn a_start_from_a_snapshot_gives_what_a_replay_of_everything_gives() {
    let place = place();
    let bound = lived(&place);
    let (picture, used) = started(&place);
    assert!(used, "the snapshot is used");
    assert_eq!(picture, replayed(&place));

    let house = place.start();
    assert!(house.admits(bound, "192.0.2.1") && !house.admits(bound, "192.0.3.1"));
    assert_eq!(house.view(bound).personal.allowed_cidrs, ["192.0.2.0/24"]);
    assert!(create_named(&house).1, "a repeat is answered after a restart, not done again");
    house.close();
}

#[test]
fn snapshots_follow_each_other_and_two_are_kept() {
    let place = place();
    lived(&place);
    let house = place.start();
    let first = house.opened.app.vitals.snapshots.used();
    make_snapshot(&house);
    make_snapshot(&house);
    let newest = house.opened.app.vitals.snapshots.newest();
    assert!(newest > first);
    house.close();
    assert_eq!(snapshots(&place).len(), 2);
    let (picture, used) = started(&place);
    assert!(used);
    assert_eq!(picture, replayed(&place));
}

#[test]
fn a_damaged_snapshot_costs_time_only() {
    let place = place();
    lived(&place);
    let house = place.start();
    make_snapshot(&house);
    house.close();
    let expected = replayed(&place);
    let files = snapshots(&place);
    let whole = fs::read(&files[0]).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&files[0], bytes).unwrap();
        assert_eq!(started(&place), (expected.clone(), true), "byte {at}: the one before is used");
    }
    // The keeper may have made the newest anew, and another where a volume was sealed meanwhile.
    snapshots(&place).iter().for_each(|file| fs::write(file, b"").unwrap());
    assert_eq!(started(&place), (expected, false), "none is left");
}

#[test]
fn what_an_interrupted_making_left_is_removed() {
    let place = place();
    lived(&place);
    let left = place.path("snapshots/00000000000000000099.kls.tmp");
    fs::write(&left, b"half").unwrap();
    place.start().close();
    assert!(!left.exists());
}

#[test]
fn a_snapshot_shows_that_the_log_was_put_back() {
    let place = place();
    lived(&place);
    for name in ["ledger", "anchor"] {
        let (from, to) = (place.path(name), place.path(&format!("../older-{name}")));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
    let house = place.start();
    // There may be a snapshot of all that is in the older log.
    house.put_account("later", AccountStatus::Active);
    let newest = make_snapshot(&house);
    house.close();
    fs::remove_dir_all(place.path("ledger")).unwrap();
    copy(&place.path("../older-ledger"), &place.path("ledger"));
    fs::copy(place.path("../older-anchor"), place.path("anchor")).unwrap();
    let refused = place.refusal();
    let StartError::Recovery(RecoveryError::OtherThanSnapshot(position)) = refused else {
        panic!("{refused}");
    };
    assert!(position >= newest);
}

#[test]
fn data_keys_that_a_snapshots_log_needs_must_be_there() {
    let place = place();
    lived(&place);
    let file = place.path("datakeys");
    let all = fs::read(&file).unwrap();
    fs::write(&file, &all[..all.len() - 128]).unwrap();
    let refused = place.refusal().to_string();
    assert!(refused.contains("is missing from the data key file"), "{refused}");
}

#[test]
fn a_pepper_that_a_snapshot_names_must_be_there() {
    let place = place();
    lived(&place);
    let other = Place::new();
    other.start().close();
    fs::copy(other.path("keys/pepper-1.key"), place.path("keys/pepper-1.key")).unwrap();
    let refused = place.refusal().to_string();
    assert!(refused.contains("pepper version 1 is not the one"), "{refused}");
}

#[test]
fn a_snapshot_of_another_installation_is_not_used() {
    let (place, other) = (place(), place_of_another());
    lived(&place);
    let expected = replayed(&place);
    for file in snapshots(&place) {
        let theirs = snapshots(&other).remove(0);
        fs::copy(theirs, file).unwrap();
    }
    assert_eq!(started(&place), (expected, false));
}

fn place_of_another() -> Place {
    let other = place();
    lived(&other);
    other
}

#[test]
fn an_hour_after_the_last_snapshot_one_volume_is_enough_for_the_next() {
    let place = place();
    let house = place.start();
    // Large enough that a volume is far from half of it.
    (0..200).for_each(|n| house.put_account(&format!("many-{n}"), AccountStatus::Active));
    let first = make_snapshot(&house);
    let reader = Arc::clone(&house.opened.app.reader);
    let sealed = || reader.sealed().last().is_some_and(|volume| volume.last > first);
    let mut more = 0..1000;
    while !sealed() {
        let n = more.next().expect("4 KB are soon full");
        house.put_account(&format!("more-{n}"), AccountStatus::Active);
    }
    let state = Arc::clone(&house.opened.app.vitals.snapshots);
    place.clock.advance(std::time::Duration::from_hours(1));
    let waited = (0..100_000_000).find(|_| {
        std::thread::yield_now();
        state.newest() > Some(first)
    });
    assert!(waited.is_some(), "a snapshot is made an hour later");
    house.close();
}
