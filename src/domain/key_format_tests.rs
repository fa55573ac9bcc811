//! Tests of the key's text.

use super::*;
use proptest::prelude::*;

const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ENVIRONMENTS: [Environment; 3] = [Environment::Live, Environment::Test, Environment::Service];

fn kl() -> KeyPrefix {
    KeyPrefix::default()
}

fn sample_id() -> [u8; 12] {
    std::array::from_fn(|i| u8::try_from(i + 1).expect("small"))
}

fn sample_secret() -> Secret {
    Secret::from_bytes(std::array::from_fn(|i| u8::try_from(i + 100).expect("small")))
}

fn sample() -> String {
    render(&kl(), Environment::Live, &sample_id(), &sample_secret()).expose().to_owned()
}

/// `body` with the check that belongs to it.
fn with_check(body: &str) -> String {
    format!("{body}{}", base62::encode(&crc32fast::hash(body.as_bytes()).to_be_bytes()))
}

fn problem(text: &str) -> Option<KeyProblem> {
    parse(&kl(), text).err()
}

/// Computed with another language's integers and zlib's CRC-32.
#[test]
fn known_keys_have_known_texts() {
    let body = "00P9MVMcaXWHEX8yiNo287qEH4uQv9vBo5cxQTXAw02KFtzjuPbCrH1FrBEB";
    let known = [
        ("kl", Environment::Live, format!("kl_live_{body}28kjPK")),
        ("kl", Environment::Service, format!("kl_svc_{body}1mkyoD")),
        ("acme2", Environment::Test, format!("acme2_test_{body}3SvqRs")),
    ];
    for (prefix, environment, text) in known {
        let prefix = KeyPrefix::parse(prefix).expect("valid");
        let key = render(&prefix, environment, &sample_id(), &sample_secret());
        assert_eq!(key.expose(), text);
    }
}

#[test]
fn a_key_text_never_moves_while_it_is_built() {
    let key = render(&kl(), Environment::Service, &sample_id(), &sample_secret());
    assert_eq!(key.0.capacity(), key.0.len());
}

#[test]
fn problems_are_named_in_order() {
    let key = sample();
    assert_eq!(problem(""), Some(KeyProblem::BadLength));
    for scheme in ["Bearer ", "bearer ", "BASIC ", "ApiKey "] {
        assert_eq!(problem(&format!("{scheme}{key}")), Some(KeyProblem::HasScheme));
    }
    assert_eq!(problem("bearer"), Some(KeyProblem::ForeignPrefix));
    assert_eq!(problem("bearer\tx"), Some(KeyProblem::HasWhitespace));
    for space in [" ", "\n", "\r\n", "\t", "\0", "\u{7f}", "\u{85}", "\u{a0}", "\u{2003}"] {
        assert_eq!(problem(&format!("{key}{space}")), Some(KeyProblem::HasWhitespace));
        assert_eq!(problem(&format!("{space}{key}")), Some(KeyProblem::HasWhitespace));
    }
    for foreign in ["sk_live_x", "kl", "kl_", "kl_live", "kl_prod_x", "KL_live_x", "kl_Live_x"] {
        assert_eq!(problem(foreign), Some(KeyProblem::ForeignPrefix), "{foreign}");
    }
    assert_eq!(problem("kl_live_"), Some(KeyProblem::BadLength));
    assert_eq!(problem(&format!("{key}0")), Some(KeyProblem::BadLength));
    assert_eq!(problem(&key[..key.len() - 1]), Some(KeyProblem::BadLength));
    assert_eq!(problem(&key.replace("live", "test")), Some(KeyProblem::BadChecksum));
}

#[test]
fn ids_and_secrets_out_of_range_are_refused_though_the_check_is_right() {
    let zeroes = |digits: usize| "0".repeat(digits);
    let fine = with_check(&format!("kl_live_{}{}", zeroes(17), zeroes(43)));
    assert_eq!(problem(&fine), None);
    let id = with_check(&format!("kl_live_{}{}", "z".repeat(17), zeroes(43)));
    assert_eq!(problem(&id), Some(KeyProblem::BadChecksum));
    let secret = with_check(&format!("kl_live_{}{}", zeroes(17), "z".repeat(43)));
    assert_eq!(problem(&secret), Some(KeyProblem::BadChecksum));
    let foreign = with_check(&format!("kl_live_{}{}-", zeroes(17), zeroes(42)));
    assert_eq!(problem(&foreign), Some(KeyProblem::BadChecksum));
}

