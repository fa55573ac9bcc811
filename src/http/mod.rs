//! HTTP for what does not speak gRPC: the HTTP port, for proxies ([`proxied`]) and holders of keys ([`who_am_i`]), and
//! the operations port, with figures for monitoring and probes.
//!
//! Here is what is answered; `server` listens. Whoever reaches the operations port may ask: an answer holds figures
//! of the whole service, never a secret, an id, or a name but those of witnesses.

mod metrics;
pub mod proxied;
pub mod who_am_i;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwapOption;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::app::App;
use crate::app::calls::Calls;
use crate::telemetry::otlp::SpanCounts;

/// Where the life of the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The ledger is being opened.
    Starting,
    /// Calls are answered.
    Ready,
    /// It is stopping.
    Draining,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
        }
    }
}

/// What is told of.
#[derive(Debug)]
struct Service {
    app: Arc<App>,
    calls: Arc<Calls>,
}

/// What the operations port answers from.
#[derive(Debug, Default)]
pub struct Operations {
    phase: AtomicU8,
    service: ArcSwapOption<Service>,
    /// What became of spans, if any are made.
    spans: Option<Arc<SpanCounts>>,
}

impl Operations {
    /// Of a process that starts; `spans` is told what becomes of spans of calls.
    #[must_use]
    pub fn new(spans: Option<Arc<SpanCounts>>) -> Self {
        Operations { spans, ..Operations::default() }
    }

    /// Says that calls are answered from now on, by whom, and where they are counted.
    pub fn ready(&self, app: &Arc<App>, calls: Arc<Calls>) {
        self.service.store(Some(Arc::new(Service { app: Arc::clone(app), calls })));
        self.phase.store(Phase::Ready as u8, Ordering::Release);
    }

    /// Says that the process is stopping.
    pub fn drain(&self) {
        self.phase.store(Phase::Draining as u8, Ordering::Release);
    }

    /// Lets go of the service, which is about to be closed.
    pub fn let_go(&self) {
        self.service.store(None);
    }

    /// Where the life of the process is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            ready if ready == Phase::Ready as u8 => Phase::Ready,
            draining if draining == Phase::Draining as u8 => Phase::Draining,
            _ => Phase::Starting,
        }
    }

    /// Whether a request for `path` may wait for the disk, so that it must not be answered on the
    /// reactor.
    #[must_use]
    pub fn blocks(&self, path: &str) -> bool {
        path == METRICS
    }

    /// Answers a request.
    #[must_use]
    pub fn answer(&self, method: &Method, path: &str) -> Response<String> {
        if !matches!(path, METRICS | "/livez" | "/readyz") {
            return plain(StatusCode::NOT_FOUND, "not found\n".to_owned());
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let phase = self.phase();
        match path {
            METRICS => {
                let service = self.service.load_full();
                let figures =
                    service.map(|service| (service.app.figures(), service.calls.figures()));
                let figures = figures.as_ref().map(|(figures, calls)| (figures, &calls[..]));
                let mut text = metrics::render(phase, figures);
                if let Some(spans) = &self.spans {
                    text.push_str(&metrics::spans::render(spans));
                }
                let mut answer = Response::new(text);
                answer
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(metrics::FORMAT));
                answer
            }
            "/readyz" if phase != Phase::Ready => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", phase.name()))
            }
            "/readyz" if self.service.load().as_ref().is_some_and(|told| told.app.is_held()) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "revocations unresolved\n".to_owned())
            }
            "/readyz" => plain(StatusCode::OK, "ready\n".to_owned()),
            _ => plain(StatusCode::OK, "alive\n".to_owned()),
        }
    }
}

/// The path of the figures.
const METRICS: &str = "/metrics";

fn plain(status: StatusCode, text: String) -> Response<String> {
    let mut answer = Response::new(text);
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_only_between_its_start_and_its_end_and_alive_all_the_time() {
        let operations = Operations::default();
        let status = |path| operations.answer(&Method::GET, path).status();
        assert_eq!(
            (status("/readyz"), status("/livez")),
            (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK)
        );
        assert_eq!(operations.answer(&Method::GET, "/readyz").body(), "starting\n");
        operations.phase.store(Phase::Ready as u8, Ordering::Release);
        assert_eq!((status("/readyz"), status("/livez")), (StatusCode::OK, StatusCode::OK));
        operations.drain();
        assert_eq!(
            (status("/readyz"), status("/livez")),
            (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK)
        );
        assert_eq!(operations.answer(&Method::GET, "/readyz").body(), "draining\n");
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let operations = Operations::default();
        let status = |method, path| operations.answer(&method, path).status();
        assert_eq!(status(Method::GET, "/"), StatusCode::NOT_FOUND);
        assert_eq!(status(Method::GET, "/metrics/"), StatusCode::NOT_FOUND);
        assert_eq!(status(Method::POST, "/metrics"), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(status(Method::HEAD, "/livez"), StatusCode::OK);
    }
}
