//! The bytes of every kind of record, written here without the encoder's help.
//!
//! These are for ever: a change that breaks one of them cannot read the logs there are.

use std::sync::Arc;

use super::super::{decode, encode, encode_personal};
use super::without_ranges;
use crate::domain::account::{AccountState, AccountStatus};
use crate::domain::caller::{Role, Roles};
use crate::domain::event::{
    Actor, CallerCreated, Event, KeyCreated, KeyUpdated, Mechanism, Recorded,
};
use crate::domain::ids::{
    AccountId, AccountRef, CallerId, EventId, KeyId, PepperVersion, Position, TenantId, TraceId,
};
use crate::domain::key::RevokeReason;
use crate::domain::key_format::Environment;
use crate::domain::log_state::{LogRestored, LossResolved, Resolution, TreeRoot};
use crate::domain::personal::{OnBehalfOf, Personal};
use crate::domain::policy::{Plan, Policy};
use crate::domain::requests::{Method, Request};
use crate::domain::sealed::{Commitment, DataKeyId, Private, Sealed};
use crate::domain::source::{SourceRange, Sources};
use crate::domain::subject::Subject;
use crate::domain::tag::KeyTag;
use crate::domain::tag::{PepperCheck, Tag};
use crate::domain::testing::{permissions, plan_name, role_name, tenant};
use crate::domain::time::Time;

/// A protobuf message, written field by field: tag, then a varint or a length and bytes.
#[derive(Clone, Default)]
pub(super) struct Wire(pub(super) Vec<u8>);

impl Wire {
    pub(super) fn varint(&mut self, mut value: u64) {
        loop {
            let low = u8::try_from(value & 0x7f).expect("7 bits");
            value >>= 7;
            self.0.push(if value == 0 { low } else { low | 0x80 });
            if value == 0 {
                break;
            }
        }
    }

    pub(super) fn number(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value.cast_unsigned());
        self
    }

    pub(super) fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.as_ref().len() as u64);
        self.0.extend(bytes.as_ref());
        self
    }

    pub(super) fn message(self, field: u64, message: &Wire) -> Self {
        self.bytes(field, &message.0)
    }
}

pub(super) fn wire() -> Wire {
    Wire::default()
}

fn account() -> Arc<AccountRef> {
    let (tenant, account) = (tenant("acme"), AccountId::parse("web-1").expect("valid"));
    Arc::new(AccountRef { tenant, account })
}

/// Record 7 about `subject`, which followed record 5, made by the service.
pub(super) fn fact(subject: Subject, event: Event) -> Recorded {
    Recorded {
        position: Position::new(7).expect("not 0"),
        event_id: EventId([0xe1; 16]),
        time: Time::from_micros(300),
        previous: Position::new(5),
        actor: Actor { caller: None, mechanism: Mechanism::Service },
        trace_id: None,
        request: None,
        subject,
        event,
        private: None,
    }
}

/// Fields 1 to 5 of [`fact`].
pub(super) fn head() -> Wire {
    wire().number(1, 1).number(2, 7).bytes(3, [0xe1; 16]).number(4, 300).number(5, 5)
}

/// Field 10 of [`fact`].
pub(super) fn actor() -> Wire {
    wire().number(2, 1)
}

/// The record of a key's event that has the field number `field`.
pub(super) fn of_key(field: u64, event: &Wire) -> Wire {
    let record = head().bytes(6, "acme").bytes(7, "web-1").bytes(8, [0xcc; 12]);
    record.message(10, &actor()).message(field, event)
}

pub(super) fn of_account(field: u64, event: &Wire) -> Wire {
    let record = head().bytes(6, "acme").bytes(7, "web-1");
    record.message(10, &actor()).message(field, event)
}

pub(super) fn of_caller(field: u64, event: &Wire) -> Wire {
    head().bytes(9, [0xca; 12]).message(10, &actor()).message(field, event)
}

pub(super) fn of_service(field: u64, event: &Wire) -> Wire {
    head().message(10, &actor()).message(field, event)
}

pub(super) fn key(event: Event) -> Recorded {
    fact(Subject::Key(account(), KeyId([0xcc; 12])), event)
}

pub(super) fn caller(event: Event) -> Recorded {
    fact(Subject::Caller(CallerId([0xca; 12])), event)
}

