//! Callers: every RPC asks who calls, and lets them do what their roles and tenants allow.

mod common;

use common::{Client, TestServer, new_key, reason};
use keyledger::proto::v1::{self, Role};
use tonic::{Code, Status};

#[tokio::test]
async fn without_a_credential_or_with_a_wrong_one_nothing_is_answered() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let missing =
        server.anonymous().await.get_key("key_00000000000000000").await.expect_err("none");
    assert_eq!(
        (missing.code(), reason(&missing).0.as_str()),
        (Code::Unauthenticated, "CALLER_CREDENTIAL_MISSING")
    );
    let mut forged = server.admin_credential();
    forged.replace_range(30..31, if &forged[30..31] == "a" { "b" } else { "a" });
    for credential in [&*secret, "nonsense", &*forged] {
        let refused = server
            .client(credential)
            .await
            .get_key("key_00000000000000000")
            .await
            .expect_err("wrong");
        assert_eq!(
            (refused.code(), reason(&refused).0.as_str()),
            (Code::Unauthenticated, "CALLER_CREDENTIAL_INVALID")
        );
    }
}

/// One call of every RPC that asks for a role, with a request that passes the edge.
#[expect(clippy::too_many_lines, reason = "one call of every RPC")]
async fn call_each(client: &Client) -> Vec<(&'static str, Option<Status>)> {
    let key_id = "key_00000000000000000".to_owned();
    let caller_id = "caller_00000000000000000".to_owned();
    let (mut keys, mut accounts, mut admin) =
        (client.keys.clone(), client.accounts.clone(), client.admin.clone());
    let overlap = Some(prost_types::Duration::default());
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "a".to_owned(),
        plan: "standard".to_owned(),
        ..Default::default()
    };
    let key = Some(v1::Key { key_id: key_id.clone(), name: "n".to_owned(), ..Default::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["name".to_owned()] });
    let (tenant_id, account_id) = ("acme".to_owned(), "a".to_owned());
    vec![
        ("Authenticate", keys.authenticate(v1::AuthenticateRequest::default()).await.err()),
        ("CreateKey", keys.create_key(new_key("acme", "a", "n")).await.err()),
        ("GetKey", keys.get_key(v1::GetKeyRequest { key_id: key_id.clone() }).await.err()),
        (
            "ListKeys",
            keys.list_keys(v1::ListKeysRequest {
                tenant_id: tenant_id.clone(),
                ..Default::default()
            })
            .await
            .err(),
        ),
        (
            "UpdateKey",
            keys.update_key(v1::UpdateKeyRequest { key, update_mask, ..Default::default() })
                .await
                .err(),
        ),
        (
            "DisableKey",
            keys.disable_key(v1::DisableKeyRequest {
                key_id: key_id.clone(),
                ..Default::default()
            })
            .await
            .err(),
        ),
        (
            "EnableKey",
            keys.enable_key(v1::EnableKeyRequest { key_id: key_id.clone(), ..Default::default() })
                .await
                .err(),
        ),
        (
            "RotateKey",
            keys.rotate_key(v1::RotateKeyRequest {
                key_id: key_id.clone(),
                overlap,
                ..Default::default()
            })
            .await
            .err(),
        ),
        (
            "RevokeKey",
            keys.revoke_key(v1::RevokeKeyRequest { key_id, ..Default::default() }).await.err(),
        ),
        (
            "ReportLeakedKey",
            keys.report_leaked_key(v1::ReportLeakedKeyRequest::default()).await.err(),
        ),
        (
            "PutAccount",
            accounts
                .put_account(v1::PutAccountRequest { account: Some(account), ..Default::default() })
                .await
                .err(),
        ),
        (
            "GetAccount",
            accounts
                .get_account(v1::GetAccountRequest { tenant_id: tenant_id.clone(), account_id })
                .await
                .err(),
        ),
        (
            "ListAccounts",
            accounts
                .list_accounts(v1::ListAccountsRequest { tenant_id, ..Default::default() })
                .await
                .err(),
        ),
        ("GetStatus", admin.get_status(v1::GetStatusRequest {}).await.err()),
        (
            "RotateCaller",
            admin
                .rotate_caller(v1::RotateCallerRequest {
                    caller_id: caller_id.clone(),
                    overlap,
                    ..Default::default()
                })
                .await
                .err(),
        ),
        (
            "RevokeCaller",
            admin
                .revoke_caller(v1::RevokeCallerRequest { caller_id, ..Default::default() })
                .await
                .err(),
        ),
        ("ListCallers", admin.list_callers(v1::ListCallersRequest::default()).await.err()),
        ("CreateCaller", admin.create_caller(v1::CreateCallerRequest::default()).await.err()),
    ]
}

