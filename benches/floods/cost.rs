//! What it costs that connections are read in turns and callers told apart: an RPC that does nothing, behind each.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use keyledger::app::startup::{self, Opened};
use keyledger::clock::SystemClock;
use keyledger::config::{Config, Limits};
use keyledger::grpc::layer::AccessLayer;
use keyledger::progress::Silent;
use keyledger::proto::v1;
use keyledger::random::SystemRandom;
use keyledger::server::connections::Connections;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic_prost::ProstCodec;
use tower::{Layer as _, Service};

use crate::{ROUNDS, bearer, say, spread, throughput};

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

/// Serves with hyper alone, in its own form.
async fn serve_bare(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("set");
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(Nothing));
        tokio::spawn(connection);
    }
}

pub(super) async fn cost() {
    let dir = TempDir::new().expect("a directory");
    let config = Config { data_dir: dir.path().join("data"), ..Config::default() };
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let (settings, dice) = (config.clone(), Arc::clone(&random));
    let opening =
        tokio::task::spawn_blocking(move || startup::open(&settings, clock, dice, &Silent));
    let opened = opening.await.expect("no panic").expect("it opens");
    let Opened { app, closing, .. } = opened;
    let credential = std::fs::read_to_string(config.data_dir.join("admin.credential"));
    let bearer = bearer(&credential.expect("made"));
    let mut addresses = Vec::new();
    let (listener, address) = listen().await;
    addresses.push(address);
    let mut serving = JoinSet::new();
    serving.spawn(serve_bare(listener));
    let (listener, address) = listen().await;
    addresses.push(address);
    let connections = Connections::new(Nothing, Limits::default(), random.clone());
    serving.spawn(connections.serve(listener, std::future::pending(), async {}));
    let (listener, address) = listen().await;
    addresses.push(address);
    let gate = AccessLayer::new(Arc::clone(&app), Limits::default().calls_in_flight).layer(Nothing);
    let connections = Connections::new(gate, Limits::default(), random);
    serving.spawn(connections.serve(listener, std::future::pending(), async {}));
    let mut rows: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let mut rates = Vec::new();
        for address in &addresses {
            rates.push(throughput(address, &bearer, "").await);
        }
        let figures = [rates[0], rates[1] / rates[0], rates[2] / rates[1]];
        rows.iter_mut().zip(figures).for_each(|(row, figure)| row.push(figure));
    }
    let names = [
        "an RPC that does nothing, calls/s",
        "behind our connections, ratio",
        "and the gate, ratio to that",
    ];
    for (name, row) in names.iter().zip(rows) {
        say(&format!("{name:<37} {}", spread(row)));
    }
    serving.shutdown().await;
    drop(app);
    tokio::task::spawn_blocking(move || closing.close()).await.expect("no panic").expect("closed");
}
