use super::*;
use crate::domain::account_rules::EraseAccount;
use crate::domain::caller::{Role, Roles};
use crate::domain::caller_rules::RotateCaller;
use crate::domain::command::Act;
use crate::domain::event::CallerCreated;
use crate::domain::key_rules::RotateKey;
use crate::domain::tag::Tag;
use crate::domain::testing::*;

const V1: PepperVersion = PepperVersion(1);
const V2: PepperVersion = PepperVersion(2);

fn check(version: PepperVersion) -> PepperCheck {
    PepperCheck([version.0.to_be_bytes()[1]; 16])
}

fn rotate(version: PepperVersion) -> Act {
    Act::RotatePepper(RotatePepper { version, check: check(version), private: None })
}

fn retire(version: PepperVersion, accepted: Option<u64>) -> Act {
    Act::RetirePepper(RetirePepper { version, accepted, private: None })
}

/// The account `a` with the keys 1 and 2, the admin and the caller 3, all under pepper 1, and pepper 2 in force.
fn world() -> World {
    let mut world = World::with_account();
    world.does(Act::RegisterPepper { version: V1, check: check(V1) });
    for key in [1, 2] {
        world.does(Act::CreateKey(create("a", key)));
    }
    world.does(Act::CreateCaller(create_caller(3, caller(&[Role::Auditor], &[]))));
    world.does(rotate(V2));
    world
}

fn moved(n: u8) -> KeyTag {
    KeyTag { pepper: V2, tag: Tag::from_bytes([n ^ 0xff; 32]) }
}

fn rehash(key: u8) -> Act {
    Act::RehashKey(RehashKey { key: key_id(key), from: tag(key), to: moved(key) })
}

fn rehash_caller(caller: CallerId) -> Act {
    Act::RehashCaller(RehashCaller { caller, from: tag(9), to: moved(9) })
}

fn dependents_of(world: &World, version: PepperVersion) -> (u64, u64) {
    let found = dependents(world, version, world.now);
    (found.keys, found.callers)
}

#[test]
fn a_pepper_follows_the_one_in_force_and_is_put_there_once() {
    let mut world = world();
    assert_eq!(world.peppers().current(), Some(V2));
    assert_eq!(world.when(rotate(V2)), Err(Refusal::Moved));
    assert_eq!(world.when(rotate(V1)), Err(Refusal::Moved));
    // What was left out is nobody's.
    world.does(rotate(PepperVersion(5)));
    assert_eq!(world.peppers().current(), Some(PepperVersion(5)));
}

#[test]
fn a_key_moves_once_and_nothing_else_of_it_changes() {
    let mut world = world();
    let before = world.keys[&key_id(1)].clone();
    world.does(rehash(1));
    let after = world.keys[&key_id(1)].clone();
    let expected = Key { tag: moved(1).tag, pepper: V2, last: after.last, ..before.clone() };
    assert_eq!(after, expected);
    assert!(after.last > before.last);
    assert_eq!(world.when(rehash(1)), Ok(Vec::new()), "its secret is recognised by another tag");
    assert_eq!(dependents_of(&world, V1), (1, 2));
    assert_eq!(dependents_of(&world, V2), (1, 0));
}

#[test]
fn what_has_changed_meanwhile_does_not_move_or_revive() {
    let mut world = world();
    world.does(Act::RevokeKey(revoke(1)));
    assert_eq!(world.when(rehash(1)), Ok(Vec::new()), "a revoked key");
    assert_eq!(world.when(rehash(9)), Ok(Vec::new()), "no key");
    let other = RehashKey { key: key_id(2), from: tag(7), to: moved(2) };
    assert_eq!(world.when(Act::RehashKey(other)), Ok(Vec::new()), "another secret");
    world.does(rotate(PepperVersion(3)));
    assert_eq!(world.when(rehash(2)), Ok(Vec::new()), "its pepper is not in force any more");
}

