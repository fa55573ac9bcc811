//! The model's orders as the commands they stand for, and answers as the model tells them.

use std::sync::Arc;
use std::time::Duration;

use super::model::{
    self, ACCOUNTS, About, Act, Order, PERMISSIONS, PLANS, POLICIES, Place, Status,
};
use crate::domain::account::AccountStatus;
use crate::domain::account_rules::{EraseAccount, PutAccount};
use crate::domain::caller::Role;
use crate::domain::caller_rules::{RevokeCaller, RotateCaller};
use crate::domain::command::{self, Command};
use crate::domain::event::{CallerCreated, KeyCreated};
use crate::domain::ids::{AccountRef, CallerId, KeyId, PepperVersion, Position};
use crate::domain::key::RevokeReason;
use crate::domain::key_rules::{CreateKey, RetireKey, RevokeKey, RotateKey, SwitchKey, UpdateKey};
use crate::domain::peppers::{RehashCaller, RehashKey, RetirePepper, RotatePepper};
use crate::domain::policy::{Plan, Policy};
use crate::domain::refusal::Refusal;
use crate::domain::requests::{Method, Request};
use crate::domain::sealed::{Private, Sealed};
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::tag::{KeyTag, PepperCheck};
use crate::domain::testing::{
    account, at, bearer, caller, create, create_caller, permissions, plan_name, private, put,
    revoke, role_name, switch, tag, the_service,
};
use crate::domain::time::Time;
use crate::ledger::writer::Answer;

pub(super) fn key_id(n: usize) -> KeyId {
    let mut id = [0x11; 12];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    KeyId(id)
}

pub(super) fn caller_id(n: usize) -> CallerId {
    CallerId(key_id(n).0)
}

pub(super) fn account_ref(n: usize) -> Arc<AccountRef> {
    account(ACCOUNTS[n])
}

pub(super) fn position(place: Place) -> Position {
    Position::new(place).expect("places begin at 1")
}

fn policy_of(n: usize) -> Policy {
    let (plans, reader) = POLICIES[n];
    let plan = |cap| Plan { active_keys: cap, ..Plan::default() };
    let plans = plans.iter().map(|(name, cap)| (plan_name(name), plan(*cap)));
    let roles = reader.iter().map(|words| (role_name("reader"), permissions(words)));
    Policy { plans: plans.collect(), roles: roles.collect() }
}

/// The command an order stands for.
pub(super) fn command_of(order: &Order) -> Command {
    let actor = order.by.map_or(the_service(), |by| bearer(caller_id(by)));
    let request = order.request.and_then(|(id, digest)| {
        let method = method(&order.act)?;
        Some(Request { id: [id; 16], method, digest: [digest; 16] })
    });
    Command { act: act_of(&order.act), actor, trace_id: None, request }
}

fn method(act: &Act) -> Option<Method> {
    Some(match act {
        Act::Put { .. } => Method::PutAccount,
        Act::Create { .. } => Method::CreateKey,
        Act::Update { .. } => Method::UpdateKey,
        Act::Disable(_) => Method::DisableKey,
        Act::Enable(_) => Method::EnableKey,
        Act::Rotate { .. } => Method::RotateKey,
        Act::Revoke(_) => Method::RevokeKey,
        Act::CreateCaller { .. } => Method::CreateCaller,
        Act::RotateCaller { .. } => Method::RotateCaller,
        Act::RevokeCaller(_) => Method::RevokeCaller,
        Act::Erase(_) => Method::EraseAccount,
        Act::SetPolicy(_)
        | Act::Retire { .. }
        | Act::Rehash { .. }
        | Act::RehashCaller { .. }
        | Act::RotatePepper(_)
        | Act::RetirePepper { .. } => return None,
    })
}

fn act_of(act: &Act) -> command::Act {
    let scopes = |scopes: &Option<usize>| scopes.map(|n| permissions(PERMISSIONS[n]));
    let time = |time: &Option<i64>| time.map(at);
    let span = |seconds: &i64| Duration::from_secs(seconds.unsigned_abs());
    match act {
        Act::Put { .. } => command::Act::PutAccount(put_of(act)),
        Act::Create { account, key, scopes: narrowed, expires, bulky, pepper } => {
            let created = KeyCreated {
                scopes: scopes(narrowed),
                expire_time: time(expires),
                tag: under(*pepper, tag_of(*key)),
                ..create("a", tag_of(*key)).created
            };
            let (account, key) = (account_ref(*account), key_id(*key));
            let private = if *bulky { bulk() } else { private() };
            command::Act::CreateKey(CreateKey { account, key, created, private })
        }
        Act::Update { key, scopes: narrowed, expires, renamed, basis, expected } => {
            command::Act::UpdateKey(UpdateKey {
                key: key_id(*key),
                scopes: scopes(narrowed),
                expire_time: time(expires),
                sources: Sources::Any,
                resealed: if *renamed { vec!["name"] } else { Vec::new() },
                basis: position(*basis),
                expected: expected.map(position),
                private: private(),
            })
        }
        Act::Disable(key) => command::Act::DisableKey(SwitchKey { key: key_id(*key), ..switch(0) }),
        Act::Enable(key) => command::Act::EnableKey(SwitchKey { key: key_id(*key), ..switch(0) }),
        Act::Rotate { key, successor, overlap, basis, pepper } => {
            command::Act::RotateKey(RotateKey {
                key: key_id(*key),
                successor: key_id(*successor),
                tag: under(*pepper, tag_of(*successor)),
                overlap: span(overlap),
                retire_when_idle_for: Some(Duration::from_mins(1)),
                reason: RevokeReason::Superseded,
                basis: position(*basis),
                sources: Sources::Any,
                private: private(),
                aside: None,
            })
        }
        Act::Retire { key, basis } => command::Act::RetireKey(RetireKey {
            key: key_id(*key),
            basis: position(*basis),
            last_use: None,
        }),
        Act::Revoke(key) => command::Act::RevokeKey(RevokeKey { key: key_id(*key), ..revoke(0) }),
        Act::SetPolicy(n) => command::Act::SetPolicy(policy_of(*n)),
        Act::Erase(account) => command::Act::EraseAccount(EraseAccount {
            account: account_ref(*account),
            expected: None,
            private: Some(private()),
        }),
        _ => of_callers(act),
    }
}

