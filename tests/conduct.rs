//! The audit of the auditors: who read the history and which calls were refused is itself on record.

mod common;

use std::time::Duration;

use common::{Client, START, TestServer, new_key};
use keyledger::proto::v1::event::Kind;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::proto::v1::{
    self, AuditEvent, AuditRead, CallsRefused, ErrorReason, EventFilter, EventKind, NamedByCall,
    Role, StreamEventsRequest,
};
use tonic::{Code, Request, Streaming};

const MINUTE: Duration = Duration::from_secs(60);

type Answers = Streaming<v1::StreamEventsResponse>;

async fn stream(client: &Client, request: StreamEventsRequest) -> Answers {
    client.audit.clone().stream_events(request).await.expect("a stream").into_inner()
}

fn only(filter: EventFilter) -> StreamEventsRequest {
    StreamEventsRequest { filter: Some(filter), ..Default::default() }
}

/// All events of a kind that a client is shown.
async fn of_kind(client: &Client, kind: EventKind) -> Vec<AuditEvent> {
    let filter = EventFilter { kinds: vec![kind.into()], ..Default::default() };
    let mut answers = stream(client, only(filter)).await;
    let mut events = Vec::new();
    while let Some(answer) = answers.message().await.expect("no error") {
        if let Some(Answer::Event(event)) = answer.answer {
            events.push(*event);
        }
    }
    events
}

/// The next event of a stream that follows.
async fn next(answers: &mut Answers) -> AuditEvent {
    loop {
        let answer = answers.message().await.expect("no error").expect("it does not end");
        if let Some(Answer::Event(event)) = answer.answer {
            return *event;
        }
    }
}

fn kind(event: &AuditEvent) -> &Kind {
    event.event.as_ref().expect("decoded").kind.as_ref().expect("a kind")
}

async fn reads(client: &Client) -> Vec<AuditRead> {
    let events = of_kind(client, EventKind::AuditRead).await;
    let read = |event: &AuditEvent| match kind(event) {
        Kind::AuditRead(read) => read.clone(),
        other => panic!("{other:?}"),
    };
    events.iter().map(read).collect()
}

/// The minute of a read, counted from the start of the test's clock.
fn minute(read: &AuditRead) -> i64 {
    let seconds = read.window_time.as_ref().expect("a window").seconds;
    (seconds - START.as_micros() / 1_000_000) / 60
}

fn of_key(key_id: &str) -> NamedByCall {
    NamedByCall { key_id: key_id.to_owned(), ..Default::default() }
}

fn of_account(tenant: &str, account: &str) -> NamedByCall {
    let (tenant_id, account_id) = (tenant.to_owned(), account.to_owned());
    NamedByCall { tenant_id, account_id, ..Default::default() }
}

