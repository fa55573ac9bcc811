//! Unusual activity, found in the records of uses as the log has them, in its order: the same log gives
//! the same signals, whenever it is folded.
//!
//! There are four kinds. Each compares a figure with a threshold, both are kept with the signal, and
//! names the records it was found in. A span begins with a record's window; days and hours are those of UTC.
//!
//! | kind | found when | one signal for each |
//! |---|---|---|
//! | [`SignalKind::NewSource`] | a key that was first allowed at least [`LEARNING`] before is allowed from a source that is not among the last [`REMEMBERED`] different ones, unless all of those were seen within [`ROAMING`] | source |
//! | [`SignalKind::EndedKeyTried`] | a revoked or superseded key is presented with its right secret | key and day |
//! | [`SignalKind::Burst`] | the uses of a key in an hour, allowed and denied, are more than [`BURST_FLOOR`] and more than [`BURST_FACTOR`] times those of its busiest hour since the beginning of the day [`PAST_DAYS`] days before, for a key whose first use is at least [`WEEK`] old | key and hour |
//! | [`SignalKind::UnknownKeys`] | at least [`UNKNOWN_TRIES`] unknown or malformed keys are presented from one source in an hour | source and hour |
//!
//! What cannot be found: a source that came in more ways than a window tells apart, one that the caller did
//! not name, and whatever is in a gap of the record.

mod key_history;
mod source_tries;
mod sources;
#[cfg(test)]
mod testing;

pub use key_history::{
    ENDED_DAYS, EndedDay, HourUses, KeyHistory, PEAK_DAYS, Peak, RECENT_HOURS, Sighting,
};
pub use source_tries::{MAX_PRESENTED, MoreTries, SourceTries, tries_by_network};
pub use sources::{SOURCE_NAME_BYTES, SourceName, SourceNetwork};

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::domain::ids::{CallerId, Position};
use crate::domain::source::parse_source;
use crate::domain::time::{Month, Time};
use crate::domain::usage::UseOutcome;
use crate::domain::usage::used::{UsedCount, UsedWindow, at};

/// The span in which uses are added up to be compared.
pub const HOUR: Duration = Duration::from_hours(1);

/// The span of which an ended key has one signal.
pub const DAY: Duration = Duration::from_hours(24);

/// How long ago a key must first have been allowed, so that a source can be new to it: a day and a night, in
/// which the machines of a service have all had their turn.
pub const LEARNING: Duration = DAY;

/// How many different sources are remembered of a key: more than a service with fixed addresses has, few
/// enough to be kept for every key. There is no time after which one is forgotten: the machine that asks
/// once a quarter is not new.
pub const REMEMBERED: usize = 20;

/// If all that are remembered were seen within this span, the key roams: for it a source is no news. Thus a
/// source that is called new was not seen for so long at least, and a key has at most [`REMEMBERED`] of
/// these signals in any such span.
pub const ROAMING: Duration = Duration::from_hours(30 * 24);

/// How old a key's first use must be, so that an hour can be a burst: a key that was first used on a Saturday
/// has no week to be compared with before the next.
pub const WEEK: Duration = Duration::from_hours(7 * 24);

/// How many days before an hour's own are compared with it: a week, and a day for the weekly job that now and
/// then begins before midnight.
pub const PAST_DAYS: i64 = 8;

/// How much more than the busiest hour is a burst. Retries after an outage, a cache that is filled again and
/// a deployment double or treble an hour.
pub const BURST_FACTOR: u64 = 4;

/// As many uses in an hour are never a burst: below that, whoever tries something out by hand is.
pub const BURST_FLOOR: u64 = 100;

/// As many tries with unknown keys from one source in an hour are a signal. A person who mistypes a key makes
/// a few; a key's id and secret have 352 random bits, so even at a thousand times that rate nothing is found by
/// guessing: the signal tells of lists of leaked keys, and of services that are set up wrong.
pub const UNKNOWN_TRIES: u64 = 100;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalKind {
    /// A key was allowed from a source that it is not known to be used from.
    NewSource = 1,
    /// A key was presented that is revoked or superseded.
    EndedKeyTried = 2,
    /// A key was used far more often than in its past week.
    Burst = 3,
    /// Many unknown or malformed keys came from one source.
    UnknownKeys = 4,
}

impl SignalKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: &[SignalKind] =
        &[Self::NewSource, Self::EndedKeyTried, Self::Burst, Self::UnknownKeys];

    /// The kind of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u8 == number)
    }

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NewSource => "new_source",
            Self::EndedKeyTried => "ended_key_tried",
            Self::Burst => "burst",
            Self::UnknownKeys => "unknown_keys",
        }
    }
}

/// A record of uses, as it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Where it is in the log.
    pub position: Position,
    /// The uses.
    pub window: &'a UsedWindow,
    /// The sources that the window's lines name, in clear; empty if they can no longer be opened.
    pub sources: &'a [String],
}

impl Seen<'_> {
    fn hour(&self) -> Time {
        super::window_start(self.window.start, HOUR)
    }

    fn day(&self) -> Time {
        super::window_start(self.window.start, DAY)
    }

    /// When the window ends.
    fn until(&self) -> Time {
        self.window.start.plus(self.window.span)
    }

    fn source(&self, line: &UsedCount) -> Option<IpAddr> {
        parse_source(at(self.sources, line.source)?)
    }

    /// How many uses had one of these outcomes.
    fn uses(&self, of: impl Fn(UseOutcome) -> bool) -> u64 {
        let totals = self.window.totals.iter().filter(|total| of(total.outcome));
        totals.fold(0, |sum, total| total.count.saturating_add(sum))
    }

    /// From where and by whom uses with these outcomes came, as far as they are told apart.
    fn ways(&self, of: impl Fn(UseOutcome) -> bool) -> Ways {
        let lines = || self.window.counts.iter().filter(|line| of(line.outcome));
        Ways {
            sources: lines().filter_map(|line| self.source(line)).collect(),
            callers: lines()
                .filter_map(|line| at(&self.window.callers, line.caller))
                .copied()
                .collect(),
        }
    }
}

/// From where and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// The addresses.
    pub sources: BTreeSet<IpAddr>,
    /// The calling services.
    pub callers: BTreeSet<CallerId>,
}

/// What one record adds to a signal, or a signal it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub kind: SignalKind,
    /// The beginning of the hour or day that it is one signal of; of a new source, of the window.
    pub span: Time,
    /// The source that it is one signal of, by its name in the window's month.
    pub about: Option<SourceName>,
    /// The first record behind what is added.
    pub first: Position,
    /// The last: the record that was looked at.
    pub last: Position,
    /// When the first window begins.
    pub from: Time,
    /// When the last one ends.
    pub until: Time,
    /// How many uses are added.
    pub uses: u64,
    /// The figure that was compared, of the signal as it is now.
    pub observed: u64,
    /// What it was compared with.
    pub threshold: u64,
    /// Where the uses of the record came from.
    pub ways: Ways,
}

/// The name of a network among those that a key was seen from in a month; none if there is none any more:
/// what it is made with has been destroyed. Different networks, keys' accounts and months have different names.
pub type Naming<'a> = &'a dyn Fn(Month, &SourceNetwork) -> Option<SourceName>;

#[cfg(test)]
#[path = "quiet_week_tests.rs"]
mod quiet_week_tests;
#[cfg(test)]
#[path = "rule_tests.rs"]
mod rule_tests;
#[cfg(test)]
#[path = "signals_tests.rs"]
mod tests;
