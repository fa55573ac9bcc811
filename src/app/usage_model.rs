//! The usage projection beside the service: how far it is, and who may ask it when.

mod events;
mod projector;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

pub use events::EventsError;
pub(crate) use events::{is_of, next_events};
pub(crate) use projector::{Projector, Setup};

use crate::app::App;
use crate::app::error::AppError;
use crate::config::UsageSettings;
use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::domain::usage::signals::SignalKind;
use crate::domain::usage::window_start;
use crate::projection::usage::{AT_ONCE, Retention, UsageReader};

/// How long a question waits for what was in the log when it came.
const PATIENCE: Duration = Duration::from_secs(5);

/// When to come back if that was not enough.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a use that is decided may take to reach the recorder's buffers.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What the projector and those who ask share.
#[derive(Debug)]
pub(crate) struct UsageModel {
    keep: Retention,
    window: Duration,
    /// How long a question waits for what was in the log when it came.
    patience: Duration,
    /// The last event folded in, and what answers from there.
    reached: watch::Sender<Option<Position>>,
    reader: Mutex<Option<UsageReader>>,
    failing: AtomicBool,
    signals: [AtomicU64; SignalKind::ALL.len()],
    /// Room for questions that are being answered. The others wait for it, and not on a thread.
    pub(crate) questions: Arc<Semaphore>,
    bell: Bell,
}

/// How the projection is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProjectionFigures {
    /// The last event folded in; none if none is.
    pub position: Option<Position>,
    /// Whether the last try to fold more failed.
    pub failing: bool,
    /// Bytes on disk.
    pub bytes: u64,
    /// How many signals of each kind were found since the projection had caught up with the log, in the order of
    /// [`SignalKind::ALL`]: those found while it is made anew are no news.
    pub signals: [u64; SignalKind::ALL.len()],
}

/// For how long figures of uses are to be kept.
pub(crate) fn retention(settings: &UsageSettings) -> Retention {
    Retention {
        minutes: settings.keep_minutes,
        hours: settings.keep_hours,
        days: settings.keep_days,
    }
}

impl UsageModel {
    pub(crate) fn new(settings: &UsageSettings) -> Self {
        UsageModel {
            keep: retention(settings),
            window: settings.window,
            patience: PATIENCE,
            reached: watch::Sender::new(None),
            reader: Mutex::new(None),
            failing: AtomicBool::new(false),
            signals: Default::default(),
            questions: Arc::new(Semaphore::new(AT_ONCE)),
            bell: Bell::default(),
        }
    }

    pub(crate) fn figures(&self) -> ProjectionFigures {
        ProjectionFigures {
            position: *self.reached.borrow(),
            failing: self.failing.load(Ordering::Relaxed),
            bytes: self.reader().map_or(0, |reader| reader.bytes()),
            signals: std::array::from_fn(|at| self.signals[at].load(Ordering::Relaxed)),
        }
    }

    fn reader(&self) -> Option<UsageReader> {
        self.lock_reader().clone()
    }

    /// What answers questions, once it has reached `head`; none if it does not in time, or folding fails.
    async fn reader_at(&self, head: Option<Position>) -> Option<UsageReader> {
        let mut reached = self.reached.subscribe();
        self.bell.ring();
        let failing = self.failing.load(Ordering::Relaxed);
        let patience = if failing { Duration::ZERO } else { self.patience };
        tokio::time::timeout(patience, reached.wait_for(|at| *at >= head)).await.ok()?.ok()?;
        Some(self.reader()?.at_least(head))
    }

    fn lock_reader(&self) -> MutexGuard<'_, Option<UsageReader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on questions go there.
    fn show(&self, reader: Option<UsageReader>, reached: Option<Position>) {
        *self.lock_reader() = reader;
        self.reached.send_replace(reached);
    }
}

impl App {
    /// What answers questions on uses, once it has reached the head there is now.
    ///
    /// # Errors
    /// [`AppError::UsageBehind`] if it does not in time, or folding fails.
    pub async fn usage_reader_at_head(&self) -> Result<UsageReader, AppError> {
        let reader = self.usage_model.reader_at(self.table.head()).await;
        reader.ok_or_else(|| self.usage_behind())
    }

    /// That the projection is not far enough.
    pub(crate) fn usage_behind(&self) -> AppError {
        let position = *self.usage_model.reached.borrow();
        AppError::UsageBehind { position, retry_after: RETRY_AFTER }
    }

    /// Up to when every use is on record: the beginning of the first window of which that is not known. To be asked
    /// for before [`App::usage_reader_at_head`].
    #[must_use]
    pub fn complete_until(&self) -> Time {
        let Some(recording) = self.recording.get() else {
            return window_start(self.clock.wall(), self.usage_model.window);
        };
        // In this order: a use leaves the recorder's buffers for the open windows, and these for the log.
        let waiting = recording.recorder.state().lag + ON_ITS_WAY;
        let waiting = i64::try_from(waiting.as_micros()).unwrap_or(i64::MAX);
        let settled = Time::from_micros(self.clock.wall().as_micros().saturating_sub(waiting));
        let settled = window_start(settled, self.usage_model.window);
        recording.sealing.open_from().map_or(settled, |open| open.min(settled))
    }

    /// For how long figures of uses are kept.
    #[must_use]
    pub fn usage_kept(&self) -> Retention {
        self.usage_model.keep
    }

    /// The span of usage windows.
    #[must_use]
    pub fn usage_window(&self) -> Duration {
        self.usage_model.window
    }
}

/// Where the projector waits.
#[derive(Debug, Default)]
struct Bell {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    rung: bool,
    stopping: bool,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the projector look at once.
    fn ring(&self) {
        self.lock().rung = true;
        self.changed.notify_one();
    }

    /// Has the projector stop.
    fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_one();
    }

    /// Waits for so long at most; answers whether to stop. If `for_good`, being rung for changes nothing.
    fn wait(&self, span: Duration, for_good: bool) -> bool {
        let quiet = |orders: &mut Orders| !orders.stopping && (for_good || !orders.rung);
        let waited = self.changed.wait_timeout_while(self.lock(), span, quiet);
        let (mut orders, _) = waited.unwrap_or_else(PoisonError::into_inner);
        orders.rung = false;
        orders.stopping
    }

    fn is_stopping(&self) -> bool {
        self.lock().stopping
    }
}

#[cfg(test)]
#[path = "usage_model_tests.rs"]
mod tests;
