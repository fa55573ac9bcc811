//! The key table as its writer writes it: live inheritance, times, and the size of a row.

use std::time::Duration;

use crate::domain::account::AccountStatus;
use crate::domain::account_rules::PutAccount;
use crate::domain::apply::apply;
use crate::domain::caller::Role;
use crate::domain::command::Act;
use crate::domain::facts::{Facts, FactsMut};
use crate::domain::ids::Position;
use crate::domain::policy::Policy;
use crate::domain::testing::*;
use crate::domain::time::Time;
use crate::ledger::writer::Table;
use crate::projection::key_table::Row;
use crate::projection::table_writer::TableWriter;

/// What a row may take; the brief of the table is about a hundred bytes.
const ROW_BOUND: usize = 128;

/// The table after everything that happened in `world`.
fn table_of(world: &World) -> TableWriter {
    let mut writer = TableWriter::default();
    for fact in &world.log {
        apply(&mut writer, fact).expect("it follows");
    }
    writer
}

/// The account `a` with the role `reader` and key 1.
fn world() -> World {
    let mut world = World::new();
    let roles = Some(vec![role_name("reader")]);
    world.does(Act::PutAccount(PutAccount { roles, ..put("a") }));
    world.does(Act::CreateKey(create("a", 1)));
    world
}

#[test]
fn a_row_is_small() {
    let bytes = size_of::<Row>();
    assert!(bytes <= ROW_BOUND, "{bytes} bytes");
}

#[test]
fn the_keys_of_an_account_share_one_copy_of_its_name() {
    let mut world = world();
    // Each command, as each record that is read, brings a name of its own.
    world.does(Act::CreateKey(create("a", 2)));
    let table = table_of(&world).table();
    let name = |n| table.row(&key_id(n)).expect("there").key.account;
    assert!(std::sync::Arc::ptr_eq(&name(1), &name(2)));
}

#[test]
fn the_table_answers_the_rules_as_the_facts_are() {
    let mut world = world();
    world.does(Act::PutAccount(put("b")));
    for key in 2..=4 {
        world.wait(1);
        world.does(Act::CreateKey(create("b", key)));
    }
    world.does(Act::RotateKey(world.rotate(2, 5, 60)));
    world.does(Act::RevokeKey(revoke(3)));
    world.does(Act::DisableKey(switch(4)));
    let short = crate::domain::key_rules::UpdateKey { expire_time: Some(at(9)), ..world.update(4) };
    world.does(Act::UpdateKey(short));
    world.does(Act::CreateCaller(create_caller(1, caller(&[Role::Issuer], &["acme"]))));

    let writer = table_of(&world);
    for key in 1..=6 {
        assert_eq!(writer.key(&key_id(key)), world.key(&key_id(key)));
    }
    for name in ["a", "b", "c"] {
        assert_eq!(writer.account(&account(name)), world.account(&account(name)));
        for seconds in [3, 8, 9, 100] {
            let counted = |facts: &dyn Fn(Time) -> u32| facts(at(seconds));
            let expected = counted(&|time| world.open_keys(&account(name), time));
            assert_eq!(counted(&|time| writer.open_keys(&account(name), time)), expected);
        }
    }
    assert_eq!(writer.caller(&caller_id(1)), world.caller(&caller_id(1)));
    assert_eq!(writer.policy(), world.policy());
    assert_eq!(writer.service_position(), world.service_position());
    assert_eq!((writer.table().key_count(), writer.table().account_count()), (5, 2));
}

#[test]
fn a_row_inherits_from_its_account_live() {
    let mut world = world();
    let mut writer = table_of(&world);
    let row = writer.table().row(&key_id(1)).unwrap();
    assert_eq!(row.account.standing().effective, permissions(&["reports:read"]));

    let status = Some(AccountStatus::Suspended);
    let more = Some(permissions(&["a"]));
    let change = PutAccount { status, permissions: more, ..world.change("a") };
    world.does(Act::PutAccount(change));
    apply(&mut writer, world.log.last().unwrap()).unwrap();
    let standing = row.account.standing();
    assert_eq!(standing.account.state.status, AccountStatus::Suspended);
    assert_eq!(standing.effective, permissions(&["a", "reports:read"]));
}