pub(super) fn holds(fact: &Recorded, record: &Wire) {
    assert_eq!(encode(fact), record.0, "{:?}", fact.event);
    assert_eq!(decode(&record.0), Ok(without_ranges(fact.clone())));
}

pub(super) fn key_tag() -> KeyTag {
    KeyTag { pepper: PepperVersion(300), tag: Tag::from_bytes([0x7a; 32]) }
}

pub(super) fn wire_tag() -> Wire {
    wire().number(1, 300).bytes(2, [0x7a; 32])
}

#[test]
fn a_whole_record_written_out_in_bytes() {
    let mut fact = key(Event::KeyRevoked { reason: RevokeReason::KeyCompromise, leaked: true });
    fact.time = Time::from_micros(-1);
    let mut bytes = vec![0x08, 1]; // format
    bytes.extend([0x10, 7]); // position
    bytes.extend([0x1a, 16]); // event_id
    bytes.extend([0xe1; 16]);
    bytes.extend([0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]); // record_time
    bytes.extend([0x28, 5]); // previous_position
    bytes.extend(b"\x32\x04acme"); // tenant_id
    bytes.extend(b"\x3a\x05web-1"); // account_id
    bytes.extend([0x42, 12]); // key_id
    bytes.extend([0xcc; 12]);
    bytes.extend([0x52, 2, 0x10, 1]); // actor: mechanism
    bytes.extend([0x9a, 0x02, 4, 0x08, 1, 0x10, 1]); // key_revoked: reason, leaked
    holds(&fact, &Wire(bytes));
}

#[test]
fn a_record_with_every_common_field() {
    let mut fact = key(Event::KeyDisabled);
    fact.actor = Actor { caller: Some(CallerId([0xaa; 12])), mechanism: Mechanism::Bearer };
    fact.trace_id = Some(TraceId([0x11; 16]));
    fact.request = Some(Request { id: [0x22; 16], method: Method::DisableKey, digest: [0x33; 16] });
    let sealed = Sealed {
        scheme: 1,
        data_key: DataKeyId(1000),
        nonce: [0x44; 12],
        ciphertext: [0x55; 200].into(),
    };
    let commitment = Commitment([0x66; 32]);
    fact.private = Some(Private { event_id: fact.event_id, sealed, commitment });
    let record = head()
        .bytes(6, "acme")
        .bytes(7, "web-1")
        .bytes(8, [0xcc; 12])
        .message(10, &wire().bytes(1, [0xaa; 12]).number(2, 2))
        .bytes(11, [0x11; 16])
        .message(12, &wire().bytes(1, [0x22; 16]).number(2, 4).bytes(3, [0x33; 16]))
        .message(
            13,
            &wire().number(1, 1).number(2, 1000).bytes(3, [0x44; 12]).bytes(4, [0x55; 200]),
        )
        .bytes(14, [0x66; 32])
        .message(32, &wire());
    holds(&fact, &record);
}

#[test]
fn a_subjects_first_record_has_no_previous_one_and_an_operator_may_act_offline() {
    let mut fact = fact(Subject::Service, Event::PolicyChanged(Policy::default()));
    fact.previous = None;
    fact.actor.mechanism = Mechanism::Offline;
    let record = wire().number(1, 1).number(2, 7).bytes(3, [0xe1; 16]).number(4, 300);
    holds(&fact, &record.message(10, &wire().number(2, 3)).message(60, &wire()));
}

#[test]
fn account_records() {
    let statuses = [AccountStatus::Active, AccountStatus::Suspended, AccountStatus::Closed];
    for (number, status) in (1..).zip(statuses) {
        let state = AccountState {
            plan: plan_name("standard"),
            permissions: permissions(&["a:*", "b"]),
            roles: vec![role_name("reader"), role_name("writer")],
            status,
        };
        let wire_state = wire().bytes(1, "standard").bytes(2, "a:*").bytes(2, "b");
        let wire_state = wire_state.bytes(3, "reader").bytes(3, "writer").number(4, number);
        let subject = || Subject::Account(account());
        let registered = fact(subject(), Event::AccountRegistered(state.clone()));
        holds(&registered, &of_account(20, &wire().message(1, &wire_state)));
        let changed = vec!["plan".to_owned(), "status".to_owned()];
        let changed = fact(subject(), Event::AccountChanged { state, changed });
        let event = wire().message(1, &wire_state).bytes(2, "plan").bytes(2, "status");
        holds(&changed, &of_account(21, &event));
    }
    let erased = fact(Subject::Account(account()), Event::AccountErased);
    holds(&erased, &of_account(22, &wire()));
}

