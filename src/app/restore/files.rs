//! The files of a backup: read whole, and copied to where they belong in a data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Restore, RestoreError};
use crate::app::recovery::BadRecord;
use crate::app::startup::StartError;
use crate::backup_dir::{Content, Manifest, Volume, read_content, read_manifest};
use crate::config::KeySettings;
use crate::domain::apply::DoesNotFollow;
use crate::domain::event::Event;
use crate::domain::ids::Position;
use crate::domain::log_state::{LogState, OtherLog};
use crate::durable_file::{create_private_dir, sync_parent, unfinished_name, write_replacing};
use crate::ledger::anchor::Anchor;
use crate::ledger::data_dir::DataDir;
use crate::ledger::engine::LedgerError;
use crate::ledger::record;
use crate::ledger::replay::ReplayError;
use crate::ledger::volumes::{End, Restoring, Sealed, check_volume};
use crate::merkle::{Hash, leaf_hash};
use crate::progress::Progress;
use crate::vault::{self, KeySources, Vault};

/// Reads all of a backup and holds it to its manifest, without keys; restores nothing.
///
/// # Errors
/// [`RestoreError`] that names the first file that is damaged, or says that the records are of another
/// log than the manifest.
pub fn verify(from: &Path, progress: &dyn Progress) -> Result<Manifest, RestoreError> {
    let manifest = read_manifest(from)?;
    let mut copied = Copied::begin("reading the backup", &manifest, progress);
    let mut before: Option<Sealed> = None;
    let mut log = Log::default();
    for (volume, name) in manifest.volume_files() {
        read_content(from, &name, &volume.content, |bytes| copied.note(bytes))?;
        let mut each = |position, record: &[u8]| match log.note(position, record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(reason) => ControlFlow::Break(ReplayError::Refused { position, reason }),
        };
        let checked = check_volume(&from.join(&name), volume.number, before.as_ref(), &mut each);
        let sealed = match checked {
            Ok(ControlFlow::Continue(sealed)) => Ok(sealed),
            Ok(ControlFlow::Break(refused)) => {
                return Err(StartError::Recovery(refused.into()).into());
            }
            Err(error) => Err(error),
        };
        before = Some(as_named(sealed, volume, name)?);
    }
    let name = manifest.data_keys_name();
    read_content(from, &name, &manifest.data_keys, |bytes| copied.note(bytes))?;
    progress.end();
    hold_to_records(&manifest, log.origin, log.state.generation)?;
    Ok(manifest)
}

/// Holds what the manifest says of the log to what its records say.
pub(super) fn hold_to_records(
    manifest: &Manifest,
    origin: Option<Hash>,
    generation: u64,
) -> Result<(), RestoreError> {
    if (origin, generation) == (Some(Hash(manifest.origin.0)), manifest.generation) {
        Ok(())
    } else {
        Err(RestoreError::OtherOrigin)
    }
}

/// What the records say of the log itself. That the others follow from one another is for the restore
/// to see, which has the memory for it.
#[derive(Default)]
struct Log {
    origin: Option<Hash>,
    state: LogState,
}

impl Log {
    fn note(&mut self, position: Position, bytes: &[u8]) -> Result<(), BadRecord> {
        if position == Position::FIRST {
            self.origin = Some(leaf_hash(bytes));
        }
        let state = match record::decode(bytes)?.event {
            Event::LogRestored(restored) => self.state.restored(&restored),
            Event::LossResolved(resolved) => self.state.resolved(&resolved),
            _ => return Ok(()),
        };
        self.state = state.map_err(|OtherLog| DoesNotFollow { position })?;
        Ok(())
    }
}

