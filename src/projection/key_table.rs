//! The key table: every key, account and caller, read without locks and written by the writer alone.
//!
//! A row is replaced whole. A reader that loads the head first and a row after it sees the row at
//! that head or later, never earlier: that is what a decision's stamp means.

mod peppers;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use papaya::HashMap;

use crate::domain::account::Account;
use crate::domain::caller::Caller;
use crate::domain::certificate_name::CertificateName;
use crate::domain::ids::{AccountRef, CallerId, KeyId, Position};
use crate::domain::key::Key;
use crate::domain::log_state::LogState;
use crate::domain::peppers::Peppers;
use crate::domain::permission::Permissions;
use crate::domain::policy::Policy;
use crate::domain::time::Time;
use crate::domain::usage::UseCounts;
use crate::projection::callers::Callers;
use crate::projection::certificate_names::CertificateNames;
use crate::projection::directory::Directory;
use crate::projection::ends::Ends;
use crate::projection::id_hash::BuildIdHasher;
use crate::projection::rate_windows::{RateWindows, WindowCell};
use crate::projection::tallies::Tallies;

/// An account, and what it holds and may use under the policy in force.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The account.
    pub account: Arc<Account>,
    /// Its own permissions and those of its roles.
    pub effective: Permissions,
    /// The limit of its plan on the uses of all its keys; none: no limit.
    pub requests_per_minute: Option<u32>,
}

impl Standing {
    fn under(policy: &Policy, account: Arc<Account>) -> Self {
        let effective = policy.effective(&account.state.permissions, &account.state.roles);
        let requests_per_minute = policy.requests_per_minute(&account.state.plan);
        Standing { account, effective, requests_per_minute }
    }
}

/// The place of an account in the table: its keys point to it, so that they inherit live.
#[derive(Debug)]
pub struct AccountCell {
    /// The one copy of its name that all its keys share.
    name: Arc<AccountRef>,
    standing: ArcSwap<Standing>,
    window: WindowCell,
}

impl AccountCell {
    /// The account as it is now.
    #[must_use]
    pub fn standing(&self) -> arc_swap::Guard<Arc<Standing>> {
        self.standing.load()
    }

    pub(super) fn replace(&self, standing: Standing) {
        self.standing.store(Arc::new(standing));
    }

    pub(super) fn window(&self) -> &WindowCell {
        &self.window
    }
}

/// A key and the place of its account.
#[derive(Clone, Debug)]
pub struct Row {
    /// The key.
    pub key: Key,
    /// The account it inherits from.
    pub account: Arc<AccountCell>,
}

/// Every key, account and caller.
#[derive(Debug, Default)]
pub struct KeyTable {
    keys: HashMap<KeyId, Row, BuildIdHasher>,
    accounts: HashMap<Arc<AccountRef>, Arc<AccountCell>>,
    callers: Callers,
    /// Whom a certificate that names this speaks for.
    certificate_names: CertificateNames,
    policy: ArcSwap<Policy>,
    log_state: ArcSwap<LogState>,
    peppers: ArcSwap<Peppers>,
    directory: Directory,
    tallies: Tallies,
    rate_windows: RateWindows,
    ends: Ends,
    head: AtomicU64,
    last_time: AtomicI64,
    /// The last record about the service; 0 if there is none.
    service_position: AtomicU64,
}

impl KeyTable {
    /// An empty table that takes about so many keys without growing.
    pub(super) fn with_room_for(keys: usize) -> Self {
        let keys = HashMap::with_capacity_and_hasher(keys, BuildIdHasher::default());
        KeyTable { keys, ..KeyTable::default() }
    }

    /// The last durable and applied position; none before the first.
    #[must_use]
    pub fn head(&self) -> Option<Position> {
        Position::new(self.head.load(Ordering::Acquire))
    }

    /// The time by which rules judge: the wall clock, but never before a time that a record or an
    /// expiry has already been judged by, so that an expired key never revives.
    #[must_use]
    pub fn judge_time(&self, wall: Time) -> Time {
        wall.max(Time::from_micros(self.last_time.load(Ordering::Acquire)))
    }

