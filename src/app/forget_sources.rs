//! Ends what can be read of where uses came from: when a month has been over for long enough, the data keys of all
//! accounts for that month are destroyed.
//!
//! The records stay as they are and prove what they proved; their sources and agents are erased, in every copy of the
//! log. What is destroyed is found by asking for each account and month: at a start for all months since the log
//! began, then for those that come to be over.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::sealing::read_fact;
use crate::domain::ids::{AccountRef, Position};
use crate::domain::time::{Month, Time};
use crate::ledger::durable::fail_stop;
use crate::projection::key_table::KeyTable;
use crate::vault::{Scope, Vault};

/// How often is looked whether another month is over.
const EVERY: Duration = Duration::from_hours(1);

/// How many accounts are asked for at once: meanwhile no data key is made, some milliseconds.
const AT_ONCE: usize = 256;

/// How many months before the log's first record uses may lie, by a clock that was set back.
const BEFORE_THE_LOG: i32 = 12;

impl App {
    /// Destroys the data keys of months that ended more than `retention` ago, as long as this is polled; without a
    /// retention none.
    pub fn forget_sources(
        self: &Arc<Self>,
        retention: Option<Duration>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let app = Arc::downgrade(self);
        async move {
            let Some(retention) = retention else { return };
            let mut next = None;
            loop {
                let Some(app) = app.upgrade() else { return };
                let forgetting = tokio::task::spawn_blocking(move || {
                    let next = next.map_or_else(|| app.first_month(), Ok)?;
                    let due = due(app.now(), retention);
                    forget(&app.table, &app.vault, next, due);
                    Ok::<_, AppError>(next.max(Month(due.0.saturating_add(1))))
                });
                match forgetting.await {
                    Ok(Ok(after)) => next = Some(after),
                    // The cause is in the log; it is tried again.
                    Ok(Err(_)) => {}
                    Err(_) => return,
                }
                tokio::time::sleep(EVERY).await;
            }
        }
    }

    /// The first month that uses can lie in.
    fn first_month(&self) -> Result<Month, AppError> {
        let first = read_fact(&*self.reader, Position::FIRST)?;
        Ok(Month(first.time.month().0.saturating_sub(BEFORE_THE_LOG)))
    }
}

/// The last month that has been over for `retention`.
fn due(now: Time, retention: Duration) -> Month {
    Month(now.minus(retention).month().0.saturating_sub(1))
}

/// Destroys the data keys of all accounts for the months from `first` to `last`, if there are any.
fn forget(table: &KeyTable, vault: &Vault, first: Month, last: Month) {
    if first > last {
        return;
    }
    let mut destroyed = 0;
    for accounts in table.account_names().chunks(AT_ONCE) {
        let months = |account: &Arc<AccountRef>| {
            let account = AccountRef::clone(account);
            (first.0..=last.0).map(move |month| Scope::AccountMonth(account.clone(), Month(month)))
        };
        let scopes: Vec<Scope> = accounts.iter().flat_map(months).collect();
        match vault.data_keys.destroy(&scopes) {
            Ok(count) => destroyed += count,
            Err(error) => fail_stop("data keys could not be destroyed durably", &error),
        }
    }
    if destroyed > 0 {
        let (year, month) = (1970 + last.0.div_euclid(12), 1 + last.0.rem_euclid(12));
        tracing::info!(destroyed, year, month, "sources and agents up to this month are erased");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::apply::apply;
    use crate::domain::testing::{World, account};
    use crate::ledger::writer::Table as _;
    use crate::projection::table_writer::TableWriter;
    use crate::random::SeededRandom;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_month_is_due_when_it_has_been_over_for_the_whole_retention() {
        // 2026-01-01T00:00:00Z, of month 672.
        let january = Time::from_micros(1_767_225_600_000_000);
        let days = |days: u32| january.plus(DAY * days);
        assert_eq!(due(days(10), DAY * 10), Month(671));
        assert_eq!(due(days(10).minus(Duration::from_micros(1)), DAY * 10), Month(670));
        assert_eq!(due(days(41), DAY * 10), Month(672));
        assert_eq!(due(january, DAY * 400), Month(657));
    }

    #[test]
    fn the_data_keys_of_months_that_are_due_are_destroyed_and_no_others() {
        let place = tempfile::tempdir().unwrap();
        let (keys, data_keys) = (place.path().join("keys"), place.path().join("datakeys"));
        let random = SeededRandom::new(1);
        Vault::create_missing(&keys, &data_keys, &random).unwrap();
        let vault = Vault::open(&keys, &data_keys).unwrap();
        let mut writer = TableWriter::default();
        for fact in &World::with_key().log {
            apply(&mut writer, fact).unwrap();
            writer.publish(fact.position, fact.time);
        }
        let name = || AccountRef::clone(&account("a"));
        let month = |month| Scope::AccountMonth(name(), Month(month));
        let scopes = [Scope::Account(name()), month(3), month(5), month(6), month(7)];
        vault.data_keys.ensure_all(&scopes, &random).unwrap();

        let live = |vault: &Vault| -> Vec<bool> {
            scopes.iter().map(|scope| vault.data_keys.find(scope).is_some()).collect()
        };
        forget(&writer.table(), &vault, Month(4), Month(3));
        assert_eq!(live(&vault), [true; 5], "nothing is due");
        forget(&writer.table(), &vault, Month(0), Month(5));
        assert_eq!(live(&vault), [true, false, false, true, true]);
        forget(&writer.table(), &vault, Month(6), Month(6));
        assert_eq!(live(&vault), [true, false, false, false, true]);
        drop(vault);
        assert_eq!(
            live(&Vault::open(&keys, &data_keys).unwrap()),
            [true, false, false, false, true]
        );
    }
}
