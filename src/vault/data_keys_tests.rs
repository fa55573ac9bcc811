//! Tests of the data key file: what is kept, what is refused, what is cut off.

use super::*;
use crate::domain::ids::{AccountId, AccountRef, TenantId};
use crate::random::SeededRandom;
use crate::vault::key_file::tests::write_key;
use crate::vault::key_name::Role;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Barrier;
use tempfile::TempDir;

pub(in crate::vault) fn account(n: usize) -> Scope {
    let tenant = TenantId::parse("acme").unwrap();
    Scope::Account(AccountRef { tenant, account: AccountId::parse(&format!("a{n}")).unwrap() })
}

/// A directory with key-encryption key 1 and a data key file.
pub(super) struct Place {
    pub(super) dir: TempDir,
    pub(super) path: PathBuf,
    pub(super) random: SeededRandom,
}

impl Place {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("datakeys");
        write_key(dir.path(), Role::Kek, 1, seed);
        let random = SeededRandom::new(seed);
        DataKeys::create(&path, &KekRing::open(dir.path()).unwrap(), &random).unwrap();
        Place { dir, path, random }
    }

    /// With data keys for the accounts 2 to `last`, each of its own number.
    pub(super) fn with_keys(seed: u64, last: usize) -> Self {
        let place = Place::new(seed);
        let keys = place.open().unwrap();
        for n in 2..=last {
            assert_eq!(keys.ensure(&account(n), &place.random).unwrap(), DataKeyId(n as u64));
        }
        place
    }

    pub(super) fn open(&self) -> Result<DataKeys, VaultError> {
        DataKeys::open(&self.path, KekRing::open(self.dir.path())?)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    pub(super) fn put(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).unwrap();
    }
}

#[test]
fn keys_are_found_again_and_survive_reopening() {
    let place = Place::with_keys(1, 4);
    let keys = place.open().unwrap();
    assert_eq!(keys.find(&Scope::Service), Some(FIRST));
    assert_eq!(keys.find(&account(3)), Some(DataKeyId(3)));
    assert_eq!(keys.find(&account(5)), None);
    assert_eq!(keys.ensure(&account(3), &place.random).unwrap(), DataKeyId(3));
    assert_eq!(
        (0..7).map(|n| keys.is_known(DataKeyId(n))).collect::<Vec<_>>(),
        [false, true, true, true, true, false, false]
    );
    assert!(!keys.is_known(DataKeyId(u64::MAX)));
    let three = *keys.key(DataKeyId(3)).unwrap().bytes();
    assert_ne!(three, *keys.key(DataKeyId(4)).unwrap().bytes());
    assert_eq!(three, *place.open().unwrap().key(DataKeyId(3)).unwrap().bytes());
}

#[test]
fn creating_never_replaces_a_file() {
    let place = Place::with_keys(1, 2);
    let before = place.bytes();
    let keks = KekRing::open(place.dir.path()).unwrap();
    assert!(matches!(
        DataKeys::create(&place.path, &keks, &place.random),
        Err(VaultError::Io { .. })
    ));
    assert_eq!(place.bytes(), before);
}

#[test]
fn a_fifo_in_place_of_the_file_is_refused_and_not_waited_for() {
    let place = Place::new(8);
    fs::remove_file(&place.path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&place.path).status().unwrap().success());
    let keks = KekRing::open(place.dir.path()).unwrap();
    let read = DataKeys::open_to_read(&place.path, keks);
    for refused in [place.open(), read] {
        assert!(matches!(refused, Err(VaultError::Io { what: "open", .. })), "{refused:?}");
    }
}

#[test]
fn every_flipped_byte_is_found_at_open() {
    let place = Place::with_keys(1, 3);
    let whole = place.bytes();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut altered = whole.clone();
            altered[at] ^= flip;
            place.put(&altered);
            let refusal = place.open().unwrap_err();
            let slot = (at / SLOT_BYTES) as u64 + 1;
            assert!(
                matches!(refusal, VaultError::DamagedSlot { slot: named } if named == slot),
                "byte {at}: {refusal}"
            );
            assert_eq!(place.bytes(), altered, "a refused file is left as it is");
        }
    }
}

#[test]
fn a_slot_altered_with_its_checksum_is_found_at_use() {
    let place = Place::with_keys(1, 3);
    let mut bytes = place.bytes();
    let slot = &mut bytes[SLOT_BYTES..2 * SLOT_BYTES];
    slot[80] ^= 1;
    let crc = crc32fast::hash(&slot[..124]);
    slot[124..].copy_from_slice(&crc.to_be_bytes());
    place.put(&bytes);
    let keys = place.open().unwrap();
    assert!(matches!(keys.key(DataKeyId(2)), Err(VaultError::DamagedSlot { slot: 2 })));
    assert!(keys.key(DataKeyId(3)).is_ok());
}

