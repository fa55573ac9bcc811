//! The directory of snapshots: the last two are kept, whole or absent.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::build::{Builder, MOST_TOUCHED, remove_if_there};
use super::{BuildError, Snapshot, SnapshotError};
use crate::domain::ids::Position;
use crate::durable_file;
use crate::ledger::engine::LedgerReader;
use crate::progress::Progress;
use crate::vault::SnapshotKeys;

/// How many are kept: should the newest be damaged, the one before saves most of the replay.
const KEPT: usize = 2;

/// Digits of a position in a name.
const DIGITS: usize = 20;

const ENDING: &str = ".kls";

/// What is added to a name while its file is being written.
const UNFINISHED: &str = ".tmp";

/// The snapshots of one data directory, whose lock the caller MUST hold.
#[derive(Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
    keys: SnapshotKeys,
    most_touched: usize,
}

impl SnapshotStore {
    /// The store in `dir`, which need not be there yet.
    #[must_use]
    pub fn new(dir: PathBuf, keys: SnapshotKeys) -> Self {
        SnapshotStore { dir, keys, most_touched: MOST_TOUCHED }
    }

    #[cfg(test)]
    pub(super) fn set_most_touched(&mut self, most_touched: usize) {
        self.most_touched = most_touched;
    }

    /// Where the snapshot at a position lies.
    #[must_use]
    pub fn path(&self, position: Position) -> PathBuf {
        self.dir.join(format!("{:0DIGITS$}{ENDING}", position.get()))
    }

    /// The positions that there are snapshots of, by their names, the highest first.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn positions(&self) -> io::Result<Vec<Position>> {
        let mut positions = Vec::new();
        for name in self.names()? {
            let digits = name.strip_suffix(ENDING).filter(|digits| digits.len() == DIGITS);
            positions.extend(digits.and_then(|digits| digits.parse().ok()).and_then(Position::new));
        }
        positions.sort_unstable();
        positions.reverse();
        Ok(positions)
    }

    /// Bytes of all snapshots that are there.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let positions = self.positions().unwrap_or_default().into_iter();
        let length = |at| fs::metadata(self.path(at)).map_or(0, |file| file.len());
        positions.map(length).sum()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect(),
        }
    }

    /// Opens the snapshot at a position and checks its header and index.
    ///
    /// # Errors
    /// [`SnapshotError`] if it cannot be used.
    pub fn open(&self, position: Position) -> Result<Snapshot, SnapshotError> {
        let snapshot = Snapshot::open(&self.path(position), &self.keys)?;
        if snapshot.standpoint().position != position {
            return Err(SnapshotError::Damaged("its name is not of its position"));
        }
        Ok(snapshot)
    }

    /// Opens what [`SnapshotStore::write_aside`] left.
    ///
    /// # Errors
    /// As [`SnapshotStore::open`].
    pub fn open_aside(&self, aside: &Path) -> Result<Snapshot, SnapshotError> {
        Snapshot::open(aside, &self.keys)
    }

    /// The version of the key-encryption key that new snapshots are made under.
    #[must_use]
    pub fn current_kek(&self) -> u16 {
        self.keys.current()
    }

    /// Throws away what was being written when the process ended.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn remove_unfinished(&self) -> io::Result<()> {
        for name in self.names()?.iter().filter(|name| name.ends_with(UNFINISHED)) {
            fs::remove_file(self.dir.join(name))?;
        }
        Ok(())
    }

    /// Makes the snapshot at `up_to`, where a frame of the log ends, from `previous` or from the
    /// beginning, and keeps it and the newest before it. It is written aside, read back, renamed; when this
    /// returns it survives loss of power. One that is there already at this position is replaced.
    ///
    /// # Errors
    /// [`BuildError`]; the snapshots that were there are then still there.
    pub fn make(
        &self,
        reader: &dyn LedgerReader,
        previous: Option<Snapshot>,
        up_to: Position,
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<Snapshot, BuildError> {
        let kek_version = self.keys.current();
        let aside = self.write_aside(reader, previous, up_to, kek_version, stop, progress)?;
        self.take_in(&aside, up_to)
    }

    /// Makes the snapshot at `up_to` as [`SnapshotStore::make`] does, with MACs of the given version, but leaves it
    /// aside, under the name that is answered.
    ///
    /// # Errors
    /// As [`SnapshotStore::make`].
    pub fn write_aside(
        &self,
        reader: &dyn LedgerReader,
        previous: Option<Snapshot>,
        up_to: Position,
        kek_version: u16,
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<PathBuf, BuildError> {
        durable_file::create_private_dir(&self.dir)?;
        let aside = self.path(up_to).with_added_extension(&UNFINISHED[1..]);
        let builder = Builder {
            reader,
            keys: &self.keys,
            kek_version,
            stop,
            progress,
            most_touched: self.most_touched,
        };
        builder.build(previous, up_to, &aside)?;
        Ok(aside)
    }

    /// Gives what [`SnapshotStore::write_aside`] left its name, and removes what is too old to be kept.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn take_in(&self, aside: &Path, position: Position) -> Result<Snapshot, BuildError> {
        let path = self.path(position);
        // What is read back comes from the disk.
        durable_file::settle(&File::open(aside)?)?;
        Snapshot::open(aside, &self.keys)?.check()?;
        fs::rename(aside, &path)?;
        durable_file::sync_parent(&path)?;
        for old in self.positions()?.into_iter().filter(|old| *old < position).skip(KEPT - 1) {
            remove_if_there(&self.path(old))?;
        }
        Ok(self.open(position)?)
    }
}
