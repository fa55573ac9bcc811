//! What the writer commits, counted for monitoring.

use std::time::Duration;

use crate::counting::{DURATIONS, Distribution, Histogram, SIZES};

/// Counts of frames.
#[derive(Debug)]
pub(super) struct Commits {
    took: Histogram,
    records: Histogram,
}

impl Default for Commits {
    fn default() -> Self {
        Commits { took: Histogram::new(&DURATIONS), records: Histogram::new(&SIZES) }
    }
}

impl Commits {
    /// Counts a frame of so many records that took so long to be durable.
    pub(super) fn note(&self, records: usize, took: Duration) {
        self.took.note_duration(took);
        self.records.note(records as u64);
    }

    pub(super) fn figures(&self, [commands, background]: [usize; 2]) -> CommitFigures {
        let (took, records) = (self.took.read(), self.records.read());
        CommitFigures { commands, background, took, records }
    }
}

/// How the writer is.
#[derive(Clone, Debug)]
pub struct CommitFigures {
    /// How many commands wait for it that somebody waits for.
    pub commands: usize,
    /// How many of the service's own wait for it.
    pub background: usize,
    /// How long each frame took to be made durable.
    pub took: Distribution,
    /// How many records each frame had.
    pub records: Distribution,
}

impl CommitFigures {
    /// How many commands wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.commands + self.background
    }
}
