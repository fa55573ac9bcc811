//! The keys of one account that count to its plan's cap: neither rotated, revoked nor expired.

use std::collections::BTreeSet;

use crate::domain::ids::KeyId;
use crate::domain::time::Time;

/// How many keys are open, by when they expire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenKeys {
    lasting: u32,
    expiring: BTreeSet<(Time, KeyId)>,
}

impl OpenKeys {
    /// How many are open at `now`.
    #[must_use]
    pub fn count(&self, now: Time) -> u32 {
        let after_now = (Time::from_micros(now.as_micros().saturating_add(1)), KeyId([0; 12]));
        let unexpired = self.expiring.range(after_now..).count();
        self.lasting.saturating_add(u32::try_from(unexpired).unwrap_or(u32::MAX))
    }

    /// A key is open until `expire_time`.
    pub fn open(&mut self, key: KeyId, expire_time: Option<Time>) {
        match expire_time {
            None => self.lasting += 1,
            Some(time) => {
                self.expiring.insert((time, key));
            }
        }
    }

    /// Adds those of `other`, which are other keys.
    pub fn merge(&mut self, mut other: OpenKeys) {
        self.lasting += other.lasting;
        self.expiring.append(&mut other.expiring);
    }

    /// A key that was open until `expire_time` is open no longer.
    pub fn close(&mut self, key: KeyId, expire_time: Option<Time>) {
        match expire_time {
            None => self.lasting = self.lasting.saturating_sub(1),
            Some(time) => {
                self.expiring.remove(&(time, key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_key_is_not_open_and_one_a_moment_before_is() {
        let mut keys = OpenKeys::default();
        keys.open(KeyId([9; 12]), Some(Time::from_micros(10)));
        keys.open(KeyId([1; 12]), None);
        assert_eq!(keys.count(Time::from_micros(9)), 2);
        assert_eq!(keys.count(Time::from_micros(10)), 1);
        keys.close(KeyId([1; 12]), None);
        keys.close(KeyId([9; 12]), Some(Time::from_micros(10)));
        assert_eq!(keys, OpenKeys::default());
    }

    #[test]
    fn merged_keys_are_open_as_they_were_apart() {
        let (mut some, mut others) = (OpenKeys::default(), OpenKeys::default());
        some.open(KeyId([1; 12]), None);
        some.open(KeyId([2; 12]), Some(Time::from_micros(10)));
        others.open(KeyId([3; 12]), None);
        others.open(KeyId([4; 12]), Some(Time::from_micros(20)));
        some.merge(others);
        let counts = [9, 10, 20].map(|micros| some.count(Time::from_micros(micros)));
        assert_eq!(counts, [4, 3, 2]);
    }
}
