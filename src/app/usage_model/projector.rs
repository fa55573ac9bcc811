//! The projector: a thread that folds the log into the usage projection, and follows its head.
//!
//! Nobody waits for it but those who ask it. Whatever fails of it, a panic too, is reported, tried again after a
//! while, and stops nothing else: the log has everything.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use crate::app::usage_model::UsageModel;
use crate::app::usage_model::events::{EventsError, is_of, next_events};
use crate::clock::Clock;
use crate::domain::ids::Position;
use crate::domain::usage::signals::SignalKind;
use crate::ledger::engine::LedgerReader;
use crate::projection::usage::{UsageStore, UsageStoreError};
use crate::vault::Vault;

/// How long it may take to hear that the head has moved, if nobody asks. What comes in a second lies on many of the
/// same pages, and the disk that commands wait for is written to less often.
const LOOK_EACH: Duration = Duration::from_secs(1);

/// How often what is old is deleted.
const EXPIRE_EACH: Duration = Duration::from_mins(1);

/// How often a projection that is far behind says how far it has come.
const TELL_EACH: Duration = Duration::from_secs(10);

/// How long to wait after a failure, and at most after many.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What the projector works with.
pub(crate) struct Setup {
    pub(crate) dir: PathBuf,
    pub(crate) vault: Arc<Vault>,
    pub(crate) log: Arc<dyn LedgerReader>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) model: Arc<UsageModel>,
}

/// The running projector. Stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Projector {
    model: Arc<UsageModel>,
    thread: Option<JoinHandle<()>>,
}

impl Projector {
    /// Starts it. It opens the projection itself: a start does not wait for that.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub(crate) fn start(setup: Setup) -> io::Result<Self> {
        let model = Arc::clone(&setup.model);
        let expired = setup.clock.monotonic();
        let work = Work {
            setup,
            store: None,
            expire_at: expired,
            failures: 0,
            told: expired,
            caught_up: false,
        };
        let thread = thread::Builder::new().name("usage-projector".to_owned());
        let thread = thread.spawn(move || work.run())?;
        Ok(Projector { model, thread: Some(thread) })
    }
}

impl Drop for Projector {
    /// Stops it behind the batch it is at. It no longer reads the ledger when this returns.
    fn drop(&mut self) {
        self.model.bell.stop();
        if let Some(thread) = self.thread.take() {
            // It panics nowhere but where that is caught.
            let _ = thread.join();
        }
    }
}

/// Why a step failed.
#[derive(Debug, Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] UsageStoreError),
    #[error(transparent)]
    Events(#[from] EventsError),
    #[error("it panicked; the message is above")]
    Panicked,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// There is more to do.
    Further,
    /// To the head, and there is nothing else to do.
    ToTheHead,
}

struct Work {
    setup: Setup,
    /// None until it is opened, and after a failure.
    store: Option<UsageStore>,
    /// When to delete what is old; by the clock that never steps.
    expire_at: Duration,
    /// Failures since the last success.
    failures: u32,
    /// When it was told last how far it has come.
    told: Duration,
    /// Whether it had caught up with the log: what is found from then on is news, and counted as such.
    caught_up: bool,
}

impl Work {
    fn run(mut self) {
        while !self.setup.model.bell.is_stopping() {
            // What a panic leaves is thrown away: the store is opened again.
            let step = catch_unwind(AssertUnwindSafe(|| self.step()));
            let step = step.unwrap_or(Err(StepError::Panicked));
            let stop = match step {
                Ok(came) => self.succeeded(came),
                Err(error) => self.failed(&error),
            };
            if stop {
                return;
            }
        }
    }

    /// Answers whether to stop.
    fn succeeded(&mut self, came: Came) -> bool {
        let Setup { model, .. } = &self.setup;
        if std::mem::take(&mut self.failures) > 0 {
            model.failing.store(false, Ordering::Relaxed);
            tracing::info!("the usage projection is folded again");
        }
        match came {
            Came::Further => false,
            Came::ToTheHead => model.bell.wait(LOOK_EACH, false),
        }
    }

