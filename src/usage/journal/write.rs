//! Appending to a journal.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use super::layout::{FrameHead, HEADER_BYTES, Kind};
use super::{Cover, JournalNumber, MAX_PAYLOAD_BYTES};
use crate::domain::time::Time;

/// The most bytes of the buffer for a frame that are kept between appends.
const KEPT_BYTES: usize = 1024 * 1024;

/// A file that grows at its end.
pub trait AppendTo: Send {
    /// Writes `bytes` at the end.
    ///
    /// # Errors
    /// Whatever the file system answers; part of the bytes may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended survive loss of power.
    ///
    /// # Errors
    /// Whatever the file system answers; what is there after is not known.
    fn sync(&mut self) -> io::Result<()>;
}

impl AppendTo for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A journal that is being written. After an error the caller MUST end the process: what the disk holds
/// is not known then.
pub struct JournalWriter {
    number: JournalNumber,
    file: Box<dyn AppendTo>,
    cover: Arc<dyn Cover>,
    sequence: u64,
    frames: u64,
    length: u64,
    buffer: Vec<u8>,
}

impl fmt::Debug for JournalWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("JournalWriter");
        shown.field("number", &self.number).field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl JournalWriter {
    pub(super) fn new(
        number: JournalNumber,
        file: Box<dyn AppendTo>,
        cover: Arc<dyn Cover>,
    ) -> Self {
        let length = HEADER_BYTES as u64;
        JournalWriter { number, file, cover, sequence: 0, frames: 0, length, buffer: Vec::new() }
    }

    /// The journal's number.
    #[must_use]
    pub fn number(&self) -> JournalNumber {
        self.number
    }

    /// How many frames of uses it has.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends one frame of uses of the window that begins at `window`. When this returns it survives loss
    /// of power. `wall` is a time before which nothing of the frame's flush is missing.
    ///
    /// # Errors
    /// Whatever the file system answers; `InvalidInput` if the payload, sealed, has more than
    /// [`MAX_PAYLOAD_BYTES`].
    pub fn append(&mut self, wall: Time, window: Time, clear: &[u8]) -> io::Result<()> {
        let sealed = self.cover.seal(self.number, self.sequence + 1, clear);
        self.write(Kind::Uses, wall, window, &sealed)
    }

    /// Appends a frame that says that nothing waited at `wall`. When this returns it survives loss of power.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn quiet(&mut self, wall: Time) -> io::Result<()> {
        self.write(Kind::Quiet, wall, wall, &[])
    }

    /// Ends the journal; another one follows.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn rotate(mut self, wall: Time, window: Time) -> io::Result<()> {
        self.write(Kind::Rotated, wall, window, &[])
    }

    /// Ends the journal: the service stops in order, and everything it answered is in here or in an
    /// earlier one.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn stop(mut self, wall: Time, window: Time) -> io::Result<()> {
        self.write(Kind::Stopped, wall, window, &[])
    }

    fn write(&mut self, kind: Kind, wall: Time, window: Time, payload: &[u8]) -> io::Result<()> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (number, sequence) = (self.number, self.sequence + 1);
        let payload_bytes = payload.len();
        let head = FrameHead { payload_bytes, kind, number, sequence, wall, window };
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES);
        head.encode(payload, &mut self.buffer);
        self.file.append(&self.buffer)?;
        self.file.sync()?;
        self.sequence = sequence;
        self.frames += u64::from(kind == Kind::Uses);
        self.length += self.buffer.len() as u64;
        Ok(())
    }
}
