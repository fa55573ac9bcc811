//! Events of every kind, as the rules may make them.

use std::sync::Arc;
use std::time::Duration;

use proptest::array::uniform;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::domain::account::{AccountState, AccountStatus};
use crate::domain::caller::{Role, Roles};
use crate::domain::certificate_name::{CertificateName, DnsName, SpiffeId};
use crate::domain::event::{
    Actor, CallerCreated, Event, KeyCreated, KeyUpdated, Mechanism, Recorded,
};
use crate::domain::ids::{
    AccountId, AccountRef, CallerId, EventId, KeyId, PepperVersion, Position, TenantId, TraceId,
};
use crate::domain::key::RevokeReason;
use crate::domain::key_format::Environment;
use crate::domain::log_state::{LogRestored, LossResolved, Resolution, TreeRoot};
use crate::domain::peppers::Dependents;
use crate::domain::permission::{Permission, Permissions, PlanName, RoleName};
use crate::domain::personal::{OnBehalfOf, Personal};
use crate::domain::policy::{MAX_REQUESTS_PER_MINUTE, Plan, Policy};
use crate::domain::requests::{Method, Request};
use crate::domain::sealed::{Commitment, DataKeyId, Private, Sealed};
use crate::domain::signing::{SigningKey, SigningKeyChange, SigningKeyChanged};
use crate::domain::source::{SourceRange, Sources};
use crate::domain::subject::Subject;
use crate::domain::tag::KeyTag;
use crate::domain::tag::{PepperCheck, Tag};
use crate::domain::time::Time;

use super::{conduct, uses};

pub(super) fn bytes<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    uniform(any::<u8>())
}

pub(super) fn time() -> impl Strategy<Value = Time> {
    any::<i64>().prop_map(Time::from_micros)
}

pub(super) fn position() -> impl Strategy<Value = Position> {
    (1..=u64::MAX).prop_map(|number| Position::new(number).expect("not 0"))
}

pub(super) fn key_id() -> impl Strategy<Value = KeyId> {
    bytes().prop_map(KeyId)
}

fn account() -> impl Strategy<Value = Arc<AccountRef>> {
    ("[A-Za-z0-9._~-]{1,128}", "[A-Za-z0-9._~-]{1,128}").prop_map(|(tenant, account)| {
        let tenant = TenantId::parse(&tenant).expect("valid");
        let account = AccountId::parse(&account).expect("valid");
        Arc::new(AccountRef { tenant, account })
    })
}

fn permissions() -> impl Strategy<Value = Permissions> {
    let word = "[a-z]{1,8}(:[a-z]{1,8}){0,2}(:\\*)?";
    let word = word.prop_map(|word| Permission::parse(&word).expect("valid"));
    vec(word, 0..4).prop_map(Permissions::new)
}

fn plan_name() -> impl Strategy<Value = PlanName> {
    "[a-z][a-z0-9_-]{0,63}".prop_map(|name| PlanName::parse(&name).expect("valid"))
}

fn role_name() -> impl Strategy<Value = RoleName> {
    "[a-z][a-z0-9_-]{0,63}".prop_map(|name| RoleName::parse(&name).expect("valid"))
}

fn key_tag() -> impl Strategy<Value = KeyTag> {
    (1..=u16::MAX, bytes()).prop_map(|(pepper, tag)| KeyTag {
        pepper: PepperVersion(pepper),
        tag: Tag::from_bytes(tag),
    })
}

fn sources() -> impl Strategy<Value = Sources> {
    let some = vec(any::<u32>(), 1..3).prop_map(|addresses| {
        let text =
            addresses.into_iter().map(|address| std::net::Ipv4Addr::from(address).to_string());
        Sources::requested(text.map(|text| SourceRange::parse(&text).expect("valid")).collect())
    });
    prop_oneof![Just(Sources::Any), Just(Sources::Unreadable), some]
}

fn changed() -> impl Strategy<Value = Vec<String>> {
    vec("[a-z_]{1,20}", 0..4)
}

fn reason() -> impl Strategy<Value = RevokeReason> {
    prop_oneof![
        Just(RevokeReason::Unspecified),
        Just(RevokeReason::KeyCompromise),
        Just(RevokeReason::Superseded),
        Just(RevokeReason::CessationOfOperation),
        Just(RevokeReason::AffiliationChanged),
        Just(RevokeReason::PrivilegeWithdrawn),
    ]
}

fn state() -> impl Strategy<Value = AccountState> {
    let status = prop_oneof![
        Just(AccountStatus::Active),
        Just(AccountStatus::Suspended),
        Just(AccountStatus::Closed),
    ];
    (plan_name(), permissions(), vec(role_name(), 0..3), status).prop_map(
        |(plan, permissions, roles, status)| AccountState { plan, permissions, roles, status },
    )
}

