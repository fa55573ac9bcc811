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

/// What tells the keys of one name apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::merkle) struct KeyId([u8; 4]);

impl KeyId {
    /// The id of a key of a kind under a name.
    pub(in crate::merkle) fn of(name: &KeyName, kind: u8, public: &[u8; 32]) -> Self {
        let hashed = Sha256::new()
            .chain_update(name.as_str())
            .chain_update([b'\n', kind])
            .chain_update(public)
            .finalize();
        let (id, _) = hashed.split_first_chunk().expect("32 bytes have a first 4");
        KeyId(*id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// An Ed25519 key that not every signature fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::merkle) struct PublicKey(VerifyingKey);

impl PublicKey {
    pub(in crate::merkle) fn of(public: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(public).ok().filter(|key| !key.is_weak()).map(PublicKey)
    }

    pub(in crate::merkle) fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.0.verify_strict(text.as_bytes(), &signature).is_ok())
    }

    /// What stands in the text of a key of a kind behind its id.
    pub(in crate::merkle) fn text(&self, kind: u8) -> String {
        STANDARD.encode([&[kind], &self.0.to_bytes()[..]].concat())
    }
}

/// The name, the id as it is written and the bytes of a key's text, which must be of this kind.
pub(in crate::merkle) fn split_key(text: &str, kind: u8) -> Option<(KeyName, &str, [u8; 32])> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let key = STANDARD.decode(key).ok()?;
    let public = key.strip_prefix(&[kind])?.try_into().ok()?;
    Some((KeyName::parse(name)?, id, public))
}

/// A line of a note that holds a signature.
pub(in crate::merkle) fn line(name: &KeyName, id: &KeyId, signature: &[u8]) -> String {
    format!("{MARK}{name} {}\n", STANDARD.encode([&id.0[..], signature].concat()))
}

/// A key that verifies notes. Its text is `<name>+<id in hex>+<base64 of kind and key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: KeyId,
    key: PublicKey,
}

impl VerifierKey {
    /// The Ed25519 key `public` under a name; none if it is no public key.
    #[must_use]
    pub fn of(name: KeyName, public: &[u8; 32]) -> Option<Self> {
        let key = PublicKey::of(public)?;
        Some(VerifierKey { id: KeyId::of(&name, ED25519, public), name, key })
    }

    /// The key of its text; none if the text is not one of an Ed25519 key, whole and with its own id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, id, public) = split_key(text, ED25519)?;
        let found = VerifierKey::of(name, &public)?;
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
        self.id.to_string()
    }

    /// The line of a note that holds this key's signature of the note's text.
    #[must_use]
    pub fn signature_line(&self, signature: &[u8; 64]) -> String {
        line(&self.name, &self.id, signature)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id, self.key.text(ED25519))
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
        match known.map(|key| key.key.verifies(text, &signature)) {
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

/// Of a signature its name, key id and bytes.
pub(in crate::merkle) type SignatureLine<'a> = (&'a str, KeyId, Vec<u8>);

/// A note's text, and its signatures.
pub(in crate::merkle) fn parse(note: &str) -> Option<(&str, Vec<SignatureLine<'_>>)> {
    if note.len() > MAX_NOTE_BYTES {
        return None;
    }
    // The text keeps its last line's end; of the empty line behind it nothing is kept.
    let end = note.rfind("\n\n")? + 1;
    let text = &note[..end];
    let lines = parse_lines(&note[end + 1..])?;
    is_plain(text).then_some((text, lines))
}

/// The signatures of lines, of which there must be at least one.
pub(in crate::merkle) fn parse_lines(lines: &str) -> Option<Vec<SignatureLine<'_>>> {
    let lines = lines.strip_suffix('\n').filter(|lines| is_plain(lines))?;
    if lines.split('\n').count() > MAX_SIGNATURES {
        return None;
    }
    let signature = |line: &'_ str| -> Option<(KeyId, Vec<u8>)> {
        let bytes = STANDARD.decode(line).ok()?;
        let (id, signature) = bytes.split_first_chunk()?;
        (!signature.is_empty()).then(|| (KeyId(*id), signature.to_vec()))
    };
    let signatures = lines.split('\n').map(|line| {
        let (name, coded) = line.strip_prefix(MARK)?.split_once(' ')?;
        KeyName::parse(name)?;
        let (id, signature) = signature(coded)?;
        Some((name, id, signature))
    });
    signatures.collect()
}

/// Whether no control character but the end of a line is in it.
fn is_plain(text: &str) -> bool {
    !text.contains(|c: char| c < ' ' && c != '\n')
}
