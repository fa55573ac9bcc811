//! PutAccount: registers an account or changes it.

use std::sync::Arc;

use crate::app::App;
use crate::app::accounts::AccountView;
use crate::app::call::{Attempts, Call};
use crate::app::error::AppError;
use crate::app::sealing::scope_of;
use crate::app::switch_key::Changed;
use crate::domain::account::AccountStatus;
use crate::domain::account_rules::PutAccount;
use crate::domain::command::Act;
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountRef, Position};
use crate::domain::permission::{Permissions, PlanName, RoleName};
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::subject::Subject;

/// What is to be true of an account; what is none stays.
#[derive(Debug, Default)]
pub struct AccountChange {
    /// Its display name.
    pub display_name: Option<String>,
    /// Its plan.
    pub plan: Option<PlanName>,
    /// What it holds directly.
    pub permissions: Option<Permissions>,
    /// The roles whose permissions it holds besides, sorted.
    pub roles: Option<Vec<RoleName>>,
    /// Its status.
    pub status: Option<AccountStatus>,
    /// Where the caller expects the account to be.
    pub expected: Option<Position>,
}

impl App {
    /// PutAccount.
    ///
    /// # Errors
    /// [`AppError`]: foreign tenant, unknown plan or role, closed account, stale position.
    pub async fn put_account(
        &self,
        call: &Call,
        account: AccountRef,
        change: &AccountChange,
    ) -> Result<Changed<AccountView>, AppError> {
        call.identity.enter(&account.tenant)?;
        let account = Arc::new(account);
        let subject = Subject::Account(Arc::clone(&account));
        self.check_registrable(&account, change)?;
        self.ensure_data_key(scope_of(&subject)).await?;
        let mut attempts = Attempts::new();
        loop {
            let result = self.try_put(call, &subject, &account, change).await;
            if let Some(result) = attempts.settle(result) {
                return result;
            }
        }
    }

    /// Refuses what the writer would refuse of a new account, before a data key is made for it.
    fn check_registrable(
        &self,
        account: &AccountRef,
        change: &AccountChange,
    ) -> Result<(), AppError> {
        if self.table.standing(account).is_some() {
            return Ok(());
        }
        if change.expected.is_some() {
            return Err(Refusal::StalePosition { current: None }.into());
        }
        let plan = change.plan.as_ref().ok_or(Refusal::PlanMissing)?;
        let policy = self.table.policy();
        if !policy.plans.contains_key(plan) {
            let known = policy.plans.keys().cloned().collect();
            return Err(Refusal::UnknownPlan { known }.into());
        }
        let roles = change.roles.as_deref().unwrap_or_default();
        if roles.iter().any(|role| !policy.roles.contains_key(role)) {
            let known = policy.roles.keys().cloned().collect();
            return Err(Refusal::UnknownRole { known }.into());
        }
        Ok(())
    }

    async fn try_put(
        &self,
        call: &Call,
        subject: &Subject,
        account: &Arc<AccountRef>,
        change: &AccountChange,
    ) -> Result<Changed<AccountView>, AppError> {
        let basis = self.table.standing(account).map(|standing| standing.account.position);
        let request = self.name_request(call, &scope_of(subject))?;
        let present = match basis {
            Some(position) => {
                let present = self.personal_at(position).await?;
                present.ok_or(Refusal::AccountClosed)?.display_name.clone()
            }
            None => String::new(),
        };
        let display_name = change.display_name.clone().unwrap_or_else(|| present.clone());
        let renamed = display_name != present;
        let on_behalf_of = call.on_behalf_of.clone();
        let personal = Personal { display_name, on_behalf_of, ..Personal::default() };
        let kind = match basis {
            Some(_) => EventKind::AccountChanged,
            None => EventKind::AccountRegistered,
        };
        let act = Act::PutAccount(PutAccount {
            account: Arc::clone(account),
            plan: change.plan.clone(),
            permissions: change.permissions.clone(),
            roles: change.roles.clone(),
            status: change.status,
            renamed,
            basis,
            expected: change.expected,
            private: self.seal(subject, kind, &personal)?,
        });
        let done = self.commit(call, request, act).await?;
        let resource = self.account_view(account).await?;
        let position = done.position.unwrap_or(resource.account.position);
        Ok(Changed { resource, position, replayed: done.replayed })
    }
}
