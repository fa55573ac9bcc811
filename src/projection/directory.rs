//! The keys and accounts of each tenant, in the order lists show them. Off the way of Authenticate.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::ids::{AccountId, AccountRef, KeyId, PUBLIC_ID_BYTES, TenantId};
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
        // Where the places of each account end in a list of all, and as it fills, where they begin.
        let mut starts = vec![0_usize; accounts.len() + 1];
        keys.iter().for_each(|key| starts[key.account as usize] += 1);
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let nowhere = (Time::EPOCH, KeyId([0; PUBLIC_ID_BYTES]));
        let mut by_account = vec![nowhere; keys.len()];
        for key in keys.iter().rev() {
            let start = &mut starts[key.account as usize];
            *start -= 1;
            by_account[*start] = key.place;
        }
        for of_tenant in keys.chunk_by(|key, next| key.tenant == next.tenant) {
            let account = of_tenant.first().map(|key| &accounts[key.account as usize]);
            let Some(account) = account else { continue };
            let tenant = index.tenants.entry(account.tenant.clone()).or_default();
            tenant.keys = Places::from_sorted(of_tenant.iter().map(|key| key.place));
        }
        for (account, range) in accounts.iter().zip(starts.windows(2)) {
            let places = &by_account[range[0]..range[1]];
            if !places.is_empty() {
                let places = Places::from_sorted(places.iter().copied());
                index.by_account.insert(Arc::clone(account), places);
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
