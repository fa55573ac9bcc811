//! The roll: which journals there must be. A journal is put on it when it has been made and before it holds uses, and
//! is taken off when all of it is on record and before it is removed. So one that is on the roll and not there was
//! removed by somebody else, and uses are missing.
//!
//! The file `roll`, replaced as a whole; version 1, numbers big-endian, times in microseconds since 1970, signed:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `KLUR` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | 0 |
//! | 8 | 16 n | of each journal: its number (8), the wall time when it was made (8) |
//! | 8 + 16 n | 4 | CRC-32 of what is before |

use super::{Header, JournalNumber};
use crate::domain::time::Time;

pub(super) const NAME: &str = "roll";

/// More than there can be journals: at one a minute, two years of them.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;

const HEAD: [u8; 8] = *b"KLUR\x00\x01\x00\x00";
const ENTRY_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// A journal on the roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub number: JournalNumber,
    /// The wall time when it was made: its uses came after.
    pub created: Time,
}

impl From<&Header> for Listed {
    fn from(header: &Header) -> Self {
        Listed { number: header.number, created: header.created }
    }
}

pub(super) fn encode(roll: &[Listed]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD.len() + roll.len() * ENTRY_BYTES + CHECKSUM_BYTES);
    bytes.extend(HEAD);
    for Listed { number, created } in roll {
        bytes.extend(number.get().to_be_bytes());
        bytes.extend(created.as_micros().to_be_bytes());
    }
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

/// The journals on the roll; none if these bytes are not as a roll was written.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Listed>> {
    let (sealed, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    let entries = sealed.strip_prefix(&HEAD)?;
    let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() || crc32fast::hash(sealed).to_be_bytes() != *checksum {
        return None;
    }
    let listed = |entry: &[u8; ENTRY_BYTES]| {
        let (number, created) = entry.split_first_chunk::<8>()?;
        let number = JournalNumber::new(u64::from_be_bytes(*number))?;
        let created = i64::from_be_bytes(*created.first_chunk::<8>()?);
        Some(Listed { number, created: Time::from_micros(created) })
    };
    entries.iter().map(listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(number: u64, created: i64) -> Listed {
        let number = JournalNumber::new(number).expect("not 0");
        Listed { number, created: Time::from_micros(created) }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut bytes = b"KLUR\x00\x01\x00\x00".to_vec();
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1, 2]);
        bytes.extend([0, 0, 0, 0, 0, 0, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        let roll = [listed(7, 258), listed(256, -1)];
        assert_eq!(encode(&roll), bytes);
        assert_eq!(decode(&bytes).as_deref(), Some(&roll[..]));
        assert_eq!(decode(&encode(&[])), Some(Vec::new()));
    }

    #[test]
    fn a_roll_that_is_cut_or_altered_is_none() {
        let bytes = encode(&[listed(7, 258), listed(8, 259)]);
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert_eq!(decode(&altered), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