fn key_created() -> impl Strategy<Value = KeyCreated> {
    let environment = prop_oneof![Just(Environment::Live), Just(Environment::Test)];
    let (scopes, expire_time) = (option::of(permissions()), option::of(time()));
    (key_tag(), environment, scopes, expire_time, sources(), option::of(key_id())).prop_map(
        |(tag, environment, scopes, expire_time, sources, replaces)| KeyCreated {
            tag,
            environment,
            scopes,
            expire_time,
            sources,
            replaces,
        },
    )
}

fn key_event() -> impl Strategy<Value = Event> {
    let updated = (option::of(permissions()), option::of(time()), sources(), changed()).prop_map(
        |(scopes, expire_time, sources, changed)| {
            Event::KeyUpdated(KeyUpdated { scopes, expire_time, sources, changed })
        },
    );
    let idle = option::of((1..=u64::MAX).prop_map(Duration::from_micros));
    let rotated = (key_id(), time(), idle, reason()).prop_map(
        |(successor, retire_time, retire_when_idle_for, reason)| Event::KeyRotated {
            successor,
            retire_time,
            retire_when_idle_for,
            reason,
        },
    );
    prop_oneof![
        key_created().prop_map(Event::KeyCreated),
        updated,
        Just(Event::KeyDisabled),
        Just(Event::KeyEnabled),
        rotated,
        (reason(), any::<bool>()).prop_map(|(reason, leaked)| Event::KeyRevoked { reason, leaked }),
        option::of(time()).prop_map(|last_use| Event::KeyRetired { last_use }),
        key_tag().prop_map(|tag| Event::KeyRehashed { tag }),
        uses::key_used(),
    ]
}

fn caller_event() -> impl Strategy<Value = Event> {
    let roles = vec(prop::sample::select(&Role::ALL[..]), 0..4).prop_map(|roles| Roles::of(&roles));
    let tenant = "[a-z]{1,9}".prop_map(|name| TenantId::parse(&name).expect("valid"));
    let tenants = vec(tenant, 0..3).prop_map(Arc::from);
    let spiffe = "spiffe://[a-z0-9._-]{1,20}(/[A-Za-z0-9_-]{1,9}){1,4}"
        .prop_map(|id| CertificateName::Spiffe(SpiffeId::parse(&id).expect("valid")));
    let dns = "[a-z][a-z0-9]{0,9}(\\.[a-z][a-z0-9]{0,9}){0,4}"
        .prop_map(|name| CertificateName::Dns(DnsName::parse(&name).expect("valid")));
    let certificate_name = option::of(prop_oneof![spiffe, dns].boxed());
    let created = (key_tag(), roles, tenants, option::of(time()), certificate_name).prop_map(
        |(tag, roles, tenants, expire_time, certificate_name)| {
            let created = CallerCreated { tag, roles, tenants, expire_time, certificate_name };
            Event::CallerCreated(created)
        },
    );
    // On the heap: what all events are chosen from together must fit a test's stack.
    let created = created.boxed();
    let rotated = (key_tag(), time())
        .prop_map(|(tag, retire_time)| Event::CallerRotated { tag, retire_time });
    let moved = key_tag().prop_map(|tag| Event::CallerRehashed { tag });
    prop_oneof![created, rotated, moved, Just(Event::CallerRevoked)]
}

fn service_event() -> impl Strategy<Value = Event> {
    let plans = btree_map(
        plan_name(),
        (option::of(any::<u32>()), option::of(1..=MAX_REQUESTS_PER_MINUTE)).prop_map(
            |(active_keys, requests_per_minute)| Plan { active_keys, requests_per_minute },
        ),
        0..4,
    );
    let policy = (plans, btree_map(role_name(), permissions(), 0..4))
        .prop_map(|(plans, roles)| Event::PolicyChanged(Policy { plans, roles }));
    let pepper = (1..=u16::MAX, bytes()).prop_map(|(version, check)| Event::PepperRotated {
        version: PepperVersion(version),
        check: PepperCheck(check),
    });
    let retired =
        (1..=u16::MAX, any::<u64>(), any::<u64>()).prop_map(|(version, keys, callers)| {
            let ended = Dependents { keys, callers };
            Event::PepperRetired { version: PepperVersion(version), ended }
        });
    let step = (time(), time()).prop_map(|(wall, expected)| Event::ClockStepped { wall, expected });
    prop_oneof![
        policy,
        pepper,
        retired,
        step,
        log_event(),
        uses::unknown_key_tried(),
        uses::usage_gap(),
        conduct::audit_read(),
        conduct::calls_refused(),
    ]
}

