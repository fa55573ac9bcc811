//! StreamEvents: the whole history in order, to who may see it, from any position on, without gap or
//! repeat whatever happens in between.

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use common::{Client, TestServer, fields, new_key, reason};
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::note::VerifierKey;
use keyledger::proto::ledger::{Personal, Record};
use keyledger::proto::v1::event::Kind;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::proto::v1::{self, AuditEvent, EventFilter, EventKind, Role, StreamEventsRequest};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status, Streaming};

type Answers = Streaming<v1::StreamEventsResponse>;

async fn stream(client: &Client, request: StreamEventsRequest) -> Result<Answers, Status> {
    Ok(client.audit.clone().stream_events(request).await?.into_inner())
}

fn behind(after_position: u64) -> StreamEventsRequest {
    StreamEventsRequest { after_position, ..Default::default() }
}

fn only(filter: EventFilter) -> StreamEventsRequest {
    StreamEventsRequest { filter: Some(filter), ..Default::default() }
}

/// All events of a stream that ends, and the position of its last answer.
async fn all(client: &Client, request: StreamEventsRequest) -> (Vec<AuditEvent>, u64) {
    let mut answers = stream(client, request).await.expect("a stream");
    let (mut events, mut last) = (Vec::new(), 0);
    while let Some(answer) = answers.message().await.expect("no error") {
        match answer.answer.expect("an answer") {
            Answer::Event(event) => {
                last = event.position;
                events.push(*event);
            }
            Answer::Progress(progress) => last = progress.position,
            Answer::Heartbeat(_) => panic!("it does not follow"),
        }
    }
    (events, last)
}

/// The next event of a stream that follows; heartbeats are passed over.
async fn next(answers: &mut Answers) -> Result<AuditEvent, Status> {
    loop {
        let answer = answers.message().await?.expect("it does not end");
        if let Answer::Event(event) = answer.answer.expect("an answer") {
            return Ok(*event);
        }
    }
}

fn kind(event: &AuditEvent) -> &Kind {
    event.event.as_ref().expect("decoded").kind.as_ref().expect("a kind")
}

fn positions(events: &[AuditEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}

/// Two tenants with an account and a key each; the keys and their secrets.
async fn two_tenants(admin: &Client) -> [(v1::Key, String); 2] {
    let mut keys = Vec::new();
    for tenant in ["acme", "globex"] {
        admin.put_account_of(tenant, "billing", "standard", &["reports:*"]).await;
        let made = admin.keys.clone().create_key(new_key(tenant, "billing", "nightly")).await;
        let made = made.expect("created").into_inner();
        keys.push((made.key.expect("a key"), made.secret));
    }
    keys.try_into().expect("two")
}

#[tokio::test]
async fn the_history_comes_whole_from_the_beginning_and_shows_what_it_commits_to() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let [(key, _), _] = two_tenants(&admin).await;
    let request = v1::RevokeKeyRequest {
        key_id: key.key_id.clone(),
        comment: "found in a public place".to_owned(),
        reason: v1::RevokeReason::KeyCompromise.into(),
        ..Default::default()
    };
    let revoked = admin.keys.clone().revoke_key(request).await.expect("revoked").into_inner();

    let (events, last) = all(&admin, behind(0)).await;
    assert_eq!(positions(&events), (1..=revoked.position).collect::<Vec<_>>());
    assert_eq!(last, revoked.position);
    for event in &events {
        let record = Record::decode(event.record.as_slice()).expect("a record");
        let decoded = event.event.as_ref().expect("decoded");
        assert_eq!((record.position, decoded.position), (event.position, event.position));
        assert_eq!(record.tenant_id, decoded.tenant_id);
        assert_eq!(record.previous_position, decoded.previous_position);
        let shown = event.disclosure.as_ref();
        assert_eq!(record.sealed.is_some(), shown.is_some(), "{}", event.position);
        let Some(shown) = shown else { continue };
        let commitment =
            Sha256::new_with_prefix(b"keyledger/v1/personal\0").chain_update(&shown.personal);
        assert_eq!(record.commitment, commitment.finalize().to_vec());
        let personal = Personal::decode(shown.personal.as_slice()).expect("personal");
        assert_eq!((personal.salt, personal.name), (shown.salt.clone(), shown.name.clone()));
        assert_eq!(personal.comment, shown.comment);
    }
    let last = events.last().expect("some");
    let Kind::KeyRevoked(revocation) = kind(last) else { panic!("{last:?}") };
    assert_eq!(revocation.reason(), v1::RevokeReason::KeyCompromise);
    assert_eq!(last.disclosure.as_ref().expect("shown").comment, "found in a public place");
    let decoded = last.event.as_ref().expect("decoded");
    assert_eq!(decoded.key_id, key.key_id);
    assert_eq!(decoded.actor.as_ref().expect("an actor").mechanism(), v1::Mechanism::Bearer);
}

