//! The snapshots of a data directory: each is what this installation wrote, and of this log.

use std::convert::Infallible;
use std::fs::File;
use std::ops::ControlFlow;

use super::files::names_in;
use super::fold::{FOREIGN, LEFTOVER};
use crate::app::check::{Finding, Report, Severity};
use crate::app::recovery::RecoveryError;
use crate::domain::ids::Position;
use crate::durable_file::forget_cached;
use crate::ledger::data_dir::DataDir;
use crate::merkle::Hash;
use crate::projection::snapshot::store::SnapshotStore;
use crate::projection::snapshot::{Snapshot, SnapshotError};
use crate::vault::DataKeys;

/// A snapshot that is whole: where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) position: Position,
    pub(super) root: Hash,
}

impl Standing {
    /// That the log is not the one it was made of.
    pub(super) fn not_of_this_log(self) -> Finding {
        let what = RecoveryError::OtherThanSnapshot(self.position);
        Finding::new(Severity::Damage, snapshot_place(self.position), what).at(Some(self.position))
    }
}

/// Reads every snapshot; answers those that are whole, to be held to the log.
pub(super) fn check(
    data_dir: &DataDir,
    data_keys: Option<&DataKeys>,
    report: &mut Report,
) -> Vec<Standing> {
    let dir = data_dir.snapshots();
    for name in names_in(&dir) {
        let place = format!("{PLACE}/{name}");
        if name.ends_with(".tmp") {
            report.add(Finding::new(Severity::Note, place, LEFTOVER));
        } else if name.ends_with(".differs") {
            report.add(Finding::new(Severity::Note, place, PUT_ASIDE));
        } else if !name.ends_with(".kls") {
            report.add(Finding::new(Severity::Warning, place, FOREIGN));
        }
    }
    // Without the key-encryption keys, which have been reported, no MAC can be checked.
    let Some(data_keys) = data_keys else { return Vec::new() };
    let store = SnapshotStore::new(dir, data_keys.snapshot_keys());
    let positions = match store.positions() {
        Ok(positions) => positions,
        Err(error) => {
            report.add(Finding::new(Severity::Damage, PLACE, error));
            return Vec::new();
        }
    };
    let mut standing = Vec::new();
    for position in positions {
        let mut on = |_| ControlFlow::<Infallible>::Continue(());
        match read_snapshot(&store, position, &mut on) {
            Ok(ControlFlow::Continue(snapshot)) => {
                if let Some(what) = missing_data_key(&snapshot, data_keys) {
                    report.add(Finding::new(Severity::Damage, "datakeys", what).at(Some(position)));
                }
                standing.push(Standing { position, root: snapshot.standpoint().root() });
            }
            Err(error) => {
                let (place, what) = (snapshot_place(position), snapshot_damaged(&error));
                report.add(Finding::new(Severity::Damage, place, what));
            }
        }
    }
    standing
}

/// The snapshot at a position, read whole from the disk. `watch` is told how many bytes have been read,
/// and can end it.
pub(in crate::app) fn read_snapshot<B>(
    store: &SnapshotStore,
    position: Position,
    watch: &mut dyn FnMut(u64) -> ControlFlow<B>,
) -> Result<ControlFlow<B, Snapshot>, SnapshotError> {
    let file = File::open(store.path(position))?;
    forget_cached(&file)?;
    let snapshot = store.open(position)?;
    let checked = snapshot.check_watched(watch)?;
    // What was read is of use to nobody else.
    forget_cached(&file)?;
    Ok(checked.map_continue(|()| snapshot))
}

/// The data key that the log up to the snapshot needs and that is not there, if one is not.
pub(in crate::app) fn missing_data_key(
    snapshot: &Snapshot,
    data_keys: &DataKeys,
) -> Option<RecoveryError> {
    let found = snapshot.standpoint();
    let missing = found.highest_data_key.filter(|key| !data_keys.is_known(*key));
    missing.map(|key| RecoveryError::DataKeyMissing { key: key.0, position: found.position })
}

/// What is said of a damaged snapshot.
pub(in crate::app) fn snapshot_damaged(error: &SnapshotError) -> String {
    format!("{error}; the log has all that is in it")
}

/// Where the snapshot at a position is, below the data directory.
pub(in crate::app) fn snapshot_place(position: Position) -> String {
    format!("{PLACE}/{:020}.kls", position.get())
}

const PLACE: &str = "snapshots";

const PUT_ASIDE: &str = "put aside by a rebuild, which found it to be other than the log says";
