//! A frame: the records of one commit, written to the engine as one value.
//!
//! Version 1, numbers big-endian, CRC-32 as in ISO-HDLC:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `KLFR` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 8 | position of the first record |
//! | 16 | 4 | count of records n, at least 1 |
//! | 20 | 4 | bytes of the records part |
//! | 24 | … | the records part: n times u32 length, u32 CRC-32 of the record, the record |
//! | … | 1 | count of peaks p: one for each bit set in the position of the last record |
//! | … | 32 p | peaks of the tree over all records up to the last of this frame, largest first |
//! | … | 32 | root of that tree |
//! | … | 4 | CRC-32 of everything before |
//!
//! The size of the tree is not written: it is the position of the last record.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::domain::ids::Position;
use crate::merkle::{Frontier, HASH_BYTES, Hash, leaf_hash, peak_count};

/// Most bytes of a whole encoded frame.
///
/// sled rewrites a leaf of up to 17 entries as one item, and puts an item of a quarter segment or
/// more into a file of its own that it does not sync. A quarter of a 4 MiB segment is 1,048,576
/// bytes; 17 frames of this bound with their keys are 1,044,718, which leaves room for the leaf's
/// own header.
pub const MAX_FRAME_BYTES: usize = 60 * 1024;

/// The first bytes of a frame.
pub(in crate::ledger) const MAGIC: [u8; 4] = *b"KLFR";
const VERSION: u16 = 1;
const COUNT_AT: usize = 16;
/// Bytes of a frame before its records.
pub(in crate::ledger) const HEADER_BYTES: usize = 24;
/// Length and checksum before each record.
const RECORD_OVERHEAD: usize = 8;
/// Count of peaks, root, checksum.
const TRAILER_BYTES: usize = 1 + HASH_BYTES + 4;

/// Why bytes are no frame, or not the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// More than [`MAX_FRAME_BYTES`].
    #[error("the frame has {0} bytes, more than the bound of {MAX_FRAME_BYTES}")]
    TooLong(usize),
    /// The frame was written by a newer version.
    #[error("the frame has version {0}, which is newer than this program")]
    Newer(u16),
    /// The frame begins elsewhere.
    #[error("the frame begins at position {0}")]
    OtherFirst(u64),
    /// A record does not match its checksum; those before it do.
    #[error("the record at position {0} is damaged")]
    DamagedRecord(Position),
    /// The bytes are not a whole frame as it was written.
    #[error("the frame is truncated or altered")]
    Damaged,
}

/// A frame whose checksums hold. Cheap to clone.
#[derive(Clone)]
pub struct Frame {
    bytes: Arc<[u8]>,
    first: Position,
    last: Position,
    records: Range<usize>,
    frontier: Frontier,
    root: Hash,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("first", &self.first)
            .field("last", &self.last)
            .field("bytes", &self.bytes.len())
            .field("root", &self.root)
            .finish()
    }
}