#[tokio::test]
async fn every_way_to_read_the_history_leaves_a_record_of_who_read_what_and_how_much() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (key, _) = admin.create_key("billing", "nightly").await;
    let (auditor, credential) = admin.create_caller(&[Role::Auditor], &[]).await;
    let client = server.client(&credential).await;
    let filter = EventFilter { tenant_id: "acme".to_owned(), ..Default::default() };
    for _ in 0..2 {
        let mut answers = stream(&client, only(filter.clone())).await;
        while answers.message().await.expect("no error").is_some() {}
    }
    let request = v1::GetKeyTimelineRequest { key_id: key.key_id.clone(), ..Default::default() };
    client.audit.clone().get_key_timeline(request).await.expect("a page");
    let at = Some(v1::get_key_at_request::At::Position(key.position));
    let request = v1::GetKeyAtRequest { key_id: key.key_id.clone(), at };
    client.audit.clone().get_key_at(request).await.expect("a snapshot");
    let request = v1::GetAccountAtRequest {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        at: Some(v1::get_account_at_request::At::Position(key.position)),
    };
    client.audit.clone().get_account_at(request).await.expect("a snapshot");
    let request = v1::GetKeyTimelineRequest {
        key_id: "key_00000000000000001".to_owned(),
        ..Default::default()
    };
    let absent = client.audit.clone().get_key_timeline(request).await.expect_err("no such key");
    assert_eq!(absent.code(), Code::NotFound);

    let server = server.restart().await;
    let reads = reads(&server.admin().await).await;
    assert!(reads.iter().all(|read| read.caller_id == auditor.caller_id && minute(read) == 0));
    let told = |rpc: &str| {
        let rpc = format!("AuditService/{rpc}");
        let mut found = reads.iter().filter(|read| read.rpc == rpc);
        let read = found.next().expect("on record");
        assert!(found.next().is_none(), "{rpc} twice");
        let positions = (read.first_position, read.last_position);
        (read.named.clone().expect("named"), read.calls, read.events, positions)
    };
    let account = of_account("acme", "billing");
    let at = key.position;
    assert_eq!(told("StreamEvents"), (of_account("acme", ""), 2, 4, (at - 1, at)));
    assert_eq!(told("GetKeyTimeline"), (of_key(&key.key_id), 1, 1, (at, at)));
    assert_eq!(told("GetKeyAt"), (of_key(&key.key_id), 1, 1, (at, at)));
    assert_eq!(told("GetAccountAt"), (account, 1, 1, (at, at)));
    assert_eq!(reads.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_shown_nothing_but_records_of_reads_leaves_no_more_of_them() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let request = StreamEventsRequest { follow: true, ..Default::default() };
    let mut answers = stream(&admin, request).await;
    next(&mut answers).await;
    server.clock.advance(MINUTE);
    let own = loop {
        let event = next(&mut answers).await;
        if let Kind::AuditRead(read) = kind(&event) {
            break read.clone();
        }
    };
    assert_eq!((minute(&own), own.calls), (0, 1));
    server.clock.advance(MINUTE);
    admin.put_account("billing", "standard", &[]).await;
    let event = next(&mut answers).await;
    assert!(matches!(kind(&event), Kind::AccountRegistered(_)), "{event:?}");
    server.clock.advance(MINUTE);
    let event = next(&mut answers).await;
    let Kind::AuditRead(read) = kind(&event) else { panic!("{event:?}") };
    assert_eq!((minute(read), read.calls, read.named.as_ref()), (2, 0, None));
    drop((answers, admin));
    // What was noted since, if anything was, goes on record now.
    let server = server.restart().await;
    let minutes: Vec<_> = reads(&server.admin().await).await.iter().map(minute).collect();
    assert_eq!(minutes, [0, 2]);
}

/// A caller with roles, bound to tenants, and a client with its credential.
async fn caller(
    server: &TestServer,
    admin: &Client,
    roles: &[Role],
    tenants: &[&str],
) -> (String, Client) {
    let (caller, credential) = admin.create_caller(roles, tenants).await;
    (caller.caller_id, server.client(&credential).await)
}

/// Who was refused, what, why and how often.
type Told<'a> = (&'a str, &'a str, ErrorReason, u64);

fn told(calls: &CallsRefused) -> Told<'_> {
    (&calls.caller_id, &calls.rpc, calls.reason(), calls.count)
}

