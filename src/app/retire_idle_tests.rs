use super::*;
use crate::domain::apply::apply;
use crate::domain::key_rules::{RotateKey, UpdateKey};
use crate::domain::testing::*;
use crate::ledger::writer::Table as _;
use crate::projection::table_writer::TableWriter;

const MINUTE: Duration = Duration::from_mins(1);

/// A world, its table, and who watches it, all on one clock that never steps.
struct House {
    world: World,
    writer: TableWriter,
    watch: Watch,
    now: Duration,
    /// How much of the world's log the table has.
    applied: usize,
}

impl House {
    /// Keys 1 and 2 of one account.
    fn new() -> Self {
        let mut world = World::with_key();
        world.does(Act::CreateKey(create("a", 2)));
        House::of(world)
    }

    fn of(world: World) -> Self {
        let writer = TableWriter::default();
        let watch = Watch::new(writer.table());
        let mut house = House { world, writer, watch, now: Duration::ZERO, applied: 0 };
        house.apply();
        house
    }

    fn apply(&mut self) {
        for fact in &self.world.log[self.applied..] {
            apply(&mut self.writer, fact).unwrap();
            self.writer.publish(fact.position, fact.time);
        }
        self.applied = self.world.log.len();
    }

    fn does(&mut self, act: Act) {
        self.world.does(act);
        self.apply();
    }

    /// Rotates a key with an overlap of a day that ends early after minutes without a use.
    fn rotate(&mut self, key: u8, minutes: u64) {
        let rotate = self.world.rotate(key, key + 100, 86_400);
        let idle = Some(Duration::from_mins(minutes));
        self.does(Act::RotateKey(RotateKey { retire_when_idle_for: idle, ..rotate }));
    }

    fn uses(&self, key: u8, allowed: bool) {
        let (id, table) = (key_id(key), self.writer.table());
        table.with_row(&id, |row| table.note_use(id, &row.key, allowed, self.world.now));
    }

    fn wait(&mut self, span: Duration) {
        self.now += span;
        self.world.wait(span.as_secs());
    }

    /// One round of looks: which keys are to retire.
    fn look(&mut self) -> Vec<u8> {
        self.watch.begin(self.now);
        let mut all = Vec::new();
        loop {
            let (idle, more) = self.watch.look(self.now, self.world.now);
            all.extend(idle.iter().map(|retire| retire.key.0[0]));
            if !more {
                return all;
            }
        }
    }

    /// Looks each second for so long: after how many seconds which key was to retire first.
    fn first_idle_within(&mut self, span: Duration) -> Option<(u64, u8)> {
        (0..=span.as_secs()).find_map(|second| {
            let found = self.look().first().map(|key| (second, *key));
            self.wait(Duration::from_secs(1));
            found
        })
    }
}

#[test]
fn a_key_that_is_never_used_retires_when_the_silence_is_over() {
    let mut house = House::new();
    house.rotate(1, 10);
    assert_eq!(house.first_idle_within(MINUTE * 20), Some((600, 1)));
}

#[test]
fn a_key_whose_rotation_did_not_ask_for_it_is_not_looked_at() {
    let mut house = House::new();
    house.does(Act::RotateKey(house.world.rotate(1, 3, 3600)));
    assert_eq!(house.first_idle_within(MINUTE * 50), None);
    assert!(house.watch.due.is_empty());
}

#[test]
fn a_use_begins_the_count_anew_and_a_denied_one_does_not() {
    let mut house = House::new();
    house.rotate(1, 10);
    house.rotate(2, 10);
    house.look();
    house.wait(MINUTE * 9);
    house.uses(1, true);
    house.uses(2, false);
    // A rest of a look may pass before the use is seen, and no more than that.
    assert_eq!(house.first_idle_within(MINUTE), Some((60, 2)));
    let retired = house.world.retire(2);
    house.does(Act::RetireKey(retired));
    let (seconds, key) = house.first_idle_within(MINUTE * 20).expect("retires");
    assert_eq!(key, 1);
    let after_use = 61 + seconds;
    assert!((600..=660).contains(&after_use), "{after_use} s after the use");
}

