//! Records: the layout byte by byte, that every event comes back as it went, and that nothing else
//! is taken for a record.

mod bounds;
mod certificates;
mod conduct;
mod golden;
mod hostile;
mod peppers;
mod retiring;
mod signing;
mod strategies;
mod uses;

use proptest::prelude::*;

use super::*;
use crate::domain::event::{Event, Recorded};
use crate::domain::personal::Personal;
use crate::domain::source::Sources;
use crate::domain::subject::Subject;

/// The fact as it comes back from its record: the ranges a key is bound to are sealed.
fn without_ranges(mut fact: Recorded) -> Recorded {
    let unread = |sources: &mut Sources| {
        if *sources != Sources::Any {
            *sources = Sources::Unreadable;
        }
    };
    match &mut fact.event {
        Event::KeyCreated(created) => unread(&mut created.sources),
        Event::KeyUpdated(updated) => unread(&mut updated.sources),
        _ => {}
    }
    fact
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_event_comes_back_from_its_record(fact in strategies::recorded()) {
        let decoded = decode(&encode(&fact)).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(decoded, without_ranges(fact));
    }

    #[test]
    fn a_glance_says_what_decoding_says(fact in strategies::recorded()) {
        let bytes = encode(&fact);
        let seen = glance(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let (account, key, of_caller) = match &fact.subject {
            Subject::Key(account, key) => (Some(account), Some(*key), false),
            Subject::Account(account) => (Some(account), None, false),
            Subject::Caller(_) => (None, None, true),
            Subject::Service => (None, None, false),
        };
        let expected = Glance {
            time: fact.time,
            previous: fact.previous,
            tenant: account.map_or("", |account| account.tenant.as_str()),
            account: account.map_or("", |account| account.account.as_str()),
            key,
            of_caller,
            kind: fact.event.kind() as u64,
        };
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn a_glance_at_anything_ends(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(fact) = decode(&bytes) {
            prop_assert_eq!(glance(&bytes).map(|seen| seen.time), Ok(fact.time));
        } else {
            let _ = glance(&bytes);
        }
    }

    #[test]
    fn encoding_has_one_result(fact in strategies::recorded()) {
        let bytes = encode(&fact);
        let decoded = decode(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(encode(&decoded), bytes);
    }

    #[test]
    fn personal_fields_come_back_and_begin_with_the_salt(
        personal in strategies::personal(), salt: [u8; SALT_BYTES],
    ) {
        let clear = encode_personal(&personal, salt);
        prop_assert_eq!(&clear[..2], &[0x0a, 32]);
        prop_assert_eq!(super::salt(&clear), Some(salt));
        prop_assert_eq!(decode_personal(&clear), Ok(personal));
    }
}

#[test]
fn personal_fields_that_are_none_are_refused() {
    assert_eq!(decode_personal(&[0x0a, 32, 1]), Err(RecordError::Malformed));
    assert_eq!(decode_personal(&[0x12, 2, 0xc3, 0x28]), Err(RecordError::Malformed), "not UTF-8");
    assert_eq!(decode_personal(&[]), Ok(Personal::default()));
}
