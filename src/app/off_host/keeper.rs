//! The thread that keeps one place up to date.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use super::figures::PlaceFigures;
use super::source::Source;
use super::{NotKept, Place};
use crate::domain::time::Time;

/// How long a keeper may take to see that the log has grown or an interval has passed.
const LOOK_EACH: Duration = Duration::from_millis(100);

/// How long it rests after an attempt that failed; each further time twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How long it rests at most: whoever mends a place need not wait long to see it.
const MOST_RETRY: Duration = Duration::from_mins(5);

/// How a place is, as other threads see it.
#[derive(Debug)]
pub(super) struct PlaceState {
    name: String,
    now: Mutex<Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    position: u64,
    last_kept: Option<Time>,
    failures: u64,
    failing: bool,
    refused: Option<String>,
    /// Since when a newer checkpoint waits, by time that never steps.
    waits_since: Option<Duration>,
}

impl PlaceState {
    pub(super) fn new(name: String) -> Self {
        PlaceState { name, now: Mutex::default() }
    }

    /// How it is at an instant; overdue if a checkpoint has waited for longer than `patience`.
    pub(super) fn figures(&self, now: Duration, patience: Duration) -> PlaceFigures {
        self.change(|standing| PlaceFigures {
            name: self.name.clone(),
            position: standing.position,
            last_kept: standing.last_kept,
            failures: standing.failures,
            failing: standing.failing,
            refused: standing.refused.clone(),
            overdue: standing.waits_since.is_some_and(|since| now.saturating_sub(since) > patience),
        })
    }

    /// Notes that a newer checkpoint waits, unless one does already.
    pub(super) fn waits(&self, now: Duration) {
        self.change(|standing| *standing.waits_since.get_or_insert(now));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Standing) -> T) -> T {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What one keeper works with.
pub(super) struct Work {
    pub(super) place: Box<dyn Place>,
    pub(super) source: Source,
    pub(super) interval: Duration,
    pub(super) state: Arc<PlaceState>,
}

/// One running keeper. It is told to end, without a last attempt, when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    orders: Arc<Orders>,
    state: Arc<PlaceState>,
    thread: Thread,
    /// Closed when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug, Default)]
struct Orders {
    stop: AtomicBool,
    /// Whether what is newest is to be kept before.
    last: AtomicBool,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub(super) fn start(work: Work) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let (end, ended) = mpsc::channel();
        let (state, told) = (Arc::clone(&work.state), Arc::clone(&orders));
        let thread = thread::Builder::new().name("off-host".to_owned()).spawn(move || {
            let _ends = end;
            work.run(&told);
        })?;
        Ok(Keeper { orders, state, thread: thread.thread().clone(), ended: Mutex::new(ended) })
    }

    pub(super) fn state(&self) -> Arc<PlaceState> {
        Arc::clone(&self.state)
    }

    /// Tells it to keep what is newest and to end.
    pub(super) fn order_stop(&self) {
        self.orders.last.store(true, Ordering::Relaxed);
        self.orders.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Waits until the thread has ended, but no longer than so.
    pub(super) fn wait(&self, patience: Duration) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(patience) {
            let place = &self.state.name;
            tracing::warn!(
                place,
                "the last checkpoint may not be kept off the host: it takes too long"
            );
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Work {
    fn run(mut self, orders: &Orders) {
        let (mut due, mut retry) = (Duration::ZERO, FIRST_RETRY);
        loop {
            let stopping = orders.stop.load(Ordering::Acquire);
            let now = self.source.clock.monotonic();
            let last = stopping && orders.last.load(Ordering::Relaxed);
            if self.lags(now) && (last || (!stopping && now >= due)) {
                let rest = if self.attempt() {
                    retry = FIRST_RETRY;
                    self.interval
                } else {
                    let rest = retry.min(self.interval).max(FIRST_RETRY);
                    retry = (retry * 2).min(MOST_RETRY);
                    rest
                };
                due = now + rest;
            }
            if stopping {
                return;
            }
            thread::park_timeout(LOOK_EACH);
        }
    }

    /// Whether there is a newer checkpoint than the one kept last, with all that is needed to have it kept.
    fn lags(&self, now: Duration) -> bool {
        let size = self.source.size();
        let lags = size > self.state.change(|standing| standing.position);
        if lags {
            self.state.waits(now);
        }
        lags && self.source.is_ready(size)
    }

    /// Has the newest checkpoint kept; whether that went well. Says so where it did not before, and the other
    /// way round.
    fn attempt(&mut self) -> bool {
        let newest = self.source.newest();
        // Another may have chosen a newer one meanwhile.
        let ready = newest.filter(|signed| self.source.is_ready(signed.checkpoint.size));
        let Some(signed) = ready else { return true };
        let now = self.source.clock.wall();
        // What a place remembers is what it has kept: a panic leaves it as it was.
        let keep = AssertUnwindSafe(|| self.place.keep(&signed, now));
        let kept = catch_unwind(keep).unwrap_or(Err(NotKept::Panicked));
        if kept == Err(NotKept::Stopping) {
            return true;
        }
        let place = &self.state.name;
        let failed_before = self.state.change(|standing| {
            if kept.is_ok() {
                (standing.position, standing.last_kept) = (signed.checkpoint.size, Some(now));
                standing.waits_since = None;
            } else {
                standing.failures += 1;
            }
            let lasting = kept.as_ref().err().filter(|error| error.is_lasting());
            standing.refused = lasting.map(ToString::to_string);
            std::mem::replace(&mut standing.failing, kept.is_err())
        });
        match &kept {
            Ok(()) if failed_before => {
                tracing::info!(place, "checkpoints are kept off the host again");
            }
            Err(error) if !failed_before => {
                let path = self.place.path().map(|path| tracing::field::display(path.display()));
                tracing::error!(place, path, %error, "a checkpoint cannot be kept off the host");
            }
            _ => {}
        }
        kept.is_ok()
    }
}
