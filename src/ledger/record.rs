//! Records: one event as the bytes that are stored, hashed and shown to auditors.
//!
//! The layout is `proto/keyledger/ledger/v1/record.proto`, format 1. Encoding happens once, by the
//! writer; what is stored is never encoded again.

mod caller;
mod conduct;
mod decode;
mod encode;
mod glance;
mod peppers;
#[cfg(test)]
mod tests;
mod uses;

use thiserror::Error;

pub use decode::{decode, decode_personal};
pub use encode::{encode, encode_personal};
pub use glance::{Glance, glance};

/// The format this program writes and the newest it reads.
pub const RECORD_FORMAT: u32 = 1;

/// Bytes of the random salt of a record's personal fields.
pub const SALT_BYTES: usize = 32;

/// Where the salt lies in the clear bytes of personal fields, which begin with its field.
const SALT_AT: std::ops::Range<usize> = 2..2 + SALT_BYTES;

/// The salt of the clear bytes of personal fields; none if they are none.
#[must_use]
pub fn salt(clear: &[u8]) -> Option<[u8; SALT_BYTES]> {
    clear.get(SALT_AT)?.try_into().ok()
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes are not an encoded record.
    #[error("not a record")]
    Malformed,
    /// The record was written by a newer version.
    #[error("format {0} is newer than this program")]
    Newer(u32),
    /// A field is missing or out of its range.
    #[error("field {0} is missing or out of range")]
    Field(&'static str),
}
