//! The head anchor: where the log ended, kept outside the engine.
//!
//! An engine that lost its newest frames, or was rolled back alone, looks whole. The anchor tells: at
//! start the ledger must contain the anchored position with the anchored root. It is written after
//! the commits it speaks of are durable, so it may lag behind the ledger and never leads it.
//!
//! The file is two slots of 4096 bytes, written by turns; the newest valid one counts. Each has a
//! block of its own, since a write cut off by loss of power may damage the block it falls in.
//! A slot, version 1, numbers big-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `KLAN` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 8 | generation, from 1; its last bit is the number of the slot |
//! | 16 | 8 | position, 0 for the empty log |
//! | 24 | 32 | root of the tree over all records up to the position |
//! | 56 | 4036 | 0 |
//! | 4092 | 4 | CRC-32 (ISO-HDLC) of everything before |

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use crate::domain::ids::Position;
use crate::durable_file::{Cause, settle, write_new};
use crate::ledger::durable::fail_stop;
use crate::merkle::{Frontier, HASH_BYTES, Hash};

const MAGIC: [u8; 4] = *b"KLAN";
const VERSION: u16 = 1;
const SLOT_BYTES: usize = 4096;
const USED_BYTES: usize = 24 + HASH_BYTES;
const CHECKSUM_AT: usize = SLOT_BYTES - 4;

/// How long the keeper rests after a write: the most that the anchor lags behind what is durable,
/// besides the write itself. Its syncs would else take turns with those of the commits.
const REST: Duration = Duration::from_millis(10);

/// Why the anchor cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnchorError {
    /// There is no anchor.
    #[error("the head anchor is missing")]
    Missing,
    /// Neither slot is whole.
    #[error("the head anchor is truncated or altered")]
    Damaged,
    /// The anchor was written by a newer version.
    #[error("the head anchor has version {0}, which is newer than this program")]
    Newer(u16),
    /// The file system failed.
    #[error("the file system failed on the head anchor: {0}")]
    Io(Cause),
}

impl From<io::Error> for AnchorError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => AnchorError::Missing,
            _ => AnchorError::Io(Cause::from(&error)),
        }
    }
}

/// What the anchor says the ledger contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorState {
    /// A position that was durable; none for the empty log.
    pub position: Option<Position>,
    /// The root of the tree over all records up to it.
    pub root: Hash,
}

/// What is found in the anchor's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the newest whole slot says.
    pub state: AnchorState,
    /// The slot, 0 or 1, that is truncated or altered: a write cut off by loss of power leaves that, and
    /// so does damage. What it said is lost; the next write replaces it.
    pub damaged_slot: Option<usize>,
    generation: u64,
}

/// The anchor's file, open for its one writer.
#[derive(Debug)]
pub struct Anchor {
    file: File,
    generation: u64,
    /// What the newest slot says.
    state: AnchorState,
}

impl Anchor {
    /// Makes the anchor of an empty log. When this returns it survives loss of power.
    ///
    /// # Errors
    /// [`AnchorError::Io`] with `AlreadyExists` if there is one, which is not touched; otherwise
    /// whatever the file system answers.
    pub fn create(path: &Path) -> Result<Self, AnchorError> {
        let generation = 1;
        let state = AnchorState { position: None, root: Frontier::new().root() };
        let mut bytes = [0; 2 * SLOT_BYTES];
        bytes[SLOT_BYTES..].copy_from_slice(&encode(generation, &state));
        write_new(path, &bytes, 0o600)?;
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Anchor { file, generation, state })
    }

    /// Opens the anchor and reads its newest whole slot, from the disk. A slot that is not whole is passed
    /// over with a warning in the log.
    ///
    /// # Errors
    /// [`AnchorError`] if there is none, or none of its slots is whole.
    pub fn open(path: &Path) -> Result<(Self, AnchorState), AnchorError> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        settle(&file)?;
        let Found { state, damaged_slot, generation } = read_slots(&file)?;
        if let Some(slot) = damaged_slot {
            tracing::warn!(
                slot,
                "a slot of the head anchor is truncated or altered; the other holds"
            );
        }
        Ok((Anchor { file, generation, state }, state))
    }

    /// Reads the anchor without holding it open.
    ///
    /// # Errors
    /// As [`Anchor::open`].
    pub fn read(path: &Path) -> Result<AnchorState, AnchorError> {
        Ok(Anchor::examine(path)?.state)
    }

    /// Reads both slots without holding the anchor open.
    ///
    /// # Errors
    /// As [`Anchor::open`].
    pub fn examine(path: &Path) -> Result<Found, AnchorError> {
        read_slots(&File::open(path)?)
    }

    /// Writes the other slot. When this returns it survives loss of power. The caller MUST have made
    /// everything up to `position` durable before.
    ///
    /// # Errors
    /// Whatever the file system answers; the slot written before is whole.
    pub fn write(&mut self, position: Position, root: Hash) -> Result<(), AnchorError> {
        let generation = self.generation + 1;
        let state = AnchorState { position: Some(position), root };
        self.file
            .write_all_at(&encode(generation, &state), (generation % 2) * SLOT_BYTES as u64)?;
        self.file.sync_data()?;
        (self.generation, self.state) = (generation, state);
        Ok(())
    }
}

