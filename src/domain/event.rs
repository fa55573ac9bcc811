//! Events: facts in the past tense, and what is known of each besides.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::account::AccountState;
use crate::domain::caller::Roles;
use crate::domain::certificate_name::CertificateName;
use crate::domain::conduct::{AuditRead, CallsRefused};
use crate::domain::ids::{CallerId, EventId, KeyId, PepperVersion, Position, TenantId, TraceId};
use crate::domain::key::RevokeReason;
use crate::domain::key_format::Environment;
use crate::domain::log_state::{LogRestored, LossResolved};
use crate::domain::peppers::Dependents;
use crate::domain::permission::Permissions;
use crate::domain::policy::Policy;
use crate::domain::requests::Request;
use crate::domain::sealed::Private;
use crate::domain::signing::SigningKeyChanged;
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::tag::{KeyTag, PepperCheck};
use crate::domain::time::Time;
use crate::domain::usage::used::{KeyUsed, UnknownKeyTried, UsageGap};

/// What is new about a key that came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCreated {
    /// Recognises the secret.
    pub tag: KeyTag,
    /// Live or test.
    pub environment: Environment,
    /// Narrows the account's permissions; none: all of the account's.
    pub scopes: Option<Permissions>,
    /// From when it no longer works; none: never.
    pub expire_time: Option<Time>,
    /// Where it may be used from. The record holds only whether it is bound; the ranges are sealed.
    pub sources: Sources,
    /// The key it succeeds.
    pub replaces: Option<KeyId>,
}

/// A key's changeable fields, whole, as they are from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUpdated {
    /// Narrows the account's permissions; none: all of the account's.
    pub scopes: Option<Permissions>,
    /// From when it no longer works; none: never.
    pub expire_time: Option<Time>,
    /// Where it may be used from. The record holds only whether it is bound; the ranges are sealed.
    pub sources: Sources,
    /// The fields that differ from before.
    pub changed: Vec<String>,
}

/// What is new about a caller that came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerCreated {
    /// Recognises the secret.
    pub tag: KeyTag,
    /// What it may do.
    pub roles: Roles,
    /// The tenants it is bound to, sorted; empty: all.
    pub tenants: Arc<[TenantId]>,
    /// From when its credential no longer works; none: never.
    pub expire_time: Option<Time>,
    /// What a client certificate names that speaks for it; none: none does.
    pub certificate_name: Option<CertificateName>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An account came to be.
    AccountRegistered(AccountState),
    /// An account has a new state.
    AccountChanged {
        /// The state from here on.
        state: AccountState,
        /// The fields that differ from before.
        changed: Vec<String>,
    },
    /// An account is closed for ever, and what is known of it beyond ids and figures is destroyed.
    AccountErased,
    /// A key came to be.
    KeyCreated(KeyCreated),
    /// A key's changeable fields changed.
    KeyUpdated(KeyUpdated),
    /// A key stopped working until it is enabled.
    KeyDisabled,
    /// A disabled key works again.
    KeyEnabled,
    /// A key was given a successor.
    KeyRotated {
        /// The new key.
        successor: KeyId,
        /// From when the old key no longer works.
        retire_time: Time,
        /// For how long nobody must have used the old key for it to retire before that; none: it does not.
        retire_when_idle_for: Option<Duration>,
        /// Why.
        reason: RevokeReason,
    },
    /// A key stopped working for ever.
    KeyRevoked {
        /// Why.
        reason: RevokeReason,
        /// Whether someone who presented its secret reported it.
        leaked: bool,
    },
    /// A rotated key retired before its overlap ended, since nobody used it any more.
    KeyRetired {
        /// When it was last allowed, as far as was known then; none: never.
        last_use: Option<Time>,
    },
    /// A key's secret is recognised by a tag under another pepper from here on; nothing else of the key changes.
    KeyRehashed {
        /// Recognises the secret.
        tag: KeyTag,
    },
    /// A key's secret was presented, so often and in such ways, within one window of time.
    KeyUsed(Box<KeyUsed>),
    /// Something was presented that is no key's secret, within one window of time.
    UnknownKeyTried(Box<UnknownKeyTried>),
    /// Uses of some span of time are missing from the record.
    UsageGap(UsageGap),
    /// A caller came to be.
    CallerCreated(CallerCreated),
    /// A caller was given a new secret.
    CallerRotated {
        /// Recognises the new secret.
        tag: KeyTag,
        /// From when the secret before no longer works.
        retire_time: Time,
    },
    /// A caller's credential stopped working for ever.
    CallerRevoked,
    /// A caller's present secret is recognised by a tag under another pepper from here on.
    CallerRehashed {
        /// Recognises the secret.
        tag: KeyTag,
    },
    /// Plans and roles in force from here on.
    PolicyChanged(Policy),
    /// Tags are computed under this pepper from here on.
    PepperRotated {
        /// The pepper's number.
        version: PepperVersion,
        /// Tells a wrong pepper at start.
        check: PepperCheck,
    },
    /// No tag is recognised by this pepper any more: keys and callers that were, and could still work, are revoked.
    PepperRetired {
        /// The pepper's number.
        version: PepperVersion,
        /// How many ended with it.
        ended: Dependents,
    },
    /// The wall clock jumped.
    ClockStepped {
        /// What it shows after the step.
        wall: Time,
        /// What it would have shown without the step.
        expected: Time,
    },
    /// The log was restored from a backup and goes on as another generation.
    LogRestored(LogRestored),
    /// What a restore lost, or the first part of it, was resolved.
    LossResolved(LossResolved),
    /// A key signs checkpoints of the log from here on, or no longer does.
    SigningKeyChanged(SigningKeyChanged),
    /// Somebody read the history, so often within one window of time.
    AuditRead(Box<AuditRead>),
    /// Calls were refused, so often within one window of time.
    CallsRefused(Box<CallsRefused>),
}