fn refused(event: &AuditEvent) -> &CallsRefused {
    match kind(event) {
        Kind::CallsRefused(calls) => calls,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn refused_management_calls_are_on_record_with_caller_reason_and_what_was_named() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "nightly").await;
    let (issuer, issuing) = caller(&server, &admin, &[Role::Issuer], &["acme"]).await;
    let (analyst, analysing) = caller(&server, &admin, &[Role::Analyst], &[]).await;

    let foreign = new_key("globex", "shipping", "x");
    issuing.keys.clone().create_key(foreign).await.expect_err("foreign");
    let unknown = "key_00000000000000001";
    for _ in 0..10 {
        issuing.revoke(unknown).await.expect_err("no such key");
    }
    // A secret in the wrong place.
    issuing.revoke(&secret).await.expect_err("no key id");
    let mut request = Request::new(new_key("acme", "billing", "x"));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.metadata_mut().insert("traceparent", trace.parse().expect("ascii"));
    analysing.keys.clone().create_key(request).await.expect_err("no role");
    let anonymous = server.anonymous().await;
    anonymous.keys.clone().create_key(new_key("acme", "billing", "x")).await.expect_err("nobody");
    anonymous.get_key(unknown).await.expect_err("nobody");
    // Refused to read what is not there: nothing that manages, and about no one's rights.
    analysing.get_key(unknown).await.expect_err("no such key");

    let server = server.restart().await;
    let admin = server.admin().await;
    let events = of_kind(&admin, EventKind::CallsRefused).await;
    let mut found: Vec<_> = events.iter().map(|event| told(refused(event))).collect();
    found.sort_by_key(|(_, rpc, reason, _)| (*rpc, *reason as i32));
    let mut expected = [
        (issuer.as_str(), "KeyService/CreateKey", ErrorReason::TenantNotAllowed, 1),
        (issuer.as_str(), "KeyService/RevokeKey", ErrorReason::KeyNotFound, 10),
        (issuer.as_str(), "KeyService/RevokeKey", ErrorReason::InvalidField, 1),
        (analyst.as_str(), "KeyService/CreateKey", ErrorReason::RoleMissing, 1),
        ("", "KeyService/CreateKey", ErrorReason::CallerCredentialMissing, 1),
        ("", "KeyService/GetKey", ErrorReason::CallerCredentialMissing, 1),
    ];
    expected.sort_by_key(|(_, rpc, reason, _)| (*rpc, *reason as i32));
    assert_eq!(found, expected);
    for event in &events {
        let shown = event.disclosure.as_ref().expect("sealed and shown");
        assert_eq!(shown.sources, ["127.0.0.1"]);
        let calls = refused(event);
        assert_eq!((calls.sources[0].source, calls.sources[0].count), (1, calls.count));
        let bytes = |text: &str| event.record.windows(text.len()).any(|at| at == text.as_bytes());
        assert!(!bytes(&secret) && !bytes("127.0.0.1"), "in clear");
    }
    let of = |reason: ErrorReason| {
        let calls = events.iter().map(refused).find(|calls| calls.reason() == reason);
        calls.expect("on record").samples.clone()
    };
    let named = |reason| of(reason)[0].named.clone();
    assert_eq!(named(ErrorReason::TenantNotAllowed), Some(of_account("globex", "shipping")));
    assert_eq!(named(ErrorReason::KeyNotFound), Some(of_key(unknown)));
    assert_eq!(of(ErrorReason::KeyNotFound).len(), 8);
    assert_eq!(named(ErrorReason::InvalidField), None);
    assert_eq!(of(ErrorReason::RoleMissing)[0].trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");

    let (_, bound) = caller(&server, &admin, &[Role::Auditor], &["acme", "globex"]).await;
    assert!(of_kind(&bound, EventKind::CallsRefused).await.is_empty(), "says something of all");
}

#[tokio::test]
async fn calls_that_are_not_refused_leave_nothing_and_denied_keys_are_none() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (key, secret) = admin.create_key("billing", "nightly").await;
    assert_eq!(admin.verdict(&secret).await, Ok(()));
    admin.revoke(&key.key_id).await.expect("revoked");
    assert_eq!(admin.verdict(&secret).await, Err(v1::DenialReason::Revoked));
    server.clock.advance(MINUTE);
    let server = server.restart().await;
    let admin = server.admin().await;
    assert!(of_kind(&admin, EventKind::CallsRefused).await.is_empty());
    assert_eq!(reads(&admin).await, [], "its own call is of the minute that is not over");
}
