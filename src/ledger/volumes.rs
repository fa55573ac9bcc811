//! The embedded ledger: the live volume in sled, the sealed ones as flat files, the last frames in
//! memory.
//!
//! When the live volume is full and the next one has been prepared, the next frame goes there. The
//! full one is sealed on a thread of its own: its frames are written to a flat file, synced, read
//! back, renamed, and only then does its sled database go. Nothing on the writer's way waits for any
//! of that: while no next volume is ready, the live one grows on.
//!
//! | name in the ledger's directory | what |
//! |---|---|
//! | `volume-<n>` | sealed volume n, from 1, eight digits |
//! | `live-<n>` | volume n in sled: the last that holds frames is the live one; one behind it is empty and prepared; those before it wait to be sealed |
//! | `….tmp` | being made; thrown away at the next open |
//! | `….gone` | a sled database whose volume is sealed, being removed |

pub mod check;
pub mod examine;
mod open;
mod reader;
mod restore;
mod ring;
mod sealer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::domain::ids::Position;
use crate::ledger::engine::{Ledger, LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::ledger::sled_engine::SledVolume;
use crate::merkle::Frontier;

pub use crate::ledger::volume::Sealed;
pub use restore::{End, Restoring, check_volume};
pub use sealer::SealingState;

use examine::Examiner;
use reader::{LivePart, Shared, VolumeReader};
use sealer::{Retired, Sealer};

/// The ledger in a directory of its own. There is one, and it is the only writer.
pub struct VolumeLedger {
    /// Bytes of frames after which a volume is full.
    volume_bytes: u64,
    live: SledVolume,
    live_number: u64,
    /// Bytes of the frames in the live volume.
    live_bytes: u64,
    /// The tree over all records before the live volume's first.
    before_live: Frontier,
    /// The tree over all records.
    frontier: Frontier,
    shared: Arc<Shared>,
    sealer: Sealer,
    /// Whether an append has failed: nothing more is taken, in the next volume neither.
    poisoned: bool,
}

impl fmt::Debug for VolumeLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolumeLedger")
            .field("live_number", &self.live_number)
            .field("live", &self.live)
            .field("live_bytes", &self.live_bytes)
            .finish_non_exhaustive()
    }
}

impl VolumeLedger {
    /// Makes an empty ledger in `dir`, which must exist, unless a first start that was interrupted has
    /// made one. The caller MUST hold the lock of the data directory.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be made.
    pub fn create(dir: &Path) -> Result<(), LedgerError> {
        match SledVolume::create(&live_name(dir, 1)) {
            Ok(volume) => volume.close(),
            Err(LedgerError::Exists) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Opens the ledger in `dir`, whose volumes are full with `volume_bytes` of frames. The caller MUST hold the lock of the data directory and keep it for
    /// the ledger's life. What an interrupted seal left is finished or thrown away.
    ///
    /// Of sealed volumes, that they are all there, of the right length and continue each other; of the
    /// live one, every frame. The rest is for replay, reads and the scrub to find.
    ///
    /// # Errors
    /// [`LedgerError`] if a volume is missing, damaged, held by another or not one of ours.
    pub fn open(dir: &Path, volume_bytes: u64) -> Result<Self, LedgerError> {
        let found = open::open(dir)?;
        let (sealed, mut live) = (found.sealed, found.live);
        // Behind the last volume with frames there is at most one, which is empty.
        let prepared = match live.last() {
            Some(last) if last.volume.head().is_none() && live.len() > 1 => live.pop(),
            _ => None,
        };
        let current = live.pop().ok_or(LedgerError::Missing)?;
        let parts = live.iter().chain([&current]);
        let part = |live: &open::Live| LivePart::of(live.number, &live.volume, live.bytes);
        let parts = parts.map(part).collect();
        // The current volume may be empty though one before it waits to be sealed: what counts is the
        // end of the tree, not what that volume holds.
        let head = Position::new(current.after.size());
        let shared = Arc::new(Shared::new(dir, sealed, parts, head));
        let waiting = live.into_iter().map(|volume| Retired {
            number: volume.number,
            volume: volume.volume,
            before: volume.before,
        });
        let sealer = Sealer::start(
            dir,
            Arc::clone(&shared),
            waiting.collect(),
            prepared.map(|prepared| (prepared.number, prepared.volume)),
            current.number + 1,
        )?;
        Ok(VolumeLedger {
            volume_bytes,
            live: current.volume,
            live_number: current.number,
            live_bytes: current.bytes,
            before_live: current.before,
            frontier: current.after,
            shared,
            sealer,
            poisoned: false,
        })
    }

    /// Where volumes that have just been sealed are told, from now on. Can be taken once.
    pub fn sealed_volumes(&mut self) -> Option<Receiver<Sealed>> {
        self.sealer.announcements()
    }

    /// How sealing goes.
    #[must_use]
    pub fn sealing(&self) -> Arc<SealingState> {
        self.sealer.state()
    }

    /// Who reads what is on disk while the ledger is in use.
    #[must_use]
    pub fn examiner(&self) -> Examiner {
        Examiner::new(Arc::clone(&self.shared))
    }

    /// The tree over all durable records.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Ends the use of the ledger: the sealer is stopped where it stands, everything flushed, synced
    /// and let go of. The readers should be gone before; as long as one is left, sled's files stay held.
    ///
    /// # Errors
    /// If sled or the file system fails. What was acknowledged is durable all the same.
    pub fn close(self) -> Result<(), LedgerError> {
        let VolumeLedger { live, sealer, shared, .. } = self;
        let rest = sealer.stop();
        drop(shared);
        rest.into_iter().chain([live]).try_for_each(SledVolume::close)
    }

    /// Goes on in the next volume if the live one is full and the next is ready.
    fn rotate_if_full(&mut self) {
        if self.live_bytes < self.volume_bytes {
            return;
        }
        let Some(head) = self.live.head() else { return };
        let Some((number, mut next)) = self.sealer.take_prepared() else { return };
        next.begin_at(head.next());
        self.shared.add_live(&LivePart::of(number, &next, 0));
        let volume = std::mem::replace(&mut self.live, next);
        let before = std::mem::replace(&mut self.before_live, self.frontier.clone());
        let retired = Retired { number: self.live_number, volume, before };
        self.live_number = number;
        self.live_bytes = 0;
        self.sealer.seal(retired);
    }
}

impl Ledger for VolumeLedger {
    fn append(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        if self.poisoned {
            return Err(LedgerError::Poisoned);
        }
        self.rotate_if_full();
        let appended = self.live.append(frame);
        self.poisoned = appended.is_err();
        appended?;
        self.live_bytes += frame.as_bytes().len() as u64;
        self.frontier = frame.frontier().clone();
        self.shared.appended(frame);
        Ok(())
    }

    fn head(&self) -> Option<Position> {
        Position::new(self.frontier.size())
    }

    fn reader(&self) -> Arc<dyn LedgerReader> {
        Arc::new(VolumeReader::new(Arc::clone(&self.shared)))
    }
}

/// Where volume `number` is in sled.
fn live_name(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("live-{number:08}"))
}

/// Where sealed volume `number` is.
fn sealed_name(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("volume-{number:08}"))
}
