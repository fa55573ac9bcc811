//! The files of whole tiles.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Fault;
use crate::durable_file::{
    Cause, create_private_dir, forget_cached, open_regular, read_bounded, unfinished_name,
};
use crate::merkle::tile::{TILE_BYTES, Tile, TileId};

/// The directory of the files.
#[derive(Debug)]
pub(super) struct TileFiles {
    dir: PathBuf,
}

impl TileFiles {
    pub(super) fn new(dir: &Path) -> Self {
        TileFiles { dir: dir.to_owned() }
    }

    /// The tile as it is on disk, whatever it holds; none if there is no file as long as a tile.
    pub(super) fn read(&self, id: TileId) -> Option<Tile> {
        let bytes = read_bounded(&self.path(id), TILE_BYTES as u64);
        Tile::from_bytes(&bytes.ok().flatten()?)
    }

    /// What is wrong with the file of a tile that is this one.
    pub(super) fn fault(&self, id: TileId, tile: &Tile) -> Option<Fault> {
        match read_bounded(&self.path(id), TILE_BYTES as u64) {
            Ok(Some(bytes)) if bytes == tile.to_bytes() => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Fault::Missing),
            _ => Some(Fault::Altered),
        }
    }

    /// As [`TileFiles::read`], from the disk.
    pub(super) fn read_from_disk(&self, id: TileId) -> Option<Tile> {
        let file = open_regular(&self.path(id)).ok()?;
        forget_cached(&file).ok()?;
        self.read(id)
    }

    /// Whether there is a file of the tile as long as one.
    pub(super) fn has(&self, id: TileId) -> bool {
        let about = fs::metadata(self.path(id));
        about.is_ok_and(|about| about.is_file() && about.len() == TILE_BYTES as u64)
    }

    /// Writes the tile, in place of what is there. Nothing is synced: what a loss of power leaves of it is
    /// found when it is read.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn write(&self, id: TileId, tile: &Tile) -> Result<(), Cause> {
        let path = self.path(id);
        let unfinished = unfinished_name(&path);
        let bytes = tile.to_bytes();
        let written = fs::write(&unfinished, &bytes).or_else(|_| {
            if let Some(room) = path.parent() {
                create_private_dir(room)?;
            }
            fs::write(&unfinished, &bytes)
        });
        written.and_then(|()| fs::rename(&unfinished, &path)).map_err(|error| Cause::from(&error))
    }

    /// How many tiles of the lowest level are there without a gap: of those, the first so many.
    pub(super) fn count_lowest(&self) -> u64 {
        let has = |index| self.has(TileId { level: 0, index });
        let (mut there, mut end) = (0, 1);
        while has(end - 1) {
            (there, end) = (end, end.saturating_mul(2));
        }
        // Between these, a tile is there and one behind it is not.
        while there + 1 < end {
            let middle = there + (end - there) / 2;
            if has(middle - 1) {
                there = middle;
            } else {
                end = middle;
            }
        }
        there
    }

    fn path(&self, id: TileId) -> PathBuf {
        self.dir.join(id.to_string())
    }
}
