//! The hash tiles of the tree over all records, from which proofs are made without reading the log.
//!
//! A whole tile is a file, written once: `tiles/<level>/<place>`, in the layout and under the names of C2SP
//! tlog-tiles (see [`crate::merkle::tile`]). The partial tiles at the right edge are in memory. All of it is
//! derived from the log: it is not synced, may be thrown away at any time, and is held to the tree whenever it
//! is read. The root over a whole tile stands in the tile above it, or at the edge, and the edge is held to the
//! roots of the frames; so a tile that is missing, torn or altered is found, and made again from what is below it.

mod builder;
mod examine;
mod files;
mod hold;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use thiserror::Error;

use crate::domain::ids::Position;
use crate::durable_file::Cause;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::merkle::proof::{consistency_proof, inclusion_proof};
use crate::merkle::tile::{Edge, NodePlace, TILE_HASHES, Tile, TileId};
use crate::merkle::{Hash, leaf_hash};

pub use builder::TileBuilder;
pub use examine::Watch;
use files::TileFiles;
pub use hold::{Fault, HeldTiles, Rebuilt, rebuild};

/// Whole tiles that are kept in memory, 16 KiB each: all that are above the lowest level of a log of thirty
/// million records.
const TILES_KEPT: usize = 512;

/// Why tiles cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TileError {
    /// The log cannot be read, or is not what its tree says.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file of a tile cannot be written.
    #[error("a hash tile cannot be written: {0}")]
    Unwritable(Cause),
    /// The builder was told to stop.
    #[error("the making of hash tiles was stopped")]
    Stopped,
    /// The tree has not as many leaves yet.
    #[error("hash tiles are made up to position {made}")]
    Behind {
        /// How many it has.
        made: u64,
    },
}

/// The tiles of one log, as whoever makes proofs sees them.
#[derive(Debug)]
pub struct Tiles {
    files: TileFiles,
    edge: ArcSwap<Edge>,
    kept: Cache<TileId, Arc<Tile>>,
    /// Held while a tile is made again, so that it is made once.
    mending: Mutex<()>,
}

impl Tiles {
    /// The tiles in the directory `dir`, of a tree that is yet to be read: it has no leaf.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Tiles {
            files: TileFiles::new(dir),
            edge: ArcSwap::default(),
            kept: Cache::new(TILES_KEPT),
            mending: Mutex::default(),
        }
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.load().size()
    }

    /// Proves that the record at `position` is in the tree of `size` leaves. The position MUST be within it.
    ///
    /// # Errors
    /// [`TileError`] if the tree is not made so far; if a tile has to be made again and the log cannot be read
    /// for it.
    pub fn inclusion(
        &self,
        log: &dyn LedgerReader,
        position: Position,
        size: u64,
    ) -> Result<Vec<Hash>, TileError> {
        let view = self.view(log, size)?;
        inclusion_proof(|level, index| view.node(level, index), position.get() - 1, size)
    }

    /// Proves that the tree up to `from` is the beginning of the one of `to` leaves, which MUST have as many.
    ///
    /// # Errors
    /// As [`Tiles::inclusion`].
    pub fn consistency(
        &self,
        log: &dyn LedgerReader,
        from: Position,
        to: u64,
    ) -> Result<Vec<Hash>, TileError> {
        let view = self.view(log, to)?;
        consistency_proof(|level, index| view.node(level, index), from.get(), to)
    }

    fn view<'a>(&'a self, log: &'a dyn LedgerReader, size: u64) -> Result<View<'a>, TileError> {
        let edge = self.edge.load_full();
        if size > edge.size() {
            return Err(TileError::Behind { made: edge.size() });
        }
        Ok(View { tiles: self, edge, log })
    }
}

/// The tree at one size. A node of it is in a partial tile of the edge, or in a whole one.
struct View<'a> {
    tiles: &'a Tiles,
    edge: Arc<Edge>,
    log: &'a dyn LedgerReader,
}

