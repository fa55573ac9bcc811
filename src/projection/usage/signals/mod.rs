//! Signals: found in the events of uses as they are folded, kept as rows that grow while something lasts, and
//! listed.
//!
//! The rules are in the domain; here is what they need between two events, and what they found. Sources are kept
//! sealed, and recognised by names that are made with the data key of their month: both end with it. It costs a
//! row of 100 to 500 bytes for each key that was ever used, and one read and one write of it for each of its events.

mod bytes;
mod list;

use std::cell::RefCell;
use std::net::IpAddr;

use rusqlite::{OptionalExtension as _, params};

pub use list::SignalPlace;
pub(super) use list::list;

use crate::domain::event::Recorded;
use crate::domain::ids::{AccountId, AccountRef, CallerId, KeyId, Position, TenantId};
use crate::domain::sealed::DataKeyId;
use crate::domain::time::{Month, Time};
use crate::domain::usage::signals::{
    Finding, KeyHistory, Seen, SignalKind, SourceName, SourceNetwork, SourceTries, tries_by_network,
};
use crate::domain::usage::used::UsedWindow;
use crate::projection::usage::fold::{Adding, counted};
use crate::projection::usage::names::KeyNumbers;
use crate::projection::usage::{Granularity, UsageStoreError};
use crate::vault::Scope;

/// Most sources and most callers that a signal names.
pub const MAX_NAMED: usize = 8;

/// Hours for which the tries of a source are kept: the one that runs, and those of which events may still come.
const TRIES_KEPT_HOURS: i64 = 4;

/// Unusual activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// What was found.
    pub kind: SignalKind,
    /// Of which key; none: of no key that there is.
    pub whose: Option<(TenantId, AccountId, KeyId)>,
    /// When the first window of the uses behind it begins.
    pub from: Time,
    /// When the last one ends.
    pub until: Time,
    /// How many uses are behind it.
    pub uses: u64,
    /// The figure that was compared.
    pub observed: u64,
    /// What it was compared with.
    pub threshold: u64,
    /// The first event it was found in.
    pub first: Position,
    /// The last one.
    pub last: Position,
    /// Some of the addresses that the uses came from.
    pub sources: Vec<IpAddr>,
    /// Whether there were more.
    pub more_sources: bool,
    /// Whether there were some that are not known any more.
    pub erased: bool,
    /// Some of the callers that they came through.
    pub callers: Vec<CallerId>,
    /// Whether there were more.
    pub more_callers: bool,
    /// How many different keys were presented, of those that are on record, with unknown keys.
    pub presented: u32,
}

/// A page of signals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// The latest first.
    pub signals: Vec<Signal>,
    /// Asks for the page behind this one; none: it was the last.
    pub next: Option<SignalPlace>,
}

/// What a list names of many: at most [`MAX_NAMED`] entries of `N` bytes; one more says that there were more.
fn merged<const N: usize>(known: &[u8], more: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
    let mut list = known.to_vec();
    for entry in more {
        let full = list.len() > MAX_NAMED * N;
        if !full && !list.as_chunks::<N>().0.contains(&entry) {
            list.extend(entry);
        }
    }
    list
}

/// An event of uses with its sources in clear; none: they cannot be opened any more.
pub(super) struct Opened<'a> {
    pub(super) recorded: &'a Recorded,
    pub(super) window: &'a UsedWindow,
    pub(super) sources: Option<&'a [String]>,
}

impl Opened<'_> {
    fn seen(&self) -> Seen<'_> {
        Seen {
            position: self.recorded.position,
            window: self.window,
            sources: self.sources.unwrap_or_default(),
        }
    }

    fn data_key(&self) -> Option<DataKeyId> {
        self.recorded.private.as_ref().map(|private| private.sealed.data_key)
    }
}

