use proptest::prelude::*;

use super::*;
use crate::grpc::encode;

/// The fields that `read` finds fault with, in order.
pub(in crate::grpc) fn violated<T>(read: impl FnOnce(&mut Violations) -> Option<T>) -> Vec<String> {
    match decode(read) {
        Ok(_) => Vec::new(),
        Err(AppError::Invalid(found)) => {
            found.into_iter().map(|violation| violation.field).collect()
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// Whether a field at `f` is taken.
fn takes<T>(read: impl FnOnce(&mut Violations) -> Option<T>) -> bool {
    let fields = violated(read);
    assert!(fields.is_empty() || fields == ["f"], "{fields:?}");
    fields.is_empty()
}

#[test]
fn all_violations_are_told_in_order_up_to_a_bound() {
    let fields = violated(|bad| {
        let tenant = bad.tenant("tenant_id", "");
        let name = bad.name("name", String::new());
        Some((tenant?, name?))
    });
    assert_eq!(fields, ["tenant_id", "name"]);
    let many = vec!["/".to_owned(); MAX_PERMISSIONS];
    let fields = violated(|bad| bad.permissions("words", &many));
    assert_eq!(fields.len(), MAX_VIOLATIONS);
    assert_eq!(fields[15], "words[15]");
}

#[test]
fn one_violation_refuses_the_request_even_if_a_value_was_made() {
    let fields = violated(|bad| {
        let _: Option<()> = bad.refuse("f", "must be otherwise");
        Some(())
    });
    assert_eq!(fields, ["f"]);
}

#[test]
fn texts_are_counted_in_characters_and_lists_in_entries() {
    for (most, read) in [
        (200, Violations::name as fn(&mut Violations, &str, String) -> Option<String>),
        (200, Violations::line),
        (1000, |bad: &mut Violations, field: &str, text| bad.prose(field, 1000, text)),
    ] {
        assert!(takes(|bad| read(bad, "f", "ü".repeat(most))));
        assert!(!takes(|bad| read(bad, "f", "ü".repeat(most + 1))));
    }
    assert!(!takes(|bad| bad.name("f", String::new())));
    assert!(takes(|bad| bad.line("f", String::new())));
    let cidrs = |n| vec!["10.0.0.0/8".to_owned(); n];
    assert!(takes(|bad| bad.cidrs("f", &cidrs(32))));
    assert!(!takes(|bad| bad.cidrs("f", &cidrs(33))));
    let words = |n| vec!["a:b".to_owned(); n];
    assert!(takes(|bad| bad.permissions("f", &words(64))));
    assert!(!takes(|bad| bad.permissions("f", &words(65))));
    assert!(!takes(|bad| bad.check_permissions("f", &words(65))));
    assert!(takes(|bad| bad.api_key("f", &"k".repeat(512))));
    assert!(!takes(|bad| bad.api_key("f", &"k".repeat(513))));
}

#[test]
fn control_characters_are_refused_but_line_feeds_in_prose() {
    for character in ['\0', '\t', '\r', '\u{1b}', '\u{7f}', '\u{85}', '\n'] {
        let text = || format!("a{character}b");
        assert!(!takes(|bad| bad.name("f", text())));
        assert!(!takes(|bad| bad.line("f", text())));
        assert_eq!(takes(|bad| bad.prose("f", 10, text())), character == '\n');
        assert!(!takes(|bad| bad.metadata("f", [(text(), String::new())].into())));
        assert!(!takes(|bad| bad.metadata("f", [("k".to_owned(), text())].into())));
    }
}

#[test]
fn metadata_is_counted_in_bytes() {
    let entry = |name: usize, value: usize| [("n".repeat(name), "v".repeat(value))].into();
    assert!(takes(|bad| bad.metadata("f", BTreeMap::new())));
    assert!(takes(|bad| bad.metadata("f", entry(64, 512))));
    assert!(takes(|bad| bad.metadata("f", entry(1, 0))));
    assert!(!takes(|bad| bad.metadata("f", entry(0, 1))));
    assert!(!takes(|bad| bad.metadata("f", entry(65, 1))));
    assert!(!takes(|bad| bad.metadata("f", entry(1, 513))));
    assert!(!takes(|bad| bad.metadata("f", [("ü".repeat(33), String::new())].into())));
    let many = |n: usize| (0..n).map(|n| (n.to_string(), String::new())).collect();
    assert!(takes(|bad| bad.metadata("f", many(32))));
    assert!(!takes(|bad| bad.metadata("f", many(33))));
}

#[test]
fn ids_are_of_their_kind() {
    let (key, caller) = (KeyId([9; 12]).to_string(), CallerId([9; 12]).to_string());
    assert!(takes(|bad| bad.key_id("f", &key)) && !takes(|bad| bad.key_id("f", &caller)));
    assert!(takes(|bad| bad.caller_id("f", &caller)) && !takes(|bad| bad.caller_id("f", &key)));
    assert!(!takes(|bad| bad.key_id("f", "")) && !takes(|bad| bad.caller_id("f", "")));
    let fields = violated(|bad| bad.account("account.", "a b", ""));
    assert_eq!(fields, ["account.tenant_id", "account.account_id"]);
}

#[test]
fn a_key_is_for_live_or_test_use() {
    for (word, taken) in
        [("live", true), ("test", true), ("svc", false), ("", false), ("LIVE", false)]
    {
        assert_eq!(takes(|bad| bad.environment("f", word)), taken, "{word}");
    }
}

#[test]
fn scopes_that_are_there_are_read_and_named_in_full() {
    assert_eq!(decode(|bad| bad.scopes("key.scopes", None)).expect("unset"), None);
    let scopes = v1::Scopes { permissions: vec!["a".to_owned(), "a:".to_owned()] };
    let fields = violated(|bad| bad.scopes("key.scopes", Some(&scopes)));
    assert_eq!(fields, ["key.scopes.permissions[1]"]);
}

#[test]
fn timestamps_are_in_the_years_1_to_9999() {
    let stamp = |seconds, nanos| Some(Timestamp { seconds, nanos });
    for good in [stamp(-62_135_596_800, 0), stamp(0, 0), stamp(253_402_300_799, 999_999_999)] {
        assert!(takes(|bad| bad.time("f", good)));
    }
    for bad_one in [
        stamp(-62_135_596_801, 999_999_999),
        stamp(253_402_300_800, 0),
        stamp(i64::MAX, 0),
        stamp(i64::MIN, 0),
        stamp(0, -1),
        stamp(0, 1_000_000_000),
    ] {
        assert!(!takes(|bad| bad.time("f", bad_one)), "{bad_one:?}");
    }
    let latest = decode(|bad| bad.time("f", stamp(253_402_300_799, 999_999_999))).expect("valid");
    assert_eq!(latest, Some(Time::MAX));
}

#[test]
fn an_overlap_is_set_and_at_most_90_days() {
    let span = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let read = |given| decode(|bad| bad.overlap(given)).ok();
    let days = 90 * 24 * 60 * 60;
    assert_eq!(read(span(0, 0)), Some(Duration::ZERO));
    assert_eq!(read(span(1, 5)), Some(Duration::new(1, 5)));
    assert_eq!(read(span(days, 0)), Some(MAX_OVERLAP));
    for given in [
        None,
        span(days, 1),
        span(-1, 0),
        span(0, -1),
        span(1, -1),
        span(1, 1_000_000_000),
        span(i64::MAX, 999_999_999),
    ] {
        assert_eq!(read(given), None, "{given:?}");
        assert_eq!(violated(|bad| bad.overlap(given)), ["overlap"]);
    }
}

#[test]
fn a_request_id_is_a_hyphenated_uuid_that_is_not_nil() {
    let read = |text: &str| decode(|bad| bad.request_id(text)).ok();
    let text = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let id = Uuid::parse_str(text).expect("a UUID").into_bytes();
    assert_eq!(read(""), Some(None));
    assert_eq!(read(text), Some(Some(id)));
    assert_eq!(read(&text.to_uppercase()), Some(Some(id)));
    for text in [
        "6ba7b8109dad11d180b400c04fd430c8",
        "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
        "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "00000000-0000-0000-0000-000000000000",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c",
        "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
        "6ba7b810-9dad-11d1-80b400-c04fd430c8",
        " ",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn a_page_has_a_default_size_and_a_bound() {
    let size =
        |size| decode(|bad| bad.page(size, String::new(), Vec::new())).ok().map(|page| page.size);
    assert_eq!([size(0), size(1), size(1000)], [Some(50), Some(1), Some(1000)]);
    assert_eq!([size(-1), size(1001), size(i32::MAX), size(i32::MIN)], [None; 4]);
    let token = |n| violated(|bad| bad.page(0, "0".repeat(n), Vec::new()));
    assert_eq!(token(MAX_TOKEN_LEN), [""; 0]);
    assert_eq!(token(MAX_TOKEN_LEN + 1), ["page_token"]);
}

#[test]
fn an_expected_position_is_unset_or_a_position() {
    let read = |at| decode(|bad| bad.expected_position(at)).ok();
    assert_eq!(read(None), Some(None));
    assert_eq!(read(Some(1)), Some(Some(Position::FIRST)));
    assert_eq!(read(Some(0)), None);
}

#[test]
fn who_a_call_is_for_is_held_to_its_bounds() {
    let said = v1::OnBehalfOf {
        subject: "s".repeat(201),
        ticket: "a\nb".to_owned(),
        note: "two\nlines".to_owned(),
    };
    let fields = violated(|bad| bad.on_behalf_of(Some(&said)));
    assert_eq!(fields, ["on_behalf_of.subject", "on_behalf_of.ticket"]);
    let long = v1::OnBehalfOf { ticket: "t".repeat(101), ..Default::default() };
    assert_eq!(violated(|bad| bad.on_behalf_of(Some(&long))), ["on_behalf_of.ticket"]);
}

/// What is said of a text that breaks every rule.
fn told_of(text: &str) -> Vec<FieldViolation> {
    let texts = vec![text.to_owned()];
    let said =
        v1::OnBehalfOf { subject: text.to_owned(), ticket: text.to_owned(), note: text.to_owned() };
    let mut bad = Violations::default();
    let _ = bad.account("", text, text);
    let _ = bad.key_id("key_id", text);
    let _ = bad.name("name", text.to_owned());
    let _ = bad.prose("comment", MAX_COMMENT, text.to_owned());
    let _ = bad.permissions("permissions", &texts);
    let _ = bad.cidrs("allowed_cidrs", &texts);
    let _ = bad.metadata("metadata", [(text.to_owned(), text.to_owned())].into());
    let _ = bad.environment("environment", text);
    let _ = bad.request_id(text);
    let _ = bad.on_behalf_of(Some(&said));
    let _ = bad.mask(Some(&FieldMask { paths: texts }), &["name"]);
    bad.0
}

#[test]
fn what_is_told_never_repeats_what_was_sent() {
    let told = told_of("\u{0}KITTY");
    assert_eq!(told.len(), 14);
    for violation in told {
        let text = format!("{}{}", violation.field, violation.description);
        assert!(!text.contains("KITTY"), "{text}");
        assert!(violation.description.starts_with("m"), "{text}");
    }
}

proptest! {
    #[test]
    fn an_instant_is_written_as_it_was_read_but_for_parts_of_a_microsecond(
        seconds in TIMESTAMP_SECONDS, nanos in NANOS,
    ) {
        let read = decode(|bad| bad.time("f", Some(Timestamp { seconds, nanos })));
        let time = read.expect("in range").expect("set");
        let written = encode::time(time);
        prop_assert_eq!(written, Timestamp { seconds, nanos: nanos - nanos % 1000 });
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in ".{0,300}") {
        for violation in told_of(&text) {
            prop_assert!(!violation.description.is_empty());
        }
    }
}
