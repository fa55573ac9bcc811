//! GetKeyAt and GetAccountAt: what was, and what it was worth, by the rules of then.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Client, START, TestServer, fields, new_key, reason};
use keyledger::proto::v1::get_account_at_request::At as AccountMoment;
use keyledger::proto::v1::get_key_at_request::At;
use keyledger::proto::v1::{self, DenialReason, GetAccountAtRequest, GetKeyAtRequest, Role};
use prost_types::Timestamp;
use tonic::{Code, Status};

fn second(after_start: i64) -> Timestamp {
    Timestamp { seconds: START.as_micros() / 1_000_000 + after_start, nanos: 0 }
}

async fn key_at(client: &Client, key_id: &str, at: At) -> Result<v1::KeySnapshot, Status> {
    let request = GetKeyAtRequest { key_id: key_id.to_owned(), at: Some(at) };
    let answer = client.audit.clone().get_key_at(request).await?.into_inner();
    Ok(answer.key_snapshot.expect("a snapshot"))
}

async fn account_at(client: &Client, at: AccountMoment) -> Result<v1::AccountSnapshot, Status> {
    let request = GetAccountAtRequest {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        at: Some(at),
    };
    let answer = client.audit.clone().get_account_at(request).await?.into_inner();
    Ok(answer.account_snapshot.expect("a snapshot"))
}

async fn put_status(client: &Client, status: v1::AccountStatus) -> u64 {
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        status: status.into(),
        ..Default::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["status".to_owned()] });
    let request =
        v1::PutAccountRequest { account: Some(account), update_mask, ..Default::default() };
    client.accounts.clone().put_account(request).await.expect("put").into_inner().position
}

#[tokio::test]
async fn a_key_is_judged_as_it_was_at_any_time_and_behind_any_position() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let wait = || server.clock.advance(Duration::from_secs(10));
    admin.put_account("billing", "standard", &["reports:*", "files:read"]).await;
    wait(); // 10 s
    let (key, _) = admin.create_key("billing", "nightly").await;
    let key_id = || key.key_id.clone();
    wait(); // 20 s
    let request = v1::DisableKeyRequest { key_id: key_id(), ..Default::default() };
    let disabled =
        admin.keys.clone().disable_key(request).await.expect("done").into_inner().position;
    wait(); // 30 s
    let request = v1::EnableKeyRequest { key_id: key_id(), ..Default::default() };
    let enabled = admin.keys.clone().enable_key(request).await.expect("done").into_inner().position;
    wait(); // 40 s
    let narrowed = v1::Key {
        key_id: key_id(),
        name: "narrowed".to_owned(),
        scopes: Some(v1::Scopes { permissions: vec!["reports:read".to_owned()] }),
        ..Default::default()
    };
    let paths = vec!["name".to_owned(), "scopes".to_owned()];
    let update_mask = Some(prost_types::FieldMask { paths });
    let request = v1::UpdateKeyRequest { key: Some(narrowed), update_mask, ..Default::default() };
    let updated = admin.keys.clone().update_key(request).await.expect("done").into_inner().position;
    wait(); // 50 s
    let suspended = put_status(&admin, v1::AccountStatus::Suspended).await;
    wait(); // 60 s
    let active = put_status(&admin, v1::AccountStatus::Active).await;
    wait(); // 70 s
    let revoked = admin.revoke(&key.key_id).await.expect("done").position;
    wait(); // 80 s

    let (whole, narrow) = (["files:read", "reports:*"].as_slice(), ["reports:read"].as_slice());
    let valid = (true, DenialReason::Unspecified, 0);
    let denied = |reason, by| (false, reason, by);
    let story = [
        (5, key.position - 1, denied(DenialReason::UnknownKey, 0), [].as_slice(), ""),
        (10, key.position, valid, whole, "nightly"),
        (29, disabled, denied(DenialReason::Disabled, disabled), whole, "nightly"),
        (30, enabled, valid, whole, "nightly"),
        (45, updated, valid, narrow, "narrowed"),
        (59, suspended, denied(DenialReason::AccountInactive, suspended), narrow, "narrowed"),
        (60, active, valid, narrow, "narrowed"),
        (70, revoked, denied(DenialReason::Revoked, revoked), narrow, "narrowed"),
        (80, revoked, denied(DenialReason::Revoked, revoked), narrow, "narrowed"),
    ];
    for (seconds, position, verdict, permissions, name) in story {
        for at in [At::Time(second(seconds)), At::Position(position)] {
            let was = key_at(&admin, &key.key_id, at).await.expect("a snapshot");
            assert_eq!((was.valid, was.denial_reason(), was.evidence_position), verdict, "{at:?}");
            assert_eq!(was.permissions, permissions, "{at:?}");
            assert_eq!(was.position, position, "{at:?}");
            assert_eq!(was.key.map(|key| key.name).unwrap_or_default(), name, "{at:?}");
            if let Some(plan) = was.plan {
                assert_eq!((plan.name.as_str(), plan.active_keys), ("standard", Some(5)));
            }
        }
    }
    let account = account_at(&admin, AccountMoment::Time(second(55))).await.expect("a snapshot");
    assert_eq!(
        (account.denial_reason(), account.evidence_position),
        (DenialReason::AccountInactive, suspended)
    );
    assert_eq!(account.account.expect("there").display_name, "Account billing");
    let account = account_at(&admin, AccountMoment::Position(active)).await.expect("a snapshot");
    assert!(account.valid);
    assert_eq!(account.permissions, whole);
    let account = account_at(&admin, AccountMoment::Position(1)).await.expect("a snapshot");
    assert_eq!((account.valid, account.account, account.plan), (false, None, None));
}

