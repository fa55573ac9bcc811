//! Snapshots of random stories: what is loaded and replayed is what a fold of the log gives, whatever the
//! chain of snapshots; and what is altered is found.

mod damage;
mod format;
mod house;
mod keeping;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::domain::testing::play::step;
use house::{Place, Story};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_snapshot_and_the_records_behind_it_give_what_the_whole_log_gives(
        script in vec(step(), 1..60), per_frame in 1..6_usize, chain in vec(any::<Index>(), 1..4),
    ) {
        let story = Story::of(&script, per_frame);
        let place = Place::new();
        let mut ends: Vec<_> = chain.iter().map(|at| *at.get(&story.log.ends())).collect();
        ends.sort_unstable();
        ends.dedup();
        let mut previous = None;
        for end in ends {
            let made = place.make(&story, previous.take(), end);
            let loaded = story.replayed_behind(house::loaded(&story, &made));
            prop_assert_eq!(story.picture(&loaded), story.picture(&story.replayed()));
            previous = Some(made);
        }
    }

    #[test]
    fn the_bytes_follow_from_the_log_whatever_the_chain_of_snapshots_and_the_memory(
        script in vec(step(), 1..60), per_frame in 1..6_usize, chain in vec(any::<Index>(), 1..4),
        most_touched in 1..30_usize,
    ) {
        let story = Story::of(&script, per_frame);
        let (place, mut small) = (Place::new(), Place::new());
        small.store.set_most_touched(most_touched);
        let last = *story.log.ends().last().expect("a story");
        let mut ends: Vec<_> = chain.iter().map(|at| *at.get(&story.log.ends())).collect();
        ends.extend([last]);
        ends.sort_unstable();
        ends.dedup();
        let mut previous = None;
        for end in ends {
            previous = Some(place.make(&story, previous.take(), end));
        }
        small.make(&story, None, last);
        prop_assert_eq!(place.bytes(last), small.bytes(last));
    }
}

/// The properties say little if what is interesting is rare in the stories.
#[test]
fn stories_have_bound_keys_remembered_calls_and_every_part_of_a_life() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut found = [0; 9];
    for _ in 0..120 {
        let script = vec(step(), 40).new_tree(&mut runner).unwrap().current();
        let story = Story::of(&script, 3);
        let place = Place::new();
        let last = *story.log.ends().last().unwrap();
        let made = place.make(&story, None, last);
        for entry in house::key_entries(&made) {
            let life = entry.key.life.as_deref();
            let parts = [
                entry.bound.is_some(),
                entry.key.scopes().is_some(),
                entry.key.expire_time().is_some(),
                life.is_some_and(|life| life.replaces.is_some()),
                life.is_some_and(|life| life.disabled_at.is_some()),
                life.is_some_and(|life| life.rotation.is_some()),
                life.is_some_and(|life| life.revocation.is_some()),
                entry
                    .key
                    .rotation()
                    .is_some_and(|rotation| rotation.retire_when_idle_for.is_some()),
                entry.key.rotation().is_some_and(|rotation| rotation.retired_at.is_some()),
            ];
            found.iter_mut().zip(parts).for_each(|(count, part)| *count += usize::from(part));
        }
        assert!(made.count(Section::Requests) <= 6);
    }
    assert!(found.iter().all(|count| *count > 5), "{found:?}");
}

#[test]
fn what_a_restore_lost_is_in_every_snapshot_until_it_is_resolved() {
    use crate::domain::command::Act;
    use crate::domain::facts::Facts;
    use crate::domain::log_state::{LogRestored, LossResolved, Resolution, TreeRoot};
    use crate::domain::testing::*;
    let mut world = World::with_account();
    let restored = |world: &World, generation, lost_to: Option<u64>| LogRestored {
        origin: TreeRoot([1; 32]),
        generation,
        restored_to: Position::new(world.log.len() as u64).unwrap(),
        root: TreeRoot([2; 32]),
        lost_to: lost_to.and_then(Position::new),
    };
    world.does(Act::RestoreLog(restored(&world, 2, None)));
    world.does(Act::RestoreLog(restored(&world, 3, Some(99))));
    let losses = world.log_state().losses.clone();
    let held = world.log.len();
    for loss in &losses {
        let (generation, first, last) = (loss.generation, loss.first, loss.last);
        let resolution = Resolution::Accepted;
        world.does(Act::ResolveLoss(LossResolved { generation, first, last, resolution }));
    }
    let story = Story::of_world(world, 1);
    let place = Place::new();
    let ends = story.log.ends();
    let held = place.make(&story, None, ends[held - 1]);
    let loaded = house::loaded(&story, &held);
    assert!(loaded.table().is_held());
    assert_eq!(loaded.log_state().losses, losses);
    let free = place.make(&story, Some(held), *ends.last().unwrap());
    let loaded = house::loaded(&story, &free);
    assert!(!loaded.table().is_held());
    assert_eq!(loaded.log_state().generation, 3);
    assert_eq!(story.picture(&loaded), story.picture(&story.replayed()));
}

#[test]
fn an_account_is_closed_in_one_snapshot_and_erased_in_the_next() {
    use crate::domain::account::AccountStatus;
    use crate::domain::account_rules::{EraseAccount, PutAccount};
    use crate::domain::command::Act;
    use crate::domain::facts::Facts;
    use crate::domain::testing::*;
    let mut world = World::with_key();
    let status = Some(AccountStatus::Closed);
    world.does(Act::PutAccount(PutAccount { status, ..world.change("a") }));
    let closed = world.log.len();
    let erase = EraseAccount { account: account("a"), expected: None, private: Some(private()) };
    let position = world.does(Act::EraseAccount(erase));
    let story = Story::of_world(world, 1);
    let place = Place::new();
    let ends = story.log.ends();
    let closed = place.make(&story, None, ends[closed - 1]);
    let of_a =
        |snapshot: &Snapshot| house::loaded(&story, snapshot).account(&account("a")).unwrap();
    let before = of_a(&closed);
    assert_eq!((before.state.status, before.erased), (AccountStatus::Closed, false));
    let erased = place.make(&story, Some(closed), *ends.last().unwrap());
    let after = of_a(&erased);
    assert_eq!((after.state.status, after.erased), (AccountStatus::Closed, true));
    assert_eq!(after.status_position, position);
    let loaded = house::loaded(&story, &erased);
    assert_eq!(story.picture(&loaded), story.picture(&story.replayed()));
}

#[test]
fn calls_that_are_too_old_at_the_last_record_are_left_out() {
    use crate::domain::command::Act;
    use crate::domain::requests::{Method, Request};
    use crate::domain::testing::*;
    let mut world = World::with_account();
    let ask = |id: u8| {
        named(
            Act::CreateKey(create("a", id)),
            Request { id: [id; 16], method: Method::CreateKey, digest: [id; 16] },
        )
    };
    world.carry_out(&ask(1)).unwrap();
    world.wait(24 * 60 * 60 - 1);
    world.carry_out(&ask(2)).unwrap();
    let early = world.log.len();
    world.wait(1);
    world.does(Act::CreateKey(create("a", 3)));
    let story = Story::of_world(world, 1);
    let place = Place::new();
    let ends = story.log.ends();
    let first = place.make(&story, None, ends[early - 1]);
    assert_eq!(first.count(Section::Requests), 2);
    let second = place.make(&story, Some(first), ends[early]);
    assert_eq!(second.count(Section::Requests), 1);
    let loaded = house::loaded(&story, &second);
    let picture = story.picture(&loaded);
    assert_eq!(picture, story.picture(&story.replayed()));
    assert!(picture.contains("Remembered"), "the younger call is");
}
