//! Reading the data key file: its slots, and the key-encryption keys they name.

use std::collections::BTreeSet;

use super::FIRST;
use crate::domain::sealed::DataKeyId;
use crate::vault::error::VaultError;
use crate::vault::kek_ring::KekRing;
use crate::vault::slot::{SLOT_BYTES, Slot, SlotFault};

/// The slots of the file, without what an unfinished append left at its end.
pub(super) fn whole_slots(bytes: &[u8]) -> Result<Vec<Slot>, VaultError> {
    let (chunks, _partial) = bytes.as_chunks::<SLOT_BYTES>();
    let mut slots = Vec::with_capacity(chunks.len());
    for (chunk, id) in chunks.iter().zip((1..).map(DataKeyId)) {
        match Slot::read(chunk, id) {
            Ok(slot) => slots.push(slot),
            Err(SlotFault::Torn) if never_synced(&chunks[slots.len()..], id) => break,
            Err(fault) => return Err(fault.at(id)),
        }
    }
    // The first slot came into being with the file, by a rename: it cannot be torn.
    if slots.is_empty() { Err(SlotFault::Damaged.at(FIRST)) } else { Ok(slots) }
}

/// Whether nothing from the torn slot `id` on shows that it was synced: no later slot of a later
/// batch, and none that is damaged.
fn never_synced(from_torn: &[[u8; SLOT_BYTES]], id: DataKeyId) -> bool {
    let ids = (id.0..).map(DataKeyId);
    from_torn.iter().zip(ids).all(|(chunk, later)| match Slot::read(chunk, later) {
        Ok(slot) => slot.batch() <= id,
        Err(fault) => fault == SlotFault::Torn,
    })
}

/// Checks each key-encryption key that the slots name on the first slot that names it; a destroyed one names none.
pub(super) fn check_keks(slots: &[Slot], keks: &KekRing) -> Result<(), VaultError> {
    let mut checked = BTreeSet::new();
    for slot in slots.iter().filter(|slot| !slot.is_destroyed()) {
        let version = slot.kek_version();
        if checked.insert(version) && slot.unwrap_key(keks.get(version)?).is_none() {
            return Err(VaultError::WrongKek { version });
        }
    }
    Ok(())
}
