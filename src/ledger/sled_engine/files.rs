//! What is done to sled's files around it: before each open, after each open, and when a ledger is
//! made.
//!
//! sled 0.34.7 keeps in its directory: `db`, the log and all data; `conf`, its settings; `snap.<lsn>`,
//! where recovery may begin, written as `snap.<lsn>.generating` and renamed; `blobs/`, large items.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::durable_file::{
    create_private_dir, is_there, settle, sync_dir, sync_parent, unfinished_name,
};
use crate::ledger::engine::{LedgerError, io_failed};

/// sled's settings as our ledgers have them, before the checksum. A wrong segment size would move
/// data into `blobs/`; without the file sled would write a new one.
const SETTINGS: &[u8] = b"segment_size: 4194304\nuse_compression: false\nversion: 0.34\n";

/// How often and how long the file is waited for: 5 s. sled's threads let go of it some time after
/// its last handle is dropped.
const HELD_TRIES: u32 = 250;
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// Makes the directory in which a new ledger is to be made; what an earlier attempt left goes.
pub(super) fn begin_new(dir: &Path) -> Result<PathBuf, LedgerError> {
    if is_there(dir).map_err(io_error("making"))? {
        return Err(LedgerError::Exists);
    }
    let unfinished = unfinished_name(dir);
    discard_unfinished(&unfinished)?;
    create_private_dir(&unfinished).map_err(io_error("making"))?;
    Ok(unfinished)
}

/// Makes the new ledger durable and gives it its name.
pub(super) fn finish_new(unfinished: &Path, dir: &Path) -> Result<(), LedgerError> {
    wait_until_released(unfinished)?;
    sync_all(unfinished)?;
    require_no_blobs(unfinished)?;
    fs::rename(unfinished, dir).map_err(io_error("making"))?;
    sync_parent(dir).map_err(io_error("making"))
}

/// Before an open: nobody holds the log, the settings are ours, no unfinished snapshot is there to be
/// taken for a snapshot, and what is read comes from the disk.
pub(super) fn make_ready(dir: &Path) -> Result<(), LedgerError> {
    discard_unfinished(&unfinished_name(dir))?;
    wait_until_released(dir)?;
    match fs::read(dir.join("conf")) {
        Ok(found) if found.starts_with(SETTINGS) => {}
        Ok(_) => return Err(LedgerError::Foreign),
        Err(error) => return Err(missing_or("opening", &error)),
    }
    // sled removes some blobs when it opens; that there was one must not go unseen.
    require_no_blobs(dir)?;
    let mut removed = false;
    for path in regular_files(dir)? {
        if is_unfinished_snapshot(&path) {
            fs::remove_file(&path).map_err(io_error("opening"))?;
            removed = true;
        } else {
            File::open(&path).and_then(|file| settle(&file)).map_err(io_error("opening"))?;
        }
    }
    if removed {
        sync_dir(dir).map_err(io_error("opening"))?;
    }
    Ok(())
}

/// After an open: what sled has read or rewritten is durable, with its names, before it is believed.
pub(super) fn sync_all(dir: &Path) -> Result<(), LedgerError> {
    for path in regular_files(dir)? {
        File::open(&path).and_then(|file| file.sync_all()).map_err(io_error("syncing"))?;
    }
    let dirs = sync_dir(&dir.join("blobs")).and_then(|()| sync_dir(dir));
    dirs.and_then(|()| sync_parent(dir)).map_err(io_error("syncing"))
}

/// sled syncs neither a blob nor its name: one found means that what it holds may be lost.
pub(super) fn require_no_blobs(dir: &Path) -> Result<(), LedgerError> {
    let blobs = fs::read_dir(dir.join("blobs"));
    let mut blobs = blobs.map_err(|error| missing_or("checking", &error))?;
    match blobs.next() {
        None => Ok(()),
        Some(Ok(_)) => Err(LedgerError::Unsafe),
        Some(Err(error)) => Err(io_failed("checking", &error)),
    }
}

/// A handle of the log to sync it by.
pub(super) fn open_log(dir: &Path) -> Result<File, LedgerError> {
    OpenOptions::new().write(true).open(dir.join("db")).map_err(io_error("opening"))
}

/// Takes sled's lock of the log for a moment. The caller's lock of the data directory keeps others
/// from taking it in between.
fn wait_until_released(dir: &Path) -> Result<(), LedgerError> {
    let log = File::open(dir.join("db")).map_err(|error| missing_or("opening", &error))?;
    for _ in 0..HELD_TRIES {
        match log.try_lock() {
            // Not left to closing the file: a child process may have a copy until it has begun.
            Ok(()) => return log.unlock().map_err(io_error("opening")),
            Err(TryLockError::WouldBlock) => thread::sleep(HELD_PAUSE),
            Err(TryLockError::Error(error)) => return Err(io_failed("opening", &error)),
        }
    }
    Err(LedgerError::InUse)
}

fn regular_files(dir: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("opening"))? {
        let entry = entry.map_err(io_error("opening"))?;
        // One that cannot be looked at must not be left out: it would not be synced.
        if entry.file_type().map_err(io_error("opening"))?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn is_unfinished_snapshot(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("snap.") && name.ends_with(".generating")
}

fn discard_unfinished(unfinished: &Path) -> Result<(), LedgerError> {
    match fs::remove_dir_all(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_failed("clearing", &error)),
        _ => Ok(()),
    }
}

fn missing_or(doing: &'static str, error: &io::Error) -> LedgerError {
    match error.kind() {
        io::ErrorKind::NotFound => LedgerError::Missing,
        _ => io_failed(doing, error),
    }
}

fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> LedgerError {
    move |error| io_failed(doing, &error)
}
