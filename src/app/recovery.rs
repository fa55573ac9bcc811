//! From the data directory to the key table: the newest snapshot that can be used, then the records behind
//! it.
//!
//! A snapshot that cannot be read costs time only: the one before it is taken, or the log from its
//! beginning. One that was made here but not of this log shows that the log has lost records or was
//! replaced: that stops the start.

use std::time::Duration;

use thiserror::Error;

use crate::app::sealing;
use crate::clock::Clock;
use crate::domain::apply::{DoesNotFollow, apply};
use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::ledger::anchor::AnchorState;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::record::{self, RecordError};
use crate::ledger::replay::{Head, ReplayError, replay};
use crate::ledger::writer::Table;
use crate::progress::Progress;
use crate::projection::snapshot::store::SnapshotStore;
use crate::projection::snapshot::{self, Snapshot};
use crate::projection::table_writer::TableWriter;
use crate::vault::{OpenError, Vault};

/// Why a record stops the replay.
#[derive(Debug, Error)]
pub enum BadRecord {
    /// It cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is not at the place it names.
    #[error("it names position {0} as its place")]
    Misplaced(Position),
    /// It does not follow from those before it.
    #[error(transparent)]
    DoesNotFollow(#[from] DoesNotFollow),
    /// Its personal fields were sealed under a data key that is not there.
    #[error("data key {0}, which its personal fields need, is missing from the data key file")]
    DataKeyMissing(u64),
    /// Its personal fields are altered.
    #[error("its personal fields: {0}")]
    Personal(OpenError),
}

/// Why the key table cannot be made.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// The ledger is damaged.
    #[error(transparent)]
    Replay(#[from] ReplayError<BadRecord>),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A snapshot that was made here is not of this log.
    #[error(
        "the ledger is not the one that the snapshot at position {0} was made of: it has lost records \
         or was replaced"
    )]
    OtherThanSnapshot(Position),
    /// A snapshot was made of a log that names a data key which is not there.
    #[error(
        "data key {key}, which the log up to position {position} needs, is missing from the data key file"
    )]
    DataKeyMissing {
        /// The data key.
        key: u64,
        /// The position of the snapshot that names it.
        position: Position,
    },
}

/// What a start goes on from.
pub(crate) struct Recovered {
    pub(crate) table: TableWriter,
    pub(crate) head: Head,
    /// When the last record was recorded.
    pub(crate) last_time: Option<Time>,
    /// The snapshot it began with, or none.
    pub(crate) snapshot: Option<Position>,
}

/// What a recovery reads, and whom it tells.
pub(crate) struct Recovery<'a> {
    pub(crate) reader: &'a dyn LedgerReader,
    /// The last durable position.
    pub(crate) end: Option<Position>,
    pub(crate) anchored: &'a AnchorState,
    pub(crate) vault: &'a Vault,
    pub(crate) store: &'a SnapshotStore,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) progress: &'a dyn Progress,
}

impl Recovery<'_> {
    /// The table after the last record, with the head published.
    ///
    /// # Errors
    /// [`RecoveryError`]; nothing is skipped or repaired silently.
    pub(crate) fn run(&self) -> Result<Recovered, RecoveryError> {
        let begun = self.clock.monotonic();
        let took = |since: Duration| self.clock.monotonic().saturating_sub(since);
        let mut recovered = self.load_newest()?;
        let loaded = took(begun);
        let replayed = self.replay(&mut recovered);
        self.progress.end();
        replayed?;
        let Recovered { table, head, last_time, snapshot } = &mut recovered;
        if let (Some(position), Some(time)) = (head.position, *last_time) {
            table.publish(position, time);
        }
        let (from, to) = (number(*snapshot), number(head.position));
        tracing::info!(
            head = to,
            snapshot = from,
            records = to - from,
            keys = table.table().key_count(),
            loading_ms = millis(loaded),
            replay_ms = millis(took(begun).saturating_sub(loaded)),
            "ledger replayed"
        );
        Ok(recovered)
    }

    fn replay(&self, recovered: &mut Recovered) -> Result<(), RecoveryError> {
        let Recovered { table, head, last_time, .. } = recovered;
        let from = number(head.position);
        self.progress.begin("replaying the log", number(self.end).saturating_sub(from));
        let reached = replay(self.reader, head.clone(), self.anchored, |position, bytes| {
            *last_time = Some(take_record(table, self.vault, position, bytes)?);
            if position.get() % REPORTED_EACH == 0 {
                self.progress.reached(position.get().saturating_sub(from));
            }
            Ok(())
        })?;
        *head = reached;
        Ok(())
    }

    /// The table of the newest snapshot that can be used; an empty one if there is none.
    fn load_newest(&self) -> Result<Recovered, RecoveryError> {
        let positions = self.store.positions().unwrap_or_else(|error| {
            tracing::error!(%error, "the directory of snapshots cannot be read");
            Vec::new()
        });
        for position in positions {
            let opened = self.store.open(position);
            let Ok(found) = opened.map_err(|error| self.unusable(position, &error)) else {
                continue;
            };
            self.hold_to_log(&found)?;
            let open =
                |entry: &snapshot::KeyEntry| sealing::open_bound(&self.vault.data_keys, entry);
            match snapshot::load(&found, open, self.progress) {
                Err(error) => self.unusable(position, &error),
                Ok(table) => {
                    let standpoint = found.standpoint();
                    let (head, last_time) = (standpoint.head(), Some(standpoint.last_time));
                    return Ok(Recovered { table, head, last_time, snapshot: Some(position) });
                }
            }
        }
        let (table, head) = (TableWriter::default(), Head::empty());
        Ok(Recovered { table, head, last_time: None, snapshot: None })
    }

    fn unusable(&self, position: Position, error: &dyn std::error::Error) {
        let file = self.store.path(position);
        tracing::error!(file = %file.display(), %error, "a snapshot cannot be used");
    }

    /// Refuses the start if a snapshot that was made here is not of this log, or shows that data keys
    /// have been lost.
    fn hold_to_log(&self, snapshot: &Snapshot) -> Result<(), RecoveryError> {
        let standpoint = snapshot.standpoint();
        let position = standpoint.position;
        if !standpoint.head().is_of(self.reader)? {
            return Err(RecoveryError::OtherThanSnapshot(position));
        }
        match standpoint.highest_data_key {
            Some(key) if !self.vault.data_keys.is_known(key) => {
                Err(RecoveryError::DataKeyMissing { key: key.0, position })
            }
            _ => Ok(()),
        }
    }
}

/// How many records are replayed between two words about it.
const REPORTED_EACH: u64 = 4096;

fn number(position: Option<Position>) -> u64 {
    position.map_or(0, Position::get)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Folds one record of the log into the table; answers when it was recorded.
fn take_record(
    table: &mut TableWriter,
    vault: &Vault,
    position: Position,
    bytes: &[u8],
) -> Result<Time, BadRecord> {
    let mut fact = record::decode(bytes)?;
    if fact.position != position {
        return Err(BadRecord::Misplaced(fact.position));
    }
    if let Some(private) = &fact.private
        && !vault.data_keys.is_known(private.sealed.data_key)
    {
        return Err(BadRecord::DataKeyMissing(private.sealed.data_key.0));
    }
    sealing::open_sources(&vault.data_keys, &mut fact).map_err(BadRecord::Personal)?;
    apply(table, &fact)?;
    Ok(fact.time)
}
