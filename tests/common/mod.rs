//! A real server on a port of its own, in a directory of its own, with a clock that tests move; and
//! a real client of it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

pub mod certificates;
pub mod check;
pub mod desk;
pub mod erasure;
pub mod parked;
pub mod place;
pub mod process;
pub mod raw_http2;
pub mod receiver;
pub mod requests;
pub mod usage;
pub mod wire;
pub mod witness;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyledger::clock::{Clock, ManualClock};
use keyledger::config::Config;
use keyledger::domain::time::Time;
use keyledger::proto::v1;
use keyledger::proto::v1::account_service_client::AccountServiceClient;
use keyledger::proto::v1::admin_service_client::AdminServiceClient;
use keyledger::proto::v1::audit_service_client::AuditServiceClient;
use keyledger::proto::v1::key_service_client::KeyServiceClient;
use keyledger::proto::v1::usage_service_client::UsageServiceClient;
use keyledger::random::{Random, SystemRandom};
use keyledger::server::{self, Listeners, ServeError, Sources};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// 2026-01-01T00:00:00Z, where test clocks start.
pub const START: Time = Time::from_micros(1_767_225_600_000_000);

/// How a test server is started.
pub struct Builder {
    dir: Option<Arc<TempDir>>,
    config: String,
    clock: Option<Arc<ManualClock>>,
    ops: bool,
}

/// A running server, on threads of its own. Dropping it stops it in order behind the test's back; stop it
/// to see how it stops.
pub struct TestServer {
    pub address: String,
    /// Where metrics and probes are, if they are served.
    pub ops: Option<String>,
    /// Where HTTP is.
    pub http: String,
    pub clock: Arc<ManualClock>,
    pub dir: Arc<TempDir>,
    config: String,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<(), ServeError>>,
}

impl Builder {
    /// In a directory where a server has been before.
    pub fn dir(mut self, dir: &Arc<TempDir>) -> Self {
        self.dir = Some(Arc::clone(dir));
        self
    }

    /// With the text of a configuration file.
    pub fn config(mut self, text: &str) -> Self {
        self.config = text.to_owned();
        self
    }

    /// With metrics and probes.
    pub fn ops(mut self) -> Self {
        self.ops = true;
        self
    }

    /// With a clock that was there before.
    pub fn clock(mut self, clock: &Arc<ManualClock>) -> Self {
        self.clock = Some(Arc::clone(clock));
        self
    }

    /// Starts the server; says why if it does not start.
    pub async fn try_start(self) -> Result<TestServer, ServeError> {
        let dir = self.dir.unwrap_or_else(|| Arc::new(TempDir::new().expect("a directory")));
        let clock = self.clock.unwrap_or_else(|| Arc::new(ManualClock::new(START)));
        let mut config = Config::parse(&with_durable_uses(&self.config)).expect("a configuration");
        config.data_dir = dir.path().join("data");
        let sources = Sources {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Arc::new(SystemRandom) as Arc<dyn Random>,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (ops, held) = (self.ops, Arc::clone(&dir));
        // A runtime of its own: the test's ends with the test, and would leave behind a writer that still
        // writes into a directory that is removed.
        std::thread::spawn(move || {
            let result = run(config, ops, sources, stopped, ready);
            drop(held);
            let _ = end.send(result);
        });
        match is_ready.await {
            Ok(up) => {
                let address = format!("http://{}", up.grpc_addr);
                let ops = up.ops_addr.map(|address| address.to_string());
                let http = up.http_addr.expect("served").to_string();
                let config = self.config;
                Ok(TestServer { address, ops, http, clock, dir, config, stop, ended })
            }
            Err(_) => Err(ended.await.expect("no panic").expect_err("it did not start")),
        }
    }

    /// Starts the server.
    pub async fn start(self) -> TestServer {
        self.try_start().await.unwrap_or_else(|error| panic!("the server did not start: {error}"))
    }
}

/// Runs a server on ports of its own until it is told to stop, or its test is gone.
fn run(
    config: Config,
    ops: bool,
    sources: Sources,
    stopped: oneshot::Receiver<()>,
    ready: oneshot::Sender<server::Ready>,
) -> Result<(), ServeError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let ops = if ops { Some(bind().await) } else { None };
        let listeners = Listeners { grpc: bind().await, ops, http: Some(bind().await) };
        let stopped = async {
            let _ = stopped.await;
        };
        let ready = |up: &server::Ready| {
            let _ = ready.send(up.clone());
        };
        server::run(config, listeners, sources, stopped, ready).await
    })
}

