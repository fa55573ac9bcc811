//! Peppers as the log knows them: which one new tags are made under, and which are retired.
//!
//! A key or caller is recognised as long as the pepper of its tag is not retired. It moves to the pepper in force
//! when its secret is next presented; what has not moved when its pepper is retired ends with it, by one event.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::caller::Caller;
use crate::domain::event::{Event, Proposal};
use crate::domain::facts::{Facts, FactsMut};
use crate::domain::ids::{CallerId, KeyId, PepperVersion, Position};
use crate::domain::key::{Key, KeyState, Revocation, RevokeReason};
use crate::domain::refusal::Refusal;
use crate::domain::sealed::Private;
use crate::domain::subject::Subject;
use crate::domain::tag::{KeyTag, PepperCheck};
use crate::domain::time::Time;

/// A pepper was retired: nothing is recognised by it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retirement {
    /// The record that says so.
    pub position: Position,
    /// When.
    pub time: Time,
}

/// A pepper that the log has registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Tells a wrong pepper at start.
    pub check: PepperCheck,
    /// Its retirement; none if tags under it are recognised.
    pub retired: Option<Retirement>,
}

/// Every pepper that the log has registered, by version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peppers(BTreeMap<PepperVersion, Registered>);

impl Peppers {
    /// The one that new tags are made under: the highest version; none before the first.
    #[must_use]
    pub fn current(&self) -> Option<PepperVersion> {
        self.0.last_key_value().map(|(version, _)| *version)
    }

    /// What the log says of a version; none if it has no such pepper.
    #[must_use]
    pub fn get(&self, version: PepperVersion) -> Option<&Registered> {
        self.0.get(&version)
    }

    /// Whether nothing is recognised by that version any more.
    #[must_use]
    pub fn is_retired(&self, version: PepperVersion) -> bool {
        self.get(version).is_some_and(|pepper| pepper.retired.is_some())
    }

    /// All of them, by version.
    pub fn iter(&self) -> impl Iterator<Item = (PepperVersion, &Registered)> {
        self.0.iter().map(|(version, pepper)| (*version, pepper))
    }

    /// Those that tags are recognised by, with their check values.
    pub fn in_use(&self) -> impl Iterator<Item = (PepperVersion, PepperCheck)> {
        let in_use = self.iter().filter(|(_, pepper)| pepper.retired.is_none());
        in_use.map(|(version, pepper)| (version, pepper.check))
    }

    /// With one more, as the log or a snapshot has it.
    #[must_use]
    pub fn with(mut self, version: PepperVersion, pepper: Registered) -> Self {
        self.0.insert(version, pepper);
        self
    }

    /// The peppers after one was put in force; none if there is one of that version.
    #[must_use]
    pub fn rotated(&self, version: PepperVersion, check: PepperCheck) -> Option<Self> {
        let new = self.get(version).is_none();
        new.then(|| self.clone().with(version, Registered { check, retired: None }))
    }

    /// The peppers after one was retired; none if there is no such pepper in use, or it is the current one.
    #[must_use]
    pub fn retired(&self, version: PepperVersion, retirement: Retirement) -> Option<Self> {
        let pepper = self.get(version).filter(|pepper| pepper.retired.is_none())?;
        let follows = self.current() > Some(version);
        let retired = Registered { retired: Some(retirement), ..*pepper };
        follows.then(|| self.clone().with(version, retired))
    }

    /// The key as the retirement of its pepper leaves it; none if that changes nothing.
    #[must_use]
    pub fn ended_key(&self, key: &Key) -> Option<Key> {
        let retirement = self.get(key.pepper)?.retired?;
        ended_key(key, &retirement)
    }
}

/// A key whose pepper was retired: one that could still have worked is revoked from then on, for no reason of its
/// own. None if the key was over before.
#[must_use]
pub fn ended_key(key: &Key, retirement: &Retirement) -> Option<Key> {
    works_on(key, retirement.time).then(|| {
        let Retirement { position, time } = *retirement;
        let revocation = Revocation { position, time, reason: RevokeReason::Unspecified };
        let mut ended = key.clone();
        ended.live_on(|life| life.revocation = Some(revocation));
        ended
    })
}

