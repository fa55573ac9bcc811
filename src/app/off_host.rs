//! Checkpoints kept off the host: a whole data directory that is put back to an earlier state, head anchor
//! included, is found by nothing on the host itself. Places of the operator's hold them, and witnesses cosign
//! them, who remember them too.
//!
//! Each place is kept by a thread of its own, behind everything: no command waits for it, and one place that
//! is slow or gone holds up no other. What is kept is what GetCheckpoint would answer.

mod cosigned;
mod figures;
mod file;
mod keeper;
mod post;
mod source;
#[cfg(test)]
mod tests;
mod witness;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::app::App;
use crate::app::checkpoint::SignedCheckpoint;
use crate::clock::Clock;
use crate::config::{AnchorSettings, AuditSettings, WitnessSettings};
use crate::domain::time::Time;
use crate::durable_file::Cause;
use crate::ledger::data_dir::DataDir;
use crate::merkle::note::NoteError;
use crate::projection::tiles::TileError;
use cosigned::Cosigned;
use file::FilePlace;
use keeper::{Keeper, PlaceState, Work};
use post::UrlPlace;
use source::{Round, Source};
use witness::{Prover, WitnessPlace};

pub use figures::{OffHostFigures, PlaceFigures};

/// How long an orderly stop waits for the last checkpoint to be kept, everywhere together: one request under
/// way and one more.
const STOP_PATIENCE: Duration = Duration::from_secs(12);

/// After how many intervals a place that lacks a newer checkpoint is spoken of.
const OVERDUE_INTERVALS: u32 = 3;

/// Where checkpoints are kept.
trait Place: Send {
    /// The file it is, for the log alone.
    fn path(&self) -> Option<&Path> {
        None
    }

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
    /// The service stops.
    #[error("the service stops")]
    Stopping,
    /// The proof that a witness needs cannot be made.
    #[error("the proof for it: {0}")]
    NoProof(#[from] TileError),
    /// A witness does not know the log.
    #[error(
        "it does not know {0}: its operator has to add that, unless audit.witnesses has another's URL"
    )]
    UnknownToWitness(&'static str),
    /// What a witness answered is no cosignature.
    #[error("what it answered is no cosignature by the key in audit.witnesses: {0}")]
    NoCosignature(NoteError),
    /// A witness has cosigned more records than there are.
    #[error(
        "it has cosigned a checkpoint of {kept} records, and this log has {size}: the data directory was put \
         back to an earlier state, or another server has this log's keys"
    )]
    WitnessedMore {
        /// How many it has cosigned.
        kept: u64,
        /// How many this log has.
        size: u64,
    },
    /// A witness has cosigned another history.
    #[error(
        "it has cosigned a checkpoint that this log does not continue: the data directory was put back to an \
         earlier state and went on, or another server has this log's keys"
    )]
    OtherHistory,
    /// A witness says another size each time.
    #[error(
        "it says each time that it has cosigned another size: another server has this log's keys"
    )]
    Unsettled,
}

impl NotKept {
    /// Whether it stays so until somebody does something about it.
    fn is_lasting(&self) -> bool {
        use NotKept::{
            Contradicted, NoCheckpoint, NoCosignature, OtherHistory, UnknownToWitness,
            WitnessedMore,
        };
        matches!(
            self,
            Contradicted { .. }
                | NoCheckpoint
                | NoCosignature(_)
                | OtherHistory
                | UnknownToWitness(_)
                | WitnessedMore { .. }
        )
    }
}

impl From<io::Error> for NotKept {
    fn from(error: io::Error) -> Self {
        NotKept::File(Cause::from(&error))
    }
}

/// Where checkpoints are kept and by whom cosigned, as who asks how the service is sees it.
#[derive(Debug)]
pub(crate) struct Places {
    anchors: Vec<Arc<PlaceState>>,
    witnesses: Vec<Arc<PlaceState>>,
    quorum: usize,
    cosigned: Arc<Cosigned>,
    clock: Arc<dyn Clock>,
    interval: Duration,
}

