//! The rate windows of accounts: each lies in its account's cell, made when something is first charged there,
//! and freed once nothing in it counts any more. Which cells have one is kept in a queue, so that freeing
//! looks at those alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::rate_window::{RateLimit, RateWindow};
use crate::projection::key_table::AccountCell;

/// The place of one account's window; none while nothing counts. Its lock is held for a few additions.
#[derive(Debug, Default)]
pub(super) struct WindowCell(Mutex<Option<Box<RateWindow>>>);

impl WindowCell {
    /// Runs `add` on the window, which is made if there is none, and says whether it was.
    fn add<R>(&self, now: Duration, add: impl FnOnce(&mut RateWindow) -> R) -> (R, bool) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = window.is_none();
        let window = window.get_or_insert_with(|| Box::new(RateWindow::new(now)));
        (add(window), is_new)
    }

    /// What is left of `limit`, which is all where there is no window.
    fn left(&self, now: Duration, limit: u32) -> RateLimit {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *window {
            Some(window) => window.charge(now, 0, limit),
            None => RateLimit::unused(limit),
        }
    }

    /// Frees the window if nothing in it counts any more; whether it is gone.
    fn free(&self, now: Duration) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.as_mut().is_some_and(|window| window.is_idle(now)) {
            *window = None;
        }
        window.is_none()
    }
}

/// Which accounts have a window.
#[derive(Debug, Default)]
pub struct RateWindows {
    /// A cell is in it once, from its window's making until [`RateWindows::sweep`] finds the window idle.
    cells: Mutex<VecDeque<Arc<AccountCell>>>,
    refused: AtomicU64,
}

impl RateWindows {
    /// Charges a use of an account's keys if `limit` admits it. `cost` MUST NOT be over the limit.
    pub fn charge(
        &self,
        account: &Arc<AccountCell>,
        now: Duration,
        cost: u32,
        limit: u32,
    ) -> RateLimit {
        if cost == 0 {
            return account.window().left(now, limit);
        }
        let (left, is_new) = account.window().add(now, |window| window.charge(now, cost, limit));
        if is_new {
            self.cells().push_back(Arc::clone(account));
        }
        if left.retry_after.is_some() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        left
    }

    /// Charges what was used in a second that began `since` before `now`, before this process began.
    pub(super) fn restore(
        &self,
        account: &Arc<AccountCell>,
        now: Duration,
        since: Duration,
        cost: u32,
    ) {
        let ((), is_new) = account.window().add(now, |window| window.restore(now, since, cost));
        if is_new {
            self.cells().push_back(Arc::clone(account));
        }
    }

    /// Looks at the `at_most` accounts that were looked at longest ago, and frees the windows in which
    /// nothing counts any more.
    pub fn sweep(&self, now: Duration, at_most: usize) {
        let some: Vec<_> = {
            let mut cells = self.cells();
            let count = at_most.min(cells.len());
            cells.drain(..count).collect()
        };
        let kept: Vec<_> = some.into_iter().filter(|cell| !cell.window().free(now)).collect();
        self.cells().extend(kept);
    }

    /// How many accounts have a window.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cells().len()
    }

    /// How many uses were refused for the limit of their account since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn cells(&self) -> MutexGuard<'_, VecDeque<Arc<AccountCell>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "rate_windows_tests.rs"]
mod tests;