/// Whether the key works at `now`, or will once it is enabled.
#[must_use]
pub fn works_on(key: &Key, now: Time) -> bool {
    match key.state_at(now) {
        KeyState::Active | KeyState::Disabled | KeyState::Retiring => true,
        KeyState::Superseded | KeyState::Expired | KeyState::Revoked => false,
    }
}

/// A caller after its pepper was retired: one whose present secret was recognised by it is revoked, one whose secret
/// before was has only the present one. None if that changes nothing.
fn ended_caller(caller: &Caller, version: PepperVersion, now: Time) -> Option<Caller> {
    if !caller.works_at(now) {
        return None;
    }
    if caller.tag.pepper == version {
        return Some(Caller { revoke_time: Some(now), ..caller.clone() });
    }
    let before = caller.retiring.as_ref().is_some_and(|before| before.tag.pepper == version);
    before.then(|| Caller { retiring: None, ..caller.clone() })
}

/// Whether one of the caller's secrets works at `now` and is recognised by that pepper.
#[must_use]
pub fn depends_on(caller: &Caller, version: PepperVersion, now: Time) -> bool {
    let before = caller.retiring.as_ref().filter(|before| now < before.retire_time);
    caller.works_at(now)
        && (caller.tag.pepper == version
            || before.is_some_and(|before| before.tag.pepper == version))
}

/// How many are recognised by a pepper, of those that can still work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dependents {
    /// Keys.
    pub keys: u64,
    /// Callers.
    pub callers: u64,
}

impl Dependents {
    /// Keys and callers together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.keys.saturating_add(self.callers)
    }
}

/// What RotatePepper asks for.
#[derive(Clone, Debug)]
pub struct RotatePepper {
    /// The new pepper's number.
    pub version: PepperVersion,
    /// Tells a wrong pepper at start.
    pub check: PepperCheck,
    /// Sealed asides of the call.
    pub private: Option<Private>,
}

/// What RetirePepper asks for.
#[derive(Clone, Debug)]
pub struct RetirePepper {
    /// Which pepper.
    pub version: PepperVersion,
    /// How many keys and callers it is accepted to end; none: it must be none.
    pub accepted: Option<u64>,
    /// Sealed asides of the call.
    pub private: Option<Private>,
}

/// What the service asks for when a key's secret was presented whose tag is under an old pepper.
#[derive(Clone, Debug)]
pub struct RehashKey {
    /// Which key.
    pub key: KeyId,
    /// What recognised the secret.
    pub from: KeyTag,
    /// What is to recognise it.
    pub to: KeyTag,
}

/// What the service asks for when a caller's secret was presented whose tag is under an old pepper.
#[derive(Clone, Debug)]
pub struct RehashCaller {
    /// Which caller.
    pub caller: CallerId,
    /// What recognised its present secret.
    pub from: KeyTag,
    /// What is to recognise it.
    pub to: KeyTag,
}

/// How many keys and callers are recognised by a pepper at `now`.
pub(super) fn dependents(facts: &impl Facts, version: PepperVersion, now: Time) -> Dependents {
    let callers = facts.callers();
    let callers = callers.iter().filter(|(_, caller)| depends_on(caller, version, now)).count();
    Dependents { keys: facts.keys_on(version, now), callers: callers as u64 }
}

/// Decides RotatePepper.
///
/// # Errors
/// [`Refusal::Moved`] if a pepper of that version or a later one is in force meanwhile.
pub fn decide_rotate(facts: &impl Facts, rotate: &RotatePepper) -> Result<Vec<Proposal>, Refusal> {
    if facts.peppers().current() >= Some(rotate.version) {
        return Err(Refusal::Moved);
    }
    let RotatePepper { version, check, private } = rotate.clone();
    Ok(vec![about_the_service(Event::PepperRotated { version, check }, private)])
}

