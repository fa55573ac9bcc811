//! The check of the uses on record, held to each way in which they can be wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keyledger::domain::event::{Actor, Event, Mechanism, Recorded};
use keyledger::domain::ids::{AccountId, AccountRef, EventId, KeyId, Position, TenantId};
use keyledger::domain::subject::Subject;
use keyledger::domain::time::Time;
use keyledger::domain::usage::UseOutcome;
use keyledger::domain::usage::used::{GapCause, KeyUsed, UsageGap, UsedWindow};
use keyledger::domain::usage::window::Total;
use keyledger::ledger::record::encode;

use super::journal::{Counts, name_of};
use super::verify_uses::{UseBounds, verify_uses};

const KEY: KeyId = KeyId([7; 12]);

fn record(position: u64, event: Event) -> Vec<u8> {
    let tenant = TenantId::parse("acme").expect("a constant");
    let account = AccountRef { tenant, account: AccountId::parse("billing").expect("a constant") };
    let subject = match event {
        Event::UsageGap(_) => Subject::Service,
        _ => Subject::Key(Arc::new(account), KEY),
    };
    encode(&Recorded {
        position: Position::new(position).expect("from 1"),
        event_id: EventId([1; 16]),
        time: Time::from_micros(1),
        previous: None,
        actor: Actor { caller: None, mechanism: Mechanism::Service },
        trace_id: None,
        request: None,
        subject,
        event,
        private: None,
    })
}

/// A window of allowed uses of one journal, and the total behind it.
fn used(journal: u64, part: u32, count: u64, total: u64) -> Event {
    let (first, last) = (Time::from_micros(1), Time::from_micros(2));
    let window = UsedWindow {
        start: Time::from_micros(0),
        span: Duration::from_mins(1),
        totals: vec![Total { outcome: UseOutcome::Allowed, count, first, last }],
        positions: None,
        callers: Vec::new(),
        actions: Vec::new(),
        counts: Vec::new(),
        samples: Vec::new(),
    };
    let (total_allowed, total_denied) = (total, 0);
    Event::KeyUsed(Box::new(KeyUsed { journal, part, window, total_allowed, total_denied }))
}

fn gap(cause: GapCause, from: i64, to: i64) -> Event {
    let (from, to) = (Time::from_micros(from), Time::from_micros(to));
    Event::UsageGap(UsageGap { journal: 1, part: 0, cause, from, to, lost: None })
}

fn log(events: impl IntoIterator<Item = Event>) -> Vec<Vec<u8>> {
    (1..).zip(events).map(|(position, event)| record(position, event)).collect()
}

fn allowed(count: u64) -> Counts {
    Counts::from([(name_of(&KEY.to_string(), "Allowed"), count)])
}

/// Of a crash with so many answered, durable, written.
fn bounds(before_reply: bool, answered: u64, durable: u64, written: u64) -> UseBounds {
    UseBounds {
        before_reply,
        answered: allowed(answered),
        durable: allowed(durable),
        written: allowed(written),
        torn: None,
        next: Some(50),
    }
}

fn problem(log: &[Vec<u8>], bounds: &UseBounds, left: u64) -> String {
    let left = BTreeMap::from([(2, allowed(left))]);
    verify_uses(log, bounds, &[], &left).err().unwrap_or_default()
}

/// Five uses in two journals, of which the second is still there and held two.
fn five() -> Vec<Vec<u8>> {
    log([used(1, 0, 3, 3), used(2, 0, 2, 5)])
}

#[test]
fn all_that_was_durable_and_no_more_than_was_written_is_right() {
    for (answered, durable, written) in [(5, 5, 5), (4, 5, 5), (4, 4, 6)] {
        assert_eq!(problem(&five(), &bounds(true, answered, durable, written), 2), "");
    }
}

#[test]
fn a_use_that_is_lost_or_doubled_is_found() {
    let answered = problem(&five(), &bounds(true, 6, 5, 6), 2);
    assert!(answered.contains("6 uses") && answered.contains("were answered"), "{answered}");
    for before_reply in [false, true] {
        let durable = problem(&five(), &bounds(before_reply, 5, 6, 6), 2);
        assert!(durable.contains("were durable, and only 5 are on record"), "{durable}");
        let doubled = problem(&five(), &bounds(before_reply, 4, 4, 4), 2);
        assert!(doubled.contains("no more than 4 were journaled"), "{doubled}");
    }
}

#[test]
fn a_window_that_comes_twice_and_a_total_that_does_not_follow_are_found() {
    let twice = problem(&log([used(2, 0, 2, 2), used(2, 0, 2, 4)]), &bounds(true, 0, 0, 9), 4);
    assert!(twice.contains("in journal 2 again"), "{twice}");
    let total = problem(&log([used(1, 0, 3, 3), used(2, 0, 2, 4)]), &bounds(true, 0, 0, 9), 2);
    assert!(total.contains("do not chain"), "{total}");
}

#[test]
fn a_journal_that_is_not_on_record_is_found() {
    let unsealed = problem(&log([used(1, 0, 3, 3)]), &bounds(true, 3, 3, 5), 2);
    assert!(unsealed.starts_with("journal 2 holds"), "{unsealed}");
    let half = problem(&five(), &bounds(true, 5, 5, 6), 3);
    assert!(half.starts_with("journal 2 holds"), "{half}");
}

#[test]
fn what_may_be_missing_needs_a_gap_that_covers_it_and_a_crash_is_no_damage() {
    let with = |event| problem(&log([used(2, 0, 2, 2), event]), &bounds(false, 3, 2, 2), 2);
    assert_eq!(with(gap(GapCause::UncleanStop, 49, 51)), "");
    for none in [
        gap(GapCause::UncleanStop, 51, 60),
        gap(GapCause::UncleanStop, 40, 49),
        gap(GapCause::Shed, 40, 60),
    ] {
        assert!(with(none.clone()).contains("may be missing"), "{none:?}");
    }
    let both = log([used(2, 0, 2, 2), gap(GapCause::Damaged, 1, 2)]);
    let damage = problem(&both, &bounds(true, 2, 2, 2), 2);
    assert!(damage.starts_with("a crash is taken for damage"), "{damage}");
}

#[test]
fn a_flush_that_was_being_written_needs_the_gap_only_if_it_is_lost() {
    let bounds = UseBounds { torn: Some((allowed(4), 45)), ..bounds(false, 4, 2, 4) };
    let with = |uses, from| {
        let gap = gap(GapCause::UncleanStop, from, 60);
        problem(&log([used(2, 0, uses, uses), gap]), &bounds, uses)
    };
    assert_eq!(with(4, 48), "");
    assert!(with(2, 48).contains("uses at Some(45) may be missing"));
    assert_eq!(with(2, 44), "");
}
