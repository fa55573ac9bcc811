//! Unusual activity on a real server: what is found, who is shown it, and that it is found again.

mod common;

use std::time::Duration;

use common::usage::{MINUTE, at, context, other_secret, use_key};
use common::{Client, START, TestServer, fields, reason};
use keyledger::proto::v1::{self, Role, SignalKind};
use tonic::{Code, Status};

const DAY: Duration = Duration::from_hours(24);

async fn started() -> (TestServer, Client) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:*"]).await;
    (server, admin)
}

async fn from(client: &Client, secret: &str, source: &str, times: usize) {
    use_key(client, secret, times, true, context("", source, "")).await;
}

/// Tries what is no key, from a source.
async fn try_unknown(client: &Client, secret: &str, source: &str, times: usize) {
    use_key(client, &other_secret(secret), times, false, context("", source, "")).await;
}

fn of_all() -> v1::ListSignalsRequest {
    v1::ListSignalsRequest { start_time: at(START), ..Default::default() }
}

async fn ask(
    client: &Client,
    request: v1::ListSignalsRequest,
) -> Result<v1::ListSignalsResponse, Status> {
    client.usage.clone().list_signals(request).await.map(tonic::Response::into_inner)
}

async fn all(client: &Client) -> Vec<v1::Signal> {
    ask(client, of_all()).await.expect("an answer").signals
}

fn kinds(signals: &[v1::Signal]) -> Vec<SignalKind> {
    signals.iter().map(v1::Signal::kind).collect()
}

/// All uses so far are on record: a stop sees to that at once.
async fn settled(server: TestServer) -> (TestServer, Client) {
    let server = server.restart().await;
    let admin = server.admin().await;
    (server, admin)
}

/// A key that is used for a week, then unlike before in every way; a key of another tenant that is revoked; and
/// unknown keys.
async fn busy() -> (TestServer, Client, [v1::Key; 2]) {
    let (server, admin) = started().await;
    let (key, secret) = admin.create_key("billing", "watched").await;
    from(&admin, &secret, "192.0.2.1", 3).await;
    server.clock.advance(DAY * 7);
    from(&admin, &secret, "192.0.2.1", 100).await;
    let (server, admin) = settled(server).await;
    assert_eq!(all(&admin).await, [], "nothing unusual yet");

    server.clock.advance(MINUTE);
    from(&admin, &secret, "198.51.100.7", 1).await;
    try_unknown(&admin, &secret, "203.0.113.1", 99).await;
    server.clock.advance(MINUTE);
    try_unknown(&admin, &secret, "203.0.113.1", 3).await;
    admin.revoke(&key.key_id).await.expect("revoked");
    assert_eq!(admin.verdict(&secret).await, Err(v1::DenialReason::Revoked));

    admin.put_account_of("globex", "billing", "standard", &["reports:*"]).await;
    let made = admin.keys.clone().create_key(common::new_key("globex", "billing", "theirs")).await;
    let made = made.expect("created").into_inner();
    let theirs = made.key.expect("a key");
    admin.revoke(&theirs.key_id).await.expect("revoked");
    assert_eq!(admin.verdict(&made.secret).await, Err(v1::DenialReason::Revoked));
    let (server, admin) = settled(server).await;
    (server, admin, [key, theirs])
}

#[tokio::test]
async fn each_kind_is_found_with_what_was_compared_and_the_events_it_comes_from() {
    let (_server, admin, [key, theirs]) = busy().await;
    let answer = ask(&admin, of_all()).await.expect("an answer");
    let of = |kind: SignalKind| -> Vec<&v1::Signal> {
        answer.signals.iter().filter(|signal| signal.kind() == kind).collect()
    };
    let [new] = of(SignalKind::NewSource)[..] else { panic!("{answer:?}") };
    assert_eq!((new.tenant_id.as_str(), new.account_id.as_str()), ("acme", "billing"));
    assert_eq!((&new.key_id, &new.sources[..]), (&key.key_id, &["198.51.100.7".to_owned()][..]));
    assert_eq!((new.uses, new.observed, new.threshold), (1, 1, 20));
    assert_eq!(new.first_position, new.last_position);
    assert_eq!(new.caller_ids.len(), 1, "the admin asked");
    let [burst] = of(SignalKind::Burst)[..] else { panic!("{answer:?}") };
    assert_eq!(
        (burst.uses, burst.observed, burst.threshold),
        (102, 102, 100),
        "the last was denied"
    );
    assert!(burst.first_position < burst.last_position, "the hour's windows");
    assert!(burst.last_position > new.first_position);
    let [unknown] = of(SignalKind::UnknownKeys)[..] else { panic!("{answer:?}") };
    assert_eq!((unknown.uses, unknown.observed, unknown.threshold), (102, 102, 100));
    assert_eq!((unknown.tenant_id.as_str(), unknown.key_id.as_str()), ("", ""));
    assert_eq!(
        (&unknown.sources[..], unknown.presented_keys),
        (&["203.0.113.1".to_owned()][..], 1)
    );
    let ended: Vec<_> =
        of(SignalKind::EndedKeyTried).iter().map(|signal| signal.key_id.clone()).collect();
    assert_eq!(ended.len(), 2);
    assert!(ended.contains(&key.key_id) && ended.contains(&theirs.key_id));
    assert!(answer.signals.iter().all(|signal| signal.last_position <= answer.position));
    assert!(answer.gaps.is_empty());
}

