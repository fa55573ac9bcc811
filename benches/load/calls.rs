//! Load, made with as little as can be: HTTP/2 by `h2`, messages encoded beforehand, of each answer only the outcome
//! read. A client that took more of the machine that it shares with the server would hide what the server takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::asks::{Ask, Asks, FRAME};
use crate::now;
use crate::order::{Load, Measured, Order};
use crate::process;
use crate::streams;

/// What may be on its way to the client: more than it ever asks for.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// How long who begins calls in time sleeps; calls of that time begin together.
const TICK: Duration = Duration::from_micros(50);

/// Calls under way at most, if they begin in time: more wait, and what they wait counts as their latency.
const MOST_UNDER_WAY: usize = 1536;

const UNARY: &str = "Authenticate";
const STREAM: &str = "AuthenticateStream";

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A connection.
#[derive(Clone)]
pub(crate) struct Line {
    sender: SendRequest<Bytes>,
    /// What every call begins with.
    headers: HeaderMap,
    uri: http::Uri,
}

impl Line {
    async fn open(order: &Order, rpc: &str) -> Self {
        let socket = TcpStream::connect(order.address.trim_start_matches("http://"))
            .await
            .expect("the server listens");
        socket.set_nodelay(true).expect("set");
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(socket)
            .await
            .expect("the server speaks HTTP/2");
        // Ends with the server or with this process.
        tokio::spawn(connection);
        let mut headers = HeaderMap::new();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        let bearer = format!("Bearer {}", order.credential);
        headers.insert("authorization", bearer.parse().expect("ascii"));
        let uri = format!("{}/keyledger.v1.KeyService/{rpc}", order.address);
        Line { sender, headers, uri: uri.parse().expect("a URI") }
    }

    pub(crate) async fn begin(&self) -> Result<(ResponseFuture, SendStream<Bytes>), Failure> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let mut sender = self.sender.clone().ready().await?;
        Ok(sender.send_request(request, false)?)
    }

    /// Asks one question; answers the outcome.
    async fn ask(&self, framed: Bytes) -> Result<u8, Failure> {
        let (answer, mut sending) = self.begin().await?;
        sending.send_data(framed, true)?;
        let mut body = headed(answer).await?;
        let mut read = BytesMut::new();
        while let Some(chunk) = next(&mut body).await? {
            read.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await?;
        succeeded(trailers.as_ref().ok_or("no trailers")?)?;
        outcome(read.get(FRAME..).ok_or("no answer")?)
    }
}

pub(crate) async fn headed(answer: ResponseFuture) -> Result<RecvStream, Failure> {
    let (head, body) = answer.await?.into_parts();
    if head.headers.contains_key("grpc-status") {
        succeeded(&head.headers)?;
    }
    Ok(body)
}

pub(crate) async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, Failure> {
    let Some(chunk) = body.data().await.transpose()? else { return Ok(None) };
    body.flow_control().release_capacity(chunk.len())?;
    Ok(Some(chunk))
}

pub(crate) fn succeeded(headers: &HeaderMap) -> Result<(), Failure> {
    let status = headers.get("grpc-status").map(HeaderValue::as_bytes);
    if status == Some(b"0") {
        return Ok(());
    }
    let said = headers.get("grpc-message").and_then(|said| said.to_str().ok()).unwrap_or_default();
    Err(format!("status {status:?}: {said}").into())
}

/// The outcome of an encoded AuthenticateResponse, whose first field it is.
pub(crate) fn outcome(message: &[u8]) -> Result<u8, Failure> {
    match message {
        [0x08, outcome, ..] => Ok(*outcome),
        _ => Err("an answer without an outcome".into()),
    }
}

/// What came of some calls.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) calls: u64,
    /// In nanoseconds.
    pub(crate) latencies: Vec<u32>,
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
    pub(crate) failure: Option<String>,
}

impl Got {
    fn note(&mut self, took: Duration, answer: Result<u8, Failure>, ask: &Ask) {
        match answer {
            Ok(outcome) => {
                self.calls += 1;
                self.latencies.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
                self.wrong += u64::from(outcome != ask.outcome);
            }
            Err(failure) => {
                self.failed += 1;
                self.failure.get_or_insert_with(|| failure.to_string());
            }
        }
    }

    fn and(mut self, other: Got) -> Got {
        self.calls += other.calls;
        self.latencies.extend(other.latencies);
        self.wrong += other.wrong;
        self.failed += other.failed;
        self.failure = self.failure.or(other.failure);
        self
    }

