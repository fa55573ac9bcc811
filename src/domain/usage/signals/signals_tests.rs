//! Each signal is found at its edge and not one step before.

use std::net::IpAddr;

use super::testing::{Watch, kinds, name_of, when, window};
use super::*;
use crate::domain::ids::KeyId;
use crate::domain::usage::used::UsedSample;

const ALLOWED: UseOutcome = UseOutcome::Allowed;
const NEW_SOURCE: [SignalKind; 1] = [SignalKind::NewSource];

fn host(number: usize) -> String {
    format!("198.51.100.{number}")
}

/// A key that was first allowed at the beginning of day 0, from 192.0.2.1.
fn watched() -> Watch {
    let mut watch = Watch::new();
    assert_eq!(watch.allowed(when(0, 0, 0), "192.0.2.1"), []);
    watch
}

#[test]
fn a_source_is_new_to_a_key_that_was_first_allowed_a_day_before() {
    let mut early = watched();
    assert_eq!(early.allowed(when(0, 23, 59), &host(1)), []);
    let mut watch = watched();
    assert_eq!(watch.allowed(when(1, 0, 0), &host(1)), NEW_SOURCE);
    assert_eq!(watch.allowed(when(1, 0, 1), &host(1)), [], "only once");
    assert_eq!(watch.allowed(when(1, 0, 2), "192.0.2.1"), []);
    let found = watch.used(when(1, 0, 3), &[(ALLOWED, &host(2), 5), (ALLOWED, "192.0.2.1", 9)]);
    let [finding] = &found[..] else { panic!("{found:?}") };
    let position = Position::new(5).expect("a position");
    assert_eq!((finding.first, finding.last), (position, position));
    assert_eq!((finding.from, finding.until), (when(1, 0, 3), when(1, 0, 4)));
    assert_eq!((finding.uses, finding.observed, finding.threshold), (5, 2, 20));
    assert_eq!(finding.span, when(1, 0, 3));
    let source: IpAddr = host(2).parse().expect("an address");
    assert_eq!(finding.ways.sources, [source].into());
    assert_eq!(finding.about, Some(name_of(when(1, 0, 3).month(), &SourceNetwork::of(source))));
}

#[test]
fn only_an_allowed_use_from_a_known_address_makes_a_source_new() {
    let mut watch = watched();
    assert_eq!(watch.used(when(2, 0, 0), &[(UseOutcome::SourceNotAllowed, &host(1), 1)]), []);
    assert_eq!(watch.allowed(when(2, 0, 1), ""), []);
    assert_eq!(watch.allowed(when(2, 0, 2), "no address"), []);
    assert_eq!(watch.allowed(when(2, 0, 3), &host(1)), NEW_SOURCE);
}

#[test]
fn a_key_that_was_long_denied_has_its_day_to_learn_from_its_first_allowed_use() {
    let mut watch = Watch::new();
    watch.used(when(0, 0, 0), &[(UseOutcome::PermissionMissing, &host(9), 1)]);
    assert_eq!(watch.allowed(when(3, 0, 0), &host(1)), []);
    assert_eq!(watch.allowed(when(3, 23, 59), &host(2)), []);
    assert_eq!(watch.allowed(when(4, 0, 0), &host(3)), NEW_SOURCE);
}

#[test]
fn addresses_of_one_ipv6_network_are_one_source() {
    let mut watch = Watch::new();
    watch.allowed(when(0, 0, 0), "2001:db8:0:1::1");
    assert_eq!(watch.allowed(when(2, 0, 0), "2001:db8:0:1:aaaa::1"), []);
    assert_eq!(watch.allowed(when(2, 0, 1), "2001:db8:0:2::1"), NEW_SOURCE);
}

#[test]
fn a_key_that_roams_has_no_new_sources() {
    for (others, expected) in [(18, &NEW_SOURCE[..]), (19, &[])] {
        let mut watch = watched();
        (0..others).for_each(|n| {
            assert_eq!(watch.allowed(when(0, 1, 0), &host(n)), []);
        });
        // With 192.0.2.1 these are one more.
        assert_eq!(watch.allowed(when(1, 0, 0), &host(99)), expected, "{others}");
    }
}

