//! Which keys end and when, and which pepper recognises them, noted as rows change: so that a figure of them needs no
//! walk over all keys, and who ends overlaps early is told of each key that may.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::ids::{KeyId, PepperVersion};
use crate::domain::key::Key;
use crate::domain::time::Time;

/// What a key's row says of its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    /// When it expires, of a key that works till then and has no successor.
    expires: Option<Time>,
    /// When it stops, of a key that works beside its successor till then.
    retires: Option<Time>,
    /// Whether it may stop before that, if nobody uses it.
    may_retire: bool,
    /// The pepper it is recognised by, of a key that works, or will once it is enabled, and until when; no time: for
    /// ever.
    works: Option<(PepperVersion, Option<Time>)>,
}

impl End {
    fn of(key: &Key) -> Self {
        let until = key.overlap_end().or(key.expire_time());
        let works = Some((key.pepper, until));
        let Some(life) = key.life.as_deref() else {
            return End { expires: key.expire_time(), works, ..End::default() };
        };
        if life.revocation.is_some() {
            return End::default();
        }
        let enabled = life.disabled_at.is_none();
        match &life.rotation {
            None => End { expires: until.filter(|_| enabled), works, ..End::default() },
            Some(rotation) => {
                let asked = rotation.retire_when_idle_for.is_some();
                End {
                    expires: None,
                    retires: until.filter(|_| enabled),
                    may_retire: asked && rotation.retired_at.is_none(),
                    works,
                }
            }
        }
    }
}

/// How many times lie up to one that moves.
#[derive(Debug)]
struct Edge {
    at: Time,
    passed: u64,
}

impl Edge {
    const START: Edge = Edge { at: Time::from_micros(i64::MIN), passed: 0 };

    /// Moves to `to`; costs by what lies between.
    fn moved(&mut self, times: &BTreeMap<Time, u32>, to: Time) -> u64 {
        let between = |from, to| -> u64 {
            times.range((Excluded(from), Included(to))).map(|(_, count)| u64::from(*count)).sum()
        };
        if to > self.at {
            self.passed += between(self.at, to);
        } else if to < self.at {
            self.passed -= between(to, self.at);
        }
        self.at = to;
        self.passed
    }
}

/// Times of keys, counted between two edges that follow the clock: each is passed once, however often the
/// figure is asked for.
#[derive(Debug)]
struct Times {
    times: BTreeMap<Time, u32>,
    from: Edge,
    to: Edge,
}

impl Default for Times {
    fn default() -> Self {
        Times { times: BTreeMap::new(), from: Edge::START, to: Edge::START }
    }
}

impl Times {
    fn add(&mut self, time: Time) {
        *self.times.entry(time).or_default() += 1;
        for edge in [&mut self.from, &mut self.to] {
            edge.passed += u64::from(time <= edge.at);
        }
    }

    fn remove(&mut self, time: Time) {
        let Some(count) = self.times.get_mut(&time) else { return };
        *count -= 1;
        if *count == 0 {
            self.times.remove(&time);
        }
        for edge in [&mut self.from, &mut self.to] {
            edge.passed -= u64::from(time <= edge.at);
        }
    }

    /// How many lie after `from`, and not after `to`.
    fn between(&mut self, from: Time, to: Time) -> u64 {
        let passed = self.from.moved(&self.times, from);
        self.to.moved(&self.times, to).saturating_sub(passed)
    }

    /// As many [`Times::add`]; while none are counted.
    fn add_all(&mut self, mut times: Vec<Time>) {
        times.sort_unstable();
        let runs = times.chunk_by(|one, next| one == next);
        let counted = runs.map(|run| (run[0], u32::try_from(run.len()).unwrap_or(u32::MAX)));
        self.times = counted.collect();
        (self.from, self.to) = (Edge::START, Edge::START);
    }
}

/// The keys that one pepper recognises, of those that work or will once they are enabled.
#[derive(Debug, Default)]
struct Working {
    for_ever: u64,
    until: Times,
}

impl Working {
    fn add(&mut self, until: Option<Time>) {
        match until {
            None => self.for_ever += 1,
            Some(time) => self.until.add(time),
        }
    }

    fn remove(&mut self, until: Option<Time>) {
        match until {
            None => self.for_ever = self.for_ever.saturating_sub(1),
            Some(time) => self.until.remove(time),
        }
    }

