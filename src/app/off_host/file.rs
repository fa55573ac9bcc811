//! Checkpoints in files of the operator's.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde_json::json;

use super::{NotKept, Place};
use crate::app::checkpoint::SignedCheckpoint;
use crate::domain::time::Time;
use crate::durable_file;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::MAX_NOTE_BYTES;

/// Who may read the files: a checkpoint is no secret.
const MODE: u32 = 0o644;

/// A file that holds the newest checkpoint, or a line for each.
pub(super) struct FilePlace {
    path: PathBuf,
    history: bool,
}

impl FilePlace {
    /// The file holds the newest checkpoint's note, and is replaced whole.
    pub(super) fn newest(path: &Path) -> Self {
        FilePlace { path: path.to_owned(), history: false }
    }

    /// Each checkpoint is a line behind the others: a JSON object of its time, size and note.
    pub(super) fn history(path: &Path) -> Self {
        FilePlace { path: path.to_owned(), history: true }
    }

    /// Refuses to replace what is no checkpoint, or one that this log does not continue.
    fn hold_to_kept(&self, signed: &SignedCheckpoint) -> Result<(), NotKept> {
        let kept = match durable_file::read_bounded(&self.path, MAX_NOTE_BYTES as u64) {
            Ok(kept) => kept.ok_or(NotKept::NoCheckpoint)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let note = String::from_utf8(kept).map_err(|_| NotKept::NoCheckpoint)?;
        let kept = Checkpoint::of_unverified(&note).ok_or(NotKept::NoCheckpoint)?;
        let new = &signed.checkpoint;
        // A restore that lost records goes on under another origin, and may be shorter.
        let same = kept.origin == new.origin;
        let other_root = kept.size == new.size && kept.root != new.root;
        if same && (kept.size > new.size || other_root) {
            return Err(NotKept::Contradicted { kept: kept.size, size: new.size });
        }
        Ok(())
    }
}

impl Place for FilePlace {
    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn keep(&mut self, signed: &SignedCheckpoint, now: Time) -> Result<(), NotKept> {
        if self.history {
            return Ok(append(&self.path, &line(signed, now))?);
        }
        self.hold_to_kept(signed)?;
        Ok(durable_file::write_replacing(&self.path, signed.note.as_bytes(), MODE)?)
    }
}

fn line(signed: &SignedCheckpoint, now: Time) -> String {
    let time = jiff::Timestamp::from_microsecond(now.as_micros()).ok();
    let object = json!({
        "time": time.map(|time| time.to_string()),
        "size": signed.checkpoint.size,
        "checkpoint": signed.note,
    });
    format!("{object}\n")
}

/// Adds a line, durably. One that an earlier append left unfinished is ended before.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE);
    // What is none, such as a FIFO that nobody reads, is not waited for.
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let mut file = durable_file::regular(options.open(path)?)?;
    let torn = if is_torn(&file)? { "\n" } else { "" };
    file.write_all(format!("{torn}{line}").as_bytes())?;
    file.sync_all()?;
    durable_file::sync_parent(path)
}

fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}
