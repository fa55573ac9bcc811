//! The uses of keys as they happen: what the log says of them and what is on its way there.
//!
//! A key has a tally from its first use after a start on. Until then the log says all there is.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use papaya::HashMap;

use crate::domain::ids::KeyId;
use crate::domain::key::Key;
use crate::domain::time::Time;
use crate::domain::usage::UseCounts;
use crate::projection::id_hash::BuildIdHasher;

/// Stands for no time.
const NEVER: i64 = i64::MIN;

/// The uses of one key.
#[derive(Debug)]
struct Tally {
    allowed: AtomicU64,
    denied: AtomicU64,
    last_use: AtomicI64,
    last_denied: AtomicI64,
}

impl Tally {
    fn from(counts: &UseCounts) -> Self {
        let micros = |time: Option<Time>| AtomicI64::new(time.map_or(NEVER, Time::as_micros));
        Tally {
            allowed: AtomicU64::new(counts.allowed),
            denied: AtomicU64::new(counts.denied),
            last_use: micros(counts.last_use),
            last_denied: micros(counts.last_denied),
        }
    }

    /// The count is raised last: who sees it sees the time too.
    fn note(&self, allowed: bool, time: Time) {
        let (count, last) = if allowed {
            (&self.allowed, &self.last_use)
        } else {
            (&self.denied, &self.last_denied)
        };
        last.fetch_max(time.as_micros(), Ordering::Relaxed);
        count.fetch_add(1, Ordering::Release);
    }

    fn add(&self, counts: &UseCounts) {
        let raise = |last: &AtomicI64, time: Option<Time>| {
            last.fetch_max(time.map_or(NEVER, Time::as_micros), Ordering::Relaxed);
        };
        raise(&self.last_use, counts.last_use);
        raise(&self.last_denied, counts.last_denied);
        self.allowed.fetch_add(counts.allowed, Ordering::Release);
        self.denied.fetch_add(counts.denied, Ordering::Release);
    }

    fn read(&self) -> UseCounts {
        let time = |last: &AtomicI64| {
            let micros = last.load(Ordering::Relaxed);
            (micros != NEVER).then(|| Time::from_micros(micros))
        };
        UseCounts {
            allowed: self.allowed.load(Ordering::Acquire),
            denied: self.denied.load(Ordering::Acquire),
            last_use: time(&self.last_use),
            last_denied: time(&self.last_denied),
        }
    }
}

/// The uses of all keys that were used since the start, or are on their way to the log.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    of_keys: HashMap<KeyId, Tally, BuildIdHasher>,
    missed: AtomicU64,
}

impl Tallies {
    /// Counts a use. Of the key's first since the start, the log MUST say all there was before it: what
    /// an earlier run left on its way there is counted before anything else.
    pub(super) fn note(&self, id: KeyId, key: &Key, allowed: bool, time: Time) {
        let on_record = || Tally::from(&on_record(key));
        self.of_keys.pin().get_or_insert_with(id, on_record).note(allowed, time);
    }

    /// Counts uses that an earlier run left on their way to the log.
    pub(super) fn add(&self, id: KeyId, key: &Key, counts: &UseCounts) {
        let on_record = || Tally::from(&on_record(key));
        self.of_keys.pin().get_or_insert_with(id, on_record).add(counts);
    }

    /// Counts that a use is not counted.
    pub(super) fn miss(&self) {
        self.missed.fetch_add(1, Ordering::Release);
    }

    /// How many uses are not counted.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Acquire)
    }

    /// The uses of a key.
    pub(super) fn of(&self, id: &KeyId, key: &Key) -> UseCounts {
        self.of_keys.pin().get(id).map_or_else(|| on_record(key), Tally::read)
    }
}

/// What the log says.
fn on_record(key: &Key) -> UseCounts {
    key.used.as_ref().map(|used| used.counts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::ids::Position;
    use crate::domain::testing::{World, at, key_id};
    use crate::domain::usage::Used;

    fn key(counts: UseCounts) -> Key {
        let used = Used { recorded: Position::FIRST, counts };
        Key { used: Some(Arc::new(used)), ..World::with_key().keys[&key_id(1)].clone() }
    }

    #[test]
    fn uses_are_added_to_what_the_log_says() {
        let tallies = Tallies::default();
        let before = UseCounts { allowed: 5, denied: 1, last_use: Some(at(9)), last_denied: None };
        let key = key(before);
        assert_eq!(tallies.of(&key_id(1), &key), before);
        tallies.note(key_id(1), &key, true, at(7));
        tallies.note(key_id(1), &key, false, at(8));
        let after =
            UseCounts { allowed: 6, denied: 2, last_use: Some(at(9)), last_denied: Some(at(8)) };
        assert_eq!(tallies.of(&key_id(1), &key), after);
        assert_eq!(tallies.of(&key_id(2), &key), before);
    }

    #[test]
    fn what_goes_on_record_later_is_not_counted_again() {
        let tallies = Tallies::default();
        let key_before = key(UseCounts::default());
        tallies.note(key_id(1), &key_before, true, at(1));
        let recorded = key(UseCounts { allowed: 1, last_use: Some(at(1)), ..Default::default() });
        assert_eq!(tallies.of(&key_id(1), &recorded).allowed, 1);
        tallies.note(key_id(1), &recorded, true, at(2));
        assert_eq!(tallies.of(&key_id(1), &recorded).allowed, 2);
    }

    #[test]
    fn what_an_earlier_run_left_is_counted_once() {
        let tallies = Tallies::default();
        let counts = UseCounts { allowed: 5, last_use: Some(at(9)), ..UseCounts::default() };
        let key = key(counts);
        let left = UseCounts { allowed: 2, denied: 1, last_use: Some(at(3)), last_denied: None };
        tallies.add(key_id(1), &key, &left);
        tallies.add(key_id(1), &key, &left);
        let expected =
            UseCounts { allowed: 9, denied: 2, last_use: Some(at(9)), last_denied: None };
        assert_eq!(tallies.of(&key_id(1), &key), expected);
    }

    #[test]
    fn uses_from_many_threads_are_all_counted() {
        let (tallies, key) = (Tallies::default(), key(UseCounts::default()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..1000).for_each(|n| tallies.note(key_id(1), &key, n % 4 != 0, at(n)));
                });
            }
        });
        let counts = tallies.of(&key_id(1), &key);
        assert_eq!((counts.allowed, counts.denied), (3000, 1000));
        assert_eq!((counts.last_use, counts.last_denied), (Some(at(999)), Some(at(996))));
    }
}
