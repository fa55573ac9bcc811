//! The one table that turns errors into statuses. `error_reason.proto` is its documentation: every
//! status has an `ErrorInfo` with a reason from there. Texts never repeat what a caller sent.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::app::error::{AppError, FieldViolation};
use crate::domain::refusal::Refusal;
use crate::domain::requests::Method;
use crate::grpc::authorization::MAX_CHECK_BYTES;
use crate::grpc::{MAX_REQUEST_BYTES, encode};
use crate::proto::v1::ErrorReason;

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "keyledger";

/// The most plans or roles that a refusal names: a status is sent as HTTP/2 headers, of which some
/// clients take no more than 8 KiB.
const NAMED_AT_MOST: usize = 16;

/// What a status says.
#[derive(Debug)]
struct Fault {
    code: Code,
    reason: ErrorReason,
    text: String,
    metadata: Vec<(&'static str, String)>,
    violations: Vec<FieldViolation>,
    retry_after: Option<Duration>,
}

impl Fault {
    fn new(code: Code, reason: ErrorReason, text: impl Into<String>) -> Self {
        let (metadata, violations) = (Vec::new(), Vec::new());
        Fault { code, reason, text: text.into(), metadata, violations, retry_after: None }
    }

    fn with(mut self, name: &'static str, value: &impl ToString) -> Self {
        self.metadata.push((name, value.to_string()));
        self
    }

    fn again_after(self, retry_after: Duration) -> Self {
        Fault { retry_after: Some(retry_after), ..self }
    }

    fn invalid(violations: Vec<FieldViolation>) -> Self {
        let text = match violations.as_slice() {
            [] => "the request has invalid fields".to_owned(),
            [one] => format!("{}: {}", one.field, one.description),
            [one, more @ ..] => {
                format!("{}: {} (and {} more)", one.field, one.description, more.len())
            }
        };
        let fault = Fault::new(Code::InvalidArgument, ErrorReason::InvalidField, text);
        Fault { violations, ..fault }
    }

    fn into_status(self) -> Status {
        let reason = self.reason.as_str_name().trim_start_matches("ERROR_REASON_");
        let metadata = self.metadata.into_iter().map(|(name, value)| (name.to_owned(), value));
        let metadata: HashMap<String, String> = metadata.collect();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
        for violation in self.violations {
            details.add_bad_request_violation(violation.field, violation.description);
        }
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        Status::with_error_details(self.code, self.text, details)
    }
}

/// The answer of a handler as tonic takes it. `method` is the RPC if it changes something: the same
/// refusal is about another field in another RPC.
///
/// # Errors
/// The status of the error.
pub(super) fn answer<T>(
    result: Result<T, AppError>,
    method: Option<Method>,
) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| of(&error, method))
}

/// The status of an error; `method` as in [`answer`].
#[must_use]
pub fn of(error: &AppError, method: Option<Method>) -> Status {
    fault_of(error, method).into_status()
}

