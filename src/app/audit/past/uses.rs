//! How often a key had been used, and when last, as far as that was on record.
//!
//! Each record of uses carries the running totals, so the newest one has the counts. Its window may hold no
//! allowed use; which record does, if it is far back, is found by the totals too: by halving the stretch
//! in which the total took its last step.

use super::super::chain::LogReader;
use crate::app::error::AppError;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::Position;
use crate::domain::key::Key;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::domain::usage::UseCounts;
use crate::domain::usage::used::KeyUsed;

/// How often a key had been used.
#[derive(Debug)]
pub(super) struct PastUses {
    pub(super) counts: UseCounts,
    /// The end of the newest window that is counted.
    pub(super) as_of: Option<Time>,
}

/// Which uses.
#[derive(Clone, Copy)]
enum Which {
    Allowed,
    Denied,
}

impl Which {
    fn total(self, used: &KeyUsed) -> u64 {
        match self {
            Which::Allowed => used.total_allowed,
            Which::Denied => used.total_denied,
        }
    }

    /// When the last of them in the window was.
    fn last(self, used: &KeyUsed) -> Option<Time> {
        let counts = used.window.use_counts();
        match self {
            Which::Allowed => counts.last_use,
            Which::Denied => counts.last_denied,
        }
    }
}

fn end(used: &KeyUsed) -> Time {
    used.window.start.plus(used.window.span)
}

/// A record of uses.
struct Found {
    position: Position,
    previous: Option<Position>,
    used: KeyUsed,
}

/// The uses of a key on record up to `bound`; `now` is the key as it is.
pub(super) fn until(
    log: &mut LogReader<'_>,
    subject: &Subject,
    now: &Key,
    bound: Position,
) -> Result<PastUses, AppError> {
    let mut search = Search { log, subject, created: now.created };
    let Some(newest) = search.up_to(bound, now.last_record())? else {
        return Ok(PastUses::default());
    };
    let mut counts = UseCounts {
        allowed: newest.used.total_allowed,
        denied: newest.used.total_denied,
        ..UseCounts::default()
    };
    let as_of = Some(end(&newest.used));
    counts.last_use = search.last(Which::Allowed, &newest)?;
    counts.last_denied = search.last(Which::Denied, &newest)?;
    Ok(PastUses { counts, as_of })
}

struct Search<'a, 'b> {
    log: &'a mut LogReader<'b>,
    subject: &'a Subject,
    created: Position,
}

impl Search<'_, '_> {
    /// The newest record of uses up to `bound`, of which `newest` is a record of the key behind it.
    fn up_to(&mut self, bound: Position, newest: Position) -> Result<Option<Found>, AppError> {
        let newest = self.log.newest_up_to(self.subject, bound, newest)?;
        self.at_or_before(newest)
    }

    /// The record of uses at a record of the key, or the next one back.
    fn at_or_before(&mut self, mut next: Option<Position>) -> Result<Option<Found>, AppError> {
        while let Some(position) = next {
            let link = self.log.link(position)?;
            if link.kind == EventKind::KeyUsed as u64
                && let Event::KeyUsed(used) = self.log.fact(position)?.event
            {
                return Ok(Some(Found { position, previous: link.previous, used: *used }));
            }
            next = link.previous;
        }
        Ok(None)
    }

    /// When the last such use was, of those that `newest` has counted.
    fn last(&mut self, which: Which, newest: &Found) -> Result<Option<Time>, AppError> {
        let total = which.total(&newest.used);
        if total == 0 {
            return Ok(None);
        }
        let mut last = which.last(&newest.used);
        let (mut high, mut previous) = (newest.position, newest.previous);
        let mut low = self.created;
        // The total stands from the record that is searched for up to `high`, and not yet at `low`.
        while last.is_none() {
            let middle = Position::new(low.get() + (high.get() - low.get()) / 2).unwrap_or(low);
            let halfway = if middle > low { self.up_to(middle, high)? } else { None };
            let found = match halfway.filter(|found| which.total(&found.used) == total) {
                Some(found) => Some(found),
                None => {
                    low = middle;
                    self.at_or_before(previous)?
                }
            };
            let Some(found) = found else { return Ok(None) };
            last = which.last(&found.used);
            (high, previous) = (found.position, found.previous);
        }
        self.later(which, last, previous)
    }

    /// The latest of `last` and what records of uses before it have: windows go on record in about their
    /// order, so one that ended before `last` ends the search.
    fn later(
        &mut self,
        which: Which,
        mut last: Option<Time>,
        mut previous: Option<Position>,
    ) -> Result<Option<Time>, AppError> {
        while let Some(found) = self.at_or_before(previous)? {
            if last.is_some_and(|last| end(&found.used) <= last) {
                break;
            }
            last = last.max(which.last(&found.used));
            previous = found.previous;
        }
        Ok(last)
    }
}
