//! Room for calls under way, shared by callers. A caller may have as many under way as there is room left for: alone
//! half of the room, beside one that takes all it may a third, and so on. So whoever comes finds room, whatever
//! others do, and who takes most is refused first. (The rule is that of dynamic thresholds for shared buffers, with a
//! factor of one: A. K. Choudhury, E. L. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches",
//! 1998.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::grpc::lanes::Lane;

/// Room for calls.
#[derive(Debug)]
pub(super) struct Room {
    size: usize,
    taken: AtomicUsize,
}

/// A place in the room. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    lane: Option<Arc<Lane>>,
}

impl Room {
    pub(super) fn new(size: usize) -> Self {
        Room { size, taken: AtomicUsize::new(0) }
    }

    /// A place for a call of whomever; none if there is none.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        // Counted before it is known: who is refused stands in somebody's way for an instant, and nobody gets in who
        // should not.
        let before = self.taken.fetch_add(1, Ordering::AcqRel);
        let place = Place { room: Arc::clone(self), lane: None };
        (before < self.size).then_some(place)
    }
}

impl Place {
    /// The place as that of a caller; none if the caller has as many as there are left.
    pub(super) fn of(mut self, lane: Arc<Lane>) -> Option<Place> {
        let others = self.room.taken.load(Ordering::Acquire).saturating_sub(1);
        let own = lane.under_way.fetch_add(1, Ordering::AcqRel);
        self.lane = Some(lane);
        (own < self.room.size.saturating_sub(others)).then_some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane {
            lane.under_way.fetch_sub(1, Ordering::AcqRel);
        }
        self.room.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::CallerId;
    use crate::grpc::lanes::Lanes;

    /// How many places a caller gets that takes all it can, and the places.
    fn take_all(room: &Arc<Room>, lanes: &Lanes, caller: u8) -> Vec<Place> {
        let lane = || lanes.of(CallerId([caller; 12]), None);
        std::iter::from_fn(|| room.enter().and_then(|place| place.of(lane()))).collect()
    }

    #[test]
    fn who_takes_all_it_can_leaves_room_for_whoever_comes() {
        let (room, lanes) = (Arc::new(Room::new(120)), Lanes::new());
        let first = take_all(&room, &lanes, 1);
        let second = take_all(&room, &lanes, 2);
        let third = take_all(&room, &lanes, 3);
        assert_eq!([first.len(), second.len(), third.len()], [60, 30, 15]);
        drop(first);
        let more = take_all(&room, &lanes, 3);
        assert_eq!(third.len() + more.len(), 45, "as many as are left beside the second's 30");
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped_and_a_refusal_takes_none() {
        let (room, lanes) = (Arc::new(Room::new(2)), Lanes::new());
        let held = take_all(&room, &lanes, 1);
        assert_eq!(held.len(), 1);
        for _ in 0..10 {
            assert!(take_all(&room, &lanes, 1).is_empty());
        }
        let full = [room.enter().expect("one is left")];
        assert!(room.enter().is_none());
        drop((held, full));
        assert_eq!(room.taken.load(Ordering::SeqCst), 0);
        let lane = lanes.of(CallerId([1; 12]), None);
        assert_eq!(lane.under_way.load(Ordering::SeqCst), 0);
    }
}
