//! Rate limits: shared by the keys of an account, exact in any 60 seconds, told in every answer.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Client, TestServer, fields, new_key, reason};
use keyledger::proto::v1;
use keyledger::proto::v1::{DenialReason, Outcome, RateLimit};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A plan of 10 requests a minute, one of 20, and one without limit.
const PLANS: &str = "[plans.ten]\nrequests_per_minute = 10\n\
                     [plans.twenty]\nrequests_per_minute = 20\n[plans.free]\n";

async fn start() -> TestServer {
    TestServer::builder().config(PLANS).ops().start().await
}

/// An Authenticate of this cost; unset: of none said.
async fn ask(
    client: &Client,
    secret: &str,
    cost: Option<u32>,
) -> Result<v1::AuthenticateResponse, Status> {
    let request =
        v1::AuthenticateRequest { api_key: secret.to_owned(), cost, ..Default::default() };
    client.keys.clone().authenticate(request).await.map(tonic::Response::into_inner)
}

/// Whether a use of this cost is allowed, and what is left then.
async fn charge(client: &Client, secret: &str, cost: u32) -> (bool, u32) {
    let answer = ask(client, secret, Some(cost)).await.expect("an answer");
    let allowed = answer.outcome() == Outcome::Allowed;
    let reason = answer.denial_reason();
    assert!(allowed || reason == DenialReason::RateLimited, "{reason:?}");
    (allowed, answer.rate_limit.expect("a limit").remaining)
}

fn seconds(span: Option<prost_types::Duration>) -> Option<f64> {
    span.map(|span| Duration::try_from(span).expect("not negative").as_secs_f64())
}

/// A figure of the operations port. Blocks: the server MUST have another thread.
fn figure(server: &TestServer, name: &str) -> String {
    let mut port = TcpStream::connect(server.ops.as_ref().expect("served")).expect("up");
    port.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
    let mut page = String::new();
    port.read_to_string(&mut page).expect("text");
    let sample = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    sample.unwrap_or_else(|| panic!("no {name} in {page}")).to_owned()
}

#[tokio::test]
async fn a_limit_is_shared_by_all_keys_of_an_account_and_told_in_every_answer() {
    let server = start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "ten", &[]).await;
    let (_, one) = admin.create_key("billing", "one").await;
    let (other_key, other) = admin.create_key("billing", "other").await;
    server.clock.advance(Duration::from_millis(250));
    for used in 1..=9 {
        let secret = if used % 2 == 0 { &one } else { &other };
        let answer = ask(&admin, secret, None).await.expect("an answer");
        assert_eq!(answer.outcome(), Outcome::Allowed);
        let left = answer.rate_limit.expect("a limit");
        assert_eq!((left.limit, left.remaining, left.retry_after), (10, 10 - used, None));
        assert_eq!(seconds(left.reset_after), Some(60.75), "whole seconds after the last use");
    }
    assert_eq!(charge(&admin, &one, 1).await, (true, 0));
    server.clock.advance(Duration::from_secs(20));
    let denied = ask(&admin, &other, None).await.expect("an answer");
    assert_eq!(
        (denied.outcome(), denied.denial_reason()),
        (Outcome::Denied, DenialReason::RateLimited)
    );
    assert_eq!(denied.public_message, "Rate limit exceeded");
    assert_eq!((denied.key_id, denied.evidence_position), (other_key.key_id, 0));
    assert!(denied.principal.is_none());
    let left = denied.rate_limit.expect("a limit");
    assert_eq!((left.limit, left.remaining), (10, 0));
    assert_eq!((seconds(left.reset_after), seconds(left.retry_after)), (Some(40.75), Some(40.75)));
}

