//! Signed notes, as C2SP signed-note has them: <https://c2sp.org/signed-note>. A text that ends a line, an
//! empty line, and a line for each signature. Keys are Ed25519 (RFC 8032); signatures of other kinds and by
//! other keys may stand beside ours and are passed over.

#[cfg(test)]
#[path = "note_tests.rs"]
pub(in crate::merkle) mod tests;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Most bytes of a note that is looked at: room for the signatures of sixteen post-quantum keys.
pub const MAX_NOTE_BYTES: usize = 128 * 1024;

/// Most signatures of a note that is looked at.
const MAX_SIGNATURES: usize = 100;

/// Most bytes of a key's name.
pub const MAX_NAME_BYTES: usize = 255;

/// What a line of a signature begins with: an em dash and a space.
const MARK: &str = "\u{2014} ";

/// The kind of key that is Ed25519 over the note's text.
const ED25519: u8 = 1;

/// The name of a key: what a checkpoint is of, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// The name, if it is one: 1 to 255 bytes without spaces, control characters and plus signs.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=MAX_NAME_BYTES).contains(&text.len());
        let foreign = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        (fits && !text.contains(foreign)).then(|| KeyName(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key that verifies notes. Its text is `<name>+<id in hex>+<base64 of kind and key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: [u8; 4],
    key: VerifyingKey,
}

impl VerifierKey {
    /// The Ed25519 key `public` under a name; none if it is no public key.
    #[must_use]
    pub fn of(name: KeyName, public: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(public).ok().filter(|key| !key.is_weak())?;
        let hashed = Sha256::new()
            .chain_update(name.as_str())
            .chain_update([b'\n', ED25519])
            .chain_update(public)
            .finalize();
        let (id, _) = hashed.split_first_chunk().expect("32 bytes have a first 4");
        Some(VerifierKey { name, id: *id, key })
    }

    /// The key of its text; none if the text is not one of an Ed25519 key, whole and with its own id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = STANDARD.decode(key).ok()?;
        let public = key.strip_prefix(&[ED25519])?.try_into().ok()?;
        let found = VerifierKey::of(KeyName::parse(name)?, public)?;
        (found.id_text() == id).then_some(found)
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id that tells the keys of one name apart, in hex.
    #[must_use]
    pub fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id))
    }

    /// The line of a note that holds this key's signature of the note's text.
    #[must_use]
    pub fn signature_line(&self, signature: &[u8; 64]) -> String {
        let bytes = [&self.id[..], signature].concat();
        format!("{MARK}{} {}\n", self.name, STANDARD.encode(bytes))
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519], &self.key.to_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, self.id_text(), STANDARD.encode(key))
    }
}

/// Why a note is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// The bytes are no signed note, or one that is too long.
    #[error("it is no signed note")]
    Malformed,
    /// A signature by a known key is not one of this text.
    #[error("a signature is not one of this text")]
    BadSignature,
    /// No known key has signed it.
    #[error("none of the known keys has signed it")]
    UnknownKeys,
}

/// The text of a note that a known key has signed. Every signature by a known key must hold.
///
/// # Errors
/// [`NoteError`] if the text is not to be believed.
pub fn open<'a, 'k>(
    note: &'a str,
    keys: impl IntoIterator<Item = &'k VerifierKey>,
) -> Result<&'a str, NoteError> {
    let (text, signatures) = parse(note).ok_or(NoteError::Malformed)?;
    let keys: Vec<_> = keys.into_iter().collect();
    let mut signed = false;
    for (name, id, signature) in signatures {
        let known = keys.iter().find(|key| key.name.as_str() == name && key.id == id);
        match known.map(|key| key.verifies(text, &signature)) {
            Some(true) => signed = true,
            Some(false) => return Err(NoteError::BadSignature),
            None => {}
        }
    }
    if signed { Ok(text) } else { Err(NoteError::UnknownKeys) }
}

/// The text of a note, whoever signed it; none if it is no signed note.
pub(in crate::merkle) fn text(note: &str) -> Option<&str> {
    parse(note).map(|(text, _)| text)
}

type SignatureLine<'a> = (&'a str, [u8; 4], Vec<u8>);

/// A note's text, and of each signature its name, key id and bytes.
fn parse(note: &str) -> Option<(&str, Vec<SignatureLine<'_>>)> {
    let foreign = |c: char| c < ' ' && c != '\n';
    if note.len() > MAX_NOTE_BYTES || note.contains(foreign) {
        return None;
    }
    // The text keeps its last line's end; of the empty line behind it nothing is kept.
    let end = note.rfind("\n\n")? + 1;
    let (text, lines) = (&note[..end], note[end + 1..].strip_suffix('\n')?);
    if lines.split('\n').count() > MAX_SIGNATURES {
        return None;
    }
    let signature = |line: &'_ str| -> Option<([u8; 4], Vec<u8>)> {
        let bytes = STANDARD.decode(line).ok()?;
        let (id, signature) = bytes.split_first_chunk()?;
        (!signature.is_empty()).then(|| (*id, signature.to_vec()))
    };
    let signatures = lines.split('\n').map(|line| {
        let (name, coded) = line.strip_prefix(MARK)?.split_once(' ')?;
        KeyName::parse(name)?;
        let (id, signature) = signature(coded)?;
        Some((name, id, signature))
    });
    Some((text, signatures.collect::<Option<_>>()?))
}
