//! The buffers that uses wait in: one for each few threads, so that they seldom meet at a lock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

use super::parity;
use crate::domain::time::Time;

/// How many buffers: twice as many as a large machine has cores for this service would be waste.
const SHARDS: usize = 16;

/// Uses are counted together in steps of this many, so that buffers seldom touch the common count.
const COUNTED: usize = 64;

/// Uses that an empty buffer keeps room for; more is given back after a burst.
const KEPT: usize = 8192;

/// No use waits.
const NONE: u64 = u64::MAX;

/// Uses that were answered and not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// How many.
    pub count: u64,
    /// The earliest of their times.
    pub from: Time,
    /// The latest.
    pub to: Time,
}

impl Shed {
    fn with(self, other: Shed) -> Shed {
        Shed {
            count: self.count + other.count,
            from: self.from.min(other.from),
            to: self.to.max(other.to),
        }
    }
}

/// The recorder has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("uses are no longer recorded")]
pub struct Stopped;

#[derive(Debug)]
struct Buffer<T> {
    entries: Vec<T>,
    /// The flush that will hold them.
    flush: u64,
    shed: Option<Shed>,
    closed: bool,
}

/// Two cache lines, since some processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<T>(Mutex<Buffer<T>>);

impl<T> Shard<T> {
    fn lock(&self) -> MutexGuard<'_, Buffer<T>> {
        // Nothing below panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Shards<T> {
    shards: Vec<Shard<T>>,
    /// Monotonic microseconds of the oldest use of flushes with an even number, with an odd one. While one
    /// flush is being made durable, buffers fill for the next: two are enough.
    oldest: [AtomicU64; 2],
    /// Uses that are not durable, in whole steps of [`COUNTED`].
    waiting: AtomicUsize,
}

/// What a flush took; kept from one to the next, for the room in it.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) entries: Vec<Vec<T>>,
    pub(super) shed: Option<Shed>,
    counted: usize,
}

impl<T> Default for Taken<T> {
    fn default() -> Self {
        let entries = (0..SHARDS).map(|_| Vec::new()).collect();
        Taken { entries, shed: None, counted: 0 }
    }
}

impl<T> Taken<T> {
    pub(super) fn count(&self) -> usize {
        self.entries.iter().map(Vec::len).sum()
    }

    fn clear(&mut self) {
        for entries in &mut self.entries {
            entries.clear();
            entries.shrink_to(KEPT);
        }
        (self.shed, self.counted) = (None, 0);
    }
}

impl<T> Shards<T> {
    pub(super) fn new() -> Self {
        let buffer = || Buffer { entries: Vec::new(), flush: 1, shed: None, closed: false };
        Shards {
            shards: (0..SHARDS).map(|_| Shard(Mutex::new(buffer()))).collect(),
            oldest: [AtomicU64::new(NONE), AtomicU64::new(NONE)],
            waiting: AtomicUsize::new(0),
        }
    }

    /// Puts a use into this thread's buffer; the answer is the flush that will hold it.
    pub(super) fn push(&self, entry: T, at: Duration) -> Result<u64, Stopped> {
        let mut buffer = self.mine().lock();
        if buffer.closed {
            return Err(Stopped);
        }
        buffer.entries.push(entry);
        let count = buffer.entries.len();
        if count == 1 {
            self.oldest[parity(buffer.flush)].fetch_min(micros(at), Ordering::Relaxed);
        }
        if count.is_multiple_of(COUNTED) {
            self.waiting.fetch_add(COUNTED, Ordering::Relaxed);
        }
        Ok(buffer.flush)
    }

    /// Counts a use as shed.
    pub(super) fn shed(&self, time: Time) -> Result<(), Stopped> {
        let mut buffer = self.mine().lock();
        if buffer.closed {
            return Err(Stopped);
        }
        let one = Shed { count: 1, from: time, to: time };
        buffer.shed = Some(buffer.shed.map_or(one, |shed| shed.with(one)));
        Ok(())
    }

    /// How long the oldest use that is not durable has waited.
    pub(super) fn lag(&self, now: Duration) -> Duration {
        let [even, odd] = &self.oldest;
        let oldest = even.load(Ordering::Relaxed).min(odd.load(Ordering::Relaxed));
        Duration::from_micros(micros(now).saturating_sub(oldest))
    }

    /// About how many uses are not durable.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether no buffer holds anything.
    pub(super) fn is_idle(&self) -> bool {
        self.shards.iter().map(Shard::lock).all(|it| it.entries.is_empty() && it.shed.is_none())
    }

    /// The flush that will hold what comes next: no earlier use is of a later one.
    pub(super) fn flush_under_way(&self) -> u64 {
        // The first buffer is the first to be emptied.
        self.shards[0].lock().flush
    }

    /// Empties the buffers into `taken`, which is empty, as flush number `flush`; with `close`, nothing can
    /// be recorded after.
    pub(super) fn take(&self, flush: u64, close: bool, taken: &mut Taken<T>) {
        for (shard, room) in self.shards.iter().zip(&mut taken.entries) {
            let mut buffer = shard.lock();
            std::mem::swap(&mut buffer.entries, room);
            let shed = buffer.shed.take();
            buffer.flush = flush + 1;
            buffer.closed |= close;
            drop(buffer);
            taken.counted += room.len() / COUNTED * COUNTED;
            taken.shed = match (taken.shed, shed) {
                (Some(one), Some(other)) => Some(one.with(other)),
                (one, other) => one.or(other),
            };
        }
    }

    /// Notes that what flush number `flush` took is durable, and empties `taken`.
    pub(super) fn made_durable(&self, flush: u64, taken: &mut Taken<T>) {
        self.oldest[parity(flush)].store(NONE, Ordering::Relaxed);
        self.waiting.fetch_sub(taken.counted, Ordering::Relaxed);
        taken.clear();
    }

    fn mine(&self) -> &Shard<T> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        &self.shards[MINE.with(|mine| *mine)]
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(NONE)
}