#[test]
fn a_key_roams_only_as_long_as_all_it_remembers_is_recent() {
    for (minute, expected) in [(0, &[][..]), (1, &NEW_SOURCE)] {
        let mut watch = watched();
        (0..19).for_each(|n| assert_eq!(watch.allowed(when(0, 0, 1), &host(n)), []));
        assert_eq!(watch.allowed(when(30, 0, minute), &host(99)), expected, "{minute}");
    }
}

#[test]
fn a_machine_that_asks_once_a_quarter_is_not_new() {
    let mut watch = watched();
    watch.allowed(when(0, 0, 1), &host(7));
    (1..92).for_each(|day| assert_eq!(watch.allowed(when(day, 0, 0), "192.0.2.1"), []));
    assert_eq!(watch.allowed(when(92, 0, 0), &host(7)), []);
    assert_eq!(watch.allowed(when(92, 0, 1), &host(8)), NEW_SOURCE);
}

#[test]
fn a_source_is_known_again_in_another_month_by_its_name_there() {
    let mut watch = watched();
    watch.allowed(when(0, 0, 1), &host(1));
    assert_ne!(when(0, 0, 0).month(), when(1, 0, 0).month());
    assert_eq!(watch.allowed(when(1, 0, 0), &host(1)), []);
    assert_eq!(watch.history.sources.len(), 2, "remembered once");
    // What it was called before is not needed any more; a late record changes nothing.
    watch.gone = vec![when(0, 0, 0).month()];
    assert_eq!(watch.allowed(when(2, 0, 0), &host(1)), []);
    watch.gone.clear();
    assert_eq!(watch.allowed(when(0, 5, 0), &host(1)), []);
    assert_eq!(watch.history.sources.len(), 2);
}

#[test]
fn where_nothing_can_be_read_any_more_nothing_is_new() {
    let mut watch = watched();
    watch.gone = vec![when(0, 0, 0).month()];
    assert_eq!(watch.allowed(when(1, 0, 0), "192.0.2.1"), [], "nothing to compare with");
    assert_eq!(watch.allowed(when(1, 0, 1), &host(1)), NEW_SOURCE, "that can be compared");
    watch.gone.push(when(1, 0, 0).month());
    assert_eq!(watch.allowed(when(1, 0, 2), &host(2)), [], "this month's name is gone too");
}

#[test]
fn sources_that_cannot_be_opened_find_nothing_and_the_rest_is_counted() {
    let mut watch = watched();
    let (window, _) = window(when(8, 0, 0), &[(ALLOWED, &host(1), 101)]);
    let seen = Seen { position: watch.next, window: &window, sources: &[] };
    let found = watch.history.take(&seen, &|_, _| panic!("nothing to name"));
    assert_eq!(kinds(&found), [SignalKind::Burst]);
}

#[test]
fn an_ended_key_that_is_tried_is_found_with_the_count_of_its_day() {
    let mut watch = watched();
    let others = UseOutcome::ALL.iter().filter(|outcome| outcome.is_of_key());
    for outcome in others.filter(|outcome| **outcome != UseOutcome::Revoked) {
        let ended = *outcome == UseOutcome::Superseded;
        let found = Watch::new().used(when(0, 0, 0), &[(*outcome, "", 1)]);
        assert_eq!(found.len(), usize::from(ended), "{outcome:?}");
    }
    let tries = |count| [(UseOutcome::Revoked, "192.0.2.9", count), (ALLOWED, "192.0.2.1", 1)];
    // Day, hour, minute, tries, and all of the day so far: two records come late.
    let records =
        [(5, 10, 0, 3, 3), (5, 23, 59, 2, 5), (6, 0, 0, 4, 4), (5, 23, 59, 1, 6), (6, 1, 0, 1, 5)];
    for (day, hour, minute, count, observed) in records {
        let found = watch.used(when(day, hour, minute), &tries(count));
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.kind, SignalKind::EndedKeyTried);
        assert_eq!((finding.span, finding.observed), (when(day, 0, 0), observed));
        assert_eq!((finding.uses, finding.threshold), (count, 1));
        let source: IpAddr = "192.0.2.9".parse().expect("an address");
        assert_eq!(finding.ways.sources, [source].into(), "not where it was allowed from");
    }
}

/// A key that was first used at the beginning of day 0 and `count` times in an hour of day 3.
fn with_busiest(count: u64) -> Watch {
    let mut watch = watched();
    assert_eq!(watch.busy(when(3, 12, 0), count), []);
    watch
}

