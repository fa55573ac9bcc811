//! Records of the keys that sign checkpoints: their bytes, and what is refused.

use super::super::{RecordError, decode};
use super::golden::{Wire, fact, holds, of_service, wire};
use crate::domain::event::Event;
use crate::domain::signing::{SigningKey, SigningKeyChange, SigningKeyChanged};
use crate::domain::subject::Subject;

fn changed(key: &[u8], change: i64) -> Wire {
    of_service(65, &wire().bytes(1, key).number(2, change))
}

#[test]
fn a_change_of_the_keys_that_sign_says_which_key_and_how() {
    let changes = [
        (1, SigningKeyChange::First),
        (2, SigningKeyChange::Added),
        (3, SigningKeyChange::Retired),
        (4, SigningKeyChange::Lost),
    ];
    for (number, change) in changes {
        let event = SigningKeyChanged { key: SigningKey([0x5e; 32]), change };
        let event = Event::SigningKeyChanged(event);
        holds(&fact(Subject::Service, event), &changed(&[0x5e; 32], number));
    }
}

#[test]
fn what_is_no_change_of_a_key_is_refused() {
    let cases = [
        (changed(&[1; 31], 1), "public_key"),
        (changed(&[], 1), "public_key"),
        (of_service(65, &wire().bytes(1, [1; 32])), "change"),
        (changed(&[1; 32], 5), "change"),
    ];
    for (record, field) in cases {
        assert_eq!(decode(&record.0), Err(RecordError::Field(field)));
    }
}
