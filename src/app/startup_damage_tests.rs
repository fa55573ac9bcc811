//! Starts that are refused: keys that are not the right ones, formats, records and ledgers that do
//! not belong.

use std::fs;

use super::house::{Place, copy, tree};
use super::*;
use crate::app::recovery::RecoveryError;
use crate::app::sealing;
use crate::domain::event::{Actor, Recorded};
use crate::domain::ids::{AccountRef, EventId, Position};
use crate::domain::key_format::Environment;
use crate::domain::personal::Personal;
use crate::domain::sealed::DataKeyId;
use crate::domain::source::Sources;
use crate::domain::testing::{created, key_id};
use crate::ledger::frame::{Frame, FrameBuilder};
use crate::ledger::record;
use crate::merkle::Frontier;
use crate::vault::Scope;

/// A place whose log has the account `acme/a` and a key bound to sources.
fn place() -> Place {
    let place = Place::new();
    let house = place.start();
    house.put_account("a", AccountStatus::Active);
    let key = house.create_key("a", &["192.0.2.0/24"]);
    assert!(house.admits(key, "192.0.2.1") && !house.admits(key, "192.0.3.1"));
    house.close();
    place
}

/// Puts a file of another installation in the place of ours.
fn swap(place: &Place, name: &str) {
    let other = Place::new();
    other.start().close();
    fs::remove_file(place.path(name)).unwrap();
    fs::copy(other.path(name), place.path(name)).unwrap();
}

fn refused(place: &Place, text: &str) {
    let error = place.refusal().to_string();
    assert!(error.contains(text), "{error}");
}

#[test]
fn a_wrong_or_missing_pepper_is_refused_by_its_name() {
    let place = place();
    let pepper = place.path("keys/pepper-1.key");
    let right = fs::read(&pepper).unwrap();
    swap(&place, "keys/pepper-1.key");
    refused(&place, "pepper version 1 is not the one this log was written with");
    fs::remove_file(&pepper).unwrap();
    refused(&place, "pepper version 1 is missing: expected pepper-1.key");
    crate::durable_file::write_new(&pepper, &right, 0o600).unwrap();
    place.start().close();
}

#[test]
fn a_wrong_or_missing_key_encryption_key_is_refused_by_its_name() {
    let place = place();
    let kek = place.path("keys/kek-1.key");
    swap(&place, "keys/kek-1.key");
    refused(&place, "key-encryption key version 1 is not the one");
    fs::remove_file(&kek).unwrap();
    refused(&place, "key-encryption key version 1 is missing: expected kek-1.key");
}

#[test]
fn data_keys_that_the_log_needs_must_be_there() {
    let place = place();
    let file = place.path("datakeys");
    let all = fs::read(&file).unwrap();
    // Only the service's own key is left: record 5, the account's, needs the second.
    fs::write(&file, &all[..all.len() / 2]).unwrap();
    refused(&place, "record at position 5 is refused: data key 2");
    fs::remove_file(&file).unwrap();
    refused(&place, "datakeys");
}

#[test]
fn a_newer_format_is_refused_and_nothing_is_touched() {
    let place = place();
    fs::write(place.path("FORMAT"), "keyledger data directory, format 7\n").unwrap();
    let before = tree(&place.config.data_dir);
    refused(&place, "has format 7, newer than format");
    assert_eq!(tree(&place.config.data_dir), before);
}

#[test]
fn a_directory_of_something_else_is_refused_and_nothing_is_touched() {
    let place = Place::new();
    fs::create_dir(&place.config.data_dir).unwrap();
    fs::write(place.path("thesis.txt"), b"years of work").unwrap();
    let before = tree(&place.config.data_dir);
    refused(&place, "thesis.txt");
    assert_eq!(tree(&place.config.data_dir), before);
}

#[test]
fn a_lost_format_file_does_not_make_the_log_new() {
    let place = place();
    fs::remove_file(place.path("FORMAT")).unwrap();
    let error = place.refusal();
    assert!(matches!(error, StartError::DataDir(DataDirError::FormatMissing(_))), "{error}");
}

