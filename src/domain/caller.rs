//! The caller: an internal service, auditor or operator that calls keyledger. Not a key: its own aggregate.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::event::{Actor, CallerCreated, Event, KeyTag, Mechanism, Proposal, Subject};
use crate::domain::facts::Facts;
use crate::domain::ids::{CallerId, Position, TenantId};
use crate::domain::refusal::Refusal;
use crate::domain::sealed::Private;
use crate::domain::time::Time;

/// The most callers there may be, revoked ones included: keeps the list of them short enough to hold in memory.
pub const MAX_CALLERS: usize = 10_000;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Authenticate keys.
    Authenticator,
    /// Create, change, rotate and revoke keys.
    Issuer,
    /// Put accounts.
    Provisioner,
    /// Read and verify the history.
    Auditor,
    /// Read keys and their use.
    Analyst,
    /// Run the service.
    Operator,
    /// All of these, and callers.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 7] = [
        Role::Authenticator,
        Role::Issuer,
        Role::Provisioner,
        Role::Auditor,
        Role::Analyst,
        Role::Operator,
        Role::Admin,
    ];

    /// The role's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Authenticator => "authenticator",
            Role::Issuer => "issuer",
            Role::Provisioner => "provisioner",
            Role::Auditor => "auditor",
            Role::Analyst => "analyst",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// The set of `roles`.
    #[must_use]
    pub fn of(roles: &[Role]) -> Self {
        Roles(roles.iter().fold(0, |set, role| set | 1 << *role as u8))
    }

    /// The roles in the set, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.0 & (1 << *role as u8) != 0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a holder of the set may act as `role`: admin includes the others.
    #[must_use]
    pub fn include(self, role: Role) -> bool {
        self.0 & (1 << role as u8 | 1 << Role::Admin as u8) != 0
    }
}

/// A secret that a new one has taken the place of, and until when it still works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retiring {
    /// Recognises the old secret.
    pub tag: KeyTag,
    /// From when it no longer works.
    pub retire_time: Time,
}

/// A caller as folded from its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Recognises the secret.
    pub tag: KeyTag,
    /// The secret before, while it still works.
    pub retiring: Option<Retiring>,
    /// What it may do.
    pub roles: Roles,
    /// The tenants it is bound to, sorted; empty: all.
    pub tenants: Arc<[TenantId]>,
    /// When it was created.
    pub create_time: Time,
    /// From when its credential no longer works; none: never.
    pub expire_time: Option<Time>,
    /// When it was revoked.
    pub revoke_time: Option<Time>,
    /// The record of its last change.
    pub position: Position,
    /// The record with its sealed name and owner.
    pub personal_at: Position,
}

impl Caller {
    /// Whether its credential works at `now`.
    #[must_use]
    pub fn works_at(&self, now: Time) -> bool {
        self.revoke_time.is_none() && self.expire_time.is_none_or(|time| now < time)
    }

    /// Whether it may see or touch what belongs to `tenant`.
    #[must_use]
    pub fn may_enter(&self, tenant: &TenantId) -> bool {
        self.tenants.is_empty() || self.tenants.contains(tenant)
    }

    /// Whether it holds at least `roles` over at least `tenants` (empty: all).
    #[must_use]
    pub fn holds(&self, roles: Roles, tenants: &[TenantId]) -> bool {
        let wide_enough = self.tenants.is_empty()
            || (!tenants.is_empty() && tenants.iter().all(|tenant| self.may_enter(tenant)));
        wide_enough && roles.iter().all(|role| self.roles.include(role))
    }

    fn governs_all(&self, now: Time) -> bool {
        self.roles.include(Role::Admin) && self.tenants.is_empty() && self.works_at(now)
    }
}

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

/// A caller grants and manages nothing that it lacks itself; the service and offline operators lack nothing.
fn check_authority(
    facts: &impl Facts,
    actor: &Actor,
    roles: Roles,
    tenants: &[TenantId],
) -> Result<(), Refusal> {
    if actor.mechanism != Mechanism::Bearer {
        return Ok(());
    }
    let maker = actor.caller.and_then(|id| facts.caller(&id)).ok_or(Refusal::GrantExceedsOwn)?;
    if maker.holds(roles, tenants) { Ok(()) } else { Err(Refusal::GrantExceedsOwn) }
}

/// Decides CreateCaller.
///
/// # Errors
/// [`Refusal`] if the maker lacks what it grants, the expiry is past or there are too many callers.
pub fn decide_create(
    facts: &impl Facts,
    actor: &Actor,
    create: &CreateCaller,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    check_authority(facts, actor, create.created.roles, &create.created.tenants)?;
    if create.created.expire_time.is_some_and(|time| time <= now) {
        return Err(Refusal::ExpiryPast);
    }
    if facts.callers().len() >= MAX_CALLERS {
        return Err(Refusal::TooManyCallers { limit: MAX_CALLERS });
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
/// [`Refusal`] if the caller is unknown, over, or holds more than who asks.
pub fn decide_rotate(
    facts: &impl Facts,
    actor: &Actor,
    rotate: &RotateCaller,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let caller = facts.caller(&rotate.caller).ok_or(Refusal::CallerNotFound)?;
    check_authority(facts, actor, caller.roles, &caller.tenants)?;
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
/// [`Refusal`] if the caller is unknown, holds more than who asks, or is the last admin of everything.
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
    if caller.governs_all(now) && !others().any(|(_, other)| other.governs_all(now)) {
        return Err(Refusal::LastAdmin);
    }
    let subject = Subject::Caller(revoke.caller);
    Ok(vec![Proposal { subject, event: Event::CallerRevoked, private: revoke.private.clone() }])
}

#[cfg(test)]
#[path = "caller_tests.rs"]
mod tests;
