//! A stopping server says so, lets calls under way finish, and ends; old connections are asked to
//! reconnect.

mod common;

use common::{TestServer, new_key};
use keyledger::proto::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// What an HTTP/2 client says first: the preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const GOAWAY: u8 = 7;

/// A connection that says hello and then nothing more.
async fn mute(server: &TestServer) -> TcpStream {
    let address = server.address.strip_prefix("http://").expect("a scheme");
    let mut stream = TcpStream::connect(address).await.expect("up");
    stream.write_all(HELLO).await.expect("sent");
    stream
}

/// Reads frames until one of `kind` comes; false if the connection ends before.
async fn receives(stream: &mut TcpStream, kind: u8) -> bool {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return false;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut rest = vec![0; usize::try_from(length).expect("small")];
        stream.read_exact(&mut rest).await.expect("a whole frame");
        if head[3] == kind {
            return true;
        }
    }
}

#[tokio::test]
async fn a_connection_is_asked_to_reconnect_at_its_age_and_then_cut() {
    let config = "[limits]\nconnection_age_seconds = 1\ndrain_seconds = 1\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    for round in ["first", "second", "third"] {
        // Each round outlives the connections of the one before it.
        let mut stream = mute(&server).await;
        assert!(receives(&mut stream, GOAWAY).await, "it is told to go");
        assert!(!receives(&mut stream, u8::MAX).await, "it did not go and is cut");
        // A client that listens has reconnected by itself and goes on.
        admin.put_account("billing", "standard", &[&format!("round:{round}")]).await;
    }
}

#[tokio::test]
async fn a_connection_that_does_not_answer_holds_a_stop_no_longer_than_the_drain_time() {
    let server = TestServer::builder().config("[limits]\ndrain_seconds = 1\n").start().await;
    let stream = mute(&server).await;
    server.stop().await;
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_told_to_health_watchers_and_loses_no_answered_call() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let mut health = HealthClient::new(server.channel().await);
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(request).await.expect("watched").into_inner();
    let first = watch.message().await.expect("a status").expect("one");
    assert_eq!(first.status(), ServingStatus::Serving);

    let mut calling = tokio::task::JoinSet::new();
    for n in 0..200 {
        let mut keys = admin.keys.clone();
        let request = new_key("acme", "billing", &format!("key {n}"));
        calling.spawn(async move { keys.create_key(request).await });
    }
    // The first answer shows that the calls are under way.
    let mut answers = vec![calling.join_next().await.expect("some").expect("no panic")];
    let clock = std::sync::Arc::clone(&server.clock);
    let (dir, last) = tokio::join!(server.stop(), watch.message());
    let last = last.expect("told before the connection ends").expect("one");
    assert_eq!(last.status(), ServingStatus::NotServing);
    assert!(!matches!(watch.message().await, Ok(Some(_))), "a watch does not hold the stop");
    while let Some(answer) = calling.join_next().await {
        answers.push(answer.expect("no panic"));
    }
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    let again = server.admin().await;
    for answer in answers {
        match answer {
            Ok(made) => {
                let answer = again.authenticate(&made.into_inner().secret, &[]).await;
                assert_eq!(answer.outcome(), v1::Outcome::Allowed);
            }
            Err(status) => {
                let gone = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled];
                assert!(gone.contains(&status.code()), "{status:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_may_be_under_way_are_refused_with_when_to_come_back() {
    use tonic_types::StatusExt;

    let server = TestServer::builder().config("[limits]\ncalls_in_flight = 2\n").start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let mut calling = tokio::task::JoinSet::new();
    for n in 0..100 {
        let mut keys = admin.keys.clone();
        let request = new_key("acme", "billing", &format!("key {n}"));
        calling.spawn(async move { keys.create_key(request).await });
    }
    let answers = calling.join_all().await;
    assert!(answers.iter().any(Result::is_ok));
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty());
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(common::reason(&status).0, "OVERLOADED");
        let details = status.get_error_details();
        assert!(details.retry_info().is_some_and(|retry| retry.retry_delay.is_some()));
    }
}
