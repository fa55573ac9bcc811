//! Uses: what is recorded of each answered Authenticate, folded by window of time.
//!
//! A use is an attempt whose key was presented with the right secret, allowed or denied. Attempts with
//! anything else are counted apart: they must not change the figures of a key whose public id somebody knows.

pub mod rules;
pub mod signals;
pub mod used;
pub mod window;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::{AccountRef, CallerId, KeyId, Position, TraceId};
use crate::domain::time::Time;
use crate::domain::usage::window::Total;
use crate::domain::verdict::Denial;

/// Most lines of a window's breakdown; what comes in other ways is in the totals only. With the bounds of
/// what a line and a sample hold, the record of a window stays below 32 KB.
pub const MAX_COUNTS: usize = 64;

/// Most samples of one outcome in a window.
pub const MAX_SAMPLES: usize = 8;

/// Most samples of a window: three outcomes keep all of theirs, more share.
pub const MAX_SAMPLES_OF_ALL: usize = 24;

/// Most bytes of an action.
pub const MAX_ACTION: usize = 128;

/// Most bytes of a user agent.
pub const MAX_AGENT: usize = 256;

/// Most bytes of the required permissions that a sample keeps, each with two more for its length.
pub const MAX_SAMPLED_PERMISSIONS: usize = 192;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $number:literal),+ $(,)?) => {
        /// What was answered about a presented key: its number in the record format, which never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum UseOutcome {
            $($(#[$doc])* $name = $number),+
        }

        impl UseOutcome {
            /// Every outcome, in the order of their numbers.
            pub const ALL: &[UseOutcome] = &[$(UseOutcome::$name),+];
        }
    };
}

outcomes! {
    /// It may be used.
    Allowed = 1,
    /// The key is revoked.
    Revoked = 2,
    /// The key has a successor and the overlap has ended.
    Superseded = 3,
    /// The key has expired.
    Expired = 4,
    /// The key is disabled.
    Disabled = 5,
    /// The key is another tenant's than the request's or the caller's.
    TenantMismatch = 6,
    /// The account is suspended or closed.
    AccountInactive = 7,
    /// The key does not grant a required permission.
    PermissionMissing = 8,
    /// The key may not be used from that source.
    SourceNotAllowed = 9,
    /// The account has used up its plan's rate.
    RateLimited = 10,
    /// Nothing was presented.
    MissingKey = 11,
    /// What was presented is not the text of a key.
    MalformedKey = 12,
    /// There is no such key, or the secret is wrong.
    UnknownKey = 13,
}

impl UseOutcome {
    /// The outcome of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|outcome| *outcome as u8 == number)
    }

    /// Whether a key's right secret was presented: the use is the key's.
    #[must_use]
    pub fn is_of_key(self) -> bool {
        !matches!(self, Self::MissingKey | Self::MalformedKey | Self::UnknownKey)
    }
}

impl From<Denial> for UseOutcome {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Revoked => Self::Revoked,
            Denial::Superseded => Self::Superseded,
            Denial::Expired => Self::Expired,
            Denial::Disabled => Self::Disabled,
            Denial::TenantMismatch => Self::TenantMismatch,
            Denial::AccountInactive => Self::AccountInactive,
            Denial::PermissionMissing => Self::PermissionMissing,
            Denial::SourceNotAllowed => Self::SourceNotAllowed,
            Denial::RateLimited => Self::RateLimited,
        }
    }
}

/// What was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The secret of this key of that account.
    Key(KeyId, Arc<AccountRef>),
    /// No key's secret; the key id that its text named, if it named one.
    Unknown(Option<KeyId>),
}

