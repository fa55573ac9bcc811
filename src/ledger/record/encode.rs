//! Events to records.

use std::time::Duration;

use prost::Message;
use zeroize::Zeroizing;

use crate::domain::account::{AccountState, AccountStatus};
use crate::domain::event::{Event, KeyUpdated, Mechanism, Recorded};
use crate::domain::ids::{AccountRef, Position};
use crate::domain::key::RevokeReason;
use crate::domain::key_format::Environment;
use crate::domain::log_state::{LogRestored, LossResolved, Resolution};
use crate::domain::permission::Permissions;
use crate::domain::personal::Personal;
use crate::domain::policy::Policy;
use crate::domain::signing::{SigningKeyChange, SigningKeyChanged};
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::proto::ledger as wire;
use crate::proto::ledger::record::Event as WireEvent;

use super::uses::encode as uses;
use super::{RECORD_FORMAT, SALT_BYTES};
use super::{caller, conduct, peppers};

/// The record of an event.
#[must_use]
pub fn encode(fact: &Recorded) -> Vec<u8> {
    let mut record = wire::Record {
        format: RECORD_FORMAT,
        position: fact.position.get(),
        event_id: fact.event_id.0.to_vec(),
        record_time: fact.time.as_micros(),
        previous_position: fact.previous.map_or(0, Position::get),
        actor: Some(wire::Actor {
            caller_id: fact.actor.caller.map(|id| id.0.to_vec()).unwrap_or_default(),
            mechanism: mechanism(fact.actor.mechanism).into(),
        }),
        trace_id: fact.trace_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        request: fact.request.as_ref().map(|request| wire::Request {
            id: request.id.to_vec(),
            method: request.method.number(),
            digest: request.digest.to_vec(),
        }),
        event: Some(event(&fact.event)),
        ..wire::Record::default()
    };
    put_subject(&mut record, &fact.subject);
    if let Some(private) = &fact.private {
        record.commitment = private.commitment.0.to_vec();
        record.sealed = Some(wire::Sealed {
            scheme: private.sealed.scheme,
            data_key: private.sealed.data_key.0,
            nonce: private.sealed.nonce.to_vec(),
            ciphertext: private.sealed.ciphertext.to_vec(),
        });
    }
    record.encode_to_vec()
}

/// The clear bytes that are sealed: the personal fields behind a random salt.
#[must_use]
pub fn encode_personal(personal: &Personal, salt: [u8; SALT_BYTES]) -> Zeroizing<Vec<u8>> {
    let message = wire::Personal {
        salt: salt.to_vec(),
        name: personal.name.clone(),
        display_name: personal.display_name.clone(),
        owner: personal.owner.clone(),
        metadata: personal.metadata.clone(),
        allowed_cidrs: personal.allowed_cidrs.clone(),
        comment: personal.comment.clone(),
        on_behalf_of: personal.on_behalf_of.as_ref().map(|on_behalf_of| wire::OnBehalfOf {
            subject: on_behalf_of.subject.clone(),
            ticket: on_behalf_of.ticket.clone(),
            note: on_behalf_of.note.clone(),
        }),
        sources: personal.sources.clone(),
        agents: personal.agents.clone(),
    };
    Zeroizing::new(message.encode_to_vec())
}

fn put_subject(record: &mut wire::Record, subject: &Subject) {
    let mut put_account = |account: &AccountRef| {
        record.tenant_id = account.tenant.as_str().to_owned();
        record.account_id = account.account.as_str().to_owned();
    };
    match subject {
        Subject::Key(account, key) => {
            put_account(account);
            record.key_id = key.0.to_vec();
        }
        Subject::Account(account) => put_account(account),
        Subject::Caller(caller) => record.caller_id = caller.0.to_vec(),
        Subject::Service => {}
    }
}

