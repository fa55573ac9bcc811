use std::future::{Ready, ready};
use std::sync::Mutex;

use http::HeaderValue;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tonic_types::StatusExt as _;

use super::*;
use crate::app::identify::Proof;
use crate::domain::caller::{Caller, Role, Roles};
use crate::domain::certificate_name::{CertificateName, DnsName};
use crate::domain::ids::CallerId;
use crate::domain::testing::working_admin;
use crate::domain::time::Time;

const AUTHENTICATE: &str = "/keyledger.v1.KeyService/Authenticate";
const GET_KEY: &str = "/keyledger.v1.KeyService/GetKey";
const WHO_AM_I: &str = "/keyledger.v1.KeyService/WhoAmI";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Knows the callers `analyst` and `admin` by credentials of the same text and by certificates with that DNS name, and
/// keeps what was noted.
#[derive(Debug, Default)]
struct Two {
    refused: Mutex<Vec<RefusedOne>>,
}

fn known(name: &str) -> Option<Identity> {
    let (id, roles) = match name {
        "analyst" => (1, Roles::of(&[Role::Analyst])),
        "admin" => (2, Roles::of(&[Role::Admin])),
        _ => return None,
    };
    let caller = Caller { roles, ..working_admin() };
    let proof = Proof::Credential { tag: caller.tag.clone(), secret_at: None };
    Some(Identity { id: CallerId([id; 12]), proof, caller: Arc::new(caller) })
}

impl Callers for Two {
    fn recognise(&self, credential: &str) -> Result<Identity, AppError> {
        known(credential).ok_or(AppError::CredentialInvalid)
    }

    fn recognise_certificate(
        &self,
        certificate: &ClientCertificate,
    ) -> Result<Option<Identity>, AppError> {
        match certificate.names() {
            [name] => Ok(known(name.as_str())),
            _ => Err(AppError::CredentialInvalid),
        }
    }

    fn is_unchanged(&self, _: &Identity) -> bool {
        true
    }

    fn note_call(&self, _: &Identity) {}

    fn ended(&self, _: &Arc<Identity>) -> Ending {
        Box::pin(std::future::pending())
    }

    fn note_refused(&self, one: RefusedOne) {
        self.refused.lock().expect("no panic").push(one);
    }
}

impl Endable for () {
    fn until(self, _: Ending) -> Self {}
}

/// Notes whether a call that came through has an identity, and answers with `status`.
#[derive(Clone, Debug)]
struct Inner {
    seen: Arc<Mutex<Vec<bool>>>,
    status: Status,
}

impl Service<Request<Body>> for Inner {
    type Response = Response<()>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Response<()>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let identified = request.extensions().get::<Arc<Identity>>().is_some();
        self.seen.lock().expect("no panic").push(identified);
        ready(Ok(self.status.clone().into_http()))
    }
}

fn request(path: &str, authorization: &[&str]) -> Request<Body> {
    let mut request = Request::builder().uri(path).body(Body::empty()).expect("a request");
    for value in authorization {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
        request.headers_mut().append(AUTHORIZATION, value);
    }
    request
}

/// A call over a connection whose client certificate names these.
fn certified(path: &str, authorization: &[&str], names: &[&str]) -> Request<Body> {
    let name = |name: &&str| CertificateName::Dns(DnsName::parse(name).expect("a name"));
    let mut request = request(path, authorization);
    let names = names.iter().map(name).collect();
    request.extensions_mut().insert(ClientCertificate::new(names, Time::MAX));
    request
}

fn gate(status: Status) -> (Gate<Two, Inner>, Arc<Mutex<Vec<bool>>>) {
    let inner = Inner { seen: Arc::default(), status };
    let seen = Arc::clone(&inner.seen);
    (AccessLayer::new(Arc::new(Two::default()), 1).layer(inner), seen)
}

/// What a call is answered: its code and reason, and whether it came through with an identity.
async fn answer(path: &str, authorization: &[&str]) -> (Code, String, Option<bool>) {
    answer_to(request(path, authorization)).await
}

