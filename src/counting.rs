//! Counts that many threads add to and few read. To add is an addition to a cache line that is seldom another
//! thread's: no lock, no memory asked for. What is read while others add may be a little behind.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How many copies of each count there are; threads share them in turn.
const SHARDS: usize = 8;

/// How many bounds a scale has: with what is over them and the sum, a copy fills two cache lines.
pub const BOUNDS: usize = 14;

/// Bounds of values, each above the one before it. A value on a bound is below it.
pub type Scale = [u64; BOUNDS];

/// Durations in nanoseconds, from 50 microseconds to 5 seconds.
pub static DURATIONS: Scale = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// Sizes, each twice the one before it.
pub static SIZES: Scale = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192];

/// Two cache lines, since some processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

/// Which copies this thread adds to.
fn mine() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.with(|mine| *mine)
}

/// So many counts.
#[derive(Debug)]
pub struct Counters<const N: usize>([Shard<N>; SHARDS]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Counters(from_fn(|_| Shard(from_fn(|_| AtomicU64::new(0)))))
    }
}

impl<const N: usize> Counters<N> {
    /// Adds one to the count of that number; nothing, if there is none of that number.
    pub fn count(&self, at: usize) {
        self.add(at, 1);
    }

    fn add(&self, at: usize, by: u64) {
        if let Some(count) = self.0[mine()].0.get(at) {
            count.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// The counts.
    #[must_use]
    pub fn read(&self) -> [u64; N] {
        let sum = |at: usize| {
            let copies = self.0.iter().map(|shard| shard.0[at].load(Ordering::Relaxed));
            copies.fold(0, u64::wrapping_add)
        };
        from_fn(sum)
    }
}

/// Counts values by a scale.
#[derive(Debug)]
pub struct Histogram {
    scale: &'static Scale,
    /// By bound, then those over all bounds, then the sum of all.
    counts: Counters<{ BOUNDS + 2 }>,
}

impl Histogram {
    /// One in which nothing is counted yet.
    #[must_use]
    pub fn new(scale: &'static Scale) -> Self {
        Histogram { scale, counts: Counters::default() }
    }

    /// Counts a value.
    pub fn note(&self, value: u64) {
        let below = self.scale.iter().position(|bound| value <= *bound);
        self.counts.count(below.unwrap_or(BOUNDS));
        self.counts.add(BOUNDS + 1, value);
    }

    /// Counts a duration on a scale of nanoseconds.
    pub fn note_duration(&self, duration: Duration) {
        self.note(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What was counted.
    #[must_use]
    pub fn read(&self) -> Distribution {
        Distribution { scale: self.scale, counts: self.counts.read() }
    }
}

/// What a [`Histogram`] counted.
#[derive(Clone, Copy, Debug)]
pub struct Distribution {
    scale: &'static Scale,
    counts: [u64; BOUNDS + 2],
}

impl Distribution {
    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts[..=BOUNDS].iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.counts[BOUNDS + 1]
    }

    /// Each bound with how many values are not above it.
    pub fn up_to(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut so_far = 0;
        self.scale.iter().zip(self.counts).map(move |(bound, count)| {
            so_far += count;
            (*bound, so_far)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_below_it_and_what_is_over_all_is_in_the_count() {
        let sizes = Histogram::new(&SIZES);
        for value in [0, 1, 2, 3, 8192, 8193] {
            sizes.note(value);
        }
        let read = sizes.read();
        assert_eq!((read.count(), read.sum()), (6, 16_391));
        let up_to: Vec<_> = read.up_to().collect();
        assert_eq!((up_to[0], up_to[1], up_to[2], up_to[13]), ((1, 2), (2, 3), (4, 4), (8192, 5)));
    }

    #[test]
    fn scales_rise() {
        for scale in [&DURATIONS, &SIZES] {
            assert!(scale.is_sorted_by(|one, next| one < next), "{scale:?}");
        }
    }

    #[test]
    fn what_all_threads_count_is_read_together() {
        let counters = Counters::<3>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..100).for_each(|at| counters.count(at % 2)));
            }
        });
        let each = 50 * 2 * SHARDS as u64;
        assert_eq!(counters.read(), [each, each, 0]);
    }

    #[test]
    fn a_duration_is_counted_in_nanoseconds() {
        let durations = Histogram::new(&DURATIONS);
        durations.note_duration(Duration::from_micros(50));
        durations.note_duration(Duration::from_millis(2));
        let read = durations.read();
        assert_eq!(read.sum(), 2_050_000);
        assert_eq!(read.up_to().find(|(_, count)| *count == 2), Some((2_500_000, 2)));
    }
}
