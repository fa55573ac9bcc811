//! Events as programs read them: an object each, fields named as in the API.

mod conduct;

use serde_json::{Map, Value, json};

use crate::cli::resources::{enum_or_null, time};
use crate::cli::times::span;
use crate::cli::words::ApiEnum as _;
use crate::proto::v1::event::Kind;
use crate::proto::v1::{self, AuditEvent, Disclosure, Event};

/// An event: what is common to all, what is particular to its kind, and what is disclosed of it.
pub(super) fn event(event: &AuditEvent) -> Value {
    let Some(said) = &event.event else { return json!({"position": event.position}) };
    let (kind, details) = said
        .kind
        .as_ref()
        .map_or((Value::Null, Value::Null), |kind| (kind_name(kind), of_kind(kind)));
    json!({
        "position": said.position,
        "record_time": time(said.record_time.as_ref()),
        "kind": kind,
        "tenant_id": said.tenant_id,
        "account_id": said.account_id,
        "key_id": said.key_id,
        "caller_id": said.caller_id,
        "actor": actor(said),
        "trace_id": said.trace_id,
        "request_id": said.request_id,
        "event_id": said.event_id,
        "previous_position": said.previous_position,
        "details": details,
        "disclosure": event.disclosure.as_ref().map(disclosure),
        "erased": event.erased,
    })
}

/// A heartbeat: in an object of its own, so that nobody takes it for an event.
pub(super) fn heartbeat(heartbeat: &v1::Heartbeat) -> Value {
    let v1::Heartbeat { head, checkpoint } = heartbeat;
    json!({"heartbeat": {"head": head, "checkpoint": checkpoint}})
}

fn actor(event: &Event) -> Value {
    let Some(actor) = &event.actor else { return Value::Null };
    let said = actor.on_behalf_of.as_ref();
    json!({
        "caller_id": actor.caller_id,
        "mechanism": enum_or_null::<v1::Mechanism>(actor.mechanism),
        "on_behalf_of": said.map(|said| json!({
            "subject": said.subject, "ticket": said.ticket, "note": said.note,
        })),
    })
}

/// The fields that hold something; the clear bytes are for who checks them, and are left out.
fn disclosure(shown: &Disclosure) -> Value {
    let mut fields = Map::new();
    let texts = [
        ("name", &shown.name),
        ("display_name", &shown.display_name),
        ("owner", &shown.owner),
        ("comment", &shown.comment),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        fields.insert(name.to_owned(), text.as_str().into());
    }
    if !shown.metadata.is_empty() {
        fields.insert("metadata".to_owned(), json!(shown.metadata));
    }
    let lists = [
        ("allowed_cidrs", &shown.allowed_cidrs),
        ("sources", &shown.sources),
        ("agents", &shown.agents),
    ];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        fields.insert(name.to_owned(), json!(list));
    }
    Value::Object(fields)
}

