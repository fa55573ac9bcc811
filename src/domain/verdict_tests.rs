//! The verdict: each denial with the record that caused it, and which comes first.

use std::sync::Arc;

use super::*;
use crate::domain::account_rules::PutAccount;
use crate::domain::command::Act;
use crate::domain::event::KeyCreated;
use crate::domain::facts::Facts;
use crate::domain::key_rules::{CreateKey, RotateKey, UpdateKey};
use crate::domain::source::{SourceRange, Sources, parse_source};
use crate::domain::testing::*;

/// What a request asks; the request for `acme` from 192.0.2.1 that requires nothing.
struct Asked {
    tenant: Option<TenantId>,
    required: Vec<String>,
    source: Option<IpAddr>,
}

impl Default for Asked {
    fn default() -> Self {
        let source = parse_source("192.0.2.1");
        Asked { tenant: Some(tenant("acme")), required: Vec::new(), source }
    }
}

fn requires(words: &[&str]) -> Asked {
    Asked { required: words.iter().map(|word| (*word).to_owned()).collect(), ..Asked::default() }
}

fn effective(world: &World, account: &Account) -> Permissions {
    world.policy().effective(&account.state.permissions, &account.state.roles)
}

fn verdict(world: &World, key: u8, asked: &Asked) -> Result<(), Denied> {
    let key = &world.keys[&key_id(key)];
    let account = Arc::clone(&world.accounts[&*key.account]);
    let ask =
        Ask { tenant: asked.tenant.as_ref(), required: &asked.required, source: asked.source };
    judge(key, &account, &effective(world, &account), &ask, world.now)
}

fn denied(denial: Denial, evidence: Position) -> Result<(), Denied> {
    Err(Denied { denial, evidence: Some(evidence) })
}

fn set_status(world: &mut World, status: AccountStatus) -> Position {
    world.does(Act::PutAccount(PutAccount { status: Some(status), ..world.change("a") }))
}

/// The account `a` with the permissions `a:*` and the role `reader`, and key 1 with these limits.
fn limited(created: KeyCreated) -> World {
    let mut world = World::new();
    world.does(Act::PutAccount(PutAccount {
        permissions: Some(permissions(&["a:*"])),
        roles: Some(vec![role_name("reader")]),
        ..put("a")
    }));
    world.does(Act::CreateKey(CreateKey { created, ..create("a", 1) }));
    world
}

fn plain() -> World {
    limited(created(1))
}

fn from(range: &str) -> Sources {
    Sources::requested(vec![SourceRange::parse(range).expect("valid")])
}

#[test]
fn a_key_in_order_is_allowed_and_so_is_one_that_retires() {
    let mut world = plain();
    assert_eq!(verdict(&world, 1, &requires(&["a:b", "reports:read"])), Ok(()));
    world.does(Act::RotateKey(world.rotate(1, 2, 60)));
    assert_eq!(verdict(&world, 1, &requires(&["a:b"])), Ok(()));
    assert_eq!(verdict(&world, 2, &requires(&["a:b"])), Ok(()));
    assert_eq!(verdict(&world, 1, &Asked { tenant: None, ..Asked::default() }), Ok(()));
}

#[test]
fn a_revoked_key_is_denied_by_its_revocation() {
    let mut world = plain();
    let revoked = world.does(Act::RevokeKey(revoke(1)));
    assert_eq!(verdict(&world, 1, &Asked::default()), denied(Denial::Revoked, revoked));
}

#[test]
fn a_superseded_key_is_denied_by_its_rotation() {
    let mut world = plain();
    let created = world.does(Act::RotateKey(world.rotate(1, 2, 60)));
    let rotated = Position::new(created.get() - 1).unwrap();
    world.does(Act::UpdateKey(UpdateKey { resealed: vec!["name"], ..world.update(1) }));
    world.wait(60);
    assert_eq!(verdict(&world, 1, &Asked::default()), denied(Denial::Superseded, rotated));
    assert_eq!(verdict(&world, 2, &Asked::default()), Ok(()));
}

#[test]
fn a_key_that_retired_early_is_denied_by_the_record_of_that() {
    let mut world = plain();
    let idle = Some(std::time::Duration::from_mins(1));
    world.does(Act::RotateKey(RotateKey { retire_when_idle_for: idle, ..world.rotate(1, 2, 60) }));
    assert_eq!(verdict(&world, 1, &Asked::default()), Ok(()));
    let retired = world.does(Act::RetireKey(world.retire(1)));
    assert_eq!(verdict(&world, 1, &Asked::default()), denied(Denial::Superseded, retired));
}

