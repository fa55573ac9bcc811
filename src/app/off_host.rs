//! Checkpoints kept off the host: a whole data directory that is put back to an earlier state, head anchor
//! included, is found by nothing on the host itself.
//!
//! Each place is kept by a thread of its own, behind everything: no command waits for it, and one place that
//! is slow or gone holds up no other. What is kept is what GetCheckpoint would answer.

mod file;
mod keeper;
mod post;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use crate::app::App;
use crate::app::checkpoint::{CheckpointSigner, SignedCheckpoint};
use crate::clock::Clock;
use crate::config::{AnchorSettings, AuditSettings};
use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::durable_file::Cause;
use crate::ledger::anchor::AnchorState;
use file::FilePlace;
use keeper::{Keeper, PlaceState, Work};
use post::UrlPlace;

/// How long an orderly stop waits for the last checkpoint to be kept, everywhere together: one request under
/// way and one more.
const STOP_PATIENCE: Duration = Duration::from_secs(12);

/// After how many intervals a place that lacks a newer checkpoint is spoken of.
const OVERDUE_INTERVALS: u32 = 3;

/// Where checkpoints are kept.
trait Place: Send {
    /// Keeps a checkpoint there. May block, for a bounded time where that can be.
    fn keep(&mut self, signed: &SignedCheckpoint, now: Time) -> Result<(), NotKept>;
}

/// Why a checkpoint is not kept in a place. Texts hold nothing of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum NotKept {
    /// The file system failed.
    #[error("the file system: {0}")]
    File(Cause),
    /// What is in the file is no checkpoint, so that it may be anything.
    #[error("the file holds something that is no checkpoint, which is not replaced")]
    NoCheckpoint,
    /// The file holds a checkpoint that this log never made.
    #[error(
        "the file holds a checkpoint of {kept} records, which this log of {size} does not continue: the data \
         directory was put back to an earlier state, or another server writes the file; it is not replaced"
    )]
    Contradicted {
        /// How many records it is of.
        kept: u64,
        /// How many this log has.
        size: u64,
    },
    /// The answer to a request was not that it was taken.
    #[error("it answered with HTTP status {0}")]
    Answered(u16),
    /// There was no answer in time.
    #[error("it did not answer in time")]
    TooSlow,
    /// It cannot be talked to.
    #[error("{0}")]
    Unreachable(&'static str),
    /// What keeps it there is at fault.
    #[error("it panicked; the message is above")]
    Panicked,
}

impl NotKept {
    /// Whether it stays so until somebody does something about it.
    fn is_lasting(&self) -> bool {
        matches!(self, NotKept::Contradicted { .. } | NotKept::NoCheckpoint)
    }
}

impl From<io::Error> for NotKept {
    fn from(error: io::Error) -> Self {
        NotKept::File(Cause::from(&error))
    }
}

/// How one place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceFigures {
    /// What it is called in warnings and metrics.
    pub name: String,
    /// How many records the checkpoint covers that was kept last; 0 if none was since the start.
    pub position: u64,
    /// When that was.
    pub last_kept: Option<Time>,
    /// How many attempts have failed since the start.
    pub failures: u64,
    /// Whether the last attempt failed.
    pub failing: bool,
    /// Whether a newer checkpoint has waited for longer than three intervals.
    pub overdue: bool,
    /// What stands in its place and no time mends, if the last attempt met that: another log's checkpoint, say.
    pub refused: Option<String>,
}

/// Where checkpoints are kept, as who asks how the service is sees it.
#[derive(Debug)]
pub(crate) struct Places {
    states: Vec<Arc<PlaceState>>,
    clock: Arc<dyn Clock>,
    interval: Duration,
}

impl Places {
    pub(crate) fn figures(&self) -> Vec<PlaceFigures> {
        let (now, patience) = (self.clock.monotonic(), self.interval * OVERDUE_INTERVALS);
        self.states.iter().map(|state| state.figures(now, patience)).collect()
    }
}

/// What is kept, and by which clock.
struct Source {
    signer: Arc<CheckpointSigner>,
    anchored: watch::Receiver<AnchorState>,
    clock: Arc<dyn Clock>,
}

