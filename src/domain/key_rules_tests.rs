//! Keys: creating under a cap, updating, disabling, enabling and revoking.

use super::*;
use crate::domain::account_rules::PutAccount;
use crate::domain::command::Act;
use crate::domain::facts::Facts;
use crate::domain::policy::Plan;
use crate::domain::testing::*;

fn refused(world: &World, act: Act) -> Refusal {
    world.when(act).expect_err("refused")
}

fn state(world: &World, key: u8) -> KeyState {
    world.keys[&key_id(key)].state_at(world.now)
}

fn create_until(key: u8, expire_time: Time) -> Act {
    let created = KeyCreated { expire_time: Some(expire_time), ..created(key) };
    Act::CreateKey(CreateKey { created, ..create("a", key) })
}

fn create_scoped(key: u8, scopes: &[&str]) -> Act {
    let created = KeyCreated { scopes: Some(permissions(scopes)), ..created(key) };
    Act::CreateKey(CreateKey { created, ..create("a", key) })
}

fn set_status(world: &mut World, status: AccountStatus) {
    world.does(Act::PutAccount(PutAccount { status: Some(status), ..world.change("a") }));
}

fn set_plan(world: &mut World, plan: &str) {
    world.does(Act::PutAccount(PutAccount { plan: Some(plan_name(plan)), ..world.change("a") }));
}

/// An account on `standard` with its five keys, 1 to 5.
fn full() -> World {
    let mut world = World::with_account();
    for key in 1..=5 {
        world.does(Act::CreateKey(create("a", key)));
    }
    world
}

fn at_cap(limit: u32, active: u32) -> Refusal {
    Refusal::ActiveKeyLimit { limit, active }
}

#[test]
fn a_key_is_created_as_asked_and_active() {
    let mut world = World::with_account();
    let asked = KeyCreated {
        scopes: Some(permissions(&["reports:*"])),
        expire_time: Some(at(60)),
        ..created(1)
    };
    let create = CreateKey { created: asked.clone(), ..create("a", 1) };
    assert_eq!(world.when(Act::CreateKey(create.clone())), Ok(vec![Event::KeyCreated(asked)]));
    let position = world.does(Act::CreateKey(create));
    let key = &world.keys[&key_id(1)];
    assert_eq!(state(&world, 1), KeyState::Active);
    assert_eq!((key.position(), key.personal_at(), key.created), (position, position, position));
    assert_eq!((key.create_time, key.expire_time()), (at(0), Some(at(60))));
    assert_eq!(key.created_by, Some(ADMIN));
}

#[test]
fn keys_are_created_only_in_accounts_that_are_there_and_active() {
    let mut world = World::with_account();
    assert_eq!(refused(&world, Act::CreateKey(create("b", 1))), Refusal::AccountNotFound);
    for status in [AccountStatus::Suspended, AccountStatus::Closed] {
        set_status(&mut world, status);
        assert_eq!(refused(&world, Act::CreateKey(create("a", 1))), Refusal::AccountNotActive);
    }
}

#[test]
fn a_key_is_never_of_the_environment_of_callers() {
    let world = World::with_account();
    let mut service = create("a", 1);
    service.created.environment = Environment::Service;
    assert_eq!(refused(&world, Act::CreateKey(service)), Refusal::NotForKeys);
}

#[test]
fn an_expiry_must_be_in_the_future() {
    let world = World::with_account();
    assert_eq!(refused(&world, create_until(1, at(0))), Refusal::ExpiryPast);
    assert_eq!(refused(&world, create_until(1, at(-1))), Refusal::ExpiryPast);
    assert!(world.when(create_until(1, Time::from_micros(at(0).as_micros() + 1))).is_ok());
}

