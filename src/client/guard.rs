//! A layer before a service of tonic, axum or anything else that answers HTTP requests: who has no key that keyledger
//! allows does not get through, and who gets through is known behind it.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tonic::body::Body;
use tonic::codegen::{Bytes, StdError};
use tonic::metadata::MetadataValue;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tower::{Layer, Service};

use super::{Keyledger, Refused};
use crate::domain::key_format::MAX_PRESENTED_BYTES;
use crate::domain::proxied::{context, credential};
use crate::domain::trace_context::TRACEPARENT;
use crate::domain::usage::MAX_ACTION;
use crate::proto::v1::{AuthenticateContext, AuthenticateRequest};

type Ask = dyn Fn(&Parts) -> AuthenticateRequest + Send + Sync;
type Source = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// Guards a service: each request must bring one key, as `authorization: Bearer <key>` or else `x-api-key: <key>`, and is
/// passed on only if keyledger allows it. Then its extensions hold an [`Allowed`](super::Allowed), and the header with
/// the key is gone. All others are answered here: HTTP with 401, 403, 429 or 503, gRPC with a status, and the extensions
/// of that response hold the [`Refused`], for the service's log.
#[derive(Clone)]
pub struct Guard {
    keyledger: Keyledger,
    ask: Arc<Ask>,
    source: Arc<Source>,
}

impl Guard {
    /// Requires a key that works.
    #[must_use]
    pub fn new(keyledger: Keyledger) -> Self {
        let ask = Arc::new(|_: &Parts| AuthenticateRequest::default());
        Guard { keyledger, ask, source: Arc::new(peer) }
    }

    /// Requires besides that the key has a permission.
    #[must_use]
    pub fn require(self, permission: &str) -> Self {
        let required_permissions = vec![permission.to_owned()];
        let request = AuthenticateRequest { required_permissions, ..Default::default() };
        self.ask(move |_| request.clone())
    }

    /// Asks what depends on the request: permissions, tenant, cost, action. The key is put in here, as is what is known
    /// of the use and not said: the source, the user agent and, for gRPC, the RPC as the action.
    #[must_use]
    pub fn ask(self, ask: impl Fn(&Parts) -> AuthenticateRequest + Send + Sync + 'static) -> Self {
        Guard { ask: Arc::new(ask), ..self }
    }

    /// Says where a request comes from, which keys bound to addresses need and each use is counted by: axum knows it by
    /// `ConnectInfo`, a proxy in front by a header of its own. Unless said, it is the peer of tonic's connection.
    #[must_use]
    pub fn source(self, source: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Guard { source: Arc::new(source), ..self }
    }

    /// The question about a request, which loses its key.
    fn question(&self, parts: &mut Parts) -> tonic::Request<AuthenticateRequest> {
        let mut message = (self.ask)(parts);
        let context = message.context.get_or_insert_default();
        complete(context, parts);
        if context.source_ip.is_empty() {
            context.source_ip =
                (self.source)(parts).map(|source| source.to_string()).unwrap_or_default();
        }
        message.api_key = take_key(&mut parts.headers);
        let mut question = tonic::Request::new(message);
        let trace =
            parts.headers.get(TRACEPARENT).map(|trace| MetadataValue::try_from(trace.as_bytes()));
        if let Some(Ok(trace)) = trace {
            question.metadata_mut().insert(TRACEPARENT, trace);
        }
        question
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("keyledger", &self.keyledger).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A guarded service.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<StdError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let guard = self.guard.clone();
        // The one that was asked whether it is ready, which a clone need not be.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let question = guard.question(&mut parts);
            match guard.keyledger.authenticate(question).await {
                Ok(allowed) => {
                    parts.extensions.insert(allowed);
                    let response = inner.call(Request::from_parts(parts, body)).await?;
                    Ok(response.map(Body::new))
                }
                Err(refused) => Ok(refusal(refused, is_grpc(&parts.headers))),
            }
        })
    }
}