/// Decides RetirePepper; retiring a retired pepper does nothing.
///
/// # Errors
/// [`Refusal`] if there is no such pepper, new tags are made under it, others depend on it than is accepted, or no
/// admin of everything would be left.
pub fn decide_retire(
    facts: &impl Facts,
    retire: &RetirePepper,
    now: Time,
) -> Result<Vec<Proposal>, Refusal> {
    let (peppers, version) = (facts.peppers(), retire.version);
    let pepper = peppers.get(version).ok_or(Refusal::PepperNotFound)?;
    if pepper.retired.is_some() {
        return Ok(Vec::new());
    }
    if peppers.current() == Some(version) {
        return Err(Refusal::PepperInForce);
    }
    let ended = dependents(facts, version, now);
    if ended.total() != retire.accepted.unwrap_or(0) {
        return Err(Refusal::PepperInUse(ended));
    }
    let callers = facts.callers();
    let governs = |caller: &Caller| caller.governs_all(now);
    let stays = |caller: &Caller| governs(caller) && caller.tag.pepper != version;
    if ended.callers > 0
        && callers.iter().any(|(_, caller)| governs(caller))
        && !callers.iter().any(|(_, caller)| stays(caller))
    {
        return Err(Refusal::LastAdmin);
    }
    let event = Event::PepperRetired { version, ended };
    Ok(vec![about_the_service(event, retire.private.clone())])
}

/// Decides that a key's secret is recognised by the pepper in force from now on; does nothing if the key has another
/// secret or pepper by now, is over, or if its account is erased or another pepper is in force.
pub fn decide_rehash_key(facts: &impl Facts, rehash: &RehashKey, now: Time) -> Vec<Proposal> {
    let RehashKey { key: id, from, to } = rehash;
    let Some(key) = facts.key(id) else { return Vec::new() };
    let same = key.pepper == from.pepper && key.tag == from.tag;
    let erased = facts.account(&key.account).is_none_or(|account| account.erased);
    if !same || !moves(facts, from, to) || !works_on(&key, now) || erased {
        return Vec::new();
    }
    let subject = Subject::Key(Arc::clone(&key.account), *id);
    vec![Proposal { subject, event: Event::KeyRehashed { tag: to.clone() }, private: None }]
}

/// Decides that a caller's present secret is recognised by the pepper in force from now on; does nothing where
/// [`decide_rehash_key`] would not.
pub fn decide_rehash_caller(facts: &impl Facts, rehash: &RehashCaller, now: Time) -> Vec<Proposal> {
    let RehashCaller { caller: id, from, to } = rehash;
    let Some(caller) = facts.caller(id) else { return Vec::new() };
    if caller.tag != *from || !moves(facts, from, to) || !caller.works_at(now) {
        return Vec::new();
    }
    let event = Event::CallerRehashed { tag: to.clone() };
    vec![Proposal { subject: Subject::Caller(*id), event, private: None }]
}

fn moves(facts: &impl Facts, from: &KeyTag, to: &KeyTag) -> bool {
    from.pepper < to.pepper && facts.peppers().current() == Some(to.pepper)
}

fn about_the_service(event: Event, private: Option<Private>) -> Proposal {
    Proposal { subject: Subject::Service, event, private }
}

/// Folds the retirement of a pepper: what depended on it ends. None if it does not follow.
pub(super) fn apply_retired(
    facts: &mut impl FactsMut,
    version: PepperVersion,
    retirement: Retirement,
) -> Option<()> {
    let peppers = facts.peppers().retired(version, retirement)?;
    facts.put_peppers(peppers);
    for (id, caller) in facts.callers() {
        if let Some(ended) = ended_caller(&caller, version, retirement.time) {
            facts.put_caller(id, ended);
        }
    }
    facts.end_keys(version, &retirement);
    Some(())
}

#[cfg(test)]
#[path = "peppers_tests.rs"]
mod tests;
