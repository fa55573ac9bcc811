//! Nothing crosses from one tenant to another: what the table of access says, on every RPC.

mod common;

use std::collections::BTreeMap;

use common::{Client, TestServer, new_key, reason, usage};
use keyledger::grpc::access::{self, Bound};
use keyledger::proto::v1::{self, Role};
use tonic::{Code, Status};

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

/// What belongs to the other tenant.
struct Foreign {
    key_id: String,
    secret: String,
    caller_id: String,
}

/// Every RPC about what belongs to `globex`, called by someone bound to `acme`.
#[expect(clippy::too_many_lines, reason = "one call of every RPC")]
async fn call_each(
    bound: &Client,
    foreign: &Foreign,
) -> BTreeMap<&'static str, Result<(), Status>> {
    let (mut keys, mut accounts) = (bound.keys.clone(), bound.accounts.clone());
    let (mut admin, mut usage) = (bound.admin.clone(), bound.usage.clone());
    let mut audit = bound.audit.clone();
    let filter = Some(v1::EventFilter { tenant_id: "globex".to_owned(), ..Default::default() });
    let key_id = || foreign.key_id.clone();
    let caller_id = || foreign.caller_id.clone();
    let tenant_id = || "globex".to_owned();
    let account_id = || "billing".to_owned();
    let overlap = Some(prost_types::Duration::default());
    let key = Some(v1::Key { key_id: key_id(), name: "mine".to_owned(), ..Default::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["name".to_owned()] });
    let account = Some(v1::Account {
        tenant_id: tenant_id(),
        account_id: account_id(),
        plan: "enterprise".to_owned(),
        ..Default::default()
    });
    let api_key = foreign.secret.clone();
    macro_rules! call {
        ($client:ident.$rpc:ident($request:expr)) => {
            $client.$rpc($request).await.map(|_| ())
        };
    }
    BTreeMap::from([
        (
            "Authenticate",
            call!(keys.authenticate(v1::AuthenticateRequest {
                tenant_id: Some(tenant_id()),
                ..Default::default()
            })),
        ),
        ("CreateKey", call!(keys.create_key(new_key("globex", "billing", "k")))),
        ("GetKey", call!(keys.get_key(v1::GetKeyRequest { key_id: key_id() }))),
        (
            "ListKeys",
            call!(
                keys.list_keys(v1::ListKeysRequest {
                    tenant_id: tenant_id(),
                    ..Default::default()
                })
            ),
        ),
        (
            "UpdateKey",
            call!(keys.update_key(v1::UpdateKeyRequest { key, update_mask, ..Default::default() })),
        ),
        (
            "DisableKey",
            call!(
                keys.disable_key(v1::DisableKeyRequest { key_id: key_id(), ..Default::default() })
            ),
        ),
        (
            "EnableKey",
            call!(keys.enable_key(v1::EnableKeyRequest { key_id: key_id(), ..Default::default() })),
        ),
        (
            "RotateKey",
            call!(keys.rotate_key(v1::RotateKeyRequest {
                key_id: key_id(),
                overlap,
                ..Default::default()
            })),
        ),
        (
            "RevokeKey",
            call!(keys.revoke_key(v1::RevokeKeyRequest { key_id: key_id(), ..Default::default() })),
        ),
        (
            "ReportLeakedKey",
            call!(
                keys.report_leaked_key(v1::ReportLeakedKeyRequest {
                    api_key,
                    ..Default::default()
                })
            ),
        ),
        (
            "PutAccount",
            call!(accounts.put_account(v1::PutAccountRequest { account, ..Default::default() })),
        ),
        (
            "GetAccount",
            call!(accounts.get_account(v1::GetAccountRequest {
                tenant_id: tenant_id(),
                account_id: account_id()
            })),
        ),
        (
            "ListAccounts",
            call!(accounts.list_accounts(v1::ListAccountsRequest {
                tenant_id: tenant_id(),
                ..Default::default()
            })),
        ),
        (
            "RotateCaller",
            call!(admin.rotate_caller(v1::RotateCallerRequest {
                caller_id: caller_id(),
                overlap,
                ..Default::default()
            })),
        ),
        (
            "RevokeCaller",
            call!(admin.revoke_caller(v1::RevokeCallerRequest {
                caller_id: caller_id(),
                ..Default::default()
            })),
        ),
        (
            "CreateCaller",
            call!(admin.create_caller(v1::CreateCallerRequest {
                name: "n".to_owned(),
                owner: "o".to_owned(),
                roles: vec![Role::Issuer.into()],
                tenants: vec![tenant_id()],
                ..Default::default()
            })),
        ),
        (
            "GetKeyUsage",
            call!(usage.get_key_usage(usage::of_key(&key_id(), v1::Granularity::Hour))),
        ),
        (
            "QueryUsage",
            call!(usage.query_usage(usage::of_tenant("globex", &[v1::GroupBy::Account]))),
        ),
        ("ListIdleKeys", call!(usage.list_idle_keys(usage::idle("globex", 60)))),
        (
            "GetStragglers",
            call!(usage.get_stragglers(v1::GetStragglersRequest {
                key_id: key_id(),
                ..Default::default()
            })),
        ),
        (
            "ListSignals",
            call!(usage.list_signals(v1::ListSignalsRequest {
                tenant_id: tenant_id(),
                start_time: usage::at(common::START),
                ..Default::default()
            })),
        ),
        (
            "StreamEvents",
            call!(audit.stream_events(v1::StreamEventsRequest { filter, ..Default::default() })),
        ),
        (
            "GetKeyTimeline",
            call!(audit.get_key_timeline(v1::GetKeyTimelineRequest {
                key_id: key_id(),
                ..Default::default()
            })),
        ),
        (
            "GetKeyAt",
            call!(audit.get_key_at(v1::GetKeyAtRequest {
                key_id: key_id(),
                at: Some(v1::get_key_at_request::At::Position(1)),
            })),
        ),
        (
            "GetAccountAt",
            call!(audit.get_account_at(v1::GetAccountAtRequest {
                tenant_id: tenant_id(),
                account_id: account_id(),
                at: Some(v1::get_account_at_request::At::Position(1)),
            })),
        ),
        ("GetStatus", call!(admin.get_status(v1::GetStatusRequest {}))),
        ("Backup", call!(admin.backup(v1::BackupRequest::default()))),
        ("ListCallers", call!(admin.list_callers(v1::ListCallersRequest::default()))),
    ])
}

