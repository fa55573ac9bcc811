//! Instants and spans as the rules see them: microseconds, handed in from outside.

use std::fmt;
use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z. Finer parts of a second are dropped at the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// A month of the calendar, counted from January 1970: 0, 1, 2, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub i32);

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

    /// This instant moved back by `span`.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Time(self.0.saturating_sub(micros))
    }

    /// The month this instant lies in, in UTC.
    #[must_use]
    pub fn month(self) -> Month {
        const MICROS_OF_A_DAY: i64 = 86_400_000_000;
        // Days and years are counted from 1 March of year 0, so that the day that some years lack is a
        // year's last; 146,097 days are 400 years. 719,468 days lie between then and the epoch.
        let days = self.0.div_euclid(MICROS_OF_A_DAY) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let months = (era * 400 + year) * 12 + month + 2 - 1970 * 12;
        Month(i32::try_from(months).unwrap_or(if months < 0 { i32::MIN } else { i32::MAX }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_and_end_where_the_calendar_has_it() {
        // Seconds, by `date -u -d … +%s`.
        let months = [
            (0, 0),
            (2_678_399, 0),
            (2_678_400, 1),
            (-1, -1),
            (951_782_399, 361),    // 2000-02-28T23:59:59
            (951_868_799, 361),    // 2000-02-29T23:59:59
            (951_868_800, 362),    // 2000-03-01
            (1_767_225_599, 671),  // 2025-12-31T23:59:59
            (1_767_225_600, 672),  // 2026-01-01
            (4_107_542_399, 1561), // 2100-02-28T23:59:59
            (4_107_542_400, 1562), // 2100-03-01
        ];
        for (seconds, month) in months {
            assert_eq!(Time::from_micros(seconds * 1_000_000).month(), Month(month), "{seconds}");
        }
    }
}
