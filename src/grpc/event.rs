//! Events of the log as messages of the wire.

mod conduct;
mod usage;

use crate::app::audit::{AuditEntry, Disclosed};
use crate::domain::account::AccountState;
use crate::domain::certificate_name::CertificateName;
use crate::domain::event::{Actor, Event, KeyCreated, KeyUpdated, Mechanism, Recorded};
use crate::domain::ids::{KeyId, Position};
use crate::domain::log_state::{LogRestored, LossResolved, Resolution};
use crate::domain::personal::OnBehalfOf;
use crate::domain::policy::Policy;
use crate::domain::signing::{SigningKeyChange, SigningKeyChanged};
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::grpc::encode::{certificate_name, position, span, time, words};
use crate::grpc::enums;
use crate::proto::v1;
use crate::proto::v1::event::Kind;

/// A record and what it says.
pub(super) fn audit_event(entry: &AuditEntry) -> v1::AuditEvent {
    v1::AuditEvent {
        position: entry.fact.position.get(),
        record: entry.record.clone(),
        event: Some(event(entry)),
        disclosure: entry.disclosed.as_ref().map(disclosure),
        erased: entry.erased,
    }
}

fn event(entry: &AuditEntry) -> v1::Event {
    let fact = &entry.fact;
    let personal = entry.disclosed.as_ref().map(|disclosed| &disclosed.personal);
    let (account, key, caller) = match &fact.subject {
        Subject::Key(account, key) => (Some(account), Some(key), None),
        Subject::Account(account) => (Some(account), None, None),
        Subject::Caller(caller) => (None, None, Some(caller)),
        Subject::Service => (None, None, None),
    };
    v1::Event {
        position: fact.position.get(),
        event_id: hex(&fact.event_id.0),
        record_time: Some(time(fact.time)),
        previous_position: position(fact.previous),
        tenant_id: account.map(|account| account.tenant.to_string()).unwrap_or_default(),
        account_id: account.map(|account| account.account.to_string()).unwrap_or_default(),
        key_id: key.map(ToString::to_string).unwrap_or_default(),
        caller_id: caller.map(ToString::to_string).unwrap_or_default(),
        actor: Some(actor(
            &fact.actor,
            personal.and_then(|personal| personal.on_behalf_of.as_ref()),
        )),
        trace_id: fact.trace_id.map(|trace| hex(&trace.0)).unwrap_or_default(),
        request_id: request_id(fact),
        kind: Some(kind(&fact.event)),
    }
}

fn request_id(fact: &Recorded) -> String {
    let id = fact.request.map(|request| uuid::Uuid::from_bytes(request.id).to_string());
    id.unwrap_or_default()
}

fn actor(actor: &Actor, on_behalf_of: Option<&OnBehalfOf>) -> v1::Actor {
    let mechanism = match actor.mechanism {
        Mechanism::Service => v1::Mechanism::Service,
        Mechanism::Bearer => v1::Mechanism::Bearer,
        Mechanism::Offline => v1::Mechanism::Offline,
        Mechanism::ClientCertificate => v1::Mechanism::ClientCertificate,
    };
    v1::Actor {
        caller_id: actor.caller.map(|caller| caller.to_string()).unwrap_or_default(),
        mechanism: mechanism.into(),
        on_behalf_of: on_behalf_of.map(|said| v1::OnBehalfOf {
            subject: said.subject.clone(),
            ticket: said.ticket.clone(),
            note: said.note.clone(),
        }),
    }
}

fn disclosure(disclosed: &Disclosed) -> v1::Disclosure {
    let personal = disclosed.personal.clone();
    v1::Disclosure {
        personal: disclosed.clear.to_vec(),
        salt: disclosed.salt.to_vec(),
        name: personal.name,
        display_name: personal.display_name,
        owner: personal.owner,
        metadata: personal.metadata,
        allowed_cidrs: personal.allowed_cidrs,
        comment: personal.comment,
        sources: personal.sources,
        agents: personal.agents,
    }
}

