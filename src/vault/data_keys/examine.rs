//! Holding the data key file to what is in memory.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use super::{DataKeys, offset_of};
use crate::domain::sealed::DataKeyId;
use crate::durable_file;
use crate::vault::error::VaultError;
use crate::vault::slot::SLOT_BYTES;

/// Slots that are read at a time: 64 KiB.
const EXAMINED_SLOTS: usize = 512;

impl DataKeys {
    /// Reads the file again, from the disk, and holds each slot to the one in memory. `each` is told how
    /// many bytes have been read, and may end it.
    ///
    /// # Errors
    /// [`VaultError::DamagedSlot`] for the first slot that is not as it was; [`VaultError::Io`].
    pub fn examine(
        &self,
        each: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, VaultError> {
        let file = File::open(&self.path).map_err(VaultError::io("open", &self.path))?;
        durable_file::forget_cached(&file).map_err(VaultError::io("read", &self.path))?;
        let count = self.durable().slots.len();
        let mut bytes = vec![0; EXAMINED_SLOTS * SLOT_BYTES];
        for from in (0..count).step_by(EXAMINED_SLOTS) {
            let bytes = &mut bytes[..(count - from).min(EXAMINED_SLOTS) * SLOT_BYTES];
            let (at, length) = ((from * SLOT_BYTES) as u64, bytes.len() as u64);
            file.read_exact_at(bytes, at).map_err(VaultError::io("read", &self.path))?;
            for id in self.other_than(from, bytes) {
                if !self.is_on_disk(&file, id)? {
                    return Err(VaultError::DamagedSlot { slot: id.0 });
                }
            }
            if each(length).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The slots from the index `from` on whose bytes are others than those in memory.
    fn other_than(&self, from: usize, bytes: &[u8]) -> Vec<DataKeyId> {
        let (chunks, _) = bytes.as_chunks::<SLOT_BYTES>();
        let durable = self.durable();
        let differing = durable.slots[from..].iter().zip(chunks);
        differing
            .filter(|(slot, chunk)| slot.bytes() != *chunk)
            .map(|(slot, _)| slot.id())
            .collect()
    }

    /// Whether a slot is on disk as it is in memory, looked at while nothing is being written: a slot that was read
    /// while it was wiped is not damaged.
    fn is_on_disk(&self, file: &File, id: DataKeyId) -> Result<bool, VaultError> {
        let mut queue = self.queue();
        while queue.writing {
            queue = self.wait(queue);
        }
        durable_file::forget_cached(file).map_err(VaultError::io("read", &self.path))?;
        let mut bytes = [0; SLOT_BYTES];
        let at = offset_of(id);
        file.read_exact_at(&mut bytes, at).map_err(VaultError::io("read", &self.path))?;
        Ok(self.durable().slot(id).is_some_and(|slot| *slot.bytes() == bytes))
    }
}
