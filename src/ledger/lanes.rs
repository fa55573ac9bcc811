//! The way to the writer: two bounded lanes, commands before background work. But work that has waited for long
//! has a small share of each group, so that a load of commands without end does not hold it up for ever.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use thiserror::Error;

use crate::ledger::frame::MAX_FRAME_BYTES;

/// Which lane a command travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Someone waits for the answer.
    Commands,
    /// Work of the service's own that fills what is left of a frame.
    Background,
}

/// The most commands in one group, so that a group of refusals ends as well.
pub const GROUP_BOUND: usize = 1024;

/// How many entries may wait in each lane: at about 2 KB each, some 8 MB.
pub const LANE_BOUND: usize = 4096;

/// How long background work waits before it has its share: short beside the minute that uses take to go on record,
/// long beside the bursts that it is to stay behind.
pub const BACKGROUND_PATIENCE: Duration = Duration::from_secs(1);

/// Which part of a group is the share of background work that has waited: one in so many.
const BACKGROUND_SHARE: usize = 16;

/// Which lane the next entry of a group comes from, if both have one. `waited` is how long the first of the
/// background lane had waited when the group began; `taken` and `bytes` are the entries and bytes that came from the
/// lanes since then. The first goes whatever its bytes, so that the share is never too small for it.
#[must_use]
pub fn next_lane(waited: Duration, taken: usize, bytes: usize) -> Lane {
    let has_share =
        taken < GROUP_BOUND / BACKGROUND_SHARE && bytes < MAX_FRAME_BYTES / BACKGROUND_SHARE;
    if waited >= BACKGROUND_PATIENCE && has_share { Lane::Background } else { Lane::Commands }
}

/// Why an entry was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotTaken {
    /// The lane is full: try again a little later.
    #[error("too many commands are waiting")]
    Full,
    /// The writer is stopping or has stopped.
    #[error("the ledger takes no more commands")]
    Closed,
}

/// An entry that was not taken, given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<T> {
    /// Why.
    pub why: NotTaken,
    /// What.
    pub entry: T,
}

#[derive(Debug)]
struct State<T> {
    commands: VecDeque<T>,
    /// With the monotonic time when each was put.
    background: VecDeque<(Duration, T)>,
    closed: bool,
}

/// Two bounded queues with one reader.
#[derive(Debug)]
pub struct Lanes<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        let state = State { commands: VecDeque::new(), background: VecDeque::new(), closed: false };
        Lanes { state: Mutex::new(state), filled: Condvar::new() }
    }
}

