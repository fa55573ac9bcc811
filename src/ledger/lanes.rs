//! The way to the writer: two bounded lanes, commands before background work.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use thiserror::Error;

/// Which lane a command travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Someone waits for the answer.
    Commands,
    /// Work of the service's own that fills what is left of a frame.
    Background,
}

/// How many entries may wait in each lane: at about 2 KB each, some 8 MB.
pub const LANE_BOUND: usize = 4096;

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

#[derive(Debug)]
struct State<T> {
    commands: VecDeque<T>,
    background: VecDeque<T>,
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
    /// Puts an entry at the end of a lane.
    ///
    /// # Errors
    /// [`NotTaken`] if the lane is full or closed; the entry is dropped.
    pub fn put(&self, lane: Lane, entry: T) -> Result<(), NotTaken> {
        let mut state = self.lock();
        if state.closed {
            return Err(NotTaken::Closed);
        }
        let queue = match lane {
            Lane::Commands => &mut state.commands,
            Lane::Background => &mut state.background,
        };
        if queue.len() >= LANE_BOUND {
            return Err(NotTaken::Full);
        }
        queue.push_back(entry);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The next entry, commands first; none if nothing waits.
    pub fn take(&self) -> Option<T> {
        let mut state = self.lock();
        state.commands.pop_front().or_else(|| state.background.pop_front())
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

    /// How many entries wait in both lanes.
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.commands.len() + state.background.len()
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

    #[test]
    fn commands_go_before_background_work() {
        let lanes = Lanes::default();
        lanes.put(Lane::Background, "b1").expect("room");
        lanes.put(Lane::Commands, "c1").expect("room");
        lanes.put(Lane::Commands, "c2").expect("room");
        let taken: Vec<_> = std::iter::from_fn(|| lanes.take()).collect();
        assert_eq!(taken, ["c1", "c2", "b1"]);
    }

    #[test]
    fn a_full_lane_refuses_and_the_other_still_takes() {
        let lanes = Lanes::default();
        for n in 0..LANE_BOUND {
            lanes.put(Lane::Background, n).expect("room");
        }
        assert_eq!(lanes.put(Lane::Background, 0), Err(NotTaken::Full));
        assert_eq!(lanes.put(Lane::Commands, 0), Ok(()));
    }

    #[test]
    fn closed_lanes_hand_out_what_waits_and_then_end() {
        let lanes = Lanes::default();
        lanes.put(Lane::Commands, 1).expect("room");
        lanes.close();
        assert_eq!(lanes.put(Lane::Commands, 2), Err(NotTaken::Closed));
        assert!(lanes.wait(Duration::ZERO));
        assert_eq!(lanes.take(), Some(1));
        assert!(!lanes.wait(Duration::ZERO));
    }
}
