//! Room for streams of events: how many there may be, and how much may wait in them to be read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::CallerId;

/// The most streams at once: idle ones hold some kilobytes each.
pub(super) const MAX_STREAMS: usize = 10_000;

/// The most of one caller: no credential keeps all others out.
pub(super) const MAX_OF_ONE: usize = MAX_STREAMS / 2;

/// About how many bytes of events are handed to a stream at once. It holds at most two such lots.
const LOT_BYTES: usize = 128 * 1024;

/// What the lots handed on at once to all streams may come to: the more there are, the smaller each is, so that
/// clients that do not read do not hold the more memory the more streams they open.
const ALL_LOTS_BYTES: usize = 64 * 1024 * 1024;

/// The streams that are open. One is until its sender has ended and nothing waits in it to be read.
#[derive(Debug, Default)]
pub(super) struct StreamRoom(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_caller: HashMap<CallerId, usize>,
}

/// The place of one stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<StreamRoom>,
    caller: CallerId,
}

impl StreamRoom {
    /// A place for one more stream of `caller`, if there is one.
    pub(super) fn enter(self: &Arc<Self>, caller: CallerId) -> Option<Place> {
        let mut open = self.lock();
        let of_caller = open.by_caller.get(&caller).copied().unwrap_or(0);
        if open.all >= MAX_STREAMS || of_caller >= MAX_OF_ONE {
            return None;
        }
        open.all += 1;
        open.by_caller.insert(caller, of_caller + 1);
        Some(Place { room: Arc::clone(self), caller })
    }

    /// How many streams are open.
    pub(super) fn open(&self) -> usize {
        self.lock().all
    }

    /// About how many bytes of events are to be handed to one of the streams at once.
    pub(super) fn lot_bytes(&self) -> usize {
        LOT_BYTES.min(ALL_LOTS_BYTES / self.open().max(1))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.room.lock();
        open.all -= 1;
        if let Some(count) = open.by_caller.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                open.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: CallerId = CallerId([1; 12]);
    const OTHER: CallerId = CallerId([2; 12]);

    #[test]
    fn one_caller_cannot_take_the_room_of_all() {
        let room = Arc::new(StreamRoom::default());
        let mut of_one: Vec<_> = (0..MAX_OF_ONE).map(|_| room.enter(ONE).unwrap()).collect();
        assert!(room.enter(ONE).is_none());
        let of_other: Vec<_> = std::iter::from_fn(|| room.enter(OTHER)).collect();
        assert_eq!((of_other.len(), room.open()), (MAX_OF_ONE, MAX_STREAMS));
        assert!(room.enter(CallerId([3; 12])).is_none());
        of_one.pop();
        drop(room.enter(ONE).unwrap());
        drop((of_one, of_other));
        assert_eq!(room.open(), 0);
        assert!(room.lock().by_caller.is_empty(), "who has left is forgotten");
    }

    #[test]
    fn what_may_wait_in_all_streams_is_bounded_whatever_their_number() {
        let room = Arc::new(StreamRoom::default());
        assert_eq!(room.lot_bytes(), LOT_BYTES);
        let (mut open, mut lots) = (Vec::new(), 0);
        for n in 0..MAX_STREAMS {
            open.push(room.enter(if n % 2 == 0 { ONE } else { OTHER }).unwrap());
            // As much as each can hold that was handed its lots when it had come, and nobody reads.
            lots += room.lot_bytes();
        }
        assert!(lots <= 4 * ALL_LOTS_BYTES, "{lots}");
        assert!(room.lot_bytes() * MAX_STREAMS <= ALL_LOTS_BYTES);
    }
}
