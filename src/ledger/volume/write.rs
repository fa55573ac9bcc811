//! Writing a sealed volume: frames one after another, then the tables that are gathered on the way.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::layout::{ENTRIES_A_PAGE, ENTRY_BYTES, FOOTER_BYTES, Footer, Header, encode_page};
use super::{SUBJECT_BYTES, Sealed, SealedVolume, subject_name};
use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::durable_file::{settle, sync_parent, unfinished_name};
use crate::ledger::engine::LedgerError;
use crate::ledger::frame::{Frame, FrameError};
use crate::ledger::record;
use crate::merkle::{Frontier, HASH_BYTES, Hash};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// A volume's file in the making, under another name until it is whole, durable and read back.
pub(in crate::ledger) struct VolumeWriter {
    file: BufWriter<File>,
    path: PathBuf,
    tables: Tables,
    hash: Sha256,
    written: u64,
    number: u64,
    first: Position,
    next: Position,
}

/// What is gathered while frames are written.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) index: Vec<[u8; ENTRY_BYTES]>,
    pub(super) subjects: BTreeMap<[u8; SUBJECT_BYTES], Position>,
    pub(super) first_time: Option<Time>,
    pub(super) last_time: Time,
    root: Option<Hash>,
}

impl VolumeWriter {
    /// Begins the volume of that number, which is to be at `path`, behind the tree `before`. What an
    /// earlier attempt left under the unfinished name goes.
    ///
    /// # Errors
    /// If the file system fails.
    pub(in crate::ledger) fn begin(
        path: &Path,
        number: u64,
        before: &Frontier,
    ) -> Result<Self, LedgerError> {
        let first = Position::new(before.size() + 1).expect("one more than a size is not 0");
        let unfinished = unfinished_name(path);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&unfinished);
        let mut writer = VolumeWriter {
            file: BufWriter::with_capacity(BUFFER_BYTES, file.map_err(|error| failed(&error))?),
            path: path.to_owned(),
            tables: Tables::default(),
            hash: Sha256::new(),
            written: 0,
            number,
            first,
            next: first,
        };
        writer.write(&Header { number, first, before: before.clone() }.encode())?;
        Ok(writer)
    }

    /// Adds the next frame.
    ///
    /// # Errors
    /// If it does not follow the one before, a record of it cannot be read, or the file system fails.
    pub(in crate::ledger) fn push(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        if frame.first() != self.next {
            return Err(LedgerError::OutOfOrder { expected: self.next, found: frame.first() });
        }
        self.tables.note(frame, self.written)?;
        self.write(frame.as_bytes())?;
        self.next = frame.last().next();
        Ok(())
    }

    /// Writes the tables, syncs, reads everything back from the disk, and gives the file its name.
    /// When this returns, the volume survives loss of power.
    ///
    /// # Errors
    /// If the file system fails or what was read back is not what was written. The volume then does
    /// not exist under its name.
    ///
    /// # Panics
    /// If no frame was pushed: there is no empty volume.
    pub(in crate::ledger) fn finish(mut self) -> Result<Sealed, LedgerError> {
        let last = self.tables.root.map(|root| (Position::new(self.next.get() - 1), root));
        let Some((Some(last), root)) = last else { panic!("a volume has at least one frame") };
        let index = std::mem::take(&mut self.tables.index);
        let (index_at, frames) = (self.written, index.len() as u64);
        self.write_table(&index)?;
        let subjects: Vec<_> = std::mem::take(&mut self.tables.subjects)
            .into_iter()
            .map(|(name, position)| subject_entry(name, position))
            .collect();
        let (subjects_at, subject_count) = (self.written, subjects.len() as u64);
        self.write_table(&subjects)?;
        let footer = Footer {
            number: self.number,
            first: self.first,
            last,
            first_time: self.tables.first_time.unwrap_or_default(),
            last_time: self.tables.last_time,
            frames,
            index_at,
            subjects: subject_count,
            subjects_at,
            root,
            digest: self.hash.clone().finalize().into(),
            length: self.written + FOOTER_BYTES as u64,
        };
        self.file.write_all(&footer.encode()).map_err(|error| failed(&error))?;
        let file = self.file.into_inner().map_err(|error| failed(error.error()))?;
        // Read back from the disk, not from memory: a volume is believed for ever.
        settle(&file).map_err(|error| failed(&error))?;
        drop(file);
        let unfinished = unfinished_name(&self.path);
        read_back(&unfinished, &footer)?;
        let named = fs::rename(&unfinished, &self.path).and_then(|()| sync_parent(&self.path));
        named.map_err(|error| failed(&error))?;
        Ok(SealedVolume::open(&self.path, self.number)?.sealed())
    }

    fn write_table(&mut self, entries: &[[u8; ENTRY_BYTES]]) -> Result<(), LedgerError> {
        let a_page = usize::try_from(ENTRIES_A_PAGE).unwrap_or(usize::MAX);
        entries.chunks(a_page).try_for_each(|entries| self.write(&encode_page(entries)))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| failed(&error))
    }
}

impl Tables {
    pub(super) fn note(&mut self, frame: &Frame, offset: u64) -> Result<(), LedgerError> {
        for (position, bytes) in frame.records() {
            let reason = FrameError::DamagedRecord(position);
            let fact = record::decode(bytes)
                .map_err(|_| LedgerError::DamagedFrame { position, reason })?;
            self.subjects.insert(subject_name(&fact.subject), position);
            if position == frame.first() {
                self.index.push(index_entry(position, fact.time, offset));
                self.first_time.get_or_insert(fact.time);
            }
            self.last_time = fact.time;
        }
        self.root = Some(frame.root());
        Ok(())
    }
}

/// Holds the file to what was written into it.
fn read_back(path: &Path, written: &Footer) -> Result<(), LedgerError> {
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let mut hash = Sha256::new();
    let mut left = written.length - FOOTER_BYTES as u64;
    let mut buffer = vec![0; BUFFER_BYTES];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        file.read_exact(&mut buffer[..wanted]).map_err(|error| failed(&error))?;
        hash.update(&buffer[..wanted]);
        left -= wanted as u64;
    }
    let mut foot = Vec::with_capacity(FOOTER_BYTES);
    file.read_to_end(&mut foot).map_err(|error| failed(&error))?;
    let digest: [u8; HASH_BYTES] = hash.finalize().into();
    if digest == written.digest && foot == written.encode() {
        Ok(())
    } else {
        Err(LedgerError::DamagedVolume { number: written.number, part: "what was read back" })
    }
}

/// An entry of the index.
fn index_entry(first: Position, time: Time, offset: u64) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..8].copy_from_slice(&first.get().to_be_bytes());
    entry[8..16].copy_from_slice(&time.as_micros().to_be_bytes());
    entry[16..].copy_from_slice(&offset.to_be_bytes());
    entry
}

/// An entry of the table of subjects.
pub(super) fn subject_entry(name: [u8; SUBJECT_BYTES], last: Position) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..SUBJECT_BYTES].copy_from_slice(&name);
    entry[SUBJECT_BYTES..].copy_from_slice(&last.get().to_be_bytes());
    entry
}

const _: () = assert!(SUBJECT_BYTES + 8 == ENTRY_BYTES);

fn failed(error: &io::Error) -> LedgerError {
    crate::ledger::engine::io_failed("sealing", error)
}
