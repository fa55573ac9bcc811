//! The server: opens the data directory, serves it, and closes it in order.

pub mod connections;
mod front;
mod ops;
mod pace;
mod reload;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Layer;

use crate::app::App;
use crate::app::calls::Calls;
use crate::app::closing::Closing;
pub use crate::app::startup::stop_on_engine_panic;
use crate::app::startup::{self, Opened, StartError};
use crate::clock::Clock;
use crate::config::{Config, Limits};
use crate::domain::proxied::context::ClientAddress;
use crate::grpc::layer::{AccessLayer, Gate};
use crate::grpc::measured::{self, Measured};
use crate::grpc::traced::Traced;
use crate::grpc::{self, authorization};
use crate::http::Operations;
use crate::progress::{Progress, Silent};
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::v1::account_service_server::AccountServiceServer;
use crate::proto::v1::admin_service_server::AdminServiceServer;
use crate::proto::v1::audit_service_server::AuditServiceServer;
use crate::proto::v1::key_service_server::KeyServiceServer;
use crate::proto::v1::usage_service_server::UsageServiceServer;
use crate::random::Random;
use crate::server::connections::Connections;
use crate::server::front::Front;
pub use crate::server::reload::ConfigFile;
use crate::server::reload::Reloader;
pub use crate::server::tls::TlsError;
use crate::server::tls::{Loader, Tls};
use crate::telemetry::otlp::{Sending, TracingError};
use crate::telemetry::spans::Tracer;

/// Where time and randomness come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The random source.
    pub random: Arc<dyn Random>,
}

/// The sockets that are served.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For metrics and probes; none: they are not served.
    pub ops: Option<TcpListener>,
    /// For HTTP; none: it is not served.
    pub http: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    /// For gRPC alone.
    fn from(grpc: TcpListener) -> Self {
        Listeners { grpc, ops: None, http: None }
    }
}

/// What a server has to do with besides its callers.
pub struct Around {
    /// Told how far the opening has come.
    pub progress: Arc<dyn Progress>,
    /// Where the configuration came from, if it is to be read again.
    pub file: Option<ConfigFile>,
}

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What is known once the server accepts calls.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where gRPC is served.
    pub grpc_addr: SocketAddr,
    /// Where metrics and probes are served, if they are.
    pub ops_addr: Option<SocketAddr>,
    /// Where HTTP is served, if it is.
    pub http_addr: Option<SocketAddr>,
    /// Where the first admin's credential lies, if this start made it.
    pub new_admin: Option<PathBuf>,
}

