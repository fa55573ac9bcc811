//! Of which time uses are asked for: what ranges and buckets there may be.

use std::time::Duration;

use crate::app::error::AppError;
use crate::domain::time::Time;
use crate::domain::usage::window_start;
use crate::projection::usage::{Granularity, MAX_BUCKETS, Range, Retention};

/// A range as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedRange {
    /// When it begins.
    pub start: Time,
    /// Before when it ends; none: now.
    pub end: Option<Time>,
    /// The buckets that are asked for; none: none are.
    pub granularity: Option<Granularity>,
}

impl AskedRange {
    /// The range meant, on the bounds of its buckets. If no buckets are asked for, these are the shortest that
    /// are kept from its beginning on.
    ///
    /// # Errors
    /// [`AppError::Invalid`] with the field at fault and its bound.
    pub(crate) fn settle(&self, now: Time, keep: &Retention) -> Result<Range, AppError> {
        if self.start > now {
            return Err(AppError::field("start_time", "must not be in the future"));
        }
        if self.end.is_some_and(|end| end <= self.start) {
            return Err(AppError::field("end_time", "must be later than start_time"));
        }
        let granularity = self.buckets(now, keep)?;
        // A range until now that begins now has the bucket of now.
        let end = self.end.unwrap_or(now).max(self.start.plus(Duration::from_micros(1)));
        if end.since(self.start) > keep.days {
            let must =
                format!("must be at most {} after start_time", spell(Granularity::Day, keep));
            return Err(AppError::field("end_time", must));
        }
        let range = aligned(self.start, end, granularity);
        let buckets = range.until.since(range.from).as_micros() / granularity.span().as_micros();
        if self.granularity.is_some() && buckets > MAX_BUCKETS as u128 {
            let must = format!("must give at most {MAX_BUCKETS} buckets, here it gives {buckets}");
            return Err(AppError::field("granularity", must));
        }
        Ok(range)
    }

    /// As [`AskedRange::settle`], of what is kept as long as hours are.
    ///
    /// # Errors
    /// As [`AskedRange::settle`].
    pub(crate) fn settle_kept_as_hours(
        &self,
        now: Time,
        keep: &Retention,
    ) -> Result<Range, AppError> {
        if now.since(self.start) > keep.hours {
            let must = format!("must be at most {} ago", spell(Granularity::Hour, keep));
            return Err(AppError::field("start_time", must));
        }
        self.settle(now, keep)
    }

    fn buckets(&self, now: Time, keep: &Retention) -> Result<Granularity, AppError> {
        let kept = finest_kept(self.start, now, keep);
        let asked = self.granularity.or(kept).unwrap_or(Granularity::Day);
        if kept.is_some_and(|kept| kept <= asked) {
            return Ok(asked);
        }
        let instead = match kept {
            Some(kept) => format!(", or the granularity be {}", name(kept)),
            None => String::new(),
        };
        let must = format!("must be at most {} ago{instead}", spell(asked, keep));
        Err(AppError::field("start_time", must))
    }
}

/// The shortest buckets that are kept from `start` on; none: even days are not.
pub(crate) fn finest_kept(start: Time, now: Time, keep: &Retention) -> Option<Granularity> {
    let age = now.since(start);
    Granularity::ALL.into_iter().find(|granularity| age <= kept_for(*granularity, keep))
}

/// The range moved outwards to the bounds of buckets.
fn aligned(start: Time, end: Time, granularity: Granularity) -> Range {
    let span = granularity.span();
    let last = Time::from_micros(end.as_micros() - 1);
    Range { from: window_start(start, span), until: window_start(last, span).plus(span) }
}

fn kept_for(granularity: Granularity, keep: &Retention) -> Duration {
    match granularity {
        Granularity::Minute => keep.minutes,
        Granularity::Hour => keep.hours,
        Granularity::Day => keep.days,
    }
}

/// For how long buckets are kept, and the setting that says so.
fn spell(granularity: Granularity, keep: &Retention) -> String {
    let setting = match granularity {
        Granularity::Minute => "usage.keep_minutes_days",
        Granularity::Hour => "usage.keep_hours_days",
        Granularity::Day => "usage.keep_days_days",
    };
    let days = kept_for(granularity, keep).as_secs() / Granularity::Day.span().as_secs();
    format!("{days} days ({setting})")
}