#[tokio::test]
async fn a_filter_lets_through_what_fits_all_of_it_and_tells_how_far_it_got() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let [(acme, _), (globex, _)] = two_tenants(&admin).await;
    admin.put_account_of("acme", "shipping", "standard", &[]).await;
    let (other, _) = admin.create_key("shipping", "other").await;
    let head = other.position;
    let filter = EventFilter::default;
    let fitting = async |filter: EventFilter| {
        let (events, last) = all(&admin, only(filter)).await;
        assert_eq!(last, head);
        positions(&events)
    };
    let tenant = EventFilter { tenant_id: "globex".to_owned(), ..filter() };
    assert_eq!(fitting(tenant.clone()).await, [globex.position - 1, globex.position]);
    let account =
        EventFilter { tenant_id: "acme".to_owned(), account_id: "shipping".to_owned(), ..filter() };
    assert_eq!(fitting(account).await, [head - 1, head]);
    let key = EventFilter { key_id: acme.key_id.clone(), ..filter() };
    assert_eq!(fitting(key).await, [acme.position]);
    let kinds = vec![EventKind::KeyCreated.into(), EventKind::PepperRotated.into()];
    assert_eq!(
        fitting(EventFilter { kinds: kinds.clone(), ..filter() }).await,
        [1, acme.position, globex.position, head]
    );
    assert_eq!(fitting(EventFilter { kinds, ..tenant }).await, [globex.position]);
    let of_another =
        EventFilter { tenant_id: "globex".to_owned(), key_id: acme.key_id.clone(), ..filter() };
    assert!(fitting(of_another).await.is_empty());
}

#[tokio::test]
async fn who_is_bound_to_a_tenant_is_shown_its_events_alone() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let [(acme, _), (globex, _)] = two_tenants(&admin).await;
    let (_, credential) = admin.create_caller(&[Role::Auditor], &["acme"]).await;
    let bound = server.client(&credential).await;
    let (events, _) = all(&bound, behind(0)).await;
    assert_eq!(positions(&events), [acme.position - 1, acme.position]);
    assert_eq!(events[1].disclosure.as_ref().expect("shown").name, "nightly");
    let foreign = EventFilter { key_id: globex.key_id, ..Default::default() };
    assert!(all(&bound, only(foreign)).await.0.is_empty());
    let foreign = EventFilter { tenant_id: "globex".to_owned(), ..Default::default() };
    let refused = stream(&bound, only(foreign)).await.expect_err("foreign");
    assert_eq!(reason(&refused).0, "TENANT_NOT_ALLOWED");
}