impl Frame {
    /// Reads an encoded frame that is expected to begin at `first`. Safe on any input: it neither
    /// panics nor allocates more than the input's size. That the tree continues the one before is
    /// for the caller to check, who knows it.
    ///
    /// # Errors
    /// [`FrameError`] if these are not the bytes of such a frame.
    pub fn decode(bytes: impl Into<Arc<[u8]>>, first: Position) -> Result<Self, FrameError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong(bytes.len()));
        }
        let (sealed, checksum) = bytes.split_last_chunk::<4>().ok_or(FrameError::Damaged)?;
        let intact = crc32fast::hash(sealed) == u32::from_be_bytes(*checksum);
        match parse(sealed, first) {
            Ok(parts) if intact => {
                let Parts { last, records, frontier, root } = parts;
                Ok(Frame { bytes, first, last, records, frontier, root })
            }
            // Only what a record's own checksum says is to be believed of an altered frame.
            Err(FrameError::DamagedRecord(position)) => Err(FrameError::DamagedRecord(position)),
            Err(error) if intact => Err(error),
            _ => Err(FrameError::Damaged),
        }
    }

    /// The first position and the length of the frame that seems to begin with these bytes, by its
    /// header alone. Nothing of it is checked: only to look for frames in a damaged log.
    pub(in crate::ledger) fn place_and_length(bytes: &[u8]) -> Option<(Position, usize)> {
        let mut header = Cursor(bytes.get(8..HEADER_BYTES)?);
        let first = u64::from_be_bytes(header.array().ok()?);
        let count = u32::from_be_bytes(header.array().ok()?);
        let records = u32::from_be_bytes(header.array().ok()?) as usize;
        let last = first.checked_add(u64::from(count))?.checked_sub(1)?;
        let length = HEADER_BYTES + records + TRAILER_BYTES + HASH_BYTES * peak_count(last);
        Some((Position::new(first)?, length))
    }

    /// The position of the first record.
    #[must_use]
    pub fn first(&self) -> Position {
        self.first
    }

    /// The position of the last record.
    #[must_use]
    pub fn last(&self) -> Position {
        self.last
    }

    /// The records in order, each with its position.
    pub fn records(&self) -> impl Iterator<Item = (Position, &[u8])> {
        let mut rest = Cursor(&self.bytes[self.records.clone()]);
        let mut next = self.first;
        std::iter::from_fn(move || {
            let (record, _) = rest.record()?;
            let position = next;
            next = next.next();
            Some((position, record))
        })
    }

    /// The record at `position`; none if it is not in this frame.
    #[must_use]
    pub fn record(&self, position: Position) -> Option<&[u8]> {
        self.records().find(|(at, _)| *at == position).map(|(_, record)| record)
    }

    /// The tree over all records up to the last of this frame.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The root of [`Frame::frontier`].
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The encoded frame.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Makes a frame of records that are pushed one by one.
#[derive(Debug)]
pub struct FrameBuilder {
    /// The frame so far, with nothing in the places of its counts.
    bytes: Vec<u8>,
    first: Position,
    count: u32,
    frontier: Frontier,
}

