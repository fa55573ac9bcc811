//! The example of a service that keyledger guards, over HTTP and over gRPC, before a real keyledger: who gets through,
//! what everybody else is told, and that nobody gets through while keyledger cannot be asked.

#[path = "guarded_service/flaky.rs"]
mod flaky;
#[path = "../examples/guarded_service/grpc.rs"]
mod grpc;
#[path = "../examples/guarded_service/http.rs"]
mod http;
#[path = "guarded_service/service.rs"]
mod service;

mod common;

use std::time::Duration;

use common::{Client, TestServer, new_key};
use flaky::{Flaky, Says};
use keyledger::client::{Keyledger, Refused};
use keyledger::proto::v1::{self, Role};
use service::Service;
use tokio::net::TcpListener;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Two requests a minute on the plan `two`.
const PLANS: &str = "[plans.two]\nrequests_per_minute = 2\n";

/// A keyledger with an account that may read reports, and a caller that may only authenticate.
async fn keyledger() -> (TestServer, Client, v1::Caller, Keyledger) {
    let server = TestServer::builder().config(PLANS).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:read"]).await;
    let (caller, credential) = admin.create_caller(&[Role::Authenticator], &[]).await;
    let keyledger = Keyledger::at(&server.address, &credential).expect("usable");
    (server, admin, caller, keyledger)
}

/// What both services answer to a key.
async fn told(service: &Service, key: &str) -> (u16, Code) {
    let http = service.get("/reports", &[("authorization", &format!("Bearer {key}"))]).await;
    (http.status, service.list(Some(key)).await.err().map_or(Code::Ok, |status| status.code()))
}

