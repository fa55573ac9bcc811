//! Records to events. Hostile input is refused, never guessed at.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use crate::domain::account::{AccountState, AccountStatus};
use crate::domain::event::{Actor, Event, KeyCreated, KeyUpdated, Mechanism, Recorded};
use crate::domain::ids::{
    AccountId, AccountRef, CallerId, EventId, KeyId, Position, TenantId, TraceId,
};
use crate::domain::key::RevokeReason;
use crate::domain::key_format::Environment;
use crate::domain::log_state::{LogRestored, LossResolved, Resolution, TreeRoot};
use crate::domain::permission::{Permission, Permissions, PlanName, RoleName};
use crate::domain::personal::{OnBehalfOf, Personal};
use crate::domain::policy::{Plan, Policy};
use crate::domain::requests::{Method, Request};
use crate::domain::sealed::{Commitment, DataKeyId, Private, Sealed};
use crate::domain::signing::{SigningKey, SigningKeyChange, SigningKeyChanged};
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::proto::ledger as wire;
use crate::proto::ledger::record::Event as WireEvent;

use super::uses::decode as uses;
use super::{RECORD_FORMAT, RecordError};
use super::{caller, conduct, peppers};
use RecordError::Field;

/// The event of a record. Address ranges are sealed, so that a bound key comes back
/// [`Sources::Unreadable`] until its ranges are opened.
///
/// # Errors
/// [`RecordError`] if the bytes are no record of a format this program knows.
pub fn decode(bytes: &[u8]) -> Result<Recorded, RecordError> {
    let record = wire::Record::decode(bytes).map_err(|_| RecordError::Malformed)?;
    match record.format {
        RECORD_FORMAT => {}
        0 => return Err(Field("format")),
        newer => return Err(RecordError::Newer(newer)),
    }
    let event_id = EventId(exact(&record.event_id, "event_id")?);
    Ok(Recorded {
        position: Position::new(record.position).ok_or(Field("position"))?,
        event_id,
        time: Time::from_micros(record.record_time),
        previous: Position::new(record.previous_position),
        actor: actor(record.actor.as_ref().ok_or(Field("actor"))?)?,
        trace_id: optional(&record.trace_id, "trace_id")?.map(TraceId),
        request: record.request.as_ref().map(request).transpose()?,
        subject: subject(&record)?,
        private: private(&record, event_id)?,
        event: event(record.event.ok_or(Field("event"))?)?,
    })
}

/// The personal fields of clear bytes that were sealed.
///
/// # Errors
/// [`RecordError::Malformed`] if the bytes are none.
pub fn decode_personal(bytes: &[u8]) -> Result<Personal, RecordError> {
    let message = wire::Personal::decode(bytes).map_err(|_| RecordError::Malformed)?;
    Ok(Personal {
        name: message.name,
        display_name: message.display_name,
        owner: message.owner,
        metadata: message.metadata,
        allowed_cidrs: message.allowed_cidrs,
        comment: message.comment,
        on_behalf_of: message.on_behalf_of.map(|on_behalf_of| OnBehalfOf {
            subject: on_behalf_of.subject,
            ticket: on_behalf_of.ticket,
            note: on_behalf_of.note,
        }),
        sources: message.sources,
        agents: message.agents,
    })
}

pub(super) fn exact<const N: usize>(
    bytes: &[u8],
    field: &'static str,
) -> Result<[u8; N], RecordError> {
    bytes.try_into().map_err(|_| Field(field))
}

pub(super) fn optional<const N: usize>(
    bytes: &[u8],
    field: &'static str,
) -> Result<Option<[u8; N]>, RecordError> {
    if bytes.is_empty() { Ok(None) } else { exact(bytes, field).map(Some) }
}

/// An enum value that this format knows; an unknown one is refused, not read as its default.
pub(super) fn known<E: TryFrom<i32>>(value: i32, field: &'static str) -> Result<E, RecordError> {
    E::try_from(value).map_err(|_| Field(field))
}

