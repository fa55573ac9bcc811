//! What may be done to accounts: register, change, suspend, close.

use std::sync::Arc;

use crate::domain::account::{AccountState, AccountStatus};
use crate::domain::event::{Event, Proposal};
use crate::domain::facts::Facts;
use crate::domain::ids::{AccountRef, Position};
use crate::domain::permission::{Permissions, PlanName, RoleName};
use crate::domain::policy::Policy;
use crate::domain::refusal::Refusal;
use crate::domain::sealed::Private;
use crate::domain::subject::Subject;

/// What PutAccount asks for. The display name is sealed already.
#[derive(Clone, Debug)]
pub struct PutAccount {
    /// Which account.
    pub account: Arc<AccountRef>,
    /// The plan; none keeps the present one.
    pub plan: Option<PlanName>,
    /// The permissions; none keeps the present ones.
    pub permissions: Option<Permissions>,
    /// The roles; none keeps the present ones.
    pub roles: Option<Vec<RoleName>>,
    /// The status; none keeps the present one, or ACTIVE on creation.
    pub status: Option<AccountStatus>,
    /// Whether the sealed display name differs from the present one.
    pub renamed: bool,
    /// The position the sealing side saw the account at; none if it saw no account.
    pub basis: Option<Position>,
    /// The position the caller expects the account at, if it said so.
    pub expected: Option<Position>,
    /// The sealed display name, whole.
    pub private: Private,
}

/// What EraseAccount asks for.
#[derive(Clone, Debug)]
pub struct EraseAccount {
    /// Which account.
    pub account: Arc<AccountRef>,
    /// The position the caller expects the account at, if it said so.
    pub expected: Option<Position>,
    /// Sealed asides of the call, under the service's data key: they outlast the account's.
    pub private: Option<Private>,
}

/// Decides EraseAccount: one event, by which all its keys are denied; erasing an erased account does nothing.
///
/// # Errors
/// [`Refusal`] if the account is unknown or not where it was expected.
pub fn decide_erase(facts: &impl Facts, erase: &EraseAccount) -> Result<Vec<Proposal>, Refusal> {
    let present = facts.account(&erase.account).ok_or(Refusal::AccountNotFound)?;
    if present.erased {
        return Ok(Vec::new());
    }
    if erase.expected.is_some_and(|expected| expected != present.position) {
        return Err(Refusal::StalePosition { current: Some(present.position) });
    }
    let subject = Subject::Account(Arc::clone(&erase.account));
    let private = erase.private.clone();
    Ok(vec![Proposal { subject, event: Event::AccountErased, private }])
}

/// Decides PutAccount: registers the account, changes it, or does nothing if nothing differs.
///
/// # Errors
/// [`Refusal`] if a plan or role is unknown, the account is closed or not where it was expected.
pub fn decide_put(facts: &impl Facts, put: &PutAccount) -> Result<Vec<Proposal>, Refusal> {
    let present = facts.account(&put.account);
    let position = present.as_ref().map(|account| account.position);
    if put.expected.is_some() && put.expected != position {
        return Err(Refusal::StalePosition { current: position });
    }
    if put.basis != position {
        return Err(Refusal::Moved);
    }
    let policy = facts.policy();
    let event = match present {
        None => Event::AccountRegistered(first_state(put, &policy)?),
        Some(account) => {
            let state = next_state(put, &account.state);
            let changed = changes(&account.state, &state, put.renamed);
            if changed.is_empty() {
                return Ok(Vec::new());
            }
            if account.state.status == AccountStatus::Closed {
                return Err(Refusal::AccountClosed);
            }
            check_names(&policy, &state, Some(&account.state))?;
            Event::AccountChanged { state, changed }
        }
    };
    let subject = Subject::Account(Arc::clone(&put.account));
    Ok(vec![Proposal { subject, event, private: Some(put.private.clone()) }])
}

fn first_state(put: &PutAccount, policy: &Policy) -> Result<AccountState, Refusal> {
    let state = AccountState {
        plan: put.plan.clone().ok_or(Refusal::PlanMissing)?,
        permissions: put.permissions.clone().unwrap_or_default(),
        roles: put.roles.clone().unwrap_or_default(),
        status: put.status.unwrap_or(AccountStatus::Active),
    };
    check_names(policy, &state, None)?;
    Ok(state)
}

fn next_state(put: &PutAccount, present: &AccountState) -> AccountState {
    AccountState {
        plan: put.plan.clone().unwrap_or_else(|| present.plan.clone()),
        permissions: put.permissions.clone().unwrap_or_else(|| present.permissions.clone()),
        roles: put.roles.clone().unwrap_or_else(|| present.roles.clone()),
        status: put.status.unwrap_or(present.status),
    }
}

/// Every plan and role that is new to the account must be in the policy; one it already has may
/// have left the policy since.
fn check_names(
    policy: &Policy,
    state: &AccountState,
    before: Option<&AccountState>,
) -> Result<(), Refusal> {
    let kept = before.is_some_and(|before| before.plan == state.plan);
    if !kept && !policy.plans.contains_key(&state.plan) {
        return Err(Refusal::UnknownPlan { known: policy.plans.keys().cloned().collect() });
    }
    let unknown = |role: &&RoleName| {
        let kept = before.is_some_and(|before| before.roles.contains(role));
        !kept && !policy.roles.contains_key(*role)
    };
    if state.roles.iter().any(|role| unknown(&role)) {
        return Err(Refusal::UnknownRole { known: policy.roles.keys().cloned().collect() });
    }
    Ok(())
}

fn changes(before: &AccountState, after: &AccountState, renamed: bool) -> Vec<String> {
    let fields = [
        ("display_name", renamed),
        ("plan", before.plan != after.plan),
        ("permissions", before.permissions != after.permissions),
        ("roles", before.roles != after.roles),
        ("status", before.status != after.status),
    ];
    fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
#[path = "account_rules_tests.rs"]
mod tests;
