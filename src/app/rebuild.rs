//! Folds the log from its beginning into a snapshot, a usage projection and hash tiles, and holds those on disk to
//! them: offline.

mod tiles;
mod usage;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use thiserror::Error;

pub use tiles::{TilesRebuilt, rebuild_tiles};
pub use usage::{UsageRebuilt, rebuild_usage};

use crate::app::usage_model::EventsError;
use crate::config::Config;
use crate::domain::ids::Position;
use crate::ledger::data_dir::{DataDir, DataDirError};
use crate::ledger::engine::{Ledger, LedgerError, LedgerReader};
use crate::ledger::volumes::VolumeLedger;
use crate::progress::Progress;
use crate::projection::snapshot::store::SnapshotStore;
use crate::projection::snapshot::{BuildError, Snapshot, SnapshotError};
use crate::projection::tiles::TileError;
use crate::projection::usage::UsageStoreError;
use crate::vault::{KeySources, Vault, VaultError};

/// What is added to the name of a snapshot that is not what the log gives.
const DIFFERS: &str = "differs";

/// What a rebuild found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebuilt {
    /// The snapshot on disk is, byte for byte, what the log gives.
    Identical(Position),
    /// There was none; there is one now.
    Made(Position),
    /// The one on disk was damaged; the right one is in its place.
    Replaced {
        /// Its position.
        position: Position,
        /// What was wrong with it.
        reason: SnapshotError,
    },
    /// The one on disk was whole and not what the log gives. It was put aside; the right one is in its
    /// place.
    Differed {
        /// Its position.
        position: Position,
        /// The section and the entry that differ first.
        at: String,
        /// Where the wrong one lies.
        aside: PathBuf,
    },
    /// No volume is sealed yet, so there is no snapshot to make.
    Nothing,
}

/// Why a rebuild cannot be done. Nothing on disk has been changed.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A key is missing or wrong.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The log cannot be folded, or the snapshot not be written.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log cannot be folded into the usage projection.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The usage projection cannot be written or read.
    #[error("the usage projection: {0}")]
    Usage(#[from] UsageStoreError),
    /// The hash tiles cannot be made.
    #[error(transparent)]
    Tiles(#[from] TileError),
    /// The file system failed.
    #[error("the file system failed on the snapshots: {0}")]
    Io(#[from] io::Error),
}

/// Folds the log from position 1 to the position of the newest snapshot, or to the end of the last
/// sealed volume if there is none, and compares. Memory follows neither the number of keys nor
/// the length of the log.
///
/// # Errors
/// [`RebuildError`]; the snapshots on disk are then as they were.
pub fn rebuild(config: &Config, progress: &dyn Progress) -> Result<Rebuilt, RebuildError> {
    let data_dir = DataDir::open_existing(&config.data_dir)?;
    let keys = KeySources::new(&config.keys, data_dir.path());
    let vault = Vault::open(keys, &data_dir.data_keys())?;
    let store = SnapshotStore::new(data_dir.snapshots(), vault.data_keys.snapshot_keys());
    let ledger = VolumeLedger::open(&data_dir.ledger(), config.ledger.volume_bytes)?;
    let rebuilt = compare(&*ledger.reader(), &store, progress);
    ledger.close()?;
    rebuilt
}

fn compare(
    reader: &dyn LedgerReader,
    store: &SnapshotStore,
    progress: &dyn Progress,
) -> Result<Rebuilt, RebuildError> {
    store.remove_unfinished()?;
    let newest = store.positions()?.first().copied();
    let sealed = || reader.sealed().last().map(|volume| volume.last);
    let Some(position) = newest.or_else(sealed) else { return Ok(Rebuilt::Nothing) };
    let found = newest.map(|position| open_whole(store, position));
    let kek_version = match &found {
        Some(Ok(found)) => found.kek_version(),
        _ => store.current_kek(),
    };
    let stop = AtomicBool::new(false);
    let aside = store.write_aside(reader, None, position, kek_version, &stop, progress)?;
    match found {
        None => {
            store.take_in(&aside, position)?;
            Ok(Rebuilt::Made(position))
        }
        Some(Err(reason)) => {
            store.take_in(&aside, position)?;
            Ok(Rebuilt::Replaced { position, reason })
        }
        Some(Ok(_)) if same_bytes(&store.path(position), &aside)? => {
            fs::remove_file(&aside)?;
            Ok(Rebuilt::Identical(position))
        }
        Some(Ok(found)) => {
            let right = store.open_aside(&aside)?;
            let at = found.difference(&right)?.unwrap_or_else(|| "index".to_owned());
            let wrong = store.path(position).with_added_extension(DIFFERS);
            fs::rename(store.path(position), &wrong)?;
            store.take_in(&aside, position)?;
            Ok(Rebuilt::Differed { position, at, aside: wrong })
        }
    }
}

fn open_whole(store: &SnapshotStore, position: Position) -> Result<Snapshot, SnapshotError> {
    let found = store.open(position)?;
    found.check()?;
    Ok(found)
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    loop {
        ours.clear();
        theirs.clear();
        one.by_ref().take(COMPARED_AT_ONCE).read_to_end(&mut ours)?;
        other.by_ref().take(COMPARED_AT_ONCE).read_to_end(&mut theirs)?;
        if ours != theirs {
            return Ok(false);
        }
        if ours.is_empty() {
            return Ok(true);
        }
    }
}

/// Bytes of each file that are in memory at a time.
const COMPARED_AT_ONCE: u64 = 1024 * 1024;
