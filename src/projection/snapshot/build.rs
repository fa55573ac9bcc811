//! Makes a snapshot: an earlier one, or nothing, and the records behind it, merged into a new file.
//!
//! Records are folded until about a million things are touched; then what is folded is merged
//! into a file, from which the next round goes on. So memory follows neither the number of keys nor the
//! length of the log.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use super::fold::{self, Fold, FoldError};
use super::merge::Merge;
use super::writer::SnapshotWriter;
use super::{Snapshot, SnapshotError, Standpoint};
use crate::domain::ids::Position;
use crate::ledger::engine::LedgerReader;
use crate::ledger::replay::{Head, ReplayError, replay_some};
use crate::progress::Progress;
use crate::vault::SnapshotKeys;

/// Things touched, after which what is folded is merged: about half a gigabyte.
pub(super) const MOST_TOUCHED: usize = 1_000_000;

/// Records that are folded together: each block of the earlier snapshot is then read once for all of
/// them. About 100 MB.
const BATCH: usize = 128 * 1024;

/// Why a snapshot could not be made. Nothing is lost by that: the log has all of it.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The log cannot be folded.
    #[error(transparent)]
    Replay(#[from] ReplayError<FoldError>),
    /// The earlier snapshot, or the one just written, is not as it was written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The file cannot be written.
    #[error("a snapshot cannot be written: {0}")]
    Io(#[from] io::Error),
    /// No frame of the log ends at the position.
    #[error("no frame of the log ends at position {0}")]
    NoFrameEnd(Position),
    /// It was to stop.
    #[error("the making of a snapshot was stopped")]
    Stopped,
}

impl BuildError {
    /// Whether a snapshot that was read is at fault, and not the log or the file system.
    #[must_use]
    pub fn is_of_a_snapshot(&self) -> bool {
        let folding = |reason: &FoldError| matches!(reason, FoldError::Snapshot(_));
        match self {
            BuildError::Snapshot(_) => true,
            BuildError::Replay(ReplayError::Refused { reason, .. }) => folding(reason),
            _ => false,
        }
    }
}

/// How a snapshot is made.
pub(super) struct Builder<'a> {
    pub(super) reader: &'a dyn LedgerReader,
    pub(super) keys: &'a SnapshotKeys,
    /// Under which its MACs are made.
    pub(super) kek_version: u16,
    /// Set when it should stop.
    pub(super) stop: &'a AtomicBool,
    pub(super) progress: &'a dyn Progress,
    pub(super) most_touched: usize,
}

impl Builder<'_> {
    /// Writes the snapshot at `up_to` to `path`, by way of `path` and `path` with `.tmp` behind it. On
    /// failure neither is left.
    pub(super) fn build(
        &self,
        previous: Option<Snapshot>,
        up_to: Position,
        path: &Path,
    ) -> Result<Snapshot, BuildError> {
        let aside = path.with_added_extension("tmp");
        let built = self.build_in_rounds(previous, up_to, (path, &aside));
        if built.is_err() {
            let _ = fs::remove_file(&aside);
            let _ = fs::remove_file(path);
        }
        built
    }

    fn build_in_rounds(
        &self,
        mut base: Option<Snapshot>,
        up_to: Position,
        (path, aside): (&Path, &PathBuf),
    ) -> Result<Snapshot, BuildError> {
        remove_if_there(path)?;
        loop {
            remove_if_there(aside)?;
            let reached = self.round(base.as_ref(), up_to, aside)?;
            fs::rename(aside, path)?;
            let made = Snapshot::open(path, self.keys)?;
            if reached >= up_to {
                return if reached == up_to {
                    Ok(made)
                } else {
                    Err(BuildError::NoFrameEnd(up_to))
                };
            }
            base = Some(made);
        }
    }

    /// Folds what memory allows and writes it, with the base, to `path`; answers where it stands.
    fn round(
        &self,
        base: Option<&Snapshot>,
        up_to: Position,
        path: &Path,
    ) -> Result<Position, BuildError> {
        let before = base.map_or_else(Head::empty, |base| base.standpoint().head());
        let mut fold = Fold::new(base)?;
        let begun = before.position.map_or(0, Position::get);
        self.progress.begin("folding the log", up_to.get().saturating_sub(begun));
        let folded = self.fold(&mut fold, before.clone(), up_to);
        self.progress.end();
        let head = folded?;
        let position = head.position.filter(|_| head != before);
        let position = position.ok_or(BuildError::NoFrameEnd(up_to))?;
        let standpoint = Standpoint {
            position,
            frontier: head.frontier,
            last_time: fold.last_time,
            service_position: fold.service_position,
            highest_data_key: fold.highest_data_key,
        };
        let out = SnapshotWriter::create(path, standpoint, self.keys, self.kek_version)?;
        let total = base.map_or(0, Snapshot::keys) + fold.keys.len() as u64;
        self.progress.begin("writing a snapshot", total);
        let (stop, progress) = (self.stop, self.progress);
        let written = Merge { base, fold: &fold, out, stop, progress }.write();
        self.progress.end();
        written.map(|()| position)
    }

    /// Folds what is behind `from`, until `up_to` or until enough is touched.
    fn fold(&self, fold: &mut Fold<'_>, from: Head, up_to: Position) -> Result<Head, BuildError> {
        let begun = from.position.map_or(0, Position::get);
        let waiting = RefCell::new(Vec::new());
        let read = |position: Position, record: &[u8]| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(FoldError::Stopped);
            }
            waiting.borrow_mut().push(fold::read_record(position, record)?);
            Ok(())
        };
        let mut failed = None;
        let enough = |last: Position| {
            self.progress.reached(last.get().saturating_sub(begun));
            if last < up_to && waiting.borrow().len() < self.most_touched.min(BATCH) {
                return false;
            }
            failed = fold.take_all(&waiting.take()).err();
            failed.is_some() || last >= up_to || fold.touched() >= self.most_touched
        };
        let head = match replay_some(self.reader, from, read, enough) {
            Err(ReplayError::Refused { reason: FoldError::Stopped, .. }) => {
                return Err(BuildError::Stopped);
            }
            replayed => replayed?,
        };
        // What is left waits because the log has ended.
        match failed.or_else(|| fold.take_all(&waiting.take()).err()) {
            Some((position, reason)) => Err(ReplayError::Refused { position, reason }.into()),
            None => Ok(head),
        }
    }
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
