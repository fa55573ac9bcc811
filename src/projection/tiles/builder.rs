//! Making tiles: from what is on disk as far as it is of this log, then along the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{TileError, Tiles, leaves_behind};
use crate::domain::ids::Position;
use crate::ledger::engine::{LedgerError, LedgerReader};
use crate::ledger::frame::Frame;
use crate::merkle::Hash;
use crate::merkle::tile::{Edge, TILE_HASHES, Tile, TileId};

/// After how many frames what has been made is shown, while there are more to read.
const FRAMES_AT_ONCE: u32 = 64;

/// Makes the tiles of one log. There is one for each [`Tiles`].
#[derive(Debug)]
pub struct TileBuilder {
    tiles: Arc<Tiles>,
    edge: Edge,
}

impl TileBuilder {
    /// Begins with the tiles that are on disk, as far as they make the tree that the log has there.
    ///
    /// # Errors
    /// [`TileError`] if the log cannot be read.
    pub fn begin(tiles: &Arc<Tiles>, log: &dyn LedgerReader) -> Result<Self, TileError> {
        let mut whole = tiles.files.count_lowest();
        let mut step = TILE_HASHES as u64;
        // What a loss of power left is at the end: of so much more each time the end is done without.
        let edge = loop {
            let Some(last) = Position::new(whole * TILE_HASHES as u64) else {
                break Edge::default();
            };
            let edge = tiles.edge_over(whole);
            if let Some(edge) = edge
                && let Some(frame) = log.frame_at(last)?
                && is_of(&edge, &frame)
            {
                break edge;
            }
            tracing::warn!(tiles = whole, "hash tiles are missing, damaged or of another log");
            whole = (whole - 1) / step * step;
            step = step.saturating_mul(2);
        };
        let builder = TileBuilder { tiles: Arc::clone(tiles), edge };
        builder.show();
        Ok(builder)
    }

    /// Goes on to the last durable record, and shows each tree it makes on the way. Every frame is held to
    /// the root it has.
    ///
    /// # Errors
    /// [`TileError`]: what was made before is shown; who is to go on begins anew.
    pub fn follow(
        &mut self,
        log: &dyn LedgerReader,
        stop: &AtomicBool,
        mut shown: impl FnMut(u64),
    ) -> Result<(), TileError> {
        let Some(next) = Position::new(self.edge.size() + 1) else { return Ok(()) };
        let mut frames = 0;
        for frame in log.frames_from(next) {
            if stop.load(Ordering::Relaxed) {
                return Err(TileError::Stopped);
            }
            self.add(&frame?)?;
            frames += 1;
            if frames % FRAMES_AT_ONCE == 0 {
                shown(self.show());
            }
        }
        if frames % FRAMES_AT_ONCE != 0 {
            shown(self.show());
        }
        Ok(())
    }

    fn add(&mut self, frame: &Frame) -> Result<(), TileError> {
        for leaf in leaves_behind(self.edge.size(), frame) {
            for (id, tile) in self.edge.push(leaf) {
                self.tiles.files.write(id, &tile).map_err(TileError::Unwritable)?;
            }
        }
        if self.edge.frontier().root() == frame.root() {
            return Ok(());
        }
        Err(LedgerError::OtherTree { first: frame.first(), last: frame.last() }.into())
    }

    /// Shows the tree, unless who began anew after an error has shown more of it already.
    fn show(&self) -> u64 {
        if self.edge.size() > self.tiles.size() {
            self.tiles.edge.store(Arc::new(self.edge.clone()));
        }
        self.tiles.size()
    }
}

impl Tiles {
    /// The edge of the tree over the first `whole` tiles of the lowest level, by what is on disk; none if
    /// something is missing there.
    fn edge_over(&self, whole: u64) -> Option<Edge> {
        let mut partial = vec![Vec::new()];
        let mut tiles = whole;
        for level in 0.. {
            if tiles == 0 {
                break;
            }
            let first = tiles / TILE_HASHES as u64 * TILE_HASHES as u64;
            let roots = (first..tiles).map(|index| self.root_on_disk(TileId { level, index }));
            partial.push(roots.collect::<Option<_>>()?);
            tiles /= TILE_HASHES as u64;
        }
        Edge::of(partial)
    }

    /// The root over a tile by its file, or by those of the tiles below it.
    fn root_on_disk(&self, id: TileId) -> Option<Hash> {
        if let Some(tile) = self.files.read(id) {
            return Some(tile.root());
        }
        let level = id.level.checked_sub(1)?;
        let first = id.index * TILE_HASHES as u64;
        let below = (first..first + TILE_HASHES as u64)
            .map(|index| self.root_on_disk(TileId { level, index }));
        Some(Tile::of(&below.collect::<Option<Vec<_>>>()?)?.root())
    }
}

/// Whether the tree with this edge, and behind it the last records of the frame, is the one the frame says.
fn is_of(edge: &Edge, frame: &Frame) -> bool {
    let mut tree = edge.frontier().clone();
    leaves_behind(edge.size(), frame).for_each(|leaf| tree.push(leaf));
    tree.root() == frame.root()
}