fn actor(actor: &wire::Actor) -> Result<Actor, RecordError> {
    let mechanism = match known(actor.mechanism, "actor.mechanism")? {
        wire::Mechanism::Service => Mechanism::Service,
        wire::Mechanism::Bearer => Mechanism::Bearer,
        wire::Mechanism::Offline => Mechanism::Offline,
        wire::Mechanism::ClientCertificate => Mechanism::ClientCertificate,
        wire::Mechanism::Unspecified => return Err(Field("actor.mechanism")),
    };
    let caller = optional(&actor.caller_id, "actor.caller_id")?.map(CallerId);
    Ok(Actor { caller, mechanism })
}

fn request(request: &wire::Request) -> Result<Request, RecordError> {
    Ok(Request {
        id: exact(&request.id, "request.id")?,
        method: Method::from_number(request.method).ok_or(Field("request.method"))?,
        digest: exact(&request.digest, "request.digest")?,
    })
}

fn subject(record: &wire::Record) -> Result<Subject, RecordError> {
    let key = optional(&record.key_id, "key_id")?.map(KeyId);
    let caller = optional(&record.caller_id, "caller_id")?.map(CallerId);
    let account = if record.tenant_id.is_empty() && record.account_id.is_empty() {
        None
    } else {
        Some(Arc::new(AccountRef {
            tenant: TenantId::parse(&record.tenant_id).map_err(|_| Field("tenant_id"))?,
            account: AccountId::parse(&record.account_id).map_err(|_| Field("account_id"))?,
        }))
    };
    match (account, key, caller) {
        (Some(account), Some(key), None) => Ok(Subject::Key(account, key)),
        (Some(account), None, None) => Ok(Subject::Account(account)),
        (None, None, Some(caller)) => Ok(Subject::Caller(caller)),
        (None, None, None) => Ok(Subject::Service),
        _ => Err(Field("key_id")),
    }
}

fn private(record: &wire::Record, event_id: EventId) -> Result<Option<Private>, RecordError> {
    let Some(sealed) = &record.sealed else {
        return if record.commitment.is_empty() { Ok(None) } else { Err(Field("sealed")) };
    };
    let commitment = Commitment(exact(&record.commitment, "commitment")?);
    let sealed = Sealed {
        scheme: sealed.scheme,
        data_key: DataKeyId(sealed.data_key),
        nonce: exact(&sealed.nonce, "sealed.nonce")?,
        ciphertext: sealed.ciphertext.as_slice().into(),
    };
    Ok(Some(Private { event_id, sealed, commitment }))
}

