//! The one writer of the usage projection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::domain::event::Recorded;
use crate::domain::ids::{EventId, Position};
use crate::domain::time::Time;
use crate::domain::usage::signals::SignalKind;
use crate::durable_file;
use crate::projection::usage::fold::Adding;
use crate::projection::usage::levels::Horizons;
use crate::projection::usage::names::Names;
use crate::projection::usage::{Retention, UsageReader, UsageStoreError, retention, schema};
use crate::vault::Vault;

/// The file of the database in its directory.
const FILE: &str = "usage.db";

/// What is added to the name of a database that cannot be used.
const UNFIT: &str = "unfit";

/// What is added to the name of one that is made beside another.
const BESIDE: &str = "beside";

/// What is added to the name of one that is not what the log gives.
const DIFFERS: &str = "differs";

/// Folds events into the database, which nothing else writes.
#[derive(Debug)]
pub struct UsageStore {
    path: PathBuf,
    database: Connection,
    vault: Arc<Vault>,
    keep: Retention,
    state: State,
    names: Names,
    /// Whether a reader has found the file at fault.
    unfit: Arc<AtomicBool>,
    signals: [u64; SignalKind::ALL.len()],
}

/// How far the database is, in the same transaction as what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The last event that is folded in.
    pub(super) reached: Option<(Position, EventId)>,
    /// What is kept.
    pub(super) horizons: Horizons,
}

impl UsageStore {
    /// Opens the database in `dir`; makes both if they are missing. One that is damaged, of another version, or of
    /// which less was kept than now is to be, is set aside and made anew: the log has everything.
    ///
    /// # Errors
    /// [`UsageStoreError`] if that cannot be done.
    pub fn open(dir: &Path, vault: Arc<Vault>, keep: Retention) -> Result<Self, UsageStoreError> {
        durable_file::create_private_dir(dir)?;
        Self::open_file(&dir.join(FILE), vault, keep)
    }

    pub(super) fn open_file(
        path: &Path,
        vault: Arc<Vault>,
        keep: Retention,
    ) -> Result<Self, UsageStoreError> {
        let opened = match open(path, &keep) {
            Err(error) if error.is_of_the_file() => {
                set_aside(path, &error.to_string())?;
                open(path, &keep)?
            }
            opened => opened?,
        };
        Ok(UsageStore::of(path.to_owned(), opened, vault, keep))
    }

    /// Opens the database in `dir` as it is; none if there is none.
    ///
    /// # Errors
    /// [`UsageStoreError`]; one of the file, if it is at fault.
    pub fn open_found(
        dir: &Path,
        vault: Arc<Vault>,
        keep: Retention,
    ) -> Result<Option<Self>, UsageStoreError> {
        let path = dir.join(FILE);
        if !durable_file::is_there(&path)? {
            return Ok(None);
        }
        let (database, state) = open(&path, &keep)?;
        Ok(Some(UsageStore::of(path, (database, state), vault, keep)))
    }