fn name(granularity: Granularity) -> &'static str {
    match granularity {
        Granularity::Minute => "MINUTE",
        Granularity::Hour => "HOUR",
        Granularity::Day => "DAY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    /// 2026-01-01T00:00:30Z: within a minute.
    const NOW: i64 = 1_767_225_630;

    fn at(seconds: i64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn keep() -> Retention {
        let days = |days: u64| Duration::from_hours(days * 24);
        Retention { minutes: days(7), hours: days(90), days: days(1100) }
    }

    fn settled(
        start: i64,
        end: Option<i64>,
        granularity: Option<Granularity>,
    ) -> Result<(i64, i64), (String, String)> {
        let asked = AskedRange { start: at(start), end: end.map(at), granularity };
        let settled = asked.settle(at(NOW), &keep());
        settled
            .map(|range| (range.from.as_micros() / 1_000_000, range.until.as_micros() / 1_000_000))
            .map_err(|error| match error {
                AppError::Invalid(mut bad) => {
                    let bad = bad.remove(0);
                    (bad.field, bad.description)
                }
                other => panic!("{other:?}"),
            })
    }

    #[test]
    fn bounds_move_outwards_to_those_of_the_buckets_asked_for() {
        let minute = Some(Granularity::Minute);
        assert_eq!(settled(NOW - 60, Some(NOW - 59), minute), Ok((NOW - 90, NOW - 30)));
        assert_eq!(settled(NOW - 90, Some(NOW - 30), minute), Ok((NOW - 90, NOW - 30)));
        assert_eq!(settled(NOW - 60, None, minute), Ok((NOW - 90, NOW + 30)));
        assert_eq!(settled(NOW, None, minute), Ok((NOW - 30, NOW + 30)));
        let day = Some(Granularity::Day);
        assert_eq!(settled(NOW - 31, Some(NOW), day), Ok((NOW - 30 - DAY, NOW - 30 + DAY)));
    }

    #[test]
    fn without_buckets_they_are_the_shortest_that_are_kept() {
        let (minute, hour) = (NOW - 30, NOW - 30);
        assert_eq!(settled(NOW - 7 * DAY, None, None), Ok((minute - 7 * DAY, minute + 60)));
        assert_eq!(settled(NOW - 8 * DAY, None, None), Ok((hour - 8 * DAY, hour + 3600)));
        assert_eq!(settled(NOW - 1100 * DAY, None, None), Ok((hour - 1100 * DAY, hour + DAY)));
    }

    #[test]
    fn a_range_that_cannot_be_names_its_field() {
        let refused = |start, end| settled(start, end, None).expect_err("refused").0;
        assert_eq!(refused(NOW + 1, None), "start_time");
        assert_eq!(refused(NOW - 60, Some(NOW - 60)), "end_time");
        assert_eq!(refused(NOW - 60, Some(NOW - 61)), "end_time");
        let (field, must) = settled(NOW - DAY, Some(NOW + 1100 * DAY), None).expect_err("too long");
        assert_eq!(field, "end_time");
        assert_eq!(must, "must be at most 1100 days (usage.keep_days_days) after start_time");
        assert!(settled(NOW - DAY, Some(NOW + DAY), None).is_ok(), "it may end later than now");
    }

    #[test]
    fn what_is_not_kept_any_more_is_refused_with_what_to_ask_for_instead() {
        let told = |age, granularity| settled(NOW - age, None, granularity).expect_err("refused").1;
        assert_eq!(
            told(8 * DAY, Some(Granularity::Minute)),
            "must be at most 7 days (usage.keep_minutes_days) ago, or the granularity be HOUR"
        );
        assert_eq!(
            told(91 * DAY, Some(Granularity::Hour)),
            "must be at most 90 days (usage.keep_hours_days) ago, or the granularity be DAY"
        );
        for granularity in [None, Some(Granularity::Day)] {
            let must = "must be at most 1100 days (usage.keep_days_days) ago";
            assert_eq!(told(1101 * DAY, granularity), must);
        }
        assert!(settled(NOW - 8 * DAY, None, Some(Granularity::Day)).is_ok());
        assert!(settled(i64::MIN / 1_000_000, None, None).is_err());
    }

    #[test]
    fn what_is_kept_as_hours_are_is_refused_before_them() {
        let settled = |age| {
            let asked = AskedRange { start: at(NOW - age), end: None, granularity: None };
            asked.settle_kept_as_hours(at(NOW), &keep())
        };
        assert!(settled(90 * DAY).is_ok());
        assert!(settled(-1).is_err());
        let Err(AppError::Invalid(bad)) = settled(90 * DAY + 1) else { panic!("refused") };
        assert_eq!(bad[0].description, "must be at most 90 days (usage.keep_hours_days) ago");
    }

    #[test]
    fn buckets_are_bounded_and_a_range_without_them_is_not() {
        let minutes =
            |count: i64| settled(NOW - 30 - 60 * count, Some(NOW - 30), Some(Granularity::Minute));
        assert!(minutes(1500).is_ok());
        let (field, must) = minutes(1501).expect_err("too many");
        assert_eq!(
            (field.as_str(), must.as_str()),
            ("granularity", "must give at most 1500 buckets, here it gives 1501")
        );
        assert!(settled(NOW - 7 * DAY, None, None).is_ok());
    }
}
