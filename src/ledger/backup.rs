//! What a backup takes from the ledger: sealed volumes as they are, and the records behind them packed
//! into a file of the same form.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::domain::ids::Position;
use crate::durable_file::{free_bytes, unfinished_name};
use crate::ledger::engine::{LedgerError, LedgerReader, io_failed};
use crate::ledger::volume::{DIGEST_AT, FOOTER_BYTES, Sealed, VolumeWriter, most_bytes};
use crate::merkle::{Frontier, HASH_BYTES, Hash};

/// Where the tail is written, in the ledger's directory: an open throws away what ends like this.
const TAIL_NAME: &str = "backup-tail.tmp";

/// What the log needs next, in volumes: the engine takes up to twice what it holds, and a full volume is
/// sealed into a file before the engine lets go of it.
const RESERVED_VOLUMES: u64 = 3;

/// The records behind the last sealed volume, in the form of one. Its file has no name any more.
#[derive(Debug)]
pub struct Tail {
    /// What is in it.
    pub sealed: Sealed,
    /// Its file, from the beginning.
    pub file: File,
}

/// Where tails are packed: in the ledger's directory, whose disk the log needs itself.
#[derive(Clone, Debug)]
pub struct PackingRoom {
    scratch: PathBuf,
    /// Bytes that must be left for the log.
    reserve: u64,
}

impl PackingRoom {
    /// In the directory `dir` of a ledger that is in use and whose volumes are full with `volume_bytes`.
    #[must_use]
    pub fn new(dir: &Path, volume_bytes: u64) -> Self {
        let reserve = volume_bytes.saturating_mul(RESERVED_VOLUMES);
        PackingRoom { scratch: dir.join(TAIL_NAME), reserve }
    }

    /// Where a tail is written.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Looks whether the records behind the volume `after`, up to `head`, can be packed without taking what
    /// the log needs.
    ///
    /// # Errors
    /// [`LedgerError::NoRoom`] if not; [`LedgerError::Io`] if the file system cannot tell.
    pub fn require(
        &self,
        reader: &dyn LedgerReader,
        after: Option<&Sealed>,
        head: Position,
    ) -> Result<(), LedgerError> {
        let needed = self.needed(reader, after, head);
        let free = self.free()?;
        if free < needed { Err(LedgerError::NoRoom { needed, free }) } else { Ok(()) }
    }

    fn needed(&self, reader: &dyn LedgerReader, after: Option<&Sealed>, head: Position) -> u64 {
        let number = after.map_or(0, |volume| volume.number);
        let before = after.map_or(0, |volume| volume.last.get());
        // What has been sealed since is packed once more: all files of a backup follow one another.
        let sealed = reader.sealed().into_iter().filter(|volume| volume.number > number);
        let frames = sealed.map(|volume| volume.bytes).sum::<u64>() + reader.unsealed_bytes();
        let tail = most_bytes(frames, head.get().saturating_sub(before));
        tail.saturating_add(self.reserve)
    }

    fn free(&self) -> Result<u64, LedgerError> {
        let dir = self.scratch.parent().unwrap_or(Path::new("."));
        free_bytes(dir).map_err(|error| io_failed("backing up", &error))
    }
}

