//! The gate in front of every RPC: the rule of the RPC, then the bound on calls under way, then the
//! caller's credential or certificate, then its role, then its share. What is cheap to refuse is refused first.
//! Refusals that are to go on record are noted here, whoever refused: the only place that knows the caller and the answer of every call.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::identify::certificate::{ClientCertificate, one_caller};
use crate::domain::conduct::Refused;
use crate::domain::conduct::window::RefusedOne;
use crate::domain::ids::{CallerId, TraceId};
use crate::grpc::access::{self, Rule};
use crate::grpc::arrival::{Deadline, peer_of};
use crate::grpc::call::{NamedByCall, trace_id_of};
use crate::grpc::callers::Callers;
use crate::grpc::ended::{Endable, Ending};
use crate::grpc::lanes::{LaneOfConnection, Lanes};
use crate::grpc::open_calls::OpenCalls;
use crate::grpc::room::{Place, Room};
use crate::grpc::{remembered, status};
use crate::proto::v1::ErrorReason;
use crate::telemetry::spans;

/// When to come back to a server that had too many calls under way: it does most within this time.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The most calls at once that no caller stands behind.
const WITHOUT_CALLER: usize = 64;

/// How long a call of ours may take from its headers to its answer, if its client does not say that it
/// waits for less: a client that does not send its message gives its room back. A commit takes
/// milliseconds; a command that was handed over by then is done all the same.
const LONGEST_CALL: Duration = Duration::from_secs(20);

/// Puts a [`Gate`] in front of a service. All gates of one layer share one bound.
pub struct AccessLayer<I>(Arc<Shared<I>>);

/// What the gates of one layer share.
struct Shared<I> {
    callers: Arc<I>,
    room: Arc<Room>,
    /// Calls that no caller stands behind have a room of their own, so that they cannot fill the
    /// callers'.
    open_room: Arc<Room>,
    lanes: Lanes,
}

impl<I> AccessLayer<I> {
    /// A layer that lets at most `in_flight` calls be under way at once, and of each caller as many as there is room
    /// left for. Health checks are not among them: a busy server is not a dead one. Of these a connection has a few.
    #[must_use]
    pub fn new(callers: Arc<I>, in_flight: usize) -> Self {
        let room = Arc::new(Room::new(in_flight));
        let open_room = Arc::new(Room::new(WITHOUT_CALLER));
        AccessLayer(Arc::new(Shared { callers, room, open_room, lanes: Lanes::new() }))
    }
}

impl<I> Clone for AccessLayer<I> {
    fn clone(&self) -> Self {
        AccessLayer(Arc::clone(&self.0))
    }
}

impl<I> fmt::Debug for AccessLayer<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLayer").field("room", &self.0.room).finish_non_exhaustive()
    }
}

impl<I, S> Layer<S> for AccessLayer<I> {
    type Service = Gate<I, S>;

    fn layer(&self, inner: S) -> Gate<I, S> {
        Gate { access: self.clone(), inner }
    }
}

/// Lets calls through to the service behind it, with their [`Identity`] among the extensions if
/// their rule asks for one, or answers them itself.
#[derive(Debug)]
pub struct Gate<I, S> {
    access: AccessLayer<I>,
    inner: S,
}

impl<I, S: Clone> Clone for Gate<I, S> {
    fn clone(&self) -> Self {
        Gate { access: self.access.clone(), inner: self.inner.clone() }
    }
}

/// A call that was let through. Its room is free again when this is dropped.
struct Admitted {
    rule: Rule,
    known: Known,
    /// What ends the stream that is answered, if the gate does; or the place of an open call, which lasts as long.
    ending: Option<Ending>,
    place: Option<Place>,
}

/// The same, and holds the room of the call until then: a stream that the gate ends is under way for as long as it lasts.
fn held(place: Option<Place>, ending: Ending) -> Ending {
    Box::pin(async move {
        let _place = place;
        ending.await;
    })
}

/// What is known of a call besides its answer, in case that is a refusal.
struct Known {
    path: &'static str,
    caller: Option<CallerId>,
    /// None of an Authenticate or a Check that comes through: there are many of them, and hardly any is refused.
    particulars: Option<Particulars>,
}

/// The particulars of a call.
struct Particulars {
    trace_id: Option<TraceId>,
    source: Option<IpAddr>,
    named: NamedByCall,
}

