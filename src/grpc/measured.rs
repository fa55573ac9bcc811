//! Counts and times calls from when they come to the gate until their answer begins: of a stream, until it is open.
//!
//! What a call costs for it is two looks at the clock and two additions.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::Service;

use crate::app::calls::{Callable, Calls, End, RPC_CODES};
use crate::grpc::{access, layer};

/// What a call over HTTP ends with, by its status, success first; or that its client went away, or another status.
const HTTP_CODES: [&str; 8] = ["200", "401", "403", "429", "500", "503", "CANCELLED", "other"];

/// Where [`HTTP_CODES`] says that the client went away.
const CLIENT_GONE: usize = 6;

/// What is counted together under this name: calls of what is no RPC.
const NO_SUCH_RPC: &str = "other";

/// The calls of an RPC that came over HTTP, by its path, and how they are called.
const OVER_HTTP: [(&str, &str); 2] = [(access::CHECK, "/authz"), (access::WHO_AM_I, "/whoami")];

/// Counts of all calls: of each RPC, each form over HTTP, and what is none of them.
#[must_use]
pub fn calls() -> Calls {
    let rpcs = access::paths().map(layer::name).chain([NO_SUCH_RPC]);
    let rpcs = rpcs.map(|name| Callable { name, codes: &RPC_CODES });
    let http = OVER_HTTP.map(|(_, name)| Callable { name, codes: &HTTP_CODES });
    Calls::of(rpcs.chain(http))
}

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Grpc,
    Http,
}

impl Way {
    /// The number of what is called, in the order of [`calls`].
    fn number(self, path: &str) -> usize {
        let no_such_rpc = access::paths().len();
        match self {
            Way::Grpc => access::number(path).unwrap_or(no_such_rpc),
            Way::Http => {
                let at = OVER_HTTP.iter().position(|(known, _)| *known == path);
                at.map_or(no_such_rpc, |at| no_such_rpc + 1 + at)
            }
        }
    }

    fn end<R>(self, answer: &Response<R>) -> End {
        let refused = answer.extensions().get::<Status>();
        match self {
            Way::Grpc => refused.map_or(End::Success, |refused| end_of_rpc(refused.code())),
            Way::Http => end_over_http(refused.map_or(answer.status(), http_status)),
        }
    }

    /// The client did not wait for the answer.
    fn gone(self) -> End {
        match self {
            Way::Grpc => end_of_rpc(Code::Cancelled),
            Way::Http => End::ClientError(CLIENT_GONE),
        }
    }
}

/// The number of a status.
pub(super) fn number_of(code: Code) -> usize {
    usize::try_from(i32::from(code)).unwrap_or_default()
}

/// Whose fault a status is, as OpenTelemetry has it for servers
/// (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>).
fn end_of_rpc(code: Code) -> End {
    match code {
        Code::Ok => End::Success,
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => End::ServerError(number_of(code)),
        _ => End::ClientError(number_of(code)),
    }
}

/// Whether a status of gRPC is the server's failure.
pub(super) fn is_our_failure(code: Code) -> bool {
    matches!(end_of_rpc(code), End::ServerError(_))
}

fn end_over_http(status: StatusCode) -> End {
    if status.is_success() {
        return End::Success;
    }
    let at = HTTP_CODES.iter().position(|code| *code == status.as_str());
    let at = at.unwrap_or(HTTP_CODES.len() - 1);
    if status.is_server_error() { End::ServerError(at) } else { End::ClientError(at) }
}

/// The status over HTTP of what gate or handler answered in place of a verdict; never that of a denial.
#[must_use]
pub fn http_status(refused: &Status) -> StatusCode {
    match refused.code() {
        Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Counts the calls of the gate behind it.
#[derive(Clone, Debug)]
pub struct Measured<S> {
    inner: S,
    calls: Arc<Calls>,
    way: Way,
}

impl<S> Measured<S> {
    /// Counts calls as those of RPCs.
    pub fn rpcs(inner: S, calls: &Arc<Calls>) -> Self {
        Measured { inner, calls: Arc::clone(calls), way: Way::Grpc }
    }

    /// Counts calls as those that came over HTTP, in the form of the RPCs that they stand for.
    pub fn over_http(inner: S, calls: &Arc<Calls>) -> Self {
        Measured { inner, calls: Arc::clone(calls), way: Way::Http }
    }
}

impl<S, B, R> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = UnderWay {
            calls: Arc::clone(&self.calls),
            way: self.way,
            number: self.way.number(request.uri().path()),
            begun: Instant::now(),
            is_over: false,
        };
        Answering { call, answer: self.inner.call(request) }
    }
}

/// A call that has begun; counted when it ends or, before that, is dropped.
#[derive(Debug)]
struct UnderWay {
    calls: Arc<Calls>,
    way: Way,
    number: usize,
    begun: Instant,
    is_over: bool,
}

impl UnderWay {
    /// Before the answer is sent: who has read it finds it counted.
    fn end(&mut self, end: End) {
        self.is_over = true;
        self.calls.note(self.number, end, self.begun.elapsed());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(self.way.gone());
        }
    }
}

pin_project! {
    /// The answer to a call.
    #[derive(Debug)]
    pub struct Answering<F> {
        call: UnderWay,
        #[pin]
        answer: F,
    }
}

impl<F, R> Future for Answering<F>
where
    F: Future<Output = Result<Response<R>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Ok(answer) = ready!(this.answer.poll(cx));
        this.call.end(this.call.way.end(&answer));
        Poll::Ready(Ok(answer))
    }
}

#[cfg(test)]
#[path = "measured_tests.rs"]
mod tests;