/// The answer to who does not get through.
fn refusal(refused: Refused, grpc: bool) -> Response<Body> {
    if let Refused::Unanswered(status) = &refused {
        tracing::warn!(code = ?status.code(), message = status.message(), "keyledger gave no verdict: refused");
    }
    let mut response = if grpc { refused.to_status().into_http() } else { refused.to_http() };
    response.extensions_mut().insert(refused);
    response
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Adds what a request tells of itself and nobody has said yet.
fn complete(context: &mut AuthenticateContext, parts: &Parts) {
    if context.action.is_empty() && is_grpc(&parts.headers) && parts.uri.path().len() <= MAX_ACTION
    {
        parts.uri.path().clone_into(&mut context.action);
    }
    if context.user_agent.is_empty() {
        let agent = parts.headers.get(USER_AGENT).map(HeaderValue::as_bytes);
        context.user_agent = context::agent(agent);
    }
}

/// The other end of a connection that tonic accepted.
fn peer(parts: &Parts) -> Option<IpAddr> {
    let tls = || parts.extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
    let tcp = parts.extensions.get::<TcpConnectInfo>();
    let tcp = tcp.or_else(|| tls().map(TlsConnectInfo::get_ref));
    tcp.and_then(TcpConnectInfo::remote_addr).map(|peer| peer.ip())
}

/// Takes the key out of the headers, by the rule that proxies are answered by; what keyledger denies, if none is presented
/// or it is not clear which.
fn take_key(headers: &mut HeaderMap) -> String {
    let [authorization, x_api_key] = credential::HEADERS
        .map(|name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>());
    let key = credential::presented(&authorization, &x_api_key);
    // What is longer is no key, cut or not; keyledger says so of the one that is cut.
    let key = key[..key.floor_char_boundary(MAX_PRESENTED_BYTES)].to_owned();
    if authorization.iter().any(|value| credential::is_bearer(value)) {
        headers.remove(credential::AUTHORIZATION);
    }
    headers.remove(credential::X_API_KEY);
    key
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;
    use crate::domain::usage::MAX_AGENT;

    fn parts(headers: &[(&str, &[u8])]) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            parts.headers.append(name, value.to_vec().try_into().expect("a value"));
        }
        parts
    }

    /// What is sent in place of a text that is no key.
    const NO_KEY: &str = "Bearer ";

    #[test]
    fn a_key_is_that_of_one_bearer_or_else_of_one_x_api_key() {
        for (headers, expected) in [
            (&[("authorization", &b"Bearer k"[..])][..], "k"),
            (&[("authorization", b"bEARER k")], "k"),
            (&[("authorization", b"Bearer  k ")], " k "),
            (&[("authorization", b"Bearer k"), ("x-api-key", b"x")], "k"),
            (&[("authorization", b"Bearer "), ("x-api-key", b"x")], ""),
            (&[("authorization", b"Bearer"), ("x-api-key", b"x")], ""),
            (&[("authorization", b"Bearer \xff"), ("x-api-key", b"x")], NO_KEY),
            (&[("authorization", b"Basic k"), ("x-api-key", b"x")], "x"),
            (&[("authorization", b"Basic k")], NO_KEY),
            (&[("authorization", b"k")], NO_KEY),
            (
                &[
                    ("authorization", b"Bearer a"),
                    ("authorization", b"Bearer b"),
                    ("x-api-key", b"x"),
                ],
                NO_KEY,
            ),
            (&[("x-api-key", b"x")], "x"),
            (&[("x-api-key", b"x"), ("x-api-key", b"x")], NO_KEY),
            (&[("authorization", b"Bearer \xff")], NO_KEY),
            (&[("x-api-key", b"\xff")], NO_KEY),
            (&[], ""),
        ] {
            let mut parts = parts(headers);
            assert_eq!(take_key(&mut parts.headers), expected, "{headers:?}");
            let left: Vec<_> = parts.headers.get_all(credential::AUTHORIZATION).iter().collect();
            assert!(left.iter().all(|left| !left.as_bytes().starts_with(b"Bearer")), "{left:?}");
            assert!(!parts.headers.contains_key(credential::X_API_KEY), "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_question_has_the_key_what_is_required_and_the_trace_of_the_request() {
        let keyledger = Keyledger::at("http://127.0.0.1:1", "kl_svc_a").expect("usable");
        let guard = Guard::new(keyledger).require("reports:read");
        let guard = guard.source(|_| Some(IpAddr::from([10, 1, 1, 1])));
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut parts = parts(&[("x-api-key", b"k"), ("traceparent", trace.as_bytes())]);
        let question = guard.question(&mut parts);
        assert_eq!(question.metadata().get(TRACEPARENT).expect("passed on"), trace);
        let question = question.into_inner();
        assert_eq!(question.api_key, "k");
        assert_eq!(question.required_permissions, ["reports:read"]);
        assert_eq!(question.context.expect("set").source_ip, "10.1.1.1");
    }

    #[test]
    fn a_refusal_is_told_in_the_requests_protocol_and_kept_for_the_services_log() {
        for (grpc, status, code) in [(true, 200, Some("14")), (false, 503, None)] {
            let refused = Refused::unanswered(tonic::Status::internal("of the service"));
            let response = refusal(refused, grpc);
            assert_eq!(response.status(), status);
            let told = response.headers().get("grpc-status");
            assert_eq!(told.map(|told| told.to_str().expect("text")), code);
            let kept = response.extensions().get::<Refused>().expect("is kept");
            assert!(kept.to_string().contains("of the service"));
        }
    }

    #[test]
    fn what_is_too_long_for_a_question_is_cut_or_left_out() {
        let mut parts = parts(&[
            ("authorization", &[b"Bearer ", &[b'k'; 65_536][..]].concat()),
            ("user-agent", &[b'b'; 65_536]),
            ("content-type", b"application/grpc"),
        ]);
        parts.uri = format!("/{}", "p".repeat(MAX_ACTION)).parse().expect("a path");
        assert_eq!(take_key(&mut parts.headers), "k".repeat(MAX_PRESENTED_BYTES));
        let mut context = AuthenticateContext::default();
        complete(&mut context, &parts);
        assert_eq!(context.user_agent, "b".repeat(MAX_AGENT));
        assert_eq!(context.action, "");
    }

    #[test]
    fn what_the_service_says_of_a_use_goes_before_what_the_request_tells() {
        let parts = parts(&[("user-agent", b"agent"), ("content-type", b"application/grpc+proto")]);
        let mut context = AuthenticateContext::default();
        complete(&mut context, &parts);
        assert_eq!((&*context.user_agent, &*context.action), ("agent", "/"));
        let mut context = AuthenticateContext {
            action: "export".to_owned(),
            source_ip: "10.1.1.1".to_owned(),
            user_agent: "other".to_owned(),
        };
        let said = context.clone();
        complete(&mut context, &parts);
        assert_eq!(context, said);
    }
}
