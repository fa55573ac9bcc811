//! Targets that read what is signed, and what a verifier keeps.

use std::str::from_utf8;
use std::sync::OnceLock;

use ed25519_dalek::{Signer, SigningKey};
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::note::{KeyName, VerifierKey, open};
use keyledger::verify::{History, Part, Scope};
use sha2::{Digest, Sha256};

/// The name of the log that signed what is in the corpora of state.
pub const ORIGIN: &str = "example.com/log";

/// A key of the fuzzer's own, under the name of any origin.
fn key(name: KeyName) -> (SigningKey, VerifierKey) {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    let signing = KEY.get_or_init(|| SigningKey::from_bytes(&[7; 32])).clone();
    let verifier = VerifierKey::of(name, &signing.verifying_key().to_bytes());
    (signing, verifier.expect("a public key"))
}

/// A text is a verifier's key, a note, or a text to sign. A key is shown as it was read. Of a note nobody believes
/// a word who does not know its keys; one that we have signed is the checkpoint that it was, and with any other
/// text none.
pub fn notes(input: &[u8]) -> bool {
    let Ok(text) = from_utf8(input) else { return false };
    if let Some(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text);
        return true;
    }
    let said = Checkpoint::of_unverified(text);
    let name = said.as_ref().map(|said| said.origin.clone());
    let (signing, ours) = key(name.or_else(|| KeyName::parse(ORIGIN)).expect("a name"));
    if let Some(said) = &said {
        assert!(text.starts_with(&said.text()[..said.text().len() - 1]));
        assert_eq!(
            Checkpoint::of_unverified(&format!("{}\n\u{2014} x AAAAAAA=\n", said.text())),
            Some(said.clone())
        );
    }
    if !text.contains("\u{2014} ") {
        assert!(open(text, [&ours]).is_err());
        let signature = signing.sign(text.as_bytes()).to_bytes();
        let note = format!("{text}\n{}", ours.signature_line(&signature));
        if let Ok(opened) = open(&note, [&ours]) {
            assert_eq!(opened, text);
            let other = note.replacen(opened, &format!("x{opened}"), 1);
            assert!(open(&other, [&ours]).is_err());
        }
    }
    said.is_some()
}

/// State that is taken is written again as it was.
pub fn kept_state(input: &[u8]) -> bool {
    let whole = state(input);
    if let Some((body, _)) = input.split_last_chunk::<32>() {
        state(&[body, &Sha256::digest(body)[..]].concat());
    }
    whole
}

fn state(bytes: &[u8]) -> bool {
    if let Some(history) = History::from_bytes(bytes, ORIGIN) {
        let again = History::from_bytes(&history.to_bytes(ORIGIN), ORIGIN).expect("written");
        assert!(again == history, "kept state is another once it is written");
        return true;
    }
    let scope = Scope::parse("acme", "", "").expect("a scope");
    let Some(part) = Part::from_bytes(bytes, ORIGIN, &scope) else { return false };
    let again = Part::from_bytes(&part.to_bytes(ORIGIN), ORIGIN, &scope).expect("written");
    assert!(again == part, "kept state is another once it is written");
    true
}
