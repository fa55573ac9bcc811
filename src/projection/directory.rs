//! The keys and accounts of each tenant, in the order lists show them. Off the way of Authenticate.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::ids::{AccountId, AccountRef, KeyId, TenantId};
use crate::domain::time::Time;

/// A key's place in a list: (create_time, key_id).
pub type KeyPlace = (Time, KeyId);

#[derive(Debug, Default)]
struct Tenant {
    keys: BTreeSet<KeyPlace>,
    accounts: BTreeSet<AccountId>,
}

#[derive(Debug, Default)]
struct Index {
    tenants: HashMap<TenantId, Tenant>,
    by_account: HashMap<Arc<AccountRef>, BTreeSet<KeyPlace>>,
}

/// What there is, by tenant and account.
#[derive(Debug, Default)]
pub struct Directory {
    index: RwLock<Index>,
}

impl Directory {
    /// At most `limit` keys of a tenant, or of one account of it, that come after `after`.
    #[must_use]
    pub fn keys(
        &self,
        tenant: &TenantId,
        account: Option<&AccountRef>,
        after: Option<KeyPlace>,
        limit: usize,
    ) -> Vec<KeyPlace> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let keys = match account {
            Some(account) => index.by_account.get(account),
            None => index.tenants.get(tenant).map(|tenant| &tenant.keys),
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        keys.map(|keys| keys.range((start, Bound::Unbounded)).take(limit).copied().collect())
            .unwrap_or_default()
    }

    /// At most `limit` accounts of a tenant that come after `after`, by id.
    #[must_use]
    pub fn accounts(
        &self,
        tenant: &TenantId,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Vec<AccountId> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let accounts = index.tenants.get(tenant).map(|tenant| &tenant.accounts);
        accounts
            .map(|ids| ids.range((start, Bound::Unbounded)).take(limit).cloned().collect())
            .unwrap_or_default()
    }

    pub(super) fn add_key(&self, account: &Arc<AccountRef>, create_time: Time, id: KeyId) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let place = (create_time, id);
        index.tenants.entry(account.tenant.clone()).or_default().keys.insert(place);
        index.by_account.entry(Arc::clone(account)).or_default().insert(place);
    }

    pub(super) fn add_account(&self, account: &AccountRef) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let tenant = index.tenants.entry(account.tenant.clone()).or_default();
        tenant.accounts.insert(account.account.clone());
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
