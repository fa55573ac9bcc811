//! The embedded engine: sled 0.34.7, kept inside the envelope in which it loses nothing.
//!
//! A frame is one entry of the default tree: key = position of its first record, u64 big-endian,
//! value = the encoded frame. What holds sled to its envelope, and where:
//!
//! 1. One writer: appending takes `&mut`. One tree, checked at open. Entries are only added: a frame
//!    must begin behind the head, and an entry found in its place is an error. No background flush.
//! 2. Segments of 4 MiB, checked in sled's own settings file before each open; a frame within
//!    [`MAX_FRAME_BYTES`]; one frame is one insert and one flush.
//! 3. sled's flush is no fsync: each append ends with a sync of our own. A new ledger is made under
//!    another name, synced and renamed. The `files` module repairs and syncs around each open.
//! 4. `blobs/` must be empty before an append answers. A failed write poisons the ledger and keeps
//!    sled's handle from ever being dropped, since dropping it writes.
//! 5. Readers hold sled's tree and only read. That stays inside the envelope: all a read may write is
//!    the second half of a page split that the writer has logged already.
//! 6. A reopen waits a bounded time for the last handle's threads to let go of the file.
//!
//! sled cuts a damaged log short without a word. The `scan` module looks at the frames before it is
//! opened, so that a lost one is refused; the head anchor and replay find the rest.

mod files;
mod scan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::ids::Position;
use crate::ledger::engine::{Ledger, LedgerError, LedgerReader};
use crate::ledger::frame::{Frame, MAX_FRAME_BYTES};

/// sled's unit of allocation. With frames of [`MAX_FRAME_BYTES`] no item reaches a quarter of it, so
/// none is put in a file of its own. Fixed for the life of a ledger.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of pages sled may keep in memory: the frames of the last minutes. What callers read often is
/// kept, opened, by the use cases.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// The ledger in a directory of its own.
pub struct SledLedger {
    db: sled::Db,
    dir: PathBuf,
    /// Our own handle of sled's log, to sync it.
    log: File,
    /// The last durable position, 0 if none; readers show nothing beyond it.
    durable: Arc<AtomicU64>,
    poisoned: bool,
}

impl fmt::Debug for SledLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // sled's own Debug prints every entry.
        f.debug_struct("SledLedger")
            .field("head", &self.head())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

impl SledLedger {
    /// Makes an empty ledger at `dir`, whose parent directory must exist, and opens it. It is made
    /// aside, synced and renamed: `dir` is a whole ledger or absent, whatever happens. The caller
    /// MUST hold the lock of the data directory.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] if `dir` exists; otherwise as [`SledLedger::open`].
    pub fn create(dir: &Path) -> Result<Self, LedgerError> {
        let unfinished = files::begin_new(dir)?;
        let db = open_sled(&unfinished)?;
        engine("making", || db.flush())?;
        drop(db);
        files::finish_new(&unfinished, dir)?;
        Self::open(dir)
    }

    /// Opens the ledger at `dir`. The caller MUST hold the lock of the data directory and keep it
    /// for the ledger's life.
    ///
    /// A log that has visibly lost a frame is refused before sled touches it. What is read from the
    /// ledger is durable; that it is all of it is for replay to check.
    ///
    /// # Errors
    /// [`LedgerError`] if it is absent, held, not one of ours, or damaged where opening reads it.
    /// The ledger is then not usable, and nothing that sled says it holds may be believed.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        files::make_ready(dir)?;
        let found = scan::look_at_log(dir)?;
        let db = open_sled(dir).map_err(|_| found.why_not_opened())?;
        if db.tree_names() != [db.name()] {
            return Err(LedgerError::Foreign);
        }
        files::sync_all(dir)?;
        files::require_no_blobs(dir)?;
        let log = files::open_log(dir)?;
        let head = match engine("opening", || db.last())? {
            Some((key, value)) => Some(decode_entry(&key, &value)?.last()),
            None => None,
        };
        found.check_head(head)?;
        let durable = Arc::new(AtomicU64::new(head.map_or(0, Position::get)));
        Ok(SledLedger { db, dir: dir.to_owned(), log, durable, poisoned: false })
    }

    /// Ends the use of the ledger: flushed, synced, its handle dropped. The readers should be gone
    /// before; as long as one is left, sled's file stays held.
    ///
    /// # Errors
    /// If sled or the file system fails. What was acknowledged is durable all the same.
    pub fn close(self) -> Result<(), LedgerError> {
        if self.poisoned {
            return Err(LedgerError::Poisoned);
        }
        engine("closing", || self.db.flush())?;
        sync_log(&self.log)?;
        let SledLedger { db, log, .. } = self;
        drop(db);
        sync_log(&log)
    }

    fn try_append(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        if self.poisoned {
            return Err(LedgerError::Poisoned);
        }
        let first = frame.first();
        let expected = self.head().map_or(Position::FIRST, Position::next);
        if first != expected {
            return Err(LedgerError::OutOfOrder { expected, found: first });
        }
        let bytes = frame.as_bytes();
        if bytes.len() > MAX_FRAME_BYTES {
            return Err(LedgerError::FrameTooLong { position: first, bytes: bytes.len() });
        }
        let key = first.get().to_be_bytes();
        if engine("writing", || self.db.insert(key, bytes))?.is_some() {
            return Err(LedgerError::Occupied { position: first });
        }
        engine("flushing", || self.db.flush())?;
        sync_log(&self.log)?;
        files::require_no_blobs(&self.dir)?;
        self.durable.store(frame.last().get(), Ordering::Release);
        Ok(())
    }
}

