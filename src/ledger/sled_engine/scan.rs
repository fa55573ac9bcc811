//! A look at the frames in sled's log without sled, before it is opened.
//!
//! sled cuts its log at the first damage it meets after the point of its last open, and overwrites
//! what lies behind, frames that were acknowledged included. So a log that has lost a frame is
//! refused before sled touches it, and what sled cuts off though it is whole is put back. It also lets an
//! error name a position where sled names none.
//!
//! sled keeps a value's bytes in one piece within a segment, often several copies of it, and a frame
//! knows its place and its checksums; that is all that is relied on. A whole copy of every
//! acknowledged frame is on disk, and a crash leaves at most one frame behind them, so a frame that
//! cannot be reached from the first by whole frames means damage. The reverse does not hold: sled
//! may need a copy that is damaged where another is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::SEGMENT_BYTES;
use crate::domain::ids::Position;
use crate::ledger::engine::{LedgerError, io_failed};
use crate::ledger::frame::{Frame, FrameError, MAGIC};
use crate::merkle::{Frontier, leaf_hash};

/// The frames found in a log.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the log's first frame begins.
    first: Position,
    /// The whole frames by their first position, without equal copies. Several for one position if a
    /// frame that was never acknowledged was left behind by a crash.
    whole: BTreeMap<Position, Vec<Frame>>,
    /// The first damaged position of each damaged copy.
    damaged: BTreeSet<Position>,
}

/// Looks at the log in `dir`, whose first frame begins at `first`.
///
/// # Errors
/// [`LedgerError::Unreadable`] with the position from which a frame is lost though later ones are
/// there.
pub(super) fn look_at_log(dir: &Path, first: Position) -> Result<Found, LedgerError> {
    let log = File::open(dir.join("db"));
    let found =
        log.and_then(|log| look(&log, first)).map_err(|error| io_failed("reading", &error))?;
    let (reached, unreached) = found.run();
    match unreached {
        None => Ok(found),
        Some(later) => {
            let position = found.damaged.range(reached..later).next().copied().unwrap_or(reached);
            Err(LedgerError::Unreadable { position })
        }
    }
}

impl Found {
    /// Holds what sled says is the head to the frames that were there before it was opened.
    ///
    /// # Errors
    /// [`LedgerError::Unreadable`] if sled has cut off more than the one frame that a crash leaves.
    pub(super) fn check_head(&self, head: Option<Position>) -> Result<(), LedgerError> {
        let next = head.map_or(self.first, Position::next);
        match self.whole.range(next..).nth(1) {
            Some(_) => Err(LedgerError::Unreadable { position: next }),
            None => Ok(()),
        }
    }

    /// The whole frame that continues this tree, if there is one.
    ///
    /// # Errors
    /// [`LedgerError::Unreadable`] if two different ones do: only one of them was acknowledged.
    pub(super) fn next_behind(&self, tree: &Frontier) -> Result<Option<&Frame>, LedgerError> {
        let position = Position::new(tree.size() + 1).expect("one more than a size is not 0");
        let continues = |frame: &&Frame| {
            let mut after = tree.clone();
            frame.records().for_each(|(_, record)| after.push(leaf_hash(record)));
            after == *frame.frontier()
        };
        let mut frames = self.whole.get(&position).into_iter().flatten().filter(continues);
        match (frames.next(), frames.next()) {
            (_, Some(_)) => Err(LedgerError::Unreadable { position }),
            (frame, None) => Ok(frame),
        }
    }

    /// Why sled did not open the log, as far as the frames tell.
    pub(super) fn why_not_opened(&self) -> LedgerError {
        match self.damaged.first() {
            Some(position) => LedgerError::Unreadable { position: *position },
            None => LedgerError::NotOpened { whole_to: self.run().0.get() - 1 },
        }
    }

    /// The position behind the frames that follow one another from the first position on, and the
    /// first frame found that is not among them.
    fn run(&self) -> (Position, Option<Position>) {
        let mut reached = BTreeSet::from([self.first]);
        for (first, frames) in &self.whole {
            if !reached.contains(first) {
                let before = reached.range(..first).next_back().copied();
                return (before.unwrap_or(self.first), Some(*first));
            }
            reached.extend(frames.iter().map(|frame| frame.last().next()));
        }
        (reached.last().copied().unwrap_or(self.first), None)
    }
}

