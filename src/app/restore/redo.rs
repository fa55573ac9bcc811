//! Recording anew what lost events denied, as done offline, through the rules every command passes.
//!
//! Where it cannot be done as it was, the key is disabled: it may be enabled again by who knows better.
//! Doing it again changes nothing more, so it can be interrupted.

use std::cmp::min;
use std::sync::Arc;

use crate::app::App;
use crate::app::erase_account::destroy_or_stop;
use crate::app::own_command::{self, OwnCommandError};
use crate::app::restore::RestoreError;
use crate::app::sealing::{self, read_personal, sources_of};
use crate::app::update_key::differing;
use crate::domain::account::{AccountState, AccountStatus};
use crate::domain::account_rules::{EraseAccount, PutAccount};
use crate::domain::caller_rules::{RevokeCaller, RotateCaller};
use crate::domain::command::Act;
use crate::domain::denials::{Denials, LostCaller, LostKey, narrowed};
use crate::domain::event::{Event, EventKind, Mechanism, Recorded};
use crate::domain::ids::{AccountRef, CallerId, KeyId};
use crate::domain::key::{Key, KeyState, RevokeReason};
use crate::domain::key_rules::{RevokeKey, SwitchKey, UpdateKey};
use crate::domain::peppers::works_on;
use crate::domain::personal::Personal;
use crate::domain::sealed::Private;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::ledger::lanes::Lane;
use crate::progress::Progress;

/// Something about one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The subject.
    pub subject: String,
    /// What was done, or why it was not.
    pub what: String,
}

/// What was recorded anew, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redone {
    /// What was recorded.
    pub recorded: Vec<Told>,
    /// What could not be.
    pub refused: Vec<Told>,
}

/// Records anew what the lost events denied.
///
/// # Errors
/// [`RestoreError`] if the ledger cannot be read or written.
pub(super) fn redo(
    app: &App,
    denials: &Denials,
    progress: &dyn Progress,
) -> Result<Redone, RestoreError> {
    let mut redo = Redo { app, redone: Redone::default() };
    progress.begin("recording denials anew", denials.len() as u64);
    let mut done = 0;
    let mut one_more = || {
        done += 1;
        progress.reached(done);
    };
    for (id, lost) in &denials.callers {
        redo.caller(*id, lost)?;
        one_more();
    }
    // First of what is about accounts: what else was denied of these is denied by that.
    for (account, lost) in &denials.erased {
        redo.erased(account, lost)?;
        one_more();
    }
    for (account, lost) in &denials.accounts {
        redo.account(account, lost)?;
        one_more();
    }
    for (id, lost) in &denials.keys {
        redo.key(*id, lost)?;
        one_more();
    }
    redo.peppers(denials)?;
    denials.peppers.iter().for_each(|_| one_more());
    progress.end();
    Ok(redo.redone)
}

struct Redo<'a> {
    app: &'a App,
    redone: Redone,
}

