//! What is no record of ours is refused with the field that is wrong, and nothing ends the process.

use proptest::prelude::*;

use super::super::{RecordError, decode, encode};
use super::golden::{Wire, actor, head, of_account, of_caller, of_key, of_service, wire, wire_tag};
use super::strategies::recorded;
use RecordError::Field;

fn refused(record: &Wire, error: RecordError) {
    assert_eq!(decode(&record.0), Err(error), "{:02x?}", record.0);
}

fn format(number: i64) -> Wire {
    let record = wire().number(1, number).number(2, 7).bytes(3, [1; 16]);
    record.message(10, &actor()).message(62, &wire())
}

#[test]
fn a_record_of_another_format_is_refused() {
    assert!(decode(&format(1).0).is_ok());
    refused(&format(2), RecordError::Newer(2));
    refused(&format(i64::from(u32::MAX)), RecordError::Newer(u32::MAX));
    refused(&format(0), Field("format"));
    refused(&wire(), Field("format"));
}

#[test]
fn a_newer_format_is_said_to_be_newer_whatever_it_holds() {
    // A later format may have events, enum values and fields that this one has not.
    let record = wire().number(1, 2).message(99, &wire().number(1, 1));
    refused(&record, RecordError::Newer(2));
}

#[test]
fn a_record_without_a_common_field_is_refused() {
    let event = wire();
    let begin = || wire().number(1, 1).number(2, 7).bytes(3, [1; 16]);
    refused(&wire().number(1, 1).bytes(3, [1; 16]), Field("position"));
    refused(&wire().number(1, 1).number(2, 7), Field("event_id"));
    refused(&begin().message(62, &event), Field("actor"));
    refused(&begin().message(10, &wire()).message(62, &event), Field("actor.mechanism"));
    refused(&begin().message(10, &actor()), Field("event"));
    // An event kind that this format has not.
    refused(&begin().message(10, &actor()).message(69, &event), Field("event"));
}

#[test]
fn ids_of_the_wrong_length_are_refused() {
    let done = |record: Wire| record.message(10, &actor()).message(62, &wire());
    refused(&done(wire().number(1, 1).number(2, 7).bytes(3, [1; 15])), Field("event_id"));
    refused(&done(head().bytes(8, [1; 11])), Field("key_id"));
    refused(&done(head().bytes(9, [1; 13])), Field("caller_id"));
    let by = wire().bytes(1, [1; 16]).number(2, 2);
    refused(&head().message(10, &by).message(62, &wire()), Field("actor.caller_id"));
    let traced = head().message(10, &actor()).bytes(11, [1; 8]);
    refused(&traced.message(62, &wire()), Field("trace_id"));
}

#[test]
fn a_subject_is_a_key_an_account_a_caller_or_the_service() {
    let done = |record: Wire| record.message(10, &actor()).message(62, &wire());
    refused(&done(head().bytes(6, "acme")), Field("account_id"));
    refused(&done(head().bytes(7, "web")), Field("tenant_id"));
    refused(&done(head().bytes(6, "a/b").bytes(7, "web")), Field("tenant_id"));
    refused(&done(head().bytes(6, "acme").bytes(7, "a b")), Field("account_id"));
    refused(&done(head().bytes(8, [1; 12])), Field("key_id"));
    let account = || head().bytes(6, "acme").bytes(7, "web");
    refused(&done(account().bytes(9, [1; 12])), Field("key_id"));
    refused(&done(account().bytes(8, [1; 12]).bytes(9, [1; 12])), Field("key_id"));
}

#[test]
fn a_named_call_and_sealed_fields_are_whole_or_absent() {
    let done = |record: Wire| record.message(62, &wire());
    let begin = || head().message(10, &actor());
    let call = |id: &[u8], method, digest: &[u8]| {
        done(begin().message(12, &wire().bytes(1, id).number(2, method).bytes(3, digest)))
    };
    assert!(decode(&call(&[1; 16], 11, &[1; 16]).0).is_ok());
    refused(&call(&[1; 15], 11, &[1; 16]), Field("request.id"));
    refused(&call(&[1; 16], 0, &[1; 16]), Field("request.method"));
    refused(&call(&[1; 16], 13, &[1; 16]), Field("request.method"));
    refused(&call(&[1; 16], 11, &[]), Field("request.digest"));
    let sealed = |nonce: &[u8]| wire().number(1, 1).number(2, 1).bytes(3, nonce).bytes(4, [1; 16]);
    assert!(decode(&done(begin().message(13, &sealed(&[1; 12])).bytes(14, [1; 32])).0).is_ok());
    refused(
        &done(begin().message(13, &sealed(&[1; 11])).bytes(14, [1; 32])),
        Field("sealed.nonce"),
    );
    refused(&done(begin().message(13, &sealed(&[1; 12]))), Field("commitment"));
    refused(&done(begin().bytes(14, [1; 32])), Field("sealed"));
}

