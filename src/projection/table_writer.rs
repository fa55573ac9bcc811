//! The writing side of the key table, and what only the writer needs to decide.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::account::Account;
use crate::domain::caller::Caller;
use crate::domain::facts::{Facts, FactsMut};
use crate::domain::ids::{AccountRef, CallerId, KeyId, PepperVersion, Position};
use crate::domain::key::Key;
use crate::domain::log_state::LogState;
use crate::domain::open_keys::OpenKeys;
use crate::domain::peppers::{Peppers, Retirement};
use crate::domain::policy::Policy;
use crate::domain::requests::{Remembered, RequestKey, Requests};
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::ledger::writer::Table;
use crate::projection::key_table::{AccountCell, KeyTable, Row};

/// The one hand that writes the key table.
#[derive(Debug, Default)]
pub struct TableWriter {
    table: Arc<KeyTable>,
    open: HashMap<Arc<AccountRef>, OpenKeys>,
    requests: Requests,
    /// Whether callers have changed that nobody has been told of.
    callers_changed: bool,
}

impl TableWriter {
    /// An empty table that takes about so many keys without growing.
    #[must_use]
    pub fn with_room_for(keys: usize) -> Self {
        TableWriter { table: Arc::new(KeyTable::with_room_for(keys)), ..TableWriter::default() }
    }

    /// The table it writes.
    #[must_use]
    pub fn table(&self) -> Arc<KeyTable> {
        Arc::clone(&self.table)
    }

    /// Puts a key that is known to be new and of this account; the directory, the account's open keys and
    /// the ends of keys are for the caller to fill. From several threads at once.
    pub(super) fn put_loaded(&self, id: KeyId, key: Key, account: Arc<AccountCell>) {
        self.table.put_row(id, Row { key, account });
    }

    /// Puts the open keys of an account that has none so far.
    pub(super) fn put_open_keys(&mut self, account: Arc<AccountRef>, open: OpenKeys) {
        self.open.insert(account, open);
    }
}

impl Table for TableWriter {
    fn publish(&mut self, head: Position, time: Time) {
        self.table.publish(head, time);
        if std::mem::take(&mut self.callers_changed) {
            self.table.callers_changed();
        }
    }

    fn witnessed(&self) -> Time {
        self.table.judge_time(Time::EPOCH)
    }
}

impl Facts for TableWriter {
    fn key(&self, id: &KeyId) -> Option<Key> {
        self.table.with_row(id, |row| row.key.clone())
    }

    fn account(&self, account: &AccountRef) -> Option<Arc<Account>> {
        self.table.standing(account).map(|standing| Arc::clone(&standing.account))
    }

    fn each_account(&self, see: &mut dyn FnMut(&AccountRef, &Account)) {
        self.table.each_account(see);
    }

    fn open_keys(&self, account: &AccountRef, now: Time) -> u32 {
        self.open.get(account).map_or(0, |open| open.count(now))
    }

    fn caller(&self, id: &CallerId) -> Option<Arc<Caller>> {
        self.table.caller(id)
    }

    fn callers(&self) -> Vec<(CallerId, Arc<Caller>)> {
        self.table.callers()
    }

    fn policy(&self) -> Arc<Policy> {
        self.table.policy()
    }

    fn peppers(&self) -> Arc<Peppers> {
        self.table.peppers()
    }

    fn keys_on(&self, version: PepperVersion, now: Time) -> u64 {
        self.table.ends().working_on(version, now)
    }

    fn remembered(&self, key: &RequestKey, now: Time) -> Option<Remembered> {
        self.requests.find(key, now).cloned()
    }

    fn service_position(&self) -> Option<Position> {
        self.table.service_position()
    }

    fn log_state(&self) -> Arc<LogState> {
        self.table.log_state()
    }

    fn last_record(&self, subject: &Subject) -> Option<Position> {
        match subject {
            // Without a copy of the row: asked once for every record.
            Subject::Key(_, id) => self.table.with_row(id, |row| row.key.last_record()),
            Subject::Account(account) => self.account(account).map(|account| account.position),
            Subject::Caller(id) => self.caller(id).map(|caller| caller.position),
            Subject::Service => self.service_position(),
        }
    }
}

impl FactsMut for TableWriter {
    fn put_key(&mut self, id: KeyId, key: Key) {
        self.table.put_key(id, key);
    }

    fn put_account(&mut self, name: &Arc<AccountRef>, account: Account) {
        self.table.put_account(name, account);
    }

    /// Key by key: whoever erases an account waits for as many rows as it has keys.
    fn forget_sources(&mut self, account: &AccountRef) {
        self.table.forget_sources(account);
    }

    fn open_key(&mut self, account: &Arc<AccountRef>, key: KeyId, expire_time: Option<Time>) {
        self.open.entry(Arc::clone(account)).or_default().open(key, expire_time);
    }

    fn close_key(&mut self, account: &Arc<AccountRef>, key: KeyId, expire_time: Option<Time>) {
        self.open.entry(Arc::clone(account)).or_default().close(key, expire_time);
    }

    fn put_caller(&mut self, id: CallerId, caller: Caller) {
        self.table.put_caller(id, caller);
        self.callers_changed = true;
    }

    fn put_policy(&mut self, policy: Policy) {
        self.table.put_policy(policy);
    }

    fn put_peppers(&mut self, peppers: Peppers) {
        self.table.put_peppers(peppers);
    }

    /// Looks at every key, about a tenth of a microsecond each, and replaces those that end.
    fn end_keys(&mut self, version: PepperVersion, retirement: &Retirement) {
        for (id, key) in self.table.ended_keys(version, retirement) {
            let counted = self.table.with_row(&id, |row| row.key.counts()).unwrap_or(false);
            if counted {
                self.close_key(&key.account, id, key.expire_time());
            }
            self.table.put_key(id, key);
        }
    }

    fn remember(&mut self, key: RequestKey, did: Remembered) {
        self.requests.remember(key, did);
    }

    fn put_service_position(&mut self, position: Position) {
        self.table.put_service_position(position);
    }

    fn put_log_state(&mut self, state: LogState) {
        self.table.put_log_state(state);
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
