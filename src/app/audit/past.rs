//! GetKeyAt and GetAccountAt: a key or an account as it was, judged by the policy and the clock of then.
//!
//! What is asked for is the fold of the log up to a position; what is read for it is as little as gives the
//! same: the subject's chain, its account's, and the policy before it. If nothing has changed since, the key
//! table has it; else the chain is followed to its beginning, its uses included.

mod policies;
#[cfg(test)]
mod tests;
mod uses;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::chain::LogReader;
use crate::app::App;
use crate::app::accounts::AccountView;
use crate::app::conduct::{reader, rpc};
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::key_view::{KeyView, shown};
use crate::domain::account::{Account, AccountStatus};
use crate::domain::apply::{account_after, key_after};
use crate::domain::conduct::window::Read;
use crate::domain::conduct::{Named, Reader};
use crate::domain::event::{EventKind, Recorded};
use crate::domain::ids::{AccountRef, KeyId, Position};
use crate::domain::key::Key;
use crate::domain::key_format;
use crate::domain::peppers::{Peppers, ended_key};
use crate::domain::permission::Permissions;
use crate::domain::policy::{Plan, Policy};
use crate::domain::refusal::Refusal;
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::domain::usage::UseCounts;
use crate::domain::verdict::{Ask, Denial, Denied, granted, judge};
use crate::ledger::record;

pub(crate) use policies::Policies;
use uses::PastUses;

/// The instant that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// By the time at which things were recorded; judged then.
    Time(Time),
    /// Right behind a record; judged when that was recorded.
    Position(Position),
}

/// Where in the log and in time that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standpoint {
    /// The last record that is taken into account; none before the first.
    pub position: Option<Position>,
    /// The time that is judged by.
    pub time: Time,
}

/// The rules that were in force, as far as they are about one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastPolicy {
    /// The record that put them in force; none before the first.
    pub position: Option<Position>,
    /// The account's plan; none: the policy had no plan of that name.
    pub plan: Option<Plan>,
}

/// An account as it was.
#[derive(Debug)]
pub struct AccountSnapshot {
    /// Where it is looked at from.
    pub standpoint: Standpoint,
    /// The account; none: it had not come to be.
    pub account: Option<AccountView>,
    /// Why its keys did not work, if they did not for its sake.
    pub denied: Option<Denied>,
    /// What it held: its own permissions and those of its roles.
    pub permissions: Permissions,
    /// The rules in force.
    pub policy: PastPolicy,
}

/// A key as it was.
#[derive(Debug)]
pub struct KeySnapshot {
    /// Where it is looked at from.
    pub standpoint: Standpoint,
    /// The key and its account; none: the key had not come to be.
    pub key: Option<(KeyView, AccountView)>,
    /// Why it did not work, if it did not.
    pub denied: Option<Denied>,
    /// What it granted.
    pub permissions: Permissions,
    /// The rules in force.
    pub policy: PastPolicy,
    /// Up to when its uses are counted; none: none had been recorded.
    pub uses_as_of: Option<Time>,
}

/// A key, its account, its uses and the rules, read from the log.
struct PastKey {
    standpoint: Standpoint,
    found: Option<(Key, Account, PastUses)>,
    policy: (Option<Position>, Arc<Policy>),
}

impl App {
    /// GetKeyAt.
    ///
    /// # Errors
    /// [`AppError`]: unknown key, a time to come, a position beyond the head, a damaged record.
    pub async fn key_at(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        id: KeyId,
        moment: Moment,
    ) -> Result<KeySnapshot, AppError> {
        let asking = Arc::clone(identity);
        let past = self.read_history(move |app, log| app.read_key_at(log, &asking, id, moment));
        let PastKey { standpoint, found, policy: (policy_position, policy) } = past.await?;
        let named = Named { key: Some(id), ..Named::default() };
        self.note_snapshot(&reader(identity, rpc::GET_KEY_AT, named), standpoint);
        let Some((key, account, PastUses { counts, as_of })) = found else {
            return Ok(KeySnapshot {
                standpoint,
                key: None,
                denied: None,
                permissions: Permissions::default(),
                policy: PastPolicy { position: policy_position, plan: None },
                uses_as_of: None,
            });
        };
        let held = policy.effective(&account.state.permissions, &account.state.roles);
        let plan = policy.plans.get(&account.state.plan).copied();
        let denied = judge(&from_anywhere(&key), &account, &held, &ANY_USE, standpoint.time).err();
        let permissions = granted(&key, &held);
        let account = self.account_view_of(&key.account, Arc::new(account)).await?;
        let (personal, erased) = shown(self.personal_at(key.personal_at()).await?);
        let view = KeyView {
            id,
            personal,
            erased,
            state: key.state_at(standpoint.time),
            uses: counts,
            hint: key_format::hint(&self.prefix, key.environment, &id),
            key,
        };
        let policy = PastPolicy { position: policy_position, plan };
        let key = Some((view, account));
        Ok(KeySnapshot { standpoint, key, denied, permissions, policy, uses_as_of: as_of })
    }

