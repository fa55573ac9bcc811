//! Accounts: registering, changing, and what closing one ends.

use super::*;
use crate::domain::command::Act;
use crate::domain::testing::*;

fn put_refused(world: &World, put: PutAccount) -> Refusal {
    world.when(Act::PutAccount(put)).expect_err("refused")
}

fn state_of(world: &World, name: &str) -> AccountState {
    world.accounts[&*account(name)].state.clone()
}

fn closed(world: &mut World) {
    world.does(Act::PutAccount(PutAccount {
        status: Some(AccountStatus::Closed),
        ..world.change("a")
    }));
}

#[test]
fn a_new_account_has_what_was_asked_and_is_active_unless_asked_otherwise() {
    let world = World::new();
    let asked = PutAccount {
        permissions: Some(permissions(&["a:*"])),
        roles: Some(vec![role_name("reader")]),
        ..put("a")
    };
    let state = AccountState {
        plan: plan_name("standard"),
        permissions: permissions(&["a:*"]),
        roles: vec![role_name("reader")],
        status: AccountStatus::Active,
    };
    let events = world.when(Act::PutAccount(asked.clone()));
    assert_eq!(events, Ok(vec![Event::AccountRegistered(state.clone())]));

    let suspended = PutAccount { status: Some(AccountStatus::Suspended), ..asked };
    let state = AccountState { status: AccountStatus::Suspended, ..state };
    let events = world.when(Act::PutAccount(suspended));
    assert_eq!(events, Ok(vec![Event::AccountRegistered(state)]));
}

#[test]
fn a_new_account_must_name_its_plan_and_only_what_the_policy_has() {
    let world = World::new();
    assert_eq!(put_refused(&world, PutAccount { plan: None, ..put("a") }), Refusal::PlanMissing);
    let known = vec![plan_name("enterprise"), plan_name("standard"), plan_name("tiny")];
    let other = PutAccount { plan: Some(plan_name("gold")), ..put("a") };
    assert_eq!(put_refused(&world, other), Refusal::UnknownPlan { known });
    let roles = Some(vec![role_name("reader"), role_name("writer")]);
    let known = vec![role_name("reader")];
    assert_eq!(
        put_refused(&world, PutAccount { roles, ..put("a") }),
        Refusal::UnknownRole { known }
    );
}

#[test]
fn a_change_keeps_what_it_does_not_name_and_says_which_fields_differ() {
    let mut world = World::with_account();
    world.wait(10);
    let change = PutAccount {
        plan: Some(plan_name("tiny")),
        permissions: Some(permissions(&["b"])),
        ..world.change("a")
    };
    let state = AccountState {
        plan: plan_name("tiny"),
        permissions: permissions(&["b"]),
        roles: Vec::new(),
        status: AccountStatus::Active,
    };
    let changed = vec!["plan".to_owned(), "permissions".to_owned()];
    let events = world.when(Act::PutAccount(change.clone()));
    assert_eq!(events, Ok(vec![Event::AccountChanged { state: state.clone(), changed }]));

    let registered = world.accounts[&*account("a")].clone();
    let position = world.does(Act::PutAccount(change));
    let account = world.accounts[&*account("a")].clone();
    assert_eq!(account.state, state);
    assert_eq!((account.create_time, account.update_time), (at(0), at(10)));
    assert_eq!(account.position, position);
    assert_eq!(account.status_position, registered.position, "the status is as old as it was");
}

