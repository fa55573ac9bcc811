//! What becomes of peppers and of those that depend on them, told once more and apart from the rules that this
//! is held against.

use super::model::{About, Act, Caller, Key, Model};
use super::rules::{Cause, Outcome, no};

impl Key {
    fn depends_on(&self, pepper: u16, now: i64) -> bool {
        self.pepper == pepper && self.over_at(now).is_none()
    }
}

impl Caller {
    fn depends_on(&self, pepper: u16, now: i64) -> bool {
        let before = self.before.is_some_and(|(before, until)| before == pepper && now < until);
        self.works_at(now) && (self.pepper == pepper || before)
    }
}

impl Model {
    /// What a step asks of peppers: another, or the end of the oldest.
    pub(super) fn ageing(&self, accepted: bool) -> Act {
        let oldest = (1..=self.pepper).find(|version| !self.retired.contains(version));
        let version = oldest.expect("one is in force");
        if version == self.pepper {
            return Act::RotatePepper(version + 1);
        }
        let now = self.judging_time();
        Act::RetirePepper { version, accepted: accepted.then(|| self.dependents(version, now)) }
    }

    pub(super) fn dependents(&self, pepper: u16, now: i64) -> u64 {
        let keys = self.keys.values().filter(|key| key.depends_on(pepper, now)).count();
        let callers = self.callers.values().filter(|caller| caller.depends_on(pepper, now)).count();
        (keys + callers) as u64
    }

    pub(super) fn rotate_pepper(&mut self, version: u16, cause: Cause) -> Outcome {
        if self.pepper >= version {
            return no("Moved");
        }
        self.pepper = version;
        Ok(Some(self.note("PepperRotated", About::Service, cause)))
    }

    pub(super) fn retire_pepper(
        &mut self,
        version: u16,
        accepted: Option<u64>,
        cause: Cause,
    ) -> Outcome {
        let now = cause.now;
        if self.retired.contains(&version) {
            return Ok(None);
        }
        if self.dependents(version, now) != accepted.unwrap_or(0) {
            return no("PepperInUse(Dependents");
        }
        let governs = |caller: &&Caller| caller.admin && caller.works_at(now);
        let mut governing = self.callers.values().filter(governs);
        let ends = self.callers.values().any(|caller| caller.depends_on(version, now));
        if ends
            && governing.clone().next().is_some()
            && governing.all(|admin| admin.pepper == version)
        {
            return no("LastAdmin");
        }
        self.retired.insert(version);
        let place = self.note("PepperRetired", About::Service, cause);
        for key in self.keys.values_mut().filter(|key| key.depends_on(version, now)) {
            key.revoked = Some(place);
        }
        for caller in self.callers.values_mut().filter(|caller| caller.works_at(now)) {
            caller.revoked = caller.pepper == version;
            caller.before = caller.before.filter(|(before, _)| *before != version);
        }
        Ok(Some(place))
    }

    pub(super) fn rehash(&mut self, id: usize, from: u16, to: u16, cause: Cause) -> Outcome {
        let moves = from < to && to == self.pepper;
        let may =
            |key: &&Key| key.depends_on(from, cause.now) && !self.accounts[&key.account].erased;
        let found = self.keys.get(&id).filter(|key| moves && may(key));
        let Some(key) = found.cloned() else { return Ok(None) };
        let place = self.note("KeyRehashed", About::Key(id), cause);
        self.keys.insert(id, Key { pepper: to, place, ..key });
        Ok(Some(place))
    }

    pub(super) fn rehash_caller(
        &mut self,
        id: usize,
        tag: u8,
        (from, to): (u16, u16),
        cause: Cause,
    ) -> Outcome {
        let caller = self.callers[&id].clone();
        let same = caller.tag == tag && caller.pepper == from && caller.works_at(cause.now);
        if !same || from >= to || to != self.pepper {
            return Ok(None);
        }
        let place = self.note("CallerRehashed", About::Caller(id), cause);
        self.callers.insert(id, Caller { pepper: to, place, ..caller });
        Ok(Some(place))
    }
}

impl Act {
    /// The pepper of the tag it brings, if it brings one.
    pub(super) fn new_pepper(&self) -> Option<u16> {
        match self {
            Act::Create { pepper, .. }
            | Act::Rotate { pepper, .. }
            | Act::CreateCaller { pepper, .. }
            | Act::RotateCaller { pepper, .. } => Some(*pepper),
            _ => None,
        }
    }
}
