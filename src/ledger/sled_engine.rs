//! One volume in sled 0.34.7, kept inside the envelope in which it loses nothing.
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
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::ids::Position;
use crate::ledger::engine::{LedgerError, io_failed};
use crate::ledger::frame::{Frame, MAX_FRAME_BYTES};
use crate::merkle::Frontier;

pub(in crate::ledger) use scan::first_missed;

/// sled's unit of allocation. With frames of [`MAX_FRAME_BYTES`] no item reaches a quarter of it, so
/// none is put in a file of its own. Fixed for the life of a ledger.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of pages sled may keep in memory: the frames of the last minutes. What callers read often is
/// kept, opened, by the use cases.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// The frames of one volume, in a directory of its own.
pub(in crate::ledger) struct SledVolume {
    db: Handle,
    dir: PathBuf,
    /// Our own handle of sled's log, to sync it.
    log: File,
    /// The position of the volume's first record, there or to come.
    first: Position,
    /// The last durable position, the one before `first` if there is none; readers show nothing
    /// beyond it.
    durable: Arc<AtomicU64>,
    poisoned: bool,
}

impl fmt::Debug for SledVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // sled's own Debug prints every entry.
        f.debug_struct("SledVolume")
            .field("first", &self.first)
            .field("head", &self.head())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

impl SledVolume {
    /// Makes an empty volume at `dir`, whose parent directory must exist, and opens it. It is made
    /// aside, synced and renamed: `dir` is a whole volume or absent, whatever happens. Its first
    /// record will be at [`Position::FIRST`] unless [`SledVolume::begin_at`] says otherwise. The
    /// caller MUST hold the lock of the data directory.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] if `dir` exists; otherwise as [`SledVolume::open`].
    pub(in crate::ledger) fn create(dir: &Path) -> Result<Self, LedgerError> {
        let unfinished = files::begin_new(dir)?;
        let db = open_sled(&unfinished)?;
        engine("making", || db.flush())?;
        db.let_go("making")?;
        files::finish_new(&unfinished, dir)?;
        Self::open(dir, &Frontier::new())
    }

    /// Opens the volume at `dir` whose first record is or will be behind the tree `before`. The caller
    /// MUST hold the lock of the data directory and keep it for the volume's life.
    ///
    /// A log that has visibly lost a frame is refused before sled touches it. Frames that were whole in
    /// it and that sled has cut off are put back: sled takes a read that fails for the end of its log.
    /// What is read from the volume is durable; that it is all of it is for replay to check.
    ///
    /// # Errors
    /// [`LedgerError`] if it is absent, held, not one of ours, or damaged where opening reads it.
    /// The volume is then not usable, and nothing that sled says it holds may be believed.
    pub(in crate::ledger) fn open(dir: &Path, before: &Frontier) -> Result<Self, LedgerError> {
        let first = Position::new(before.size() + 1).expect("one more than a size is not 0");
        files::make_ready(dir)?;
        let found = scan::look_at_log(dir, first)?;
        let db = open_sled(dir).map_err(|error| match error {
            LedgerError::Io { .. } => error,
            _ => found.why_not_opened(),
        })?;
        if db.tree_names() != [db.name()] {
            return Err(LedgerError::Foreign);
        }
        files::sync_all(dir)?;
        files::require_no_blobs(dir)?;
        let log = files::open_log(dir)?;
        let last = engine("opening", || db.last())?;
        let last = last.map(|(key, value)| decode_entry(&key, &value)).transpose()?;
        if let Some((key, _)) = engine("opening", || db.first())?
            && *key != first.get().to_be_bytes()
        {
            return Err(LedgerError::MissingFrame { position: first });
        }
        let head = last.as_ref().map_or(first.get() - 1, |frame| frame.last().get());
        let durable = Arc::new(AtomicU64::new(head));
        let mut volume =
            SledVolume { db, dir: dir.to_owned(), log, first, durable, poisoned: false };
        volume.put_back(&found, last.as_ref().map_or(before, Frame::frontier))?;
        found.check_head(volume.head())?;
        Ok(volume)
    }

    /// Appends the frames that were whole in the log before sled opened it and that it no longer has.
    /// At most one of them was never acknowledged, and may be kept all the same.
    fn put_back(&mut self, found: &scan::Found, tree: &Frontier) -> Result<(), LedgerError> {
        let mut tree = tree.clone();
        let mut count = 0;
        while let Some(frame) = found.next_behind(&tree)? {
            self.append(frame)?;
            tree = frame.frontier().clone();
            count += 1;
        }
        if count > 0 {
            let head = tree.size();
            tracing::warn!(count, head, "frames that the storage engine had cut off are put back");
        }
        Ok(())
    }

    /// Says where the first record of an empty volume will be.
    ///
    /// # Panics
    /// If the volume is not empty.
    pub(in crate::ledger) fn begin_at(&mut self, first: Position) {
        assert!(self.head().is_none(), "a volume with records has its beginning");
        self.first = first;
        self.durable.store(first.get() - 1, Ordering::Release);
    }

    /// The position of the first record, there or to come.
    pub(in crate::ledger) fn first(&self) -> Position {
        self.first
    }

    /// The position of the last durable record; none if there is none yet.
    pub(in crate::ledger) fn head(&self) -> Option<Position> {
        Position::new(self.durable.load(Ordering::Acquire)).filter(|head| *head >= self.first)
    }

