//! The writer on a real ledger: order, durability before answers, groups, clocks, the end.

mod fail_stop;
mod house;
mod share;

use super::*;
use crate::domain::command::{Act, Command};
use crate::domain::event::Recorded;
use crate::domain::facts::Facts;
use crate::domain::key_rules::CreateKey;
use crate::domain::requests::{Method, Request};
use crate::domain::sealed::{Private, Sealed};
use crate::domain::testing::*;
use crate::ledger::frame::MAX_FRAME_BYTES;
use house::House;

fn create_key(key: u8) -> Command {
    by(admin(), Act::CreateKey(create("a", key)))
}

/// A CreateKey whose record takes a little over `bytes`.
fn large(key: u8, bytes: usize) -> Command {
    let sealed = Sealed { ciphertext: vec![0; bytes].into(), ..private().sealed };
    let private = Private { sealed, ..private() };
    by(admin(), Act::CreateKey(CreateKey { private, ..create("a", key) }))
}

fn named_create(key: u8, id: u8, digest: u8) -> Command {
    let request = Request { id: [id; 16], method: Method::CreateKey, digest: [digest; 16] };
    named(Act::CreateKey(create("a", key)), request)
}

fn done(answer: Answer) -> Done {
    answer.expect("not refused")
}

fn positions(facts: &[Recorded]) -> Vec<u64> {
    facts.iter().map(|fact| fact.position.get()).collect()
}

fn steps(facts: &[Recorded]) -> Vec<Event> {
    let events = facts.iter().map(|fact| fact.event.clone());
    events.filter(|event| matches!(event, Event::ClockStepped { .. })).collect()
}

#[test]
fn positions_have_no_gaps_and_every_record_names_the_one_before_it() {
    let house = House::new("enterprise");
    std::thread::scope(|scope| {
        for lane in 0..4_u8 {
            let house = &house;
            scope.spawn(move || {
                for n in 0..10 {
                    let key = lane * 10 + n + 1;
                    done(house.ask(create_key(key)));
                    done(house.ask(by(admin(), Act::DisableKey(switch(key)))));
                }
            });
        }
    });
    let facts = house.close().facts();
    assert_eq!(positions(&facts), (1..=82).collect::<Vec<_>>());
    let mut world = World::empty();
    for fact in &facts {
        world.take(fact).expect("it names its subject's last record");
    }
    let ids: std::collections::HashSet<_> =
        facts.iter().filter(|fact| fact.private.is_none()).map(|fact| fact.event_id).collect();
    assert_eq!(ids.len(), 41, "40 switches and the policy, each with a random id");
}

#[test]
fn nothing_is_seen_and_nobody_is_answered_before_the_frame_is_durable() {
    let house = House::new("standard");
    let head = house.table.head();
    house.gate.shut();
    let mut first = house.submit(create_key(1));
    house.gate.wait_for_append();
    // The second waits for the next group; so does a refusal that rests on it.
    let mut second = house.submit(by(admin(), Act::RevokeKey(revoke(1))));
    let mut refused = house.submit(by(admin(), Act::DisableKey(switch(1))));
    assert!(first.try_recv().is_err() && second.try_recv().is_err());
    assert!(house.table.row(&key_id(1)).is_none());
    assert_eq!(house.table.head(), head);

    house.gate.let_one_pass();
    let created = done(first.blocking_recv().unwrap()).position.unwrap();
    assert!(house.table.row(&key_id(1)).is_some());
    house.gate.wait_for_append();
    assert_eq!(house.table.head(), Some(created));
    assert!(second.try_recv().is_err() && refused.try_recv().is_err());
    assert!(house.table.row(&key_id(1)).unwrap().key.life.is_none(), "not yet revoked");

    house.gate.open();
    let revoked = done(second.blocking_recv().unwrap()).position.unwrap();
    assert_eq!(house.table.head(), Some(revoked));
    let life = house.table.row(&key_id(1)).unwrap().key.life.unwrap();
    assert_eq!(life.revocation.as_ref().unwrap().position, revoked);
    assert_eq!(refused.blocking_recv().unwrap(), Err(Refusal::KeyRevoked));
    house.close();
}

