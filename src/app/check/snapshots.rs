//! The snapshots of a data directory: each is what this installation wrote, and of this log.

use std::fs::File;

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
        Finding::new(Severity::Damage, place(self.position), what).at(Some(self.position))
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
        match read(&store, position) {
            Ok(snapshot) => {
                let found = snapshot.standpoint();
                let missing = found.highest_data_key.filter(|key| !data_keys.is_known(*key));
                if let Some(key) = missing {
                    let what = RecoveryError::DataKeyMissing { key: key.0, position };
                    report.add(Finding::new(Severity::Damage, "datakeys", what).at(Some(position)));
                }
                standing.push(Standing { position, root: found.root() });
            }
            Err(error) => {
                let what = format!("{error}; the log has all that is in it");
                report.add(Finding::new(Severity::Damage, place(position), what));
            }
        }
    }
    standing
}

/// The snapshot at a position, read whole from the disk.
fn read(store: &SnapshotStore, position: Position) -> Result<Snapshot, SnapshotError> {
    forget_cached(&File::open(store.path(position))?)?;
    let snapshot = store.open(position)?;
    snapshot.check()?;
    Ok(snapshot)
}

fn place(position: Position) -> String {
    format!("{PLACE}/{:020}.kls", position.get())
}

const PLACE: &str = "snapshots";

const PUT_ASIDE: &str = "put aside by a rebuild, which found it to be other than the log says";
