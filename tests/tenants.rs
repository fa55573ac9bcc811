//! Nothing crosses from one tenant to another. Every RPC is walked in `access.rs`.

mod common;

use common::{TestServer, new_key, reason};
use keyledger::proto::v1::{self, Role};
use tonic::Code;

#[tokio::test]
async fn to_a_caller_bound_to_a_tenant_another_tenant_looks_like_none() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account_of("acme", "billing", "standard", &[]).await;
    admin.put_account_of("globex", "billing", "standard", &[]).await;
    let (_, acme_secret) = admin.create_key("billing", "a").await;
    let created = admin
        .keys
        .clone()
        .create_key(new_key("globex", "billing", "g"))
        .await
        .expect("created")
        .into_inner();
    let (foreign, foreign_secret) = (created.key.expect("a key"), created.secret);
    let (_, credential) = admin.create_caller(&[Role::Admin], &["acme"]).await;
    let bound = server.client(&credential).await;

    assert_eq!(bound.verdict(&acme_secret).await, Ok(()));
    let answer = bound.authenticate(&foreign_secret, &[]).await;
    assert_eq!(answer.denial_reason(), v1::DenialReason::UnknownKey);
    assert_eq!((answer.key_id.as_str(), answer.evidence_position), ("", 0));

    let nobody = bound.get_key("key_00000000000000000").await.expect_err("none");
    let hidden = bound.get_key(&foreign.key_id).await.expect_err("hidden");
    assert_eq!(
        (nobody.code(), nobody.message(), reason(&nobody)),
        (hidden.code(), hidden.message(), reason(&hidden))
    );
    assert_eq!(bound.revoke(&foreign.key_id).await.expect_err("hidden").code(), Code::NotFound);
    assert_eq!(admin.verdict(&foreign_secret).await, Ok(()));
    let report =
        v1::ReportLeakedKeyRequest { api_key: foreign_secret.clone(), ..Default::default() };
    assert_eq!(
        bound.keys.clone().report_leaked_key(report).await.expect_err("hidden").code(),
        Code::NotFound
    );

    for tenant in ["globex", "nowhere"] {
        let request = v1::ListKeysRequest { tenant_id: tenant.to_owned(), ..Default::default() };
        let refused = bound.keys.clone().list_keys(request).await.expect_err("foreign");
        assert_eq!(
            (refused.code(), reason(&refused).0.as_str()),
            (Code::PermissionDenied, "TENANT_NOT_ALLOWED")
        );
        let request =
            v1::AuthenticateRequest { tenant_id: Some(tenant.to_owned()), ..Default::default() };
        let refused = bound.keys.clone().authenticate(request).await.expect_err("foreign");
        assert_eq!(reason(&refused).0, "TENANT_NOT_ALLOWED");
        let refused = bound
            .keys
            .clone()
            .create_key(new_key(tenant, "billing", "k"))
            .await
            .expect_err("foreign");
        assert_eq!(reason(&refused).0, "TENANT_NOT_ALLOWED");
        let request = v1::GetAccountRequest {
            tenant_id: tenant.to_owned(),
            account_id: "billing".to_owned(),
        };
        assert_eq!(
            bound.accounts.clone().get_account(request).await.expect_err("foreign").code(),
            Code::NotFound
        );
    }
}
