//! Data keys: one per scope, wrapped by a key-encryption key, kept in one file of slots.
//!
//! The file `<data-dir>/datakeys` only grows; a slot is changed when its key is destroyed, and all are when they are
//! wrapped anew. A data key leaves [`DataKeys::ensure`] after its slot is durable, so a slot that power loss tears was never used. Slots written together carry the
//! number of the first of them, their *batch*; the next batch is written after the one before is
//! synced. So of a slot that is torn and followed by one of a later batch it is known that it was
//! durable once: that is damage. At the end of the file the same cannot be told from a torn append,
//! and the slots are cut off: whoever replays the log MUST hold each data key id it meets against
//! [`DataKeys::is_known`] before the first [`DataKeys::ensure`], which may give the number anew.
//!
//! The caller MUST hold the lock of the data directory.

mod destroy;
mod durable;
mod examine;
mod later;
mod read;
mod rewrap;

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use quick_cache::sync::Cache;

use crate::domain::sealed::DataKeyId;
use crate::durable_file;
use crate::random::Random;
use crate::vault::error::VaultError;
use crate::vault::kek_ring::KekRing;
use crate::vault::secret_key::SecretKey;
use crate::vault::slot::{SLOT_BYTES, Scope, ScopeName, Slot, SlotHead, Wanted};
use crate::vault::snapshot_key::SnapshotKeys;
use durable::Durable;
pub use later::first_foreign_slot;
use read::{check_keks, whole_slots};
use rewrap::remove_unfinished;

/// Most unwrapped keys in memory: about 1 MB, and few secrets in a memory image.
const CACHED_KEYS: usize = 10_000;

/// Owner reads and writes.
const MODE: u32 = 0o600;

/// The data key of the service, there from the first: shows at once whether the key-encryption key
/// is the right one.
const FIRST: DataKeyId = DataKeyId(1);

/// All data keys. Memory: about 200 bytes a key, and the unwrapped keys in use.
pub struct DataKeys {
    path: PathBuf,
    file: File,
    keks: KekRing,
    durable: RwLock<Durable>,
    queue: Mutex<Queue>,
    written: Condvar,
    cache: Cache<DataKeyId, Arc<SecretKey>>,
    /// Bytes at the end of the file, as it was opened, that are no whole slot.
    unfinished: usize,
}

/// The slots on their way there. Taken before [`Durable`] where both are held.
struct Queue {
    /// The slots of the next batch.
    pending: Vec<Slot>,
    /// The scopes of the next batch and of the one being written.
    announced: HashSet<ScopeName>,
    next_id: u64,
    /// A thread is writing a batch, or wiping slots.
    writing: bool,
}

impl DataKeys {
    /// Makes the file `path` with the service's data key, durable when this returns.
    ///
    /// # Errors
    /// [`VaultError::Io`] if the file exists or cannot be made.
    pub fn create(path: &Path, keks: &KekRing, random: &dyn Random) -> Result<(), VaultError> {
        let (kek_version, kek) = keks.current();
        let scope = ScopeName::from(&Scope::Service);
        let slot = Slot::new(SlotHead { id: FIRST, batch: FIRST, kek_version, scope }, kek, random);
        durable_file::write_new(path, slot.bytes(), MODE).map_err(VaultError::io("write", path))
    }

    /// Reads the file `path` and checks every slot, and that `keks` has each key-encryption key the
    /// slots name. What an append left unfinished at its end is cut off, with a warning; nothing
    /// else is repaired. All that is read is durable when this returns.
    ///
    /// # Errors
    /// The first fault found, by slot or by key-encryption key; the file is then untouched.
    pub fn open(path: &Path, keks: KekRing) -> Result<Self, VaultError> {
        let file = open_to_write(path)?;
        remove_unfinished(path)?;
        durable_file::settle(&file).map_err(VaultError::io("sync", path))?;
        durable_file::sync_parent(path).map_err(VaultError::io("sync the directory of", path))?;
        DataKeys::read(path, file, keks)
    }

    /// As [`DataKeys::open`], only to open what is sealed: nothing is written or synced, now or later,
    /// and every data key that is not destroyed is unwrapped once to see that it can be. No data key can be made or
    /// destroyed.
    ///
    /// # Errors
    /// As [`DataKeys::open`]; the first slot whose key cannot be unwrapped.
    pub fn open_to_read(path: &Path, keks: KekRing) -> Result<Self, VaultError> {
        let file = durable_file::open_regular(path).map_err(VaultError::io("open", path))?;
        let keys = DataKeys::read(path, file, keks)?;
        for slot in keys.durable().slots.iter().filter(|slot| !slot.is_destroyed()) {
            let kek = keys.keks.get(slot.kek_version())?;
            slot.unwrap_key(kek).ok_or(VaultError::DamagedSlot { slot: slot.id().0 })?;
        }
        Ok(keys)
    }

