//! A real server with an account, keys and callers, and calls of it as bytes. Inputs name what is there by stand-ins,
//! so that the same input works in each.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body as _;
use http_body::Frame;
use keyledger::clock::ManualClock;
use keyledger::config::Config;
use keyledger::domain::time::Time;
use keyledger::proto::v1;
use keyledger::random::SystemRandom;
use keyledger::server::{self, Listeners, Sources};
use prost::Message;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::transport::Channel;
use tower::Service as _;

/// When its clock stands still: 2026-01-01T00:00:00Z, in seconds since 1970.
pub const START_SECONDS: i64 = 1_767_225_600;

/// Stands for a key that lives on.
pub const KEY: &str = "key_0000000000000000K";

/// Stands for a key that nobody misses.
pub const DOOMED: &str = "key_0000000000000000D";

/// Stands for a key that has a successor.
pub const ROTATED: &str = "key_0000000000000000R";

/// Stands for the secret of a key that nobody misses.
pub const LEAKED: &str =
    "kl_live_0000000000000000000000000000000000000000000000000000000000000000LE";

/// Stands for a caller that nobody misses.
pub const CALLER: &str = "caller_0000000000000000C";

/// Stands for the secret of [`KEY`].
pub const SECRET: &str =
    "kl_live_0000000000000000000000000000000000000000000000000000000000000000SE";

/// As in production but for what would end a run early: refused calls of WhoAmI, which come from one address.
const CONFIG: &str = "[usage]\ndurability = \"before_reply\"\n[limits]\nwho_am_i_per_source_per_minute = 100000\n\
    [proxies]\nclient_address_header = \"x-forwarded-for\"\n";

/// How long an answer may take before nobody believes in it any more.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Keys and callers to end: one after the other.
const DOOMED_AT_ONCE: usize = 8;

/// What a call was answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status; none if it is a stream that goes on.
    pub status: Option<Status>,
    /// Its first message, if it has one.
    pub message: Option<Vec<u8>>,
    /// All bytes that were seen: headers, messages, trailers.
    pub bytes: Vec<u8>,
}

/// The server, and who is known there.
#[derive(Debug)]
pub struct World {
    runtime: Runtime,
    channel: Channel,
    http: SocketAddr,
    /// The credential of the first admin.
    pub admin: String,
    /// The credential of a caller that is bound to another tenant.
    pub bound: String,
    key: (String, String),
    rotated: String,
    doomed: Vec<(String, String)>,
    callers: Vec<String>,
    secrets: Vec<String>,
    calls: usize,
    stop: oneshot::Sender<()>,
    server: std::thread::JoinHandle<()>,
    _dir: TempDir,
}

