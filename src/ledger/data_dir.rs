//! The data directory: what is where, whose it is, and the lock that keeps it to one process.
//!
//! | name | what |
//! |---|---|
//! | `FORMAT` | one line that says the format of all below; written last at the first start |
//! | `RESTORING` | in place of `FORMAT` while the directory is being restored from a backup |
//! | `LOCK` | locked (flock) as long as a process uses the directory, offline commands included |
//! | `anchor` | the head anchor |
//! | `cosigned` | the newest checkpoint that enough witnesses have cosigned; may be removed |
//! | `ledger/` | the volumes of the log: see [`crate::ledger::volumes`] |
//! | `snapshots/` | states of the key table, so that a start need not fold the whole log |
//! | `usage/` | usage journals: uses on their way to the log |
//! | `projections/` | read models on disk; may be removed while no process uses the directory |
//! | `tiles/` | hash tiles, from which proofs are made: derived from the log |
//! | `datakeys` | wrapped data keys |
//! | `keys/` | peppers, key-encryption keys and signing keys, unless they are kept elsewhere |
//! | `admin.credential` | the first admin's credential |

mod error;
mod restoring;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::durable_file::{
    create_private_dir, is_there, open_lock, read_bounded, sync_parent, write_new,
};
use crate::ledger::anchor::{Anchor, AnchorError};
use restoring::{RESTORING, refuse_restoring};

pub use error::DataDirError;

/// The format this program writes and the newest it reads.
pub const DATA_FORMAT: u32 = 0;

/// What `FORMAT` holds before and after the number.
const FORMAT_TEXT: (&str, &str) = ("keyledger data directory, format ", "\n");

/// More than that is no `FORMAT` of any version.
const FORMAT_BYTES: u64 = 256;

/// Names at the top of the directory. A file being written has `.tmp` behind its name.
const OUR_NAMES: [&str; 12] = [
    "FORMAT",
    "LOCK",
    "anchor",
    "cosigned",
    "ledger",
    "snapshots",
    "usage",
    "projections",
    "tiles",
    "datakeys",
    "keys",
    "admin.credential",
];

/// Bytes of a data key file that holds only the service's key.
const ONE_DATA_KEY: u64 = 128;

/// What a name at the top of a data directory is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// The data directory's own.
    Ours,
    /// Left by something that was interrupted; harmless.
    Leftover,
    /// Not keyledger's.
    Foreign,
}

/// What `name`, at the top of a data directory, is of.
#[must_use]
pub fn kind_of(name: &str) -> NameKind {
    if OUR_NAMES.contains(&name) || name == RESTORING {
        return NameKind::Ours;
    }
    let finished = name.strip_suffix(".tmp").unwrap_or(name);
    match finished.strip_suffix(".new").unwrap_or(finished) {
        finished if OUR_NAMES.contains(&finished) => NameKind::Leftover,
        _ => NameKind::Foreign,
    }
}

/// Found at the top of a file system of its own, where a data directory may well lie.
const LOST_AND_FOUND: &str = "lost+found";

/// The data directory, locked for the life of this value.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    needs_initialisation: bool,
    /// None only if a directory that must not change had no such file.
    lock: Option<File>,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Closing the file would do, but for a child process that was forked just now and has not yet
        // closed its copy. If this fails, the end of the process unlocks.
        let _ = self.lock.as_ref().map(File::unlock);
    }
}

impl DataDir {
    /// Opens the data directory at `path`, and makes an empty one if nothing is there. Its lock is
    /// taken before anything else in it is touched; a directory that is refused for what it holds or
    /// for its format is not touched at all.
    ///
    /// # Errors
    /// [`DataDirError`], whose texts tell an operator what to do.
    pub fn open_or_prepare(path: &Path) -> Result<Self, DataDirError> {
        if !is_there(path).map_err(io_error(path))? {
            create_private_dir(path).map_err(io_error(path))?;
        }
        Self::lock(path)
    }

    /// Opens a data directory that must be there and whose first start must have been finished: for
    /// offline commands.
    ///
    /// # Errors
    /// As [`DataDir::open_or_prepare`], and [`DataDirError::Missing`].
    pub fn open_existing(path: &Path) -> Result<Self, DataDirError> {
        refuse_restoring(path)?;
        if !is_dir(path)? || !has_format(path)? {
            return Err(DataDirError::Missing(path.to_owned()));
        }
        Self::lock(path)
    }

