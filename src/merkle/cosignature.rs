//! Cosignatures of witnesses, as C2SP tlog-cosignature has them: <https://c2sp.org/tlog-cosignature>. A witness
//! says with one that at some time a checkpoint was of the largest tree that it had seen of a log, and that it
//! had seen it grow and do nothing else. Of both kinds there are, this is Ed25519, `cosignature/v1`. A
//! cosignature is a line among the signatures of the checkpoint's note; who does not know the witness passes it
//! over.

#[cfg(test)]
#[path = "cosignature_tests.rs"]
mod tests;

use std::fmt;

use super::note::{self, KeyId, KeyName, NoteError, PublicKey};

/// The kind of key that is Ed25519 over a time and a checkpoint.
const COSIGNER: u8 = 4;

/// A time is in so many bytes before the signature.
const TIME_BYTES: usize = 8;

/// A key that verifies a witness's cosignatures. Its text is that of a verifier key, of another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: KeyName,
    id: KeyId,
    key: PublicKey,
}

impl WitnessKey {
    /// The Ed25519 key `public` of the witness of that name; none if it is no public key.
    #[must_use]
    pub fn of(name: KeyName, public: &[u8; 32]) -> Option<Self> {
        let key = PublicKey::of(public)?;
        Some(WitnessKey { id: KeyId::of(&name, COSIGNER, public), name, key })
    }

    /// The key of its text; none if the text is not one of a witness's Ed25519 key, whole and with its own id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, id, public) = note::split_key(text, COSIGNER)?;
        let found = WitnessKey::of(name, &public)?;
        (found.id.to_string() == id).then_some(found)
    }

    /// The name of the witness.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The name and the id, which tells the keys of one name apart.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}+{}", self.name, self.id)
    }

    /// Whether both are of one witness, which must not count twice: of one name, or one key under two names, since
    /// what is signed does not say by whom.
    #[must_use]
    pub fn is_same_witness(&self, other: &WitnessKey) -> bool {
        self.name == other.name || self.key == other.key
    }

    /// When the witness signed a checkpoint of this text, in seconds since 1970; none if it did not.
    fn signed_at(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (time, signature) = signature.split_first_chunk::<TIME_BYTES>()?;
        let time = u64::from_be_bytes(*time);
        let in_bounds = i64::try_from(time).is_ok();
        (in_bounds && self.key.verifies(&message(text, time), signature)).then_some(time)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id, self.key.text(COSIGNER))
    }
}

/// What a witness signs of a checkpoint's text at a time in seconds since 1970.
#[must_use]
pub fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// The line of a note that holds a witness's cosignature: a time, and the signature of its [`message`].
#[must_use]
pub fn signature_line(key: &WitnessKey, time: u64, signature: &[u8; 64]) -> String {
    note::line(&key.name, &key.id, &[&time.to_be_bytes()[..], signature].concat())
}

/// That a witness has cosigned a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cosigned<'k> {
    /// Who did.
    pub witness: &'k WitnessKey,
    /// When, as it says, in seconds since 1970.
    pub time: u64,
}

/// Which of these witnesses have cosigned a checkpoint, each once, in their order; of several cosignatures by one
/// the last in time counts. Every line by one of them must hold; lines by others are passed over. Whether the log
/// has signed it is not looked at.
///
/// # Errors
/// [`NoteError`] if it is no note, or a line by one of them does not hold.
pub fn cosigned<'k>(
    note: &str,
    witnesses: &'k [WitnessKey],
) -> Result<Vec<Cosigned<'k>>, NoteError> {
    let (text, lines) = note::parse(note).ok_or(NoteError::Malformed)?;
    let mut found = Vec::new();
    for witness in witnesses {
        if let Some((time, _)) = last(text, &lines, witness)? {
            found.push(Cosigned { witness, time });
        }
    }
    Ok(found)
}

/// The line by a witness, its last in time, among lines that it answered for a checkpoint of this text.
///
/// # Errors
/// [`NoteError`] if they are no lines of signatures, or one by the witness does not hold, or none is by it.
pub fn answered(text: &str, lines: &str, witness: &WitnessKey) -> Result<String, NoteError> {
    let lines = note::parse_lines(lines).ok_or(NoteError::Malformed)?;
    let (_, signature) = last(text, &lines, witness)?.ok_or(NoteError::UnknownKeys)?;
    Ok(note::line(&witness.name, &witness.id, signature))
}

/// When a witness cosigned last, and the cosignature; none if it did not.
fn last<'a>(
    text: &str,
    lines: &'a [note::SignatureLine<'_>],
    witness: &WitnessKey,
) -> Result<Option<(u64, &'a [u8])>, NoteError> {
    let mut last = None;
    for (name, id, signature) in lines {
        if *name == witness.name.as_str() && *id == witness.id {
            let time = witness.signed_at(text, signature).ok_or(NoteError::BadSignature)?;
            last = last.max(Some((time, &signature[..])));
        }
    }
    Ok(last)
}
