//! What is remembered of a key, and what is unusual beside it.

use super::{
    BURST_FACTOR, BURST_FLOOR, DAY, Finding, HOUR, LEARNING, Naming, PAST_DAYS, REMEMBERED,
    ROAMING, Seen, SignalKind, SourceName, SourceNetwork, WEEK, Ways,
};
use crate::domain::ids::Position;
use crate::domain::time::{Month, Time};
use crate::domain::usage::used::at;
use crate::domain::usage::{UseOutcome, window_start};
use std::collections::BTreeMap;

/// Hours of which the uses are known exactly: the one that runs, and those of which records still come: a
/// window is put on record within the minutes after its end.
pub const RECENT_HOURS: usize = 4;

/// Days whose busiest hour is known: those that are compared, and the one that runs.
pub const PEAK_DAYS: usize = 9;

/// Days of which the tries of an ended key are known: the one that runs, and the one before, of which
/// records may still come.
pub const ENDED_DAYS: usize = 2;

/// The uses of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourUses {
    /// When it begins.
    pub hour: Time,
    /// Allowed and denied.
    pub uses: u64,
    /// The first record of them.
    pub first: Position,
    /// When its window begins.
    pub from: Time,
    /// What the uses were above when the hour was found to be a burst.
    pub burst: Option<u64>,
}

/// The busiest of a day's hours, of those that are not among the recent ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// When the day begins.
    pub day: Time,
    /// Allowed and denied uses in that hour.
    pub uses: u64,
}

/// The tries of an ended key in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedDay {
    /// When the day begins.
    pub day: Time,
    /// How many.
    pub tries: u64,
}

/// A source that the key was allowed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its name in the month of `last`.
    pub name: SourceName,
    /// The beginning of the latest window of it.
    pub last: Time,
}

/// What is remembered of a key: of a fixed size whatever it is used for. Records are expected about in the
/// order of their windows; what comes later, up to hours, still counts where it belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHistory {
    /// The beginning of the first window with uses.
    pub first_use: Option<Time>,
    /// The beginning of the first window with allowed ones.
    pub first_allowed: Option<Time>,
    /// Recent hours, each at the place of its number since 1970.
    pub hours: [Option<HourUses>; RECENT_HOURS],
    /// The past days, each at the place of its number since 1970.
    pub peaks: [Option<Peak>; PEAK_DAYS],
    /// Days on which the key was ended and tried, each at the place of its number since 1970.
    pub ended: [Option<EndedDay>; ENDED_DAYS],
    /// The last different sources, at most [`REMEMBERED`], in no order.
    pub sources: Vec<Sighting>,
}

