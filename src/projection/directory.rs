//! The keys and accounts of each tenant, in the order lists show them. Off the way of Authenticate.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::ids::{AccountId, AccountRef, KeyId, TenantId};
use crate::domain::time::Time;
use crate::projection::places::Places;

/// A key's place in a list: (create_time, key_id).
pub type KeyPlace = (Time, KeyId);

#[derive(Debug, Default)]
struct Tenant {
    keys: Places,
    accounts: BTreeSet<AccountId>,
}

#[derive(Debug, Default)]
struct Index {
    tenants: HashMap<TenantId, Tenant>,
    by_account: HashMap<Arc<AccountRef>, Places>,
}

/// A key to be added with many others: they are sorted by tenant, then by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LoadedKey {
    /// A number that the accounts of one tenant share.
    pub(super) tenant: u32,
    pub(super) place: KeyPlace,
    /// The number of its account in a list.
    pub(super) account: u32,
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
        keys.map(|keys| keys.after(after).take(limit).collect()).unwrap_or_default()
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

    /// Adds many keys at once: faster than one by one, and in less room. Their accounts MUST have no keys
    /// here yet.
    pub(super) fn add_sorted(&self, accounts: &[Arc<AccountRef>], keys: &[LoadedKey]) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let mut counts = vec![0_u32; accounts.len()];
        keys.iter().for_each(|key| counts[key.account as usize] += 1);
        let mut of_accounts: Vec<_> =
            counts.iter().map(|count| Vec::with_capacity(*count as usize)).collect();
        for of_tenant in keys.chunk_by(|key, next| key.tenant == next.tenant) {
            let account = of_tenant.first().map(|key| &accounts[key.account as usize]);
            let Some(account) = account else { continue };
            let tenant = index.tenants.entry(account.tenant.clone()).or_default();
            tenant.keys = Places::from_sorted(of_tenant.iter().map(|key| key.place));
            of_tenant.iter().for_each(|key| of_accounts[key.account as usize].push(key.place));
        }
        for (account, places) in accounts.iter().zip(of_accounts) {
            if !places.is_empty() {
                index.by_account.insert(Arc::clone(account), Places::from_sorted(places));
            }
        }
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
