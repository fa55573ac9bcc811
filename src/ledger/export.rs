//! Events from elsewhere: sealed volumes that lie in some directory, read behind a tree that is known.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::domain::ids::Position;
use crate::durable_file::open_regular;
use crate::ledger::engine::{LedgerError, io_failed};
use crate::ledger::volume::{SealedVolume, check_file};
use crate::merkle::{Hash, leaf_hash};

/// Why events from elsewhere cannot be used.
#[derive(Debug, Error)]
pub enum ExportError<E: std::error::Error + 'static> {
    /// A file is none, or damaged.
    #[error("{}: {error}", .path.display())]
    Volume {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: LedgerError,
    },
    /// They do not reach behind the known tree.
    #[error("the events do not go on at position {0}: no volume holds it")]
    NothingBehind(Position),
    /// They continue another log.
    #[error("the events up to position {0} are not those of this log: the root differs")]
    OtherLog(u64),
    /// Whoever takes the records refuses one.
    #[error("the record at position {position} is refused: {reason}")]
    Refused {
        /// The record's position.
        position: Position,
        /// Why.
        #[source]
        reason: E,
    },
}

/// Sealed volumes that lie somewhere, in any order, and may overlap.
#[derive(Debug)]
pub struct Export {
    volumes: Vec<(PathBuf, SealedVolume)>,
}

/// Where the events end that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The last position.
    pub position: Position,
    /// The root of the tree over all records up to it.
    pub root: Hash,
}

impl Export {
    /// Opens the volumes at `paths`.
    ///
    /// # Errors
    /// [`ExportError::Volume`] for the first file that is none.
    pub fn open<E: std::error::Error>(paths: Vec<PathBuf>) -> Result<Self, ExportError<E>> {
        let volumes = paths.into_iter().map(|path| {
            let opened = number_of(&path).and_then(|number| SealedVolume::open(&path, number));
            match opened {
                Ok(volume) => Ok((path, volume)),
                Err(error) => Err(ExportError::Volume { path, error }),
            }
        });
        Ok(Export { volumes: volumes.collect::<Result<_, _>>()? })
    }

    /// Hands every record behind the tree of `size` records with this `root` to `each`, in order, as far
    /// as the volumes go without a gap. Every volume that is used is read whole and checked first.
    ///
    /// # Errors
    /// [`ExportError`]; records may have been handed on by then.
    pub fn records_behind<E: std::error::Error + 'static>(
        &self,
        size: u64,
        root: Hash,
        mut each: impl FnMut(Position, &[u8]) -> Result<(), E>,
    ) -> Result<Reached, ExportError<E>> {
        let (mut size, mut root) = (size, root);
        let mut reached = None;
        while let Some((path, volume)) = self.covering(size + 1) {
            let of_file = |error| ExportError::Volume { path: path.to_owned(), error };
            check_file(path, volume.sealed().number).map_err(of_file)?;
            let position = read_behind(volume, size, root, &mut each, &of_file)?;
            (size, root) = (position.get(), volume.sealed().root);
            reached = Some(Reached { position, root });
        }
        let next = Position::new(size + 1).unwrap_or(Position::FIRST);
        reached.ok_or(ExportError::NothingBehind(next))
    }

    /// The volume that holds `position` and goes furthest.
    fn covering(&self, position: u64) -> Option<(&Path, &SealedVolume)> {
        let holds = |volume: &SealedVolume| {
            let sealed = volume.sealed();
            (sealed.first.get()..=sealed.last.get()).contains(&position)
        };
        let found = self.volumes.iter().filter(|(_, volume)| holds(volume));
        let furthest = found.max_by_key(|(_, volume)| volume.sealed().last);
        furthest.map(|(path, volume)| (path.as_path(), volume))
    }
}

/// Hands on the records of one volume behind the first `size`, whose tree must have that root.
fn read_behind<E: std::error::Error + 'static>(
    volume: &SealedVolume,
    size: u64,
    root: Hash,
    each: &mut impl FnMut(Position, &[u8]) -> Result<(), E>,
    of_file: &impl Fn(LedgerError) -> ExportError<E>,
) -> Result<Position, ExportError<E>> {
    let mut tree = volume.before().clone();
    let mut frames = volume.frames_from(volume.sealed().first).map_err(of_file)?;
    while let Some(frame) = frames.read_next().map_err(of_file)? {
        for (position, record) in frame.records() {
            if tree.size() == size && tree.root() != root {
                return Err(ExportError::OtherLog(size));
            }
            if position.get() > size {
                each(position, record)
                    .map_err(|reason| ExportError::Refused { position, reason })?;
            }
            tree.push(leaf_hash(record));
        }
    }
    Ok(volume.sealed().last)
}

/// The number that the header of the file names; the whole header is checked when it is opened.
fn number_of(path: &Path) -> Result<u64, LedgerError> {
    let failed = |error: std::io::Error| io_failed("reading", &error);
    let file = open_regular(path).map_err(failed)?;
    let mut number = [0; 8];
    match file.read_exact_at(&mut number, 8) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(LedgerError::DamagedVolume { number: 0, part: "its header or footer" })
        }
        read => read.map(|()| u64::from_be_bytes(number)).map_err(failed),
    }
}
