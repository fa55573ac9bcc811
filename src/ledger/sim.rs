//! A deterministic engine in memory that fails as it is told to: what the contract of
//! [`engine`](crate::ledger::engine) is, with nothing else to it. For tests alone.
//!
//! A disk holds frames that are durable, and at most one that is pending: it was being appended when
//! the append failed. All that is left to chance (whether an append or a read fails, before or after
//! the frame became durable, whether a pending frame outlives a crash, which bit of a frame is
//! altered) is drawn from the disk's seed, so that a seed tells a whole story.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::domain::ids::Position;
use crate::ledger::engine::{Ledger, LedgerError, LedgerReader};
use crate::ledger::frame::{Frame, MAX_FRAME_BYTES};

/// Of a thousand appends or reads, how many fail.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Odds {
    pub(crate) append_fails: u64,
    pub(crate) read_fails: u64,
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn of_a_thousand(&mut self, odds: u64) -> bool {
        self.below(1000) < odds
    }
}

/// A frame as it is stored.
#[derive(Clone, Debug)]
struct Stored {
    first: Position,
    last: Position,
    bytes: Arc<[u8]>,
}

impl Stored {
    fn of(frame: &Frame) -> Self {
        Stored { first: frame.first(), last: frame.last(), bytes: frame.as_bytes().into() }
    }

    fn decode(&self) -> Result<Frame, LedgerError> {
        let position = self.first;
        Frame::decode(Arc::clone(&self.bytes), position)
            .map_err(|reason| LedgerError::DamagedFrame { position, reason })
    }
}

#[derive(Clone, Debug)]
struct State {
    made: bool,
    /// Whether a ledger is open on it.
    held: bool,
    durable: Vec<Stored>,
    pending: Option<Stored>,
    odds: Odds,
    chance: Chance,
}

/// What outlives the process. A clone is the same disk.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk on which nothing fails.
    pub(crate) fn new(seed: u64) -> Self {
        let (durable, odds, chance) = (Vec::new(), Odds::default(), Chance(seed));
        let state = State { made: false, held: false, durable, pending: None, odds, chance };
        SimDisk(Arc::new(Mutex::new(state)))
    }

    /// From here on appends and reads fail as often as this.
    pub(crate) fn set_odds(&self, odds: Odds) {
        self.lock().odds = odds;
    }

    /// What a crash at this instant leaves, on a disk of its own: whoever goes on with this one does
    /// so in another world.
    pub(crate) fn crash(&self) -> Self {
        let state = State { held: false, odds: Odds::default(), ..self.lock().clone() };
        SimDisk(Arc::new(Mutex::new(state)))
    }

    /// Alters one bit of the frame that holds `position`.
    pub(crate) fn damage(&self, position: Position) {
        let mut state = self.lock();
        let state = &mut *state;
        let stored = state.durable.iter_mut().find(|stored| stored.last >= position);
        let stored = stored.expect("a frame holds the position");
        let mut bytes = stored.bytes.to_vec();
        let bit = state.chance.below(bytes.len() as u64 * 8);
        let at = usize::try_from(bit / 8).expect("within the frame");
        bytes[at] ^= 1 << (bit % 8);
        stored.bytes = bytes.into();
    }

    /// Loses the frame that holds `position`.
    pub(crate) fn lose(&self, position: Position) {
        self.lock().durable.retain(|stored| !(stored.first..=stored.last).contains(&position));
    }

    /// Alters one bit of each copy of `bytes`.
    pub(crate) fn alter(&self, bytes: &[u8]) {
        for stored in &mut self.lock().durable {
            let mut altered = stored.bytes.to_vec();
            super::conformance::alter_each(&mut altered, bytes);
            stored.bytes = altered.into();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

/// The ledger on a [`SimDisk`].
pub(crate) struct SimLedger {
    disk: SimDisk,
    /// The last acknowledged position, 0 if none; readers show nothing beyond it.
    acknowledged: Arc<AtomicU64>,
    poisoned: bool,
}

impl fmt::Debug for SimLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLedger").field("head", &self.head()).finish_non_exhaustive()
    }
}

