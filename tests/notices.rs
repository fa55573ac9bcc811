//! What is said of keys that work, but not for much longer.

mod common;

use std::time::Duration;

use common::process::get;
use common::{Client, TestServer, new_key};
use keyledger::clock::Clock;
use keyledger::domain::time::Time;
use keyledger::proto::v1::{self, Notice};
use prost_types::Timestamp;

const A_DAY: Duration = Duration::from_hours(24);

fn stamp(time: Time) -> Timestamp {
    Timestamp { seconds: time.as_micros().div_euclid(1_000_000), nanos: 0 }
}

/// A key that expires after `span`, and its secret.
async fn expiring(server: &TestServer, admin: &Client, span: Duration) -> (v1::Key, String) {
    let expire_time = Some(stamp(server.clock.wall().plus(span)));
    let request = v1::CreateKeyRequest { expire_time, ..new_key("acme", "a", "key") };
    let made = admin.keys.clone().create_key(request).await.expect("created").into_inner();
    (made.key.expect("a key"), made.secret)
}

async fn rotate(admin: &Client, key: &v1::Key, overlap: Duration) -> v1::RotateKeyResponse {
    let request = v1::RotateKeyRequest {
        key_id: key.key_id.clone(),
        overlap: Some(overlap.try_into().expect("short")),
        ..Default::default()
    };
    admin.keys.clone().rotate_key(request).await.expect("rotated").into_inner()
}

fn told(notices: &[v1::KeyNotice]) -> Vec<(Notice, Timestamp)> {
    let one = |told: &v1::KeyNotice| (told.notice(), told.time.expect("always set"));
    notices.iter().map(one).collect()
}

/// What is said with an answer that allows a key.
async fn notices(admin: &Client, secret: &str) -> Vec<(Notice, Timestamp)> {
    let answer = admin.authenticate(secret, &[]).await;
    assert_eq!(answer.outcome(), v1::Outcome::Allowed);
    told(&answer.notices)
}

async fn server(config: &str) -> (TestServer, Client) {
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    admin.put_account("a", "enterprise", &["x"]).await;
    (server, admin)
}

/// How many keys are said to expire soon, and to be retiring.
fn figures(server: &TestServer) -> (u64, u64) {
    let (_, page) = get(server.ops.as_deref().expect("served"), "/metrics");
    let sample = |name: &str| {
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect("a sample").parse().expect("a number")
    };
    (sample("keyledger_keys_expiring_soon"), sample("keyledger_keys_retiring"))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_expire_soon_and_that_retire_are_counted() {
    let server = TestServer::builder().ops().start().await;
    let admin = server.admin().await;
    admin.put_account("a", "enterprise", &[]).await;
    let (_, _) = admin.create_key("a", "lasting").await;
    let (revoked, _) = expiring(&server, &admin, 20 * A_DAY).await;
    let (rotated, _) = expiring(&server, &admin, 20 * A_DAY).await;
    let (_, _) = expiring(&server, &admin, 40 * A_DAY).await;
    assert_eq!(figures(&server), (0, 0));
    server.clock.advance(6 * A_DAY);
    assert_eq!(figures(&server), (2, 0));
    rotate(&admin, &rotated, A_DAY).await;
    assert_eq!(figures(&server), (2, 1), "its successor expires as soon");
    admin.revoke(&revoked.key_id).await.expect("revoked");
    assert_eq!(figures(&server), (1, 1));
    let (earlier, _) = expiring(&server, &admin, 40 * A_DAY).await;
    let key = v1::Key {
        key_id: earlier.key_id,
        expire_time: Some(stamp(server.clock.wall().plus(2 * A_DAY))),
        ..Default::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["expire_time".to_owned()] });
    let request = v1::UpdateKeyRequest { key: Some(key), update_mask, ..Default::default() };
    admin.keys.clone().update_key(request).await.expect("updated");
    assert_eq!(figures(&server), (2, 1));
    server.clock.advance(A_DAY);
    assert_eq!(figures(&server), (2, 0), "its overlap is over");

    let clock = std::sync::Arc::clone(&server.clock);
    let dir = server.stop().await;
    let server = TestServer::builder().dir(&dir).clock(&clock).ops().start().await;
    assert_eq!(figures(&server), (2, 0), "after a start too");
    server.clock.advance(A_DAY);
    assert_eq!(figures(&server), (1, 0), "one has expired");
    server.clock.advance(12 * A_DAY);
    assert_eq!(figures(&server), (0, 0), "and the next");
    server.clock.advance(2 * A_DAY);
    assert_eq!(figures(&server), (0, 0));
    server.clock.advance(8 * A_DAY);
    assert_eq!(figures(&server), (1, 0), "the last expires in ten days");
}

#[tokio::test]
async fn that_a_key_expires_soon_is_said_from_fourteen_days_before_to_who_asks_and_to_its_holder() {
    let (server, admin) = server("").await;
    let (_, lasting) = admin.create_key("a", "lasting").await;
    let (key, secret) = expiring(&server, &admin, 20 * A_DAY).await;
    server.clock.advance(6 * A_DAY - Duration::from_micros(1));
    assert_eq!(notices(&admin, &secret).await, []);
    server.clock.advance(Duration::from_micros(1));
    let expected = [(Notice::ExpiresSoon, key.expire_time.expect("expires"))];
    assert_eq!(notices(&admin, &secret).await, expected);
    let holder = server.client(&secret).await.keys.who_am_i(v1::WhoAmIRequest {}).await;
    assert_eq!(told(&holder.expect("an answer").into_inner().notices), expected);
    assert_eq!(notices(&admin, &lasting).await, []);
    let denied = admin.authenticate(&secret, &["y"]).await;
    assert_eq!((denied.outcome(), &denied.notices[..]), (v1::Outcome::Denied, &[][..]));
    server.clock.advance(14 * A_DAY);
    let denied = admin.authenticate(&secret, &[]).await;
    assert_eq!((denied.outcome(), &denied.notices[..]), (v1::Outcome::Denied, &[][..]));
}

#[tokio::test]
async fn how_soon_is_configured_and_may_be_never() {
    for (days, said) in [(0, 0), (1, 1)] {
        let (server, admin) = server(&format!("[notices]\nexpires_soon_days = {days}\n")).await;
        let (_, secret) = expiring(&server, &admin, A_DAY + Duration::from_secs(1)).await;
        assert_eq!(notices(&admin, &secret).await, []);
        server.clock.advance(Duration::from_secs(1));
        assert_eq!(notices(&admin, &secret).await.len(), said, "{days} days");
    }
}

#[tokio::test]
async fn a_rotated_key_is_told_when_it_stops_at_the_latest_and_its_successor_is_not() {
    let (server, admin) = server("").await;
    let (key, secret) = admin.create_key("a", "old").await;
    let rotated = rotate(&admin, &key, A_DAY).await;
    let end = stamp(server.clock.wall().plus(A_DAY));
    assert_eq!(notices(&admin, &secret).await, [(Notice::Superseded, end)]);
    assert_eq!(notices(&admin, &rotated.secret).await, []);
    let (key, secret) = expiring(&server, &admin, 2 * A_DAY).await;
    let rotated = rotate(&admin, &key, A_DAY).await;
    let expiry = key.expire_time.expect("expires");
    let both = [(Notice::ExpiresSoon, expiry), (Notice::Superseded, end)];
    assert_eq!(notices(&admin, &secret).await, both);
    assert_eq!(notices(&admin, &rotated.secret).await, [(Notice::ExpiresSoon, expiry)]);
}
