//! A window as it is recorded: what may name a person is set apart, to be sealed, and named by its place.

use std::net::IpAddr;
use std::time::Duration;

use crate::domain::ids::{CallerId, KeyId, Position, TraceId};
use crate::domain::personal::Personal;
use crate::domain::time::Time;
use crate::domain::usage::window::{Count, Sample, Total, Window};
use crate::domain::usage::{UseCounts, UseOutcome};

/// A place in a list, from 1; none: not known or not given.
pub type Place = Option<std::num::NonZeroU32>;

/// One line of a recorded breakdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedCount {
    /// The outcome.
    pub outcome: UseOutcome,
    /// The calling service, among the window's callers.
    pub caller: Place,
    /// What it was for, among the window's actions.
    pub action: Place,
    /// Where it came from, among the sealed sources.
    pub source: Place,
    /// How often.
    pub count: u64,
}

/// One recorded use with its particulars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedSample {
    /// The outcome.
    pub outcome: UseOutcome,
    /// When it was decided.
    pub time: Time,
    /// The trace the call was part of.
    pub trace_id: Option<TraceId>,
    /// The calling service, among the window's callers.
    pub caller: Place,
    /// What it was for, among the window's actions.
    pub action: Place,
    /// Where it came from, among the sealed sources.
    pub source: Place,
    /// What it said it came from, among the sealed agents.
    pub agent: Place,
    /// The first of the permissions that were required.
    pub required: Vec<String>,
    /// Of an unknown key: the key id its text named.
    pub presented: Option<KeyId>,
}

/// A window of uses as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedWindow {
    /// When it begins.
    pub start: Time,
    /// How long it is; whole seconds.
    pub span: Duration,
    /// Each outcome that came, in ascending order.
    pub totals: Vec<Total>,
    /// The lowest and the highest position that an allowed use was decided at.
    pub positions: Option<(Position, Position)>,
    /// The calling services that lines and samples name.
    pub callers: Vec<CallerId>,
    /// The actions that lines and samples name.
    pub actions: Vec<String>,
    /// The breakdown.
    pub counts: Vec<UsedCount>,
    /// Some of the uses with their particulars.
    pub samples: Vec<UsedSample>,
}

/// A list without repeats, whose entries are named by their place.
#[derive(Debug)]
struct Places<T>(Vec<T>);

impl<T: PartialEq> Places<T> {
    fn of(&mut self, entry: Option<T>) -> Place {
        let entry = entry?;
        let at = self.0.iter().position(|known| *known == entry).unwrap_or_else(|| {
            self.0.push(entry);
            self.0.len() - 1
        });
        u32::try_from(at + 1).ok().and_then(std::num::NonZeroU32::new)
    }
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The entry at a place of a list; none if the place is none or beyond it.
#[must_use]
pub fn at<T>(list: &[T], place: Place) -> Option<&T> {
    list.get(usize::try_from(place?.get()).ok()?.checked_sub(1)?)
}

impl UsedWindow {
    /// A window of `span` as it is recorded, and the personal fields to seal: its sources and agents.
    #[must_use]
    pub fn of(window: &Window, span: Duration) -> (Self, Personal) {
        let mut callers = Places(Vec::new());
        let mut actions = Places(Vec::new());
        let mut sources = Places(Vec::new());
        let mut agents = Places(Vec::new());
        let text = |source: &IpAddr| source.to_string();
        let counts =
            window.counts().iter().map(|Count { outcome, caller, action, source, count }| {
                UsedCount {
                    outcome: *outcome,
                    caller: callers.of(*caller),
                    action: actions.of(given(action)),
                    source: sources.of(source.as_ref().map(text)),
                    count: *count,
                }
            });
        let counts = counts.collect();
        let samples = window.samples().into_iter().map(|sample: &Sample| UsedSample {
            outcome: sample.outcome,
            time: sample.time,
            trace_id: sample.trace_id,
            caller: callers.of(sample.caller),
            action: actions.of(given(&sample.action)),
            source: sources.of(sample.source.as_ref().map(text)),
            agent: agents.of(given(&sample.agent)),
            required: sample.required.clone(),
            presented: sample.presented,
        });
        let samples = samples.collect();
        let used = UsedWindow {
            start: window.start(),
            span,
            totals: window.totals(),
            positions: window.positions(),
            callers: callers.0,
            actions: actions.0,
            counts,
            samples,
        };
        let personal = Personal { sources: sources.0, agents: agents.0, ..Personal::default() };
        (used, personal)
    }