fn kind_name(kind: &Kind) -> Value {
    let kind = match kind {
        Kind::AccountRegistered(_) => v1::EventKind::AccountRegistered,
        Kind::AccountChanged(_) => v1::EventKind::AccountChanged,
        Kind::AccountErased(_) => v1::EventKind::AccountErased,
        Kind::KeyCreated(_) => v1::EventKind::KeyCreated,
        Kind::KeyUpdated(_) => v1::EventKind::KeyUpdated,
        Kind::KeyDisabled(_) => v1::EventKind::KeyDisabled,
        Kind::KeyEnabled(_) => v1::EventKind::KeyEnabled,
        Kind::KeyRotated(_) => v1::EventKind::KeyRotated,
        Kind::KeyRevoked(_) => v1::EventKind::KeyRevoked,
        Kind::KeyRetired(_) => v1::EventKind::KeyRetired,
        Kind::KeyUsed(_) => v1::EventKind::KeyUsed,
        Kind::UnknownKeyTried(_) => v1::EventKind::UnknownKeyTried,
        Kind::UsageGap(_) => v1::EventKind::UsageGap,
        Kind::CallerCreated(_) => v1::EventKind::CallerCreated,
        Kind::CallerRotated(_) => v1::EventKind::CallerRotated,
        Kind::CallerRevoked(_) => v1::EventKind::CallerRevoked,
        Kind::PolicyChanged(_) => v1::EventKind::PolicyChanged,
        Kind::PepperRotated(_) => v1::EventKind::PepperRotated,
        Kind::PepperRetired(_) => v1::EventKind::PepperRetired,
        Kind::KeyRehashed(_) => v1::EventKind::KeyRehashed,
        Kind::CallerRehashed(_) => v1::EventKind::CallerRehashed,
        Kind::ClockStepped(_) => v1::EventKind::ClockStepped,
        Kind::LogRestored(_) => v1::EventKind::LogRestored,
        Kind::LossResolved(_) => v1::EventKind::LossResolved,
        Kind::SigningKeyChanged(_) => v1::EventKind::SigningKeyChanged,
        Kind::AuditRead(_) => v1::EventKind::AuditRead,
        Kind::CallsRefused(_) => v1::EventKind::CallsRefused,
    };
    kind.short_name().into()
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::AccountRegistered(event) => state(event.state.as_ref(), None),
        Kind::AccountChanged(event) => state(event.state.as_ref(), Some(&event.changed)),
        Kind::KeyCreated(event) => json!({
            "environment": event.environment,
            "scopes": event.scopes.as_ref().map(|scopes| &scopes.permissions),
            "expire_time": time(event.expire_time.as_ref()),
            "source_bound": event.source_bound,
            "replaces": event.replaces,
        }),
        Kind::KeyUpdated(event) => json!({
            "scopes": event.scopes.as_ref().map(|scopes| &scopes.permissions),
            "expire_time": time(event.expire_time.as_ref()),
            "source_bound": event.source_bound,
            "changed": event.changed,
        }),
        Kind::KeyRotated(event) => json!({
            "successor": event.successor,
            "retire_time": time(event.retire_time.as_ref()),
            "reason": enum_or_null::<v1::RevokeReason>(event.reason),
            "retire_when_idle_for": event.retire_when_idle_for.as_ref().map(span),
        }),
        Kind::KeyRetired(event) => json!({"last_use_time": time(event.last_use_time.as_ref())}),
        Kind::KeyRevoked(event) => json!({
            "reason": enum_or_null::<v1::RevokeReason>(event.reason),
            "leaked": event.leaked,
        }),
        Kind::KeyUsed(event) => json!({
            "journal": event.journal,
            "part": event.part,
            "window": event.window.as_ref().map(window),
            "total_allowed": event.total_allowed,
            "total_denied": event.total_denied,
        }),
        Kind::UnknownKeyTried(event) => json!({
            "journal": event.journal,
            "part": event.part,
            "window": event.window.as_ref().map(window),
        }),
        Kind::CallerCreated(event) => json!({
            "roles": event.roles.iter().map(|role| enum_or_null::<v1::Role>(*role)).collect::<Vec<_>>(),
            "tenants": event.tenants,
            "expire_time": time(event.expire_time.as_ref()),
            "spiffe_id": event.spiffe_id,
            "san": event.san,
        }),
        Kind::CallerRotated(event) => json!({"retire_time": time(event.retire_time.as_ref())}),
        Kind::KeyDisabled(_) | Kind::KeyEnabled(_) | Kind::CallerRevoked(_) => json!({}),
        _ => of_service(kind),
    }
}

