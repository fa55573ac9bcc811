//! Whether a call that is not sampled asks for memory. Alone in its program, whose allocator counts bytes.

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{HeaderValue, Request, Response, Uri};
use keyledger::clock::ManualClock;
use keyledger::config::Config;
use keyledger::domain::time::Time;
use keyledger::grpc::access;
use keyledger::grpc::traced::Traced;
use keyledger::random::SystemRandom;
use keyledger::telemetry::otlp::Sending;
use keyledger::telemetry::spans::Tracer;
use peak_alloc::PeakAlloc;
use tower::{Service, service_fn};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const CALLS: usize = 100;
const TURNS: usize = 30;

fn request(traceparent: Option<&'static str>) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static(access::AUTHENTICATE);
    if let Some(value) = traceparent {
        request.headers_mut().insert("traceparent", HeaderValue::from_static(value));
    }
    request
}

/// By how many bytes what is held grew at most while calls of that `traceparent` were let through, in the turn in which
/// it grew least: in others another thread asks. Requests are kept, so that nothing is given back meanwhile.
fn growth(tracer: &Tracer, traceparent: Option<&'static str>) -> usize {
    let kept = |request| ready(Ok::<_, Infallible>(Response::new(request)));
    let mut service = Traced::new(service_fn(kept), Some(tracer.clone()));
    let mut cx = Context::from_waker(Waker::noop());
    let turn = |_| {
        let requests: Vec<_> = (0..CALLS).map(|_| request(traceparent)).collect();
        let mut answers = Vec::with_capacity(CALLS);
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        for request in requests {
            match pin!(service.call(request)).poll(&mut cx) {
                Poll::Ready(answer) => answers.push(answer),
                Poll::Pending => panic!("it waits"),
            }
        }
        ALLOCATOR.peak_usage() - before
    };
    (0..TURNS).map(turn).min().expect("there are turns")
}

#[tokio::test]
async fn a_call_that_is_not_sampled_asks_for_no_memory() {
    let text = "[tracing]\notlp_endpoint = \"http://127.0.0.1:1\"\nsample_ratio = 0";
    let settings = Config::parse(text).expect("valid").tracing;
    let sending = Sending::begin(&settings)
        .expect("a collector need not be there")
        .expect("a collector is named");
    let (clock, random) = (Arc::new(ManualClock::new(Time::EPOCH)), Arc::new(SystemRandom));
    let tracer = Tracer::new(settings.sample_ratio, sending.outbox(), clock, random);
    let of = |traceparent| growth(&tracer, traceparent);
    assert_eq!(of(None), 0);
    assert_eq!(of(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")), 0);
    // What counts does count.
    assert!(of(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")) > 0);
}