    /// Opens a data directory in whatever state it is, to look at it: nothing in it is changed, not even
    /// the lock file is made if it is missing. See [`DataDir::is_still_ours`].
    ///
    /// # Errors
    /// [`DataDirError::Missing`] if nothing in it is keyledger's; [`DataDirError::InUse`]; or the lock
    /// file cannot be opened.
    pub fn open_unchanged(path: &Path) -> Result<Self, DataDirError> {
        let shows = |name: &str| name != "LOCK" && path.join(name).exists();
        if !path.is_dir() || !OUR_NAMES.into_iter().any(shows) {
            return Err(DataDirError::Missing(path.to_owned()));
        }
        let lock_path = path.join("LOCK");
        let lock = match File::open(&lock_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(io_error(&lock_path))?),
        };
        if let Some(lock) = &lock {
            take_lock(lock, path)?;
        }
        Ok(DataDir { path: path.to_owned(), needs_initialisation: false, lock })
    }

    /// Whether no other process can have used the directory since it was opened: a missing lock file was
    /// not made meanwhile.
    #[must_use]
    pub fn is_still_ours(&self) -> bool {
        self.lock.is_some() || !self.path.join("LOCK").exists()
    }

    /// Holds `FORMAT` to what it should be; false if it is missing.
    ///
    /// # Errors
    /// [`DataDirError`] if it is damaged or of a newer version, or a restore was not finished.
    pub fn has_format(&self) -> Result<bool, DataDirError> {
        refuse_restoring(&self.path)?;
        has_format(&self.path)
    }

    fn lock(path: &Path) -> Result<Self, DataDirError> {
        if !is_dir(path)? {
            return Err(DataDirError::NotADirectory(path.to_owned()));
        }
        // Looked at before the lock, so that what is refused is not touched.
        refuse_restoring(path)?;
        if !has_format(path)? {
            refuse_foreign(path)?;
        }
        let lock = lock_file(path)?;
        refuse_restoring(path)?;
        // Looked at again: another process may have finished its first start in between.
        let needs_initialisation = !has_format(path)?;
        if needs_initialisation {
            refuse_used(path)?;
        }
        Ok(DataDir { path: path.to_owned(), needs_initialisation, lock: Some(lock) })
    }

    /// Whether the first start has not been finished: what it makes may be there in part, each file
    /// whole or absent.
    #[must_use]
    pub fn needs_initialisation(&self) -> bool {
        self.needs_initialisation
    }

    /// Ends the first start: makes the directory's own name durable, which a start that was interrupted
    /// may have left undone, and writes `FORMAT`. The caller MUST have made everything else durable.
    ///
    /// # Errors
    /// [`DataDirError::Io`] if it cannot be made durable, or is there already.
    pub fn finish_initialisation(&mut self) -> Result<(), DataDirError> {
        match sync_parent(&self.path) {
            // Then it was made for us, by somebody else.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced.map_err(io_error(&self.path))?,
        }
        let path = self.path.join("FORMAT");
        let text = format!("{}{DATA_FORMAT}{}", FORMAT_TEXT.0, FORMAT_TEXT.1);
        write_new(&path, text.as_bytes(), 0o600).map_err(io_error(&path))?;
        self.needs_initialisation = false;
        Ok(())
    }

    /// What in it others on this machine may do what they should not: put files of theirs in the place of its own, or
    /// read the admin's credential.
    #[must_use]
    pub fn open_to_others(&self) -> Vec<PathBuf> {
        let may = |path: &Path, bits: u32| {
            fs::metadata(path).is_ok_and(|about| about.permissions().mode() & bits != 0)
        };
        let looked_at = [(self.path.clone(), 0o022), (self.admin_credential(), 0o077)];
        looked_at
            .into_iter()
            .filter(|(path, bits)| may(path, *bits))
            .map(|(path, _)| path)
            .collect()
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The head anchor.
    #[must_use]
    pub fn anchor(&self) -> PathBuf {
        self.path.join("anchor")
    }

    /// The newest checkpoint that enough witnesses have cosigned.
    #[must_use]
    pub fn cosigned(&self) -> PathBuf {
        self.path.join("cosigned")
    }

    /// The volumes of the log.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger")
    }

    /// The states of the key table.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// Uses on their way to the log.
    #[must_use]
    pub fn usage(&self) -> PathBuf {
        self.path.join("usage")
    }

    /// Read models on disk.
    #[must_use]
    pub fn projections(&self) -> PathBuf {
        self.path.join("projections")
    }

    /// Hash tiles.
    #[must_use]
    pub fn tiles(&self) -> PathBuf {
        self.path.join("tiles")
    }

    /// The wrapped data keys.
    #[must_use]
    pub fn data_keys(&self) -> PathBuf {
        self.path.join("datakeys")
    }

    /// The first admin's credential.
    #[must_use]
    pub fn admin_credential(&self) -> PathBuf {
        self.path.join("admin.credential")
    }
}

