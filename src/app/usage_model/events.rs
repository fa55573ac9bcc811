//! Events on their way from the log to the usage projection.

use thiserror::Error;

use crate::domain::event::Recorded;
use crate::domain::ids::Position;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::record::{self, RecordError};
use crate::projection::usage::UsageStore;

/// Events that are folded together: enough that a transaction costs little beside them.
const MAX_EVENTS: usize = 4096;

/// Bytes of records that are folded together.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Why events cannot be read.
#[derive(Debug, Error)]
pub enum EventsError {
    /// The log cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A record is none.
    #[error("the record at position {position}: {error}")]
    Record {
        /// Its position.
        position: Position,
        /// What is wrong with it.
        error: RecordError,
    },
}

/// Some of the events behind `reached`, and whether they are all.
pub(crate) fn next_events(
    log: &dyn LedgerReader,
    reached: Option<Position>,
) -> Result<(Vec<Recorded>, bool), EventsError> {
    let next = reached.map_or(Position::FIRST, Position::next);
    let (mut events, mut bytes) = (Vec::new(), 0);
    for frame in log.frames_from(next) {
        for (position, record) in frame?.records() {
            if position >= next {
                bytes += record.len();
                events.push(decode(position, record)?);
            }
        }
        if events.len() >= MAX_EVENTS || bytes >= MAX_BYTES {
            return Ok((events, false));
        }
    }
    Ok((events, true))
}

/// Whether the log has the last event that the projection has.
pub(crate) fn is_of(store: &UsageStore, log: &dyn LedgerReader) -> Result<bool, EventsError> {
    let Some((position, event)) = store.reached_event() else { return Ok(true) };
    let Some(frame) = log.frame_at(position)? else { return Ok(false) };
    let Some(bytes) = frame.record(position) else { return Ok(false) };
    Ok(decode(position, bytes)?.event_id == event)
}

fn decode(position: Position, bytes: &[u8]) -> Result<Recorded, EventsError> {
    record::decode(bytes).map_err(|error| EventsError::Record { position, error })
}
