//! The door to deciding: request ids, and what the service asks of itself.

use super::*;
use crate::domain::facts::FactsMut;
use crate::domain::ids::CallerId;
use crate::domain::requests::{Method, REMEMBERED_FOR};
use crate::domain::testing::*;
use std::time::Duration;

fn request(id: u8, digest: u8) -> Request {
    Request { id: [id; 16], method: Method::CreateKey, digest: [digest; 16] }
}

/// A CreateKey as a caller repeats it: same id and body, but a new key id each time.
fn create_as(key: u8, request: Request) -> Command {
    named(Act::CreateKey(create("a", key)), request)
}

#[test]
fn a_repeat_is_answered_with_what_it_did_then_and_does_nothing() {
    let mut world = World::with_account();
    let first = world.carry_out(&create_as(1, request(1, 1))).unwrap();
    world.does(Act::RevokeKey(revoke(1)));
    let Ok(Decision::Repeat(found)) = decide(&world, &create_as(2, request(1, 1)), world.now)
    else {
        panic!("a repeat");
    };
    assert_eq!((Some(found.position), found.subject), (first, key_subject("a", 1)));
}

#[test]
fn the_same_request_id_with_another_body_is_refused() {
    let mut world = World::with_account();
    world.carry_out(&create_as(1, request(1, 1))).unwrap();
    let refusal = world.carry_out(&create_as(2, request(1, 2)));
    assert_eq!(refusal, Err(Refusal::RequestIdReused));
}

#[test]
fn a_request_id_is_unique_within_its_caller_and_rpc_only() {
    let mut world = World::with_account();
    world.carry_out(&create_as(1, request(1, 1))).unwrap();
    let other_rpc = Request { method: Method::RevokeKey, ..request(1, 2) };
    let done = world.carry_out(&named(Act::RevokeKey(revoke(1)), other_rpc)).unwrap();
    assert!(done.is_some());
    world.put_caller(CallerId([7; 12]), working_admin());
    let other_caller = Command { actor: bearer(CallerId([7; 12])), ..create_as(2, request(1, 2)) };
    assert!(world.carry_out(&other_caller).unwrap().is_some());
    let other_id = create_as(3, request(2, 1));
    assert!(world.carry_out(&other_id).unwrap().is_some());
}

#[test]
fn a_refusal_is_not_remembered() {
    let mut world = World::new();
    let refused = world.carry_out(&create_as(1, request(1, 1)));
    assert_eq!(refused, Err(Refusal::AccountNotFound));
    world.does(Act::PutAccount(put("a")));
    assert!(world.carry_out(&create_as(1, request(1, 1))).unwrap().is_some());
}

#[test]
fn a_request_id_is_forgotten_after_a_day() {
    let mut world = World::with_account();
    world.carry_out(&create_as(1, request(1, 1))).unwrap();
    let then = world.now;
    world.now = then.plus(REMEMBERED_FOR - Duration::from_micros(1));
    assert_eq!(world.carry_out(&create_as(2, request(1, 2))), Err(Refusal::RequestIdReused));
    world.now = then.plus(REMEMBERED_FOR);
    assert!(world.carry_out(&create_as(2, request(1, 2))).unwrap().is_some());
}

#[test]
fn the_last_of_several_records_is_what_a_repeat_is_answered_with() {
    let mut world = World::with_key();
    let rotate = |world: &World, successor| {
        let name = Request { method: Method::RotateKey, ..request(1, 1) };
        named(Act::RotateKey(world.rotate(1, successor, 60)), name)
    };
    world.carry_out(&rotate(&world, 2)).unwrap();
    let Ok(Decision::Repeat(found)) = decide(&world, &rotate(&world, 3), world.now) else {
        panic!("a repeat");
    };
    assert_eq!(found.subject, key_subject("a", 2));
}

#[test]
fn a_command_of_no_caller_is_never_a_repeat() {
    let command = Command { actor: the_service(), ..create_as(1, request(1, 1)) };
    assert_eq!(command.request_key(), None);
    assert_eq!(by(admin(), Act::SetPolicy(policy())).request_key(), None);
}

#[test]
fn a_policy_is_put_on_record_only_if_it_differs() {
    let mut world = World::empty();
    world.put_caller(ADMIN, working_admin());
    let set = |policy: &Policy| Act::SetPolicy(policy.clone());
    assert_eq!(world.when(set(&policy())), Ok(vec![Event::PolicyChanged(policy())]));
    world.does(set(&policy()));
    assert_eq!(world.when(set(&policy())), Ok(Vec::new()));
    let mut other = policy();
    other.roles.insert(role_name("writer"), permissions(&["reports:write"]));
    assert_eq!(world.when(set(&other)), Ok(vec![Event::PolicyChanged(other.clone())]));
    world.does(set(&other));
    assert_eq!(*world.policy(), other);
}

#[test]
fn the_first_pepper_is_put_on_record_once() {
    let mut world = World::empty();
    world.put_caller(ADMIN, working_admin());
    let (version, check) = (PepperVersion(1), PepperCheck([5; 16]));
    let register = Act::RegisterPepper { version, check };
    let event = Event::PepperRotated { version, check };
    assert_eq!(world.when(register.clone()), Ok(vec![event]));
    world.does(register.clone());
    assert_eq!(world.when(register), Ok(Vec::new()));
    let next = Act::RegisterPepper { version: PepperVersion(2), check };
    assert_eq!(world.when(next), Ok(Vec::new()), "another is put in force by whoever asks for it");
}
