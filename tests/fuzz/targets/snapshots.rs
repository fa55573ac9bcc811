//! The target that reads a snapshot of the key table.

use std::convert::Infallible;
use std::fs;

use keyledger::domain::ids::Position;
use keyledger::domain::source::Sources;
use keyledger::merkle::{Frontier, HASH_BYTES, Hash};
use keyledger::progress::Silent;
use keyledger::projection::snapshot::{Snapshot, load};
use keyledger::vault::{DataKeys, SnapshotKeys};

use super::vault::keks;
use super::{number, scratch};

/// Bytes before the peaks, and of a MAC.
const FIXED: usize = 137;
const MAC: usize = 16;

fn keys() -> SnapshotKeys {
    let path = scratch("datakeys-of-snapshots");
    fs::write(&path, include_bytes!("../keys/datakeys")).expect("written");
    DataKeys::open_to_read(&path, keks()).expect("data keys").snapshot_keys()
}

/// A snapshot is checked and loaded, or refused, whatever its entries are: those with MACs of our own too.
pub fn snapshots(input: &[u8]) -> bool {
    let keys = keys();
    let whole = snapshot(input, &keys);
    let mut resealed = input.to_vec();
    if seal_snapshot(&mut resealed, &keys).is_some() {
        snapshot(&resealed, &keys);
    }
    whole
}

fn snapshot(bytes: &[u8], keys: &SnapshotKeys) -> bool {
    let path = scratch("snapshot");
    fs::write(&path, bytes).expect("written");
    let Ok(snapshot) = Snapshot::open(&path, keys) else { return false };
    assert_eq!(snapshot.bytes(), bytes.len() as u64);
    let checked = snapshot.check();
    let loaded = load(&snapshot, |_| Ok::<_, Infallible>(Sources::Unreadable), &Silent);
    checked.is_ok() && loaded.is_ok()
}

/// Makes the root and the MACs of a snapshot hold, as far as its index leads.
fn seal_snapshot(bytes: &mut [u8], keys: &SnapshotKeys) -> Option<()> {
    let kek = u16::from_be_bytes(bytes.get(6..8)?.try_into().ok()?);
    let position = Position::new(number(bytes, 8)?)?;
    let header = FIXED + usize::from(*bytes.get(FIXED - 1)?) * HASH_BYTES;
    let (hashes, _) = bytes.get(FIXED..header)?.as_chunks::<HASH_BYTES>();
    let peaks = hashes.iter().map(|hash| Hash(*hash)).collect();
    let root = Frontier::from_parts(position.get(), peaks)?.root();
    bytes[16..48].copy_from_slice(&root.0);
    let mac = keys.of(kek, position, &root.0)?;

    let index_at = usize::try_from(number(bytes, 120)?).ok()?;
    let end = bytes.len().checked_sub(MAC)?;
    let index = bytes.get(index_at..end)?.to_vec();
    let sum = mac.mac(&[&[2], bytes.get(..header)?, &index]);
    bytes[end..].copy_from_slice(&sum);
    let (mut at, mut rest, mut place) = (header, &index[..], 0_u64);
    while let Some((entry, behind)) = rest.split_first_chunk::<11>() {
        let length = u32::from_be_bytes(entry[1..5].try_into().ok()?) as usize;
        let behind_block = at.checked_add(length)?;
        let block = bytes.get(at..behind_block)?;
        let sum = mac.mac(&[&[1, entry[0]], &place.to_be_bytes(), block]);
        bytes.get_mut(behind_block..behind_block + MAC)?.copy_from_slice(&sum);
        rest = behind.get(usize::from(u16::from_be_bytes([entry[9], entry[10]]))..)?;
        (at, place) = (behind_block + MAC, place + 1);
    }
    Some(())
}
