//! The recorder's thread: flushes, journals that follow each other, and their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::keeper::{Keeper, Shelf};
use super::shards::{Shed, Taken};
use super::{
    Batch, Ended, Fold, KEPT_AFTER_END, MAX_FRAME_USES, RecorderSettings, Setup, Shared, Timed,
};
use crate::clock::Clock;
use crate::config::Durability;
use crate::domain::time::Time;
use crate::domain::usage::window_start;
use crate::ledger::durable::{AbortOnPanic, fail_stop};
use crate::usage::journal::{Found, JournalError, JournalNumber, JournalWriter, Listed};

/// How long the thread waits for a first use before it looks whether a window has passed.
const PARKED: Duration = Duration::from_secs(1);

/// How long there may be no frame before one says that nothing waited: a gap that a crash leaves behind a quiet night
/// should not be as long as the night.
const QUIET: Duration = Duration::from_mins(1);

/// Bytes of a payload's room that are kept between flushes.
const KEPT_BYTES: usize = 1024 * 1024;

const NOT_DURABLE: &str = "uses could not be made durable";

/// An ended journal that is not removed.
struct Retired {
    journal: JournalNumber,
    /// Monotonic time.
    ended: Duration,
    sealed: bool,
}

pub(super) struct RecorderThread<F: Fold> {
    settings: RecorderSettings,
    shared: Arc<Shared<F::Entry>>,
    clock: Arc<dyn Clock>,
    fold: F,
    keeper: Keeper,
    journal: JournalWriter,
    /// The window of the journal's uses; none before the first.
    window: Option<Time>,
    /// The window that the wall clock was in when the first came.
    began_in: Time,
    retired: Vec<Retired>,
    flush: u64,
    taken: Taken<F::Entry>,
    payload: Vec<u8>,
    /// The wall time of the last flush that is durable as a whole.
    durable: Time,
    /// The monotonic time of the last frame.
    appended: Duration,
}

impl<F: Fold> RecorderThread<F> {
    /// Ends what was found without an end, makes the first journal, removes what was found empty.
    pub(super) fn prepare(
        setup: Setup<F>,
        shared: Arc<Shared<F::Entry>>,
    ) -> Result<Self, JournalError> {
        let Setup { settings, journals, clock, head, fold, found, recorded, .. } = setup;
        let (now, ended) = (clock.wall(), clock.monotonic());
        let is_empty = |journal: &&Found| journal.frames == 0 && journal.damaged_at.is_none();
        let (empty, kept): (Vec<_>, Vec<_>) = found.iter().partition(is_empty);
        for journal in &kept {
            journals.put_end(journal, now)?;
        }
        let highest = found.iter().map(|journal| journal.header.number).max().max(recorded);
        let number = highest.map_or(JournalNumber::FIRST, JournalNumber::next);
        let durability = settings.durability;
        let roll = kept.iter().map(|found| Listed::from(&found.header)).collect();
        let mut shelf = Shelf { journals, clock: Arc::clone(&clock), head, durability, roll };
        let journal = shelf.make(number, true)?;
        let empty = empty.iter().map(|journal| journal.header.number).collect::<Vec<_>>();
        shelf.journals.remove(&empty)?;
        let retired =
            kept.iter().map(|found| Retired { journal: found.header.number, ended, sealed: false });
        let retired = retired.collect();
        let keeper = Keeper::start(shelf).map_err(JournalError::no_thread)?;
        keeper.make(number.next());
        let recorder = RecorderThread {
            settings,
            shared,
            clock,
            fold,
            keeper,
            journal,
            window: None,
            began_in: now,
            retired,
            flush: 0,
            taken: Taken::default(),
            payload: Vec::new(),
            durable: now,
            appended: ended,
        };
        recorder.show_journals();
        Ok(recorder)
    }

    pub(super) fn run(mut self) -> F {
        let _guard = AbortOnPanic("the usage recorder panicked");
        loop {
            let told = self.shared.desk.take();
            self.remove_sealed(&told.sealed);
            let held = self.flush(told.stopping);
            if told.stopping {
                return self.stop();
            }
            self.wait(held);
        }
    }

    /// Waits until the next flush is due. `held` says whether the last one held anything.
    fn wait(&self, held: bool) {
        let desk = &self.shared.desk;
        if !held {
            desk.park(PARKED, || self.shared.shards.is_idle());
        }
        if self.settings.durability == Durability::Bounded {
            desk.rest(self.settings.flush_interval);
        }
    }

    /// Makes durable what the buffers hold, then says so. With `last`, nothing is recorded after.
    fn flush(&mut self, last: bool) -> bool {
        let (wall, began) = (self.clock.wall(), self.clock.monotonic());
        self.flush += 1;
        self.shared.shards.take(self.flush, last, &mut self.taken);
        let (count, shed) = (self.taken.count(), self.taken.shed);
        let held = count > 0 || shed.is_some();
        if held {
            self.append_all(wall);
            (self.durable, self.appended) = (wall, began);
            let took = self.clock.monotonic().saturating_sub(began);
            let figures = &self.shared.figures;
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            figures.last_flush_micros.store(took, Ordering::Relaxed);
            add(&figures.flushes, 1);
            add(&figures.entries, count as u64);
            add(&figures.shed, shed.map_or(0, |shed| shed.count));
        }
        let bounded = self.settings.durability == Durability::Bounded;
        if !held && bounded && began.saturating_sub(self.appended) >= QUIET {
            if let Err(error) = self.journal.quiet(wall) {
                fail_stop(NOT_DURABLE, &error);
            }
            (self.durable, self.appended) = (wall, began);
        }
        self.shared.shards.made_durable(self.flush, &mut self.taken);
        self.shared.publish(self.flush);
        // Nobody waits for this.
        if self.window.is_some() && self.window_of(self.clock.wall()) != self.began_in {
            self.rotate();
        }
        held
    }

