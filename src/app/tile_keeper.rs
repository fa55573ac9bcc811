//! The thread that makes hash tiles: behind the writer, which waits for nothing of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use tokio::sync::watch;

use crate::ledger::engine::LedgerReader;
use crate::projection::tiles::{TileBuilder, TileError, Tiles};

/// How long an idle keeper may take to see what was recorded, unless somebody waits for it.
const LOOK_EACH: Duration = Duration::from_millis(100);

/// How long it rests after an attempt that failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How the making of tiles goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct TileFigures {
    /// The position up to which proofs can be made.
    pub made: u64,
    /// Whether the last attempt to make more failed.
    pub failing: bool,
}

/// What the keeper tells, and how it is told to make haste.
#[derive(Debug)]
pub(crate) struct TileState {
    made: watch::Sender<u64>,
    failing: AtomicBool,
}

impl TileState {
    pub(crate) fn figures(&self) -> TileFigures {
        TileFigures { made: *self.made.borrow(), failing: self.failing.load(Ordering::Relaxed) }
    }

    /// Resolves when the tree has so many leaves.
    pub(crate) async fn reached(&self, size: u64) {
        // Fails only if there is no sender, and this is one.
        let _ = self.made.subscribe().wait_for(|made| *made >= size).await;
    }
}

/// The running keeper. Stops when it is dropped; it no longer reads the ledger then.
#[derive(Debug)]
pub(crate) struct TileKeeper {
    stop: Arc<AtomicBool>,
    state: Arc<TileState>,
    thread: Option<JoinHandle<()>>,
}

impl TileKeeper {
    /// Starts the keeper of the tiles of a log.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub(crate) fn start(tiles: Arc<Tiles>, log: Arc<dyn LedgerReader>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (made, failing) = (watch::Sender::new(0), AtomicBool::new(false));
        let state = Arc::new(TileState { made, failing });
        let work = Work { tiles, log, stop: Arc::clone(&stop), state: Arc::clone(&state) };
        let thread = thread::Builder::new().name("hash-tiles".to_owned());
        let thread = Some(thread.spawn(move || work.run())?);
        Ok(TileKeeper { stop, state, thread })
    }

    pub(crate) fn state(&self) -> Arc<TileState> {
        Arc::clone(&self.state)
    }

    /// What to unpark so that the keeper looks at once.
    pub(crate) fn waker(&self) -> Option<Thread> {
        self.thread.as_ref().map(|thread| thread.thread().clone())
    }
}

impl Drop for TileKeeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that makes hash tiles had panicked");
            }
        }
    }
}

struct Work {
    tiles: Arc<Tiles>,
    log: Arc<dyn LedgerReader>,
    stop: Arc<AtomicBool>,
    state: Arc<TileState>,
}

impl Work {
    fn run(self) {
        let mut builder = None;
        while !self.stop.load(Ordering::Relaxed) {
            match self.follow(&mut builder) {
                Ok(()) => {
                    if self.state.failing.swap(false, Ordering::Relaxed) {
                        tracing::info!("hash tiles are made again");
                    }
                    thread::park_timeout(LOOK_EACH);
                }
                Err(TileError::Stopped) => return,
                Err(error) => {
                    builder = None;
                    if !self.state.failing.swap(true, Ordering::Relaxed) {
                        tracing::error!(
                            %error,
                            "hash tiles cannot be made: newer records cannot be proved; the log has everything"
                        );
                    }
                    thread::park_timeout(RETRY_AFTER);
                }
            }
        }
    }

    fn follow(&self, builder: &mut Option<TileBuilder>) -> Result<(), TileError> {
        let tell = |size| {
            self.state.made.send_if_modified(|made| std::mem::replace(made, size) != size);
        };
        let builder = match builder {
            Some(builder) => builder,
            None => builder.insert(TileBuilder::begin(&self.tiles, &*self.log)?),
        };
        tell(self.tiles.size());
        builder.follow(&*self.log, &self.stop, tell)
    }
}
