//! Figures of the recorder.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Figures of the recorder, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderState {
    /// Flushes that held uses.
    pub flushes: u64,
    /// How long the last of them took.
    pub last_flush: Duration,
    /// How long the oldest use that is not durable has waited.
    pub lag: Duration,
    /// Uses made durable.
    pub entries: u64,
    /// Uses answered and not recorded, by what has been flushed.
    pub shed: u64,
    /// Uses refused.
    pub refused: u64,
    /// Bytes appended to journals.
    pub bytes: u64,
    /// The number of the journal that is written.
    pub journal: u64,
    /// Journals on disk.
    pub files: u64,
}

/// What the recorder's thread counts; written by it alone, but for `refused`.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) flushes: AtomicU64,
    pub(super) last_flush_micros: AtomicU64,
    pub(super) entries: AtomicU64,
    pub(super) shed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) journal: AtomicU64,
    pub(super) files: AtomicU64,
}
