//! The scrub: while the service runs, what lies on disk is read again, slowly, so that damage is found
//! before the day it is needed.
//!
//! A pass reads the anchor, the data key file, every snapshot, every hash tile, every sealed volume whole, and every
//! frame of the volumes in sled. It repairs nothing but hash tiles, which are made again from the log wherever they are
//! found damaged. What it finds it tells once: in the log, in GetStatus, and to the metrics.
//! It has a thread of its own, waits so that it reads no faster than it may, and ends at once when told.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::app::check::{
    anchor_slot, missing_data_key, read_snapshot, snapshot_damaged, snapshot_place,
};
use crate::app::recovery::RecoveryError;
use crate::clock::Clock;
use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::ledger::anchor::{Anchor, AnchorError, Found};
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::volumes::examine::{Examiner, Watch};
use crate::merkle::tile::TileId;
use crate::projection::snapshot::SnapshotError;
use crate::projection::snapshot::store::SnapshotStore;
use crate::projection::tiles::{self, TileError, Tiles};
use crate::vault::Vault;

/// The most findings that are told. Where there are more, the offline check lists them.
const MAX_FINDINGS: usize = 100;

/// The shortest wait: many small reads are made up for at once.
const LEAST_WAIT: Duration = Duration::from_millis(20);

/// How often the anchor is read before a slot is called damaged: its keeper may be writing it.
const ANCHOR_LOOKS: u32 = 5;

/// How the scrub goes, as other threads see it.
#[derive(Debug, Default)]
pub struct ScrubState {
    runs: AtomicBool,
    passes: AtomicU64,
    read: AtomicU64,
    total: AtomicU64,
    damage: AtomicU64,
    /// When the last pass ended, in microseconds; 0 if none has.
    ended: AtomicI64,
    findings: Mutex<BTreeSet<String>>,
}

/// How the scrub is at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubStatus {
    /// Whether there is a scrub.
    pub runs: bool,
    /// How many passes have ended since the start.
    pub passes: u64,
    /// When the last of them ended; none if none has.
    pub last_pass: Option<Time>,
    /// Bytes read in the pass under way, or in the last one while it rests.
    pub read: u64,
    /// About how many bytes that pass reads.
    pub total: u64,
    /// How many different findings there were since the start, at most 100.
    pub damage: u64,
    /// The findings, in the order of their texts.
    pub findings: Vec<String>,
}

impl ScrubState {
    /// How the scrub is now.
    #[must_use]
    pub fn status(&self) -> ScrubStatus {
        let ended = self.ended.load(Ordering::Acquire);
        ScrubStatus {
            runs: self.runs.load(Ordering::Acquire),
            passes: self.passes.load(Ordering::Acquire),
            last_pass: (ended != 0).then(|| Time::from_micros(ended)),
            read: self.read.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            damage: self.damage.load(Ordering::Acquire),
            findings: self.findings().iter().cloned().collect(),
        }
    }

    /// Notes a finding; tells the log if it is a new one.
    fn find(&self, place: &str, what: &str) {
        let text = format!("{place}: {what}");
        let mut findings = self.findings();
        if findings.contains(&text) || findings.len() >= MAX_FINDINGS {
            return;
        }
        tracing::error!(place, what, "the scrub has found damage");
        findings.insert(text);
        self.damage.fetch_add(1, Ordering::AcqRel);
    }

    fn findings(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a scrub reads.
pub(crate) struct Target {
    pub(crate) examiner: Examiner,
    pub(crate) reader: Arc<dyn LedgerReader>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    /// None if nothing is proved.
    pub(crate) tiles: Option<Arc<Tiles>>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) anchor: PathBuf,
}

/// The scrub's thread. Ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Scrub {
    brake: Arc<Brake>,
    thread: Option<JoinHandle<()>>,
}

impl Scrub {
    /// Starts the first pass, and another each time `interval` has passed since the last ended.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub(crate) fn start(
        target: Target,
        rate: NonZeroU64,
        interval: Duration,
        clock: Arc<dyn Clock>,
        state: Arc<ScrubState>,
    ) -> io::Result<Self> {
        let brake = Arc::new(Brake::default());
        let pass = Pass { target, rate, owed: 0, brake: Arc::clone(&brake), state };
        let thread = thread::Builder::new().name("scrub".to_owned());
        let thread = thread.spawn(move || run(pass, interval, &*clock))?;
        Ok(Scrub { brake, thread: Some(thread) })
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        self.brake.stop();
        if let Some(thread) = self.thread.take() {
            // Its panic has been told already, and it holds nothing that others rest on.
            let _ = thread.join();
        }
    }
}

/// Lets the scrub wait, until it must stop.
#[derive(Debug, Default)]
struct Brake {
    stopping: Mutex<bool>,
    changed: Condvar,
}