#[test]
fn the_cap_is_exact_and_disabled_keys_count_to_it() {
    let mut world = full();
    assert_eq!(refused(&world, Act::CreateKey(create("a", 6))), at_cap(5, 5));
    world.does(Act::DisableKey(switch(1)));
    assert_eq!(refused(&world, Act::CreateKey(create("a", 6))), at_cap(5, 5));
    world.does(Act::RevokeKey(revoke(1)));
    world.does(Act::CreateKey(create("a", 6)));
    assert_eq!(refused(&world, Act::CreateKey(create("a", 7))), at_cap(5, 5));
}

#[test]
fn keys_of_one_account_do_not_count_to_the_cap_of_another() {
    let mut world = full();
    world.does(Act::PutAccount(put("b")));
    assert!(world.when(Act::CreateKey(create("b", 6))).is_ok());
}

#[test]
fn a_key_that_expires_frees_its_place_at_that_moment() {
    let mut world = World::with_account();
    for key in 1..=4 {
        world.does(Act::CreateKey(create("a", key)));
    }
    world.does(create_until(5, at(60)));
    world.now = Time::from_micros(at(60).as_micros() - 1);
    assert_eq!(refused(&world, Act::CreateKey(create("a", 6))), at_cap(5, 5));
    world.now = at(60);
    world.does(Act::CreateKey(create("a", 6)));
}

#[test]
fn bringing_an_expiry_forward_frees_the_place_then() {
    let mut world = full();
    world.does(Act::UpdateKey(UpdateKey { expire_time: Some(at(10)), ..world.update(1) }));
    assert_eq!(world.open_keys(&account("a"), world.now), 5);
    world.wait(10);
    assert_eq!(world.open_keys(&account("a"), world.now), 4);
    world.does(Act::CreateKey(create("a", 6)));
}

#[test]
fn a_downgrade_keeps_keys_and_blocks_new_ones() {
    let mut world = full();
    set_plan(&mut world, "tiny");
    assert!((1..=5).all(|key| state(&world, key) == KeyState::Active));
    assert_eq!(refused(&world, Act::CreateKey(create("a", 6))), at_cap(1, 5));
    assert!(world.when(Act::RotateKey(world.rotate(1, 6, 60))).is_ok(), "rotation adds none");
    for key in 1..=4 {
        world.does(Act::RevokeKey(revoke(key)));
    }
    assert_eq!(refused(&world, Act::CreateKey(create("a", 6))), at_cap(1, 1));
    world.does(Act::RevokeKey(revoke(5)));
    world.does(Act::CreateKey(create("a", 6)));
}

#[test]
fn a_plan_without_a_cap_has_none_and_a_changed_cap_holds_at_once() {
    let mut world = full();
    set_plan(&mut world, "enterprise");
    for key in 6..=40 {
        world.does(Act::CreateKey(create("a", key)));
    }
    let mut capped = policy();
    capped.plans.insert(plan_name("enterprise"), Plan { active_keys: Some(40), ..Plan::default() });
    world.does(Act::SetPolicy(capped));
    assert_eq!(refused(&world, Act::CreateKey(create("a", 41))), at_cap(40, 40));
}

#[test]
fn an_account_whose_plan_left_the_policy_gets_no_new_keys() {
    let mut world = World::with_account();
    let mut smaller = policy();
    smaller.plans.remove(&plan_name("standard"));
    world.does(Act::SetPolicy(smaller));
    let refusal = refused(&world, Act::CreateKey(create("a", 1)));
    assert!(matches!(refusal, Refusal::UnknownPlan { .. }), "{refusal:?}");
}

#[test]
fn scopes_can_only_be_narrowed() {
    let mut world = World::with_account();
    world.does(create_scoped(1, &["reports:*", "users:read"]));
    let rescope = |world: &World, scopes: &[&str]| {
        Act::UpdateKey(UpdateKey { scopes: Some(permissions(scopes)), ..world.update(1) })
    };
    for wider in [&["*"][..], &["reports:*", "users:*"], &["users:write"], &["reports"]] {
        assert_eq!(refused(&world, rescope(&world, wider)), Refusal::ScopesWiden, "{wider:?}");
    }
    world.does(rescope(&world, &["reports:read", "users:read"]));
    assert_eq!(refused(&world, rescope(&world, &["reports:*"])), Refusal::ScopesWiden);
    world.does(rescope(&world, &[]));
    assert_eq!(refused(&world, rescope(&world, &["users:read"])), Refusal::ScopesWiden);
    assert_eq!(world.keys[&key_id(1)].scopes(), Some(&permissions(&[])), "present stays present");
}

