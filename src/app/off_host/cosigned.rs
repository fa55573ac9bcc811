//! The newest checkpoint that enough witnesses have cosigned, in memory and beside the log.
//!
//! It is in one file of the data directory: a signed note, the cosignatures behind the log's own signatures. It
//! is replaced whole, and durable before anybody is answered it. Cosignatures are gathered for several checkpoints at
//! once, since witnesses take their time: one that enough have cosigned makes those of smaller ones needless.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::NotKept;
use crate::app::checkpoint::{CheckpointSigner, SignedCheckpoint};
use crate::clock::Clock;
use crate::durable_file;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::cosignature::{WitnessKey, cosigned};
use crate::merkle::note::MAX_NOTE_BYTES;

/// Who may read the file: a checkpoint is no secret, but the directory's other files are.
const MODE: u32 = 0o600;

/// For how many checkpoints cosignatures are gathered: a witness may take the time of some fifteen of the shortest
/// intervals to answer about one.
const MOST_GATHERED: usize = 32;

/// A checkpoint that enough witnesses have cosigned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CosignedCheckpoint {
    /// How many records it covers.
    pub(crate) size: u64,
    /// The signed note, with a line for each witness.
    pub(crate) note: String,
}

/// What witnesses have cosigned.
#[derive(Debug)]
pub(super) struct Cosigned {
    path: PathBuf,
    quorum: usize,
    clock: Arc<dyn Clock>,
    gathered: Mutex<Gathered>,
    newest: ArcSwapOption<CosignedCheckpoint>,
}

/// The cosignatures of the newest checkpoints.
#[derive(Debug, Default)]
struct Gathered {
    /// By the size of the checkpoint and the number of the witness: its line.
    lines: BTreeMap<u64, BTreeMap<usize, String>>,
    /// Since when a witness has cosigned a newer checkpoint than enough have, or the last time that enough had
    /// another; by time that never steps.
    waits_since: Option<Duration>,
    /// Whether the file is no longer ours to write.
    closed: bool,
}

impl Cosigned {
    /// What an earlier run has kept in the file, if it is a checkpoint of this log, of no more than `most` records,
    /// that enough of these witnesses have cosigned; otherwise nothing yet, and it is told why. Nothing where no
    /// witness is asked.
    pub(super) fn open(
        path: PathBuf,
        (signer, clock): (&CheckpointSigner, &Arc<dyn Clock>),
        most: u64,
        (witnesses, quorum): (&[WitnessKey], usize),
    ) -> Self {
        let (gathered, newest) = (Mutex::default(), ArcSwapOption::empty());
        let found = Cosigned { path, quorum, clock: Arc::clone(clock), gathered, newest };
        if quorum == 0 {
            return found;
        }
        match found.read(signer, most, witnesses) {
            Ok(kept) => found.newest.store(kept.map(Arc::new)),
            Err(why) => {
                tracing::warn!(why, "the checkpoint that was cosigned last is not used");
            }
        }
        found
    }

    fn read(
        &self,
        signer: &CheckpointSigner,
        most: u64,
        witnesses: &[WitnessKey],
    ) -> Result<Option<CosignedCheckpoint>, String> {
        let bytes = match durable_file::read_bounded(&self.path, MAX_NOTE_BYTES as u64) {
            Ok(bytes) => bytes.ok_or("it is too long for one")?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let note = String::from_utf8(bytes).map_err(|_| "it is no text")?;
        let Checkpoint { size, .. } =
            Checkpoint::open(&note, signer.keys()).map_err(|error| error.to_string())?;
        if size > most {
            return Err(format!("it is of {size} records, and the log has {most}"));
        }
        let by = cosigned(&note, witnesses).map_err(|error| error.to_string())?.len();
        if by < self.quorum {
            return Err(format!(
                "{by} of the witnesses have cosigned it, and {} must",
                self.quorum
            ));
        }
        Ok(Some(CosignedCheckpoint { size, note }))
    }

    /// The newest that enough have cosigned.
    pub(super) fn newest(&self) -> Option<Arc<CosignedCheckpoint>> {
        self.newest.load_full()
    }

    /// How many records it covers; 0 if there is none.
    pub(super) fn size(&self) -> u64 {
        self.newest.load().as_ref().map_or(0, |newest| newest.size)
    }

    /// Whether witnesses have cosigned newer checkpoints for longer than so, and not enough of them any one.
    pub(super) fn is_overdue(&self, now: Duration, patience: Duration) -> bool {
        self.lock().waits_since.is_some_and(|since| now.saturating_sub(since) > patience)
    }

    /// Adds the line by witness `number`, which MUST hold; once enough are there, and with each one more, the
    /// checkpoint takes the place of the one that was cosigned before.
    pub(super) fn add(
        &self,
        signed: &SignedCheckpoint,
        number: usize,
        line: String,
    ) -> Result<(), NotKept> {
        let mut gathered = self.lock();
        let size = signed.checkpoint.size;
        if gathered.closed || size < self.size() {
            return Ok(());
        }
        let now = self.clock.monotonic();
        let lines = gathered.lines.entry(size).or_default();
        lines.insert(number, line);
        if lines.len() >= self.quorum {
            let mut note = signed.note.clone();
            for line in lines.values() {
                let _ = write!(note, "{line}");
            }
            durable_file::write_replacing(&self.path, note.as_bytes(), MODE)?;
            self.newest.store(Some(Arc::new(CosignedCheckpoint { size, note })));
            gathered.lines.retain(|other, _| *other >= size);
            gathered.waits_since = None;
        }
        if gathered.lines.len() > MOST_GATHERED {
            gathered.lines.pop_first();
        }
        if gathered.lines.last_key_value().is_some_and(|(largest, _)| *largest > self.size()) {
            gathered.waits_since.get_or_insert(now);
        }
        Ok(())
    }

    /// From here on the file is not written: the directory is about to be let go of.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
