//! Bad input gets an error that names the field and the bound, and changes nothing.

mod common;

use std::collections::BTreeMap;

use common::{Client, TestServer, fields, new_key, reason};
use keyledger::proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt;

async fn started() -> (TestServer, Client, v1::Key) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:*"]).await;
    let (key, _) = admin.create_key("billing", "ci").await;
    (server, admin, key)
}

fn text(length: usize) -> String {
    "x".repeat(length)
}

fn scopes(words: &[&str]) -> Option<v1::Scopes> {
    Some(v1::Scopes { permissions: words.iter().map(|&word| word.to_owned()).collect() })
}

fn metadata(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn each_bad_field_of_a_new_key_is_named() {
    let (_server, admin, _) = started().await;
    let good = || new_key("acme", "billing", "fine");
    let many = metadata(&[]).into_iter().chain((0..33).map(|n| (n.to_string(), String::new())));
    let cases = [
        ("tenant_id", v1::CreateKeyRequest { tenant_id: String::new(), ..good() }),
        ("tenant_id", v1::CreateKeyRequest { tenant_id: text(129), ..good() }),
        ("account_id", v1::CreateKeyRequest { account_id: "a b".to_owned(), ..good() }),
        ("name", v1::CreateKeyRequest { name: String::new(), ..good() }),
        ("name", v1::CreateKeyRequest { name: text(201), ..good() }),
        ("name", v1::CreateKeyRequest { name: "a\u{7}b".to_owned(), ..good() }),
        ("environment", v1::CreateKeyRequest { environment: "svc".to_owned(), ..good() }),
        ("environment", v1::CreateKeyRequest { environment: String::new(), ..good() }),
        (
            "scopes.permissions[1]",
            v1::CreateKeyRequest { scopes: scopes(&["a", "a:*:b"]), ..good() },
        ),
        ("scopes.permissions[0]", v1::CreateKeyRequest { scopes: scopes(&[&text(129)]), ..good() }),
        ("scopes.permissions", v1::CreateKeyRequest { scopes: scopes(&["a"; 65]), ..good() }),
        (
            "allowed_cidrs[0]",
            v1::CreateKeyRequest { allowed_cidrs: vec!["10.0.0.0/33".to_owned()], ..good() },
        ),
        (
            "allowed_cidrs",
            v1::CreateKeyRequest { allowed_cidrs: vec!["10.0.0.1".to_owned(); 33], ..good() },
        ),
        ("metadata", v1::CreateKeyRequest { metadata: many.collect(), ..good() }),
        ("metadata", v1::CreateKeyRequest { metadata: metadata(&[("k", &text(513))]), ..good() }),
        ("metadata", v1::CreateKeyRequest { metadata: metadata(&[(&text(65), "v")]), ..good() }),
        ("request_id", v1::CreateKeyRequest { request_id: "not-a-uuid".to_owned(), ..good() }),
        (
            "on_behalf_of.note",
            v1::CreateKeyRequest {
                on_behalf_of: Some(v1::OnBehalfOf { note: text(201), ..Default::default() }),
                ..good()
            },
        ),
        (
            "expire_time",
            v1::CreateKeyRequest {
                expire_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
                ..good()
            },
        ),
        (
            "expire_time",
            v1::CreateKeyRequest {
                expire_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
                ..good()
            },
        ),
    ];
    let before = head(&admin).await;
    for (field, request) in cases {
        let refused = admin.keys.clone().create_key(request).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        assert!(fields(&refused)[0].starts_with(field), "{field}: {:?}", fields(&refused));
        assert!(!text_of(&refused).contains(&text(65)), "the value is not repeated");
    }
    assert_eq!(head(&admin).await, before, "a refusal records nothing");
}

async fn head(admin: &Client) -> u64 {
    let request = v1::GetStatusRequest {};
    admin.admin.clone().get_status(request).await.expect("a status").into_inner().head
}

/// Everything a status says.
fn text_of(status: &Status) -> String {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|request| request.field_violations.clone());
    let violations =
        violations.unwrap_or_default().into_iter().map(|it| it.field + &it.description);
    status.message().to_owned() + &violations.collect::<String>()
}