impl World {
    /// A new one.
    pub fn new() -> Self {
        let dir = super::scratch_dir();
        let mut config = Config::parse(CONFIG).expect("a configuration");
        config.data_dir = dir.path().join("data");
        let credential = config.data_dir.join("admin.credential");
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            let clock = ManualClock::new(Time::from_micros(START_SECONDS * 1_000_000));
            let sources = Sources { clock: Arc::new(clock), random: Arc::new(SystemRandom) };
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let bound = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let listeners =
                    Listeners { grpc: bound().await, ops: None, http: Some(bound().await) };
                let stopped = async {
                    let _ = stopped.await;
                };
                let up = |up: &server::Ready| {
                    ready.send((up.grpc_addr, up.http_addr.expect("served"))).expect("awaited");
                };
                server::run(config, listeners, sources, stopped, up).await.expect("in order");
            });
        });
        let (address, http) = is_ready.recv().expect("it starts");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let address = format!("http://{address}");
        let connect = async { Channel::from_shared(address).expect("an address").connect().await };
        let channel = runtime.block_on(connect).expect("up");
        let admin = std::fs::read_to_string(credential).expect("a credential");
        let (bound, key, rotated) = (String::new(), (String::new(), String::new()), String::new());
        let (doomed, callers, secrets, calls) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let admin = admin.trim_end().to_owned();
        let _dir = dir;
        let mut world = World {
            runtime,
            channel,
            http,
            admin,
            bound,
            key,
            rotated,
            doomed,
            callers,
            secrets,
            calls,
            stop,
            server,
            _dir,
        };
        world.furnish();
        world
    }

    /// Stops the server, in order.
    pub fn end(self) {
        let World { runtime, channel, stop, server, _dir, .. } = self;
        drop((channel, runtime));
        let _ = stop.send(());
        server.join().expect("the server stops in order");
    }

    fn furnish(&mut self) {
        for (account_id, display_name) in [("billing", "Billing"), ("other", "Other")] {
            let account = v1::Account {
                tenant_id: "acme".to_owned(),
                account_id: account_id.to_owned(),
                display_name: display_name.to_owned(),
                plan: "enterprise".to_owned(),
                permissions: vec!["reports:*".to_owned()],
                ..Default::default()
            };
            let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
            let _: v1::PutAccountResponse = self.ask("AccountService/PutAccount", &request);
        }
        self.key = self.create_key();
        for _ in 0..DOOMED_AT_ONCE {
            let doomed = self.create_key();
            self.doomed.push(doomed);
            let (caller, _) = self.create_caller("acme");
            self.callers.push(caller);
        }
        (self.rotated, _) = self.create_key();
        let request = v1::RotateKeyRequest {
            key_id: self.rotated.clone(),
            overlap: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
            ..Default::default()
        };
        let rotated: v1::RotateKeyResponse = self.ask("KeyService/RotateKey", &request);
        self.secrets.push(rotated.secret);
        (_, self.bound) = self.create_caller("globex");
        self.secrets.extend([self.admin.clone(), self.bound.clone()]);
        for _ in 0..3 {
            let api_key = self.key.1.clone();
            let request = v1::AuthenticateRequest { api_key, ..Default::default() };
            let used: v1::AuthenticateResponse = self.ask("KeyService/Authenticate", &request);
            assert_eq!(used.outcome(), v1::Outcome::Allowed);
        }
    }

    fn create_key(&mut self) -> (String, String) {
        let request = v1::CreateKeyRequest {
            tenant_id: "acme".to_owned(),
            account_id: "billing".to_owned(),
            name: "something".to_owned(),
            environment: "live".to_owned(),
            allowed_cidrs: Vec::new(),
            ..Default::default()
        };
        let made: v1::CreateKeyResponse = self.ask("KeyService/CreateKey", &request);
        self.secrets.push(made.secret.clone());
        (made.key.expect("a key").key_id, made.secret)
    }

    fn create_caller(&mut self, tenant: &str) -> (String, String) {
        let request = v1::CreateCallerRequest {
            name: "caller".to_owned(),
            owner: "team".to_owned(),
            roles: vec![v1::Role::Admin.into()],
            tenants: vec![tenant.to_owned()],
            ..Default::default()
        };
        let made: v1::CreateCallerResponse = self.ask("AdminService/CreateCaller", &request);
        self.secrets.push(made.credential.clone());
        (made.caller.expect("a caller").caller_id, made.credential)
    }

    /// Calls an RPC that must answer.
    pub fn ask<A: Message + Default>(&mut self, rpc: &str, request: &impl Message) -> A {
        let path = format!("/keyledger.v1.{rpc}");
        let answer = self.call(&path, Some(&self.admin.clone()), framed(&request.encode_to_vec()));
        let message = answer.message.unwrap_or_else(|| panic!("{rpc}: {:?}", answer.status));
        A::decode(&*message).expect("a message")
    }

    /// All messages of a stream, up to so many.
    pub fn stream<A: Message + Default>(&mut self, rpc: &str, request: &impl Message) -> Vec<A> {
        let path = format!("/keyledger.v1.{rpc}");
        let call = request_of(&path, Some(&self.admin), framed(&request.encode_to_vec()));
        let channel = self.channel.clone();
        let (_, bytes) = self.runtime.block_on(exchange(channel, call, usize::MAX));
        let mut found = Vec::new();
        let mut rest = &bytes[..];
        while let Some((message, behind)) = first_message(rest) {
            found.push(A::decode(message).expect("a message"));
            rest = behind;
        }
        found
    }

    /// Sends a body to a path, and reads the answer up to its first message, or to its end if that is all.
    pub fn call(&mut self, path: &str, credential: Option<&str>, body: Vec<u8>) -> Answer {
        let call = request_of(path, credential, body);
        let channel = self.channel.clone();
        let (heads, data) = self.runtime.block_on(exchange(channel, call, 1));
        self.calls += 1;
        let mut bytes = Vec::new();
        for (name, value) in heads.iter().flatten() {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        }
        bytes.extend(&data);
        let status = heads.iter().find_map(Status::from_header_map);
        let message = first_message(&data).map(|(message, _)| message.to_vec());
        Answer { status, message, bytes }
    }

    /// The address of its HTTP port, for a call.
    pub fn http(&mut self) -> SocketAddr {
        self.calls += 1;
        self.http
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// What must not come back in any answer to a call that did not make it.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// The secret of the key that lives on.
    pub fn key_secret(&self) -> &str {
        &self.key.1
    }

    /// The bytes with what is there in the place of what stands for it.
    pub fn filled_in(&self, bytes: &[u8]) -> Vec<u8> {
        let turn = self.calls % DOOMED_AT_ONCE;
        let pairs = [
            (KEY, &self.key.0),
            (SECRET, &self.key.1),
            (ROTATED, &self.rotated),
            (DOOMED, &self.doomed[turn].0),
            (LEAKED, &self.doomed[turn].1),
            (CALLER, &self.callers[turn]),
        ];
        let mut bytes = bytes.to_vec();
        for (stand_in, real) in pairs {
            assert_eq!(stand_in.len(), real.len(), "a stand-in is as long as what it stands for");
            let mut at = 0;
            while at + stand_in.len() <= bytes.len() {
                if bytes[at..].starts_with(stand_in.as_bytes()) {
                    bytes[at..at + stand_in.len()].copy_from_slice(real.as_bytes());
                }
                at += 1;
            }
        }
        bytes
    }
}

