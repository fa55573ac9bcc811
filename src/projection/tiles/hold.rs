//! Holding the tiles on disk to the records themselves, read from the first on: offline.

use std::path::Path;

use super::files::TileFiles;
use super::{TileError, leaves_behind};
use crate::domain::ids::Position;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::merkle::tile::{Edge, Tile, TileId};

/// What is wrong with the file of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is none.
    Missing,
    /// It is not what the records give.
    Altered,
}

/// The tiles on disk beside the log that is read.
#[derive(Debug)]
pub struct HeldTiles {
    files: TileFiles,
    edge: Edge,
}

impl HeldTiles {
    /// Holds the tiles in the directory `dir`. No record has been read yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        HeldTiles { files: TileFiles::new(dir), edge: Edge::default() }
    }

    /// How many records have been read.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Whether a frame begins right behind what has been read, as those that are taken MUST.
    #[must_use]
    pub fn goes_on_with(&self, frame: &Frame) -> bool {
        frame.first().get() == self.size() + 1
    }

    /// Reads the next frame. Answers the tiles that it completes, the lowest of each place first, and what is wrong
    /// with their files, if anything is.
    pub fn take(&mut self, frame: &Frame) -> Vec<(TileId, Tile, Option<Fault>)> {
        let mut held = Vec::new();
        for leaf in leaves_behind(self.edge.size(), frame) {
            for (id, tile) in self.edge.push(leaf) {
                let fault = self.files.fault(id, &tile);
                held.push((id, tile, fault));
            }
        }
        held
    }
}

/// What a rebuild of the tiles found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many whole tiles there are.
    pub tiles: u64,
    /// How many of them were missing or not what the log gives, and are made anew.
    pub made: u64,
}

/// Makes the tiles in the directory `dir` what the log gives, from its first record on. `reached` is told the
/// position.
///
/// # Errors
/// [`TileError`] if the log cannot be read, is not what its tree says, or a tile cannot be written.
pub fn rebuild(
    dir: &Path,
    log: &dyn LedgerReader,
    reached: &mut dyn FnMut(u64),
) -> Result<Rebuilt, TileError> {
    let mut held = HeldTiles::new(dir);
    let mut rebuilt = Rebuilt { tiles: 0, made: 0 };
    for frame in log.frames_from(Position::FIRST) {
        let frame = frame?;
        let completed = held.take(&frame);
        if held.edge.frontier().root() != frame.root() {
            let (first, last) = (frame.first(), frame.last());
            return Err(LedgerError::OtherTree { first, last }.into());
        }
        for (id, tile, fault) in completed {
            rebuilt.tiles += 1;
            if fault.is_some() {
                held.files.write(id, &tile).map_err(TileError::Unwritable)?;
                rebuilt.made += 1;
            }
        }
        reached(held.size());
    }
    Ok(rebuilt)
}
