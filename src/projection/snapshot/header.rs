//! The bytes before the blocks.

use super::bytes::{Cursor, Put};
use super::{Section, SnapshotError, Standpoint};
use crate::domain::ids::Position;
use crate::domain::sealed::DataKeyId;
use crate::merkle::{Frontier, HASH_BYTES, Hash, peak_count};

const MAGIC: [u8; 4] = *b"KLSN";
const VERSION: u16 = 1;

/// Bytes before the peaks.
const FIXED_BYTES: usize = 137;

/// Most bytes before the blocks: a position has at most 64 bits.
pub(super) const MOST_BYTES: usize = FIXED_BYTES + 64 * HASH_BYTES;

/// What stands before the blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kek_version: u16,
    pub(super) standpoint: Standpoint,
    pub(super) counts: [u64; Section::ALL.len()],
    pub(super) index_at: u64,
    pub(super) index_bytes: u64,
}

impl Header {
    /// Its bytes in the file: known from the position alone.
    pub(super) fn length(position: Position) -> usize {
        FIXED_BYTES + HASH_BYTES * peak_count(position.get())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Standpoint { position, frontier, last_time, .. } = &self.standpoint;
        let mut out = Vec::with_capacity(MOST_BYTES);
        out.extend(MAGIC);
        out.extend(VERSION.to_be_bytes());
        out.extend(self.kek_version.to_be_bytes());
        out.put_position(*position);
        out.extend(frontier.root().0);
        out.put_time(*last_time);
        out.extend(self.standpoint.service_position.map_or(0, Position::get).to_be_bytes());
        out.extend(self.standpoint.highest_data_key.map_or(0, |key| key.0).to_be_bytes());
        out.extend(self.counts.iter().flat_map(|count| count.to_be_bytes()));
        out.extend(self.index_at.to_be_bytes());
        out.extend(self.index_bytes.to_be_bytes());
        out.push(u8::try_from(frontier.peaks().len()).unwrap_or(u8::MAX));
        out.extend(frontier.peaks().iter().flat_map(|peak| peak.0));
        out
    }

    /// The header that `bytes` begin with. Nothing of it is to be believed before its MAC has been checked.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let damaged = SnapshotError::Damaged("its header");
        let mut from = Cursor(bytes);
        if from.array() != Some(MAGIC) {
            return Err(damaged);
        }
        match from.u16().ok_or(damaged)? {
            VERSION => Self::decode_rest(from).ok_or(damaged),
            newer if newer > VERSION => Err(SnapshotError::Newer(newer)),
            _ => Err(damaged),
        }
    }

    fn decode_rest(mut from: Cursor<'_>) -> Option<Self> {
        let kek_version = from.u16()?;
        let position = from.position()?;
        let root = Hash(from.array()?);
        let last_time = from.time()?;
        let service_position = Position::new(from.u64()?);
        let highest_data_key = Some(DataKeyId(from.u64()?)).filter(|key| key.0 != 0);
        let mut counts = [0; Section::ALL.len()];
        for count in &mut counts {
            *count = from.u64()?;
        }
        let (index_at, index_bytes) = (from.u64()?, from.u64()?);
        let peaks = (0..from.u8()?).map(|_| from.array().map(Hash)).collect::<Option<_>>()?;
        let frontier = Frontier::from_parts(position.get(), peaks)?;
        let standpoint =
            Standpoint { position, frontier, last_time, service_position, highest_data_key };
        let header = Header { kek_version, standpoint, counts, index_at, index_bytes };
        (header.standpoint.root() == root).then_some(header)
    }
}
