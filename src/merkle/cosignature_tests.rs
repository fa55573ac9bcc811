use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

use super::*;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::tests::signer;

/// A witness's key, made and used by RFC 8032's own program, and its cosignature of the specification's example.
const KEY: &str = "witness.example.com/w1+4bdc7eaa+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY";
const SEED: u8 = 9;
const TEXT: &str = "example.com/behind-the-sofa\n20852163\n\
                    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
const LINE: &str = "— witness.example.com/w1 S9x+qgAAAABkGFDLSEwbtADY9t5XeSzDTVuiqYN5nZfoc9NQOUgkPYm4wwjIUL68Nczz1tpzCjnpmnRXttgqVVwOg3WfE7AXqa+DAg==\n";
const TIME: u64 = 1_679_315_147;

fn key() -> WitnessKey {
    WitnessKey::parse(KEY).unwrap()
}

/// A witness, and what cosigns a text with its key at a time.
fn witness(name: &str, seed: u8) -> (WitnessKey, impl Fn(&str, u64) -> String) {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    let name = note::KeyName::parse(name).unwrap();
    let key = WitnessKey::of(name, &signing.verifying_key().to_bytes()).unwrap();
    let by = key.clone();
    let sign = move |text: &str, time| {
        let signature = signing.sign(message(text, time).as_bytes());
        signature_line(&by, time, &signature.to_bytes())
    };
    (key, sign)
}

/// The checkpoint of the specification's example, signed by its log.
fn signed() -> String {
    signer("example.com/behind-the-sofa", 1).1(TEXT)
}

#[test]
fn the_example_of_the_specification_is_cosigned_to_the_byte() {
    let (made, cosign) = witness("witness.example.com/w1", SEED);
    assert_eq!((made.to_string(), &made), (KEY.to_owned(), &key()));
    assert_eq!(cosign(TEXT, TIME), LINE);
    let found = [Cosigned { witness: &made, time: TIME }];
    let keys = [made.clone()];
    assert_eq!(cosigned(&format!("{}{LINE}", signed()), &keys), Ok(found.to_vec()));
    assert_eq!(answered(TEXT, LINE, &made), Ok(LINE.to_owned()));
}

#[test]
fn a_witness_is_no_log_and_a_log_no_witness() {
    assert!(note::VerifierKey::parse(KEY).is_none());
    let (log, _) = signer("example.com/behind-the-sofa", 1);
    assert!(WitnessKey::parse(&log.to_string()).is_none());
    for at in 0..KEY.len() {
        let mut bytes = KEY.as_bytes().to_vec();
        bytes[at] += 1;
        assert!(WitnessKey::parse(std::str::from_utf8(&bytes).unwrap()).is_none(), "{at}");
    }
    // Its signature under the same name and with the same key is not taken for a cosignature.
    let (as_witness, _) = witness("example.com/behind-the-sofa", 1);
    assert_eq!(cosigned(&signed(), &[as_witness]), Ok(Vec::new()));
}

#[test]
fn who_does_not_know_a_witness_passes_its_line_over() {
    let (log, _) = signer("example.com/behind-the-sofa", 1);
    let note = format!("{}{LINE}", signed());
    assert_eq!(Checkpoint::open(&note, &[log]).unwrap().size, 20_852_163);
    let (other, cosign) = witness("witness.example.com/w1", 3);
    assert_eq!(cosigned(&note, std::slice::from_ref(&other)), Ok(Vec::new()));
    let both = format!("{note}{}", cosign(TEXT, 7));
    let keys = [other.clone(), key()];
    let found = cosigned(&both, &keys).unwrap();
    assert_eq!(found.iter().map(|found| found.time).collect::<Vec<_>>(), [7, TIME]);
    assert_eq!(answered(TEXT, LINE, &other), Err(NoteError::UnknownKeys));
}

#[test]
fn what_is_cosigned_of_another_checkpoint_or_at_another_time_does_not_hold() {
    let (witness, cosign) = witness("witness.example.com/w1", SEED);
    let other = TEXT.replace("20852163", "20852164");
    let signature = SigningKey::from_bytes(&[SEED; 32]).sign(message(TEXT, TIME).as_bytes());
    let late = signature_line(&witness, TIME + 1, &signature.to_bytes());
    for line in [cosign(&other, TIME), cosign(TEXT, u64::MAX), cosign(TEXT, 1 << 63), late] {
        assert_eq!(answered(TEXT, &line, &witness), Err(NoteError::BadSignature), "{line}");
        let note = format!("{}{LINE}{line}", signed());
        let found = cosigned(&note, std::slice::from_ref(&witness));
        assert_eq!(found, Err(NoteError::BadSignature), "each line must hold");
    }
    assert!(answered(TEXT, &cosign(TEXT, (1 << 63) - 1), &witness).is_ok());
}

#[test]
fn of_several_cosignatures_by_one_witness_the_last_in_time_counts_once() {
    let (witness, cosign) = witness("w", 4);
    let lines: String = [5, 9, 7].map(|time| cosign(TEXT, time)).concat();
    assert_eq!(answered(TEXT, &lines, &witness), Ok(cosign(TEXT, 9)));
    let keys = [witness];
    let found = cosigned(&format!("{}{lines}", signed()), &keys).unwrap();
    assert_eq!(found, [Cosigned { witness: &keys[0], time: 9 }]);
}

#[test]
fn one_name_and_one_key_are_one_witness() {
    let [(one, _), (key, _), (name, _), (other, _)] =
        [("a", 1), ("b", 1), ("a", 2), ("c", 3)].map(|(name, seed)| witness(name, seed));
    assert!(one.is_same_witness(&key) && one.is_same_witness(&name));
    assert!(!one.is_same_witness(&other) && !key.is_same_witness(&name));
}

#[test]
fn an_answer_that_is_no_lines_of_signatures_is_refused() {
    let empty_line = format!("{LINE}\n{LINE}");
    let long = LINE.repeat(101);
    for lines in ["", "\n", LINE.trim_end(), "no line\n", &empty_line, &long] {
        assert_eq!(answered(TEXT, lines, &key()), Err(NoteError::Malformed), "{lines:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_altered_cosignature_is_believed(at in any::<prop::sample::Index>(), by in 1_u8..=255) {
        let mut bytes = LINE.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        if let Ok(altered) = std::str::from_utf8(&bytes) {
            prop_assert!(answered(TEXT, altered, &key()).is_err());
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "(— |[a+]|\n| |\\PC){0,40}") {
        prop_assert!(answered(TEXT, &text, &key()).is_err());
        prop_assert!(cosigned(&text, &[key()]).is_err());
        prop_assert!(WitnessKey::parse(&text).is_none());
    }
}