#[test]
fn every_field_that_differs_is_named() {
    let world = World::with_account();
    let change = PutAccount {
        plan: Some(plan_name("enterprise")),
        permissions: Some(permissions(&["p"])),
        roles: Some(vec![role_name("reader")]),
        status: Some(AccountStatus::Suspended),
        renamed: true,
        ..world.change("a")
    };
    let events = world.when(Act::PutAccount(change)).unwrap();
    let [Event::AccountChanged { changed, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(changed, &["display_name", "plan", "permissions", "roles", "status"]);
}

#[test]
fn a_change_that_differs_in_nothing_does_nothing() {
    let world = World::with_account();
    assert_eq!(world.when(Act::PutAccount(world.change("a"))), Ok(Vec::new()));
    let same = PutAccount {
        plan: Some(plan_name("standard")),
        permissions: Some(permissions(&[])),
        roles: Some(Vec::new()),
        status: Some(AccountStatus::Active),
        ..world.change("a")
    };
    assert_eq!(world.when(Act::PutAccount(same)), Ok(Vec::new()));
}

#[test]
fn a_status_is_as_old_as_its_last_change() {
    let mut world = World::with_account();
    let suspend = PutAccount { status: Some(AccountStatus::Suspended), ..world.change("a") };
    let suspended = world.does(Act::PutAccount(suspend));
    world.does(Act::PutAccount(PutAccount { renamed: true, ..world.change("a") }));
    assert_eq!(world.accounts[&*account("a")].status_position, suspended);
    let resume = PutAccount { status: Some(AccountStatus::Active), ..world.change("a") };
    let resumed = world.does(Act::PutAccount(resume));
    assert_eq!(world.accounts[&*account("a")].status_position, resumed);
}

#[test]
fn closing_is_final_and_asking_nothing_new_of_a_closed_account_does_nothing() {
    let mut world = World::with_account();
    closed(&mut world);
    for change in [
        PutAccount { status: Some(AccountStatus::Active), ..world.change("a") },
        PutAccount { status: Some(AccountStatus::Suspended), ..world.change("a") },
        PutAccount { renamed: true, ..world.change("a") },
        PutAccount { plan: Some(plan_name("tiny")), ..world.change("a") },
    ] {
        assert_eq!(put_refused(&world, change), Refusal::AccountClosed);
    }
    let again = PutAccount { status: Some(AccountStatus::Closed), ..world.change("a") };
    assert_eq!(world.when(Act::PutAccount(again)), Ok(Vec::new()));
}

#[test]
fn an_account_elsewhere_than_expected_is_refused_with_where_it_is() {
    let world = World::with_account();
    let position = world.accounts[&*account("a")].position;
    let change = PutAccount { plan: Some(plan_name("tiny")), ..world.change("a") };
    let right = PutAccount { expected: Some(position), ..change.clone() };
    assert!(world.when(Act::PutAccount(right)).is_ok());
    let stale = PutAccount { expected: Some(Position::FIRST), ..change };
    let refusal = Refusal::StalePosition { current: Some(position) };
    assert_eq!(put_refused(&world, stale), refusal);
    let none = PutAccount { expected: Some(position), ..put("b") };
    assert_eq!(put_refused(&world, none), Refusal::StalePosition { current: None });
}

#[test]
fn what_was_sealed_on_another_state_is_to_be_sealed_again() {
    let world = World::with_account();
    // Sealed as a registration, but the account exists; sealed on an older state; and the reverse.
    let renamed = PutAccount { renamed: true, ..put("a") };
    assert_eq!(put_refused(&world, renamed.clone()), Refusal::Moved);
    let older = PutAccount { basis: Some(Position::FIRST), ..renamed };
    assert_eq!(put_refused(&world, older), Refusal::Moved);
    let gone = PutAccount { basis: Some(Position::FIRST), ..put("b") };
    assert_eq!(put_refused(&world, gone), Refusal::Moved);
}

#[test]
fn an_account_keeps_a_plan_and_roles_that_left_the_policy_but_cannot_take_them_anew() {
    let mut world = World::new();
    let roles = Some(vec![role_name("reader")]);
    world.does(Act::PutAccount(PutAccount {
        plan: Some(plan_name("tiny")),
        roles: roles.clone(),
        ..put("a")
    }));
    world.does(Act::PutAccount(put("b")));
    let mut smaller = policy();
    smaller.plans.remove(&plan_name("tiny"));
    smaller.roles.clear();
    world.does(Act::SetPolicy(smaller));

    world.does(Act::PutAccount(PutAccount { renamed: true, ..world.change("a") }));
    assert_eq!(state_of(&world, "a").plan, plan_name("tiny"));
    assert_eq!(state_of(&world, "a").roles, [role_name("reader")]);

    let plan = PutAccount { plan: Some(plan_name("tiny")), ..world.change("b") };
    assert!(matches!(put_refused(&world, plan), Refusal::UnknownPlan { .. }));
    let role = PutAccount { roles, ..world.change("b") };
    assert!(matches!(put_refused(&world, role), Refusal::UnknownRole { .. }));
}

fn erase(name: &str) -> EraseAccount {
    EraseAccount { account: account(name), expected: None, private: Some(private()) }
}

#[test]
fn erasing_is_one_event_that_closes_the_account_whatever_its_status_was() {
    for status in [AccountStatus::Active, AccountStatus::Suspended, AccountStatus::Closed] {
        let mut world = World::with_key();
        let put = PutAccount { status: Some(status), ..world.change("a") };
        world.carry_out(&by(admin(), Act::PutAccount(put))).expect("not refused");
        let before = state_of(&world, "a");
        let events = world.when(Act::EraseAccount(erase("a")));
        assert_eq!(events, Ok(vec![Event::AccountErased]));
        let position = world.does(Act::EraseAccount(erase("a")));

        let erased = &world.accounts[&*account("a")];
        assert!(erased.erased);
        assert_eq!(erased.state, AccountState { status: AccountStatus::Closed, ..before });
        assert_eq!((erased.position, erased.status_position), (position, position));
        let judged = crate::domain::verdict::judge(
            &world.keys[&key_id(1)],
            erased,
            &permissions(&["*"]),
            &crate::domain::verdict::Ask { tenant: None, required: &[], source: None },
            world.now,
        );
        let denial = crate::domain::verdict::Denial::AccountInactive;
        let evidence = Some(position);
        assert_eq!(judged, Err(crate::domain::verdict::Denied { denial, evidence }));
    }
}

#[test]
fn an_erased_account_stays_as_it_is_and_nothing_more_is_sealed_about_it() {
    let mut world = World::with_key();
    let position = world.does(Act::EraseAccount(erase("a")));
    assert_eq!(world.when(Act::EraseAccount(erase("a"))), Ok(Vec::new()));
    let stale = EraseAccount { expected: Some(Position::FIRST), ..erase("a") };
    assert_eq!(world.when(Act::EraseAccount(stale)), Ok(Vec::new()), "what is asked is so");

    let again = PutAccount { status: Some(AccountStatus::Active), ..world.change("a") };
    assert_eq!(put_refused(&world, again), Refusal::AccountClosed);
    let renamed = PutAccount { renamed: true, ..world.change("a") };
    assert_eq!(put_refused(&world, renamed), Refusal::AccountClosed);
    let switch = crate::domain::key_rules::SwitchKey { private: Some(private()), ..switch(1) };
    assert_eq!(world.when(Act::DisableKey(switch)), Err(Refusal::AccountClosed));
    assert_eq!(world.when(Act::CreateKey(create("a", 2))), Err(Refusal::AccountNotActive));
    assert_eq!(world.accounts[&*account("a")].position, position);
    assert!(world.when(Act::RevokeKey(revoke(1))).is_ok(), "without a word sealed");
}

#[test]
fn only_an_account_that_is_where_it_is_expected_is_erased() {
    let world = World::with_account();
    let current = world.accounts[&*account("a")].position;
    let stale = EraseAccount { expected: Some(Position::FIRST), ..erase("a") };
    let refusal = Refusal::StalePosition { current: Some(current) };
    assert_eq!(world.when(Act::EraseAccount(stale)), Err(refusal));
    let right = EraseAccount { expected: Some(current), ..erase("a") };
    assert!(world.when(Act::EraseAccount(right)).is_ok());
    assert_eq!(world.when(Act::EraseAccount(erase("b"))), Err(Refusal::AccountNotFound));
}

#[test]
fn the_keys_of_an_erased_account_forget_where_they_may_be_used_from() {
    use crate::domain::source::{SourceRange, Sources};
    let mut world = World::with_account();
    world.does(Act::PutAccount(put("b")));
    let ranges = || Sources::requested(vec![SourceRange::parse("192.0.2.0/24").expect("valid")]);
    for (name, key) in [("a", 1), ("b", 2)] {
        let mut bound = create(name, key);
        bound.created.sources = ranges();
        world.does(Act::CreateKey(bound));
    }
    world.does(Act::CreateKey(create("a", 3)));
    world.does(Act::EraseAccount(erase("a")));
    let sources =
        |key| world.keys[&key_id(key)].limits.as_ref().map(|limits| limits.sources.clone());
    assert_eq!(sources(1), Some(Sources::Unreadable));
    assert_eq!(sources(2), Some(ranges()));
    assert_eq!(sources(3), None);
}
