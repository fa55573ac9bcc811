use super::*;
use crate::domain::account_rules::PutAccount;
use crate::domain::caller::Role;
use crate::domain::caller_rules::{RevokeCaller, RotateCaller};
use crate::domain::command::Act;
use crate::domain::event::CallerCreated;
use crate::domain::key_rules::{RotateKey, UpdateKey};
use crate::domain::tag::{KeyTag, PepperCheck};
use crate::domain::testing::*;

/// What the acts denied of what there was before them.
fn denied(before: &World, acts: impl FnOnce(&mut World)) -> Denials {
    let mut after = before.clone();
    acts(&mut after);
    let mut denials = Denials::default();
    for lost in &after.log[before.log.len()..] {
        denials.note(|subject| last_record(before, subject), lost);
    }
    denials
}

fn last_record(world: &World, subject: &Subject) -> bool {
    use crate::domain::facts::Facts;
    world.last_record(subject).is_some()
}

#[test]
fn what_takes_nothing_away_is_no_denial() {
    let denials = denied(&World::with_key(), |world| {
        world.does(Act::PutAccount(put("b")));
        world.does(Act::CreateKey(create("a", 2)));
        world.does(Act::RevokeKey(revoke(2)));
        world.does(Act::CreateCaller(create_caller(1, caller(&[Role::Issuer], &[]))));
    });
    assert!(denials.is_empty(), "{denials:?}");
}

#[test]
fn the_last_state_of_a_switched_key_counts() {
    let denials = denied(&World::with_key(), |world| {
        world.does(Act::DisableKey(switch(1)));
        world.does(Act::EnableKey(switch(1)));
    });
    assert!(!denials.keys[&key_id(1)].disabled);
    let denials = denied(&World::with_key(), |world| {
        world.does(Act::DisableKey(switch(1)));
        world.does(Act::EnableKey(switch(1)));
        world.does(Act::DisableKey(switch(1)));
    });
    assert!(denials.keys[&key_id(1)].disabled);
}

#[test]
fn revocation_rotation_and_limits_of_a_key_are_kept() {
    let world = World::with_key();
    let denials = denied(&world, |world| {
        let update = UpdateKey { expire_time: Some(at(90)), ..world.update(1) };
        world.does(Act::UpdateKey(update));
        world.does(Act::UpdateKey(UpdateKey { resealed: vec!["name"], ..world.update(1) }));
        world.does(Act::RotateKey(world.rotate(1, 2, 60)));
        world.does(Act::RevokeKey(revoke(1)));
    });
    let lost = &denials.keys[&key_id(1)];
    assert_eq!(lost.retire_time, Some(at(60)));
    assert!(lost.revoked.is_some());
    let Some(Event::KeyUpdated(limits)) = lost.limits.as_ref().map(|fact| &fact.event) else {
        panic!("{lost:?}")
    };
    assert_eq!((limits.expire_time, &limits.changed[..]), (Some(at(90)), &["name".to_owned()][..]));
    assert_eq!(denials.len(), 1, "the successor is not there any more");
}

#[test]
fn an_overlap_that_ended_early_ends_where_it_did() {
    let idle = Some(std::time::Duration::from_secs(60));
    let mut world = World::with_key();
    world.does(Act::RotateKey(RotateKey { retire_when_idle_for: idle, ..world.rotate(1, 2, 600) }));
    let denials = denied(&world, |world| {
        world.wait(70);
        world.does(Act::RetireKey(world.retire(1)));
    });
    assert_eq!(denials.keys[&key_id(1)].retire_time, Some(at(70)));
}

#[test]
fn a_key_that_was_only_renamed_is_not_limited() {
    let denials = denied(&World::with_key(), |world| {
        world.does(Act::UpdateKey(UpdateKey { resealed: vec!["name"], ..world.update(1) }));
    });
    assert!(denials.keys[&key_id(1)].limits.is_none());
}

