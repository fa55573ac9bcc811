//! Instants and spans as the rules see them: microseconds, handed in from outside.

use std::fmt;
use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z. Finer parts of a second are dropped at the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// The latest instant the API's timestamps can carry: 9999-12-31T23:59:59.999999Z.
    pub const MAX: Time = Time(253_402_300_799_999_999);
    /// The instant 1970-01-01T00:00:00Z.
    pub const EPOCH: Time = Time(0);

    /// The instant `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Time(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This instant moved forward by `span`, at most to [`Time::MAX`].
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Time(self.0.saturating_add(micros).min(Time::MAX.0))
    }

    /// The span from `earlier` to this instant; zero if `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000))
    }
}
