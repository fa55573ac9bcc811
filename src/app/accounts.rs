//! GetAccount and ListAccounts.

use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::key_view::shown;
use crate::app::page::{Page, PageRequest};
use crate::domain::account::Account;
use crate::domain::ids::{AccountId, AccountRef, TenantId};
use crate::domain::refusal::Refusal;

/// An account as those who manage it see it.
#[derive(Clone, Debug)]
pub struct AccountView {
    /// Its full name.
    pub name: AccountRef,
    /// The account.
    pub account: Arc<Account>,
    /// Its display name; empty if it is erased.
    pub display_name: String,
    /// Whether its personal fields are erased.
    pub erased: bool,
}

impl App {
    /// GetAccount. To a caller bound to tenants, another tenant's account is no account.
    ///
    /// # Errors
    /// [`AppError`]: unknown account, damaged record.
    pub async fn get_account(
        &self,
        identity: &Identity,
        account: &AccountRef,
    ) -> Result<AccountView, AppError> {
        self.confirm(identity)?;
        if !identity.may_enter(&account.tenant) {
            return Err(Refusal::AccountNotFound.into());
        }
        self.account_view(account).await
    }

    pub(crate) async fn account_view(&self, name: &AccountRef) -> Result<AccountView, AppError> {
        let standing = self.table.standing(name).ok_or(Refusal::AccountNotFound)?;
        let account = Arc::clone(&standing.account);
        self.account_view_of(name, account).await
    }

    /// An account as it is or was, with its display name.
    pub(crate) async fn account_view_of(
        &self,
        name: &AccountRef,
        account: Arc<Account>,
    ) -> Result<AccountView, AppError> {
        let (personal, gone) = shown(self.personal_at(account.position).await?);
        let (display_name, erased) = (personal.display_name.clone(), gone || account.erased);
        Ok(AccountView { name: name.clone(), account, display_name, erased })
    }

    /// ListAccounts: the accounts of a tenant by id.
    ///
    /// # Errors
    /// [`AppError`]: foreign tenant, foreign page token, damaged record.
    pub async fn list_accounts(
        &self,
        identity: &Identity,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<AccountView>, AppError> {
        self.confirm(identity)?;
        identity.enter(tenant)?;
        let after = page.cursor(decode_account)?;
        let ids = self.table.directory().accounts(tenant, after.as_ref(), page.size + 1);
        let more = ids.len() > page.size;
        let mut items = Vec::with_capacity(page.size);
        for id in ids.into_iter().take(page.size) {
            let name = AccountRef { tenant: tenant.clone(), account: id };
            items.push(self.account_view(&name).await?);
        }
        let last = items.last().filter(|_| more);
        let next = last.map(|view| page.token(view.name.account.as_str().as_bytes()));
        Ok(Page { items, next })
    }
}

fn decode_account(cursor: &[u8]) -> Option<AccountId> {
    AccountId::parse(std::str::from_utf8(cursor).ok()?).ok()
}