impl Ledger for SledLedger {
    fn append(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        let result = self.try_append(frame);
        if result.is_err() && !self.poisoned {
            self.poisoned = true;
            // Dropping the last handle would write what the failed append left in memory.
            std::mem::forget(self.db.clone());
        }
        result
    }

    fn head(&self) -> Option<Position> {
        Position::new(self.durable.load(Ordering::Acquire))
    }

    fn reader(&self) -> Arc<dyn LedgerReader> {
        let tree = sled::Tree::clone(&self.db);
        Arc::new(SledReader { tree, durable: Arc::clone(&self.durable) })
    }
}

/// A reader beside the writer: rule 5 above.
struct SledReader {
    tree: sled::Tree,
    durable: Arc<AtomicU64>,
}

impl SledReader {
    fn is_durable(&self, position: Position) -> bool {
        position.get() <= self.durable.load(Ordering::Acquire)
    }
}

impl LedgerReader for SledReader {
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        if !self.is_durable(position) {
            return Ok(None);
        }
        let key = position.next().get().to_be_bytes();
        let (key, value) = engine("reading", || self.tree.get_lt(key))
            .map_err(|_| LedgerError::Unreadable { position })?
            .ok_or(LedgerError::MissingFrame { position })?;
        let frame = decode_entry(&key, &value)?;
        if frame.last() < position {
            return Err(LedgerError::MissingFrame { position });
        }
        Ok(Some(frame))
    }

    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
        let mut next = position;
        let mut failed = false;
        let mut entries: Option<sled::Iter> = None;
        Box::new(std::iter::from_fn(move || {
            if failed || !self.is_durable(next) {
                return None;
            }
            let frame = match &mut entries {
                None => self.frame_at(next).transpose()?,
                Some(entries) => next_frame(entries, next),
            };
            match &frame {
                Ok(found) => {
                    next = found.last().next();
                    if entries.is_none() {
                        entries = Some(self.tree.range(next.get().to_be_bytes()..));
                    }
                }
                Err(_) => failed = true,
            }
            Some(frame)
        }))
    }
}

/// The entry of a scan that must be the frame beginning at `expected`.
fn next_frame(entries: &mut sled::Iter, expected: Position) -> Result<Frame, LedgerError> {
    let (key, value) = engine("reading", || entries.next().transpose())
        .map_err(|_| LedgerError::Unreadable { position: expected })?
        .ok_or(LedgerError::MissingFrame { position: expected })?;
    if *key != expected.get().to_be_bytes() {
        return Err(LedgerError::MissingFrame { position: expected });
    }
    decode_entry(&key, &value)
}

fn decode_entry(key: &[u8], value: &[u8]) -> Result<Frame, LedgerError> {
    let position = key.try_into().ok().map(u64::from_be_bytes).and_then(Position::new);
    let position = position.ok_or(LedgerError::Foreign)?;
    Frame::decode(value, position).map_err(|reason| LedgerError::DamagedFrame { position, reason })
}

fn open_sled(dir: &Path) -> Result<sled::Db, LedgerError> {
    let config = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        .use_compression(false)
        .flush_every_ms(None);
    engine("opening", || config.open())
}

fn sync_log(log: &File) -> Result<(), LedgerError> {
    log.sync_data().map_err(|error| files::failed("syncing", &error))
}

/// Runs a call of sled. Its error, or that it panicked, goes to the log here, and only here.
fn engine<T>(
    doing: &'static str,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, LedgerError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => tracing::error!(%error, doing, "the storage engine failed"),
        Err(_) => tracing::error!(doing, "the storage engine panicked"),
    }
    Err(LedgerError::Engine { doing })
}