    fn read(path: &Path, mut file: File, mut keks: KekRing) -> Result<Self, VaultError> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(VaultError::io("read", path))?;
        let slots = whole_slots(&bytes)?;
        let live = slots.iter().filter(|slot| !slot.is_destroyed());
        keks.complete(live.map(Slot::kek_version))?;
        check_keks(&slots, &keks)?;
        let durable = Durable::new(slots)?;
        let whole = durable.slots.len() * SLOT_BYTES;
        let unfinished = bytes.len() - whole;
        let queue = Queue {
            pending: Vec::new(),
            announced: HashSet::new(),
            next_id: durable.slots.len() as u64 + 1,
            writing: false,
        };
        Ok(DataKeys {
            path: path.to_owned(),
            file,
            keks,
            durable: RwLock::new(durable),
            queue: Mutex::new(queue),
            written: Condvar::new(),
            cache: Cache::new(CACHED_KEYS),
            unfinished,
        })
    }

    /// Bytes at the end of the file, as it was opened, that an append which power loss interrupted left.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Cuts off what an append that power loss interrupted left at the end. The caller MUST know by then
    /// that nothing was sealed under a data key that is not there.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn cut_unfinished(&self) -> Result<(), VaultError> {
        if self.unfinished == 0 {
            return Ok(());
        }
        let unfinished = self.unfinished;
        tracing::warn!(unfinished, "data key file: cutting off the bytes of an unfinished append");
        let whole = self.durable().slots.len() * SLOT_BYTES;
        self.file.set_len(whole as u64).map_err(VaultError::io("shorten", &self.path))?;
        self.file.sync_all().map_err(VaultError::io("sync", &self.path))
    }

    /// The data key of `scope`, if it has one that is not destroyed.
    #[must_use]
    pub fn find(&self, scope: &Scope) -> Option<DataKeyId> {
        self.durable().live(&scope.into())
    }

    /// Whether a slot has the data key `id`, or had it until it was destroyed.
    #[must_use]
    pub fn is_known(&self, id: DataKeyId) -> bool {
        self.durable().slot(id).is_some()
    }

    /// Whether a slot has the data key `id`, so that what was sealed under it can be opened.
    #[must_use]
    pub fn is_live(&self, id: DataKeyId) -> bool {
        self.durable().slot(id).is_some_and(|slot| !slot.is_destroyed())
    }

    /// The file, and how many of its bytes hold data keys that are durable; these change only where one is destroyed.
    ///
    /// # Errors
    /// [`VaultError::Io`] if it cannot be opened.
    pub fn durable_bytes(&self) -> Result<(File, u64), VaultError> {
        let slots = self.durable().slots.len();
        let file = File::open(&self.path).map_err(VaultError::io("open", &self.path))?;
        Ok((file, (slots * SLOT_BYTES) as u64))
    }

    /// The data key of `scope`, made now if it has none; durable when this returns. Blocks for a
    /// disk sync if it is made: call it from a thread that may block. Calls at the same time share
    /// writes and syncs.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`] if it had one, or is a month of an account that had one.
    /// [`VaultError::Io`] if a write or sync fails, [`VaultError::Poisoned`] from then on, whatever
    /// the scope: the caller MUST end the process, for the disk may hold less than memory.
    pub fn ensure(&self, scope: &Scope, random: &dyn Random) -> Result<DataKeyId, VaultError> {
        let wanted = Wanted::from(scope);
        if let Some(id) = self.durable().find(&wanted)? {
            return Ok(id);
        }
        self.make_missing(vec![wanted], random)?;
        Ok(self.durable().find(&wanted)?.expect("what is made stays until it is destroyed"))
    }

    /// As [`DataKeys::ensure`] of each scope, with one write and sync for all that are missing. What is destroyed
    /// stays so, and is no error.
    ///
    /// # Errors
    /// Otherwise as [`DataKeys::ensure`].
    pub fn ensure_all<'a>(
        &self,
        scopes: impl IntoIterator<Item = &'a Scope>,
        random: &dyn Random,
    ) -> Result<(), VaultError> {
        self.make_missing(scopes.into_iter().map(Wanted::from).collect(), random)
    }

    fn make_missing(&self, mut scopes: Vec<Wanted>, random: &dyn Random) -> Result<(), VaultError> {
        let mut queue = self.queue();
        loop {
            self.durable().retain_missing(&mut scopes)?;
            if scopes.is_empty() {
                return Ok(());
            }
            for Wanted { scope, .. } in &scopes {
                if !queue.announced.contains(scope) {
                    self.announce(&mut queue, *scope, random);
                }
            }
            queue = self.write_or_wait(queue)?;
        }
    }

    /// Lets the batch that is being written be durable, or writes the next one.
    fn write_or_wait<'a>(
        &'a self,
        queue: MutexGuard<'a, Queue>,
    ) -> Result<MutexGuard<'a, Queue>, VaultError> {
        if queue.writing { Ok(self.wait(queue)) } else { self.write_batch(queue) }
    }

    /// Waits until a thread that writes has done so.
    fn wait<'a>(&'a self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.written.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys under which snapshots are told from what others wrote.
    #[must_use]
    pub fn snapshot_keys(&self) -> SnapshotKeys {
        SnapshotKeys::derive(&self.keks)
    }

    /// The unwrapped data key `id`.
    pub(super) fn key(&self, id: DataKeyId) -> Result<Arc<SecretKey>, VaultError> {
        if let Some(key) = self.cache.get(&id) {
            return Ok(key);
        }
        let durable = self.durable();
        let slot = durable.slot(id).ok_or(VaultError::UnknownDataKey { id })?;
        if slot.is_destroyed() {
            return Err(VaultError::Destroyed);
        }
        let kek = self.keks.get(slot.kek_version())?;
        let key = slot.unwrap_key(kek).ok_or(VaultError::DamagedSlot { slot: id.0 })?;
        let key = Arc::new(key);
        // Under the lock, so that no key is kept that is destroyed meanwhile.
        self.cache.insert(id, Arc::clone(&key));
        Ok(key)
    }

    /// Puts a new data key for `scope` into the next batch.
    fn announce(&self, queue: &mut Queue, scope: ScopeName, random: &dyn Random) {
        let (kek_version, kek) = self.keks.current();
        let id = DataKeyId(queue.next_id);
        let batch = queue.pending.first().map_or(id, Slot::id);
        let slot = Slot::new(SlotHead { id, batch, kek_version, scope }, kek, random);
        queue.pending.push(slot);
        queue.announced.insert(scope);
        queue.next_id += 1;
    }

    /// Writes and syncs the next batch without the lock, then makes it known or, if that failed,
    /// poisons. Only called while no other thread writes.
    fn write_batch<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue>,
    ) -> Result<MutexGuard<'a, Queue>, VaultError> {
        queue.writing = true;
        let batch = std::mem::take(&mut queue.pending);
        drop(queue);
        let written = self.append(&batch);
        let mut queue = self.queue();
        queue.writing = false;
        let mut durable = self.durable_mut();
        if written.is_ok() {
            for slot in batch {
                queue.announced.remove(&slot.scope());
                durable.add(slot);
            }
        } else {
            durable.poisoned = true;
        }
        drop(durable);
        self.written.notify_all();
        written.map(|()| queue)
    }

    fn append(&self, batch: &[Slot]) -> Result<(), VaultError> {
        let Some(first) = batch.first() else { return Ok(()) };
        let at = offset_of(first.id());
        let bytes = batch.iter().flat_map(|slot| *slot.bytes()).collect::<Vec<_>>();
        self.file.write_all_at(&bytes, at).map_err(VaultError::io("write", &self.path))?;
        self.file.sync_data().map_err(VaultError::io("sync", &self.path))
    }

    // A panic under a lock leaves what it guards as it was: each change below is of whole fields
    // and nothing between them can panic.

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> RwLockReadGuard<'_, Durable> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable_mut(&self) -> RwLockWriteGuard<'_, Durable> {
        self.durable.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_to_write(path: &Path) -> Result<File, VaultError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.and_then(durable_file::regular).map_err(VaultError::io("open", path))
}

/// Where the slot of a data key begins in the file.
fn offset_of(id: DataKeyId) -> u64 {
    (id.0 - 1) * SLOT_BYTES as u64
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.durable().slots.len();
        f.debug_struct("DataKeys").field("keys", &keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "data_keys_tests.rs"]
pub(super) mod tests;
