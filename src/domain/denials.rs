//! What lost events denied: gathered from the records that a restore lost, to be recorded anew.
//!
//! Only what takes something away counts, and only of what there still is: what was granted after the
//! backup is gone, and stays gone. Of a key that was disabled and enabled again, of an account that was
//! suspended and made active again, the last state counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::account::{AccountState, AccountStatus};
use crate::domain::event::{Event, Recorded};
use crate::domain::ids::{AccountRef, CallerId, KeyId, PepperVersion};
use crate::domain::permission::{Permissions, RoleName};
use crate::domain::subject::Subject;
use crate::domain::time::Time;

/// What became of a key in the lost records.
#[derive(Clone, Debug, Default)]
pub struct LostKey {
    /// Its revocation.
    pub revoked: Option<Recorded>,
    /// From when it no longer works because it was given a successor: the end of the overlap.
    pub retire_time: Option<Time>,
    /// The last change of its scopes, expiry or sources.
    pub limits: Option<Recorded>,
    /// Whether it was disabled at the end.
    pub disabled: bool,
    /// The pepper that recognised it at the end, if it had moved to another.
    pub pepper: Option<PepperVersion>,
}

/// What became of a caller in the lost records.
#[derive(Clone, Debug, Default)]
pub struct LostCaller {
    /// Its rotations, in order.
    pub rotations: Vec<Recorded>,
    /// Its revocation.
    pub revoked: Option<Recorded>,
    /// The pepper that recognised it at the end, if that was another or it had another secret.
    pub pepper: Option<PepperVersion>,
}

/// What lost records denied, by subject.
#[derive(Clone, Debug, Default)]
pub struct Denials {
    /// Keys.
    pub keys: BTreeMap<KeyId, LostKey>,
    /// The last states of accounts.
    pub accounts: BTreeMap<AccountRef, AccountState>,
    /// The erasures of accounts.
    pub erased: BTreeMap<AccountRef, Recorded>,
    /// Callers.
    pub callers: BTreeMap<CallerId, LostCaller>,
    /// Peppers that were retired: what was recognised by one at the end has ended.
    pub peppers: BTreeSet<PepperVersion>,
}

impl Denials {
    /// Takes the next lost record into account, if it is about something that is `known`.
    pub fn note(&mut self, known: impl Fn(&Subject) -> bool, lost: &Recorded) {
        if let Event::PepperRetired { version, .. } = lost.event {
            self.peppers.insert(version);
            return;
        }
        if !known(&lost.subject) {
            return;
        }
        match (&lost.subject, &lost.event) {
            (Subject::Key(_, id), event) => {
                note_key(self.keys.entry(*id).or_default(), lost, event)
            }
            (Subject::Account(account), Event::AccountChanged { state, .. }) => {
                self.accounts.insert(AccountRef::clone(account), state.clone());
            }
            (Subject::Account(account), Event::AccountErased) => {
                self.erased.insert(AccountRef::clone(account), lost.clone());
            }
            (Subject::Caller(id), Event::CallerRotated { tag, .. }) => {
                let caller = self.callers.entry(*id).or_default();
                caller.rotations.push(lost.clone());
                caller.pepper = Some(tag.pepper);
            }
            (Subject::Caller(id), Event::CallerRevoked) => {
                self.callers.entry(*id).or_default().revoked = Some(lost.clone());
            }
            (Subject::Caller(id), Event::CallerRehashed { tag }) => {
                self.callers.entry(*id).or_default().pepper = Some(tag.pepper);
            }
            _ => {}
        }
    }

    /// How many subjects something was denied of.
    #[must_use]
    pub fn len(&self) -> usize {
        let accounts = self.accounts.len() + self.erased.len();
        self.keys.len() + accounts + self.callers.len() + self.peppers.len()
    }

    /// Whether nothing was denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn note_key(key: &mut LostKey, lost: &Recorded, event: &Event) {
    match event {
        Event::KeyRevoked { .. } => key.revoked = Some(lost.clone()),
        Event::KeyRotated { retire_time, .. } => key.retire_time = Some(*retire_time),
        Event::KeyRetired { .. } => key.retire_time = Some(lost.time),
        Event::KeyDisabled => key.disabled = true,
        Event::KeyEnabled => key.disabled = false,
        Event::KeyRehashed { tag } => key.pepper = Some(tag.pepper),
        Event::KeyUpdated(updated) => {
            let limits = ["scopes", "expire_time", "allowed_cidrs"];
            let limited = updated.changed.iter().any(|field| limits.contains(&field.as_str()));
            // A later one is whole again, with the limits as they were.
            if limited || key.limits.is_some() {
                key.limits = Some(lost.clone());
            }
        }
        _ => {}
    }
}

/// An account's state, narrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowed {
    /// What it holds directly.
    pub permissions: Permissions,
    /// Its roles.
    pub roles: Vec<RoleName>,
    /// Its status.
    pub status: AccountStatus,
}

/// What an account may have that was left with `lost`: what it has now, and no more than that; none if
/// it has no more now. The plan stays: it takes nothing away from keys there are.
#[must_use]
pub fn narrowed(present: &AccountState, lost: &AccountState) -> Option<Narrowed> {
    let status = match (present.status, lost.status) {
        (AccountStatus::Closed, _) | (_, AccountStatus::Closed) => AccountStatus::Closed,
        (AccountStatus::Suspended, _) | (_, AccountStatus::Suspended) => AccountStatus::Suspended,
        (AccountStatus::Active, AccountStatus::Active) => AccountStatus::Active,
    };
    let covered = present.permissions.iter().all(|word| lost.permissions.cover(word));
    let permissions = if covered {
        present.permissions.clone()
    } else {
        present.permissions.narrowed_by(&lost.permissions)
    };
    let kept = present.roles.iter().filter(|role| lost.roles.contains(role));
    let roles: Vec<RoleName> = kept.cloned().collect();
    let same = covered && roles == present.roles && status == present.status;
    (!same).then_some(Narrowed { permissions, roles, status })
}

#[cfg(test)]
#[path = "denials_tests.rs"]
mod tests;