fn fault_of(error: &AppError, method: Option<Method>) -> Fault {
    use ErrorReason as Reason;
    let fault = |code, reason| Fault::new(code, reason, error.to_string());
    match error {
        AppError::Invalid(violations) => Fault::invalid(violations.clone()),
        AppError::Refused(refusal) => refused(refusal, method),
        AppError::CredentialMissing => {
            fault(Code::Unauthenticated, Reason::CallerCredentialMissing)
        }
        AppError::CredentialInvalid => {
            fault(Code::Unauthenticated, Reason::CallerCredentialInvalid)
        }
        AppError::RoleMissing { allowed } => {
            let names: Vec<_> = allowed.iter().map(|role| role.name()).collect();
            fault(Code::PermissionDenied, Reason::RoleMissing).with("roles", &names.join(","))
        }
        AppError::TenantNotAllowed => fault(Code::PermissionDenied, Reason::TenantNotAllowed),
        AppError::Contention => fault(Code::Aborted, Reason::Contention),
        AppError::BeyondHead { asked: _, head } => {
            fault(Code::OutOfRange, Reason::PositionBeyondHead).with("head", head)
        }
        AppError::Overloaded { retry_after } => {
            fault(Code::ResourceExhausted, Reason::Overloaded).again_after(*retry_after)
        }
        AppError::SourceOverloaded { retry_after } => {
            fault(Code::ResourceExhausted, Reason::SourceOverloaded).again_after(*retry_after)
        }
        AppError::RevocationsUnresolved { first, last } => {
            let fault = fault(Code::Unavailable, Reason::RevocationsUnresolved);
            fault.with("first", first).with("last", &encode::position(*last))
        }
        AppError::BackupUnderWay { retry_after } => {
            fault(Code::ResourceExhausted, Reason::BackupUnderWay).again_after(*retry_after)
        }
        AppError::BackupOfOtherLog => fault(Code::FailedPrecondition, Reason::BackupOfOtherLog),
        AppError::NoRoomForBackup { needed, free } => {
            let fault = fault(Code::FailedPrecondition, Reason::NoRoomForBackup);
            fault.with("needed", needed).with("free", free)
        }
        AppError::PepperNotSupplied { version, place, .. } => {
            let fault = fault(Code::FailedPrecondition, Reason::PepperNotSupplied);
            fault.with("version", version).with("place", place)
        }
        AppError::UsesBehind { retry_after } => {
            fault(Code::Unavailable, Reason::UsesBehind).again_after(*retry_after)
        }
        AppError::UsageBehind { position, retry_after } => {
            let fault = fault(Code::Unavailable, Reason::UsageBehind);
            fault.with("position", &encode::position(*position)).again_after(*retry_after)
        }
        AppError::ProofsBehind { made, retry_after } => {
            let fault = fault(Code::Unavailable, Reason::ProofsBehind);
            fault.with("made", made).again_after(*retry_after)
        }
        AppError::TooSlow | AppError::Stalled => fault(Code::DeadlineExceeded, Reason::TooSlow),
        AppError::Draining => fault(Code::Unavailable, Reason::Draining),
        AppError::ApiKeyInvalid => fault(Code::Unauthenticated, Reason::ApiKeyInvalid),
        AppError::ApiKeyUnauthorized => fault(Code::PermissionDenied, Reason::ApiKeyUnauthorized),
        AppError::RateLimited { retry_after } => {
            fault(Code::ResourceExhausted, Reason::RateLimited).again_after(*retry_after)
        }
        AppError::Damaged { position } => {
            let fault = fault(Code::DataLoss, Reason::DataDamaged);
            position.iter().fold(fault, |fault, position| fault.with("position", position))
        }
        AppError::Interrupted { cause, resume_after } => {
            let fault = Fault { text: error.to_string(), ..fault_of(cause, method) };
            fault.with("resume_after", resume_after)
        }
        AppError::Internal => fault(Code::Internal, Reason::Internal),
    }
}

/// The status of a call to what is no RPC of this server.
pub(super) fn no_such_rpc() -> Status {
    let text = "no such RPC";
    Fault::new(Code::Unimplemented, ErrorReason::Unsupported, text).into_status()
}

/// Why a status of ours was answered; none if it has no reason of ours.
#[must_use]
pub fn reason_of(status: &Status) -> Option<ErrorReason> {
    let reason = status.get_details_error_info()?.reason;
    ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}"))
}

/// The status for one that tonic made before a handler saw the request: it has no `ErrorInfo`, and
/// its text is tonic's. Any other is kept as it is.
pub(super) fn completed(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let fault = match status.code() {
        Code::OutOfRange => {
            let text = format!(
                "the request is over {MAX_REQUEST_BYTES} bytes, or {MAX_CHECK_BYTES} if it is a Check"
            );
            Fault::new(Code::InvalidArgument, ErrorReason::RequestTooLarge, text)
        }
        Code::Internal => match undecodable_field(status.message()) {
            Some(field) => {
                let must = "must be of the field's type, and UTF-8 if it is text";
                Fault::invalid(vec![FieldViolation::new(field, must)])
            }
            None => {
                let text = "the request is not one message of the RPC's request type";
                Fault::new(Code::InvalidArgument, ErrorReason::MalformedRequest, text)
            }
        },
        Code::Unimplemented => {
            let text = "the request is compressed in a way that this server does not read";
            Fault::new(Code::Unimplemented, ErrorReason::Unsupported, text)
        }
        _ => return status,
    };
    fault.into_status()
}

/// The path of the field that prost could not decode, if its error names one. It writes
/// `failed to decode Protobuf message: Message.field: Message.field: what is wrong`, innermost first.
fn undecodable_field(text: &str) -> Option<String> {
    let stack = text.strip_prefix("failed to decode Protobuf message: ")?;
    let named = |part: &str| part.split_once('.').map(|(_, field)| field.to_owned());
    let parts = stack.split(": ");
    let mut fields: Vec<String> = parts.map_while(named).collect();
    fields.reverse();
    if fields.is_empty() { None } else { Some(fields.join(".")) }
}

