//! First figures: Authenticate next to an empty RPC, RevokeKey next to a bare write and sync, and
//! memory a key. Prints ratios of one run; the machine's noise is in the spread beside them.
//!
//! `cargo bench --bench first_figures` takes about two minutes. Talks only to this machine.

use std::convert::Infallible;
use std::fs::File;
use std::future::{Ready, ready};
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use keyledger::clock::SystemClock;
use keyledger::config::{Config, Limits};
use keyledger::domain::permission::PlanName;
use keyledger::domain::policy::Plan;
use keyledger::proto::v1;
use keyledger::proto::v1::key_service_client::KeyServiceClient;
use keyledger::random::SystemRandom;
use keyledger::server::connections::Connections;
use keyledger::server::{self, Sources};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use tower::Service;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: usize = 100_000;
const IN_FLIGHT: usize = 64;
const CONNECTIONS: usize = 4;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const REVOCATIONS: usize = 1000;

/// The plan of the one account, whose limit is judged and never reached.
const PLAN: &str = "bench";
const LIMITS: Plan = Plan { active_keys: None, requests_per_minute: Some(1_000_000_000) };

/// Answers every call with an empty AuthenticateResponse: the least a unary RPC can do.
#[derive(Clone)]
struct Nothing;

struct Empty;

impl tonic::server::UnaryService<v1::AuthenticateRequest> for Empty {
    type Response = v1::AuthenticateResponse;
    type Future = Ready<Result<tonic::Response<Self::Response>, Status>>;

    fn call(&mut self, _: tonic::Request<v1::AuthenticateRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new(v1::AuthenticateResponse::default())))
    }
}

impl Service<Request<Body>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
        Box::pin(async move { Ok(grpc.unary(Empty, request).await) })
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn sources() -> Sources {
    Sources { clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) }
}

/// A keyledger server in this process.
struct Running {
    address: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), server::ServeError>>,
}

async fn start(data_dir: &Path) -> Running {
    let mut config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
    config.policy.plans.insert(PlanName::parse(PLAN).expect("a name"), LIMITS);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let (stop, stopped) = oneshot::channel::<()>();
    let (up, is_up) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(server::run(config, listener, sources(), stopped, |_| {
        let _ = up.send(());
    }));
    is_up.await.expect("started");
    Running { address, stop, task }
}

async fn stop(running: Running) {
    let _ = running.stop.send(());
    running.task.await.expect("no panic").expect("stopped in order");
}

async fn start_empty() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let connections = Connections::new(Nothing, Limits::default(), Arc::new(SystemRandom));
    tokio::spawn(connections.serve(listener, std::future::pending(), async {}));
    address
}

type Bearer = MetadataValue<Ascii>;

fn bearer(data_dir: &Path) -> Bearer {
    let text = std::fs::read_to_string(data_dir.join("admin.credential")).expect("a credential");
    format!("Bearer {}", text.trim()).parse().expect("ascii")
}

fn with<T>(bearer: &Bearer, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", bearer.clone());
    request
}

async fn clients(address: &str) -> Vec<KeyServiceClient<Channel>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let channel = Channel::from_shared(address.to_owned()).expect("an address");
        clients.push(KeyServiceClient::new(channel.connect().await.expect("up")));
    }
    clients
}

async fn put_account(address: &str, bearer: &Bearer) {
    let channel = Channel::from_shared(address.to_owned()).expect("an address");
    let channel = channel.connect().await.expect("up");
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "bench".to_owned(),
        plan: PLAN.to_owned(),
        permissions: vec!["reports:*".to_owned()],
        ..Default::default()
    };
    let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
    let mut accounts = v1::account_service_client::AccountServiceClient::new(channel);
    accounts.put_account(with(bearer, request)).await.expect("put");
}

/// Creates keys with many calls in flight; answers ids and secrets.
async fn create_keys(address: &str, bearer: &Bearer, count: usize) -> Vec<(String, String)> {
    let clients = clients(address).await;
    let mut running = JoinSet::new();
    let per_task = count / (IN_FLIGHT * 8);
    for task in 0..IN_FLIGHT * 8 {
        let (mut client, bearer) = (clients[task % CONNECTIONS].clone(), bearer.clone());
        let count = if task == 0 { count - per_task * (IN_FLIGHT * 8 - 1) } else { per_task };
        running.spawn(async move {
            let mut made = Vec::with_capacity(count);
            for n in 0..count {
                let request = v1::CreateKeyRequest {
                    tenant_id: "acme".to_owned(),
                    account_id: "bench".to_owned(),
                    name: format!("key {task}/{n}"),
                    environment: "live".to_owned(),
                    ..Default::default()
                };
                let answer = client.create_key(with(&bearer, request)).await.expect("created");
                let answer = answer.into_inner();
                made.push((answer.key.expect("a key").key_id, answer.secret));
            }
            made
        });
    }
    running.join_all().await.into_iter().flatten().collect()
}

/// Calls Authenticate from many tasks for a while; answers calls a second and sorted latencies.
async fn load(address: &str, bearer: &Bearer, secrets: &Arc<Vec<String>>) -> (f64, Vec<Duration>) {
    let clients = clients(address).await;
    let began = now();
    let mut running = JoinSet::new();
    for task in 0..IN_FLIGHT {
        let (mut client, bearer) = (clients[task % CONNECTIONS].clone(), bearer.clone());
        let secrets = Arc::clone(secrets);
        running.spawn(async move {
            let mut latencies = Vec::new();
            let mut at = task * 7919;
            while began.elapsed() < ROUND {
                at += 104_729;
                let request = v1::AuthenticateRequest {
                    api_key: secrets[at % secrets.len()].clone(),
                    required_permissions: vec!["reports:read".to_owned()],
                    ..Default::default()
                };
                let sent = now();
                let answer = client.authenticate(with(&bearer, request)).await;
                latencies.push(sent.elapsed());
                let answer = answer.expect("answered").into_inner();
                assert_eq!(answer.denial_reason, 0, "every key of the bench is allowed");
            }
            latencies
        });
    }
    let mut latencies: Vec<Duration> = running.join_all().await.into_iter().flatten().collect();
    let rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    (rate, latencies)
}

