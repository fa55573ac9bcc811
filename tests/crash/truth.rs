//! What a trace made true: the log at its end, the frames that were ever written, the secrets that
//! were given out. A state is held to it.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;

use keyledger::domain::ids::Position;
use keyledger::ledger::engine::Ledger;
use keyledger::ledger::frame::Frame;
use keyledger::ledger::volumes::VolumeLedger;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::trace::Op;

/// SHA-256 of a record.
pub type RecordHash = [u8; 32];

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Truth {
    /// The admin's credential.
    pub credential: String,
    /// The records of the log at the end, by position from 1.
    pub records: Vec<RecordHash>,
    /// Every record that was ever handed to the disk, with its position: what was under way at a kill
    /// may be found, or not.
    pub proposed: BTreeSet<(u64, RecordHash)>,
    /// The keys whose secrets were given out.
    pub keys: Vec<GivenKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenKey {
    pub id: String,
    pub secret: String,
}

pub fn hash(record: &[u8]) -> RecordHash {
    Sha256::digest(record).into()
}

/// Every record of a data directory that nobody uses, read by way of the engine.
pub fn read_log(data_dir: &Path, volume_bytes: u64) -> Result<Vec<Vec<u8>>, String> {
    let ledger = VolumeLedger::open(&data_dir.join("ledger"), volume_bytes);
    let ledger = ledger.map_err(|error| error.to_string())?;
    let reader = ledger.reader();
    let mut records = Vec::new();
    for frame in reader.frames_from(Position::FIRST) {
        let frame = frame.map_err(|error| error.to_string())?;
        records.extend(frame.records().map(|(_, record)| record.to_vec()));
    }
    drop(reader);
    ledger.close().map_err(|error| error.to_string())?;
    Ok(records)
}

/// The records in the frames that were written, wherever they went.
pub fn proposed(ops: &[Op]) -> BTreeSet<(u64, RecordHash)> {
    let mut found = BTreeSet::new();
    for op in ops {
        let Op::Write { data, .. } = op else { continue };
        let mut rest = &data[..];
        // Much of what is written is padding, which this is quick to pass over.
        while rest.skip_until(b'K').is_ok_and(|passed| passed > 0) {
            let at = data.len() - rest.len() - 1;
            let Some(frame) = frame_at(&data[at..]) else { continue };
            found.extend(frame.records().map(|(at, record)| (at.get(), hash(record))));
        }
    }
    found
}

/// The whole frame that begins with these bytes, by the layout in ARCHITECTURE.md.
fn frame_at(bytes: &[u8]) -> Option<Frame> {
    if !bytes.starts_with(b"KLFR") {
        return None;
    }
    let first = u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?);
    let count = u32::from_be_bytes(bytes.get(16..20)?.try_into().ok()?);
    let records = u32::from_be_bytes(bytes.get(20..24)?.try_into().ok()?) as usize;
    let last = first.checked_add(u64::from(count))?.checked_sub(1)?;
    let peaks = last.count_ones() as usize;
    let whole = bytes.get(..24 + records + 1 + 32 * peaks + 32 + 4)?;
    Frame::decode(whole, Position::new(first)?).ok()
}
