//! What the client of a proxy is told that is not let through: no more than what it has to look at.

use std::time::Duration;

use crate::domain::verdict::Denial;

/// Why a request is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It brings no key, or one that does not work.
    InvalidKey,
    /// Its key may not do this, now or from here.
    Unauthorized,
    /// Its account, or where it comes from, has used up a limit.
    RateLimited,
}

impl Refused {
    /// The status of HTTP.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Refused::InvalidKey => 401,
            Refused::Unauthorized => 403,
            Refused::RateLimited => 429,
        }
    }

    /// The text that says so.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Refused::InvalidKey => "Invalid API Key",
            Refused::Unauthorized => "Unauthorized",
            Refused::RateLimited => "Rate limit exceeded",
        }
    }

    /// The word that says so to a program.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Refused::InvalidKey => "invalid-key",
            Refused::Unauthorized => "unauthorized",
            Refused::RateLimited => "rate-limited",
        }
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Revoked | Denial::Superseded | Denial::Expired | Denial::Disabled => {
                Refused::InvalidKey
            }
            Denial::TenantMismatch
            | Denial::AccountInactive
            | Denial::PermissionMissing
            | Denial::SourceNotAllowed => Refused::Unauthorized,
            Denial::RateLimited => Refused::RateLimited,
        }
    }
}

/// The value of `Retry-After`: whole seconds, never before the span has passed.
#[must_use]
pub fn retry_after_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_when_told_to_does_not_come_too_early() {
        for (millis, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(retry_after_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