macro_rules! kinds {
    ($($name:ident = $number:literal),+ $(,)?) => {
        /// Which event: its number in the record format, which never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "named as the variants of Event")]
        pub enum EventKind {
            $($name = $number),+
        }

        impl EventKind {
            /// Every kind, in the order of their numbers.
            pub const ALL: &[EventKind] = &[$(EventKind::$name),+];
        }
    };
}

kinds! {
    AccountRegistered = 20,
    AccountChanged = 21,
    AccountErased = 22,
    KeyCreated = 30,
    KeyUpdated = 31,
    KeyDisabled = 32,
    KeyEnabled = 33,
    KeyRotated = 34,
    KeyRevoked = 35,
    KeyRehashed = 36,
    KeyRetired = 37,
    KeyUsed = 40,
    UnknownKeyTried = 41,
    UsageGap = 42,
    CallerCreated = 50,
    CallerRotated = 51,
    CallerRevoked = 52,
    CallerRehashed = 54,
    PolicyChanged = 60,
    PepperRotated = 61,
    ClockStepped = 62,
    LogRestored = 63,
    LossResolved = 64,
    SigningKeyChanged = 65,
    PepperRetired = 66,
    AuditRead = 70,
    CallsRefused = 71,
}

impl EventKind {
    /// The kind of that number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u64 == number)
    }
}

impl Event {
    /// Which event it is.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Event::AccountRegistered(_) => EventKind::AccountRegistered,
            Event::AccountChanged { .. } => EventKind::AccountChanged,
            Event::AccountErased => EventKind::AccountErased,
            Event::KeyCreated(_) => EventKind::KeyCreated,
            Event::KeyUpdated(_) => EventKind::KeyUpdated,
            Event::KeyDisabled => EventKind::KeyDisabled,
            Event::KeyEnabled => EventKind::KeyEnabled,
            Event::KeyRotated { .. } => EventKind::KeyRotated,
            Event::KeyRevoked { .. } => EventKind::KeyRevoked,
            Event::KeyRetired { .. } => EventKind::KeyRetired,
            Event::KeyRehashed { .. } => EventKind::KeyRehashed,
            Event::KeyUsed(_) => EventKind::KeyUsed,
            Event::UnknownKeyTried(_) => EventKind::UnknownKeyTried,
            Event::UsageGap(_) => EventKind::UsageGap,
            Event::CallerCreated(_) => EventKind::CallerCreated,
            Event::CallerRotated { .. } => EventKind::CallerRotated,
            Event::CallerRevoked => EventKind::CallerRevoked,
            Event::CallerRehashed { .. } => EventKind::CallerRehashed,
            Event::PolicyChanged(_) => EventKind::PolicyChanged,
            Event::PepperRotated { .. } => EventKind::PepperRotated,
            Event::PepperRetired { .. } => EventKind::PepperRetired,
            Event::ClockStepped { .. } => EventKind::ClockStepped,
            Event::LogRestored(_) => EventKind::LogRestored,
            Event::LossResolved(_) => EventKind::LossResolved,
            Event::SigningKeyChanged(_) => EventKind::SigningKeyChanged,
            Event::AuditRead(_) => EventKind::AuditRead,
            Event::CallsRefused(_) => EventKind::CallsRefused,
        }
    }
}

/// How an actor was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The service acted by itself.
    Service,
    /// A caller presented its bearer credential.
    Bearer,
    /// An operator ran an offline command on the data directory.
    Offline,
    /// The client certificate of a caller's connection names it.
    ClientCertificate,
}

impl Mechanism {
    /// Whether a caller acts, held to what it is allowed; the service and offline operators are not.
    #[must_use]
    pub fn is_of_a_caller(self) -> bool {
        match self {
            Mechanism::Bearer | Mechanism::ClientCertificate => true,
            Mechanism::Service | Mechanism::Offline => false,
        }
    }
}

/// Who caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The caller; none if the service itself or an offline command acted.
    pub caller: Option<CallerId>,
    /// How it was recognised.
    pub mechanism: Mechanism,
}

/// An event that a decision asks for.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Whom or what it is about.
    pub subject: Subject,
    /// What happens.
    pub event: Event,
    /// Its sealed personal fields.
    pub private: Option<Private>,
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the global order.
    pub position: Position,
    /// Its random name.
    pub event_id: EventId,
    /// When it was recorded.
    pub time: Time,
    /// The subject's record before this one.
    pub previous: Option<Position>,
    /// Who caused it.
    pub actor: Actor,
    /// The trace the causing call was part of.
    pub trace_id: Option<TraceId>,
    /// The call that caused it, if it named itself.
    pub request: Option<Request>,
    /// Whom or what it is about.
    pub subject: Subject,
    /// What happened.
    pub event: Event,
    /// Its sealed personal fields.
    pub private: Option<Private>,
}
