//! Calls as they arrive: counted until they begin, and held to the deadline that their clients give them.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, HeaderMap, Request};
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::transport::server::TcpConnectInfo;

use crate::grpc::lanes::{LaneOfConnection, Waiting};

/// The metadata in which a client says how long it waits.
const TIMEOUT: &str = "grpc-timeout";

/// The most digits that the protocol allows there.
const MAX_DIGITS: usize = 8;

/// The other end of the connection that a call came on.
#[must_use]
pub fn peer_of(told: &Extensions) -> Option<IpAddr> {
    let peer = told.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    peer.map(|address| address.ip().to_canonical())
}

/// The calls of one connection, on their way to `inner`.
#[derive(Clone, Debug)]
pub struct Arrivals<S> {
    inner: S,
    lane: LaneOfConnection,
}

impl<S> Arrivals<S> {
    /// Passes calls on to `inner`, which says whose they are.
    pub fn new(inner: S, lane: LaneOfConnection) -> Self {
        Arrivals { inner, lane }
    }
}

impl<S, B> Service<Request<B>> for Arrivals<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Arrived<S::Future>;

    fn call(&self, mut request: Request<B>) -> Self::Future {
        if let Some(until) = timeout(request.headers()).and_then(|t| Instant::now().checked_add(t))
        {
            request.extensions_mut().insert(Deadline(until));
        }
        Arrived { waiting: self.lane.enter(), answer: self.inner.call(request) }
    }
}

pin_project! {
    /// A call that has arrived. It begins when this is polled.
    #[derive(Debug)]
    pub struct Arrived<F> {
        waiting: Option<Waiting>,
        #[pin]
        answer: F,
    }
}

impl<F: Future> Future for Arrived<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let call = self.project();
        drop(call.waiting.take());
        call.answer.poll(cx)
    }
}

/// Until when the client of a call waits for its answer, by its own word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// Until when there is to be an answer: for so long from now, but for no longer than the client waits. None: it
    /// waits no more.
    pub(super) fn within(longest: Duration, extensions: &Extensions) -> Option<Instant> {
        let now = Instant::now();
        match extensions.get::<Deadline>() {
            Some(Deadline(until)) if *until <= now => None,
            Some(Deadline(until)) => Some((now + longest).min(*until)),
            None => Some(now + longest),
        }
    }
}

/// How long the client waits for its answer, if it says so in the form of gRPC over HTTP/2: at most 8 digits and a
/// unit. Said in another way it is not said.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 60 * 60)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};

    use http::HeaderValue;

    use super::*;

    fn said(text: &str) -> Option<Duration> {
        timeout(&headers(text))
    }

    #[test]
    fn a_timeout_is_read_in_each_unit() {
        let seconds = Duration::from_secs;
        assert_eq!(said("1H"), Some(seconds(3600)));
        assert_eq!(said("2M"), Some(seconds(120)));
        assert_eq!(said("3S"), Some(seconds(3)));
        assert_eq!(said("4m"), Some(Duration::from_millis(4)));
        assert_eq!(said("5u"), Some(Duration::from_micros(5)));
        assert_eq!(said("6n"), Some(Duration::from_nanos(6)));
        assert_eq!(said("0n"), Some(Duration::ZERO));
        assert_eq!(said("99999999H"), Some(seconds(99_999_999 * 3600)));
    }

    #[test]
    fn what_is_not_of_that_form_is_no_timeout() {
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", " 1S", "1é"] {
            assert_eq!(timeout(&headers(text)), None, "{text:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    fn headers(text: &str) -> HeaderMap {
        let value = HeaderValue::from_bytes(text.as_bytes()).expect("a header value");
        HeaderMap::from_iter([(http::HeaderName::from_static(TIMEOUT), value)])
    }

    /// Answers until when each call may take.
    struct Until(Duration);

    impl Service<Request<()>> for Until {
        type Response = Option<Duration>;
        type Error = Infallible;
        type Future = Ready<Result<Option<Duration>, Infallible>>;

        fn call(&self, request: Request<()>) -> Self::Future {
            let until = Deadline::within(self.0, request.extensions());
            ready(Ok(until.map(|until| until.saturating_duration_since(Instant::now()))))
        }
    }

    async fn left_of(longest: Duration, timeout: &str) -> Option<Duration> {
        let mut request = Request::new(());
        *request.headers_mut() = headers(timeout);
        let arrivals = Arrivals::new(Until(longest), LaneOfConnection::default());
        arrivals.call(request).await.expect("an answer")
    }

    #[tokio::test]
    async fn a_call_has_as_long_as_its_client_waits_and_no_longer_than_any() {
        let minute = Duration::from_secs(60);
        assert_eq!(left_of(minute, "0n").await, None);
        assert!(left_of(minute, "1S").await.expect("some") <= Duration::from_secs(1));
        for timeout in ["1H", "nonsense"] {
            let left = left_of(minute, timeout).await.expect("some");
            assert!(left > Duration::from_secs(1) && left <= minute, "{left:?}");
        }
    }
}