async fn answer_to(request: Request<Body>) -> (Code, String, Option<bool>) {
    let (mut gate, seen) = gate(Status::ok(""));
    let answer = gate.call(request).await.expect("an answer");
    let (code, reason) = told(&answer);
    let seen = seen.lock().expect("no panic").first().copied();
    (code, reason, seen)
}

fn told(answer: &Response<()>) -> (Code, String) {
    let status = Status::from_header_map(answer.headers()).expect("a status");
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    (status.code(), reason)
}

fn refused(code: Code, reason: &str) -> (Code, String, Option<bool>) {
    (code, reason.to_owned(), None)
}

fn through(identified: bool) -> (Code, String, Option<bool>) {
    (Code::Ok, String::new(), Some(identified))
}

#[tokio::test]
async fn a_caller_with_a_role_comes_through_with_its_identity() {
    assert_eq!(answer(GET_KEY, &["Bearer analyst"]).await, through(true));
    assert_eq!(answer(GET_KEY, &["bEARER analyst"]).await, through(true));
    assert_eq!(answer(AUTHENTICATE, &["Bearer admin"]).await, through(true));
    assert_eq!(answer(REFLECTION, &["Bearer analyst"]).await, through(true));
}

#[tokio::test]
async fn a_call_without_a_credential_is_unauthenticated() {
    let missing = refused(Code::Unauthenticated, "CALLER_CREDENTIAL_MISSING");
    assert_eq!(answer(GET_KEY, &[]).await, missing);
    assert_eq!(answer(REFLECTION, &[]).await, missing);
}

#[tokio::test]
async fn a_certificate_that_names_a_caller_is_enough_and_one_that_names_none_is_not() {
    assert_eq!(answer_to(certified(GET_KEY, &[], &["analyst"])).await, through(true));
    let lacking = refused(Code::PermissionDenied, "ROLE_MISSING");
    assert_eq!(answer_to(certified(AUTHENTICATE, &[], &["analyst"])).await, lacking);
    let invalid = refused(Code::Unauthenticated, "CALLER_CREDENTIAL_INVALID");
    for names in [&["nobody"][..], &["analyst", "admin"]] {
        assert_eq!(answer_to(certified(GET_KEY, &[], names)).await, invalid);
    }
    assert_eq!(answer_to(certified(WHO_AM_I, &[], &["analyst"])).await, through(false));
}

#[tokio::test]
async fn a_credential_and_a_certificate_must_not_be_those_of_different_callers() {
    let admin = &["Bearer admin"][..];
    for names in [&["admin"][..], &["nobody"]] {
        assert_eq!(answer_to(certified(AUTHENTICATE, admin, names)).await, through(true));
    }
    let invalid = refused(Code::Unauthenticated, "CALLER_CREDENTIAL_INVALID");
    assert_eq!(answer_to(certified(GET_KEY, admin, &["analyst"])).await, invalid);
    assert_eq!(answer_to(certified(GET_KEY, &["Bearer x"], &["admin"])).await, invalid);
    assert_eq!(answer_to(certified(GET_KEY, &["Basic x"], &["admin"])).await, invalid);
}

#[tokio::test]
async fn a_credential_in_any_other_form_is_invalid() {
    let invalid = refused(Code::Unauthenticated, "CALLER_CREDENTIAL_INVALID");
    let two = ["Bearer admin", "Bearer admin"];
    assert_eq!(answer(GET_KEY, &two).await, invalid);
    for value in [
        "",
        "admin",
        "Bearer",
        "Bearer  admin",
        "Bearer admin ",
        "Basic admin",
        "Bearer é",
        "Bearer x",
    ] {
        assert_eq!(answer(GET_KEY, &[value]).await, invalid, "{value}");
    }
}

