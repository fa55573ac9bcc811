//! Resolving what a restore lost: by the lost events, read from elsewhere, or by accepting the loss.

use std::fs;
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::app::own_command;
use crate::app::restore::redo::{Redone, redo};
use crate::app::restore::{RestoreError, hash};
use crate::backup_dir::{BackupDirError, read_manifest};
use crate::domain::command::Act;
use crate::domain::denials::Denials;
use crate::domain::event::Mechanism;
use crate::domain::ids::Position;
use crate::domain::log_state::{Loss, LossResolved, Resolution, TreeRoot};
use crate::domain::subject::Subject;
use crate::ledger::export::{Export, ExportError, Reached};
use crate::ledger::lanes::Lane;
use crate::ledger::record::{self, RecordError};
use crate::merkle::Hash;
use crate::progress::Progress;

/// How losses are to be resolved.
#[derive(Clone, Debug, Default)]
pub struct Resolve {
    /// Where the lost events lie: a sealed volume, a directory of them, or a backup.
    pub events_from: Option<PathBuf>,
    /// A lost range that is accepted: its first position, and the last one if it is known.
    pub accept: Option<(Position, Option<Position>)>,
}

impl Resolve {
    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events_from.is_none() && self.accept.is_none()
    }
}

/// What was replayed.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The first lost position.
    pub first: Position,
    /// The last one that was there.
    pub last: Position,
    /// What came of it.
    pub redone: Redone,
}

/// Resolves what is asked, events first.
///
/// # Errors
/// [`RestoreError`]: events of another log, no such loss.
pub(super) fn resolve(
    app: &App,
    resolve: &Resolve,
    progress: &dyn Progress,
) -> Result<Option<Replayed>, RestoreError> {
    let mut replayed = None;
    if let Some(path) = &resolve.events_from {
        let export = open_export(path)?;
        let outcome = replay(app, &export, progress)?;
        let whole = outcome.redone.refused.is_empty();
        replayed = Some(outcome);
        if !whole {
            return Ok(replayed);
        }
    }
    if let Some((first, last)) = resolve.accept {
        accept(app, first, last)?;
    }
    Ok(replayed)
}

/// The sealed volumes at `path`: a file, a backup, or a directory with such files in it.
pub(super) fn open_export(path: &Path) -> Result<Export, RestoreError> {
    let failed = |source| RestoreError::Io { path: path.to_owned(), source };
    let paths = if path.is_file() {
        vec![path.to_owned()]
    } else {
        match read_manifest(path) {
            Ok(manifest) => manifest.volume_files().map(|(_, name)| path.join(name)).collect(),
            Err(BackupDirError::NoBackup(_)) => volumes_in(path).map_err(failed)?,
            Err(error) => return Err(error.into()),
        }
    };
    if paths.is_empty() {
        return Err(RestoreError::NoEvents(path.to_owned()));
    }
    Ok(Export::open(paths)?)
}

/// The files in a directory that are named like volumes; those in its `ledger/` if it is a data directory.
fn volumes_in(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let ledger = path.join("ledger");
    let directory = if ledger.is_dir() { &ledger } else { path };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let named = name.starts_with("volume-") || name.starts_with("tail-");
        if named && !name.contains('.') && entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Looks whether the events continue the log behind `size` records with that root; nothing is done.
pub(super) fn look(export: &Export, size: u64, root: Hash) -> Result<Reached, RestoreError> {
    Ok(export
        .records_behind::<RecordError>(size, root, |_, bytes| record::decode(bytes).map(drop))?)
}

/// Records anew what the events denied, and says so if all of it was.
fn replay(app: &App, export: &Export, progress: &dyn Progress) -> Result<Replayed, RestoreError> {
    let loss = loss_continued_by(app, export)?;
    let known = |subject: &Subject| match subject {
        Subject::Key(account, id) => {
            app.table.with_row(id, |row| row.key.account == *account).unwrap_or(false)
        }
        Subject::Account(account) => app.table.standing(account).is_some(),
        Subject::Caller(id) => app.table.caller(id).is_some(),
        Subject::Service => false,
    };
    let mut denials = Denials::default();
    let (size, root) = (loss.first.get() - 1, hash(loss.root));
    let reached = export.records_behind::<RecordError>(size, root, |_, bytes| {
        denials.note(known, &record::decode(bytes)?);
        Ok(())
    })?;
    let redone = redo(app, &denials, progress)?;
    if redone.refused.is_empty() {
        let resolution = Resolution::Replayed { root: TreeRoot(reached.root.0) };
        record(app, &loss, Some(reached.position), resolution)?;
    }
    Ok(Replayed { first: loss.first, last: reached.position, redone })
}

/// The loss that the events are of.
fn loss_continued_by(app: &App, export: &Export) -> Result<Loss, RestoreError> {
    let state = app.table.log_state();
    let mut why = None;
    for loss in &state.losses {
        match look(export, loss.first.get() - 1, hash(loss.root)) {
            Ok(_) => return Ok(*loss),
            Err(error) => why = Some(error),
        }
    }
    Err(why.unwrap_or(RestoreError::NothingLost))
}

/// Accepts that what a lost range denied may be allowed again. The range must be the one that was lost.
fn accept(app: &App, first: Position, last: Option<Position>) -> Result<(), RestoreError> {
    let state = app.table.log_state();
    let same = |loss: &&Loss| (loss.first, loss.last) == (first, last);
    let Some(loss) = state.losses.iter().find(same) else {
        return Err(match state.losses.first() {
            None => RestoreError::NothingLost,
            Some(loss) => RestoreError::OtherRange { first: loss.first, last: loss.last },
        });
    };
    record(app, loss, last, Resolution::Accepted)
}

fn record(
    app: &App,
    loss: &Loss,
    last: Option<Position>,
    resolution: Resolution,
) -> Result<(), RestoreError> {
    let (generation, first) = (loss.generation, loss.first);
    let act = Act::ResolveLoss(LossResolved { generation, first, last, resolution });
    own_command::commit(app, Lane::Commands, Mechanism::Offline, act)?;
    Ok(())
}

impl From<ExportError<RecordError>> for RestoreError {
    fn from(error: ExportError<RecordError>) -> Self {
        RestoreError::Events(error)
    }
}