impl Source {
    /// The checkpoint of now; none before the first is possible.
    fn newest(&self) -> Option<Arc<SignedCheckpoint>> {
        let AnchorState { position, root } = *self.anchored.borrow();
        Some(self.signer.sign((position?, root), self.clock.monotonic(), Duration::ZERO))
    }

    /// How many records it covers.
    fn size(&self) -> u64 {
        self.anchored.borrow().position.map_or(0, Position::get)
    }
}

/// The running keepers. They end when this is dropped, without a last attempt.
#[derive(Debug)]
pub(crate) struct OffHost {
    keepers: Vec<Keeper>,
    clock: Arc<dyn Clock>,
}

/// Why checkpoints cannot be kept off the host.
#[derive(Debug, Error)]
pub enum OffHostError {
    /// A file is where it is lost with what it vouches for.
    #[error("{0} must not lie in the data directory: it is lost and put back together with it")]
    InDataDirectory(&'static str),
    /// The operating system has no thread to give.
    #[error("the operating system refuses: {0}")]
    Io(#[from] io::Error),
}

/// Starts to keep the checkpoints of `source` wherever the settings say.
///
/// # Errors
/// [`OffHostError`].
fn start(
    source: Source,
    settings: &AuditSettings,
    data_dir: &Path,
) -> Result<(OffHost, Places), OffHostError> {
    let (clock, source) = (Arc::clone(&source.clock), Arc::new(source));
    let interval = settings.anchor.interval;
    let mut keepers = Vec::new();
    for (name, place) in places(&settings.anchor, data_dir)? {
        let (source, state) = (Arc::clone(&source), Arc::new(PlaceState::new(name)));
        keepers.push(Keeper::start(Work { place, source, interval, state })?);
    }
    let states = keepers.iter().map(Keeper::state).collect();
    let places = Places { states, clock: Arc::clone(&clock), interval };
    Ok((OffHost { keepers, clock }, places))
}

/// As [`start`], with the checkpoints of a service; none while it makes none.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_for(
    app: &App,
    settings: &AuditSettings,
    data_dir: &Path,
) -> Result<Option<OffHost>, OffHostError> {
    let Some(proofs) = app.proofs.get() else { return Ok(None) };
    let source = Source {
        signer: Arc::clone(&proofs.signer),
        anchored: app.anchored.clone(),
        clock: Arc::clone(&app.clock),
    };
    let (keepers, places) = start(source, settings, data_dir)?;
    // Once for the life of the service: it is started once.
    let _ = app.off_host.set(places);
    Ok(Some(keepers))
}

type Named = (String, Box<dyn Place>);

fn places(settings: &AnchorSettings, data_dir: &Path) -> Result<Vec<Named>, OffHostError> {
    let AnchorSettings { file, history, url, .. } = settings;
    let outside = |name, path: &Path| match lies_in(path, data_dir) {
        true => Err(OffHostError::InDataDirectory(name)),
        false => Ok(()),
    };
    let mut places: Vec<Named> = Vec::new();
    if let Some(file) = file {
        outside("audit.anchor.file", file)?;
        places.push(("file".to_owned(), Box::new(FilePlace::newest(file))));
    }
    if let Some(history) = history {
        outside("audit.anchor.history", history)?;
        places.push(("history".to_owned(), Box::new(FilePlace::history(history))));
    }
    if let Some(url) = url {
        places.push(("url".to_owned(), Box::new(UrlPlace::new(url))));
    }
    Ok(places)
}

/// Whether a file lies below a directory, as far as that can be seen.
fn lies_in(path: &Path, dir: &Path) -> bool {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match (parent.canonicalize(), dir.canonicalize()) {
        (Ok(parent), Ok(dir)) => parent.starts_with(dir),
        _ => false,
    }
}

impl OffHost {
    /// Has the last checkpoint kept everywhere and ends the keepers; waits for a bounded time. A keeper that
    /// is not done by then is left behind. Blocks.
    pub(crate) fn stop(self) {
        for keeper in &self.keepers {
            keeper.order_stop();
        }
        let begun = self.clock.monotonic();
        for keeper in &self.keepers {
            let passed = self.clock.monotonic().saturating_sub(begun);
            keeper.wait(STOP_PATIENCE.saturating_sub(passed));
        }
    }
}