impl Adding<'_> {
    /// Looks at the uses of a key.
    pub(super) fn watch_key(
        &mut self,
        (account, key): (&AccountRef, KeyNumbers),
        opened: &Opened<'_>,
    ) -> Result<(), UsageStoreError> {
        let mut history = self.history(key.key)?.unwrap_or_default();
        let failed = RefCell::new(None);
        let month = opened.window.start.month();
        let names = RefCell::new(&mut *self.names);
        let naming = |of: Month, network: &SourceNetwork| {
            let data_key = if of == month {
                opened.data_key()
            } else {
                self.vault.data_keys.find(&Scope::AccountMonth(account.clone(), of))
            };
            let named = names.borrow_mut().network(self.vault, data_key?, network);
            named.unwrap_or_else(|error| {
                failed.borrow_mut().get_or_insert(error);
                None
            })
        };
        let found = history.take(&opened.seen(), &naming);
        if let Some(error) = failed.into_inner() {
            return Err(error);
        }
        self.keep_history(key.key, &history)?;
        found.iter().try_for_each(|finding| self.found(Some(key), opened, finding, 0))
    }

    /// A key begins with what is known of the one it replaces.
    pub(super) fn replaced(
        &mut self,
        of: &AccountRef,
        old: &KeyId,
        new: &KeyId,
    ) -> Result<(), UsageStoreError> {
        let old = self.names.key(self.database, old, of)?;
        if let Some(history) = self.history(old.key)? {
            let new = self.names.key(self.database, new, of)?;
            self.keep_history(new.key, &history.inherited())?;
        }
        Ok(())
    }

    fn history(&self, key: i64) -> Result<Option<KeyHistory>, UsageStoreError> {
        let sql = "SELECT history FROM key_histories WHERE key = ?1";
        let mut find = self.database.prepare_cached(sql)?;
        let found =
            find.query_row([key], |row| Ok(bytes::read_history(row.get_ref(0)?.as_blob()?)));
        found.optional()?.map(|history| history.ok_or(DAMAGED_HISTORY)).transpose()
    }

    fn keep_history(&self, key: i64, history: &KeyHistory) -> Result<(), UsageStoreError> {
        let sql = "INSERT INTO key_histories VALUES (?1, ?2)
                   ON CONFLICT DO UPDATE SET history = excluded.history";
        self.database.prepare_cached(sql)?.execute(params![key, bytes::history(history)])?;
        Ok(())
    }

    /// Looks at tries with unknown keys.
    pub(super) fn watch_tries(&mut self, opened: &Opened<'_>) -> Result<(), UsageStoreError> {
        let Some(data_key) = opened.data_key() else { return Ok(()) };
        let seen = opened.seen();
        let hour = Granularity::Hour.bucket(opened.window.start);
        let mut forget =
            self.database.prepare_cached("DELETE FROM source_tries WHERE hour <= ?1")?;
        forget.execute([hour - TRIES_KEPT_HOURS])?;
        for (network, more) in tries_by_network(&seen) {
            let Some(name) = self.names.network(self.vault, data_key, &network)? else {
                return Ok(());
            };
            let mut tries = self.tries(hour, name)?.unwrap_or_else(|| SourceTries::begin(&seen));
            let finding = tries.add(&seen, name, more);
            let sql = "INSERT INTO source_tries VALUES (?1, ?2, ?3)
                       ON CONFLICT DO UPDATE SET tries = excluded.tries";
            let kept = params![hour, name.0, bytes::tries(&tries)];
            self.database.prepare_cached(sql)?.execute(kept)?;
            if let Some(finding) = finding {
                self.found(None, opened, &finding, tries.presented.len())?;
            }
        }
        Ok(())
    }

    fn tries(&self, hour: i64, name: SourceName) -> Result<Option<SourceTries>, UsageStoreError> {
        let sql = "SELECT tries FROM source_tries WHERE hour = ?1 AND name = ?2";
        let mut find = self.database.prepare_cached(sql)?;
        let found = find.query_row(params![hour, name.0], |row| {
            Ok(bytes::read_tries(row.get_ref(0)?.as_blob()?))
        });
        found.optional()?.map(|tries| tries.ok_or(DAMAGED_TRIES)).transpose()
    }

    /// Adds what was found to its signal, or begins one.
    fn found(
        &mut self,
        whose: Option<KeyNumbers>,
        opened: &Opened<'_>,
        finding: &Finding,
        presented: usize,
    ) -> Result<(), UsageStoreError> {
        if !self.keeps(Granularity::Hour, finding.span) {
            return Ok(());
        }
        let KeyNumbers { tenant, account, key } = whose.unwrap_or(KeyNumbers::NONE);
        let about = finding.about.map_or(Vec::new(), |name| name.0.to_vec());
        let known = {
            let sql = "SELECT id, sources, callers FROM signals
                       WHERE key = ?1 AND kind = ?2 AND span = ?3 AND about = ?4";
            let mut find = self.database.prepare_cached(sql)?;
            let name = params![key, finding.kind as u8, finding.span.as_micros(), about];
            let read = |row: &rusqlite::Row<'_>| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?))
            };
            find.query_row(name, read).optional()?
        };
        let (id, sources, callers) = known
            .map_or((None, Vec::new(), Vec::new()), |(id, sources, callers)| {
                (Some(id), sources, callers)
            });
        let sources = merged(&sources, self.source_numbers(opened, finding)?.into_iter());
        let callers = merged(&callers, finding.ways.callers.iter().map(|caller| caller.0));
        if id.is_none() {
            self.signals[finding.kind as usize - 1] += 1;
        }
        let sql = "INSERT INTO signals VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
                   ON CONFLICT (id) DO UPDATE SET
                       first = min(first, excluded.first), last = max(last, excluded.last),
                       from_time = min(from_time, excluded.from_time),
                       until_time = max(until_time, excluded.until_time),
                       uses = min(uses + excluded.uses, 9223372036854775807),
                       observed = max(observed, excluded.observed), threshold = excluded.threshold,
                       sources = excluded.sources, callers = excluded.callers,
                       presented = max(presented, excluded.presented)";
        self.database.prepare_cached(sql)?.execute(params![
            id,
            finding.kind as u8,
            tenant,
            account,
            key,
            finding.span.as_micros(),
            about,
            finding.first.get().cast_signed(),
            finding.last.get().cast_signed(),
            finding.from.as_micros(),
            finding.until.as_micros(),
            counted(finding.uses),
            counted(finding.observed),
            counted(finding.threshold),
            sources,
            callers,
            counted(presented as u64),
        ])?;
        Ok(())
    }

    /// The numbers of the sources of a finding; of what cannot be opened any more, one for all.
    fn source_numbers(
        &mut self,
        opened: &Opened<'_>,
        finding: &Finding,
    ) -> Result<Vec<[u8; 8]>, UsageStoreError> {
        let Some(data_key) = opened.data_key() else { return Ok(Vec::new()) };
        let day = Granularity::Day.bucket(opened.window.start);
        let addresses = finding.ways.sources.iter().copied().map(Some);
        let unreadable = opened.sources.is_none().then_some(None);
        let addresses: Vec<Option<IpAddr>> =
            addresses.take(MAX_NAMED + 1).chain(unreadable).collect();
        let number = |address| {
            let number = self.names.source(self.database, self.vault, data_key, address, day)?;
            Ok(number.to_be_bytes())
        };
        addresses.into_iter().map(number).collect()
    }
}

const DAMAGED_HISTORY: UsageStoreError = UsageStoreError::Damaged("a key's history");
const DAMAGED_TRIES: UsageStoreError = UsageStoreError::Damaged("a source's tries");
const DAMAGED: UsageStoreError = UsageStoreError::Damaged("a signal");

#[cfg(test)]
mod tests;
