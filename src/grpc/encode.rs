//! From the types of the house to the messages of the wire.

use std::time::Duration;

use prost_types::Timestamp;

use crate::app::accounts::AccountView;
use crate::app::authenticate::Principal;
use crate::app::callers::CallerView;
use crate::app::key_view::KeyView;
use crate::domain::certificate_name::CertificateName;
use crate::domain::ids::Position;
use crate::domain::key::KeyState;
use crate::domain::key_format::KeyText;
use crate::domain::notices::Notices;
use crate::domain::permission::Permissions;
use crate::domain::rate_window::RateLimit;
use crate::domain::time::Time;
use crate::grpc::enums;
use crate::proto::v1;

const MICROS: i64 = 1_000_000;

/// An instant.
pub(super) fn time(time: Time) -> Timestamp {
    let micros = time.as_micros();
    let below = micros.rem_euclid(MICROS) * 1000;
    let nanos = i32::try_from(below).expect("a part of a second is under 1e9 nanoseconds");
    Timestamp { seconds: micros.div_euclid(MICROS), nanos }
}

/// A span.
pub(super) fn span(span: Duration) -> prost_types::Duration {
    let nanos =
        i32::try_from(span.subsec_nanos()).expect("a part of a second is under 1e9 nanoseconds");
    prost_types::Duration { seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), nanos }
}

/// A position; 0 for none.
pub(super) fn position(position: Option<Position>) -> u64 {
    position.map_or(0, Position::get)
}

/// A secret in the one answer that shows it; empty if it was shown before.
pub(super) fn shown_once(secret: Option<&KeyText>) -> String {
    secret.map(|secret| secret.expose().to_owned()).unwrap_or_default()
}

/// The words of a set of permissions.
pub(super) fn words(permissions: &Permissions) -> Vec<String> {
    permissions.iter().map(|word| word.as_str().to_owned()).collect()
}

/// A key.
pub(super) fn key(view: KeyView) -> v1::Key {
    let KeyView { id, key, personal, state, uses, hint, erased } = view;
    let (life, rotation) = (key.life.as_deref(), key.rotation());
    let waits = matches!(state, KeyState::Retiring | KeyState::Disabled);
    let idle_for = rotation.and_then(|rotation| rotation.retire_when_idle_for).filter(|_| waits);
    let revocation = life.and_then(|life| life.revocation.as_ref());
    let scopes = key.scopes().map(|scopes| v1::Scopes { permissions: words(scopes) });
    v1::Key {
        key_id: id.to_string(),
        tenant_id: key.account.tenant.to_string(),
        account_id: key.account.account.to_string(),
        name: personal.name.clone(),
        hint,
        scopes,
        environment: key.environment.as_str().to_owned(),
        state: enums::key_state(state).into(),
        create_time: Some(time(key.create_time)),
        created_by: key.created_by.map(|id| id.to_string()).unwrap_or_default(),
        expire_time: key.expire_time().map(time),
        retire_time: rotation.map(|rotation| time(rotation.retire_time)),
        revoke_time: revocation.map(|revocation| time(revocation.time)),
        revoke_reason: revocation
            .map_or(0, |revocation| enums::revoke_reason(revocation.reason).into()),
        replaces: life.and_then(|life| life.replaces).map(|id| id.to_string()).unwrap_or_default(),
        replaced_by: rotation.map(|rotation| rotation.successor.to_string()).unwrap_or_default(),
        allowed_cidrs: personal.allowed_cidrs.clone(),
        metadata: personal.metadata.clone(),
        position: key.position().get(),
        last_use_time: uses.last_use.map(time),
        use_count: uses.allowed,
        last_denied_time: uses.last_denied.map(time),
        denied_count: uses.denied,
        retire_when_idle_for: idle_for.map(span),
        erased,
    }
}

/// An account.
pub(super) fn account(view: AccountView) -> v1::Account {
    let AccountView { name, account, display_name, erased } = view;
    let state = &account.state;
    v1::Account {
        tenant_id: name.tenant.to_string(),
        account_id: name.account.to_string(),
        display_name,
        plan: state.plan.to_string(),
        permissions: words(&state.permissions),
        roles: state.roles.iter().map(ToString::to_string).collect(),
        status: enums::account_status(state.status).into(),
        create_time: Some(time(account.create_time)),
        update_time: Some(time(account.update_time)),
        position: account.position.get(),
        erased,
    }
}

/// The name that speaks for a caller, if it is of the kind asked for; else empty.
pub(super) fn certificate_name(
    name: Option<&CertificateName>,
    of_kind: fn(&CertificateName) -> Option<&str>,
) -> String {
    name.and_then(of_kind).unwrap_or_default().to_owned()
}

/// A caller.
pub(super) fn caller(view: &CallerView) -> v1::Caller {
    let CallerView { id, caller, personal, last_use, retire_time } = view;
    v1::Caller {
        caller_id: id.to_string(),
        name: personal.name.clone(),
        owner: personal.owner.clone(),
        roles: caller.roles.iter().map(|role| enums::role(role).into()).collect(),
        tenants: caller.tenants.iter().map(ToString::to_string).collect(),
        spiffe_id: certificate_name(caller.certificate_name.as_ref(), CertificateName::spiffe_id),
        san: certificate_name(caller.certificate_name.as_ref(), CertificateName::dns),
        create_time: Some(time(caller.create_time)),
        expire_time: caller.expire_time.map(time),
        revoke_time: caller.revoke_time.map(time),
        last_use_time: last_use.map(time),
        retire_time: retire_time.map(time),
        position: caller.position.get(),
    }
}

/// Who a key speaks for.
pub(super) fn principal(principal: &Principal) -> v1::Principal {
    v1::Principal {
        key_id: principal.key_id.to_string(),
        key_name: principal.personal.name.clone(),
        tenant_id: principal.account.tenant.as_str().to_owned(),
        account_id: principal.account.account.as_str().to_owned(),
        environment: principal.environment.as_str().to_owned(),
        roles: principal.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        permissions: words(&principal.permissions),
        plan: principal.plan.as_str().to_owned(),
        expire_time: principal.expire_time.map(time),
        metadata: principal.personal.metadata.clone(),
    }
}

/// What the holder of a key should know; nothing is allocated if that is nothing.
pub(super) fn notices(notices: &Notices) -> Vec<v1::KeyNotice> {
    let Notices { expires_soon, superseded } = notices;
    let told = [(v1::Notice::ExpiresSoon, expires_soon), (v1::Notice::Superseded, superseded)];
    let told = told.into_iter().filter_map(|(notice, at)| {
        at.map(|at| v1::KeyNotice { notice: notice.into(), time: Some(time(at)) })
    });
    told.collect()
}

/// What an account has left of its limit.
pub(super) fn rate_limit(left: &RateLimit) -> v1::RateLimit {
    v1::RateLimit {
        limit: left.limit,
        remaining: left.remaining,
        reset_after: Some(span(left.reset_after)),
        retry_after: left.retry_after.map(span),
    }
}
