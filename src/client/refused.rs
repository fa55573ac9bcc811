//! Why a use is refused, and what its presenter is told: over HTTP a status, over gRPC a code, and nothing of the reason
//! but the message that is meant for them.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use thiserror::Error;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::proto::v1::{self, DenialReason};

/// What is told where there is no verdict: that it is not the presenter's fault, and nothing more.
const NO_VERDICT: &str = "Service Unavailable";

/// A use that is not to be served.
#[derive(Clone, Debug, Error)]
pub enum Refused {
    /// keyledger denies it. The whole answer is for the service and its log: the exact reason, the key if its secret
    /// matched, the position of the event that caused it.
    #[error("denied: {}", .0.denial_reason().as_str_name())]
    Denied(Box<v1::AuthenticateResponse>),
    /// There is no verdict: keyledger cannot be reached, is too slow, or refuses the service itself. Whatever the code
    /// is, it says nothing of the key.
    #[error("no verdict: {}", .0.message())]
    Unanswered(Box<Status>),
}

impl Refused {
    /// Without a verdict.
    pub(super) fn unanswered(status: Status) -> Self {
        Refused::Unanswered(Box::new(status))
    }

    /// What is told over HTTP and over gRPC. A reason that is not known yet counts as that of a key that does not work.
    fn codes(&self) -> (StatusCode, Code) {
        let Refused::Denied(answer) = self else {
            return (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable);
        };
        match answer.denial_reason() {
            DenialReason::TenantMismatch
            | DenialReason::AccountInactive
            | DenialReason::PermissionMissing
            | DenialReason::SourceNotAllowed => (StatusCode::FORBIDDEN, Code::PermissionDenied),
            DenialReason::RateLimited => (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            DenialReason::Unspecified
            | DenialReason::MissingKey
            | DenialReason::MalformedKey
            | DenialReason::UnknownKey
            | DenialReason::Revoked
            | DenialReason::Superseded
            | DenialReason::Expired
            | DenialReason::Disabled => (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
        }
    }

    /// What the presenter of the key is told.
    fn message(&self) -> &str {
        match self {
            Refused::Denied(answer) => &answer.public_message,
            Refused::Unanswered(_) => NO_VERDICT,
        }
    }

    /// After how long it is worth to come back, if that is known.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Refused::Denied(answer) => answer.rate_limit?.retry_after?.try_into().ok(),
            Refused::Unanswered(status) => status.get_details_retry_info()?.retry_delay,
        }
    }

    /// The answer of an HTTP service: 401, 403, 429 or 503.
    #[must_use]
    pub fn to_http(&self) -> Response<Body> {
        let (status, _) = self.codes();
        let mut response = Response::new(Body::new(self.message().to_owned()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after() {
            // The header has whole seconds only, and who comes back too early is refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The answer of a gRPC service: UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED or UNAVAILABLE, with a
    /// RetryInfo where it is known when to come back.
    #[must_use]
    pub fn to_status(&self) -> Status {
        let (_, code) = self.codes();
        match self.retry_after() {
            Some(wait) => {
                let details = ErrorDetails::with_retry_info(Some(wait));
                Status::with_error_details(code, self.message(), details)
            }
            None => Status::new(code, self.message()),
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        refused.to_status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(reason: i32, wait: Option<(i64, i32)>) -> Refused {
        let retry_after = wait.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
        Refused::Denied(Box::new(v1::AuthenticateResponse {
            outcome: v1::Outcome::Denied.into(),
            denial_reason: reason,
            public_message: "told".to_owned(),
            rate_limit: retry_after
                .map(|wait| v1::RateLimit { retry_after: Some(wait), ..Default::default() }),
            ..Default::default()
        }))
    }

    #[test]
    fn each_reason_is_told_by_the_status_of_its_group() {
        for reason in 0..=99 {
            let (status, code) = denied(reason, None).codes();
            let expected = match reason {
                8..=11 => (403, Code::PermissionDenied),
                12 => (429, Code::ResourceExhausted),
                _ => (401, Code::Unauthenticated),
            };
            assert_eq!((status.as_u16(), code), expected, "{reason}");
        }
    }

    #[test]
    fn a_limit_says_when_to_come_back_and_never_too_early() {
        let limited = DenialReason::RateLimited.into();
        for (wait, seconds) in [((7, 0), "7"), ((7, 1), "8"), ((0, 1), "1")] {
            let refused = denied(limited, Some(wait));
            assert_eq!(refused.to_http().headers()[RETRY_AFTER], seconds);
            let told = refused.to_status().get_details_retry_info().expect("is told");
            let exact = Duration::new(wait.0.unsigned_abs(), wait.1.unsigned_abs());
            assert_eq!(told.retry_delay, Some(exact));
        }
        assert!(!denied(limited, None).to_http().headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn what_keyledger_holds_against_the_service_is_not_told_as_if_it_were_the_keys() {
        for code in [Code::Unauthenticated, Code::PermissionDenied, Code::InvalidArgument, Code::Ok]
        {
            let refused = Refused::unanswered(Status::new(code, "of the service"));
            assert_eq!(refused.to_http().status(), StatusCode::SERVICE_UNAVAILABLE);
            let status = refused.to_status();
            assert_eq!((status.code(), status.message()), (Code::Unavailable, NO_VERDICT));
        }
    }
}
