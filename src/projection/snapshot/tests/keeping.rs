//! What is kept in the directory of snapshots, and what an interruption leaves.

use std::fs;
use std::sync::atomic::AtomicBool;

use super::house::{Place, Story, elsewhere};
use super::*;
use crate::domain::account_rules::PutAccount;
use crate::domain::command::Act;
use crate::domain::facts::Facts;
use crate::domain::testing::*;
use crate::ledger::engine::LedgerError;
use crate::progress::Silent;

fn story() -> Story {
    let mut world = World::with_account();
    for key in 1..=4 {
        world.does(Act::CreateKey(create("a", key)));
    }
    Story::of_world(world, 2)
}

fn name(position: Position) -> String {
    format!("{:020}.kls", position.get())
}

#[test]
fn the_last_two_are_kept() {
    let (story, place) = (story(), Place::new());
    let ends = story.log.ends();
    let mut previous = None;
    for end in &ends[..3] {
        previous = Some(place.make(&story, previous.take(), *end));
    }
    assert_eq!(place.names(), [name(ends[1]), name(ends[2])]);
    assert_eq!(place.store.positions().unwrap(), [ends[2], ends[1]]);
}

#[test]
fn what_an_interrupted_making_left_is_thrown_away_and_disturbs_no_later_one() {
    let (story, place) = (story(), Place::new());
    let ends = story.log.ends();
    place.make(&story, None, ends[0]);
    for left in [format!("{}.tmp", name(ends[1])), format!("{}.tmp.tmp", name(ends[1]))] {
        fs::write(place.dir.path().join("snapshots").join(left), b"half of one").unwrap();
    }
    assert_eq!(place.store.positions().unwrap(), [ends[0]], "unfinished ones do not count");
    let previous = place.store.open(ends[0]).unwrap();
    place.make(&story, Some(previous), ends[1]);
    assert_eq!(place.names(), [name(ends[0]), name(ends[1])]);

    fs::write(place.dir.path().join("snapshots").join(format!("{}.tmp", name(ends[2]))), b"x")
        .unwrap();
    place.store.remove_unfinished().unwrap();
    assert_eq!(place.names(), [name(ends[0]), name(ends[1])]);
}

#[test]
fn a_making_that_is_stopped_or_fails_leaves_what_was_there() {
    let (story, place) = (story(), Place::new());
    let ends = story.log.ends();
    place.make(&story, None, ends[0]);
    let previous = || Some(place.store.open(ends[0]).unwrap());
    let stop = AtomicBool::new(true);
    let stopped = place.store.make(&story.log, previous(), ends[1], &stop, &Silent).unwrap_err();
    assert!(matches!(stopped, BuildError::Stopped), "{stopped}");
    let inside = Position::new(ends[1].get() - 1).unwrap();
    let failed = place.try_make(&story.log, previous(), inside).unwrap_err();
    assert!(matches!(failed, BuildError::NoFrameEnd(_)), "{failed}");
    let mut damaged = story.log.clone();
    damaged.0[1] = Err(LedgerError::Unreadable { position: ends[1] });
    let failed = place.try_make(&damaged, previous(), ends[1]).unwrap_err();
    assert!(failed.to_string().contains("cannot be read"), "{failed}");
    assert_eq!(place.names(), [name(ends[0])]);
}

#[test]
fn a_store_that_has_no_directory_is_empty() {
    let place = Place::new();
    assert!(place.store.positions().unwrap().is_empty());
    place.store.remove_unfinished().unwrap();
}

#[test]
fn accounts_of_several_tenants_keep_their_keys_apart() {
    let mut world = World::new();
    for name in [elsewhere("a"), account("b"), account("a")] {
        world.does(Act::PutAccount(PutAccount { account: name, ..put("a") }));
    }
    for (name, key) in
        [(elsewhere("a"), 1), (account("b"), 2), (account("a"), 3), (elsewhere("a"), 4)]
    {
        let create = crate::domain::key_rules::CreateKey { account: name, ..create("a", key) };
        world.does(Act::CreateKey(create));
    }
    let (story, place) = (Story::of_world(world, 3), Place::new());
    let last = *story.log.ends().last().unwrap();
    let made = place.make(&story, None, last);
    let loaded = super::house::loaded(&story, &made);
    let table = loaded.table();
    let listed = |tenant_name: &str, account: Option<&crate::domain::ids::AccountRef>| {
        let places = table.directory().keys(&tenant(tenant_name), account, None, 10);
        places.into_iter().map(|(_, id)| id.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(listed("zeta", None), [1, 4]);
    assert_eq!(listed("acme", None), [2, 3]);
    assert_eq!(listed("acme", Some(&account("b"))), [2]);
    assert_eq!(listed("zeta", Some(&elsewhere("a"))), [1, 4]);
    assert_eq!(loaded.open_keys(&elsewhere("a"), at(0)), 2);
}

#[test]
fn accounts_that_come_between_others_leave_every_key_with_its_own() {
    let mut world = World::new();
    let mut ends = Vec::new();
    // Each round's account sorts elsewhere among those there are.
    for (round, name) in ["m", "c", "x", "a", "d"].into_iter().enumerate() {
        let key = u8::try_from(round).unwrap() * 2 + 1;
        for owner in [account(name), elsewhere(name)] {
            world.does(Act::PutAccount(PutAccount { account: owner, ..put("a") }));
        }
        for (owner, key) in [(account(name), key), (elsewhere(name), key + 1)] {
            let create = crate::domain::key_rules::CreateKey { account: owner, ..create("a", key) };
            world.does(Act::CreateKey(create));
        }
        // A key of the first round changes in each later one, the others are only copied.
        let act =
            if round % 2 == 0 { Act::DisableKey(switch(1)) } else { Act::EnableKey(switch(1)) };
        world.does(act);
        ends.push(Position::new(world.log.len() as u64).unwrap());
    }
    let (story, place, scratch) = (Story::of_world(world, 1), Place::new(), Place::new());
    let mut previous = None;
    for end in &ends {
        previous = Some(place.make(&story, previous.take(), *end));
    }
    let (made, last) = (previous.unwrap(), ends[4]);
    scratch.make(&story, None, last);
    assert!(place.bytes(last) == scratch.bytes(last));
    let (loaded, replayed) = (super::house::loaded(&story, &made), story.replayed());
    for key in 1..=10 {
        assert_eq!(loaded.key(&key_id(key)), replayed.key(&key_id(key)));
        assert!(loaded.key(&key_id(key)).is_some());
    }
}
