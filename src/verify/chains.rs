//! What must hold from record to record, in a whole history and in any part of it that leaves out no record of
//! a subject that it has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::Unsound;
use crate::domain::event::{Event, Recorded};
use crate::domain::ids::{AccountRef, CallerId, KeyId, Position};
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::domain::usage::rules::used_after;
use crate::domain::usage::used::KeyUsed;
use crate::domain::usage::{UseCounts, Used};
use crate::vault::commitment;

/// What has been verified, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records.
    pub records: u64,
    /// Keys that they are about.
    pub keys: u64,
    /// Records whose personal fields were disclosed, and held to what they commit to.
    pub disclosed: u64,
    /// Records with personal fields that were not disclosed.
    pub undisclosed: u64,
    /// When the first record was made, in microseconds since 1970.
    pub first_time: i64,
    /// When the last one was.
    pub last_time: i64,
}

/// What has been seen of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeySeen {
    /// The place of its account.
    pub(super) account: usize,
    pub(super) last: Position,
    pub(super) revoked: Option<Position>,
    pub(super) allowed: u64,
    pub(super) denied: u64,
}

/// What has been seen of an account: nothing, maybe, but that keys are of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccountSeen {
    pub(super) account: Arc<AccountRef>,
    pub(super) last: Option<Position>,
}

/// What the next record must follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chains {
    pub(super) service: Option<Position>,
    pub(super) callers: HashMap<CallerId, Position>,
    pub(super) accounts: Accounts,
    pub(super) keys: HashMap<KeyId, KeySeen>,
    pub(super) tally: Tally,
}

/// The accounts, each in a place of its own, so that a key names its account by that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accounts {
    seen: Vec<AccountSeen>,
    places: HashMap<Arc<AccountRef>, usize>,
}

impl Accounts {
    pub(super) fn all(&self) -> &[AccountSeen] {
        &self.seen
    }

    /// The place of an account, which is given one if it has none.
    pub(super) fn place(&mut self, account: &Arc<AccountRef>) -> usize {
        if let Some(place) = self.places.get(account) {
            return *place;
        }
        let place = self.seen.len();
        self.seen.push(AccountSeen { account: Arc::clone(account), last: None });
        self.places.insert(Arc::clone(account), place);
        place
    }

    /// Notes where the last record of an account is; answers where the one before it was.
    pub(super) fn note(&mut self, account: &Arc<AccountRef>, at: Position) -> Option<Position> {
        let place = self.place(account);
        self.seen[place].last.replace(at)
    }
}

impl Chains {
    /// Takes the next record, and the clear bytes of its personal fields if they were disclosed.
    pub(super) fn follow(&mut self, fact: &Recorded, clear: Option<&[u8]>) -> Result<(), Unsound> {
        let position = fact.position;
        let of_key = matches!(fact.subject, Subject::Key(..));
        if matches!(fact.event, Event::KeyUsed(_)) && !of_key {
            return Err(Unsound::UsesOfNoKey { position });
        }
        let follows = match &fact.subject {
            Subject::Service => self.service.replace(position) == fact.previous,
            Subject::Caller(id) => self.callers.insert(*id, position) == fact.previous,
            Subject::Account(account) => self.accounts.note(account, position) == fact.previous,
            Subject::Key(account, id) => {
                let key = self.key(account, *id, fact).ok_or(Unsound::BrokenChain { position })?;
                key.note(&fact.event, position)?;
                true
            }
        };
        if !follows {
            return Err(Unsound::BrokenChain { position });
        }
        self.count(fact.position, fact.time)?;
        match (clear, &fact.private) {
            (None, None) => {}
            (None, Some(_)) => self.tally.undisclosed += 1,
            (Some(clear), Some(private)) if private.commitment == commitment(clear) => {
                self.tally.disclosed += 1;
            }
            (Some(_), _) => return Err(Unsound::OtherDisclosure { position }),
        }
        Ok(())
    }

    /// The key of a record; none if the record does not follow the key's last, or is of another account.
    fn key(
        &mut self,
        account: &Arc<AccountRef>,
        id: KeyId,
        fact: &Recorded,
    ) -> Option<&mut KeySeen> {
        match self.keys.entry(id) {
            Entry::Occupied(seen) => {
                let seen = seen.into_mut();
                let of_it = self.accounts.seen.get(seen.account);
                let follows = of_it.is_some_and(|of_it| of_it.account == *account)
                    && fact.previous == Some(seen.last);
                seen.last = fact.position;
                follows.then_some(seen)
            }
            Entry::Vacant(free) if fact.previous.is_none() => {
                let account = self.accounts.place(account);
                let last = fact.position;
                Some(free.insert(KeySeen { account, last, revoked: None, allowed: 0, denied: 0 }))
            }
            Entry::Vacant(_) => None,
        }
    }

    fn count(&mut self, position: Position, time: Time) -> Result<(), Unsound> {
        let time = time.as_micros();
        if self.tally.records == 0 {
            (self.tally.first_time, self.tally.last_time) = (time, time);
        }
        if time < self.tally.last_time {
            return Err(Unsound::OutOfTime { position });
        }
        self.tally.last_time = time;
        self.tally.records += 1;
        Ok(())
    }

    pub(super) fn tally(&self) -> Tally {
        Tally { keys: self.keys.len() as u64, ..self.tally }
    }
}

impl KeySeen {
    fn note(&mut self, event: &Event, position: Position) -> Result<(), Unsound> {
        match event {
            Event::KeyRevoked { .. } => self.revoked = self.revoked.or(Some(position)),
            Event::KeyUsed(used) => self.note_uses(used, position)?,
            _ => {}
        }
        Ok(())
    }

    fn note_uses(&mut self, used: &KeyUsed, position: Position) -> Result<(), Unsound> {
        let counts =
            UseCounts { allowed: self.allowed, denied: self.denied, ..UseCounts::default() };
        let before = Used { recorded: position, counts };
        let after = used_after(Some(&before), used, position);
        let after = after.ok_or(Unsound::BrokenTotals { position })?.counts;
        (self.allowed, self.denied) = (after.allowed, after.denied);
        let last_allowed = used.window.positions.map(|(_, last)| last);
        if used.window.use_counts().allowed > 0 && last_allowed.is_none() {
            return Err(Unsound::UsedNowhere { position });
        }
        match self.revoked {
            Some(revoked) if last_allowed >= Some(revoked) => {
                Err(Unsound::UsedAfterRevocation { position, revoked })
            }
            _ => Ok(()),
        }
    }
}