#[test]
fn an_expired_key_is_denied_by_the_record_that_set_its_end() {
    let mut world = plain();
    let updated = Act::UpdateKey(UpdateKey { expire_time: Some(at(10)), ..world.update(1) });
    let updated = world.does(updated);
    world.does(Act::DisableKey(switch(1)));
    world.wait(10);
    assert_eq!(verdict(&world, 1, &Asked::default()), denied(Denial::Expired, updated));
}

#[test]
fn a_disabled_key_is_denied_by_its_disabling_until_it_is_enabled() {
    let mut world = plain();
    let disabled = world.does(Act::DisableKey(switch(1)));
    world.does(Act::UpdateKey(UpdateKey { resealed: vec!["name"], ..world.update(1) }));
    assert_eq!(verdict(&world, 1, &Asked::default()), denied(Denial::Disabled, disabled));
    world.does(Act::EnableKey(switch(1)));
    assert_eq!(verdict(&world, 1, &Asked::default()), Ok(()));
}

#[test]
fn keys_of_an_inactive_account_are_denied_by_what_made_it_so() {
    for status in [AccountStatus::Suspended, AccountStatus::Closed] {
        let mut world = plain();
        let changed = set_status(&mut world, status);
        let denied = denied(Denial::AccountInactive, changed);
        assert_eq!(verdict(&world, 1, &Asked::default()), denied);
    }
    let mut world = plain();
    let suspended = set_status(&mut world, AccountStatus::Suspended);
    world.does(Act::PutAccount(PutAccount { renamed: true, ..world.change("a") }));
    let verdict_then = verdict(&world, 1, &Asked::default());
    assert_eq!(verdict_then, denied(Denial::AccountInactive, suspended));
    set_status(&mut world, AccountStatus::Active);
    assert_eq!(verdict(&world, 1, &Asked::default()), Ok(()));
}

#[test]
fn a_key_of_another_tenant_is_denied_and_no_record_caused_it() {
    let asked = Asked { tenant: Some(tenant("other")), ..Asked::default() };
    let denied = Denied { denial: Denial::TenantMismatch, evidence: None };
    assert_eq!(verdict(&plain(), 1, &asked), Err(denied));
}

#[test]
fn every_required_permission_must_be_held() {
    let world = plain();
    let account = world.accounts[&*account("a")].position;
    let missing = denied(Denial::PermissionMissing, account);
    for required in [&["c"][..], &["a:b", "c"], &["a"], &["reports:write"]] {
        assert_eq!(verdict(&world, 1, &requires(required)), missing, "{required:?}");
    }
    assert_eq!(verdict(&world, 1, &requires(&["a:*"])), Ok(()), "a pattern is required as a whole");
    assert_eq!(verdict(&world, 1, &requires(&["*"])), missing);
}

#[test]
fn scopes_narrow_what_the_account_holds_and_grant_nothing_else() {
    let scopes = Some(permissions(&["a:read", "b:*"]));
    let mut world = limited(KeyCreated { scopes, ..created(1) });
    let key = world.keys[&key_id(1)].created;
    let account = world.accounts[&*account("a")].position;
    assert_eq!(verdict(&world, 1, &requires(&["a:read"])), Ok(()));
    let by_scopes = denied(Denial::PermissionMissing, key);
    assert_eq!(verdict(&world, 1, &requires(&["a:write"])), by_scopes);
    let by_account = denied(Denial::PermissionMissing, account);
    assert_eq!(verdict(&world, 1, &requires(&["b:c"])), by_account);

    let narrower = UpdateKey { scopes: Some(permissions(&["b:*"])), ..world.update(1) };
    let narrowed = world.does(Act::UpdateKey(narrower));
    let by_scopes = denied(Denial::PermissionMissing, narrowed);
    assert_eq!(verdict(&world, 1, &requires(&["a:read"])), by_scopes);
}

