//! The chain of a subject's records, from any of them to the one before it, and entered anywhere in time.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use super::Audit;
use crate::app::App;
use crate::app::error::AppError;
use crate::domain::ids::Position;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::ledger::record::{self, Glance};
use crate::ledger::volumes::Sealed;

/// Links that are followed within a stretch of the log until the rest of its sealed volume is read in one go
/// instead: reading a volume takes as long as following some thousand links.
const DENSE: usize = 1000;

/// Reads the log by single records, some of which lie in one frame. Blocks.
pub(super) struct LogReader<'a> {
    audit: &'a Audit,
    reader: &'a dyn LedgerReader,
    kept: Option<Frame>,
    /// Gone with the call that the reading is for.
    call: Weak<()>,
    /// As [`DENSE`].
    pub(super) dense: usize,
}

impl App {
    /// Runs `read`, which may block, on one of a few threads. It ends early once nobody waits for it.
    pub(super) async fn read_history<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&App, &mut LogReader<'_>) -> Result<T, AppError> + Send + 'static,
    ) -> Result<T, AppError> {
        let room = Arc::clone(&self.audit.lookups).acquire_owned().await;
        let room = room.map_err(|_| AppError::Internal)?;
        let app = Arc::clone(self);
        let waiting = Arc::new(());
        let call = Arc::downgrade(&waiting);
        let read = move || {
            let _room = room;
            let (audit, reader) = (&app.audit, &*app.reader);
            read(&app, &mut LogReader { audit, reader, kept: None, call, dense: DENSE })
        };
        let read = tokio::task::spawn_blocking(read).await;
        drop(waiting);
        read.map_err(|error| AppError::internal("reading the history", &error))?
    }
}

/// Whether a record is of this subject's chain.
pub(super) fn is_of(seen: &Glance<'_>, subject: &Subject) -> bool {
    match subject {
        Subject::Key(_, key) => seen.key == Some(*key),
        Subject::Account(account) => {
            seen.key.is_none()
                && seen.tenant == account.tenant.as_str()
                && seen.account == account.account.as_str()
        }
        Subject::Service => seen.tenant.is_empty() && !seen.of_caller,
        // Nobody asks for the chain of a caller.
        Subject::Caller(_) => false,
    }
}