/// Why the server did not start or did not stop in order.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The data directory cannot be opened or closed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Connections cannot be encrypted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Spans of calls cannot be sent.
    #[error(transparent)]
    Tracing(#[from] TracingError),
    /// The listening socket failed.
    #[error("the listening socket: {0}")]
    Listener(#[from] std::io::Error),
    /// The descriptors built into this program are not ones that reflection can serve.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A task of ours panicked.
    #[error("a task panicked: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// The names that health is told of; the first is the whole server's.
const SERVICES: [&str; 7] = [
    "",
    KeyServiceServer::<()>::NAME,
    AccountServiceServer::<()>::NAME,
    AdminServiceServer::<()>::NAME,
    AuditServiceServer::<()>::NAME,
    UsageServiceServer::<()>::NAME,
    authorization::SERVICE,
];

/// Opens the data directory and, before it, the TLS files: that a certificate is missing should not take a replay to
/// be found.
fn open(
    config: &Config,
    sources: Sources,
    progress: &dyn Progress,
) -> Result<(Opened, Option<Arc<Tls>>), ServeError> {
    if config.is_plaintext_beyond_loopback() {
        tracing::warn!(
            "DANGER: gRPC is served unencrypted beyond this machine: whoever is on the way reads and changes \
             credentials, keys and answers; set [tls] instead"
        );
    }
    if config.proxies.is_beyond_loopback() {
        tracing::warn!(
            "DANGER: HTTP is served unencrypted beyond this machine: whoever is on the way reads and changes credentials, \
             keys and answers; serve 127.0.0.1 or off instead"
        );
    }
    let loader = config.tls.clone().map(|settings| {
        let (data_dir, clock) = (config.data_dir.clone(), Arc::clone(&sources.clock));
        Loader { settings, data_dir, clock }
    });
    let loaded = loader.as_ref().map(Loader::load).transpose()?;
    let opened = startup::open(config, sources.clock, sources.random, progress)?;
    let files = loader.zip(loaded);
    let tls = files.map(|(loader, loaded)| Tls::begin(loader, loaded, opened.app.transport()));
    Ok((opened, tls.map(Arc::new)))
}

/// Tells which services can be called. While it is held, no key is authenticated; whoever resolves that must be able to
/// call the rest.
async fn tell_health(health: &HealthReporter, held: bool) {
    if held {
        tracing::warn!(
            "no key is authenticated: a restore lost events, among which keys may have been revoked; \
             keyledger admin status says which, keyledger admin restore --help what to do"
        );
    }
    let serves_keys = if held { ServingStatus::NotServing } else { ServingStatus::Serving };
    for name in SERVICES {
        let of_keys = ["", KeyServiceServer::<()>::NAME, authorization::SERVICE].contains(&name);
        let status = if of_keys { serves_keys } else { ServingStatus::Serving };
        health.set_service_status(name, status).await;
    }
}

/// A service behind the gate, each of its calls counted.
type Gated<S> = Measured<Gate<App, S>>;

/// What is served by gRPC and over HTTP, behind gates that share one bound, and where their calls are counted.
fn gated(
    app: &Arc<App>,
    routes: Routes,
    limits: &Limits,
    client_address: Option<ClientAddress>,
) -> (Gated<Routes>, Gated<Front>, Arc<Calls>) {
    let access = AccessLayer::new(Arc::clone(app), limits.calls_in_flight);
    let calls = Arc::new(measured::calls());
    let service = Measured::rpcs(access.layer(routes), &calls);
    let front = access.layer(Front::new(Arc::clone(app), client_address));
    (service, Measured::over_http(front, &calls), calls)
}

/// Opens the data directory and serves it on `listeners` until `shutdown` resolves; then says
/// NOT_SERVING, lets calls under way finish within the drain time, closes the ledger and returns.
/// Calls wait in the listener's queue while the ledger is replayed; probes are answered from the first.
/// `ready` is called once calls are accepted.
///
/// # Errors
/// [`ServeError`].
pub async fn run(
    config: Config,
    listeners: impl Into<Listeners>,
    sources: Sources,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(&Ready),
) -> Result<(), ServeError> {
    let around = Around { progress: Arc::new(Silent), file: None };
    run_within(config, listeners, sources, around, shutdown, ready).await
}

/// As [`run`], and tells how far the opening has come and keeps to a configuration file.
///
/// # Errors
/// [`ServeError`].
pub async fn run_within(
    config: Config,
    listeners: impl Into<Listeners>,
    sources: Sources,
    around: Around,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(&Ready),
) -> Result<(), ServeError> {
    let Listeners { grpc, ops, http } = listeners.into();
    let Around { progress, file } = around;
    let reloader = file.map(|file| Reloader::new(file, config.clone()));
    let grpc_addr = grpc.local_addr()?;
    let ops_addr = ops.as_ref().map(TcpListener::local_addr).transpose()?;
    let http_addr = http.as_ref().map(TcpListener::local_addr).transpose()?;
    let (sending, tracer) = begin_tracing(&config, &sources)?.unzip();
    let operations = Arc::new(Operations::new(sending.as_ref().map(Sending::counts)));
    // Ended when this is dropped.
    let mut probed = JoinSet::new();
    ops.map(|ops| probed.spawn(ops::serve(ops, Arc::clone(&operations))));
    let (limits, privacy) = (config.limits.clone(), config.privacy);
    let client_address = config.proxies.client_address.clone();
    let random = Arc::clone(&sources.random);
    let open = move || open(&config, sources, &*progress);
    let (Opened { app, new_admin, closing }, tls) = tokio::task::spawn_blocking(open).await??;

    let (health, health_service) = tonic_health::server::health_reporter();
    tell_health(&health, app.is_held()).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let routes = grpc::routes(&app).add_service(health_service).add_service(reflection).prepare();
    let (service, front, calls) = gated(&app, routes, &limits, client_address);
    let service = Traced::new(service, tracer.clone());
    let (stopping, stop) = watch::channel(());
    let fronts: JoinSet<()> = http
        .map(|http| front::serve(http, front, tracer, stop, limits.drain))
        .into_iter()
        .collect();
    let drain = app.drain();
    operations.ready(&app, calls);
    // Ended when this is dropped.
    let mut sweeping = JoinSet::new();
    app.keep_house(privacy, &mut sweeping);
    reloader.map(|reloader| sweeping.spawn(reloader.keep(Arc::downgrade(&app))));
    drop(app);

    let connections = Connections::new(service, limits, random).with_tls(tls);
    ready(&Ready { grpc_addr, ops_addr, http_addr, new_admin });
    let mut watched = health.clone();
    let not_serving = async {
        shutdown.await;
        operations.drain();
        drain.begin();
        drop(stopping);
        for name in SERVICES {
            health.set_service_status(name, ServingStatus::NotServing).await;
        }
    };
    let end_watches = async {
        // They have told it by now, and would hold the drain to its bound.
        for name in SERVICES {
            let _ = watched.clear_service_status(name).await;
        }
    };
    connections.serve(grpc, not_serving, end_watches).await;
    fronts.join_all().await;
    probed.shutdown().await;
    sweeping.shutdown().await;
    operations.let_go();
    close(closing, sending).await
}

/// Closes the data directory, and meanwhile sends what is left of spans.
async fn close(closing: Closing, sending: Option<Sending>) -> Result<(), ServeError> {
    let closed = tokio::task::spawn_blocking(move || closing.close());
    if let Some(sending) = sending {
        sending.stop().await;
    }
    closed.await??;
    Ok(())
}

/// Begins to trace calls, if a collector is configured.
fn begin_tracing(
    config: &Config,
    sources: &Sources,
) -> Result<Option<(Sending, Tracer)>, TracingError> {
    let settings = &config.tracing;
    let Some(sending) = Sending::begin(settings)? else { return Ok(None) };
    let Sources { clock, random } = sources.clone();
    let tracer = Tracer::new(settings.sample_ratio, sending.outbox(), clock, random);
    Ok(Some((sending, tracer)))
}