impl<T> Lanes<T> {
    /// Puts an entry at the end of a lane; `now` is monotonic time.
    ///
    /// # Errors
    /// [`Refused`] if the lane is full or closed.
    pub fn put(&self, lane: Lane, entry: T, now: Duration) -> Result<(), Refused<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused { why: NotTaken::Closed, entry });
        }
        let waiting = match lane {
            Lane::Commands => state.commands.len(),
            Lane::Background => state.background.len(),
        };
        if waiting >= LANE_BOUND {
            return Err(Refused { why: NotTaken::Full, entry });
        }
        match lane {
            Lane::Commands => state.commands.push_back(entry),
            Lane::Background => state.background.push_back((now, entry)),
        }
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The next entry, of `first` if it has one; none if nothing waits.
    pub fn take(&self, first: Lane) -> Option<T> {
        let mut guard = self.lock();
        let State { commands, background, .. } = &mut *guard;
        let mut of_background = || background.pop_front().map(|(_, entry)| entry);
        match first {
            Lane::Commands => commands.pop_front().or_else(of_background),
            Lane::Background => of_background().or_else(|| commands.pop_front()),
        }
    }

    /// How long the first of the background lane has waited; zero if it is empty.
    pub fn background_waited(&self, now: Duration) -> Duration {
        let state = self.lock();
        state.background.front().map_or(Duration::ZERO, |(put, _)| now.saturating_sub(*put))
    }

    /// Waits until something waits to be taken, at most `patience`. False once the lanes are
    /// closed and empty.
    pub fn wait(&self, patience: Duration) -> bool {
        let state = self.lock();
        let idle = |state: &mut State<T>| {
            state.commands.is_empty() && state.background.is_empty() && !state.closed
        };
        let (state, _) = self
            .filled
            .wait_timeout_while(state, patience, idle)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        !(state.closed && state.commands.is_empty() && state.background.is_empty())
    }

    /// Takes no more entries; what waits is still taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// How many entries wait in the lane of commands, and in that of background work.
    pub fn lengths(&self) -> [usize; 2] {
        let state = self.lock();
        [state.commands.len(), state.background.len()]
    }

    /// How many entries wait in both lanes.
    pub fn len(&self) -> usize {
        self.lengths().iter().sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    #[test]
    fn commands_go_before_background_work() {
        let lanes = Lanes::default();
        lanes.put(Lane::Background, "b1", NOW).expect("room");
        lanes.put(Lane::Commands, "c1", NOW).expect("room");
        lanes.put(Lane::Commands, "c2", NOW).expect("room");
        let taken: Vec<_> = std::iter::from_fn(|| lanes.take(Lane::Commands)).collect();
        assert_eq!(taken, ["c1", "c2", "b1"]);
    }

    #[test]
    fn a_full_lane_refuses_and_the_other_still_takes() {
        let lanes = Lanes::default();
        for n in 0..LANE_BOUND {
            lanes.put(Lane::Background, n, NOW).expect("room");
        }
        let given_back = Refused { why: NotTaken::Full, entry: 7 };
        assert_eq!(lanes.put(Lane::Background, 7, NOW), Err(given_back));
        assert_eq!(lanes.put(Lane::Commands, 0, NOW), Ok(()));
    }

    #[test]
    fn closed_lanes_hand_out_what_waits_and_then_end() {
        let lanes = Lanes::default();
        lanes.put(Lane::Commands, 1, NOW).expect("room");
        lanes.close();
        let given_back = Refused { why: NotTaken::Closed, entry: 2 };
        assert_eq!(lanes.put(Lane::Commands, 2, NOW), Err(given_back));
        assert!(lanes.wait(Duration::ZERO));
        assert_eq!(lanes.take(Lane::Commands), Some(1));
        assert!(!lanes.wait(Duration::ZERO));
    }

    #[test]
    fn background_work_goes_first_only_once_it_has_waited_and_up_to_its_share() {
        let almost = BACKGROUND_PATIENCE.saturating_sub(Duration::from_nanos(1));
        let most_bytes = MAX_FRAME_BYTES / 16;
        let cases = [
            (Duration::ZERO, 0, 0, Lane::Commands),
            (almost, 0, 0, Lane::Commands),
            (BACKGROUND_PATIENCE, 0, 0, Lane::Background),
            (BACKGROUND_PATIENCE, 63, most_bytes - 1, Lane::Background),
            (Duration::MAX, 64, 0, Lane::Commands),
            (Duration::MAX, 1, most_bytes, Lane::Commands),
        ];
        for (waited, taken, bytes, expected) in cases {
            assert_eq!(next_lane(waited, taken, bytes), expected, "{waited:?} {taken} {bytes}");
        }
    }

    #[test]
    fn the_first_of_the_background_lane_is_the_one_that_has_waited_longest() {
        let lanes = Lanes::default();
        assert_eq!(lanes.background_waited(NOW), Duration::ZERO);
        lanes.put(Lane::Background, "b1", NOW).expect("room");
        lanes.put(Lane::Background, "b2", NOW * 2).expect("room");
        assert_eq!(lanes.background_waited(NOW * 3), NOW * 2);
        lanes.put(Lane::Commands, "c1", NOW).expect("room");
        assert_eq!(lanes.take(Lane::Background), Some("b1"));
        assert_eq!(lanes.background_waited(NOW * 3), NOW);
        let rest = [lanes.take(Lane::Background), lanes.take(Lane::Background)];
        assert_eq!(rest, [Some("b2"), Some("c1")]);
    }
}