    /// GetAccountAt. To a caller bound to tenants, another tenant's account is no account.
    ///
    /// # Errors
    /// [`AppError`]: unknown account, a time to come, a position beyond the head, a damaged record.
    pub async fn account_at(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        name: AccountRef,
        moment: Moment,
    ) -> Result<AccountSnapshot, AppError> {
        let (asking, name) = (Arc::clone(identity), Arc::new(name));
        let asked = Arc::clone(&name);
        let past = self.read_history(move |app, log| {
            app.confirm(&asking)?;
            let standpoint = app.standpoint(log, moment)?;
            let standing = app.table.standing(&asked).filter(|_| asking.may_enter(&asked.tenant));
            let now = Arc::clone(&standing.ok_or(Refusal::AccountNotFound)?.account);
            let account = account_at(log, &asked, &now, standpoint.position)?;
            Ok((standpoint, account, app.policy_at(log, standpoint.position)?))
        });
        let (standpoint, account, (position, policy)) = past.await?;
        let AccountRef { tenant, account: of_tenant } = AccountRef::clone(&name);
        let named = Named { tenant: Some(tenant), account: Some(of_tenant), ..Named::default() };
        self.note_snapshot(&reader(identity, rpc::GET_ACCOUNT_AT, named), standpoint);
        let Some(account) = account else {
            let (permissions, policy) =
                (Permissions::default(), PastPolicy { position, plan: None });
            return Ok(AccountSnapshot {
                standpoint,
                account: None,
                denied: None,
                permissions,
                policy,
            });
        };
        let inactive = account.state.status != AccountStatus::Active;
        let evidence = Some(account.status_position);
        let denied = inactive.then_some(Denied { denial: Denial::AccountInactive, evidence });
        let permissions = policy.effective(&account.state.permissions, &account.state.roles);
        let policy = PastPolicy { position, plan: policy.plans.get(&account.state.plan).copied() };
        let account = Some(self.account_view_of(&name, Arc::new(account)).await?);
        Ok(AccountSnapshot { standpoint, account, denied, permissions, policy })
    }

    /// Notes that a snapshot was read, if only that there was nothing yet.
    fn note_snapshot(&self, reader: &Reader, Standpoint { position, .. }: Standpoint) {
        let positions = position.zip(position);
        self.note_read(reader, &Read { begins: true, events: 1, positions, of_reads_alone: false });
    }

    fn read_key_at(
        &self,
        log: &mut LogReader<'_>,
        identity: &Identity,
        id: KeyId,
        moment: Moment,
    ) -> Result<PastKey, AppError> {
        self.confirm(identity)?;
        let standpoint = self.standpoint(log, moment)?;
        // Behind the head: all that was recorded up to the standpoint is in the row.
        let now = self.visible_key(identity, &id)?;
        let policy = self.policy_at(log, standpoint.position)?;
        let subject = Subject::Key(Arc::clone(&now.account), id);
        let found = match standpoint.position {
            Some(bound) => match key_at(log, &subject, &now, &self.table.peppers(), bound)? {
                Some(key) => {
                    let standing = self.table.standing(&now.account);
                    let standing = standing.ok_or(AppError::Internal)?;
                    let account = account_at(log, &now.account, &standing.account, Some(bound))?;
                    let account = account.ok_or(AppError::Internal)?;
                    Some((key, account, uses::until(log, &subject, &now, bound)?))
                }
                None => None,
            },
            None => None,
        };
        Ok(PastKey { standpoint, found, policy })
    }

