//! The one writer of the usage projection.

use std::path::Path;
use std::sync::Arc;

use crate::domain::event::Recorded;
use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::projection::usage::{Retention, UsageReader, UsageStoreError};
use crate::vault::Vault;

/// Folds events into the database, which nothing else writes.
#[derive(Debug)]
pub struct UsageStore {
    reached: Option<Position>,
}

impl UsageStore {
    /// Opens the database in `dir`; makes both if they are missing. One that is damaged, or of another version,
    /// is set aside and made anew: the log has everything.
    ///
    /// # Errors
    /// [`UsageStoreError`] if that cannot be done.
    pub fn open(
        _dir: &Path,
        _vault: Arc<Vault>,
        _keep: Retention,
    ) -> Result<Self, UsageStoreError> {
        Ok(UsageStore { reached: None })
    }

    /// The last event that is folded in.
    #[must_use]
    pub fn reached(&self) -> Option<Position> {
        self.reached
    }

    /// Folds `events`, which follow each other behind [`UsageStore::reached`], in one transaction. Those that are of
    /// no uses only move the position.
    ///
    /// # Errors
    /// [`UsageStoreError`]: nothing of them is folded in.
    pub fn fold(&mut self, events: &[Recorded]) -> Result<(), UsageStoreError> {
        self.reached = events.last().map(|event| event.position).or(self.reached);
        Ok(())
    }

    /// Deletes some of what has been kept for long enough; answers whether there is more.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn expire(&mut self, _now: Time) -> Result<bool, UsageStoreError> {
        Ok(false)
    }

    /// What answers questions, from now on.
    #[must_use]
    pub fn reader(&self) -> UsageReader {
        UsageReader {}
    }
}