impl Redo<'_> {
    fn key(&mut self, id: KeyId, lost: &LostKey) -> Result<(), RestoreError> {
        let row = self.app.table.row(&id);
        let Some(row) = row.filter(|row| !row.account.standing().account.erased) else {
            return Ok(());
        };
        let now = self.app.now();
        if let Some(fact) = &lost.revoked
            && let Event::KeyRevoked { reason, leaked } = fact.event
        {
            let private = self.carried(fact);
            let act = Act::RevokeKey(RevokeKey { key: id, reason, leaked, private });
            return self.must(id.to_string(), "revoked", act);
        }
        let state = row.key.state_at(now);
        if matches!(state, KeyState::Revoked | KeyState::Superseded | KeyState::Expired) {
            return Ok(());
        }
        if lost.retire_time.is_some_and(|time| time <= now) {
            let what = match row.key.rotation() {
                Some(_) => "revoked: its overlap is over",
                None => "revoked: its successor is lost, and its overlap is over",
            };
            return self.revoke(id, RevokeReason::Superseded, what);
        }
        if lost.limits.is_some() || lost.retire_time.is_some() {
            self.limit(id, &row.key, lost, now)?;
        }
        if lost.disabled {
            self.disable(id, "disabled")?;
        }
        Ok(())
    }

    /// Ends what had ended with a retired pepper. No pepper is retired anew: what had moved is on it again.
    fn peppers(&mut self, denials: &Denials) -> Result<(), RestoreError> {
        const WHAT: &str = "revoked: it had ended with its pepper";
        if denials.peppers.is_empty() {
            return Ok(());
        }
        let (table, now) = (&self.app.table, self.app.now());
        for id in table.first_keys(None, usize::MAX, |key| works_on(key, now)) {
            let row = table.row(&id);
            let Some(row) = row.filter(|row| !row.account.standing().account.erased) else {
                continue;
            };
            let last = denials.keys.get(&id).and_then(|lost| lost.pepper);
            if denials.peppers.contains(&last.unwrap_or(row.key.pepper)) {
                self.revoke(id, RevokeReason::Unspecified, WHAT)?;
            }
        }
        for (id, caller) in table.callers() {
            let last = denials.callers.get(&id).and_then(|lost| lost.pepper);
            let ended = denials.peppers.contains(&last.unwrap_or(caller.tag.pepper));
            if ended && caller.works_at(now) {
                let act = Act::RevokeCaller(RevokeCaller { caller: id, private: None });
                self.must(id.to_string(), WHAT, act)?;
            }
        }
        Ok(())
    }

    /// Gives a key the limits it had at last; the end of its overlap becomes its expiry.
    fn limit(
        &mut self,
        id: KeyId,
        key: &Key,
        lost: &LostKey,
        now: Time,
    ) -> Result<(), RestoreError> {
        let present = self.personal(key.personal_at())?;
        let subject = Subject::Key(Arc::clone(&key.account), id);
        let (scopes, own_expiry, next, private) = match &lost.limits {
            Some(fact) => {
                let Event::KeyUpdated(updated) = &fact.event else { return Ok(()) };
                let opened = self.opened(fact).zip(fact.private.clone());
                let Some((next, private)) = opened else {
                    return self.disable(id, "disabled: its last limits cannot be read");
                };
                (updated.scopes.clone(), updated.expire_time, next, private)
            }
            None => {
                let next = Personal {
                    name: present.name.clone(),
                    metadata: present.metadata.clone(),
                    allowed_cidrs: present.allowed_cidrs.clone(),
                    ..Personal::default()
                };
                let private = self.seal(&subject, EventKind::KeyUpdated, &next)?;
                (None, key.expire_time(), next, private)
            }
        };
        let ends = [own_expiry, lost.retire_time].into_iter().flatten();
        let expire_time = ends.reduce(min);
        if expire_time.is_some_and(|time| time <= now) {
            return self.revoke(id, RevokeReason::Unspecified, "revoked: its time is over");
        }
        let Some(sources) = sources_of(&next) else {
            return self.disable(id, "disabled: its last address ranges cannot be read");
        };
        let (resealed, basis) = (differing(&present, &next), key.position());
        let update = UpdateKey {
            key: id,
            scopes,
            expire_time,
            sources,
            resealed,
            basis,
            expected: None,
            private,
        };
        let what = match (&lost.limits, lost.retire_time) {
            (Some(_), None) => "limited as it was at last",
            (None, _) => "expires when its overlap ends: its successor is lost",
            (Some(_), Some(_)) => {
                "limited as it was at last, and expires when its overlap ends: its successor is lost"
            }
        };
        if self.commit(id.to_string(), what, Act::UpdateKey(update))? {
            return Ok(());
        }
        self.disable(id, "disabled: it has been changed since, so its last limits do not fit")
    }

    fn revoke(
        &mut self,
        id: KeyId,
        reason: RevokeReason,
        what: &'static str,
    ) -> Result<(), RestoreError> {
        let act = Act::RevokeKey(RevokeKey { key: id, reason, leaked: false, private: None });
        self.must(id.to_string(), what, act)
    }

    fn disable(&mut self, id: KeyId, what: &'static str) -> Result<(), RestoreError> {
        let act = Act::DisableKey(SwitchKey { key: id, private: None });
        self.must(id.to_string(), what, act)
    }

    /// Erases an account: puts it on record and destroys its data keys.
    fn erased(&mut self, name: &AccountRef, lost: &Recorded) -> Result<(), RestoreError> {
        if self.app.table.standing(name).is_none_or(|standing| standing.account.erased) {
            return Ok(());
        }
        let private = self.carried(lost);
        let account = Arc::new(name.clone());
        let act = Act::EraseAccount(EraseAccount { account, expected: None, private });
        self.must(format!("{}/{}", name.tenant, name.account), "erased", act)?;
        destroy_or_stop(&self.app.vault, name);
        self.app.forget_erased();
        Ok(())
    }

    fn account(&mut self, name: &AccountRef, lost: &AccountState) -> Result<(), RestoreError> {
        let Some(standing) = self.app.table.standing(name) else { return Ok(()) };
        let present = &standing.account;
        if present.erased {
            return Ok(());
        }
        let Some(narrowed) = narrowed(&present.state, lost) else { return Ok(()) };
        let what = match narrowed.status {
            AccountStatus::Closed if present.state.status == AccountStatus::Closed => return Ok(()),
            status if status == present.state.status => "permissions and roles narrowed",
            AccountStatus::Closed => "closed",
            AccountStatus::Suspended | AccountStatus::Active => "suspended",
        };
        let display_name = self.personal(present.position)?.display_name;
        let personal = Personal { display_name, ..Personal::default() };
        let account = Arc::new(name.clone());
        let subject = Subject::Account(Arc::clone(&account));
        let put = PutAccount {
            account,
            plan: None,
            permissions: Some(narrowed.permissions),
            roles: Some(narrowed.roles),
            status: Some(narrowed.status),
            renamed: false,
            basis: Some(present.position),
            expected: None,
            private: self.seal(&subject, EventKind::AccountChanged, &personal)?,
        };
        self.must(format!("{}/{}", name.tenant, name.account), what, Act::PutAccount(put))
    }

    fn caller(&mut self, id: CallerId, lost: &LostCaller) -> Result<(), RestoreError> {
        let Some(caller) = self.app.table.caller(&id) else { return Ok(()) };
        if let Some(fact) = &lost.revoked {
            let private = self.carried(fact);
            let act = Act::RevokeCaller(RevokeCaller { caller: id, private });
            return self.must(id.to_string(), "revoked", act);
        }
        let tag_of = |fact: &Recorded| match &fact.event {
            Event::CallerRotated { tag, .. } => Some(tag.clone()),
            _ => None,
        };
        // Those behind the one it has, if this was begun before.
        let tags: Vec<_> = lost.rotations.iter().map(tag_of).collect();
        let done = tags.iter().rposition(|tag| tag.as_ref() == Some(&caller.tag));
        for fact in &lost.rotations[done.map_or(0, |done| done + 1)..] {
            let Event::CallerRotated { tag, retire_time } = &fact.event else { continue };
            let (tag, overlap) = (tag.clone(), retire_time.since(self.app.now()));
            let private = self.carried(fact);
            let act = Act::RotateCaller(RotateCaller { caller: id, tag, overlap, private });
            self.must(id.to_string(), "has the credential it was given at last", act)?;
        }
        Ok(())
    }

    /// Has it done; what a rule refuses is told as not done.
    fn must(&mut self, subject: String, what: &'static str, act: Act) -> Result<(), RestoreError> {
        if !self.commit(subject.clone(), what, act)? {
            self.redone.refused.push(Told { subject, what: format!("could not be: {what}") });
        }
        Ok(())
    }

    /// Has it done, if no rule refuses; answers whether none did.
    fn commit(
        &mut self,
        subject: String,
        what: &'static str,
        act: Act,
    ) -> Result<bool, RestoreError> {
        match own_command::commit(self.app, Lane::Commands, Mechanism::Offline, act) {
            Ok(done) => {
                if done.position.is_some() {
                    self.redone.recorded.push(Told { subject, what: what.to_owned() });
                }
                Ok(true)
            }
            Err(OwnCommandError::Refused(refusal)) => {
                tracing::warn!(subject, what, %refusal, "a denial could not be recorded anew");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The sealed fields of a lost record, to be kept with the one that takes its place: they are bound
    /// to the event, which keeps its id. None if it has none, or they cannot be opened here.
    fn carried(&self, fact: &Recorded) -> Option<Private> {
        self.opened(fact).and(fact.private.clone())
    }

    fn opened(&self, fact: &Recorded) -> Option<Personal> {
        sealing::open(&self.app.vault.data_keys, fact).ok().flatten()
    }

    fn personal(&self, at: crate::domain::ids::Position) -> Result<Personal, RestoreError> {
        let personal = read_personal(&*self.app.reader, &self.app.vault.data_keys, at)?;
        Ok(personal.unwrap_or_default())
    }

    fn seal(
        &self,
        subject: &Subject,
        kind: EventKind,
        personal: &Personal,
    ) -> Result<Private, RestoreError> {
        Ok(self.app.seal(subject, kind, personal)?)
    }
}