    /// Adds a frame behind the last, as [`crate::ledger::engine::Ledger::append`] promises.
    ///
    /// # Errors
    /// After any error the volume is poisoned.
    pub(in crate::ledger) fn append(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        let result = self.try_append(frame);
        if result.is_err() && !self.poisoned {
            self.poisoned = true;
            keep_from_writing(&self.db);
        }
        result
    }

    /// A reader of the durable frames, those appended later included.
    pub(in crate::ledger) fn reader(&self) -> SledReader {
        let (tree, durable) = (sled::Tree::clone(&self.db), Arc::clone(&self.durable));
        SledReader { tree, durable, first: self.first }
    }

    /// Ends the use of the volume: flushed, synced, its handle dropped. The readers should be gone
    /// before; as long as one is left, sled's file stays held.
    ///
    /// # Errors
    /// If sled or the file system fails. What was acknowledged is durable all the same.
    pub(in crate::ledger) fn close(self) -> Result<(), LedgerError> {
        if self.poisoned {
            return Err(LedgerError::Poisoned);
        }
        let flushed = engine("closing", || self.db.flush()).and_then(|_| sync_log(&self.log));
        if let Err(error) = flushed {
            keep_from_writing(&self.db);
            return Err(error);
        }
        let SledVolume { db, log, .. } = self;
        db.let_go("closing")?;
        sync_log(&log)
    }

    fn try_append(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        if self.poisoned {
            return Err(LedgerError::Poisoned);
        }
        let first = frame.first();
        let expected = self.head().map_or(self.first, Position::next);
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

/// A reader beside the writer: rule 5 above. Cheap to clone.
#[derive(Clone)]
pub(in crate::ledger) struct SledReader {
    tree: sled::Tree,
    durable: Arc<AtomicU64>,
    first: Position,
}

impl fmt::Debug for SledReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledReader").field("first", &self.first).finish_non_exhaustive()
    }
}

impl SledReader {
    /// The position of the volume's first record, there or to come.
    pub(in crate::ledger) fn first(&self) -> Position {
        self.first
    }

    /// The frame that holds `position`; none beyond the last durable one.
    pub(in crate::ledger) fn frame_at(
        &self,
        position: Position,
    ) -> Result<Option<Frame>, LedgerError> {
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

    /// The frames in order, from the one that holds `position`.
    pub(in crate::ledger) fn frames_from(&self, position: Position) -> SledFrames {
        SledFrames { reader: self.clone(), next: position, entries: None }
    }

    /// The position of the last durable record; none if there is none yet.
    pub(in crate::ledger) fn head(&self) -> Option<Position> {
        Position::new(self.durable.load(Ordering::Acquire)).filter(|head| *head >= self.first)
    }

    fn is_durable(&self, position: Position) -> bool {
        position.get() <= self.durable.load(Ordering::Acquire)
    }
}

/// The frames of a volume in order, up to the one that is last when it is reached.
pub(in crate::ledger) struct SledFrames {
    reader: SledReader,
    next: Position,
    /// The scan, once the first frame has been found.
    entries: Option<sled::Iter>,
}

impl SledFrames {
    /// The next frame; none behind the last durable one.
    pub(in crate::ledger) fn read_next(&mut self) -> Result<Option<Frame>, LedgerError> {
        if !self.reader.is_durable(self.next) {
            return Ok(None);
        }
        let frame = match &mut self.entries {
            None => self.reader.frame_at(self.next)?,
            Some(entries) => Some(next_frame(entries, self.next)?),
        };
        if let Some(frame) = &frame {
            self.next = frame.last().next();
            if self.entries.is_none() {
                self.entries = Some(self.reader.tree.range(self.next.get().to_be_bytes()..));
            }
        }
        Ok(frame)
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

fn open_sled(dir: &Path) -> Result<Handle, LedgerError> {
    let config = sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        .use_compression(false)
        .flush_every_ms(None);
    engine("opening", || config.open()).map(|db| Handle(Some(db)))
}

/// After a failure: dropping the last handle would write what is left in memory, over a file of which
/// nothing is known.
fn keep_from_writing(db: &sled::Db) {
    std::mem::forget(db.clone());
}

/// sled's handle. Dropping the last one syncs, and panics if that fails: so it is dropped under guard.
struct Handle(Option<sled::Db>);

impl Handle {
    /// Drops it.
    ///
    /// # Errors
    /// If sled fails in it.
    fn let_go(mut self, doing: &'static str) -> Result<(), LedgerError> {
        self.drop_under_guard(doing)
    }

    fn drop_under_guard(&mut self, doing: &'static str) -> Result<(), LedgerError> {
        let db = self.0.take();
        engine(doing, || {
            drop(db);
            Ok(())
        })
    }
}

impl Deref for Handle {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("it is taken only where the handle ends")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What failed is in the program's log; whoever drops it has an error of its own to tell.
        let _ = self.drop_under_guard("closing");
    }
}

fn sync_log(log: &File) -> Result<(), LedgerError> {
    log.sync_data().map_err(|error| io_failed("syncing", &error))
}

/// Runs a call of sled. Its error, or that it panicked, goes to the log here, and only here.
fn engine<T>(
    doing: &'static str,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, LedgerError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(sled::Error::Io(error))) if error.raw_os_error().is_some() => {
            return Err(io_failed(doing, &error));
        }
        Ok(Err(error)) => tracing::error!(%error, doing, "the storage engine failed"),
        Err(_) => tracing::error!(doing, "the storage engine panicked"),
    }
    Err(LedgerError::Engine { doing })
}
