//! What can be wrong with usage journals.

use std::io;

use thiserror::Error;

use super::JournalNumber;
use crate::durable_file::Cause;

/// Why journals cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    /// The file system failed.
    #[error("the file system failed to {doing} a usage journal: {cause}")]
    Io {
        /// What it was to do.
        doing: &'static str,
        /// What it said.
        cause: Cause,
    },
    /// There is something in the directory that is no journal.
    #[error("the directory of usage journals holds something else: {name}")]
    Foreign {
        /// Its name.
        name: String,
    },
    /// A journal was written by a newer version.
    #[error("usage journal {number} has version {version}, which is newer than this program")]
    Newer {
        /// The journal.
        number: JournalNumber,
        /// Its version.
        version: u16,
    },
    /// A journal is not as it was written.
    #[error("usage journal {number} is damaged at byte {at}")]
    Damaged {
        /// The journal.
        number: JournalNumber,
        /// Where what is damaged begins.
        at: u64,
    },
    /// The roll of the journals is not as it was written.
    #[error("the roll of the usage journals is damaged")]
    DamagedRoll,
    /// A frame is as it was written, but does not open: the key is another, or it was forged.
    #[error("frame {sequence} of usage journal {number} cannot be unsealed")]
    Covered {
        /// The journal.
        number: JournalNumber,
        /// The frame.
        sequence: u64,
    },
}

impl JournalError {
    /// The error of a file system that failed while `doing` something with a journal.
    pub(super) fn io(doing: &'static str) -> impl Fn(io::Error) -> JournalError {
        move |error| JournalError::Io { doing, cause: Cause::from(&error) }
    }

    /// The error of an operating system that has no thread to give.
    #[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
    pub(in crate::usage) fn no_thread(error: io::Error) -> JournalError {
        JournalError::Io { doing: "start a thread for", cause: Cause::from(&error) }
    }
}
