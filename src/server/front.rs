//! The HTTP port, for proxies and programs that do not speak gRPC: listens, bounds, and brings each request through
//! the gate of the RPCs that it is another form of.
//!
//! So `/authz` is a Check and `/whoami` a WhoAmI: to the table of access, to the room that calls have, and on record.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ALLOW, AUTHORIZATION};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use opentelemetry::KeyValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::{Connected as _, TcpConnectInfo};
use tower::Service;
use zeroize::Zeroizing;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::proxied::context::ClientAddress;
use crate::domain::trace_context::TRACEPARENT;
use crate::grpc::arrival::peer_of;
use crate::grpc::lanes::LaneOfConnection;
use crate::grpc::layer::Gate;
use crate::grpc::measured::{Measured, http_status};
use crate::grpc::remembered::Remembered;
use crate::grpc::{access, status, traced};
use crate::http::proxied::{AUTHZ, Asked, CALLER, authz, plain};
use crate::http::who_am_i::{WHO_AM_I, who_am_i};
use crate::proto::v1::ErrorReason;
use crate::telemetry::spans::Tracer;

/// Connections open at once; more are closed as they come. A proxy keeps a few for each of its threads.
const MAX_CONNECTIONS: usize = 1024;

/// How long a connection may be idle and take to send the head of its next request: longer than proxies keep idle ones
/// (nginx a minute, Caddy two), so that none is closed as it is used.
const HEAD_TIME: Duration = Duration::from_secs(125);

/// The most bytes of a request's head: as many as a Check has.
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 256;

/// What is told where no caller's credential came, which has another place here than in gRPC.
const CREDENTIAL_MISSING: &str =
    "a caller credential is required: X-Keyledger-Caller: <credential>";

/// How long accepting rests after it failed.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What answers behind the gate.
#[derive(Clone, Debug)]
pub(super) struct Front {
    app: Arc<App>,
    from: Option<ClientAddress>,
}

impl Front {
    pub(super) fn new(app: Arc<App>, from: Option<ClientAddress>) -> Self {
        Front { app, from }
    }

    /// As the handlers of RPCs do, what fails is answered as a status, for the gate to see: [`translated`] comes after.
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        match self.handle(request.into_parts().0).await {
            Ok(answer) => answer.map(Body::new),
            Err(error) => status::of(&error, None).into_http(),
        }
    }

    async fn handle(&self, call: Parts) -> Result<Response<String>, AppError> {
        let (told, from) = (&call.extensions, self.from.as_ref());
        let missing = || {
            tracing::error!("a call reached its handler without what it is about");
            AppError::Internal
        };
        let asked = told.get::<Asked>().ok_or_else(missing)?;
        match told.get::<Form>().ok_or_else(missing)? {
            Form::Authz => {
                let identity = told.get::<Arc<Identity>>().ok_or_else(missing)?;
                authz(&self.app, identity, asked, from).await
            }
            Form::WhoAmI => who_am_i(&self.app, asked, from, peer_of(told)).await,
        }
    }
}

/// The RPCs that have another form here.
#[derive(Clone, Copy, Debug)]
enum Form {
    Authz,
    WhoAmI,
}

impl Form {
    /// What is asked at a path.
    fn at(path: &str) -> Option<Self> {
        match path {
            AUTHZ => Some(Form::Authz),
            WHO_AM_I => Some(Form::WhoAmI),
            _ => None,
        }
    }

    /// Where it is asked.
    fn route(self) -> &'static str {
        match self {
            Form::Authz => AUTHZ,
            Form::WhoAmI => WHO_AM_I,
        }
    }

    /// The RPC it stands for.
    fn rpc(self) -> &'static str {
        match self {
            Form::Authz => access::CHECK,
            Form::WhoAmI => access::WHO_AM_I,
        }
    }
}

impl Service<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move { Ok(front.answer(request).await) })
    }
}

