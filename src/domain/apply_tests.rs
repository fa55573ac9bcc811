//! Applying: what does not follow from the records before it is found.

use super::*;
use crate::domain::account::AccountStatus;
use crate::domain::command::Act;
use crate::domain::facts::Facts;
use crate::domain::key::RevokeReason;
use crate::domain::policy::Policy;
use crate::domain::testing::*;
use crate::domain::time::Time;

/// What the world looks like, to tell that a refused record changed nothing.
fn picture(world: &World) -> String {
    format!("{world:?}")
}

/// The record that the world would take next, about `subject`, chained rightly.
fn next(world: &World, subject: Subject, event: Event) -> Recorded {
    let proposal = crate::domain::event::Proposal { subject, event, private: None };
    world.record(&by(the_service(), Act::SetPolicy(Policy::default())), proposal)
}

fn refuse(world: &World, fact: &Recorded) {
    let mut after = world.clone();
    assert_eq!(after.take(fact), Err(DoesNotFollow { position: fact.position }), "{fact:?}");
    assert_eq!(picture(&after), picture(world));
}

fn state() -> AccountState {
    let status = AccountStatus::Active;
    let (plan, permissions, roles) = (plan_name("standard"), permissions(&[]), Vec::new());
    AccountState { plan, permissions, roles, status }
}

fn updated() -> KeyUpdated {
    let changed = Vec::new();
    KeyUpdated { scopes: None, expire_time: None, sources: Sources::Any, changed }
}

#[test]
fn a_record_must_name_its_subjects_last_record() {
    let mut world = World::with_key();
    let fact = next(&world, key_subject("a", 1), Event::KeyDisabled);
    for previous in [None, Some(Position::FIRST), Some(fact.position)] {
        refuse(&world, &Recorded { previous, ..fact.clone() });
    }
    assert_eq!(world.take(&fact), Ok(()));
    let created = next(&world, key_subject("a", 2), Event::KeyCreated(created(2)));
    refuse(&world, &Recorded { previous: Some(Position::FIRST), ..created });
    for subject in [Subject::Service, Subject::Account(account("a")), Subject::Caller(ADMIN)] {
        let fact = next(&world, subject, Event::PolicyChanged(policy()));
        refuse(&world, &Recorded { previous: None, ..fact });
    }
}

#[test]
fn what_changes_must_have_come_to_be() {
    let world = World::new();
    let rotated = Event::CallerRotated { tag: tag(1), retire_time: Time::EPOCH };
    for (subject, event) in [
        (Subject::Account(account("a")), Event::AccountChanged { state: state(), changed: vec![] }),
        (Subject::Account(account("a")), Event::AccountErased),
        (key_subject("a", 1), Event::KeyCreated(created(1))),
        (key_subject("a", 1), Event::KeyUpdated(updated())),
        (key_subject("a", 1), Event::KeyDisabled),
        (key_subject("a", 1), Event::KeyRetired { last_use: None }),
        (Subject::Caller(caller_id(1)), rotated),
        (Subject::Caller(caller_id(1)), Event::CallerRevoked),
    ] {
        refuse(&world, &next(&world, subject, event));
    }
}

#[test]
fn nothing_comes_to_be_twice() {
    let world = World::with_key();
    let caller = caller(&[], &[]);
    for (subject, event) in [
        (Subject::Account(account("a")), Event::AccountRegistered(state())),
        (key_subject("a", 1), Event::KeyCreated(created(1))),
        (Subject::Caller(ADMIN), Event::CallerCreated(caller)),
    ] {
        refuse(&world, &next(&world, subject, event));
    }
}

#[test]
fn nothing_becomes_of_an_account_that_is_erased() {
    let mut world = World::with_key();
    let subject = || Subject::Account(account("a"));
    let erased = next(&world, subject(), Event::AccountErased);
    assert_eq!(world.take(&erased), Ok(()));
    let changed = Event::AccountChanged { state: state(), changed: vec![] };
    for event in [Event::AccountErased, changed, Event::AccountRegistered(state())] {
        refuse(&world, &next(&world, subject(), event));
    }
}

#[test]
fn an_event_must_be_about_what_it_can_be_about() {
    let world = World::with_key();
    let revoked = Event::KeyRevoked { reason: RevokeReason::Unspecified, leaked: false };
    for (subject, event) in [
        (Subject::Service, Event::KeyDisabled),
        (Subject::Account(account("a")), revoked),
        (Subject::Caller(ADMIN), Event::PolicyChanged(policy())),
        (key_subject("a", 1), Event::CallerRevoked),
        (key_subject("a", 1), Event::AccountRegistered(state())),
        (Subject::Service, Event::CallerRevoked),
    ] {
        refuse(&world, &next(&world, subject, event));
    }
}

#[test]
fn a_key_belongs_to_its_account_for_ever() {
    let mut world = World::with_key();
    world.does(Act::PutAccount(put("b")));
    refuse(&world, &next(&world, key_subject("b", 1), Event::KeyDisabled));
}

#[test]
fn a_key_without_limits_or_life_has_none_and_a_successor_knows_what_it_replaces() {
    let mut world = World::with_key();
    let key = &world.keys[&key_id(1)];
    assert!(key.limits.is_none() && key.life.is_none(), "a row stays small");
    world.does(Act::RotateKey(world.rotate(1, 2, 0)));
    let successor = &world.keys[&key_id(2)];
    assert!(successor.limits.is_none());
    assert_eq!(successor.life.as_ref().unwrap().replaces, Some(key_id(1)));
}

#[test]
fn the_service_has_a_chain_of_its_own() {
    let mut world = World::new();
    let first = world.service_position().unwrap();
    let step = Event::ClockStepped { wall: at(9), expected: at(1) };
    let fact = next(&world, Subject::Service, step);
    assert_eq!(fact.previous, Some(first));
    assert_eq!(world.take(&fact), Ok(()));
    assert_eq!(world.service_position(), Some(fact.position));
}

#[test]
fn what_a_named_call_did_is_remembered_for_its_caller() {
    use crate::domain::requests::{Method, Request};
    let mut world = World::with_account();
    let request = Request { id: [1; 16], method: Method::CreateKey, digest: [2; 16] };
    let command = named(Act::CreateKey(create("a", 1)), request);
    let position = world.carry_out(&command).unwrap().unwrap();
    let found = world.remembered(&command.request_key().unwrap(), world.now).unwrap();
    let subject = key_subject("a", 1);
    let expected = Remembered { digest: [2; 16], position, subject, time: world.now };
    assert_eq!(found, expected);
}
