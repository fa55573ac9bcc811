//! Folds records into what differs from an earlier snapshot. Memory follows what the records touch:
//! what they do not is looked up in that snapshot, entry by entry.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use quick_cache::unsync::Cache;
use thiserror::Error;

use super::entry::key::{Bound, KeyEntry};
use super::{Section, Snapshot, SnapshotError, entry, reader};
use crate::domain::account::Account;
use crate::domain::apply::{DoesNotFollow, apply};
use crate::domain::caller::Caller;
use crate::domain::event::{Event, Recorded};
use crate::domain::facts::{Facts, FactsMut};
use crate::domain::ids::{AccountRef, CallerId, KeyId, PepperVersion, Position};
use crate::domain::key::Key;
use crate::domain::log_state::LogState;
use crate::domain::peppers::{Peppers, Retirement, ended_key};
use crate::domain::policy::Policy;
use crate::domain::requests::{Remembered, RequestKey, Requests};
use crate::domain::sealed::DataKeyId;
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::ledger::record::{self, RecordError};

use SnapshotError::Damaged;

/// Blocks of the earlier snapshot that are kept in memory: about 32 MB.
const CACHED_BLOCKS: usize = 8192;

/// Why a record cannot be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FoldError {
    /// It cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is not at the place it names.
    #[error("it names position {0} as its place")]
    Misplaced(Position),
    /// It does not follow from those before it.
    #[error(transparent)]
    DoesNotFollow(#[from] DoesNotFollow),
    /// It binds a key to address ranges and has none sealed.
    #[error("it binds a key to address ranges and names none")]
    Unsealed,
    /// The earlier snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The fold is to stop.
    #[error("it was to stop")]
    Stopped,
}

/// A key as it is after what has been folded.
pub(super) struct TouchedKey {
    pub(super) key: Key,
    /// The number of its account in [`Fold::names`].
    pub(super) owner: u32,
}

/// The event of the record at `position`.
pub(super) fn read_record(position: Position, bytes: &[u8]) -> Result<Recorded, FoldError> {
    let fact = record::decode(bytes)?;
    if fact.position == position { Ok(fact) } else { Err(FoldError::Misplaced(fact.position)) }
}

/// What differs from the snapshot `base`, or from nothing.
pub(super) struct Fold<'a> {
    base: Option<&'a Snapshot>,
    cache: RefCell<Cache<usize, Rc<[u8]>>>,
    /// What the base has of the keys that are being folded: the entry, or that there is none.
    fetched: HashMap<KeyId, Option<Box<[u8]>>>,
    /// What went wrong in a lookup: rules ask for facts and take no errors.
    failed: Cell<Option<SnapshotError>>,
    pub(super) keys: HashMap<KeyId, TouchedKey>,
    /// The names of the accounts of touched keys, one copy each, numbered as they came.
    pub(super) names: HashMap<Arc<AccountRef>, u32>,
    /// Names of accounts by their numbers in the base, as they were needed.
    names_in_base: RefCell<HashMap<u32, Arc<AccountRef>>>,
    /// The sealed ranges that the folded records set.
    pub(super) bounds: HashMap<KeyId, Bound>,
    pub(super) accounts: HashMap<Arc<AccountRef>, Arc<Account>>,
    /// All of them: they are few.
    pub(super) callers: BTreeMap<CallerId, Arc<Caller>>,
    pub(super) policy: Arc<Policy>,
    pub(super) log_state: Arc<LogState>,
    pub(super) peppers: Arc<Peppers>,
    /// Those among them that the folded records retired: keys of the base may have ended with them.
    pub(super) retired: BTreeSet<PepperVersion>,
    /// Those the folded records name.
    pub(super) requests: Requests,
    pub(super) service_position: Option<Position>,
    pub(super) highest_data_key: Option<DataKeyId>,
    pub(super) last_time: Time,
}

impl<'a> Fold<'a> {
    /// Nothing folded yet.
    pub(super) fn new(base: Option<&'a Snapshot>) -> Result<Self, SnapshotError> {
        let mut fold = Fold {
            base,
            cache: RefCell::new(Cache::new(CACHED_BLOCKS)),
            fetched: HashMap::new(),
            failed: Cell::new(None),
            keys: HashMap::new(),
            names: HashMap::new(),
            names_in_base: RefCell::new(HashMap::new()),
            bounds: HashMap::new(),
            accounts: HashMap::new(),
            callers: BTreeMap::new(),
            policy: Arc::default(),
            log_state: Arc::default(),
            peppers: Arc::default(),
            retired: BTreeSet::new(),
            requests: Requests::default(),
            service_position: None,
            highest_data_key: None,
            last_time: Time::EPOCH,
        };
        if let Some(base) = base {
            let (policy, log_state) = base.policy()?;
            (fold.policy, fold.log_state) = (Arc::new(policy), Arc::new(log_state));
            fold.peppers = Arc::new(base.peppers()?);
            base.for_each(Section::Callers, |entry| -> Result<(), SnapshotError> {
                let (id, caller) = entry::decode_caller(entry).ok_or(Damaged("a caller"))?;
                fold.callers.insert(id, Arc::new(caller));
                Ok(())
            })?;
            fold.service_position = base.standpoint().service_position;
            fold.highest_data_key = base.standpoint().highest_data_key;
            fold.last_time = base.standpoint().last_time;
        }
        Ok(fold)
    }

