//! Buckets: minutes, hours and days counted from 1970, and which of them a range is made of.

use crate::domain::time::Time;
use crate::projection::usage::{Granularity, Range, Retention};

impl Granularity {
    fn micros(self) -> i64 {
        i64::try_from(self.span().as_micros()).expect("a day in microseconds")
    }

    /// The number of the bucket that holds `time`.
    pub(super) fn bucket(self, time: Time) -> i64 {
        time.as_micros().div_euclid(self.micros())
    }

    /// The number of the first bucket that does not begin before `time`.
    fn bucket_from(self, time: Time) -> i64 {
        let bucket = self.bucket(time);
        bucket + i64::from(time.as_micros() != bucket.saturating_mul(self.micros()))
    }

    /// When the bucket of that number begins.
    pub(super) fn start(self, bucket: i64) -> Time {
        Time::from_micros(bucket.saturating_mul(self.micros()))
    }
}

/// Buckets of one length that follow each other: some of what a range is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// How long they are.
    pub granularity: Granularity,
    /// The number of the first.
    pub(super) first: i64,
    /// The number behind the last.
    pub(super) end: i64,
}

impl Stretch {
    /// When the first bucket begins.
    #[must_use]
    pub fn start(&self) -> Time {
        self.granularity.start(self.first)
    }
}

impl Range {
    /// The buckets that a question about this range reads, in order: those of `granularity`; if none is asked for, as
    /// few as there are: days, where the range does not begin or end with one hours, and minutes likewise.
    #[must_use]
    pub fn stretches(&self, granularity: Option<Granularity>) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        match granularity {
            Some(granularity) => split(*self, &[granularity], &mut stretches),
            None => {
                let levels = [Granularity::Day, Granularity::Hour, Granularity::Minute];
                split(*self, &levels, &mut stretches);
            }
        }
        stretches
    }
}

/// Splits a range into whole buckets of the first of `levels`, and what is before and behind them into those of the
/// next. Buckets of the last may reach over the range.
fn split(range: Range, levels: &[Granularity], stretches: &mut Vec<Stretch>) {
    let Range { from, until } = range;
    let Some((&granularity, finer)) = levels.split_first() else { return };
    if from >= until {
        return;
    }
    if finer.is_empty() {
        let (first, end) = (granularity.bucket(from), granularity.bucket_from(until));
        stretches.push(Stretch { granularity, first, end });
        return;
    }
    let (first, end) = (granularity.bucket_from(from), granularity.bucket(until));
    if first >= end {
        return split(range, finer, stretches);
    }
    split(Range { from, until: granularity.start(first) }, finer, stretches);
    stretches.push(Stretch { granularity, first, end });
    split(Range { from: granularity.start(end), until }, finer, stretches);
}

/// The numbers of the first buckets that are kept: of minutes, hours and days. They only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Horizons(pub(super) [i64; 3]);

impl Default for Horizons {
    /// Everything is kept.
    fn default() -> Self {
        Horizons([i64::MIN; 3])
    }
}

impl Horizons {
    /// What is kept at `now`. An hour more than was asked for, so that nothing goes while an answer reads it that
    /// was asked for in time.
    pub(super) fn at(now: Time, keep: &Retention) -> Self {
        let hour = Granularity::Hour.micros();
        let first = |granularity: Granularity, span: std::time::Duration| {
            let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
            let from = now.as_micros().saturating_sub(span).saturating_sub(hour);
            granularity.bucket(Time::from_micros(from))
        };
        Horizons([
            first(Granularity::Minute, keep.minutes),
            first(Granularity::Hour, keep.hours),
            first(Granularity::Day, keep.days),
        ])
    }

    /// Whether these leave out what is kept at `now`: a clock that was ahead has had it deleted.
    pub(super) fn are_beyond(&self, now: Horizons) -> bool {
        let hour = Granularity::Hour.span().as_secs() / Granularity::Minute.span().as_secs();
        self.0[0] > now.0[0].saturating_add_unsigned(hour)
    }

    pub(super) fn of(&self, granularity: Granularity) -> i64 {
        self.0[granularity as usize]
    }

    /// The first instant on a bound of `bounds` from which on buckets of `granularity` are kept.
    pub(super) fn kept_from(&self, granularity: Granularity, bounds: Granularity) -> Time {
        let first = granularity.start(self.of(granularity));
        bounds.start(bounds.bucket_from(first))
    }

    /// The later of each.
    pub(super) fn max(self, other: Self) -> Self {
        Horizons(std::array::from_fn(|at| self.0[at].max(other.0[at])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000_000;

    fn minutes(from: i64, until: i64) -> Range {
        Range { from: Time::from_micros(from * MINUTE), until: Time::from_micros(until * MINUTE) }
    }

    #[test]
    fn a_range_is_made_of_days_then_hours_then_minutes() {
        let of = |range: Range, granularity| {
            let stretches = range.stretches(granularity);
            stretches.iter().map(|of| (of.granularity, of.first, of.end)).collect::<Vec<_>>()
        };
        use Granularity::{Day, Hour, Minute};
        assert_eq!(of(minutes(0, 1440), None), [(Day, 0, 1)]);
        assert_eq!(
            of(minutes(59, 2941), None),
            [(Minute, 59, 60), (Hour, 1, 24), (Day, 1, 2), (Hour, 48, 49), (Minute, 2940, 2941)]
        );
        assert_eq!(of(minutes(61, 62), None), [(Minute, 61, 62)]);
        assert_eq!(of(minutes(61, 121), Some(Hour)), [(Hour, 1, 3)]);
        assert_eq!(of(minutes(-1, 1), Some(Day)), [(Day, -1, 1)]);
        assert_eq!(of(minutes(5, 5), None), []);
    }

    proptest! {
        #[test]
        fn stretches_follow_each_other_and_fill_the_range(from in -5000_i64..5000, long in 1_i64..9000) {
            let range = minutes(from, from + long);
            let mut at = range.from;
            for stretch in range.stretches(None) {
                prop_assert_eq!(stretch.start(), at);
                prop_assert!(stretch.first < stretch.end);
                at = stretch.granularity.start(stretch.end);
            }
            prop_assert_eq!(at, range.until);
        }
    }
}
