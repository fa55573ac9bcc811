//! Nobody outruns a revocation: a decision that starts after the change has been answered obeys it.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use common::{Client, TestServer, new_key, reason};
use keyledger::proto::v1::{self, DenialReason, Outcome};
use tonic::Code;

const TASKS: usize = 64;

/// One Authenticate: when it started and whether it was allowed.
struct Seen {
    started: Instant,
    allowed: bool,
}

/// Authenticates a key from many tasks while `change` runs; checks that no decision which started
/// after `change` returned was allowed, and that there were decisions on both sides.
async fn nobody_outruns<F: Future<Output = ()>>(
    client: &Client,
    secret: &str,
    required: &[&str],
    change: F,
) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        let secret = secret.to_owned();
        let required: Vec<String> = required.iter().map(|&word| word.to_owned()).collect();
        running.spawn(async move {
            let required: Vec<&str> = required.iter().map(String::as_str).collect();
            let mut seen = Vec::new();
            let mut after_stop = 0;
            // A few more rounds after the change, so that each task decides on both sides of it.
            while after_stop < 3 {
                after_stop += usize::from(stop.load(Ordering::SeqCst));
                let started = now();
                let answer = client.authenticate(&secret, &required).await;
                seen.push(Seen { started, allowed: answer.outcome() == Outcome::Allowed });
            }
            seen
        });
    }
    while client.authenticate(secret, required).await.outcome() != Outcome::Allowed {}
    change.await;
    let returned = now();
    stop.store(true, Ordering::SeqCst);
    let mut all = Vec::new();
    while let Some(seen) = running.join_next().await {
        all.extend(seen.expect("no panic"));
    }
    let late = all.iter().filter(|seen| seen.started > returned);
    assert!(late.clone().count() >= TASKS, "too few decisions after the change");
    assert_eq!(late.filter(|seen| seen.allowed).count(), 0, "a decision outran the change");
    assert!(all.iter().any(|seen| seen.allowed), "no decision before the change");
}

#[expect(clippy::disallowed_methods, reason = "the order of real events is what is tested")]
fn now() -> Instant {
    Instant::now()
}

fn put(account: v1::Account, paths: &[&str]) -> v1::PutAccountRequest {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    let update_mask = Some(prost_types::FieldMask { paths });
    v1::PutAccountRequest { account: Some(account), update_mask, ..Default::default() }
}

fn billing() -> v1::Account {
    v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        ..Default::default()
    }
}

/// A server with a plan that has no limit: a burst is to be denied for nothing but the change.
async fn start() -> TestServer {
    TestServer::builder().config("[plans.unlimited]\nactive_keys = 5\n").start().await
}

