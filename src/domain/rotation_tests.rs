//! Rotation: two keys for a while, one successor for ever.

use super::*;
use crate::domain::account_rules::PutAccount;
use crate::domain::command::Act;
use crate::domain::facts::Facts;
use crate::domain::testing::*;

fn refused(world: &World, act: Act) -> Refusal {
    world.when(act).expect_err("refused")
}

fn state(world: &World, key: u8) -> KeyState {
    world.keys[&key_id(key)].state_at(world.now)
}

fn retire_time(world: &World, key: u8) -> Time {
    let life = world.keys[&key_id(key)].life.as_ref().expect("rotated");
    life.rotation.as_ref().expect("rotated").retire_time
}

fn until(world: &mut World, key: u8, expire_time: Time) {
    let created = KeyCreated { expire_time: Some(expire_time), ..created(key) };
    world.does(Act::CreateKey(CreateKey { created, ..create("a", key) }));
}

#[test]
fn rotating_gives_the_old_key_an_end_and_a_successor_with_its_limits() {
    let mut world = World::with_account();
    let limited =
        KeyCreated { scopes: Some(permissions(&["a"])), expire_time: Some(at(1000)), ..created(1) };
    world.does(Act::CreateKey(CreateKey { created: limited.clone(), ..create("a", 1) }));
    let rotate = world.rotate(1, 2, 60);
    let reason = RevokeReason::Superseded;
    let (retire_time, retire_when_idle_for) = (at(60), None);
    let successor = key_id(2);
    let rotated = Event::KeyRotated { successor, retire_time, retire_when_idle_for, reason };
    let successor = KeyCreated { tag: tag(2), replaces: Some(key_id(1)), ..limited };
    let expected = vec![rotated, Event::KeyCreated(successor)];
    assert_eq!(world.when(Act::RotateKey(rotate.clone())), Ok(expected));

    let position = world.does(Act::RotateKey(rotate));
    let new = &world.keys[&key_id(2)];
    assert_eq!((state(&world, 1), state(&world, 2)), (KeyState::Retiring, KeyState::Active));
    assert_eq!(new.created, position);
    assert_eq!(new.life.as_ref().unwrap().replaces, Some(key_id(1)));
    assert_eq!(new.account, account("a"));
}

#[test]
fn the_old_key_works_until_the_overlap_ends_and_not_a_moment_longer() {
    let mut world = World::with_key();
    world.does(Act::RotateKey(world.rotate(1, 2, 60)));
    world.now = Time::from_micros(at(60).as_micros() - 1);
    assert_eq!(state(&world, 1), KeyState::Retiring);
    world.now = at(60);
    assert_eq!(state(&world, 1), KeyState::Superseded);
}

#[test]
fn an_overlap_never_outlasts_the_old_keys_expiry() {
    let mut world = World::with_account();
    until(&mut world, 1, at(30));
    world.does(Act::RotateKey(world.rotate(1, 2, 60)));
    assert_eq!(retire_time(&world, 1), at(30));
    until(&mut world, 3, at(30));
    world.does(Act::RotateKey(world.rotate(3, 4, 29)));
    assert_eq!(retire_time(&world, 3), at(29));
}

#[test]
fn an_overlap_of_nothing_supersedes_at_once() {
    let mut world = World::with_key();
    world.does(Act::RotateKey(world.rotate(1, 2, 0)));
    assert_eq!((state(&world, 1), state(&world, 2)), (KeyState::Superseded, KeyState::Active));
}

#[test]
fn a_retiring_key_does_not_count_to_the_cap() {
    let mut world = World::with_account();
    for key in 1..=5 {
        world.does(Act::CreateKey(create("a", key)));
    }
    for key in 1..=5 {
        world.does(Act::RotateKey(world.rotate(key, key + 5, 600)));
        assert_eq!(world.open_keys(&account("a"), world.now), 5, "five active, {key} retiring");
    }
    let refusal = Refusal::ActiveKeyLimit { limit: 5, active: 5 };
    assert_eq!(refused(&world, Act::CreateKey(create("a", 11))), refusal);
    // That a retiring key ends is no further change.
    world.wait(600);
    assert_eq!(world.open_keys(&account("a"), world.now), 5);
    world.does(Act::RevokeKey(revoke(1)));
    assert_eq!(world.open_keys(&account("a"), world.now), 5);
}

#[test]
fn a_key_has_at_most_one_successor_which_can_be_rotated_in_turn() {
    let mut world = World::with_key();
    world.does(Act::RotateKey(world.rotate(1, 2, 60)));
    let again = Act::RotateKey(world.rotate(1, 3, 60));
    assert_eq!(refused(&world, again.clone()), Refusal::KeyAlreadyRotated);
    world.does(Act::RotateKey(world.rotate(2, 3, 60)));
    world.wait(60);
    assert_eq!(refused(&world, again), Refusal::KeyAlreadyRotated);
}

