//! The fixed parts of a sealed volume as bytes: header, pages and footer.

use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::merkle::{Frontier, HASH_BYTES, Hash, peak_count};

pub(super) const VERSION: u16 = 1;
const MAGIC: [u8; 4] = *b"KLVO";
const END_MAGIC: [u8; 4] = *b"KLVE";
const FIXED_HEADER_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

pub(in crate::ledger) const FOOTER_BYTES: usize = 176;
/// Where the footer has the digest of all before it.
pub(in crate::ledger) const DIGEST_AT: usize = 104;
const FOOTER_MAGIC_AT: usize = 168;

pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const ENTRY_BYTES: usize = 24;
pub(super) const ENTRIES_A_PAGE: u64 = 170;

/// The most bytes of a header: a tree has at most 64 peaks.
pub(super) const MAX_HEADER_BYTES: usize = FIXED_HEADER_BYTES + 64 * HASH_BYTES + CHECKSUM_BYTES;

/// Why bytes are not the part they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadPart {
    /// Written by a newer version.
    Newer(u16),
    /// Truncated or altered.
    Damaged,
}

/// What a volume's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) first: Position,
    /// The tree over all records before the first.
    pub(super) before: Frontier,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let peaks = self.before.peaks();
        let mut bytes = Vec::with_capacity(MAX_HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(self.first.get().to_be_bytes());
        bytes.push(u8::try_from(peaks.len()).expect("a u64 has at most 64 bits set"));
        bytes.extend([0; 7]);
        bytes.extend(peaks.iter().flat_map(|peak| peak.0));
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    /// Reads the header at the beginning of `bytes`, which may go on behind it; answers its length too.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, usize), BadPart> {
        let fixed = bytes.get(..FIXED_HEADER_BYTES).ok_or(BadPart::Damaged)?;
        let peaks = usize::from(fixed[24]);
        let length = FIXED_HEADER_BYTES + peaks * HASH_BYTES + CHECKSUM_BYTES;
        let sealed = checked(bytes.get(..length).ok_or(BadPart::Damaged)?)?;
        if sealed[..4] != MAGIC {
            return Err(BadPart::Damaged);
        }
        match u16::from_be_bytes([sealed[4], sealed[5]]) {
            VERSION => {}
            newer if newer > VERSION => return Err(BadPart::Newer(newer)),
            _ => return Err(BadPart::Damaged),
        }
        let first = Position::new(number(sealed, 16)).ok_or(BadPart::Damaged)?;
        let size = first.get() - 1;
        if peaks != peak_count(size) {
            return Err(BadPart::Damaged);
        }
        let (hashes, _) = sealed[FIXED_HEADER_BYTES..].as_chunks::<HASH_BYTES>();
        let before = Frontier::from_parts(size, hashes.iter().map(|hash| Hash(*hash)).collect());
        let before = before.ok_or(BadPart::Damaged)?;
        let header = Header { number: number(sealed, 8), first, before };
        // Reserved bytes are 0: nothing that is checksummed goes unread.
        if header.encode() == bytes[..length] {
            Ok((header, length))
        } else {
            Err(BadPart::Damaged)
        }
    }
}

/// What a volume's footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) number: u64,
    pub(super) first: Position,
    pub(super) last: Position,
    pub(super) first_time: Time,
    pub(super) last_time: Time,
    pub(super) frames: u64,
    pub(super) index_at: u64,
    pub(super) subjects: u64,
    pub(super) subjects_at: u64,
    pub(super) root: Hash,
    pub(super) digest: [u8; HASH_BYTES],
    pub(super) length: u64,
}

