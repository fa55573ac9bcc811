//! Reading all tiles from the disk for damage, which else shows only when a proof needs them.

use std::ops::ControlFlow;

use super::{TileError, Tiles, View};
use crate::ledger::engine::LedgerReader;
use crate::merkle::tile::{TILE_BYTES, TileId};

/// Who looks on while tiles are examined.
pub trait Watch {
    /// So many bytes have been read. May wait, and may end the examination.
    fn read(&mut self, bytes: u64) -> ControlFlow<()>;

    /// The file of a tile is missing, torn or altered; whether the tile could be made again.
    fn damaged(&mut self, id: TileId, made_again: Result<(), TileError>);
}

impl Tiles {
    /// About how many bytes an examination reads.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let edge = self.edge.load();
        (0..edge.levels()).map(|level| edge.whole_tiles(level) * TILE_BYTES as u64).sum()
    }

    /// Reads every whole tile there is when it begins, holds it to the root over it, and makes it again if it is
    /// another: the highest first, so that each is held to one that was. Breaks if `watch` did.
    pub fn examine(&self, log: &dyn LedgerReader, watch: &mut dyn Watch) -> ControlFlow<()> {
        let view = View { tiles: self, edge: self.edge.load_full(), log };
        for level in (0..view.edge.levels()).rev() {
            for index in 0..view.edge.whole_tiles(level) {
                watch.read(TILE_BYTES as u64)?;
                let id = TileId { level, index };
                // Without the tile above, which has been told, there is nothing to hold this one to.
                let Ok(root) = view.root_over(id) else { continue };
                if self.files.read_from_disk(id).is_none_or(|tile| tile.root() != root) {
                    // What is in memory is right; what is on disk is to be so again.
                    self.kept.remove(&id);
                    watch.damaged(id, view.mend(id, root).map(drop));
                }
            }
        }
        ControlFlow::Continue(())
    }
}