impl Particulars {
    fn of<B>(request: &Request<B>) -> Self {
        Particulars {
            trace_id: trace_id_of(request.headers()),
            source: peer_of(request.extensions()),
            named: NamedByCall::default(),
        }
    }
}

impl<I: Callers> Shared<I> {
    /// Whether a call is let through, and until when it is to be answered.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<(Admitted, Instant), Status> {
        let connection = request.extensions().get::<LaneOfConnection>().cloned();
        let admitted = self.admit_to(connection.as_ref(), request);
        if !matches!(&admitted, Ok(call) if call.known.caller.is_some()) {
            self.lanes.of_nobody(connection.as_ref());
        }
        // Looked at last, so that whose the connection is, is known by then.
        let until = Deadline::within(LONGEST_CALL, request.extensions());
        let until = until.ok_or_else(|| status::of(&AppError::TooSlow, None));
        Ok((admitted?, until?))
    }

    fn admit_to<B>(
        &self,
        connection: Option<&LaneOfConnection>,
        request: &mut Request<B>,
    ) -> Result<Admitted, Status> {
        let (path, rule) = access::find(request.uri().path()).ok_or_else(status::no_such_rpc)?;
        let room = match rule {
            Rule::Open => None,
            Rule::KeyItself => Some(&self.open_room),
            Rule::AnyCaller | Rule::Roles(_) => Some(&self.room),
        };
        let mut place = match room {
            Some(room) => Some(room.enter().ok_or_else(overloaded)?),
            None => None,
        };
        let mut known = Known { path, caller: None, particulars: None };
        let mut ending = match request.extensions().get::<OpenCalls>() {
            Some(open) if rule == Rule::Open => Some(open.begin().ok_or_else(overloaded)?),
            _ => None,
        };
        if let Rule::AnyCaller | Rule::Roles(_) = rule {
            if path != access::AUTHENTICATE && path != access::CHECK {
                let particulars = Particulars::of(request);
                request.extensions_mut().insert(particulars.named.clone());
                known.particulars = Some(particulars);
            }
            let identity = self.caller(request, rule, &mut known);
            let identity = identity.map_err(|error| {
                known.particulars.get_or_insert_with(|| Particulars::of(request));
                let refused = status::of(&error, None);
                note(&*self.callers, &known, &refused);
                refused
            })?;
            let lane = self.lanes.of(identity.id, connection);
            place = Some(place.and_then(|place| place.of(lane)).ok_or_else(overloaded)?);
            let identity = Arc::new(identity);
            if access::is_ended_by_gate(path) {
                ending = Some(self.callers.ended(&identity));
            }
            request.extensions_mut().insert(identity);
        }
        Ok(Admitted { rule, known, ending, place })
    }

    /// Who calls, if its roles allow it.
    fn caller<B>(
        &self,
        request: &Request<B>,
        rule: Rule,
        known: &mut Known,
    ) -> Result<Identity, AppError> {
        let certificate = request.extensions().get::<ClientCertificate>();
        let credential = bearer(request.headers())?;
        let known_as = |sent| remembered::recognise(&*self.callers, request.extensions(), sent);
        let by_credential = credential.map(known_as).transpose()?;
        let by_certificate = match certificate {
            Some(certificate) => self.callers.recognise_certificate(certificate)?,
            None => None,
        };
        let identity = one_caller(by_credential, by_certificate)?.ok_or(match certificate {
            Some(_) => AppError::CredentialInvalid,
            None => AppError::CredentialMissing,
        })?;
        self.callers.note_call(&identity);
        known.caller = Some(identity.id);
        spans::vouch();
        match rule {
            Rule::Roles(allowed) if !identity.has_any_role(allowed) => {
                Err(AppError::RoleMissing { allowed })
            }
            _ => Ok(identity),
        }
    }
}

/// Notes what a call was answered, if it is a refusal that goes on record.
fn note(callers: &impl Callers, known: &Known, answer: &Status) {
    let Some(reason) = status::reason_of(answer) else { return };
    if !goes_on_record(known.path, answer.code(), reason) {
        return;
    }
    let Known { path, caller, particulars } = known;
    let reason = u32::try_from(i32::from(reason)).unwrap_or(0);
    let refused = Refused { caller: *caller, rpc: Cow::Borrowed(name(path)), reason };
    let particulars = particulars.as_ref();
    callers.note_refused(RefusedOne {
        refused,
        named: particulars.map(|known| known.named.get()).unwrap_or_default(),
        trace_id: particulars.and_then(|known| known.trace_id),
        source: particulars.and_then(|known| known.source),
    });
}

