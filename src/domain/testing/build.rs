//! Builders of names, policies and commands, with defaults that a test changes where it matters.

use std::sync::Arc;

use crate::domain::account_rules::PutAccount;
use crate::domain::caller::{Caller, Role, Roles};
use crate::domain::caller_rules::CreateCaller;
use crate::domain::certificate_name::{CertificateName, SpiffeId};
use crate::domain::command::{Act, Command};
use crate::domain::event::{Actor, CallerCreated, KeyCreated, Mechanism};
use crate::domain::ids::{
    AccountId, AccountRef, CallerId, EventId, KeyId, PepperVersion, Position, TenantId,
};
use crate::domain::key::RevokeReason;
use crate::domain::key_format::Environment;
use crate::domain::key_rules::{CreateKey, RevokeKey, SwitchKey};
use crate::domain::permission::{Permission, Permissions, PlanName, RoleName};
use crate::domain::policy::{Plan, Policy};
use crate::domain::requests::Request;
use crate::domain::sealed::{Commitment, DataKeyId, Private, Sealed};
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::tag::KeyTag;
use crate::domain::tag::Tag;
use crate::domain::time::Time;

/// The caller that acts unless a test says otherwise; a new world has it as an admin of everything.
pub(crate) const ADMIN: CallerId = CallerId([0xad; 12]);

/// `seconds` after the time the tests begin at.
pub(crate) fn at(seconds: i64) -> Time {
    Time::from_micros((1_000_000_000 + seconds) * 1_000_000)
}

/// The plans `standard` (5 keys), `tiny` (1, and 2 requests a minute) and `enterprise` (any number, and 60,000);
/// the role `reader` (`reports:read`).
pub(crate) fn policy() -> Policy {
    let plan = |name, active_keys, requests_per_minute| {
        (plan_name(name), Plan { active_keys, requests_per_minute })
    };
    Policy {
        plans: [
            plan("standard", Some(5), None),
            plan("tiny", Some(1), Some(2)),
            plan("enterprise", None, Some(60_000)),
        ]
        .into(),
        roles: [(role_name("reader"), permissions(&["reports:read"]))].into(),
    }
}

pub(crate) fn plan_name(name: &str) -> PlanName {
    PlanName::parse(name).expect("valid")
}

pub(crate) fn role_name(name: &str) -> RoleName {
    RoleName::parse(name).expect("valid")
}

pub(crate) fn permissions(words: &[&str]) -> Permissions {
    Permissions::new(words.iter().map(|word| Permission::parse(word).expect("valid")).collect())
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("valid")
}

/// The account `name` of the tenant `acme`.
pub(crate) fn account(name: &str) -> Arc<AccountRef> {
    let account = AccountId::parse(name).expect("valid");
    Arc::new(AccountRef { tenant: tenant("acme"), account })
}

pub(crate) fn key_id(n: u8) -> KeyId {
    KeyId([n; 12])
}

pub(crate) fn caller_id(n: u8) -> CallerId {
    CallerId([n; 12])
}

pub(crate) fn key_subject(name: &str, key: u8) -> Subject {
    Subject::Key(account(name), key_id(key))
}

pub(crate) fn tag(n: u8) -> KeyTag {
    KeyTag { pepper: PepperVersion(1), tag: Tag::from_bytes([n; 32]) }
}

pub(crate) fn private() -> Private {
    let sealed =
        Sealed { scheme: 1, data_key: DataKeyId(1), nonce: [2; 12], ciphertext: [3; 40].into() };
    Private { event_id: EventId([1; 16]), sealed, commitment: Commitment([4; 32]) }
}

/// Registers `acme/<name>` on the plan `standard`.
pub(crate) fn put(name: &str) -> PutAccount {
    PutAccount {
        account: account(name),
        plan: Some(plan_name("standard")),
        permissions: None,
        roles: None,
        status: None,
        renamed: false,
        basis: None,
        expected: None,
        private: private(),
    }
}

/// Creates a key in `acme/<name>` that has all of the account's permissions and never expires.
pub(crate) fn create(name: &str, key: u8) -> CreateKey {
    CreateKey {
        account: account(name),
        key: key_id(key),
        created: created(key),
        private: private(),
    }
}

pub(crate) fn created(key: u8) -> KeyCreated {
    KeyCreated {
        tag: tag(key),
        environment: Environment::Live,
        scopes: None,
        expire_time: None,
        sources: Sources::Any,
        replaces: None,
    }
}

pub(crate) fn switch(key: u8) -> SwitchKey {
    SwitchKey { key: key_id(key), private: None }
}

pub(crate) fn revoke(key: u8) -> RevokeKey {
    let reason = RevokeReason::KeyCompromise;
    RevokeKey { key: key_id(key), reason, leaked: false, private: None }
}

/// The name of a certificate with this SPIFFE id.
pub(crate) fn spiffe(id: &str) -> CertificateName {
    CertificateName::Spiffe(SpiffeId::parse(id).expect("valid"))
}

/// A caller with these roles, bound to these tenants (none: all).
pub(crate) fn caller(roles: &[Role], tenants: &[&str]) -> CallerCreated {
    let tenants = tenants.iter().map(|name| tenant(name)).collect();
    let roles = Roles::of(roles);
    CallerCreated { tag: tag(9), roles, tenants, expire_time: None, certificate_name: None }
}

/// An admin of everything that works, as folded.
pub(crate) fn working_admin() -> Caller {
    let created = caller(&[Role::Admin], &[]);
    Caller {
        tag: created.tag,
        retiring: None,
        roles: created.roles,
        tenants: created.tenants,
        certificate_name: None,
        create_time: at(0),
        expire_time: None,
        revoke_time: None,
        position: Position::FIRST,
        personal_at: Position::FIRST,
        secret_at: Position::FIRST,
    }
}

pub(crate) fn create_caller(n: u8, created: CallerCreated) -> CreateCaller {
    CreateCaller { caller: caller_id(n), created, private: private() }
}

pub(crate) fn admin() -> Actor {
    bearer(ADMIN)
}

pub(crate) fn bearer(caller: CallerId) -> Actor {
    Actor { caller: Some(caller), mechanism: Mechanism::Bearer }
}

pub(crate) fn the_service() -> Actor {
    Actor { caller: None, mechanism: Mechanism::Service }
}

/// A command without a request id.
pub(crate) fn by(actor: Actor, act: Act) -> Command {
    Command { act, actor, trace_id: None, request: None }
}

/// A command of the admin with a request id.
pub(crate) fn named(act: Act, request: Request) -> Command {
    Command { request: Some(request), ..by(admin(), act) }
}
