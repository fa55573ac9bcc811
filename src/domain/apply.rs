//! Folding an event into the facts. No rules here: what happened, happened.

use std::sync::Arc;

use thiserror::Error;

use crate::domain::account::{Account, AccountState, AccountStatus};
use crate::domain::caller::{Caller, Retiring};
use crate::domain::event::{Event, KeyCreated, KeyUpdated, Recorded};
use crate::domain::facts::FactsMut;
use crate::domain::ids::{AccountRef, CallerId, KeyId, Position};
use crate::domain::key::{Key, Life, Limits, Revocation, Rotation};
use crate::domain::peppers::{self, Retirement};
use crate::domain::requests::{Remembered, RequestKey};
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::usage::rules;

/// A record that does not follow from the records before it: the log is damaged or not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the record at position {position} does not follow from the records before it")]
pub struct DoesNotFollow {
    /// The record.
    pub position: Position,
}

/// Folds one record into the facts.
///
/// # Errors
/// [`DoesNotFollow`] if the record breaks its subject's chain or is about something that never came to be.
pub fn apply(facts: &mut impl FactsMut, fact: &Recorded) -> Result<(), DoesNotFollow> {
    let wrong = DoesNotFollow { position: fact.position };
    if facts.last_record(&fact.subject) != fact.previous {
        return Err(wrong);
    }
    match (&fact.subject, &fact.event) {
        (Subject::Account(name), event) => {
            let before = facts.account(name);
            facts.put_account(name, account_after(before.as_deref(), fact).ok_or(wrong)?);
            if *event == Event::AccountErased {
                facts.forget_sources(name);
            }
        }
        (Subject::Key(account, id), Event::KeyCreated(created)) if fact.previous.is_none() => {
            facts.account(account).ok_or(wrong)?;
            create_key(facts, fact, account, *id, created);
        }
        (Subject::Key(account, id), event) => {
            let key = facts.key(id).filter(|key| key.account == *account).ok_or(wrong)?;
            change_key(facts, fact, *id, key).ok_or(wrong)?;
            if let Event::KeyUsed(used) = event {
                rules::note_journal(facts, used.journal);
            }
        }
        (Subject::Caller(id), event) => apply_to_caller(facts, fact, *id, event).ok_or(wrong)?,
        (Subject::Service, event) => apply_to_service(facts, fact, event).ok_or(wrong)?,
    }
    remember(facts, fact);
    Ok(())
}

fn remember(facts: &mut impl FactsMut, fact: &Recorded) {
    if let (Some(request), Some(caller)) = (&fact.request, fact.actor.caller) {
        let key = RequestKey { caller, method: request.method, id: request.id };
        let subject = fact.subject.clone();
        let did = Remembered {
            digest: request.digest,
            position: fact.position,
            subject,
            time: fact.time,
        };
        facts.remember(key, did);
    }
}

/// An account after a record about it; none if it is no record that can follow.
#[must_use]
pub fn account_after(before: Option<&Account>, fact: &Recorded) -> Option<Account> {
    match (&fact.event, before) {
        (Event::AccountRegistered(state), None) => Some(account_with(None, fact, state)),
        (Event::AccountChanged { state, .. }, Some(before)) if !before.erased => {
            Some(account_with(Some(before), fact, state))
        }
        (Event::AccountErased, Some(before)) if !before.erased => {
            let state = AccountState { status: AccountStatus::Closed, ..before.state.clone() };
            let closed = account_with(Some(before), fact, &state);
            // Whatever closed it before, this is what its keys are denied for.
            Some(Account { status_position: fact.position, erased: true, ..closed })
        }
        _ => None,
    }
}

fn account_with(before: Option<&Account>, fact: &Recorded, state: &AccountState) -> Account {
    let same_status = before.filter(|before| before.state.status == state.status);
    Account {
        state: state.clone(),
        create_time: before.map_or(fact.time, |before| before.create_time),
        update_time: fact.time,
        position: fact.position,
        status_position: same_status.map_or(fact.position, |before| before.status_position),
        erased: false,
    }
}

fn create_key(
    facts: &mut impl FactsMut,
    fact: &Recorded,
    account: &Arc<AccountRef>,
    id: KeyId,
    created: &KeyCreated,
) {
    facts.put_key(id, created_key(fact, account, created));
    facts.open_key(account, id, created.expire_time);
}

fn created_key(fact: &Recorded, account: &Arc<AccountRef>, created: &KeyCreated) -> Key {
    let limited = created.scopes.is_some()
        || created.expire_time.is_some()
        || created.sources != Sources::Any;
    let limits = limited.then(|| {
        Arc::new(Limits {
            scopes: created.scopes.clone(),
            sources: created.sources.clone(),
            expire_time: created.expire_time,
            set_at: fact.position,
        })
    });
    let life = created
        .replaces
        .map(|replaces| Arc::new(Life { replaces: Some(replaces), ..Life::default() }));
    Key {
        tag: created.tag.tag.clone(),
        account: Arc::clone(account),
        create_time: fact.time,
        created: fact.position,
        last: fact.position,
        limits,
        life,
        used: None,
        created_by: fact.actor.caller,
        pepper: created.tag.pepper,
        environment: created.environment,
    }
}