fn event(event: WireEvent) -> Result<Event, RecordError> {
    Ok(match event {
        WireEvent::AccountRegistered(e) => Event::AccountRegistered(account_state(e.state)?),
        WireEvent::AccountChanged(e) => {
            Event::AccountChanged { state: account_state(e.state)?, changed: e.changed }
        }
        WireEvent::AccountErased(_) => Event::AccountErased,
        WireEvent::KeyCreated(e) => Event::KeyCreated(KeyCreated {
            environment: environment(known(e.environment, "environment")?)?,
            tag: peppers::decode_tag(e.tag)?,
            scopes: e.scopes.map(|set| permissions(&set.permissions)).transpose()?,
            expire_time: e.expire_time.map(Time::from_micros),
            sources: sources(e.source_bound),
            replaces: optional(&e.replaces, "replaces")?.map(KeyId),
        }),
        WireEvent::KeyUpdated(e) => Event::KeyUpdated(KeyUpdated {
            scopes: e.scopes.map(|set| permissions(&set.permissions)).transpose()?,
            expire_time: e.expire_time.map(Time::from_micros),
            sources: sources(e.source_bound),
            changed: e.changed,
        }),
        WireEvent::KeyDisabled(_) => Event::KeyDisabled,
        WireEvent::KeyEnabled(_) => Event::KeyEnabled,
        WireEvent::KeyRotated(e) => Event::KeyRotated {
            successor: KeyId(exact(&e.successor, "successor")?),
            retire_time: Time::from_micros(e.retire_time),
            retire_when_idle_for: span(e.retire_when_idle_for, "retire_when_idle_for")?,
            reason: revoke_reason(known(e.reason, "reason")?),
        },
        WireEvent::KeyRevoked(e) => Event::KeyRevoked {
            reason: revoke_reason(known(e.reason, "reason")?),
            leaked: e.leaked,
        },
        WireEvent::KeyRetired(e) => {
            Event::KeyRetired { last_use: e.last_use_time.map(Time::from_micros) }
        }
        WireEvent::KeyRehashed(e) => Event::KeyRehashed { tag: peppers::decode_tag(e.tag)? },
        WireEvent::KeyUsed(e) => Event::KeyUsed(Box::new(uses::key_used(e)?)),
        WireEvent::UnknownKeyTried(e) => {
            Event::UnknownKeyTried(Box::new(uses::unknown_key_tried(e)?))
        }
        WireEvent::UsageGap(e) => Event::UsageGap(uses::usage_gap(&e)?),
        WireEvent::CallerCreated(e) => Event::CallerCreated(caller::decode_created(e)?),
        WireEvent::CallerRotated(e) => Event::CallerRotated {
            tag: peppers::decode_tag(e.tag)?,
            retire_time: Time::from_micros(e.retire_time),
        },
        WireEvent::CallerRevoked(_) => Event::CallerRevoked,
        WireEvent::CallerRehashed(e) => Event::CallerRehashed { tag: peppers::decode_tag(e.tag)? },
        WireEvent::PolicyChanged(e) => Event::PolicyChanged(policy(&e)?),
        WireEvent::PepperRotated(e) => peppers::decode_rotated(&e)?,
        WireEvent::PepperRetired(e) => peppers::decode_retired(&e)?,
        WireEvent::ClockStepped(e) => Event::ClockStepped {
            wall: Time::from_micros(e.wall),
            expected: Time::from_micros(e.expected),
        },
        WireEvent::LogRestored(e) => Event::LogRestored(log_restored(&e)?),
        WireEvent::LossResolved(e) => Event::LossResolved(loss_resolved(&e)?),
        WireEvent::SigningKeyChanged(e) => Event::SigningKeyChanged(signing_key_changed(&e)?),
        WireEvent::AuditRead(e) => Event::AuditRead(Box::new(conduct::decode_read(e)?)),
        WireEvent::CallsRefused(e) => Event::CallsRefused(Box::new(conduct::decode_refused(e)?)),
    })
}

fn log_restored(restored: &wire::LogRestored) -> Result<LogRestored, RecordError> {
    if restored.generation < 2 {
        return Err(Field("generation"));
    }
    let restored_to = Position::new(restored.restored_to).ok_or(Field("restored_to"))?;
    let lost_to = optional_position(restored.lost_to, "lost_to")?;
    if lost_to.is_some_and(|lost_to| lost_to <= restored_to) {
        return Err(Field("lost_to"));
    }
    Ok(LogRestored {
        origin: TreeRoot(exact(&restored.origin, "origin")?),
        generation: restored.generation,
        restored_to,
        root: TreeRoot(exact(&restored.root, "root")?),
        lost_to,
    })
}

fn loss_resolved(resolved: &wire::LossResolved) -> Result<LossResolved, RecordError> {
    let resolution = match known(resolved.resolution, "resolution")? {
        wire::Resolution::Replayed => {
            Resolution::Replayed { root: TreeRoot(exact(&resolved.root, "root")?) }
        }
        wire::Resolution::Accepted if resolved.root.is_empty() => Resolution::Accepted,
        wire::Resolution::Accepted => return Err(Field("root")),
        wire::Resolution::Unspecified => return Err(Field("resolution")),
    };
    Ok(LossResolved {
        generation: resolved.generation,
        first: Position::new(resolved.first).ok_or(Field("first"))?,
        last: optional_position(resolved.last, "last")?,
        resolution,
    })
}

