//! What may be done to keys: create, update, disable, enable, rotate with overlap, revoke.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::account::AccountStatus;
use crate::domain::event::{Event, KeyCreated, KeyUpdated, Proposal};
use crate::domain::facts::Facts;
use crate::domain::ids::{AccountRef, KeyId, Position};
use crate::domain::key::RevokeReason;
use crate::domain::key::{Key, KeyState};
use crate::domain::key_format::Environment;
use crate::domain::permission::Permissions;
use crate::domain::refusal::Refusal;
use crate::domain::sealed::Private;
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::tag::KeyTag;
use crate::domain::time::Time;

/// What CreateKey asks for.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// Who will own it.
    pub account: Arc<AccountRef>,
    /// The new key's id.
    pub key: KeyId,
    /// What is recorded of it.
    pub created: KeyCreated,
    /// Its sealed name, metadata and address ranges.
    pub private: Private,
}

/// What UpdateKey asks for.
#[derive(Clone, Debug)]
pub struct UpdateKey {
    /// Which key.
    pub key: KeyId,
    /// New scopes; none keeps the present ones.
    pub scopes: Option<Permissions>,
    /// A new expiry; none keeps the present one.
    pub expire_time: Option<Time>,
    /// The sources from here on, whole.
    pub sources: Sources,
    /// Which of name, metadata and allowed_cidrs differ from the present ones.
    pub resealed: Vec<&'static str>,
    /// The position the sealing side saw the key at.
    pub basis: Position,
    /// The position the caller expects the key at, if it said so.
    pub expected: Option<Position>,
    /// Its sealed name, metadata and address ranges, whole.
    pub private: Private,
}

/// What DisableKey and EnableKey ask for.
#[derive(Clone, Debug)]
pub struct SwitchKey {
    /// Which key.
    pub key: KeyId,
    /// The sealed comment.
    pub private: Option<Private>,
}

/// What RotateKey asks for.
#[derive(Clone, Debug)]
pub struct RotateKey {
    /// Which key.
    pub key: KeyId,
    /// The new key's id.
    pub successor: KeyId,
    /// Recognises the new secret.
    pub tag: KeyTag,
    /// How long the old key still works.
    pub overlap: Duration,
    /// For how long nobody must have used the old key for it to retire before that; none: it does not.
    pub retire_when_idle_for: Option<Duration>,
    /// Why.
    pub reason: RevokeReason,
    /// The position the sealing side saw the old key at.
    pub basis: Position,
    /// The old key's sources, which the new key inherits.
    pub sources: Sources,
    /// The new key's sealed name, metadata and address ranges.
    pub private: Private,
    /// Sealed asides of the call.
    pub aside: Option<Private>,
}

/// What the service asks for once nobody has used a rotated key for long enough.
#[derive(Clone, Debug)]
pub struct RetireKey {
    /// Which key.
    pub key: KeyId,
    /// The position the key was found unused at: whatever has changed it since may have been to use it.
    pub basis: Position,
    /// When it was last allowed, as far as is known; none: never.
    pub last_use: Option<Time>,
}

/// What RevokeKey and ReportLeakedKey ask for.
#[derive(Clone, Debug)]
pub struct RevokeKey {
    /// Which key.
    pub key: KeyId,
    /// Why.
    pub reason: RevokeReason,
    /// Whether someone who presented its secret reported it.
    pub leaked: bool,
    /// The sealed comment.
    pub private: Option<Private>,
}

