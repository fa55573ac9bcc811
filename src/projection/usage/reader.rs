//! Answers questions from the usage projection, beside its writer.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Params, Row};

use crate::domain::ids::{KeyId, Position, TenantId};
use crate::domain::source_detail::SourceDetail;
use crate::domain::time::Time;
use crate::projection::usage::levels::Horizons;
use crate::projection::usage::sources::{Clear, Opener};
use crate::projection::usage::store::read_state;
use crate::projection::usage::{
    AsOf, Bucket, Gap, Granularity, Range, Rows, SignalPlace, Signals, UsageQuery, UsageStoreError,
    Ways, gaps, key, query, schema, signals,
};
use crate::vault::Vault;

/// Questions that are answered at the same time: the others wait for one of these. Bounds memory and the share of the
/// processor.
pub const AT_ONCE: usize = 4;

/// Rows that one question may read: about ten seconds' worth.
const MAX_READ: u64 = 20_000_000;

/// Reads the database. Cheap to clone. Each answer is of one moment. Blocks: a question may take seconds.
#[derive(Clone, Debug)]
pub struct UsageReader {
    pool: Arc<Pool>,
    vault: Arc<Vault>,
    clear: Arc<Clear>,
    /// Whether the file was found at fault.
    unfit: Arc<AtomicBool>,
    /// What each answer takes into account at least.
    at_least: Option<Position>,
    /// How exactly answers tell sources apart.
    detail: SourceDetail,
}

impl UsageReader {
    pub(super) fn new(path: &Path, vault: Arc<Vault>, unfit: Arc<AtomicBool>) -> Self {
        let room = Mutex::new(Room { open: 0, idle: Vec::new() });
        let pool = Pool { path: path.to_owned(), room, freed: Condvar::new() };
        let (clear, detail) = (Arc::default(), SourceDetail::default());
        UsageReader { pool: Arc::new(pool), vault, clear, unfit, at_least: None, detail }
    }

    /// The same, whose every answer takes into account all events up to `position`: also if the database is made anew
    /// in between.
    #[must_use]
    pub fn at_least(self, position: Option<Position>) -> Self {
        UsageReader { at_least: position, ..self }
    }

    /// The same, whose answers tell sources apart, and find them, as exactly as that: uses that are alike then are
    /// added up.
    #[must_use]
    pub fn with_sources_as(&self, detail: SourceDetail) -> Self {
        UsageReader { detail, ..self.clone() }
    }

