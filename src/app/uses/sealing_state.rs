//! How the sealing of uses goes: what waits, what is on record, from when on uses may not be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::time::Time;

/// How the sealing of uses goes.
#[derive(Debug)]
pub(crate) struct UseSealingState {
    waiting: AtomicU64,
    /// How many may wait.
    most: u64,
    sealed: AtomicU64,
    failing: AtomicBool,
    /// The journals with uses that are not on record, each with the start of its first window.
    open: Mutex<BTreeMap<u64, Time>>,
}

impl UseSealingState {
    /// Of a sealer for which at most `most` windows may wait.
    pub(crate) fn new(most: u64) -> Self {
        UseSealingState {
            waiting: AtomicU64::new(0),
            most,
            sealed: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            open: Mutex::default(),
        }
    }

    /// Whether so many windows wait that no more uses should come.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting() >= self.most
    }

    /// Whether more than half as many wait: the sealer should make haste.
    pub(crate) fn is_pressed(&self) -> bool {
        self.waiting() > self.most / 2
    }

    /// The start of the first window with uses that are durable and not on record; none if there is none.
    pub(crate) fn open_from(&self) -> Option<Time> {
        self.lock_open().values().min().copied()
    }

    /// Notes uses of a journal in the window that begins at `start`.
    pub(crate) fn note_open(&self, journal: u64, start: Time) {
        let mut open = self.lock_open();
        let first = open.entry(journal).or_insert(start);
        *first = start.min(*first);
    }

    /// Notes that all of a journal is on record.
    pub(crate) fn note_sealed(&self, journal: u64) {
        self.lock_open().remove(&journal);
    }

    /// Notes windows that wait from now on.
    pub(crate) fn note_waiting(&self, windows: usize) {
        self.waiting.fetch_add(windows as u64, Ordering::Relaxed);
    }

    /// Notes that a window waits no longer: it is on record, or in its journal alone.
    pub(crate) fn note_done(&self, is_on_record: bool) {
        self.sealed.fetch_add(u64::from(is_on_record), Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes that a window was refused.
    pub(crate) fn note_refused(&self) {
        self.failing.store(true, Ordering::Relaxed);
    }

    fn lock_open(&self) -> MutexGuard<'_, BTreeMap<u64, Time>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many windows of ended journals wait for their record, in memory.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many windows were put on record since the start.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    /// Whether windows were refused: their journal stays until the next start tries them again.
    pub(crate) fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}