const SERVED: (u16, Code) = (200, Code::Ok);
const NO_KEY: (u16, Code) = (401, Code::Unauthenticated);
const NOT_ALLOWED: (u16, Code) = (403, Code::PermissionDenied);
const LIMITED: (u16, Code) = (429, Code::ResourceExhausted);
const NO_VERDICT: (u16, Code) = (503, Code::Unavailable);

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_key_that_may_is_served_and_known_behind_the_guard() {
    let (_server, admin, _, keyledger) = keyledger().await;
    let (_, secret) = admin.create_key("billing", "a").await;
    let service = Service::start(keyledger).await;
    for header in [("Authorization", &*format!("bearer {secret}")), ("X-API-Key", &*secret)] {
        let answer = service.get("/reports", &[header]).await;
        assert_eq!((answer.status, &*answer.body), (200, "reports of billing\n"));
    }
    assert_eq!(service.list(Some(&secret)).await.expect("served"), "reports of billing");
    assert_eq!(service.get("/health", &[]).await.status, 200, "what is not guarded is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_that_may_is_told_so_and_not_why() {
    let (_server, admin, _, keyledger) = keyledger().await;
    let (key, secret) = admin.create_key("billing", "a").await;
    let service = Service::start(keyledger).await;

    for headers in [
        &[][..],
        &[("authorization", "Bearer nonsense")],
        &[("authorization", "Basic nonsense")],
        &[("x-api-key", &secret), ("x-api-key", &secret)],
    ] {
        let answer = service.get("/reports", headers).await;
        assert_eq!((answer.status, &*answer.body), (401, "Invalid API Key"), "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(service.list(None).await.expect_err("refused").code(), Code::Unauthenticated);

    let answer = service.get("/invoices", &[("x-api-key", &secret)]).await;
    assert_eq!((answer.status, &*answer.body), (403, "Unauthorized"));
    admin.put_account("billing", "enterprise", &[]).await;
    let refused = service.list(Some(&secret)).await.expect_err("refused");
    assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "Unauthorized"));
    assert!(refused.get_error_details().error_info().is_none(), "the reason is for the service");

    admin.put_account("billing", "enterprise", &["*"]).await;
    assert_eq!(told(&service, &secret).await, SERVED);
    admin.revoke(&key.key_id).await.expect("revoked");
    assert_eq!(told(&service, &secret).await, NO_KEY);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_over_the_limit_is_told_when_to_come_back() {
    let (_server, admin, _, keyledger) = keyledger().await;
    admin.put_account("small", "two", &["reports:read"]).await;
    let (_, secret) = admin.create_key("small", "a").await;
    let service = Service::start(keyledger).await;
    assert_eq!(told(&service, &secret).await, SERVED);
    assert_eq!(told(&service, &secret).await, LIMITED);
    let answer = service.get("/reports", &[("x-api-key", &secret)]).await;
    assert_eq!(&*answer.body, "Rate limit exceeded");
    // By the server's clock, which stands still.
    assert_eq!(answer.header("retry-after"), Some("61"));
    let refused = service.list(Some(&secret)).await.expect_err("refused");
    let wait = refused.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(wait, Some(Duration::from_secs(61)));
}

#[tokio::test(flavor = "multi_thread")]
async fn keyledger_learns_where_a_use_comes_from() {
    let (_server, admin, _, keyledger) = keyledger().await;
    let bound = |ranges: &str| v1::CreateKeyRequest {
        allowed_cidrs: vec![ranges.to_owned()],
        ..new_key("acme", "billing", ranges)
    };
    let service = Service::start(keyledger).await;
    for (range, expected) in [("127.0.0.0/8", SERVED), ("10.0.0.0/8", NOT_ALLOWED)] {
        let made = admin.keys.clone().create_key(bound(range)).await.expect("made").into_inner();
        assert_eq!(told(&service, &made.secret).await, expected, "{range}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_while_keyledger_is_gone_and_all_are_once_it_is_back() {
    let (server, admin, _, _) = keyledger().await;
    let (_, secret) = admin.create_key("billing", "a").await;
    let (keyledger, moved) = service::that_moves(&server.address, &server.admin_credential());
    let service = Service::start(keyledger).await;
    assert_eq!(told(&service, &secret).await, SERVED);
    let (clock, dir) = (server.clock.clone(), server.stop().await);
    assert_eq!(told(&service, &secret).await, NO_VERDICT);
    let server = TestServer::builder().config(PLANS).clock(&clock).dir(&dir).start().await;
    moved.to(&server.address);
    assert_eq!(told(&service, &secret).await, SERVED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_own_credential_works_no_more_serves_nobody_and_blames_no_key() {
    let (_server, admin, caller, keyledger) = keyledger().await;
    let (_, secret) = admin.create_key("billing", "a").await;
    let service = Service::start(keyledger).await;
    assert_eq!(told(&service, &secret).await, SERVED);
    let request = v1::RevokeCallerRequest { caller_id: caller.caller_id, ..Default::default() };
    admin.admin.clone().revoke_caller(request).await.expect("revoked");
    assert_eq!(told(&service, &secret).await, NO_VERDICT);
    assert_eq!(told(&service, "nonsense").await, NO_VERDICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_given_up_at_the_deadline() {
    // Takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("bound"));
    let keyledger = Keyledger::at(&address, "kl_svc_a").expect("usable");
    let service = Service::start(keyledger.deadline(Duration::from_millis(50))).await;
    assert_eq!(told(&service, "kl_live_a").await, NO_VERDICT);
}

async fn asked(says: impl IntoIterator<Item = Says>) -> (Result<(), Refused>, usize) {
    let flaky = Flaky::start(says).await;
    let keyledger = Keyledger::at(&flaky.address, "kl_svc_a").expect("usable");
    let asked = keyledger.authenticate(v1::AuthenticateRequest::default()).await;
    (asked.map(|_| ()), flaky.left())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_reached_is_asked_once_more_unless_it_says_when() {
    let lost = || Says::Fails(Status::unavailable("lost"));
    assert!(matches!(asked([lost(), Says::Allowed]).await, (Ok(()), 0)));
    let (asked_twice, left) = asked([lost(), lost(), Says::Allowed]).await;
    assert!(matches!(asked_twice, Err(Refused::Unanswered(_))));
    assert_eq!(left, 1, "and no more than once");

    let details = tonic_types::ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
    let later = Status::with_error_details(Code::Unavailable, "behind", details);
    let (asked_later, left) = asked([Says::Fails(later), Says::Allowed]).await;
    let refused = asked_later.expect_err("is not asked again");
    assert_eq!(
        (left, &refused.to_http().headers()["retry-after"]),
        (1, &"3".parse().expect("one"))
    );

    for code in [Code::PermissionDenied, Code::InvalidArgument, Code::Internal] {
        let fails = Says::Fails(Status::new(code, "no"));
        let (refused, left) = asked([fails, Says::Allowed]).await;
        assert!(matches!(refused, Err(Refused::Unanswered(_))));
        assert_eq!(left, 1, "{code:?}");
    }
}
