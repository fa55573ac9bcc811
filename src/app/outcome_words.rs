//! The answer about a key in the words that its span has: as the caller is answered, whose trace it may be.

use crate::app::authenticate::Outcome;
use crate::domain::verdict::Denial;
use crate::telemetry::spans::OUTCOME;

/// The outcome, and why.
pub(crate) fn words(outcome: &Outcome) -> [(&'static str, &'static str); 2] {
    let (outcome, reason) = match outcome {
        Outcome::Allowed(_) => ("ALLOWED", ""),
        Outcome::MissingKey => ("DENIED", "MISSING_KEY"),
        Outcome::MalformedKey(_) => ("DENIED", "MALFORMED_KEY"),
        Outcome::UnknownKey => ("DENIED", "UNKNOWN_KEY"),
        Outcome::TooManyUnknown => ("DENIED", "RATE_LIMITED"),
        Outcome::Denied(_, denied) => ("DENIED", reason(denied.denial)),
    };
    [(OUTCOME, outcome), ("keyledger.reason", reason)]
}

fn reason(denial: Denial) -> &'static str {
    match denial {
        Denial::Revoked => "REVOKED",
        Denial::Superseded => "SUPERSEDED",
        Denial::Expired => "EXPIRED",
        Denial::Disabled => "DISABLED",
        Denial::TenantMismatch => "TENANT_MISMATCH",
        Denial::AccountInactive => "ACCOUNT_INACTIVE",
        Denial::PermissionMissing => "PERMISSION_MISSING",
        Denial::SourceNotAllowed => "SOURCE_NOT_ALLOWED",
        Denial::RateLimited => "RATE_LIMITED",
    }
}
