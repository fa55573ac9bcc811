//! The backup directory: what is where, and the manifest that makes it a backup.
//!
//! | name | what |
//! |---|---|
//! | `manifest` | what belongs to the backup, with digests; written last, replaced whole |
//! | `volume-<n>` | sealed volume n of the log, eight digits, as it is in the data directory |
//! | `tail-<first>-<last>-<8 hex>` | the records behind the last sealed volume, in the form of one |
//! | `datakeys-<8 hex>` | the wrapped data keys |
//! | `received` | volumes that a backup that is not finished has received besides |
//! | `….part` | being received |
//! | `LOCK` | locked (flock) as long as a process uses the directory |
//!
//! The hexadecimal digits are the first of the file's SHA-256: a newer tail never takes the name of one
//! that the manifest names. So whatever is interrupted, the backup that was there is there.
//!
//! The manifest is text, one fact a line, numbers decimal, hashes 64 lower-case hexadecimal digits, in
//! this order and form:
//!
//! ```text
//! keyledger backup, format 1
//! origin <hash>                                   the root of the tree over the first record alone
//! generation <number>
//! head <position>
//! root <hash>                                     of the tree over all records up to the head
//! volume <n> <first> <last> <root> <bytes> <sha256>      one line for each, from 1
//! tail <n> <first> <last> <root> <bytes> <sha256>        if there are records behind the volumes
//! datakeys <bytes> <sha256>
//! sha256 <hash>                                   of all lines before
//! ```

mod manifest;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::durable_file::{
    create_private_dir, open_lock, open_regular, overwrite, read_bounded, sync_dir, write_replacing,
};

pub use manifest::{Content, Digest32, Manifest, ManifestError, Volume};

const MANIFEST: &str = "manifest";
const DATA_KEYS: &str = "datakeys";
const RECEIVED: &str = "received";
const LOCK: &str = "LOCK";

/// Found at the top of a file system of its own, where a backup may well lie.
const LOST_AND_FOUND: &str = "lost+found";

/// What a name ends with while its file is being received.
const PART: &str = ".part";

/// The most bytes of a manifest, and of the list of what was received: a line has about 200 bytes, so that
/// is a million volumes.
const MOST_TEXT_BYTES: u64 = 256 * 1024 * 1024;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a backup directory cannot be used. For operators: names files.
#[derive(Debug, Error)]
pub enum BackupDirError {
    /// Another process uses it.
    #[error("another keyledger process uses this backup directory: {}", .0.display())]
    InUse(PathBuf),
    /// There is no backup in it.
    #[error("there is no keyledger backup in {}: it has no manifest", .0.display())]
    NoBackup(PathBuf),
    /// It holds something else.
    #[error(
        "{} is not a keyledger backup and not empty (it holds {name:?}): name an empty directory",
        .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One thing in it.
        name: String,
    },
    /// The manifest is not one.
    #[error("{}: {reason}", .path.display())]
    Manifest {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        reason: ManifestError,
    },
    /// A file is not the one that the manifest names.
    #[error("{} is damaged: its length or SHA-256 is not what the manifest says", .0.display())]
    Damaged(PathBuf),
    /// A file that the manifest names is gone.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// The file system failed.
    #[error("cannot use {}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// A backup directory, locked for the life of this value.
#[derive(Debug)]
pub struct BackupDir {
    path: PathBuf,
    _lock: File,
}