    /// How many keys, accounts and calls are held in memory.
    pub(super) fn touched(&self) -> usize {
        self.keys.len() + self.accounts.len() + self.requests.len()
    }

    /// Folds the next records; the error names the one at fault.
    pub(super) fn take_all(&mut self, facts: &[Recorded]) -> Result<(), (Position, FoldError)> {
        if let Some(first) = facts.first() {
            self.fetch_keys(facts).map_err(|error| (first.position, error.into()))?;
        }
        facts.iter().try_for_each(|fact| self.take(fact).map_err(|error| (fact.position, error)))
    }

    fn take(&mut self, fact: &Recorded) -> Result<(), FoldError> {
        let applied = apply(self, fact);
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        applied?;
        self.note_private(fact)?;
        self.last_time = fact.time;
        Ok(())
    }

    /// Reads what the base says of the keys that these records are about, block by block.
    fn fetch_keys(&mut self, facts: &[Recorded]) -> Result<(), SnapshotError> {
        self.fetched.clear();
        let Some(base) = self.base else { return Ok(()) };
        let untouched = |fact: &Recorded| match &fact.subject {
            Subject::Key(_, id) if !self.keys.contains_key(id) => Some(*id),
            _ => None,
        };
        let mut ids: Vec<KeyId> = facts.iter().filter_map(untouched).collect();
        ids.sort_unstable();
        ids.dedup();
        let block_of = |id: &KeyId| base.block_for(Section::Keys, &id.0);
        for ids in ids.chunk_by(|id, next| block_of(id) == block_of(next)) {
            let number = ids.first().and_then(block_of);
            let block = number.map(|number| base.block(Section::Keys, number)).transpose()?;
            let mut entries = block.iter().flat_map(|block| reader::entries(block)).flatten();
            let mut entry = entries.next();
            for id in ids {
                while let Some(other) = entry
                    && Section::Keys.order_key(other) < Some(&id.0)
                {
                    entry = entries.next();
                }
                let found = entry.filter(|entry| Section::Keys.order_key(entry) == Some(&id.0));
                self.fetched.insert(*id, found.map(Box::from));
            }
        }
        Ok(())
    }

    /// Keeps what the record says of sealed fields.
    fn note_private(&mut self, fact: &Recorded) -> Result<(), FoldError> {
        let data_key = fact.private.as_ref().map(|private| private.sealed.data_key);
        self.highest_data_key = self.highest_data_key.max(data_key);
        let sources = match &fact.event {
            Event::KeyCreated(created) => &created.sources,
            Event::KeyUpdated(updated) => &updated.sources,
            _ => return Ok(()),
        };
        let Subject::Key(_, id) = &fact.subject else { return Ok(()) };
        if *sources == Sources::Any {
            self.bounds.remove(id);
        } else {
            let private = fact.private.clone().ok_or(FoldError::Unsealed)?;
            self.bounds.insert(*id, Bound { kind: fact.event.kind(), private });
        }
        Ok(())
    }

    /// The sealed ranges of a key that the folded records did not bind anew.
    pub(super) fn bound_in_base(&self, id: &KeyId) -> Result<Bound, SnapshotError> {
        let bound = self.key_in_base(id).and_then(|entry| entry.bound);
        bound.ok_or_else(|| self.failed.take().unwrap_or(Damaged("a bound key without its ranges")))
    }

    fn key_in_base(&self, id: &KeyId) -> Option<KeyEntry> {
        let name = |number| self.name_in_base(number);
        let decode = |entry: &[u8]| KeyEntry::decode(entry, name);
        match self.fetched.get(id) {
            Some(found) => self.or_damaged(decode(found.as_deref()?)),
            None => self.look_up(Section::Keys, &id.0, decode),
        }
    }

    pub(super) fn name_in_base(&self, number: u32) -> Option<Arc<AccountRef>> {
        if let Some(known) = self.names_in_base.borrow().get(&number) {
            return Some(Arc::clone(known));
        }
        let (block, inside) = self.base?.block_of_number(Section::Accounts, number)?;
        let block = self.block(Section::Accounts, block)?;
        let name = entry::account_name(reader::entries(&block).nth(inside)??)?;
        self.names_in_base.borrow_mut().insert(number, Arc::clone(&name));
        Some(name)
    }

    /// What the base says of one thing; what goes wrong is kept for [`Fold::take`].
    fn look_up<T>(
        &self,
        section: Section,
        order_key: &[u8],
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let block = self.block(section, self.base?.block_for(section, order_key)?)?;
        let found = reader::entries(&block)
            .flatten()
            .find(|entry| section.order_key(entry).is_none_or(|found| found >= order_key));
        let entry = found.filter(|entry| section.order_key(entry) == Some(order_key))?;
        self.or_damaged(decode(entry))
    }