fn log_event() -> impl Strategy<Value = Event> {
    let root = || bytes().prop_map(TreeRoot);
    let lost = || option::of(1..=u64::from(u32::MAX));
    let restored = (root(), 2..=u64::MAX, 1..=u64::MAX / 2, root(), lost()).prop_map(
        |(origin, generation, to, root, lost)| {
            let restored_to = Position::new(to).expect("not 0");
            let lost_to = lost.and_then(|lost| Position::new(to + lost));
            Event::LogRestored(LogRestored { origin, generation, restored_to, root, lost_to })
        },
    );
    let resolution = prop_oneof![
        root().prop_map(|root| Resolution::Replayed { root }),
        Just(Resolution::Accepted)
    ];
    let resolved = (any::<u64>(), position(), option::of(position()), resolution).prop_map(
        |(generation, first, last, resolution)| {
            Event::LossResolved(LossResolved { generation, first, last, resolution })
        },
    );
    prop_oneof![restored, resolved, signing_key_changed()]
}

fn signing_key_changed() -> impl Strategy<Value = Event> {
    let change = prop_oneof![
        Just(SigningKeyChange::First),
        Just(SigningKeyChange::Added),
        Just(SigningKeyChange::Retired),
        Just(SigningKeyChange::Lost),
    ];
    (bytes().prop_map(SigningKey), change)
        .prop_map(|(key, change)| Event::SigningKeyChanged(SigningKeyChanged { key, change }))
}

fn happening() -> impl Strategy<Value = (Subject, Event)> {
    let account_event = prop_oneof![
        state().prop_map(Event::AccountRegistered),
        (state(), changed()).prop_map(|(state, changed)| Event::AccountChanged { state, changed }),
        Just(Event::AccountErased),
    ];
    let key = (account(), key_id()).prop_map(|(account, id)| Subject::Key(account, id));
    let caller = bytes().prop_map(|id| Subject::Caller(CallerId(id)));
    // Apart on the heap: all kinds in one value are more than a test's stack holds.
    prop_oneof![
        3 => (key, key_event()).boxed(),
        2 => (account().prop_map(Subject::Account), account_event).boxed(),
        2 => (caller, caller_event()).boxed(),
        1 => (Just(Subject::Service), service_event()).boxed(),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    (bytes(), prop_oneof![1..=12_u32, 20..=21_u32], bytes()).prop_map(|(id, method, digest)| {
        Request { id, method: Method::from_number(method).expect("a method"), digest }
    })
}

fn actor() -> impl Strategy<Value = Actor> {
    let mechanism = prop_oneof![
        Just(Mechanism::Service),
        Just(Mechanism::Bearer),
        Just(Mechanism::Offline),
        Just(Mechanism::ClientCertificate),
    ];
    (option::of(bytes().prop_map(CallerId)), mechanism)
        .prop_map(|(caller, mechanism)| Actor { caller, mechanism })
}

/// Sealed fields and the commitment to them.
fn sealed() -> impl Strategy<Value = (Sealed, Commitment)> {
    (any::<u32>(), any::<u64>(), bytes(), vec(any::<u8>(), 0..99), bytes()).prop_map(
        |(scheme, data_key, nonce, ciphertext, commitment)| {
            let (data_key, ciphertext) = (DataKeyId(data_key), ciphertext.into());
            (Sealed { scheme, data_key, nonce, ciphertext }, Commitment(commitment))
        },
    )
}

/// A fact of any kind.
pub(super) fn recorded() -> impl Strategy<Value = Recorded> {
    let place = (position(), bytes(), time(), option::of(position()));
    let cause = (actor(), option::of(bytes().prop_map(TraceId)), option::of(request()));
    (place, cause, happening(), option::of(sealed())).prop_map(|(place, cause, what, private)| {
        let (position, event_id, time, previous) = place;
        let event_id = EventId(event_id);
        let (actor, trace_id, request) = cause;
        let (subject, event) = what;
        let private = private.map(|(sealed, commitment)| Private { event_id, sealed, commitment });
        Recorded {
            position,
            event_id,
            time,
            previous,
            actor,
            trace_id,
            request,
            subject,
            event,
            private,
        }
    })
}

/// Personal fields of any kind.
pub(super) fn personal() -> impl Strategy<Value = Personal> {
    let text = || any::<String>();
    let on_behalf_of = (text(), text(), text()).prop_map(|(subject, ticket, note)| OnBehalfOf {
        subject,
        ticket,
        note,
    });
    let metadata = btree_map(text(), text(), 0..4);
    let cidrs = vec(text(), 0..3);
    let of_uses = (vec(text(), 0..3), vec(text(), 0..3));
    (text(), text(), text(), metadata, cidrs, text(), option::of(on_behalf_of), of_uses).prop_map(
        |(name, display_name, owner, metadata, allowed_cidrs, comment, on_behalf_of, of_uses)| {
            Personal {
                name,
                display_name,
                owner,
                metadata,
                allowed_cidrs,
                comment,
                on_behalf_of,
                sources: of_uses.0,
                agents: of_uses.1,
            }
        },
    )
}