impl FrameBuilder {
    /// Begins the frame behind the tree `after`, at position `first`.
    ///
    /// # Panics
    /// If `first` is not the position behind the last record of `after`.
    #[must_use]
    pub fn new(after: &Frontier, first: Position) -> Self {
        assert_eq!(
            Some(first.get()),
            after.size().checked_add(1),
            "a frame follows the tree before it"
        );
        let mut bytes = Vec::with_capacity(MAX_FRAME_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(0_u16.to_be_bytes());
        bytes.extend(first.get().to_be_bytes());
        bytes.resize(HEADER_BYTES, 0);
        FrameBuilder { bytes, first, count: 0, frontier: after.clone() }
    }

    /// Bytes of the frame so far, without what stands behind its records.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Whether further records of these lengths keep the whole frame within [`MAX_FRAME_BYTES`].
    #[must_use]
    pub fn fits(&self, extra_record_lengths: &[usize]) -> bool {
        let size = self.frontier.size().saturating_add(extra_record_lengths.len() as u64);
        let extra = |sum: usize, length: &usize| {
            sum.saturating_add(*length).saturating_add(RECORD_OVERHEAD)
        };
        let fixed = self.bytes.len() + TRAILER_BYTES + HASH_BYTES * peak_count(size);
        extra_record_lengths.iter().fold(fixed, extra) <= MAX_FRAME_BYTES
    }

    /// Adds a record behind the last one. The caller MUST have asked [`FrameBuilder::fits`]; an
    /// engine refuses a frame over the bound.
    pub fn push(&mut self, record: &[u8]) {
        // A length cut off here makes a frame of 4 GiB, far over the bound.
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(crc32fast::hash(record).to_be_bytes());
        self.bytes.extend(record);
        self.count += 1;
        self.frontier.push(leaf_hash(record));
    }

    /// The finished frame.
    ///
    /// # Panics
    /// If no record was pushed: there is no empty frame.
    #[must_use]
    pub fn finish(mut self) -> Frame {
        let last = Position::new(self.frontier.size()).filter(|_| self.count > 0);
        let last = last.expect("a frame has at least one record");
        let records = HEADER_BYTES..self.bytes.len();
        // See `push` for a frame over the bound.
        let length = u32::try_from(records.len()).unwrap_or(u32::MAX);
        self.bytes[COUNT_AT..COUNT_AT + 4].copy_from_slice(&self.count.to_be_bytes());
        self.bytes[COUNT_AT + 4..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());

        let root = self.frontier.root();
        let peaks = self.frontier.peaks();
        self.bytes.push(u8::try_from(peaks.len()).expect("a u64 has at most 64 bits set"));
        self.bytes.extend(peaks.iter().flat_map(|peak| peak.0));
        self.bytes.extend(root.0);
        self.bytes.extend(crc32fast::hash(&self.bytes).to_be_bytes());
        let (bytes, first, frontier) = (self.bytes.into(), self.first, self.frontier);
        Frame { bytes, first, last, records, frontier, root }
    }
}

/// What [`parse`] finds besides the position it was told.
struct Parts {
    last: Position,
    records: Range<usize>,
    frontier: Frontier,
    root: Hash,
}

/// Reads all of a frame but its last checksum.
fn parse(sealed: &[u8], expected: Position) -> Result<Parts, FrameError> {
    let mut rest = Cursor(sealed);
    rest.expect(&MAGIC)?;
    let version = u16::from_be_bytes(rest.array()?);
    if version > VERSION {
        return Err(FrameError::Newer(version));
    }
    if version != VERSION {
        return Err(FrameError::Damaged);
    }
    rest.expect(&[0; 2])?;
    let first = u64::from_be_bytes(rest.array()?);
    if first != expected.get() {
        return Err(FrameError::OtherFirst(first));
    }
    let count = u32::from_be_bytes(rest.array()?);
    let length = u32::from_be_bytes(rest.array()?) as usize;
    let behind = first.checked_add(u64::from(count)).ok_or(FrameError::Damaged)?;
    let mut records = Cursor(rest.take(length).ok_or(FrameError::Damaged)?);
    for position in (first..behind).filter_map(Position::new) {
        let (record, checksum) = records.record().ok_or(FrameError::Damaged)?;
        if crc32fast::hash(record) != checksum {
            return Err(FrameError::DamagedRecord(position));
        }
    }
    let last = Position::new(behind - 1).filter(|_| count > 0).ok_or(FrameError::Damaged)?;
    let peaks = usize::from(u8::from_be_bytes(rest.array()?));
    if peaks != peak_count(last.get()) {
        return Err(FrameError::Damaged);
    }
    let peaks = (0..peaks).map(|_| rest.array().map(Hash)).collect::<Result<_, _>>()?;
    let frontier = Frontier::from_parts(last.get(), peaks).ok_or(FrameError::Damaged)?;
    let root = Hash(rest.array()?);
    if root != frontier.root() || !records.0.is_empty() || !rest.0.is_empty() {
        return Err(FrameError::Damaged);
    }
    Ok(Parts { last, records: HEADER_BYTES..HEADER_BYTES + length, frontier, root })
}

/// Bytes not yet read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FrameError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn expect(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        let found = self.take(bytes.len()) == Some(bytes);
        if found { Ok(()) } else { Err(FrameError::Damaged) }
    }

    /// The next record and the checksum written before it.
    fn record(&mut self) -> Option<(&'a [u8], u32)> {
        let length = u32::from_be_bytes(self.array().ok()?);
        let checksum = u32::from_be_bytes(self.array().ok()?);
        Some((self.take(usize::try_from(length).ok()?)?, checksum))
    }
}
