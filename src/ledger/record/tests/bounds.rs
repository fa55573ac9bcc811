//! The largest commands that the API's bounds allow, and what they take in a frame.

use std::time::Duration;

use super::super::{SALT_BYTES, encode, encode_personal};
use crate::domain::account_rules::PutAccount;
use crate::domain::command::{Act, Command, Decision, decide};
use crate::domain::event::KeyCreated;
use crate::domain::ids::{AccountId, AccountRef, CallerId, Position, TenantId, TraceId};
use crate::domain::key_rules::{CreateKey, RevokeKey, UpdateKey};
use crate::domain::permission::{Permission, Permissions, PlanName, RoleName};
use crate::domain::personal::{OnBehalfOf, Personal};
use crate::domain::policy::{MAX_REQUESTS_PER_MINUTE, Plan, Policy};
use crate::domain::requests::{Method, Request};
use crate::domain::sealed::{DataKeyId, Private, Sealed};
use crate::domain::testing::*;
use crate::domain::time::Time;
use crate::domain::usage::rules::RecordUses;
use crate::domain::usage::used::UsedWindow;
use crate::domain::usage::window::Window;
use crate::domain::usage::{MAX_ACTION, MAX_AGENT, Tried, Use, UseOutcome, sampled_permissions};
use crate::ledger::frame::MAX_FRAME_BYTES;

/// What the records of one command take at most: a little over half a frame.
const COMMAND_BOUND: usize = 32 * 1024;
const _: () = assert!(COMMAND_BOUND < MAX_FRAME_BYTES);

/// What AES-256-GCM-SIV adds to the clear bytes.
const SEAL_BYTES: usize = 16;

/// `count` characters of four bytes each.
fn wide(count: usize) -> String {
    "\u{1F511}".repeat(count)
}

fn numbered(n: usize, length: usize) -> String {
    format!("{n:02}{}", "x".repeat(length - 2))
}

fn account() -> std::sync::Arc<AccountRef> {
    let tenant = TenantId::parse(&"t".repeat(128)).expect("valid");
    let account = AccountId::parse(&"a".repeat(128)).expect("valid");
    std::sync::Arc::new(AccountRef { tenant, account })
}

fn words() -> Permissions {
    let word = |n| Permission::parse(&numbered(n, 128)).expect("valid");
    Permissions::new((0..64).map(word).collect())
}

fn on_behalf_of() -> Option<OnBehalfOf> {
    Some(OnBehalfOf { subject: wide(200), ticket: wide(100), note: wide(200) })
}

/// A key's name, metadata and ranges at their bounds.
fn key_fields() -> Personal {
    let metadata = (0..32).map(|n| (numbered(n, 64), "v".repeat(512)));
    let range = |n| format!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff{n:02}/128");
    Personal {
        name: wide(200),
        metadata: metadata.collect(),
        allowed_cidrs: (0..32).map(range).collect(),
        ..Personal::default()
    }
}

fn seal(personal: &Personal) -> Private {
    let clear = encode_personal(personal, [1; SALT_BYTES]);
    let ciphertext = vec![0; clear.len() + SEAL_BYTES].into();
    let sealed = Sealed { scheme: 1, data_key: DataKeyId(u64::MAX), nonce: [1; 12], ciphertext };
    Private { sealed, ..private() }
}

/// A policy of 64 plans and 64 roles with the longest names, and the account at its bounds.
fn world() -> World {
    let mut world = World::new();
    let plan = |n| {
        (
            PlanName::parse(&format!("p{}", numbered(n, 63))).expect("valid"),
            Plan {
                active_keys: Some(u32::MAX),
                requests_per_minute: Some(MAX_REQUESTS_PER_MINUTE),
            },
        )
    };
    let role =
        |n| (RoleName::parse(&format!("r{}", numbered(n, 63))).expect("valid"), permissions(&[]));
    let policy = Policy { plans: (0..64).map(plan).collect(), roles: (0..64).map(role).collect() };
    world.does(Act::SetPolicy(policy));
    world
}

fn put_account(world: &World) -> Act {
    let personal =
        Personal { display_name: wide(200), on_behalf_of: on_behalf_of(), ..Personal::default() };
    let policy = crate::domain::facts::Facts::policy(world);
    Act::PutAccount(PutAccount {
        account: account(),
        plan: policy.plans.keys().next().cloned(),
        permissions: Some(words()),
        roles: Some(policy.roles.keys().cloned().collect()),
        private: seal(&personal),
        ..put("a")
    })
}

