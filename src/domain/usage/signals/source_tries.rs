//! Tries with unknown keys, added up by source and hour.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Seen, SignalKind, SourceName, SourceNetwork, UNKNOWN_TRIES, Ways};
use crate::domain::ids::{KeyId, Position};
use crate::domain::source::parse_source;
use crate::domain::time::Time;
use crate::domain::usage::UseOutcome;
use crate::domain::usage::used::at;

/// Most different key ids that are kept of a source and hour: so many show that keys are being tried out.
pub const MAX_PRESENTED: usize = 16;

/// What came from one source in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTries {
    /// How many tries.
    pub tries: u64,
    /// The first record of them.
    pub first: Position,
    /// When its window begins.
    pub from: Time,
    /// Different key ids that samples of them named, at most [`MAX_PRESENTED`].
    pub presented: BTreeSet<KeyId>,
}

/// What one record says of one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoreTries {
    /// How many tries.
    pub tries: u64,
    /// The key ids that samples of them named.
    pub presented: BTreeSet<KeyId>,
    /// From which addresses and through which callers.
    pub ways: Ways,
}

fn counts(outcome: UseOutcome) -> bool {
    matches!(outcome, UseOutcome::UnknownKey | UseOutcome::MalformedKey)
}

/// The tries of a record by where they came from, as far as it tells them apart. That nothing was presented
/// is no try: browsers and probes do that.
#[must_use]
pub fn tries_by_network(seen: &Seen<'_>) -> BTreeMap<SourceNetwork, MoreTries> {
    let mut found: BTreeMap<SourceNetwork, MoreTries> = BTreeMap::new();
    for line in seen.window.counts.iter().filter(|line| counts(line.outcome)) {
        let Some(source) = seen.source(line) else { continue };
        let more = found.entry(SourceNetwork::of(source)).or_default();
        more.tries = more.tries.saturating_add(line.count);
        more.ways.sources.insert(source);
        more.ways.callers.extend(at(&seen.window.callers, line.caller));
    }
    for sample in &seen.window.samples {
        let source = at(seen.sources, sample.source).and_then(|text| parse_source(text));
        // Only a source that a line names is counted at all.
        if let Some(more) = source.and_then(|source| found.get_mut(&SourceNetwork::of(source))) {
            more.presented.extend(sample.presented);
        }
    }
    found
}

impl SourceTries {
    /// No try yet; the first is in the record `seen`.
    #[must_use]
    pub fn begin(seen: &Seen<'_>) -> Self {
        SourceTries {
            tries: 0,
            first: seen.position,
            from: seen.window.start,
            presented: BTreeSet::new(),
        }
    }

    /// Adds what the record `seen` says of the source that `about` names.
    pub fn add(&mut self, seen: &Seen<'_>, about: SourceName, more: MoreTries) -> Option<Finding> {
        let before = self.tries;
        self.tries = self.tries.saturating_add(more.tries);
        let room = MAX_PRESENTED - self.presented.len().min(MAX_PRESENTED);
        let new = more.presented.difference(&self.presented).copied().take(room);
        let new: Vec<KeyId> = new.collect();
        self.presented.extend(new);
        if self.tries < UNKNOWN_TRIES {
            return None;
        }
        let found_before = before >= UNKNOWN_TRIES;
        Some(Finding {
            kind: SignalKind::UnknownKeys,
            span: seen.hour(),
            about: Some(about),
            first: if found_before { seen.position } else { self.first },
            last: seen.position,
            from: if found_before { seen.window.start } else { self.from },
            until: seen.until(),
            uses: if found_before { more.tries } else { self.tries },
            observed: self.tries,
            threshold: UNKNOWN_TRIES,
            ways: more.ways,
        })
    }
}
