//! The uses of one key: by bucket, and in which ways.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::KeyId;
use crate::domain::time::Time;
use crate::domain::usage::UseOutcome;
use crate::projection::usage::labels::{Labels, Place};
use crate::projection::usage::levels::{Horizons, Stretch};
use crate::projection::usage::query::key_scope;
use crate::projection::usage::reader::Moment;
use crate::projection::usage::scan::{Of, Sum, scan};
use crate::projection::usage::schema::OTHER;
use crate::projection::usage::sources::{Origin, Origins};
use crate::projection::usage::{Bucket, Granularity, Range, UsageStoreError, Way, Ways};

pub(super) fn buckets(
    moment: &Moment<'_>,
    key: &KeyId,
    range: Range,
    granularity: Granularity,
) -> Result<Vec<Bucket>, UsageStoreError> {
    let mut sums = BTreeMap::<i64, Sum>::new();
    if let Some(scope) = key_scope(moment, key)? {
        for stretch in range.stretches(Some(granularity)) {
            scan(moment, Of::Facts, scope, stretch, |found| {
                sums.entry(found.bucket).or_default().add(&found);
                Ok(())
            })?;
        }
    }
    let bucket = |(bucket, sum): (i64, Sum)| Bucket {
        start: granularity.start(bucket),
        counts: sum.counts(),
    };
    Ok(sums.into_iter().map(bucket).collect())
}

/// The ways of a key are bounded by those of a window and the windows that are kept.
const MAX_WAYS: usize = 100_000;

pub(super) fn ways(
    moment: &Moment<'_>,
    key: &KeyId,
    since: Time,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Ways, UsageStoreError> {
    let mut origins = Origins::new(moment);
    let mut found_ways = HashMap::<[i64; 3], (Sum, Time)>::new();
    if let Some(scope) = key_scope(moment, key)? {
        let last = last_day(moment, scope.tenant)?;
        for stretch in finest(since, last, &moment.horizons) {
            scan(moment, Of::Lines, scope, stretch, |found| {
                let [caller, action, source] = found.way;
                let way = [caller, action, origins.number(source)?];
                let start = stretch.granularity.start(found.bucket);
                let (sum, last) = found_ways.entry(way).or_insert((Sum::default(), start));
                sum.add(&found);
                *last = start.max(*last);
                if found_ways.len() > MAX_WAYS { Err(UsageStoreError::TooMany) } else { Ok(()) }
            })?;
        }
    }
    let mut labels = Labels::new(moment);
    let mut placed = Vec::with_capacity(found_ways.len());
    for ([caller, action, origin], (sum, last)) in found_ways {
        let origin = origins.origin(origin);
        let way = Way {
            caller: labels.caller(caller)?,
            action: labels.action(action)?,
            source: match origin {
                Origin::Address(address) => Some(address),
                _ => None,
            },
            other: caller == OTHER,
            erased: origin == Origin::Erased,
            allowed: sum.of(UseOutcome::Allowed),
            denied: sum.total().saturating_sub(sum.of(UseOutcome::Allowed)),
            last_bucket: last,
        };
        placed.push((place(&way, [caller, action], origin, sum.total()), way));
    }
    placed.retain(|(place, _)| after.is_none_or(|after| place.0.as_slice() > after));
    placed.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let more = placed.len() > limit;
    placed.truncate(limit);
    let next = placed.last().filter(|_| more).map(|(place, _)| place.0.clone());
    Ok(Ways { ways: placed.into_iter().map(|(_, way)| way).collect(), next })
}

/// Latest first, then most uses first, then by caller, action and source.
fn place(way: &Way, [caller, action]: [i64; 2], origin: Origin, total: u64) -> Place {
    let mut place = Place::default();
    place.number(!way.last_bucket.as_micros());
    place.number(!i64::try_from(total).unwrap_or(i64::MAX));
    place.kind(caller);
    way.caller.iter().for_each(|caller| place.id(&caller.0));
    place.kind(action);
    way.action.iter().for_each(|action| place.text(action));
    place.origin(origin);
    place
}

/// The last day on which a key of the tenant was used: nothing is behind it.
fn last_day(moment: &Moment<'_>, tenant: i64) -> Result<i64, UsageStoreError> {
    let sql = "SELECT max(bucket) FROM facts_day WHERE tenant = ?1";
    let last = moment.one(sql, [tenant], |row| row.get::<_, Option<i64>>(0))?;
    Ok(last.flatten().unwrap_or(i64::MIN))
}

/// The buckets from the one that holds `since` to the end of that day: each stretch of time in the finest that are
/// kept of it.
fn finest(since: Time, last_day: i64, horizons: &Horizons) -> Vec<Stretch> {
    let until = Granularity::Day.start(last_day.saturating_add(1));
    let mut stretches = Vec::new();
    let mut from = since;
    for granularity in [Granularity::Day, Granularity::Hour, Granularity::Minute] {
        // Where the next finer ones are kept from, on a bound of these.
        let end = match granularity {
            Granularity::Day => horizons.kept_from(Granularity::Hour, granularity),
            Granularity::Hour => horizons.kept_from(Granularity::Minute, granularity),
            Granularity::Minute => until,
        };
        let end = end.min(until);
        if from < end {
            let (first, end) = (granularity.bucket(from), granularity.bucket(end));
            let end = end.max(first + 1);
            stretches.push(Stretch { granularity, first, end });
            from = granularity.start(end);
        }
    }
    stretches
}
