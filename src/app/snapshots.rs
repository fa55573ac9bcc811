//! The keeper of snapshots: a thread of its own that makes a new one when enough of the log has been
//! sealed since the last.
//!
//! Enough is a volume, and half the bytes of the last snapshot: so that all rewriting together stays
//! within a few times the log, however long the log and however many keys. A volume alone is enough when
//! this keeper has made none for an hour, so that a start does not read old volumes again and again. The
//! writer never waits for it, and no failure of it stops the service: the log has everything. It tries
//! again at the next sealed volume, or an hour later.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::ids::Position;
use crate::ledger::engine::LedgerReader;
use crate::ledger::volumes::Sealed;
use crate::progress::Silent;
use crate::projection::snapshot::store::SnapshotStore;
use crate::projection::snapshot::{BuildError, Snapshot};

/// How long an idle keeper may take to hear of a sealed volume.
const LOOK_EACH: Duration = Duration::from_millis(100);

/// After how long without a new snapshot one sealed volume is enough for the next.
const STALE_AFTER: Duration = Duration::from_hours(1);

/// How the making of snapshots goes.
#[derive(Debug, Default)]
pub struct SnapshotState {
    used: Option<Position>,
    inner: Mutex<Inner>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Inner {
    newest: Option<Position>,
    failing: bool,
}

impl SnapshotState {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot that the start began with; none if it read the whole log.
    #[must_use]
    pub fn used(&self) -> Option<Position> {
        self.used
    }

    /// The position of the newest snapshot; none if there is none.
    #[must_use]
    pub fn newest(&self) -> Option<Position> {
        self.lock().newest
    }

    /// Whether the last attempt to make one failed.
    #[must_use]
    pub fn failing(&self) -> bool {
        self.lock().failing
    }
}

/// The running keeper.
#[derive(Debug)]
pub(crate) struct SnapshotKeeper {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    state: Arc<SnapshotState>,
}

impl SnapshotKeeper {
    /// Starts the keeper. `newest` is the snapshot that the start used; volumes sealed since are known to
    /// `reader`, later ones come by `announced`.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub(crate) fn start(
        store: SnapshotStore,
        reader: Arc<dyn LedgerReader>,
        newest: Option<Position>,
        announced: Option<Receiver<Sealed>>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let inner = Mutex::new(Inner { newest, failing: false });
        let (stop, state) =
            (Arc::new(AtomicBool::new(false)), Arc::new(SnapshotState { used: newest, inner }));
        let work = Work {
            store,
            reader,
            clock,
            stop: Arc::clone(&stop),
            state: Arc::clone(&state),
            unusable: BTreeSet::new(),
            tried: Duration::ZERO,
        };
        let thread = thread::Builder::new().name("snapshots".to_owned());
        let thread = thread.spawn(move || work.run(announced.as_ref()))?;
        Ok(SnapshotKeeper { thread, stop, state })
    }

    pub(crate) fn state(&self) -> Arc<SnapshotState> {
        Arc::clone(&self.state)
    }

    /// Stops it where it stands; a snapshot being made is thrown away. It no longer reads the ledger when
    /// this returns.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the thread that makes snapshots had panicked");
        }
    }
}

struct Work {
    store: SnapshotStore,
    reader: Arc<dyn LedgerReader>,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    state: Arc<SnapshotState>,
    /// Snapshots on disk that were found damaged here.
    unusable: BTreeSet<Position>,
    /// When this keeper began, or last ended a try to make one; by the clock that never steps.
    tried: Duration,
}

impl Work {
    fn run(mut self, announced: Option<&Receiver<Sealed>>) {
        self.tried = self.clock.monotonic();
        if let Err(error) = self.store.remove_unfinished() {
            tracing::error!(%error, "unfinished snapshots cannot be removed");
        }
        self.make_if_due();
        while let Some(announced) = announced
            && !self.stop.load(Ordering::Relaxed)
        {
            match announced.try_recv() {
                Ok(_) => {
                    // What else has been announced is covered by the same look.
                    while announced.try_recv().is_ok() {}
                    self.make_if_due();
                }
                Err(TryRecvError::Empty) if self.is_stale() => self.make_if_due(),
                Err(TryRecvError::Empty) => thread::park_timeout(LOOK_EACH),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Whether no try to make a snapshot was made for long.
    fn is_stale(&self) -> bool {
        self.clock.monotonic().saturating_sub(self.tried) >= STALE_AFTER
    }

    /// Makes a snapshot at the end of the last sealed volume if enough has been sealed since the newest, and
    /// again for what was sealed meanwhile.
    fn make_if_due(&mut self) {
        let stale = self.is_stale();
        if stale {
            self.tried = self.clock.monotonic();
        }
        loop {
            let previous = self.newest();
            let Some(up_to) = self.due(previous.as_ref(), stale) else { break };
            let from = previous.as_ref().map(|snapshot| snapshot.standpoint().position);
            let made = self.make(previous, up_to);
            self.tried = self.clock.monotonic();
            match made {
                Ok(()) => {}
                Err(BuildError::Stopped) => break,
                // One without it, or from the one before, may well succeed.
                Err(error)
                    if error.is_of_a_snapshot()
                        && from.is_some_and(|at| self.unusable.insert(at)) => {}
                Err(_) => break,
            }
        }
    }

    /// The newest snapshot that can be opened and is of this log.
    fn newest(&mut self) -> Option<Snapshot> {
        let positions = self.store.positions().unwrap_or_default();
        for position in positions {
            if self.unusable.contains(&position) {
                continue;
            }
            let is_of = |snapshot: &Snapshot| snapshot.standpoint().head().is_of(&*self.reader);
            match self.store.open(position).map(|found| (is_of(&found), found)) {
                Ok((Ok(true), found)) => return Some(found),
                Ok((_, _)) | Err(_) => self.unusable.insert(position),
            };
        }
        None
    }

    /// Where the next snapshot belongs, if it is time for one.
    fn due(&self, newest: Option<&Snapshot>, stale: bool) -> Option<Position> {
        let at = newest.map(|snapshot| snapshot.standpoint().position);
        let behind: Vec<Sealed> =
            self.reader.sealed().into_iter().filter(|volume| Some(volume.last) > at).collect();
        let bytes: u64 = behind.iter().map(|volume| volume.bytes).sum();
        let enough = newest.filter(|_| !stale).map_or(0, |snapshot| snapshot.bytes() / 2);
        behind.last().filter(|_| bytes >= enough).map(|volume| volume.last)
    }

    fn make(&self, previous: Option<Snapshot>, up_to: Position) -> Result<(), BuildError> {
        let begun = self.clock.monotonic();
        let from = previous.as_ref().map_or(0, |found| found.standpoint().position.get());
        tracing::info!(position = up_to.get(), from, "making a snapshot");
        let made = self.store.make(&*self.reader, previous, up_to, &self.stop, &Silent);
        let took = self.clock.monotonic().saturating_sub(begun);
        match made {
            Ok(made) => {
                let (keys, bytes) = (made.keys(), made.bytes());
                tracing::info!(position = up_to.get(), keys, bytes, ?took, "a snapshot is made");
                *self.state.lock() = Inner { newest: Some(up_to), failing: false };
                Ok(())
            }
            Err(BuildError::Stopped) => Err(BuildError::Stopped),
            Err(error) => {
                tracing::error!(
                    position = up_to.get(),
                    %error,
                    "a snapshot cannot be made: the next start takes longer; the log has everything"
                );
                self.state.lock().failing = true;
                Err(error)
            }
        }
    }
}