#[test]
fn every_change_of_one_character_is_refused() {
    let key = sample();
    for at in 0..key.len() {
        for other in ALPHABET.iter().chain(b"_- .*").filter(|other| **other != key.as_bytes()[at]) {
            let mut changed = key.clone().into_bytes();
            changed[at] = *other;
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(problem(&changed).is_some(), "{} at {at}", char::from(*other));
        }
    }
}

#[test]
fn every_deletion_insertion_and_swap_of_neighbours_is_refused() {
    let key = sample();
    for at in 0..key.len() {
        let mut shorter = key.clone();
        shorter.remove(at);
        assert!(problem(&shorter).is_some(), "without {at}");
        let mut swapped = key.clone().into_bytes();
        if at > 0 && swapped[at - 1] != swapped[at] {
            swapped.swap(at - 1, at);
            let swapped = String::from_utf8(swapped).expect("ASCII");
            assert!(problem(&swapped).is_some(), "{at} swapped");
        }
    }
    for at in 0..=key.len() {
        for added in ALPHABET.iter().chain(b"_") {
            let mut longer = key.clone();
            longer.insert(at, char::from(*added));
            assert!(problem(&longer).is_some(), "{} added at {at}", char::from(*added));
        }
    }
}

#[test]
fn nothing_shows_a_secret() {
    let secret = sample_secret();
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    let key = render(&kl(), Environment::Live, &sample_id(), &secret);
    assert_eq!(format!("{key:?}"), "KeyText(..)");
    let presented = parse(&kl(), key.expose()).expect("a key");
    assert!(format!("{presented:?}").contains("secret: Secret(..)"));
}

#[test]
fn secrets_and_key_texts_are_wiped_when_dropped() {
    fn wiped<T: ZeroizeOnDrop>(_: &T) {}
    let secret = sample_secret();
    wiped(&secret);
    wiped(&render(&kl(), Environment::Live, &sample_id(), &secret).0);
}

#[test]
fn a_hint_shows_six_digits_of_the_id() {
    let id = KeyId(sample_id());
    assert_eq!(hint(&kl(), Environment::Live, &id), "kl_live_00P9MV…");
    assert!(sample().starts_with(hint(&kl(), Environment::Live, &id).trim_end_matches('…')));
}

#[test]
fn prefixes_keep_to_their_form() {
    for fine in ["kl", "a1", "abcdefghij", "z999999999"] {
        assert_eq!(KeyPrefix::parse(fine).expect("valid").as_str(), fine);
    }
    for bad in ["", "k", "1k", "Kl", "k_l", "kL", "abcdefghijk", "kä", " kl"] {
        assert_eq!(KeyPrefix::parse(bad), Err(PrefixError), "{bad}");
    }
}

#[test]
fn environments_have_fixed_words_and_numbers() {
    assert_eq!(ENVIRONMENTS.map(Environment::as_str), ["live", "test", "svc"]);
    assert_eq!(ENVIRONMENTS.map(Environment::code), [1, 2, 3]);
    for environment in ENVIRONMENTS {
        assert_eq!(Environment::parse(environment.as_str()), Some(environment));
        assert_eq!(Environment::from_code(environment.code()), Some(environment));
    }
    assert_eq!(Environment::parse("Live"), None);
    assert_eq!([0, 4, 255].map(Environment::from_code), [None; 3]);
}

proptest! {
    #[test]
    fn parsing_undoes_rendering(
        prefix in "[a-z][a-z0-9]{1,9}", which in 0..3_usize, id: [u8; 12], secret: [u8; 32],
    ) {
        let prefix = KeyPrefix::parse(&prefix).expect("valid");
        let text = render(&prefix, ENVIRONMENTS[which], &id, &Secret::from_bytes(secret));
        let key = parse(&prefix, text.expose()).expect("what was rendered is a key");
        prop_assert_eq!(key.environment, ENVIRONMENTS[which]);
        prop_assert_eq!(key.id, id);
        prop_assert_eq!(key.secret.expose(), &secret);
    }

    #[test]
    fn any_change_of_one_character_is_refused(
        id: [u8; 12], secret: [u8; 32], at in 0..74_usize, other: char,
    ) {
        let text = render(&kl(), Environment::Live, &id, &Secret::from_bytes(secret));
        let mut changed: Vec<char> = text.expose().chars().collect();
        prop_assume!(changed[at] != other);
        changed[at] = other;
        let changed: String = changed.into_iter().collect();
        prop_assert!(problem(&changed).is_some());
    }

    #[test]
    fn any_text_is_answered(text in ".{0,100}", body in "[ -~]{66}") {
        prop_assert!(problem(&text).is_some());
        let framed = format!("kl_live_{body}");
        prop_assert!(problem(&framed).is_some());
    }
}
