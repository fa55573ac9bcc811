//! GetStatus: how the service is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::snapshots::SnapshotState;
use crate::domain::ids::{PepperVersion, Position};
use crate::domain::time::Time;
use crate::ledger::anchor::Anchor;
use crate::merkle::Hash;

/// The engine that stores the log.
pub const ENGINE: &str = "sled";

/// The engine's version, as in `Cargo.lock`.
pub const ENGINE_VERSION: &str = "0.34.7";

/// What is fixed while the service runs, or measured from outside the use cases.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) start_time: Time,
    pub(crate) started: Duration,
    pub(crate) ledger: PathBuf,
    pub(crate) anchor: PathBuf,
    pub(crate) snapshots: Arc<SnapshotState>,
}

/// How the service is.
#[derive(Debug)]
pub struct Status {
    /// The last durable and applied position.
    pub head: Option<Position>,
    /// The root of the tree over all records up to the head.
    pub tree_root: Hash,
    /// The position the head anchor has reached.
    pub anchor_position: u64,
    /// When this process became ready.
    pub start_time: Time,
    /// How long ago that is.
    pub uptime: Duration,
    /// How many accounts there are, closed ones included.
    pub accounts: usize,
    /// How many keys there are, revoked ones included.
    pub keys: usize,
    /// How many callers there are, revoked ones included.
    pub callers: usize,
    /// The pepper that new tags are made under.
    pub pepper: PepperVersion,
    /// Bytes of the log on disk, all its volumes.
    pub disk_bytes: u64,
    /// The position of the newest snapshot; none if there is none yet.
    pub snapshot: Option<Position>,
    /// Whether the last attempt to make a snapshot failed.
    pub snapshots_fail: bool,
    /// How many commands wait for the writer.
    pub waiting: usize,
}

impl App {
    /// GetStatus: figures of the whole service, so only for callers bound to no tenant.
    ///
    /// # Errors
    /// [`AppError`]: a caller bound to tenants; the head's frame cannot be read.
    pub async fn status(&self, identity: &Identity) -> Result<Status, AppError> {
        self.confirm(identity)?;
        if !identity.caller.tenants.is_empty() {
            return Err(AppError::TenantNotAllowed);
        }
        let head = self.table.head();
        let (reader, ledger) = (Arc::clone(&self.reader), self.vitals.ledger.clone());
        let anchor = self.vitals.anchor.clone();
        let read = move || -> Result<(Hash, u64, u64), AppError> {
            let root = match head {
                Some(head) => reader.frame_at(head)?.map(|frame| frame.root()),
                None => Some(crate::merkle::Frontier::new().root()),
            };
            let root = root.ok_or(AppError::Damaged { position: head })?;
            let anchor = Anchor::read(&anchor)
                .map_err(|error| AppError::internal("reading the head anchor", &error))?;
            Ok((root, anchor.position.map_or(0, Position::get), bytes_below(&ledger)))
        };
        let (tree_root, anchor_position, disk_bytes) =
            tokio::task::spawn_blocking(read)
                .await
                .map_err(|error| AppError::internal("reading the status", &error))??;
        Ok(Status {
            head,
            tree_root,
            anchor_position,
            start_time: self.vitals.start_time,
            uptime: self.clock.monotonic().saturating_sub(self.vitals.started),
            accounts: self.table.account_count(),
            keys: self.table.key_count(),
            callers: self.table.callers().len(),
            pepper: self.vault.peppers.current().version(),
            disk_bytes,
            snapshot: self.vitals.snapshots.newest(),
            snapshots_fail: self.vitals.snapshots.failing(),
            waiting: self.writer.waiting(),
        })
    }
}

/// Bytes of the files in a directory and in those below it; what cannot be read counts nothing.
pub(crate) fn bytes_below(directory: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