/// One answered attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// What was presented.
    pub tried: Tried,
    /// What was answered.
    pub outcome: UseOutcome,
    /// The calling service; none: the holder of the key asked itself.
    pub caller: Option<CallerId>,
    /// What it was for, in the caller's words; at most [`MAX_ACTION`] bytes, empty if not given.
    pub action: String,
    /// Where the request came from, if that is known and an address.
    pub source: Option<IpAddr>,
    /// What the request said it came from; at most [`MAX_AGENT`] bytes, empty if not given.
    pub agent: String,
    /// The trace the call was part of.
    pub trace_id: Option<TraceId>,
    /// The first of the permissions that were required, see [`sampled_permissions`].
    pub required: Vec<String>,
    /// The position it was decided at.
    pub position: Option<Position>,
    /// When it was decided, by the wall clock.
    pub time: Time,
    /// What it was charged to the account's rate.
    pub cost: u32,
    /// Whether it goes on record by itself, not folded with others.
    pub alone: bool,
}

/// The first of the required permissions: as many as a sample keeps.
#[must_use]
pub fn sampled_permissions(mut required: Vec<String>) -> Vec<String> {
    let mut room = MAX_SAMPLED_PERMISSIONS;
    let fits = |word: &String| match room.checked_sub(word.len() + 2) {
        Some(rest) => {
            room = rest;
            true
        }
        None => false,
    };
    let kept = required.iter().map(fits).take_while(|fits| *fits).count();
    required.truncate(kept);
    required
}

/// Where the window that holds `time` starts: windows of `span` follow each other from the epoch.
#[must_use]
pub fn window_start(time: Time, span: Duration) -> Time {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX).max(1);
    Time::from_micros(time.as_micros().div_euclid(span).saturating_mul(span))
}

/// How often a key was used, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UseCounts {
    /// How often it was allowed.
    pub allowed: u64,
    /// How often it was denied though its secret was right.
    pub denied: u64,
    /// When it was last allowed.
    pub last_use: Option<Time>,
    /// When it was last denied.
    pub last_denied: Option<Time>,
}

impl UseCounts {
    /// What these totals say.
    #[must_use]
    pub fn of(totals: &[Total]) -> Self {
        let mut counts = UseCounts::default();
        for total in totals {
            let (count, last) = if total.outcome == UseOutcome::Allowed {
                (&mut counts.allowed, &mut counts.last_use)
            } else {
                (&mut counts.denied, &mut counts.last_denied)
            };
            *count = count.saturating_add(total.count);
            *last = (*last).max(Some(total.last));
        }
        counts
    }

    /// These and more together.
    #[must_use]
    pub fn plus(self, more: UseCounts) -> Self {
        UseCounts {
            allowed: self.allowed.saturating_add(more.allowed),
            denied: self.denied.saturating_add(more.denied),
            last_use: self.last_use.max(more.last_use),
            last_denied: self.last_denied.max(more.last_denied),
        }
    }
}

/// What is known of a key's uses from the log: a sum of its records, no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The last record that says so.
    pub recorded: Position,
    /// What all of them say together.
    pub counts: UseCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_keep_their_numbers() {
        let numbers: Vec<u8> = UseOutcome::ALL.iter().map(|outcome| *outcome as u8).collect();
        assert_eq!(numbers, (1..=13).collect::<Vec<u8>>());
        for outcome in UseOutcome::ALL {
            assert_eq!(UseOutcome::from_number(*outcome as u8), Some(*outcome));
        }
        assert_eq!(UseOutcome::from_number(0), None);
        assert_eq!(UseOutcome::from_number(14), None);
    }

    #[test]
    fn as_many_permissions_are_kept_as_there_is_room_for() {
        let long = "a".repeat(90);
        let required = vec![long.clone(), long.clone(), long.clone(), "b".to_owned()];
        assert_eq!(sampled_permissions(required), [long.clone(), long]);
        assert_eq!(sampled_permissions(vec!["b".to_owned()]), ["b"]);
    }

    #[test]
    fn windows_follow_each_other_before_and_after_the_epoch() {
        let minute = Duration::from_mins(1);
        let start = |micros| window_start(Time::from_micros(micros), minute).as_micros();
        assert_eq!((start(0), start(59_999_999), start(60_000_000)), (0, 0, 60_000_000));
        assert_eq!((start(-1), start(-60_000_000)), (-60_000_000, -60_000_000));
    }
}