#[tokio::test]
async fn a_caller_without_the_role_is_told_which_roles_there_are() {
    let (mut gate, seen) = gate(Status::ok(""));
    let answer = gate.call(request(AUTHENTICATE, &["Bearer analyst"])).await.expect("an answer");
    let status = Status::from_header_map(answer.headers()).expect("a status");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((status.code(), info.reason.as_str()), (Code::PermissionDenied, "ROLE_MISSING"));
    assert_eq!(info.metadata["roles"], "authenticator");
    assert!(seen.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn health_and_who_am_i_need_no_caller() {
    assert_eq!(answer(HEALTH, &[]).await, through(false));
    assert_eq!(answer(WHO_AM_I, &["Bearer some key"]).await, through(false));
}

#[tokio::test]
async fn what_has_no_rule_is_not_reached_by_anyone() {
    let unsupported = refused(Code::Unimplemented, "UNSUPPORTED");
    assert_eq!(answer("/keyledger.v1.KeyService/Nothing", &["Bearer admin"]).await, unsupported);
    assert_eq!(answer("/", &[]).await, unsupported);
}

/// A service that answers when it is told to.
struct Slow(Option<oneshot::Receiver<()>>);

impl Service<Request<Body>> for Slow {
    type Response = Response<()>;
    type Error = oneshot::error::RecvError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let told = self.0.take();
        Box::pin(async move {
            if let Some(told) = told {
                told.await?;
            }
            Ok(Status::ok("").into_http())
        })
    }
}

#[tokio::test]
async fn calls_beyond_the_bound_are_refused_before_their_credential_is_looked_at() {
    let (tell, told) = oneshot::channel();
    let mut gate = AccessLayer::new(Arc::new(Two::default()), 1).layer(Slow(Some(told)));
    let first = gate.call(request(GET_KEY, &["Bearer admin"]));
    for authorization in [&["Bearer admin"][..], &[]] {
        let answer = gate.call(request(GET_KEY, authorization)).await.expect("an answer");
        let status = Status::from_header_map(answer.headers()).expect("a status");
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!((status.code(), info.reason.as_str()), (Code::ResourceExhausted, "OVERLOADED"));
        let retry = status.get_details_retry_info().expect("a RetryInfo");
        assert_eq!(retry.retry_delay, Some(RETRY_AFTER));
    }
    let healthy = gate.call(request(HEALTH, &[])).await.expect("an answer");
    assert_eq!(told_code(&healthy), Code::Ok);
    tell.send(()).expect("the first call waits");
    assert_eq!(told_code(&first.await.expect("an answer")), Code::Ok);
    let next = gate.call(request(GET_KEY, &["Bearer admin"])).await.expect("an answer");
    assert_eq!(told_code(&next), Code::Ok);
}

fn told_code(answer: &Response<()>) -> Code {
    told(answer).0
}

#[tokio::test]
async fn a_call_that_is_dropped_or_refused_gives_its_room_back() {
    let (_tell, told) = oneshot::channel();
    let mut gate = AccessLayer::new(Arc::new(Two::default()), 1).layer(Slow(Some(told)));
    drop(gate.call(request(GET_KEY, &["Bearer admin"])));
    let refused = gate.call(request(GET_KEY, &["Bearer nobody"])).await.expect("an answer");
    assert_eq!(told_code(&refused), Code::Unauthenticated);
    let next = gate.call(request(GET_KEY, &["Bearer admin"])).await.expect("an answer");
    assert_eq!(told_code(&next), Code::Ok);
}

#[tokio::test]
async fn what_tonic_answers_for_our_rpcs_gets_a_reason_and_the_rest_is_left_alone() {
    let bare = Status::out_of_range("decoded message length too large");
    let (mut ours, _) = gate(bare.clone());
    let answer = ours.call(request(GET_KEY, &["Bearer admin"])).await.expect("an answer");
    assert_eq!(told(&answer), (Code::InvalidArgument, "REQUEST_TOO_LARGE".to_owned()));
    let (mut theirs, _) = gate(bare);
    let answer = theirs.call(request(HEALTH, &[])).await.expect("an answer");
    assert_eq!(told(&answer), (Code::OutOfRange, String::new()));
    let (mut ours, _) = gate(status::of(&AppError::Contention, None));
    let answer = ours.call(request(GET_KEY, &["Bearer admin"])).await.expect("an answer");
    assert_eq!(told(&answer), (Code::Aborted, "CONTENTION".to_owned()));
}

const CREATE_KEY: &str = "/keyledger.v1.KeyService/CreateKey";
const REVOKE_CALLER: &str = "/keyledger.v1.AdminService/RevokeCaller";

/// What is noted of a call that comes through, if it does, and is answered `error`.
async fn noted(path: &str, authorization: &[&str], error: AppError) -> Option<RefusedOne> {
    let callers = Arc::new(Two::default());
    let inner = Inner { seen: Arc::default(), status: status::of(&error, None) };
    let mut gate = AccessLayer::new(Arc::clone(&callers), 1).layer(inner);
    gate.call(request(path, authorization)).await.expect("an answer");
    let mut refused = callers.refused.lock().expect("no panic");
    assert!(refused.len() <= 1);
    refused.pop()
}

/// As [`noted`]: whether a caller stood behind it, and the name and reason it is noted under.
async fn noted_as(
    path: &str,
    authorization: &[&str],
    error: AppError,
) -> Option<(bool, String, ErrorReason)> {
    let one = noted(path, authorization, error).await?;
    let Refused { caller, rpc, reason } = one.refused;
    let reason = i32::try_from(reason).ok().and_then(|number| ErrorReason::try_from(number).ok());
    Some((caller.is_some(), rpc.into_owned(), reason.expect("a reason of ours")))
}

fn note(known: bool, rpc: &str, reason: ErrorReason) -> Option<(bool, String, ErrorReason)> {
    Some((known, rpc.to_owned(), reason))
}

#[tokio::test]
async fn every_call_refused_for_who_asks_is_noted() {
    let admin = &["Bearer admin"][..];
    let missing = note(false, "KeyService/GetKey", ErrorReason::CallerCredentialMissing);
    assert_eq!(noted_as(GET_KEY, &[], AppError::Internal).await, missing);
    let invalid = note(false, "KeyService/Authenticate", ErrorReason::CallerCredentialInvalid);
    assert_eq!(noted_as(AUTHENTICATE, &["Bearer x"], AppError::Internal).await, invalid);
    let lacking = note(true, "KeyService/CreateKey", ErrorReason::RoleMissing);
    assert_eq!(noted_as(CREATE_KEY, &["Bearer analyst"], AppError::Internal).await, lacking);
    let foreign = note(true, "KeyService/Authenticate", ErrorReason::TenantNotAllowed);
    assert_eq!(noted_as(AUTHENTICATE, admin, AppError::TenantNotAllowed).await, foreign);
    let reflection = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let missing = note(false, reflection, ErrorReason::CallerCredentialMissing);
    assert_eq!(noted_as(REFLECTION, &[], AppError::Internal).await, missing);
}

#[tokio::test]
async fn what_managing_rpcs_refuse_is_noted_and_what_they_fail_at_is_not() {
    let admin = &["Bearer admin"][..];
    let not_found = || AppError::Refused(crate::domain::refusal::Refusal::CallerNotFound);
    let refused = note(true, "AdminService/RevokeCaller", ErrorReason::CallerNotFound);
    assert_eq!(noted_as(REVOKE_CALLER, admin, not_found()).await, refused);
    assert_eq!(noted_as(GET_KEY, admin, not_found()).await, None);
    for failure in [AppError::Internal, AppError::Draining, AppError::Damaged { position: None }] {
        assert_eq!(noted_as(REVOKE_CALLER, admin, failure).await, None);
    }
}

#[tokio::test]
async fn a_refusal_is_noted_with_its_trace_and_where_it_came_from() {
    let callers = Arc::new(Two::default());
    let inner = Inner { seen: Arc::default(), status: status::of(&AppError::Internal, None) };
    let mut gate = AccessLayer::new(Arc::clone(&callers), 1).layer(inner);
    let mut call = request(AUTHENTICATE, &["Bearer x"]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    call.headers_mut().insert("traceparent", HeaderValue::from_static(trace));
    let remote_addr = Some("[::ffff:192.0.2.7]:4242".parse().expect("an address"));
    call.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr });
    gate.call(call).await.expect("an answer");
    let one = callers.refused.lock().expect("no panic").pop().expect("noted");
    assert_eq!(one.source, Some(IpAddr::from([192, 0, 2, 7])));
    assert_eq!(one.trace_id.expect("a trace").0[..2], [0x4b, 0xf9]);
}