#[test]
fn a_torn_tail_is_cut_off_and_its_number_given_anew() {
    let place = Place::with_keys(1, 3);
    let whole = place.bytes();
    let kept = &whole[..2 * SLOT_BYTES];
    for written in 0..SLOT_BYTES {
        for zeroes in [0, 124_usize.saturating_sub(written), 128 - written.min(124), 300] {
            // What was written of slot 3, then zeroes where the file had grown before its data came.
            let mut torn = whole[..2 * SLOT_BYTES + written.min(124)].to_vec();
            torn.resize(torn.len() + zeroes, 0);
            place.put(&torn);
            let keys = place.open().unwrap();
            assert_eq!(place.bytes(), torn, "opening alone destroys nothing");
            keys.cut_unfinished().unwrap();
            assert_eq!(place.bytes(), kept, "{written} bytes and {zeroes} zeroes");
            assert!(!keys.is_known(DataKeyId(3)));
            assert_eq!(keys.find(&account(3)), None);
        }
    }
    let keys = place.open().unwrap();
    assert_eq!(keys.ensure(&account(9), &place.random).unwrap(), DataKeyId(3));
    assert_eq!(place.open().unwrap().find(&account(9)), Some(DataKeyId(3)));
}

#[test]
fn a_file_without_a_whole_first_slot_is_refused() {
    let place = Place::new(1);
    let whole = place.bytes();
    for length in [0, 1, 127] {
        place.put(&whole[..length]);
        assert!(matches!(place.open(), Err(VaultError::DamagedSlot { slot: 1 })));
    }
    place.put(&[0; 256]);
    assert!(matches!(place.open(), Err(VaultError::DamagedSlot { slot: 1 })));
}

/// Slots 1 and 2 each alone, then 3, 4 and 5 in one batch.
fn with_a_batch() -> (Place, Vec<u8>) {
    let place = Place::with_keys(1, 2);
    let keks = KekRing::open(place.dir.path()).unwrap();
    let (kek_version, kek) = keks.current();
    let mut bytes = place.bytes();
    for n in 3..=5_usize {
        let (id, scope) = (DataKeyId(n as u64), ScopeName::from(&account(n)));
        let head = SlotHead { id, batch: DataKeyId(3), kek_version, scope };
        bytes.extend(Slot::new(head, kek, &place.random).bytes());
    }
    place.put(&bytes);
    assert_eq!(place.open().unwrap().find(&account(5)), Some(DataKeyId(5)));
    (place, bytes)
}

#[test]
fn a_torn_slot_amid_the_last_batch_takes_the_rest_of_the_batch_with_it() {
    let (place, mut bytes) = with_a_batch();
    bytes[3 * SLOT_BYTES..4 * SLOT_BYTES].fill(0);
    place.put(&bytes);
    let keys = place.open().unwrap();
    keys.cut_unfinished().unwrap();
    assert_eq!(place.bytes(), bytes[..3 * SLOT_BYTES]);
    assert!(keys.is_known(DataKeyId(3)) && !keys.is_known(DataKeyId(5)));
}

#[test]
fn a_slot_that_was_synced_and_is_blank_now_is_damage() {
    let (place, whole) = with_a_batch();
    let mut bytes = whole.clone();
    bytes[SLOT_BYTES..2 * SLOT_BYTES].fill(0);
    place.put(&bytes);
    assert!(matches!(place.open(), Err(VaultError::DamagedSlot { slot: 2 })));

    let keys = {
        place.put(&whole);
        place.open().unwrap()
    };
    assert_eq!(keys.ensure(&account(6), &place.random).unwrap(), DataKeyId(6));
    let mut bytes = place.bytes();
    bytes[3 * SLOT_BYTES..4 * SLOT_BYTES].fill(0);
    place.put(&bytes);
    assert!(matches!(place.open(), Err(VaultError::DamagedSlot { slot: 4 })));
}

#[test]
fn a_damaged_slot_behind_a_torn_one_is_no_unfinished_append() {
    let (place, mut bytes) = with_a_batch();
    bytes[2 * SLOT_BYTES..3 * SLOT_BYTES].fill(0);
    bytes[4 * SLOT_BYTES + 64] ^= 1;
    place.put(&bytes);
    assert!(matches!(place.open(), Err(VaultError::DamagedSlot { slot: 3 })));
}

#[test]
fn two_slots_for_one_scope_are_refused() {
    let place = Place::with_keys(1, 2);
    let keks = KekRing::open(place.dir.path()).unwrap();
    let (kek_version, kek) = keks.current();
    let (id, scope) = (DataKeyId(3), ScopeName::from(&account(2)));
    let again = Slot::new(SlotHead { id, batch: id, kek_version, scope }, kek, &place.random);
    place.put(&[place.bytes().as_slice(), again.bytes()].concat());
    assert!(matches!(place.open(), Err(VaultError::RepeatedScope { slot: 3 })));
}

#[test]
fn the_wrong_or_a_missing_key_encryption_key_is_named_and_nothing_is_touched() {
    let (place, other) = (Place::with_keys(1, 2), Place::new(2));
    let torn = [place.bytes().as_slice(), &[0; 5]].concat();
    place.put(&torn);
    let foreign = KekRing::open(other.dir.path()).unwrap();
    let refusal = DataKeys::open(&place.path, foreign).unwrap_err();
    assert!(matches!(refusal, VaultError::WrongKek { version: 1 }));

    fs::remove_file(place.dir.path().join("kek-1.key")).unwrap();
    write_key(place.dir.path(), Role::Kek, 2, 2);
    assert!(matches!(place.open(), Err(VaultError::MissingKek { version: 1 })));
    assert_eq!(place.bytes(), torn);
}