impl Footer {
    pub(super) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let numbers = [
            self.number,
            self.first.get(),
            self.last.get(),
            self.first_time.as_micros().cast_unsigned(),
            self.last_time.as_micros().cast_unsigned(),
            self.frames,
            self.index_at,
            self.subjects,
            self.subjects_at,
        ];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes[72..104].copy_from_slice(&self.root.0);
        bytes[DIGEST_AT..DIGEST_AT + HASH_BYTES].copy_from_slice(&self.digest);
        bytes[136..144].copy_from_slice(&self.length.to_be_bytes());
        bytes[FOOTER_MAGIC_AT..FOOTER_MAGIC_AT + 4].copy_from_slice(&END_MAGIC);
        let checksum = crc32fast::hash(&bytes[..FOOTER_BYTES - CHECKSUM_BYTES]);
        bytes[FOOTER_BYTES - CHECKSUM_BYTES..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; FOOTER_BYTES]) -> Result<Self, BadPart> {
        checked(bytes)?;
        let position = |at| Position::new(number(bytes, at)).ok_or(BadPart::Damaged);
        let time = |at| Time::from_micros(number(bytes, at).cast_signed());
        let hash = |at: usize| bytes[at..at + HASH_BYTES].try_into().expect("as long as a hash");
        let footer = Footer {
            number: number(bytes, 0),
            first: position(8)?,
            last: position(16)?,
            first_time: time(24),
            last_time: time(32),
            frames: number(bytes, 40),
            index_at: number(bytes, 48),
            subjects: number(bytes, 56),
            subjects_at: number(bytes, 64),
            root: Hash(hash(72)),
            digest: hash(DIGEST_AT),
            length: number(bytes, 136),
        };
        let ends_after =
            |at: u64, entries: u64| pages(entries).checked_mul(PAGE_BYTES as u64)?.checked_add(at);
        let whole = footer.first <= footer.last
            && footer.frames > 0
            && ends_after(footer.index_at, footer.frames) == Some(footer.subjects_at)
            && ends_after(footer.subjects_at, footer.subjects)
                .and_then(|end| end.checked_add(FOOTER_BYTES as u64))
                == Some(footer.length);
        if whole && footer.encode() == *bytes { Ok(footer) } else { Err(BadPart::Damaged) }
    }
}

/// The most bytes that a volume's file has, of so many bytes of frames with so many records: a record may
/// have a frame and a subject of its own.
pub(in crate::ledger) fn most_bytes(frame_bytes: u64, records: u64) -> u64 {
    let tables = pages(records).saturating_mul(2 * PAGE_BYTES as u64);
    frame_bytes.saturating_add(tables).saturating_add((MAX_HEADER_BYTES + FOOTER_BYTES) as u64)
}

/// How many pages so many entries take.
pub(super) fn pages(entries: u64) -> u64 {
    entries.div_ceil(ENTRIES_A_PAGE)
}

/// A page of at most 170 entries.
pub(super) fn encode_page(entries: &[[u8; ENTRY_BYTES]]) -> [u8; PAGE_BYTES] {
    let mut page = [0; PAGE_BYTES];
    for (place, entry) in page.chunks_exact_mut(ENTRY_BYTES).zip(entries) {
        place.copy_from_slice(entry);
    }
    let checksum = crc32fast::hash(&page[..PAGE_BYTES - CHECKSUM_BYTES]);
    page[PAGE_BYTES - CHECKSUM_BYTES..].copy_from_slice(&checksum.to_be_bytes());
    page
}

/// The first `count` entries of a page whose checksum holds.
pub(super) fn decode_page(
    page: &[u8; PAGE_BYTES],
    count: usize,
) -> Result<&[[u8; ENTRY_BYTES]], BadPart> {
    checked(page)?;
    page.as_chunks::<ENTRY_BYTES>().0.get(..count).ok_or(BadPart::Damaged)
}

/// All but the checksum that the bytes end with, if it holds.
fn checked(bytes: &[u8]) -> Result<&[u8], BadPart> {
    let (sealed, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(BadPart::Damaged)?;
    let intact = crc32fast::hash(sealed).to_be_bytes() == *checksum;
    if intact { Ok(sealed) } else { Err(BadPart::Damaged) }
}

/// The number at an offset that is known to be inside.
pub(super) fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("the range is 8 bytes long"))
}