#[tokio::test]
async fn what_was_used_comes_back_as_it_grows_old_not_all_at_once() {
    let server = start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "ten", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    assert_eq!(charge(&admin, &secret, 6).await, (true, 4));
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(charge(&admin, &secret, 4).await, (true, 0));
    server.clock.advance(Duration::from_millis(30_999));
    assert_eq!(charge(&admin, &secret, 1).await, (false, 0), "60.999 s old");
    server.clock.advance(Duration::from_millis(1));
    assert_eq!(charge(&admin, &secret, 6).await, (true, 0));
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(charge(&admin, &secret, 5).await, (false, 4), "what fits is less than is asked");
    assert_eq!(charge(&admin, &secret, 4).await, (true, 0));
    // The wall clock may step as it likes.
    server.clock.step_wall_to(common::START.plus(Duration::from_secs(86_400)));
    assert_eq!(charge(&admin, &secret, 1).await, (false, 0));
}

#[tokio::test]
async fn another_plan_holds_at_once() {
    let server = start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "ten", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    assert_eq!(charge(&admin, &secret, 10).await, (true, 0));
    assert_eq!(charge(&admin, &secret, 1).await, (false, 0));
    admin.put_account("billing", "twenty", &[]).await;
    assert_eq!(charge(&admin, &secret, 1).await, (true, 9));
    admin.put_account("billing", "ten", &[]).await;
    assert_eq!(charge(&admin, &secret, 1).await, (false, 0));
    admin.put_account("billing", "free", &[]).await;
    let answer = ask(&admin, &secret, Some(u32::MAX)).await.expect("no limit to be over");
    assert_eq!((answer.outcome(), answer.rate_limit), (Outcome::Allowed, None));
}

#[tokio::test]
async fn a_cost_of_nothing_is_charged_nothing_and_one_over_the_limit_is_the_callers_fault() {
    let server = start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "ten", &[]).await;
    let (key, secret) = admin.create_key("billing", "ci").await;
    let over = ask(&admin, &secret, Some(11)).await.expect_err("over the limit");
    assert_eq!((over.code(), fields(&over)), (Code::InvalidArgument, vec!["cost".to_owned()]));
    assert!(over.message().contains("at most 10"), "{}", over.message());
    assert_eq!(charge(&admin, &secret, 10).await, (true, 0), "that was charged nothing");
    let over = ask(&admin, &secret, Some(11)).await.expect_err("before the rate is judged");
    assert_eq!(over.code(), Code::InvalidArgument);
    assert_eq!(charge(&admin, &secret, 0).await, (true, 0), "used up, and it costs nothing");
    // Only of a key that would be allowed.
    let wrong = format!("{}x", &secret[..secret.len() - 1]);
    for stranger in ["", &wrong] {
        let answer = ask(&admin, stranger, Some(11)).await.expect("an answer");
        assert_eq!((answer.outcome(), answer.rate_limit), (Outcome::Denied, None));
    }
    admin.revoke(&key.key_id).await.expect("revoked");
    let answer = ask(&admin, &secret, Some(11)).await.expect("an answer");
    assert_eq!(answer.denial_reason(), DenialReason::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_uses_are_charged_nothing_and_are_told_what_is_left() {
    let server = start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "ten", &["reports:read"]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let (revoked, gone) = admin.create_key("billing", "gone").await;
    admin.revoke(&revoked.key_id).await.expect("revoked");
    let unused = RateLimit {
        limit: 10,
        remaining: 10,
        reset_after: Some(prost_types::Duration::default()),
        retry_after: None,
    };
    for _ in 0..20 {
        let denied = admin.authenticate(&secret, &["jobs:run"]).await;
        assert_eq!(denied.denial_reason(), DenialReason::PermissionMissing);
        assert_eq!(denied.rate_limit, Some(unused));
        assert_eq!(admin.authenticate(&gone, &[]).await.rate_limit, Some(unused));
    }
    assert_eq!(figure(&server, "keyledger_rate_windows"), "0", "nothing is kept for them");
    assert_eq!(charge(&admin, &secret, 10).await, (true, 0));
    for _ in 0..20 {
        assert_eq!(charge(&admin, &secret, 1).await, (false, 0));
    }
    let denied = admin.authenticate(&secret, &["jobs:run"]).await;
    assert_eq!(denied.denial_reason(), DenialReason::PermissionMissing, "the rate is judged last");
    assert_eq!(denied.rate_limit.expect("a limit").remaining, 0);
    assert_eq!(figure(&server, "keyledger_rate_limited_total"), "20");
    server.clock.advance(Duration::from_secs(61));
    assert_eq!(charge(&admin, &secret, 10).await, (true, 0), "refusals did not draw it out");
}

#[tokio::test]
async fn who_may_not_know_a_key_learns_nothing_of_its_limit_and_uses_up_none() {
    let server = start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "ten", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let (_, credential) = admin.create_caller(&[v1::Role::Authenticator], &["other"]).await;
    let stranger = server.client(&credential).await;
    for _ in 0..20 {
        let answer = ask(&stranger, &secret, None).await.expect("an answer");
        assert_eq!(answer.denial_reason(), DenialReason::UnknownKey);
        assert_eq!(answer.rate_limit, None);
    }
    assert_eq!(charge(&admin, &secret, 10).await, (true, 0));
}

#[tokio::test]
async fn accounts_have_limits_of_their_own_also_those_of_one_name() {
    let server = start().await;
    let admin = server.admin().await;
    let mut secrets = Vec::new();
    for (tenant, account) in [("acme", "billing"), ("acme", "web"), ("umbrella", "billing")] {
        admin.put_account_of(tenant, account, "ten", &[]).await;
        let made = admin.keys.clone().create_key(new_key(tenant, account, "ci")).await;
        secrets.push(made.expect("created").into_inner().secret);
    }
    for secret in &secrets {
        assert_eq!(charge(&admin, secret, 10).await, (true, 0));
        assert_eq!(charge(&admin, secret, 1).await, (false, 0));
    }
}

#[tokio::test]
async fn who_am_i_is_a_use_and_is_refused_when_the_limit_is_used_up() {
    let server = start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "ten", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let holder = server.client(&secret).await;
    let ask = async || holder.keys.clone().who_am_i(v1::WhoAmIRequest {}).await;
    let answer = ask().await.expect("allowed").into_inner();
    assert_eq!(answer.rate_limit.expect("a limit").remaining, 9);
    assert_eq!(charge(&admin, &secret, 9).await, (true, 0));
    server.clock.advance(Duration::from_millis(1500));
    let refused = ask().await.expect_err("used up");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str(), refused.message()),
        (Code::ResourceExhausted, "RATE_LIMITED", "Rate limit exceeded")
    );
    let retry = refused.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(retry, Some(Duration::from_millis(59_500)));
    // It is a key that works: its source is not held to be guessing.
    for _ in 0..200 {
        assert_eq!(reason(&ask().await.expect_err("used up")).0, "RATE_LIMITED");
    }
    server.clock.advance(Duration::from_secs(60));
    assert!(ask().await.is_ok());
}

