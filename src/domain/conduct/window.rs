//! The fold of what is read and refused in one window of time. Memory has a bound whatever is sent.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::{
    AuditRead, CallsRefused, MAX_SAMPLES, MAX_SOURCES, Named, Reader, Refused, RefusedCall,
    RefusedSource,
};
use crate::domain::ids::{Position, TraceId};
use crate::domain::personal::Personal;
use crate::domain::time::Time;
use crate::domain::usage::used::Place;

/// How long a window is: a minute of the clock.
pub const SPAN_MICROS: i64 = 60_000_000;

/// The most lines of each kind in a window; all others are one line more. Who has no credential can make two of
/// each RPC, so it cannot push out callers.
pub const MAX_LINES: usize = 256;

/// The most lines of reads: beyond [`MAX_LINES`] it is told who read and how, and no longer what. So who names
/// much hides nobody else's reading.
pub const MAX_READ_LINES: usize = 2 * MAX_LINES;

/// Something that was read of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Whether a call began with it.
    pub begins: bool,
    /// How many events or snapshots.
    pub events: u64,
    /// The lowest and the highest position of them.
    pub positions: Option<(Position, Position)>,
    /// Whether all of them are [`AuditRead`] events.
    pub of_reads_alone: bool,
}

/// A call that was refused.
#[derive(Clone, Debug)]
pub struct RefusedOne {
    /// Who was refused what, and why.
    pub refused: Refused,
    /// What it named.
    pub named: Named,
    /// The trace it was part of.
    pub trace_id: Option<TraceId>,
    /// Where it came from, if that is known.
    pub source: Option<IpAddr>,
}

/// Lines by what they are told apart by, and all others together.
#[derive(Debug)]
struct Lines<K, L> {
    apart: HashMap<K, L>,
    other: Option<L>,
}

impl<K: Clone + Eq + Hash, L> Lines<K, L> {
    fn new() -> Self {
        Lines { apart: HashMap::new(), other: None }
    }

    /// Whether `key` has a line of its own, or can have it as one of `most`.
    fn has_room(&self, key: &K, most: usize) -> bool {
        self.apart.contains_key(key) || self.apart.len() < most
    }

    /// The line of `key`, made if it is not there: one of its own, or the one of all others.
    fn line(&mut self, key: &K, most: usize, new: impl FnOnce() -> L) -> &mut L {
        if !self.has_room(key, most) {
            return self.other.get_or_insert_with(new);
        }
        self.apart.entry(key.clone()).or_insert_with(new)
    }

    fn into_lines(self) -> impl Iterator<Item = (Option<K>, L)> {
        let apart = self.apart.into_iter().map(|(key, line)| (Some(key), line));
        apart.chain(self.other.map(|line| (None, line)))
    }
}

#[derive(Clone, Copy, Debug)]
struct ReadLine {
    calls: u64,
    events: u64,
    positions: Option<(Position, Position)>,
    first: Time,
    last: Time,
}

impl ReadLine {
    fn add(&mut self, read: &Read, now: Time) {
        self.calls += u64::from(read.begins);
        self.events += read.events;
        self.positions = match (self.positions, read.positions) {
            (Some((low, high)), Some((first, last))) => Some((low.min(first), high.max(last))),
            (one, other) => one.or(other),
        };
        (self.first, self.last) = (self.first.min(now), self.last.max(now));
    }
}

#[derive(Debug)]
struct RefusedLine {
    count: u64,
    first: Time,
    last: Time,
    sources: Vec<(IpAddr, u64)>,
    samples: Vec<(Time, RefusedOne)>,
}

