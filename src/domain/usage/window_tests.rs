//! What a window keeps of its uses, and that it has a bound.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::ids::AccountRef;
use crate::domain::testing::{account, at, key_id};
use crate::domain::usage::MAX_ACTION;

fn owner() -> Arc<AccountRef> {
    account("a")
}

fn used(outcome: UseOutcome, second: i64) -> Use {
    Use {
        tried: Tried::Key(key_id(1), owner()),
        outcome,
        caller: Some(CallerId([7; 12])),
        action: "read".to_owned(),
        source: Some(IpAddr::from([192, 0, 2, 1])),
        agent: "curl".to_owned(),
        trace_id: None,
        required: Vec::new(),
        position: Position::new(9),
        time: at(second),
        cost: 1,
        alone: false,
    }
}

fn fold(uses: &[Use]) -> Window {
    let mut window = Window::new(at(0));
    uses.iter().zip(1..).for_each(|(used, rank)| window.add(used, rank));
    window
}

#[test]
fn totals_have_every_use_with_the_first_and_the_last_of_each_outcome() {
    let allowed = [4, 2, 3].map(|second| used(UseOutcome::Allowed, second));
    let revoked = used(UseOutcome::Revoked, 9);
    let window = fold(&[allowed.as_slice(), &[revoked]].concat());
    let expected = [
        Total { outcome: UseOutcome::Allowed, count: 3, first: at(2), last: at(4) },
        Total { outcome: UseOutcome::Revoked, count: 1, first: at(9), last: at(9) },
    ];
    assert_eq!(window.totals(), expected);
}

#[test]
fn positions_are_those_of_allowed_uses_alone() {
    let decided = |outcome, number| Use { position: Position::new(number), ..used(outcome, 0) };
    let denied = [decided(UseOutcome::Revoked, 1), decided(UseOutcome::Revoked, 99)];
    assert_eq!(fold(&denied).positions(), None);
    let allowed = [5, 3, 4].map(|number| decided(UseOutcome::Allowed, number));
    let window = fold(&[&denied[..], &allowed[..]].concat());
    assert_eq!(window.positions(), Position::new(3).zip(Position::new(5)));
}

#[test]
fn uses_that_differ_in_one_way_have_a_line_each() {
    let one = used(UseOutcome::Allowed, 0);
    let mut others = vec![one.clone(); 6];
    others[1].caller = None;
    others[2].action = "write".to_owned();
    others[3].source = None;
    others[4].outcome = UseOutcome::Expired;
    others[5].agent = "another agent is no other line".to_owned();
    let counts: Vec<u64> = fold(&others).counts().iter().map(|line| line.count).collect();
    assert_eq!(counts, [2, 1, 1, 1, 1]);
}

#[test]
fn a_new_action_each_time_stays_within_the_bound_and_is_counted_all_the_same() {
    let uses: Vec<Use> = (0..1000)
        .map(|n| Use { action: format!("action-{n}"), ..used(UseOutcome::Allowed, n) })
        .collect();
    let window = fold(&uses);
    assert_eq!(window.counts().len(), MAX_COUNTS);
    assert_eq!(window.totals()[0].count, 1000);
    assert_eq!(window.samples().len(), MAX_SAMPLES);
}

#[test]
fn of_each_outcome_the_first_use_is_a_sample_and_the_rest_are_drawn_by_rank() {
    let mut window = Window::new(at(0));
    // The first has the worst rank of all.
    window.add(&used(UseOutcome::Allowed, 0), u64::MAX);
    (1..100).for_each(|n| window.add(&used(UseOutcome::Allowed, n), 1000 - n.unsigned_abs()));
    let seconds: Vec<Time> = window.samples().iter().map(|sample| sample.time).collect();
    let lowest = [99, 98, 97, 96, 95, 94, 93].map(at);
    assert_eq!(seconds, [&[at(0)][..], &lowest].concat());
}

#[test]
fn many_outcomes_share_the_samples() {
    let of_keys: Vec<UseOutcome> =
        UseOutcome::ALL.iter().copied().filter(|outcome| outcome.is_of_key()).collect();
    let uses: Vec<Use> = of_keys.iter().flat_map(|outcome| vec![used(*outcome, 0); 20]).collect();
    let window = fold(&uses);
    let samples = window.samples();
    assert!(samples.len() <= MAX_SAMPLES_OF_ALL, "{}", samples.len());
    for outcome in of_keys {
        assert!(samples.iter().any(|sample| sample.outcome == outcome), "{outcome:?}");
    }
}

#[test]
fn a_sample_of_an_unknown_key_has_the_id_its_text_named() {
    let tried = Tried::Unknown(Some(key_id(3)));
    let window = fold(&[Use { tried, ..used(UseOutcome::UnknownKey, 0) }]);
    assert_eq!(window.samples()[0].presented, Some(key_id(3)));
    assert_eq!(fold(&[used(UseOutcome::Allowed, 0)]).samples()[0].presented, None);
}

fn any_use() -> impl Strategy<Value = Use> {
    let outcome = proptest::sample::select(UseOutcome::ALL);
    let ways = (0..4_u8, "[a-z]{0,3}", proptest::option::of(any::<u8>()));
    (outcome, ways, 0..60_i64, 1..50_u64).prop_map(
        |(outcome, (caller, action, host), second, at)| Use {
            caller: Some(CallerId([caller; 12])),
            action,
            source: host.map(|host| IpAddr::from([10, 0, 0, host])),
            position: Position::new(at),
            ..used(outcome, second)
        },
    )
}

proptest! {
    #[test]
    fn lines_never_count_more_than_totals_and_nothing_is_lost(uses in proptest::collection::vec(any_use(), 0..300)) {
        let window = fold(&uses);
        let total: u64 = window.totals().iter().map(|total| total.count).sum();
        prop_assert_eq!(total, uses.len() as u64);
        for Total { outcome, count, .. } in window.totals() {
            let of_it = |line: &&Count| line.outcome == outcome;
            let lines: u64 = window.counts().iter().filter(of_it).map(|line| line.count).sum();
            prop_assert!(lines <= count);
            prop_assert_eq!(count, uses.iter().filter(|used| used.outcome == outcome).count() as u64);
        }
        prop_assert!(window.counts().len() <= MAX_COUNTS);
        prop_assert!(window.counts().iter().all(|line| line.action.len() <= MAX_ACTION));
    }
}