fn event(event: &Event) -> WireEvent {
    match event {
        Event::AccountRegistered(state) => WireEvent::AccountRegistered(wire::AccountRegistered {
            state: Some(account_state(state)),
        }),
        Event::AccountChanged { state, changed } => {
            WireEvent::AccountChanged(wire::AccountChanged {
                state: Some(account_state(state)),
                changed: changed.clone(),
            })
        }
        Event::AccountErased => WireEvent::AccountErased(wire::AccountErased {}),
        Event::KeyCreated(created) => WireEvent::KeyCreated(wire::KeyCreated {
            tag: Some(peppers::encode_tag(&created.tag)),
            environment: environment(created.environment).into(),
            scopes: created.scopes.as_ref().map(permissions),
            expire_time: created.expire_time.map(|time| time.as_micros()),
            source_bound: created.sources != Sources::Any,
            replaces: created.replaces.map(|key| key.0.to_vec()).unwrap_or_default(),
        }),
        Event::KeyUpdated(updated) => WireEvent::KeyUpdated(key_updated(updated)),
        Event::KeyDisabled => WireEvent::KeyDisabled(wire::KeyDisabled {}),
        Event::KeyEnabled => WireEvent::KeyEnabled(wire::KeyEnabled {}),
        Event::KeyRotated { successor, retire_time, retire_when_idle_for, reason } => {
            WireEvent::KeyRotated(wire::KeyRotated {
                successor: successor.0.to_vec(),
                retire_time: retire_time.as_micros(),
                reason: revoke_reason(*reason).into(),
                retire_when_idle_for: retire_when_idle_for.map(micros),
            })
        }
        Event::KeyRevoked { reason, leaked } => WireEvent::KeyRevoked(wire::KeyRevoked {
            reason: revoke_reason(*reason).into(),
            leaked: *leaked,
        }),
        Event::KeyRetired { last_use } => {
            WireEvent::KeyRetired(wire::KeyRetired { last_use_time: last_use.map(Time::as_micros) })
        }
        Event::KeyRehashed { tag } => peppers::encode_key_rehashed(tag),
        Event::KeyUsed(used) => WireEvent::KeyUsed(uses::key_used(used)),
        Event::UnknownKeyTried(tried) => WireEvent::UnknownKeyTried(uses::unknown_key_tried(tried)),
        Event::UsageGap(gap) => WireEvent::UsageGap(uses::usage_gap(gap)),
        Event::CallerCreated(created) => WireEvent::CallerCreated(caller::encode_created(created)),
        Event::CallerRotated { tag, retire_time } => {
            WireEvent::CallerRotated(wire::CallerRotated {
                tag: Some(peppers::encode_tag(tag)),
                retire_time: retire_time.as_micros(),
            })
        }
        Event::CallerRevoked => WireEvent::CallerRevoked(wire::CallerRevoked {}),
        Event::CallerRehashed { tag } => peppers::encode_caller_rehashed(tag),
        Event::PolicyChanged(policy) => WireEvent::PolicyChanged(policy_changed(policy)),
        Event::PepperRotated { version, check } => peppers::encode_rotated(*version, *check),
        Event::PepperRetired { version, ended } => peppers::encode_retired(*version, *ended),
        Event::ClockStepped { wall, expected } => WireEvent::ClockStepped(wire::ClockStepped {
            wall: wall.as_micros(),
            expected: expected.as_micros(),
        }),
        Event::LogRestored(restored) => WireEvent::LogRestored(log_restored(restored)),
        Event::LossResolved(resolved) => WireEvent::LossResolved(loss_resolved(resolved)),
        Event::SigningKeyChanged(changed) => signing_key_changed(changed),
        Event::AuditRead(read) => WireEvent::AuditRead(conduct::encode_read(read)),
        Event::CallsRefused(refused) => WireEvent::CallsRefused(conduct::encode_refused(refused)),
    }
}

fn key_updated(updated: &KeyUpdated) -> wire::KeyUpdated {
    wire::KeyUpdated {
        scopes: updated.scopes.as_ref().map(permissions),
        expire_time: updated.expire_time.map(|time| time.as_micros()),
        source_bound: updated.sources != Sources::Any,
        changed: updated.changed.clone(),
    }
}