/// 16 tasks at once; the manual clock stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_burst_is_allowed_exactly_the_limit() {
    let server = start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let mut burst = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (client, secret) = (server.admin().await, secret.clone());
        burst.spawn(async move {
            let mut allowed = 0;
            for _ in 0..20 {
                allowed += u32::from(charge(&client, &secret, 1).await.0);
            }
            allowed
        });
    }
    assert_eq!(burst.join_all().await.into_iter().sum::<u32>(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_an_account_is_freed_when_nothing_counts_any_more() {
    let server = start().await;
    let admin = server.admin().await;
    let mut secrets = Vec::new();
    for account in ["one", "two", "three"] {
        admin.put_account(account, "ten", &[]).await;
        secrets.push(admin.create_key(account, "ci").await.1);
    }
    for secret in &secrets {
        charge(&admin, secret, 1).await;
    }
    assert_eq!(figure(&server, "keyledger_rate_windows"), "3");
    server.clock.advance(Duration::from_secs(30));
    charge(&admin, &secrets[0], 1).await;
    server.clock.advance(Duration::from_secs(31));
    while figure(&server, "keyledger_rate_windows") != "1" {}
    assert_eq!(charge(&admin, &secrets[0], 0).await, (true, 9), "the later use still counts");
    server.clock.advance(Duration::from_secs(30));
    while figure(&server, "keyledger_rate_windows") != "0" {}
    assert_eq!(charge(&admin, &secrets[0], 10).await, (true, 0));
}
