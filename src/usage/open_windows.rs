//! The uses of one journal, folded into the windows that go on record.
//!
//! The recorder folds what it flushes; a recovery folds what it reads from the journal, in the same
//! order. Both must come to the same windows with the same part numbers: an event names its journal,
//! its key and its part, and that is how a recovery knows what is on record already.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::{AccountRef, KeyId};
use crate::domain::time::Time;
use crate::domain::usage::window::Window;
use crate::domain::usage::{Tried, Use, window_start};
use crate::usage::entry::Flushed;
use crate::usage::recorder::Shed;

/// The most uses of a journal that go on record by themselves, at about 1 KB of memory each; the rest is
/// counted with the others of its minute.
pub const MAX_ALONE: usize = 100_000;

/// When a window begins and how long it is.
type Place = (Time, Duration);

/// Whose uses a window holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This key's, of that account.
    Key(KeyId, Arc<AccountRef>),
    /// Of no known key.
    Unknown,
}

/// One window to put on record.
#[derive(Clone, Debug)]
pub struct Part {
    /// Whose uses it holds.
    pub whose: Whose,
    /// Tells the windows of one journal and key apart, from 0.
    pub number: u32,
    /// The uses.
    pub window: Window,
    /// How long the window is.
    pub span: Duration,
}

/// The windows of one key, or of all unknown ones.
#[derive(Debug, Default)]
struct Folded {
    windows: BTreeMap<Place, Window>,
    /// Uses that go on record by themselves, in the order they came.
    alone: Vec<(Place, Window)>,
}

impl Folded {
    fn add(&mut self, place: Place, used: &Use, rank: u64, alone: bool) {
        if alone {
            let mut window = Window::new(place.0);
            window.add(used, rank);
            self.alone.push((place, window));
        } else {
            let new = || Window::new(place.0);
            self.windows.entry(place).or_insert_with(new).add(used, rank);
        }
    }

    fn into_parts(self, whose: &Whose) -> impl Iterator<Item = Part> {
        let windows = self.windows.into_iter().chain(self.alone).zip(0..);
        windows.map(|(((_, span), window), number)| Part {
            whose: whose.clone(),
            number,
            window,
            span,
        })
    }
}

/// What has been folded of one journal.
#[derive(Debug, Default)]
pub struct OpenWindows {
    keys: HashMap<KeyId, (Arc<AccountRef>, Folded)>,
    unknown: Folded,
    /// How many uses stand alone.
    alone: usize,
    shed: Vec<Shed>,
}

impl OpenWindows {
    /// Folds a flush that was read. `rank` answers a random number for each use: it draws the samples.
    pub fn add(&mut self, flushed: &Flushed, mut rank: impl FnMut() -> u64) {
        for used in &flushed.uses {
            self.add_use(used, flushed.span, rank());
        }
        self.add_shed(flushed.shed);
    }

    /// Folds the next use of a flush, into a window of `span`. `rank` is random: it draws the samples.
    pub fn add_use(&mut self, used: &Use, span: Duration, rank: u64) {
        let place = (window_start(used.time, span), span);
        let alone = used.alone && self.alone < MAX_ALONE;
        self.alone += usize::from(alone);
        match &used.tried {
            Tried::Key(id, account) => {
                let new = || (Arc::clone(account), Folded::default());
                let (_, folded) = self.keys.entry(*id).or_insert_with(new);
                folded.add(place, used, rank, alone);
            }
            Tried::Unknown(_) => self.unknown.add(place, used, rank, alone),
        }
    }

    /// Notes what a flush says was dropped.
    pub fn add_shed(&mut self, shed: Option<Shed>) {
        self.shed.extend(shed);
    }

    /// Whether there is nothing to put on record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let unknown = &self.unknown;
        self.keys.is_empty()
            && unknown.windows.is_empty()
            && unknown.alone.is_empty()
            && self.shed.is_empty()
    }

    /// The windows of each key, then those of unknown ones; and what was dropped, in order.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Part>, Vec<Shed>) {
        let mut parts = Vec::with_capacity(self.keys.len());
        for (id, (account, folded)) in self.keys {
            parts.extend(folded.into_parts(&Whose::Key(id, account)));
        }
        parts.extend(self.unknown.into_parts(&Whose::Unknown));
        (parts, self.shed)
    }
}

#[cfg(test)]
#[path = "open_windows_tests.rs"]
mod tests;