#[test]
fn an_older_ledger_in_the_place_of_ours_is_refused() {
    let place = place();
    let older = place.path("../older");
    copy(&place.path("ledger"), &older);
    let house = place.start();
    house.put_account("b", AccountStatus::Active);
    house.close();
    fs::remove_dir_all(place.path("ledger")).unwrap();
    copy(&older, &place.path("ledger"));
    refused(&place, "the ledger ends at position 6 but the head anchor names 7");
}

#[test]
fn another_ledger_or_none_is_refused() {
    let place = place();
    let other = self::place();
    fs::remove_dir_all(place.path("ledger")).unwrap();
    copy(&other.path("ledger"), &place.path("ledger"));
    let error = place.refusal();
    assert!(matches!(error, StartError::Recovery(RecoveryError::Replay(_))), "{error}");
    fs::remove_dir_all(place.path("ledger")).unwrap();
    refused(&place, "the ledger is missing");
}

/// Appends records behind the log of `place`, in a whole and rightly chained frame.
fn append(place: &Place, records: &[Vec<u8>]) {
    let mut ledger =
        VolumeLedger::open(&place.path("ledger"), place.config.ledger.volume_bytes).unwrap();
    let last = ledger.reader().frame_at(ledger.head().unwrap()).unwrap().unwrap();
    let frontier: &Frontier = last.frontier();
    let mut builder = FrameBuilder::new(frontier, last.last().next());
    records.iter().for_each(|record| builder.push(record));
    let frame: Frame = builder.finish();
    ledger.append(&frame).unwrap();
    ledger.close().unwrap();
}

/// A fact that the log of `place` could hold next, at position 7.
fn next(place: &Place) -> Recorded {
    let facts = place.facts();
    let last = facts.last().unwrap();
    assert_eq!(last.position.get(), 6);
    let actor = Actor { caller: None, mechanism: Mechanism::Service };
    Recorded {
        position: last.position.next(),
        event_id: EventId([6; 16]),
        previous: Some(last.position),
        actor,
        request: None,
        event: Event::KeyDisabled,
        private: None,
        ..last.clone()
    }
}

/// That a start on a log with this record at position 7 is refused, for this reason.
fn refused_record(record: impl FnOnce(&Place, Recorded) -> Vec<u8>, reason: &str) {
    let place = place();
    let record = record(&place, next(&place));
    append(&place, &[record]);
    let error = place.refusal();
    assert_eq!(error.to_string(), format!("the record at position 7 is refused: {reason}"));
    // Nor does a further start make anything of it.
    assert_eq!(place.refusal().to_string(), error.to_string());
}

#[test]
fn a_record_that_follows_is_taken() {
    let place = place();
    append(&place, &[record::encode(&next(&place))]);
    let house = place.start();
    assert_eq!(house.head().map(Position::get), Some(7));
    house.close();
}

#[test]
fn a_record_that_cannot_be_read_stops_the_start() {
    refused_record(|_, _| b"no record".to_vec(), "not a record");
    refused_record(|_, _| vec![0x08, 2], "format 2 is newer than this program");
    let cut = |_: &Place, fact: Recorded| {
        let bytes = record::encode(&fact);
        bytes[..bytes.len() - 3].to_vec()
    };
    refused_record(cut, "field event is missing or out of range");
}

#[test]
fn a_record_elsewhere_than_it_says_stops_the_start() {
    let elsewhere = |_: &Place, fact: Recorded| {
        record::encode(&Recorded { position: fact.position.next(), ..fact })
    };
    refused_record(elsewhere, "it names position 8 as its place");
}

#[test]
fn a_record_that_does_not_follow_stops_the_start() {
    let reason = "the record at position 7 does not follow from the records before it";
    let unchained =
        |_: &Place, fact: Recorded| record::encode(&Recorded { previous: None, ..fact });
    refused_record(unchained, reason);
    let unknown = |_: &Place, fact: Recorded| {
        let Subject::Key(account, _) = &fact.subject else { panic!("of a key") };
        let subject = Subject::Key(Arc::clone(account), key_id(1));
        record::encode(&Recorded { subject, previous: None, ..fact })
    };
    refused_record(unknown, reason);
}

