//! Loads a snapshot into a key table: several threads read, check and insert, each a part of the keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use thiserror::Error;

use super::entry::key::{self, KeyEntry};
use super::entry::{self, request};
use super::reader::{entries, runs};
use super::{Section, Snapshot, SnapshotError};
use crate::domain::account::AccountState;
use crate::domain::facts::FactsMut;
use crate::domain::ids::{AccountRef, KeyId};
use crate::domain::key::Key;
use crate::domain::open_keys::OpenKeys;
use crate::domain::source::Sources;
use crate::ledger::writer::Table;
use crate::progress::Progress;
use crate::projection::directory::LoadedKey;
use crate::projection::ends::LoadedEnds;
use crate::projection::key_table::AccountCell;
use crate::projection::table_writer::TableWriter;

use SnapshotError::Damaged;

/// Most threads that load at once.
const MOST_THREADS: usize = 4;

/// Why a snapshot cannot be loaded.
#[derive(Debug, Error)]
pub enum LoadError<E: std::error::Error + 'static> {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The sealed address ranges of a key cannot be opened.
    #[error("the address ranges of {id}: {reason}")]
    Ranges {
        /// The key.
        id: KeyId,
        /// Why.
        #[source]
        reason: E,
    },
}

/// The key table as the snapshot has it, its head published. `open` answers the sources of a bound
/// key from its sealed ranges.
///
/// # Errors
/// [`LoadError`] at the first block or entry that is not as it was written.
pub fn load<E: std::error::Error + Send + 'static>(
    snapshot: &Snapshot,
    open: impl Fn(&KeyEntry) -> Result<Sources, E> + Sync,
    progress: &dyn Progress,
) -> Result<TableWriter, LoadError<E>> {
    let mut table = TableWriter::with_room_for(usize::try_from(snapshot.keys()).unwrap_or(0));
    progress.begin("loading a snapshot", snapshot.keys());
    let loaded = load_into(&mut table, snapshot, open, progress);
    progress.end();
    loaded.map(|()| table)
}

fn load_into<E: std::error::Error + Send + 'static>(
    table: &mut TableWriter,
    snapshot: &Snapshot,
    open: impl Fn(&KeyEntry) -> Result<Sources, E> + Sync,
    progress: &dyn Progress,
) -> Result<(), LoadError<E>> {
    let (policy, log_state) = snapshot.policy()?;
    table.put_policy(policy);
    table.put_log_state(log_state);
    table.put_peppers(snapshot.peppers()?);
    snapshot.for_each(Section::Callers, |entry| -> Result<(), SnapshotError> {
        let (id, caller) = entry::decode_caller(entry).ok_or(Damaged("a caller"))?;
        table.put_caller(id, caller);
        Ok(())
    })?;
    let owners = load_accounts(table, snapshot)?;
    let keys = KeyLoader { table, snapshot, owners: &owners, open, progress };
    let (loaded, open_keys, ends) = keys.load()?;
    let names: Vec<_> = owners.into_iter().map(|owner| owner.name).collect();
    table.table().directory().add_sorted(&names, &loaded);
    table.table().ends().load(ends);
    for (name, open) in names.into_iter().zip(open_keys) {
        table.put_open_keys(name, open);
    }
    snapshot.for_each(Section::Requests, |entry| -> Result<(), SnapshotError> {
        let (key, did) = request::decode(entry).ok_or(Damaged("a request"))?;
        table.remember(key, did);
        Ok(())
    })?;
    let standpoint = snapshot.standpoint();
    if let Some(position) = standpoint.service_position {
        table.put_service_position(position);
    }
    table.publish(standpoint.position, standpoint.last_time);
    Ok(())
}

/// An account, by its number in the snapshot: those of one tenant follow each other.
struct Owner {
    name: Arc<AccountRef>,
    cell: Arc<AccountCell>,
    /// A number that the accounts of one tenant share.
    tenant: u32,
}

fn load_accounts(
    table: &mut TableWriter,
    snapshot: &Snapshot,
) -> Result<Vec<Owner>, SnapshotError> {
    let mut owners: Vec<Owner> = Vec::new();
    let mut before: Option<AccountState> = None;
    snapshot.for_each(Section::Accounts, |entry| {
        let (name, mut account) = entry::decode_account(entry).ok_or(Damaged("an account"))?;
        if let Some(before) = &before {
            share(&mut account.state, before);
        }
        before = Some(account.state.clone());
        table.put_account(&name, account);
        let cell = table.table().cell(&name).ok_or(Damaged("an account"))?;
        let tenant = match owners.last() {
            Some(last) if last.name.tenant == name.tenant => last.tenant,
            last => last.map_or(0, |last| last.tenant + 1),
        };
        owners.push(Owner { name, cell, tenant });
        Ok::<_, SnapshotError>(())
    })?;
    Ok(owners)
}

