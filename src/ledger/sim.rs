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

/// A clause of the contract that the engine breaks, so that the suite can be seen to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// O1: a frame that begins anywhere is taken.
    TakesAnyPlace,
    /// O2: a frame over the bound is taken.
    TakesAnyLength,
    /// D1, D2: an acknowledged frame is durable only when the next one comes.
    AcknowledgesEarly,
    /// D2: a crash leaves half of the pending frame.
    TearsPending,
    /// V1: a frame whose append failed is shown.
    ShowsPending,
    /// V2: a new reader does not see what was appended after it was made.
    ShowsTheStart,
    /// F1: an append after one that failed is taken.
    GoesOn,
    /// F3: a pending frame is made durable when the ledger is dropped.
    WritesAtTheEnd,
    /// R1: only the first position of a frame finds it.
    FindsFirstsOnly,
    /// R2: an iteration that begins inside a frame leaves that frame out.
    SkipsTheBegun,
    /// R3: where a frame is damaged, nothing is said to be there.
    HidesDamage,
    /// C1: a ledger is made where there is none.
    MakesOnOpening,
    /// C2: closing loses the last frame.
    LosesAtClose,
    /// C3: any number of handles may be open.
    SharesTheDisk,
    /// C4: what is behind the damage is cut off.
    CutsBehindDamage,
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
    breach: Option<Breach>,
}

impl State {
    fn breaks(&self, breach: Breach) -> bool {
        self.breach == Some(breach)
    }
}

/// What outlives the process. A clone is the same disk.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk on which nothing fails.
    pub(crate) fn new(seed: u64) -> Self {
        let (durable, odds, chance) = (Vec::new(), Odds::default(), Chance(seed));
        let (made, held, pending, breach) = (false, false, None, None);
        let state = State { made, held, durable, pending, odds, chance, breach };
        SimDisk(Arc::new(Mutex::new(state)))
    }

    /// From here on the engine breaks a clause.
    pub(crate) fn set_breach(&self, breach: Breach) {
        self.lock().breach = Some(breach);
    }

    fn breaks(&self, breach: Breach) -> bool {
        self.lock().breaks(breach)
    }

    /// From here on appends and reads fail as often as this.
    pub(crate) fn set_odds(&self, odds: Odds) {
        self.lock().odds = odds;
    }

    /// What a crash at this instant leaves, on a disk of its own: whoever goes on with this one does
    /// so in another world.
    pub(crate) fn crash(&self) -> Self {
        let mut state = State { held: false, odds: Odds::default(), ..self.lock().clone() };
        if state.breaks(Breach::AcknowledgesEarly) {
            state.durable.pop();
        }
        if state.breaks(Breach::TearsPending)
            && let Some(mut torn) = state.pending.take()
        {
            torn.bytes = torn.bytes[..torn.bytes.len() / 2].into();
            state.durable.push(torn);
        }
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
        if !state.made && !state.breaks(Breach::MakesOnOpening) {
            return Err(LedgerError::Missing);
        }
        if state.held && !state.breaks(Breach::SharesTheDisk) {
            return Err(LedgerError::InUse);
        }
        if let Some(pending) = state.pending.take()
            && state.chance.of_a_thousand(500)
        {
            state.durable.push(pending);
        }
        if state.breaks(Breach::CutsBehindDamage) {
            let whole = state.durable.iter().take_while(|stored| stored.decode().is_ok()).count();
            state.durable.truncate(whole);
        }
        let last = state.durable.last().map(Stored::decode).transpose()?;
        let head = last.map_or(0, |frame| frame.last().get());
        state.held = true;
        let acknowledged = Arc::new(AtomicU64::new(head));
        Ok(SimLedger { disk: disk.clone(), acknowledged, poisoned: false })
    }

    /// Ends the use of the ledger.
    pub(crate) fn close(self) -> Result<(), LedgerError> {
        if self.poisoned {
            return Err(LedgerError::Poisoned);
        }
        if self.disk.breaks(Breach::LosesAtClose) {
            self.disk.lock().durable.pop();
        }
        Ok(())
    }

    fn try_append(&self, frame: &Frame) -> Result<(), LedgerError> {
        if self.poisoned {
            return Err(LedgerError::Poisoned);
        }
        let (first, bytes) = (frame.first(), frame.as_bytes().len());
        let expected = self.head().map_or(Position::FIRST, Position::next);
        if first != expected && !self.disk.breaks(Breach::TakesAnyPlace) {
            return Err(LedgerError::OutOfOrder { expected, found: first });
        }
        if bytes > MAX_FRAME_BYTES && !self.disk.breaks(Breach::TakesAnyLength) {
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
        if fails && !state.breaks(Breach::ShowsPending) {
            return Err(LedgerError::Engine { doing: "flushing" });
        }
        self.acknowledged.store(frame.last().get(), Ordering::Release);
        if fails { Err(LedgerError::Engine { doing: "flushing" }) } else { Ok(()) }
    }
}

impl Drop for SimLedger {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        state.held = false;
        if state.breaks(Breach::WritesAtTheEnd) {
            let pending = state.pending.take();
            state.durable.extend(pending);
        }
    }
}

impl Ledger for SimLedger {
    fn append(&mut self, frame: &Frame) -> Result<(), LedgerError> {
        let result = self.try_append(frame);
        self.poisoned |= result.is_err() && !self.disk.breaks(Breach::GoesOn);
        result
    }

    fn head(&self) -> Option<Position> {
        Position::new(self.acknowledged.load(Ordering::Acquire))
    }

    fn reader(&self) -> Arc<dyn LedgerReader> {
        let mut acknowledged = Arc::clone(&self.acknowledged);
        if self.disk.breaks(Breach::ShowsTheStart) {
            acknowledged = Arc::new(AtomicU64::new(acknowledged.load(Ordering::Acquire)));
        }
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
        let missed = state.breaks(Breach::FindsFirstsOnly) && stored.first != position;
        let hidden = state.breaks(Breach::HidesDamage) && stored.decode().is_err();
        if missed || hidden {
            return Ok(None);
        }
        drop(state);
        stored.decode().map(Some)
    }

    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
        let mut next = Some(position);
        if self.disk.breaks(Breach::SkipsTheBegun)
            && let Ok(Some(begun)) = self.frame_at(position)
            && begun.first() < position
        {
            next = Some(begun.last().next());
        }
        Box::new(std::iter::from_fn(move || {
            let frame = self.frame_at(next?).transpose()?;
            next = frame.as_ref().ok().map(|frame| frame.last().next());
            Some(frame)
        }))
    }
}