fn kind(event: &Event) -> Kind {
    match event {
        Event::AccountRegistered(state) => {
            Kind::AccountRegistered(v1::AccountRegistered { state: Some(account_state(state)) })
        }
        Event::AccountChanged { state, changed } => Kind::AccountChanged(v1::AccountChanged {
            state: Some(account_state(state)),
            changed: changed.clone(),
        }),
        Event::AccountErased => Kind::AccountErased(v1::AccountErased {}),
        Event::KeyCreated(created) => Kind::KeyCreated(key_created(created)),
        Event::KeyUpdated(updated) => Kind::KeyUpdated(key_updated(updated)),
        Event::KeyDisabled => Kind::KeyDisabled(v1::KeyDisabled {}),
        Event::KeyEnabled => Kind::KeyEnabled(v1::KeyEnabled {}),
        Event::KeyRotated { successor, retire_time, retire_when_idle_for, reason } => {
            Kind::KeyRotated(v1::KeyRotated {
                successor: successor.to_string(),
                retire_time: Some(time(*retire_time)),
                reason: enums::revoke_reason(*reason).into(),
                retire_when_idle_for: retire_when_idle_for.map(span),
            })
        }
        Event::KeyRetired { last_use } => {
            Kind::KeyRetired(v1::KeyRetired { last_use_time: last_use.map(time) })
        }
        Event::KeyRevoked { reason, leaked } => Kind::KeyRevoked(v1::KeyRevoked {
            reason: enums::revoke_reason(*reason).into(),
            leaked: *leaked,
        }),
        Event::KeyRehashed { tag } => {
            Kind::KeyRehashed(v1::KeyRehashed { pepper_version: tag.pepper.0.into() })
        }
        Event::KeyUsed(used) => Kind::KeyUsed(usage::key_used(used)),
        Event::UnknownKeyTried(tried) => Kind::UnknownKeyTried(usage::unknown_key_tried(tried)),
        Event::UsageGap(gap) => Kind::UsageGap(usage::gap(gap)),
        Event::CallerCreated(created) => Kind::CallerCreated(v1::CallerCreated {
            roles: created.roles.iter().map(|role| enums::role(role).into()).collect(),
            tenants: created.tenants.iter().map(ToString::to_string).collect(),
            expire_time: created.expire_time.map(time),
            spiffe_id: certificate_name(
                created.certificate_name.as_ref(),
                CertificateName::spiffe_id,
            ),
            san: certificate_name(created.certificate_name.as_ref(), CertificateName::dns),
        }),
        Event::CallerRotated { tag: _, retire_time } => {
            Kind::CallerRotated(v1::CallerRotated { retire_time: Some(time(*retire_time)) })
        }
        Event::CallerRevoked => Kind::CallerRevoked(v1::CallerRevoked {}),
        Event::CallerRehashed { tag } => {
            Kind::CallerRehashed(v1::CallerRehashed { pepper_version: tag.pepper.0.into() })
        }
        Event::PolicyChanged(policy) => Kind::PolicyChanged(policy_changed(policy)),
        Event::PepperRotated { version, check: _ } => {
            Kind::PepperRotated(v1::PepperRotated { version: version.0.into() })
        }
        Event::PepperRetired { version, ended } => Kind::PepperRetired(v1::PepperRetired {
            version: version.0.into(),
            ended_keys: ended.keys,
            ended_callers: ended.callers,
        }),
        Event::ClockStepped { wall, expected } => Kind::ClockStepped(v1::ClockStepped {
            wall_time: Some(time(*wall)),
            expected_time: Some(time(*expected)),
        }),
        Event::LogRestored(restored) => Kind::LogRestored(log_restored(restored)),
        Event::LossResolved(resolved) => Kind::LossResolved(loss_resolved(resolved)),
        Event::SigningKeyChanged(changed) => Kind::SigningKeyChanged(signing_key_changed(changed)),
        Event::AuditRead(read) => Kind::AuditRead(conduct::audit_read(read)),
        Event::CallsRefused(refused) => Kind::CallsRefused(conduct::calls_refused(refused)),
    }
}

fn account_state(state: &AccountState) -> v1::AccountState {
    v1::AccountState {
        plan: state.plan.to_string(),
        permissions: words(&state.permissions),
        roles: state.roles.iter().map(ToString::to_string).collect(),
        status: enums::account_status(state.status).into(),
    }
}

fn key_created(created: &KeyCreated) -> v1::KeyCreated {
    let scopes = created.scopes.as_ref();
    v1::KeyCreated {
        environment: created.environment.as_str().to_owned(),
        scopes: scopes.map(|scopes| v1::Scopes { permissions: words(scopes) }),
        expire_time: created.expire_time.map(time),
        source_bound: created.sources != Sources::Any,
        replaces: created.replaces.as_ref().map(KeyId::to_string).unwrap_or_default(),
    }
}

fn key_updated(updated: &KeyUpdated) -> v1::KeyUpdated {
    let scopes = updated.scopes.as_ref();
    v1::KeyUpdated {
        scopes: scopes.map(|scopes| v1::Scopes { permissions: words(scopes) }),
        expire_time: updated.expire_time.map(time),
        source_bound: updated.sources != Sources::Any,
        changed: updated.changed.clone(),
    }
}

fn policy_changed(policy: &Policy) -> v1::PolicyChanged {
    let plans = policy.plans.iter().map(|(name, plan)| v1::PlanDefinition {
        name: name.to_string(),
        active_keys: plan.active_keys,
        requests_per_minute: plan.requests_per_minute,
    });
    let roles = policy.roles.iter().map(|(name, permissions)| v1::RoleDefinition {
        name: name.to_string(),
        permissions: words(permissions),
    });
    v1::PolicyChanged { plans: plans.collect(), roles: roles.collect() }
}

fn log_restored(restored: &LogRestored) -> v1::LogRestored {
    v1::LogRestored {
        origin: restored.origin.0.to_vec(),
        generation: restored.generation,
        restored_to: restored.restored_to.get(),
        root: restored.root.0.to_vec(),
        lost_to: restored.lost_to.map(Position::get),
    }
}

fn loss_resolved(resolved: &LossResolved) -> v1::LossResolved {
    let (resolution, root) = match resolved.resolution {
        Resolution::Replayed { root } => (v1::Resolution::Replayed, root.0.to_vec()),
        Resolution::Accepted => (v1::Resolution::Accepted, Vec::new()),
    };
    v1::LossResolved {
        generation: resolved.generation,
        first: resolved.first.get(),
        last: resolved.last.map(Position::get),
        resolution: resolution.into(),
        root,
    }
}

fn signing_key_changed(changed: &SigningKeyChanged) -> v1::SigningKeyChanged {
    let change = match changed.change {
        SigningKeyChange::First => v1::SigningKeyChange::First,
        SigningKeyChange::Added => v1::SigningKeyChange::Added,
        SigningKeyChange::Retired => v1::SigningKeyChange::Retired,
        SigningKeyChange::Lost => v1::SigningKeyChange::Lost,
    };
    v1::SigningKeyChanged { public_key: changed.key.0.to_vec(), change: change.into() }
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
