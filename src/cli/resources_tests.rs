use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::{FileDescriptorSet, Timestamp};
use serde_json::{Value, json};

use super::Resource as _;
use crate::cli::output::Format;
use crate::cli::output::tests::{listed, shown};
use crate::proto::{FILE_DESCRIPTOR_SET, v1};

/// Holds the names in `json` to those of the fields of a message of the API, in their order.
pub(in crate::cli) fn assert_fields_of_message(message: &str, json: &Value) {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors decode").file;
    let mut messages = files
        .iter()
        .filter(|file| file.package() == "keyledger.v1")
        .flat_map(|file| &file.message_type);
    let described =
        messages.find(|described| described.name() == message).expect("the API has the message");
    let fields: Vec<_> = described.field.iter().map(|field| field.name()).collect();
    let names: Vec<_> = json.as_object().expect("is an object").keys().collect();
    assert_eq!(names, fields, "{message}");
}

#[test]
fn json_has_the_fields_of_the_api_in_their_order() {
    assert_fields_of_message("Key", &v1::Key::default().json());
    assert_fields_of_message("Account", &v1::Account::default().json());
    assert_fields_of_message("Caller", &v1::Caller::default().json());
    assert_fields_of_message("Principal", &v1::Principal::default().json());
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

pub(in crate::cli) fn key() -> v1::Key {
    v1::Key {
        key_id: "key_4fJ9aB2c3D4e5F6g7".to_owned(),
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        name: "nightly export".to_owned(),
        hint: "kl_live_4fJ9aB…".to_owned(),
        environment: "live".to_owned(),
        state: v1::KeyState::Active.into(),
        create_time: at(1_795_411_812),
        created_by: "caller_0a1B2c3D4e5F6g7H8".to_owned(),
        metadata: BTreeMap::from([("team".to_owned(), "data".to_owned())]),
        position: 42,
        ..Default::default()
    }
}

#[test]
fn a_keys_json_has_every_field_of_the_api_and_null_for_what_is_unset() {
    assert_eq!(
        key().json(),
        json!({
            "key_id": "key_4fJ9aB2c3D4e5F6g7",
            "tenant_id": "acme",
            "account_id": "billing",
            "name": "nightly export",
            "hint": "kl_live_4fJ9aB…",
            "scopes": null,
            "environment": "live",
            "state": "ACTIVE",
            "create_time": "2026-11-23T05:30:12Z",
            "created_by": "caller_0a1B2c3D4e5F6g7H8",
            "expire_time": null,
            "retire_time": null,
            "revoke_time": null,
            "revoke_reason": null,
            "replaces": "",
            "replaced_by": "",
            "allowed_cidrs": [],
            "metadata": {"team": "data"},
            "position": 42,
            "last_use_time": null,
            "use_count": 0,
            "last_denied_time": null,
            "denied_count": 0,
            "retire_when_idle_for": null,
            "erased": false,
        })
    );
}

#[test]
fn no_scopes_and_empty_scopes_are_told_apart() {
    let narrowed = v1::Key { scopes: Some(v1::Scopes::default()), ..key() };
    assert_eq!(narrowed.json()["scopes"], json!({"permissions": []}));
    assert!(shown(Format::Table, &narrowed).contains("scopes        nothing\n"));
    assert!(shown(Format::Table, &key()).contains("scopes        all its account may do\n"));
}

#[test]
fn a_key_is_shown_to_people_with_what_ended_it() {
    let revoked = v1::Key {
        state: v1::KeyState::Revoked.into(),
        revoke_time: at(1_795_411_813),
        revoke_reason: v1::RevokeReason::KeyCompromise.into(),
        replaced_by: "key_successor".to_owned(),
        ..key()
    };
    let text = shown(Format::Table, &revoked);
    assert!(
        text.starts_with("key           key_4fJ9aB2c3D4e5F6g7\nname          nightly export\n"),
        "{text}"
    );
    assert!(
        text.contains("created       2026-11-23 05:30:12Z  by caller_0a1B2c3D4e5F6g7H8\n"),
        "{text}"
    );
    assert!(text.contains("revoked       2026-11-23 05:30:13Z  KEY_COMPROMISE\n"), "{text}");
    assert!(text.contains("replaced by   key_successor\n"), "{text}");
    assert!(text.contains("expires       never\n"), "{text}");
}

#[test]
fn a_key_that_may_retire_early_says_so() {
    let idle = prost_types::Duration { seconds: 600, nanos: 0 };
    let retiring = v1::Key {
        state: v1::KeyState::Retiring.into(),
        retire_time: at(1_795_411_813),
        retire_when_idle_for: Some(idle),
        ..key()
    };
    assert_eq!(retiring.json()["retire_when_idle_for"], "600s");
    let text = shown(Format::Table, &retiring);
    let said = "retires       2026-11-23 05:30:13Z  or once unused for 10 min\n";
    assert!(text.contains(said), "{text}");
}

#[test]
fn keys_fit_a_narrow_terminal_and_their_ids_stay_whole() {
    let long =
        v1::Key { name: "the key of the nightly export to the warehouse".to_owned(), ..key() };
    let table = listed(Format::Table, &[key(), long]);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert_eq!(table.matches("key_4fJ9aB2c3D4e5F6g7 ").count(), 2, "{table}");
    assert!(
        table
            .lines()
            .next()
            .is_some_and(|titles| titles.starts_with("KEY ") && titles.contains("STATE")),
        "{table}"
    );
}

#[test]
fn an_account_is_shown_in_both_forms() {
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        plan: "standard".to_owned(),
        permissions: vec!["reports:read".to_owned(), "reports:write".to_owned()],
        status: v1::AccountStatus::Suspended.into(),
        create_time: at(1_795_411_812),
        update_time: at(1_795_411_812),
        position: 3,
        ..Default::default()
    };
    assert_eq!(
        account.json(),
        json!({
            "tenant_id": "acme",
            "account_id": "billing",
            "display_name": "",
            "plan": "standard",
            "permissions": ["reports:read", "reports:write"],
            "roles": [],
            "status": "SUSPENDED",
            "create_time": "2026-11-23T05:30:12Z",
            "update_time": "2026-11-23T05:30:12Z",
            "position": 3,
            "erased": false,
        })
    );
    let text = shown(Format::Table, &account);
    assert!(text.contains("permissions  reports:read, reports:write\nroles        —\n"), "{text}");
}

