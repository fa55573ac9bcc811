//! Ends the overlaps of rotated keys that nobody uses any more.
//!
//! Silence is measured by looks, on time that never steps: it began when a look first found the key as every
//! later look did, used so often and changed last by that record. So it begins anew with each use, each change
//! of the key and each start, and what the wall clock does is nothing to it. Where a use may be missing from
//! the figures, all silences begin anew.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::domain::command::{Act, Command};
use crate::domain::event::{Actor, Mechanism};
use crate::domain::ids::{KeyId, Position};
use crate::domain::key::KeyState;
use crate::domain::key_rules::RetireKey;
use crate::domain::time::Time;
use crate::ledger::lanes::Lane;
use crate::projection::key_table::KeyTable;

/// How often keys are looked at that are due.
const EVERY: Duration = Duration::from_secs(1);

/// How often at least a key is looked at within the silence that it waits for: it retires too late by less
/// than one of these.
const LOOKS: u32 = 8;

/// How long a key is not looked at, at most: a hundred thousand keys that wait are some two thousand looks a
/// second, a few milliseconds.
const REST: Duration = Duration::from_mins(1);

/// How many keys are looked at before other tasks have their turn: well under a millisecond.
const AT_ONCE: usize = 1024;

impl App {
    /// Retires keys that nobody has used for as long as their rotation says, as long as this is polled.
    pub fn retire_idle_keys(&self) -> impl Future<Output = ()> + Send + use<> {
        let (table, clock, writer) =
            (Arc::clone(&self.table), Arc::clone(&self.clock), self.writer.clone());
        let mut watch = Watch::new(Arc::clone(&table));
        async move {
            loop {
                tokio::time::sleep(EVERY).await;
                watch.begin(clock.monotonic());
                loop {
                    let judge_time = table.judge_time(clock.wall());
                    let (idle, more) = watch.look(clock.monotonic(), judge_time);
                    for retire in idle {
                        let actor = Actor { caller: None, mechanism: Mechanism::Service };
                        let act = Act::RetireKey(retire);
                        let command = Command { act, actor, trace_id: None, request: None };
                        // Whether it was taken and done, the next look at the key finds.
                        drop(writer.submit(Lane::Background, command));
                    }
                    if !more {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// A key as a look found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    changed: Position,
    allowed: u64,
}

/// How long a key has been found the same.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Duration,
    seen: Seen,
}

/// The keys that may retire early. All times but one are of the clock that never steps.
#[derive(Debug)]
struct Watch {
    table: Arc<KeyTable>,
    /// When to look at which key next, and its silence so far, if it is in one.
    due: BTreeMap<(Duration, KeyId), Option<Silence>>,
    /// No silence is believed from before this: uses may be missing.
    certain_since: Duration,
    missed: u64,
}

impl Watch {
    fn new(table: Arc<KeyTable>) -> Self {
        let missed = table.missed_uses();
        Watch { table, due: BTreeMap::new(), certain_since: Duration::ZERO, missed }
    }

    /// Begins a round of looks: learns of new keys, and of uses that are missing.
    fn begin(&mut self, now: Duration) {
        let missed = self.table.missed_uses();
        if missed != self.missed || self.table.is_held() {
            (self.missed, self.certain_since) = (missed, now);
        }
        let new = self.table.ends().take_may_retire();
        self.due.extend(new.into_iter().map(|id| ((now, id), None)));
    }

    /// Looks at some of the keys that are due; answers those that are to retire, and whether more are due.
    fn look(&mut self, now: Duration, judge_time: Time) -> (Vec<RetireKey>, bool) {
        let mut idle = Vec::new();
        for _ in 0..AT_ONCE {
            let first = self.due.first_entry().filter(|first| first.key().0 <= now);
            let Some(first) = first else { return (idle, false) };
            let ((_, id), silence) = first.remove_entry();
            self.look_at(id, silence, now, judge_time, &mut idle);
        }
        (idle, true)
    }

    /// Looks at a key. One that is over, by the record or by the clock, is not looked at again.
    fn look_at(
        &mut self,
        id: KeyId,
        before: Option<Silence>,
        now: Duration,
        judge_time: Time,
        idle: &mut Vec<RetireKey>,
    ) {
        let found = self.table.with_row(&id, |row| {
            let idle_for = row.key.rotation()?.retire_when_idle_for?;
            let uses = self.table.uses(&id, &row.key);
            Some((idle_for, row.key.state_at(judge_time), row.key.position(), uses))
        });
        let Some((idle_for, state, changed, uses)) = found.flatten() else { return };
        let rest = (idle_for / LOOKS).min(REST);
        match state {
            KeyState::Retiring => {}
            // Nobody can use it: that nobody does says nothing.
            KeyState::Disabled => {
                self.due.insert((now + rest, id), None);
                return;
            }
            KeyState::Active | KeyState::Superseded | KeyState::Expired | KeyState::Revoked => {
                return;
            }
        }
        let seen = Seen { changed, allowed: uses.allowed };
        let silence = before.filter(|before| before.seen == seen);
        let silence = silence.unwrap_or(Silence { since: now, seen });
        let lasted = now.saturating_sub(silence.since.max(self.certain_since));
        let left = idle_for.saturating_sub(lasted);
        if left.is_zero() {
            idle.push(RetireKey { key: id, basis: changed, last_use: uses.last_use });
        }
        // One that was found idle is looked at until it has retired.
        let next = if left.is_zero() { rest } else { rest.min(left) };
        self.due.insert((now + next, id), Some(silence));
    }
}

#[cfg(test)]
#[path = "retire_idle_tests.rs"]
mod tests;
