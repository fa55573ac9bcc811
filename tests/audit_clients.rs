//! Clients of StreamEvents that go without a word, or stop to read and stay: they hold up nobody, and when
//! they are gone nothing of them is left.

mod common;

use std::sync::Arc;

use common::{Client, TestServer};
use keyledger::proto::v1;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::proto::v1::{EventFilter, EventKind, StreamEventsRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

type Answers = Streaming<v1::StreamEventsResponse>;

/// Streams of each kind of client.
const STREAMS: usize = 100;

/// Large events: of so many, more than sockets and windows hold comes to those streams together.
const LARGE: usize = 40;

async fn follow(client: &Client, after_position: u64) -> Answers {
    // Accounts alone, so that what is waited for is what the test made.
    let kinds = vec![EventKind::AccountRegistered.into()];
    let filter = Some(EventFilter { kinds, ..Default::default() });
    let request = StreamEventsRequest { after_position, filter, follow: true };
    client.audit.clone().stream_events(request).await.expect("a stream").into_inner()
}

/// The position of the next event; heartbeats and the like are passed over.
async fn next(answers: &mut Answers) -> Result<u64, Status> {
    loop {
        let answer = answers.message().await?;
        let answer = answer.ok_or_else(|| Status::unavailable("it has ended"))?;
        if let Some(Answer::Event(event)) = answer.answer {
            return Ok(event.position);
        }
    }
}

/// An account with as many permissions, as long, as one may have.
async fn put_large(admin: &Client, n: usize) -> u64 {
    let permissions: Vec<_> = (0..64).map(|word| format!("{word:0>100}:read")).collect();
    let permissions: Vec<_> = permissions.iter().map(String::as_str).collect();
    admin.put_account(&format!("large-{n}"), "standard", &permissions).await.position
}

/// A way to a server that carries what both sides send until it is told to take no more from the server. Both
/// of its sockets stay open until it is dropped.
struct Way {
    address: String,
    stop: Arc<Notify>,
    _carrying: JoinSet<()>,
}

impl Way {
    async fn to(server: &TestServer) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let stop = Arc::new(Notify::new());
        let told = Arc::clone(&stop);
        let server = server.address.strip_prefix("http://").expect("a scheme").to_owned();
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let (client, _) = listener.accept().await.expect("a client");
            let server = TcpStream::connect(server).await.expect("up");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let there = async {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            };
            let back = async {
                let mut buffer = vec![0; 4096];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    to_client.write_all(&buffer[..read]).await.expect("a client");
                }
            };
            let back = async {
                tokio::select! {
                    () = back => {}
                    () = told.notified() => std::future::pending().await,
                }
            };
            tokio::join!(there, back);
        });
        Way { address, stop, _carrying: carrying }
    }

    async fn client(&self, server: &TestServer) -> Client {
        let channel = Channel::from_shared(self.address.clone()).expect("an address");
        Client::new(channel.connect().await.expect("up"), Some(&server.admin_credential()))
    }

    /// From here on the server's socket is read no more.
    fn stop_reading(&self) {
        self.stop.notify_one();
    }
}

async fn many(client: &Client, after: u64) -> Vec<Answers> {
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(follow(client, after).await);
    }
    streams
}

async fn has_streams(server: &TestServer, count: usize) {
    while server.metric("keyledger_audit_streams").await != count as u64 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_or_stop_to_read_hold_up_nobody_and_leave_nothing_behind() {
    let server = TestServer::builder().ops().start().await;
    let admin = server.admin().await;
    let first = admin.put_account("first", "standard", &[]).await.position;
    let (half_open, going) = (Way::to(&server).await, server.admin().await);
    let mut stuck = many(&half_open.client(&server).await, first - 1).await;
    let mut gone = many(&going, first - 1).await;
    let mut reading = vec![follow(&admin, first - 1).await, follow(&admin, first - 1).await];
    for answers in stuck.iter_mut().chain(&mut gone).chain(&mut reading) {
        assert_eq!(next(answers).await.expect("an event"), first);
    }
    assert_eq!(server.metric("keyledger_audit_streams").await, 2 * STREAMS as u64 + 2);

    half_open.stop_reading();
    // Half of them in the middle of an answer, as it may be.
    drop(gone.split_off(STREAMS / 2));
    let mut made = Vec::new();
    for n in 0..LARGE {
        made.push(put_large(&admin, n).await);
    }
    drop((gone, going));
    has_streams(&server, STREAMS + 2).await;
    for answers in &mut reading {
        for position in &made {
            assert_eq!(next(answers).await.expect("an event"), *position);
        }
    }
    drop((half_open, stuck));
    has_streams(&server, 2).await;
    drop(reading);
    has_streams(&server, 0).await;
    assert_eq!(server.metric("keyledger_audit_streams_total").await, 2 * STREAMS as u64 + 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_socket_that_is_not_read_and_its_streams_resume_where_they_were() {
    let config = "[limits]\ndrain_seconds = 1\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    let first = put_large(&admin, 0).await;
    let half_open = Way::to(&server).await;
    let mut stuck = many(&half_open.client(&server).await, first - 1).await;
    for answers in &mut stuck {
        assert_eq!(next(answers).await.expect("an event"), first);
    }
    half_open.stop_reading();
    let mut made = vec![first];
    for n in 1..LARGE {
        made.push(put_large(&admin, n).await);
    }
    drop(admin);
    let clock = Arc::clone(&server.clock);
    let dir = server.stop().await;
    // Nobody told them where to resume: behind the last event that had come.
    drop(half_open);
    let mut seen = Vec::new();
    for answers in &mut stuck {
        let mut of_one = vec![first];
        while let Ok(position) = next(answers).await {
            of_one.push(position);
        }
        seen.push(of_one);
    }
    assert!(seen.iter().any(|of_one| of_one.len() < made.len()), "they were stuck");

    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    let admin = server.admin().await;
    for mut of_one in seen {
        let mut rest = follow(&admin, *of_one.last().expect("some")).await;
        while of_one.len() < made.len() {
            of_one.push(next(&mut rest).await.expect("an event"));
        }
        assert_eq!(of_one, made);
    }
    server.stop().await;
}