/// Packs the records behind the volume `after`, up to `head`, into a file in `room`; none if there are
/// none. `go_on` is asked before each frame. `head` MUST be where a frame ends.
///
/// # Errors
/// What `go_on` answers; [`LedgerError`] if there is no room for it, a frame is missing or damaged, or the
/// file cannot be made.
pub fn pack_tail<E: From<LedgerError>>(
    reader: &dyn LedgerReader,
    after: Option<&Sealed>,
    head: Position,
    room: &PackingRoom,
    mut go_on: impl FnMut() -> Result<(), E>,
) -> Result<Option<Tail>, E> {
    let (number, before) = match after {
        None => (1, Frontier::new()),
        Some(volume) => (volume.number + 1, tree_at(reader, volume.last)?),
    };
    let first = Position::new(before.size() + 1).expect("one more than a size is not 0");
    if first > head {
        return Ok(None);
    }
    room.require(reader, after, head)?;
    let scratch = room.scratch();
    // Others may have taken the room since it was looked for.
    let no_room = |error: LedgerError| match error {
        LedgerError::Io { cause, .. } if cause.is_no_room() => {
            let needed = room.needed(reader, after, head);
            LedgerError::NoRoom { needed, free: room.free().unwrap_or_default() }
        }
        error => error,
    };
    let mut write = || -> Result<Tail, E> {
        let mut writer = VolumeWriter::begin(scratch, number, &before).map_err(no_room)?;
        let mut written = None;
        for frame in reader.frames_from(first) {
            go_on()?;
            let frame = frame?;
            writer.push(&frame).map_err(no_room)?;
            written = Some(frame.last());
            if written >= Some(head) {
                break;
            }
        }
        if written != Some(head) {
            return Err(LedgerError::MissingFrame { position: head }.into());
        }
        let sealed = writer.finish().map_err(no_room)?;
        let file = File::open(scratch).and_then(|file| fs::remove_file(scratch).map(|()| file));
        let file = file.map_err(|error| io_failed("reading", &error))?;
        Ok(Tail { sealed, file })
    };
    let tail = write();
    if tail.is_err() {
        // What was written must not take up the room that the log needs. If this fails too, the next
        // backup or the next open removes it.
        let _ = fs::remove_file(unfinished_name(scratch)).or_else(|_| fs::remove_file(scratch));
    }
    tail.map(Some)
}

/// The tree over all records up to `position`, which MUST be where a frame ends.
///
/// # Errors
/// [`LedgerError`] if it is not, or the frame cannot be read.
pub fn tree_at(reader: &dyn LedgerReader, position: Position) -> Result<Frontier, LedgerError> {
    let frame = reader.frame_at(position)?.filter(|frame| frame.last() == position);
    let frame = frame.ok_or(LedgerError::MissingFrame { position })?;
    Ok(frame.frontier().clone())
}

/// Holds the bytes of a sealed volume, as they pass, to the digest in its footer.
#[derive(Debug)]
pub struct DigestCheck {
    hash: Sha256,
    /// Bytes before the footer that are to come.
    left: u64,
    footer: Vec<u8>,
}

impl DigestCheck {
    /// Of a volume's file of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let left = bytes.saturating_sub(FOOTER_BYTES as u64);
        DigestCheck { hash: Sha256::new(), left, footer: Vec::with_capacity(FOOTER_BYTES) }
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        let hashed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.hash.update(&bytes[..hashed]);
        self.left -= hashed as u64;
        self.footer.extend_from_slice(&bytes[hashed..]);
    }

    /// Whether the bytes were those of `volume`. What its index and tables say is for a whole check.
    #[must_use]
    pub fn holds(self, volume: &Sealed) -> bool {
        let digest: [u8; HASH_BYTES] = self.hash.finalize().into();
        let named = self.footer.get(DIGEST_AT..DIGEST_AT + HASH_BYTES);
        let root = self.footer.get(DIGEST_AT - HASH_BYTES..DIGEST_AT);
        let whole = self.left == 0 && self.footer.len() == FOOTER_BYTES;
        let Some((body, checksum)) = self.footer.split_last_chunk::<4>() else { return false };
        whole
            && named == Some(&digest[..])
            && root == Some(&volume.root.0[..])
            && crc32fast::hash(body).to_be_bytes() == *checksum
    }
}

/// What names a log in all its generations: the root of the tree over its first record alone; none if
/// the log is empty.
///
/// # Errors
/// [`LedgerError`] if the first frame cannot be read.
pub fn origin(reader: &dyn LedgerReader) -> Result<Option<Hash>, LedgerError> {
    let frame = reader.frame_at(Position::FIRST)?;
    let record = frame.as_ref().and_then(|frame| frame.record(Position::FIRST));
    Ok(record.map(crate::merkle::leaf_hash))
}