#[tokio::test]
async fn a_stream_that_follows_shows_each_change_and_each_window_of_uses_as_it_is_recorded() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let [(acme, secret), _] = two_tenants(&admin).await;
    let filter = EventFilter { key_id: acme.key_id.clone(), ..Default::default() };
    let request = StreamEventsRequest { follow: true, ..only(filter) };
    let mut answers = stream(&admin, request).await.expect("a stream");
    assert_eq!(next(&mut answers).await.expect("an event").position, acme.position);
    let heartbeat = answers.message().await.expect("no error").expect("more").answer;
    assert!(matches!(heartbeat, Some(Answer::Heartbeat(_))), "{heartbeat:?}");

    let context = v1::AuthenticateContext {
        source_ip: "192.0.2.7".to_owned(),
        action: "export".to_owned(),
        ..Default::default()
    };
    let request = v1::AuthenticateRequest {
        api_key: secret.clone(),
        context: Some(context),
        ..Default::default()
    };
    for _ in 0..3 {
        admin.keys.clone().authenticate(request.clone()).await.expect("an answer");
    }
    admin.revoke(&acme.key_id).await.expect("revoked");
    let revoked = next(&mut answers).await.expect("an event");
    assert!(matches!(kind(&revoked), Kind::KeyRevoked(_)), "{revoked:?}");
    drop(answers);
    // What was used is put on record when the server stops.
    let server = server.restart().await;
    let admin = server.admin().await;
    let filter = EventFilter { kinds: vec![EventKind::KeyUsed.into()], ..Default::default() };
    let (events, _) = all(&admin, only(filter)).await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    let Kind::KeyUsed(used) = kind(event) else { panic!("{event:?}") };
    let window = used.window.as_ref().expect("a window");
    assert_eq!((used.total_allowed, window.totals[0].count), (3, 3));
    let line = &window.counts[0];
    assert_eq!((line.action.as_str(), line.outcome()), ("export", v1::Outcome::Allowed));
    let sources = &event.disclosure.as_ref().expect("shown").sources;
    assert_eq!(sources[usize::try_from(line.source - 1).expect("small")], "192.0.2.7");
}