#[test]
fn a_row_keeps_its_account_when_the_key_changes() {
    let mut world = world();
    let mut writer = table_of(&world);
    let before = writer.table().row(&key_id(1)).unwrap();
    world.does(Act::DisableKey(switch(1)));
    apply(&mut writer, world.log.last().unwrap()).unwrap();
    let after = writer.table().row(&key_id(1)).unwrap();
    assert!(after.key.life.is_some() && before.key.life.is_none(), "a row is replaced whole");
    assert!(std::sync::Arc::ptr_eq(&before.account, &after.account));
}

#[test]
fn a_changed_policy_changes_what_every_account_holds() {
    let mut world = world();
    world.does(Act::PutAccount(put("b")));
    let mut writer = table_of(&world);
    let table = writer.table();
    let holds = |name| table.standing(&account(name)).unwrap().effective.clone();
    let mut other = policy();
    other.roles.insert(role_name("reader"), permissions(&["x", "y"]));
    writer.put_policy(other);
    assert_eq!((holds("a"), holds("b")), (permissions(&["x", "y"]), permissions(&[])));
    writer.put_policy(Policy::default());
    assert_eq!(holds("a"), permissions(&[]), "a role of no policy grants nothing");
}

#[test]
fn a_changed_key_or_account_stays_where_it_is_in_the_lists() {
    let mut world = world();
    world.wait(1);
    world.does(Act::CreateKey(create("a", 2)));
    world.does(Act::DisableKey(switch(1)));
    world.does(Act::PutAccount(PutAccount { renamed: true, ..world.change("a") }));
    let table = table_of(&world).table();
    let keys = table.directory().keys(&tenant("acme"), None, None, 10);
    assert_eq!(keys, [(at(0), key_id(1)), (at(1), key_id(2))]);
    assert_eq!(table.directory().accounts(&tenant("acme"), None, 10).len(), 1);
}

#[test]
fn callers_are_in_order_of_creation_revoked_ones_included() {
    let mut world = World::new();
    for n in [9, 3, 5] {
        world.wait(1);
        world.does(Act::CreateCaller(create_caller(n, caller(&[Role::Issuer], &[]))));
    }
    let gone = crate::domain::caller_rules::RevokeCaller { caller: caller_id(3), private: None };
    world.does(Act::RevokeCaller(gone));
    let callers = table_of(&world).table().callers();
    let ids: Vec<_> = callers.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [ADMIN, caller_id(9), caller_id(3), caller_id(5)]);
    assert!(callers[2].1.revoke_time.is_some());
}

#[test]
fn the_head_is_what_was_published_and_nothing_before() {
    let mut writer = table_of(&world());
    let table = writer.table();
    assert_eq!(table.head(), None, "applied is not yet published");
    let head = Position::new(4).unwrap();
    writer.publish(head, at(0));
    assert_eq!(table.head(), Some(head));
}

#[test]
fn rules_are_judged_by_a_time_that_never_goes_back() {
    let mut writer = TableWriter::default();
    let table = writer.table();
    assert_eq!(table.judge_time(at(5)), at(5));
    writer.publish(Position::FIRST, at(10));
    assert_eq!(table.judge_time(at(5)), at(10), "the wall clock is behind the last record");
    assert_eq!(table.judge_time(at(11)), at(11));
    let witnessed = at(10).plus(Duration::from_secs(20));
    table.witness(witnessed);
    assert_eq!(table.judge_time(at(11)), witnessed, "an expired key never revives");
    table.witness(at(12));
    writer.publish(Position::FIRST.next(), at(13));
    assert_eq!(table.judge_time(at(11)), witnessed);
}
