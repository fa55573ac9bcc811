//! Tests of destroyed data keys: gone for ever, told from missing ones, whatever interrupts it.

use super::super::tests::{Place, account};
use super::*;
use crate::domain::ids::EventId;
use crate::domain::sealed::Sealed;
use crate::vault::error::OpenError;
use crate::vault::seal::SealContext;
use crate::vault::slot::SLOT_BYTES;
use std::fs::{self, File};
use std::ops::ControlFlow;

const CONTEXT: SealContext<'static> =
    SealContext { tenant: None, account: None, kind: 1, event_id: EventId([1; 16]) };

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<DataKeyId> {
    numbers.into_iter().map(DataKeyId).collect()
}

fn name_of(n: usize) -> AccountRef {
    let Scope::Account(name) = account(n) else { unreachable!("it is one of an account") };
    name
}

fn month(n: usize, month: i32) -> Scope {
    Scope::AccountMonth(name_of(n), Month(month))
}

fn seal(keys: &DataKeys, id: u64, place: &Place) -> Sealed {
    keys.seal(DataKeyId(id), &CONTEXT, b"name", &place.random).unwrap()
}

fn opened(keys: &DataKeys, sealed: &Sealed) -> Result<Vec<u8>, OpenError> {
    keys.open_sealed(sealed, &CONTEXT).map(|clear| clear.to_vec())
}

#[test]
fn what_was_sealed_under_a_destroyed_key_opens_no_more_and_its_neighbours_do() {
    let place = Place::with_keys(1, 4);
    let keys = place.open().unwrap();
    let sealed = [2, 3, 4].map(|id| seal(&keys, id, &place));
    let before = place.bytes();
    assert_eq!(keys.destroy(&[account(3), account(9)]).unwrap(), 1);

    let after = place.bytes();
    let slot = 2 * SLOT_BYTES..3 * SLOT_BYTES;
    assert_eq!(after[slot.clone()][64..124], [0; 60]);
    assert_eq!(
        (&after[..slot.start], &after[slot.end..]),
        (&before[..slot.start], &before[slot.end..])
    );
    let reopened = place.open().unwrap();
    for keys in [&keys, &reopened] {
        assert_eq!(opened(keys, &sealed[1]), Err(OpenError::Erased));
        assert_eq!(opened(keys, &sealed[0]).as_deref(), Ok(&b"name"[..]));
        assert_eq!(opened(keys, &sealed[2]).as_deref(), Ok(&b"name"[..]));
        let unknown = Sealed { data_key: DataKeyId(9), ..sealed[1].clone() };
        assert_eq!(opened(keys, &unknown), Err(OpenError::KeyMissing));
        assert_eq!((keys.is_known(DataKeyId(3)), keys.is_live(DataKeyId(3))), (true, false));
        assert!(keys.is_destroyed(&account(3)) && !keys.is_destroyed(&account(9)));
    }
}

#[test]
fn a_destroyed_key_is_never_replaced_by_another() {
    let place = Place::with_keys(1, 3);
    let keys = place.open().unwrap();
    keys.destroy(&[account(2)]).unwrap();
    for keys in [keys, place.open().unwrap()] {
        assert_eq!(keys.find(&account(2)), None);
        assert!(matches!(keys.ensure(&account(2), &place.random), Err(VaultError::Destroyed)));
        keys.ensure_all(&[account(2), account(3)], &place.random).unwrap();
        assert_eq!(keys.find(&account(2)), None);
        let refused = keys.seal(DataKeyId(2), &CONTEXT, b"name", &place.random);
        assert!(matches!(refused, Err(VaultError::Destroyed)));
    }
    assert_eq!(place.bytes().len(), 3 * SLOT_BYTES);
}

#[test]
fn destroying_again_changes_nothing_and_writes_nothing() {
    let place = Place::with_keys(1, 2);
    let mut keys = place.open().unwrap();
    assert_eq!(keys.destroy(&[account(2)]).unwrap(), 1);
    keys.file = File::open(&place.path).unwrap();
    assert_eq!(keys.destroy(&[account(2)]).unwrap(), 0);
    keys.wipe_unfinished().unwrap();
}

#[test]
fn with_an_account_go_its_months_and_it_is_given_no_further_ones() {
    let place = Place::with_keys(1, 3);
    let keys = place.open().unwrap();
    let scopes = [month(2, 0), month(2, 681), month(3, 681), month(2, 682)];
    keys.ensure_all(&scopes, &place.random).unwrap();
    assert_eq!(keys.destroy_account(&name_of(2)).unwrap(), 4);
    let live = ids(1..=7).into_iter().filter(|id| keys.is_live(*id));
    assert_eq!(live.collect::<Vec<_>>(), ids([1, 3, 6]));

    for keys in [keys, place.open().unwrap()] {
        let next = month(2, 700);
        assert!(matches!(keys.ensure(&next, &place.random), Err(VaultError::Destroyed)));
        keys.ensure_all([&next], &place.random).unwrap();
        assert_eq!(keys.find(&next), None);
        assert_eq!(keys.destroy_account(&name_of(2)).unwrap(), 0);
    }
    assert_eq!(place.bytes().len(), 7 * SLOT_BYTES);
}

