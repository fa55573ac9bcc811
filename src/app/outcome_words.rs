//! Answers about keys in words: one table for spans and figures. They are those of the API's reasons.

use crate::app::authenticate::Outcome;
use crate::domain::usage::UseOutcome;
use crate::telemetry::spans::OUTCOME;

/// The word for what goes on record.
pub(crate) fn word(outcome: UseOutcome) -> &'static str {
    match outcome {
        UseOutcome::Allowed => "ALLOWED",
        UseOutcome::Revoked => "REVOKED",
        UseOutcome::Superseded => "SUPERSEDED",
        UseOutcome::Expired => "EXPIRED",
        UseOutcome::Disabled => "DISABLED",
        UseOutcome::TenantMismatch => "TENANT_MISMATCH",
        UseOutcome::AccountInactive => "ACCOUNT_INACTIVE",
        UseOutcome::PermissionMissing => "PERMISSION_MISSING",
        UseOutcome::SourceNotAllowed => "SOURCE_NOT_ALLOWED",
        UseOutcome::RateLimited => "RATE_LIMITED",
        UseOutcome::MissingKey => "MISSING_KEY",
        UseOutcome::MalformedKey => "MALFORMED_KEY",
        UseOutcome::UnknownKey => "UNKNOWN_KEY",
    }
}

/// What an answer is on record as, if that is what was answered; none of [`Outcome::TooManyUnknown`], of which what was
/// tried is on record.
pub(crate) fn answered(outcome: &Outcome) -> Option<UseOutcome> {
    Some(match outcome {
        Outcome::Allowed(_) => UseOutcome::Allowed,
        Outcome::MissingKey => UseOutcome::MissingKey,
        Outcome::MalformedKey(_) => UseOutcome::MalformedKey,
        Outcome::UnknownKey => UseOutcome::UnknownKey,
        Outcome::TooManyUnknown => return None,
        Outcome::Denied(_, denied) => denied.denial.into(),
    })
}

/// What the span of a call says of it: the outcome, and why, as the caller is answered, whose trace it may be.
pub(crate) fn words(outcome: &Outcome) -> [(&'static str, &'static str); 2] {
    let (outcome, reason) = match answered(outcome) {
        Some(UseOutcome::Allowed) => (word(UseOutcome::Allowed), ""),
        Some(denied) => ("DENIED", word(denied)),
        None => ("DENIED", word(UseOutcome::RateLimited)),
    };
    [(OUTCOME, outcome), ("keyledger.reason", reason)]
}
