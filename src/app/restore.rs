//! Restoring a data directory from a backup, offline: all of it is checked before the directory is one.
//!
//! A restore that cannot be shown to reach the last known head begins another generation of the log, and
//! from then on no key is authenticated until what was lost is resolved: see [`Resolve`].

mod files;
mod redo;
mod resolve;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::own_command::{self, OwnCommandError};
use crate::app::startup::{self, Opened, StartError};
use crate::backup_dir::{BackupDirError, Manifest, read_manifest};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::account_rules::EraseAccount;
use crate::domain::command::Act;
use crate::domain::event::Mechanism;
use crate::domain::ids::{AccountRef, Position};
use crate::domain::log_state::{LogRestored, Loss, TreeRoot};
use crate::domain::time::Time;
use crate::ledger;
use crate::ledger::anchor::AnchorError;
use crate::ledger::data_dir::{DataDir, DataDirError};
use crate::ledger::engine::LedgerError;
use crate::ledger::export::ExportError;
use crate::ledger::lanes::Lane;
use crate::ledger::record::RecordError;
use crate::merkle::Hash;
use crate::progress::Progress;
use crate::random::Random;
use crate::vault::{Scope, VaultError};

pub use files::verify;
pub use redo::{Redone, Told};
pub use resolve::{Replayed, Resolve};

/// Why a restore, or resolving what it lost, was not done. For operators: texts say what to do.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The backup is none, or damaged.
    #[error(transparent)]
    Backup(#[from] BackupDirError),
    /// A volume of the backup is damaged or not the one the manifest names.
    #[error("{name}: {reason}")]
    Volume {
        /// Its file.
        name: String,
        /// What is wrong.
        reason: LedgerError,
    },
    /// A volume is whole but another than the manifest names.
    #[error("{0}: it is not the volume that the manifest names")]
    OtherVolume(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A key is missing or wrong.
    #[error(
        "{0}\n  put the key files into keys/ of the new directory or what keys.dir names, or name their copy by --keys"
    )]
    Vault(#[from] VaultError),
    /// A key of the copy that is named is missing or unfit, or cannot be put into the new directory.
    #[error("the keys in {}: {reason}", .path.display())]
    Keys {
        /// Where they were looked for.
        path: PathBuf,
        /// What is wrong.
        reason: VaultError,
    },
    /// The data key file that is named is none that the backup's has become.
    #[error(
        "the data key file of {} is not a later copy of the one in the backup: slot {slot} is another",
        .path.display()
    )]
    OtherDataKeys {
        /// What was named.
        path: PathBuf,
        /// The first slot that differs.
        slot: u64,
    },
    /// The ledger cannot be put together.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The anchor cannot be made.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The restored directory does not open.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What opens is not what the backup says.
    #[error("the restored log does not end as the manifest of the backup says")]
    OtherEnd,
    /// The records are of another log or generation than the manifest says.
    #[error("the manifest names another origin or generation than the records of the backup have")]
    OtherOrigin,
    /// The head that is known is of another history.
    #[error("the backup's root at position {0} is not the one that --last-head names")]
    OtherHead(u64),
    /// The head that is known is not the last.
    #[error(
        "the backup goes to position {backup}, further than the last known position that is named"
    )]
    NotLast {
        /// The backup's head.
        backup: u64,
    },
    /// There are no events there.
    #[error("{} holds no sealed volume", .0.display())]
    NoEvents(PathBuf),
    /// The events cannot be used.
    #[error(transparent)]
    Events(ExportError<RecordError>),
    /// There is nothing to resolve.
    #[error("this log has lost nothing that is not resolved")]
    NothingLost,
    /// Another range was lost.
    #[error(
        "that is not what was lost: accept {first}-{} to authenticate keys that may have been revoked there",
        .last.map(|last| last.to_string()).unwrap_or_default()
    )]
    OtherRange {
        /// The first lost position.
        first: Position,
        /// The last one, if it is known.
        last: Option<Position>,
    },
    /// A record could not be made.
    #[error(transparent)]
    Own(#[from] OwnCommandError),
    /// A record could not be read or sealed.
    #[error(transparent)]
    App(#[from] AppError),
    /// The file system failed.
    #[error("cannot use {}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// What is known of where the log ended before it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastKnown {
    /// Nothing.
    Nothing,
    /// It went at least as far as this position.
    Position(Position),
    /// It ended at this position with this root.
    Head(Position, Hash),
}

/// What is to be restored.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The backup directory.
    pub from: PathBuf,
    /// Where copies of the key files lie; none: they are in `keys/` of the new directory already.
    pub keys: Option<PathBuf>,
    /// A later copy of the data key file, to be used in place of the backup's, or a later backup that has one; none: the
    /// backup's own.
    pub data_keys: Option<PathBuf>,
    /// Where the log ended, as far as it is known.
    pub last_known: LastKnown,
    /// How what is lost is to be resolved, if that is known already.
    pub resolve: Resolve,
}

/// What a restore, or resolving, has led to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The head of the log now.
    pub head: Position,
    /// The generation of the log.
    pub generation: u64,
    /// What is still to be resolved.
    pub losses: Vec<Loss>,
    /// What was replayed.
    pub replayed: Option<Replayed>,
    /// Why resolving, which comes when the restore is done, was refused.
    pub unresolved: Option<String>,
}

/// Where time and randomness come from.
#[derive(Clone, Debug)]
pub struct Means {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The random source.
    pub random: Arc<dyn Random>,
}

