//! What the key table knows of peppers, and who is recognised by which.

use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::domain::ids::{KeyId, PepperVersion};
use crate::domain::key::Key;
use crate::domain::peppers::{Peppers, Retirement, depends_on, ended_key};
use crate::domain::time::Time;
use crate::projection::key_table::KeyTable;

impl KeyTable {
    /// The peppers that the log has registered.
    #[must_use]
    pub fn peppers(&self) -> Arc<Peppers> {
        self.peppers.load_full()
    }

    /// The pepper that new tags are made under; none before the first.
    #[must_use]
    pub fn pepper_in_force(&self) -> Option<PepperVersion> {
        self.peppers.load().current()
    }

    /// How many callers one of whose secrets works at `now` and is recognised by that pepper.
    #[must_use]
    pub fn callers_on(&self, version: PepperVersion, now: Time) -> u64 {
        self.callers.count(|caller| depends_on(caller, version, now))
    }

    /// The keys for which `is_one` holds and whose ids come after `after`: the first `limit` of them, by id. Looks at
    /// every key.
    #[must_use]
    pub fn first_keys(
        &self,
        after: Option<KeyId>,
        limit: usize,
        is_one: impl Fn(&Key) -> bool,
    ) -> Vec<KeyId> {
        let mut first = BinaryHeap::new();
        for (id, row) in &self.keys.pin() {
            let place_for = |first: &BinaryHeap<KeyId>| {
                first.len() < limit || first.peek().is_some_and(|last| id < last)
            };
            if after.is_none_or(|after| *id > after) && place_for(&first) && is_one(&row.key) {
                first.push(*id);
                if first.len() > limit {
                    first.pop();
                }
            }
        }
        first.into_sorted_vec()
    }

    pub(in crate::projection) fn put_peppers(&self, peppers: Peppers) {
        self.peppers.store(Arc::new(peppers));
    }

    /// The keys that end with their pepper, as they will be.
    pub(in crate::projection) fn ended_keys(
        &self,
        version: PepperVersion,
        retirement: &Retirement,
    ) -> Vec<(KeyId, Key)> {
        let pinned = self.keys.pin();
        let on = pinned.iter().filter(|(_, row)| row.key.pepper == version);
        on.filter_map(|(id, row)| Some((*id, ended_key(&row.key, retirement)?))).collect()
    }
}