#[tokio::test]
async fn a_caller_bound_to_a_tenant_is_shown_its_tenants_alone_and_never_unknown_keys() {
    let (server, admin, _) = busy().await;
    let tenants = |signals: &[v1::Signal]| -> Vec<String> {
        let mut tenants: Vec<_> = signals.iter().map(|signal| signal.tenant_id.clone()).collect();
        tenants.sort();
        tenants.dedup();
        tenants
    };
    assert_eq!(tenants(&all(&admin).await), ["", "acme", "globex"]);
    for role in [Role::Analyst, Role::Issuer] {
        let (_, credential) = admin.create_caller(&[role], &["acme"]).await;
        let bound = server.client(&credential).await;
        assert_eq!(tenants(&all(&bound).await), ["acme"]);
        let of = |tenant: &str| v1::ListSignalsRequest { tenant_id: tenant.to_owned(), ..of_all() };
        assert_eq!(tenants(&ask(&bound, of("acme")).await.expect("its own").signals), ["acme"]);
        let refused = ask(&bound, of("globex")).await.expect_err("foreign");
        assert_eq!(reason(&refused).0, "TENANT_NOT_ALLOWED");
    }
    let of_one = v1::ListSignalsRequest { tenant_id: "globex".to_owned(), ..of_all() };
    assert_eq!(tenants(&ask(&admin, of_one).await.expect("an answer").signals), ["globex"]);
}

#[tokio::test]
async fn a_restart_and_a_projection_made_anew_change_no_signal() {
    let (server, admin, _) = busy().await;
    let before = all(&admin).await;
    assert_eq!(before.len(), 5, "{:?}", kinds(&before));
    let (server, admin) = settled(server).await;
    assert_eq!(all(&admin).await, before);
    let (clock, projections) = (server.clock.clone(), server.data_dir().join("projections"));
    let dir = server.stop().await;
    std::fs::remove_dir_all(projections).expect("removed");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    assert_eq!(all(&server.admin().await).await, before);
}

#[tokio::test]
async fn pages_have_each_signal_once() {
    let (_server, admin, _) = busy().await;
    let whole = all(&admin).await;
    for page_size in [1, 2, 5] {
        let (mut signals, mut page_token) = (Vec::new(), String::new());
        loop {
            let asked = v1::ListSignalsRequest { page_size, page_token, ..of_all() };
            let page = ask(&admin, asked).await.expect("a page");
            signals.extend(page.signals);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(signals, whole, "page size {page_size}");
    }
    let first = v1::ListSignalsRequest { page_size: 1, ..of_all() };
    let page_token = ask(&admin, first).await.expect("a page").next_page_token;
    let other = v1::ListSignalsRequest { page_token, tenant_id: "acme".to_owned(), ..of_all() };
    assert_eq!(fields(&ask(&admin, other).await.expect_err("another list's")), ["page_token"]);
}

#[tokio::test]
async fn questions_that_cannot_be_answered_name_their_field() {
    let (_server, admin) = started().await;
    let told = async |request: v1::ListSignalsRequest| {
        let refused = ask(&admin, request).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
        (fields(&refused).concat(), refused.message().to_owned())
    };
    let with = |start_time, end_time| v1::ListSignalsRequest { start_time, end_time, ..of_all() };
    assert_eq!(told(with(None, None)).await.0, "start_time");
    assert_eq!(told(with(at(START.plus(DAY)), None)).await.0, "start_time");
    assert_eq!(told(with(at(START), at(START))).await.0, "end_time");
    let (field, text) = told(with(at(START.minus(DAY * 91)), None)).await;
    assert_eq!(field, "start_time");
    assert!(text.contains("must be at most 90 days (usage.keep_hours_days) ago"), "{text}");
    let tenant_id = "no tenant".to_owned();
    assert_eq!(told(v1::ListSignalsRequest { tenant_id, ..of_all() }).await.0, "tenant_id");
    assert_eq!(told(v1::ListSignalsRequest { page_size: 1001, ..of_all() }).await.0, "page_size");
}
