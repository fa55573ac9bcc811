//! Overlaps that end early: a rotated key that nobody uses any more retires, and no other.
//!
//! Looks at keys happen in real time and judge by the test's clock. So a test that says what must not happen
//! lets a *witness* retire, a key that waits for a minute: then every key that was due was looked at too.

mod common;

use std::time::Duration;

use common::{Client, TestServer, fields};
use keyledger::clock::Clock;
use keyledger::proto::v1::{self, DenialReason, KeyState};

const A_DAY: Duration = Duration::from_hours(24);
const OVERLAP: Duration = Duration::from_hours(90 * 24);
const A_MINUTE: Duration = Duration::from_mins(1);

/// More seconds than a test may let pass while it waits for a look; under a day.
const PATIENCE: u32 = 80_000;

fn span(span: Duration) -> Option<prost_types::Duration> {
    Some(span.try_into().expect("short"))
}

async fn server() -> (TestServer, Client) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("a", "enterprise", &[]).await;
    (server, admin)
}

/// A key that was rotated with an overlap of 90 days that ends early after `idle`: it and its secret.
async fn rotated(admin: &Client, idle: Duration) -> (v1::Key, String) {
    let (key, secret) = admin.create_key("a", "old").await;
    let request = v1::RotateKeyRequest {
        key_id: key.key_id,
        overlap: span(OVERLAP),
        retire_when_idle_for: span(idle),
        ..Default::default()
    };
    let rotated = admin.keys.clone().rotate_key(request).await.expect("rotated").into_inner();
    (rotated.old_key.expect("a key"), secret)
}

async fn state(admin: &Client, key: &v1::Key) -> KeyState {
    admin.get_key(&key.key_id).await.expect("a key").state()
}

/// Lets seconds pass, doing `each` before every one, until the key is superseded; the key then.
async fn retires(
    server: &TestServer,
    admin: &Client,
    key: &v1::Key,
    each: impl AsyncFn(),
) -> v1::Key {
    for _ in 0..PATIENCE {
        each().await;
        server.clock.advance(Duration::from_secs(1));
        let now = admin.get_key(&key.key_id).await.expect("a key");
        if now.state() == KeyState::Superseded {
            return now;
        }
    }
    panic!("{key:?} does not retire");
}

/// Has every key that is due looked at.
async fn look(server: &TestServer, admin: &Client) {
    let (witness, _) = rotated(admin, A_MINUTE).await;
    retires(server, admin, &witness, async || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_uses_retires_long_before_its_overlap_ends_and_one_in_use_does_not() {
    let (server, admin) = server().await;
    let (used, used_secret) = rotated(&admin, A_MINUTE).await;
    let (silent, secret) = rotated(&admin, A_MINUTE).await;
    assert_eq!((silent.state(), silent.retire_when_idle_for), (KeyState::Retiring, span(A_MINUTE)));
    admin.verdict(&secret).await.expect("allowed");
    let uses = async || admin.verdict(&used_secret).await.expect("allowed");
    let retired = retires(&server, &admin, &silent, uses).await;

    let latest = silent.retire_time.expect("rotated").seconds;
    let ended = retired.retire_time.expect("retired").seconds;
    assert!(ended < latest - 80 * 86_400, "{ended}, {latest}");
    assert!(retired.position > silent.position, "a record of its own");
    assert_eq!(retired.retire_when_idle_for, None);
    assert_eq!(retired.replaced_by, silent.replaced_by);
    let denied = admin.authenticate(&secret, &[]).await;
    assert_eq!(denied.denial_reason(), DenialReason::Superseded);
    assert_eq!(denied.evidence_position, retired.position);
    assert_eq!(state(&admin, &used).await, KeyState::Retiring);

    let server = server.restart().await;
    let admin = server.admin().await;
    let denied = admin.authenticate(&secret, &[]).await;
    assert_eq!(denied.denial_reason(), DenialReason::Superseded, "it stays so");
    assert_eq!(denied.evidence_position, retired.position);
    retires(&server, &admin, &used, async || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_begins_the_count_anew() {
    let (server, admin) = server().await;
    let (key, _) = rotated(&admin, 30 * A_DAY).await;
    look(&server, &admin).await;
    server.clock.advance(28 * A_DAY);
    let server = server.restart().await;
    let admin = server.admin().await;
    look(&server, &admin).await;
    server.clock.advance(3 * A_DAY);
    look(&server, &admin).await;
    assert_eq!(state(&admin, &key).await, KeyState::Retiring, "31 days, but 3 since the start");
    server.clock.advance(28 * A_DAY);
    retires(&server, &admin, &key, async || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_wall_clock_retires_nothing() {
    let (server, admin) = server().await;
    let (key, _) = rotated(&admin, 30 * A_DAY).await;
    look(&server, &admin).await;
    server.clock.step_wall_to(server.clock.wall().plus(40 * A_DAY));
    look(&server, &admin).await;
    assert_eq!(state(&admin, &key).await, KeyState::Retiring);
    server.clock.advance(30 * A_DAY);
    retires(&server, &admin, &key, async || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_revoked_or_disabled_meanwhile_does_not_retire() {
    let (server, admin) = server().await;
    let (revoked, _) = rotated(&admin, A_MINUTE).await;
    let (disabled, _) = rotated(&admin, A_MINUTE).await;
    let revoked = admin.revoke(&revoked.key_id).await.expect("revoked").key.expect("a key");
    let request = v1::DisableKeyRequest { key_id: disabled.key_id.clone(), ..Default::default() };
    let answer = admin.keys.clone().disable_key(request).await.expect("disabled").into_inner();
    let disabled = answer.key.expect("a key");
    assert_eq!(disabled.retire_when_idle_for, span(A_MINUTE), "it may be enabled again");
    look(&server, &admin).await;
    for key in [&revoked, &disabled] {
        let now = admin.get_key(&key.key_id).await.expect("a key");
        assert_eq!((now.state(), now.position), (key.state(), key.position));
    }
    let request = v1::EnableKeyRequest { key_id: disabled.key_id.clone(), ..Default::default() };
    admin.keys.clone().enable_key(request).await.expect("enabled");
    retires(&server, &admin, &disabled, async || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_out_of_its_bounds_is_refused_and_rotates_nothing() {
    let (_server, admin) = server().await;
    let (key, _) = admin.create_key("a", "old").await;
    let hour = Duration::from_hours(1);
    let seconds = Duration::from_secs;
    for (overlap, idle) in
        [(hour, seconds(0)), (hour, seconds(59)), (hour, seconds(3601)), (seconds(0), A_MINUTE)]
    {
        let request = v1::RotateKeyRequest {
            key_id: key.key_id.clone(),
            overlap: span(overlap),
            retire_when_idle_for: span(idle),
            ..Default::default()
        };
        let refused = admin.keys.clone().rotate_key(request).await.expect_err("refused");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert_eq!(fields(&refused), ["retire_when_idle_for"], "{overlap:?} {idle:?}");
    }
    assert_eq!(state(&admin, &key).await, KeyState::Active);
}