/// Serves until `stop` changes or is gone; then each connection has `drain` to end its request.
pub(super) async fn serve(
    listener: TcpListener,
    gate: Measured<Gate<App, Front>>,
    tracer: Option<Tracer>,
    stop: watch::Receiver<()>,
    drain: Duration,
) {
    let (mut open, mut stopped) = (JoinSet::new(), stop.clone());
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if open.len() < MAX_CONNECTIONS => {
                    let (gate, tracer) = (gate.clone(), tracer.clone());
                    open.spawn(connection(stream, gate, tracer, stop.clone()));
                }
                Ok(_) => tracing::warn!("a connection to the HTTP port was over the bound"),
                Err(error) => {
                    tracing::warn!(%error, "a connection to the HTTP port failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
        }
    }
    drop((listener, gate, tracer));
    let ended = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, ended).await.is_err() {
        tracing::debug!("a connection to the HTTP port was cut after its drain time");
    }
    open.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    gate: Measured<Gate<App, Front>>,
    tracer: Option<Tracer>,
    mut stop: watch::Receiver<()>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let about = About {
        tcp: stream.connect_info(),
        lane: LaneOfConnection::default(),
        remembered: Remembered::default(),
        tracer,
    };
    let service = service_fn(move |request| answer(request, gate.clone(), about.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the HTTP port");
    }
}

/// What each call of a connection is told of it.
#[derive(Clone)]
struct About {
    tcp: TcpConnectInfo,
    lane: LaneOfConnection,
    remembered: Remembered,
    tracer: Option<Tracer>,
}

async fn answer(
    mut request: Request<Incoming>,
    mut gate: Measured<Gate<App, Front>>,
    about: About,
) -> Result<Response<Body>, Infallible> {
    let Some(form) = Form::at(request.uri().path()) else {
        return Ok(plain(StatusCode::NOT_FOUND, "not found").map(Body::new));
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refused.map(Body::new));
    }
    let span = about.tracer.as_ref().and_then(|tracer| {
        // The headers are those of a proxy's client, who does not choose what is recorded.
        let what = || traced::over_http(request.method(), form.route());
        traced::begin(tracer, request.headers(), false, what)
    });
    let Some(span) = span else {
        return gate.call(as_call(request, form, about)).await.map(translated);
    };
    traced::lead(&span, request.headers_mut());
    let answer = span.follow(gate.call(as_call(request, form, about))).await?;
    let refused = answer.extensions().get::<Status>().cloned();
    let answer = translated(answer);
    let code = KeyValue::new("http.response.status_code", i64::from(answer.status().as_u16()));
    traced::end(&span, refused.as_ref(), answer.status().is_server_error(), code);
    Ok(answer)
}

/// A request in the form of the RPC it stands for. Who calls is in the place where the gate looks; what the client of
/// a proxy sent is nowhere but in [`Asked`].
fn as_call(request: Request<Incoming>, form: Form, about: About) -> Request<Body> {
    let (parts, _) = request.into_parts();
    let mut call = Request::new(Body::default());
    *call.uri_mut() = Uri::from_static(form.rpc());
    for credential in parts.headers.get_all(CALLER) {
        let bearer = Zeroizing::new([b"Bearer ", credential.as_bytes()].concat());
        if let Ok(mut value) = HeaderValue::from_bytes(&bearer) {
            value.set_sensitive(true);
            call.headers_mut().append(AUTHORIZATION, value);
        }
    }
    for trace in parts.headers.get_all(TRACEPARENT) {
        call.headers_mut().append(TRACEPARENT, trace.clone());
    }
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let told = call.extensions_mut();
    told.insert(Asked { headers: parts.headers, query });
    told.insert(about.tcp);
    told.insert(form);
    told.insert(about.lane);
    told.insert(about.remembered);
    call
}

/// What gate or handler answered in place of a verdict, as HTTP has it: 503 for what passes, 500 for what somebody has to
/// mend; never a denial of the client, who is not at fault.
fn translated(answer: Response<Body>) -> Response<Body> {
    let Some(failed) = answer.extensions().get::<Status>() else { return answer };
    let text = match status::reason_of(failed) {
        Some(ErrorReason::CallerCredentialMissing) => CREDENTIAL_MISSING,
        _ => failed.message(),
    };
    plain(http_status(failed), text).map(Body::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_is_taken_for_a_denial() {
        for (error, code) in [
            (AppError::CredentialMissing, 500),
            (AppError::CredentialInvalid, 500),
            (AppError::TenantNotAllowed, 500),
            (AppError::field("cost", "must be a number"), 500),
            (AppError::Internal, 500),
            (AppError::Overloaded { retry_after: ACCEPT_REST }, 503),
            (AppError::UsesBehind { retry_after: ACCEPT_REST }, 503),
            (AppError::TooSlow, 503),
            (AppError::Draining, 503),
        ] {
            let answer = translated(status::of(&error, None).into_http());
            assert_eq!(answer.status().as_u16(), code, "{error}");
        }
    }
}
