//! The recorder: takes uses from the threads that answer, and makes them durable in journals.
//!
//! A use goes into a buffer of its thread's and gets a [`Ticket`]: the number of the flush that will hold
//! it, learnt under the buffer's lock. A thread of its own empties all buffers, has a [`Fold`] turn what it
//! took into bytes, appends these as one frame, and only when that is durable publishes the flush. With
//! `bounded` durability it does so at an interval; with `before_reply`, back to back as long as there are
//! uses. It parks when there are none.
//!
//! A journal holds uses of one window by the uses' own times, so a clock that steps by hours puts nothing in
//! the wrong one: a flush with uses of several windows goes into several journals.
//!
//! A failed write or sync ends the process: what the disk holds is not known then, and nothing that rests on
//! it has been answered.

mod desk;
mod figures;
mod keeper;
mod shards;
#[cfg(test)]
mod tests;
mod thread;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;

use super::journal::{Found, JournalError, JournalNumber, Journals};
use crate::clock::Clock;
use crate::config::{Durability, UsageSettings, WhenBehind};
use crate::domain::ids::Position;
use crate::domain::time::Time;
use desk::Desk;
use figures::Figures;
use shards::Shards;
use thread::RecorderThread;

pub use figures::RecorderState;
pub use shards::{Shed, Stopped};

/// Uses that may wait to be durable: at some 300 bytes each, 80 MB. Calls that were admitted before the
/// bound was reached come on top.
pub const MAX_UNFLUSHED: usize = 262_144;

/// The most uses of one frame; a flush of more has several. At 1 KiB each, half of
/// [`super::journal::MAX_PAYLOAD_BYTES`].
pub const MAX_FRAME_USES: usize = 65_536;
const _: () = assert!(MAX_FRAME_USES * 1024 * 2 <= super::journal::MAX_PAYLOAD_BYTES);

/// How long an ended journal is kept at least, on record or not: the rate limits, which look back 60
/// seconds, are restored from it.
pub const KEPT_AFTER_END: Duration = Duration::from_secs(61);

/// Something that happened at a time.
pub trait Timed {
    /// When; by this its window is chosen.
    fn time(&self) -> Time;
}

/// Turns uses into what is appended, and keeps what it needs of them for their records. Called on the
/// recorder's thread; a panic ends the process.
pub trait Fold: Send + 'static {
    /// A use.
    type Entry: Timed + Send + 'static;

    /// Takes the uses of one frame, which belong to one window, in no order, and puts at the end of `payload`,
    /// which is empty, what is to be appended: at most 1 KiB a use. It MUST take all of them. It is durable when the next call comes.
    fn flush(
        &mut self,
        batch: &Batch,
        entries: impl Iterator<Item = Self::Entry>,
        payload: &mut Vec<u8>,
    );

    /// A journal has been ended, durably; no more uses go there. They are to be put on record, then
    /// [`Recorder::sealed`] is to be called. MUST NOT wait.
    fn ended(&mut self, ended: Ended);
}

/// What is told of a batch of uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The journal it goes to.
    pub journal: JournalNumber,
    /// The start of the window.
    pub window: Time,
    /// The wall time when the flush began.
    pub wall: Time,
    /// Uses that were answered and are not in this flush, if there are any.
    pub shed: Option<Shed>,
}

/// A journal that has been ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The journal.
    pub journal: JournalNumber,
    /// The start of the window of its uses.
    pub window: Time,
    /// How many frames it holds; none, if the service stopped before there was a use.
    pub frames: u64,
    /// Whether it was ended because the service stops. The next start finds it.
    pub stopped: bool,
}

/// How the recorder works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecorderSettings {
    /// The span of a window; windows begin at multiples of it since 1970.
    pub window: Duration,
    /// How often uses are made durable, if answers do not wait for it.
    pub flush_interval: Duration,
    /// How long a use may wait before the disk counts as behind.
    pub max_lag: Duration,
    /// How many uses may wait before the disk counts as behind.
    pub max_unflushed: usize,
    /// Whether answers wait. The recorder only flushes accordingly: who answers calls
    /// [`Recorder::durable`].
    pub durability: Durability,
    /// What becomes of uses when disk or log are behind.
    pub when_behind: WhenBehind,
}

