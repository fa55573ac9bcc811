//! Reading a journal, frame by frame, in memory bounded by its largest frame.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use memchr::memmem;

use super::layout::{
    BadHeader, CHECKSUM_BYTES, FRAME_HEAD_BYTES, FRAME_MAGIC, FrameHead, HEADER_BYTES, Header, Kind,
};
use super::{Cover, JournalError, JournalNumber};
use crate::domain::time::Time;
use crate::durable_file::settle;

/// Bytes read at a time when frames are looked for behind damage.
const SCAN_BYTES: usize = 64 * 1024;

/// A frame of uses, unsealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its place in the journal, from 1.
    pub sequence: u64,
    /// Wall time when its flush began: what was recorded before is in this frame or an earlier one.
    pub wall: Time,
    /// The start of the window of its uses.
    pub window: Time,
    /// What was appended.
    pub clear: Vec<u8>,
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order: its window had passed.
    Rotated,
    /// In order: the service stopped, and had answered nothing that is not durable.
    Stopped,
    /// With a crash, behind which a later start put an end.
    Recovered,
    /// Without an end: a crash.
    Unfinished {
        /// Bytes behind the last whole frame, of one that was being appended.
        torn: u64,
    },
}

/// What a journal was found to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it says of itself.
    pub header: Header,
    /// How many frames of uses it holds.
    pub frames: u64,
    /// The wall time of its last frame of uses, or of the last behind it that says that nothing waited.
    pub last: Option<Time>,
    /// The start of the window of its uses, if it holds any.
    pub window: Option<Time>,
    /// How it ends.
    pub ending: Ending,
    /// Where it is damaged first, if it is. A journal that ends too early is damaged there.
    pub damaged_at: Option<u64>,
    /// Bytes up to the end of the last whole frame.
    pub(super) whole: u64,
    /// Its next frame's sequence.
    pub(super) next: u64,
}

/// A journal whose header is not as it was written: whose uses it holds, and since when, cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headless {
    /// Its number, by its name.
    pub number: JournalNumber,
    /// The start of the window of its uses, if it has a whole frame, which says so.
    pub window: Option<Time>,
}

impl Found {
    /// Notes that a later journal holds frames: then this one was ended.
    pub(super) fn is_followed(&mut self) {
        if matches!(self.ending, Ending::Unfinished { .. }) && self.damaged_at.is_none() {
            self.damaged_at = Some(self.whole);
        }
    }
}

/// From when on uses may have been answered that no journal holds, by what [`super::Journals::read_all`]
/// found; none if the service was last stopped in order, or never ran. If answers waited for the journal,
/// nothing is missing all the same.
#[must_use]
pub fn gap_since(found: &[Found]) -> Option<Time> {
    let stopped = found.iter().rposition(|journal| journal.ending == Ending::Stopped);
    let behind = &found[stopped.map_or(0, |at| at + 1)..];
    // Behind the end of a run is what it had made ahead, and no more.
    let begun = |journal: &Found| journal.frames > 0 || journal.header.first_of_run;
    if stopped.is_some() && !behind.iter().any(begun) {
        return None;
    }
    let last_run = behind.iter().rposition(|journal| journal.header.first_of_run).unwrap_or(0);
    let run = &behind[last_run..];
    let last = run.iter().rev().find_map(|journal| journal.last);
    last.or_else(|| run.first().map(|journal| journal.header.created))
}

/// Reads a journal from its beginning.
pub struct JournalReader {
    file: File,
    cover: Arc<dyn Cover>,
    header: Header,
    length: u64,
    at: u64,
    next: u64,
    /// The wall time of the last frame that was read and is no end.
    last: Option<Time>,
    ending: Option<Ending>,
}

impl fmt::Debug for JournalReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("JournalReader");
        shown.field("header", &self.header).field("at", &self.at).finish_non_exhaustive()
    }
}