impl SimLedger {
    /// Makes an empty ledger and opens it.
    pub(crate) fn create(disk: &SimDisk) -> Result<Self, LedgerError> {
        let made = std::mem::replace(&mut disk.lock().made, true);
        if made { Err(LedgerError::Exists) } else { Self::open(disk) }
    }

    /// Opens the ledger. Whether a pending frame is there is drawn now, and settled for good.
    pub(crate) fn open(disk: &SimDisk) -> Result<Self, LedgerError> {
        let mut state = disk.lock();
        let state = &mut *state;
        if !state.made {
            return Err(LedgerError::Missing);
        }
        if state.held {
            return Err(LedgerError::InUse);
        }
        if let Some(pending) = state.pending.take()
            && state.chance.of_a_thousand(500)
        {
            state.durable.push(pending);
        }
        let last = state.durable.last().map(Stored::decode).transpose()?;
        let head = last.map_or(0, |frame| frame.last().get());
        state.held = true;
        let acknowledged = Arc::new(AtomicU64::new(head));
        Ok(SimLedger { disk: disk.clone(), acknowledged, poisoned: false })
    }

    /// Ends the use of the ledger.
    pub(crate) fn close(self) -> Result<(), LedgerError> {
        if self.poisoned { Err(LedgerError::Poisoned) } else { Ok(()) }
    }

    fn try_append(&self, frame: &Frame) -> Result<(), LedgerError> {
        if self.poisoned {
            return Err(LedgerError::Poisoned);
        }
        let (first, bytes) = (frame.first(), frame.as_bytes().len());
        let expected = self.head().map_or(Position::FIRST, Position::next);
        if first != expected {
            return Err(LedgerError::OutOfOrder { expected, found: first });
        }
        if bytes > MAX_FRAME_BYTES {
            return Err(LedgerError::FrameTooLong { position: first, bytes });
        }
        let mut state = self.disk.lock();
        let odds = state.odds.append_fails;
        let fails = state.chance.of_a_thousand(odds);
        if fails && state.chance.of_a_thousand(500) {
            state.pending = Some(Stored::of(frame));
            return Err(LedgerError::Engine { doing: "writing" });
        }
        state.durable.push(Stored::of(frame));
        if fails {
            return Err(LedgerError::Engine { doing: "flushing" });
        }
        self.acknowledged.store(frame.last().get(), Ordering::Release);
        Ok(())
    }
}

impl Drop for SimLedger {
    fn drop(&mut self) {
        self.disk.lock().held = false;
    }
}

impl Ledger for SimLedger {
    fn append(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        let result = self.try_append(frame);
        self.poisoned |= result.is_err();
        result
    }

    fn head(&self) -> Option<Position> {
        Position::new(self.acknowledged.load(Ordering::Acquire))
    }

    fn reader(&self) -> Arc<dyn LedgerReader> {
        let acknowledged = Arc::clone(&self.acknowledged);
        Arc::new(SimReader { disk: self.disk.clone(), acknowledged })
    }
}

struct SimReader {
    disk: SimDisk,
    acknowledged: Arc<AtomicU64>,
}

impl LedgerReader for SimReader {
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        if position.get() > self.acknowledged.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut state = self.disk.lock();
        let odds = state.odds.read_fails;
        if state.chance.of_a_thousand(odds) {
            return Err(LedgerError::Unreadable { position });
        }
        let behind = state.durable.partition_point(|stored| stored.first <= position);
        let stored = state.durable[..behind].last().filter(|stored| stored.last >= position);
        let stored = stored.cloned().ok_or(LedgerError::MissingFrame { position })?;
        drop(state);
        stored.decode().map(Some)
    }

    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
        let mut next = Some(position);
        Box::new(std::iter::from_fn(move || {
            let frame = self.frame_at(next?).transpose()?;
            next = frame.as_ref().ok().map(|frame| frame.last().next());
            Some(frame)
        }))
    }
}
