//! Callers whose credential stops working while they stream: what is streamed to them ends at once. And what is known of
//! a caller on a connection that serves many.

mod common;

use std::time::Duration;

use common::wire;
use common::{Client, START, TestServer, reason};
use keyledger::proto::v1::{self, Role};
use tonic::{Code, Status, Streaming};

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const MINUTE: Duration = Duration::from_mins(1);

/// A stream of reflection that has answered, and whose client says no more.
async fn reflecting(server: &TestServer, credential: &str) -> Streaming<Vec<u8>> {
    let messages =
        tokio_stream::StreamExt::chain(tokio_stream::once(vec![0x3a, 0]), tokio_stream::pending());
    let channel = server.channel().await;
    let mut answers =
        wire::open(&channel, REFLECTION, Some(credential), messages).await.expect("a stream");
    answers.message().await.expect("no error").expect("an answer");
    answers
}

/// A stream of events that is at the head; and the head.
async fn following(client: &Client) -> (Streaming<v1::StreamEventsResponse>, u64) {
    let request = v1::StreamEventsRequest { follow: true, ..Default::default() };
    let mut answers =
        client.audit.clone().stream_events(request).await.expect("a stream").into_inner();
    loop {
        let answer = answers.message().await.expect("no error").expect("more");
        if let Some(v1::stream_events_response::Answer::Heartbeat(at)) = answer.answer {
            return (answers, at.head);
        }
    }
}

/// How a stream ends, whatever comes before.
async fn end<T>(mut answers: Streaming<T>) -> Status {
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends as if nothing were wrong"),
            Err(status) => return status,
        }
    }
}

fn assert_invalid(status: &Status) {
    let told = (status.code(), reason(status).0);
    assert_eq!(told, (Code::Unauthenticated, "CALLER_CREDENTIAL_INVALID".to_owned()));
}

async fn rotate(admin: &Client, caller: &v1::Caller, overlap: Duration) -> String {
    let seconds = i64::try_from(overlap.as_secs()).expect("short");
    let request = v1::RotateCallerRequest {
        caller_id: caller.caller_id.clone(),
        overlap: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    admin.admin.clone().rotate_caller(request).await.expect("rotated").into_inner().credential
}

async fn revoke(admin: &Client, caller: &v1::Caller) {
    let request =
        v1::RevokeCallerRequest { caller_id: caller.caller_id.clone(), ..Default::default() };
    admin.admin.clone().revoke_caller(request).await.expect("revoked");
}

#[tokio::test]
async fn streams_of_a_revoked_caller_end_at_once_and_no_others() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (caller, credential) = admin.create_caller(&[Role::Auditor], &[]).await;
    let reflection = reflecting(&server, &credential).await;
    let (events, head) = following(&server.client(&credential).await).await;
    let (mut others, _) = following(&admin).await;
    let mut reflecting_on = reflecting(&server, &server.admin_credential()).await;

    revoke(&admin, &caller).await;
    // Neither has anything to send, and nothing else happens: only the revocation can wake them.
    assert_invalid(&end(reflection).await);
    let ended = end(events).await;
    assert_invalid(&ended);
    assert_eq!(reason(&ended).1["resume_after"], head.to_string());

    let answer = others.message().await.expect("no error").expect("more").answer;
    let Some(v1::stream_events_response::Answer::Event(event)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(event.position, head + 1, "the revocation");
    let more = tokio::time::timeout(Duration::ZERO, reflecting_on.message()).await;
    assert!(more.is_err(), "it goes on: {more:?}");
}

#[tokio::test]
async fn streams_end_when_the_overlap_of_their_credential_does_or_it_expires() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (caller, old) = admin.create_caller(&[Role::Auditor], &[]).await;
    let rotated_out = reflecting(&server, &old).await;
    let (events, _) = following(&server.client(&old).await).await;
    let new = rotate(&admin, &caller, MINUTE).await;
    let mut renewed = reflecting(&server, &new).await;
    let request = v1::CreateCallerRequest {
        name: "guest".to_owned(),
        roles: vec![Role::Auditor.into()],
        expire_time: common::usage::after(MINUTE * 2),
        ..Default::default()
    };
    let guest = admin.admin.clone().create_caller(request).await.expect("made").into_inner();
    let expiring = reflecting(&server, &guest.credential).await;

    server.clock.advance(MINUTE);
    assert_invalid(&end(rotated_out).await);
    assert_invalid(&end(events).await);
    server.clock.advance(MINUTE);
    assert_invalid(&end(expiring).await);
    let more = tokio::time::timeout(Duration::ZERO, renewed.message()).await;
    assert!(more.is_err(), "it goes on: {more:?}");
    // Told over, it stays over.
    server.clock.step_wall_to(START);
    let refused = server.client(&guest.credential).await.get_key("key_00000000000000000").await;
    assert_invalid(&refused.expect_err("expired"));
}