#[test]
fn what_is_erased_is_shown_as_that() {
    let erased = v1::Key { erased: true, name: String::new(), ..key() };
    let text = shown(Format::Table, &erased);
    assert!(text.contains("name          [erased]\n"), "{text}");
    assert!(text.contains("allowed from  [erased]\n") && text.contains("metadata      [erased]\n"));
    let account = v1::Account { erased: true, ..Default::default() };
    assert!(shown(Format::Table, &account).contains("[erased]"));
}

#[test]
fn a_caller_is_shown_with_roles_in_words_and_unbound_as_all_tenants() {
    let caller = v1::Caller {
        caller_id: "caller_0a1B2c3D4e5F6g7H8".to_owned(),
        name: "gateway".to_owned(),
        roles: vec![v1::Role::Authenticator.into(), v1::Role::Issuer.into()],
        create_time: at(1_795_411_812),
        revoke_time: at(1_795_411_813),
        last_use_time: at(1_795_411_812),
        position: 7,
        ..Default::default()
    };
    assert_eq!(
        caller.json(),
        json!({
            "caller_id": "caller_0a1B2c3D4e5F6g7H8",
            "name": "gateway",
            "owner": "",
            "roles": ["AUTHENTICATOR", "ISSUER"],
            "tenants": [],
            "spiffe_id": "",
            "san": "",
            "create_time": "2026-11-23T05:30:12Z",
            "expire_time": null,
            "revoke_time": "2026-11-23T05:30:13Z",
            "last_use_time": "2026-11-23T05:30:12Z",
            "retire_time": null,
            "position": 7,
        })
    );
    let text = shown(Format::Table, &caller);
    assert!(text.contains("tenants    all\n"), "{text}");
    let rotated = v1::Caller { retire_time: at(1_795_411_812), ..caller.clone() };
    let rotated = shown(Format::Table, &rotated);
    assert!(rotated.contains("works until 2026-11-23 05:30:12Z\n"), "{rotated}");
    assert!(text.contains("last used  2026-11-23 05:30:12Z\n"), "{text}");
    let table = listed(Format::Table, &[caller]);
    assert!(table.lines().nth(1).is_some_and(|row| row.ends_with("revoked")), "{table}");
}

#[test]
fn a_principal_is_shown_in_both_forms() {
    let principal = v1::Principal {
        key_id: "key_1".to_owned(),
        key_name: "nightly\nexport".to_owned(),
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        environment: "test".to_owned(),
        plan: "standard".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        principal.json(),
        json!({
            "key_id": "key_1",
            "key_name": "nightly\nexport",
            "tenant_id": "acme",
            "account_id": "billing",
            "environment": "test",
            "roles": [],
            "permissions": [],
            "plan": "standard",
            "expire_time": null,
            "metadata": {},
        })
    );
    let text = shown(Format::Table, &principal);
    assert!(text.contains("key          key_1 (nightly\\u{a}export)\n"), "{text}");
    assert!(text.contains("permissions  nothing\n"), "{text}");
}
