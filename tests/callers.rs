//! Callers: every RPC asks who calls. What roles and tenants allow is walked in `access.rs`.

mod common;

use common::{Client, TestServer, reason};
use keyledger::proto::v1::{self, Role};
use tonic::Code;

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