#[test]
fn a_key_bound_to_sources_is_denied_elsewhere() {
    let world = limited(KeyCreated { sources: from("192.0.2.0/24"), ..created(1) });
    let key = world.keys[&key_id(1)].created;
    let not_from = |source| {
        let asked = Asked { source, ..Asked::default() };
        assert_eq!(verdict(&world, 1, &asked), denied(Denial::SourceNotAllowed, key));
    };
    assert_eq!(verdict(&world, 1, &Asked::default()), Ok(()));
    not_from(parse_source("192.0.3.1"));
    not_from(None);
}

#[test]
fn a_bound_key_whose_ranges_cannot_be_read_is_denied_everywhere() {
    let world = limited(KeyCreated { sources: Sources::Unreadable, ..created(1) });
    let key = world.keys[&key_id(1)].created;
    let denied = denied(Denial::SourceNotAllowed, key);
    assert_eq!(verdict(&world, 1, &Asked::default()), denied);
}

/// Takes the reasons away one by one, strongest first.
#[test]
fn the_first_reason_that_applies_is_given() {
    let limits = KeyCreated {
        scopes: Some(permissions(&["a:*"])),
        sources: from("198.51.100.0/24"),
        ..created(1)
    };
    let denials = |world: &World, asked: &Asked| verdict(world, 1, asked).unwrap_err().denial;
    let wrong = || Asked { tenant: Some(tenant("other")), ..requires(&["c"]) };

    let mut world = limited(KeyCreated { expire_time: Some(at(30)), ..limits.clone() });
    world.does(Act::RotateKey(world.rotate(1, 2, 20)));
    world.does(Act::DisableKey(switch(1)));
    set_status(&mut world, AccountStatus::Suspended);
    assert_eq!(denials(&world, &wrong()), Denial::Disabled);
    world.wait(20);
    assert_eq!(denials(&world, &wrong()), Denial::Superseded);
    world.wait(20);
    assert_eq!(denials(&world, &wrong()), Denial::Superseded, "before expired");
    world.does(Act::RevokeKey(revoke(1)));
    assert_eq!(denials(&world, &wrong()), Denial::Revoked);

    let mut world = limited(KeyCreated { expire_time: Some(at(30)), ..limits });
    set_status(&mut world, AccountStatus::Suspended);
    assert_eq!(denials(&world, &wrong()), Denial::AccountInactive);
    set_status(&mut world, AccountStatus::Active);
    assert_eq!(denials(&world, &wrong()), Denial::TenantMismatch);
    assert_eq!(denials(&world, &requires(&["c"])), Denial::PermissionMissing);
    assert_eq!(denials(&world, &requires(&["a:b"])), Denial::SourceNotAllowed);
    world.does(Act::DisableKey(switch(1)));
    world.wait(30);
    assert_eq!(denials(&world, &wrong()), Denial::Expired, "before disabled");
}

#[test]
fn a_changed_policy_and_changed_permissions_hold_for_keys_there_are() {
    let mut world = plain();
    let asked = requires(&["reports:read"]);
    assert_eq!(verdict(&world, 1, &asked), Ok(()));
    let mut other = policy();
    other.roles.insert(role_name("reader"), permissions(&["reports:list"]));
    world.does(Act::SetPolicy(other));
    assert_eq!(verdict(&world, 1, &asked).unwrap_err().denial, Denial::PermissionMissing);
    assert_eq!(verdict(&world, 1, &requires(&["reports:list"])), Ok(()));
    world.does(Act::SetPolicy(crate::domain::policy::Policy::default()));
    let denial = verdict(&world, 1, &requires(&["reports:list"])).unwrap_err().denial;
    assert_eq!(denial, Denial::PermissionMissing, "a role of no policy grants nothing");

    let more = Some(permissions(&["reports:*"]));
    world.does(Act::PutAccount(PutAccount { permissions: more, ..world.change("a") }));
    assert_eq!(verdict(&world, 1, &asked), Ok(()));
}

#[test]
fn a_key_grants_its_accounts_permissions_narrowed_by_its_scopes() {
    let world = plain();
    let holds = effective(&world, &world.accounts[&*account("a")]);
    assert_eq!(granted(&world.keys[&key_id(1)], &holds), permissions(&["a:*", "reports:read"]));
    let scopes = Some(permissions(&["a:b", "reports:*", "z"]));
    let world = limited(KeyCreated { scopes, ..created(1) });
    assert_eq!(granted(&world.keys[&key_id(1)], &holds), permissions(&["a:b", "reports:read"]));
}
