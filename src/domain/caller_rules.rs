//! What may be done to callers: create, rotate with overlap, revoke.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::caller::{Caller, Roles};
use crate::domain::event::{Actor, CallerCreated, Event, Proposal};
use crate::domain::facts::Facts;
use crate::domain::ids::{CallerId, TenantId};
use crate::domain::refusal::Refusal;
use crate::domain::sealed::Private;
use crate::domain::subject::Subject;
use crate::domain::tag::KeyTag;
use crate::domain::time::Time;

/// The most callers whose credentials work and which share a tenant, or are bound to none: keeps one
/// tenant's admins from filling the room of others. The service and offline operators are not held to it.
pub const MAX_CALLERS_OF_A_TENANT: usize = 1000;

/// What CreateCaller asks for.
#[derive(Clone, Debug)]
pub struct CreateCaller {
    /// The new caller's id.
    pub caller: CallerId,
    /// What is recorded of it.
    pub created: CallerCreated,
    /// Its sealed name and owner.
    pub private: Private,
}

/// What RotateCaller asks for.
#[derive(Clone, Debug)]
pub struct RotateCaller {
    /// Which caller.
    pub caller: CallerId,
    /// Recognises the new secret.
    pub tag: KeyTag,
    /// How long the present secret still works.
    pub overlap: Duration,
    /// Sealed asides of the call.
    pub private: Option<Private>,
}

/// What RevokeCaller asks for.
#[derive(Clone, Debug)]
pub struct RevokeCaller {
    /// Which caller.
    pub caller: CallerId,
    /// The sealed comment.
    pub private: Option<Private>,
}

/// A caller grants and manages nothing that it lacks itself; the service and offline operators lack
/// nothing. Answers the caller that acts.
fn check_authority(
    facts: &impl Facts,
    actor: &Actor,
    roles: Roles,
    tenants: &[TenantId],
) -> Result<Option<Arc<Caller>>, Refusal> {
    if !actor.mechanism.is_of_a_caller() {
        return Ok(None);
    }
    let maker = actor.caller.and_then(|id| facts.caller(&id)).ok_or(Refusal::GrantExceedsOwn)?;
    if maker.holds(roles, tenants) { Ok(Some(maker)) } else { Err(Refusal::GrantExceedsOwn) }
}

/// Names in certificates are the whole service's: who is bound to tenants gives none, since a caller of another
/// tenant may be known by it. At most one caller that works has each.
fn check_name(
    facts: &impl Facts,
    maker: Option<&Caller>,
    created: &CallerCreated,
    now: Time,
) -> Result<(), Refusal> {
    let Some(name) = &created.certificate_name else { return Ok(()) };
    if maker.is_some_and(|maker| !maker.tenants.is_empty()) {
        return Err(Refusal::GrantExceedsOwn);
    }
    let has_it =
        |caller: &Caller| caller.certificate_name.as_ref() == Some(name) && caller.works_at(now);
    match facts.callers().iter().any(|(_, caller)| has_it(caller)) {
        true => Err(Refusal::CertificateNameTaken),
        false => Ok(()),
    }
}

/// Whoever gives out a credential must last as long as what it is good for: else an admin whose own is about to end could
/// go on with it.
fn check_end(maker: Option<&Caller>, expire_time: Option<Time>) -> Result<(), Refusal> {
    let until = maker.and_then(|maker| maker.expire_time);
    let outlives = |until| expire_time.is_none_or(|time| time > until);
    if until.is_some_and(outlives) { Err(Refusal::GrantExceedsOwn) } else { Ok(()) }
}

/// Whether two bindings have a tenant in common, or are both to none.
fn share_a_tenant(one: &[TenantId], other: &[TenantId]) -> bool {
    (one.is_empty() && other.is_empty()) || one.iter().any(|tenant| other.contains(tenant))
}

/// Decides CreateCaller.
///
/// # Errors
/// [`Refusal`] if the maker lacks what it grants, another caller has the name, the expiry is past or there are
/// too many callers.
pub fn decide_create(
    facts: &impl Facts,
    actor: &Actor,
    create: &CreateCaller,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let maker = check_authority(facts, actor, create.created.roles, &create.created.tenants)?;
    check_name(facts, maker.as_deref(), &create.created, now)?;
    check_end(maker.as_deref(), create.created.expire_time)?;
    if create.created.expire_time.is_some_and(|time| time <= now) {
        return Err(Refusal::ExpiryPast);
    }
    if actor.mechanism.is_of_a_caller() {
        let beside = |caller: &Caller| {
            caller.works_at(now) && share_a_tenant(&caller.tenants, &create.created.tenants)
        };
        let count = facts.callers().iter().filter(|(_, caller)| beside(caller)).count();
        if count >= MAX_CALLERS_OF_A_TENANT {
            return Err(Refusal::TooManyCallers { limit: MAX_CALLERS_OF_A_TENANT });
        }
    }
    Ok(vec![Proposal {
        subject: Subject::Caller(create.caller),
        event: Event::CallerCreated(create.created.clone()),
        private: Some(create.private.clone()),
    }])
}

/// Decides RotateCaller.
///
/// # Errors
/// [`Refusal`] if the caller is unknown, over, holds more than who asks or lasts longer.
pub fn decide_rotate(
    facts: &impl Facts,
    actor: &Actor,
    rotate: &RotateCaller,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let caller = facts.caller(&rotate.caller).ok_or(Refusal::CallerNotFound)?;
    let maker = check_authority(facts, actor, caller.roles, &caller.tenants)?;
    check_end(maker.as_deref(), caller.expire_time)?;
    if caller.revoke_time.is_some() {
        return Err(Refusal::CallerRevoked);
    }
    if !caller.works_at(now) {
        return Err(Refusal::CallerExpired);
    }
    let event =
        Event::CallerRotated { tag: rotate.tag.clone(), retire_time: now.plus(rotate.overlap) };
    let subject = Subject::Caller(rotate.caller);
    Ok(vec![Proposal { subject, event, private: rotate.private.clone() }])
}

/// Decides RevokeCaller; revoking a revoked caller does nothing.
///
/// # Errors
/// [`Refusal`] if the caller is unknown, holds more than who asks, or is the last admin of everything:
/// only who works on the data directory itself may revoke that one, since they can make another.
pub fn decide_revoke(
    facts: &impl Facts,
    actor: &Actor,
    revoke: &RevokeCaller,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let caller = facts.caller(&revoke.caller).ok_or(Refusal::CallerNotFound)?;
    check_authority(facts, actor, caller.roles, &caller.tenants)?;
    if caller.revoke_time.is_some() {
        return Ok(Vec::new());
    }
    let callers = facts.callers();
    let others = || callers.iter().filter(|(id, _)| *id != revoke.caller);
    let takes_over = |other: &Caller| {
        let lasts = |until| caller.expire_time.is_some_and(|own| own <= until);
        other.governs_all(now) && other.expire_time.is_none_or(lasts)
    };
    let online = actor.mechanism.is_of_a_caller();
    if online && caller.governs_all(now) && !others().any(|(_, other)| takes_over(other)) {
        return Err(Refusal::LastAdmin);
    }
    let subject = Subject::Caller(revoke.caller);
    Ok(vec![Proposal { subject, event: Event::CallerRevoked, private: revoke.private.clone() }])
}

#[cfg(test)]
#[path = "caller_rules_tests.rs"]
mod tests;
