//! The verdict on a key whose secret has matched.

use std::net::IpAddr;

use crate::domain::account::{Account, AccountStatus};
use crate::domain::ids::{Position, TenantId};
use crate::domain::key::{Key, KeyState, Rotation};
use crate::domain::permission::Permissions;
use crate::domain::time::Time;

/// Why a key whose secret has matched is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The key is revoked.
    Revoked,
    /// The key has a successor and the overlap has ended.
    Superseded,
    /// The key has expired.
    Expired,
    /// The key is disabled.
    Disabled,
    /// The key is another tenant's than the request's.
    TenantMismatch,
    /// The account is suspended or closed.
    AccountInactive,
    /// The key does not grant a required permission.
    PermissionMissing,
    /// The key may not be used from that source.
    SourceNotAllowed,
    /// The keys of its account have used what its plan allows for a minute. Judged last, by
    /// [`crate::domain::rate_window`], of keys that [`judge`] allows.
    RateLimited,
}

/// What is asked of a key.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The tenant the request is for, if it is for one.
    pub tenant: Option<&'a TenantId>,
    /// All of these are required; valid permission words.
    pub required: &'a [String],
    /// Where the request comes from, if that is known.
    pub source: Option<IpAddr>,
}

/// A denial and the event that caused it, if one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub denial: Denial,
    /// The record that caused it.
    pub evidence: Option<Position>,
}

/// Judges a key at `now`: its state, its account, then tenant, permissions and source.
/// `effective` is what the account holds under the policy in force.
///
/// # Errors
/// [`Denied`] with the first reason that applies.
pub fn judge(
    key: &Key,
    account: &Account,
    effective: &Permissions,
    ask: &Ask<'_>,
    now: Time,
) -> Result<(), Denied> {
    let denied = |denial, evidence| Err(Denied { denial, evidence });
    let life = key.life.as_deref();
    let limits_at = key.limits.as_ref().map(|limits| limits.set_at);
    match key.state_at(now) {
        KeyState::Active | KeyState::Retiring => {}
        KeyState::Revoked => {
            let revocation = life.and_then(|life| life.revocation.as_ref());
            return denied(Denial::Revoked, revocation.map(|revocation| revocation.position));
        }
        KeyState::Superseded => {
            return denied(Denial::Superseded, key.rotation().map(Rotation::evidence));
        }
        KeyState::Expired => return denied(Denial::Expired, limits_at),
        KeyState::Disabled => {
            return denied(Denial::Disabled, life.and_then(|life| life.disabled_at));
        }
    }
    if account.state.status != AccountStatus::Active {
        return denied(Denial::AccountInactive, Some(account.status_position));
    }
    if ask.tenant.is_some_and(|tenant| *tenant != key.account.tenant) {
        return denied(Denial::TenantMismatch, None);
    }
    for word in ask.required {
        if !effective.cover_text(word) {
            return denied(Denial::PermissionMissing, Some(account.position));
        }
        if key.scopes().is_some_and(|scopes| !scopes.cover_text(word)) {
            return denied(Denial::PermissionMissing, limits_at);
        }
    }
    if key.limits.as_ref().is_some_and(|limits| !limits.sources.admits(ask.source)) {
        return denied(Denial::SourceNotAllowed, limits_at);
    }
    Ok(())
}

/// What a key grants: its account's permissions narrowed by its scopes.
#[must_use]
pub fn granted(key: &Key, effective: &Permissions) -> Permissions {
    match key.scopes() {
        Some(scopes) => effective.narrowed_by(scopes),
        None => effective.clone(),
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