    /// Makes an empty database beside the one in `dir`, which is to keep what `found` keeps.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn make_beside(
        dir: &Path,
        vault: Arc<Vault>,
        keep: Retention,
        found: Option<&UsageStore>,
    ) -> Result<Self, UsageStoreError> {
        durable_file::create_private_dir(dir)?;
        let path = dir.join(FILE).with_added_extension(BESIDE);
        schema::remove(&path)?;
        let mut store = Self::open_file(&path, vault, keep)?;
        if let Some(found) = found {
            store.state.horizons = found.state.horizons;
        }
        Ok(store)
    }

    /// Puts a database that was made beside another in that one's place. What was there is kept aside if `differs`,
    /// which answers where.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn take_its_place(self, differs: bool) -> Result<PathBuf, UsageStoreError> {
        let UsageStore { path: beside, database, .. } = self;
        database.close().map_err(|(_, error)| error)?;
        let path = beside.with_extension("");
        let aside = schema::set_aside(&path, if differs { DIFFERS } else { UNFIT })?;
        schema::rename(&beside, &path)?;
        Ok(aside)
    }

    /// Throws away a database that was made beside another.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn remove(self) -> Result<(), UsageStoreError> {
        let UsageStore { path, database, .. } = self;
        drop(database);
        Ok(schema::remove(&path)?)
    }

    /// Deletes all that was to be deleted when this last expired.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn finish_expiring(&mut self) -> Result<(), UsageStoreError> {
        let state = self.state;
        while self
            .change(state, |adding| retention::delete_some(adding.database, &state.horizons))?
            .more
        {}
        self.names.forget();
        Ok(())
    }

    /// The database, and what opens its sources.
    pub(super) fn database(&self) -> (&Connection, &Vault) {
        (&self.database, &self.vault)
    }

    fn of(
        path: PathBuf,
        (database, state): (Connection, State),
        vault: Arc<Vault>,
        keep: Retention,
    ) -> Self {
        let (names, unfit) = (Names::default(), Arc::default());
        let signals = [0; SignalKind::ALL.len()];
        UsageStore { path, database, vault, keep, state, names, unfit, signals }
    }

    /// Sets the database aside, for that reason, and begins anew. Readers from before go on with the old one.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn begin_anew(self, reason: &str) -> Result<Self, UsageStoreError> {
        let UsageStore { path, database, vault, keep, .. } = self;
        drop(database);
        set_aside(&path, reason)?;
        Self::open_file(&path, vault, keep)
    }

    /// The last event that is folded in.
    #[must_use]
    pub fn reached(&self) -> Option<Position> {
        self.state.reached.map(|(position, _)| position)
    }

    /// The last event that is folded in and its name, by which its log is known.
    #[must_use]
    pub fn reached_event(&self) -> Option<(Position, EventId)> {
        self.state.reached
    }

    /// Whether a reader has found that the file is at fault: it is to begin anew.
    #[must_use]
    pub fn is_found_unfit(&self) -> bool {
        self.unfit.load(Ordering::Relaxed)
    }

    /// Folds `events`, which follow each other behind [`UsageStore::reached`], in one transaction. Those that are of
    /// no uses only move the position.
    ///
    /// # Errors
    /// [`UsageStoreError`]: nothing of them is folded in.
    pub fn fold(&mut self, events: &[Recorded]) -> Result<(), UsageStoreError> {
        let Some(last) = events.last() else { return Ok(()) };
        let reached = Some((last.position, last.event_id));
        self.change(State { reached, ..self.state }, |adding| {
            events.iter().try_for_each(|event| adding.event(event))
        })
    }

    /// Deletes some of what has been kept for long enough; answers whether there is more.
    ///
    /// # Errors
    /// [`UsageStoreError`]; [`UsageStoreError::Unfit`] if an earlier `now` was so much later that more is gone than
    /// should be.
    pub fn expire(&mut self, now: Time) -> Result<bool, UsageStoreError> {
        let kept = Horizons::at(now, &self.keep);
        if self.state.horizons.are_beyond(kept) {
            return Err(UsageStoreError::Unfit("a clock that was ahead had too much deleted"));
        }
        let horizons = self.state.horizons.max(kept);
        let state = State { horizons, ..self.state };
        let deleted =
            self.change(state, |adding| retention::delete_some(adding.database, &horizons))?;
        if deleted.names > 0 {
            self.names.forget();
        }
        Ok(deleted.more)
    }

    /// Changes the tables and with them the state, in one transaction.
    fn change<T>(
        &mut self,
        state: State,
        change: impl FnOnce(&mut Adding<'_>) -> Result<T, UsageStoreError>,
    ) -> Result<T, UsageStoreError> {
        let changed = self.try_change(&state, change);
        match changed {
            Ok(_) => self.state = state,
            // Numbers that were given to names may not have been kept.
            Err(_) => self.names.forget(),
        }
        changed
    }

    fn try_change<T>(
        &mut self,
        state: &State,
        change: impl FnOnce(&mut Adding<'_>) -> Result<T, UsageStoreError>,
    ) -> Result<T, UsageStoreError> {
        let transaction = self.database.transaction()?;
        let mut adding = Adding {
            database: &transaction,
            vault: &self.vault,
            names: &mut self.names,
            horizons: state.horizons,
            signals: [0; SignalKind::ALL.len()],
        };
        let changed = change(&mut adding)?;
        let signals = adding.signals;
        write_state(&transaction, state, &self.keep)?;
        transaction.commit()?;
        self.signals.iter_mut().zip(signals).for_each(|(found, more)| *found += more);
        Ok(changed)
    }

    /// How many signals of each kind this has found since it was opened, in the order of [`SignalKind::ALL`].
    #[must_use]
    pub fn signals_found(&self) -> [u64; SignalKind::ALL.len()] {
        self.signals
    }

    /// What answers questions, from now on.
    #[must_use]
    pub fn reader(&self) -> UsageReader {
        UsageReader::new(&self.path, Arc::clone(&self.vault), Arc::clone(&self.unfit))
    }
}

fn open(path: &Path, keep: &Retention) -> Result<(Connection, State), UsageStoreError> {
    let database = schema::open(path)?;
    let kept = "SELECT kept_minutes, kept_hours, kept_days FROM state";
    let kept = database
        .query_row(kept, [], |row| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?]))
        .optional()?;
    let asked = [keep.minutes, keep.hours, keep.days].map(seconds);
    if kept.is_some_and(|kept| kept.iter().zip(asked).any(|(kept, asked)| *kept < asked)) {
        return Err(UsageStoreError::Unfit("less was kept than now is to be"));
    }
    let state = read_state(&database)?;
    Ok((database, state))
}

fn set_aside(path: &Path, reason: &str) -> Result<(), UsageStoreError> {
    let aside = schema::set_aside(path, UNFIT)?;
    let aside = aside.display();
    tracing::warn!(reason, %aside, "the usage projection is set aside and made anew from the log");
    Ok(())
}

pub(super) fn read_state(database: &Connection) -> Result<State, UsageStoreError> {
    let sql = "SELECT position, event, minutes, hours, days FROM state";
    let row = database
        .prepare_cached(sql)?
        .query_row([], |row| {
            let horizons = Horizons([row.get(2)?, row.get(3)?, row.get(4)?]);
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, horizons))
        })
        .optional()?;
    let Some((position, event, horizons)) = row else { return Ok(State::default()) };
    let reached = match Position::new(position.cast_unsigned()) {
        None => None,
        Some(position) => {
            let event = event.try_into().map_err(|_| UsageStoreError::Damaged("the state"))?;
            Some((position, EventId(event)))
        }
    };
    Ok(State { reached, horizons })
}

fn write_state(
    database: &Connection,
    state: &State,
    keep: &Retention,
) -> Result<(), UsageStoreError> {
    let position = state.reached.map_or(0, |(position, _)| position.get()).cast_signed();
    let event = state.reached.map_or([0; 16], |(_, event)| event.0);
    let [minutes, hours, days] = state.horizons.0;
    let [keep_minutes, keep_hours, keep_days] = [keep.minutes, keep.hours, keep.days].map(seconds);
    let sql = "INSERT OR REPLACE INTO state VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    database.prepare_cached(sql)?.execute(params![
        position,
        event,
        minutes,
        hours,
        days,
        keep_minutes,
        keep_hours,
        keep_days
    ])?;
    Ok(())
}

fn seconds(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}
