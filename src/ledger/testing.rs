//! A log in memory, for tests of what reads logs.

use crate::domain::event::Recorded;
use crate::domain::ids::Position;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::frame::{Frame, FrameBuilder};
use crate::ledger::record;
use crate::merkle::Frontier;

/// Frames, or what reading them answers, in order.
#[derive(Clone, Default)]
pub(crate) struct FrameLog(pub(crate) Vec<Result<Frame, LedgerError>>);

impl FrameLog {
    /// The log of `facts`, from position 1 on, `per_frame` of them in a frame.
    pub(crate) fn of(facts: &[Recorded], per_frame: usize) -> Self {
        let mut frontier = Frontier::new();
        let mut frames = Vec::new();
        for group in facts.chunks(per_frame) {
            let mut builder = FrameBuilder::new(&frontier, group[0].position);
            group.iter().for_each(|fact| builder.push(&record::encode(fact)));
            let frame = builder.finish();
            frontier = frame.frontier().clone();
            frames.push(Ok(frame));
        }
        FrameLog(frames)
    }

    /// The positions at which frames end.
    pub(crate) fn ends(&self) -> Vec<Position> {
        self.0.iter().flatten().map(Frame::last).collect()
    }
}

impl LedgerReader for FrameLog {
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        let holds = |frame: &&Frame| (frame.first()..=frame.last()).contains(&position);
        Ok(self.0.iter().flatten().find(holds).cloned())
    }

    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
        let before = move |frame: &&Result<Frame, LedgerError>| {
            frame.as_ref().is_ok_and(|frame| frame.last() < position)
        };
        Box::new(self.0.iter().skip_while(before).cloned())
    }
}
