//! A sealed volume: a run of frames that is whole and will never change, in one flat file.
//!
//! Sealed volumes are the unit of reading history, of backup and of archives: one format. Version 1,
//! numbers big-endian, CRC-32 as in ISO-HDLC:
//!
//! | part | bytes | what |
//! |---|---|---|
//! | header | 32 + 32 p + 4 | below |
//! | frames | … | the frames in order, each as it was committed, back to back |
//! | index | 4096 each | pages: one entry for each frame, in order of positions |
//! | subjects | 4096 each | pages: one entry for each subject with a record in the volume, in order of subjects |
//! | footer | 176 | below |
//!
//! Header:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `KLVO` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 8 | number of the volume, from 1 |
//! | 16 | 8 | position of the first record |
//! | 24 | 1 | count of peaks p: one for each bit set in the position before the first |
//! | 25 | 7 | reserved, 0 |
//! | 32 | 32 p | peaks of the tree over all records before the first, largest first |
//! | … | 4 | CRC-32 of the header before |
//!
//! A page holds 170 entries of 24 bytes, the last page fewer: the rest of it is 0. Its last 4 bytes are
//! the CRC-32 of the 4,092 before, so that one page can be believed without reading the others.
//!
//! | entry | bytes | what |
//! |---|---|---|
//! | index | 8, 8, 8 | position of the frame's first record; that record's time in microseconds since 1970 (signed); offset of the frame in the file |
//! | subject | 16, 8 | [`subject_name`]; position of the subject's last record in the volume |
//!
//! Footer:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | number of the volume |
//! | 8 | 8 | position of the first record |
//! | 16 | 8 | position of the last record |
//! | 24 | 8 | time of the first record |
//! | 32 | 8 | time of the last record |
//! | 40 | 8 | count of frames |
//! | 48 | 8 | offset of the index |
//! | 56 | 8 | count of subjects |
//! | 64 | 8 | offset of the subjects |
//! | 72 | 32 | root of the tree over all records up to the last |
//! | 104 | 32 | SHA-256 of all bytes before the footer |
//! | 136 | 8 | length of the file |
//! | 144 | 24 | reserved, 0 |
//! | 168 | 4 | `KLVE` |
//! | 172 | 4 | CRC-32 of the footer before |

mod check;
mod layout;
mod read;
#[cfg(test)]
mod tests;
mod write;

use sha2::{Digest, Sha256};

use crate::domain::ids::Position;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::merkle::Hash;

pub(in crate::ledger) use check::{Seen, check_file, check_watched};
pub(in crate::ledger) use layout::{DIGEST_AT, FOOTER_BYTES, most_bytes};
pub(in crate::ledger) use read::{SealedFrames, SealedVolume};
pub(in crate::ledger) use write::VolumeWriter;

/// What is known of a sealed volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its number: 1, 2, 3, … without gaps.
    pub number: u64,
    /// The position of its first record.
    pub first: Position,
    /// The position of its last record.
    pub last: Position,
    /// The time of its first record.
    pub first_time: Time,
    /// The time of its last record.
    pub last_time: Time,
    /// The root of the tree over all records up to its last.
    pub root: Hash,
    /// Bytes of its file.
    pub bytes: u64,
}

/// Bytes of a subject's name in a volume's table.
const SUBJECT_BYTES: usize = 16;

/// How a subject stands in a volume's table: one byte for what it is (0 the service, 1 an account, 2 a
/// key, 3 a caller), then its 12-byte id and three 0; an account has the first 15 bytes of
/// SHA-256(length of tenant (2) ‖ tenant ‖ account), the service only 0.
fn subject_name(subject: &Subject) -> [u8; SUBJECT_BYTES] {
    let mut name = [0; SUBJECT_BYTES];
    match subject {
        Subject::Service => {}
        Subject::Account(account) => {
            let tenant = account.tenant.as_str().as_bytes();
            let length = u16::try_from(tenant.len()).expect("a tenant id has at most 128 bytes");
            let hash = Sha256::new()
                .chain_update(length.to_be_bytes())
                .chain_update(tenant)
                .chain_update(account.account.as_str())
                .finalize();
            name[0] = 1;
            name[1..].copy_from_slice(&hash[..SUBJECT_BYTES - 1]);
        }
        Subject::Key(_, id) => {
            name[0] = 2;
            name[1..=id.0.len()].copy_from_slice(&id.0);
        }
        Subject::Caller(id) => {
            name[0] = 3;
            name[1..=id.0.len()].copy_from_slice(&id.0);
        }
    }
    name
}