/// Lets an account have the same copy of what it has the same as another: neighbours are often alike.
fn share(state: &mut AccountState, other: &AccountState) {
    if state.plan == other.plan {
        state.plan = other.plan.clone();
    }
    if state.permissions == other.permissions {
        state.permissions = other.permissions.clone();
    }
}

/// What loading the keys gives besides their rows: their places, sorted, the open keys of each account, and
/// the ends of keys.
type Loaded = (Vec<LoadedKey>, Vec<OpenKeys>, LoadedEnds);

struct KeyLoader<'a, F> {
    table: &'a TableWriter,
    snapshot: &'a Snapshot,
    owners: &'a [Owner],
    open: F,
    progress: &'a dyn Progress,
}

impl<F> KeyLoader<'_, F> {
    fn load<E: std::error::Error + Send + 'static>(&self) -> Result<Loaded, LoadError<E>>
    where
        F: Fn(&KeyEntry) -> Result<Sources, E> + Sync,
    {
        let runs: Vec<_> = runs(self.snapshot.blocks(Section::Keys)).collect();
        let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
        let work = || -> Result<Loaded, LoadError<E>> {
            let (open, ends) = (self.no_open_keys(), LoadedEnds::default());
            let mut part = Part { loader: self, keys: Vec::new(), open, ends };
            while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let before = part.keys.len();
                self.snapshot.read_blocks(Section::Keys, run.clone(), |_, block| {
                    entries(block).try_for_each(|entry| part.take(entry.ok_or(Damaged("a key"))?))
                })?;
                let read = (part.keys.len() - before) as u64;
                self.progress.reached(done.fetch_add(read, Ordering::Relaxed) + read);
            }
            part.keys.sort_unstable();
            Ok((part.keys, part.open, part.ends))
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min(MOST_THREADS).min(runs.len().max(1));
        let parts = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut parts = vec![work()];
            let panicked = |_| Err(Damaged("a thread that read it panicked").into());
            parts.extend(others.into_iter().map(|other| other.join().unwrap_or_else(panicked)));
            parts
        });
        let mut all = (Vec::new(), self.no_open_keys(), LoadedEnds::default());
        for part in parts {
            let (keys, open, ends) = part?;
            if all.0.is_empty() {
                all.0 = keys;
            } else {
                all.0.extend(keys);
            }
            all.1.iter_mut().zip(open).for_each(|(all, part)| all.merge(part));
            all.2.merge(ends);
        }
        // A merge of the parts, which are sorted.
        all.0.sort();
        Ok(all)
    }

    fn no_open_keys(&self) -> Vec<OpenKeys> {
        vec![OpenKeys::default(); self.owners.len()]
    }
}

/// What one thread has loaded.
struct Part<'a, F> {
    loader: &'a KeyLoader<'a, F>,
    keys: Vec<LoadedKey>,
    open: Vec<OpenKeys>,
    ends: LoadedEnds,
}

impl<F> Part<'_, F> {
    fn take<E: std::error::Error + 'static>(&mut self, entry: &[u8]) -> Result<(), LoadError<E>>
    where
        F: Fn(&KeyEntry) -> Result<Sources, E>,
    {
        let KeyLoader { table, owners, open, .. } = self.loader;
        let number = key::account_number(entry).ok_or(Damaged("a key"))?;
        let at = usize::try_from(number).map_err(|_| Damaged("a key"))?;
        let owner = owners.get(at).ok_or(Damaged("a key"))?;
        let account = |_| Some(Arc::clone(&owner.name));
        let mut entry = KeyEntry::decode(entry, account).ok_or(Damaged("a key"))?;
        if entry.bound.is_some() {
            let opened = open(&entry);
            let sources = opened.map_err(|reason| LoadError::Ranges { id: entry.id, reason })?;
            put_sources(&mut entry.key, sources);
        }
        let KeyEntry { id, key, .. } = entry;
        if key.counts() {
            self.open[at].open(id, key.expire_time());
        }
        self.ends.add(id, &key);
        let (tenant, place) = (owner.tenant, (key.create_time, id));
        self.keys.push(LoadedKey { tenant, place, account: number });
        table.put_loaded(id, key, Arc::clone(&owner.cell));
        Ok(())
    }
}

fn put_sources(key: &mut Key, sources: Sources) {
    if let Some(limits) = key.limits.as_mut().and_then(Arc::get_mut) {
        limits.sources = sources;
    }
}
