//! Destroying data keys: their slots are wiped where they lie.
//!
//! First the state of each slot becomes *destroyed*, one byte, which no write tears, and is synced. Then what is behind
//! the slot's head is overwritten with zeroes, and that is synced too. So whatever power loss leaves in between, the key
//! is there whole or destroyed, and its neighbours are not touched. The head stays: the scope is never given another
//! key.
//!
//! The file has one copy of each slot, also when data keys have been wrapped anew, so a file system that writes in place,
//! as ext4 and XFS do, overwrites the very blocks. One that copies on write (btrfs, ZFS), a snapshot below it, or the spare blocks of a
//! flash disk may hold the old bytes until they are used again; these are the key wrapped by the key-encryption key,
//! and worth nothing without that.

use std::os::unix::fs::FileExt;
use std::sync::MutexGuard;

use super::{DataKeys, Queue, offset_of};
use crate::domain::ids::AccountRef;
use crate::domain::sealed::DataKeyId;
use crate::domain::time::Month;
use crate::vault::error::VaultError;
use crate::vault::slot::{STATE, Scope, ScopeName, Slot};

/// The months in which an account may have a data key: those to the end of 2199, which no clock shows.
const MONTHS: std::ops::Range<i32> = 0..(2200 - 1970) * 12;

impl DataKeys {
    /// Destroys the data keys of `scopes`: when this returns, what was sealed under them can be opened by nobody, now or
    /// after any power loss, and they are gone from memory but for calls that are sealing or opening right now. Answers
    /// how many there were; scopes without a key, and those whose key is destroyed already, are passed over. Blocks for
    /// disk syncs.
    ///
    /// # Errors
    /// [`VaultError::Io`] if a write or sync fails, [`VaultError::Poisoned`] from then on: the caller MUST end the
    /// process. The next open finds each key whole or destroyed.
    pub fn destroy(&self, scopes: &[Scope]) -> Result<usize, VaultError> {
        self.destroy_in_turn(&[scopes.iter().map(ScopeName::from).collect()])
    }

    /// As [`DataKeys::destroy`] of an account and all its months, its own key last: once that is destroyed, all are.
    /// None of its months is given a data key any more.
    ///
    /// # Errors
    /// As [`DataKeys::destroy`].
    pub fn destroy_account(&self, account: &AccountRef) -> Result<usize, VaultError> {
        let months = MONTHS.map(|month| Scope::AccountMonth(account.clone(), Month(month)));
        let months = months.map(|scope| ScopeName::from(&scope)).collect();
        let own = ScopeName::from(&Scope::Account(account.clone()));
        self.destroy_in_turn(&[months, vec![own]])
    }

    /// Whether the data key of `scope` is destroyed, or that of the account whose month it is: it never has one again.
    #[must_use]
    pub fn is_destroyed(&self, scope: &Scope) -> bool {
        self.durable().is_over(&scope.into())
    }

    /// Wipes the slots of data keys whose destruction power loss interrupted.
    ///
    /// # Errors
    /// As [`DataKeys::destroy`].
    pub fn wipe_unfinished(&self) -> Result<(), VaultError> {
        let queue = self.queue();
        let half = |slot: &&Slot| slot.is_destroyed() && !slot.is_wiped();
        let unfinished: Vec<DataKeyId> =
            self.durable().slots.iter().filter(half).map(Slot::id).collect();
        if unfinished.is_empty() {
            return Ok(());
        }
        let slots = unfinished.len();
        tracing::warn!(slots, "data key file: wiping slots whose destruction was interrupted");
        self.wipe(queue, &[unfinished])
    }

    /// Destroys the keys of each group before those of the next.
    fn destroy_in_turn(&self, groups: &[Vec<ScopeName>]) -> Result<usize, VaultError> {
        let mut queue = self.queue();
        // A key that is on its way to the disk gets there first: it has a slot then.
        let coming = |queue: &Queue| {
            groups.iter().flatten().any(|scope| queue.announced.contains(scope)) || queue.writing
        };
        while coming(&queue) {
            if self.durable().poisoned {
                return Err(VaultError::Poisoned);
            }
            queue = self.write_or_wait(queue)?;
        }
        let durable = self.durable();
        if durable.poisoned {
            return Err(VaultError::Poisoned);
        }
        let unwiped = |scope: &ScopeName| {
            let slot = durable.slot(*durable.by_scope.get(scope)?)?;
            (!slot.is_wiped()).then_some(slot)
        };
        let slots = || groups.iter().map(|group| group.iter().filter_map(unwiped));
        let live = slots().flatten().filter(|slot| !slot.is_destroyed()).count();
        let turns: Vec<Vec<DataKeyId>> =
            slots().map(|slots| slots.map(Slot::id).collect()).collect();
        drop(durable);
        self.wipe(queue, &turns)?;
        Ok(live)
    }

    /// Destroys these keys: in memory at once, so that none is used while its slot is wiped; then on disk, without the
    /// lock. Only called while no other thread writes.
    fn wipe(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        turns: &[Vec<DataKeyId>],
    ) -> Result<(), VaultError> {
        let mut durable = self.durable_mut();
        let mut wiped = Vec::with_capacity(turns.len());
        for ids in turns.iter().filter(|ids| !ids.is_empty()) {
            wiped.push(ids.iter().filter_map(|id| durable.destroy(*id)).collect::<Vec<_>>());
            ids.iter().for_each(|id| drop(self.cache.remove(id)));
        }
        drop(durable);
        if wiped.is_empty() {
            return Ok(());
        }
        queue.writing = true;
        drop(queue);
        let written = wiped.iter().try_for_each(|slots| self.overwrite(slots));
        let mut queue = self.queue();
        queue.writing = false;
        self.durable_mut().poisoned |= written.is_err();
        self.written.notify_all();
        written
    }

    fn overwrite(&self, wiped: &[Slot]) -> Result<(), VaultError> {
        let write = |bytes: &[u8], at| {
            self.file.write_all_at(bytes, at).map_err(VaultError::io("write", &self.path))
        };
        let sync = || self.file.sync_data().map_err(VaultError::io("sync", &self.path));
        for slot in wiped {
            write(&slot.bytes()[STATE..=STATE], offset_of(slot.id()) + STATE as u64)?;
        }
        sync()?;
        for slot in wiped {
            write(slot.bytes(), offset_of(slot.id()))?;
        }
        sync()
    }
}

#[cfg(test)]
#[path = "destroy_tests.rs"]
mod tests;
