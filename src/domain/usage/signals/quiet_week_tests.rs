//! Two weeks in which nothing unusual happens: a service by day, a job by night, a person's key, a fleet that
//! roams, one that is deployed and rotated; and nothing is found.

use std::collections::BTreeMap;

use super::testing::{Line, Watch, kinds, when, window};
use super::*;

/// Numbers as if drawn; the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// About `mean`, from none to twice of it.
    fn about(&mut self, mean: u64) -> u64 {
        self.below(mean * 2 + 1)
    }
}

const DAYS: i64 = 15;

/// Uses a minute by the hour of a working day.
const DAYTIME: [u64; 24] =
    [3, 2, 2, 1, 1, 2, 6, 15, 40, 60, 62, 58, 45, 55, 64, 60, 50, 35, 20, 12, 9, 7, 5, 4];

/// The key of a service with two machines, used by day and little at weekends; now and then a permission is
/// missing, and once an hour is doubled while a cache is filled.
fn service(dice: &mut Dice, day: i64, minute: i64) -> Vec<(UseOutcome, String, u64)> {
    let hour = usize::try_from(minute / 60).expect("an hour");
    let weekend = matches!(day % 7, 3 | 4);
    let mean = if weekend { DAYTIME[hour] / 10 } else { DAYTIME[hour] };
    let mean = if (day, hour) == (9, 10) { mean * 2 } else { mean };
    let denied = u64::from(dice.below(40) == 0);
    vec![
        (UseOutcome::Allowed, "10.1.0.1".to_owned(), dice.about(mean)),
        (UseOutcome::Allowed, "10.1.0.2".to_owned(), dice.about(mean)),
        (UseOutcome::PermissionMissing, "10.1.0.1".to_owned(), denied),
    ]
}

/// The key of a nightly job of 2,000 uses that begins around two, and on Sundays of 20,000 around midnight.
fn job(
    dice: &mut Dice,
    begins: &mut BTreeMap<i64, i64>,
    day: i64,
    minute: i64,
) -> Vec<(UseOutcome, String, u64)> {
    let begin =
        *begins.entry(day).or_insert_with(|| 110 + i64::try_from(dice.below(20)).expect("small"));
    let weekly = if day < 7 { 4 * 1440 + 1435 } else { 12 * 1440 + 5 };
    let since_weekly = day * 1440 + minute - weekly;
    let nightly = if (0..25).contains(&(minute - begin)) { 80 } else { 0 };
    let weekly = if (0..40).contains(&since_weekly) { 500 } else { 0 };
    vec![(UseOutcome::Allowed, "10.2.0.1".to_owned(), nightly + weekly)]
}

/// A person's key: from home, from the office, by hand; a typing error now and then.
fn person(dice: &mut Dice, day: i64, minute: i64) -> Vec<(UseOutcome, String, u64)> {
    let awake = (8 * 60..22 * 60).contains(&minute);
    let uses = if awake && dice.below(15) == 0 { 1 + dice.below(3) } else { 0 };
    let at_work = !matches!(day % 7, 3 | 4) && minute < 17 * 60;
    let host = dice.below(1 << 32);
    let home = format!("2001:db8:77:1:{:x}:{:x}:0:1", host >> 16, host & 0xffff);
    let source = if at_work { "203.0.113.9".to_owned() } else { home };
    vec![(UseOutcome::Allowed, source, uses)]
}

/// The key of an app that is used from everywhere.
fn fleet(dice: &mut Dice, minute: i64) -> Vec<(UseOutcome, String, u64)> {
    let hour = usize::try_from(minute / 60).expect("an hour");
    let phone = |dice: &mut Dice| format!("100.64.{}.{}", dice.below(256), dice.below(256));
    (0..dice.about(DAYTIME[hour] / 6 + 1)).map(|_| (UseOutcome::Allowed, phone(dice), 1)).collect()
}