    /// Appends what was taken, each use to a journal of its window.
    fn append_all(&mut self, wall: Time) {
        let mut taken = std::mem::take(&mut self.taken.entries);
        let mut shed = self.taken.shed;
        let earliest = taken.iter().flatten().map(|entry| self.window_of(entry.time())).min();
        let here = self.window.or(earliest).unwrap_or_else(|| self.window_of(wall));
        let mut elsewhere = BTreeMap::<Time, Vec<F::Entry>>::new();
        for entries in &mut taken {
            let strays = entries.extract_if(.., |entry| self.window_of(entry.time()) != here);
            for entry in strays {
                elsewhere.entry(self.window_of(entry.time())).or_default().push(entry);
            }
        }
        if taken.iter().any(|entries| !entries.is_empty()) || elsewhere.is_empty() {
            let whole = elsewhere.is_empty();
            let entries = taken.iter_mut().flat_map(|entries| entries.drain(..));
            self.append(here, (wall, whole), shed.take(), entries);
        }
        // What comes next is of the window that the clock is in: it should find its journal open.
        let now = self.window_of(wall);
        let of_now = elsewhere.remove_entry(&now);
        let mut groups = elsewhere.into_iter().chain(of_now).peekable();
        while let Some((window, entries)) = groups.next() {
            self.rotate();
            let whole = groups.peek().is_none();
            self.append(window, (wall, whole), shed.take(), entries.into_iter());
        }
        self.taken.entries = taken;
    }

    /// Appends uses of one window, in as many frames as they need. With them goes the wall time when the
    /// flush began, and whether with the last of them all of it is durable.
    fn append(
        &mut self,
        window: Time,
        (wall, whole): (Time, bool),
        mut shed: Option<Shed>,
        entries: impl Iterator<Item = F::Entry>,
    ) {
        let mut entries = entries.peekable();
        loop {
            let batch = Batch { journal: self.journal.number(), window, wall, shed: shed.take() };
            self.payload.clear();
            self.payload.shrink_to(KEPT_BYTES);
            let of_one_frame = entries.by_ref().take(MAX_FRAME_USES);
            self.fold.flush(&batch, of_one_frame, &mut self.payload);
            let last = entries.peek().is_none();
            let before = self.journal.length();
            let durable = if whole && last { wall } else { self.durable };
            if let Err(error) = self.journal.append(durable, window, &self.payload) {
                fail_stop(NOT_DURABLE, &error);
            }
            add(&self.shared.figures.bytes, self.journal.length() - before);
            if last {
                break;
            }
        }
        if self.window.is_none() {
            self.began_in = self.window_of(self.clock.wall());
            self.window = Some(window);
        }
    }

    /// Ends the journal, if it holds any uses, and goes on with the next.
    fn rotate(&mut self) {
        let Some(window) = self.window.take() else { return };
        let next = self.keeper.made();
        self.keeper.make(next.number().next());
        let ended = std::mem::replace(&mut self.journal, next);
        let (journal, frames) = (ended.number(), ended.frames());
        // No frame of the next is written before this is durable.
        if let Err(error) = ended.rotate(self.durable, window) {
            fail_stop(NOT_DURABLE, &error);
        }
        let retired = Retired { journal, ended: self.clock.monotonic(), sealed: false };
        self.retired.push(retired);
        self.show_journals();
        self.fold.ended(Ended { journal, window, frames, stopped: false });
    }

    /// Removes the journals that are on record and old enough.
    fn remove_sealed(&mut self, sealed: &[JournalNumber]) {
        for journal in &mut self.retired {
            journal.sealed |= sealed.contains(&journal.journal);
        }
        let now = self.clock.monotonic();
        let due = self.retired.extract_if(.., |journal| {
            journal.sealed && now.saturating_sub(journal.ended) >= KEPT_AFTER_END
        });
        let due = due.map(|journal| journal.journal).collect::<Vec<_>>();
        if !due.is_empty() {
            self.keeper.remove(due);
            self.show_journals();
        }
    }

    /// Ends the last journal.
    fn stop(self) -> F {
        let RecorderThread { mut fold, journal, window, durable, .. } = self;
        let (number, frames) = (journal.number(), journal.frames());
        let window = window.unwrap_or(durable);
        if let Err(error) = journal.stop(durable, window) {
            fail_stop("the usage journal could not be ended", &error);
        }
        fold.ended(Ended { journal: number, window, frames, stopped: true });
        fold
    }

    fn window_of(&self, time: Time) -> Time {
        window_start(time, self.settings.window)
    }

    fn show_journals(&self) {
        let figures = &self.shared.figures;
        figures.journal.store(self.journal.number().get(), Ordering::Relaxed);
        // With the one that is written and the one that is made ahead.
        figures.files.store(self.retired.len() as u64 + 2, Ordering::Relaxed);
    }
}

fn add(figure: &AtomicU64, more: u64) {
    figure.fetch_add(more, Ordering::Relaxed);
}