/// Takes the lock of the directory at `path`, whose file is made if it is not there.
fn lock_file(path: &Path) -> Result<File, DataDirError> {
    let lock_path = path.join("LOCK");
    let lock = open_lock(&lock_path).map_err(io_error(&lock_path))?;
    take_lock(&lock, path)?;
    Ok(lock)
}

fn take_lock(lock: &File, path: &Path) -> Result<(), DataDirError> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(io_error(&path.join("LOCK"))(source)),
    }
}

/// Whether there is what a first start makes only after the anchor: the ledger, data keys of accounts,
/// a credential.
fn shows_use(path: &Path) -> Result<bool, DataDirError> {
    let data_keys = path.join("datakeys");
    let data_keys = match fs::metadata(&data_keys) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        found => found.map_err(io_error(&data_keys))?.len(),
    };
    let credential = path.join("admin.credential");
    Ok(data_keys > ONE_DATA_KEY
        || holds_volume(&path.join("ledger"))?
        || is_there(&credential).map_err(io_error(&credential))?)
}

/// Whether there is more in the ledger's directory than what is being made.
fn holds_volume(ledger: &Path) -> Result<bool, DataDirError> {
    let entries = match fs::read_dir(ledger) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(io_error(ledger))?,
    };
    for entry in entries {
        let name = entry.map_err(io_error(ledger))?.file_name();
        if !name.to_string_lossy().ends_with(".tmp") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether `path` is a directory, links followed; not if nothing is there.
fn is_dir(path: &Path) -> Result<bool, DataDirError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => Ok(found.map_err(io_error(path))?.is_dir()),
    }
}

/// Whether there is a `FORMAT`, which must then be one this program reads.
fn has_format(path: &Path) -> Result<bool, DataDirError> {
    let file = path.join("FORMAT");
    let bytes = match read_bounded(&file, FORMAT_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        // Too long is as damaged as empty.
        read => read.map_err(io_error(&file))?.unwrap_or_default(),
    };
    let text = std::str::from_utf8(&bytes).ok();
    let number =
        text.and_then(|text| text.strip_prefix(FORMAT_TEXT.0)?.strip_suffix(FORMAT_TEXT.1));
    match number.and_then(|number| number.parse().ok()) {
        Some(found) if found > DATA_FORMAT => {
            Err(DataDirError::Newer { path: path.to_owned(), found })
        }
        Some(DATA_FORMAT) => Ok(true),
        _ => Err(DataDirError::BadFormatFile(file)),
    }
}

/// Without `FORMAT`, a directory may hold only what an interrupted first start leaves.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    for entry in fs::read_dir(path).map_err(io_error(path))? {
        let name = entry.map_err(io_error(path))?.file_name().to_string_lossy().into_owned();
        let finished = name.strip_suffix(".tmp").unwrap_or(&name);
        if !OUR_NAMES.contains(&finished) && name != LOST_AND_FOUND {
            return Err(DataDirError::Foreign { path: path.to_owned(), name });
        }
    }
    Ok(())
}

/// Without `FORMAT`, the anchor must not have left the empty log: the first start was not finished.
fn refuse_used(path: &Path) -> Result<(), DataDirError> {
    match Anchor::read(&path.join("anchor")) {
        Err(AnchorError::Missing) if shows_use(path)? => {
            Err(DataDirError::FormatMissing(path.to_owned()))
        }
        Err(AnchorError::Missing) => Ok(()),
        Ok(state) if state.position.is_none() => Ok(()),
        Ok(_) => Err(DataDirError::FormatMissing(path.to_owned())),
        Err(reason) => Err(DataDirError::NoFormatAndBadAnchor { path: path.to_owned(), reason }),
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    move |source| DataDirError::Io { path: path.to_owned(), source }
}
