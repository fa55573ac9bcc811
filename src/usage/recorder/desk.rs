//! What the recorder's thread is told, and where it waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::usage::journal::JournalNumber;

#[derive(Debug, Default)]
struct Orders {
    woken: bool,
    flush_now: bool,
    stopping: bool,
    sealed: Vec<JournalNumber>,
}

/// What was told since the last look.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) stopping: bool,
    pub(super) sealed: Vec<JournalNumber>,
}

#[derive(Debug, Default)]
pub(super) struct Desk {
    orders: Mutex<Orders>,
    changed: Condvar,
    /// Whether the thread waits for a first use, or is about to.
    parked: AtomicBool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut self.lock());
        self.changed.notify_one();
    }

    /// Wakes the thread if it waits for a first use.
    pub(super) fn wake_if_parked(&self) {
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::Relaxed) {
            self.tell(|orders| orders.woken = true);
        }
    }

    pub(super) fn flush_now(&self) {
        self.tell(|orders| orders.flush_now = true);
    }

    pub(super) fn stop(&self) {
        self.tell(|orders| orders.stopping = true);
    }

    pub(super) fn note_sealed(&self, journal: JournalNumber) {
        self.lock().sealed.push(journal);
    }

    /// What was told; a flush that was asked for is taken to follow.
    pub(super) fn take(&self) -> Told {
        let mut orders = self.lock();
        orders.flush_now = false;
        Told { stopping: orders.stopping, sealed: std::mem::take(&mut orders.sealed) }
    }

    /// Rests for `span`, unless a flush or the end is asked for.
    pub(super) fn rest(&self, span: Duration) {
        let quiet = |orders: &mut Orders| !orders.flush_now && !orders.stopping;
        let _ = self.changed.wait_timeout_while(self.lock(), span, quiet);
    }

    /// Waits for a first use, at most for `span`. `is_idle` looks whether there is one already, under the
    /// locks that uses are recorded under: so either it sees a use, or who recorded it sees that the thread is
    /// parked.
    pub(super) fn park(&self, span: Duration, is_idle: impl FnOnce() -> bool) {
        self.lock().woken = false;
        self.parked.store(true, Ordering::Relaxed);
        if is_idle() {
            let quiet =
                |orders: &mut Orders| !orders.woken && !orders.flush_now && !orders.stopping;
            let _ = self.changed.wait_timeout_while(self.lock(), span, quiet);
        }
        self.parked.store(false, Ordering::Relaxed);
    }
}