impl Places {
    pub(crate) fn figures(&self) -> OffHostFigures {
        let (now, patience) = (self.clock.monotonic(), self.interval * OVERDUE_INTERVALS);
        let figures = |states: &[Arc<PlaceState>]| {
            states.iter().map(|state| state.figures(now, patience)).collect()
        };
        OffHostFigures {
            anchors: figures(&self.anchors),
            witnesses: figures(&self.witnesses),
            quorum: self.quorum,
            cosigned: self.cosigned.size(),
            cosigned_overdue: self.cosigned.is_overdue(now, patience),
        }
    }
}

/// The running keepers. They end when this is dropped, without a last attempt.
#[derive(Debug)]
pub(crate) struct OffHost {
    keepers: Vec<Keeper>,
    witnesses: Vec<Keeper>,
    prover: Arc<Prover>,
    cosigned: Arc<Cosigned>,
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

/// Starts to keep the checkpoints of a service wherever the settings say, and to have them cosigned; none while
/// it makes none.
///
/// # Errors
/// [`OffHostError`].
pub(crate) fn start_for(
    app: &App,
    settings: &AuditSettings,
    data_dir: &DataDir,
) -> Result<Option<OffHost>, OffHostError> {
    let Some(proofs) = app.proofs.get() else { return Ok(None) };
    let AuditSettings { anchor, witnesses, .. } = settings;
    let (interval, clock) = (anchor.interval, Arc::clone(&app.clock));
    let signer = Arc::clone(&proofs.signer);
    let mut source = Source { signer, anchored: app.anchored.clone(), clock, round: None };
    let cosigned = open_cosigned(&source, witnesses, data_dir);
    let keepers = keep(places(anchor, data_dir.path())?, &source, interval)?;
    source.round = Some(Arc::new(Round::new(interval, Arc::clone(proofs.tiles()))));
    let prover = Arc::new(Prover::new(Arc::clone(proofs.tiles()), Some(Arc::clone(&app.reader))));
    let named = (0..).zip(&witnesses.all).map(|(number, witness)| -> Named {
        let place = WitnessPlace::new(number, witness, &prover, &cosigned);
        (witness.key.name().to_string(), Box::new(place))
    });
    let witnessing = keep(named.collect(), &source, interval)?;
    let states = |keepers: &[Keeper]| keepers.iter().map(Keeper::state).collect();
    let places = Places {
        anchors: states(&keepers),
        witnesses: states(&witnessing),
        quorum: witnesses.quorum,
        cosigned: Arc::clone(&cosigned),
        clock: Arc::clone(&source.clock),
        interval,
    };
    // Once for the life of the service: it is started once.
    let _ = app.off_host.set(places);
    Ok(Some(OffHost { keepers, witnesses: witnessing, prover, cosigned, clock: source.clock }))
}

fn open_cosigned(
    source: &Source,
    witnesses: &WitnessSettings,
    data_dir: &DataDir,
) -> Arc<Cosigned> {
    let keys: Vec<_> = witnesses.all.iter().map(|witness| witness.key.clone()).collect();
    let most = source.size();
    let by = (&*source.signer, &source.clock);
    Arc::new(Cosigned::open(data_dir.cosigned(), by, most, (&keys, witnesses.quorum)))
}

fn keep(places: Vec<Named>, source: &Source, interval: Duration) -> io::Result<Vec<Keeper>> {
    let start = |(name, place)| {
        let state = Arc::new(PlaceState::new(name));
        Keeper::start(Work { place, source: source.clone(), interval, state })
    };
    places.into_iter().map(start).collect()
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

impl App {
    /// The newest checkpoint that enough witnesses have cosigned; none while none is.
    #[must_use]
    pub fn cosigned_checkpoint(&self) -> Option<String> {
        Some(self.off_host.get()?.cosigned.newest()?.note.clone())
    }
}

impl OffHost {
    /// Ends what asks witnesses, which a stop waits for no answer of, and has it let go of the log and of the data
    /// directory. Blocks while a proof is being made or the file written.
    pub(crate) fn leave_witnesses(&mut self) {
        self.witnesses.clear();
        self.prover.close();
        self.cosigned.close();
    }

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