#[test]
fn new_keys_are_wrapped_by_the_highest_key_encryption_key_and_old_ones_stay_readable() {
    let place = Place::with_keys(1, 2);
    write_key(place.dir.path(), Role::Kek, 2, 2);
    let new = place.open().unwrap().ensure(&account(3), &place.random).unwrap();
    let keys = place.open().unwrap();
    assert_eq!(keys.durable().slot(new).unwrap().kek_version(), 2);
    assert!(keys.key(new).is_ok() && keys.key(DataKeyId(2)).is_ok());

    fs::remove_file(place.dir.path().join("kek-2.key")).unwrap();
    assert!(matches!(place.open(), Err(VaultError::MissingKek { version: 2 })));
    write_key(place.dir.path(), Role::Kek, 2, 3);
    assert!(matches!(place.open(), Err(VaultError::WrongKek { version: 2 })));
}

#[test]
fn concurrent_calls_agree_on_one_key_a_scope_and_all_survive() {
    const SCOPES: usize = 64;
    const THREADS: usize = 8;
    let place = Place::new(1);
    let keys = place.open().unwrap();
    let start = Barrier::new(THREADS);
    let ensure_all = |thread: usize| {
        start.wait();
        // Half of the scopes are this thread's turn first, the others are raced for.
        (0..SCOPES)
            .map(|n| (n + thread * SCOPES / THREADS / 2) % SCOPES)
            .map(|n| (n, keys.ensure(&account(n), &place.random).unwrap()))
            .collect::<BTreeSet<_>>()
    };
    let answers = std::thread::scope(|threads| {
        let running =
            (0..THREADS).map(|n| threads.spawn(move || ensure_all(n))).collect::<Vec<_>>();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let ids = answers[0].iter().map(|(_, id)| *id).collect::<BTreeSet<_>>();
    assert_eq!(ids, (2..=SCOPES as u64 + 1).map(DataKeyId).collect());

    assert_eq!(place.bytes().len(), (SCOPES + 1) * SLOT_BYTES);
    let reopened = place.open().unwrap();
    for (n, id) in &answers[0] {
        assert_eq!(reopened.find(&account(*n)), Some(*id));
        assert_eq!(reopened.key(*id).unwrap().bytes(), keys.key(*id).unwrap().bytes());
    }
}

#[test]
fn calls_that_wait_for_a_write_share_the_next_one() {
    let place = Place::new(1);
    let keys = place.open().unwrap();
    // As if a write were under way, so that the threads below gather.
    keys.queue().writing = true;
    std::thread::scope(|threads| {
        for n in 2..=5 {
            let (keys, random) = (&keys, &place.random);
            threads.spawn(move || keys.ensure(&account(n), random).unwrap());
        }
        while keys.queue().pending.len() < 4 {
            std::thread::yield_now();
        }
        keys.queue().writing = false;
        keys.written.notify_all();
    });
    let durable = keys.durable();
    assert_eq!(
        durable.slots.iter().map(|slot| slot.batch().0).collect::<Vec<_>>(),
        [1, 2, 2, 2, 2]
    );
}

#[test]
fn many_scopes_at_once_share_a_batch_and_those_that_have_a_key_keep_it() {
    let place = Place::with_keys(1, 3);
    let keys = place.open().unwrap();
    let scopes = [account(3), account(8), account(9), account(8)];
    keys.ensure_all(&scopes, &place.random).unwrap();
    let ids = [0, 1, 2, 3].map(|n| keys.find(&scopes[n]).unwrap().0);
    assert_eq!(ids, [3, 4, 5, 4]);
    let batches: Vec<u64> = keys.durable().slots.iter().map(|slot| slot.batch().0).collect();
    assert_eq!(batches[3..], [4, 4]);
    keys.ensure_all(&scopes, &place.random).unwrap();
    assert_eq!(place.bytes().len(), 5 * SLOT_BYTES);
}

#[test]
fn after_a_failed_write_nothing_is_answered_any_more() {
    let place = Place::with_keys(1, 2);
    let before = place.bytes();
    let mut keys = place.open().unwrap();
    keys.file = File::open(&place.path).unwrap();
    let refusal = keys.ensure(&account(3), &place.random).unwrap_err();
    assert!(matches!(refusal, VaultError::Io { what: "write", .. }), "{refusal}");
    for scope in [account(3), account(4), account(2), Scope::Service] {
        assert!(matches!(keys.ensure(&scope, &place.random), Err(VaultError::Poisoned)));
    }
    assert_eq!(keys.find(&account(3)), None);
    assert_eq!(place.bytes(), before);
}

#[test]
fn debug_shows_the_number_of_keys_and_no_key() {
    let place = Place::with_keys(1, 3);
    let keys = place.open().unwrap();
    keys.key(FIRST).unwrap();
    assert_eq!(format!("{keys:?}"), "DataKeys { keys: 3, .. }");
}