/// A rule refused: the answer is about the state of things, or about a field of the request.
fn refused(refusal: &Refusal, method: Option<Method>) -> Fault {
    use ErrorReason as Reason;
    let fault = |code, reason| Fault::new(code, reason, refusal.to_string());
    let precondition = |reason| fault(Code::FailedPrecondition, reason);
    let field = |field| Fault::invalid(vec![FieldViolation::new(field, refusal.to_string())]);
    match refusal {
        Refusal::AccountNotFound => fault(Code::NotFound, Reason::AccountNotFound),
        Refusal::KeyNotFound => fault(Code::NotFound, Reason::KeyNotFound),
        Refusal::CallerNotFound => fault(Code::NotFound, Reason::CallerNotFound),
        Refusal::PlanMissing => field("account.plan"),
        Refusal::UnknownPlan { .. } if method != Some(Method::PutAccount) => {
            let text = "the account's plan is not defined any more";
            Fault::new(Code::FailedPrecondition, Reason::PlanUndefined, text)
        }
        Refusal::UnknownPlan { known } => one_of("account.plan", known),
        Refusal::UnknownRole { known } => one_of("account.roles", known),
        Refusal::AccountNotActive => precondition(Reason::AccountNotActive),
        Refusal::AccountClosed => precondition(Reason::AccountClosed),
        Refusal::ActiveKeyLimit { limit, active } => {
            let metadata = vec![("limit", limit.to_string()), ("active", active.to_string())];
            Fault { metadata, ..precondition(Reason::ActiveKeyLimit) }
        }
        Refusal::KeyRevoked => precondition(Reason::KeyRevoked),
        Refusal::KeySuperseded => precondition(Reason::KeySuperseded),
        Refusal::KeyExpired => precondition(Reason::KeyExpired),
        Refusal::KeyDisabled => precondition(Reason::KeyNotActive).with("state", &"DISABLED"),
        Refusal::KeyAlreadyRotated => precondition(Reason::KeyAlreadyRotated),
        Refusal::KeyNotRotated => precondition(Reason::KeyNotRotated),
        Refusal::ActorOver => fault(Code::Unauthenticated, Reason::CallerCredentialInvalid),
        Refusal::NotForKeys => field("environment"),
        Refusal::ScopesWiden => field("key.scopes"),
        Refusal::ExpiryLater => field("key.expire_time"),
        Refusal::ExpiryPast if method == Some(Method::UpdateKey) => field("key.expire_time"),
        Refusal::ExpiryPast => field("expire_time"),
        Refusal::GrantExceedsOwn => fault(Code::PermissionDenied, Reason::GrantExceedsOwn),
        Refusal::LastAdmin => precondition(Reason::LastAdmin),
        Refusal::PepperNotFound => fault(Code::NotFound, Reason::PepperNotFound),
        Refusal::PepperInForce => precondition(Reason::PepperInForce),
        Refusal::PepperInUse(who) => {
            precondition(Reason::PepperInUse).with("keys", &who.keys).with("callers", &who.callers)
        }
        Refusal::CallerRevoked => precondition(Reason::CallerRevoked),
        Refusal::CallerExpired => precondition(Reason::CallerExpired),
        Refusal::TooManyCallers { limit } => precondition(Reason::CallerLimit).with("limit", limit),
        Refusal::CertificateNameTaken => fault(Code::AlreadyExists, Reason::CertificateNameTaken),
        Refusal::RequestIdReused => fault(Code::AlreadyExists, Reason::RequestIdReused),
        Refusal::TooLarge => fault(Code::InvalidArgument, Reason::RequestTooLarge),
        Refusal::StalePosition { current } => {
            let position = encode::position(*current);
            fault(Code::Aborted, Reason::StalePosition).with("position", &position)
        }
        // Asked for by offline commands and by the service itself only.
        Refusal::OtherLog | Refusal::PolicyInUse(_) => fault(Code::Internal, Reason::Internal),
        // Use cases repeat these themselves; one that gave up is contention.
        Refusal::Moved => fault(Code::Aborted, Reason::Contention),
    }
}

fn one_of(field: &str, known: &[impl ToString]) -> Fault {
    let mut names: Vec<String> =
        known.iter().take(NAMED_AT_MOST).map(ToString::to_string).collect();
    if known.len() > NAMED_AT_MOST {
        names.push("…".to_owned());
    }
    let must = match names.as_slice() {
        [] => "must be defined by the server's configuration, which defines none".to_owned(),
        names => format!("must be defined by the server's configuration: {}", names.join(", ")),
    };
    Fault::invalid(vec![FieldViolation::new(field, must)])
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