#[test]
fn a_cap_is_exact_among_commands_of_one_group() {
    let house = House::new("standard");
    let waiting = house.submit_as_one_group((1..=200).map(create_key));
    let answers: Vec<Answer> =
        waiting.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
    assert!(answers[..5].iter().all(|answer| answer.is_ok()));
    let refusal = Err(Refusal::ActiveKeyLimit { limit: 5, active: 5 });
    assert!(answers[5..].iter().all(|answer| *answer == refusal));
    assert_eq!(house.table.key_count(), 5);
    let closed = house.close();
    assert_eq!(closed.frames().last(), Some(&(4, 8)), "one frame, all five");
}

#[test]
fn a_cap_is_exact_among_threads() {
    let house = House::new("standard");
    let created: usize = std::thread::scope(|scope| {
        let thread = |n: u8| {
            let house = &house;
            scope.spawn(move || {
                (1..=25).filter(|k| house.ask(create_key(n * 25 + k)).is_ok()).count()
            })
        };
        let threads: Vec<_> = (0..8).map(thread).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((created, house.table.key_count()), (5, 5));
    house.close();
}

#[test]
fn commands_go_before_background_work() {
    let house = House::new("standard");
    house.gate.shut();
    let first = house.submit(create_key(1));
    house.gate.wait_for_append();
    let policy = by(the_service(), Act::SetPolicy(crate::domain::policy::Policy::default()));
    let background = house.writer.submit(Lane::Background, policy).unwrap();
    let command = house.submit(create_key(2));
    assert_eq!(house.writer.waiting(), 2);
    house.gate.open();
    let position = |answer: tokio::sync::oneshot::Receiver<Answer>| {
        done(answer.blocking_recv().unwrap()).position.unwrap().get()
    };
    let first = position(first);
    assert_eq!((position(command), position(background)), (first + 1, first + 2));
    house.close();
}

#[test]
fn what_does_not_fit_the_frame_goes_first_into_the_next() {
    let house = House::new("enterprise");
    let before = house.table.head().unwrap().get();
    let commands = (1..=6).map(|key| large(key, 25_000));
    let waiting = house.submit_as_one_group(commands);
    let answers = waiting.into_iter().map(|answer| done(answer.blocking_recv().unwrap()));
    let given: Vec<u64> = answers.map(|done| done.position.unwrap().get()).collect();
    // `submit_as_one_group` records one event of its own before them.
    assert_eq!(given, (before + 2..before + 8).collect::<Vec<_>>(), "in the order of asking");
    let frames = house.close().frames();
    let pairs = [(before + 2, before + 3), (before + 4, before + 5), (before + 6, before + 7)];
    assert_eq!(frames[frames.len() - 3..], pairs);
}

#[test]
fn what_fits_no_frame_is_refused_and_the_others_are_done() {
    let house = House::new("enterprise");
    let commands = [create_key(1), large(2, MAX_FRAME_BYTES), create_key(3)];
    let mut waiting = house.submit_as_one_group(commands).into_iter();
    let mut next = || waiting.next().unwrap().blocking_recv().unwrap();
    assert!(next().is_ok());
    assert_eq!(next(), Err(Refusal::TooLarge));
    assert!(next().is_ok());
    assert!(house.table.row(&key_id(2)).is_none());
    house.close();
}

#[test]
fn a_repeat_in_the_same_group_is_answered_with_what_the_first_did() {
    let house = House::new("standard");
    let commands = [named_create(1, 1, 1), named_create(2, 1, 1), named_create(3, 1, 2)];
    let mut waiting = house.submit_as_one_group(commands).into_iter();
    let mut next = || waiting.next().unwrap().blocking_recv().unwrap();
    let first = done(next());
    assert!(!first.replayed);
    assert_eq!(done(next()), Done { replayed: true, ..first });
    assert_eq!(next(), Err(Refusal::RequestIdReused));
    assert_eq!(house.table.key_count(), 1);
    house.close();
}

#[test]
fn a_repeat_is_known_after_a_restart() {
    let house = House::new("standard");
    let first = done(house.ask(named_create(1, 1, 1)));
    let house = house.close().open();
    assert_eq!(done(house.ask(named_create(2, 1, 1))), Done { replayed: true, ..first });
    assert_eq!(house.ask(named_create(2, 1, 2)), Err(Refusal::RequestIdReused));
    assert_eq!(house.table.key_count(), 1);
    house.close();
}

#[test]
fn after_a_restart_positions_go_on_and_caps_and_cells_are_as_before() {
    let house = House::new("standard");
    for key in 1..=4 {
        done(house.ask(create_key(key)));
    }
    let head = house.table.head().unwrap();
    let house = house.close().open();
    assert_eq!(house.table.head(), Some(head));
    assert_eq!(done(house.ask(create_key(5))).position, Some(head.next()));
    let refusal = Refusal::ActiveKeyLimit { limit: 5, active: 5 };
    assert_eq!(house.ask(create_key(6)), Err(refusal));
    house.close();
}

#[test]
fn a_step_of_the_wall_clock_is_on_record_before_what_comes_after_it() {
    let house = House::new("standard");
    let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
    done(house.ask(create_key(1)));
    house.clock.advance(hour);
    done(house.ask(create_key(2)));
    house.clock.step_wall_to(house.clock.wall().plus(second * 2));
    done(house.ask(create_key(3)));
    let before = house.clock.wall();
    house.clock.step_wall_to(before.plus(hour));
    done(house.ask(create_key(4)));
    house.clock.step_wall_to(before);
    done(house.ask(create_key(5)));
    let facts = house.close().facts();
    // Time that passes and steps of up to two seconds are no steps; the others are, both ways.
    let forward = Event::ClockStepped { wall: before.plus(hour), expected: before };
    let back = Event::ClockStepped { wall: before, expected: before.plus(hour) };
    assert_eq!(steps(&facts), [forward.clone(), back]);
    assert!(facts.is_sorted_by_key(|fact| fact.time), "record time never goes back");
    assert_eq!(facts.last().unwrap().time, before.plus(hour));
    let stepped = facts.iter().position(|fact| fact.event == forward).unwrap();
    assert_eq!(facts[stepped + 1].subject, key_subject("a", 4));
    let actor = facts[stepped].actor;
    assert_eq!((actor, &facts[stepped].subject), (the_service(), &Subject::Service));
}

#[test]
fn a_wall_clock_behind_the_log_at_the_start_is_on_record() {
    let house = House::new("standard");
    let last = house.clock.wall();
    let closed = house.close();
    closed.clock.step_wall_to(Time::EPOCH);
    let house = closed.open();
    done(house.ask(create_key(1)));
    done(house.ask(create_key(2)));
    let facts = house.close().facts();
    let step = Event::ClockStepped { wall: Time::EPOCH, expected: last };
    assert_eq!(steps(&facts), [step], "once");
    assert_eq!(facts.last().unwrap().time, last);
}

#[test]
fn an_expired_key_frees_its_place_by_the_time_on_record() {
    let house = House::new("tiny");
    let mut short = create("a", 1);
    short.created.expire_time = Some(house.clock.wall().plus(Duration::from_secs(10)));
    done(house.ask(by(admin(), Act::CreateKey(short))));
    let limit = Refusal::ActiveKeyLimit { limit: 1, active: 1 };
    assert_eq!(house.ask(create_key(2)), Err(limit));
    house.clock.advance(Duration::from_secs(10));
    done(house.ask(create_key(3)));
    // A clock set back does not bring the expired key back to count, nor make room for more.
    house.clock.step_wall_to(Time::EPOCH);
    let limit = Refusal::ActiveKeyLimit { limit: 1, active: 1 };
    assert_eq!(house.ask(create_key(4)), Err(limit));
    house.close();
}

#[test]
fn no_record_is_earlier_than_a_time_that_a_key_was_judged_by() {
    let house = House::new("standard");
    let judged = house.clock.wall().plus(Duration::from_secs(1));
    house.table.witness(judged);
    done(house.ask(create_key(1)));
    assert_eq!(house.close().facts().last().unwrap().time, judged);
}

#[test]
fn refusals_and_changes_of_nothing_leave_no_trace() {
    let house = House::new("standard");
    let (head, frames) = (house.table.head(), house.gate.appended());
    let mut elsewhere = create("b", 1);
    elsewhere.created.scopes = Some(permissions(&["a"]));
    let refusal = house.ask(by(admin(), Act::CreateKey(elsewhere)));
    assert_eq!(refusal, Err(Refusal::AccountNotFound));
    let same = house.ask(by(the_service(), Act::SetPolicy(policy())));
    assert_eq!(done(same), Done { position: None, subject: None, replayed: false });
    assert_eq!((house.table.head(), house.gate.appended()), (head, frames));
    assert_eq!(house.table.key_count(), 0);
    house.close();
}

#[test]
fn closing_lets_what_waits_be_done_and_takes_nothing_more() {
    let house = House::new("enterprise");
    house.gate.shut();
    let mut waiting: Vec<_> = (1..=40).map(|key| house.submit(create_key(key))).collect();
    house.gate.wait_for_append();
    house.writer.close();
    assert_eq!(house.writer.submit(Lane::Commands, create_key(41)).unwrap_err(), NotTaken::Closed);
    house.gate.open();
    assert!(waiting.drain(..).all(|answer| answer.blocking_recv().unwrap().is_ok()));
    let closed = house.close();
    assert_eq!(closed.facts().len(), 42);
    let anchored = closed.anchored();
    assert_eq!(anchored.position.map(Position::get), Some(42), "the anchor is written last");
}

#[test]
fn a_command_is_done_though_its_asker_went_away() {
    let house = House::new("standard");
    drop(house.submit(create_key(1)));
    done(house.ask(create_key(2)));
    assert!(house.table.row(&key_id(1)).is_some());
    house.close();
}

#[test]
fn what_was_recorded_is_what_was_asked_by_whom() {
    use crate::domain::ids::TraceId;
    let house = House::new("standard");
    let command = Command { trace_id: Some(TraceId([8; 16])), ..named_create(1, 1, 1) };
    done(house.ask(command.clone()));
    let facts = house.close().facts();
    let fact = facts.last().unwrap();
    assert_eq!(
        (fact.actor, fact.trace_id, fact.request),
        (admin(), command.trace_id, command.request)
    );
    assert_eq!(fact.private, Some(private()));
    assert_eq!(fact.event_id, private().event_id, "the sealed fields are bound to this id");
}

#[test]
fn a_reader_that_knows_the_head_sees_what_led_to_it() {
    let house = House::new("enterprise");
    std::thread::scope(|scope| {
        let (table, house) = (Arc::clone(&house.table), &house);
        let reader = scope.spawn(move || {
            let mut checked = 0;
            while checked < 40 {
                let head = table.head().map_or(0, Position::get);
                // Key n is created by record n + 2.
                checked = u8::try_from(head.saturating_sub(2)).unwrap();
                assert!((1..=checked).all(|key| table.row(&key_id(key)).is_some()), "at {head}");
            }
        });
        for key in 1..=40 {
            done(house.ask(create_key(key)));
        }
        reader.join().unwrap();
    });
    house.close();
}

#[test]
fn the_table_after_a_replay_is_the_table_that_was_written() {
    let house = House::new("enterprise");
    for key in 1..=6 {
        done(house.ask(create_key(key)));
    }
    done(house.ask(by(admin(), Act::DisableKey(switch(1)))));
    done(house.ask(by(admin(), Act::RevokeKey(revoke(2)))));
    let live: Vec<_> = (1..=6).map(|key| house.table.row(&key_id(key)).unwrap().key).collect();
    let closed = house.close();
    let writer = closed.replayed();
    let folded: Vec<_> = (1..=6).map(|key| writer.key(&key_id(key)).unwrap()).collect();
    assert_eq!(folded, live);
}
