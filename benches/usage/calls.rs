//! The clients: accounts and keys made, and load, on threads of their own so that what the server's take
//! can be told apart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyledger::proto::v1;
use keyledger::proto::v1::account_service_client::AccountServiceClient;
use keyledger::proto::v1::admin_service_client::AdminServiceClient;
use keyledger::proto::v1::key_service_client::KeyServiceClient;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::now;

pub(crate) const TENANT: &str = "acme";
/// What every key may do.
pub(crate) const GRANTED: &str = "reports:read";
/// Connections of one load.
const CONNECTIONS: usize = 4;
/// Calls under way when keys are made.
const MAKING: usize = 512;
const THREAD: &str = "client";

/// Threads for clients.
pub(crate) fn threads() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.thread_name(THREAD).enable_all().build().expect("threads")
}

/// How long threads have run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// All that are no client's.
    pub(crate) server: Duration,
    /// Those of recorders.
    pub(crate) recorder: Duration,
}

/// What the threads of this process have run so far.
fn cpu() -> Cpu {
    let mut cpu = Cpu::default();
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    for task in tasks.flatten() {
        let read = |name| std::fs::read_to_string(task.path().join(name));
        // A thread may end meanwhile.
        let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else { continue };
        let nanos = times.split(' ').next().and_then(|nanos| nanos.parse().ok());
        let ran = Duration::from_nanos(nanos.expect("a number"));
        let ours = name.trim() != THREAD;
        cpu.server += if ours { ran } else { Duration::ZERO };
        cpu.recorder += if name.trim() == "usage-recorder" { ran } else { Duration::ZERO };
    }
    cpu
}

/// Where a server is, and a credential for it.
#[derive(Clone)]
pub(crate) struct Server {
    address: String,
    bearer: MetadataValue<Ascii>,
}

pub(crate) type Keys = KeyServiceClient<Channel>;

impl Server {
    /// With the first admin's credential.
    pub(crate) fn new(address: &str, data_dir: &Path) -> Self {
        let credential = std::fs::read_to_string(data_dir.join("admin.credential"));
        let bearer = format!("Bearer {}", credential.expect("a credential").trim());
        Server { address: address.to_owned(), bearer: bearer.parse().expect("ascii") }
    }

    /// The same caller at another address.
    pub(crate) fn at(&self, address: &str) -> Self {
        Server { address: address.to_owned(), bearer: self.bearer.clone() }
    }

    pub(crate) fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
    }

    pub(crate) async fn channel(&self) -> Channel {
        let channel = Channel::from_shared(self.address.clone()).expect("an address");
        channel.connect().await.expect("up")
    }

    pub(crate) async fn keys(&self) -> Keys {
        KeyServiceClient::new(self.channel().await).max_decoding_message_size(64 * 1024 * 1024)
    }

    /// Another caller, who may authenticate keys of all tenants.
    pub(crate) async fn new_caller(&self, name: &str) -> Self {
        let request = v1::CreateCallerRequest {
            name: name.to_owned(),
            owner: "bench".to_owned(),
            roles: vec![v1::Role::Authenticator.into()],
            ..Default::default()
        };
        let mut admin = AdminServiceClient::new(self.channel().await);
        let made = admin.create_caller(self.with(request)).await.expect("made").into_inner();
        let bearer = format!("Bearer {}", made.credential).parse().expect("ascii");
        Server { address: self.address.clone(), bearer }
    }

    pub(crate) async fn put_account(&self, account: &str, plan: &str) {
        let account = v1::Account {
            tenant_id: TENANT.to_owned(),
            account_id: account.to_owned(),
            plan: plan.to_owned(),
            permissions: vec![GRANTED.to_owned()],
            ..Default::default()
        };
        let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
        let mut accounts = AccountServiceClient::new(self.channel().await);
        accounts.put_account(self.with(request)).await.expect("put");
    }

    /// Makes `count` keys of that many accounts, on that plan; answers ids and secrets.
    pub(crate) async fn make_keys(
        &self,
        (prefix, plan): (&str, &str),
        accounts: usize,
        count: usize,
    ) -> Vec<(String, String)> {
        let accounts: Vec<String> = (0..accounts).map(|n| format!("{prefix}-{n}")).collect();
        for account in &accounts {
            self.put_account(account, plan).await;
        }
        let (accounts, next) = (Arc::new(accounts), Arc::new(AtomicU64::new(0)));
        let client = self.keys().await;
        let mut running = JoinSet::new();
        for _ in 0..MAKING.min(count) {
            let (server, mut client) = (self.clone(), client.clone());
            let (accounts, next) = (Arc::clone(&accounts), Arc::clone(&next));
            running.spawn(async move {
                let mut made = Vec::new();
                while let Some(n) = take(&next, count) {
                    let request = v1::CreateKeyRequest {
                        tenant_id: TENANT.to_owned(),
                        account_id: accounts[n % accounts.len()].clone(),
                        name: format!("key {n}"),
                        environment: "live".to_owned(),
                        ..Default::default()
                    };
                    let answer = client.create_key(server.with(request)).await.expect("created");
                    let answer = answer.into_inner();
                    made.push((answer.key.expect("a key").key_id, answer.secret));
                }
                made
            });
        }
        running.join_all().await.into_iter().flatten().collect()
    }
}