    /// Notes that something has been judged over at `time`.
    pub fn witness(&self, time: Time) {
        self.last_time.fetch_max(time.as_micros(), Ordering::AcqRel);
    }

    /// The last record about the service itself; it may be behind the head by as much as is being applied.
    #[must_use]
    pub fn service_position(&self) -> Option<Position> {
        Position::new(self.service_position.load(Ordering::Acquire))
    }

    /// Runs `read` on the row of a key, without copying it.
    pub fn with_row<R>(&self, id: &KeyId, read: impl FnOnce(&Row) -> R) -> Option<R> {
        self.keys.pin().get(id).map(read)
    }

    /// A copy of the row of a key.
    #[must_use]
    pub fn row(&self, id: &KeyId) -> Option<Row> {
        self.with_row(id, Row::clone)
    }

    /// Counts a use of a key. Of a key that is used for the first time since the start, `key` MUST have all
    /// that the log says: uses that an earlier run left on their way there are counted first.
    pub fn note_use(&self, id: KeyId, key: &Key, allowed: bool, time: Time) {
        self.tallies.note(id, key, allowed, time);
    }

    /// Counts uses of a key that an earlier run left on their way to the log; false if there is no such key.
    /// Before the first use of this run.
    pub fn add_uses(&self, id: &KeyId, counts: &UseCounts) -> bool {
        self.with_row(id, |row| self.tallies.add(*id, &row.key, counts)).is_some()
    }

    /// How often a key was used, this instant included.
    #[must_use]
    pub fn uses(&self, id: &KeyId, key: &Key) -> UseCounts {
        self.tallies.of(id, key)
    }

    /// Notes that a use of a key was answered and is not counted.
    pub fn note_missed_use(&self) {
        self.tallies.miss();
    }

    /// How many uses were answered since the start and are not counted.
    #[must_use]
    pub fn missed_uses(&self) -> u64 {
        self.tallies.missed()
    }

    /// Which keys end, and when.
    #[must_use]
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// The account of that name as it is now.
    #[must_use]
    pub fn standing(&self, account: &AccountRef) -> Option<Arc<Standing>> {
        self.accounts.pin().get(account).map(|cell| cell.standing.load_full())
    }

    /// The caller of that id.
    #[must_use]
    pub fn caller(&self, id: &CallerId) -> Option<Arc<Caller>> {
        self.callers.get(id)
    }

    /// Notes that a caller called; to a tenth of a second, without a lock.
    pub fn note_call(&self, id: &CallerId, time: Time) {
        self.callers.note_use(id, time);
    }

    /// When a caller last called.
    #[must_use]
    pub fn last_call(&self, id: &CallerId) -> Option<Time> {
        self.callers.last_use(id)
    }

    /// Has `told` be called, by the writer, whenever callers have changed and readers see it: nothing slow. Once.
    pub fn tell_of_callers(&self, told: impl Fn() + Send + Sync + 'static) {
        self.callers.tell(Box::new(told));
    }

    /// The caller that a certificate with this name speaks for, unless it is revoked.
    #[must_use]
    pub fn caller_named(&self, name: &CertificateName) -> Option<(CallerId, Arc<Caller>)> {
        let id = self.certificate_names.of(name)?;
        self.caller(&id).map(|caller| (id, caller))
    }

    /// Every caller in the order of creation, revoked ones included.
    #[must_use]
    pub fn callers(&self) -> Vec<(CallerId, Arc<Caller>)> {
        self.callers.all()
    }

    /// The plans and roles in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// What the log itself is.
    #[must_use]
    pub fn log_state(&self) -> Arc<LogState> {
        self.log_state.load_full()
    }

