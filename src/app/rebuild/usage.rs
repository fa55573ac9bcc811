//! Folds the log from its beginning into a usage projection and holds the one on disk to it: offline.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::app::rebuild::RebuildError;
use crate::app::usage_model;
use crate::config::Config;
use crate::domain::ids::Position;
use crate::ledger::data_dir::DataDir;
use crate::ledger::engine::{Ledger, LedgerReader};
use crate::ledger::volumes::VolumeLedger;
use crate::progress::Progress;
use crate::projection::usage::{Retention, UsageStore};
use crate::vault::{KeySources, Vault};

/// What a rebuild of the usage projection found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageRebuilt {
    /// The one on disk says what the log gives up to its position.
    Identical(Position),
    /// There was none, or it was empty; there is one now.
    Made(Position),
    /// The one on disk could not be used; the right one is in its place.
    Replaced {
        /// The position of the new one.
        position: Position,
        /// What was wrong with it.
        reason: String,
    },
    /// The one on disk was whole and not what the log gives. It was put aside; the right one is in its place.
    Differed {
        /// Its position.
        position: Position,
        /// The table that differs first.
        at: String,
        /// Where the wrong one lies.
        aside: PathBuf,
    },
    /// The log is empty.
    Nothing,
}

/// Folds the log from position 1 to the position of the projection on disk, or to the head if there is none that
/// can be used, and compares.
///
/// # Errors
/// [`RebuildError`]; the projection on disk is then as it was.
pub fn rebuild_usage(
    config: &Config,
    progress: &dyn Progress,
) -> Result<UsageRebuilt, RebuildError> {
    let data_dir = DataDir::open_existing(&config.data_dir)?;
    let keys = KeySources::new(&config.keys, data_dir.path());
    let vault = Arc::new(Vault::open(keys, &data_dir.data_keys())?);
    let ledger = VolumeLedger::open(&data_dir.ledger(), config.ledger.volume_bytes)?;
    let keep = usage_model::retention(&config.usage);
    let Some(head) = Ledger::head(&ledger) else {
        ledger.close()?;
        return Ok(UsageRebuilt::Nothing);
    };
    let reader = ledger.reader();
    let place = Place { dir: &data_dir.projections(), vault, keep, log: &*reader, progress };
    let rebuilt = place.compare(head);
    ledger.close()?;
    rebuilt
}

struct Place<'a> {
    dir: &'a Path,
    vault: Arc<Vault>,
    keep: Retention,
    log: &'a dyn LedgerReader,
    progress: &'a dyn Progress,
}

impl Place<'_> {
    fn compare(&self, head: Position) -> Result<UsageRebuilt, RebuildError> {
        let vault = || Arc::clone(&self.vault);
        let mut found = match UsageStore::open_found(self.dir, vault(), self.keep) {
            Ok(None) => return self.make(head).map(|_| UsageRebuilt::Made(head)),
            Ok(Some(found)) => found,
            Err(error) if error.is_of_the_file() => return self.replace(head, error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let Some((position, _)) = found.reached_event() else {
            drop(found);
            return self.make(head).map(|_| UsageRebuilt::Made(head));
        };
        if !usage_model::is_of(&found, self.log)? {
            drop(found);
            return self.replace(head, "it is not of this log".to_owned());
        }
        let right = self.fold(position, Some(&found))?;
        let differs = found.finish_expiring().and_then(|()| found.difference(&right));
        drop(found);
        match differs {
            Ok(None) => {
                right.remove()?;
                Ok(UsageRebuilt::Identical(position))
            }
            Ok(Some(at)) => {
                let aside = right.take_its_place(true)?;
                Ok(UsageRebuilt::Differed { position, at, aside })
            }
            Err(error) if error.is_of_the_file() => {
                right.take_its_place(false)?;
                Ok(UsageRebuilt::Replaced { position, reason: error.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make(&self, head: Position) -> Result<PathBuf, RebuildError> {
        Ok(self.fold(head, None)?.take_its_place(false)?)
    }

    fn replace(&self, position: Position, reason: String) -> Result<UsageRebuilt, RebuildError> {
        self.make(position)?;
        Ok(UsageRebuilt::Replaced { position, reason })
    }

    /// The log up to `position`, folded beside the projection on disk.
    fn fold(
        &self,
        position: Position,
        found: Option<&UsageStore>,
    ) -> Result<UsageStore, RebuildError> {
        let mut store =
            UsageStore::make_beside(self.dir, Arc::clone(&self.vault), self.keep, found)?;
        self.progress.begin("folding uses", position.get());
        while store.reached() < Some(position) {
            let (mut events, _) = usage_model::next_events(self.log, store.reached())?;
            events.retain(|event| event.position <= position);
            store.fold(&events)?;
            self.progress.reached(store.reached().map_or(0, Position::get));
        }
        self.progress.end();
        Ok(store)
    }
}