/// What each role may call, after the contract.
fn allowed(role: Role) -> &'static [&'static str] {
    const READ_KEYS: [&str; 2] = ["GetKey", "ListKeys"];
    match role {
        Role::Authenticator => &["Authenticate", "ReportLeakedKey"],
        Role::Issuer => &[
            "CreateKey",
            "GetKey",
            "ListKeys",
            "UpdateKey",
            "DisableKey",
            "EnableKey",
            "RotateKey",
            "RevokeKey",
            "ReportLeakedKey",
            "GetAccount",
            "ListAccounts",
        ],
        Role::Provisioner => &["PutAccount", "GetAccount", "ListAccounts"],
        Role::Auditor | Role::Analyst => {
            const BOTH: &[&str] = &[READ_KEYS[0], READ_KEYS[1], "GetAccount", "ListAccounts"];
            BOTH
        }
        Role::Operator => &["GetStatus"],
        Role::Admin | Role::Unspecified => &[
            "Authenticate",
            "CreateKey",
            "GetKey",
            "ListKeys",
            "UpdateKey",
            "DisableKey",
            "EnableKey",
            "RotateKey",
            "RevokeKey",
            "ReportLeakedKey",
            "PutAccount",
            "GetAccount",
            "ListAccounts",
            "GetStatus",
            "RotateCaller",
            "RevokeCaller",
            "ListCallers",
            "CreateCaller",
        ],
    }
}

#[tokio::test]
async fn each_rpc_is_open_to_its_roles_and_to_no_other() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let roles = [
        Role::Authenticator,
        Role::Issuer,
        Role::Provisioner,
        Role::Auditor,
        Role::Analyst,
        Role::Operator,
        Role::Admin,
    ];
    for role in roles {
        let (_, credential) = admin.create_caller(&[role], &[]).await;
        let client = server.client(&credential).await;
        for (rpc, refused) in call_each(&client).await {
            let by_role = refused.is_some_and(|status| {
                status.code() == Code::PermissionDenied && reason(&status).0 == "ROLE_MISSING"
            });
            assert_eq!(!by_role, allowed(role).contains(&rpc), "{role:?} calls {rpc}");
        }
    }
}

#[tokio::test]
async fn a_caller_grants_nothing_that_it_lacks() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (_, credential) = admin.create_caller(&[Role::Admin], &["acme"]).await;
    let bound = server.client(&credential).await;
    for tenants in [vec![], vec!["globex".to_owned()], vec!["acme".to_owned(), "globex".to_owned()]]
    {
        let request = v1::CreateCallerRequest {
            name: "n".to_owned(),
            owner: "o".to_owned(),
            roles: vec![Role::Authenticator.into()],
            tenants,
            ..Default::default()
        };
        let refused =
            bound.admin.clone().create_caller(request).await.expect_err("more than it holds");
        assert_eq!(
            (refused.code(), reason(&refused).0.as_str()),
            (Code::PermissionDenied, "GRANT_EXCEEDS_OWN")
        );
    }
    let (own, _) = bound.create_caller(&[Role::Issuer], &["acme"]).await;
    let listed =
        bound.admin.clone().list_callers(v1::ListCallersRequest::default()).await.expect("a page");
    let ids: Vec<_> =
        listed.into_inner().callers.into_iter().map(|caller| caller.caller_id).collect();
    assert!(ids.contains(&own.caller_id));
    assert_eq!(ids.len(), 2, "it sees itself and the one it made, not the first admin");
}

#[tokio::test]
async fn a_credential_is_rotated_with_overlap_and_revoked_at_once() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (caller, old) = admin.create_caller(&[Role::Authenticator], &[]).await;
    assert!(old.starts_with("kl_svc_"));
    let request = v1::RotateCallerRequest {
        caller_id: caller.caller_id.clone(),
        overlap: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let rotated = admin.admin.clone().rotate_caller(request).await.expect("rotated").into_inner();
    let (old, new) = (server.client(&old).await, server.client(&rotated.credential).await);
    let ask = async |client: &Client| {
        client.keys.clone().authenticate(v1::AuthenticateRequest::default()).await
    };
    ask(&old).await.expect("in the overlap");
    ask(&new).await.expect("the new one");
    server.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(ask(&old).await.expect_err("over").code(), Code::Unauthenticated);
    ask(&new).await.expect("still");
    let request =
        v1::RevokeCallerRequest { caller_id: caller.caller_id.clone(), ..Default::default() };
    let revoked = admin.admin.clone().revoke_caller(request).await.expect("revoked").into_inner();
    assert!(revoked.caller.expect("a caller").revoke_time.is_some());
    assert_eq!(ask(&new).await.expect_err("revoked").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_last_admin_stays() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let listed =
        admin.admin.clone().list_callers(v1::ListCallersRequest::default()).await.expect("a page");
    let first = listed.into_inner().callers.remove(0);
    let revoke = v1::RevokeCallerRequest { caller_id: first.caller_id, ..Default::default() };
    let refused = admin.admin.clone().revoke_caller(revoke.clone()).await.expect_err("the last");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::FailedPrecondition, "LAST_ADMIN")
    );
    let (_, bound) = admin.create_caller(&[Role::Admin], &["acme"]).await;
    let refused =
        admin.admin.clone().revoke_caller(revoke.clone()).await.expect_err("the other is bound");
    assert_eq!(reason(&refused).0, "LAST_ADMIN");
    drop(bound);
    let (_, second) = admin.create_caller(&[Role::Admin], &[]).await;
    server.client(&second).await.admin.revoke_caller(revoke).await.expect("another governs all");
    let refused = admin.get_key("key_00000000000000000").await.expect_err("revoked");
    assert_eq!(refused.code(), Code::Unauthenticated);
}