#[test]
fn a_key_that_does_not_work_is_not_rotated() {
    let mut world = World::with_account();
    until(&mut world, 1, at(10));
    world.does(Act::CreateKey(create("a", 2)));
    world.does(Act::CreateKey(create("a", 3)));
    world.does(Act::DisableKey(switch(2)));
    world.does(Act::RevokeKey(revoke(3)));
    world.wait(10);
    let cases = [
        (1, Refusal::KeyExpired),
        (2, Refusal::KeyDisabled),
        (3, Refusal::KeyRevoked),
        (9, Refusal::KeyNotFound),
    ];
    for (key, refusal) in cases {
        assert_eq!(refused(&world, Act::RotateKey(world.rotate(key, 8, 60))), refusal);
    }
}

#[test]
fn keys_of_an_account_that_is_not_active_are_not_rotated() {
    for status in [AccountStatus::Suspended, AccountStatus::Closed] {
        let mut world = World::with_key();
        world.does(Act::PutAccount(PutAccount { status: Some(status), ..world.change("a") }));
        let rotate = Act::RotateKey(world.rotate(1, 2, 60));
        assert_eq!(refused(&world, rotate), Refusal::AccountNotActive);
    }
}

#[test]
fn a_rotation_sealed_on_an_older_state_is_to_be_sealed_again() {
    let mut world = World::with_key();
    let rotate = world.rotate(1, 2, 60);
    world.does(Act::UpdateKey(UpdateKey { resealed: vec!["name"], ..world.update(1) }));
    assert_eq!(refused(&world, Act::RotateKey(rotate)), Refusal::Moved);
}

#[test]
fn a_retiring_key_can_still_be_narrowed_disabled_and_enabled() {
    let mut world = World::with_key();
    world.does(Act::RotateKey(world.rotate(1, 2, 60)));
    world.does(Act::UpdateKey(UpdateKey { expire_time: Some(at(30)), ..world.update(1) }));
    world.does(Act::DisableKey(switch(1)));
    assert_eq!(state(&world, 1), KeyState::Disabled);
    world.does(Act::EnableKey(switch(1)));
    assert_eq!(state(&world, 1), KeyState::Retiring);
    world.wait(30);
    assert_eq!(state(&world, 1), KeyState::Expired);
    assert_eq!(world.open_keys(&account("a"), world.now), 1, "its successor");
}

/// Key 1, which key 2 succeeds within an hour, or once nobody has used it for ten minutes.
fn waiting() -> World {
    let mut world = World::with_key();
    let idle = Some(Duration::from_mins(10));
    let rotate = RotateKey { retire_when_idle_for: idle, ..world.rotate(1, 2, 3600) };
    world.does(Act::RotateKey(rotate));
    world
}

fn retire(world: &World, key: u8) -> RetireKey {
    RetireKey { last_use: Some(at(5)), ..world.retire(key) }
}

#[test]
fn a_key_that_nobody_uses_any_more_is_superseded_from_the_record_of_that_on() {
    let mut world = waiting();
    world.wait(700);
    let asked = Act::RetireKey(retire(&world, 1));
    assert_eq!(world.when(asked.clone()), Ok(vec![Event::KeyRetired { last_use: Some(at(5)) }]));
    let retired = world.does(asked);
    assert_eq!(state(&world, 1), KeyState::Superseded);
    let old = &world.keys[&key_id(1)];
    let rotation = old.rotation().expect("rotated");
    assert_eq!((rotation.retire_time, rotation.evidence()), (at(700), retired));
    assert_eq!(rotation.successor, key_id(2));
    assert_eq!(old.position(), retired);
    assert_eq!(state(&world, 2), KeyState::Active);
    assert_eq!(world.open_keys(&account("a"), world.now), 1, "as before");
}

#[test]
fn a_key_retires_early_once_and_only_if_its_rotation_asked_for_it() {
    let mut world = waiting();
    world.does(Act::RetireKey(retire(&world, 1)));
    assert_eq!(world.when(Act::RetireKey(retire(&world, 1))), Ok(vec![]));
    world.does(Act::RotateKey(world.rotate(2, 3, 3600)));
    assert_eq!(world.when(Act::RetireKey(retire(&world, 2))), Ok(vec![]));
    assert_eq!(world.when(Act::RetireKey(retire(&world, 3))), Ok(vec![]), "not rotated");
    assert_eq!(refused(&world, Act::RetireKey(retire(&world, 9))), Refusal::KeyNotFound);
}

#[test]
fn a_key_whose_end_has_come_otherwise_does_not_retire() {
    let mut world = waiting();
    world.does(Act::RevokeKey(revoke(1)));
    assert_eq!(world.when(Act::RetireKey(retire(&world, 1))), Ok(vec![]));
    let mut world = waiting();
    world.wait(3600);
    assert_eq!(world.when(Act::RetireKey(retire(&world, 1))), Ok(vec![]), "superseded");
    let mut world = waiting();
    world.does(Act::UpdateKey(UpdateKey { expire_time: Some(at(30)), ..world.update(1) }));
    world.wait(30);
    assert_eq!(world.when(Act::RetireKey(retire(&world, 1))), Ok(vec![]), "expired");
}

#[test]
fn a_key_that_was_changed_since_it_was_found_unused_does_not_retire() {
    let mut world = waiting();
    let found = retire(&world, 1);
    world.does(Act::DisableKey(switch(1)));
    world.does(Act::EnableKey(switch(1)));
    assert_eq!(refused(&world, Act::RetireKey(found)), Refusal::Moved);
}