/// Decides CreateKey.
///
/// # Errors
/// [`Refusal`] if the account is unknown or not active, its plan's cap is reached or the expiry is past.
pub fn decide_create(
    facts: &impl Facts,
    create: &CreateKey,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let account = facts.account(&create.account).ok_or(Refusal::AccountNotFound)?;
    if account.state.status != AccountStatus::Active {
        return Err(Refusal::AccountNotActive);
    }
    if create.created.environment == Environment::Service {
        return Err(Refusal::NotForKeys);
    }
    if create.created.expire_time.is_some_and(|time| time <= now) {
        return Err(Refusal::ExpiryPast);
    }
    let policy = facts.policy();
    let plan = policy.plans.get(&account.state.plan);
    let plan =
        plan.ok_or_else(|| Refusal::UnknownPlan { known: policy.plans.keys().cloned().collect() })?;
    if let Some(limit) = plan.active_keys {
        let active = facts.open_keys(&create.account, now);
        if active >= limit {
            return Err(Refusal::ActiveKeyLimit { limit, active });
        }
    }
    Ok(vec![Proposal {
        subject: Subject::Key(Arc::clone(&create.account), create.key),
        event: Event::KeyCreated(create.created.clone()),
        private: Some(create.private.clone()),
    }])
}

/// Decides UpdateKey; an update that differs in nothing does nothing.
///
/// # Errors
/// [`Refusal`] if the key is unknown or over, is not where it was expected, or would gain power.
pub fn decide_update(
    facts: &impl Facts,
    update: &UpdateKey,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let key = facts.key(&update.key).ok_or(Refusal::KeyNotFound)?;
    if update.expected.is_some_and(|expected| expected != key.position()) {
        return Err(Refusal::StalePosition { current: Some(key.position()) });
    }
    if update.basis != key.position() {
        return Err(Refusal::Moved);
    }
    refuse_if_over(&key, now)?;
    let scopes = match (&update.scopes, key.scopes()) {
        (Some(new), Some(present)) if !new.iter().all(|word| present.cover(word)) => {
            return Err(Refusal::ScopesWiden);
        }
        (new, present) => new.as_ref().or(present).cloned(),
    };
    let expire_time = match (update.expire_time, key.expire_time()) {
        (Some(new), Some(present)) if new > present => return Err(Refusal::ExpiryLater),
        (Some(new), present) if new <= now && Some(new) != present => {
            return Err(Refusal::ExpiryPast);
        }
        (new, present) => new.or(present),
    };
    let mut changed: Vec<String> = update.resealed.iter().map(|&field| field.to_owned()).collect();
    if scopes.as_ref() != key.scopes() {
        changed.push("scopes".to_owned());
    }
    if expire_time != key.expire_time() {
        changed.push("expire_time".to_owned());
    }
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let sources = update.sources.clone();
    let event = Event::KeyUpdated(KeyUpdated { scopes, expire_time, sources, changed });
    Ok(vec![about(&key, update.key, event, Some(update.private.clone()))])
}

/// Decides DisableKey; disabling a disabled key does nothing.
///
/// # Errors
/// [`Refusal`] if the key is unknown or over.
pub fn decide_disable(
    facts: &impl Facts,
    switch: &SwitchKey,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let key = facts.key(&switch.key).ok_or(Refusal::KeyNotFound)?;
    refuse_if_over(&key, now)?;
    if key.state_at(now) == KeyState::Disabled {
        return Ok(Vec::new());
    }
    Ok(vec![about(&key, switch.key, Event::KeyDisabled, switch.private.clone())])
}

/// Decides EnableKey; enabling a key that is not disabled does nothing.
///
/// # Errors
/// [`Refusal`] if the key is unknown or over.
pub fn decide_enable(
    facts: &impl Facts,
    switch: &SwitchKey,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let key = facts.key(&switch.key).ok_or(Refusal::KeyNotFound)?;
    refuse_if_over(&key, now)?;
    if key.state_at(now) != KeyState::Disabled {
        return Ok(Vec::new());
    }
    Ok(vec![about(&key, switch.key, Event::KeyEnabled, switch.private.clone())])
}

