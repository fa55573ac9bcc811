//! What is taken out of the log to be verified elsewhere: the whole history as an archive, one record as a
//! proof file. `docs/history-format.md` has both, byte by byte.
//!
//! What is here knows the tree and the layout, not what records say: whoever reads an archive holds its records
//! to each other ([`crate::verify`]).

mod proof;
mod read;
mod tar;
#[cfg(test)]
mod tests;
mod write;

use std::fmt::Write as _;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::merkle::checkpoint::{Checkpoint, CheckpointError};
use crate::merkle::tile::{PlacePath, TILE_HASHES, TileId};

pub use proof::{MAX_PROOF_BYTES, Proof};
pub use read::{Archive, Entry, Records};
pub use write::ArchiveWriter;

const README: &str = "README";
const CHECKPOINT: &str = "checkpoint";
const VERIFIER_KEYS: &str = "verifier.key";

/// What the end is called where it is missing.
const END: &str = "the end";

/// Most bytes of a record, and of what is disclosed of one: their length is in two bytes.
pub const MAX_ITEM_BYTES: usize = u16::MAX as usize;

/// What an archive's README begins with.
const TITLE: &str = "keyledger history archive, version 1";

/// Why something is no archive, or not one of its checkpoint.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// It cannot be read, or written.
    #[error("{member} cannot be read: {error}")]
    Unreadable {
        /// The member.
        member: String,
        /// What the system or the decompressor says.
        error: io::Error,
    },
    /// It cannot be written.
    #[error(transparent)]
    Unwritable(#[from] io::Error),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It ends too early.
    #[error("it ends where {member} should be")]
    Ended {
        /// What is missing.
        member: String,
    },
    /// Something stands in the place of a member.
    #[error("{found:?} is where {member} should be")]
    Foreign {
        /// What is there.
        found: String,
        /// What should be.
        member: String,
    },
    /// A member is not laid out as it must be.
    #[error("{member}: {what}")]
    Malformed {
        /// The member.
        member: String,
        /// What is wrong.
        what: &'static str,
    },
    /// It is no archive of a version that this program knows.
    #[error("it is no history archive of version 1")]
    OtherForm,
    /// A tile is not the one of the records.
    #[error("{member} is not what the records give")]
    OtherTile {
        /// The tile.
        member: String,
    },
    /// The checkpoint is not to be believed.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The records are not those of the checkpoint.
    #[error("the {records} records are not those of the checkpoint, which is of {signed}")]
    OtherRecords {
        /// How many there are.
        records: u64,
        /// How many were signed.
        signed: u64,
    },
    /// Something follows the end.
    #[error("something follows its end")]
    Trailing,
}

impl ArchiveError {
    fn unreadable(member: &str, error: io::Error) -> Self {
        let member = member.to_owned();
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Ended { member },
            _ => ArchiveError::Unreadable { member, error },
        }
    }
}

/// The README of an archive. It is fixed by the version: who verifies holds it to the checkpoint.
fn readme(checkpoint: &Checkpoint, disclosed: bool) -> String {
    let Checkpoint { origin, size, root } = checkpoint;
    let personal = if disclosed { "as far as they were shown to who exported" } else { "left out" };
    let mut text = format!("{TITLE}\n\n");
    let _ = writeln!(text, "Log:              {origin}");
    let _ = writeln!(text, "Records:          {size}, all from position 1 on");
    let _ = writeln!(text, "Root:             {}", STANDARD.encode(root.0));
    let _ = writeln!(text, "Personal fields:  {personal}");
    text.push_str(
        "
Made from the stream of events of a keyledger server and a checkpoint that it signed.
Secrets of keys are not in it. Names, comments, addresses and the like are, unless left out.

The records can be held to each other and to the checkpoint, the personal fields to the
records, the checkpoint to a verifier key. The one beside this text proves nothing: use
one that came another way.

    keyledger audit verify --archive FILE --verifier-key KEY

The layout is that of https://c2sp.org/tlog-tiles, with disclosures/ beside tile/entries/.
docs/history-format.md of keyledger describes it byte by byte.
",
    );
    text
}

/// What a name ends with of so many: nothing if they are whole.
fn width(count: usize) -> String {
    if count == TILE_HASHES { String::new() } else { format!(".p/{count}") }
}

fn entries_name(place: u64, count: usize) -> String {
    format!("tile/entries/{}{}", PlacePath(place), width(count))
}

fn disclosures_name(place: u64, count: usize) -> String {
    format!("disclosures/{}{}", PlacePath(place), width(count))
}

fn tile_name(tile: TileId, count: usize) -> String {
    format!("tile/{tile}{}", width(count))
}

/// Puts an item behind its length. It MUST be at most [`MAX_ITEM_BYTES`] long.
fn put_item(to: &mut Vec<u8>, item: &[u8]) {
    let length = u16::try_from(item.len()).expect("an item has a bound");
    to.extend(length.to_be_bytes());
    to.extend(item);
}

/// The item at the beginning, and what is behind it; none if it is not whole.
fn split_item(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
