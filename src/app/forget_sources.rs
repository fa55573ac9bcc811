//! Ends what can be read of where calls came from: when a month has been over for long enough, the data keys of the
//! service and of all accounts for that month are destroyed.
//!
//! The records stay as they are and prove what they proved; their sources and agents are erased, in every copy of the
//! log. What is destroyed is found by asking for the service, then for each account, and month: at a start, and once more
//! an hour later, for all months since the log began, then for those that come to be over. What an older program sealed
//! under the service's own data key, tries with unknown keys and refused calls, stays.

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

/// What this run has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// Nothing.
    Never,
    /// All months that were due, and all of them again next time: what a start finds in journals goes on record behind
    /// the first look, and a month that had no data key is given one for it.
    Once,
    /// The months before this one.
    Before(Month),
}

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
            let mut looked = Looked::Never;
            loop {
                let Some(app) = app.upgrade() else { return };
                let forgetting = tokio::task::spawn_blocking(move || app.look(looked, retention));
                match forgetting.await {
                    Ok(Ok(now)) => looked = now,
                    // The cause is in the log; it is tried again.
                    Ok(Err(_)) => {}
                    Err(_) => return,
                }
                tokio::time::sleep(EVERY).await;
            }
        }
    }

    /// Destroys the data keys of the months that are due by now and were not when it was looked before.
    fn look(&self, looked: Looked, retention: Duration) -> Result<Looked, AppError> {
        let first = match looked {
            Looked::Never | Looked::Once => self.first_month()?,
            Looked::Before(month) => month,
        };
        let due = due(self.now(), retention);
        forget(&self.table, &self.vault, first, due);
        Ok(match looked {
            Looked::Never => Looked::Once,
            _ => Looked::Before(first.max(Month(due.0.saturating_add(1)))),
        })
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

/// Destroys the data keys of the service and of all accounts for the months from `first` to `last`, if there are any.
fn forget(table: &KeyTable, vault: &Vault, first: Month, last: Month) {
    if first > last {
        return;
    }
    let destroy = |scopes: &[Scope]| match vault.data_keys.destroy(scopes) {
        Ok(count) => count,
        Err(error) => fail_stop("data keys could not be destroyed durably", &error),
    };
    let months = || (first.0..=last.0).map(Month);
    let mut destroyed = destroy(&months().map(Scope::ServiceMonth).collect::<Vec<_>>());
    for accounts in table.account_names().chunks(AT_ONCE) {
        let of = |account: &Arc<AccountRef>| {
            let account = AccountRef::clone(account);
            months().map(move |month| Scope::AccountMonth(account.clone(), month))
        };
        destroyed += destroy(&accounts.iter().flat_map(of).collect::<Vec<_>>());
    }
    if destroyed > 0 {
        let (year, month) = (1970 + last.0.div_euclid(12), 1 + last.0.rem_euclid(12));
        tracing::info!(destroyed, year, month, "sources and agents up to this month are erased");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::startup::open;
    use crate::clock::ManualClock;
    use crate::config::Config;
    use crate::domain::apply::apply;
    use crate::domain::testing::{World, account, at};
    use crate::ledger::writer::Table as _;
    use crate::progress::Silent;
    use crate::projection::table_writer::TableWriter;
    use crate::random::{SeededRandom, SystemRandom};

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
        let service = |month| Scope::ServiceMonth(Month(month));
        let scopes = [
            [Scope::Account(name()), month(3), month(5), month(6), month(7)],
            [Scope::Service, service(3), service(5), service(6), service(7)],
        ]
        .concat();
        vault.data_keys.ensure_all(&scopes, &random).unwrap();

        let live = |vault: &Vault| -> Vec<bool> {
            scopes.iter().map(|scope| vault.data_keys.find(scope).is_some()).collect()
        };
        let of_both = |live: [bool; 5]| [live, live].concat();
        forget(&writer.table(), &vault, Month(4), Month(3));
        assert_eq!(live(&vault), of_both([true; 5]), "nothing is due");
        forget(&writer.table(), &vault, Month(0), Month(5));
        assert_eq!(live(&vault), of_both([true, false, false, true, true]));
        forget(&writer.table(), &vault, Month(6), Month(6));
        let left = of_both([true, false, false, false, true]);
        assert_eq!(live(&vault), left);
        drop(vault);
        assert_eq!(live(&Vault::open(&keys, &data_keys).unwrap()), left);
    }

    #[test]
    fn what_a_start_puts_on_record_behind_the_first_look_is_found_by_the_second() {
        let place = tempfile::tempdir().unwrap();
        let config = Config { data_dir: place.path().join("data"), ..Config::default() };
        let clock = Arc::new(ManualClock::new(at(0)));
        let opened = open(&config, clock.clone(), Arc::new(SystemRandom), &Silent).unwrap();
        let (app, this) = (&opened.app, at(0).month());
        let months: [Scope; 3] = [-2, -1, 0].map(|back| Scope::ServiceMonth(Month(this.0 + back)));
        let live = || months.clone().map(|scope| app.vault.data_keys.find(&scope).is_some());
        app.vault.data_keys.ensure_all(&months[1..], &SystemRandom).unwrap();
        let retention = Duration::from_secs(1);

        let looked = app.look(Looked::Never, retention).unwrap();
        assert_eq!((looked, live()), (Looked::Once, [false, false, true]));
        app.vault.data_keys.ensure_all(&months, &SystemRandom).unwrap();
        assert_eq!(live(), [true, false, true], "what is destroyed stays so");
        let looked = app.look(looked, retention).unwrap();
        assert_eq!((looked, live()), (Looked::Before(this), [false, false, true]));
        clock.advance(DAY * 32);
        let looked = app.look(looked, retention).unwrap();
        assert_eq!((looked, live()), (Looked::Before(Month(this.0 + 1)), [false; 3]));
        opened.closing.close().unwrap();
    }
}
