//! Why a use case did not do what was asked. One table turns these into statuses of RPCs.

use std::time::Duration;

use thiserror::Error;

use crate::domain::caller::Role;
use crate::domain::ids::{PepperVersion, Position};
use crate::domain::refusal::Refusal;
use crate::ledger::engine::LedgerError;
use crate::ledger::lanes::NotTaken;
use crate::vault::VaultError;

/// Bytes of what sizes are told in.
const MIB: u64 = 1024 * 1024;

/// A field of a request that is not as it must be. Never repeats what the field held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path in the request, in the form of the protos.
    pub field: String,
    /// What it must be, with the bound.
    pub description: String,
}

impl FieldViolation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        FieldViolation { field: field.into(), description: description.into() }
    }
}

/// Why a use case did not do what was asked.
#[derive(Clone, Debug, Error)]
pub enum AppError {
    /// Fields of the request are not as they must be.
    #[error("the request has invalid fields")]
    Invalid(Vec<FieldViolation>),
    /// A rule refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The caller presented no credential.
    #[error("a caller credential is required: authorization: Bearer <credential>")]
    CredentialMissing,
    /// The caller's credential is not one that works.
    #[error("the caller credential is not valid")]
    CredentialInvalid,
    /// The caller lacks the roles for this RPC.
    #[error("the caller's roles do not allow this call")]
    RoleMissing {
        /// The roles that do; each suffices.
        allowed: &'static [Role],
    },
    /// The caller is not bound to the tenant it names.
    #[error("the caller may not act for this tenant")]
    TenantNotAllowed,
    /// The resource changed under every one of a bounded number of attempts.
    #[error("the resource is being changed by others: try again")]
    Contention,
    /// A position beyond the head was demanded.
    #[error("position {asked} is beyond the head, {head}")]
    BeyondHead {
        /// What was demanded.
        asked: u64,
        /// What there is.
        head: u64,
    },
    /// Too much is under way.
    #[error("the service is overloaded: try again later")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The call took longer than a call may; a command that was handed over is done all the same.
    #[error("the call took too long: its message did not come, or the service is overloaded")]
    TooSlow,
    /// Nothing has been read from a stream for longer than it is held open for.
    #[error("nothing was read from the stream for too long")]
    Stalled,
    /// Too much comes from one source.
    #[error("too many calls from this source: try again later")]
    SourceOverloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// A restore lost records, and nobody has said what became of what they denied.
    #[error(
        "no key is authenticated: a restore lost events, among which keys may have been revoked; \
         an operator must resolve them"
    )]
    RevocationsUnresolved {
        /// The first position that was lost.
        first: Position,
        /// The last one, if it is known.
        last: Option<Position>,
    },
    /// A backup is under way, and there is one at a time.
    #[error("another backup is under way: try again later")]
    BackupUnderWay {
        /// When to try again.
        retry_after: Duration,
    },
    /// What who asks for a backup has is not the beginning of this log.
    #[error("the backup there is, is not the beginning of this log")]
    BackupOfOtherLog,
    /// The newest records cannot be packed without taking what the log needs of its disk.
    #[error(
        "the ledger's disk has too little room for a backup: {} MiB are free; {} MiB are needed, to pack the \
         newest records and leave the log what it needs next",
        .free / MIB, .needed.div_ceil(MIB)
    )]
    NoRoomForBackup {
        /// Bytes that must be free.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The next pepper must come from where this program cannot make one, and does not.
    #[error("pepper version {version} is not to be had from {place}: {why}")]
    PepperNotSupplied {
        /// Which.
        version: PepperVersion,
        /// The variable, the setting of the command, or the file.
        place: String,
        /// Why not; nothing of what came.
        why: String,
    },
    /// Uses cannot be recorded as fast as they come, and are refused rather than forgotten.
    #[error("uses cannot be recorded as fast as they come: try again later")]
    UsesBehind {
        /// When to try again.
        retry_after: Duration,
    },
    /// The usage projection has not reached the head there was when the call came.
    #[error("the figures of uses are behind the log: try again later")]
    UsageBehind {
        /// What is folded in; none: nothing is.
        position: Option<Position>,
        /// When to try again.
        retry_after: Duration,
    },
    /// The hash tiles that a proof is made of do not reach so far yet.
    #[error("proofs can be made up to size {made}: try again later")]
    ProofsBehind {
        /// How far they reach.
        made: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// The service is stopping.
    #[error("the service is stopping")]
    Draining,
    /// A stream ended before its end.
    #[error("{cause}; resume after position {resume_after}")]
    Interrupted {
        /// Why.
        cause: Box<AppError>,
        /// The position up to which all has been sent.
        resume_after: u64,
    },
    /// The presented key is the credential of the call and does not work.
    #[error("Invalid API Key")]
    ApiKeyInvalid,
    /// The presented key is the credential of the call and may not be used now or from here.
    #[error("Unauthorized")]
    ApiKeyUnauthorized,
    /// The presented key is the credential of the call, and its account has used up its limit.
    #[error("Rate limit exceeded")]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// A record fails its check.
    #[error("a stored record is damaged")]
    Damaged {
        /// Which, if that is known.
        position: Option<Position>,
    },
    /// A fault of ours; the cause is in the log.
    #[error("internal error")]
    Internal,
}

impl AppError {
    /// A single invalid field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        AppError::Invalid(vec![FieldViolation::new(field, description)])
    }

    /// A fault of ours: the cause goes to the log here, once, and nowhere else.
    pub(crate) fn internal(doing: &'static str, cause: &dyn std::error::Error) -> Self {
        tracing::error!(doing, cause = %cause, "internal fault");
        AppError::Internal
    }
}

impl From<NotTaken> for AppError {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::Full => AppError::Overloaded { retry_after: Duration::from_millis(100) },
            NotTaken::Closed => AppError::Draining,
        }
    }
}

impl From<LedgerError> for AppError {
    fn from(error: LedgerError) -> Self {
        let position = match error {
            LedgerError::DamagedFrame { position, .. }
            | LedgerError::MissingFrame { position }
            | LedgerError::Unreadable { position }
            | LedgerError::OtherTree { first: position, .. } => Some(position),
            LedgerError::NoRoom { needed, free } => {
                return AppError::NoRoomForBackup { needed, free };
            }
            _ => return AppError::internal("reading the ledger", &error),
        };
        tracing::error!(cause = %error, "a stored record fails its check");
        AppError::Damaged { position }
    }
}

impl From<VaultError> for AppError {
    fn from(error: VaultError) -> Self {
        match error {
            // Only of an account that was erased: what it had can be sealed or named no more.
            VaultError::Destroyed => Refusal::AccountClosed.into(),
            error => AppError::internal("using the vault", &error),
        }
    }
}
