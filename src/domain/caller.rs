//! The caller: an internal service, auditor or operator that calls keyledger. Not a key: its own aggregate.

use std::sync::Arc;

use crate::domain::certificate_name::CertificateName;
use crate::domain::ids::{Position, TenantId};
use crate::domain::tag::KeyTag;
use crate::domain::time::Time;

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
    /// What a client certificate names that speaks for it; none: none does.
    pub certificate_name: Option<CertificateName>,
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
    /// The record that gave it its present secret, which a tag under another pepper does not change; its revocation,
    /// if it was revoked: then no secret counts.
    pub secret_at: Position,
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

    /// Whether it is an admin of everything whose credential works at `now`.
    #[must_use]
    pub fn governs_all(&self, now: Time) -> bool {
        self.roles.include(Role::Admin) && self.tenants.is_empty() && self.works_at(now)
    }
}