#[test]
fn a_key_of_an_erased_account_does_not_move_and_ends_with_its_pepper() {
    let mut world = world();
    let erase = EraseAccount { account: account("a"), expected: None, private: Some(private()) };
    world.does(Act::EraseAccount(erase));
    assert_eq!(world.when(rehash(1)), Ok(Vec::new()));
    assert_eq!(dependents_of(&world, V1), (2, 2), "whatever the status of their accounts");
    world.does(rehash_caller(ADMIN));
    world.does(retire(V1, Some(3)));
    assert_eq!(dependents_of(&world, V1), (0, 0));
}

#[test]
fn a_disabled_key_moves_since_it_may_work_again() {
    let mut world = world();
    world.does(Act::DisableKey(switch(1)));
    assert_eq!(world.when(rehash(1)).map(|events| events.len()), Ok(1));
}

#[test]
fn a_callers_present_secret_moves_and_stays_the_same_secret() {
    let mut world = world();
    let before = world.caller(&caller_id(3)).unwrap();
    world.does(rehash_caller(caller_id(3)));
    let after = world.caller(&caller_id(3)).unwrap();
    let expected = Caller { tag: moved(9), position: after.position, ..Caller::clone(&before) };
    assert_eq!(*after, expected);
    assert_eq!(after.secret_at, before.position);
    assert_eq!(world.when(rehash_caller(caller_id(3))), Ok(Vec::new()));
}

#[test]
fn a_pepper_on_which_somebody_depends_is_retired_only_if_just_so_many_are_accepted() {
    let mut world = world();
    let refused = |world: &World, accepted| world.when(retire(V1, accepted)).unwrap_err();
    let in_use = |keys, callers| Refusal::PepperInUse(Dependents { keys, callers });
    assert_eq!(refused(&world, None), in_use(2, 2));
    world.does(rehash(1));
    world.does(rehash_caller(ADMIN));
    assert_eq!(refused(&world, Some(3)), in_use(1, 1));
    assert_eq!(refused(&world, Some(1)), in_use(1, 1));
    let ended = Dependents { keys: 1, callers: 1 };
    let expected = vec![Event::PepperRetired { version: V1, ended }];
    assert_eq!(world.when(retire(V1, Some(2))), Ok(expected));
    assert_eq!(world.when(retire(PepperVersion(7), None)), Err(Refusal::PepperNotFound));
    assert_eq!(world.when(retire(V2, Some(2))), Err(Refusal::PepperInForce));
}

#[test]
fn those_that_depend_on_a_retired_pepper_end_with_it_by_one_event() {
    let mut world = world();
    world.does(rehash(1));
    world.does(rehash_caller(ADMIN));
    let records = world.log.len();
    world.does(retire(V1, Some(2)));
    assert_eq!(world.log.len(), records + 1);
    let position = world.log[records].position;
    let ended = &world.keys[&key_id(2)];
    assert_eq!(ended.state_at(world.now), KeyState::Revoked);
    let revocation = ended.life.as_ref().unwrap().revocation.clone().unwrap();
    let reason = RevokeReason::Unspecified;
    assert_eq!(revocation, Revocation { position, time: world.now, reason });
    assert_eq!(world.keys[&key_id(1)].state_at(world.now), KeyState::Active);
    assert!(!world.caller(&caller_id(3)).unwrap().works_at(world.now));
    assert!(world.caller(&ADMIN).unwrap().works_at(world.now));
    // It does not count to the cap, and nothing is done twice.
    assert_eq!(world.open_keys(&account("a"), world.now), 1);
    assert_eq!(world.when(Act::RevokeKey(revoke(2))), Ok(Vec::new()));
    assert_eq!(world.when(Act::EnableKey(switch(2))), Err(Refusal::KeyRevoked));
    assert_eq!(world.when(retire(V1, None)), Ok(Vec::new()));
    assert_eq!(dependents_of(&world, V1), (0, 0));
}

