//! Reading a sealed volume: single frames through its index, or all of them in order.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::layout::{
    BadPart, ENTRIES_A_PAGE, ENTRY_BYTES, FOOTER_BYTES, Footer, Header, MAX_HEADER_BYTES,
    PAGE_BYTES, decode_page, number,
};
use super::{SUBJECT_BYTES, Sealed, subject_name};
use crate::domain::ids::Position;
use crate::domain::subject::Subject;
use crate::ledger::engine::{LedgerError, io_failed};
use crate::ledger::frame::{Frame, HEADER_BYTES, MAX_FRAME_BYTES};
use crate::merkle::Frontier;

/// Bytes read at a time when frames are read in order.
const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes read with the header when one frame alone is read: most small frames are in them.
const ONE_FRAME_BYTES: usize = 4 * 1024;

/// A sealed volume whose header and footer hold. Its frames and tables are checked as they are read;
/// the file is opened for each use, so that any number of volumes takes no file descriptors.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct SealedVolume {
    path: PathBuf,
    footer: Footer,
    before: Frontier,
    frames_at: u64,
}

impl SealedVolume {
    /// Opens the file `path` of the volume of that number.
    ///
    /// # Errors
    /// If it cannot be read, or its header, footer or length is not what was written.
    pub(in crate::ledger) fn open(path: &Path, expected: u64) -> Result<Self, LedgerError> {
        let file = open_file(path, expected)?;
        let length = file.metadata().map_err(read_failed)?.len();
        let damaged = || damaged(expected, "its header or footer");
        let bad = |bad| match bad {
            BadPart::Newer(version) => LedgerError::NewerVolume { number: expected, version },
            BadPart::Damaged => damaged(),
        };
        let present = usize::try_from(length).unwrap_or(MAX_HEADER_BYTES).min(MAX_HEADER_BYTES);
        let mut head = vec![0; present];
        file.read_exact_at(&mut head, 0).map_err(read_failed)?;
        let (header, header_bytes) = Header::decode(&head).map_err(bad)?;
        let footer_at = length.checked_sub(FOOTER_BYTES as u64).ok_or_else(damaged)?;
        let mut foot = [0; FOOTER_BYTES];
        file.read_exact_at(&mut foot, footer_at).map_err(read_failed)?;
        let footer = Footer::decode(&foot).map_err(bad)?;
        let frames_at = header_bytes as u64;
        let same = (header.number, header.first, expected, length)
            == (footer.number, footer.first, footer.number, footer.length);
        if !same || footer.index_at < frames_at {
            return Err(damaged());
        }
        Ok(SealedVolume { path: path.to_owned(), footer, before: header.before, frames_at })
    }

    /// What is known of the volume.
    pub(in crate::ledger) fn sealed(&self) -> Sealed {
        let footer = &self.footer;
        Sealed {
            number: footer.number,
            first: footer.first,
            last: footer.last,
            first_time: footer.first_time,
            last_time: footer.last_time,
            root: footer.root,
            bytes: footer.length,
        }
    }

    /// The tree over all records before the volume's first.
    pub(in crate::ledger) fn before(&self) -> &Frontier {
        &self.before
    }

    /// Where the volume's file is.
    pub(in crate::ledger) fn path(&self) -> &Path {
        &self.path
    }

    /// What the footer says, for the whole check.
    pub(super) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Where the frames begin in the file: the bytes of the header.
    pub(super) fn frames_at(&self) -> u64 {
        self.frames_at
    }

    /// The volume's file.
    pub(in crate::ledger) fn file(&self) -> Result<File, LedgerError> {
        open_file(&self.path, self.footer.number)
    }

    /// The frame that holds `position`, which MUST be one of the volume's.
    pub(in crate::ledger) fn frame_at(&self, position: Position) -> Result<Frame, LedgerError> {
        let file = self.file()?;
        let by_first = |entry: &[u8; ENTRY_BYTES]| number(entry, 0) <= position.get();
        let entry = self.search(&file, Table::Index, by_first)?;
        let (first, offset) = (Position::new(number(&entry, 0)), number(&entry, 16));
        let mut frames = SealedFrames::at(self, buffered(file, ONE_FRAME_BYTES), first, offset)?;
        match frames.read_next()? {
            Some(frame) if frame.last() >= position => Ok(frame),
            _ => Err(LedgerError::MissingFrame { position }),
        }
    }

    /// The frames in order, from the one that holds `position`, which MUST be one of the volume's.
    pub(in crate::ledger) fn frames_from(
        &self,
        position: Position,
    ) -> Result<SealedFrames, LedgerError> {
        let file = self.file()?;
        if position == self.footer.first {
            let file = buffered(file, BUFFER_BYTES);
            return SealedFrames::at(self, file, Some(position), self.frames_at);
        }
        let by_first = |entry: &[u8; ENTRY_BYTES]| number(entry, 0) <= position.get();
        let entry = self.search(&file, Table::Index, by_first)?;
        let (first, offset) = (Position::new(number(&entry, 0)), number(&entry, 16));
        SealedFrames::at(self, buffered(file, BUFFER_BYTES), first, offset)
    }