#[tokio::test]
async fn heartbeats_have_a_checkpoint_of_no_more_than_the_head_that_is_never_smaller_than_before() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let key = admin.audit.clone().get_verifier_key(v1::GetVerifierKeyRequest {}).await;
    let key = VerifierKey::parse(&key.expect("a key").into_inner().verifier_key).expect("a key");
    for round in 0..3 {
        let last = admin.put_account(&format!("a{round}"), "standard", &[]).await.position;
        // It is durable, and known to be.
        let request = v1::GetCheckpointRequest { min_size: last };
        let own = admin.audit.clone().get_checkpoint(request).await.expect("one").into_inner();
        let request = StreamEventsRequest { follow: true, ..behind(last) };
        let mut answers = stream(&admin, request).await.expect("a stream");
        let answer = answers.message().await.expect("no error").expect("more").answer;
        let Some(Answer::Heartbeat(heartbeat)) = answer else { panic!("{answer:?}") };
        let opened = Checkpoint::open(&heartbeat.checkpoint, std::slice::from_ref(&key));
        assert_eq!((opened.expect("signed").size, heartbeat.head), (last, last));
        assert_eq!(heartbeat.checkpoint, own.checkpoint, "one signature for all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_loses_and_repeats_nothing() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    two_tenants(&admin).await;
    let request = StreamEventsRequest { follow: true, ..behind(0) };
    let mut answers = stream(&admin, request.clone()).await.expect("a stream");
    let mut seen = vec![next(&mut answers).await.expect("an event").position];
    let (writing, written) = (admin.clone(), tokio::sync::oneshot::channel::<()>());
    let writes = tokio::spawn(async move {
        let mut count = 0;
        for n in 0.. {
            let account = v1::Account {
                tenant_id: "acme".to_owned(),
                account_id: format!("more-{n}"),
                plan: "standard".to_owned(),
                ..Default::default()
            };
            let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
            if writing.accounts.clone().put_account(request).await.is_err() {
                break;
            }
            count += 1;
        }
        drop(written);
        count
    });
    while seen.len() < 40 {
        seen.push(next(&mut answers).await.expect("an event").position);
    }
    let (clock, stopping) = (Arc::clone(&server.clock), tokio::spawn(server.stop()));
    let ended = loop {
        match next(&mut answers).await {
            Ok(event) => seen.push(event.position),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), reason(&ended).0.as_str()), (Code::Unavailable, "DRAINING"));
    let resume_after = reason(&ended).1["resume_after"].parse::<u64>().expect("a position");
    assert_eq!(Some(&resume_after), seen.last());
    drop((admin, answers));
    let dir = stopping.await.expect("no panic");
    assert!(writes.await.expect("no panic") > 0);
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    let admin = server.admin().await;
    let (rest, last) = all(&admin, behind(resume_after)).await;
    seen.extend(positions(&rest));
    assert_eq!(seen, (1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_position_beyond_the_head_and_a_filter_that_is_none_are_refused() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let [_, (last, _)] = two_tenants(&admin).await;
    let refused = stream(&admin, behind(last.position + 1)).await.expect_err("beyond");
    let (reason, metadata) = reason(&refused);
    assert_eq!((refused.code(), reason.as_str()), (Code::OutOfRange, "POSITION_BEYOND_HEAD"));
    assert_eq!(metadata["head"], last.position.to_string());
    assert!(all(&admin, behind(last.position)).await.0.is_empty(), "at the head is no fault");
    let filter = EventFilter { kinds: vec![7], key_id: "k".to_owned(), ..Default::default() };
    let refused = stream(&admin, only(filter)).await.expect_err("no filter");
    assert_eq!(fields(&refused), ["filter.key_id", "filter.kinds[0]"]);
    let (_, credential) = admin.create_caller(&[Role::Issuer, Role::Operator], &[]).await;
    let refused = stream(&server.client(&credential).await, behind(0)).await.expect_err("no role");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_ends_the_stream_behind_what_is_whole_and_is_counted() {
    let config = "[ledger]\nvolume_bytes = 65536\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    let volume = server.data_dir().join("ledger/volume-00000001");
    for n in 0.. {
        admin.put_account(&format!("account-{n}"), "standard", &["reports:*"; 1]).await;
        if volume.exists() {
            break;
        }
    }
    let (whole, _) = all(&admin, behind(0)).await;
    drop(admin);
    let (clock, dir) = (Arc::clone(&server.clock), server.stop().await);
    let server = TestServer::builder().dir(&dir).clock(&clock).config(config).ops().start().await;
    let admin = server.admin().await;
    // In the middle of a record in the middle of the volume.
    let bytes = std::fs::read(&volume).expect("readable");
    let damaged = &whole[100];
    let at = bytes.windows(damaged.record.len()).position(|window| window == damaged.record);
    let at = at.expect("in the volume") + damaged.record.len() / 2;
    let file = OpenOptions::new().write(true).open(&volume).expect("open");
    file.write_all_at(&[!bytes[at]], at as u64).expect("written");

    let mut answers = stream(&admin, behind(0)).await.expect("a stream");
    let mut seen = Vec::new();
    let ended = loop {
        match next(&mut answers).await {
            Ok(event) => seen.push(event.position),
            Err(status) => break status,
        }
    };
    assert_eq!(seen, (1..damaged.position).collect::<Vec<_>>());
    let (reason, metadata) = reason(&ended);
    assert_eq!((ended.code(), reason.as_str()), (Code::DataLoss, "DATA_DAMAGED"));
    assert_eq!(metadata["position"], damaged.position.to_string());
    assert_eq!(metadata["resume_after"], (damaged.position - 1).to_string());
    assert_eq!(server.metric("keyledger_audit_damage_total").await, 1);
    // Behind the damage all is as it was, and behind that comes what the stop put on record.
    let (rest, _) = all(&admin, behind(damaged.position)).await;
    assert_eq!(positions(&rest)[..whole.len() - 101], positions(&whole)[101..]);
}
