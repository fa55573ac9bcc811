//! The fold of the uses of one key, or of all unknown ones, in one window of time.
//!
//! Memory has a bound whatever is sent: totals are exact, lines and samples are limited.

use std::net::IpAddr;

use crate::domain::ids::{CallerId, KeyId, Position, TraceId};
use crate::domain::time::Time;
use crate::domain::usage::{MAX_COUNTS, MAX_SAMPLES, MAX_SAMPLES_OF_ALL, Tried, Use, UseOutcome};

/// How often one outcome came, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// The outcome.
    pub outcome: UseOutcome,
    /// How often, at least once.
    pub count: u64,
    /// When the first was decided.
    pub first: Time,
    /// When the last was decided.
    pub last: Time,
}

/// One line of the breakdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The outcome.
    pub outcome: UseOutcome,
    /// The calling service.
    pub caller: Option<CallerId>,
    /// What it was for; empty if not given.
    pub action: String,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// How often.
    pub count: u64,
}

/// One use with its particulars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The outcome.
    pub outcome: UseOutcome,
    /// When it was decided.
    pub time: Time,
    /// The trace the call was part of.
    pub trace_id: Option<TraceId>,
    /// The calling service.
    pub caller: Option<CallerId>,
    /// What it was for; empty if not given.
    pub action: String,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// What it said it came from; empty if not given.
    pub agent: String,
    /// The first of the permissions that were required.
    pub required: Vec<String>,
    /// Of an unknown key: the key id its text named.
    pub presented: Option<KeyId>,
}

/// A drawn sample: those of lowest rank stay, so that the order of folding makes no difference.
#[derive(Clone, Debug)]
struct Drawn {
    rank: u64,
    sample: Sample,
}

/// The uses folded so far.
#[derive(Clone, Debug)]
pub struct Window {
    start: Time,
    totals: Vec<Total>,
    positions: Option<(Position, Position)>,
    counts: Vec<Count>,
    /// The first use of each outcome; its rank is zero.
    drawn: Vec<Drawn>,
}

impl Window {
    /// No use yet, in the window that begins at `start`.
    #[must_use]
    pub fn new(start: Time) -> Self {
        Window { start, totals: Vec::new(), positions: None, counts: Vec::new(), drawn: Vec::new() }
    }

    /// Adds a use. `rank` is random and at least 1: it draws the samples.
    pub fn add(&mut self, used: &Use, rank: u64) {
        let first = self.add_to_total(used);
        if used.outcome == UseOutcome::Allowed
            && let Some(position) = used.position
        {
            let (low, high) = self.positions.unwrap_or((position, position));
            self.positions = Some((low.min(position), high.max(position)));
        }
        self.add_to_counts(used);
        self.draw(used, if first { 0 } else { rank.max(1) });
    }

    /// Answers whether it is the first of its outcome.
    fn add_to_total(&mut self, used: &Use) -> bool {
        match self.totals.iter_mut().find(|total| total.outcome == used.outcome) {
            Some(total) => {
                total.count += 1;
                total.first = total.first.min(used.time);
                total.last = total.last.max(used.time);
                false
            }
            None => {
                let Use { outcome, time, .. } = *used;
                self.totals.push(Total { outcome, count: 1, first: time, last: time });
                true
            }
        }
    }

    fn add_to_counts(&mut self, used: &Use) {
        let same = |line: &&mut Count| {
            line.outcome == used.outcome
                && line.caller == used.caller
                && line.source == used.source
                && line.action == used.action
        };
        if let Some(line) = self.counts.iter_mut().find(same) {
            line.count += 1;
        } else if self.counts.len() < MAX_COUNTS {
            self.counts.push(Count {
                outcome: used.outcome,
                caller: used.caller,
                action: used.action.clone(),
                source: used.source,
                count: 1,
            });
        }
    }

    fn draw(&mut self, used: &Use, rank: u64) {
        let same = |drawn: &Drawn| drawn.sample.outcome == used.outcome;
        let so_far = self.drawn.iter().filter(|drawn| same(drawn)).count();
        if so_far < MAX_SAMPLES {
            self.drawn.push(Drawn { rank, sample: sample(used) });
            return;
        }
        let highest =
            self.drawn.iter_mut().filter(|drawn| same(drawn)).max_by_key(|drawn| drawn.rank);
        if let Some(highest) = highest.filter(|drawn| drawn.rank > rank) {
            *highest = Drawn { rank, sample: sample(used) };
        }
    }

    /// When the window begins.
    #[must_use]
    pub fn start(&self) -> Time {
        self.start
    }

    /// Each outcome that came, in ascending order.
    #[must_use]
    pub fn totals(&self) -> Vec<Total> {
        let mut totals = self.totals.clone();
        totals.sort_unstable_by_key(|total| total.outcome);
        totals
    }

    /// The lowest and the highest position that an allowed use was decided at.
    #[must_use]
    pub fn positions(&self) -> Option<(Position, Position)> {
        self.positions
    }

    /// The breakdown, in the order in which the ways first came.
    #[must_use]
    pub fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// The samples by outcome, each outcome's first one first: an even share for each if they are many.
    #[must_use]
    pub fn samples(&self) -> Vec<&Sample> {
        let share = (MAX_SAMPLES_OF_ALL / self.totals.len().max(1)).clamp(1, MAX_SAMPLES);
        let mut drawn: Vec<&Drawn> = self.drawn.iter().collect();
        drawn.sort_by_key(|drawn| (drawn.sample.outcome, drawn.rank));
        let of_one = drawn.chunk_by(|one, other| one.sample.outcome == other.sample.outcome);
        of_one.flat_map(|drawn| drawn.iter().take(share)).map(|drawn| &drawn.sample).collect()
    }
}

fn sample(used: &Use) -> Sample {
    Sample {
        outcome: used.outcome,
        time: used.time,
        trace_id: used.trace_id,
        caller: used.caller,
        action: used.action.clone(),
        source: used.source,
        agent: used.agent.clone(),
        required: used.required.clone(),
        presented: match used.tried {
            Tried::Unknown(presented) => presented,
            Tried::Key(..) => None,
        },
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