fn signing_key_changed(
    changed: &wire::SigningKeyChanged,
) -> Result<SigningKeyChanged, RecordError> {
    let change = match known(changed.change, "change")? {
        wire::SigningKeyChange::First => SigningKeyChange::First,
        wire::SigningKeyChange::Added => SigningKeyChange::Added,
        wire::SigningKeyChange::Retired => SigningKeyChange::Retired,
        wire::SigningKeyChange::Lost => SigningKeyChange::Lost,
        wire::SigningKeyChange::Unspecified => return Err(Field("change")),
    };
    Ok(SigningKeyChanged { key: SigningKey(exact(&changed.public_key, "public_key")?), change })
}

fn optional_position(
    number: Option<u64>,
    field: &'static str,
) -> Result<Option<Position>, RecordError> {
    number.map(|number| Position::new(number).ok_or(Field(field))).transpose()
}

/// A span, if there is one; one of nothing is none that was written.
fn span(micros: Option<u64>, field: &'static str) -> Result<Option<Duration>, RecordError> {
    match micros {
        Some(0) => Err(Field(field)),
        micros => Ok(micros.map(Duration::from_micros)),
    }
}

fn account_state(state: Option<wire::AccountState>) -> Result<AccountState, RecordError> {
    let state = state.ok_or(Field("state"))?;
    let status = match known(state.status, "status")? {
        wire::AccountStatus::Active => AccountStatus::Active,
        wire::AccountStatus::Suspended => AccountStatus::Suspended,
        wire::AccountStatus::Closed => AccountStatus::Closed,
        wire::AccountStatus::Unspecified => return Err(Field("status")),
    };
    let roles = state.roles.iter().map(|role| RoleName::parse(role).map_err(|_| Field("roles")));
    Ok(AccountState {
        plan: PlanName::parse(&state.plan).map_err(|_| Field("plan"))?,
        permissions: permissions(&state.permissions)?,
        roles: roles.collect::<Result<_, _>>()?,
        status,
    })
}

fn policy(changed: &wire::PolicyChanged) -> Result<Policy, RecordError> {
    let mut policy = Policy::default();
    for plan in &changed.plans {
        let name = PlanName::parse(&plan.name).map_err(|_| Field("plans"))?;
        let &wire::Plan { active_keys, requests_per_minute, .. } = plan;
        let plan = Plan { active_keys, requests_per_minute };
        if !plan.is_in_bounds() {
            return Err(Field("plans"));
        }
        policy.plans.insert(name, plan);
    }
    for role in &changed.roles {
        let name = RoleName::parse(&role.name).map_err(|_| Field("roles"))?;
        policy.roles.insert(name, permissions(&role.permissions)?);
    }
    Ok(policy)
}

fn permissions(words: &[String]) -> Result<Permissions, RecordError> {
    let words = words.iter().map(|word| Permission::parse(word).map_err(|_| Field("permissions")));
    Ok(Permissions::new(words.collect::<Result<_, _>>()?))
}

fn sources(bound: bool) -> Sources {
    if bound { Sources::Unreadable } else { Sources::Any }
}

fn environment(environment: wire::Environment) -> Result<Environment, RecordError> {
    match environment {
        wire::Environment::Live => Ok(Environment::Live),
        wire::Environment::Test => Ok(Environment::Test),
        wire::Environment::Unspecified => Err(Field("environment")),
    }
}

fn revoke_reason(reason: wire::RevokeReason) -> RevokeReason {
    match reason {
        wire::RevokeReason::Unspecified => RevokeReason::Unspecified,
        wire::RevokeReason::KeyCompromise => RevokeReason::KeyCompromise,
        wire::RevokeReason::Superseded => RevokeReason::Superseded,
        wire::RevokeReason::CessationOfOperation => RevokeReason::CessationOfOperation,
        wire::RevokeReason::AffiliationChanged => RevokeReason::AffiliationChanged,
        wire::RevokeReason::PrivilegeWithdrawn => RevokeReason::PrivilegeWithdrawn,
    }
}
