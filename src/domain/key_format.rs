//! The key as text: one token that a double click selects whole and a typo breaks visibly.
//!
//! ```text
//! kl_live_<key id: 17 base62><secret: 43 base62><check: 6 base62>
//! ```
//!
//! The check is the CRC-32 (ISO-HDLC) of all text before it. It finds every change to up to four
//! neighbouring characters before it (a burst of 32 bits), every change to itself, and any other
//! damage but once in 2^32 times. It is no protection against forgery: that is what the tag is for.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::domain::base62;
use crate::domain::ids::{KeyId, PUBLIC_ID_BYTES};

/// Most bytes of a text that is looked at as a key at all.
pub const MAX_PRESENTED_BYTES: usize = 512;

/// Bytes of a secret: 256 random bits.
pub const SECRET_BYTES: usize = 32;

const ID_DIGITS: usize = base62::width(PUBLIC_ID_BYTES);
const SECRET_DIGITS: usize = base62::width(SECRET_BYTES);
const CHECK_DIGITS: usize = base62::width(4);

/// Digits of the key id that a hint shows: enough to tell keys apart, by eye.
const HINT_DIGITS: usize = 6;

/// Words that begin an `authorization` header and have no place in a key.
const SCHEMES: [&str; 3] = ["bearer ", "basic ", "apikey "];

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Environment {
    /// A key for real use.
    Live,
    /// A key for trying things out.
    Test,
    /// A caller's own credential; never a key.
    Service,
}

impl Environment {
    /// The word in the key's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Environment::Live => "live",
            Environment::Test => "test",
            Environment::Service => "svc",
        }
    }

    /// The environment of a word; none if it is no such word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "live" => Some(Environment::Live),
            "test" => Some(Environment::Test),
            "svc" => Some(Environment::Service),
            _ => None,
        }
    }

    /// The number in the log. It never changes.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Environment::Live => 1,
            Environment::Test => 2,
            Environment::Service => 3,
        }
    }

    /// The environment of a number in the log.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Environment::Live),
            2 => Some(Environment::Test),
            3 => Some(Environment::Service),
            _ => None,
        }
    }
}

/// Why a text is no key prefix. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a lower-case letter followed by 1 to 9 lower-case letters or digits")]
pub struct PrefixError;

/// What every key of an installation begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(Arc<str>);

impl KeyPrefix {
    /// Parses `[a-z][a-z0-9]{1,9}`.
    ///
    /// # Errors
    /// [`PrefixError`] if the text has another form.
    pub fn parse(text: &str) -> Result<Self, PrefixError> {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let rest = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let fits = (2..=10).contains(&text.len());
        if first && rest && fits { Ok(KeyPrefix(text.into())) } else { Err(PrefixError) }
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        KeyPrefix("kl".into())
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret of a key. Wiped when dropped; never shown, compared or stored: only its tag is.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// The secret made of `bytes`, which MUST come from a random source fit for secrets.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Secret(bytes)
    }

    /// The bytes, for computing a tag or rendering a new key.
    #[must_use]
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A well-formed key, as someone presented it. Whether it is a known one is yet to be seen.
#[derive(Debug)]
pub struct PresentedKey {
    /// What it is for.
    pub environment: Environment,
    /// The id of the key or of the caller.
    pub id: [u8; PUBLIC_ID_BYTES],
    /// The secret.
    pub secret: Secret,
}

/// The text of a new key, to be shown once. Wiped when dropped.
pub struct KeyText(Zeroizing<String>);

impl KeyText {
    /// The text, for the one answer that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(..)")
    }
}

/// Why a text is no key. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum KeyProblem {
    /// It begins with the name of an authorization scheme.
    #[error("begins with an authorization scheme")]
    HasScheme,
    /// It has white space or a control character somewhere.
    #[error("has white space or a control character")]
    HasWhitespace,
    /// It is too long or too short.
    #[error("is too long or too short")]
    BadLength,
    /// It does not begin as keys of this installation do.
    #[error("does not begin as a key of this service does")]
    ForeignPrefix,
    /// Some character is wrong.
    #[error("has a wrong character somewhere")]
    BadChecksum,
}

/// Reads a key exactly as given: nothing is trimmed. Of several problems the first in the order of
/// [`KeyProblem`] is named, except that a foreign prefix comes before a bad length.
///
/// # Errors
/// [`KeyProblem`] if `text` is no key. An empty text is a [`KeyProblem::BadLength`].
pub fn parse(prefix: &KeyPrefix, text: &str) -> Result<PresentedKey, KeyProblem> {
    if text.is_empty() {
        return Err(KeyProblem::BadLength);
    }
    if SCHEMES.iter().any(|scheme| begins_with(text, scheme)) {
        return Err(KeyProblem::HasScheme);
    }
    if has_whitespace(text) {
        return Err(KeyProblem::HasWhitespace);
    }
    let (environment, body) = split_prefix(prefix, text).ok_or(KeyProblem::ForeignPrefix)?;
    if body.len() != ID_DIGITS + SECRET_DIGITS + CHECK_DIGITS {
        return Err(KeyProblem::BadLength);
    }
    let (checked, check) = text.as_bytes().split_at(text.len() - CHECK_DIGITS);
    let check = base62::decode::<4>(check).ok_or(KeyProblem::BadChecksum)?;
    if u32::from_be_bytes(check) != crc32fast::hash(checked) {
        return Err(KeyProblem::BadChecksum);
    }
    let (id, rest) = body.as_bytes().split_at(ID_DIGITS);
    let id = base62::decode(id).ok_or(KeyProblem::BadChecksum)?;
    let mut secret = Secret([0; SECRET_BYTES]);
    base62::decode_into(&rest[..SECRET_DIGITS], &mut secret.0).ok_or(KeyProblem::BadChecksum)?;
    Ok(PresentedKey { environment, id, secret })
}

fn begins_with(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

fn has_whitespace(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    !plain && text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn split_prefix<'t>(prefix: &KeyPrefix, text: &'t str) -> Option<(Environment, &'t str)> {
    let rest = text.strip_prefix(prefix.as_str())?.strip_prefix('_')?;
    let (word, body) = rest.split_once('_')?;
    Some((Environment::parse(word)?, body))
}

/// The text of a key.
#[must_use]
pub fn render(
    prefix: &KeyPrefix,
    environment: Environment,
    id: &[u8; PUBLIC_ID_BYTES],
    secret: &Secret,
) -> KeyText {
    let start = start(prefix, environment);
    // The whole room at once: a text that grew would leave its shorter self in memory.
    let room = start.len() + ID_DIGITS + SECRET_DIGITS + CHECK_DIGITS;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.push_str(&start);
    base62::append(id, &mut text);
    base62::append(secret.expose(), &mut text);
    let check = crc32fast::hash(text.as_bytes());
    base62::append(&check.to_be_bytes(), &mut text);
    KeyText(text)
}

/// What people may see of a key at any time: its start, the first digits of its id and `…`.
#[must_use]
pub fn hint(prefix: &KeyPrefix, environment: Environment, id: &KeyId) -> String {
    let digits = base62::encode(&id.0);
    format!("{}{}…", start(prefix, environment), &digits[..HINT_DIGITS])
}

fn start(prefix: &KeyPrefix, environment: Environment) -> String {
    format!("{prefix}_{}_", environment.as_str())
}

#[cfg(test)]
#[path = "key_format_tests.rs"]
mod tests;
