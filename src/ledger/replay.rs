//! Replay at start: every record from the first, in order, each checked before it is handed on.
//!
//! Nothing is skipped and nothing repaired: what does not fit stops the start and names a position.

use thiserror::Error;

use crate::domain::ids::Position;
use crate::ledger::anchor::AnchorState;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::merkle::{Frontier, leaf_hash};

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last position; none if the log is empty.
    pub position: Option<Position>,
    /// The tree over all records.
    pub frontier: Frontier,
}

/// Why the log cannot be replayed. `E` is the error of whoever takes the records.
#[derive(Debug, Error)]
pub enum ReplayError<E: std::error::Error + 'static> {
    /// A frame cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A frame begins elsewhere than behind the one before.
    #[error("the ledger goes on at position {found} where position {expected} should be")]
    Gap {
        /// The position behind the frame before.
        expected: Position,
        /// Where the frame begins.
        found: Position,
    },
    /// A frame's tree is not the tree over the records.
    #[error(
        "the tree of the frame at positions {first} to {last} is not the tree over the records up to there"
    )]
    OtherTree {
        /// The frame's first position.
        first: Position,
        /// The frame's last position.
        last: Position,
    },
    /// The ledger ends before the anchor: it has lost records, or an older copy was put in place.
    #[error("the ledger ends at position {head} but the head anchor names {anchored}")]
    EndsBeforeAnchor {
        /// The last position of the ledger, 0 if it is empty.
        head: u64,
        /// The position the anchor names.
        anchored: Position,
    },
    /// The ledger has another history than the anchor: one of the two was replaced.
    #[error("the ledger at position {anchored} is not the one the head anchor names")]
    OtherThanAnchor {
        /// The position the anchor names, 0 for the empty log.
        anchored: u64,
    },
    /// The records' taker refuses one.
    #[error("the record at position {position} is refused: {reason}")]
    Refused {
        /// The record's position.
        position: Position,
        /// Why.
        #[source]
        reason: E,
    },
}

/// Hands every record of the ledger to `each`, in order, and answers where the log ends. A ledger
/// longer than the anchor is normal: the anchor lags.
///
/// Records are handed on before the whole log has been checked, so the caller MUST throw away what
/// it made of them if this fails.
///
/// # Errors
/// [`ReplayError`] at the first frame or record that does not fit.
pub fn replay<E: std::error::Error + 'static>(
    reader: &dyn LedgerReader,
    anchor: &AnchorState,
    mut each: impl FnMut(Position, &[u8]) -> Result<(), E>,
) -> Result<Head, ReplayError<E>> {
    let mut head = Head { position: None, frontier: Frontier::new() };
    if anchor.position.is_none() && anchor.root != head.frontier.root() {
        return Err(ReplayError::OtherThanAnchor { anchored: 0 });
    }
    for frame in reader.frames_from(Position::FIRST) {
        let frame = frame?;
        check_place(&frame, &mut head)?;
        check_anchor(&frame, anchor)?;
        for (position, record) in frame.records() {
            each(position, record).map_err(|reason| ReplayError::Refused { position, reason })?;
        }
    }
    match anchor.position {
        Some(anchored) if head.position < Some(anchored) => {
            let head = head.position.map_or(0, Position::get);
            Err(ReplayError::EndsBeforeAnchor { head, anchored })
        }
        _ => Ok(head),
    }
}

/// Holds the frame to the log before it, and moves the head behind it.
fn check_place<E: std::error::Error + 'static>(
    frame: &Frame,
    head: &mut Head,
) -> Result<(), ReplayError<E>> {
    let (first, last) = (frame.first(), frame.last());
    let expected = head.position.map_or(Position::FIRST, Position::next);
    if first != expected {
        return Err(ReplayError::Gap { expected, found: first });
    }
    for (_, record) in frame.records() {
        head.frontier.push(leaf_hash(record));
    }
    if head.frontier != *frame.frontier() {
        return Err(ReplayError::OtherTree { first, last });
    }
    head.position = Some(last);
    Ok(())
}

