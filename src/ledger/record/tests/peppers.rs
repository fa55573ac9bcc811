//! Records of tags that moved to another pepper and of peppers that were retired: their bytes, and what is refused.

use super::super::{RecordError, decode};
use super::golden::{
    Wire, caller, fact, holds, key, key_tag, of_caller, of_key, of_service, wire, wire_tag,
};
use crate::domain::event::Event;
use crate::domain::ids::PepperVersion;
use crate::domain::peppers::Dependents;
use crate::domain::subject::Subject;

fn retired(version: i64, keys: i64, callers: i64) -> Wire {
    of_service(66, &wire().number(1, version).number(2, keys).number(3, callers))
}

#[test]
fn a_secret_that_moved_to_another_pepper_is_on_record_with_its_new_tag() {
    let moved = wire().message(1, &wire_tag());
    holds(&key(Event::KeyRehashed { tag: key_tag() }), &of_key(36, &moved));
    holds(&caller(Event::CallerRehashed { tag: key_tag() }), &of_caller(54, &moved));
}

#[test]
fn a_retired_pepper_says_how_many_ended_with_it() {
    for (keys, callers) in [(300, 1), (u64::from(u32::MAX) + 1, 7)] {
        let version = PepperVersion(513);
        let event = Event::PepperRetired { version, ended: Dependents { keys, callers } };
        let bytes = retired(513, keys.cast_signed(), callers.cast_signed());
        holds(&fact(Subject::Service, event), &bytes);
    }
    let (version, ended) = (PepperVersion(2), Dependents::default());
    let nobody = Event::PepperRetired { version, ended };
    holds(&fact(Subject::Service, nobody), &of_service(66, &wire().number(1, 2)));
}

#[test]
fn what_names_no_tag_or_no_pepper_is_refused() {
    let cases = [
        (of_key(36, &wire()), "tag"),
        (of_caller(54, &wire()), "tag"),
        (of_service(66, &wire().number(2, 1)), "pepper"),
        (retired(65_536, 0, 0), "pepper"),
    ];
    for (record, field) in cases {
        assert_eq!(decode(&record.0), Err(RecordError::Field(field)));
    }
}