#[test]
fn key_created_records() {
    let plain = KeyCreated {
        tag: key_tag(),
        environment: Environment::Live,
        scopes: None,
        expire_time: None,
        sources: Sources::Any,
        replaces: None,
    };
    let event = wire().message(1, &wire_tag()).number(2, 1);
    holds(&key(Event::KeyCreated(plain.clone())), &of_key(30, &event));

    // Scopes that are present and empty are not absent, nor is an expiry at the epoch.
    let full = KeyCreated {
        environment: Environment::Test,
        scopes: Some(permissions(&[])),
        expire_time: Some(Time::EPOCH),
        sources: Sources::requested(vec![SourceRange::parse("10.0.0.0/8").expect("valid")]),
        replaces: Some(KeyId([0xdd; 12])),
        ..plain
    };
    let event = wire().message(1, &wire_tag()).number(2, 2).message(3, &wire());
    let event = event.number(4, 0).number(5, 1).bytes(6, [0xdd; 12]);
    holds(&key(Event::KeyCreated(full)), &of_key(30, &event));
}

#[test]
fn key_updated_records() {
    let nothing =
        KeyUpdated { scopes: None, expire_time: None, sources: Sources::Any, changed: Vec::new() };
    holds(&key(Event::KeyUpdated(nothing)), &of_key(31, &wire()));
    let all = KeyUpdated {
        scopes: Some(permissions(&["a", "b:*"])),
        expire_time: Some(Time::from_micros(128)),
        sources: Sources::Unreadable,
        changed: vec!["name".to_owned(), "scopes".to_owned()],
    };
    let event = wire().message(1, &wire().bytes(1, "a").bytes(1, "b:*")).number(2, 128);
    let event = event.number(3, 1).bytes(4, "name").bytes(4, "scopes");
    holds(&key(Event::KeyUpdated(all)), &of_key(31, &event));
}

#[test]
fn key_switch_rotation_and_revocation_records() {
    holds(&key(Event::KeyDisabled), &of_key(32, &wire()));
    holds(&key(Event::KeyEnabled), &of_key(33, &wire()));
    let reasons = [
        RevokeReason::KeyCompromise,
        RevokeReason::Superseded,
        RevokeReason::CessationOfOperation,
        RevokeReason::AffiliationChanged,
        RevokeReason::PrivilegeWithdrawn,
    ];
    for (number, reason) in (1..).zip(reasons) {
        let retire_time = Time::from_micros(9);
        let (successor, retire_when_idle_for) = (KeyId([0xdd; 12]), None);
        let rotated = Event::KeyRotated { successor, retire_time, retire_when_idle_for, reason };
        let event = wire().bytes(1, [0xdd; 12]).number(2, 9).number(3, number);
        holds(&key(rotated), &of_key(34, &event));
        let revoked = Event::KeyRevoked { reason, leaked: false };
        holds(&key(revoked), &of_key(35, &wire().number(1, number)));
    }
    let revoked = Event::KeyRevoked { reason: RevokeReason::Unspecified, leaked: true };
    holds(&key(revoked), &of_key(35, &wire().number(2, 1)));
}

#[test]
fn caller_records() {
    let created = CallerCreated {
        tag: key_tag(),
        roles: Roles::of(&Role::ALL),
        tenants: ["acme", "bolt"].map(|name| TenantId::parse(name).expect("valid")).into(),
        expire_time: Some(Time::from_micros(1)),
        certificate_name: None,
    };
    let event = wire().message(1, &wire_tag()).bytes(2, [1, 2, 3, 4, 5, 6, 7]);
    let event = event.bytes(3, "acme").bytes(3, "bolt").number(4, 1);
    holds(&caller(Event::CallerCreated(created)), &of_caller(50, &event));

    let created = CallerCreated {
        tag: key_tag(),
        roles: Roles::of(&[Role::Admin]),
        tenants: [].into(),
        expire_time: None,
        certificate_name: None,
    };
    let event = wire().message(1, &wire_tag()).bytes(2, [7]);
    holds(&caller(Event::CallerCreated(created)), &of_caller(50, &event));

    let rotated = Event::CallerRotated { tag: key_tag(), retire_time: Time::from_micros(2) };
    holds(&caller(rotated), &of_caller(51, &wire().message(1, &wire_tag()).number(2, 2)));
    holds(&caller(Event::CallerRevoked), &of_caller(52, &wire()));
}

