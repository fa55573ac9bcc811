//! The whole check of a data directory that nobody uses: everything in it is read, nothing is changed.
//!
//! What it looks at, in this order: `FORMAT`; both slots of the anchor; the key files; every slot of
//! the data key file; every sealed volume, byte for byte; every volume in sled, through sled, on a copy;
//! the tree over all records; every record through the rules; every sealed field and the commitment to
//! it; the hash tiles, by the records; the peppers on record; the credential file; every frame of the usage journals; every block of the
//! snapshots; names that should not be there. That a snapshot says what its log says is for `admin rebuild` to see.
//!
//! What it cannot find is a whole directory put back to an earlier state: that takes a head and root
//! noted elsewhere, which [`Report`] has to be held against.

mod files;
mod fold;
mod journals;
mod scratch;
mod snapshots;
mod tiles;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::KeySettings;
use crate::domain::ids::Position;
use crate::domain::key_format::KeyPrefix;
use crate::ledger::data_dir::{DataDir, DataDirError};
use crate::ledger::volumes::check as volumes;
use crate::merkle::Hash;
use crate::progress::Progress;
use crate::random::Random;
use crate::vault::KeySources;

pub(in crate::app) use files::anchor_slot;
use fold::Fold;
use scratch::Scratch;
pub(in crate::app) use snapshots::{
    missing_data_key, read_snapshot, snapshot_damaged, snapshot_place,
};
use tiles::Tiles;

/// The most findings that are kept; more are only counted.
const MAX_FINDINGS: usize = 1000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Harmless, worth knowing.
    Note,
    /// Nothing is lost, but somebody should look.
    Warning,
    /// Something is not what was written.
    Damage,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Damage => "damage",
        })
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file or directory, below the data directory.
    pub place: String,
    /// A position that it is about, if one is known.
    pub position: Option<Position>,
    /// What is wrong.
    pub what: String,
}

impl Finding {
    fn new(severity: Severity, place: impl Into<String>, what: impl fmt::Display) -> Self {
        Finding { severity, place: place.into(), position: None, what: what.to_string() }
    }

    fn at(self, position: Option<Position>) -> Self {
        Finding { position, ..self }
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is not as it should be, in the order it was found; at most 1,000.
    pub findings: Vec<Finding>,
    /// How many findings of each severity there are, those not kept included.
    pub counts: Counts,
    /// The last position; none if the log is empty or damage leaves it open.
    pub head: Option<Position>,
    /// The root of the tree over all records; none if damage leaves it open.
    pub root: Option<Hash>,
    /// How many whole records were read.
    pub records: u64,
    /// How many sealed fields were opened and held to their commitments.
    pub opened: u64,
    /// How many accounts there are, as far as the records could be folded.
    pub accounts: usize,
    /// How many keys there are, likewise.
    pub keys: usize,
    /// How many callers there are, likewise.
    pub callers: usize,
}

/// How many findings there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of [`Severity::Damage`].
    pub damage: u64,
    /// Of [`Severity::Warning`].
    pub warnings: u64,
    /// Of [`Severity::Note`].
    pub notes: u64,
}

impl Report {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.counts.damage == 0
    }

    fn add(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Damage => self.counts.damage += 1,
            Severity::Warning => self.counts.warnings += 1,
            Severity::Note => self.counts.notes += 1,
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// What is to be checked, and how.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The data directory.
    pub data_dir: &'a Path,
    /// What callers' credentials begin with.
    pub prefix: &'a KeyPrefix,
    /// Where keys come from.
    pub keys: &'a KeySettings,
    /// Where a directory for copies may be made; it is removed at the end. The largest volume in sled
    /// must fit.
    pub scratch: &'a Path,
}

/// Why a directory was not checked.
#[derive(Debug, Error)]
pub enum CheckError {
    /// It is none, or in use.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The copies of the volumes in sled cannot be kept.
    #[error("cannot copy a volume to {}: {source}: name another place with --scratch", .path.display())]
    Scratch {
        /// Where they were to be.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// Checks the files beside the ledger alone, each by itself: the part of [`check`] that takes no time.
///
/// # Errors
/// [`CheckError::DataDir`] if there is no data directory or it is in use.
pub fn check_files(data_dir: &Path, prefix: &KeyPrefix) -> Result<Report, CheckError> {
    let data_dir = DataDir::open_unchanged(data_dir)?;
    let mut report = Report::default();
    let keys = KeySources::new(&KeySettings::default(), data_dir.path());
    files::check(&data_dir, &keys, prefix, &mut report);
    Ok(report)
}

/// Whether `path` is `dir` or below it, by whatever names.
fn is_inside(path: &Path, dir: &Path) -> io::Result<bool> {
    Ok(path.canonicalize()?.starts_with(dir.canonicalize()?))
}

/// Checks a data directory under its lock. `progress` is told how far it is.
///
/// # Errors
/// [`CheckError`] if it could not be checked. What is wrong with it is in the [`Report`].
pub fn check(
    settings: Settings<'_>,
    random: &dyn Random,
    progress: &dyn Progress,
) -> Result<Report, CheckError> {
    let data_dir = DataDir::open_unchanged(settings.data_dir)?;
    let scratch_error = |source| CheckError::Scratch { path: settings.scratch.to_owned(), source };
    if is_inside(settings.scratch, settings.data_dir).map_err(scratch_error)? {
        return Err(scratch_error(io::Error::other("it lies in the data directory")));
    }
    let scratch = Scratch::make(settings.scratch, random).map_err(scratch_error)?;
    let mut report = Report::default();
    let keys = KeySources::new(settings.keys, data_dir.path());
    let files::Found { anchored, peppers, data_keys } =
        files::check(&data_dir, &keys, settings.prefix, &mut report);
    let snapshots = snapshots::check(&data_dir, data_keys.as_ref(), &mut report);
    let tiles = Tiles::new(&data_dir.tiles());
    let mut fold = Fold::new(&mut report, data_keys.as_ref(), anchored, snapshots, tiles, progress);
    fold.begin(&data_dir.ledger());
    let tree = volumes::check(&data_dir.ledger(), scratch.path(), &mut fold);
    let table = fold.finish(tree.map_err(scratch_error)?.as_ref());
    if let (Some(table), Some(peppers)) = (&table, peppers) {
        let in_use = table.table().peppers();
        match peppers.complete(in_use.in_use().map(|(version, _)| version)) {
            Ok(()) => {
                files::check_against(table, &peppers, &data_dir, settings.prefix, &mut report);
            }
            Err(error) => report.add(files::vault_finding(&error)),
        }
    }
    if data_dir.is_still_ours() {
        Ok(report)
    } else {
        Err(DataDirError::InUse(settings.data_dir.to_owned()).into())
    }
}