fn log_restored(restored: &LogRestored) -> wire::LogRestored {
    wire::LogRestored {
        origin: restored.origin.0.to_vec(),
        generation: restored.generation,
        restored_to: restored.restored_to.get(),
        root: restored.root.0.to_vec(),
        lost_to: restored.lost_to.map(Position::get),
    }
}

fn loss_resolved(resolved: &LossResolved) -> wire::LossResolved {
    let (resolution, root) = match resolved.resolution {
        Resolution::Replayed { root } => (wire::Resolution::Replayed, root.0.to_vec()),
        Resolution::Accepted => (wire::Resolution::Accepted, Vec::new()),
    };
    wire::LossResolved {
        generation: resolved.generation,
        first: resolved.first.get(),
        last: resolved.last.map(Position::get),
        resolution: resolution.into(),
        root,
    }
}

fn signing_key_changed(changed: &SigningKeyChanged) -> WireEvent {
    let change = match changed.change {
        SigningKeyChange::First => wire::SigningKeyChange::First,
        SigningKeyChange::Added => wire::SigningKeyChange::Added,
        SigningKeyChange::Retired => wire::SigningKeyChange::Retired,
        SigningKeyChange::Lost => wire::SigningKeyChange::Lost,
    };
    let public_key = changed.key.0.to_vec();
    WireEvent::SigningKeyChanged(wire::SigningKeyChanged { public_key, change: change.into() })
}

fn account_state(state: &AccountState) -> wire::AccountState {
    let status = match state.status {
        AccountStatus::Active => wire::AccountStatus::Active,
        AccountStatus::Suspended => wire::AccountStatus::Suspended,
        AccountStatus::Closed => wire::AccountStatus::Closed,
    };
    wire::AccountState {
        plan: state.plan.as_str().to_owned(),
        permissions: words(&state.permissions),
        roles: state.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        status: status.into(),
    }
}

fn policy_changed(policy: &Policy) -> wire::PolicyChanged {
    let plans = policy.plans.iter().map(|(name, plan)| wire::Plan {
        name: name.as_str().to_owned(),
        active_keys: plan.active_keys,
        requests_per_minute: plan.requests_per_minute,
    });
    let roles = policy.roles.iter().map(|(name, granted)| wire::RoleDefinition {
        name: name.as_str().to_owned(),
        permissions: words(granted),
    });
    wire::PolicyChanged { plans: plans.collect(), roles: roles.collect() }
}

fn permissions(set: &Permissions) -> wire::Permissions {
    wire::Permissions { permissions: words(set) }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn words(set: &Permissions) -> Vec<String> {
    set.iter().map(|word| word.as_str().to_owned()).collect()
}

fn environment(environment: Environment) -> wire::Environment {
    match environment {
        Environment::Live => wire::Environment::Live,
        Environment::Test => wire::Environment::Test,
        Environment::Service => wire::Environment::Unspecified,
    }
}

fn mechanism(mechanism: Mechanism) -> wire::Mechanism {
    match mechanism {
        Mechanism::Service => wire::Mechanism::Service,
        Mechanism::Bearer => wire::Mechanism::Bearer,
        Mechanism::Offline => wire::Mechanism::Offline,
        Mechanism::ClientCertificate => wire::Mechanism::ClientCertificate,
    }
}

fn revoke_reason(reason: RevokeReason) -> wire::RevokeReason {
    match reason {
        RevokeReason::Unspecified => wire::RevokeReason::Unspecified,
        RevokeReason::KeyCompromise => wire::RevokeReason::KeyCompromise,
        RevokeReason::Superseded => wire::RevokeReason::Superseded,
        RevokeReason::CessationOfOperation => wire::RevokeReason::CessationOfOperation,
        RevokeReason::AffiliationChanged => wire::RevokeReason::AffiliationChanged,
        RevokeReason::PrivilegeWithdrawn => wire::RevokeReason::PrivilegeWithdrawn,
    }
}