async fn key_of_billing(server: &TestServer) -> (Client, v1::Key, String) {
    let admin = server.admin().await;
    admin.put_account("billing", "unlimited", &["reports:*"]).await;
    let (key, secret) = admin.create_key("billing", "ci").await;
    (admin, key, secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_success_starts_after_revoke_returned_while_a_burst_is_in_flight() {
    let server = start().await;
    let (admin, key, secret) = key_of_billing(&server).await;
    nobody_outruns(&admin, &secret, &[], async {
        admin.revoke(&key.key_id).await.expect("revoked");
    })
    .await;
    assert_eq!(admin.verdict(&secret).await, Err(DenialReason::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_success_starts_after_a_suspension_returned() {
    let server = start().await;
    let (admin, _, secret) = key_of_billing(&server).await;
    nobody_outruns(&admin, &secret, &[], async {
        let account = v1::Account { status: v1::AccountStatus::Suspended.into(), ..billing() };
        admin.accounts.clone().put_account(put(account, &["status"])).await.expect("suspended");
    })
    .await;
    assert_eq!(admin.verdict(&secret).await, Err(DenialReason::AccountInactive));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_success_starts_after_disable_returned() {
    let server = start().await;
    let (admin, key, secret) = key_of_billing(&server).await;
    nobody_outruns(&admin, &secret, &[], async {
        let request = v1::DisableKeyRequest { key_id: key.key_id.clone(), ..Default::default() };
        admin.keys.clone().disable_key(request).await.expect("disabled");
    })
    .await;
    assert_eq!(admin.verdict(&secret).await, Err(DenialReason::Disabled));
    let request = v1::EnableKeyRequest { key_id: key.key_id.clone(), ..Default::default() };
    admin.keys.clone().enable_key(request).await.expect("enabled");
    assert_eq!(admin.verdict(&secret).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_success_starts_after_a_permission_was_taken_away() {
    let server = start().await;
    let (admin, _, secret) = key_of_billing(&server).await;
    nobody_outruns(&admin, &secret, &["reports:read"], async {
        let account = v1::Account { permissions: vec!["jobs:run".to_owned()], ..billing() };
        admin.accounts.clone().put_account(put(account, &["permissions"])).await.expect("changed");
    })
    .await;
    let answer = admin.authenticate(&secret, &["reports:read"]).await;
    assert_eq!(answer.denial_reason(), DenialReason::PermissionMissing);
    let principal = admin.authenticate(&secret, &["jobs:run"]).await.principal.expect("allowed");
    assert_eq!(principal.permissions, ["jobs:run"]);
}

#[tokio::test]
async fn a_revoked_key_stays_revoked_and_says_why_and_by_which_event() {
    let server = start().await;
    let (admin, key, secret) = key_of_billing(&server).await;
    let request = v1::RevokeKeyRequest {
        key_id: key.key_id.clone(),
        reason: v1::RevokeReason::AffiliationChanged.into(),
        comment: "left the team".to_owned(),
        ..Default::default()
    };
    let revoked = admin.keys.clone().revoke_key(request).await.expect("revoked").into_inner();
    let answer = admin.authenticate(&secret, &[]).await;
    assert_eq!(answer.evidence_position, revoked.position);
    assert_eq!(answer.public_message, "Invalid API Key");
    assert_eq!(answer.key_id, key.key_id);
    let again = admin.revoke(&key.key_id).await.expect("revoking again does nothing");
    assert_eq!(again.position, revoked.position);
    let shown = again.key.expect("a key");
    assert_eq!(shown.state(), v1::KeyState::Revoked);
    assert_eq!(
        shown.revoke_reason(),
        v1::RevokeReason::AffiliationChanged,
        "the first reason stands"
    );
    let key_id = key.key_id.clone();
    let enable = v1::EnableKeyRequest { key_id: key_id.clone(), ..Default::default() };
    let refused = admin.keys.clone().enable_key(enable).await.expect_err("final");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::FailedPrecondition, "KEY_REVOKED")
    );
    let overlap = Some(prost_types::Duration::default());
    let rotate = v1::RotateKeyRequest { key_id, overlap, ..Default::default() };
    let refused = admin.keys.clone().rotate_key(rotate).await.expect_err("final");
    assert_eq!(reason(&refused).0, "KEY_REVOKED");
    let server = server.restart().await;
    assert_eq!(server.admin().await.verdict(&secret).await, Err(DenialReason::Revoked));
}

#[tokio::test]
async fn whoever_finds_a_key_can_have_it_revoked_and_a_guess_revokes_nothing() {
    let server = start().await;
    let (admin, key, secret) = key_of_billing(&server).await;
    let (_, other) = admin.create_key("billing", "other").await;
    let report = |api_key: &str| v1::ReportLeakedKeyRequest {
        api_key: api_key.to_owned(),
        source: "https://example.com/paste/1".to_owned(),
        ..Default::default()
    };
    let (_, finder) = admin.create_caller(&[v1::Role::Authenticator], &[]).await;
    let mut finder = server.client(&finder).await.keys;
    let refused = finder.report_leaked_key(report("kl_live_guess")).await.expect_err("no key");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(!refused.message().contains("guess"));
    let leaked = finder.report_leaked_key(report(&secret)).await.expect("reported").into_inner();
    assert!(leaked.revoked);
    assert_eq!(leaked.key_id, key.key_id);
    assert_eq!(admin.verdict(&secret).await, Err(DenialReason::Revoked));
    let shown = admin.get_key(&key.key_id).await.expect("found");
    assert_eq!(shown.revoke_reason(), v1::RevokeReason::KeyCompromise);
    let again = finder.report_leaked_key(report(&secret)).await.expect("known").into_inner();
    assert!(!again.revoked);
    assert_eq!(admin.verdict(&other).await, Ok(()));
}

#[tokio::test]
async fn rotation_lets_both_keys_work_until_the_overlap_ends() {
    let server = start().await;
    let (admin, key, old) = key_of_billing(&server).await;
    let rotate = |key_id: &str, seconds| v1::RotateKeyRequest {
        key_id: key_id.to_owned(),
        overlap: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    let rotated = admin
        .keys
        .clone()
        .rotate_key(rotate(&key.key_id, 3600))
        .await
        .expect("rotated")
        .into_inner();
    let (new_key, old_key) = (rotated.new_key.expect("new"), rotated.old_key.expect("old"));
    assert_eq!((new_key.name.as_str(), new_key.replaces.as_str()), ("ci", key.key_id.as_str()));
    assert_eq!((old_key.state(), &old_key.replaced_by), (v1::KeyState::Retiring, &new_key.key_id));
    assert_eq!(admin.verdict(&old).await, Ok(()));
    assert_eq!(admin.verdict(&rotated.secret).await, Ok(()));
    let refused =
        admin.keys.clone().rotate_key(rotate(&key.key_id, 0)).await.expect_err("one successor");
    assert_eq!(reason(&refused).0, "KEY_ALREADY_ROTATED");
    for n in 0..4 {
        admin.create_key("billing", &format!("beside {n}")).await;
    }
    let refused =
        admin.keys.clone().create_key(new_key_request()).await.expect_err("five are active");
    assert_eq!(reason(&refused).0, "ACTIVE_KEY_LIMIT");
    server.clock.advance(std::time::Duration::from_secs(3600));
    assert_eq!(admin.verdict(&old).await, Err(DenialReason::Superseded));
    assert_eq!(admin.verdict(&rotated.secret).await, Ok(()));
    let at_once = admin
        .keys
        .clone()
        .rotate_key(rotate(&new_key.key_id, 0))
        .await
        .expect("rotated")
        .into_inner();
    assert_eq!(admin.verdict(&rotated.secret).await, Err(DenialReason::Superseded));
    assert_eq!(admin.verdict(&at_once.secret).await, Ok(()));
}

fn new_key_request() -> v1::CreateKeyRequest {
    new_key("acme", "billing", "one too many")
}