fn quantile(sorted: &[Duration], q: f64) -> f64 {
    let last = sorted.len() - 1;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (last as f64 * q).round() as usize;
    sorted[at].as_secs_f64() * 1e6
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let middle = values[values.len() / 2];
    format!("{middle:>10.3}  ({:.3} to {:.3})", values[0], values[values.len() - 1])
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split_whitespace().nth(1).expect("a field").parse().expect("a number");
    pages * 4096
}

async fn revocations(address: &str, bearer: &Bearer, ids: &[String]) -> Vec<Duration> {
    let mut client = clients(address).await.remove(0);
    let mut latencies = Vec::new();
    for id in ids {
        let request = v1::RevokeKeyRequest { key_id: id.clone(), ..Default::default() };
        let sent = now();
        client.revoke_key(with(bearer, request)).await.expect("revoked");
        latencies.push(sent.elapsed());
    }
    latencies.sort_unstable();
    latencies
}

/// The bare minimum of a durable commit: append 1 KiB and fdatasync, as many times.
fn bare_syncs(directory: &Path, count: usize) -> Vec<Duration> {
    let mut file = File::create(directory.join("bare")).expect("a file");
    let mut latencies = Vec::new();
    for _ in 0..count {
        let began = now();
        file.write_all(&[7; 1024]).expect("written");
        file.sync_data().expect("synced");
        latencies.push(began.elapsed());
    }
    latencies.sort_unstable();
    latencies
}

fn main() {
    let runtime = Runtime::new().expect("threads");
    runtime.block_on(run());
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
async fn run() {
    let directory = TempDir::new().expect("a directory");
    let data_dir = directory.path().join("data");
    let running = start(&data_dir).await;
    let bearer = bearer(&data_dir);
    put_account(&running.address, &bearer).await;
    let before = resident_bytes();
    let began = now();
    let keys = create_keys(&running.address, &bearer, KEYS).await;
    let took = began.elapsed();
    println!(
        "create {KEYS} keys, 512 in flight     {:>10.0} keys/s",
        KEYS as f64 / took.as_secs_f64()
    );
    let grown = resident_bytes().saturating_sub(before);
    println!(
        "memory a key, this process, just made {:>10.0} bytes (client's copies and engine cache in it)",
        grown as f64 / KEYS as f64
    );

    let secrets = Arc::new(keys.iter().map(|(_, secret)| secret.clone()).collect::<Vec<_>>());
    let empty = start_empty().await;
    let _ = load(&running.address, &bearer, &secrets).await;
    let mut rows: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        let (ours, our_latencies) = load(&running.address, &bearer, &secrets).await;
        let (theirs, their_latencies) = load(&empty, &bearer, &secrets).await;
        for (row, value) in rows.iter_mut().zip([
            ours,
            theirs,
            ours / theirs,
            quantile(&our_latencies, 0.5) / quantile(&their_latencies, 0.5),
            quantile(&our_latencies, 0.99) / quantile(&their_latencies, 0.99),
            quantile(&our_latencies, 0.99),
        ]) {
            row.push(value);
        }
    }
    let names = [
        "Authenticate, calls/s",
        "empty RPC, calls/s",
        "ratio of throughput",
        "ratio of p50",
        "ratio of p99",
        "Authenticate p99, µs",
    ];
    for (name, row) in names.iter().zip(rows) {
        println!("{name:<37} {}", spread(row));
    }

    let ids: Vec<String> = keys.iter().take(REVOCATIONS).map(|(id, _)| id.clone()).collect();
    let ours = revocations(&running.address, &bearer, &ids).await;
    let bare = bare_syncs(directory.path(), REVOCATIONS);
    for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
        let (ours, bare) = (quantile(&ours, q), quantile(&bare, q));
        println!(
            "RevokeKey {name}: {ours:.0} µs; bare 1 KiB + fdatasync: {bare:.0} µs; ratio {:.2}",
            ours / bare
        );
    }
    drop((keys, secrets));
    stop(running).await;
    report_memory_after_restart(&data_dir).await;
}

/// Replays the same data directory in a process of its own, so that nothing of the bench is counted.
#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
async fn report_memory_after_restart(data_dir: &Path) {
    let began = now();
    let mut child = tokio::task::spawn_blocking({
        let data_dir = data_dir.to_owned();
        move || {
            std::process::Command::new(env!("CARGO_BIN_EXE_keyledger"))
                .args([
                    "serve",
                    "--ops-addr",
                    "off",
                    "--http-addr",
                    "off",
                    "--grpc-addr",
                    "127.0.0.1:0",
                    "--data-dir",
                ])
                .arg(data_dir)
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("it runs")
        }
    })
    .await
    .expect("no panic");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    println!(
        "start with {KEYS} keys                {:>10.0} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", child.id())).expect("running");
    let pages: u64 = statm.split_whitespace().nth(1).expect("a field").parse().expect("a number");
    println!(
        "memory a key, server after a restart  {:>10.0} bytes (all of the process)",
        (pages * 4096) as f64 / KEYS as f64
    );
    child.kill().expect("killed");
    let _ = child.wait();
}
