//! The history as auditors read it: streamed from any position, and who may see what of it.

mod chain;
mod entry;
mod filter;
mod follower;
mod past;
mod relay;
mod room;
mod stream;
#[cfg(test)]
mod tests;
mod timeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use crate::app::error::AppError;
use crate::domain::ids::Position;
use crate::ledger::engine::LedgerError;

pub use entry::{AuditEntry, Disclosed};
pub use filter::EventFilter;
use past::Policies;
pub use past::{AccountSnapshot, KeySnapshot, Moment, PastPolicy, Standpoint};
use relay::Relay;
use room::StreamRoom;
pub use stream::{Answer, Answers, StreamAsk};
pub use timeline::TimelineAsk;

/// The most threads that read history for streams: enough for a disk, and few enough that
/// Authenticate keeps its cores.
const READERS: usize = 4;

/// The most threads that read history for single calls, so that streams do not wait for a long one.
const LOOKUPS: usize = 4;

/// What all reads of the history share.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) relay: Arc<Relay>,
    streams: Arc<StreamRoom>,
    readers: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
    policies: Policies,
    counts: Counts,
}

/// What is counted since the start.
#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    events: AtomicU64,
    stalled: AtomicU64,
    damaged: AtomicU64,
}

/// How reading of the history goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditFigures {
    /// Streams that are open: something is still sent, or waits to be read.
    pub streams: u64,
    /// Streams opened since the start.
    pub opened: u64,
    /// Events handed to streams since the start.
    pub events: u64,
    /// Streams ended because nothing was read from them.
    pub stalled: u64,
    /// Reads that found a record which failed its check.
    pub damaged: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Audit {
            relay: Arc::default(),
            streams: Arc::default(),
            readers: Arc::new(Semaphore::new(READERS)),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            policies: Policies::default(),
            counts: Counts::default(),
        }
    }
}

impl Audit {
    /// How it goes.
    pub(crate) fn figures(&self) -> AuditFigures {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        AuditFigures {
            streams: u64::try_from(self.streams.open()).unwrap_or(u64::MAX),
            opened: load(&self.counts.opened),
            events: load(&self.counts.events),
            stalled: load(&self.counts.stalled),
            damaged: load(&self.counts.damaged),
        }
    }

    /// The error for a record that fails its check, which is counted and logged here.
    fn damaged(&self, position: Position, cause: &dyn std::error::Error) -> AppError {
        self.counts.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%position, %cause, "a record of the history fails its check");
        AppError::Damaged { position: Some(position) }
    }

    /// The error for history that cannot be read at `position`.
    fn unreadable(&self, position: Position, error: &LedgerError) -> AppError {
        match error {
            LedgerError::Io { .. } | LedgerError::Engine { .. } => {
                AppError::internal("reading the history", error)
            }
            _ => self.damaged(error.position().unwrap_or(position), error),
        }
    }
}