impl JournalReader {
    pub(super) fn open(
        path: &Path,
        number: JournalNumber,
        cover: Arc<dyn Cover>,
    ) -> Result<Self, JournalError> {
        let file = File::open(path).map_err(JournalError::io("open"))?;
        // What a killed process wrote may be in the cache alone, and is about to be believed.
        settle(&file).map_err(JournalError::io("sync"))?;
        let length = file.metadata().map_err(JournalError::io("read"))?.len();
        let mut bytes = [0; HEADER_BYTES];
        let damaged = JournalError::Damaged { number, at: 0 };
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged),
            read => read.map_err(JournalError::io("read"))?,
        }
        let header = Header::decode(&bytes).map_err(|bad| match bad {
            BadHeader::Newer(version) => JournalError::Newer { number, version },
            BadHeader::Damaged => damaged.clone(),
        })?;
        if header.number != number {
            return Err(damaged);
        }
        let at = HEADER_BYTES as u64;
        Ok(JournalReader { file, cover, header, length, at, next: 1, last: None, ending: None })
    }

    /// The start of the window of a journal's uses, by its first whole frame that has one. For a journal whose
    /// header cannot be believed.
    pub(super) fn window_behind_header(
        path: &Path,
        number: JournalNumber,
    ) -> Result<Option<Time>, JournalError> {
        let file = File::open(path).map_err(JournalError::io("open"))?;
        let length = file.metadata().map_err(JournalError::io("read"))?.len();
        let frames = Frames { file: &file, number, length, next: 1 };
        let mut at = 0;
        while let Some((found, head)) = frames.find(at)? {
            if head.kind != Kind::Quiet {
                return Ok(Some(head.window));
            }
            at = found + frame_bytes(&head);
        }
        Ok(None)
    }

    /// What the journal says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next frame of uses; none at the end of the journal, see [`JournalReader::ending`].
    ///
    /// # Errors
    /// [`JournalError::Damaged`] if what is next is no frame, or not the next, and a frame follows: the
    /// call after this one reads that. [`JournalError::Covered`] or [`JournalError::Io`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, JournalError> {
        while self.at < self.length {
            let (head, payload) = match self.frames().whole(self.at)? {
                // Nothing is ever written behind an end.
                Some(whole) if self.ending.is_none() && whole.0.sequence == self.next => whole,
                _ => return self.pass_over(),
            };
            self.at += frame_bytes(&head);
            self.next += 1;
            let FrameHead { number, sequence, wall, window, .. } = head;
            match head.kind {
                Kind::Uses => {
                    self.last = Some(wall);
                    let clear = self.cover.open(number, sequence, &payload);
                    let clear = clear.ok_or(JournalError::Covered { number, sequence })?;
                    return Ok(Some(Frame { sequence, wall, window, clear }));
                }
                Kind::Quiet => self.last = Some(wall),
                Kind::Rotated => self.ending = Some(Ending::Rotated),
                Kind::Stopped => self.ending = Some(Ending::Stopped),
                Kind::Recovered => self.ending = Some(Ending::Recovered),
            }
        }
        self.ending.get_or_insert(Ending::Unfinished { torn: 0 });
        Ok(None)
    }

    /// How the journal ends; none before [`JournalReader::next_frame`] answered none.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending.filter(|_| self.at == self.length)
    }

    /// Reads what is left and hands each frame to `each`; passes over damage, but notes where it is.
    pub(super) fn read_rest(
        &mut self,
        each: &mut impl FnMut(&Header, Frame),
    ) -> Result<Found, JournalError> {
        let (mut frames, mut window, mut damaged_at) = (0, None, None);
        loop {
            match self.next_frame() {
                Ok(Some(frame)) => {
                    (frames, window) = (frames + 1, Some(frame.window));
                    each(&self.header, frame);
                }
                Ok(None) => break,
                Err(JournalError::Damaged { at, .. }) => {
                    damaged_at.get_or_insert(at);
                }
                Err(error) => return Err(error),
            }
        }
        let ending = self.ending.unwrap_or(Ending::Unfinished { torn: 0 });
        let (header, last, whole, next) = (self.header, self.last, self.at, self.next);
        Ok(Found { header, frames, last, window, ending, damaged_at, whole, next })
    }

    /// Goes on behind what is no frame: at the next whole one, or at the end.
    fn pass_over(&mut self) -> Result<Option<Frame>, JournalError> {
        let damaged = JournalError::Damaged { number: self.header.number, at: self.at };
        if self.ending.is_none() {
            if let Some((at, head)) = self.frames().find(self.at)? {
                (self.at, self.next) = (at, head.sequence);
                return Err(damaged);
            }
            self.ending = Some(Ending::Unfinished { torn: self.length - self.at });
            self.length = self.at;
            return Ok(None);
        }
        self.length = self.at;
        Err(damaged)
    }

    fn frames(&self) -> Frames<'_> {
        let JournalReader { file, header, length, next, .. } = self;
        Frames { file, number: header.number, length: *length, next: *next }
    }
}

/// The bytes of a journal, in which frames are looked for.
struct Frames<'a> {
    file: &'a File,
    number: JournalNumber,
    length: u64,
    /// No frame has a lower sequence.
    next: u64,
}

impl Frames<'_> {
    /// The frame that stands at `at`, if a whole one of this journal does that is not before the next.
    fn whole(&self, at: u64) -> Result<Option<(FrameHead, Vec<u8>)>, JournalError> {
        let failed = JournalError::io("read");
        let left = self.length - at;
        if left < (FRAME_HEAD_BYTES + CHECKSUM_BYTES) as u64 {
            return Ok(None);
        }
        let mut first = [0; FRAME_HEAD_BYTES];
        self.file.read_exact_at(&mut first, at).map_err(&failed)?;
        let ours = |head: &FrameHead| {
            head.number == self.number && head.sequence >= self.next && frame_bytes(head) <= left
        };
        let Some(head) = FrameHead::decode(&first).filter(ours) else { return Ok(None) };
        let mut payload = vec![0; head.payload_bytes + CHECKSUM_BYTES];
        let behind = at + FRAME_HEAD_BYTES as u64;
        self.file.read_exact_at(&mut payload, behind).map_err(&failed)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&first);
        hasher.update(&payload[..head.payload_bytes]);
        let intact = hasher.finalize().to_be_bytes() == payload[head.payload_bytes..];
        payload.truncate(head.payload_bytes);
        Ok(intact.then_some((head, payload)))
    }

    /// The first whole frame at `from` or behind it.
    fn find(&self, from: u64) -> Result<Option<(u64, FrameHead)>, JournalError> {
        let mut buffer = vec![0; SCAN_BYTES];
        let mut pos = from;
        while pos < self.length {
            let left = usize::try_from(self.length - pos).unwrap_or(SCAN_BYTES).min(SCAN_BYTES);
            let bytes = &mut buffer[..left];
            self.file.read_exact_at(bytes, pos).map_err(JournalError::io("read"))?;
            for hit in memmem::find_iter(bytes, &FRAME_MAGIC) {
                let at = pos + hit as u64;
                if let Some((head, _)) = self.whole(at)? {
                    return Ok(Some((at, head)));
                }
            }
            if left < SCAN_BYTES {
                break;
            }
            // The magic may lie across two reads.
            pos += (SCAN_BYTES - FRAME_MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }
}

fn frame_bytes(head: &FrameHead) -> u64 {
    (FRAME_HEAD_BYTES + head.payload_bytes + CHECKSUM_BYTES) as u64
}
