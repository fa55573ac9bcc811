//! Snapshots of the key table: the facts at one position, so that a start need not read what came before.
//!
//! A snapshot is made of the log alone and the same log gives the same bytes. It holds personal fields
//! only sealed, and nothing derived from uses. The log stays the truth: a snapshot that is missing or
//! damaged costs time, never a fact.
//!
//! The file is `<position, 20 digits>.kls`. Version 1, numbers big-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `KLSN` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | version of the key-encryption key its MACs derive from |
//! | 8 | 8 | position of the last record in it |
//! | 16 | 32 | root of the tree over all records up to there |
//! | 48 | 8 | time of that record, microseconds since 1970 |
//! | 56 | 8 | position of the last record about the service, 0 if none |
//! | 64 | 8 | highest data key id named up to there, 0 if none |
//! | 72 | 48 | count of entries of each section: policy, peppers, callers, accounts, keys, requests |
//! | 120 | 8 | offset of the index i |
//! | 128 | 8 | bytes of the index |
//! | 136 | 1 | count of peaks p: one for each bit set in the position |
//! | 137 | 32 p | peaks of the tree, largest first |
//! | 137 + 32 p | … | blocks, without gaps |
//! | i | … | index: for each block 1 byte section (1 to 6), 4 its bytes, 4 its entries, 2 length of its first order key, the order key |
//! | … | 16 | MAC of 0x02 ‖ all before the blocks ‖ index |
//!
//! A block holds entries of one section: length (4) and bytes of each. It is closed when the next entry
//! would make it longer than 4,096 bytes; an entry longer than that has a block to itself. Behind it stands its MAC,
//! over 0x01 ‖ section (1) ‖ number of the block in the file, from 0 (8) ‖ bytes. `vault::snapshot_key`
//! has the MAC; its key belongs to this position and root.
//!
//! Sections follow each other and entries are sorted by their order keys, the first bytes of each: none
//! (policy), version (peppers), id (callers, keys), tenant ‖ 0 ‖ account (accounts), position (requests).
//! So one entry is found by a search in the index, in memory, and the read of one block. `entry`, `entry::key` and
//! `entry::request` have the tables of the entries. Remembered calls are those not older, at the
//! last record, than [`REMEMBERED_FOR`](crate::domain::requests::REMEMBERED_FOR), at most
//! [`REMEMBERED_AT_MOST`](crate::domain::requests::REMEMBERED_AT_MOST).

mod build;
mod bytes;
mod compare;
mod entry;
mod fold;
mod header;
mod load;
mod merge;
mod reader;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

use std::io;

use thiserror::Error;

use crate::domain::ids::{PUBLIC_ID_BYTES, Position};
use crate::domain::sealed::DataKeyId;
use crate::domain::time::Time;
use crate::ledger::replay::Head;
use crate::merkle::{Frontier, Hash};

pub use build::BuildError;
pub use entry::key::{Bound, KeyEntry};
pub use fold::FoldError;
pub use load::{LoadError, load};
pub use reader::Snapshot;

/// A block is closed before it gets longer. A lookup reads and checks one block: at this length that
/// costs a few microseconds, and the index of 10 million keys takes 7 MB.
const BLOCK_BYTES: usize = 4096;

/// Where a snapshot stands, and what is known of the log up to there besides the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standpoint {
    /// The last record in it.
    pub position: Position,
    /// The tree over all records up to there.
    pub frontier: Frontier,
    /// When that record was recorded.
    pub last_time: Time,
    /// The last record about the service itself.
    pub service_position: Option<Position>,
    /// The highest data key that any record up to there names.
    pub highest_data_key: Option<DataKeyId>,
}

impl Standpoint {
    /// The head of the log up to there.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { position: Some(self.position), frontier: self.frontier.clone() }
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }
}

/// The sections in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Policy,
    Peppers,
    Callers,
    Accounts,
    Keys,
    Requests,
}

impl Section {
    const ALL: [Section; 6] = [
        Section::Policy,
        Section::Peppers,
        Section::Callers,
        Section::Accounts,
        Section::Keys,
        Section::Requests,
    ];

    fn number(self) -> u8 {
        self as u8 + 1
    }

    fn of_number(number: u8) -> Option<Self> {
        Section::ALL.into_iter().find(|section| section.number() == number)
    }

    /// What an entry is sorted and looked up by; none if it is too short to be one.
    fn order_key(self, entry: &[u8]) -> Option<&[u8]> {
        match self {
            Section::Policy => entry.get(..0),
            Section::Peppers => entry.get(..2),
            Section::Callers | Section::Keys => entry.get(..PUBLIC_ID_BYTES),
            Section::Requests => entry.get(..8),
            Section::Accounts => {
                let mut zeros = entry.iter().enumerate().filter(|(_, byte)| **byte == 0);
                zeros.nth(1).map(|(end, _)| &entry[..end])
            }
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Section::Policy => "policy",
            Section::Peppers => "peppers",
            Section::Callers => "callers",
            Section::Accounts => "accounts",
            Section::Keys => "keys",
            Section::Requests => "requests",
        }
    }
}

/// Why a snapshot cannot be used. The log has all that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// It is not as it was written, or not a snapshot.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// A newer version of the program wrote it.
    #[error("the snapshot has version {0}, which is newer than this program")]
    Newer(u16),
    /// The key-encryption key that its MACs derive from is not there.
    #[error("the snapshot was made under key-encryption key version {0}, which is not there")]
    KeyMissing(u16),
    /// The file system failed.
    #[error("the file system failed on a snapshot: {0}")]
    Io(io::ErrorKind),
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        SnapshotError::Io(error.kind())
    }
}

#[cfg(test)]
mod tests;