/// A message behind the five bytes that say that it is not compressed, and how long it is.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// The first message of a body, and what is behind it; none if it has none that is whole.
pub fn first_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn request_of(path: &str, credential: Option<&str>, body: Vec<u8>) -> Request<tonic::body::Body> {
    let mut request =
        Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    if let Some(credential) = credential {
        request = request.header("authorization", format!("Bearer {credential}"));
    }
    request.body(tonic::body::Body::new(Whole(Some(body)))).expect("a path was parsed before")
}

/// Headers and trailers of an answer and its data, of which so many messages are read.
async fn exchange(
    mut channel: Channel,
    call: Request<tonic::body::Body>,
    messages: usize,
) -> (Vec<HeaderMap>, Vec<u8>) {
    let path = call.uri().path().to_owned();
    let exchange = async {
        poll_fn(|cx| channel.poll_ready(cx)).await.expect("the server is there");
        let answer = channel.call(call).await;
        let answer = answer.unwrap_or_else(|error| panic!("{path} was not answered: {error}"));
        let (head, mut body) = answer.into_parts();
        let (mut heads, mut data) = (vec![head.headers], Vec::new());
        let mut left = messages;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame = frame.unwrap_or_else(|error| panic!("{path} broke off: {error}"));
            match frame.into_data() {
                Ok(part) => data.extend(part),
                Err(frame) => heads.extend(frame.into_trailers()),
            }
            // Of a stream more may never come.
            let streams = path.ends_with("/StreamEvents") || path.ends_with("/Backup");
            left = left.saturating_sub(1);
            if streams && left == 0 {
                break;
            }
        }
        (heads, data)
    };
    let waited = tokio::time::timeout(LONGEST, exchange).await;
    waited.unwrap_or_else(|_| panic!("{path} was not answered"))
}

/// A body that is there at once.
struct Whole(Option<Vec<u8>>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Status>>> {
        std::task::Poll::Ready(self.0.take().map(|all| Ok(Frame::data(all.into()))))
    }
}
