//! Who tries keys that are none: told so up to a bound, by where they come from and for which caller, and never at the
//! cost of a key that works.

mod common;

use std::time::Duration;

use common::usage::{other_secret, put_on_record};
use common::{Client, TestServer};
use keyledger::proto::v1::event::Kind;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::proto::v1::{self, DenialReason, KeyProblem, Outcome, Role};

const BOUNDS: &str = "[limits]\nunknown_keys_per_source_per_minute = 3\n\
                      unknown_keys_per_caller_per_minute = 8\n[plans.free]\n";

/// A server with a working key and another secret for it.
async fn started() -> (TestServer, Client, [String; 2]) {
    let server = TestServer::builder().config(BOUNDS).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "free", &[]).await;
    let (_, secret) = admin.create_key("billing", "ci").await;
    let wrong = other_secret(&secret);
    (server, admin, [secret, wrong])
}

async fn ask(client: &Client, api_key: &str, source_ip: &str) -> v1::AuthenticateResponse {
    let context =
        Some(v1::AuthenticateContext { source_ip: source_ip.to_owned(), ..Default::default() });
    let request =
        v1::AuthenticateRequest { api_key: api_key.to_owned(), context, ..Default::default() };
    client.keys.clone().authenticate(request).await.expect("an answer").into_inner()
}

async fn reasons(client: &Client, api_key: &str, sources: &[&str]) -> Vec<DenialReason> {
    let mut reasons = Vec::new();
    for source in sources {
        reasons.push(ask(client, api_key, source).await.denial_reason());
    }
    reasons
}

#[tokio::test]
async fn a_source_that_tries_too_many_unknown_keys_is_told_to_wait_and_working_keys_are_not() {
    let (server, admin, [secret, wrong]) = started().await;
    let source = "192.0.2.7";
    let told = reasons(&admin, &wrong, &[source; 3]).await;
    assert_eq!(told, [DenialReason::UnknownKey; 3]);
    let over = ask(&admin, &wrong, source).await;
    assert_eq!(
        (over.outcome(), over.denial_reason()),
        (Outcome::Denied, DenialReason::RateLimited)
    );
    assert_eq!((over.public_message.as_str(), over.key_id.as_str()), ("Rate limit exceeded", ""));
    let left = over.rate_limit.expect("when to come back");
    assert_eq!((left.limit, left.remaining), (3, 0));
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    assert_eq!((left.reset_after, left.retry_after), (seconds(60), seconds(20)));
    let malformed = ask(&admin, "nonsense", source).await;
    assert_eq!(malformed.denial_reason(), DenialReason::RateLimited, "as unknown as the others");
    assert_eq!(malformed.key_problem(), KeyProblem::Unspecified);

    assert_eq!(ask(&admin, &secret, source).await.outcome(), Outcome::Allowed);
    let missing = reasons(&admin, "", &[source; 20]).await;
    assert_eq!(missing, [DenialReason::MissingKey; 20], "nothing is guessed by no key");
    assert_eq!(reasons(&admin, &wrong, &["192.0.2.8"]).await, [DenialReason::UnknownKey]);
    server.clock.advance(Duration::from_secs(20));
    let again = reasons(&admin, &wrong, &[source; 2]).await;
    assert_eq!(again, [DenialReason::UnknownKey, DenialReason::RateLimited]);
}

#[tokio::test]
async fn an_ipv6_network_is_one_source() {
    let (_server, admin, [_, wrong]) = started().await;
    let sources = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8:0:1::1"];
    let told = reasons(&admin, &wrong, &sources).await;
    assert_eq!(told[..3], [DenialReason::UnknownKey; 3]);
    assert_eq!(told[3..], [DenialReason::RateLimited, DenialReason::UnknownKey]);
}

#[tokio::test]
async fn a_caller_has_a_bound_over_all_sources_and_another_caller_its_own() {
    let (server, admin, [secret, wrong]) = started().await;
    let (_, credential) = admin.create_caller(&[Role::Authenticator], &[]).await;
    let other = server.client(&credential).await;
    let sources: Vec<_> = (1..=10).map(|n| format!("192.0.2.{n}")).collect();
    let sources: Vec<_> = sources.iter().map(String::as_str).collect();
    let told = reasons(&admin, &wrong, &sources).await;
    assert_eq!(told[..8], [DenialReason::UnknownKey; 8]);
    assert_eq!(told[8..], [DenialReason::RateLimited; 2]);
    assert_eq!(ask(&admin, &wrong, "").await.denial_reason(), DenialReason::RateLimited);
    assert_eq!(ask(&admin, &secret, "192.0.2.1").await.outcome(), Outcome::Allowed);
    assert_eq!(ask(&other, &wrong, "").await.denial_reason(), DenialReason::UnknownKey);
}

/// What is over a bound is on record as what it is.
#[tokio::test]
async fn keys_over_the_bound_are_counted_as_unknown_like_those_before() {
    let (server, admin, [_, wrong]) = started().await;
    let told = reasons(&admin, &wrong, &["192.0.2.7"; 5]).await;
    assert_eq!(told[3..], [DenialReason::RateLimited; 2]);
    server.clock.advance(Duration::from_secs(1));
    let (_server, admin) = put_on_record(server).await;
    let filter = v1::EventFilter {
        kinds: vec![v1::EventKind::UnknownKeyTried.into()],
        ..Default::default()
    };
    let request = v1::StreamEventsRequest { filter: Some(filter), ..Default::default() };
    let mut events =
        admin.audit.clone().stream_events(request).await.expect("a stream").into_inner();
    let mut found = Vec::new();
    while let Some(answer) = events.message().await.expect("no error") {
        let Some(Answer::Event(event)) = answer.answer else { continue };
        let Some(Kind::UnknownKeyTried(tried)) = event.event.and_then(|event| event.kind) else {
            panic!("of another kind")
        };
        let totals = tried.window.expect("always set").totals;
        found.extend(totals.iter().map(|total| (total.denial_reason(), total.count)));
    }
    assert_eq!(found, [(DenialReason::UnknownKey, 5)]);
}
