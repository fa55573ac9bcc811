//! Tests of the slot, with one built by hand.

use super::*;
use crate::domain::ids::{AccountId, TenantId};
use crate::random::SeededRandom;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};

/// The slot of the first test, made with OpenSSL's AES-256-GCM-SIV.
const GOLDEN: &str = concat!(
    "4b4c444b01010100010200000000000000000000000000070000000000000005",
    "d96b52de477d2b8847fd86e80cd13f9008349e7d76c3fa36198fdb4be663b503",
    "cccccccccccccccccccccccceb70b64ac2b8e48ad60ee98fcdf9d9205e9eda96",
    "693d5a11262457efdf3e932fc02ec531639e19a9c7f0c9dedca2a1891561f782",
);

fn key(byte: u8) -> SecretKey {
    SecretKey::filled_by(|bytes| {
        *bytes = [byte; 32];
        Some(())
    })
    .unwrap()
}

fn account(tenant: &str, account: &str) -> Scope {
    let (tenant, account) = (TenantId::parse(tenant).unwrap(), AccountId::parse(account).unwrap());
    Scope::Account(AccountRef { tenant, account })
}

fn head(scope: &Scope) -> SlotHead {
    SlotHead { id: DataKeyId(7), batch: DataKeyId(5), kek_version: 0x0102, scope: scope.into() }
}

#[test]
fn a_slot_is_the_bytes_of_the_layout() {
    let slot = Slot::wrap(head(&account("acme", "bo")), &key(0xaa), &key(0xbb), [0xcc; 12]);

    let mut by_hand = Vec::new();
    by_hand.extend(*b"KLDK");
    by_hand.extend([1, 1, 1, 0]); // version, live, account, unused
    by_hand.extend([1, 2]); // key-encryption key
    by_hand.extend([0; 6]);
    by_hand.extend([0, 0, 0, 0, 0, 0, 0, 7]); // id
    by_hand.extend([0, 0, 0, 0, 0, 0, 0, 5]); // batch
    by_hand.extend(Sha256::digest(b"\x01\x00\x04acme\x00\x02bo"));
    by_hand.extend([0xcc; 12]);
    let cipher = Aes256GcmSiv::new(&[0xaa; 32].into());
    let payload = Payload { msg: &[0xbb; 32], aad: &by_hand[..64] };
    by_hand.extend(cipher.encrypt(&[0xcc; 12].into(), payload).unwrap());
    by_hand.extend(crc32fast::hash(&by_hand).to_be_bytes());
    assert_eq!(slot.bytes()[..], by_hand[..]);

    let hex = by_hand.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex, GOLDEN);

    let read = Slot::read(slot.bytes(), DataKeyId(7)).unwrap();
    assert_eq!((read.id(), read.batch(), read.kek_version()), (DataKeyId(7), DataKeyId(5), 0x0102));
    assert_eq!(read.scope(), ScopeName::from(&account("acme", "bo")));
    assert_eq!(read.unwrap_key(&key(0xaa)).unwrap().bytes(), &[0xbb; 32]);
}

#[test]
fn the_service_scope_hashes_its_kind_and_two_empty_names() {
    let hash: [u8; 32] = Sha256::digest(b"\0\0\0\0\0").into();
    assert_eq!(ScopeName::from(&Scope::Service), ScopeName { kind: 0, hash });
}

#[test]
fn the_months_of_an_account_are_scopes_of_their_own() {
    let Scope::Account(name) = account("acme", "bo") else { unreachable!() };
    let of = |month| ScopeName::from(&Scope::AccountMonth(name.clone(), Month(month)));
    let hash: [u8; 32] = Sha256::digest(b"\x02\0\x04acme\0\x02bo\0\0\x02\xa6").into();
    assert_eq!(of(678), ScopeName { kind: 2, hash });
    assert_ne!(of(678), of(679));
}

#[test]
fn the_months_of_the_service_are_scopes_of_their_own() {
    let of = |month| ScopeName::from(&Scope::ServiceMonth(Month(month)));
    let hash: [u8; 32] = Sha256::digest(b"\x03\0\0\0\0\0\0\x02\xa6").into();
    assert_eq!(of(678), ScopeName { kind: 3, hash });
    assert_ne!(of(678), of(679));
    let slot = Slot::new(head(&Scope::ServiceMonth(Month(678))), &key(1), &SeededRandom::new(1));
    assert_eq!(Slot::read(slot.bytes(), DataKeyId(7)).unwrap().scope(), of(678));
}

#[test]
fn scopes_whose_names_run_together_differ() {
    let names =
        [account("ab", "c"), account("a", "bc"), Scope::Service].map(|s| ScopeName::from(&s));
    assert_ne!(names[0].hash, names[1].hash);
    assert_ne!(names[0].hash, names[2].hash);
}

