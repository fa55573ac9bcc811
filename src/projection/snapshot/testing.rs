//! Snapshots that no log gives, for tests of what finds them.

use std::fs;
use std::path::Path;

use super::entry;
use super::entry::key::{self, KeyEntry};
use super::writer::SnapshotWriter;
use super::{Section, Snapshot, SnapshotError};
use crate::domain::ids::{CallerId, KeyId};
use crate::vault::SnapshotKeys;

/// Writes the snapshot `file` again with another maker of its first key, whole by its MACs. Answers
/// that key.
pub(crate) fn forge_first_key(file: &Path, keys: &SnapshotKeys) -> KeyId {
    let snapshot = Snapshot::open(file, keys).unwrap();
    let standpoint = snapshot.standpoint().clone();
    let forged = file.with_added_extension("forged");
    let mut out =
        SnapshotWriter::create(&forged, standpoint, keys, snapshot.kek_version()).unwrap();
    let mut first = None;
    for section in Section::ALL {
        snapshot
            .for_each(section, |bytes| {
                if section == Section::Keys && first.is_none() {
                    let number = key::account_number(bytes).unwrap();
                    let any = entry::own_account("any", "any");
                    let mut key = KeyEntry::decode(bytes, |_| any).unwrap();
                    key.key.created_by = Some(CallerId([0xee; 12]));
                    first = Some(key.id);
                    out.push(section, &key.encode(number))?;
                } else {
                    out.push(section, bytes)?;
                }
                Ok::<_, SnapshotError>(())
            })
            .unwrap();
    }
    out.finish().unwrap();
    fs::rename(forged, file).unwrap();
    first.expect("there are keys")
}