impl RefusedLine {
    fn add(&mut self, one: RefusedOne, now: Time) {
        self.count += 1;
        (self.first, self.last) = (self.first.min(now), self.last.max(now));
        if let Some(address) = one.source {
            let room = self.sources.len() < MAX_SOURCES;
            match self.sources.iter_mut().find(|(known, _)| *known == address) {
                Some((_, count)) => *count += 1,
                None if room => self.sources.push((address, 1)),
                None => {}
            }
        }
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push((now, one));
        }
    }

    fn place(&self, source: Option<IpAddr>) -> Place {
        let at = self.sources.iter().position(|(known, _)| Some(*known) == source)?;
        u32::try_from(at + 1).ok().and_then(NonZeroU32::new)
    }

    /// What goes on record, and the personal fields to seal. Of all others it is told how many alone.
    fn recorded(&self, window: Time, refused: Option<Refused>) -> (CallsRefused, Personal) {
        let apart = refused.is_some();
        let counts = self.sources.iter().filter(|_| apart).zip(1..);
        let counts = counts.filter_map(|((_, count), place)| {
            Some(RefusedSource { source: NonZeroU32::new(place)?, count: *count })
        });
        let samples = self.samples.iter().filter(|_| apart).map(|(time, one)| RefusedCall {
            time: *time,
            trace_id: one.trace_id,
            named: one.named.clone(),
            source: self.place(one.source),
        });
        let sources = self.sources.iter().filter(|_| apart).map(|(address, _)| address.to_string());
        let personal = Personal { sources: sources.collect(), ..Personal::default() };
        let recorded = CallsRefused {
            window,
            refused,
            count: self.count,
            first: self.first,
            last: self.last,
            sources: counts.collect(),
            samples: samples.collect(),
        };
        (recorded, personal)
    }
}

/// What was read and refused in one window.
#[derive(Debug)]
pub struct ConductWindow {
    start: Time,
    reads: Lines<Reader, ReadLine>,
    refusals: Lines<Refused, RefusedLine>,
}

/// When the window begins that an instant lies in.
#[must_use]
pub fn start_of(time: Time) -> Time {
    Time::from_micros(time.as_micros().div_euclid(SPAN_MICROS) * SPAN_MICROS)
}

impl ConductWindow {
    /// An empty window that begins at `start`.
    #[must_use]
    pub fn new(start: Time) -> Self {
        ConductWindow { start, reads: Lines::new(), refusals: Lines::new() }
    }

    /// When it begins.
    #[must_use]
    pub fn start(&self) -> Time {
        self.start
    }

    /// Notes a read. Events of reads alone count only where `reader` has a line already: who follows the whole
    /// history is shown the record of his own reading, and would make a new one of it for ever.
    pub fn note_read(&mut self, reader: &Reader, read: &Read, now: Time) {
        let unnamed;
        let reader = if self.reads.has_room(reader, MAX_LINES) {
            reader
        } else {
            unnamed = Reader { named: Named::default(), ..reader.clone() };
            &unnamed
        };
        if read.of_reads_alone && !read.begins && !self.reads.apart.contains_key(reader) {
            return;
        }
        let new = || ReadLine { calls: 0, events: 0, positions: None, first: now, last: now };
        self.reads.line(reader, MAX_READ_LINES, new).add(read, now);
    }

    /// Notes a refusal.
    pub fn note_refused(&mut self, one: RefusedOne, now: Time) {
        let (sources, samples) = (Vec::new(), Vec::new());
        let new = || RefusedLine { count: 0, first: now, last: now, sources, samples };
        self.refusals.line(&one.refused.clone(), MAX_LINES, new).add(one, now);
    }

    /// What goes on record of it, by when it began: reads, and refusals with the personal fields to seal.
    #[must_use]
    pub fn into_records(self) -> (Vec<AuditRead>, Vec<(CallsRefused, Personal)>) {
        let window = self.start;
        let reads = self.reads.into_lines().map(|(reader, line)| {
            let ReadLine { calls, events, positions, first, last } = line;
            AuditRead { window, reader, calls, events, positions, first, last }
        });
        let refusals = self.refusals.into_lines();
        let refusals = refusals.map(|(refused, line)| line.recorded(window, refused));
        let (mut reads, mut refusals): (Vec<_>, Vec<_>) = (reads.collect(), refusals.collect());
        reads.sort_by_key(|read| read.first);
        refusals.sort_by_key(|(refused, _)| refused.first);
        (reads, refusals)
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
