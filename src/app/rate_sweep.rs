//! Frees the rate windows of accounts that have fallen silent.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;

/// How often some windows are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// In so many rounds every window is looked at: an idle one lives for some ten seconds too long.
const ROUNDS: usize = 8;

/// How many windows are looked at before other tasks have their turn: well under a millisecond.
const AT_ONCE: usize = 1024;

impl App {
    /// Frees windows in which nothing counts any more, as long as this is polled.
    pub fn sweep_rate_windows(&self) -> impl Future<Output = ()> + Send + use<> {
        self.sweep_rate_windows_every(EVERY)
    }

    fn sweep_rate_windows_every(&self, every: Duration) -> impl Future<Output = ()> + Send + use<> {
        let (table, clock) = (Arc::clone(&self.table), Arc::clone(&self.clock));
        async move {
            loop {
                tokio::time::sleep(every).await;
                let windows = table.rate_windows();
                for _ in 0..windows.count().div_ceil(ROUNDS * AT_ONCE) {
                    windows.sweep(clock.monotonic(), AT_ONCE);
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}
