//! A data directory that is being restored: marked as such until all of it is there and checked.
//!
//! The mark is a file `RESTORING` with the text of `FORMAT`; the last step of a restore gives it that
//! name. So at any instant there is one of the two, and a directory with the mark is refused by all
//! but another restore, which begins anew.

use std::fs;
use std::io;
use std::path::Path;

use super::{DATA_FORMAT, DataDir, DataDirError, FORMAT_TEXT, LOST_AND_FOUND, io_error, lock_file};
use crate::durable_file::{create_private_dir, is_there, sync_dir, sync_parent, write_new};

/// The mark.
pub(super) const RESTORING: &str = "RESTORING";

/// What may be there before a restore: its mark, and keys that an operator has put in place.
const ALLOWED: [&str; 4] = ["LOCK", "keys", RESTORING, LOST_AND_FOUND];

/// What an interrupted restore may have left.
const LEFT: [&str; 4] = ["anchor", "datakeys", "ledger", "snapshots"];

impl DataDir {
    /// Takes the directory at `path` for a restore: it must be absent or empty, but for `keys/`, or be
    /// left from a restore that was interrupted, whose work is thrown away.
    ///
    /// # Errors
    /// [`DataDirError::NotEmpty`] if there is anything else; it is not touched.
    pub fn open_for_restore(path: &Path) -> Result<Self, DataDirError> {
        if !is_there(path).map_err(io_error(path))? {
            create_private_dir(path).map_err(io_error(path))?;
        }
        if !path.is_dir() {
            return Err(DataDirError::NotADirectory(path.to_owned()));
        }
        refuse_contents(path)?;
        let lock = lock_file(path)?;
        // Looked at again: another process may have begun something in between.
        refuse_contents(path)?;
        sync_parent(path).map_err(io_error(path))?;
        let mark = path.join(RESTORING);
        if is_there(&mark).map_err(io_error(&mark))? {
            for name in LEFT {
                for left in [path.join(name), path.join(format!("{name}.tmp"))] {
                    remove(&left).map_err(io_error(&left))?;
                }
            }
            sync_dir(path).map_err(io_error(path))?;
        } else {
            let text = format!("{}{DATA_FORMAT}{}", FORMAT_TEXT.0, FORMAT_TEXT.1);
            write_new(&mark, text.as_bytes(), 0o600).map_err(io_error(&mark))?;
        }
        Ok(DataDir { path: path.to_owned(), needs_initialisation: false, lock: Some(lock) })
    }

    /// Ends a restore: from here on the directory is one like any other. The caller MUST have made
    /// everything else durable and checked it.
    ///
    /// # Errors
    /// [`DataDirError::Io`] if it cannot be made durable.
    pub fn finish_restore(&self) -> Result<(), DataDirError> {
        let format = self.path.join("FORMAT");
        let named = fs::rename(self.path.join(RESTORING), &format);
        named.and_then(|()| sync_dir(&self.path)).map_err(io_error(&format))
    }
}

/// Refuses a directory that a restore was not finished in.
pub(super) fn refuse_restoring(path: &Path) -> Result<(), DataDirError> {
    let mark = path.join(RESTORING);
    if is_there(&mark).map_err(io_error(&mark))? {
        return Err(DataDirError::Restoring(path.to_owned()));
    }
    Ok(())
}

fn refuse_contents(path: &Path) -> Result<(), DataDirError> {
    let mark = path.join(RESTORING);
    let marked = is_there(&mark).map_err(io_error(&mark))?;
    for entry in fs::read_dir(path).map_err(io_error(path))? {
        let name = entry.map_err(io_error(path))?.file_name().to_string_lossy().into_owned();
        let plain = name.strip_suffix(".tmp").unwrap_or(&name);
        let left = marked && LEFT.contains(&plain);
        if !ALLOWED.contains(&plain) && !left {
            return Err(DataDirError::NotEmpty { path: path.to_owned(), name });
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