/// Decides RotateKey: the old key gets a successor with its environment, limits and sealed fields,
/// and works until the overlap ends or it expires.
///
/// # Errors
/// [`Refusal`] if the key is unknown, over, disabled or rotated already, or its account is not active.
pub fn decide_rotate(
    facts: &impl Facts,
    rotate: &RotateKey,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let key = facts.key(&rotate.key).ok_or(Refusal::KeyNotFound)?;
    match key.state_at(now) {
        KeyState::Revoked => return Err(Refusal::KeyRevoked),
        KeyState::Retiring | KeyState::Superseded => return Err(Refusal::KeyAlreadyRotated),
        KeyState::Expired => return Err(Refusal::KeyExpired),
        KeyState::Disabled => return Err(Refusal::KeyDisabled),
        KeyState::Active => {}
    }
    if rotate.basis != key.position() {
        return Err(Refusal::Moved);
    }
    let account = facts.account(&key.account).ok_or(Refusal::AccountNotFound)?;
    if account.state.status != AccountStatus::Active {
        return Err(Refusal::AccountNotActive);
    }
    let expire_time = key.expire_time();
    let overlap_end = now.plus(rotate.overlap);
    let retire_time = expire_time.map_or(overlap_end, |time| time.min(overlap_end));
    let rotated = Event::KeyRotated {
        successor: rotate.successor,
        retire_time,
        retire_when_idle_for: rotate.retire_when_idle_for,
        reason: rotate.reason,
    };
    let created = Event::KeyCreated(KeyCreated {
        tag: rotate.tag.clone(),
        environment: key.environment,
        scopes: key.scopes().cloned(),
        expire_time,
        sources: rotate.sources.clone(),
        replaces: Some(rotate.key),
    });
    Ok(vec![
        about(&key, rotate.key, rotated, rotate.aside.clone()),
        about(&key, rotate.successor, created, Some(rotate.private.clone())),
    ])
}

/// Decides RetireKey; a key that no longer works, or whose rotation did not ask for it, is left alone.
///
/// # Errors
/// [`Refusal`] if the key is unknown, or not as it was found.
pub fn decide_retire(
    facts: &impl Facts,
    retire: &RetireKey,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let key = facts.key(&retire.key).ok_or(Refusal::KeyNotFound)?;
    if retire.basis != key.position() {
        return Err(Refusal::Moved);
    }
    let asked = key.rotation().is_some_and(|rotation| rotation.retire_when_idle_for.is_some());
    if !asked || refuse_if_over(&key, now).is_err() {
        return Ok(Vec::new());
    }
    let event = Event::KeyRetired { last_use: retire.last_use };
    Ok(vec![about(&key, retire.key, event, None)])
}

/// Decides RevokeKey; revoking a revoked key does nothing. Any other key can be revoked at any time.
///
/// # Errors
/// [`Refusal`] if the key is unknown.
pub fn decide_revoke(facts: &impl Facts, revoke: &RevokeKey) -> Result<Vec<Proposal>, Refusal> {
    let key = facts.key(&revoke.key).ok_or(Refusal::KeyNotFound)?;
    if key.life.as_ref().is_some_and(|life| life.revocation.is_some()) {
        return Ok(Vec::new());
    }
    let event = Event::KeyRevoked { reason: revoke.reason, leaked: revoke.leaked };
    Ok(vec![about(&key, revoke.key, event, revoke.private.clone())])
}

fn refuse_if_over(key: &Key, now: Time) -> Result<(), Refusal> {
    match key.state_at(now) {
        KeyState::Revoked => Err(Refusal::KeyRevoked),
        KeyState::Superseded => Err(Refusal::KeySuperseded),
        KeyState::Expired => Err(Refusal::KeyExpired),
        KeyState::Active | KeyState::Disabled | KeyState::Retiring => Ok(()),
    }
}

fn about(key: &Key, id: KeyId, event: Event, private: Option<Private>) -> Proposal {
    Proposal { subject: Subject::Key(Arc::clone(&key.account), id), event, private }
}

#[cfg(test)]
#[path = "key_rules_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod rotation_tests;