/// The creation of a further, bound key whose personal fields are these, sealed as they should be.
fn bound(place: &Place, after: &Recorded, cidrs: &[&str]) -> Recorded {
    let vault = Vault::open(&place.path("keys"), &place.path("datakeys")).unwrap();
    let Subject::Key(account, _) = &after.subject else { panic!("of a key") };
    let subject = Subject::Key(Arc::clone(account), key_id(1));
    let allowed_cidrs = cidrs.iter().map(|text| (*text).to_owned()).collect();
    let personal = Personal { allowed_cidrs, ..Personal::default() };
    let kind = crate::domain::event::EventKind::KeyCreated;
    let private =
        sealing::seal(&vault.data_keys, &*place.random, &subject, kind, &personal).unwrap();
    let mut created = created(1);
    (created.sources, created.environment) = (Sources::Unreadable, Environment::Test);
    let (event, event_id) = (Event::KeyCreated(created), private.event_id);
    Recorded { subject, event, event_id, previous: None, private: Some(private), ..after.clone() }
}

#[test]
fn the_ranges_of_a_bound_key_are_opened() {
    let place = place();
    let fact = bound(&place, &next(&place), &["198.51.100.0/24"]);
    append(&place, &[record::encode(&fact)]);
    let house = place.start();
    assert!(house.admits(key_id(1), "198.51.100.9") && !house.admits(key_id(1), "192.0.2.1"));
    house.close();
}

#[test]
fn altered_personal_fields_that_a_verdict_needs_stop_the_start() {
    let altered = "its personal fields: the sealed fields are altered or belong elsewhere";
    // Sealed for another record; other bytes; another commitment; bound, but to nothing.
    let with = |change: fn(&mut Recorded)| {
        move |place: &Place, fact: Recorded| {
            let mut fact = bound(place, &fact, &["198.51.100.0/24"]);
            change(&mut fact);
            record::encode(&fact)
        }
    };
    refused_record(with(|fact| fact.event_id = EventId([9; 16])), altered);
    refused_record(
        with(|fact| {
            let sealed = &mut fact.private.as_mut().unwrap().sealed;
            let mut bytes = sealed.ciphertext.to_vec();
            bytes[7] ^= 1;
            sealed.ciphertext = bytes.into();
        }),
        altered,
    );
    refused_record(with(|fact| fact.private.as_mut().unwrap().commitment.0[0] ^= 1), altered);
    refused_record(with(|fact| fact.private = None), altered);
    refused_record(|place, fact| record::encode(&bound(place, &fact, &[])), altered);
    let missing = "data key 77, which its personal fields need, is missing from the data key file";
    let other = |fact: &mut Recorded| {
        fact.private.as_mut().unwrap().sealed.data_key = DataKeyId(77);
    };
    refused_record(with(other), missing);
}

#[test]
fn a_byte_altered_on_disk_stops_the_start_and_names_a_position() {
    let place = place();
    let fact = place.facts().remove(4);
    let db = place.path("ledger/live-00000001/db");
    let mut bytes = fs::read(&db).unwrap();
    // The account's record, wherever the engine keeps it: by its random event id.
    let places: Vec<usize> =
        (0..bytes.len() - 16).filter(|at| bytes[*at..*at + 16] == fact.event_id.0).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 0xff;
    }
    fs::write(&db, &bytes).unwrap();
    let error = place.refusal().to_string();
    assert!(error.contains("position"), "{error}");
    assert!(matches!(place.refusal(), StartError::Ledger(_) | StartError::Recovery(_)));
}

#[test]
fn scopes_of_data_keys_are_the_accounts() {
    let place = place();
    let vault = Vault::open(&place.path("keys"), &place.path("datakeys")).unwrap();
    let account = AccountRef::clone(&account("a"));
    assert_eq!(vault.data_keys.find(&Scope::Account(account)), Some(DataKeyId(2)));
    assert_eq!(vault.data_keys.find(&Scope::Service), Some(DataKeyId(1)));
}