    /// Leaves out where uses came from: lines that differ in nothing else become one.
    pub fn forget_origins(&mut self) {
        let mut counts: Vec<UsedCount> = Vec::with_capacity(self.counts.len());
        for line in std::mem::take(&mut self.counts) {
            let line = UsedCount { source: None, ..line };
            let way = |line: &UsedCount| (line.outcome, line.caller, line.action);
            match counts.iter_mut().find(|known| way(known) == way(&line)) {
                Some(known) => known.count = known.count.saturating_add(line.count),
                None => counts.push(line),
            }
        }
        self.counts = counts;
        for sample in &mut self.samples {
            (sample.source, sample.agent) = (None, None);
        }
    }

    /// How often the key was used, and when last.
    #[must_use]
    pub fn use_counts(&self) -> UseCounts {
        UseCounts::of(&self.totals)
    }

    /// Whether the window can be: it has uses, each line and sample is of an outcome that came and
    /// names what is listed, and no outcome has more in the lines than in total.
    #[must_use]
    pub fn holds_together(&self) -> bool {
        let ascending = self.totals.is_sorted_by(|one, next| one.outcome < next.outcome);
        let counted = self.totals.iter().all(|total| {
            let lines = self.counts.iter().filter(|line| line.outcome == total.outcome);
            let lines = lines.map(|line| u128::from(line.count)).sum::<u128>();
            total.count > 0 && lines <= u128::from(total.count) && total.first <= total.last
        });
        let came = |outcome| self.totals.iter().any(|total| total.outcome == outcome);
        let listed = |caller: Place, action: Place| {
            (caller.is_none() || at(&self.callers, caller).is_some())
                && (action.is_none() || at(&self.actions, action).is_some())
        };
        let positions = self.positions.is_none_or(|(low, high)| low <= high);
        let counts = self
            .counts
            .iter()
            .all(|line| line.count > 0 && came(line.outcome) && listed(line.caller, line.action));
        let samples = self
            .samples
            .iter()
            .all(|sample| came(sample.outcome) && listed(sample.caller, sample.action));
        !self.totals.is_empty()
            && ascending
            && counted
            && counts
            && samples
            && positions
            && !self.span.is_zero()
    }
}

/// A key's uses in one window, as the log has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsed {
    /// The number of the usage journal that held them first.
    pub journal: u64,
    /// Tells the events of one journal and key apart.
    pub part: u32,
    /// The uses.
    pub window: UsedWindow,
    /// How often the key was allowed, from its creation to this event.
    pub total_allowed: u64,
    /// How often it was denied though its secret was right.
    pub total_denied: u64,
}

/// Tries with no key's secret in one window, as the log has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKeyTried {
    /// The number of the usage journal that held them first.
    pub journal: u64,
    /// Tells the events of one journal apart.
    pub part: u32,
    /// The tries.
    pub window: UsedWindow,
}

/// Why uses are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// The service ended without flushing what it had answered last.
    UncleanStop,
    /// More was used than could be written, and answers were preferred to records.
    Shed,
    /// The usage journal that held them was damaged or removed.
    Damaged,
}

/// Uses of some span of time are missing from the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageGap {
    /// The number of the usage journal they are missing from.
    pub journal: u64,
    /// Tells the gaps of one journal apart.
    pub part: u32,
    /// Why.
    pub cause: GapCause,
    /// After when uses may be missing.
    pub from: Time,
    /// From when none is missing any more.
    pub to: Time,
    /// How many are missing; none: not known.
    pub lost: Option<u64>,
}

#[cfg(test)]
#[path = "used_tests.rs"]
mod tests;
