//! The key as the key table holds it: what deciding needs, and the positions of the records with the rest.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::{AccountRef, CallerId, KeyId, PepperVersion, Position};
use crate::domain::key_format::Environment;
use crate::domain::permission::Permissions;
use crate::domain::source::Sources;
use crate::domain::tag::Tag;
use crate::domain::time::Time;
use crate::domain::usage::Used;

/// A key. What most keys never have is behind a pointer, so that a row stays small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Recognises the secret.
    pub tag: Tag,
    /// Who owns it.
    pub account: Arc<AccountRef>,
    /// When it was created.
    pub create_time: Time,
    /// The record of its creation.
    pub created: Position,
    /// The record of its last change.
    pub last: Position,
    /// Scopes, sources and expiry; none if it has none of them.
    pub limits: Option<Arc<Limits>>,
    /// What it replaced and what became of it; none if nothing.
    pub life: Option<Arc<Life>>,
    /// Its uses on record; none if there are none.
    pub used: Option<Arc<Used>>,
    /// Who created it.
    pub created_by: Option<CallerId>,
    /// The pepper of its tag.
    pub pepper: PepperVersion,
    /// Live or test.
    pub environment: Environment,
}

/// What narrows a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Narrows the account's permissions; none: all of the account's.
    pub scopes: Option<Permissions>,
    /// Where it may be used from.
    pub sources: Sources,
    /// From when it no longer works; none: never.
    pub expire_time: Option<Time>,
    /// The record that set these limits: the last that sealed the key's name and metadata too.
    pub set_at: Position,
}

/// What a key replaced and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// The key it succeeds.
    pub replaces: Option<KeyId>,
    /// The record that disabled it; none if it is not disabled.
    pub disabled_at: Option<Position>,
    /// Its rotation.
    pub rotation: Option<Rotation>,
    /// Its revocation.
    pub revocation: Option<Revocation>,
}

/// A key was given a successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The record of the rotation.
    pub position: Position,
    /// The new key.
    pub successor: KeyId,
    /// From when the old key no longer works.
    pub retire_time: Time,
    /// For how long nobody must have used the old key for the overlap to end early; none: it does not.
    pub retire_when_idle_for: Option<Duration>,
    /// The record that ended the overlap early; none if none did.
    pub retired_at: Option<Position>,
}

impl Rotation {
    /// The record from which the old key's end follows.
    #[must_use]
    pub fn evidence(&self) -> Position {
        self.retired_at.unwrap_or(self.position)
    }
}

/// A key stopped working for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The record of the revocation.
    pub position: Position,
    /// When.
    pub time: Time,
    /// Why.
    pub reason: RevokeReason,
}

/// Why a key was rotated or revoked, after RFC 5280.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevokeReason {
    /// No reason was given.
    #[default]
    Unspecified,
    /// The secret is or may be known to others.
    KeyCompromise,
    /// Another key has taken its place.
    Superseded,
    /// What it was for has ended.
    CessationOfOperation,
    /// Its holder belongs elsewhere now.
    AffiliationChanged,
    /// Its holder may no longer do what it allows.
    PrivilegeWithdrawn,
}

/// What a key is at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It works.
    Active,
    /// It does not work until it is enabled.
    Disabled,
    /// It has a successor and works until the overlap ends.
    Retiring,
    /// It has a successor and the overlap has ended.
    Superseded,
    /// Its time is over.
    Expired,
    /// It was revoked; final.
    Revoked,
}

impl Key {
    /// The state at `now`. What is final comes before what can still change.
    #[must_use]
    pub fn state_at(&self, now: Time) -> KeyState {
        let (life, rotation) = (self.life.as_deref(), self.rotation());
        if life.is_some_and(|life| life.revocation.is_some()) {
            KeyState::Revoked
        } else if rotation.is_some_and(|rotation| rotation.retire_time <= now) {
            KeyState::Superseded
        } else if self.expire_time().is_some_and(|time| time <= now) {
            KeyState::Expired
        } else if life.is_some_and(|life| life.disabled_at.is_some()) {
            KeyState::Disabled
        } else if rotation.is_some() {
            KeyState::Retiring
        } else {
            KeyState::Active
        }
    }

    /// The record of the last change.
    #[must_use]
    pub fn position(&self) -> Position {
        self.last
    }

    /// The last record, of a change or of uses.
    #[must_use]
    pub fn last_record(&self) -> Position {
        self.used.as_ref().map_or(self.last, |used| used.recorded.max(self.last))
    }

    /// The record with the sealed name, metadata and address ranges in force.
    #[must_use]
    pub fn personal_at(&self) -> Position {
        self.limits.as_ref().map_or(self.created, |limits| limits.set_at)
    }

    /// From when the key no longer works; none: never.
    #[must_use]
    pub fn expire_time(&self) -> Option<Time> {
        self.limits.as_ref().and_then(|limits| limits.expire_time)
    }

    /// What narrows the account's permissions; none: nothing.
    #[must_use]
    pub fn scopes(&self) -> Option<&Permissions> {
        self.limits.as_ref().and_then(|limits| limits.scopes.as_ref())
    }

    /// Its rotation, if it was rotated.
    #[must_use]
    pub fn rotation(&self) -> Option<&Rotation> {
        self.life.as_ref().and_then(|life| life.rotation.as_ref())
    }

    /// From when a rotated key no longer works at the latest: its overlap is over, or it has expired before.
    #[must_use]
    pub fn overlap_end(&self) -> Option<Time> {
        let retire_time = self.rotation()?.retire_time;
        Some(self.expire_time().map_or(retire_time, |time| time.min(retire_time)))
    }

    /// Whether the key counts to its plan's cap, expiry aside: neither rotated nor revoked.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.life.as_ref().is_none_or(|life| life.rotation.is_none() && life.revocation.is_none())
    }

    /// Forgets the address ranges it is bound to, if it is: it may be used from nowhere.
    pub fn forget_sources(&mut self) {
        if let Some(limits) = &mut self.limits
            && limits.sources != Sources::Any
        {
            Arc::make_mut(limits).sources = Sources::Unreadable;
        }
    }

    /// Changes what became of the key. The caller notes the record that says so.
    pub fn live_on(&mut self, change: impl FnOnce(&mut Life)) {
        let mut life = self.life.as_deref().cloned().unwrap_or_default();
        change(&mut life);
        self.life = (life != Life::default()).then(|| Arc::new(life));
    }
}