    /// The position of the last record about `subject` in the volume; none if it has none.
    pub(in crate::ledger) fn last_of(
        &self,
        subject: &Subject,
    ) -> Result<Option<Position>, LedgerError> {
        let name = subject_name(subject);
        let by_name = |entry: &[u8; ENTRY_BYTES]| entry[..SUBJECT_BYTES] <= name[..];
        let entry = self.search(&self.file()?, Table::Subjects, by_name)?;
        let found = entry[..SUBJECT_BYTES] == name;
        Ok(found.then(|| number(&entry, SUBJECT_BYTES)).and_then(Position::new))
    }

    /// The last entry of a table for which `holds`, which is true for those up to some place and
    /// false behind it; the first entry if it holds for none.
    fn search(
        &self,
        file: &File,
        table: Table,
        holds: impl Fn(&[u8; ENTRY_BYTES]) -> bool,
    ) -> Result<[u8; ENTRY_BYTES], LedgerError> {
        let (at, entries) = match table {
            Table::Index => (self.footer.index_at, self.footer.frames),
            Table::Subjects => (self.footer.subjects_at, self.footer.subjects),
        };
        let page = |n: u64| -> Result<Vec<[u8; ENTRY_BYTES]>, LedgerError> {
            let mut bytes = [0; PAGE_BYTES];
            file.read_exact_at(&mut bytes, at + n * PAGE_BYTES as u64).map_err(read_failed)?;
            let count = (entries - n * ENTRIES_A_PAGE).min(ENTRIES_A_PAGE);
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let entries = decode_page(&bytes, count);
            Ok(entries.map_err(|_| damaged(self.footer.number, table.name()))?.to_vec())
        };
        // The last page whose first entry holds: between one that does (or the first) and one that does not.
        let (mut low, mut high) = (0, super::layout::pages(entries));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if holds(&page(middle)?[0]) { low = middle } else { high = middle }
        }
        let found = page(low)?;
        let behind = found.partition_point(|entry| holds(entry));
        Ok(found[behind.saturating_sub(1)])
    }
}

/// Which table of a volume.
#[derive(Clone, Copy)]
enum Table {
    Index,
    Subjects,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::Index => "its index",
            Table::Subjects => "its table of subjects",
        }
    }
}

/// The frames of a sealed volume in order, each checked by its own checksums.
pub(in crate::ledger) struct SealedFrames {
    file: BufReader<File>,
    /// Where the next frame is in the file, and where the frames end.
    offset: u64,
    end: u64,
    next: Position,
}

impl SealedFrames {
    fn at(
        volume: &SealedVolume,
        mut file: BufReader<File>,
        next: Option<Position>,
        offset: u64,
    ) -> Result<Self, LedgerError> {
        let inside = (volume.frames_at..volume.footer.index_at).contains(&offset);
        let (Some(next), true) = (next, inside) else {
            return Err(damaged(volume.footer.number, "its index"));
        };
        file.seek(SeekFrom::Start(offset)).map_err(read_failed)?;
        Ok(SealedFrames { file, offset, end: volume.footer.index_at, next })
    }

    /// Where the next frame is in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; none behind the last.
    pub(in crate::ledger) fn read_next(&mut self) -> Result<Option<Frame>, LedgerError> {
        if self.offset == self.end {
            return Ok(None);
        }
        let position = self.next;
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let missing = LedgerError::Unreadable { position };
        let mut bytes = vec![0; HEADER_BYTES];
        if left < HEADER_BYTES {
            return Err(missing);
        }
        self.file.read_exact(&mut bytes).map_err(read_failed)?;
        let length = Frame::place_and_length(&bytes).map_or(0, |(_, length)| length);
        if length < HEADER_BYTES || length > left.min(MAX_FRAME_BYTES) {
            return Err(missing);
        }
        bytes.resize(length, 0);
        self.file.read_exact(&mut bytes[HEADER_BYTES..]).map_err(read_failed)?;
        let frame = Frame::decode(bytes, position)
            .map_err(|reason| LedgerError::DamagedFrame { position, reason })?;
        self.offset += length as u64;
        self.next = frame.last().next();
        Ok(Some(frame))
    }
}

fn buffered(file: File, bytes: usize) -> BufReader<File> {
    BufReader::with_capacity(bytes, file)
}

fn open_file(path: &Path, number: u64) -> Result<File, LedgerError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LedgerError::MissingVolume { number },
        _ => read_failed(error),
    })
}

pub(super) fn damaged(number: u64, part: &'static str) -> LedgerError {
    LedgerError::DamagedVolume { number, part }
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
pub(super) fn read_failed(error: io::Error) -> LedgerError {
    io_failed("reading", &error)
}