impl Brake {
    /// Waits so long. Breaks as soon as the scrub must stop.
    fn wait(&self, span: Duration) -> ControlFlow<()> {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(stopping, span, |stopping| !*stopping);
        let (stopping, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *stopping { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// Says that there is no scrub any more, however its thread ends.
struct Running(Arc<ScrubState>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.runs.store(false, Ordering::Release);
    }
}

fn run(mut pass: Pass, interval: Duration, clock: &dyn Clock) {
    let state = Arc::clone(&pass.state);
    state.runs.store(true, Ordering::Release);
    let _running = Running(Arc::clone(&state));
    while pass.run().is_continue() {
        state.ended.store(clock.wall().as_micros(), Ordering::Release);
        state.passes.fetch_add(1, Ordering::AcqRel);
        tracing::debug!(bytes = state.read.load(Ordering::Relaxed), "a scrub pass has ended");
        if pass.brake.wait(interval).is_break() {
            return;
        }
    }
}

/// What a pass works with.
struct Pass {
    target: Target,
    rate: NonZeroU64,
    /// Bytes read that have not been waited for yet.
    owed: u64,
    brake: Arc<Brake>,
    state: Arc<ScrubState>,
}

impl Pass {
    /// Reads everything once. Breaks if it must stop.
    fn run(&mut self) -> ControlFlow<()> {
        self.state.read.store(0, Ordering::Relaxed);
        let tiles = self.target.tiles.clone();
        let tile_bytes = tiles.as_ref().map_or(0, |tiles| tiles.bytes());
        let total = self.target.examiner.bytes() + self.target.snapshots.bytes() + tile_bytes;
        self.state.total.store(total, Ordering::Relaxed);
        self.examine_anchor()?;
        let vault = Arc::clone(&self.target.vault);
        match vault.data_keys.examine(&mut |bytes| self.pace(bytes)) {
            Ok(examined) => examined?,
            Err(error) => self.state.find("datakeys", &error.to_string()),
        }
        self.examine_snapshots()?;
        if let Some(tiles) = tiles {
            let log = Arc::clone(&self.target.reader);
            tiles.examine(&*log, self)?;
        }
        let examiner = self.target.examiner.clone();
        examiner.run(self)?;
        // What was expected may have grown or been sealed meanwhile.
        self.state.total.store(self.state.read.load(Ordering::Relaxed), Ordering::Relaxed);
        ControlFlow::Continue(())
    }

    fn examine_anchor(&self) -> ControlFlow<()> {
        let mut last = None;
        for _ in 0..ANCHOR_LOOKS {
            last = match Anchor::examine(&self.target.anchor) {
                Ok(Found { damaged_slot: None, .. }) => return ControlFlow::Continue(()),
                Ok(Found { damaged_slot: Some(slot), .. }) => Some(anchor_slot(slot)),
                Err(error @ AnchorError::Damaged) => Some(error.to_string()),
                Err(error) => {
                    self.state.find("anchor", &error.to_string());
                    return ControlFlow::Continue(());
                }
            };
            self.brake.wait(LEAST_WAIT)?;
        }
        if let Some(what) = last {
            self.state.find("anchor", &what);
        }
        ControlFlow::Continue(())
    }

    /// Reads the snapshots there are, beside their keeper.
    fn examine_snapshots(&mut self) -> ControlFlow<()> {
        let positions = match self.target.snapshots.positions() {
            Ok(positions) => positions,
            Err(error) => {
                self.state.find("snapshots", &error.to_string());
                return ControlFlow::Continue(());
            }
        };
        for position in positions {
            self.examine_snapshot(position)?;
        }
        ControlFlow::Continue(())
    }

    fn examine_snapshot(&mut self, position: Position) -> ControlFlow<()> {
        let (place, store) = (snapshot_place(position), Arc::clone(&self.target.snapshots));
        let snapshot = match read_snapshot(&store, position, &mut |bytes| self.pace(bytes)) {
            Ok(read) => read?,
            // Too old to be kept: the keeper has removed it meanwhile.
            Err(SnapshotError::Io(io::ErrorKind::NotFound)) => return ControlFlow::Continue(()),
            Err(error) => {
                self.state.find(&place, &snapshot_damaged(&error));
                return ControlFlow::Continue(());
            }
        };
        if let Some(what) = missing_data_key(&snapshot, &self.target.vault.data_keys) {
            self.state.find("datakeys", &what.to_string());
        }
        // A frame that cannot be read is found where it is.
        if let Ok(false) = snapshot.standpoint().head().is_of(&*self.target.reader) {
            self.state.find(&place, &RecoveryError::OtherThanSnapshot(position).to_string());
        }
        ControlFlow::Continue(())
    }

    /// Waits as long as so many bytes may take.
    fn pace(&mut self, bytes: u64) -> ControlFlow<()> {
        self.state.read.fetch_add(bytes, Ordering::Relaxed);
        self.owed += bytes;
        let nanos = u128::from(self.owed) * 1_000_000_000 / u128::from(self.rate.get());
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        if span < LEAST_WAIT {
            return ControlFlow::Continue(());
        }
        self.owed = 0;
        self.brake.wait(span)
    }
}

impl Watch for Pass {
    fn read(&mut self, bytes: u64) -> ControlFlow<()> {
        self.pace(bytes)
    }

    fn damaged(&mut self, name: &str, error: LedgerError) {
        self.state.find(&format!("ledger/{name}"), &error.to_string());
    }
}

impl tiles::Watch for Pass {
    fn read(&mut self, bytes: u64) -> ControlFlow<()> {
        self.pace(bytes)
    }

    fn damaged(&mut self, id: TileId, made_again: Result<(), TileError>) {
        let what = match made_again {
            Ok(()) => "was missing, torn or altered; it is made again from the log".to_owned(),
            Err(error) => {
                format!("is missing, torn or altered, and cannot be made again: {error}")
            }
        };
        self.state.find(&format!("tiles/{id}"), &what);
    }
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
