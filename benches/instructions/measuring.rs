//! What a call costs more because it is counted and timed: in instructions and, roughly, in time.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{Request, Response, Uri};
use keyledger::clock::{Clock as _, SystemClock};
use keyledger::grpc::access::AUTHENTICATE;
use keyledger::grpc::measured::{self, Measured};
use tower::Service;

use super::{collected, say};

/// What a run is told in which calls are counted; then which.
pub(crate) const ARGUMENT: &str = "--count-calls";

const CALLS: u64 = 1_000;

/// As many as take some tens of milliseconds.
const TIMED: u32 = 500_000;

/// Answers at once, with nothing.
#[derive(Clone)]
struct Nothing;

impl Service<Request<()>> for Nothing {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

fn request() -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static(AUTHENTICATE);
    request
}

fn answered<S>(service: &mut S, request: Request<()>) -> bool
where
    S: Service<Request<()>, Response = Response<()>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    pin!(service.call(request)).poll(&mut cx).is_ready()
}

/// The only functions whose instructions are counted, with what they call.
#[inline(never)]
fn counted_call_measured(service: &mut Measured<Nothing>, request: Request<()>) -> bool {
    answered(service, request)
}

#[inline(never)]
fn counted_call_bare(service: &mut Nothing, request: Request<()>) -> bool {
    answered(service, request)
}

/// Calls so many times, in the way of that name.
pub(crate) fn call(way: &str) {
    let mut service = Measured::rpcs(Nothing, &Arc::new(measured::calls()));
    for _ in 0..CALLS {
        let request = black_box(request());
        black_box(match way {
            "measured" => counted_call_measured(&mut service, request),
            _ => counted_call_bare(&mut Nothing, request),
        });
    }
}

/// Nanoseconds that a call takes, in the quickest of some turns.
fn timed(mut call: impl FnMut(Request<()>) -> bool) -> u128 {
    let clock = SystemClock::new();
    let mut turn = || {
        let begun = clock.monotonic();
        for _ in 0..TIMED {
            black_box(call(black_box(request())));
        }
        (clock.monotonic() - begun).as_nanos() / u128::from(TIMED)
    };
    (0..7).map(|_| turn()).min().unwrap_or(0)
}

/// Counts, times and tells.
pub(crate) fn tell() -> Result<(), String> {
    let count = |way: &str| -> Result<u64, String> {
        Ok(collected(&format!("*counted_call_{way}*"), &[ARGUMENT, way])? / CALLS)
    };
    let (measured, bare) = (count("measured")?, count("bare")?);
    let mut service = Measured::rpcs(Nothing, &Arc::new(measured::calls()));
    let took = timed(|request| counted_call_measured(&mut service, request));
    let took = took.saturating_sub(timed(|request| counted_call_bare(&mut Nothing, request)));
    say(&format!(
        "to count and time a call: {} instructions more, about {took} ns",
        measured.saturating_sub(bare)
    ));
    Ok(())
}
