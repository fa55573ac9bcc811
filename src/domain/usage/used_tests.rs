//! What is recorded of a window, what is sealed, and which windows cannot be.

use std::net::IpAddr;
use std::num::NonZeroU32;

use super::*;
use crate::domain::testing::{account, at, key_id};
use crate::domain::usage::{MAX_COUNTS, Tried, Use};

/// What is wrong, and how it is made so.
type Broken = (&'static str, fn(&mut UsedWindow));

const MINUTE: Duration = Duration::from_mins(1);

fn place(number: u32) -> Place {
    NonZeroU32::new(number)
}

fn used(caller: u8, action: &str, host: Option<u8>, agent: &str) -> Use {
    Use {
        tried: Tried::Key(key_id(1), account("a")),
        outcome: UseOutcome::Allowed,
        caller: (caller > 0).then_some(CallerId([caller; 12])),
        action: action.to_owned(),
        source: host.map(|host| IpAddr::from([192, 0, 2, host])),
        agent: agent.to_owned(),
        trace_id: Some(TraceId([5; 16])),
        required: vec!["reports:read".to_owned()],
        position: Position::new(4),
        time: at(1),
        cost: 1,
        alone: false,
    }
}

fn recorded(uses: &[Use]) -> (UsedWindow, Personal) {
    let mut window = Window::new(at(0));
    uses.iter().for_each(|used| window.add(used, 1));
    UsedWindow::of(&window, MINUTE)
}

#[test]
fn what_may_name_a_person_is_set_apart_and_named_by_its_place() {
    let uses =
        [used(1, "read", Some(1), "curl"), used(2, "read", Some(2), ""), used(0, "", None, "curl")];
    let (window, personal) = recorded(&uses);
    assert_eq!(personal.sources, ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(personal.agents, ["curl"]);
    assert_eq!(window.callers, [CallerId([1; 12]), CallerId([2; 12])]);
    assert_eq!(window.actions, ["read"]);
    let ways: Vec<_> =
        window.counts.iter().map(|line| (line.caller, line.action, line.source)).collect();
    let expected =
        [(place(1), place(1), place(1)), (place(2), place(1), place(2)), (None, None, None)];
    assert_eq!(ways, expected);
    let agents: Vec<Place> = window.samples.iter().map(|sample| sample.agent).collect();
    assert_eq!(agents, [place(1), None, place(1)]);
    assert!(window.holds_together());
    assert_eq!(at_place(&personal.sources, place(2)), Some("192.0.2.2"));
    assert_eq!(at_place(&personal.sources, place(3)), None);
    assert_eq!(at_place(&personal.sources, None), None);
}

fn at_place(list: &[String], place: Place) -> Option<&str> {
    super::at(list, place).map(String::as_str)
}

#[test]
fn counts_and_last_times_are_of_allowed_and_of_all_denied_uses() {
    let denied = |outcome, second| Use { outcome, time: at(second), ..used(1, "", None, "") };
    let uses =
        [used(1, "", None, ""), denied(UseOutcome::Expired, 7), denied(UseOutcome::Disabled, 5)];
    let (window, _) = recorded(&uses);
    let counts =
        UseCounts { allowed: 1, denied: 2, last_use: Some(at(1)), last_denied: Some(at(7)) };
    assert_eq!(window.use_counts(), counts);
    let (window, _) = recorded(&uses[..1]);
    let once = UseCounts { allowed: 1, last_use: Some(at(1)), ..UseCounts::default() };
    assert_eq!(window.use_counts(), once);
}

#[test]
fn a_window_that_cannot_be_does_not_hold_together() {
    let (good, _) = recorded(&[used(1, "read", Some(1), "curl"), used(2, "write", None, "")]);
    assert!(good.holds_together());
    let broken: [Broken; 9] = [
        ("no use", |window| {
            window.totals.clear();
            window.counts.clear();
            window.samples.clear();
        }),
        ("a total of nothing", |window| window.totals[0].count = 0),
        ("lines beyond the total", |window| window.counts[0].count = 2),
        ("an outcome that did not come", |window| window.counts[0].outcome = UseOutcome::Revoked),
        ("a caller that is not listed", |window| window.counts[0].caller = place(3)),
        ("an action that is not listed", |window| window.samples[0].action = place(3)),
        ("totals out of order", |window| window.totals.push(window.totals[0])),
        ("the last before the first", |window| window.totals[0].first = at(2)),
        ("no span", |window| window.span = Duration::ZERO),
    ];
    for (what, break_it) in broken {
        let mut window = good.clone();
        break_it(&mut window);
        assert!(!window.holds_together(), "{what}");
    }
}

#[test]
fn the_fullest_window_has_lists_of_bounded_length() {
    let uses: Vec<Use> = (0..=255)
        .map(|n| used(n, &"x".repeat(usize::from(n) / 2), Some(n), &format!("agent {n}")))
        .collect();
    let (window, personal) = recorded(&uses);
    assert_eq!(window.counts.len(), MAX_COUNTS);
    assert!(window.callers.len() <= MAX_COUNTS + 8 && personal.sources.len() <= MAX_COUNTS + 8);
    assert!(personal.agents.len() <= 8);
}

#[test]
fn without_where_they_came_from_lines_that_differ_in_nothing_else_are_one() {
    let uses = [
        used(1, "read", Some(1), "curl"),
        used(1, "read", Some(2), "wget"),
        used(1, "write", Some(2), "wget"),
        used(1, "read", None, ""),
    ];
    let (mut window, _) = recorded(&uses);
    let before = window.clone();
    window.forget_origins();
    let lines: Vec<_> = window.counts.iter().map(|line| (line.action, line.count)).collect();
    assert_eq!(lines, [(place(1), 3), (place(2), 1)]);
    assert!(window.counts.iter().all(|line| line.source.is_none()));
    assert!(window.samples.iter().all(|it| it.source.is_none() && it.agent.is_none()));
    assert_eq!((&window.totals, window.samples.len()), (&before.totals, before.samples.len()));
    assert!(window.holds_together());
}