/// Puts everything but `FORMAT` into the directory, keys first: without the right ones there is no use
/// in copying the rest.
pub(super) fn fill(
    data_dir: &DataDir,
    keys: &KeySettings,
    restore: &Restore,
    manifest: &Manifest,
    progress: &dyn Progress,
) -> Result<End, RestoreError> {
    let sources = KeySources::new(keys, data_dir.path());
    if let Some(keys) = &restore.keys {
        vault::copy_keys(keys, &sources)
            .map_err(|reason| RestoreError::Keys { path: keys.clone(), reason })?;
    }
    let mut copied = Copied::begin("restoring", manifest, progress);
    let name = manifest.data_keys_name();
    match &restore.data_keys {
        None => copied.copy(&restore.from, &name, &manifest.data_keys, &data_dir.data_keys())?,
        Some(later) => copied.put_later_keys(&restore.from, manifest, later, data_dir)?,
    }
    drop(Vault::open(&sources, &data_dir.data_keys())?);
    let ledger = data_dir.ledger();
    create_private_dir(&ledger).map_err(failed(&ledger))?;
    let mut restoring = Restoring::begin(&ledger);
    for (volume, name) in manifest.volume_files() {
        let place = restoring.place();
        copied.write(&restore.from, &name, &volume.content, &place)?;
        as_named(restoring.take(), volume, name)?;
    }
    let end = restoring.finish()?;
    Anchor::create(&data_dir.anchor())?;
    progress.end();
    Ok(end)
}

/// Holds a volume that was checked to what the manifest says of it.
fn as_named(
    checked: Result<Sealed, LedgerError>,
    volume: &Volume,
    name: String,
) -> Result<Sealed, RestoreError> {
    match checked {
        Err(reason) => Err(RestoreError::Volume { name, reason }),
        Ok(sealed)
            if (sealed.first.get(), sealed.last.get()) == (volume.first, volume.last)
                && sealed.root.0 == volume.root.0 =>
        {
            Ok(sealed)
        }
        Ok(_) => Err(RestoreError::OtherVolume(name)),
    }
}

/// Copies files of a backup, and tells how far it has come.
struct Copied<'a> {
    bytes: u64,
    progress: &'a dyn Progress,
}

impl<'a> Copied<'a> {
    fn begin(what: &'static str, manifest: &Manifest, progress: &'a dyn Progress) -> Self {
        let volumes: u64 = manifest.all_volumes().map(|volume| volume.content.bytes).sum();
        progress.begin(what, volumes + manifest.data_keys.bytes);
        Copied { bytes: 0, progress }
    }

    fn note(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.progress.reached(self.bytes);
        Ok(())
    }

    /// Puts a later copy of the backup's data key file in its place, once it is seen to be one.
    fn put_later_keys(
        &mut self,
        from: &Path,
        manifest: &Manifest,
        later: &Path,
        data_dir: &DataDir,
    ) -> Result<(), RestoreError> {
        let mut own = Vec::new();
        read_content(from, &manifest.data_keys_name(), &manifest.data_keys, |bytes| {
            own.extend_from_slice(bytes);
            self.note(bytes)
        })?;
        let bytes = data_keys_at(later)?;
        if let Some(slot) = vault::first_foreign_slot(&own, &bytes)? {
            return Err(RestoreError::OtherDataKeys { path: later.to_owned(), slot });
        }
        let to = data_dir.data_keys();
        write_replacing(&to, &bytes, 0o600).map_err(failed(&to))
    }

    /// Copies a file to `to` whole, held to its digest, durably.
    fn copy(
        &mut self,
        from: &Path,
        name: &str,
        content: &Content,
        to: &Path,
    ) -> Result<(), RestoreError> {
        let unfinished = unfinished_name(to);
        self.write(from, name, content, &unfinished)?;
        let named = fs::rename(&unfinished, to).and_then(|()| sync_parent(to));
        named.map_err(failed(to))
    }

    /// Copies a file to `to`, held to its digest and synced.
    fn write(
        &mut self,
        from: &Path,
        name: &str,
        content: &Content,
        to: &Path,
    ) -> Result<(), RestoreError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(to);
        let mut file: File = file.map_err(failed(to))?;
        read_content(from, name, content, |bytes| {
            self.note(bytes)?;
            file.write_all(bytes)
        })?;
        file.sync_all().map_err(failed(to))
    }
}

/// The bytes of a data key file: `path` itself, or that of the backup in it.
fn data_keys_at(path: &Path) -> Result<Vec<u8>, RestoreError> {
    if !path.is_dir() {
        return fs::read(path).map_err(failed(path));
    }
    let manifest = read_manifest(path)?;
    let mut bytes = Vec::new();
    read_content(path, &manifest.data_keys_name(), &manifest.data_keys, |read| {
        bytes.extend_from_slice(read);
        Ok(())
    })?;
    Ok(bytes)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    move |source| RestoreError::Io { path: path.to_owned(), source }
}