fn take(next: &AtomicU64, count: usize) -> Option<usize> {
    let n = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("64 bits");
    (n < count).then_some(n)
}

/// A question as services ask it: one action and source of the caller's.
pub(crate) fn question(secret: &str) -> v1::AuthenticateRequest {
    v1::AuthenticateRequest {
        api_key: secret.to_owned(),
        required_permissions: vec![GRANTED.to_owned()],
        context: Some(v1::AuthenticateContext {
            action: "reports.read".to_owned(),
            source_ip: "192.0.2.7".to_owned(),
            user_agent: "bench/1.0".to_owned(),
        }),
        ..Default::default()
    }
}

/// When a load ends.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Passed(Duration),
    /// So many were asked.
    Asked(usize),
}

/// What a load measured.
pub(crate) struct Measured {
    /// Calls a second.
    pub(crate) rate: f64,
    /// Sorted.
    pub(crate) latencies: Vec<Duration>,
    /// What threads ran for, a call.
    pub(crate) cpu: Cpu,
}

/// Keeps so many calls of Authenticate under way. `ask` makes the question of a number, counted from
/// `first`; `note` is told what came of it.
pub(crate) async fn load<A, N>(
    server: &Server,
    in_flight: usize,
    (first, until): (usize, Until),
    ask: A,
    note: N,
) -> Measured
where
    A: Fn(usize) -> v1::AuthenticateRequest + Clone + Send + 'static,
    N: Fn(usize, Result<v1::AuthenticateResponse, Status>) + Clone + Send + 'static,
{
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(server.keys().await);
    }
    let next = Arc::new(AtomicU64::new(0));
    let (before, began) = (cpu(), now());
    let mut running = JoinSet::new();
    for task in 0..in_flight {
        let (server, mut client) = (server.clone(), clients[task % CONNECTIONS].clone());
        let (ask, note, next) = (ask.clone(), note.clone(), Arc::clone(&next));
        running.spawn(async move {
            let (span, count) = match until {
                Until::Passed(span) => (span, usize::MAX),
                Until::Asked(count) => (Duration::MAX, count),
            };
            let mut latencies = Vec::new();
            while began.elapsed() < span
                && let Some(n) = take(&next, count)
            {
                let request = server.with(ask(first + n));
                let sent = now();
                let answer = client.authenticate(request).await;
                latencies.push(sent.elapsed());
                note(first + n, answer.map(tonic::Response::into_inner));
            }
            latencies
        });
    }
    let mut latencies: Vec<Duration> = running.join_all().await.into_iter().flatten().collect();
    let (took, after) = (began.elapsed(), cpu());
    let calls = latencies.len() as f64;
    let a_call = |after: Duration, before| after.saturating_sub(before).div_f64(calls.max(1.0));
    latencies.sort_unstable();
    Measured {
        rate: calls / took.as_secs_f64(),
        latencies,
        cpu: Cpu {
            server: a_call(after.server, before.server),
            recorder: a_call(after.recorder, before.recorder),
        },
    }
}