/// Holds the frame that has the anchored position to the anchor, which always names a frame's end.
fn check_anchor<E: std::error::Error + 'static>(
    frame: &Frame,
    anchor: &AnchorState,
) -> Result<(), ReplayError<E>> {
    let inside = |position: &Position| (frame.first()..=frame.last()).contains(position);
    match anchor.position.filter(inside) {
        Some(anchored) if anchored != frame.last() || anchor.root != frame.root() => {
            Err(ReplayError::OtherThanAnchor { anchored: anchored.get() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::frame::{FrameBuilder, FrameError};
    use std::convert::Infallible;
    use std::fmt::Debug;

    /// A log in memory that hands out whatever it was given.
    struct Frames(Vec<Result<Frame, LedgerError>>);

    impl LedgerReader for Frames {
        fn frame_at(&self, _: Position) -> Result<Option<Frame>, LedgerError> {
            unreachable!("replay reads in order")
        }

        fn frames_from(
            &self,
            _: Position,
        ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
            Box::new(self.0.iter().cloned())
        }
    }

    fn at(position: u64) -> Position {
        Position::new(position).unwrap()
    }

    fn frame(after: &Frontier, records: &[&str]) -> Frame {
        let first = Position::new(after.size() + 1).unwrap();
        let mut builder = FrameBuilder::new(after, first);
        records.iter().for_each(|record| builder.push(record.as_bytes()));
        builder.finish()
    }

    /// Positions 1 to 6 in three frames.
    fn frames() -> [Frame; 3] {
        let one = frame(&Frontier::new(), &["a", "b"]);
        let two = frame(one.frontier(), &["c"]);
        let three = frame(two.frontier(), &["d", "e", "f"]);
        [one, two, three]
    }

    fn anchor_at(frame: &Frame) -> AnchorState {
        AnchorState { position: Some(frame.last()), root: frame.root() }
    }

    fn empty() -> AnchorState {
        AnchorState { position: None, root: Frontier::new().root() }
    }

    fn run(frames: &[Frame], anchor: &AnchorState) -> Result<Head, ReplayError<Infallible>> {
        replay(&Frames(frames.iter().cloned().map(Ok).collect()), anchor, |_, _| Ok(()))
    }

    fn says<T: Debug, E: std::error::Error>(result: Result<T, ReplayError<E>>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn every_record_is_handed_on_in_order_and_the_head_is_the_last_frame() {
        let frames = frames();
        for anchor in [empty(), anchor_at(&frames[0]), anchor_at(&frames[2])] {
            let mut seen = Vec::new();
            let reader = Frames(frames.iter().cloned().map(Ok).collect());
            let head = replay(&reader, &anchor, |position, record| {
                seen.push((position.get(), String::from_utf8(record.to_vec()).unwrap()));
                Ok::<_, Infallible>(())
            });
            let head = head.unwrap();
            assert_eq!((head.position, &head.frontier), (Some(at(6)), frames[2].frontier()));
            let expected: Vec<_> = (1..=6).zip("abcdef".chars().map(String::from)).collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn an_empty_ledger_fits_an_empty_anchor_only() {
        assert_eq!(run(&[], &empty()).unwrap(), Head { position: None, frontier: Frontier::new() });
        let anchor = anchor_at(&frames()[0]);
        assert_eq!(
            says(run(&[], &anchor)),
            "the ledger ends at position 0 but the head anchor names 2"
        );
        let other = AnchorState { position: None, root: leaf_hash(b"a") };
        assert!(says(run(&[], &other)).contains("at position 0 is not the one"));
    }

    #[test]
    fn a_ledger_shorter_than_the_anchor_is_refused_with_both_positions() {
        let frames = frames();
        let refused = run(&frames[..2], &anchor_at(&frames[2]));
        assert_eq!(says(refused), "the ledger ends at position 3 but the head anchor names 6");
    }

    #[test]
    fn another_history_than_the_anchors_is_refused() {
        let frames = frames();
        let other_root = AnchorState { position: Some(at(3)), root: leaf_hash(b"x") };
        let refused = "the ledger at position 3 is not the one the head anchor names";
        assert_eq!(says(run(&frames, &other_root)), refused);
        // A position inside a frame was never a head.
        let inside = AnchorState { position: Some(at(5)), root: frames[2].root() };
        assert!(says(run(&frames, &inside)).contains("at position 5"));
    }

    #[test]
    fn a_missing_frame_is_a_gap() {
        let frames = frames();
        let refused = run(&[frames[0].clone(), frames[2].clone()], &empty());
        let text = "the ledger goes on at position 4 where position 3 should be";
        assert_eq!(says(refused), text);
    }

    #[test]
    fn a_frame_whose_tree_does_not_continue_the_one_before_is_refused() {
        let [one, _, three] = frames();
        let forged = frame(frame(&Frontier::new(), &["a", "x"]).frontier(), &["c"]);
        assert!(says(run(&[one, forged, three], &empty())).contains("positions 3 to 3"));
    }

    #[test]
    fn a_damaged_frame_and_a_refused_record_stop_the_replay_with_their_position() {
        let [one, two, _] = frames();
        let reason = FrameError::DamagedRecord(at(4));
        let damaged = LedgerError::DamagedFrame { position: at(4), reason };
        let reader = Frames(vec![Ok(one), Ok(two), Err(damaged)]);
        let mut seen = 0;
        let refused = replay(&reader, &empty(), |_, _| {
            seen += 1;
            Ok::<_, Infallible>(())
        });
        assert!(says(refused).ends_with("the record at position 4 is damaged"));
        assert_eq!(seen, 3);

        let refused = replay(&reader, &empty(), |position, _| match position.get() {
            2 => Err(std::io::Error::other("unheard of")),
            _ => Ok(()),
        });
        assert_eq!(says(refused), "the record at position 2 is refused: unheard of");
    }
}