/// As [`of_kind`], of the service.
fn of_service(kind: &Kind) -> Value {
    let hex = crate::cli::text::hex;
    match kind {
        Kind::UsageGap(event) => json!({
            "journal": event.journal,
            "part": event.part,
            "cause": enum_or_null::<v1::UsageGapCause>(event.cause),
            "from_time": time(event.from_time.as_ref()),
            "to_time": time(event.to_time.as_ref()),
            "lost": event.lost,
        }),
        Kind::PolicyChanged(event) => json!({
            "plans": event.plans.iter().map(|plan| json!({
                "name": plan.name,
                "active_keys": plan.active_keys,
                "requests_per_minute": plan.requests_per_minute,
            })).collect::<Vec<_>>(),
            "roles": event.roles.iter().map(|role| json!({
                "name": role.name, "permissions": role.permissions,
            })).collect::<Vec<_>>(),
        }),
        Kind::PepperRotated(event) => json!({"version": event.version}),
        Kind::PepperRetired(event) => json!({
            "version": event.version,
            "ended_keys": event.ended_keys,
            "ended_callers": event.ended_callers,
        }),
        Kind::KeyRehashed(event) => json!({"pepper_version": event.pepper_version}),
        Kind::CallerRehashed(event) => json!({"pepper_version": event.pepper_version}),
        Kind::ClockStepped(event) => json!({
            "wall_time": time(event.wall_time.as_ref()),
            "expected_time": time(event.expected_time.as_ref()),
        }),
        Kind::LogRestored(event) => json!({
            "origin": hex(&event.origin),
            "generation": event.generation,
            "restored_to": event.restored_to,
            "root": hex(&event.root),
            "lost_to": event.lost_to,
        }),
        Kind::LossResolved(event) => json!({
            "generation": event.generation,
            "first": event.first,
            "last": event.last,
            "resolution": enum_or_null::<v1::Resolution>(event.resolution),
            "root": hex(&event.root),
        }),
        Kind::SigningKeyChanged(event) => json!({
            "public_key": hex(&event.public_key),
            "change": enum_or_null::<v1::SigningKeyChange>(event.change),
        }),
        Kind::AuditRead(event) => conduct::read(event),
        Kind::CallsRefused(event) => conduct::refused(event),
        _ => Value::Null,
    }
}

fn state(state: Option<&v1::AccountState>, changed: Option<&Vec<String>>) -> Value {
    let Some(state) = state else { return Value::Null };
    let mut fields = json!({
        "plan": state.plan,
        "permissions": state.permissions,
        "roles": state.roles,
        "status": enum_or_null::<v1::AccountStatus>(state.status),
    });
    if let Some(changed) = changed {
        fields["changed"] = json!(changed);
    }
    fields
}

fn window(window: &v1::UsageWindow) -> Value {
    let outcome = |outcome: i32, reason: i32| {
        (enum_or_null::<v1::Outcome>(outcome), enum_or_null::<v1::DenialReason>(reason))
    };
    let total = |total: &v1::UsageTotal| {
        let (outcome, reason) = outcome(total.outcome, total.denial_reason);
        json!({
            "outcome": outcome,
            "denial_reason": reason,
            "count": total.count,
            "first_time": time(total.first_time.as_ref()),
            "last_time": time(total.last_time.as_ref()),
        })
    };
    let count = |line: &v1::UsageCount| {
        let (outcome, reason) = outcome(line.outcome, line.denial_reason);
        json!({
            "outcome": outcome,
            "denial_reason": reason,
            "caller_id": line.caller_id,
            "action": line.action,
            "source": line.source,
            "count": line.count,
        })
    };
    let sample = |sample: &v1::UsageSample| {
        let (outcome, reason) = outcome(sample.outcome, sample.denial_reason);
        json!({
            "outcome": outcome,
            "denial_reason": reason,
            "time": time(sample.time.as_ref()),
            "trace_id": sample.trace_id,
            "caller_id": sample.caller_id,
            "action": sample.action,
            "source": sample.source,
            "agent": sample.agent,
            "required_permissions": sample.required_permissions,
            "presented_key_id": sample.presented_key_id,
        })
    };
    json!({
        "start_time": time(window.start_time.as_ref()),
        "span": window.span.as_ref().map(span),
        "totals": window.totals.iter().map(total).collect::<Vec<_>>(),
        "first_position": window.first_position,
        "last_position": window.last_position,
        "counts": window.counts.iter().map(count).collect::<Vec<_>>(),
        "samples": window.samples.iter().map(sample).collect::<Vec<_>>(),
    })
}