fn of_callers(act: &Act) -> command::Act {
    match act {
        Act::CreateCaller { caller: id, admin, expires, pepper } => {
            let role = if *admin { Role::Admin } else { Role::Issuer };
            let (expire_time, tag) = (expires.map(at), under(*pepper, 9));
            let created = CallerCreated { expire_time, tag, ..caller(&[role], &[]) };
            let mut create = create_caller(0, created);
            create.caller = caller_id(*id);
            command::Act::CreateCaller(create)
        }
        Act::RotateCaller { caller: id, pepper } => command::Act::RotateCaller(RotateCaller {
            caller: caller_id(*id),
            tag: under(*pepper, 7),
            overlap: Duration::from_secs(10),
            private: None,
        }),
        Act::RevokeCaller(id) => {
            command::Act::RevokeCaller(RevokeCaller { caller: caller_id(*id), private: None })
        }
        _ => of_peppers(act),
    }
}

/// Tags move with their bytes: it is the pepper that tells them apart.
fn of_peppers(act: &Act) -> command::Act {
    match act {
        Act::Rehash { key, from, to } => command::Act::RehashKey(RehashKey {
            key: key_id(*key),
            from: under(*from, tag_of(*key)),
            to: under(*to, tag_of(*key)),
        }),
        Act::RehashCaller { caller, tag, from, to } => command::Act::RehashCaller(RehashCaller {
            caller: caller_id(*caller),
            from: under(*from, *tag),
            to: under(*to, *tag),
        }),
        Act::RotatePepper(version) => command::Act::RotatePepper(RotatePepper {
            version: PepperVersion(*version),
            check: PepperCheck([7; 16]),
            private: None,
        }),
        Act::RetirePepper { version, accepted } => command::Act::RetirePepper(RetirePepper {
            version: PepperVersion(*version),
            accepted: *accepted,
            private: None,
        }),
        _ => unreachable!("every other act has its place above"),
    }
}

fn under(pepper: u16, bytes: u8) -> KeyTag {
    KeyTag { pepper: PepperVersion(pepper), ..tag(bytes) }
}

fn put_of(act: &Act) -> PutAccount {
    let Act::Put { account, plan, permissions: own, role, status, renamed, basis, expected } = act
    else {
        unreachable!("only puts come here")
    };
    PutAccount {
        account: account_ref(*account),
        plan: plan.map(|n| plan_name(PLANS[n])),
        permissions: own.map(|n| permissions(PERMISSIONS[n])),
        roles: role.map(|is_reader| is_reader.then(|| role_name("reader")).into_iter().collect()),
        status: status.map(status_of),
        renamed: *renamed,
        basis: basis.map(position),
        expected: expected.map(position),
        ..put("a")
    }
}

pub(super) fn status_of(status: Status) -> AccountStatus {
    match status {
        Status::Active => AccountStatus::Active,
        Status::Suspended => AccountStatus::Suspended,
        Status::Closed => AccountStatus::Closed,
    }
}

fn tag_of(key: usize) -> u8 {
    u8::try_from(key % 251).expect("below 251")
}

/// Sealed fields of which two do not fit one frame.
fn bulk() -> Private {
    let sealed = Sealed { ciphertext: vec![5; 31_000].into(), ..private().sealed };
    Private { sealed, ..private() }
}

pub(super) fn subject_of(about: About, owner: impl Fn(usize) -> usize) -> Subject {
    match about {
        About::Account(n) => Subject::Account(account_ref(n)),
        About::Key(n) => Subject::Key(account_ref(owner(n)), key_id(n)),
        About::Caller(n) => Subject::Caller(caller_id(n)),
        About::Service => Subject::Service,
    }
}

/// An answer as the model tells it.
pub(super) fn told(answer: &Answer) -> model::Answer {
    match answer {
        Ok(done) => Ok((done.position.map(Position::get), done.replayed)),
        Err(Refusal::StalePosition { current }) => {
            Err(format!("StalePosition {:?}", current.map(Position::get)))
        }
        Err(Refusal::ActiveKeyLimit { limit, active }) => {
            Err(format!("ActiveKeyLimit {limit} {active}"))
        }
        Err(other) => {
            let text = format!("{other:?}");
            Err(text.split(' ').next().unwrap_or_default().to_owned())
        }
    }
}

/// Seconds of a script.
pub(super) fn seconds(time: Time) -> i64 {
    (time.as_micros() - at(0).as_micros()) / 1_000_000
}
