//! Replay: every record from the first or from a known head, in order, each checked before it is handed on.
//!
//! Nothing is skipped and nothing repaired: what does not fit stops the start and names a position.

use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread;

use thiserror::Error;

use crate::domain::ids::Position;
use crate::ledger::anchor::AnchorState;
use crate::ledger::engine::{LedgerError, LedgerReader, io_failed};
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

impl Head {
    /// Before the first record.
    #[must_use]
    pub fn empty() -> Self {
        Head { position: None, frontier: Frontier::new() }
    }

    /// Behind a frame.
    #[must_use]
    pub fn behind(frame: &Frame) -> Self {
        Head { position: Some(frame.last()), frontier: frame.frontier().clone() }
    }

    /// Whether the log has a frame that ends here, with this tree.
    ///
    /// # Errors
    /// If that frame cannot be read.
    pub fn is_of(&self, reader: &dyn LedgerReader) -> Result<bool, LedgerError> {
        let Some(position) = self.position else { return Ok(true) };
        let frame = reader.frame_at(position)?;
        Ok(frame
            .is_some_and(|frame| frame.last() == position && *frame.frontier() == self.frontier))
    }
}

/// Hands every record behind `from` to `each`, in order, and answers where the log ends. A ledger
/// longer than the anchor is normal: the anchor lags.
///
/// Frames are read and checked on a thread of their own, a little ahead of `each`. The caller MUST know
/// that the log has `from`: by [`Head::is_of`], or because it is empty. Records are handed on before the
/// whole log has been checked, so the caller MUST throw away what it made of them if this fails.
///
/// # Errors
/// [`ReplayError`] at the first frame or record that does not fit.
pub fn replay<E: std::error::Error + Send + 'static>(
    reader: &dyn LedgerReader,
    from: Head,
    anchor: &AnchorState,
    each: impl FnMut(Position, &[u8]) -> Result<(), E>,
) -> Result<Head, ReplayError<E>> {
    check_anchor_before(reader, &from, anchor)?;
    let head = walk(reader, from, |frame| check_anchor(frame, anchor), each, |_| false)?;
    match anchor.position {
        Some(anchored) if head.position < Some(anchored) => {
            let head = head.position.map_or(0, Position::get);
            Err(ReplayError::EndsBeforeAnchor { head, anchored })
        }
        _ => Ok(head),
    }
}

/// As [`replay`], without an anchor, up to the end of the first frame behind which `enough` says so of
/// the log up to there, or to the end of the log.
///
/// # Errors
/// As [`replay`].
pub fn replay_some<E: std::error::Error + Send + 'static>(
    reader: &dyn LedgerReader,
    from: Head,
    each: impl FnMut(Position, &[u8]) -> Result<(), E>,
    enough: impl FnMut(Position) -> bool,
) -> Result<Head, ReplayError<E>> {
    walk(reader, from, |_| Ok(()), each, enough)
}

/// Frames that have been checked and wait: some, so that neither thread waits for the other long.
const FRAMES_AHEAD: usize = 16;

/// Hands on the records behind `from` until `enough` says so. Frames are read, held to the log before
/// them and to `check` on a thread of their own.
fn walk<E: std::error::Error + Send + 'static>(
    reader: &dyn LedgerReader,
    from: Head,
    check: impl Fn(&Frame) -> Result<(), ReplayError<E>> + Send,
    mut each: impl FnMut(Position, &[u8]) -> Result<(), E>,
    mut enough: impl FnMut(Position) -> bool,
) -> Result<Head, ReplayError<E>> {
    let mut reached = from.clone();
    thread::scope(|scope| {
        let (checked, frames) = sync_channel(FRAMES_AHEAD);
        let work = move || {
            let mut head = from;
            let next = head.position.map_or(Position::FIRST, Position::next);
            for frame in reader.frames_from(next) {
                let frame = frame.map_err(ReplayError::from).and_then(|frame| {
                    check_place(&frame, &mut head)?;
                    check(&frame).map(|()| frame)
                });
                let failed = frame.is_err();
                // Whoever takes them may have had enough, or may have failed.
                if checked.send(frame).is_err() || failed {
                    break;
                }
            }
        };
        let ahead = thread::Builder::new().name("replay".to_owned()).spawn_scoped(scope, work);
        let ahead = ahead.map_err(|error| io_failed("reading", &error))?;
        for frame in frames {
            let frame = frame?;
            for (position, record) in frame.records() {
                each(position, record)
                    .map_err(|reason| ReplayError::Refused { position, reason })?;
            }
            reached = Head::behind(&frame);
            if enough(frame.last()) {
                return Ok(reached);
            }
        }
        // A panic there, which ended the frames early, goes on here.
        ahead.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok(reached)
    })
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

/// Holds the log up to `from` to the anchor, if that is no later.
fn check_anchor_before<E: std::error::Error + 'static>(
    reader: &dyn LedgerReader,
    from: &Head,
    anchor: &AnchorState,
) -> Result<(), ReplayError<E>> {
    let fits = match anchor.position {
        None => anchor.root == Frontier::new().root(),
        Some(anchored) if from.position >= Some(anchored) => reader
            .frame_at(anchored)?
            .is_some_and(|frame| frame.last() == anchored && frame.root() == anchor.root),
        Some(_) => true,
    };
    let anchored = anchor.position.map_or(0, Position::get);
    if fits { Ok(()) } else { Err(ReplayError::OtherThanAnchor { anchored }) }
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
#[path = "replay_tests.rs"]
mod tests;