    /// Where in the log and in time a moment is.
    fn standpoint(&self, log: &mut LogReader<'_>, moment: Moment) -> Result<Standpoint, AppError> {
        let head = self.table.head();
        match moment {
            Moment::Position(position) if head.is_none_or(|head| position > head) => {
                let head = head.map_or(0, Position::get);
                Err(AppError::BeyondHead { asked: position.get(), head })
            }
            Moment::Position(position) => {
                Ok(Standpoint { position: Some(position), time: log.link(position)?.time })
            }
            Moment::Time(time) if time > self.now() => {
                Err(AppError::field("time", "must not be later than now"))
            }
            Moment::Time(time) => {
                let behind = Time::from_micros(time.as_micros().saturating_add(1));
                let position = head.map(|head| log.last_before(behind, head)).transpose()?;
                Ok(Standpoint { position: position.flatten(), time })
            }
        }
    }
}

/// A use that asks for nothing.
const ANY_USE: Ask<'static> = Ask { tenant: None, required: &[], source: None };

/// The key as one that presents it from an address it may be used from finds it.
fn from_anywhere(key: &Key) -> Key {
    let mut key = key.clone();
    if let Some(limits) = &mut key.limits {
        Arc::make_mut(limits).sources = Sources::Any;
    }
    key
}

/// The key as it was behind `bound`, without its uses; none if it had not come to be. `now` is the key as
/// it is.
fn key_at(
    log: &mut LogReader<'_>,
    subject: &Subject,
    now: &Key,
    peppers: &Peppers,
    bound: Position,
) -> Result<Option<Key>, AppError> {
    if bound < now.created {
        return Ok(None);
    }
    let revoked_at = now.life.as_ref().and_then(|life| Some(life.revocation.as_ref()?.position));
    // A key that ended with its pepper has no record of that among its own.
    if now.last <= bound && revoked_at.is_none_or(|revoked_at| revoked_at <= bound) {
        return Ok(Some(Key { used: None, ..now.clone() }));
    }
    let mut key = None;
    for position in changes(log, subject, bound, now.last_record())? {
        let fact = log.fact(position)?;
        key = Some(key_after(key, &fact).ok_or(AppError::Damaged { position: Some(position) })?);
    }
    let retired = key.as_ref().and_then(|key| peppers.get(key.pepper)?.retired);
    let retired = retired.filter(|retired| retired.position <= bound);
    let ended = key.as_ref().zip(retired).and_then(|(key, retired)| ended_key(key, &retired));
    Ok(ended.or(key))
}

/// The account as it was behind `bound`; none if it had not come to be. `now` is the account as it is.
fn account_at(
    log: &mut LogReader<'_>,
    name: &Arc<AccountRef>,
    now: &Account,
    bound: Option<Position>,
) -> Result<Option<Account>, AppError> {
    let Some(bound) = bound else { return Ok(None) };
    if now.position <= bound {
        return Ok(Some(now.clone()));
    }
    let mut account = None;
    for position in changes(log, &Subject::Account(Arc::clone(name)), bound, now.position)? {
        let fact = log.fact(position)?;
        let damaged = AppError::Damaged { position: Some(position) };
        account = Some(account_after(account.as_ref(), &fact).ok_or(damaged)?);
    }
    Ok(account)
}

/// What changed a subject up to `bound`, oldest first: where its records are, but those of uses. They are read
/// one by one: whoever may change a subject can make them as many as he likes.
fn changes(
    log: &mut LogReader<'_>,
    subject: &Subject,
    bound: Position,
    newest: Position,
) -> Result<Vec<Position>, AppError> {
    let mut changes = Vec::new();
    let from = log.newest_up_to(subject, bound, newest)?;
    let changing = |kind| kind != EventKind::KeyUsed as u64;
    log.follow_back(subject, from, changing, |position, kind| {
        changes.extend(changing(kind).then_some(position));
        ControlFlow::Continue(())
    })?;
    changes.reverse();
    Ok(changes)
}

impl LogReader<'_> {
    /// The record at `position`, decoded.
    fn fact(&mut self, position: Position) -> Result<Recorded, AppError> {
        self.still_asked()?;
        let fact = self.with_record(position, record::decode)?;
        fact.map_err(|error| self.damaged(position, &error))
    }
}

/// No uses.
impl Default for PastUses {
    fn default() -> Self {
        PastUses { counts: UseCounts::default(), as_of: None }
    }
}