/// The place that a span has in a list of so many: others of the list's length have others.
fn place(start: Time, span: std::time::Duration, places: usize) -> usize {
    let number = start.as_micros().div_euclid(i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
    let places = i64::try_from(places).unwrap_or(1);
    usize::try_from(number.rem_euclid(places)).unwrap_or(0)
}

/// Whether `earlier` lies in the days that are compared with `hour`, before it.
fn is_past(earlier: Time, hour: Time) -> bool {
    let day = window_start(hour, DAY).as_micros();
    let begin = day - PAST_DAYS * i64::try_from(DAY.as_micros()).unwrap_or(0);
    (begin..hour.as_micros()).contains(&earlier.as_micros())
}

fn is_ended(outcome: UseOutcome) -> bool {
    matches!(outcome, UseOutcome::Revoked | UseOutcome::Superseded)
}

impl KeyHistory {
    /// What is known of a new key that takes the place of one with this history: rotation makes neither
    /// a known machine strange nor a usual hour a burst, and gives nobody a day without a watch.
    #[must_use]
    pub fn inherited(&self) -> Self {
        let mut own = KeyHistory { hours: Default::default(), ..self.clone() };
        for past in self.hours.iter().flatten() {
            own.note_peak(past.hour, past.uses);
        }
        KeyHistory { ended: Default::default(), ..own }
    }

    /// Takes in a record of the key's uses; answers what is unusual about it.
    pub fn take(&mut self, seen: &Seen<'_>, naming: Naming<'_>) -> Vec<Finding> {
        let start = seen.window.start;
        self.first_use = Some(self.first_use.map_or(start, |first| first.min(start)));
        let mut found = Vec::new();
        found.extend(self.burst(seen));
        found.extend(self.ended(seen));
        if seen.uses(|outcome| outcome == UseOutcome::Allowed) > 0 {
            self.first_allowed = Some(self.first_allowed.map_or(start, |first| first.min(start)));
            self.new_sources(seen, naming, &mut found);
        }
        found
    }

    /// Where the uses of the hour that begins so have their place.
    pub fn hour_slot(&mut self, hour: Time) -> &mut Option<HourUses> {
        &mut self.hours[place(hour, HOUR, RECENT_HOURS)]
    }

    /// Where the busiest hour of the day that begins so has its place.
    pub fn peak_slot(&mut self, day: Time) -> &mut Option<Peak> {
        &mut self.peaks[place(day, DAY, PEAK_DAYS)]
    }

    /// Where the tries of the day that begins so have their place.
    pub fn ended_slot(&mut self, day: Time) -> &mut Option<EndedDay> {
        &mut self.ended[place(day, DAY, ENDED_DAYS)]
    }

    fn ended(&mut self, seen: &Seen<'_>) -> Option<Finding> {
        let tries = seen.uses(is_ended);
        if tries == 0 {
            return None;
        }
        let day = seen.day();
        let entry = self.ended_slot(day);
        let before = entry.filter(|ended| ended.day == day).map_or(0, |ended| ended.tries);
        let ended = EndedDay { day, tries: before.saturating_add(tries) };
        *entry = Some(ended);
        Some(Finding {
            uses: tries,
            observed: ended.tries,
            threshold: 1,
            ways: seen.ways(is_ended),
            ..found_in(seen, SignalKind::EndedKeyTried, day)
        })
    }

    fn burst(&mut self, seen: &Seen<'_>) -> Option<Finding> {
        let uses = seen.uses(|_| true);
        let busiest = self.busiest_before(seen.hour());
        let old_enough = self.first_use.is_some_and(|first| seen.window.start.since(first) >= WEEK);
        let hour = self.add_to_hour(seen, uses)?;
        let goes_on = hour.burst.is_some();
        let threshold = hour.burst.or_else(|| {
            let threshold = BURST_FLOOR.max(busiest.saturating_mul(BURST_FACTOR));
            (old_enough && hour.uses > threshold).then_some(threshold)
        })?;
        hour.burst = Some(threshold);
        let begun = Finding {
            first: hour.first,
            from: hour.from,
            uses: hour.uses,
            observed: hour.uses,
            threshold,
            ways: seen.ways(|_| true),
            ..found_in(seen, SignalKind::Burst, hour.hour)
        };
        Some(if goes_on {
            Finding { first: seen.position, from: seen.window.start, uses, ..begun }
        } else {
            begun
        })
    }

    /// The uses of the busiest hour of the past before `hour`.
    fn busiest_before(&self, hour: Time) -> u64 {
        let peaks = self.peaks.iter().flatten().filter(|peak| is_past(peak.day, hour));
        let hours = self.hours.iter().flatten().filter(|past| is_past(past.hour, hour));
        let uses = peaks.map(|peak| peak.uses).chain(hours.map(|past| past.uses));
        uses.max().unwrap_or(0)
    }

    /// Adds uses to the record's hour; none if that is no recent one any more.
    fn add_to_hour(&mut self, seen: &Seen<'_>, uses: u64) -> Option<&mut HourUses> {
        let hour = seen.hour();
        if let Some(other) = self.hour_slot(hour).filter(|other| other.hour != hour) {
            if is_past(hour, other.hour) {
                self.note_peak(hour, uses);
                return None;
            }
            // Later, or so much earlier that the clock was ahead when the other was taken.
            self.note_peak(other.hour, other.uses);
            *self.hour_slot(hour) = None;
        }
        let (first, from) = (seen.position, seen.window.start);
        let entry = HourUses { hour, uses: 0, first, from, burst: None };
        let entry = self.hour_slot(hour).get_or_insert(entry);
        entry.uses = entry.uses.saturating_add(uses);
        Some(entry)
    }

    fn note_peak(&mut self, hour: Time, uses: u64) {
        let day = window_start(hour, DAY);
        let entry = self.peak_slot(day);
        let before = entry.filter(|peak| peak.day == day).map_or(0, |peak| peak.uses);
        *entry = Some(Peak { day, uses: before.max(uses) });
    }

    fn new_sources(&mut self, seen: &Seen<'_>, naming: Naming<'_>, found: &mut Vec<Finding>) {
        let start = seen.window.start;
        let mature = self.first_allowed.is_some_and(|first| start.since(first) >= LEARNING);
        for (network, (uses, ways)) in allowed_by_network(seen) {
            let Some(name) = naming(start.month(), &network) else { return };
            let here = Sighting { name, last: start };
            if let Some(known) = self.known(&network, here, naming) {
                if known.last < start {
                    *known = here;
                }
                continue;
            }
            let recent = |known: &&Sighting| start.since(known.last) <= ROAMING;
            let recent = self.sources.iter().filter(recent).count();
            // A key of which no source can be read any more has nothing that this one could differ from.
            let mut months = self.sources.iter().map(|known| known.last.month());
            let readable = |month| naming(month, &network).is_some();
            let is_new = mature && recent < REMEMBERED && months.any(readable);
            self.remember(here);
            if is_new {
                found.push(Finding {
                    about: Some(name),
                    uses,
                    observed: recent as u64,
                    threshold: REMEMBERED as u64,
                    ways,
                    ..found_in(seen, SignalKind::NewSource, start)
                });
            }
        }
    }

    /// What is remembered of a network, whatever the month it was last seen in. `here` is its name now.
    fn known(
        &mut self,
        network: &SourceNetwork,
        here: Sighting,
        naming: Naming<'_>,
    ) -> Option<&mut Sighting> {
        let mut names: BTreeMap<Month, Option<SourceName>> = BTreeMap::new();
        names.insert(here.last.month(), Some(here.name));
        self.sources.iter_mut().find(|known| {
            let month = known.last.month();
            let name = *names.entry(month).or_insert_with(|| naming(month, network));
            name == Some(known.name)
        })
    }

    /// Remembers one more source, in place of the one that was last seen longest ago.
    fn remember(&mut self, source: Sighting) {
        self.sources.push(source);
        if self.sources.len() > REMEMBERED {
            let oldest = (0..self.sources.len()).min_by_key(|at| self.sources[*at].last);
            self.sources.swap_remove(oldest.unwrap_or(0));
        }
    }
}

/// A finding in this record alone, of no use yet.
fn found_in(seen: &Seen<'_>, kind: SignalKind, span: Time) -> Finding {
    Finding {
        kind,
        span,
        about: None,
        first: seen.position,
        last: seen.position,
        from: seen.window.start,
        until: seen.until(),
        uses: 0,
        observed: 0,
        threshold: 0,
        ways: Ways::default(),
    }
}

/// The allowed uses of a record by where they came from, as far as it tells them apart.
fn allowed_by_network(seen: &Seen<'_>) -> BTreeMap<SourceNetwork, (u64, Ways)> {
    let mut found: BTreeMap<SourceNetwork, (u64, Ways)> = BTreeMap::new();
    let lines = seen.window.counts.iter().filter(|line| line.outcome == UseOutcome::Allowed);
    for line in lines {
        let Some(source) = seen.source(line) else { continue };
        let (uses, ways) = found.entry(SourceNetwork::of(source)).or_default();
        *uses = uses.saturating_add(line.count);
        ways.sources.insert(source);
        ways.callers.extend(at(&seen.window.callers, line.caller));
    }
    found
}
