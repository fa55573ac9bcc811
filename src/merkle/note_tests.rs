use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use super::*;

/// The key and the note of the tests of `golang.org/x/mod/sumdb/note`, the form's first implementation.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const SEED: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
const LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn published() -> (String, VerifierKey) {
    (format!("{TEXT}\n{LINE}"), VerifierKey::parse(KEY).unwrap())
}

/// A key of that name, and what signs a text with it.
pub(in crate::merkle) fn signer(name: &str, seed: u8) -> (VerifierKey, impl Fn(&str) -> String) {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    let name = KeyName::parse(name).unwrap();
    let key = VerifierKey::of(name, &signing.verifying_key().to_bytes()).unwrap();
    let by = key.clone();
    let sign = move |text: &str| {
        format!("{text}\n{}", by.signature_line(&signing.sign(text.as_bytes()).to_bytes()))
    };
    (key, sign)
}

#[test]
fn the_published_note_is_opened_and_signed_again_to_the_byte() {
    let (note, key) = published();
    assert_eq!(open(&note, [&key]), Ok(TEXT));
    assert_eq!(key.to_string(), KEY);
    let seed = STANDARD.decode(SEED).unwrap();
    let signing = SigningKey::from_bytes(seed[1..].try_into().unwrap());
    assert_eq!(key.signature_line(&signing.sign(TEXT.as_bytes()).to_bytes()), LINE);
}

#[test]
fn no_part_or_neighbour_of_a_key_is_taken_for_one() {
    for from in 0..KEY.len() {
        for to in from + 1..=KEY.len() {
            assert!((from, to) == (0, KEY.len()) || VerifierKey::parse(&KEY[from..to]).is_none());
        }
    }
    for at in 0..KEY.len() {
        let mut bytes = KEY.as_bytes().to_vec();
        bytes[at] += 1;
        assert!(VerifierKey::parse(std::str::from_utf8(&bytes).unwrap()).is_none(), "{at}");
    }
    // Of the wrong length, and of an unknown kind, each with the id that it would have.
    let long = "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==";
    assert!(VerifierKey::parse(long).is_none());
    let kind = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert!(VerifierKey::parse(kind).is_none());
}

#[test]
fn a_key_that_every_signature_fits_is_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert!(VerifierKey::of(KeyName::parse("a").unwrap(), &neutral).is_none());
}

#[test]
fn malformed_notes_are_refused() {
    let (note, key) = published();
    let cases = [
        String::new(),
        TEXT.to_owned(),
        format!("{TEXT}\n"),
        format!("{TEXT}{LINE}"),
        note.trim_end().to_owned(),
        format!("{note}\n"),
        note.replace('—', "-"),
        format!("{note}— PeterNeumann\n"),
        format!("{note}— Peter+Neumann x08go/Z=\n"),
        format!("{note}— PeterNeumann x08go/\n"),
        format!("{note}— PeterNeumann x08goA==\n"),
        format!("\u{1}{note}"),
        note.replace('\n', "\r\n"),
        format!("{note}{}", LINE.repeat(100)),
        format!("{}\n{LINE}", "a".repeat(MAX_NOTE_BYTES)),
    ];
    for case in cases {
        assert_eq!(open(&case, [&key]), Err(NoteError::Malformed), "{case:?}");
    }
}

#[test]
fn each_signature_by_a_known_key_must_hold_and_others_are_passed_over() {
    let (note, key) = published();
    let (other, sign) = signer("example.com/a", 1);
    let line = sign(TEXT).strip_prefix(TEXT).unwrap()[1..].to_owned();
    let both = format!("{note}{line}");
    assert_eq!(open(&both, [&key, &other]), Ok(TEXT));
    assert_eq!(open(&both, [&other]), Ok(TEXT));
    assert_eq!(open(&note, [&other]), Err(NoteError::UnknownKeys));
    assert_eq!(open(&note, []), Err(NoteError::UnknownKeys));
    let (_, of_other) = signer("example.com/a", 1);
    let wrong = of_other("another text\n").strip_prefix("another text\n").unwrap()[1..].to_owned();
    let mixed = format!("{note}{wrong}");
    assert_eq!(open(&mixed, [&key, &other]), Err(NoteError::BadSignature));
    assert_eq!(open(&mixed, [&key]), Ok(TEXT));
}

#[test]
fn a_text_may_hold_empty_lines() {
    let (key, sign) = signer("example.com/a", 3);
    let text = "one\n\ntwo\n\n\nthree\n";
    assert_eq!(open(&sign(text), [&key]), Ok(text));
}

#[test]
fn names_that_would_break_a_line_or_a_key_are_none() {
    for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b", "a\u{7f}", &"a".repeat(256)] {
        assert!(KeyName::parse(name).is_none(), "{name:?}");
    }
    assert!(KeyName::parse(&"é".repeat(127)).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_altered_note_is_believed(at in any::<prop::sample::Index>(), by in 1_u8..=255) {
        let (note, key) = published();
        let mut bytes = note.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        if let Ok(altered) = std::str::from_utf8(&bytes) {
            prop_assert!(open(altered, [&key]).is_err());
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "(— |[a+]|\n| |\\PC){0,40}") {
        let (_, key) = published();
        prop_assert!(open(&text, [&key]).is_err());
        prop_assert!(VerifierKey::parse(&text).is_none());
    }
}
