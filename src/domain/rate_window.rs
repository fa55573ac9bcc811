//! The rate window: what the keys of one account have used of its plan's requests a minute.
//!
//! A use counts for the second it was charged in and for the sixty after it. So no 60 seconds, wherever they
//! begin, ever admit more than the limit; and nothing is refused for a use that is 61 seconds old: none of them
//! admits less than the limit by more than one second's resolution. The time is handed in and never steps.

use std::time::Duration;

/// How many seconds a use may count in.
const BUCKETS: usize = 61;

/// How long after the beginning of its second a use no longer counts.
const SPAN: u64 = BUCKETS as u64;

/// The costs of the last 61 seconds.
///
/// A bucket holds what was charged in one second, and is named by the second in which that no longer counts.
#[derive(Clone, Debug)]
pub struct RateWindow {
    /// By name, modulo their count.
    buckets: [u32; BUCKETS],
    /// The sum of all buckets.
    charged: u64,
    /// The name of the newest bucket: of the second that was last seen.
    newest: u64,
}

/// What an account has left of its limit, and whether a use was within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The most costs that any 60 seconds admit.
    pub limit: u32,
    /// The highest cost that would be admitted now.
    pub remaining: u32,
    /// After how long all of the limit remains, if nothing is used until then.
    pub reset_after: Duration,
    /// Only of a use that was refused: after how long it is admitted, if nothing is used until then.
    pub retry_after: Option<Duration>,
}

impl RateLimit {
    /// Of an account that has used nothing lately.
    #[must_use]
    pub fn unused(limit: u32) -> Self {
        RateLimit { limit, remaining: limit, reset_after: Duration::ZERO, retry_after: None }
    }
}

impl RateWindow {
    /// A window in which nothing was used before `now`.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        RateWindow { buckets: [0; BUCKETS], charged: 0, newest: now.as_secs() + SPAN }
    }

    /// Charges a use if the limit, which may be another each time, admits it. A cost of 0 is admitted
    /// always. A cost over the limit is never admitted: the caller MUST refuse it before.
    pub fn charge(&mut self, now: Duration, cost: u32, limit: u32) -> RateLimit {
        self.turn_to(now);
        let after = self.charged + u64::from(cost);
        let refused = cost > 0 && after > u64::from(limit);
        if !refused {
            self.add(self.newest, cost);
        }
        RateLimit {
            limit,
            remaining: u32::try_from(u64::from(limit).saturating_sub(self.charged)).unwrap_or(0),
            reset_after: self.leaves_whole(now),
            retry_after: refused.then(|| self.leaves(now, u64::from(limit.saturating_sub(cost)))),
        }
    }

    /// Charges a use of before the window was made, in some second that began `since` before `now`. It
    /// counts for up to 62 seconds, since it is known by its second only.
    pub fn restore(&mut self, now: Duration, since: Duration, cost: u32) {
        self.turn_to(now);
        let gone_at = (now + Duration::from_secs(SPAN)).saturating_sub(since);
        let name = gone_at.as_secs() + u64::from(gone_at.subsec_nanos() > 0);
        if name + SPAN > self.newest {
            self.add(name.min(self.newest), cost);
        }
    }

    /// Whether nothing in it counts any more.
    pub fn is_idle(&mut self, now: Duration) -> bool {
        self.turn_to(now);
        self.charged == 0
    }

    /// Lets go of what no longer counts. A time before one that was seen already, as another thread may
    /// bring it, is taken for that one.
    fn turn_to(&mut self, now: Duration) {
        let newest = self.newest.max(now.as_secs() + SPAN);
        let turned = (newest - self.newest).min(SPAN);
        for name in newest - turned + 1..=newest {
            let bucket = &mut self.buckets[place(name)];
            self.charged -= u64::from(std::mem::take(bucket));
        }
        self.newest = newest;
    }

    fn add(&mut self, name: u64, cost: u32) {
        let bucket = &mut self.buckets[place(name)];
        let before = std::mem::replace(bucket, bucket.saturating_add(cost));
        self.charged += u64::from(*bucket - before);
    }

    /// After how long no more than `most` is still charged.
    fn leaves(&self, now: Duration, most: u64) -> Duration {
        let mut charged = self.charged;
        let mut gone_at = 0;
        for name in self.newest - SPAN + 1..=self.newest {
            if charged <= most {
                break;
            }
            charged -= u64::from(self.buckets[place(name)]);
            gone_at = name;
        }
        Duration::from_secs(gone_at).saturating_sub(now)
    }

    /// After how long nothing is charged any more: from the newest on, which is hit at once after a charge.
    fn leaves_whole(&self, now: Duration) -> Duration {
        let mut names = (self.newest - SPAN + 1..=self.newest).rev();
        let gone_at = names.find(|name| self.buckets[place(*name)] > 0).unwrap_or(0);
        Duration::from_secs(gone_at).saturating_sub(now)
    }
}

fn place(name: u64) -> usize {
    usize::try_from(name % SPAN).expect("less than the number of buckets")
}

#[cfg(test)]
#[path = "rate_window_tests.rs"]
mod tests;