    /// What an entry was decoded as; that it could not be is kept for [`Fold::take`].
    fn or_damaged<T>(&self, decoded: Option<T>) -> Option<T> {
        if decoded.is_none() && self.failed.get().is_none() {
            self.failed.set(Some(Damaged("an entry")));
        }
        decoded
    }

    /// A block of the base, from memory if it is there; what goes wrong is kept for [`Fold::take`].
    fn block(&self, section: Section, number: usize) -> Option<Rc<[u8]>> {
        if let Some(cached) = self.cache.borrow().get(&number) {
            return Some(Rc::clone(cached));
        }
        match self.base?.block(section, number) {
            Ok(block) => {
                let block: Rc<[u8]> = block.into();
                self.cache.borrow_mut().insert(number, Rc::clone(&block));
                Some(block)
            }
            Err(error) => {
                self.failed.set(Some(error));
                None
            }
        }
    }
}

impl Facts for Fold<'_> {
    fn key(&self, id: &KeyId) -> Option<Key> {
        let in_base = || {
            let key = self.key_in_base(id)?.key;
            Some(self.peppers.ended_key(&key).unwrap_or(key))
        };
        self.keys.get(id).map(|touched| touched.key.clone()).or_else(in_base)
    }

    fn account(&self, account: &AccountRef) -> Option<Arc<Account>> {
        let order_key = || entry::account_order(account);
        let in_base = || self.look_up(Section::Accounts, &order_key(), entry::decode_account);
        let found = self.accounts.get(account).cloned();
        found.or_else(|| in_base().map(|(_, account)| Arc::new(account)))
    }

    /// Only deciding asks for it.
    fn each_account(&self, _: &mut dyn FnMut(&AccountRef, &Account)) {}

    /// Only deciding asks for it. Not known here: it is derived where a snapshot is loaded.
    fn open_keys(&self, _: &AccountRef, _: Time) -> u32 {
        0
    }

    fn caller(&self, id: &CallerId) -> Option<Arc<Caller>> {
        self.callers.get(id).cloned()
    }

    fn callers(&self) -> Vec<(CallerId, Arc<Caller>)> {
        self.callers.iter().map(|(id, caller)| (*id, Arc::clone(caller))).collect()
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    fn peppers(&self) -> Arc<Peppers> {
        Arc::clone(&self.peppers)
    }

    /// Only deciding asks for it.
    fn keys_on(&self, _: PepperVersion, _: Time) -> u64 {
        0
    }

    /// Only deciding asks for it. Knows only what the folded records name.
    fn remembered(&self, key: &RequestKey, now: Time) -> Option<Remembered> {
        self.requests.find(key, now).cloned()
    }

    fn service_position(&self) -> Option<Position> {
        self.service_position
    }

    fn log_state(&self) -> Arc<LogState> {
        Arc::clone(&self.log_state)
    }
}

impl FactsMut for Fold<'_> {
    fn put_key(&mut self, id: KeyId, mut key: Key) {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let owner = match self.names.get_key_value(&key.account) {
            Some((name, number)) => {
                key.account = Arc::clone(name);
                *number
            }
            None => *self.names.entry(Arc::clone(&key.account)).or_insert(next),
        };
        self.keys.insert(id, TouchedKey { key, owner });
    }

    fn put_account(&mut self, name: &Arc<AccountRef>, account: Account) {
        self.accounts.insert(Arc::clone(name), Arc::new(account));
    }

    /// Snapshots hold them sealed.
    fn forget_sources(&mut self, _: &AccountRef) {}

    fn open_key(&mut self, _: &Arc<AccountRef>, _: KeyId, _: Option<Time>) {}

    fn close_key(&mut self, _: &Arc<AccountRef>, _: KeyId, _: Option<Time>) {}

    fn put_caller(&mut self, id: CallerId, caller: Caller) {
        self.callers.insert(id, Arc::new(caller));
    }

    fn put_policy(&mut self, policy: Policy) {
        self.policy = Arc::new(policy);
    }

    fn put_peppers(&mut self, peppers: Peppers) {
        self.peppers = Arc::new(peppers);
    }

    /// Those in the base end when they are looked up, or merged.
    fn end_keys(&mut self, version: PepperVersion, retirement: &Retirement) {
        self.retired.insert(version);
        for touched in self.keys.values_mut().filter(|touched| touched.key.pepper == version) {
            if let Some(ended) = ended_key(&touched.key, retirement) {
                touched.key = ended;
            }
        }
    }

    fn remember(&mut self, key: RequestKey, did: Remembered) {
        self.requests.remember(key, did);
    }

    fn put_service_position(&mut self, position: Position) {
        self.service_position = Some(position);
    }

    fn put_log_state(&mut self, state: LogState) {
        self.log_state = Arc::new(state);
    }
}