impl From<&UsageSettings> for RecorderSettings {
    fn from(settings: &UsageSettings) -> Self {
        RecorderSettings {
            window: settings.window,
            flush_interval: settings.flush_interval,
            max_lag: settings.max_lag,
            max_unflushed: MAX_UNFLUSHED,
            durability: settings.durability,
            when_behind: settings.when_behind,
        }
    }
}

/// What the recorder works with.
pub struct Setup<F> {
    /// How it works.
    pub settings: RecorderSettings,
    /// Where journals are.
    pub journals: Journals,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The head of the log, durable and applied.
    pub head: Box<dyn Fn() -> Option<Position> + Send>,
    /// Whether too much that was recorded waits for its record in the log: uses are then behind, as they are
    /// if the disk is. Called for each use.
    pub log_is_behind: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What becomes of uses.
    pub fold: F,
    /// The journals that are there, as [`Journals::read_all`] found them. A gap behind the last MUST be on
    /// record before the recorder starts.
    pub found: Vec<Found>,
    /// The highest journal number in the log, if it has one.
    pub recorded: Option<JournalNumber>,
}

/// Uses wait for the disk for too long, or too many do; or too many wait for their record in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many uses wait to be recorded")]
pub struct Behind;

/// Leave to record a use, to be asked for before it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Whether the use is to be counted as not recorded.
    shed: bool,
}

impl Admission {
    /// Whether the use will be answered without being recorded.
    #[must_use]
    pub fn is_shed(&self) -> bool {
        self.shed
    }
}

/// The flush that holds a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "with durability before_reply the answer waits for it"]
pub struct Ticket(u64);

/// What handles and the recorder's thread share.
struct Shared<T> {
    shards: Shards<T>,
    desk: Desk,
    /// The last flush that is durable.
    flushed: AtomicU64,
    /// Who waits for a flush with an even number, with an odd one: those who wait for the next flush are
    /// not woken by this one.
    waiting: [Notify; 2],
    figures: Figures,
    clock: Arc<dyn Clock>,
    max_lag: Duration,
    max_unflushed: usize,
    when_behind: WhenBehind,
    log_is_behind: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl<T> Shared<T> {
    fn publish(&self, flush: u64) {
        self.flushed.store(flush, Ordering::Release);
        self.waiting[parity(flush)].notify_waiters();
    }

    fn is_behind(&self, now: Duration) -> bool {
        self.shards.lag(now) > self.max_lag
            || self.shards.waiting() >= self.max_unflushed
            || (self.log_is_behind)()
    }
}

fn parity(flush: u64) -> usize {
    usize::from(flush % 2 == 1)
}

/// A handle to the recorder, cheap to clone.
pub struct Recorder<T> {
    /// None in one that records nothing.
    shared: Option<Arc<Shared<T>>>,
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Recorder { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Recorder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("records", &self.shared.is_some()).finish_non_exhaustive()
    }
}

impl<T: Timed> Recorder<T> {
    /// A recorder that admits every use, records none and keeps nobody waiting: to measure against.
    #[must_use]
    pub fn null() -> Self {
        Recorder { shared: None }
    }

    /// Leave to record a use. Four atomic loads and the monotonic clock.
    ///
    /// # Errors
    /// [`Behind`] if the disk or the log is behind and uses are refused then: the use MUST NOT be decided.
    pub fn admit(&self) -> Result<Admission, Behind> {
        let Some(shared) = &self.shared else {
            return Ok(Admission { shed: false });
        };
        let behind = shared.is_behind(shared.clock.monotonic());
        if behind && shared.when_behind == WhenBehind::Refuse {
            shared.figures.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Behind);
        }
        Ok(Admission { shed: behind })
    }

