//! Why a command was not done. A refusal changes nothing.

use thiserror::Error;

use crate::domain::ids::Position;
use crate::domain::peppers::Dependents;
use crate::domain::permission::{PlanName, RoleName};
use crate::domain::policy_rules::InUse;

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The account does not exist.
    #[error("no such account")]
    AccountNotFound,
    /// The key does not exist.
    #[error("no such key")]
    KeyNotFound,
    /// The caller does not exist.
    #[error("no such caller")]
    CallerNotFound,
    /// A new account must name its plan.
    #[error("a new account must name its plan")]
    PlanMissing,
    /// The policy has no such plan.
    #[error("unknown plan")]
    UnknownPlan {
        /// The plans there are.
        known: Vec<PlanName>,
    },
    /// The policy has no such role.
    #[error("unknown role")]
    UnknownRole {
        /// The roles there are.
        known: Vec<RoleName>,
    },
    /// The account is suspended or closed.
    #[error("the account is not active")]
    AccountNotActive,
    /// The account is closed, which is final.
    #[error("the account is closed, which is final")]
    AccountClosed,
    /// The plan's cap on active keys is reached.
    #[error("the plan allows {limit} active keys and the account has {active}")]
    ActiveKeyLimit {
        /// The plan's cap.
        limit: u32,
        /// How many of the account's keys count to it.
        active: u32,
    },
    /// The key is revoked, which is final.
    #[error("the key is revoked, which is final")]
    KeyRevoked,
    /// The key's overlap with its successor has ended.
    #[error("the key has been superseded")]
    KeySuperseded,
    /// The key has expired.
    #[error("the key has expired")]
    KeyExpired,
    /// The key is disabled.
    #[error("the key is disabled")]
    KeyDisabled,
    /// The key has a successor already.
    #[error("the key has been rotated already")]
    KeyAlreadyRotated,
    /// The key has no successor.
    #[error("the key has not been rotated")]
    KeyNotRotated,
    /// New scopes would allow what the present ones do not.
    #[error("scopes can only be narrowed")]
    ScopesWiden,
    /// The new expiry is later than the present one.
    #[error("expiry can only be brought forward")]
    ExpiryLater,
    /// The environment is that of callers' credentials.
    #[error("must be live or test")]
    NotForKeys,
    /// The expiry is not in the future.
    #[error("expiry must be in the future")]
    ExpiryPast,
    /// A caller cannot grant roles or tenants that it lacks.
    #[error("a caller cannot grant or manage more than it holds itself")]
    GrantExceedsOwn,
    /// The last admin cannot be ended online.
    #[error("the last admin cannot be revoked")]
    LastAdmin,
    /// The caller is revoked, which is final.
    #[error("the caller is revoked, which is final")]
    CallerRevoked,
    /// The caller has expired.
    #[error("the caller has expired")]
    CallerExpired,
    /// A certificate's name speaks for one caller.
    #[error("another caller that works has the spiffe_id or san")]
    CertificateNameTaken,
    /// The log has registered no such pepper.
    #[error("no such pepper")]
    PepperNotFound,
    /// New tags are made under the pepper.
    #[error("the pepper is the one in force: rotate it first")]
    PepperInForce,
    /// Others depend on the pepper than whoever retires it accepts.
    #[error(
        "{} keys and {} callers that can still work are recognised by the pepper alone", .0.keys, .0.callers
    )]
    PepperInUse(
        /// Who depends on it.
        Dependents,
    ),
    /// Accounts use plans or roles that would be no more. Asked for by the service itself only.
    #[error("accounts use what would be no more: {0}")]
    PolicyInUse(
        /// Which, and how many do.
        InUse,
    ),
    /// Who asks has been revoked or has expired since the call came in.
    #[error("the caller credential is not valid")]
    ActorOver,
    /// There are as many callers as there may be.
    #[error("there may be at most {limit} callers")]
    TooManyCallers {
        /// The bound.
        limit: usize,
    },
    /// The request id was used before for another request.
    #[error("the request id was used before for another request")]
    RequestIdReused,
    /// What would be recorded does not fit one frame.
    #[error("the request is too large to record")]
    TooLarge,
    /// The resource is not at the position the caller expected.
    #[error("the resource has changed since the expected position")]
    StalePosition {
        /// Where it is; none if it does not exist.
        current: Option<Position>,
    },
    /// The log is not of the generation, or has not the loss, that was named. Offline only.
    #[error("the log is of another generation, or has no such loss")]
    OtherLog,
    /// The resource changed between sealing and deciding: seal again.
    #[error("the resource changed meanwhile")]
    Moved,
}