#[test]
fn the_last_use_is_named() {
    let mut house = House::new();
    house.wait(MINUTE);
    house.uses(1, true);
    let last_use = Some(house.world.now);
    house.rotate(1, 1);
    house.look();
    house.wait(MINUTE);
    house.watch.begin(house.now);
    let (idle, more) = house.watch.look(house.now, house.world.now);
    assert_eq!((idle.len(), more), (1, false));
    assert_eq!((idle[0].last_use, idle[0].basis), (last_use, house.world.keys[&key_id(1)].last));
}

#[test]
fn a_step_of_the_wall_clock_is_no_silence() {
    let mut house = House::new();
    house.rotate(1, 10);
    house.look();
    // Nearly a day ahead, and back.
    for seconds in [86_000, -80_000] {
        house.world.now = Time::from_micros(house.world.now.as_micros() + seconds * 1_000_000);
        house.wait(MINUTE * 2);
        assert_eq!(house.look(), [0; 0]);
    }
    house.wait(MINUTE * 6);
    assert_eq!(house.look(), [1]);
}

#[test]
fn a_start_begins_the_count_anew() {
    let mut house = House::new();
    house.rotate(1, 10);
    house.look();
    house.wait(MINUTE * 9);
    assert_eq!(house.look(), [0; 0]);
    let mut house = House::of(house.world);
    assert_eq!(house.first_idle_within(MINUTE * 20), Some((600, 1)));
}

#[test]
fn a_key_that_was_changed_or_disabled_is_counted_anew() {
    let mut house = House::new();
    house.rotate(1, 10);
    house.rotate(2, 10);
    house.look();
    house.wait(MINUTE * 9);
    house.does(Act::UpdateKey(UpdateKey { resealed: vec!["name"], ..house.world.update(1) }));
    house.does(Act::DisableKey(switch(2)));
    assert_eq!(house.first_idle_within(MINUTE * 9), None);
    assert_eq!(house.first_idle_within(MINUTE * 4).map(|(_, key)| key), Some(1));
    let retired = house.world.retire(1);
    house.does(Act::RetireKey(retired));
    assert_eq!(house.first_idle_within(MINUTE * 30), None, "the other is disabled");
    house.does(Act::EnableKey(switch(2)));
    let (seconds, key) = house.first_idle_within(MINUTE * 20).expect("retires");
    assert_eq!(key, 2);
    assert!((600..=660).contains(&seconds), "{seconds} s");
}

#[test]
fn keys_that_are_over_are_looked_at_no_more() {
    let mut house = House::new();
    house.rotate(1, 10);
    house.rotate(2, 10);
    house.look();
    house.does(Act::RevokeKey(revoke(1)));
    let retired = house.world.retire(2);
    house.does(Act::RetireKey(retired));
    house.wait(MINUTE);
    assert_eq!(house.look(), [0; 0]);
    assert!(house.watch.due.is_empty());
}

#[test]
fn a_key_is_found_idle_until_it_has_retired() {
    let mut house = House::new();
    house.rotate(1, 1);
    house.look();
    house.wait(MINUTE);
    assert_eq!(house.look(), [1]);
    assert_eq!(house.look(), [0; 0], "the writer has a while");
    house.wait(MINUTE / LOOKS + Duration::from_secs(1));
    assert_eq!(house.look(), [1]);
}

#[test]
fn while_uses_are_missing_there_is_no_silence() {
    let mut house = House::new();
    house.rotate(1, 10);
    house.look();
    house.wait(MINUTE * 9);
    house.writer.table().note_missed_use();
    assert_eq!(house.first_idle_within(MINUTE * 20), Some((600, 1)));
}

#[test]
fn many_keys_are_looked_at_some_at_a_time() {
    let mut house = House::new();
    let rotated = house.world.keys[&key_id(1)].clone();
    house.rotate(1, 1);
    let waiting = house.world.keys[&key_id(1)].clone();
    for n in 0..AT_ONCE {
        let mut id = [7; 12];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        use crate::domain::facts::FactsMut as _;
        house.writer.put_key(KeyId(id), rotated.clone());
        house.writer.put_key(KeyId(id), waiting.clone());
    }
    house.watch.begin(house.now);
    assert!(house.watch.look(house.now, house.world.now).1, "one is left");
    assert!(!house.watch.look(house.now, house.world.now).1);
    house.wait(MINUTE);
    assert_eq!(house.look().len(), AT_ONCE + 1);
}
