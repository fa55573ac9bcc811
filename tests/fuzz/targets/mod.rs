//! What reads bytes that others wrote, each as one function of these bytes that holds what it finds to an
//! oracle: it must neither panic nor take memory out of proportion, and what it takes must mean what it says.
//! Both `tests/fuzz/main.rs` and libFuzzer (`fuzz/`) run them.

pub mod archives;
pub mod calls;
pub mod entries;
pub mod front;
pub mod journals;
pub mod ledger;
pub mod messages;
pub mod notes;
pub mod snapshots;
pub mod text;
pub mod vault;
pub mod wire;
pub mod world;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

/// How inputs of a target are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Bytes that mean something by their place.
    Bytes,
    /// Text.
    Text,
    /// A message of protobuf.
    Message,
    /// A line, a byte, and a message of protobuf: see [`calls`].
    Call,
}

/// What is fed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the directory of its corpus.
    pub name: &'static str,
    /// Feeds it an input; whether that was taken as what it should be. Panics if the oracle is hurt.
    pub run: fn(&[u8]) -> bool,
    /// How its inputs are made up.
    pub shape: Shape,
    /// The most bytes of an input: enough for all that it reads.
    pub most: usize,
}

const fn target(name: &'static str, shape: Shape, most: usize, run: fn(&[u8]) -> bool) -> Target {
    Target { name, run, shape, most }
}

/// All there are.
pub const ALL: &[Target] = &[
    target("keys", Shape::Text, 600, text::keys),
    target("base62", Shape::Text, 64, text::base62),
    target("ids", Shape::Text, 300, text::ids),
    target("permissions", Shape::Text, 1_000, text::permissions),
    target("ranges", Shape::Text, 200, text::ranges),
    target("times", Shape::Bytes, 24, text::times),
    target("config", Shape::Text, 16 * 1024, text::config),
    target("manifests", Shape::Text, 8 * 1024, text::manifests),
    target("records", Shape::Message, 40 * 1024, ledger::records),
    target("personal", Shape::Message, 40 * 1024, ledger::personal),
    target("frames", Shape::Bytes, 64 * 1024, ledger::frames),
    target("volumes", Shape::Bytes, 64 * 1024, ledger::volumes),
    target("anchors", Shape::Bytes, 8 * 1024, ledger::anchors),
    target("journals", Shape::Bytes, 16 * 1024, journals::journals),
    target("rolls", Shape::Bytes, 1_024, journals::rolls),
    target("uses", Shape::Message, 16 * 1024, entries::uses),
    target("key_files", Shape::Text, 200, vault::key_files),
    target("data_keys", Shape::Bytes, 2_048, vault::data_keys),
    target("snapshots", Shape::Bytes, 16 * 1024, snapshots::snapshots),
    target("notes", Shape::Text, 4 * 1024, notes::notes),
    target("proofs", Shape::Text, 8 * 1024, archives::proofs),
    target("archives", Shape::Bytes, 64 * 1024, archives::archives),
    target("kept_state", Shape::Bytes, 4 * 1024, notes::kept_state),
    target("page_tokens", Shape::Bytes, 700, calls::page_tokens),
    target("http_requests", Shape::Text, 8 * 1024, front::http_requests),
    target("calls", Shape::Call, 64 * 1024, calls::calls),
];

/// The target of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

/// A file for a target that reads one, in memory where there is such a place.
pub fn scratch(name: &str) -> PathBuf {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    DIR.get_or_init(scratch_dir).path().join(name)
}

/// A directory that goes with its handle.
pub fn scratch_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a directory")
}

/// The number of 8 bytes at an offset; none if it is not inside.
pub fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let found = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(found.try_into().expect("8 bytes")))
}

/// Makes the checksum of a range hold, which ends with it: so that what is behind the checksum is reached too.
pub fn seal(bytes: &mut [u8], range: std::ops::Range<usize>) -> Option<()> {
    let part = bytes.get_mut(range)?;
    let (sealed, checksum) = part.split_last_chunk_mut::<4>()?;
    *checksum = crc32fast::hash(sealed).to_be_bytes();
    Some(())
}