#[test]
fn more_than_a_hundred_uses_are_a_burst_for_a_key_that_does_little() {
    assert_eq!(with_busiest(25).busy(when(7, 0, 0), 100), []);
    let found = with_busiest(25).busy(when(7, 0, 0), 101);
    assert_eq!(kinds(&found), [SignalKind::Burst]);
    assert_eq!((found[0].observed, found[0].threshold), (101, 100));
}

#[test]
fn more_than_four_times_the_busiest_hour_is_a_burst() {
    assert_eq!(with_busiest(50).busy(when(7, 0, 0), 200), []);
    let found = with_busiest(50).busy(when(7, 0, 0), 201);
    assert_eq!(kinds(&found), [SignalKind::Burst]);
    assert_eq!((found[0].uses, found[0].observed, found[0].threshold), (201, 201, 200));
}

#[test]
fn a_key_that_is_not_a_week_old_has_no_burst() {
    assert_eq!(with_busiest(1).busy(when(6, 23, 59), 100_000), []);
    assert_eq!(kinds(&with_busiest(1).busy(when(7, 0, 0), 100_000)), [SignalKind::Burst]);
}

#[test]
fn a_burst_adds_up_over_its_hour_and_names_its_records() {
    let mut watch = with_busiest(50);
    assert_eq!(watch.busy(when(7, 4, 58), 199), [], "another hour");
    let denied = [(UseOutcome::RateLimited, "192.0.2.1", 200)];
    assert_eq!(watch.used(when(7, 5, 0), &denied), []);
    let first = watch.next;
    assert_eq!(watch.busy(when(7, 5, 1), 596), [], "796 is 4 × 199 and no more");
    let crossing = watch.busy(when(7, 5, 2), 1);
    let after = watch.busy(when(7, 5, 59), 7);
    let ([crossing], [after]) = (&crossing[..], &after[..]) else { panic!("{crossing:?}") };
    assert_eq!((crossing.uses, crossing.observed, crossing.threshold), (797, 797, 796));
    assert_eq!((crossing.from, crossing.until), (when(7, 5, 0), when(7, 5, 3)));
    assert_eq!((crossing.first.next(), crossing.last), (first, first.next()));
    assert_eq!((after.uses, after.observed, after.threshold), (7, 804, 796));
    assert_eq!((after.first, after.last), (first.next().next(), first.next().next()));
    assert_eq!((crossing.span, after.span), (when(7, 5, 0), when(7, 5, 0)));
    assert_eq!(watch.busy(when(7, 6, 0), 4 * 804), [], "compared with the hour before");
}

#[test]
fn the_eight_days_before_are_compared_and_not_the_ninth() {
    // Day 3 is the eighth before day 11.
    assert_eq!(with_busiest(5000).busy(when(11, 23, 59), 20_000), []);
    assert_eq!(kinds(&with_busiest(5000).busy(when(12, 0, 0), 20_000)), [SignalKind::Burst]);
}

#[test]
fn a_late_record_counts_in_its_own_hour() {
    let mut watch = with_busiest(25);
    watch.busy(when(7, 3, 0), 60);
    watch.busy(when(7, 4, 0), 60);
    assert_eq!(watch.busy(when(7, 3, 59), 40), [], "100 in that hour");
    let found = watch.busy(when(7, 3, 58), 1);
    assert_eq!((found[0].span, found[0].observed), (when(7, 3, 0), 101));
    // So late that the hour is not counted any more, it is still compared with.
    watch.busy(when(7, 20, 0), 60);
    watch.busy(when(7, 4, 1), 2_000);
    assert_eq!(watch.busy(when(7, 21, 0), 8_000), []);
}

#[test]
fn a_clock_that_was_ahead_for_a_year_stops_nothing() {
    let mut watch = with_busiest(25);
    (0..48).for_each(|hour| {
        watch.busy(when(400, hour, 0), 10_000);
    });
    watch.busy(when(8, 0, 0), 30);
    assert_eq!(kinds(&watch.busy(when(8, 1, 0), 121)), [SignalKind::Burst]);
}