/// The key of a service that is deployed each afternoon from one of two machines to the other.
fn deployed(dice: &mut Dice, day: i64, minute: i64) -> Vec<(UseOutcome, String, u64)> {
    let second = (day + i64::from(minute >= 15 * 60 + 20)) % 2 == 1;
    let source = if second { "10.4.0.2" } else { "10.4.0.1" };
    vec![(UseOutcome::Allowed, source.to_owned(), dice.about(20))]
}

fn see(watch: &mut Watch, start: Time, lines: &[(UseOutcome, String, u64)]) -> Vec<Finding> {
    let lines: Vec<Line<'_>> =
        lines.iter().map(|(outcome, source, count)| (*outcome, source.as_str(), *count)).collect();
    if lines.iter().all(|(.., count)| *count == 0) {
        return Vec::new();
    }
    watch.used(start, &lines)
}

#[test]
fn nothing_is_found_in_two_quiet_weeks() {
    let mut dice = Dice(7);
    let mut begins = BTreeMap::new();
    let mut watches: Vec<Watch> = (0..5).map(|_| Watch::new()).collect();
    let mut uses = [0_u64; 5];
    for minute in 0..DAYS * 1440 {
        let (day, of_day) = (minute / 1440, minute % 1440);
        let windows = [
            service(&mut dice, day, of_day),
            job(&mut dice, &mut begins, day, of_day),
            person(&mut dice, day, of_day),
            fleet(&mut dice, of_day),
            deployed(&mut dice, day, of_day),
        ];
        // The service's key is rotated: first the new one is used, then it alone.
        if minute == 10 * 1440 + 9 * 60 {
            watches[0].history = watches[0].history.inherited();
        }
        for (at, lines) in windows.iter().enumerate() {
            let found = see(&mut watches[at], when(0, 0, minute), lines);
            assert_eq!(found, [], "key {at}, day {day}, minute {of_day}");
            uses[at] += lines.iter().map(|(.., count)| count).sum::<u64>();
        }
    }
    // Each of them was used enough to be looked at.
    assert!(uses.iter().all(|uses| *uses > 1_000), "{uses:?}");
}

#[test]
fn the_same_keys_are_found_when_something_happens() {
    let mut dice = Dice(7);
    let mut watch = Watch::new();
    for minute in 0..8 * 1440 {
        see(&mut watch, when(0, 0, minute), &service(&mut dice, minute / 1440, minute % 1440));
    }
    let stolen = [(UseOutcome::Allowed, "192.0.2.66".to_owned(), 1)];
    assert_eq!(kinds(&see(&mut watch, when(8, 3, 0), &stolen)), [SignalKind::NewSource]);
    let much = [(UseOutcome::RateLimited, "10.1.0.1".to_owned(), 60_000)];
    assert_eq!(kinds(&see(&mut watch, when(8, 4, 0), &much)), [SignalKind::Burst]);
}

#[test]
fn typing_errors_and_probes_of_a_quiet_week_are_no_signal() {
    let mut dice = Dice(11);
    let mut tries: BTreeMap<(Time, SourceNetwork), SourceTries> = BTreeMap::new();
    for minute in 0..7 * 1440 {
        let lines = [
            // Health checks without a key; a person; a service whose key was mistyped for half an hour.
            (UseOutcome::MissingKey, "10.0.0.1", dice.about(30)),
            (UseOutcome::MalformedKey, "203.0.113.9", u64::from(dice.below(30) == 0)),
            (UseOutcome::UnknownKey, "10.9.0.1", u64::from((5000..5030).contains(&minute)) * 3),
        ];
        let (window, sources) = window(when(0, 0, minute), &lines);
        let seen = Seen { position: Position::FIRST, window: &window, sources: &sources };
        for (network, more) in tries_by_network(&seen) {
            let entry = tries.entry((seen.hour(), network));
            let entry = entry.or_insert_with(|| SourceTries::begin(&seen));
            assert_eq!(
                entry.add(&seen, SourceName([0; 8]), more),
                None,
                "{network}, minute {minute}"
            );
        }
    }
    assert!(tries.values().map(|tries| tries.tries).max() >= Some(90));
}