#[tokio::test]
async fn unset_overlap_unknown_enums_and_unknown_fields_are_refused() {
    let (_server, admin, key) = started().await;
    let key_id = || key.key_id.clone();
    let mut keys = admin.keys.clone();
    let unset = v1::RotateKeyRequest { key_id: key_id(), ..Default::default() };
    assert_eq!(fields(&keys.rotate_key(unset).await.expect_err("unset")), ["overlap"]);
    for (seconds, nanos) in [(-1, 0), (0, -1), (90 * 86_400 + 1, 0), (0, 2_000_000_000)] {
        let overlap = Some(prost_types::Duration { seconds, nanos });
        let request = v1::RotateKeyRequest { key_id: key_id(), overlap, ..Default::default() };
        assert_eq!(fields(&keys.rotate_key(request).await.expect_err("range")), ["overlap"]);
    }
    let request = v1::RevokeKeyRequest { key_id: key_id(), reason: 99, ..Default::default() };
    assert_eq!(fields(&keys.revoke_key(request).await.expect_err("unknown")), ["reason"]);
    let request =
        v1::RevokeKeyRequest { key_id: key_id(), comment: text(1001), ..Default::default() };
    assert_eq!(fields(&keys.revoke_key(request).await.expect_err("long")), ["comment"]);
    let filter = Some(v1::KeyFilter { states: vec![99], ..Default::default() });
    let request =
        v1::ListKeysRequest { tenant_id: "acme".to_owned(), filter, ..Default::default() };
    assert_eq!(fields(&keys.list_keys(request).await.expect_err("unknown")), ["filter.states[0]"]);
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        status: 99,
        ..Default::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["status".to_owned()] });
    let request =
        v1::PutAccountRequest { account: Some(account), update_mask, ..Default::default() };
    let refused = admin.accounts.clone().put_account(request).await.expect_err("unknown");
    assert_eq!(fields(&refused), ["account.status"]);
    let request = v1::CreateCallerRequest {
        name: "n".to_owned(),
        owner: "o".to_owned(),
        roles: vec![99],
        ..Default::default()
    };
    let refused = admin.admin.clone().create_caller(request).await.expect_err("unknown");
    assert_eq!(fields(&refused), ["roles[0]"]);
    assert_eq!(admin.get_key(&key.key_id).await.expect("found").state(), v1::KeyState::Active);
}

#[tokio::test]
async fn ids_that_name_nothing_are_not_found_and_ids_of_no_form_are_invalid() {
    let (_server, admin, _) = started().await;
    let unknown = admin.get_key("key_00000000000000000").await.expect_err("none");
    assert_eq!((unknown.code(), reason(&unknown).0.as_str()), (Code::NotFound, "KEY_NOT_FOUND"));
    for id in ["", "key_", "caller_00000000000000000", "key_zzzzzzzzzzzzzzzzz"] {
        let refused = admin.get_key(id).await.expect_err("no form");
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["key_id".to_owned()])
        );
    }
    let caller_id = "caller_00000000000000000".to_owned();
    let request = v1::RevokeCallerRequest { caller_id, ..Default::default() };
    let unknown = admin.admin.clone().revoke_caller(request).await.expect_err("none");
    assert_eq!(reason(&unknown).0, "CALLER_NOT_FOUND");
}

#[tokio::test]
async fn messages_that_are_too_large_or_no_text_are_refused_with_a_reason() {
    let (_server, admin, _) = started().await;
    let large = v1::AuthenticateRequest { api_key: text(100_000), ..Default::default() };
    let refused = admin.keys.clone().authenticate(large).await.expect_err("too large");
    assert_eq!(reason(&refused).0, "REQUEST_TOO_LARGE");
    let long = v1::AuthenticateRequest { api_key: text(513), ..Default::default() };
    let refused = admin.keys.clone().authenticate(long).await.expect_err("too long");
    assert_eq!(fields(&refused), ["api_key"]);
}
