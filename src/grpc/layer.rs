//! The gate in front of every RPC: the rule of the RPC, then the bound on calls under way, then the
//! caller's credential, then its role. What is cheap to refuse is refused first.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tower::{Layer, Service};

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::grpc::access::{self, Rule};
use crate::grpc::status;

/// When to come back to a server that had too many calls under way: it does most within this time.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The most calls at once that no caller stands behind.
const WITHOUT_CALLER: usize = 64;

/// How long a call of ours may take from its headers to its answer: a client that does not send its
/// message gives its room back. A commit takes milliseconds; a command that was handed over by then
/// is done all the same.
const LONGEST_CALL: Duration = Duration::from_secs(20);

/// Tells who a credential belongs to.
pub trait Recognise: Send + Sync + 'static {
    /// The caller of that credential.
    ///
    /// # Errors
    /// [`AppError::CredentialInvalid`] for every credential that does not work.
    fn recognise(&self, credential: &str) -> Result<Identity, AppError>;
}

impl Recognise for App {
    fn recognise(&self, credential: &str) -> Result<Identity, AppError> {
        self.identify(credential)
    }
}

/// Puts a [`Gate`] in front of a service. All gates of one layer share one bound.
pub struct AccessLayer<I> {
    callers: Arc<I>,
    room: Arc<Semaphore>,
    /// Calls that no caller stands behind have a room of their own, so that they cannot fill the
    /// callers'.
    open_room: Arc<Semaphore>,
}

impl<I> AccessLayer<I> {
    /// A layer that lets at most `in_flight` calls be under way at once, at most
    /// [`Semaphore::MAX_PERMITS`]. Health checks are not among them: a busy server is not a dead one.
    #[must_use]
    pub fn new(callers: Arc<I>, in_flight: usize) -> Self {
        let room = Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS)));
        AccessLayer { callers, room, open_room: Arc::new(Semaphore::new(WITHOUT_CALLER)) }
    }
}

impl<I> Clone for AccessLayer<I> {
    fn clone(&self) -> Self {
        AccessLayer {
            callers: Arc::clone(&self.callers),
            room: Arc::clone(&self.room),
            open_room: Arc::clone(&self.open_room),
        }
    }
}

impl<I> fmt::Debug for AccessLayer<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLayer").field("room", &self.room).finish_non_exhaustive()
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
    _room: Option<OwnedSemaphorePermit>,
}

impl<I: Recognise> AccessLayer<I> {
    fn admit<B>(&self, request: &mut Request<B>) -> Result<Admitted, Status> {
        let rule = access::rule(request.uri().path()).ok_or_else(status::no_such_rpc)?;
        let room = match rule {
            Rule::Open => None,
            Rule::KeyItself => Some(&self.open_room),
            Rule::AnyCaller | Rule::Roles(_) => Some(&self.room),
        };
        let room = room.map(|room| Arc::clone(room).try_acquire_owned()).transpose();
        let room = room.map_err(|_| overloaded())?;
        let identity = match rule {
            Rule::Open | Rule::KeyItself => None,
            Rule::AnyCaller | Rule::Roles(_) => Some(self.caller(request.headers())?),
        };
        if let (Rule::Roles(roles), Some(identity)) = (rule, &identity)
            && !identity.has_any_role(roles)
        {
            return Err(status::of(&AppError::RoleMissing { allowed: roles }, None));
        }
        if let Some(identity) = identity {
            request.extensions_mut().insert(Arc::new(identity));
        }
        Ok(Admitted { rule, _room: room })
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Identity, Status> {
        let credential = bearer(headers).and_then(|text| text.ok_or(AppError::CredentialMissing));
        let identity = credential.and_then(|text| self.callers.recognise(text));
        identity.map_err(|error| status::of(&error, None))
    }
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

impl<I, S, B, R> Service<Request<B>> for Gate<I, S>
where
    I: Recognise,
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.access.admit(&mut request) {
            Ok(admitted) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    if !admitted.is_ours() {
                        return answer.await;
                    }
                    match tokio::time::timeout(LONGEST_CALL, answer).await {
                        Ok(answer) => Ok(completed(answer?)),
                        Err(_) => Ok(status::of(&AppError::TooSlow, None).into_http()),
                    }
                })
            }
            Err(refused) => Box::pin(async move { Ok(refused.into_http()) }),
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