/// Looks in a log that is in use for every frame from `first` to `head`, which is durable. Answers the
/// first position of which no whole frame was found. sled moves frames while this reads, so one that is
/// missed may be there all the same: it is lost if it is missed again and again. `each` is told how many
/// bytes have been read and may end it.
pub(in crate::ledger) fn first_missed(
    log: &File,
    first: Position,
    head: Position,
    each: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> io::Result<ControlFlow<(), Option<Position>>> {
    let ControlFlow::Continue(found) = look_on(log, first, each)? else {
        return Ok(ControlFlow::Break(()));
    };
    let mut reached = BTreeSet::from([first]);
    for (first, frames) in &found.whole {
        if reached.contains(first) {
            reached.extend(frames.iter().map(|frame| frame.last().next()));
        }
    }
    let missed = reached.range(..=head).next_back().copied();
    let missed = missed.filter(|_| !reached.contains(&head.next()));
    Ok(ControlFlow::Continue(missed))
}

fn look(log: &File, first: Position) -> io::Result<Found> {
    let mut each: fn(u64) -> ControlFlow<Infallible> = |_| ControlFlow::Continue(());
    let ControlFlow::Continue(found) = look_on(log, first, &mut each)?;
    Ok(found)
}

fn look_on<B>(
    log: &File,
    first: Position,
    each: &mut dyn FnMut(u64) -> ControlFlow<B>,
) -> io::Result<ControlFlow<B, Found>> {
    let length = log.metadata()?.len();
    let mut found = Found { first, whole: BTreeMap::new(), damaged: BTreeSet::new() };
    let mut segment = vec![0; SEGMENT_BYTES];
    for start in (0..length).step_by(SEGMENT_BYTES) {
        let present = usize::try_from(length - start).unwrap_or(SEGMENT_BYTES).min(SEGMENT_BYTES);
        log.read_exact_at(&mut segment[..present], start)?;
        look_through(&segment[..present], &mut found);
        if let ControlFlow::Break(why) = each(present as u64) {
            return Ok(ControlFlow::Break(why));
        }
    }
    Ok(ControlFlow::Continue(found))
}

fn look_through(bytes: &[u8], found: &mut Found) {
    let mut done = 0;
    for at in memchr::memmem::find_iter(bytes, &MAGIC) {
        // Not inside a whole frame: what looks like a frame in a record is none.
        if at >= done {
            done = at + look_here(&bytes[at..], found);
        }
    }
}

/// Notes the frame that seems to begin with these bytes; answers how many bytes are done with.
fn look_here(bytes: &[u8], found: &mut Found) -> usize {
    let Some((first, length)) = Frame::place_and_length(bytes) else { return MAGIC.len() };
    let damaged = match bytes.get(..length).map(|bytes| Frame::decode(bytes, first)) {
        Some(Ok(frame)) => {
            let frames = found.whole.entry(first).or_default();
            if frames.iter().all(|other| other.as_bytes() != frame.as_bytes()) {
                frames.push(frame);
            }
            return length;
        }
        Some(Err(FrameError::DamagedRecord(position))) => position,
        _ => first,
    };
    found.damaged.insert(damaged);
    MAGIC.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::frame::FrameBuilder;

    fn at(position: u64) -> Position {
        Position::new(position).unwrap()
    }

    fn frame(first: u64, records: &[&[u8]]) -> Vec<u8> {
        let mut tree = Frontier::new();
        (1..first).for_each(|_| tree.push(leaf_hash(b"")));
        let mut builder = FrameBuilder::new(&tree, at(first));
        records.iter().for_each(|record| builder.push(record));
        builder.finish().as_bytes().to_vec()
    }

    fn look_in(parts: &[Vec<u8>]) -> Result<Found, LedgerError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("db"), parts.join(&b"KL..KLFR"[..])).unwrap();
        look_at_log(dir.path(), Position::FIRST)
    }

    #[test]
    fn frames_in_any_order_and_number_of_copies_are_one_run() {
        let (one, two, four) = (frame(1, &[b"a"]), frame(2, &[b"b", b"c"]), frame(4, &[b"d"]));
        let found = look_in(&[four.clone(), one.clone(), two, one, four]).unwrap();
        assert_eq!(found.run(), (at(5), None));
        assert_eq!(look_in(&[]).unwrap().run(), (at(1), None));
    }

    #[test]
    fn a_frame_left_by_a_crash_and_written_otherwise_later_is_no_damage() {
        let (one, left) = (frame(1, &[b"a"]), frame(2, &[b"x", b"y", b"z"]));
        let (two, three, four) = (frame(2, &[b"b"]), frame(3, &[b"c"]), frame(4, &[b"d", b"e"]));
        let found = look_in(&[one.clone(), left.clone(), two, three, four]).unwrap();
        assert_eq!(found.run(), (at(6), None));
        // Nor is one that was cut off behind the last.
        assert!(look_in(&[one, left[..left.len() - 1].to_vec()]).is_ok());
    }

    #[test]
    fn a_lost_frame_before_others_is_named() {
        let (one, two, four) = (frame(1, &[b"a"]), frame(2, &[b"b", b"c"]), frame(4, &[b"d"]));
        let lost = look_in(&[one.clone(), four.clone()]).unwrap_err();
        assert_eq!(lost, LedgerError::Unreadable { position: at(2) });
        let lost = look_in(&[two.clone(), four.clone()]).unwrap_err();
        assert_eq!(lost, LedgerError::Unreadable { position: at(1) });
        let mut altered = two;
        altered[24 + 8 + 1 + 8] ^= 1;
        let lost = look_in(&[one, altered, four]).unwrap_err();
        assert_eq!(lost, LedgerError::Unreadable { position: at(3) });
    }

    #[test]
    fn what_looks_like_a_frame_in_a_record_is_none() {
        let inner = frame(9, &[b"not in the log"]);
        assert!(look_in(&[frame(1, &[&inner])]).is_ok());
        assert!(look_in(&[frame(1, &[b"a"]), inner]).is_err());
    }
}
