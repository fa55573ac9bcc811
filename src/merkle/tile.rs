//! Hash tiles, as C2SP tlog-tiles has them: <https://c2sp.org/tlog-tiles>.
//!
//! Tile n of level l is 256 hashes: of i from 0 to 255, the root over the 256^l leaves from
//! (n · 256 + i) · 256^l on. At level 0 these are leaves; above it, each is the root over a whole tile of
//! the level below. At the right edge of a tree tiles are partial; nothing above is made of them.

#[cfg(test)]
#[path = "tile_tests.rs"]
mod tests;

use std::fmt;

use crate::merkle::{Frontier, HASH_BYTES, Hash, node_hash};

/// Levels of nodes that one level of tiles spans.
const HEIGHT: u32 = 8;

/// Hashes of a whole tile.
pub const TILE_HASHES: usize = 1 << HEIGHT;

/// Bytes of a whole tile.
pub const TILE_BYTES: usize = TILE_HASHES * HASH_BYTES;

/// Which tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// The level, from 0.
    pub level: u8,
    /// Its place in the level, from 0.
    pub index: u64,
}

impl TileId {
    /// The tile that holds the root over this one, and the place of that root there.
    #[must_use]
    pub fn parent(self) -> (TileId, usize) {
        let place = usize::from(self.index.to_le_bytes()[0]);
        (TileId { level: self.level + 1, index: self.index >> HEIGHT }, place)
    }
}

impl fmt::Display for TileId {
    /// The path in the form of tlog-tiles: the level, then the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.level, PlacePath(self.index))
    }
}

/// A place, from 0, as tlog-tiles writes it in paths: groups of three digits, all but the last behind an `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacePath(pub u64);

impl fmt::Display for PlacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let groups = digits.len().div_ceil(3);
        let digits = format!("{digits:0>width$}", width = groups * 3);
        for group in 0..groups {
            let (before, mark) =
                (if group > 0 { "/" } else { "" }, if group + 1 < groups { "x" } else { "" });
            write!(f, "{before}{mark}{}", &digits[3 * group..3 * group + 3])?;
        }
        Ok(())
    }
}

/// Where a node is: in which tile, how high above its hashes, and at which place of that height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePlace {
    /// The tile.
    pub tile: TileId,
    /// How high above the tile's hashes: less than 8.
    pub height: u32,
    /// The place among the nodes of that height in the tile.
    pub place: usize,
}

impl NodePlace {
    /// The place of node `index` of level `level`.
    #[must_use]
    pub fn of(level: u32, index: u64) -> Self {
        let height = level % HEIGHT;
        let span = HEIGHT - height;
        let within = index & ((1 << span) - 1);
        NodePlace {
            tile: TileId {
                level: u8::try_from(level / HEIGHT).expect("a tree has at most 63 levels"),
                index: index >> span,
            },
            height,
            place: usize::try_from(within).expect("less than 256"),
        }
    }
}

/// A whole tile and the nodes above its hashes.
#[derive(Clone)]
pub struct Tile {
    /// The hashes, then half as many nodes over two of them each, and so on; the root of all is last.
    nodes: Vec<Hash>,
}

impl fmt::Debug for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tile").field("root", &self.root()).finish_non_exhaustive()
    }
}

impl Tile {
    /// The tile of these hashes; none unless there are 256.
    #[must_use]
    pub fn of(hashes: &[Hash]) -> Option<Self> {
        if hashes.len() != TILE_HASHES {
            return None;
        }
        let mut nodes = Vec::with_capacity(2 * TILE_HASHES);
        nodes.extend_from_slice(hashes);
        let mut next = 0;
        while next + 1 < nodes.len() {
            nodes.push(node_hash(&nodes[next], &nodes[next + 1]));
            next += 2;
        }
        Some(Tile { nodes })
    }