/// Restores a backup into the data directory of `config`.
///
/// # Errors
/// [`RestoreError`]; the directory is then refused by everything but another restore.
pub fn restore(
    config: &Config,
    means: &Means,
    restore: &Restore,
    progress: &dyn Progress,
) -> Result<Outcome, RestoreError> {
    let manifest = read_manifest(&restore.from)?;
    let lost_to = lost_to(&manifest, restore.last_known)?;
    if let (Some(path), Some(_)) = (&restore.resolve.events_from, &lost_to) {
        // Before anything is made: whether they are events of this log.
        resolve::look(&resolve::open_export(path)?, manifest.head, Hash(manifest.root.0))?;
    }
    let data_dir = DataDir::open_for_restore(&config.data_dir)?;
    let end = files::fill(&data_dir, &config.keys, restore, &manifest, progress)?;
    let clock = Arc::new(NotBefore { clock: Arc::clone(&means.clock), earliest: end.time });
    let random = Arc::clone(&means.random);
    let opened = startup::open_existing(data_dir, config, clock, random, progress)?;
    finish(opened, |opened| {
        let app = &opened.app;
        if app.table.head() != Some(end.position) {
            return Err(RestoreError::OtherEnd);
        }
        let generation = app.table.log_state().generation;
        let origin = ledger::backup::origin(&*app.reader)?;
        files::hold_to_records(&manifest, origin, generation)?;
        if let Some(lost_to) = lost_to {
            let restored = LogRestored {
                origin: TreeRoot(manifest.origin.0),
                generation: generation + 1,
                restored_to: end.position,
                root: TreeRoot(end.root.0),
                lost_to,
            };
            own_command::commit(
                app,
                Lane::Commands,
                Mechanism::Offline,
                Act::RestoreLog(restored),
            )?;
        }
        erase_destroyed(app)?;
        opened.closing.finish_restore()?;
        // The directory is one from here on, and held: what is not resolved now can be later.
        let resolved = resolve::resolve(app, &restore.resolve, progress);
        Ok(outcome(opened, resolved.map_err(|error| error.to_string())))
    })
}

/// Puts on record that accounts are erased whose data keys are destroyed: a later data key file says so, and the restored
/// log may not know of it.
fn erase_destroyed(app: &App) -> Result<(), RestoreError> {
    for account in app.table.accounts(|account| !account.erased) {
        if app.vault.data_keys.is_destroyed(&Scope::Account(AccountRef::clone(&account))) {
            let erase = EraseAccount { account, expected: None, private: None };
            let act = Act::EraseAccount(erase);
            own_command::commit(app, Lane::Commands, Mechanism::Offline, act)?;
        }
    }
    Ok(())
}

/// Resolves what a restore of the data directory of `config` lost.
///
/// # Errors
/// [`RestoreError`]: events of another log, another range, nothing lost.
pub fn resolve(
    config: &Config,
    means: &Means,
    resolve: &Resolve,
    progress: &dyn Progress,
) -> Result<Outcome, RestoreError> {
    let (clock, random) = (Arc::clone(&means.clock), Arc::clone(&means.random));
    let opened = startup::open_offline(config, clock, random, progress)?;
    finish(opened, |opened| {
        let replayed = resolve::resolve(&opened.app, resolve, progress)?;
        Ok(outcome(opened, Ok(replayed)))
    })
}

/// Does `work` on an opened directory and closes it, whatever came of it.
fn finish(
    opened: Opened,
    work: impl FnOnce(&Opened) -> Result<Outcome, RestoreError>,
) -> Result<Outcome, RestoreError> {
    let done = work(&opened);
    let Opened { app, closing, .. } = opened;
    drop(app);
    let closed = closing.close();
    let outcome = done?;
    closed?;
    Ok(outcome)
}

fn outcome(opened: &Opened, resolved: Result<Option<Replayed>, String>) -> Outcome {
    let state = opened.app.table.log_state();
    let (replayed, unresolved) = match resolved {
        Ok(replayed) => (replayed, None),
        Err(error) => (None, Some(error)),
    };
    Outcome {
        head: opened.app.table.head().unwrap_or(Position::FIRST),
        generation: state.generation,
        losses: state.losses.clone(),
        replayed,
        unresolved,
    }
}

/// What is known of the end of what is lost; none if it is shown that nothing is.
fn lost_to(
    manifest: &Manifest,
    last_known: LastKnown,
) -> Result<Option<Option<Position>>, RestoreError> {
    let head = Position::new(manifest.head);
    match last_known {
        LastKnown::Nothing => Ok(Some(None)),
        LastKnown::Head(position, root) if Some(position) == head => {
            let same = root.0 == manifest.root.0;
            if same { Ok(None) } else { Err(RestoreError::OtherHead(manifest.head)) }
        }
        LastKnown::Head(position, _) | LastKnown::Position(position) if Some(position) > head => {
            Ok(Some(Some(position)))
        }
        LastKnown::Head(..) | LastKnown::Position(_) => {
            Err(RestoreError::NotLast { backup: manifest.head })
        }
    }
}

/// A clock that is never before the restored log's last record: else a step of the clock would be the
/// first record of the new generation.
#[derive(Debug)]
struct NotBefore {
    clock: Arc<dyn Clock>,
    earliest: Time,
}

impl Clock for NotBefore {
    fn wall(&self) -> Time {
        self.clock.wall().max(self.earliest)
    }

    fn monotonic(&self) -> std::time::Duration {
        self.clock.monotonic()
    }
}

/// A root as the tree has it.
fn hash(root: TreeRoot) -> Hash {
    Hash(root.0)
}
