//! The operations port: listens, bounds, and hands each request to [`crate::http`].
//!
//! It is open from before the ledger is opened until it is about to be closed, so that a probe can tell a
//! long start from a hung one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::http::Operations;

/// Connections open at once; more are closed as they come. A scrape and two probes need three.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection may take, from its being accepted to its answer being sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How long accepting rests after it failed.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Answers until it is dropped.
pub(super) async fn serve(listener: TcpListener, operations: Arc<Operations>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if open.len() < MAX_CONNECTIONS => {
                    open.spawn(connection(stream, Arc::clone(&operations)));
                }
                Ok(_) => tracing::warn!("a connection to the operations port was over the bound"),
                Err(error) => {
                    tracing::warn!(%error, "a connection to the operations port failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
        }
    }
}

/// One request and its answer.
async fn connection(stream: TcpStream, operations: Arc<Operations>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&operations)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the operations port"),
        Err(_) => tracing::debug!("a connection to the operations port took too long"),
    }
}

async fn answer(
    request: Request<Incoming>,
    operations: Arc<Operations>,
) -> Result<Response<String>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if !operations.blocks(&path) {
        return Ok(operations.answer(&method, &path));
    }
    let answer = move || operations.answer(&method, &path);
    Ok(tokio::task::spawn_blocking(answer).await.unwrap_or_else(|error| {
        tracing::error!(%error, "internal fault: the operations port");
        let mut failed = Response::new("internal fault\n".to_owned());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    }))
}