    /// In microseconds; of sorted latencies.
    fn quantile(&self, share: f64) -> f64 {
        let Some(last) = self.latencies.len().checked_sub(1) else { return 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let at = (last as f64 * share).round() as usize;
        f64::from(self.latencies[at]) / 1e3
    }
}

/// From when to when is measured.
#[derive(Clone, Copy)]
pub(crate) struct Measuring {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

impl Measuring {
    pub(crate) fn takes(self, sent: Instant, done: Instant) -> bool {
        self.from <= sent && done < self.to
    }
}

/// Does what it is told, and says what it has measured.
pub(crate) async fn run(order: &Order, asks: Asks) -> Measured {
    let asks = Arc::new(asks);
    let rpc = if matches!(order.load, Load::Streams { .. }) { STREAM } else { UNARY };
    let mut lines = Vec::new();
    for _ in 0..order.connections {
        lines.push(Line::open(order, rpc).await);
    }
    if let Load::Each { in_flight } = order.load {
        return each(order, &lines, &asks, in_flight).await;
    }
    let from = now() + order.warming;
    let measuring = Measuring { from, to: from + order.span };
    let mut running = match order.load {
        Load::Closed { in_flight } | Load::Each { in_flight } => {
            closed(&lines, &asks, in_flight, measuring)
        }
        Load::Open { rate } => open(&lines, &asks, rate, measuring),
        Load::Streams { streams, window } => {
            streams::open(&lines, &asks, (streams, window), measuring)
        }
    };
    tokio::time::sleep_until(measuring.from.into()).await;
    let before = cpu(order);
    tokio::time::sleep_until(measuring.to.into()).await;
    let after = cpu(order);
    measured(together(&mut running).await, order.span, before, after)
}

/// What the server and this process have run so far.
fn cpu(order: &Order) -> [Duration; 2] {
    [order.process, std::process::id()].map(process::cpu)
}

async fn together(running: &mut JoinSet<Got>) -> Got {
    let mut got = Got::default();
    while let Some(some) = running.join_next().await {
        got = got.and(some.expect("no panic"));
    }
    got
}

fn measured(mut got: Got, span: Duration, before: [Duration; 2], after: [Duration; 2]) -> Measured {
    got.latencies.sort_unstable();
    let calls = (got.calls as f64).max(1.0);
    let cpu = |at: usize| after[at].saturating_sub(before[at]).as_secs_f64() * 1e6 / calls;
    Measured {
        calls: got.calls,
        rate: got.calls as f64 / span.as_secs_f64(),
        p50: got.quantile(0.5),
        p99: got.quantile(0.99),
        p999: got.quantile(0.999),
        server_cpu: cpu(0),
        client_cpu: cpu(1),
        wrong: got.wrong,
        failed: got.failed,
        failure: got.failure,
    }
}

async fn each(order: &Order, lines: &[Line], asks: &Arc<Asks>, in_flight: usize) -> Measured {
    let next = Arc::new(AtomicUsize::new(0));
    let (before, began) = (cpu(order), now());
    let mut running = JoinSet::new();
    for task in 0..in_flight {
        let (line, asks) = (lines[task % lines.len()].clone(), Arc::clone(asks));
        let next = Arc::clone(&next);
        running.spawn(async move {
            let mut got = Got::default();
            while let Some(ask) = asks.about(next.fetch_add(1, Ordering::Relaxed)) {
                let sent = now();
                let answer = line.ask(ask.framed.clone()).await;
                got.note(sent.elapsed(), answer, ask);
            }
            got
        });
    }
    let got = together(&mut running).await;
    measured(got, began.elapsed(), before, cpu(order))
}

/// Where in the questions a task begins, so that no two ask the same at once.
pub(crate) fn first_of(task: usize) -> usize {
    task * 104_729
}

fn closed(
    lines: &[Line],
    asks: &Arc<Asks>,
    in_flight: usize,
    measuring: Measuring,
) -> JoinSet<Got> {
    let mut running = JoinSet::new();
    for task in 0..in_flight {
        let (line, asks) = (lines[task % lines.len()].clone(), Arc::clone(asks));
        running.spawn(async move {
            let mut got = Got::default();
            for number in first_of(task).. {
                let sent = now();
                if sent >= measuring.to {
                    break;
                }
                let ask = asks.at(number);
                let answer = line.ask(ask.framed.clone()).await;
                let done = now();
                if measuring.takes(sent, done) {
                    got.note(done - sent, answer, ask);
                }
            }
            got
        });
    }
    running
}

fn open(lines: &[Line], asks: &Arc<Asks>, rate: f64, measuring: Measuring) -> JoinSet<Got> {
    let mut running = JoinSet::new();
    let (lines, asks) = (lines.to_vec(), Arc::clone(asks));
    let runtime = tokio::runtime::Handle::current();
    // A thread of its own: a timer of the runtime's knows milliseconds only.
    running.spawn_blocking(move || begin_in_time(&runtime, &lines, &asks, rate, measuring));
    running
}

fn begin_in_time(
    runtime: &tokio::runtime::Handle,
    lines: &[Line],
    asks: &Arc<Asks>,
    rate: f64,
    measuring: Measuring,
) -> Got {
    let under_way = Arc::new(AtomicUsize::new(0));
    let (began, mut number) = (now(), 0_usize);
    let mut calls = JoinSet::new();
    let mut got = Got::default();
    loop {
        let elapsed = now().duration_since(began);
        let due = elapsed.as_secs_f64() * rate;
        while (number as f64) < due && under_way.load(Ordering::Relaxed) < MOST_UNDER_WAY {
            let intended = began + Duration::from_secs_f64(number as f64 / rate);
            let (line, asks) = (lines[number % lines.len()].clone(), Arc::clone(asks));
            let under_way = Arc::clone(&under_way);
            under_way.fetch_add(1, Ordering::Relaxed);
            let call = async move {
                let ask = asks.at(number);
                let answer = line.ask(ask.framed.clone()).await;
                let done = now();
                under_way.fetch_sub(1, Ordering::Relaxed);
                let mut got = Got::default();
                if measuring.takes(intended, done) {
                    got.note(done - intended, answer, ask);
                }
                got
            };
            calls.spawn_on(call, runtime);
            number += 1;
        }
        while let Some(one) = calls.try_join_next() {
            got = got.and(one.expect("no panic"));
        }
        if began + elapsed >= measuring.to {
            break;
        }
        std::thread::sleep(TICK);
    }
    let rest = runtime.block_on(calls.join_all());
    rest.into_iter().fold(got, Got::and)
}