    /// The tile of these bytes; none unless they are as long as a whole one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        let hashes: Vec<Hash> = hashes.iter().map(|bytes| Hash(*bytes)).collect();
        if rest.is_empty() { Tile::of(&hashes) } else { None }
    }

    /// The tile's bytes: its hashes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.nodes[..TILE_HASHES].iter().flat_map(|hash| hash.0).collect()
    }

    /// The node at `place` of the nodes `height` above the hashes, which MUST be one of a tile.
    #[must_use]
    pub fn node(&self, height: u32, place: usize) -> Hash {
        let before = 2 * TILE_HASHES - ((2 * TILE_HASHES) >> height);
        self.nodes[before + place]
    }

    /// The root over the tile.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.node(HEIGHT, 0)
    }
}

/// The right edge of a tree: the partial tile of each level, and the frontier.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    frontier: Frontier,
    /// The hashes of the partial tile of each level, 255 at most.
    partial: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge with these partial tiles, that of level 0 first; none if one of them is not partial or the
    /// tree would be too large.
    #[must_use]
    pub fn of(partial: Vec<Vec<Hash>>) -> Option<Self> {
        let (mut size, mut peaks) = (0_u64, Vec::new());
        for hashes in partial.iter().rev() {
            if hashes.len() >= TILE_HASHES {
                return None;
            }
            size = size.checked_mul(TILE_HASHES as u64)? + hashes.len() as u64;
            let mut rest = hashes.as_slice();
            while let Some(height) = rest.len().checked_ilog2() {
                let (peak, behind) = rest.split_at(1 << height);
                peaks.push(root_of(peak));
                rest = behind;
            }
        }
        Some(Edge { frontier: Frontier::from_parts(size, peaks)?, partial })
    }

    /// Adds a leaf. Answers the tiles that it completes, the lowest first.
    pub fn push(&mut self, leaf: Hash) -> Vec<(TileId, Tile)> {
        let mut completed = Vec::new();
        let size = self.frontier.size();
        self.frontier.push(leaf);
        let mut hash = leaf;
        for level in 0.. {
            if self.partial.len() == level {
                self.partial.push(Vec::new());
            }
            self.partial[level].push(hash);
            let Some(tile) = Tile::of(&self.partial[level]) else { break };
            self.partial[level].clear();
            hash = tile.root();
            let level = u8::try_from(level).expect("a tree has at most 8 levels of tiles");
            completed
                .push((TileId { level, index: size >> (HEIGHT * u32::from(level + 1)) }, tile));
        }
        completed
    }

    /// The tree's frontier.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// How many levels of tiles there are, those with a partial tile alone included.
    #[must_use]
    pub fn levels(&self) -> u8 {
        u8::try_from(self.partial.len()).expect("a tree has at most 8 levels of tiles")
    }

    /// How many tiles of `level` are whole.
    #[must_use]
    pub fn whole_tiles(&self, level: u8) -> u64 {
        self.size().checked_shr(HEIGHT * (u32::from(level) + 1)).unwrap_or(0)
    }

    /// The hashes of each partial tile, that of the lowest level first.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (TileId, &[Hash])> {
        let levels = self.partial.iter().zip(0_u8..);
        levels.filter(|(hashes, _)| !hashes.is_empty()).map(|(hashes, level)| {
            (TileId { level, index: self.whole_tiles(level) }, hashes.as_slice())
        })
    }

    /// The node at `place`, if it is in the partial tile of its level.
    #[must_use]
    pub fn node(&self, place: NodePlace) -> Option<Hash> {
        let NodePlace { tile, height, place } = place;
        if tile.index != self.whole_tiles(tile.level) {
            return None;
        }
        let hashes = self.partial.get(usize::from(tile.level))?;
        Some(root_of(hashes.get(place << height..(place + 1) << height)?))
    }
}

/// The root over hashes whose number MUST be a power of two.
fn root_of(hashes: &[Hash]) -> Hash {
    match hashes {
        [one] => *one,
        hashes => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}