#[test]
fn a_successor_knows_what_its_predecessor_knew() {
    let mut watch = with_busiest(500);
    watch.busy(when(8, 5, 0), 900);
    watch.used(when(8, 5, 0), &[(UseOutcome::Revoked, "", 1)]);
    watch.history = watch.history.inherited();
    assert_eq!(watch.busy(when(8, 5, 1), 3600), [], "4 × 901 is compared with, none counted");
    assert_eq!(watch.allowed(when(8, 6, 0), "192.0.2.1"), []);
    assert_eq!(watch.allowed(when(8, 6, 1), &host(1)), NEW_SOURCE);
    let tried = watch.used(when(8, 7, 0), &[(UseOutcome::Revoked, "", 1)]);
    assert_eq!(tried[0].observed, 1);
}

mod unknown {
    use super::*;

    fn tried(count: u64) -> Vec<(String, MoreTries)> {
        let lines = [
            (UseOutcome::UnknownKey, "192.0.2.1", count),
            (UseOutcome::MalformedKey, "192.0.2.1", 2),
            (UseOutcome::MissingKey, "192.0.2.1", 1000),
            (UseOutcome::UnknownKey, "2001:db8::1", 3),
            (UseOutcome::UnknownKey, "2001:db8::2", 4),
            (UseOutcome::UnknownKey, "", 5),
        ];
        let (mut window, sources) = window(when(0, 0, 0), &lines);
        for (id, source) in [(1, 0), (1, 0), (2, 0), (3, 1)] {
            let source = window.counts[[0, 3][source]].source;
            let outcome = UseOutcome::UnknownKey;
            window.samples.push(UsedSample {
                outcome,
                time: window.start,
                trace_id: None,
                caller: None,
                action: None,
                source,
                agent: None,
                required: Vec::new(),
                presented: Some(KeyId([id; 12])),
            });
        }
        let seen = Seen { position: Position::FIRST, window: &window, sources: &sources };
        let found = tries_by_network(&seen).into_iter();
        found.map(|(network, more)| (network.to_string(), more)).collect()
    }

    #[test]
    fn tries_are_told_apart_by_network() {
        let found = tried(7);
        let counts: Vec<_> = found
            .iter()
            .map(|(name, more)| (name.as_str(), more.tries, more.presented.len()))
            .collect();
        assert_eq!(counts, [("192.0.2.1", 9, 2), ("2001:db8::/64", 7, 1)]);
        assert_eq!(found[1].1.ways.sources.len(), 2);
    }

    fn more(tries: u64, ids: std::ops::Range<u8>) -> MoreTries {
        let presented = ids.map(|id| KeyId([id; 12])).collect();
        MoreTries { tries, presented, ways: Ways::default() }
    }

    #[test]
    fn a_hundred_tries_of_an_hour_are_a_signal_that_names_all_its_records() {
        let (window, _) = window(when(0, 6, 30), &[(UseOutcome::UnknownKey, "192.0.2.1", 1)]);
        let seen = |number| Seen {
            position: Position::new(number).expect("a position"),
            window: &window,
            sources: &[],
        };
        let about = SourceName([7; 8]);
        let mut tries = SourceTries::begin(&seen(5));
        assert_eq!(tries.add(&seen(5), about, more(99, 0..1)), None);
        let found = tries.add(&seen(6), about, more(1, 0..3)).expect("a signal");
        assert_eq!((found.kind, found.span), (SignalKind::UnknownKeys, when(0, 6, 0)));
        assert_eq!((found.first.get(), found.last.get()), (5, 6));
        assert_eq!((found.uses, found.observed, found.threshold), (100, 100, 100));
        assert_eq!(found.about, Some(about));
        assert_eq!(tries.presented.len(), 3);
        let found = tries.add(&seen(9), about, more(50, 0..100)).expect("a signal");
        assert_eq!((found.first.get(), found.last.get()), (9, 9));
        assert_eq!((found.uses, found.observed), (50, 150));
        assert_eq!(tries.presented.len(), MAX_PRESENTED, "bounded");
    }
}

#[test]
fn kinds_keep_their_numbers() {
    let numbers: Vec<u8> = SignalKind::ALL.iter().map(|kind| *kind as u8).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    for kind in SignalKind::ALL {
        assert_eq!(SignalKind::from_number(*kind as u8), Some(*kind));
    }
    assert_eq!(SignalKind::from_number(0), None);
    assert_eq!(i64::try_from(PEAK_DAYS), Ok(PAST_DAYS + 1), "those compared and the one that runs");
}