fn encode(generation: u64, state: &AnchorState) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..4].copy_from_slice(&MAGIC);
    slot[4..6].copy_from_slice(&VERSION.to_be_bytes());
    slot[8..16].copy_from_slice(&generation.to_be_bytes());
    let position = state.position.map_or(0, Position::get);
    slot[16..24].copy_from_slice(&position.to_be_bytes());
    slot[24..USED_BYTES].copy_from_slice(&state.root.0);
    let checksum = crc32fast::hash(&slot[..CHECKSUM_AT]);
    slot[CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
    slot
}

fn read_slots(file: &File) -> Result<Found, AnchorError> {
    if file.metadata()?.len() != 2 * SLOT_BYTES as u64 {
        return Err(AnchorError::Damaged);
    }
    let mut bytes = [0; 2 * SLOT_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
    let slots = [decode(&slots[0], 0), decode(&slots[1], 1)];
    if let Some(Err(newer)) = slots.iter().find(|slot| matches!(slot, Err(AnchorError::Newer(_)))) {
        return Err(*newer);
    }
    let newest = slots.iter().flatten().max_by_key(|slot| slot.generation);
    let newest = newest.ok_or(AnchorError::Damaged)?;
    // The first generation leaves the slot before it empty.
    let untouched = newest.generation == 1 && bytes[..SLOT_BYTES] == [0; SLOT_BYTES];
    let damaged_slot = slots.iter().position(Result::is_err).filter(|_| !untouched);
    Ok(Found { damaged_slot, ..*newest })
}

/// What slot `place` says, if it is whole and in its place.
fn decode(slot: &[u8; SLOT_BYTES], place: u64) -> Result<Found, AnchorError> {
    let number = |at: usize| {
        let bytes = slot[at..at + 8].try_into();
        u64::from_be_bytes(bytes.expect("the range is 8 bytes long"))
    };
    let (sealed, checksum) = slot.split_at(CHECKSUM_AT);
    if sealed[..4] != MAGIC || crc32fast::hash(sealed).to_be_bytes() != *checksum {
        return Err(AnchorError::Damaged);
    }
    match u16::from_be_bytes([slot[4], slot[5]]) {
        VERSION => {}
        newer if newer > VERSION => return Err(AnchorError::Newer(newer)),
        _ => return Err(AnchorError::Damaged),
    }
    let root = slot[24..USED_BYTES].try_into();
    let root = Hash(root.expect("the range is as long as a hash"));
    let (generation, position) = (number(8), Position::new(number(16)));
    // Behind each generation there is another: the next write's.
    if generation % 2 != place || generation == u64::MAX {
        return Err(AnchorError::Damaged);
    }
    Ok(Found { state: AnchorState { position, root }, damaged_slot: None, generation })
}

/// What the keeper's thread is to do.
#[derive(Debug, Default)]
struct Orders {
    noted: Option<(Position, Hash)>,
    closing: bool,
}

#[derive(Debug, Default)]
struct Desk {
    orders: Mutex<Orders>,
    changed: Condvar,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the anchor on a thread of its own, so that no answer waits for it. Of several heads noted
/// while one is written or the keeper rests, only the last is written next. A failed write ends the
/// process.
#[derive(Debug)]
pub struct AnchorKeeper {
    desk: Arc<Desk>,
    written: watch::Receiver<AnchorState>,
    thread: Option<JoinHandle<()>>,
}

impl AnchorKeeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub fn start(mut anchor: Anchor) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let orders = Arc::clone(&desk);
        let (tell, written) = watch::channel(anchor.state);
        let thread = thread::Builder::new().name("anchor-keeper".to_owned()).spawn(move || {
            while let Some((position, root)) = next_order(&orders) {
                if let Err(error) = anchor.write(position, root) {
                    fail_stop("the head anchor could not be written", &error);
                }
                tell.send_replace(anchor.state);
            }
        })?;
        Ok(AnchorKeeper { desk, written, thread: Some(thread) })
    }

    /// Notes a head. Does not wait. The caller MUST have made everything up to `position` durable.
    pub fn note(&self, position: Position, root: Hash) {
        self.desk.lock().noted = Some((position, root));
        self.desk.changed.notify_one();
    }

    /// What the anchor says, whenever it says something new: no later start does without that.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<AnchorState> {
        self.written.clone()
    }

    /// Writes what was noted last, then ends the thread. Dropping the keeper does the same.
    pub fn close(self) {}
}

impl Drop for AnchorKeeper {
    fn drop(&mut self) {
        self.desk.lock().closing = true;
        self.desk.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It ends the process rather than panic; nothing is left to do if it did.
            let _ = thread.join();
        }
    }
}

fn next_order(desk: &Desk) -> Option<(Position, Hash)> {
    let open = |orders: &mut Orders| !orders.closing;
    let rested = desk.changed.wait_timeout_while(desk.lock(), REST, open);
    let (orders, _) = rested.unwrap_or_else(PoisonError::into_inner);
    let idle = |orders: &mut Orders| orders.noted.is_none() && !orders.closing;
    let waited = desk.changed.wait_while(orders, idle);
    waited.unwrap_or_else(PoisonError::into_inner).noted.take()
}
