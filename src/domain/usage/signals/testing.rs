//! Records of uses, and a key that is watched.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use super::{Finding, KeyHistory, Seen, SignalKind, SourceName, SourceNetwork};
use crate::domain::ids::Position;
use crate::domain::time::{Month, Time};
use crate::domain::usage::UseOutcome;
use crate::domain::usage::used::{Place, UsedCount, UsedWindow};
use crate::domain::usage::window::Total;

pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// So many days, hours and minutes after 2024-01-31T00:00:00Z, a Wednesday.
pub(super) fn when(days: i64, hours: i64, minutes: i64) -> Time {
    Time::from_micros((((19_753 + days) * 24 + hours) * 60 + minutes) * 60_000_000)
}

/// Uses that are alike: outcome, source (empty: not known), how many.
pub(super) type Line<'a> = (UseOutcome, &'a str, u64);

/// A record's window of a minute, and its sources.
pub(super) fn window(start: Time, lines: &[Line<'_>]) -> (UsedWindow, Vec<String>) {
    let mut sources: Vec<String> = Vec::new();
    let mut totals: Vec<Total> = Vec::new();
    let mut counts = Vec::new();
    for (outcome, source, count) in lines.iter().filter(|(.., count)| *count > 0) {
        let (outcome, count) = (*outcome, *count);
        match totals.iter_mut().find(|total| total.outcome == outcome) {
            Some(total) => total.count += count,
            None => totals.push(Total { outcome, count, first: start, last: start }),
        }
        let at = sources.iter().position(|known| known == source).unwrap_or_else(|| {
            sources.push((*source).to_owned());
            sources.len() - 1
        });
        let place = NonZeroU32::new(u32::try_from(at + 1).expect("few"));
        let source: Place = if source.is_empty() { None } else { place };
        counts.push(UsedCount { outcome, caller: None, action: None, source, count });
    }
    totals.sort_unstable_by_key(|total| total.outcome);
    let window = UsedWindow {
        start,
        span: MINUTE,
        totals,
        positions: None,
        callers: Vec::new(),
        actions: Vec::new(),
        counts,
        samples: Vec::new(),
    };
    (window, sources)
}

/// A key, the log it is in and the months whose sources can no longer be read.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) history: KeyHistory,
    pub(super) next: Position,
    pub(super) gone: Vec<Month>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Watch { history: KeyHistory::default(), next: Position::FIRST, gone: Vec::new() }
    }

    /// The key is used so in the minute that begins at `start`.
    pub(super) fn used(&mut self, start: Time, lines: &[Line<'_>]) -> Vec<Finding> {
        let (window, sources) = window(start, lines);
        let position = self.next;
        self.next = position.next();
        let gone = &self.gone;
        let naming = |month, network: &SourceNetwork| {
            (!gone.contains(&month)).then(|| name_of(month, network))
        };
        let seen = Seen { position, window: &window, sources: &sources };
        self.history.take(&seen, &naming)
    }

    pub(super) fn allowed(&mut self, start: Time, source: &str) -> Vec<SignalKind> {
        kinds(&self.used(start, &[(UseOutcome::Allowed, source, 1)]))
    }

    /// The key is allowed so often from one source.
    pub(super) fn busy(&mut self, start: Time, count: u64) -> Vec<Finding> {
        self.used(start, &[(UseOutcome::Allowed, "192.0.2.1", count)])
    }
}

pub(super) fn kinds(found: &[Finding]) -> Vec<SignalKind> {
    found.iter().map(|finding| finding.kind).collect()
}

pub(super) fn name_of(month: Month, network: &SourceNetwork) -> SourceName {
    let mut hasher = DefaultHasher::new();
    (month, network).hash(&mut hasher);
    SourceName(hasher.finish().to_be_bytes())
}