#[test]
fn unknown_enum_values_are_refused_and_not_read_as_a_default() {
    let by = |mechanism| wire().number(2, mechanism);
    for mechanism in [5, -1] {
        let record = head().message(10, &by(mechanism)).message(62, &wire());
        refused(&record, Field("actor.mechanism"));
    }
    let state = |status| wire().bytes(1, "standard").number(4, status);
    for status in [0, 4] {
        refused(&of_account(20, &wire().message(1, &state(status))), Field("status"));
    }
    for environment in [0, 3] {
        let created = wire().message(1, &wire_tag()).number(2, environment);
        refused(&of_key(30, &created), Field("environment"));
    }
    refused(&of_key(34, &wire().bytes(1, [1; 12]).number(3, 6)), Field("reason"));
    refused(&of_key(35, &wire().number(1, 6)), Field("reason"));
    for role in [0, 8] {
        refused(&of_caller(50, &wire().message(1, &wire_tag()).bytes(2, [role])), Field("roles"));
    }
}

#[test]
fn an_event_without_a_field_it_needs_or_with_a_bad_one_is_refused() {
    refused(&of_account(20, &wire()), Field("state"));
    let active = |state: Wire| of_account(21, &wire().message(1, &state.number(4, 1)));
    refused(&active(wire()), Field("plan"));
    refused(&active(wire().bytes(1, "Gold")), Field("plan"));
    refused(&active(wire().bytes(1, "gold").bytes(2, "a::b")), Field("permissions"));
    refused(&active(wire().bytes(1, "gold").bytes(3, "")), Field("roles"));
    refused(&of_key(30, &wire().number(2, 1)), Field("tag"));
    let tagged = |tag: &Wire| of_key(30, &wire().message(1, tag).number(2, 1));
    refused(&tagged(&wire().number(1, 1).bytes(2, [1; 31])), Field("tag"));
    refused(&tagged(&wire().bytes(2, [1; 32])), Field("pepper"));
    refused(&tagged(&wire().number(1, 65_536).bytes(2, [1; 32])), Field("pepper"));
    let created = wire().message(1, &wire_tag()).number(2, 1);
    let scoped = created.clone().message(3, &wire().bytes(1, "a b"));
    refused(&of_key(30, &scoped), Field("permissions"));
    refused(&of_key(30, &created.bytes(6, [1; 3])), Field("replaces"));
    refused(&of_key(34, &wire()), Field("successor"));
    let bound = wire().message(1, &wire_tag()).bytes(3, "a b");
    refused(&of_caller(50, &bound), Field("tenants"));
    refused(&of_caller(51, &wire()), Field("tag"));
    refused(&of_service(60, &wire().message(1, &wire().bytes(1, "A"))), Field("plans"));
    for limit in [0, 1_000_000_001] {
        let plan = wire().bytes(1, "a").number(3, limit);
        refused(&of_service(60, &wire().message(1, &plan)), Field("plans"));
    }
    refused(&of_service(60, &wire().message(2, &wire())), Field("roles"));
    refused(&of_service(61, &wire().number(1, 1).bytes(2, [1; 15])), Field("check"));
    refused(&of_service(61, &wire().bytes(2, [1; 16])), Field("pepper"));
}

#[test]
fn a_record_about_the_log_is_whole_and_in_order() {
    let restored = |generation, to, lost| {
        let record = wire().bytes(1, [1; 32]).number(2, generation).number(3, to);
        of_service(63, &record.bytes(4, [2; 32]).number(5, lost))
    };
    assert!(decode(&restored(2, 5, 6).0).is_ok());
    refused(&restored(1, 5, 6), Field("generation"));
    refused(&restored(2, 0, 6), Field("restored_to"));
    refused(&restored(2, 5, 0), Field("lost_to"));
    refused(&restored(2, 5, 5), Field("lost_to"));
    let begin = || wire().number(2, 2).number(3, 5);
    refused(&of_service(63, &begin().bytes(4, [2; 32])), Field("origin"));
    refused(&of_service(63, &begin().bytes(1, [1; 32]).bytes(4, [2; 31])), Field("root"));

    let resolved = |first, last, how: Wire| {
        of_service(
            64,
            &Wire([wire().number(1, 2).number(2, first).number(3, last).0, how.0].concat()),
        )
    };
    let replayed = || wire().number(4, 1).bytes(5, [2; 32]);
    assert!(decode(&resolved(6, 7, replayed()).0).is_ok());
    refused(&resolved(0, 7, replayed()), Field("first"));
    refused(&resolved(6, 0, replayed()), Field("last"));
    refused(&resolved(6, 7, wire().number(4, 1)), Field("root"));
    refused(&resolved(6, 7, wire().number(4, 2).bytes(5, [2; 32])), Field("root"));
    refused(&resolved(6, 7, wire()), Field("resolution"));
    refused(&resolved(6, 7, wire().number(4, 3)), Field("resolution"));
}

#[test]
fn what_is_no_message_is_malformed() {
    for bytes in [&[0xff][..], &[0x08], &[0x0a, 1, 1], &[0x1a, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
        assert_eq!(decode(bytes), Err(RecordError::Malformed), "{bytes:02x?}");
    }
    let not_text = head().bytes(6, [0xc3, 0x28]);
    refused(&not_text, RecordError::Malformed);
}

proptest! {
    #[test]
    fn no_part_of_a_record_is_a_record(fact in recorded()) {
        let bytes = encode(&fact);
        for end in 0..bytes.len() {
            prop_assert!(decode(&bytes[..end]).is_err(), "cut off at {end}");
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn an_altered_record_is_answered(fact in recorded(), changes in prop::collection::vec(
        (any::<prop::sample::Index>(), any::<u8>()), 1..4,
    )) {
        let mut bytes = encode(&fact);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode(&bytes);
    }
}
