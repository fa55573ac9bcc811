//! What a caller that floods does to another one, and what it costs everybody that callers are told apart.
//!
//! Flood: the real program with one thread. Caller B asks at 10 % of what it can do, in time, whether or not it is
//! answered. Caller A, in a process of its own that yields to others, has 5,000 calls under way over 20 connections, each
//! replaced at once when it is answered or refused: whatever the server does not do waits. B's answers and latencies are
//! compared with those it gets alone, round by round.
//!
//! Cost: an RPC that does nothing behind hyper alone; behind our connections, which read in turns; and behind the gate,
//! which knows the caller and shares the room; the first and the last over TLS: ratios of throughput in alternation.
//!
//! `cargo bench --bench floods` takes about two minutes; `-- flood` or `-- cost` runs one part. Talks only to
//! this machine.

mod cost;
#[path = "../common/program.rs"]
mod program;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyledger::proto::v1;
use keyledger::proto::v1::key_service_client::KeyServiceClient;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::program::{Process, serve};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

/// What saturates a server of one thread.
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 64;

/// What floods it.
const FLOOD_CONNECTIONS: usize = 20;
const FLOOD_IN_FLIGHT: usize = 5000;

/// B's part of what the server can do.
const SHARE: f64 = 0.1;

/// How often B sends what is due.
const TICK: Duration = Duration::from_millis(1);

type Bearer = MetadataValue<Ascii>;
type Keys = KeyServiceClient<Channel>;

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn say(line: &str) {
    println!("{line}");
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = Runtime::new().expect("threads");
    match words[..] {
        ["hog", address, credential, secret] => runtime.block_on(hog(address, credential, secret)),
        ["flood"] => runtime.block_on(flood()),
        ["cost"] => runtime.block_on(cost::cost()),
        _ => {
            runtime.block_on(flood());
            runtime.block_on(cost::cost());
        }
    }
}

fn with<T>(bearer: &Bearer, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", bearer.clone());
    request
}

fn bearer(credential: &str) -> Bearer {
    format!("Bearer {}", credential.trim()).parse().expect("ascii")
}

async fn channel(address: &str) -> Channel {
    Channel::from_shared(address.to_owned()).expect("an address").connect().await.expect("up")
}

async fn clients(address: &str, count: usize) -> Vec<Keys> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(KeyServiceClient::new(channel(address).await));
    }
    clients
}

fn question(secret: &str) -> v1::AuthenticateRequest {
    v1::AuthenticateRequest { api_key: secret.to_owned(), ..Default::default() }
}

/// The real program with one thread, and its admin's credential.
fn start(dir: &Path) -> (Process, Bearer) {
    let (data, config) = (dir.join("data"), dir.join("keyledger.toml"));
    std::fs::write(&config, "[plans.bench]\n").expect("written");
    let server = Process::start(
        serve(&data, &config).env("TOKIO_WORKER_THREADS", "1").stderr(Stdio::null()),
    );
    let credential = std::fs::read_to_string(data.join("admin.credential")).expect("made");
    (server, bearer(&credential))
}

/// A key, and credentials of two callers.
async fn furnish(address: &str, admin: &Bearer) -> (String, [String; 2]) {
    let channel = channel(address).await;
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "bench".to_owned(),
        plan: "bench".to_owned(),
        ..Default::default()
    };
    let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
    let mut accounts = v1::account_service_client::AccountServiceClient::new(channel.clone());
    accounts.put_account(with(admin, request)).await.expect("put");
    let request = v1::CreateKeyRequest {
        tenant_id: "acme".to_owned(),
        account_id: "bench".to_owned(),
        name: "bench".to_owned(),
        environment: "live".to_owned(),
        ..Default::default()
    };
    let mut keys = KeyServiceClient::new(channel.clone());
    let made = keys.create_key(with(admin, request)).await.expect("created");
    let secret = made.into_inner().secret;
    let mut credentials = Vec::new();
    for name in ["a", "b"] {
        let request = v1::CreateCallerRequest {
            name: name.to_owned(),
            owner: "bench".to_owned(),
            roles: vec![v1::Role::Authenticator.into()],
            ..Default::default()
        };
        let mut callers = v1::admin_service_client::AdminServiceClient::new(channel.clone());
        let made = callers.create_caller(with(admin, request)).await.expect("made");
        credentials.push(made.into_inner().credential);
    }
    (secret, credentials.try_into().expect("two"))
}

/// Calls from many tasks for a round; answers calls a second.
async fn throughput(clients: &[Keys], bearer: &Bearer, secret: &str) -> f64 {
    let began = now();
    let mut running = JoinSet::new();
    for task in 0..IN_FLIGHT {
        let (mut client, bearer) = (clients[task % clients.len()].clone(), bearer.clone());
        let secret = secret.to_owned();
        running.spawn(async move {
            let mut answered = 0_u32;
            while began.elapsed() < ROUND {
                client.authenticate(with(&bearer, question(&secret))).await.expect("answered");
                answered += 1;
            }
            answered
        });
    }
    let answered: u32 = running.join_all().await.into_iter().sum();
    f64::from(answered) / began.elapsed().as_secs_f64()
}