    /// Whether something that a restore lost is not resolved, so that no key may be authenticated.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.log_state.load().losses.is_empty()
    }

    /// The keys and accounts of each tenant, in order.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What the keys of each account have used lately.
    #[must_use]
    pub fn rate_windows(&self) -> &RateWindows {
        &self.rate_windows
    }

    /// Charges to an account, if there is one of that name, what its keys used before this process began:
    /// in the second of the wall clock that began at `second`, while that clock now shows `wall`. A second
    /// that is still to come, since the clock was set back, counts as now.
    pub fn restore_cost(
        &self,
        account: &AccountRef,
        second: Time,
        wall: Time,
        now: Duration,
        cost: u32,
    ) {
        if let Some(cell) = self.cell(account) {
            self.rate_windows.restore(&cell, now, wall.since(second), cost);
        }
    }

    /// How many keys there are, revoked ones included.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// How many accounts there are, closed ones included.
    #[must_use]
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// The names of all accounts, closed ones included, in no order.
    #[must_use]
    pub fn account_names(&self) -> Vec<Arc<AccountRef>> {
        self.accounts.pin().keys().cloned().collect()
    }

    pub(super) fn put_key(&self, id: KeyId, mut key: Key) {
        let pinned = self.keys.pin();
        let before = pinned.get(&id);
        let is_new = before.is_none();
        let own = before.map(|row| Arc::clone(&row.account));
        let cell = own.or_else(|| self.accounts.pin().get(&*key.account).cloned());
        let Some(account) = cell else {
            // The rules create keys for known accounts only; a key of none would authenticate nobody.
            return;
        };
        self.ends.replaced(id, before.map(|row| &row.key), &key);
        key.account = Arc::clone(&account.name);
        if is_new {
            self.directory.add_key(&key.account, key.create_time, id);
        }
        pinned.insert(id, Row { key, account });
    }

    pub(super) fn put_row(&self, id: KeyId, row: Row) {
        self.keys.pin().insert(id, row);
    }

    /// The place of an account.
    pub(super) fn cell(&self, name: &AccountRef) -> Option<Arc<AccountCell>> {
        self.accounts.pin().get(name).map(Arc::clone)
    }

    pub(super) fn put_account(&self, name: &Arc<AccountRef>, account: Account) {
        let standing = Standing::under(&self.policy.load(), Arc::new(account));
        let pinned = self.accounts.pin();
        match pinned.get(name) {
            Some(cell) => cell.replace(standing),
            None => {
                self.directory.add_account(name);
                let (name, standing) = (Arc::clone(name), ArcSwap::from_pointee(standing));
                let window = WindowCell::default();
                let cell = AccountCell { name: Arc::clone(&name), standing, window };
                pinned.insert(name, Arc::new(cell));
            }
        }
    }

    pub(super) fn forget_sources(&self, account: &AccountRef) {
        let pinned = self.keys.pin();
        let places = self.directory.keys(&account.tenant, Some(account), None, usize::MAX);
        for (_, id) in places {
            if let Some(row) = pinned.get(&id) {
                let mut row = row.clone();
                row.key.forget_sources();
                pinned.insert(id, row);
            }
        }
    }

    /// The accounts that `are` so.
    pub fn accounts(&self, are: impl Fn(&Account) -> bool) -> Vec<Arc<AccountRef>> {
        let pinned = self.accounts.pin();
        let found = pinned.iter().filter(|(_, cell)| are(&cell.standing().account));
        found.map(|(name, _)| Arc::clone(name)).collect()
    }

    pub(super) fn each_account(&self, see: &mut dyn FnMut(&AccountRef, &Account)) {
        for (name, cell) in &self.accounts.pin() {
            see(name, &cell.standing().account);
        }
    }

    pub(super) fn put_caller(&self, id: CallerId, caller: Caller) {
        self.certificate_names.put(id, &caller);
        self.callers.put(id, caller);
    }

    pub(super) fn callers_changed(&self) {
        self.callers.changed();
    }

    pub(super) fn put_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
        let policy = self.policy.load();
        for (_, cell) in &self.accounts.pin() {
            let account = Arc::clone(&cell.standing().account);
            cell.replace(Standing::under(&policy, account));
        }
    }

    pub(super) fn put_service_position(&self, position: Position) {
        self.service_position.store(position.get(), Ordering::Release);
    }

    pub(super) fn put_log_state(&self, state: LogState) {
        self.log_state.store(Arc::new(state));
    }

    pub(super) fn publish(&self, head: Position, time: Time) {
        self.witness(time);
        self.head.store(head.get(), Ordering::Release);
    }
}