#[test]
fn keys_that_were_over_before_stay_what_they_were_and_hold_up_no_retirement() {
    let mut world = world();
    world.does(rehash_caller(ADMIN));
    world.does(rehash_caller(caller_id(3)));
    world.does(Act::RevokeKey(revoke(1)));
    let rotate = world.rotate(2, 4, 10);
    world.does(Act::RotateKey(RotateKey { tag: moved(4), ..rotate }));
    world.wait(10);
    assert_eq!(world.keys[&key_id(2)].state_at(world.now), KeyState::Superseded);
    let before = world.keys.clone();
    world.does(retire(V1, None));
    assert_eq!(world.keys, before);
}

#[test]
fn a_callers_earlier_secret_depends_on_its_pepper_until_the_overlap_ends() {
    let mut world = world();
    world.does(rehash(1));
    world.does(rehash(2));
    world.does(rehash_caller(ADMIN));
    let overlap = std::time::Duration::from_secs(10);
    let rotate = |tag| RotateCaller { caller: caller_id(3), tag, overlap, private: None };
    world.does(Act::RotateCaller(rotate(moved(3))));
    assert_eq!(dependents_of(&world, V1), (0, 1));
    let mut forced = world.clone();
    forced.does(retire(V1, Some(1)));
    let caller = forced.caller(&caller_id(3)).unwrap();
    assert!(caller.works_at(forced.now) && caller.retiring.is_none());
    world.wait(10);
    assert_eq!(dependents_of(&world, V1), (0, 0));
    world.does(retire(V1, None));
}

#[test]
fn the_last_admin_does_not_end_with_a_pepper() {
    let mut world = world();
    assert_eq!(world.when(retire(V1, Some(4))), Err(Refusal::LastAdmin));
    let created = CallerCreated { tag: moved(5), ..caller(&[Role::Admin], &[]) };
    world.does(Act::CreateCaller(create_caller(5, created)));
    world.does(retire(V1, Some(4)));
    let governs = |(_, caller): &(CallerId, Arc<Caller>)| {
        caller.roles == Roles::of(&[Role::Admin]) && caller.works_at(world.now)
    };
    assert_eq!(world.callers().iter().filter(|found| governs(found)).count(), 1);
}

#[test]
fn nothing_new_is_made_under_a_retired_pepper() {
    let mut world = world();
    let created = CallerCreated { tag: moved(5), ..caller(&[Role::Admin], &[]) };
    world.does(Act::CreateCaller(create_caller(5, created)));
    world.does(retire(V1, Some(4)));
    let by = |act| by(bearer(caller_id(5)), act);
    let decide = |act| crate::domain::command::decide(&world, &by(act), world.now).map(drop);
    assert_eq!(decide(Act::CreateKey(create("a", 7))), Err(Refusal::Moved));
    let caller = create_caller(8, caller(&[Role::Auditor], &[]));
    assert_eq!(decide(Act::CreateCaller(caller)), Err(Refusal::Moved));
    let mut under_the_new = create("a", 7);
    under_the_new.created.tag = moved(7);
    assert_eq!(decide(Act::CreateKey(under_the_new)), Ok(()));
}

#[test]
fn what_does_not_follow_is_no_retirement() {
    let retirement = Retirement { position: Position::FIRST, time: at(0) };
    let peppers = Peppers::default().rotated(V1, check(V1)).unwrap();
    assert_eq!(peppers.rotated(V1, check(V2)), None);
    assert_eq!(peppers.retired(V1, retirement), None, "it is the current one");
    assert_eq!(peppers.retired(V2, retirement), None, "there is none");
    let both = peppers.rotated(V2, check(V2)).unwrap();
    let retired = both.retired(V1, retirement).unwrap();
    assert_eq!(retired.retired(V1, retirement), None, "it is retired");
    assert_eq!(retired.in_use().collect::<Vec<_>>(), [(V2, check(V2))]);
}