/// A configuration under which no use waits for the disk once it is answered, unless it says something of
/// uses itself: else a clock that a test moves would show a disk that is behind.
fn with_durable_uses(config: &str) -> String {
    let own =
        if config.contains("[usage") { "" } else { "\n[usage]\ndurability = \"before_reply\"\n" };
    format!("{config}{own}")
}

impl TestServer {
    pub fn builder() -> Builder {
        Builder { dir: None, config: String::new(), clock: None, ops: false }
    }

    pub async fn start() -> TestServer {
        TestServer::builder().start().await
    }

    /// Stops the server in order and gives back its directory.
    pub async fn stop(self) -> Arc<TempDir> {
        let _ = self.stop.send(());
        self.ended.await.expect("no panic").expect("stopped in order");
        self.dir
    }

    /// Stops the server and starts it again where it was, with the configuration it had.
    pub async fn restart(self) -> TestServer {
        let (clock, config) = (Arc::clone(&self.clock), self.config.clone());
        let dir = self.stop().await;
        TestServer::builder().dir(&dir).clock(&clock).config(&config).start().await
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A sample of its metrics, which must be served.
    pub async fn metric(&self, name: &str) -> u64 {
        let address = self.ops.clone().expect("served");
        let got = tokio::task::spawn_blocking(move || process::get(&address, "/metrics").1);
        let page = got.await.expect("no panic");
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().expect("a number")
    }

    pub fn admin_credential(&self) -> String {
        credential_in(&self.data_dir())
    }

    /// A client with the first admin's credential.
    pub async fn admin(&self) -> Client {
        self.client(&self.admin_credential()).await
    }

    /// A client with some credential.
    pub async fn client(&self, credential: &str) -> Client {
        let channel = self.channel().await;
        Client::new(channel, Some(credential))
    }

    /// A client with no credential.
    pub async fn anonymous(&self) -> Client {
        Client::new(self.channel().await, None)
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(self.address.clone()).expect("an address").connect().await.expect("up")
    }
}

pub fn credential_in(data_dir: &Path) -> String {
    let text = std::fs::read_to_string(data_dir.join("admin.credential")).expect("a credential");
    text.trim_end_matches('\n').to_owned()
}

/// Puts the credential on each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

type Intercepted = InterceptedService<Channel, Bearer>;

/// A client of every service.
#[derive(Clone)]
pub struct Client {
    pub keys: KeyServiceClient<Intercepted>,
    pub accounts: AccountServiceClient<Intercepted>,
    pub admin: AdminServiceClient<Intercepted>,
    pub audit: AuditServiceClient<Intercepted>,
    pub usage: UsageServiceClient<Intercepted>,
}

impl Client {
    /// Waits until the newest checkpoint covers a position.
    pub async fn covered(&self, min_size: u64) {
        let request = v1::GetCheckpointRequest { min_size };
        self.audit.clone().get_checkpoint(request).await.expect("a checkpoint");
    }

    /// Adds an account to the log; a checkpoint of all of it can be made when this returns.
    pub async fn grow(&self, account: &str) -> u64 {
        let last = self.put_account(account, "standard", &[]).await.position;
        self.covered(last).await;
        last
    }

    pub fn new(channel: Channel, credential: Option<&str>) -> Self {
        let value = credential.map(|text| format!("Bearer {text}").parse().expect("ascii"));
        let bearer = Bearer(value);
        Client {
            keys: KeyServiceClient::with_interceptor(channel.clone(), bearer.clone())
                .max_decoding_message_size(64 * 1024 * 1024),
            accounts: AccountServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            admin: AdminServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            usage: UsageServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            audit: AuditServiceClient::with_interceptor(channel, bearer),
        }
    }