    fn at(&mut self, now: Time) -> u64 {
        self.for_ever + self.until.between(now, Time::MAX)
    }
}

#[derive(Debug, Default)]
struct Noted {
    expiring: Times,
    retiring: Times,
    may_retire: Vec<KeyId>,
    working: BTreeMap<PepperVersion, Working>,
}

/// The ends of keys whose rows are loaded, before they are noted together.
#[derive(Debug, Default)]
pub(super) struct LoadedEnds {
    expiring: Vec<Time>,
    retiring: Vec<Time>,
    may_retire: Vec<KeyId>,
    working: BTreeMap<PepperVersion, (u64, Vec<Time>)>,
}

impl LoadedEnds {
    pub(super) fn add(&mut self, id: KeyId, key: &Key) {
        let end = End::of(key);
        self.expiring.extend(end.expires);
        self.retiring.extend(end.retires);
        self.may_retire.extend(end.may_retire.then_some(id));
        if let Some((pepper, until)) = end.works {
            let (for_ever, times) = self.working.entry(pepper).or_default();
            *for_ever += u64::from(until.is_none());
            times.extend(until);
        }
    }

    pub(super) fn merge(&mut self, other: LoadedEnds) {
        self.expiring.extend(other.expiring);
        self.retiring.extend(other.retiring);
        self.may_retire.extend(other.may_retire);
        for (pepper, (for_ever, times)) in other.working {
            let (all, all_times) = self.working.entry(pepper).or_default();
            *all += for_ever;
            all_times.extend(times);
        }
    }
}

/// The ends of all keys. Its lock is held for a few additions, and for what time has passed since a figure
/// was last asked for.
#[derive(Debug, Default)]
pub struct Ends(Mutex<Noted>);

impl Ends {
    /// A row takes the place of another; none: the key is new.
    pub(super) fn replaced(&self, id: KeyId, before: Option<&Key>, after: &Key) {
        let (before, after) = (before.map(End::of).unwrap_or_default(), End::of(after));
        if before == after {
            return;
        }
        let mut noted = self.noted();
        before.expires.into_iter().for_each(|time| noted.expiring.remove(time));
        after.expires.into_iter().for_each(|time| noted.expiring.add(time));
        before.retires.into_iter().for_each(|time| noted.retiring.remove(time));
        after.retires.into_iter().for_each(|time| noted.retiring.add(time));
        if after.may_retire && !before.may_retire {
            noted.may_retire.push(id);
        }
        if before.works != after.works {
            if let Some((pepper, until)) = before.works {
                noted.working.entry(pepper).or_default().remove(until);
            }
            if let Some((pepper, until)) = after.works {
                noted.working.entry(pepper).or_default().add(until);
            }
        }
    }

    /// Notes the ends of the first keys there are.
    pub(super) fn load(&self, loaded: LoadedEnds) {
        let mut noted = self.noted();
        noted.expiring.add_all(loaded.expiring);
        noted.retiring.add_all(loaded.retiring);
        noted.may_retire = loaded.may_retire;
        for (pepper, (for_ever, times)) in loaded.working {
            let working = noted.working.entry(pepper).or_default();
            working.for_ever = for_ever;
            working.until.add_all(times);
        }
    }

    /// How many keys work at `now`, have no successor and expire at most `within` later. Not which accounts
    /// are active.
    #[must_use]
    pub fn expiring(&self, now: Time, within: Duration) -> u64 {
        self.noted().expiring.between(now, now.plus(within))
    }

    /// How many keys work at `now` beside their successors.
    #[must_use]
    pub fn retiring(&self, now: Time) -> u64 {
        self.noted().retiring.between(now, Time::MAX)
    }

    /// How many keys that pepper recognises that work at `now`, or will once they are enabled. Not which accounts are
    /// active.
    #[must_use]
    pub fn working_on(&self, pepper: PepperVersion, now: Time) -> u64 {
        self.noted().working.get_mut(&pepper).map_or(0, |working| working.at(now))
    }

    /// The keys that may retire early and were not told of before.
    #[must_use]
    pub fn take_may_retire(&self) -> Vec<KeyId> {
        std::mem::take(&mut self.noted().may_retire)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "ends_tests.rs"]
mod tests;