#[test]
fn rotations_of_a_caller_are_kept_in_order() {
    let mut world = World::new();
    world.does(Act::CreateCaller(create_caller(1, caller(&[Role::Issuer], &[]))));
    let overlap = std::time::Duration::from_secs(5);
    let rotate = |n| RotateCaller { caller: caller_id(1), tag: tag(n), overlap, private: None };
    let denials = denied(&world, |world| {
        world.does(Act::RotateCaller(rotate(11)));
        world.does(Act::RotateCaller(rotate(12)));
        world.does(Act::RevokeCaller(RevokeCaller { caller: caller_id(1), private: None }));
    });
    let lost = &denials.callers[&caller_id(1)];
    assert_eq!(lost.rotations.len(), 2);
    assert!(lost.rotations[0].position < lost.rotations[1].position && lost.revoked.is_some());
}

fn state(words: &[&str], roles: &[&str], status: AccountStatus) -> AccountState {
    AccountState {
        plan: plan_name("standard"),
        permissions: permissions(words),
        roles: roles.iter().map(|name| role_name(name)).collect(),
        status,
    }
}

#[test]
fn an_account_keeps_what_both_states_have() {
    use AccountStatus::{Active, Closed, Suspended};
    let present = state(&["a:*", "b"], &["reader", "writer"], Active);
    assert_eq!(narrowed(&present, &present), None);
    let wider = state(&["*"], &["admin", "reader", "writer"], Active);
    assert_eq!(narrowed(&present, &wider), None, "nothing is granted");
    let lost = state(&["a:x", "c"], &["reader", "admin"], Suspended);
    let expected = Narrowed {
        permissions: permissions(&["a:x"]),
        roles: vec![role_name("reader")],
        status: Suspended,
    };
    assert_eq!(narrowed(&present, &lost), Some(expected));
    for (now, then, expected) in [
        (Suspended, Active, None),
        (Suspended, Closed, Some(Closed)),
        (Closed, Active, None),
        (Active, Closed, Some(Closed)),
    ] {
        let (present, lost) = (state(&[], &[], now), state(&[], &[], then));
        assert_eq!(narrowed(&present, &lost).map(|narrowed| narrowed.status), expected);
    }
}

#[test]
fn an_erasure_is_kept() {
    use crate::domain::account_rules::EraseAccount;
    let world = World::with_account();
    let denials = denied(&world, |world| {
        let erase = EraseAccount { account: account("a"), expected: None, private: None };
        world.does(Act::EraseAccount(erase));
    });
    assert_eq!(denials.len(), 1);
    assert!(denials.erased.contains_key(&AccountRef::clone(&account("a"))));
}

#[test]
fn the_last_state_of_an_account_counts() {
    let world = World::with_account();
    let denials = denied(&world, |world| {
        for status in [AccountStatus::Suspended, AccountStatus::Active] {
            world.does(Act::PutAccount(PutAccount { status: Some(status), ..world.change("a") }));
        }
    });
    let state = &denials.accounts[&AccountRef::clone(&account("a"))];
    assert_eq!(state.status, AccountStatus::Active);
}

#[test]
fn what_ended_with_a_pepper_is_told_by_the_pepper_that_recognised_it_at_last() {
    use crate::domain::peppers::{RehashKey, RetirePepper, RotatePepper, dependents};
    let (first, second) = (PepperVersion(1), PepperVersion(2));
    let check = PepperCheck([1; 16]);
    let mut world = World::with_key();
    world.does(Act::RegisterPepper { version: first, check });
    world.does(Act::CreateKey(create("a", 2)));
    let moved = |n| KeyTag { pepper: second, ..tag(n) };
    let denials = denied(&world, |world| {
        world.does(Act::RotatePepper(RotatePepper { version: second, check, private: None }));
        let (from, to) = (tag(1), moved(1));
        world.does(Act::RehashKey(RehashKey { key: key_id(1), from, to }));
        let created = CallerCreated { tag: moved(5), ..caller(&[Role::Admin], &[]) };
        world.does(Act::CreateCaller(create_caller(5, created)));
        let accepted = Some(dependents(world, first, world.now).total());
        world.does(Act::RetirePepper(RetirePepper { version: first, accepted, private: None }));
    });
    assert_eq!(denials.peppers.iter().collect::<Vec<_>>(), [&first]);
    assert_eq!(denials.keys[&key_id(1)].pepper, Some(second), "it had moved");
    assert!(!denials.keys.contains_key(&key_id(2)), "it ended with the one it has");
}