    /// The last event that is folded in.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn reached(&self) -> Result<Option<Position>, UsageStoreError> {
        self.ask(|_| Ok(())).map(|answer| answer.position)
    }

    /// How often `key` was used, by bucket, ascending; buckets without uses are left out.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn key_usage(
        &self,
        key: &KeyId,
        range: Range,
        granularity: Granularity,
    ) -> Result<AsOf<Vec<Bucket>>, UsageStoreError> {
        self.ask(|moment| key::buckets(moment, key, range, granularity))
    }

    /// How often keys were used, told apart as asked.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn query(&self, query: &UsageQuery) -> Result<AsOf<Rows>, UsageStoreError> {
        self.ask(|moment| query::answer(moment, query))
    }

    /// In which ways `key` was used in the bucket that holds `since` and later: at most `limit` of those behind the
    /// page that `after` was the [`Ways::next`] of.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn ways(
        &self,
        key: &KeyId,
        since: Time,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<AsOf<Ways>, UsageStoreError> {
        self.ask(|moment| key::ways(moment, key, since, after, limit))
    }

    /// The gaps that reach into `range`, ascending; the last `limit` of them.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn gaps(&self, range: Range, limit: usize) -> Result<AsOf<Vec<Gap>>, UsageStoreError> {
        self.ask(|moment| gaps::within(moment, range, limit))
    }

    /// The signals whose uses reach into `range`, the latest first: at most `size` of those behind the page that
    /// `after` was the [`Signals::next`] of. Of these tenants; none: of all, and those that are of no tenant.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn signals(
        &self,
        tenants: Option<&[TenantId]>,
        range: Range,
        after: Option<SignalPlace>,
        size: usize,
    ) -> Result<AsOf<Signals>, UsageStoreError> {
        self.ask(|moment| signals::list(moment, tenants, range, after, size))
    }

    /// Bytes of the database on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        schema::bytes(&self.pool.path)
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&Moment<'_>) -> Result<T, UsageStoreError>,
    ) -> Result<AsOf<T>, UsageStoreError> {
        let answer = self.ask_at_one_moment(question);
        if let Err(error) = &answer
            && error.is_of_the_file()
        {
            self.unfit.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Asks in one transaction, so that all that is read is of one moment.
    fn ask_at_one_moment<T>(
        &self,
        question: impl FnOnce(&Moment<'_>) -> Result<T, UsageStoreError>,
    ) -> Result<AsOf<T>, UsageStoreError> {
        let mut lent = self.pool.lend()?;
        let database = lent.database.take().expect("lent with one");
        let transaction = database.unchecked_transaction()?;
        let state = read_state(&transaction)?;
        let position = state.reached.map(|(position, _)| position);
        if position < self.at_least {
            return Err(UsageStoreError::Behind);
        }
        let moment = Moment {
            database: &transaction,
            opener: Opener { vault: &self.vault, clear: &self.clear },
            detail: self.detail,
            horizons: state.horizons,
            read: Cell::new(0),
        };
        let value = question(&moment)?;
        transaction.finish()?;
        // One with which something failed is not lent again.
        lent.database = Some(database);
        Ok(AsOf { position, value })
    }
}

/// The database at one moment.
pub(super) struct Moment<'a> {
    pub(super) database: &'a Connection,
    pub(super) opener: Opener<'a>,
    pub(super) detail: SourceDetail,
    pub(super) horizons: Horizons,
    read: Cell<u64>,
}

impl Moment<'_> {
    /// Hands each row that `sql` finds to `each`.
    pub(super) fn each(
        &self,
        sql: &str,
        params: impl Params,
        mut each: impl FnMut(&Row<'_>) -> Result<(), UsageStoreError>,
    ) -> Result<(), UsageStoreError> {
        let mut statement = self.database.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            let read = self.read.get() + 1;
            if read > MAX_READ {
                return Err(UsageStoreError::TooSlow);
            }
            self.read.set(read);
            each(row)?;
        }
        Ok(())
    }

    /// The first row that `sql` finds.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, UsageStoreError> {
        let mut found = None;
        self.each(sql, params, |row| {
            found = Some(read(row)?);
            Ok(())
        })?;
        Ok(found)
    }
}

/// Connections that are open, [`AT_ONCE`] at most.
#[derive(Debug)]
struct Pool {
    path: PathBuf,
    room: Mutex<Room>,
    freed: Condvar,
}

#[derive(Debug)]
struct Room {
    /// Those lent and those idle.
    open: usize,
    idle: Vec<Connection>,
}

/// A connection on loan: given back when this is dropped, or if it is gone, its place.
struct Lent<'a> {
    pool: &'a Pool,
    database: Option<Connection>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one is free: each is given back, for a question has an end.
    fn lend(&self) -> Result<Lent<'_>, UsageStoreError> {
        let full = |room: &mut Room| room.idle.is_empty() && room.open >= AT_ONCE;
        let mut room =
            self.freed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = room.idle.pop() {
            return Ok(Lent { pool: self, database: Some(database) });
        }
        room.open += 1;
        drop(room);
        let mut lent = Lent { pool: self, database: None };
        lent.database = Some(schema::open_to_read(&self.path)?);
        Ok(lent)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut room = self.pool.lock();
        match self.database.take() {
            Some(database) => room.idle.push(database),
            None => room.open -= 1,
        }
        self.pool.freed.notify_one();
    }
}
