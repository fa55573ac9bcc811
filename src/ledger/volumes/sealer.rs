//! The thread that prepares the next volume and seals the full ones, off the writer's way.
//!
//! What goes wrong here loses nothing, since a volume stays in sled until its sealed file is durable
//! and has been read back. So a failure is reported and tried again, from the beginning, into a new
//! file; meanwhile the ledger grows where it is.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::reader::Shared;
use super::{live_name, sealed_name};
use crate::durable_file::sync_parent;
use crate::ledger::durable::AbortOnPanic;
use crate::ledger::engine::{LedgerError, io_failed};
use crate::ledger::sled_engine::SledVolume;
use crate::ledger::volume::{Sealed, SealedVolume, VolumeWriter};
use crate::merkle::Frontier;

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// A full volume that waits to be sealed.
pub(super) struct Retired {
    pub(super) number: u64,
    pub(super) volume: SledVolume,
    /// The tree over all records before its first.
    pub(super) before: Frontier,
}

/// How sealing goes, as other threads see it.
#[derive(Debug, Default)]
pub struct SealingState {
    waiting: AtomicU64,
    failing: AtomicBool,
}

impl SealingState {
    /// How many full volumes wait to be sealed, the one under way included.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether the last attempt to seal or to prepare a volume failed; the log has the reason.
    #[must_use]
    pub fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// What writer and sealer hand each other.
#[derive(Default)]
struct Desk {
    state: Mutex<Orders>,
    changed: Condvar,
    stopping: AtomicBool,
}

#[derive(Default)]
struct Orders {
    full: VecDeque<Retired>,
    prepared: Option<(u64, SledVolume)>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// The writer's side of the sealer.
pub(super) struct Sealer {
    desk: Arc<Desk>,
    state: Arc<SealingState>,
    announcements: Option<Receiver<Sealed>>,
    thread: Option<JoinHandle<()>>,
}

impl Sealer {
    /// Starts the thread with the volumes that wait already and the one that is prepared, if one is;
    /// otherwise it makes `next`.
    pub(super) fn start(
        dir: &Path,
        shared: Arc<Shared>,
        waiting: VecDeque<Retired>,
        prepared: Option<(u64, SledVolume)>,
        next: u64,
    ) -> Result<Self, LedgerError> {
        let state = Arc::new(SealingState::default());
        state.waiting.store(waiting.len() as u64, Ordering::Relaxed);
        let next = prepared.as_ref().map_or(next, |(number, _)| number + 1);
        let desk = Arc::new(Desk::default());
        *desk.lock() = Orders { full: waiting, prepared };
        let (announce, announcements) = channel();
        let work = Work {
            dir: dir.to_owned(),
            shared,
            desk: Arc::clone(&desk),
            state: Arc::clone(&state),
            announce,
            next,
            left: Vec::new(),
        };
        let thread = thread::Builder::new().name("volume-sealer".to_owned());
        let thread = thread.spawn(move || work.run());
        let thread = Some(thread.map_err(|error| io_failed("opening", &error))?);
        Ok(Sealer { desk, state, announcements: Some(announcements), thread })
    }

    /// The next volume, if it is ready.
    pub(super) fn take_prepared(&self) -> Option<(u64, SledVolume)> {
        self.desk.lock().prepared.take()
    }

    /// Hands a full volume over.
    pub(super) fn seal(&self, retired: Retired) {
        self.state.waiting.fetch_add(1, Ordering::Relaxed);
        self.desk.lock().full.push_back(retired);
        self.desk.changed.notify_one();
    }

    pub(super) fn announcements(&mut self) -> Option<Receiver<Sealed>> {
        self.announcements.take()
    }

    pub(super) fn state(&self) -> Arc<SealingState> {
        Arc::clone(&self.state)
    }

    /// Stops the thread between two frames; answers the volumes that are still in sled.
    pub(super) fn stop(mut self) -> Vec<SledVolume> {
        self.end();
        let orders = std::mem::take(&mut *self.desk.lock());
        let full = orders.full.into_iter().map(|retired| retired.volume);
        full.chain(orders.prepared.map(|(_, volume)| volume)).collect()
    }

