//! Records of uses: their bytes, what comes back, and what is refused.

use std::num::NonZeroU32;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::{RecordError, decode, encode};
use super::golden::{Wire, fact, holds, key, of_key, of_service, wire};
use super::strategies::{bytes, key_id, position, time};
use crate::domain::event::Event;
use crate::domain::ids::{CallerId, KeyId, Position, TraceId};
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::domain::usage::UseOutcome;
use crate::domain::usage::used::{
    GapCause, KeyUsed, Place, UnknownKeyTried, UsageGap, UsedCount, UsedSample, UsedWindow,
};
use crate::domain::usage::window::Total;
use crate::proto::ledger as wire_types;

const AT: fn(i64) -> Time = Time::from_micros;

fn window(outcome: UseOutcome, presented: Option<KeyId>) -> UsedWindow {
    let one = NonZeroU32::new(1);
    UsedWindow {
        start: AT(60_000_000),
        span: Duration::from_mins(1),
        totals: vec![Total { outcome, count: 300, first: AT(61_000_000), last: AT(62_000_000) }],
        positions: Position::new(5).zip(Position::new(6)),
        callers: vec![CallerId([0xca; 12])],
        actions: vec!["read".to_owned()],
        counts: vec![UsedCount { outcome, caller: one, action: one, source: one, count: 299 }],
        samples: vec![UsedSample {
            outcome,
            time: AT(61_000_000),
            trace_id: Some(TraceId([0x7a; 16])),
            caller: one,
            action: None,
            source: one,
            agent: NonZeroU32::new(2),
            required: vec!["a".to_owned(), "b:c".to_owned()],
            presented,
        }],
    }
}

fn wire_window(outcome: i64, presented: &[u8]) -> Wire {
    let total =
        wire().number(1, outcome).number(2, 300).number(3, 61_000_000).number(4, 62_000_000);
    let line = wire().number(1, outcome).number(2, 1).number(3, 1).number(4, 1).number(5, 299);
    let mut sample = wire()
        .number(1, outcome)
        .number(2, 61_000_000)
        .bytes(3, [0x7a; 16])
        .number(4, 1)
        .number(6, 1)
        .number(7, 2)
        .bytes(8, "a")
        .bytes(8, "b:c");
    if !presented.is_empty() {
        sample = sample.bytes(9, presented);
    }
    wire()
        .number(1, 60_000_000)
        .number(2, 60)
        .message(3, &total)
        .number(4, 5)
        .number(5, 6)
        .bytes(6, [0xca; 12])
        .bytes(7, "read")
        .message(8, &line)
        .message(9, &sample)
}

#[test]
fn uses_of_a_key() {
    let used = KeyUsed {
        journal: 9,
        part: 1,
        window: window(UseOutcome::Allowed, None),
        total_allowed: 1000,
        total_denied: 2,
    };
    let event = wire()
        .number(1, 9)
        .number(2, 1)
        .message(3, &wire_window(1, &[]))
        .number(4, 1000)
        .number(5, 2);
    holds(&key(Event::KeyUsed(Box::new(used))), &of_key(40, &event));
}

#[test]
fn tries_of_unknown_keys() {
    let outcome = UseOutcome::UnknownKey;
    let window = window(outcome, Some(KeyId([0xcc; 12])));
    let tried = UnknownKeyTried { journal: 9, part: 0, window };
    let event = wire().number(1, 9).message(3, &wire_window(13, &[0xcc; 12]));
    let recorded = fact(Subject::Service, Event::UnknownKeyTried(Box::new(tried)));
    holds(&recorded, &of_service(41, &event));
}

#[test]
fn gaps() {
    let (from, to) = (AT(1_000_000), AT(2_000_000));
    let gap = UsageGap { journal: 9, part: 2, cause: GapCause::Shed, from, to, lost: Some(7) };
    let times = |wire: Wire| wire.number(4, 1_000_000).number(5, 2_000_000);
    let event = times(wire().number(1, 9).number(2, 2).number(3, 2)).number(6, 7);
    holds(&fact(Subject::Service, Event::UsageGap(gap)), &of_service(42, &event));
    let gap = UsageGap { part: 0, cause: GapCause::UncleanStop, lost: None, ..gap };
    let event = times(wire().number(1, 9).number(3, 1));
    holds(&fact(Subject::Service, Event::UsageGap(gap)), &of_service(42, &event));
}

#[test]
fn outcomes_have_the_numbers_of_the_record_format() {
    for outcome in UseOutcome::ALL {
        let wire = wire_types::UseOutcome::try_from(i32::from(*outcome as u8)).expect("a number");
        let name = wire.as_str_name().strip_prefix("USE_OUTCOME_").expect("the prefix");
        let ours: String = name
            .split('_')
            .map(|word| {
                let (first, rest) = word.split_at(1);
                format!("{first}{}", rest.to_lowercase())
            })
            .collect();
        assert_eq!(ours, format!("{outcome:?}"));
    }
}