    /// Records a use that was admitted, or counts it as shed. Does not wait for the disk.
    ///
    /// # Errors
    /// [`Stopped`] if the recorder has stopped: the use MUST NOT be answered.
    pub fn record(&self, admission: Admission, entry: T) -> Result<Ticket, Stopped> {
        let Some(shared) = &self.shared else { return Ok(Ticket(0)) };
        let flush = if admission.shed {
            shared.shards.shed(entry.time())?;
            0
        } else {
            shared.shards.push(entry, shared.clock.monotonic())?
        };
        shared.desk.wake_if_parked();
        Ok(Ticket(flush))
    }

    /// Waits until the use that got `ticket` is durable.
    pub async fn durable(&self, ticket: Ticket) {
        let Some(shared) = &self.shared else { return };
        loop {
            // Made before the look: it is woken by what is published after.
            let woken = shared.waiting[parity(ticket.0)].notified();
            if shared.flushed.load(Ordering::Acquire) >= ticket.0 {
                return;
            }
            woken.await;
        }
    }

    /// Has the recorder flush at once. What was recorded before is durable when the ticket is.
    pub fn flush(&self) -> Ticket {
        let Some(shared) = &self.shared else { return Ticket(0) };
        let ticket = Ticket(shared.shards.flush_under_way());
        shared.desk.flush_now();
        ticket
    }

    /// Says that the uses of an ended or found journal are durable in the log: its file is removed, but not
    /// before [`KEPT_AFTER_END`] has passed since it ended or was found.
    pub fn sealed(&self, journal: JournalNumber) {
        if let Some(shared) = &self.shared {
            shared.desk.note_sealed(journal);
        }
    }

    /// The figures.
    #[must_use]
    pub fn state(&self) -> RecorderState {
        let Some(shared) = &self.shared else { return RecorderState::default() };
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let figures = &shared.figures;
        RecorderState {
            flushes: figure(&figures.flushes),
            last_flush: Duration::from_micros(figure(&figures.last_flush_micros)),
            lag: shared.shards.lag(shared.clock.monotonic()),
            entries: figure(&figures.entries),
            shed: figure(&figures.shed),
            refused: figure(&figures.refused),
            bytes: figure(&figures.bytes),
            journal: figure(&figures.journal),
            files: figure(&figures.files),
        }
    }
}

/// The recorder's thread. Dropping this stops it in order, as [`Running::stop`] does.
pub struct Running<F: Fold> {
    shared: Arc<Shared<F::Entry>>,
    thread: Option<JoinHandle<F>>,
}

impl<F: Fold> fmt::Debug for Running<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl<F: Fold> Running<F> {
    /// Starts the recorder with a new journal. Journals that were found without an end get one; those that
    /// were found empty are removed.
    ///
    /// # Errors
    /// [`JournalError`] if that fails, or the operating system has no thread to give.
    pub fn start(setup: Setup<F>) -> Result<(Recorder<F::Entry>, Self), JournalError> {
        let shared = Arc::new(Shared {
            shards: Shards::new(),
            desk: Desk::default(),
            flushed: AtomicU64::new(0),
            waiting: [Notify::new(), Notify::new()],
            figures: Figures::default(),
            clock: Arc::clone(&setup.clock),
            max_lag: setup.settings.max_lag,
            max_unflushed: setup.settings.max_unflushed,
            when_behind: setup.settings.when_behind,
            log_is_behind: Arc::clone(&setup.log_is_behind),
        });
        let recorder = RecorderThread::prepare(setup, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new().name("usage-recorder".to_owned());
        let thread = thread.spawn(move || recorder.run());
        let thread = Some(thread.map_err(JournalError::no_thread)?);
        let handle = Recorder { shared: Some(Arc::clone(&shared)) };
        Ok((handle, Running { shared, thread }))
    }

    /// Makes durable what was recorded, ends the journal, wakes who waits, and gives the fold back. From then
    /// on nothing is recorded.
    ///
    /// # Panics
    /// Never: a panic on the recorder's thread ends the process.
    #[must_use]
    pub fn stop(mut self) -> F {
        self.shared.desk.stop();
        let thread = self.thread.take().expect("taken here and when this is dropped only");
        thread.join().expect("a panic there ends the process")
    }
}

impl<F: Fold> Drop for Running<F> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.desk.stop();
            // It ends the process rather than panic.
            let _ = thread.join();
        }
    }
}