#[test]
fn a_key_without_scopes_can_be_given_some_and_keeps_them() {
    let mut world = World::with_key();
    let scopes = Some(permissions(&["a"]));
    world.does(Act::UpdateKey(UpdateKey { scopes: scopes.clone(), ..world.update(1) }));
    world.does(Act::UpdateKey(UpdateKey { resealed: vec!["name"], ..world.update(1) }));
    assert_eq!(world.keys[&key_id(1)].scopes(), scopes.as_ref());
}

#[test]
fn an_expiry_can_only_be_brought_forward_and_stays_in_the_future() {
    let mut world = World::with_key();
    let until = |world: &World, time| {
        Act::UpdateKey(UpdateKey { expire_time: Some(time), ..world.update(1) })
    };
    assert_eq!(refused(&world, until(&world, at(0))), Refusal::ExpiryPast);
    world.does(until(&world, at(60)));
    assert_eq!(refused(&world, until(&world, at(61))), Refusal::ExpiryLater);
    world.does(until(&world, at(59)));
    world.wait(30);
    assert_eq!(refused(&world, until(&world, at(30))), Refusal::ExpiryPast);
    world.wait(29);
    assert_eq!(state(&world, 1), KeyState::Expired);
    assert_eq!(refused(&world, until(&world, at(60))), Refusal::KeyExpired);
}

#[test]
fn an_update_says_which_fields_differ_and_one_that_differs_in_nothing_does_nothing() {
    let mut world = World::with_account();
    world.does(create_scoped(1, &["a:*"]));
    assert_eq!(world.when(Act::UpdateKey(world.update(1))), Ok(Vec::new()));
    let same = UpdateKey { scopes: Some(permissions(&["a:*"])), ..world.update(1) };
    assert_eq!(world.when(Act::UpdateKey(same)), Ok(Vec::new()));

    let update = UpdateKey {
        scopes: Some(permissions(&["a:b"])),
        expire_time: Some(at(5)),
        resealed: vec!["name", "allowed_cidrs"],
        ..world.update(1)
    };
    let changed = ["name", "allowed_cidrs", "scopes", "expire_time"].map(str::to_owned).into();
    let event = KeyUpdated {
        scopes: Some(permissions(&["a:b"])),
        expire_time: Some(at(5)),
        sources: Sources::Any,
        changed,
    };
    let events = world.when(Act::UpdateKey(update.clone()));
    assert_eq!(events, Ok(vec![Event::KeyUpdated(event)]));
    let position = world.does(Act::UpdateKey(update));
    let key = &world.keys[&key_id(1)];
    assert_eq!((key.position(), key.personal_at()), (position, position));
}

#[test]
fn an_update_is_refused_where_it_does_not_belong() {
    let mut world = World::with_key();
    let rename = |world: &World| UpdateKey { resealed: vec!["name"], ..world.update(1) };
    let unknown = UpdateKey { key: key_id(9), ..rename(&world) };
    assert_eq!(refused(&world, Act::UpdateKey(unknown)), Refusal::KeyNotFound);
    let first = world.keys[&key_id(1)].position();
    let second = world.does(Act::UpdateKey(UpdateKey { expected: Some(first), ..rename(&world) }));
    let stale = UpdateKey { expected: Some(first), ..rename(&world) };
    let refusal = Refusal::StalePosition { current: Some(second) };
    assert_eq!(refused(&world, Act::UpdateKey(stale)), refusal);
    let moved = UpdateKey { basis: first, ..rename(&world) };
    assert_eq!(refused(&world, Act::UpdateKey(moved)), Refusal::Moved);
    world.does(Act::RevokeKey(revoke(1)));
    assert_eq!(refused(&world, Act::UpdateKey(rename(&world))), Refusal::KeyRevoked);
}