#[tokio::test]
async fn an_expiry_is_judged_by_the_time_that_is_asked_about() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let request = v1::CreateKeyRequest {
        expire_time: Some(second(60)),
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..new_key("acme", "billing", "short")
    };
    let key = admin.keys.clone().create_key(request).await.expect("made").into_inner().key;
    let key = key.expect("a key");
    server.clock.advance(Duration::from_secs(100));
    let was =
        async |seconds| key_at(&admin, &key.key_id, At::Time(second(seconds))).await.expect("was");
    assert!(was(59).await.valid);
    let expired = was(60).await;
    assert_eq!(
        (expired.denial_reason(), expired.evidence_position),
        (DenialReason::Expired, key.position)
    );
    assert_eq!(expired.key.expect("there").state(), v1::KeyState::Expired);
}

#[tokio::test]
async fn the_past_is_judged_by_the_plans_and_roles_of_then() {
    let config = "[roles.reader]\npermissions = [\"reports:read\"]\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        plan: "standard".to_owned(),
        roles: vec!["reader".to_owned()],
        ..Default::default()
    };
    let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
    admin.accounts.clone().put_account(request).await.expect("put");
    let (key, _) = admin.create_key("billing", "nightly").await;
    drop(admin);
    let (clock, dir) = (Arc::clone(&server.clock), server.stop().await);
    clock.advance(Duration::from_secs(100));
    let config = "[roles.reader]\npermissions = [\"files:*\"]\n[plans.standard]\nactive_keys = 7\n";
    let server = TestServer::builder().dir(&dir).clock(&clock).config(config).start().await;
    let admin = server.admin().await;
    let then = key_at(&admin, &key.key_id, At::Time(second(50))).await.expect("a snapshot");
    assert_eq!(then.permissions, ["reports:read"]);
    assert_eq!(then.plan.expect("defined").active_keys, Some(5));
    let now = key_at(&admin, &key.key_id, At::Time(second(100))).await.expect("a snapshot");
    assert_eq!(now.permissions, ["files:*"]);
    assert_eq!(now.plan.expect("defined").active_keys, Some(7));
    assert!(then.policy_position < key.position && now.policy_position > key.position);
}

#[tokio::test]
async fn uses_are_those_on_record_by_then_and_say_up_to_when() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (key, secret) = admin.create_key("billing", "nightly").await;
    for _ in 0..3 {
        server.clock.advance(Duration::from_secs(1));
        assert_eq!(admin.verdict(&secret).await, Ok(()));
    }
    drop(admin);
    let server = server.restart().await;
    let admin = server.admin().await;
    let created = key_at(&admin, &key.key_id, At::Position(key.position)).await.expect("was");
    assert_eq!((created.key.expect("there").use_count, created.uses_as_of), (0, None));
    let now = key_at(&admin, &key.key_id, At::Time(second(3))).await.expect("was");
    assert_eq!(now.uses_as_of, Some(second(60)), "the end of the minute");
    let key = now.key.expect("there");
    assert_eq!((key.use_count, key.last_use_time, key.denied_count), (3, Some(second(3)), 0));
}

#[tokio::test]
async fn what_is_no_instant_of_the_log_and_what_may_not_be_seen_is_refused() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account_of("globex", "billing", "standard", &[]).await;
    let made = admin.keys.clone().create_key(new_key("globex", "billing", "g")).await;
    let key = made.expect("created").into_inner().key.expect("a key");
    let refused = async |at| key_at(&admin, &key.key_id, at).await.expect_err("refused");
    assert_eq!(fields(&refused(At::Position(0)).await), ["position"]);
    assert_eq!(fields(&refused(At::Time(second(1))).await), ["time"]);
    let beyond = refused(At::Position(key.position + 1)).await;
    assert_eq!(
        (beyond.code(), reason(&beyond).0.as_str()),
        (Code::OutOfRange, "POSITION_BEYOND_HEAD")
    );
    let request = GetKeyAtRequest { key_id: key.key_id.clone(), at: None };
    let nowhere = admin.audit.clone().get_key_at(request).await.expect_err("no instant");
    assert_eq!(fields(&nowhere), ["at"]);

    let (_, credential) = admin.create_caller(&[Role::Auditor], &["acme"]).await;
    let bound = server.client(&credential).await;
    let hidden = key_at(&bound, &key.key_id, At::Position(1)).await.expect_err("hidden");
    assert_eq!(reason(&hidden).0, "KEY_NOT_FOUND");
    let hidden = account_at(&bound, AccountMoment::Position(1)).await.expect_err("none");
    assert_eq!(reason(&hidden).0, "ACCOUNT_NOT_FOUND");
}