/// What B got of a round.
struct Got {
    asked: usize,
    /// Of the calls that were answered, sorted.
    latencies: Vec<Duration>,
}

impl Got {
    fn quantile(&self, share: f64) -> f64 {
        let last = self.latencies.len().checked_sub(1).expect("something was answered");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let at = (last as f64 * share).round() as usize;
        self.latencies[at].as_secs_f64() * 1e6
    }

    fn answered(&self) -> f64 {
        100.0 * self.latencies.len() as f64 / self.asked as f64
    }
}

/// Asks so many times a second for a round, in time.
async fn ask_in_time(address: &str, bearer: &Bearer, secret: &str, rate: f64) -> Got {
    let clients = clients(address, 1).await;
    let mut running = JoinSet::new();
    let began = now();
    let mut asked = 0;
    let mut tick = tokio::time::interval(TICK);
    while began.elapsed() < ROUND {
        tick.tick().await;
        let due_now = began.elapsed().as_secs_f64() * rate;
        while (asked as f64) < due_now {
            let (mut client, bearer) = (clients[0].clone(), bearer.clone());
            let request = with(&bearer, question(secret));
            let sent = now();
            running.spawn(async move {
                client.authenticate(request).await.is_ok().then(|| sent.elapsed())
            });
            asked += 1;
        }
    }
    let mut latencies: Vec<_> = running.join_all().await.into_iter().flatten().collect();
    latencies.sort_unstable();
    Got { asked, latencies }
}

/// Caller A: floods for a round and a half and says what it got.
async fn hog(address: &str, credential: &str, secret: &str) {
    let bearer = bearer(credential);
    let clients = clients(address, FLOOD_CONNECTIONS).await;
    let [answered, refused] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let began = now();
    let mut running = JoinSet::new();
    say("floods");
    for task in 0..FLOOD_IN_FLIGHT {
        let (mut client, bearer) = (clients[task % FLOOD_CONNECTIONS].clone(), bearer.clone());
        let (answered, refused) = (Arc::clone(&answered), Arc::clone(&refused));
        let secret = secret.to_owned();
        running.spawn(async move {
            while began.elapsed() < ROUND * 3 / 2 {
                let counter = match client.authenticate(with(&bearer, question(&secret))).await {
                    Ok(_) => &answered,
                    Err(_) => &refused,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    running.join_all().await;
    let seconds = began.elapsed().as_secs_f64();
    let a_second = |count: &AtomicUsize| count.load(Ordering::Relaxed) as f64 / seconds;
    say(&format!(
        "{:.0} answered and {:.0} refused a second",
        a_second(&answered),
        a_second(&refused)
    ));
}

/// Starts A in a process of its own that yields to others, and waits until it floods.
fn start_hog(
    server: &Process,
    credential: &str,
    secret: &str,
) -> (Child, BufReader<impl std::io::Read>) {
    let mut child = Command::new("nice")
        .args(["-n", "10"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["hog", &server.address, credential, secret])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut said = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    (child, said)
}

async fn flood() {
    let dir = TempDir::new().expect("a directory");
    let (server, admin) = start(dir.path());
    let (secret, [a, b]) = furnish(&server.address, &admin).await;
    let b = bearer(&b);
    let capacity = throughput(&clients(&server.address, CONNECTIONS).await, &b, &secret).await;
    let rate = capacity * SHARE;
    say(&format!("the server can do {capacity:.0} calls a second; B asks {rate:.0}"));
    let mut rows: [Vec<f64>; 7] = Default::default();
    for _ in 0..ROUNDS {
        let alone = ask_in_time(&server.address, &b, &secret, rate).await;
        let (mut child, mut said) = start_hog(&server, &a, &secret);
        tokio::time::sleep(ROUND / 6).await;
        let beside = ask_in_time(&server.address, &b, &secret, rate).await;
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        child.wait().expect("gone");
        say(&format!("  A: {}", line.trim()));
        let [p50, p99] = [0.5, 0.99].map(|share| (alone.quantile(share), beside.quantile(share)));
        let figures =
            [alone.answered(), beside.answered(), p50.0, p50.1, p99.0, p99.1, p99.1 / p99.0];
        rows.iter_mut().zip(figures).for_each(|(row, figure)| row.push(figure));
    }
    let names = [
        "B answered alone, %",
        "B answered beside A, %",
        "B p50 alone, µs",
        "B p50 beside A, µs",
        "B p99 alone, µs",
        "B p99 beside A, µs",
        "ratio of p99",
    ];
    for (name, row) in names.iter().zip(rows) {
        say(&format!("{name:<37} {}", spread(row)));
    }
    server.stop();
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let middle = values[values.len() / 2];
    format!("{middle:>10.3}  ({:.3} to {:.3})", values[0], values[values.len() - 1])
}
