//! The bytes of a journal's header and frames; the table is in the module above.

use super::JournalNumber;
use crate::config::Durability;
use crate::domain::ids::Position;
use crate::domain::time::Time;

/// The most bytes of a payload, sealed: twice what the most uses of a frame take.
pub const MAX_PAYLOAD_BYTES: usize = 128 * 1024 * 1024;

pub(super) const HEADER_BYTES: usize = 36;
/// Bytes of a frame before its payload.
pub(super) const FRAME_HEAD_BYTES: usize = 48;
/// Bytes of a frame behind its payload.
pub(super) const CHECKSUM_BYTES: usize = 4;
/// The first bytes of a frame.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"KLUF";

const HEADER_MAGIC: [u8; 4] = *b"KLUJ";
const VERSION: u16 = 1;

/// What a journal says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The journal's number.
    pub number: JournalNumber,
    /// The head of the log when the file was made: its uses are on record only behind it.
    pub head: Option<Position>,
    /// The wall time when the file was made. It may be made some time before its first use.
    pub created: Time,
    /// Whether answers waited for the journal.
    pub durability: Durability,
    /// Whether it is the first that the service made since it started.
    pub first_of_run: bool,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Newer(u16),
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&HEADER_MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_be_bytes());
        bytes[6] = match self.durability {
            Durability::Bounded => 1,
            Durability::BeforeReply => 2,
        };
        bytes[7] = u8::from(self.first_of_run);
        bytes[8..16].copy_from_slice(&self.number.get().to_be_bytes());
        bytes[16..24].copy_from_slice(&self.head.map_or(0, Position::get).to_be_bytes());
        bytes[24..32].copy_from_slice(&self.created.as_micros().to_be_bytes());
        let checksum = crc32fast::hash(&bytes[..HEADER_BYTES - CHECKSUM_BYTES]);
        bytes[HEADER_BYTES - CHECKSUM_BYTES..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BadHeader> {
        let (sealed, checksum) = bytes.split_at(HEADER_BYTES - CHECKSUM_BYTES);
        if sealed[..4] != HEADER_MAGIC || crc32fast::hash(sealed).to_be_bytes() != *checksum {
            return Err(BadHeader::Damaged);
        }
        match u16::from_be_bytes([bytes[4], bytes[5]]) {
            VERSION => {}
            newer if newer > VERSION => return Err(BadHeader::Newer(newer)),
            _ => return Err(BadHeader::Damaged),
        }
        let durability = match bytes[6] {
            1 => Durability::Bounded,
            2 => Durability::BeforeReply,
            _ => return Err(BadHeader::Damaged),
        };
        let first_of_run = match bytes[7] {
            0 => false,
            1 => true,
            _ => return Err(BadHeader::Damaged),
        };
        Ok(Header {
            number: JournalNumber::new(number(bytes, 8)).ok_or(BadHeader::Damaged)?,
            head: Position::new(number(bytes, 16)),
            created: time(bytes, 24),
            durability,
            first_of_run,
        })
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It holds uses.
    Uses,
    /// It ends the journal; another follows.
    Rotated,
    /// It ends the journal; the service stopped.
    Stopped,
    /// It ends a journal that a crash left without an end.
    Recovered,
    /// Nothing waited at its wall time.
    Quiet,
}

/// A frame but for its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) payload_bytes: usize,
    pub(super) kind: Kind,
    pub(super) number: JournalNumber,
    pub(super) sequence: u64,
    pub(super) wall: Time,
    pub(super) window: Time,
}

impl FrameHead {
    /// Puts the whole frame at the end of `out`. The payload has `payload_bytes` bytes.
    pub(super) fn encode(&self, payload: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        let length = u32::try_from(self.payload_bytes).unwrap_or(u32::MAX);
        out.extend(FRAME_MAGIC);
        out.extend(length.to_be_bytes());
        out.push(match self.kind {
            Kind::Uses => 1,
            Kind::Rotated => 2,
            Kind::Stopped => 3,
            Kind::Recovered => 4,
            Kind::Quiet => 5,
        });
        out.extend([0; 7]);
        out.extend(self.number.get().to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.wall.as_micros().to_be_bytes());
        out.extend(self.window.as_micros().to_be_bytes());
        out.extend(payload);
        let checksum = crc32fast::hash(&out[begin..]);
        out.extend(checksum.to_be_bytes());
    }

    /// What the first bytes of a frame say; its checksum stands behind the payload, and until that is
    /// held against it nothing of this is to be believed. None if no frame begins so.
    pub(super) fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Option<Self> {
        let payload_bytes = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        let kind = match bytes[8] {
            1 => Kind::Uses,
            2 => Kind::Rotated,
            3 => Kind::Stopped,
            4 => Kind::Recovered,
            5 => Kind::Quiet,
            _ => return None,
        };
        let bounded = match kind {
            Kind::Uses => payload_bytes <= MAX_PAYLOAD_BYTES,
            Kind::Rotated | Kind::Stopped | Kind::Recovered | Kind::Quiet => payload_bytes == 0,
        };
        // Numbers are left for the end behind a frame, and for what would be next.
        let most_sequence = match kind {
            Kind::Uses | Kind::Quiet => u64::MAX - 2,
            Kind::Rotated | Kind::Stopped | Kind::Recovered => u64::MAX - 1,
        };
        if bytes[..4] != FRAME_MAGIC || bytes[9..16] != [0; 7] || !bounded {
            return None;
        }
        Some(FrameHead {
            payload_bytes,
            kind,
            number: JournalNumber::new(number(bytes, 16))?,
            sequence: Some(number(bytes, 24)).filter(|sequence| *sequence <= most_sequence)?,
            wall: time(bytes, 32),
            window: time(bytes, 40),
        })
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("the range is 8 bytes long"))
}

fn time(bytes: &[u8], at: usize) -> Time {
    let micros = bytes[at..at + 8].try_into().expect("the range is 8 bytes long");
    Time::from_micros(i64::from_be_bytes(micros))
}