#[test]
fn service_records() {
    let service = |event| fact(Subject::Service, event);
    let plans = [
        (plan_name("a"), Plan { active_keys: Some(0), requests_per_minute: Some(300) }),
        (plan_name("b"), Plan::default()),
    ];
    let roles = [(role_name("r"), permissions(&["x", "y:*"]))];
    let policy = Policy { plans: plans.into(), roles: roles.into() };
    let event = wire()
        .message(1, &wire().bytes(1, "a").number(2, 0).number(3, 300))
        .message(1, &wire().bytes(1, "b"))
        .message(2, &wire().bytes(1, "r").bytes(2, "x").bytes(2, "y:*"));
    holds(&service(Event::PolicyChanged(policy)), &of_service(60, &event));

    let (version, check) = (PepperVersion(1), PepperCheck([0x99; 16]));
    let event = wire().number(1, 1).bytes(2, [0x99; 16]);
    holds(&service(Event::PepperRotated { version, check }), &of_service(61, &event));

    let (wall, expected) = (Time::from_micros(5), Time::from_micros(-5));
    let event = wire().number(1, 5).number(2, -5);
    holds(&service(Event::ClockStepped { wall, expected }), &of_service(62, &event));
}

#[test]
fn records_about_the_log() {
    let service = |event| fact(Subject::Service, event);
    let at = |number| Position::new(number).expect("not 0");
    let restored = LogRestored {
        origin: TreeRoot([0x0a; 32]),
        generation: 2,
        restored_to: at(300),
        root: TreeRoot([0x0b; 32]),
        lost_to: None,
    };
    let event = wire().bytes(1, [0x0a; 32]).number(2, 2).number(3, 300).bytes(4, [0x0b; 32]);
    holds(&service(Event::LogRestored(restored)), &of_service(63, &event));
    let restored = LogRestored { lost_to: Some(at(301)), ..restored };
    holds(&service(Event::LogRestored(restored)), &of_service(63, &event.number(5, 301)));

    let root = TreeRoot([0x0c; 32]);
    let resolved = LossResolved {
        generation: 2,
        first: at(301),
        last: Some(at(305)),
        resolution: Resolution::Replayed { root },
    };
    let begin = || wire().number(1, 2).number(2, 301);
    let event = begin().number(3, 305).number(4, 1).bytes(5, [0x0c; 32]);
    holds(&service(Event::LossResolved(resolved)), &of_service(64, &event));
    let resolved = LossResolved { last: None, resolution: Resolution::Accepted, ..resolved };
    holds(&service(Event::LossResolved(resolved)), &of_service(64, &begin().number(4, 2)));
}

#[test]
fn clear_personal_fields() {
    let text = str::to_owned;
    let personal = Personal {
        name: text("n"),
        display_name: text("d"),
        owner: text("o"),
        metadata: [(text("k"), text("v")), (text("l"), text(""))].into(),
        allowed_cidrs: vec![text("10.0.0.0/8"), text("::1/128")],
        comment: text("c"),
        on_behalf_of: Some(OnBehalfOf { subject: text("s"), ticket: text("t"), note: text("x") }),
        sources: vec![text("192.0.2.1")],
        agents: vec![text("curl"), text("go")],
    };
    let clear = wire()
        .bytes(1, [0x5a; 32])
        .bytes(2, "n")
        .bytes(3, "d")
        .bytes(4, "o")
        .message(5, &wire().bytes(1, "k").bytes(2, "v"))
        .message(5, &wire().bytes(1, "l"))
        .bytes(6, "10.0.0.0/8")
        .bytes(6, "::1/128")
        .bytes(7, "c")
        .message(8, &wire().bytes(1, "s").bytes(2, "t").bytes(3, "x"))
        .bytes(9, "192.0.2.1")
        .bytes(10, "curl")
        .bytes(10, "go");
    assert_eq!(*encode_personal(&personal, [0x5a; 32]), clear.0);
}
