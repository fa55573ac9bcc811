//! What rules may read, and what applying an event may write. Implemented by the key table, by the
//! overlay of a group of commands, and by tests.

use std::sync::Arc;

use crate::domain::account::Account;
use crate::domain::caller::Caller;
use crate::domain::ids::{AccountRef, CallerId, KeyId, PepperVersion, Position};
use crate::domain::key::Key;
use crate::domain::log_state::LogState;
use crate::domain::peppers::{Peppers, Retirement};
use crate::domain::policy::Policy;
use crate::domain::requests::{Remembered, RequestKey};
use crate::domain::subject::Subject;
use crate::domain::time::Time;

/// The facts so far, as rules read them.
pub trait Facts {
    /// The key of that id.
    fn key(&self, id: &KeyId) -> Option<Key>;
    /// The account of that name.
    fn account(&self, account: &AccountRef) -> Option<Arc<Account>>;
    /// Shows every account, in no order. For what is rare: there may be a million.
    fn each_account(&self, see: &mut dyn FnMut(&AccountRef, &Account));
    /// How many of the account's keys count to its plan's cap at `now`: neither rotated, revoked nor expired.
    fn open_keys(&self, account: &AccountRef, now: Time) -> u32;
    /// The caller of that id.
    fn caller(&self, id: &CallerId) -> Option<Arc<Caller>>;
    /// Every caller, revoked ones included.
    fn callers(&self) -> Vec<(CallerId, Arc<Caller>)>;
    /// The plans and roles in force; empty before the first.
    fn policy(&self) -> Arc<Policy>;
    /// The peppers that the log has registered.
    fn peppers(&self) -> Arc<Peppers>;
    /// How many keys are recognised by that pepper and can still work at `now`.
    fn keys_on(&self, version: PepperVersion, now: Time) -> u64;
    /// What a call did when it first came, if that is remembered at `now`.
    fn remembered(&self, key: &RequestKey, now: Time) -> Option<Remembered>;
    /// The last record about the service itself.
    fn service_position(&self) -> Option<Position>;
    /// What the log itself is.
    fn log_state(&self) -> Arc<LogState>;

    /// The last record of a subject.
    fn last_record(&self, subject: &Subject) -> Option<Position> {
        match subject {
            Subject::Key(_, id) => self.key(id).map(|key| key.last_record()),
            Subject::Account(account) => self.account(account).map(|account| account.position),
            Subject::Caller(id) => self.caller(id).map(|caller| caller.position),
            Subject::Service => self.service_position(),
        }
    }
}

/// The facts so far, as applying an event changes them.
pub trait FactsMut: Facts {
    /// Replaces a key whole.
    fn put_key(&mut self, id: KeyId, key: Key);
    /// Replaces an account whole.
    fn put_account(&mut self, name: &Arc<AccountRef>, account: Account);
    /// Forgets the address ranges that the keys of an account are bound to: they may be used from nowhere.
    fn forget_sources(&mut self, account: &AccountRef);
    /// A key begins to count to its account's cap until `expire_time`.
    fn open_key(&mut self, account: &Arc<AccountRef>, key: KeyId, expire_time: Option<Time>);
    /// A key that counted until `expire_time` no longer counts.
    fn close_key(&mut self, account: &Arc<AccountRef>, key: KeyId, expire_time: Option<Time>);
    /// Replaces a caller whole.
    fn put_caller(&mut self, id: CallerId, caller: Caller);
    /// Replaces plans and roles whole.
    fn put_policy(&mut self, policy: Policy);
    /// Replaces what is known of peppers whole.
    fn put_peppers(&mut self, peppers: Peppers);
    /// Ends every key that was recognised by that pepper and could still work, as
    /// [`ended_key`](crate::domain::peppers::ended_key) says.
    fn end_keys(&mut self, version: PepperVersion, retirement: &Retirement);
    /// Remembers what a call did.
    fn remember(&mut self, key: RequestKey, did: Remembered);
    /// Notes the last record about the service itself.
    fn put_service_position(&mut self, position: Position);
    /// Replaces what the log itself is.
    fn put_log_state(&mut self, state: LogState);
}
