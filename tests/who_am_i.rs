//! The holder of a key asks what it is; the key itself is the credential.

mod common;

use common::{TestServer, reason};
use keyledger::proto::v1;
use tonic::Code;

#[tokio::test]
async fn who_am_i_takes_the_key_itself_and_tells_no_more_than_authenticate_would() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &["reports:*"]).await;
    let (key, secret) = admin.create_key("billing", "ci").await;
    let ask = async |credential: String| {
        server.client(&credential).await.keys.who_am_i(v1::WhoAmIRequest {}).await
    };
    let principal = ask(secret.clone()).await.expect("an answer").into_inner().principal;
    assert_eq!(principal.expect("a principal").key_id, key.key_id);
    let refused = ask(server.admin_credential()).await.expect_err("a caller is no key");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::Unauthenticated, "API_KEY_INVALID")
    );
    let mask = prost_types::FieldMask { paths: vec!["status".to_owned()] };
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        status: v1::AccountStatus::Suspended.into(),
        ..Default::default()
    };
    let request = v1::PutAccountRequest {
        account: Some(account),
        update_mask: Some(mask),
        ..Default::default()
    };
    admin.accounts.clone().put_account(request).await.expect("suspended");
    let refused = ask(secret.clone()).await.expect_err("suspended");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::PermissionDenied, "API_KEY_UNAUTHORIZED")
    );
    admin.revoke(&key.key_id).await.expect("revoked");
    let refused = ask(secret).await.expect_err("revoked");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let anonymous = server.anonymous().await.keys.who_am_i(v1::WhoAmIRequest {}).await;
    assert_eq!(anonymous.expect_err("no key").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn who_am_i_is_bounded_per_source() {
    let server = TestServer::builder()
        .config("[limits]\nwho_am_i_per_source_per_minute = 3\n")
        .start()
        .await;
    let mut keys = server.client("nonsense").await.keys;
    for _ in 0..3 {
        let refused = keys.who_am_i(v1::WhoAmIRequest {}).await.expect_err("no key");
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let refused = keys.who_am_i(v1::WhoAmIRequest {}).await.expect_err("over the bound");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::ResourceExhausted, "SOURCE_OVERLOADED")
    );
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let works = server.client(&secret).await.keys.who_am_i(v1::WhoAmIRequest {}).await;
    assert!(works.is_ok(), "a key that works is not refused for what others try");
    server.clock.advance(std::time::Duration::from_secs(60));
    let refused = keys.who_am_i(v1::WhoAmIRequest {}).await.expect_err("no key");
    assert_eq!(refused.code(), Code::Unauthenticated);
}
