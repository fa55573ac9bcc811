//! Usage journals: what keeps uses between their answer and their record in the log.
//!
//! A journal is one file, `<data-dir>/usage/usage-<20 digits>.klj`, to which each flush of the recorder
//! appends one frame. Its number is higher than that of any journal before. A journal holds uses of one
//! window; when the window has passed it is ended, its uses are put on record, and it is removed.
//!
//! Version 1, numbers big-endian, CRC-32 as in ISO-HDLC, times in microseconds since 1970, signed:
//!
//! | header: offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `KLUJ` |
//! | 4 | 2 | version, 1 |
//! | 6 | 1 | durability: 1 bounded, 2 before_reply |
//! | 7 | 1 | 1 if it is the first since the service started, else 0 |
//! | 8 | 8 | number of the journal, from 1 |
//! | 16 | 8 | head of the log when the file was made, 0 if the log was empty |
//! | 24 | 8 | wall time when the file was made |
//! | 32 | 4 | CRC-32 of the header before |
//!
//! | frame: offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `KLUF` |
//! | 4 | 4 | bytes of the payload n |
//! | 8 | 1 | kind: 1 uses; ends: 2 another journal follows, 3 the service stopped, 4 put there after a crash; 5 nothing waited |
//! | 9 | 7 | 0 |
//! | 16 | 8 | number of the journal |
//! | 24 | 8 | sequence: the frame's place in the journal, from 1 |
//! | 32 | 8 | wall time when its flush began |
//! | 40 | 8 | start of the window of its uses |
//! | 48 | n | the payload, sealed; none in a frame of another kind than 1 |
//! | 48 + n | 4 | CRC-32 of the frame before |
//!
//! The header is durable before the file has its name. Frames are appended with one write and one
//! `fdatasync` each, and none is written before the last is durable. So loss of power can tear the last
//! frame only: bytes at the end that are no frame are what it leaves, and the next start cuts them off and
//! puts an end there. Such bytes *before* a frame are damage, and so is a journal without an end when a
//! later one holds frames. A journal whose header is not as it was written is set aside by the next start,
//! as `usage-<20 digits>.klj.damaged`, for a person to look at.
//!
//! Beside the journals is their roll, see [`roll`]: without it one that somebody removed would not be missed.

mod dir;
mod error;
mod layout;
mod read;
mod roll;
#[cfg(test)]
pub(in crate::usage) mod testing;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::num::NonZeroU64;

pub use dir::{Examined, Journals};
pub use error::JournalError;
pub use layout::{Header, MAX_PAYLOAD_BYTES};
pub use read::{Ending, Found, Frame, Headless, JournalReader, gap_since};
pub use roll::Listed;
pub use write::{AppendTo, JournalWriter};

/// The number of a journal, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalNumber(NonZeroU64);

impl JournalNumber {
    /// The first journal of a data directory.
    pub const FIRST: JournalNumber = JournalNumber(NonZeroU64::MIN);

    /// The journal of that number; none if it is 0.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(JournalNumber)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The number behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        JournalNumber(self.0.saturating_add(1))
    }
}

impl fmt::Display for JournalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Seals what journals hold: addresses and agents are personal data.
pub trait Cover: Send + Sync {
    /// Seals `clear`, bound to its place: what was sealed for one place MUST NOT open in another.
    fn seal(&self, number: JournalNumber, sequence: u64, clear: &[u8]) -> Vec<u8>;

    /// What was sealed; none if it is not what was sealed for that place.
    fn open(&self, number: JournalNumber, sequence: u64, sealed: &[u8]) -> Option<Vec<u8>>;
}
