//! Spans of calls, outermost: what a gate refuses is traced too. A call that is not sampled goes through as it is.
//!
//! A span lasts until its call is answered; of an answer that is a stream, until the stream begins.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Method, Request, Response};
use opentelemetry::KeyValue;
use tonic::Status;
use tower::Service;

use crate::domain::trace_context::TRACEPARENT;
use crate::grpc::access::{self, Rule};
use crate::grpc::call::trace_context;
use crate::grpc::measured::is_our_failure;
use crate::grpc::status::reason_of;
use crate::telemetry::spans::{CallSpan, Tracer};

/// Begins the span of a call that is sampled. `obeyed` says whether a caller may choose that it is, and `what` is asked
/// only of one that is: its name and what is known of it.
#[must_use]
pub fn begin(
    tracer: &Tracer,
    headers: &HeaderMap,
    obeyed: bool,
    what: impl FnOnce() -> (String, Vec<KeyValue>),
) -> Option<CallSpan> {
    let parent = trace_context(headers);
    if !tracer.samples(parent.as_ref(), obeyed) {
        return None;
    }
    let states = headers.get_all("tracestate").iter().map(|value| value.to_str().ok());
    let state = states.collect::<Option<Vec<_>>>().map(|states| states.join(","));
    let (name, attributes) = what();
    let span = tracer.begin(name, parent.as_ref(), state.as_deref(), attributes);
    if obeyed && parent.is_some() {
        span.ask_for();
    }
    Some(span)
}

/// Puts the trace that a span begins, if it is the first of one, among the headers of its call, so that what the call
/// leaves on record names it.
pub fn lead(span: &CallSpan, headers: &mut HeaderMap) {
    let value = span.new_traceparent().and_then(|value| HeaderValue::from_str(&value).ok());
    if let Some(value) = value {
        headers.insert(TRACEPARENT, value);
    }
}

/// Ends the span of a call with what a gate or a handler answered, and whether that is our failure.
pub fn end(span: &CallSpan, status: Option<&Status>, failed: bool, more: KeyValue) {
    let reason = status.and_then(reason_of).map(|reason| {
        let name = reason.as_str_name();
        KeyValue::new("keyledger.reason", name.strip_prefix("ERROR_REASON_").unwrap_or(name))
    });
    span.answered(reason.into_iter().chain([more]), failed);
}

/// The name and the attributes of a request over HTTP.
#[must_use]
pub fn over_http(method: &Method, route: &'static str) -> (String, Vec<KeyValue>) {
    let method = if *method == Method::HEAD { "HEAD" } else { "GET" };
    let attributes =
        vec![KeyValue::new("http.request.method", method), KeyValue::new("http.route", route)];
    (format!("{method} {route}"), attributes)
}

/// The name and the attributes of an RPC; of one that there is not, nothing of what was sent.
fn of_rpc(path: &str) -> (String, Vec<KeyValue>) {
    let mut attributes = vec![KeyValue::new("rpc.system", "grpc")];
    let path = access::find(path).map_or("", |(path, _)| path);
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((service, method)) => {
            attributes.push(KeyValue::new("rpc.service", service));
            attributes.push(KeyValue::new("rpc.method", method));
            (format!("{service}/{method}"), attributes)
        }
        None => ("no such RPC".to_owned(), attributes),
    }
}

/// Traces the calls of a gRPC service.
#[derive(Clone, Debug)]
pub struct Traced<S> {
    inner: S,
    tracer: Option<Tracer>,
}

impl<S> Traced<S> {
    /// Traces by `tracer`; none: nothing.
    pub fn new(inner: S, tracer: Option<Tracer>) -> Self {
        Traced { inner, tracer }
    }
}

/// Begins the span of an RPC that is sampled.
fn begin_rpc<B>(tracer: &Tracer, request: &mut Request<B>) -> Option<CallSpan> {
    let path = request.uri().path();
    let rule = access::find(path).map(|(_, rule)| rule);
    let obeyed = matches!(rule, Some(Rule::AnyCaller | Rule::Roles(_)));
    let span = begin(tracer, request.headers(), obeyed, || of_rpc(path))?;
    // A Check without a trace of its own goes on record under that of the request it asks about, in its message.
    if path != access::CHECK {
        lead(&span, request.headers_mut());
    }
    Some(span)
}

impl<S, B, R> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + Unpin + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let tracer = self.tracer.as_ref();
        let span = tracer.and_then(|tracer| begin_rpc(tracer, &mut request));
        match span {
            None => Answer(Way::Plain(self.inner.call(request))),
            Some(span) => {
                let answer = span.within(|| self.inner.call(request));
                Answer(Way::Traced(Box::pin(traced(span, answer))))
            }
        }
    }
}

async fn traced<F, R, E>(span: CallSpan, answer: F) -> Result<Response<R>, E>
where
    F: Future<Output = Result<Response<R>, E>> + Unpin,
{
    let answer = span.follow(answer).await?;
    let status = answer.extensions().get::<Status>();
    let code = status.map_or(0, |status| i64::from(i32::from(status.code())));
    let failed = status.is_some_and(|status| is_our_failure(status.code()));
    end(&span, status, failed, KeyValue::new("rpc.grpc.status_code", code));
    Ok(answer)
}

/// The answer of a call.
#[expect(missing_debug_implementations, reason = "a future")]
pub struct Answer<F: Future>(Way<F>);

enum Way<F: Future> {
    /// Of a call that is not sampled.
    Plain(F),
    /// Of one that is.
    Traced(Pin<Box<dyn Future<Output = F::Output> + Send>>),
}

impl<F: Future + Unpin> Future for Answer<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match &mut self.0 {
            Way::Plain(answer) => Pin::new(answer).poll(context),
            Way::Traced(answer) => answer.as_mut().poll(context),
        }
    }
}