#[tokio::test]
async fn each_rpc_keeps_the_tenant_bound_that_the_table_names() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account_of("globex", "billing", "standard", &[]).await;
    let made = admin.keys.clone().create_key(new_key("globex", "billing", "g")).await;
    let made = made.expect("created").into_inner();
    let (other, _) = admin.create_caller(&[Role::Issuer], &["globex"]).await;
    let foreign = Foreign {
        key_id: made.key.expect("a key").key_id,
        secret: made.secret,
        caller_id: other.caller_id.clone(),
    };
    let (_, credential) = admin.create_caller(&[Role::Admin], &["acme"]).await;
    let bound = server.client(&credential).await;
    let head = async || {
        let status = admin.admin.clone().get_status(v1::GetStatusRequest {}).await;
        status.expect("a status").into_inner().head
    };
    let before = head().await;
    let mut answers = call_each(&bound, &foreign).await;
    for (path, _, rule) in access::table() {
        let rpc = path.rsplit('/').next().expect("a name");
        let expected = match rule {
            Bound::NoTenant => continue,
            Bound::Refused | Bound::Unknown => (Code::PermissionDenied, "TENANT_NOT_ALLOWED"),
            Bound::Hidden => (Code::NotFound, ""),
            Bound::OwnOnly if rpc == "ListCallers" => continue,
            Bound::OwnOnly => (Code::PermissionDenied, "GRANT_EXCEEDS_OWN"),
        };
        let answer = answers.remove(rpc).unwrap_or_else(|| panic!("{rpc} is not walked"));
        let refused = answer.expect_err(rpc);
        assert_eq!(refused.code(), expected.0, "{rpc}");
        assert!(expected.1.is_empty() || reason(&refused).0 == expected.1, "{rpc}: {refused:?}");
    }
    assert_eq!(head().await, before, "nothing was recorded");
    let listed = bound.admin.clone().list_callers(v1::ListCallersRequest::default()).await;
    let listed = listed.expect("a page").into_inner().callers;
    assert!(listed.iter().all(|caller| caller.tenants == ["acme"]), "it sees its own tenant's");
    assert_eq!(admin.verdict(&foreign.secret).await, Ok(()));
}