    /// An account of `acme` on a plan with permissions.
    pub async fn put_account(
        &self,
        account: &str,
        plan: &str,
        permissions: &[&str],
    ) -> v1::Account {
        self.put_account_of("acme", account, plan, permissions).await
    }

    pub async fn put_account_of(
        &self,
        tenant: &str,
        account: &str,
        plan: &str,
        permissions: &[&str],
    ) -> v1::Account {
        let account = v1::Account {
            tenant_id: tenant.to_owned(),
            account_id: account.to_owned(),
            display_name: format!("Account {account}"),
            plan: plan.to_owned(),
            permissions: permissions.iter().map(|&word| word.to_owned()).collect(),
            ..v1::Account::default()
        };
        let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
        let response = self.accounts.clone().put_account(request).await.expect("put");
        response.into_inner().account.expect("an account")
    }

    /// A key of an account of `acme`, and its secret.
    pub async fn create_key(&self, account: &str, name: &str) -> (v1::Key, String) {
        let response = self.keys.clone().create_key(new_key("acme", account, name)).await;
        let response = response.expect("created").into_inner();
        (response.key.expect("a key"), response.secret)
    }

    pub async fn get_key(&self, key_id: &str) -> Result<v1::Key, Status> {
        let request = v1::GetKeyRequest { key_id: key_id.to_owned() };
        let response = self.keys.clone().get_key(request).await?;
        Ok(response.into_inner().key.expect("a key"))
    }

    pub async fn revoke(&self, key_id: &str) -> Result<v1::RevokeKeyResponse, Status> {
        let request = v1::RevokeKeyRequest { key_id: key_id.to_owned(), ..Default::default() };
        Ok(self.keys.clone().revoke_key(request).await?.into_inner())
    }

    /// Authenticates a key with required permissions.
    pub async fn authenticate(&self, api_key: &str, required: &[&str]) -> v1::AuthenticateResponse {
        let request = v1::AuthenticateRequest {
            api_key: api_key.to_owned(),
            required_permissions: required.iter().map(|&word| word.to_owned()).collect(),
            ..Default::default()
        };
        self.keys.clone().authenticate(request).await.expect("an answer").into_inner()
    }

    /// Whether a key is allowed, or why not.
    pub async fn verdict(&self, api_key: &str) -> Result<(), v1::DenialReason> {
        let answer = self.authenticate(api_key, &[]).await;
        match answer.outcome() {
            v1::Outcome::Allowed => Ok(()),
            v1::Outcome::Denied => Err(answer.denial_reason()),
            v1::Outcome::Unspecified => panic!("no outcome"),
        }
    }

    /// A caller with roles, bound to tenants, and its credential.
    pub async fn create_caller(
        &self,
        roles: &[v1::Role],
        tenants: &[&str],
    ) -> (v1::Caller, String) {
        let request = v1::CreateCallerRequest {
            name: "caller".to_owned(),
            owner: "team".to_owned(),
            roles: roles.iter().map(|role| (*role).into()).collect(),
            tenants: tenants.iter().map(|&tenant| tenant.to_owned()).collect(),
            ..Default::default()
        };
        let response = self.admin.clone().create_caller(request).await.expect("made").into_inner();
        (response.caller.expect("a caller"), response.credential)
    }
}

/// A request for a live key without limits.
pub fn new_key(tenant: &str, account: &str, name: &str) -> v1::CreateKeyRequest {
    v1::CreateKeyRequest {
        tenant_id: tenant.to_owned(),
        account_id: account.to_owned(),
        name: name.to_owned(),
        environment: "live".to_owned(),
        ..Default::default()
    }
}

/// The reason and the metadata of a status, which every status must have.
pub fn reason(status: &Status) -> (String, std::collections::HashMap<String, String>) {
    let details: ErrorDetails = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?} has no ErrorInfo"));
    assert_eq!(info.domain, "keyledger");
    (info.reason.clone(), info.metadata.clone())
}

/// The fields a status complains of.
pub fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let request = details.bad_request().unwrap_or_else(|| panic!("{status:?} has no BadRequest"));
    request.field_violations.iter().map(|violation| violation.field.clone()).collect()
}