#[test]
fn a_key_is_disabled_and_enabled_and_doing_so_twice_does_nothing() {
    let mut world = World::with_key();
    assert_eq!(world.when(Act::EnableKey(switch(1))), Ok(Vec::new()));
    assert_eq!(world.when(Act::DisableKey(switch(1))), Ok(vec![Event::KeyDisabled]));
    let disabled = world.does(Act::DisableKey(switch(1)));
    assert_eq!(state(&world, 1), KeyState::Disabled);
    assert_eq!(world.keys[&key_id(1)].life.as_ref().unwrap().disabled_at, Some(disabled));
    assert_eq!(world.when(Act::DisableKey(switch(1))), Ok(Vec::new()));
    assert_eq!(world.when(Act::EnableKey(switch(1))), Ok(vec![Event::KeyEnabled]));
    world.does(Act::EnableKey(switch(1)));
    assert_eq!(state(&world, 1), KeyState::Active);
}

#[test]
fn a_key_that_is_over_or_unknown_is_neither_disabled_nor_enabled() {
    let mut world = World::with_account();
    world.does(create_until(1, at(10)));
    world.does(Act::CreateKey(create("a", 2)));
    world.does(Act::CreateKey(create("a", 3)));
    world.does(Act::RevokeKey(revoke(2)));
    world.does(Act::RotateKey(world.rotate(3, 4, 10)));
    world.wait(10);
    let cases = [
        (1, Refusal::KeyExpired),
        (2, Refusal::KeyRevoked),
        (3, Refusal::KeySuperseded),
        (9, Refusal::KeyNotFound),
    ];
    for (key, refusal) in cases {
        assert_eq!(refused(&world, Act::DisableKey(switch(key))), refusal);
        assert_eq!(refused(&world, Act::EnableKey(switch(key))), refusal);
    }
}

#[test]
fn revoking_is_final_and_revoking_again_does_nothing() {
    let mut world = World::with_key();
    let leaked = RevokeKey { leaked: true, ..revoke(1) };
    let event = Event::KeyRevoked { reason: RevokeReason::KeyCompromise, leaked: true };
    assert_eq!(world.when(Act::RevokeKey(leaked.clone())), Ok(vec![event]));
    let position = world.does(Act::RevokeKey(leaked));
    assert_eq!(state(&world, 1), KeyState::Revoked);
    assert_eq!(world.when(Act::RevokeKey(revoke(1))), Ok(Vec::new()));
    for act in [
        Act::EnableKey(switch(1)),
        Act::DisableKey(switch(1)),
        Act::RotateKey(world.rotate(1, 2, 60)),
    ] {
        assert_eq!(refused(&world, act), Refusal::KeyRevoked);
    }
    let revocation = world.keys[&key_id(1)].life.as_ref().unwrap().revocation.clone().unwrap();
    assert_eq!((revocation.position, revocation.time), (position, at(0)));
    assert_eq!(refused(&world, Act::RevokeKey(revoke(9))), Refusal::KeyNotFound);
}

#[test]
fn any_key_can_be_revoked_whatever_its_state_or_its_accounts() {
    let mut world = World::with_account();
    world.does(create_until(1, at(10)));
    for key in 2..=4 {
        world.does(Act::CreateKey(create("a", key)));
    }
    world.does(Act::DisableKey(switch(2)));
    world.does(Act::RotateKey(world.rotate(3, 5, 10)));
    world.does(Act::RotateKey(world.rotate(4, 6, 1000)));
    set_status(&mut world, AccountStatus::Closed);
    world.wait(10);
    for key in 1..=6 {
        world.does(Act::RevokeKey(revoke(key)));
        assert_eq!(state(&world, key), KeyState::Revoked);
    }
}
