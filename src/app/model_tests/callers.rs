//! What may be done to callers, told once more.

use super::model::{About, Caller, Model};
use super::rules::{Cause, Outcome, no};

impl Model {
    /// Refuses who would grant or manage what it lacks.
    fn authority(&self, by: Option<usize>, admin: bool) -> Result<Option<i64>, String> {
        let Some(by) = by else { return Ok(None) };
        let maker = &self.callers[&by];
        if admin && !maker.admin { no("GrantExceedsOwn") } else { Ok(maker.expires) }
    }

    fn gives_out(&self, cause: Cause, admin: bool, expires: Option<i64>) -> Result<(), String> {
        let until = self.authority(cause.by, admin)?;
        let outlives = |until| expires.is_none_or(|expires| expires > until);
        if until.is_some_and(outlives) { no("GrantExceedsOwn") } else { Ok(()) }
    }

    pub(super) fn create_caller(
        &mut self,
        id: usize,
        admin: bool,
        expires: Option<i64>,
        pepper: u16,
        cause: Cause,
    ) -> Outcome {
        self.gives_out(cause, admin, expires)?;
        if expires.is_some_and(|expires| expires <= cause.now) {
            return no("ExpiryPast");
        }
        let place = self.note("CallerCreated", About::Caller(id), cause);
        let caller = Caller { admin, expires, revoked: false, tag: 9, pepper, before: None, place };
        self.callers.insert(id, caller);
        Ok(Some(place))
    }

    pub(super) fn rotate_caller(&mut self, id: usize, pepper: u16, cause: Cause) -> Outcome {
        let caller = self.callers[&id].clone();
        self.gives_out(cause, caller.admin, caller.expires)?;
        if caller.revoked {
            return no("CallerRevoked");
        }
        if !caller.works_at(cause.now) {
            return no("CallerExpired");
        }
        let place = self.note("CallerRotated", About::Caller(id), cause);
        let before = Some((caller.pepper, cause.now + 10));
        self.callers.insert(id, Caller { place, tag: 7, pepper, before, ..caller });
        Ok(Some(place))
    }

    pub(super) fn revoke_caller(&mut self, id: usize, cause: Cause) -> Outcome {
        let caller = self.callers[&id].clone();
        self.authority(cause.by, caller.admin)?;
        if caller.revoked {
            return Ok(None);
        }
        let governs = |caller: &Caller| caller.admin && caller.works_at(cause.now);
        // Another admin takes over only if it lasts as long.
        let lasts = |other: &Caller| match (caller.expires, other.expires) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(until)) => own <= until,
        };
        let mut others = self.callers.iter().filter(|(other, _)| **other != id);
        if governs(&caller) && !others.any(|(_, other)| governs(other) && lasts(other)) {
            return no("LastAdmin");
        }
        let place = self.note("CallerRevoked", About::Caller(id), cause);
        self.callers.insert(id, Caller { place, revoked: true, ..caller });
        Ok(Some(place))
    }
}
