//! Uses on record: running totals, chains, and records that do not follow.

use super::*;
use crate::domain::command::Act;
use crate::domain::event::Recorded;
use crate::domain::ids::CallerId;
use crate::domain::testing::{World, account, at, by, key_id, revoke, the_service};
use crate::domain::usage::used::GapCause;
use crate::domain::usage::window::Window;
use crate::domain::usage::{Tried, Use, UseCounts};
use std::time::Duration;

fn window(outcomes: &[UseOutcome], second: i64) -> UsedWindow {
    let mut window = Window::new(at(0));
    for outcome in outcomes {
        let used = Use {
            tried: Tried::Key(key_id(1), account("a")),
            outcome: *outcome,
            caller: Some(CallerId([7; 12])),
            action: String::new(),
            source: None,
            agent: String::new(),
            trace_id: None,
            required: Vec::new(),
            position: Position::new(3),
            time: at(second),
            cost: 1,
            alone: false,
        };
        window.add(&used, 1);
    }
    UsedWindow::of(&window, Duration::from_mins(1)).0
}

fn uses(journal: u64, outcomes: &[UseOutcome], second: i64) -> Act {
    Act::RecordUses(RecordUses {
        key: key_id(1),
        account: account("a"),
        journal,
        part: 0,
        window: window(outcomes, second),
        private: None,
    })
}

fn does(world: &mut World, act: Act) -> Position {
    let done = world.carry_out(&by(the_service(), act)).expect("not refused");
    done.expect("something changes")
}

const ALLOWED: UseOutcome = UseOutcome::Allowed;

#[test]
fn uses_add_up_to_the_running_totals_of_their_key() {
    let mut world = World::with_key();
    does(&mut world, uses(1, &[ALLOWED, ALLOWED, UseOutcome::Expired], 5));
    let last = does(&mut world, uses(2, &[ALLOWED, UseOutcome::Disabled], 3));
    let key = &world.keys[&key_id(1)];
    let used = key.used.as_deref().copied().expect("used");
    let counts =
        UseCounts { allowed: 3, denied: 2, last_use: Some(at(5)), last_denied: Some(at(5)) };
    assert_eq!(used, Used { recorded: last, counts });
    let Event::KeyUsed(event) = &world.log.last().expect("a record").event else { panic!() };
    assert_eq!((event.total_allowed, event.total_denied), (3, 2));
}

#[test]
fn uses_are_in_the_keys_chain_and_no_change_of_the_key() {
    let mut world = World::with_key();
    let changed = world.keys[&key_id(1)].position();
    let recorded = does(&mut world, uses(1, &[ALLOWED], 0));
    let key = &world.keys[&key_id(1)];
    assert_eq!((key.position(), key.last_record()), (changed, recorded));
    assert_eq!(world.log.last().expect("a record").previous, Some(changed));
    world.does(Act::RevokeKey(revoke(1)));
    assert_eq!(world.log.last().expect("a record").previous, Some(recorded));
    let denied = does(&mut world, uses(2, &[UseOutcome::Revoked], 1));
    assert_eq!(world.keys[&key_id(1)].last_record(), denied);
}

#[test]
fn uses_of_an_unknown_key_are_refused() {
    let world = World::with_account();
    assert_eq!(world.when(uses(1, &[ALLOWED], 0)), Err(Refusal::KeyNotFound));
}

#[test]
fn the_highest_journal_is_remembered() {
    let mut world = World::with_key();
    does(&mut world, uses(4, &[ALLOWED], 0));
    does(&mut world, uses(3, &[ALLOWED], 0));
    assert_eq!(world.log_state().last_journal, 4);
    let tried =
        UnknownKeyTried { journal: 6, part: 0, window: window(&[UseOutcome::UnknownKey], 0) };
    does(&mut world, Act::RecordUnknown(RecordUnknown { tried, private: None }));
    let gap = UsageGap {
        journal: 7,
        part: 0,
        cause: GapCause::Shed,
        from: at(1),
        to: at(2),
        lost: Some(9),
    };
    assert_eq!(world.log_state().last_journal, 6);
    does(&mut world, Act::RecordGap(gap));
    assert_eq!(world.log_state().last_journal, 7);
    assert_eq!(world.log.last().expect("a record").event, Event::UsageGap(gap));
}

#[test]
fn a_record_whose_totals_are_not_the_sum_does_not_follow() {
    let mut world = World::with_key();
    does(&mut world, uses(1, &[ALLOWED], 0));
    let mut once_more: Recorded = world.log.last().expect("a record").clone();
    once_more.position = once_more.position.next();
    once_more.previous = world.keys[&key_id(1)].last_record().into();
    let mut twice = world.clone();
    assert!(twice.take(&once_more).is_err(), "a record sealed twice shows");
    let Event::KeyUsed(used) = &mut once_more.event else { panic!() };
    used.total_allowed = 2;
    assert!(world.take(&once_more).is_ok());
}

#[test]
fn what_is_no_use_of_a_key_cannot_be_on_its_record_and_the_other_way_round() {
    let unknown = |outcome| UnknownKeyTried { journal: 1, part: 0, window: window(&[outcome], 0) };
    assert!(unknown_follows(&unknown(UseOutcome::MalformedKey)));
    assert!(!unknown_follows(&unknown(ALLOWED)));
    let used = |outcome| KeyUsed {
        journal: 1,
        part: 0,
        window: window(&[outcome], 0),
        total_allowed: u64::from(outcome == ALLOWED),
        total_denied: u64::from(outcome != ALLOWED),
    };
    assert!(used_after(None, &used(ALLOWED), Position::FIRST).is_some());
    assert!(used_after(None, &used(UseOutcome::UnknownKey), Position::FIRST).is_none());
}

#[test]
fn uses_of_an_erased_account_go_on_record_without_where_they_came_from() {
    use crate::domain::account_rules::EraseAccount;
    use crate::domain::testing::private;
    let mut world = World::with_key();
    let erase = EraseAccount { account: account("a"), expected: None, private: None };
    world.does(Act::EraseAccount(erase));
    let Act::RecordUses(mut asked) = uses(1, &[ALLOWED, UseOutcome::AccountInactive], 5) else {
        unreachable!("it is uses")
    };
    let place = std::num::NonZeroU32::new(1);
    asked.window.counts.iter_mut().for_each(|line| line.source = place);
    asked.window.samples.iter_mut().for_each(|sample| {
        (sample.source, sample.agent) = (place, place);
    });
    asked.private = Some(private());
    let [proposal] = &decide_uses(&world, &asked).expect("recorded")[..] else {
        panic!("one event")
    };
    assert!(proposal.private.is_none());
    let Event::KeyUsed(used) = &proposal.event else { panic!("{proposal:?}") };
    assert_eq!(used.window.totals, asked.window.totals);
    assert!(used.window.counts.iter().all(|line| line.source.is_none()));
    assert!(used.window.samples.iter().all(|it| it.source.is_none() && it.agent.is_none()));
}