#[test]
fn an_interrupted_destruction_is_one_and_the_next_start_wipes_the_rest() {
    let place = Place::with_keys(1, 4);
    let keys = place.open().unwrap();
    let sealed = seal(&keys, 3, &place);
    let before = place.bytes();
    keys.destroy(&[account(3)]).unwrap();
    let wiped = place.bytes();
    let slot = 2 * SLOT_BYTES;
    for written in 0..=64 {
        let mut torn = before.clone();
        torn[slot + STATE] = wiped[slot + STATE];
        let end = slot + 64 + written;
        torn[slot + 64..end].copy_from_slice(&wiped[slot + 64..end]);
        place.put(&torn);
        let keys = place.open().unwrap();
        assert_eq!(place.bytes(), torn, "opening alone destroys nothing");
        assert_eq!(opened(&keys, &sealed), Err(OpenError::Erased));
        assert!(!keys.is_live(DataKeyId(3)) && keys.is_live(DataKeyId(4)));
        keys.wipe_unfinished().unwrap();
        assert_eq!(place.bytes(), wiped, "{written} bytes behind the head");
    }
    place.put(&before);
    assert_eq!(opened(&place.open().unwrap(), &sealed).as_deref(), Ok(&b"name"[..]), "not begun");
}

#[test]
fn a_key_that_is_on_its_way_to_the_disk_is_destroyed_there() {
    let place = Place::with_keys(1, 2);
    let keys = place.open().unwrap();
    // As if a write were under way, so that the key below waits for the next one.
    keys.queue().writing = true;
    std::thread::scope(|threads| {
        threads.spawn(|| keys.ensure(&account(3), &place.random));
        while keys.queue().pending.is_empty() {
            std::thread::yield_now();
        }
        let destroyed = threads.spawn(|| keys.destroy(&[account(3)]).unwrap());
        keys.queue().writing = false;
        keys.written.notify_all();
        assert_eq!(destroyed.join().unwrap(), 1);
    });
    assert!(place.open().unwrap().is_destroyed(&account(3)));
}

#[test]
fn keys_made_and_destroyed_at_the_same_time_are_whole_or_destroyed() {
    const ACCOUNTS: usize = 24;
    let place = Place::with_keys(1, 2);
    let keys = place.open().unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            (3..ACCOUNTS).for_each(|n| {
                for scope in [account(n), month(n, 1)] {
                    let made = keys.ensure(&scope, &place.random);
                    assert!(matches!(made, Ok(_) | Err(VaultError::Destroyed)), "{made:?}");
                }
            });
        });
        threads.spawn(|| {
            for n in (3..ACCOUNTS).step_by(2) {
                while keys.find(&account(n)).is_none() {
                    std::thread::yield_now();
                }
                keys.destroy_account(&name_of(n)).unwrap();
            }
        });
        threads.spawn(|| {
            (0..50).for_each(|_| {
                let whole = keys.examine(&mut |_| ControlFlow::Continue(()));
                assert!(whole.is_ok(), "what is being wiped is not damaged: {whole:?}");
            });
        });
    });
    for keys in [&keys, &place.open().unwrap()] {
        for n in 3..ACCOUNTS {
            let gone = n % 2 == 1;
            assert_eq!(keys.is_destroyed(&account(n)), gone, "{n}");
            assert_eq!(keys.find(&month(n, 1)).is_none(), gone, "{n}");
        }
    }
}

#[test]
fn a_destroyed_slot_that_is_changed_behind_our_back_is_found() {
    let place = Place::with_keys(1, 2);
    let keys = place.open().unwrap();
    let before = place.bytes();
    keys.destroy(&[account(2)]).unwrap();
    assert!(keys.examine(&mut |_| ControlFlow::Continue(())).is_ok());
    place.put(&before);
    let found = keys.examine(&mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(found, VaultError::DamagedSlot { slot: 2 }), "{found}");
}

#[test]
fn after_a_failed_wipe_nothing_is_answered_any_more() {
    let place = Place::with_keys(1, 3);
    let mut keys = place.open().unwrap();
    keys.file = File::open(&place.path).unwrap();
    let refusal = keys.destroy(&[account(2)]).unwrap_err();
    assert!(matches!(refusal, VaultError::Io { what: "write", .. }), "{refusal}");
    assert!(matches!(keys.destroy(&[account(3)]), Err(VaultError::Poisoned)));
    assert!(matches!(keys.ensure(&account(4), &place.random), Err(VaultError::Poisoned)));
}

#[test]
fn a_destroyed_key_needs_no_key_encryption_key() {
    let place = Place::with_keys(1, 2);
    write_second_kek(&place);
    place.open().unwrap().ensure(&account(3), &place.random).unwrap();
    place.open().unwrap().destroy(&[account(3)]).unwrap();
    fs::remove_file(place.dir.path().join("kek-2.key")).unwrap();
    assert!(place.open().unwrap().is_destroyed(&account(3)));
    let keks = crate::vault::KekRing::open(place.dir.path()).unwrap();
    DataKeys::open_to_read(&place.path, keks).unwrap();
}

fn write_second_kek(place: &Place) {
    use crate::vault::key_file::tests::write_key;
    use crate::vault::key_name::Role;
    write_key(place.dir.path(), Role::Kek, 2, 2);
}