fn create_key() -> Act {
    let created = KeyCreated {
        scopes: Some(words()),
        expire_time: Some(Time::MAX),
        sources: crate::domain::source::Sources::Unreadable,
        ..created(1)
    };
    let personal = Personal { on_behalf_of: on_behalf_of(), ..key_fields() };
    Act::CreateKey(CreateKey {
        account: account(),
        key: key_id(1),
        created,
        private: seal(&personal),
    })
}

/// What the command's records take, decided by `world`.
fn bytes(world: &World, act: Act) -> usize {
    let request = Request { id: [1; 16], method: Method::CreateKey, digest: [1; 16] };
    let trace_id = Some(TraceId([1; 16]));
    let command = Command { trace_id, ..named(act, request) };
    let Ok(Decision::Events(proposals)) = decide(world, &command, world.now) else {
        panic!("not refused");
    };
    assert!(!proposals.is_empty());
    let fact = |proposal| {
        let mut fact = world.record(&command, proposal);
        (fact.position, fact.previous) =
            (crate::domain::ids::Position::new(1 << 62).expect("not 0"), None);
        fact.previous = Some(fact.position);
        fact
    };
    proposals.into_iter().map(|proposal| encode(&fact(proposal)).len()).sum()
}

/// A window as full as what is sent can make it.
fn record_uses() -> Act {
    let mut window = Window::new(Time::MAX);
    // Three outcomes have the most samples.
    for (n, outcome) in UseOutcome::ALL[..3].iter().cycle().take(2000).enumerate() {
        let used = Use {
            tried: Tried::Key(key_id(1), account()),
            outcome: *outcome,
            caller: Some(CallerId(std::array::from_fn(|byte| n.to_be_bytes()[byte % 8]))),
            action: numbered(n, MAX_ACTION),
            source: Some(
                [
                    0xffff,
                    0xffff,
                    0xffff,
                    0xffff,
                    0xffff,
                    0xffff,
                    0xffff,
                    0x1000 | u16::try_from(n).expect("few"),
                ]
                .into(),
            ),
            agent: numbered(n, MAX_AGENT),
            trace_id: Some(TraceId([1; 16])),
            required: sampled_permissions(vec!["a".to_owned(); 64]),
            position: Position::new(u64::MAX),
            time: Time::MAX,
            cost: 1,
            alone: false,
        };
        window.add(&used, 1 + n as u64);
    }
    let (window, personal) = UsedWindow::of(&window, Duration::from_hours(1));
    let (journal, part) = (u64::MAX, u32::MAX);
    let private = Some(seal(&personal));
    Act::RecordUses(RecordUses {
        key: key_id(1),
        account: account(),
        journal,
        part,
        window,
        private,
    })
}

#[test]
fn the_records_of_every_command_keep_to_their_bound() {
    let mut world = world();
    let mut sizes = vec![("PutAccount", bytes(&world, put_account(&world)))];
    world.does(put_account(&world));
    sizes.push(("CreateKey", bytes(&world, create_key())));
    world.does(create_key());

    let personal = Personal { on_behalf_of: on_behalf_of(), ..key_fields() };
    let shorter = Time::from_micros(Time::MAX.as_micros() - 1);
    let update = UpdateKey {
        expire_time: Some(shorter),
        resealed: vec!["name", "metadata", "allowed_cidrs"],
        private: seal(&personal),
        ..world.update(1)
    };
    sizes.push(("UpdateKey", bytes(&world, Act::UpdateKey(update))));

    let mut rotate = world.rotate(1, 2, 0);
    rotate.overlap = Duration::from_secs(90 * 24 * 60 * 60);
    rotate.private = seal(&key_fields());
    rotate.aside = Some(seal(&Personal { on_behalf_of: on_behalf_of(), ..Personal::default() }));
    sizes.push(("RotateKey", bytes(&world, Act::RotateKey(rotate))));

    let said =
        Personal { comment: wide(1000), on_behalf_of: on_behalf_of(), ..Personal::default() };
    let revoke = RevokeKey { private: Some(seal(&said)), ..revoke(1) };
    sizes.push(("RevokeKey", bytes(&world, Act::RevokeKey(revoke))));

    sizes.push(("RecordUses", bytes(&world, record_uses())));

    for (command, size) in sizes {
        assert!(size <= COMMAND_BOUND, "{command} takes {size} bytes");
    }
}
