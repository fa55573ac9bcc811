//! The facts as they will be once a group of commands is durable: speculative, and never seen by readers.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::account::Account;
use crate::domain::caller::Caller;
use crate::domain::facts::{Facts, FactsMut};
use crate::domain::ids::{AccountRef, CallerId, KeyId, PepperVersion, Position};
use crate::domain::key::Key;
use crate::domain::log_state::LogState;
use crate::domain::peppers::{Peppers, Retirement, works_on};
use crate::domain::policy::Policy;
use crate::domain::requests::{Remembered, RequestKey};
use crate::domain::time::Time;

/// What one group changes about the keys that count to an account's cap.
#[derive(Clone, Debug, Default)]
struct OpenKeys {
    lasting: i64,
    opened: BTreeSet<(Time, KeyId)>,
    closed: BTreeSet<(Time, KeyId)>,
}

/// Facts layered over others, holding only what differs.
#[derive(Debug)]
pub struct Overlay<'a, F> {
    base: &'a F,
    keys: HashMap<KeyId, Key>,
    accounts: HashMap<Arc<AccountRef>, Arc<Account>>,
    /// Accounts whose keys have forgotten where they may be used from.
    without_sources: HashSet<AccountRef>,
    open: HashMap<Arc<AccountRef>, OpenKeys>,
    callers: HashMap<CallerId, Arc<Caller>>,
    policy: Option<Arc<Policy>>,
    peppers: Option<Arc<Peppers>>,
    requests: HashMap<RequestKey, Remembered>,
    service_position: Option<Position>,
    log_state: Option<Arc<LogState>>,
}

impl<'a, F: Facts> Overlay<'a, F> {
    /// An overlay that differs in nothing yet.
    pub fn new(base: &'a F) -> Self {
        Overlay {
            base,
            keys: HashMap::new(),
            accounts: HashMap::new(),
            without_sources: HashSet::new(),
            open: HashMap::new(),
            callers: HashMap::new(),
            policy: None,
            peppers: None,
            requests: HashMap::new(),
            service_position: None,
            log_state: None,
        }
    }
}

impl<F: Facts> Facts for Overlay<'_, F> {
    fn key(&self, id: &KeyId) -> Option<Key> {
        let mut key = self.keys.get(id).cloned().or_else(|| self.base.key(id))?;
        if self.without_sources.contains(&*key.account) {
            key.forget_sources();
        }
        Some(key)
    }

    fn account(&self, account: &AccountRef) -> Option<Arc<Account>> {
        self.accounts.get(account).cloned().or_else(|| self.base.account(account))
    }

    fn each_account(&self, see: &mut dyn FnMut(&AccountRef, &Account)) {
        self.base.each_account(&mut |name, account| {
            if !self.accounts.contains_key(name) {
                see(name, account);
            }
        });
        for (name, account) in &self.accounts {
            see(name, account);
        }
    }

    fn open_keys(&self, account: &AccountRef, now: Time) -> u32 {
        let base = i64::from(self.base.open_keys(account, now));
        let Some(open) = self.open.get(account) else {
            return u32::try_from(base).unwrap_or(u32::MAX);
        };
        let unexpired = |set: &BTreeSet<(Time, KeyId)>| {
            i64::try_from(set.iter().filter(|(time, _)| *time > now).count()).unwrap_or(i64::MAX)
        };
        let open = base + open.lasting + unexpired(&open.opened) - unexpired(&open.closed);
        u32::try_from(open.max(0)).unwrap_or(u32::MAX)
    }

    fn caller(&self, id: &CallerId) -> Option<Arc<Caller>> {
        self.callers.get(id).cloned().or_else(|| self.base.caller(id))
    }

    fn callers(&self) -> Vec<(CallerId, Arc<Caller>)> {
        let mut all = self.base.callers();
        all.retain(|(id, _)| !self.callers.contains_key(id));
        all.extend(self.callers.iter().map(|(id, caller)| (*id, Arc::clone(caller))));
        all
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy.clone().unwrap_or_else(|| self.base.policy())
    }

    fn peppers(&self) -> Arc<Peppers> {
        self.peppers.clone().unwrap_or_else(|| self.base.peppers())
    }

    fn keys_on(&self, version: PepperVersion, now: Time) -> u64 {
        let counts = |key: &Key| key.pepper == version && works_on(key, now);
        let (mut more, mut fewer) = (0, 0);
        for (id, key) in &self.keys {
            more += u64::from(counts(key));
            fewer += u64::from(self.base.key(id).is_some_and(|key| counts(&key)));
        }
        (self.base.keys_on(version, now) + more).saturating_sub(fewer)
    }

    fn remembered(&self, key: &RequestKey, now: Time) -> Option<Remembered> {
        self.requests.get(key).cloned().or_else(|| self.base.remembered(key, now))
    }

    fn service_position(&self) -> Option<Position> {
        self.service_position.or_else(|| self.base.service_position())
    }

    fn log_state(&self) -> Arc<LogState> {
        self.log_state.clone().unwrap_or_else(|| self.base.log_state())
    }
}

impl<F: Facts> FactsMut for Overlay<'_, F> {
    fn put_key(&mut self, id: KeyId, key: Key) {
        self.keys.insert(id, key);
    }

    fn put_account(&mut self, name: &Arc<AccountRef>, account: Account) {
        self.accounts.insert(Arc::clone(name), Arc::new(account));
    }

    fn forget_sources(&mut self, account: &AccountRef) {
        self.without_sources.insert(account.clone());
    }

    fn open_key(&mut self, account: &Arc<AccountRef>, key: KeyId, expire_time: Option<Time>) {
        let open = self.open.entry(Arc::clone(account)).or_default();
        match expire_time {
            None => open.lasting += 1,
            Some(time) => {
                if !open.closed.remove(&(time, key)) {
                    open.opened.insert((time, key));
                }
            }
        }
    }

    fn close_key(&mut self, account: &Arc<AccountRef>, key: KeyId, expire_time: Option<Time>) {
        let open = self.open.entry(Arc::clone(account)).or_default();
        match expire_time {
            None => open.lasting -= 1,
            Some(time) => {
                if !open.opened.remove(&(time, key)) {
                    open.closed.insert((time, key));
                }
            }
        }
    }

    fn put_caller(&mut self, id: CallerId, caller: Caller) {
        self.callers.insert(id, Arc::new(caller));
    }

    fn put_policy(&mut self, policy: Policy) {
        self.policy = Some(Arc::new(policy));
    }

    fn put_peppers(&mut self, peppers: Peppers) {
        self.peppers = Some(Arc::new(peppers));
    }

    /// Nothing is decided on what would follow: such an event is the last of its group.
    fn end_keys(&mut self, _: PepperVersion, _: &Retirement) {}

    fn remember(&mut self, key: RequestKey, did: Remembered) {
        self.requests.insert(key, did);
    }

    fn put_service_position(&mut self, position: Position) {
        self.service_position = Some(position);
    }

    fn put_log_state(&mut self, state: LogState) {
        self.log_state = Some(Arc::new(state));
    }
}