impl BackupDir {
    /// Opens the directory to go on with what is in it; none if it is not there or is empty.
    ///
    /// # Errors
    /// As [`BackupDir::open_or_make`].
    pub fn open_if_used(path: &Path) -> Result<Option<Self>, BackupDirError> {
        let mut entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(failed(path))?,
        };
        if entries.next().is_none() { Ok(None) } else { Self::open_or_make(path).map(Some) }
    }

    /// Opens the directory to make a backup in it or go on with one; makes it (0700) if it is not there.
    ///
    /// # Errors
    /// [`BackupDirError`] if it holds something else than a backup, or another process uses it.
    pub fn open_or_make(path: &Path) -> Result<Self, BackupDirError> {
        create_private_dir(path).map_err(failed(path))?;
        for entry in fs::read_dir(path).map_err(failed(path))? {
            let name = entry.map_err(failed(path))?.file_name().to_string_lossy().into_owned();
            if !is_ours(&name) {
                return Err(BackupDirError::Foreign { path: path.to_owned(), name });
            }
        }
        let lock_path = path.join(LOCK);
        let lock = open_lock(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(BackupDir { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(BackupDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(&lock_path)(source)),
        }
    }

    /// The manifest; none if no backup was ever finished here.
    ///
    /// # Errors
    /// [`BackupDirError::Manifest`] if it is damaged.
    pub fn manifest(&self) -> Result<Option<Manifest>, BackupDirError> {
        match read_manifest(&self.path) {
            Err(BackupDirError::NoBackup(_)) => Ok(None),
            read => read.map(Some),
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Volumes received behind `after` by a backup that was not finished: those whose lines are whole
    /// and follow one another. Their files are to be held to their digests.
    ///
    /// # Errors
    /// [`BackupDirError::Io`].
    pub fn received(&self, after: Option<&Volume>) -> Result<Vec<Volume>, BackupDirError> {
        let path = self.path.join(RECEIVED);
        let bytes = match read_bounded(&path, MOST_TEXT_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(failed(&path))?,
        };
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let mut found: Vec<Volume> = Vec::new();
        // The last line may be torn; one from before the manifest may be there no more.
        for line in text.split_inclusive('\n') {
            let Some(volume) = Volume::parse_line(line) else { break };
            if volume.follows(found.last().or(after)) {
                found.push(volume);
            }
        }
        Ok(found)
    }

    /// Notes that a volume has been received. Its file MUST be durable under its name.
    ///
    /// # Errors
    /// [`BackupDirError::Io`].
    pub fn note_received(&self, volumes: &[Volume]) -> Result<(), BackupDirError> {
        let path = self.path.join(RECEIVED);
        let text: String = volumes.iter().map(Volume::line).collect();
        write_replacing(&path, text.as_bytes(), 0o600).map_err(failed(&path))
    }

    /// Where a file is received until it is whole.
    #[must_use]
    pub fn part(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}{PART}"))
    }

    /// Gives a received file, which MUST be synced, its name; durable when this returns.
    ///
    /// # Errors
    /// [`BackupDirError::Io`].
    pub fn keep(&self, part: &Path, name: &str) -> Result<(), BackupDirError> {
        let path = self.path.join(name);
        let kept = fs::rename(part, &path).and_then(|()| sync_dir(&self.path));
        kept.map_err(failed(&path))
    }

    /// Makes the received files the backup, in the place of the one before, whose own files go then.
    /// The files MUST be durable under their names.
    ///
    /// # Errors
    /// [`BackupDirError::Manifest`] if there are too many volumes; the backup before is then still there.
    /// [`BackupDirError::Io`]: whether the manifest is the new one is then not known: either is whole.
    pub fn finish(&self, manifest: &Manifest) -> Result<(), BackupDirError> {
        let path = self.path.join(MANIFEST);
        let text = manifest.render();
        if text.len() as u64 > MOST_TEXT_BYTES {
            return Err(BackupDirError::Manifest { path, reason: ManifestError::TooLong });
        }
        write_replacing(&path, text.as_bytes(), 0o600).map_err(failed(&path))?;
        let named = manifest.names();
        for entry in fs::read_dir(&self.path).map_err(failed(&self.path))? {
            let entry = entry.map_err(failed(&self.path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let stays = [LOCK, MANIFEST, LOST_AND_FOUND].contains(&&*name) || named.contains(&name);
            // What somebody put here meanwhile is not ours to remove.
            if !stays && is_ours(&name) {
                // Some of the data keys in it may have been destroyed since.
                if name.starts_with(DATA_KEYS) {
                    overwrite(&entry.path()).map_err(failed(&entry.path()))?;
                }
                fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
            }
        }
        sync_dir(&self.path).map_err(failed(&self.path))
    }
}

/// The manifest of the backup in `path`.
///
/// # Errors
/// [`BackupDirError::NoBackup`] if there is none; [`BackupDirError::Manifest`] if it is damaged.
pub fn read_manifest(path: &Path) -> Result<Manifest, BackupDirError> {
    let file = path.join(MANIFEST);
    let bytes = match read_bounded(&file, MOST_TEXT_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupDirError::NoBackup(path.to_owned()));
        }
        read => read.map_err(failed(&file))?,
    };
    let parsed = bytes.ok_or(ManifestError::TooLong).and_then(|bytes| Manifest::parse(&bytes));
    parsed.map_err(|reason| BackupDirError::Manifest { path: file, reason })
}

/// Reads the file `name` of the backup in `path`, hands its bytes to `each`, and holds it to what the
/// manifest says of it.
///
/// # Errors
/// [`BackupDirError`] that names the file: missing, damaged, or what `each` failed with.
pub fn read_content(
    path: &Path,
    name: &str,
    content: &Content,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BackupDirError> {
    let path = path.join(name);
    let mut file = match open_regular(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupDirError::Missing(path));
        }
        opened => opened.map_err(failed(&path))?,
    };
    let mut hash = Sha256::new();
    let mut left = content.bytes;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(failed(&path))?;
        if read == 0 {
            break;
        }
        let Some(rest) = left.checked_sub(read as u64) else {
            return Err(BackupDirError::Damaged(path));
        };
        left = rest;
        hash.update(&buffer[..read]);
        each(&buffer[..read]).map_err(failed(&path))?;
    }
    let digest: [u8; 32] = hash.finalize().into();
    if left == 0 && digest == content.sha256.0 {
        Ok(())
    } else {
        Err(BackupDirError::Damaged(path))
    }
}

/// Whether a name is one of a backup directory.
fn is_ours(name: &str) -> bool {
    let plain = name.strip_suffix(PART).or(name.strip_suffix(".tmp")).unwrap_or(name);
    let of_kind = |kind: &str| {
        let rest = plain.strip_prefix(kind);
        rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'))
    };
    [MANIFEST, RECEIVED, LOCK, LOST_AND_FOUND, "tail", DATA_KEYS].contains(&plain)
        || ["volume-", "tail-", "datakeys-"].into_iter().any(of_kind)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BackupDirError {
    move |source| BackupDirError::Io { path: path.to_owned(), source }
}
