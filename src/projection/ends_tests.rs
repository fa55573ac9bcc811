use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::apply::apply;
use crate::domain::command::Act;
use crate::domain::event::KeyCreated;
use crate::domain::key::KeyState;
use crate::domain::key_rules::{CreateKey, RotateKey, UpdateKey};
use crate::domain::peppers::works_on;
use crate::domain::testing::play::{Play, step};
use crate::domain::testing::*;
use crate::projection::table_writer::TableWriter;

/// The ends of the keys of `world`, noted as they came.
fn table_of(world: &World) -> TableWriter {
    let mut writer = TableWriter::default();
    for fact in &world.log {
        apply(&mut writer, fact).unwrap();
    }
    writer
}

/// As [`table_of`], of the keys as they are, all at once.
fn loaded(world: &World) -> Ends {
    let mut parts = [LoadedEnds::default(), LoadedEnds::default()];
    for (n, (id, key)) in world.keys.iter().enumerate() {
        parts[n % 2].add(*id, key);
    }
    let [mut all, other] = parts;
    all.merge(other);
    let ends = Ends::default();
    ends.load(all);
    ends
}

fn count(world: &World, which: impl Fn(&Key) -> bool) -> u64 {
    world.keys.values().filter(|key| which(key)).count() as u64
}

fn expiring(world: &World, now: Time, within: Duration) -> u64 {
    count(world, |key| {
        key.state_at(now) == KeyState::Active
            && key.expire_time().is_some_and(|time| time <= now.plus(within))
    })
}

fn retiring(world: &World, now: Time) -> u64 {
    count(world, |key| key.state_at(now) == KeyState::Retiring)
}

/// Keys that work under each of the first peppers, or will once they are enabled.
fn working(world: &World, now: Time) -> [u64; 3] {
    [1, 2, 3]
        .map(|pepper| count(world, |key| key.pepper == PepperVersion(pepper) && works_on(key, now)))
}

fn counted(ends: &Ends, now: Time) -> [u64; 3] {
    [1, 2, 3].map(|pepper| ends.working_on(PepperVersion(pepper), now))
}

const SOON: Duration = Duration::from_secs(10);

fn until(expire_time: Time, key: u8) -> Act {
    let created = KeyCreated { expire_time: Some(expire_time), ..created(key) };
    Act::CreateKey(CreateKey { created, ..create("a", key) })
}

#[test]
fn a_key_expires_soon_from_the_span_before_its_end_until_it() {
    let mut world = World::with_account();
    world.does(until(at(30), 1));
    let table = table_of(&world).table();
    let counts = [19, 20, 29, 30, 19].map(|seconds| table.ends().expiring(at(seconds), SOON));
    assert_eq!(counts, [0, 1, 1, 0, 0]);
    let before = Time::from_micros(at(20).as_micros() - 1);
    assert_eq!(table.ends().expiring(before, SOON), 0);
    assert_eq!(table.ends().expiring(at(29), Duration::ZERO), 0, "a span of nothing");
}

#[test]
fn only_keys_that_work_and_have_no_successor_expire_soon() {
    let mut world = World::with_account();
    for key in 1..=5 {
        world.does(until(at(30), key));
    }
    world.does(Act::RevokeKey(revoke(1)));
    world.does(Act::DisableKey(switch(2)));
    world.does(Act::RotateKey(world.rotate(3, 6, 5)));
    world.does(Act::UpdateKey(UpdateKey { expire_time: Some(at(15)), ..world.update(4) }));
    let table = table_of(&world).table();
    let counts = [4, 5, 14, 15, 20].map(|seconds| table.ends().expiring(at(seconds), SOON));
    assert_eq!(counts, [0, 1, 1, 0, 2], "4, then 5 and the successor of 3");
    assert_eq!([4, 5].map(|seconds| table.ends().retiring(at(seconds))), [1, 0]);
}

#[test]
fn a_key_that_may_retire_early_is_told_of_once_and_again_after_a_start() {
    let mut world = World::with_key();
    let idle = Some(Duration::from_mins(1));
    world.does(Act::RotateKey(RotateKey { retire_when_idle_for: idle, ..world.rotate(1, 2, 600) }));
    world.does(Act::RotateKey(world.rotate(2, 3, 600)));
    world.does(Act::DisableKey(switch(1)));
    let table = table_of(&world).table();
    assert_eq!(table.ends().take_may_retire(), [key_id(1)]);
    assert_eq!(table.ends().take_may_retire(), []);
    assert_eq!(loaded(&world).take_may_retire(), [key_id(1)]);
    world.does(Act::RetireKey(world.retire(1)));
    assert_eq!(loaded(&world).take_may_retire(), []);
}

proptest! {
    #[test]
    fn figures_are_those_of_a_walk_over_all_keys(script in vec(step(), 1..60), times in vec(0..90_i64, 4)) {
        let mut play = Play::new();
        let writer = &mut TableWriter::default();
        let mut applied = 0;
        for step in &script {
            if let Some(command) = play.command(step) {
                let _ = play.world.carry_out(&command);
            }
            for fact in &play.world.log[applied..] {
                prop_assert_eq!(apply(writer, fact), Ok(()));
            }
            applied = play.world.log.len();
            let (world, now) = (&play.world, play.world.now);
            let table = writer.table();
            prop_assert_eq!(table.ends().expiring(now, SOON), expiring(world, now, SOON));
            prop_assert_eq!(table.ends().retiring(now), retiring(world, now));
            prop_assert_eq!(counted(table.ends(), now), working(world, now));
        }
        // Whenever it is asked, and as a start would load it.
        let (world, table, loaded) = (&play.world, writer.table(), loaded(&play.world));
        for time in times.into_iter().map(at) {
            for ends in [table.ends(), &loaded] {
                prop_assert_eq!(ends.expiring(time, SOON), expiring(world, time, SOON));
                prop_assert_eq!(ends.retiring(time), retiring(world, time));
                prop_assert_eq!(counted(ends, time), working(world, time));
            }
        }
    }
}
