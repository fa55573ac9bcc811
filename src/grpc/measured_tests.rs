//! Each call is counted once, under its own name and its own end.

use std::future::{pending, ready};

use tower::service_fn;

use super::*;

/// What answers each call in one way.
fn answers(
    answer: fn() -> Response<()>,
) -> impl Service<Request<()>, Response = Response<()>, Error = Infallible, Future: Unpin> {
    service_fn(move |_| ready(Ok(answer())))
}

/// What never answers.
fn hangs() -> impl Service<Request<()>, Response = Response<()>, Error = Infallible, Future: Unpin>
{
    service_fn(|_| pending())
}

fn request(path: &'static str) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static(path);
    request
}

/// Under which name, code and outcome the one call was counted.
fn counted(calls: &Calls) -> (&'static str, &'static str, usize) {
    let figures = calls.figures();
    let [row] = &figures[..] else { panic!("{figures:?}") };
    let code = row.codes.iter().position(|count| *count == 1).expect("a code");
    let outcome = row.durations.iter().position(|found| found.count() == 1).expect("an outcome");
    assert_eq!(row.codes.iter().sum::<u64>(), 1);
    (row.callable.name, row.callable.codes[code], outcome)
}

async fn rpc(
    path: &'static str,
    answer: fn() -> Response<()>,
) -> (&'static str, &'static str, usize) {
    let calls = Arc::new(calls());
    let answered = Measured::rpcs(answers(answer), &calls).call(request(path)).await;
    answered.expect("an answer");
    counted(&calls)
}

async fn over_http(
    path: &'static str,
    answer: fn() -> Response<()>,
) -> (&'static str, &'static str, usize) {
    let calls = Arc::new(calls());
    let answered = Measured::over_http(answers(answer), &calls).call(request(path)).await;
    answered.expect("an answer");
    counted(&calls)
}

#[tokio::test]
async fn a_call_is_counted_by_its_rpc_and_its_status() {
    let authenticate = "KeyService/Authenticate";
    let of = |path, answer| rpc(path, answer);
    assert_eq!(of(access::AUTHENTICATE, || Response::new(())).await, (authenticate, "OK", 0));
    let held = of(access::AUTHENTICATE, || Status::unavailable("").into_http()).await;
    assert_eq!(held, (authenticate, "UNAVAILABLE", 2));
    let check = "envoy.service.auth.v3.Authorization/Check";
    let refused = of(access::CHECK, || Status::unauthenticated("").into_http()).await;
    assert_eq!(refused, (check, "UNAUTHENTICATED", 1));
    let health = of("/grpc.health.v1.Health/Check", || Response::new(())).await;
    assert_eq!(health, ("grpc.health.v1.Health/Check", "OK", 0));
}

#[tokio::test]
async fn calls_of_what_is_no_rpc_share_a_name() {
    for path in ["/", "/keyledger.v1.KeyService/Nonsense", "/authz", "/other"] {
        let told = rpc(path, || Status::new(Code::Unimplemented, "").into_http()).await;
        assert_eq!(told, ("other", "UNIMPLEMENTED", 2), "{path}");
    }
}

fn with_status(status: u16) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

#[tokio::test]
async fn a_call_over_http_is_counted_by_where_it_was_asked_and_its_status() {
    let of = |path, answer| over_http(path, answer);
    assert_eq!(of(access::CHECK, || with_status(200)).await, ("/authz", "200", 0));
    assert_eq!(of(access::WHO_AM_I, || with_status(401)).await, ("/whoami", "401", 1));
    assert_eq!(of(access::CHECK, || with_status(503)).await, ("/authz", "503", 2));
    assert_eq!(of(access::CHECK, || with_status(418)).await, ("/authz", "other", 1));
    let by_the_gate = of(access::CHECK, || Status::unauthenticated("").into_http()).await;
    assert_eq!(by_the_gate, ("/authz", "500", 2));
    let busy = of(access::WHO_AM_I, || Status::resource_exhausted("").into_http()).await;
    assert_eq!(busy, ("/whoami", "503", 2));
}

#[test]
fn a_call_whose_client_went_away_is_counted_too() {
    let rpcs = Arc::new(calls());
    drop(Measured::rpcs(hangs(), &rpcs).call(request(access::AUTHENTICATE)));
    assert_eq!(counted(&rpcs), ("KeyService/Authenticate", "CANCELLED", 1));
    let http = Arc::new(calls());
    drop(Measured::over_http(hangs(), &http).call(request(access::WHO_AM_I)));
    assert_eq!(counted(&http), ("/whoami", "CANCELLED", 1));
}

#[test]
fn statuses_are_named_as_their_numbers_have_it() {
    for (number, name) in RPC_CODES.iter().enumerate() {
        let code = Code::from_i32(i32::try_from(number).expect("small"));
        assert_eq!(number_of(code), number);
        let ours = name.replace('_', "").to_lowercase();
        assert_eq!(format!("{code:?}").to_lowercase(), ours);
    }
}
