//! Names of things, each its own type, so that one is never taken for another.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use thiserror::Error;

/// Most characters of a tenant id or an account id.
pub const MAX_ID_LEN: usize = 128;

/// The place of an event in the global order: 1, 2, 3, … without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(NonZeroU64);

impl Position {
    /// The first position of a log.
    pub const FIRST: Position = Position(NonZeroU64::MIN);

    /// `value` as a position; none for 0.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        match NonZeroU64::new(value) {
            Some(value) => Some(Position(value)),
            None => None,
        }
    }

    /// The number of this position, at least 1.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Position(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is no tenant or account id. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than [`MAX_ID_LEN`].
    #[error("must be at most {MAX_ID_LEN} characters")]
    TooLong,
    /// The text has a character outside `A-Z a-z 0-9 . _ ~ -`.
    #[error("may hold only letters, digits and . _ ~ -")]
    BadCharacter,
}

fn check_id(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_LEN {
        return Err(IdError::TooLong);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
    if text.bytes().all(allowed) { Ok(()) } else { Err(IdError::BadCharacter) }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses `[A-Za-z0-9._~-]{1,128}`.
            ///
            /// # Errors
            /// [`IdError`] if the text has another form.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check_id(text)?;
                Ok(Self(text.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// An organisation; nothing crosses from one tenant to another.
    TenantId
}
text_id! {
    /// A member of a tenant, named within it.
    AccountId
}

/// An account by its full name: the tenant and the account within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountRef {
    /// The organisation the account is a member of.
    pub tenant: TenantId,
    /// The account's id within the tenant.
    pub account: AccountId,
}

/// Bytes of a key id or a caller id: 96 random bits.
pub const PUBLIC_ID_BYTES: usize = 12;

macro_rules! public_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; PUBLIC_ID_BYTES]);

        impl $name {
            /// What the text form begins with.
            pub const PREFIX: &str = $prefix;

            /// Parses the text form; none if it has another form or is out of range.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let digits = text.strip_prefix(Self::PREFIX)?;
                crate::domain::base62::decode::<PUBLIC_ID_BYTES>(digits.as_bytes()).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Self::PREFIX)?;
                f.write_str(&crate::domain::base62::encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

public_id! {
    /// The public name of a key, shown as `key_` and 17 base62 digits.
    KeyId, "key_"
}
public_id! {
    /// The public name of a caller, shown as `caller_` and 17 base62 digits.
    CallerId, "caller_"
}

/// A random name of one event; binds its sealed fields to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub [u8; 16]);

/// A W3C trace id, kept with the events a traced call caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// The number of a pepper, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PepperVersion(pub u16);

impl fmt::Display for PepperVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_to_their_alphabet_and_length() {
        assert!(TenantId::parse("acme.eu_1~x-Y").is_ok());
        assert_eq!(TenantId::parse(""), Err(IdError::Empty));
        assert_eq!(AccountId::parse("a/b"), Err(IdError::BadCharacter));
        assert_eq!(AccountId::parse("ä"), Err(IdError::BadCharacter));
        assert!(AccountId::parse(&"a".repeat(128)).is_ok());
        assert_eq!(AccountId::parse(&"a".repeat(129)), Err(IdError::TooLong));
    }

    #[test]
    fn public_ids_round_trip_and_refuse_the_other_kind() {
        let id = KeyId([0xff; 12]);
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        assert_eq!(CallerId::parse(&id.to_string()), None);
        assert_eq!(KeyId::parse("key_zzzzzzzzzzzzzzzzz"), None);
    }
}
