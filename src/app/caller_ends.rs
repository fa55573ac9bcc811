//! Telling what goes on for a caller that its credential has stopped working: because it was revoked or rotated,
//! which the writer tells as it happens, or because its time has come, which a task waits for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::App;
use crate::app::identify::{Identity, works};
use crate::domain::time::Time;
use crate::projection::key_table::KeyTable;

/// How long the next end of a credential is waited for without a look at the clock, which can be stepped.
const LOOK: Duration = Duration::from_secs(1);

/// Told whenever some credential may have stopped working. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct CallerEnds(watch::Sender<()>);

impl CallerEnds {
    /// Told by the writer of the table when callers have changed.
    pub(crate) fn of(table: &KeyTable) -> Self {
        let ends = CallerEnds(watch::Sender::new(()));
        let told = ends.clone();
        table.tell_of_callers(move || told.tell());
        ends
    }

    fn tell(&self) {
        self.0.send_replace(());
    }
}

impl App {
    /// Whether the credential that `identity` was recognised by still works, and its caller has not changed since. Not
    /// if it is to move to another pepper: only who presents it has what that takes.
    #[must_use]
    pub fn is_unchanged(&self, identity: &Identity) -> bool {
        if self.is_to_move(identity) {
            return false;
        }
        let row = self.table.caller(&identity.id);
        row.filter(|row| Arc::ptr_eq(row, &identity.caller)).is_some_and(|row| match row.retiring {
            // It was the only one then, so it is the one in force.
            None => row.works_at(self.now()),
            Some(_) => self.confirm(identity).is_ok(),
        })
    }

    /// Notes that a caller called.
    pub fn note_call(&self, identity: &Identity) {
        self.table.note_call(&identity.id, self.clock.wall());
    }

    /// Resolves when what `identity` was recognised by works no more.
    pub fn ended(&self, identity: &Arc<Identity>) -> impl Future<Output = ()> + Send + use<> {
        // Not the app: who waits may outlive the ledger.
        let (table, clock) = (Arc::clone(&self.table), Arc::clone(&self.clock));
        let (ends, identity) = (self.caller_ends.clone(), Arc::clone(identity));
        async move {
            // Before the first look, so that nothing is missed in between.
            let mut told = ends.0.subscribe();
            loop {
                let now = table.judge_time(clock.wall());
                if !works(&table, &identity, now) {
                    return;
                }
                let until = identity.valid_until().map(|until| until.since(now).min(LOOK));
                let over = async {
                    match until {
                        Some(left) => tokio::time::sleep(left).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    // Fails only if there is no sender, and this has one.
                    _ = told.changed() => {}
                    () = over => {}
                }
            }
        }
    }

    /// Tells those whose time has come, as long as this is polled: within a millisecond or two, or a second of a
    /// step of the clock.
    pub fn tell_caller_ends(&self) -> impl Future<Output = ()> + Send + use<> {
        let (table, clock) = (Arc::clone(&self.table), Arc::clone(&self.clock));
        let ends = self.caller_ends.clone();
        async move {
            let mut changed = ends.0.subscribe();
            let mut told = table.judge_time(clock.wall());
            loop {
                let next = next_end(&table, told);
                let over = async {
                    let Some(next) = next else { return std::future::pending().await };
                    loop {
                        let left = next.since(table.judge_time(clock.wall()));
                        if left.is_zero() {
                            return next;
                        }
                        tokio::time::sleep(left.min(LOOK)).await;
                    }
                };
                tokio::select! {
                    _ = changed.changed() => {}
                    next = over => {
                        // What is told over does not come back if the clock is set back.
                        table.witness(next);
                        told = next;
                        ends.tell();
                    }
                }
            }
        }
    }
}

/// When the next credential ends of those that end after `told`, if no caller changes.
fn next_end(table: &KeyTable, told: Time) -> Option<Time> {
    let callers = table.callers();
    let ends = callers.iter().flat_map(|(_, caller)| {
        let retiring = caller.retiring.as_ref().map(|retiring| retiring.retire_time);
        [caller.expire_time, retiring]
    });
    ends.flatten().filter(|end| *end > told).min()
}
