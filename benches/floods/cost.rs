//! What it costs that connections are read in turns, callers told apart and all of it encrypted: an RPC that does
//! nothing, behind each.

use std::convert::Infallible;
use std::fs::Permissions;
use std::future::{Future, Ready, pending, ready};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use keyledger::app::App;
use keyledger::app::startup::{self, Opened};
use keyledger::clock::SystemClock;
use keyledger::config::{ClientCertificates, Config, Limits, TlsSettings};
use keyledger::grpc::layer::AccessLayer;
use keyledger::progress::Silent;
use keyledger::proto::v1;
use keyledger::random::{Random, SystemRandom};
use keyledger::server::connections::Connections;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;
use tower::{Layer as _, Service};

use crate::{CONNECTIONS, Keys, ROUNDS, bearer, clients, say, spread, throughput};

/// Answers every call with an empty AuthenticateResponse: the least a unary RPC can do.
#[derive(Clone)]
struct Nothing;

impl tonic::server::UnaryService<v1::AuthenticateRequest> for Nothing {
    type Response = v1::AuthenticateResponse;
    type Future = Ready<Result<tonic::Response<Self::Response>, Status>>;

    fn call(&mut self, _: tonic::Request<v1::AuthenticateRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new(v1::AuthenticateResponse::default())))
    }
}

impl<B> Service<Request<B>> for Nothing
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
        Box::pin(async move { Ok(grpc.unary(Nothing, request.map(Body::new)).await) })
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    (listener, address)
}

/// Serves one connection with hyper alone.
fn serve_bare<S>(stream: S) -> impl Future<Output = Result<(), hyper::Error>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(Nothing))
}

/// Serves with hyper alone, in its own form; over TLS, if there is an acceptor.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("set");
        match tls.clone() {
            None => drop(tokio::spawn(serve_bare(stream))),
            Some(tls) => drop(tokio::spawn(async move {
                serve_bare(tls.accept(stream).await.expect("a client that trusts it")).await
            })),
        }
    }
}

/// A certificate for 127.0.0.1 that signs itself, in files below `dir`.
struct Certificate {
    settings: TlsSettings,
    acceptor: TlsAcceptor,
    client: ClientTlsConfig,
}

fn certificate(dir: &Path) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("signed");
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let (certificate, private_key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    std::fs::write(&certificate, &pem).expect("written");
    std::fs::write(&private_key, key).expect("written");
    std::fs::set_permissions(&private_key, Permissions::from_mode(0o600)).expect("set");
    let der = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], der)
        .expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec()];
    Certificate {
        settings: TlsSettings {
            certificate,
            private_key,
            clients: ClientCertificates::Off,
            check_interval: Duration::from_secs(3600),
        },
        acceptor: TlsAcceptor::from(Arc::new(config)),
        client: ClientTlsConfig::new().ca_certificate(tonic::transport::Certificate::from_pem(pem)),
    }
}

/// Clients over TLS.
async fn secured(address: &str, tls: &ClientTlsConfig) -> Vec<Keys> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let endpoint =
            Endpoint::from_shared(address.replace("http:", "https:")).expect("an address");
        let channel = endpoint.tls_config(tls.clone()).expect("fit").connect().await.expect("up");
        clients.push(Keys::new(channel));
    }
    clients
}

/// The five servers, in the order of the table.
async fn serve(
    app: &Arc<App>,
    certificate: &Certificate,
    serving: &mut JoinSet<()>,
) -> Vec<Vec<Keys>> {
    let limits = Limits::default();
    let gate = || AccessLayer::new(Arc::clone(app), limits.calls_in_flight).layer(Nothing);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let mut servers = Vec::new();

    let (listener, address) = listen().await;
    serving.spawn(accept(listener, None));
    servers.push(clients(&address, CONNECTIONS).await);

    let (listener, address) = listen().await;
    let connections = Connections::new(Nothing, limits.clone(), Arc::clone(&random));
    serving.spawn(connections.serve(listener, pending(), async {}));
    servers.push(clients(&address, CONNECTIONS).await);

    let (listener, address) = listen().await;
    let connections = Connections::new(gate(), limits.clone(), Arc::clone(&random));
    serving.spawn(connections.serve(listener, pending(), async {}));
    servers.push(clients(&address, CONNECTIONS).await);

    let (listener, address) = listen().await;
    serving.spawn(accept(listener, Some(certificate.acceptor.clone())));
    servers.push(secured(&address, &certificate.client).await);

    let (listener, address) = listen().await;
    let clock = Arc::new(SystemClock::new());
    let connections = Connections::new(gate(), limits.clone(), random)
        .encrypted(certificate.settings.clone(), PathBuf::new(), clock)
        .expect("files that are fit");
    serving.spawn(connections.serve(listener, pending(), async {}));
    servers.push(secured(&address, &certificate.client).await);
    servers
}

pub(super) async fn cost() {
    let dir = TempDir::new().expect("a directory");
    let config = Config { data_dir: dir.path().join("data"), ..Config::default() };
    let credential = config.data_dir.join("admin.credential");
    // It waits for the disk.
    let opening = tokio::task::spawn_blocking(move || {
        startup::open(&config, Arc::new(SystemClock::new()), Arc::new(SystemRandom), &Silent)
    });
    let Opened { app, closing, .. } = opening.await.expect("no panic").expect("it opens");
    let bearer = bearer(&std::fs::read_to_string(credential).expect("made"));
    let mut serving = JoinSet::new();
    let servers = serve(&app, &certificate(dir.path()), &mut serving).await;
    let mut rows: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        let mut rates = Vec::new();
        for clients in &servers {
            rates.push(throughput(clients, &bearer, "").await);
        }
        let [empty, read, gated, tls_empty, tls_gated] = rates[..] else { unreachable!("five") };
        let figures = [empty, read / empty, gated / read, tls_empty / empty, tls_gated / tls_empty];
        rows.iter_mut().zip(figures).for_each(|(row, figure)| row.push(figure));
    }
    let names = [
        "an RPC that does nothing, calls/s",
        "behind our connections, ratio",
        "and the gate, ratio to that",
        "an RPC that does nothing over TLS, ratio",
        "our connections and gate, ratio to that",
    ];
    for (name, row) in names.iter().zip(rows) {
        say(&format!("{name:<41} {}", spread(row)));
    }
    drop(servers);
    serving.shutdown().await;
    drop(app);
    tokio::task::spawn_blocking(move || closing.close()).await.expect("no panic").expect("closed");
}