impl View<'_> {
    fn node(&self, level: u32, index: u64) -> Result<Hash, TileError> {
        let place = NodePlace::of(level, index);
        match self.edge.node(place) {
            Some(hash) => Ok(hash),
            None => Ok(self.tile(place.tile)?.node(place.height, place.place)),
        }
    }

    /// A whole tile, held to the root over it.
    fn tile(&self, id: TileId) -> Result<Arc<Tile>, TileError> {
        if let Some(kept) = self.tiles.kept.get(&id) {
            return Ok(kept);
        }
        let root = self.root_over(id)?;
        let tile = match self.tiles.files.read(id).filter(|tile| tile.root() == root) {
            Some(tile) => Arc::new(tile),
            None => return self.mend(id, root),
        };
        self.tiles.kept.insert(id, Arc::clone(&tile));
        Ok(tile)
    }

    /// The root over a whole tile: it stands in the tile above, or at the edge.
    fn root_over(&self, id: TileId) -> Result<Hash, TileError> {
        let (tile, place) = id.parent();
        match self.edge.node(NodePlace { tile, height: 0, place }) {
            Some(root) => Ok(root),
            None => Ok(self.tile(tile)?.node(0, place)),
        }
    }

    /// Makes a tile again: from the tiles below it, and if these are not what they were, from what is below
    /// them, down to the log.
    fn mend(&self, id: TileId, root: Hash) -> Result<Arc<Tile>, TileError> {
        let _alone = self.tiles.mending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mended) = self.tiles.kept.get(&id) {
            return Ok(mended);
        }
        tracing::warn!(tile = %id, "a hash tile is missing or damaged and is made again");
        for trusted_below in (0..=id.level).rev() {
            let tile = self.remake(id, trusted_below)?;
            if tile.root() == root {
                if let Err(cause) = self.tiles.files.write(id, &tile) {
                    tracing::warn!(tile = %id, %cause, "a hash tile cannot be written");
                }
                let tile = Arc::new(tile);
                self.tiles.kept.insert(id, Arc::clone(&tile));
                return Ok(tile);
            }
        }
        let (first, last) = positions(id);
        Err(LedgerError::OtherTree { first, last }.into())
    }

    /// The tile that the files of the levels below `trusted_below`, and where they are not there the log, make.
    fn remake(&self, id: TileId, trusted_below: u8) -> Result<Tile, TileError> {
        let Some(level) = id.level.checked_sub(1) else { return self.remake_lowest(id.index) };
        let first = id.index * TILE_HASHES as u64;
        let below = (first..first + TILE_HASHES as u64).map(|index| {
            let child = TileId { level, index };
            let file = if level < trusted_below { self.tiles.files.read(child) } else { None };
            Ok(file.map_or_else(|| self.remake(child, trusted_below), Ok)?.root())
        });
        let hashes = below.collect::<Result<Vec<_>, TileError>>()?;
        Ok(Tile::of(&hashes).expect("there are as many as a tile has"))
    }

    /// The lowest tile `index`, from the records themselves.
    fn remake_lowest(&self, index: u64) -> Result<Tile, TileError> {
        let (first, last) = positions(TileId { level: 0, index });
        let mut hashes = Vec::with_capacity(TILE_HASHES);
        for frame in self.log.frames_from(first) {
            let frame = frame?;
            let of_tile = frame.records().filter(|(at, _)| (first..=last).contains(at));
            hashes.extend(of_tile.map(|(_, record)| leaf_hash(record)));
            if frame.last() >= last {
                break;
            }
        }
        Tile::of(&hashes).ok_or(LedgerError::MissingFrame { position: last }.into())
    }
}

/// The leaves of a frame's records behind the first `size` of the log.
fn leaves_behind(size: u64, frame: &Frame) -> impl Iterator<Item = Hash> {
    let behind = frame.records().filter(move |(at, _)| at.get() > size);
    behind.map(|(_, record)| leaf_hash(record))
}

/// The positions of the first and the last record that a whole tile is over.
fn positions(id: TileId) -> (Position, Position) {
    let leaves = (TILE_HASHES as u64).saturating_pow(u32::from(id.level) + 1);
    let end = id.index.saturating_add(1).saturating_mul(leaves);
    let at = |position| Position::new(position).unwrap_or(Position::FIRST);
    (at(end.saturating_sub(leaves).saturating_add(1)), at(end))
}