fn change_key(facts: &mut impl FactsMut, fact: &Recorded, id: KeyId, before: Key) -> Option<()> {
    let expiry = |key: &Key| key.counts().then(|| key.expire_time());
    let counted = expiry(&before);
    let key = key_after(Some(before), fact)?;
    let counts = expiry(&key);
    let account = Arc::clone(&key.account);
    facts.put_key(id, key);
    if counted != counts {
        if let Some(expire_time) = counted {
            facts.close_key(&account, id, expire_time);
        }
        if let Some(expire_time) = counts {
            facts.open_key(&account, id, expire_time);
        }
    }
    Some(())
}

/// A key after a record about it; none if it is no record that can follow.
#[must_use]
pub fn key_after(before: Option<Key>, fact: &Recorded) -> Option<Key> {
    let position = fact.position;
    let mut key = match (before, &fact.subject, &fact.event) {
        (None, Subject::Key(account, _), Event::KeyCreated(created)) => {
            return Some(created_key(fact, account, created));
        }
        (before, ..) => before?,
    };
    if let Event::KeyUsed(used) = &fact.event {
        let used = rules::used_after(key.used.as_deref(), used, position)?;
        key.used = Some(Arc::new(used));
        return Some(key);
    }
    key.last = position;
    match &fact.event {
        Event::KeyUpdated(updated) => {
            key.limits = Some(Arc::new(limits_after(updated, position)));
        }
        Event::KeyDisabled => key.live_on(|life| life.disabled_at = Some(position)),
        Event::KeyEnabled => key.live_on(|life| life.disabled_at = None),
        Event::KeyRotated { successor, retire_time, retire_when_idle_for, .. } => {
            let rotation = Rotation {
                position,
                successor: *successor,
                retire_time: *retire_time,
                retire_when_idle_for: *retire_when_idle_for,
                retired_at: None,
            };
            key.live_on(|life| life.rotation = Some(rotation));
        }
        Event::KeyRetired { .. } => {
            let rotation = key.rotation()?.clone();
            let (retire_time, retired_at) = (fact.time, Some(position));
            let retired = Rotation { retire_time, retired_at, ..rotation };
            key.live_on(|life| life.rotation = Some(retired));
        }
        Event::KeyRevoked { reason, .. } => {
            let revocation = Revocation { position, time: fact.time, reason: *reason };
            key.live_on(|life| life.revocation = Some(revocation));
        }
        Event::KeyRehashed { tag } => {
            (key.tag, key.pepper) = (tag.tag.clone(), tag.pepper);
        }
        _ => return None,
    }
    Some(key)
}

fn limits_after(updated: &KeyUpdated, position: Position) -> Limits {
    Limits {
        scopes: updated.scopes.clone(),
        sources: updated.sources.clone(),
        expire_time: updated.expire_time,
        set_at: position,
    }
}

fn apply_to_caller(
    facts: &mut impl FactsMut,
    fact: &Recorded,
    id: CallerId,
    event: &Event,
) -> Option<()> {
    let before = facts.caller(&id);
    let caller = match (event, before) {
        (Event::CallerCreated(created), None) => Caller {
            tag: created.tag.clone(),
            retiring: None,
            roles: created.roles,
            tenants: Arc::clone(&created.tenants),
            certificate_name: created.certificate_name.clone(),
            create_time: fact.time,
            expire_time: created.expire_time,
            revoke_time: None,
            position: fact.position,
            personal_at: fact.position,
            secret_at: fact.position,
        },
        (Event::CallerRotated { tag, retire_time }, Some(before)) => Caller {
            tag: tag.clone(),
            retiring: Some(Retiring { tag: before.tag.clone(), retire_time: *retire_time }),
            position: fact.position,
            secret_at: fact.position,
            ..Caller::clone(&before)
        },
        (Event::CallerRevoked, Some(before)) => {
            let (revoke_time, position) = (Some(fact.time), fact.position);
            Caller { revoke_time, position, secret_at: position, ..Caller::clone(&before) }
        }
        (Event::CallerRehashed { tag }, Some(before)) => {
            Caller { tag: tag.clone(), position: fact.position, ..Caller::clone(&before) }
        }
        _ => return None,
    };
    facts.put_caller(id, caller);
    Some(())
}

fn apply_to_service(facts: &mut impl FactsMut, fact: &Recorded, event: &Event) -> Option<()> {
    match event {
        Event::PolicyChanged(policy) => facts.put_policy(policy.clone()),
        Event::PepperRotated { version, check } => {
            let peppers = facts.peppers().rotated(*version, *check)?;
            facts.put_peppers(peppers);
        }
        Event::PepperRetired { version, .. } => {
            let retirement = Retirement { position: fact.position, time: fact.time };
            peppers::apply_retired(facts, *version, retirement)?;
        }
        Event::ClockStepped { .. } | Event::AuditRead(_) | Event::CallsRefused(_) => {}
        Event::UnknownKeyTried(tried) => {
            rules::unknown_follows(tried).then_some(())?;
            rules::note_journal(facts, tried.journal);
        }
        Event::UsageGap(gap) => rules::note_journal(facts, gap.journal),
        Event::LogRestored(restored) => {
            // The first record of a generation: nothing comes between it and what was restored.
            let follows = restored.restored_to.next() == fact.position;
            let state = facts.log_state().restored(restored).ok().filter(|_| follows)?;
            facts.put_log_state(state);
        }
        Event::LossResolved(resolved) => {
            let state = facts.log_state().resolved(resolved).ok()?;
            facts.put_log_state(state);
        }
        Event::SigningKeyChanged(changed) => {
            let state = facts.log_state().with_signing_key(changed).ok()?;
            facts.put_log_state(state);
        }
        _ => return None,
    }
    facts.put_service_position(fact.position);
    Some(())
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
