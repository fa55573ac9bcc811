//! The last frames, kept in memory: whoever reads what was just written reads it here.

use std::collections::VecDeque;

use crate::domain::ids::Position;
use crate::ledger::frame::Frame;

/// Bytes of frames that are kept: the last few thousand small commits.
const RING_BYTES: usize = 4 * 1024 * 1024;

/// The last frames in order, without a gap.
#[derive(Debug, Default)]
pub(super) struct Ring {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Ring {
    /// Adds the frame behind the last one; the oldest go while there are too many bytes.
    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.as_bytes().len();
        self.frames.push_back(frame);
        while self.bytes > RING_BYTES
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= oldest.as_bytes().len();
        }
    }

    /// The frame that holds `position`, if it is kept.
    pub(super) fn frame_at(&self, position: Position) -> Option<Frame> {
        let behind = self.frames.partition_point(|frame| frame.first() <= position);
        let frame = self.frames.get(behind.checked_sub(1)?)?;
        (position <= frame.last()).then(|| frame.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::frame::FrameBuilder;
    use crate::merkle::Frontier;

    #[test]
    fn the_last_frames_are_found_by_any_position_they_hold_and_the_oldest_go() {
        let mut ring = Ring::default();
        let mut tree = Frontier::new();
        let record = vec![7; 20_000];
        for _ in 0..300 {
            let mut builder = FrameBuilder::new(&tree, Position::new(tree.size() + 1).unwrap());
            builder.push(&record);
            builder.push(&record);
            let frame = builder.finish();
            tree = frame.frontier().clone();
            ring.push(frame);
        }
        assert!(ring.bytes <= RING_BYTES && ring.bytes > RING_BYTES / 2);
        let at = |position| ring.frame_at(Position::new(position).unwrap());
        assert!(at(1).is_none());
        assert!(at(601).is_none());
        for position in 500..=600 {
            let frame = at(position).unwrap();
            assert!((frame.first().get()..=frame.last().get()).contains(&position));
        }
    }
}
