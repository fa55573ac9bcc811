//! The callers of the key table: each a row that is replaced whole, and when it last called, beside the row.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use papaya::HashMap;

use crate::domain::caller::Caller;
use crate::domain::ids::CallerId;
use crate::domain::time::Time;

/// What a last use is noted to: a busy caller's calls do not write one place in memory against each other more often.
const COARSE_MICROS: i64 = 100_000;

/// Before any time.
const NEVER: i64 = i64::MIN;

/// Told that callers have changed.
type Told = Box<dyn Fn() + Send + Sync>;

#[derive(Debug)]
struct Row {
    caller: Arc<Caller>,
    /// Of all rows that this caller had and will have.
    last_use: Arc<AtomicI64>,
}

/// Every caller.
#[derive(Default)]
pub(super) struct Callers {
    rows: HashMap<CallerId, Row>,
    told: OnceLock<Told>,
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers").field("count", &self.rows.len()).finish_non_exhaustive()
    }
}

impl Callers {
    pub(super) fn get(&self, id: &CallerId) -> Option<Arc<Caller>> {
        self.rows.pin().get(id).map(|row| Arc::clone(&row.caller))
    }

    /// In the order of creation.
    pub(super) fn all(&self) -> Vec<(CallerId, Arc<Caller>)> {
        let pinned = self.rows.pin();
        let mut all: Vec<_> =
            pinned.iter().map(|(id, row)| (*id, Arc::clone(&row.caller))).collect();
        all.sort_by_key(|(id, caller)| (caller.create_time, *id));
        all
    }

    /// How many `are` so.
    pub(super) fn count(&self, are: impl Fn(&Caller) -> bool) -> u64 {
        self.rows.pin().values().filter(|row| are(&row.caller)).count() as u64
    }

    pub(super) fn put(&self, id: CallerId, caller: Caller) {
        let pinned = self.rows.pin();
        let known = pinned.get(&id).map(|row| Arc::clone(&row.last_use));
        let last_use = known.unwrap_or_else(|| Arc::new(AtomicI64::new(NEVER)));
        pinned.insert(id, Row { caller: Arc::new(caller), last_use });
    }

    pub(super) fn note_use(&self, id: &CallerId, time: Time) {
        let (pinned, now) = (self.rows.pin(), time.as_micros());
        let Some(row) = pinned.get(id) else { return };
        if row.last_use.load(Ordering::Relaxed) < now.saturating_sub(COARSE_MICROS) {
            row.last_use.fetch_max(now, Ordering::Relaxed);
        }
    }

    pub(super) fn last_use(&self, id: &CallerId) -> Option<Time> {
        let last = self.rows.pin().get(id)?.last_use.load(Ordering::Relaxed);
        (last != NEVER).then(|| Time::from_micros(last))
    }

    /// Has `told` be called whenever callers have changed; of several, the first.
    pub(super) fn tell(&self, told: Told) {
        let _ = self.told.set(told);
    }

    pub(super) fn changed(&self) {
        self.told.get().iter().for_each(|told| told());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::domain::facts::Facts as _;
    use crate::domain::testing::{ADMIN, World, at};

    const ID: CallerId = CallerId([7; 12]);

    fn caller() -> Caller {
        Caller::clone(&World::new().caller(&ADMIN).expect("in every world"))
    }

    #[test]
    fn the_last_use_outlives_a_change_of_the_caller_and_never_goes_back() {
        let callers = Callers::default();
        callers.note_use(&ID, at(1));
        assert_eq!(callers.last_use(&ID), None, "no such caller");
        callers.put(ID, caller());
        assert_eq!(callers.last_use(&ID), None);
        callers.note_use(&ID, at(5));
        callers.put(ID, Caller { revoke_time: Some(at(6)), ..caller() });
        callers.note_use(&ID, at(4));
        assert_eq!(callers.last_use(&ID), Some(at(5)));
        callers.note_use(&ID, at(6));
        assert_eq!(callers.last_use(&ID), Some(at(6)));
    }

    #[test]
    fn who_is_to_be_told_is_told_of_each_change() {
        let (callers, count) = (Callers::default(), Arc::new(AtomicUsize::new(0)));
        callers.changed();
        let counting = Arc::clone(&count);
        callers.tell(Box::new(move || {
            counting.fetch_add(1, Ordering::SeqCst);
        }));
        callers.changed();
        callers.changed();
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}
