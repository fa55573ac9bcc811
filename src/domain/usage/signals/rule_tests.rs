//! What is found is what the rules say, told from all that ever happened.

use std::net::IpAddr;

use proptest::prelude::*;

use super::testing::{Watch, when};
use super::*;
use crate::domain::usage::window_start;

const NEW_SOURCE: [SignalKind; 1] = [SignalKind::NewSource];

/// The rule on new sources, by all that ever happened.
fn is_new(past: &[(Time, IpAddr)], now: Time, source: IpAddr) -> bool {
    let Some((first, _)) = past.first() else { return false };
    let mut last: Vec<(Time, IpAddr)> = Vec::new();
    for (time, seen) in past.iter().rev() {
        if last.len() < REMEMBERED && last.iter().all(|(_, known)| known != seen) {
            last.push((*time, *seen));
        }
    }
    let recent = last.iter().filter(|(time, _)| now.since(*time) <= ROAMING).count();
    now.since(*first) >= LEARNING
        && last.iter().all(|(_, known)| *known != source)
        && recent < REMEMBERED
}

/// The rule on bursts, by all that ever happened.
fn is_burst(past: &[(Time, u64)], now: Time, uses: u64) -> bool {
    let first = past.first().map_or(now, |(time, _)| *time);
    let hour = window_start(now, HOUR);
    let of_hour = |of: Time| {
        let uses = past.iter().filter(|(time, _)| window_start(*time, HOUR) == of);
        uses.map(|(_, uses)| uses).sum::<u64>()
    };
    let begin = window_start(now, DAY).as_micros() - 8 * 86_400_000_000;
    let past_hours = past.iter().map(|(time, _)| window_start(*time, HOUR));
    let past_hours = past_hours.filter(|past| *past < hour && past.as_micros() >= begin);
    let busiest = past_hours.map(of_hour).max().unwrap_or(0);
    now.since(first) >= WEEK && of_hour(hour) + uses > BURST_FLOOR.max(4 * busiest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn new_sources_are_those_of_the_rule(
        steps in proptest::collection::vec((0..4_000_i64, 0..26_u8), 1..150),
    ) {
        let mut watch = Watch::new();
        let mut past: Vec<(Time, IpAddr)> = Vec::new();
        let mut minute = 0;
        for (wait, host) in steps {
            minute += wait;
            let (now, source) = (when(0, 0, minute), IpAddr::from([10, 0, 0, host]));
            let found = watch.allowed(now, &source.to_string());
            prop_assert_eq!(found == NEW_SOURCE, is_new(&past, now, source), "{}", minute);
            past.push((now, source));
            prop_assert!(watch.history.sources.len() <= REMEMBERED);
        }
    }

    #[test]
    fn a_source_that_is_called_new_was_not_seen_for_thirty_days_and_there_are_few_in_any_thirty(
        steps in proptest::collection::vec((0..600_i64, 0..200_u8), 1..200),
    ) {
        let mut watch = Watch::new();
        let mut past: Vec<(Time, u8)> = Vec::new();
        let mut new: Vec<Time> = Vec::new();
        let mut minute = 0;
        for (wait, host) in steps {
            minute += wait;
            let now = when(0, 0, minute);
            if watch.allowed(now, &format!("10.0.0.{host}")) == NEW_SOURCE {
                let before = past.iter().rev().find(|(_, known)| *known == host);
                prop_assert!(before.is_none_or(|(last, _)| now.since(*last) > ROAMING));
                new.push(now);
                let recent = new.iter().filter(|new| now.since(**new) <= ROAMING).count();
                prop_assert!(recent <= REMEMBERED);
            }
            past.push((now, host));
        }
    }

    #[test]
    fn bursts_are_those_of_the_rule(
        steps in proptest::collection::vec((prop_oneof![0..40_i64, 0..3_000_i64], 1..400_u64), 1..80),
    ) {
        let mut watch = Watch::new();
        let mut past: Vec<(Time, u64)> = Vec::new();
        let mut burst: Option<Time> = None;
        let mut minute = 0;
        for (wait, uses) in steps {
            minute += wait;
            let now = when(0, 0, minute);
            let hour = window_start(now, HOUR);
            let found = watch.busy(now, uses);
            let expected = burst == Some(hour) || is_burst(&past, now, uses);
            prop_assert_eq!(!found.is_empty(), expected, "{}", minute);
            if expected {
                burst = Some(hour);
            }
            past.push((now, uses));
        }
    }
}