    /// Stops the thread between two frames.
    pub(super) fn end(&mut self) {
        self.desk.stopping.store(true, Ordering::Release);
        // Taken for a moment, so that the thread does not go to sleep after it has looked.
        drop(self.desk.lock());
        self.desk.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It ends the process rather than panic; nothing is left to do if it did.
            let _ = thread.join();
        }
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread's side.
struct Work {
    dir: PathBuf,
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    state: Arc<SealingState>,
    announce: Sender<Sealed>,
    /// The number of the volume to be prepared next.
    next: u64,
    /// Databases whose volumes are sealed and that could not be removed.
    left: Vec<PathBuf>,
}

impl Work {
    fn run(mut self) {
        let _guard = AbortOnPanic("the volume sealer panicked");
        while !self.desk.is_stopping() {
            let done = self.prepare_next().and_then(|()| self.seal_next());
            self.state.failing.store(done.is_err(), Ordering::Relaxed);
            match done {
                Ok(true) => {}
                Ok(false) => self.wait(false),
                Err(error) => {
                    tracing::error!(%error, "a volume could not be sealed; it is tried again");
                    self.wait(true);
                }
            }
            self.left.retain(|path| !is_removed(path));
        }
    }

    /// Waits until there is something to do; after a failure, for a while.
    fn wait(&self, failed: bool) {
        let orders = self.desk.lock();
        let idle = |orders: &mut Orders| {
            let nothing = orders.full.is_empty() && orders.prepared.is_some();
            !self.desk.is_stopping() && (failed || nothing)
        };
        // The state is looked at again by the caller, however the waiting ended.
        if failed || !self.left.is_empty() {
            drop(self.desk.changed.wait_timeout_while(orders, RETRY, idle));
        } else {
            drop(self.desk.changed.wait_while(orders, idle));
        }
    }

    fn prepare_next(&mut self) -> Result<(), LedgerError> {
        if self.desk.lock().prepared.is_some() {
            return Ok(());
        }
        let path = live_name(&self.dir, self.next);
        let volume = match SledVolume::create(&path) {
            // An attempt that failed after its rename.
            Err(LedgerError::Exists) => SledVolume::open(&path, &Frontier::new())?,
            created => created?,
        };
        self.desk.lock().prepared = Some((self.next, volume));
        self.next += 1;
        Ok(())
    }

    /// Seals the first volume that waits. False if none does.
    fn seal_next(&mut self) -> Result<bool, LedgerError> {
        let Some(retired) = self.desk.lock().full.pop_front() else { return Ok(false) };
        match self.seal(&retired) {
            Ok(Some(sealed)) => {
                let path = live_name(&self.dir, retired.number);
                drop(retired);
                if !is_removed(&path) {
                    self.left.push(path);
                }
                self.state.waiting.fetch_sub(1, Ordering::Relaxed);
                // Nobody may listen.
                let _ = self.announce.send(sealed);
                Ok(true)
            }
            Ok(None) => {
                self.desk.lock().full.push_front(retired);
                Ok(true)
            }
            Err(error) => {
                self.desk.lock().full.push_front(retired);
                Err(error)
            }
        }
    }

    /// Seals a volume and shows it; none if it was stopped on the way.
    fn seal(&self, retired: &Retired) -> Result<Option<Sealed>, LedgerError> {
        let path = sealed_name(self.shared.dir(), retired.number);
        let Some(head) = retired.volume.head() else {
            return Err(LedgerError::MissingFrame { position: retired.volume.first() });
        };
        let mut writer = VolumeWriter::begin(&path, retired.number, &retired.before)?;
        let mut frames = retired.volume.reader().frames_from(retired.volume.first());
        while let Some(frame) = frames.read_next()? {
            if self.desk.is_stopping() {
                return Ok(None);
            }
            writer.push(&frame)?;
        }
        let sealed = writer.finish()?;
        if sealed.last != head {
            return Err(LedgerError::MissingFrame { position: sealed.last.next() });
        }
        self.shared.replace_by_sealed(&SealedVolume::open(&path, retired.number)?);
        tracing::info!(
            volume = sealed.number,
            first = sealed.first.get(),
            last = sealed.last.get(),
            bytes = sealed.bytes,
            "volume sealed"
        );
        Ok(Some(sealed))
    }
}

/// Removes a sled database whose volume is sealed: renamed first, so that what is left of it is never
/// taken for one.
pub(super) fn remove_sled_volume(path: &Path) -> io::Result<()> {
    let gone = gone_name(path);
    // An attempt that failed may have come as far as the rename, or further.
    if path.try_exists()? {
        fs::rename(path, &gone)?;
    }
    sync_parent(path)?;
    match fs::remove_dir_all(&gone) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_parent(path)
}

/// Tries to remove a sled database whose volume is sealed; says if it cannot. The next try, or the next
/// open, does it then.
fn is_removed(path: &Path) -> bool {
    let removed = remove_sled_volume(path);
    if let Err(error) = &removed {
        tracing::warn!(%error, "what sled held of a sealed volume is still there");
    }
    removed.is_ok()
}

/// The name of a sled database that is being removed.
fn gone_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gone");
    name.into()
}