#[tokio::test]
async fn a_rotation_without_overlap_ends_the_streams_of_the_old_credential_at_once() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (caller, old) = admin.create_caller(&[Role::Auditor], &[]).await;
    let stream = reflecting(&server, &old).await;
    rotate(&admin, &caller, Duration::ZERO).await;
    assert_invalid(&end(stream).await);
}

#[tokio::test]
async fn on_one_connection_each_credential_is_its_own_callers_until_it_works_no_more() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let channel = server.channel().await;
    let mut callers = Vec::new();
    // More than are remembered of a connection.
    for n in 0..10 {
        let tenant = format!("tenant-{n}");
        let (caller, credential) = admin.create_caller(&[Role::Issuer], &[&tenant]).await;
        callers.push((tenant, caller, Client::new(channel.clone(), Some(&credential))));
    }
    let list = async |client: &Client, tenant: &str| {
        let request = v1::ListKeysRequest { tenant_id: tenant.to_owned(), ..Default::default() };
        client.keys.clone().list_keys(request).await.map(|_| ())
    };
    for _ in 0..2 {
        for (tenant, _, client) in &callers {
            list(client, tenant).await.expect("its own tenant");
            let foreign = list(client, "acme").await.expect_err("another");
            assert_eq!(reason(&foreign).0, "TENANT_NOT_ALLOWED");
        }
    }
    let (tenant, caller, client) = &callers[9];
    revoke(&admin, caller).await;
    assert_invalid(&list(client, tenant).await.expect_err("revoked"));
    let (tenant, caller, old) = &callers[8];
    let new = rotate(&admin, caller, MINUTE).await;
    let new = Client::new(channel.clone(), Some(&new));
    list(old, tenant).await.expect("in the overlap");
    list(&new, tenant).await.expect("the new one");
    server.clock.advance(MINUTE);
    assert_invalid(&list(old, tenant).await.expect_err("over"));
    list(&new, tenant).await.expect("still");
    list(&callers[7].2, &callers[7].0).await.expect("as before");
}

#[tokio::test]
async fn it_is_known_when_a_caller_last_called_whatever_came_of_the_call() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (caller, credential) = admin.create_caller(&[Role::Analyst], &[]).await;
    let last_use = async |of: &Client| {
        let request = v1::ListCallersRequest { page_size: 1000, ..Default::default() };
        let listed = of.admin.clone().list_callers(request).await.expect("a page").into_inner();
        let found = listed.callers.into_iter().find(|one| one.caller_id == caller.caller_id);
        found.expect("listed").last_use_time
    };
    assert_eq!(last_use(&admin).await, None);
    let client = server.client(&credential).await;
    server.clock.advance(MINUTE);
    client.get_key("key_00000000000000000").await.expect_err("no such key");
    assert_eq!(last_use(&admin).await, common::usage::after(MINUTE));
    server.clock.advance(MINUTE);
    client.revoke("key_00000000000000000").await.expect_err("no such role");
    assert_eq!(last_use(&admin).await, common::usage::after(MINUTE * 2));
    revoke(&admin, &caller).await;
    server.clock.advance(MINUTE);
    client.get_key("key_00000000000000000").await.expect_err("revoked");
    assert_eq!(last_use(&admin).await, common::usage::after(MINUTE * 2));
}