impl LogReader<'_> {
    fn unreadable(&self, position: Position, error: &LedgerError) -> AppError {
        self.audit.unreadable(position, error)
    }

    /// Ends the reading if nobody waits for it any more.
    pub(super) fn still_asked(&self) -> Result<(), AppError> {
        if self.call.strong_count() == 0 { Err(AppError::TooSlow) } else { Ok(()) }
    }

    /// The error for a record that fails its check.
    pub(super) fn damaged(&self, position: Position, cause: &dyn std::error::Error) -> AppError {
        self.audit.damaged(position, cause)
    }

    /// The frame that holds `position`, which MUST be one of the log's.
    fn frame(&mut self, position: Position) -> Result<&Frame, AppError> {
        let holds = |frame: &Frame| (frame.first()..=frame.last()).contains(&position);
        let frame = match self.kept.take().filter(holds) {
            Some(frame) => frame,
            None => {
                let found = self.reader.frame_at(position);
                let found =
                    found.and_then(|found| found.ok_or(LedgerError::MissingFrame { position }));
                found.map_err(|error| self.unreadable(position, &error))?
            }
        };
        Ok(self.kept.insert(frame))
    }

    /// Runs `read` on the bytes of the record at `position`.
    pub(super) fn with_record<R>(
        &mut self,
        position: Position,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, AppError> {
        let frame = self.frame(position)?;
        if let Some(bytes) = frame.record(position) {
            return Ok(read(bytes));
        }
        Err(self.unreadable(position, &LedgerError::MissingFrame { position }))
    }

    /// What the record at `position` is about: its subject's record before it, its time and its kind.
    pub(super) fn link(&mut self, position: Position) -> Result<Link, AppError> {
        self.still_asked()?;
        let link =
            self.with_record(position, |bytes| record::glance(bytes).map(|seen| Link::of(&seen)))?;
        link.map_err(|error| self.audit.damaged(position, &error))
    }

    /// The last position that was recorded before `time`, of those up to `head`; none if there is none.
    pub(super) fn last_before(
        &mut self,
        time: Time,
        head: Position,
    ) -> Result<Option<Position>, AppError> {
        let sealed = self.reader.sealed();
        let begun = sealed.partition_point(|volume| volume.first_time < time);
        // All below `low` were recorded before, none from `high` on.
        let number = |volume: &Sealed| volume.first.get();
        let mut low = match (begun.checked_sub(1).and_then(|at| sealed.get(at)), sealed.last()) {
            (Some(volume), Some(last)) if volume == last && volume.last_time < time => {
                volume.last.get() + 1
            }
            (Some(volume), _) => number(volume),
            (None, _) => 1,
        };
        let mut high = sealed.get(begun).map_or(head.get() + 1, number);
        while low < high {
            let Some(middle) = Position::new(low + (high - low) / 2) else { break };
            let frame = self.frame(middle)?;
            let (first, last) = (frame.first(), frame.last());
            if self.link(last)?.time < time {
                low = last.get() + 1;
            } else if self.link(first)?.time >= time {
                high = first.get();
            } else {
                // The records of a frame have one time as they are written, but none promises it.
                (low, high) = (low.max(first.get()), high.min(last.get()));
                if self.link(middle)?.time < time {
                    low = middle.get() + 1;
                } else {
                    high = middle.get();
                }
            }
        }
        Ok(Position::new(low.min(head.get() + 1) - 1))
    }

    /// The newest record of `subject` at `bound` or before it. `newest` is the newest there is.
    ///
    /// The tables of the sealed volumes say where the chain can be entered. From there it is followed,
    /// and at the same time the frames before `bound` are searched: a chain with few records ends soon,
    /// and one with many has one nearby.
    pub(super) fn newest_up_to(
        &mut self,
        subject: &Subject,
        bound: Position,
        newest: Position,
    ) -> Result<Option<Position>, AppError> {
        let Some(mut entry) = self.entry(subject, bound, newest)? else { return Ok(None) };
        let mut searched = Some(bound);
        loop {
            if entry <= bound {
                return Ok(Some(entry));
            }
            let Some(previous) = self.link(entry)?.previous else { return Ok(None) };
            entry = previous;
            if let Some(position) = searched {
                let (found, before) = self.search_frame(subject, position)?;
                if found.is_some() {
                    return Ok(found);
                }
                searched = before;
            }
        }
    }

    /// Follows the chain of `subject` back from one of its records and shows each kind and position to
    /// `visit`, newest first, until that breaks. Where the chain is dense, only what is of a kind that is
    /// `wanted` is shown.
    pub(super) fn follow_back(
        &mut self,
        subject: &Subject,
        from: Option<Position>,
        wanted: impl Fn(u64) -> bool,
        mut visit: impl FnMut(Position, u64) -> ControlFlow<()>,
    ) -> Result<(), AppError> {
        let (mut next, mut followed) = (from, 0);
        while let Some(position) = next {
            if followed == self.dense
                && let Some(first) = self.sealed_around(position)
            {
                let Stretch { found, before } =
                    self.read_stretch(subject, first, position, &wanted)?;
                for (position, kind) in found.into_iter().rev() {
                    if visit(position, kind).is_break() {
                        return Ok(());
                    }
                }
                (next, followed) = (before, 0);
                continue;
            }
            let link = self.link(position)?;
            if visit(position, link.kind).is_break() {
                return Ok(());
            }
            (next, followed) = (link.previous, followed.saturating_add(1));
        }
        Ok(())
    }

    /// The first position of the sealed volume that holds `position`, if one does.
    fn sealed_around(&self, position: Position) -> Option<Position> {
        let sealed = self.reader.sealed();
        let holding = sealed.partition_point(|volume| volume.last < position);
        sealed.get(holding).map(|volume| volume.first)
    }

    /// The records of the subject from `first` to `last` that are of a wanted kind, oldest first, and the one
    /// before them all.
    fn read_stretch(
        &self,
        subject: &Subject,
        first: Position,
        last: Position,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Stretch, AppError> {
        let (mut found, mut before) = (Vec::new(), None);
        for frame in self.reader.frames_from(first) {
            self.still_asked()?;
            let frame = frame.map_err(|error| self.unreadable(first, &error))?;
            for (position, bytes) in frame.records().filter(|(at, _)| (first..=last).contains(at)) {
                let seen = record::glance(bytes).map_err(|error| self.damaged(position, &error))?;
                if !is_of(&seen, subject) {
                    continue;
                }
                before.get_or_insert(seen.previous);
                if wanted(seen.kind) {
                    found.push((position, seen.kind));
                }
            }
            if frame.last() >= last {
                break;
            }
        }
        Ok(Stretch { found, before: before.flatten() })
    }

    /// A record of the subject from which its newest up to `bound` can be reached; none if it has none up
    /// to there.
    fn entry(
        &self,
        subject: &Subject,
        bound: Position,
        newest: Position,
    ) -> Result<Option<Position>, AppError> {
        let sealed = self.reader.sealed();
        let holding = sealed.partition_point(|volume| volume.last < bound);
        if newest <= bound || holding == sealed.len() {
            return Ok(Some(newest));
        }
        for volume in sealed[..=holding].iter().rev() {
            let last = self.reader.last_in_sealed(volume.number, subject);
            let last = last.map_err(|error| self.unreadable(volume.first, &error))?;
            if last.is_some() {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// The newest record of the subject in the frame that holds `position`, up to there, and the position
    /// before that frame.
    fn search_frame(
        &mut self,
        subject: &Subject,
        position: Position,
    ) -> Result<(Option<Position>, Option<Position>), AppError> {
        let frame = self.frame(position)?;
        let (mut found, mut damaged) = (None, None);
        for (at, bytes) in frame.records().filter(|(at, _)| *at <= position) {
            match record::glance(bytes) {
                Ok(seen) if is_of(&seen, subject) => found = Some(at),
                Ok(_) => {}
                Err(error) => damaged = Some((at, error)),
            }
        }
        let before = Position::new(frame.first().get() - 1);
        match damaged {
            Some((at, error)) => Err(self.audit.damaged(at, &error)),
            None => Ok((found, before)),
        }
    }
}

/// A stretch of the log as one chain has it.
struct Stretch {
    /// The records of a wanted kind and their kinds, oldest first.
    found: Vec<(Position, u64)>,
    /// The record of the chain before them all.
    before: Option<Position>,
}

/// What a record says of its place in a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) time: Time,
    pub(super) previous: Option<Position>,
    /// The number of its kind.
    pub(super) kind: u64,
}

impl Link {
    fn of(seen: &Glance<'_>) -> Self {
        Link { time: seen.time, previous: seen.previous, kind: seen.kind }
    }
}