/// Notes what one question of a stream was answered, as if it had been a call.
pub(super) fn note_of_stream(
    callers: &impl Callers,
    path: &'static str,
    caller: CallerId,
    (trace_id, source): (Option<TraceId>, Option<IpAddr>),
    answer: &Status,
) {
    let particulars = Particulars { trace_id, source, named: NamedByCall::default() };
    let known = Known { path, caller: Some(caller), particulars: Some(particulars) };
    note(callers, &known, answer);
}

/// Whether that answer goes on record as a refusal: it is about who asks, or the RPC manages and the call was not
/// done for what it asks. That we could not is none.
fn goes_on_record(path: &str, code: Code, reason: ErrorReason) -> bool {
    let of_who_asks = matches!(
        reason,
        ErrorReason::CallerCredentialMissing
            | ErrorReason::CallerCredentialInvalid
            | ErrorReason::RoleMissing
            | ErrorReason::TenantNotAllowed
    );
    let of_what_is_asked = matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
    );
    of_who_asks || (of_what_is_asked && access::manages(path))
}

/// The name of an RPC as it goes on record: `KeyService/CreateKey`, and whole if it is not one of keyledger's.
pub(super) fn name(path: &'static str) -> &'static str {
    path.strip_prefix("/keyledger.v1.").or_else(|| path.strip_prefix('/')).unwrap_or(path)
}

fn overloaded() -> Status {
    status::of(&AppError::Overloaded { retry_after: RETRY_AFTER }, None)
}

/// The bearer credential of a call, exactly as sent; none if there is no `authorization`.
///
/// # Errors
/// [`AppError::CredentialInvalid`] if there is something else, or more than one value.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AppError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let only = values.next().is_none();
    let text = value.to_str().ok().filter(|_| only);
    let parts = text.and_then(|text| text.split_once(' '));
    let bearer = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    bearer.map(|(_, credential)| Some(credential)).ok_or(AppError::CredentialInvalid)
}

/// Reads a message that nobody wants, for as long as it comes: a stream that ends before it makes the peer's next frame
/// of it a fault of the connection. What has not come by then is not waited for.
async fn pass_over<B: Body + Unpin>(mut body: B) {
    let to_its_end =
        async { while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {} };
    let _ = tokio::time::timeout(RETRY_AFTER, to_its_end).await;
}

impl<I, S, B, R> Service<Request<B>> for Gate<I, S>
where
    I: Callers,
    B: Body + Send + Unpin + 'static,
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default + Endable,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.access.0.admit(&mut request) {
            Ok((mut admitted, until)) => {
                let ending =
                    admitted.ending.take().map(|ending| held(admitted.place.take(), ending));
                let ended = move |answer: Response<R>| match ending {
                    Some(ending) => answer.map(|body| body.until(ending)),
                    None => answer,
                };
                let (answer, access) = (self.inner.call(request), self.access.clone());
                Box::pin(async move {
                    if !admitted.is_ours() {
                        return answer.await.map(ended);
                    }
                    match tokio::time::timeout_at(until, answer).await {
                        Ok(answer) => {
                            let answer = completed(answer?);
                            if let Some(status) = answer.extensions().get::<Status>() {
                                note(&*access.0.callers, &admitted.known, status);
                            }
                            Ok(ended(answer))
                        }
                        Err(_) => Ok(status::of(&AppError::TooSlow, None).into_http()),
                    }
                })
            }
            Err(refused) => Box::pin(async move {
                pass_over(request.into_body()).await;
                Ok(refused.into_http())
            }),
        }
    }
}

impl Admitted {
    /// Whether the RPC is one of ours; health and reflection have statuses and streams of their own.
    fn is_ours(&self) -> bool {
        matches!(self.rule, Rule::KeyItself | Rule::Roles(..))
    }
}

/// Replaces what tonic answered in place of one of our handlers.
fn completed<R: Default>(answer: Response<R>) -> Response<R> {
    match answer.extensions().get::<Status>() {
        Some(bare) if bare.details().is_empty() => status::completed(bare.clone()).into_http(),
        _ => answer,
    }
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
