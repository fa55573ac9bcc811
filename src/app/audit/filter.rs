//! Which events a reader asks for, and which it may see.

use std::sync::Arc;

use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::event::{EventKind, Recorded};
use crate::domain::ids::{AccountId, KeyId, TenantId};
use crate::domain::subject::Subject;
use crate::ledger::record::Glance;

/// Which events are asked for: those that fit all that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this account of it.
    pub account: Option<AccountId>,
    /// About this key.
    pub key: Option<KeyId>,
    /// Of one of these kinds; empty: of any.
    pub kinds: Vec<EventKind>,
}

/// What an event is about, as far as it is chosen by.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// Empty if it belongs to none.
    tenant: &'a str,
    account: &'a str,
    key: Option<KeyId>,
    kind: u64,
}

impl<'a> From<&Glance<'a>> for About<'a> {
    fn from(seen: &Glance<'a>) -> Self {
        let Glance { tenant, account, key, kind, .. } = *seen;
        About { tenant, account, key, kind }
    }
}

impl<'a> From<&'a Recorded> for About<'a> {
    fn from(fact: &'a Recorded) -> Self {
        let (account, key) = match &fact.subject {
            Subject::Key(account, key) => (Some(account), Some(*key)),
            Subject::Account(account) => (Some(account), None),
            Subject::Caller(_) | Subject::Service => (None, None),
        };
        About {
            tenant: account.map_or("", |account| account.tenant.as_str()),
            account: account.map_or("", |account| account.account.as_str()),
            key,
            kind: fact.event.kind() as u64,
        }
    }
}

/// The events that one reader is shown: what it asks for of what it may see.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// The tenants it is bound to; empty: none, so that it sees everything.
    bound: Arc<[TenantId]>,
    filter: EventFilter,
}

impl Sight {
    /// What `identity` is shown of what it asks for.
    ///
    /// # Errors
    /// [`AppError::TenantNotAllowed`] if it asks for a tenant that it is not bound to.
    pub(super) fn of(identity: &Identity, filter: EventFilter) -> Result<Self, AppError> {
        if let Some(tenant) = &filter.tenant {
            identity.enter(tenant)?;
        }
        Ok(Sight { bound: Arc::clone(&identity.caller.tenants), filter })
    }

    /// Whether the reader is shown an event. One that belongs to no tenant, about a caller or the service,
    /// says something of all tenants: who is bound is not shown it.
    pub(super) fn fits<'a>(&self, about: impl Into<About<'a>>) -> bool {
        let about = about.into();
        let EventFilter { tenant, account, key, kinds } = &self.filter;
        (self.bound.is_empty() || self.bound.iter().any(|bound| bound.as_str() == about.tenant))
            && tenant.as_ref().is_none_or(|tenant| tenant.as_str() == about.tenant)
            && account.as_ref().is_none_or(|account| account.as_str() == about.account)
            && key.is_none_or(|key| about.key == Some(key))
            && (kinds.is_empty() || kinds.iter().any(|kind| *kind as u64 == about.kind))
    }
}