#[test]
fn windows_that_cannot_be_are_refused() {
    let refused = |event: Wire, field| {
        assert_eq!(
            decode(&of_key(40, &event).0),
            Err(RecordError::Field(field)),
            "{event_of:?}",
            event_of = event.0
        );
    };
    refused(wire().number(1, 9), "window");
    refused(wire().number(1, 9).message(3, &wire()), "window");
    let total = |outcome| wire().number(1, outcome).number(2, 1);
    let of = |total: &Wire| wire().message(3, &wire().number(2, 60).message(3, total));
    assert!(decode(&of_key(40, &of(&total(1))).0).is_ok());
    refused(of(&total(0)), "outcome");
    refused(of(&total(14)), "outcome");
    let with = |more: Wire| {
        let window = wire().number(2, 60).message(3, &total(1)).0;
        wire().bytes(3, [window, more.0].concat())
    };
    refused(with(wire().bytes(6, [1; 11])), "window.callers");
    refused(with(wire().number(4, 3)), "window.first_position");
    refused(with(wire().message(8, &wire().number(1, 1).number(5, 2))), "window");
    refused(
        with(wire().message(9, &wire().number(1, 1).bytes(3, [1; 5]))),
        "window.samples.trace_id",
    );
}

fn outcome() -> impl Strategy<Value = UseOutcome> {
    proptest::sample::select(UseOutcome::ALL)
}

fn place(length: usize) -> impl Strategy<Value = Place> {
    (0..=u32::try_from(length).expect("short")).prop_map(NonZeroU32::new)
}

/// A window that holds together.
fn any_window() -> impl Strategy<Value = UsedWindow> {
    let totals = btree_map(outcome(), (1..=u64::MAX, time(), time()), 1..4);
    let lists = (vec(bytes().prop_map(CallerId), 0..3), vec("[a-z]{1,9}", 0..3));
    let rest = (time(), 1..=u32::MAX, option::of((position(), position())));
    (totals, lists, rest).prop_flat_map(|(totals, (callers, actions), (start, span, positions))| {
        let came: Vec<UseOutcome> = totals.keys().copied().collect();
        let total = |(outcome, (count, one, other)): (UseOutcome, (u64, Time, Time))| Total {
            outcome,
            count,
            first: one.min(other),
            last: one.max(other),
        };
        let totals: Vec<Total> = totals.into_iter().map(total).collect();
        let counts = of_each(totals.clone(), callers.len(), actions.len());
        let samples = vec(sample(came, callers.len(), actions.len()), 0..3);
        (counts, samples).prop_map(move |(counts, samples)| UsedWindow {
            start,
            span: Duration::from_secs(span.into()),
            totals: totals.clone(),
            positions: positions.map(|(one, other)| (one.min(other), one.max(other))),
            callers: callers.clone(),
            actions: actions.clone(),
            counts,
            samples,
        })
    })
}

/// A line for each total at most.
fn of_each(
    totals: Vec<Total>,
    callers: usize,
    actions: usize,
) -> impl Strategy<Value = Vec<UsedCount>> {
    let line = |total: Total| {
        let places = (place(callers), place(actions), place(9));
        (places, 1..=total.count).prop_map(move |((caller, action, source), count)| UsedCount {
            outcome: total.outcome,
            caller,
            action,
            source,
            count,
        })
    };
    totals.into_iter().map(line).collect::<Vec<_>>()
}

fn sample(
    came: Vec<UseOutcome>,
    callers: usize,
    actions: usize,
) -> impl Strategy<Value = UsedSample> {
    let places = (place(callers), place(actions), place(9), place(9));
    let what = (proptest::sample::select(came), time(), option::of(bytes().prop_map(TraceId)));
    let more = (vec("[a-z:]{0,9}", 0..3), option::of(key_id()));
    (what, places, more).prop_map(|(what, places, (required, presented))| {
        let (outcome, time, trace_id) = what;
        let (caller, action, source, agent) = places;
        UsedSample { outcome, time, trace_id, caller, action, source, agent, required, presented }
    })
}

pub(super) fn key_used() -> impl Strategy<Value = Event> {
    (any::<u64>(), any::<u32>(), any_window(), any::<u64>(), any::<u64>()).prop_map(
        |(journal, part, window, total_allowed, total_denied)| {
            Event::KeyUsed(Box::new(KeyUsed { journal, part, window, total_allowed, total_denied }))
        },
    )
}

pub(super) fn unknown_key_tried() -> impl Strategy<Value = Event> {
    (any::<u64>(), any::<u32>(), any_window()).prop_map(|(journal, part, window)| {
        Event::UnknownKeyTried(Box::new(UnknownKeyTried { journal, part, window }))
    })
}

pub(super) fn usage_gap() -> impl Strategy<Value = Event> {
    let causes = &[GapCause::UncleanStop, GapCause::Shed, GapCause::Damaged][..];
    let cause = proptest::sample::select(causes);
    (any::<u64>(), any::<u32>(), cause, time(), time(), option::of(any::<u64>())).prop_map(
        |(journal, part, cause, from, to, lost)| {
            Event::UsageGap(UsageGap { journal, part, cause, from, to, lost })
        },
    )
}

#[test]
fn a_gap_without_a_known_cause_is_refused() {
    let event = wire().number(1, 9).number(3, 4);
    assert_eq!(decode(&of_service(42, &event).0), Err(RecordError::Field("cause")));
    let event = wire().number(1, 9);
    assert_eq!(decode(&of_service(42, &event).0), Err(RecordError::Field("cause")));
    let gap =
        UsageGap { journal: 1, part: 0, cause: GapCause::Shed, from: AT(1), to: AT(2), lost: None };
    assert!(decode(&encode(&fact(Subject::Service, Event::UsageGap(gap)))).is_ok());
}