    /// Reports the first of failures that follow each other, and waits. Answers whether to stop.
    fn failed(&mut self, error: &StepError) -> bool {
        let Setup { model, .. } = &self.setup;
        if self.failures == 0 {
            tracing::error!(%error, "the usage projection cannot be folded: it is tried again");
        }
        model.failing.store(true, Ordering::Relaxed);
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(6)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        model.bell.wait(wait, true)
    }

    /// Folds some events, or deletes some of what is old.
    fn step(&mut self) -> Result<Came, StepError> {
        let mut store = match self.store.take() {
            Some(store) if store.is_found_unfit() => self.begin_anew(store, "it is damaged")?,
            Some(store) => store,
            None => self.open()?,
        };
        let found = store.signals_found();
        match self.step_with(&mut store) {
            Ok(came) => {
                self.count_signals(&store, found);
                self.caught_up |= came == Came::ToTheHead;
                self.setup.model.reached.send_replace(store.reached());
                self.store = Some(store);
                Ok(came)
            }
            Err(StepError::Store(error)) if error.is_of_the_file() => {
                self.store = Some(self.begin_anew(store, &error.to_string())?);
                Ok(Came::Further)
            }
            // Opened again the next time: what the disk holds is known then.
            Err(error) => Err(error),
        }
    }

    /// Opens the projection. One that is not of this log is made anew.
    fn open(&mut self) -> Result<UsageStore, StepError> {
        let Setup { dir, vault, log, model, .. } = &self.setup;
        let store = UsageStore::open(dir, Arc::clone(vault), model.keep)?;
        if !is_of(&store, &**log)? {
            return self.begin_anew(store, "it is not of this log");
        }
        model.show(Some(store.reader()), store.reached());
        Ok(store)
    }

    fn count_signals(&self, store: &UsageStore, before: [u64; SignalKind::ALL.len()]) {
        if !self.caught_up {
            return;
        }
        let counted = self.setup.model.signals.iter();
        for ((counted, now), before) in counted.zip(store.signals_found()).zip(before) {
            counted.fetch_add(now - before, Ordering::Relaxed);
        }
    }

    fn begin_anew(&mut self, store: UsageStore, reason: &str) -> Result<UsageStore, StepError> {
        self.caught_up = false;
        let model = &self.setup.model;
        model.show(None, None);
        let store = store.begin_anew(reason)?;
        model.show(Some(store.reader()), store.reached());
        Ok(store)
    }

    fn step_with(&mut self, store: &mut UsageStore) -> Result<Came, StepError> {
        let now = self.setup.clock.monotonic();
        // Before the first event: so nothing is folded in that would be deleted at once.
        if now >= self.expire_at {
            let more = store.expire(self.setup.clock.wall())?;
            self.expire_at = if more { now } else { now + EXPIRE_EACH };
            if more {
                self.fold_some(store)?;
                return Ok(Came::Further);
            }
        }
        self.fold_some(store)
    }

    fn fold_some(&mut self, store: &mut UsageStore) -> Result<Came, StepError> {
        let (events, all) = next_events(&*self.setup.log, store.reached())?;
        store.fold(&events)?;
        if all {
            return Ok(Came::ToTheHead);
        }
        self.tell(store.reached());
        Ok(Came::Further)
    }

    /// Says now and then how far a projection has come that is far behind.
    fn tell(&mut self, reached: Option<Position>) {
        let now = self.setup.clock.monotonic();
        if now.saturating_sub(self.told) >= TELL_EACH {
            self.told = now;
            let position = reached.map_or(0, Position::get);
            tracing::info!(position, "the usage projection is catching up with the log");
        }
    }
}

#[cfg(test)]
#[path = "projector_tests.rs"]
mod tests;