#[test]
fn another_key_encryption_key_unwraps_nothing() {
    let slot = Slot::new(head(&Scope::Service), &key(1), &SeededRandom::new(1));
    assert!(slot.unwrap_key(&key(1)).is_some());
    assert!(slot.unwrap_key(&key(2)).is_none());
}

#[test]
fn an_altered_byte_is_found_even_under_a_new_checksum() {
    let slot = Slot::new(head(&account("a", "b")), &key(1), &SeededRandom::new(1));
    for at in 0..SLOT_BYTES {
        for flip in [0x01, 0x80] {
            let mut bytes = *slot.bytes();
            bytes[at] ^= flip;
            assert_eq!(Slot::read(&bytes, DataKeyId(7)).unwrap_err(), SlotFault::Damaged, "{at}");

            let crc = crc32fast::hash(&bytes[..124]);
            bytes[124..].copy_from_slice(&crc.to_be_bytes());
            let unwrapped =
                Slot::read(&bytes, DataKeyId(7)).ok().and_then(|s| s.unwrap_key(&key(1)));
            assert_eq!(unwrapped.is_some(), at >= 124, "{at}");
        }
    }
}

#[test]
fn only_a_slot_without_its_end_counts_as_torn() {
    let slot = Slot::new(head(&Scope::Service), &key(1), &SeededRandom::new(1));
    for written in 0..SLOT_BYTES {
        let mut bytes = *slot.bytes();
        bytes[written..].fill(0);
        let fault = if written <= 124 { SlotFault::Torn } else { SlotFault::Damaged };
        assert_eq!(Slot::read(&bytes, DataKeyId(7)).unwrap_err(), fault, "{written}");
    }
}

#[test]
fn unknown_versions_states_and_kinds_are_told_from_damage() {
    let slot = Slot::new(head(&Scope::Service), &key(1), &SeededRandom::new(1));
    for (at, value) in [(4, 2), (5, 0), (5, 3), (6, 4)] {
        let mut bytes = *slot.bytes();
        bytes[at] = value;
        let crc = crc32fast::hash(&bytes[..124]);
        bytes[124..].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Slot::read(&bytes, DataKeyId(7)).unwrap_err(), SlotFault::Newer);
    }
}

#[test]
fn a_destroyed_slot_keeps_its_head_and_nothing_else() {
    let slot = Slot::new(head(&account("acme", "bo")), &key(1), &SeededRandom::new(1));
    let destroyed = slot.destroyed();

    let mut by_hand = slot.bytes()[..64].to_vec();
    by_hand[5] = 2;
    by_hand.extend([0; 60]);
    by_hand.extend(crc32fast::hash(&by_hand).to_be_bytes());
    assert_eq!(destroyed.bytes()[..], by_hand[..]);

    let read = Slot::read(destroyed.bytes(), DataKeyId(7)).unwrap();
    assert!(read.is_destroyed() && read.is_wiped());
    assert_eq!((read.scope(), read.batch()), (slot.scope(), slot.batch()));
    assert!(read.unwrap_key(&key(1)).is_none());
    assert!(!slot.is_destroyed() && !slot.is_wiped());
}

#[test]
fn a_slot_is_destroyed_from_its_state_on_however_far_it_is_wiped() {
    let slot = Slot::new(head(&account("a", "b")), &key(1), &SeededRandom::new(1));
    let wiped = slot.destroyed();
    let mut bytes = *slot.bytes();
    bytes[STATE] = wiped.bytes()[STATE];
    // Every order of bytes that a torn write may leave is between these two.
    for forwards in [true, false] {
        for count in 0..=64 {
            let mut torn = bytes;
            let range = if forwards { 64..64 + count } else { 128 - count..128 };
            torn[range.clone()].copy_from_slice(&wiped.bytes()[range]);
            let read = Slot::read(&torn, DataKeyId(7)).unwrap();
            assert!(read.is_destroyed() && read.unwrap_key(&key(1)).is_none(), "{count}");
            assert_eq!(read.is_wiped(), torn == *wiped.bytes(), "{count}");
            assert_eq!(read.destroyed().bytes(), wiped.bytes());
        }
    }
    assert_eq!(Slot::read(wiped.bytes(), DataKeyId(8)).unwrap_err(), SlotFault::Damaged);
}

#[test]
fn a_slot_in_another_place_is_damaged() {
    let slot = Slot::new(head(&Scope::Service), &key(1), &SeededRandom::new(1));
    assert_eq!(Slot::read(slot.bytes(), DataKeyId(8)).unwrap_err(), SlotFault::Damaged);
}
