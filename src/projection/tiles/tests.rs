//! Tiles against the tree itself, whatever lies on disk.

mod examine;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::ledger::frame::{Frame, FrameBuilder};
use crate::ledger::testing::FrameLog;
use crate::merkle::Frontier;
use crate::merkle::proof::{verify_consistency, verify_inclusion};
use crate::merkle::tile::TILE_BYTES;
use std::sync::atomic::AtomicBool;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Frames of so many records each; what they hold depends on `salt`.
fn log_of(salt: u64, frames: impl IntoIterator<Item = u64>) -> FrameLog {
    let mut tree = Frontier::new();
    let frame = |records: u64| {
        let first = tree.size() + 1;
        let mut builder = FrameBuilder::new(&tree, Position::new(first).unwrap());
        (first..first + records).for_each(|at| builder.push(&record(salt, at)));
        let frame = builder.finish();
        tree = frame.frontier().clone();
        Ok(frame)
    };
    FrameLog(frames.into_iter().map(frame).collect())
}

fn record(salt: u64, position: u64) -> Vec<u8> {
    [salt.to_be_bytes(), position.to_be_bytes()].concat()
}

/// A log of 70,000 records: 273 whole tiles at the lowest level, one above.
fn long_log() -> FrameLog {
    log_of(1, [700; 100])
}

/// The root of the tree of so many leaves.
fn root_of(log: &FrameLog, size: u64) -> Hash {
    let mut tree = Frontier::new();
    let records = log.0.iter().flatten().flat_map(Frame::records);
    records.take(usize::try_from(size).unwrap()).for_each(|(_, bytes)| tree.push(leaf_hash(bytes)));
    tree.root()
}

fn at(position: u64) -> Position {
    Position::new(position).unwrap()
}

struct Place {
    dir: TempDir,
    tiles: Arc<Tiles>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tiles = Arc::new(Tiles::new(&dir.path().join("tiles")));
        Place { dir, tiles }
    }

    /// The same directory, with nothing of it in memory.
    fn again(self) -> Self {
        let tiles = Arc::new(Tiles::new(&self.dir.path().join("tiles")));
        Place { tiles, ..self }
    }

    fn follow(&self, log: &FrameLog) -> Result<(), TileError> {
        TileBuilder::begin(&self.tiles, log)?.follow(log, &GO_ON, |_| {})
    }

    fn file(&self, level: u8, index: u64) -> PathBuf {
        self.dir.path().join("tiles").join(TileId { level, index }.to_string())
    }

    /// Holds proofs about the tree of `size` leaves to its root; `log` is what tiles are mended from.
    fn proves(&self, log: &dyn LedgerReader, size: u64, root: &Hash, leaves: &[u64]) {
        for position in leaves.iter().copied().filter(|position| *position <= size) {
            let proof = self.tiles.inclusion(log, at(position), size).unwrap();
            let leaf = leaf_hash(&record(1, position));
            verify_inclusion(&leaf, position - 1, size, &proof, root).unwrap();
        }
    }
}

/// A log that nobody may read.
struct Closed;

impl LedgerReader for Closed {
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        Err(LedgerError::Unreadable { position })
    }

    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
        Box::new(std::iter::once(Err(LedgerError::Unreadable { position })))
    }
}

const LEAVES: [u64; 9] = [1, 255, 256, 257, 300, 65_536, 65_537, 69_888, 70_000];

#[test]
fn proofs_need_no_log_once_the_tiles_are_made() {
    let (place, log) = (Place::new(), long_log());
    place.follow(&log).unwrap();
    let sizes = [1, 256, 511, 65_536, 65_537, 69_889, 70_000];
    for size in sizes {
        place.proves(&Closed, size, &root_of(&log, size), &LEAVES);
    }
    for from in sizes {
        let root = root_of(&log, 70_000);
        let proof = place.tiles.consistency(&Closed, at(from), 70_000).unwrap();
        verify_consistency((from, &root_of(&log, from)), (70_000, &root), &proof).unwrap();
    }
    let beyond = place.tiles.inclusion(&Closed, at(1), 70_001);
    assert_eq!(beyond, Err(TileError::Behind { made: 70_000 }));
}

#[test]
fn a_start_goes_on_where_the_tiles_end() {
    let (place, log) = (Place::new(), long_log());
    place.follow(&FrameLog(log.0[..60].to_vec())).unwrap();
    let place = place.again();
    let builder = TileBuilder::begin(&place.tiles, &log).unwrap();
    assert_eq!(place.tiles.size(), 60 * 700 / 256 * 256);
    drop(builder);
    place.follow(&log).unwrap();
    place.proves(&Closed, 70_000, &root_of(&log, 70_000), &LEAVES);
}

type Damage = fn(&PathBuf);

/// What can have become of a file.
fn damages() -> [(&'static str, Damage); 5] {
    [
        ("altered", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[TILE_BYTES / 3] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("torn", |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(TILE_BYTES as u64 / 2).unwrap();
        }),
        ("empty", |path| fs::write(path, b"").unwrap()),
        ("zeros", |path| fs::write(path, [0; TILE_BYTES]).unwrap()),
    ]
}

#[test]
fn a_damaged_tile_is_found_and_made_again() {
    let (mut place, log) = (Place::new(), long_log());
    place.follow(&log).unwrap();
    let root = root_of(&log, 70_000);
    // One of each kind of place, in each way; several at once, in the ways that differ most.
    let all: &[(&[(u8, u64)], usize)] =
        &[(&[(0, 255)], 1), (&[(0, 272)], 5), (&[(1, 0)], 2), (&[(0, 1), (0, 270), (1, 0)], 2)];
    for (ids, ways) in all {
        for (how, damage) in damages().into_iter().take(*ways) {
            let files: Vec<_> =
                ids.iter().map(|(level, index)| place.file(*level, *index)).collect();
            let before: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
            files.iter().for_each(damage);
            // Without a restart, and then, damaged once more, with one.
            place.tiles.kept.clear();
            place.proves(&log, 70_000, &root, &LEAVES);
            files.iter().filter(|file| file.exists()).for_each(damage);
            place = place.again();
            place.follow(&log).unwrap();
            place.proves(&log, 70_000, &root, &[&LEAVES[..], &[258, 69_300, 69_800]].concat());
            let after: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
            assert!(before == after, "{ids:?} {how}");
        }
    }
}

#[test]
fn without_its_directory_everything_is_made_again() {
    let (place, log) = (Place::new(), long_log());
    place.follow(&log).unwrap();
    fs::remove_dir_all(place.dir.path().join("tiles")).unwrap();
    let place = place.again();
    place.follow(&log).unwrap();
    place.proves(&Closed, 70_000, &root_of(&log, 70_000), &LEAVES);
}

#[test]
fn tiles_of_another_or_a_longer_log_are_replaced() {
    let (place, log) = (Place::new(), long_log());
    place.follow(&log_of(2, [700; 100])).unwrap();
    let place = place.again();
    place.follow(&log).unwrap();
    place.proves(&log, 70_000, &root_of(&log, 70_000), &LEAVES);
    let place = place.again();
    let short = FrameLog(log.0[..3].to_vec());
    place.follow(&short).unwrap();
    assert_eq!(place.tiles.size(), 2100);
    place.proves(&Closed, 2100, &root_of(&log, 2100), &LEAVES);
}

#[test]
fn a_frame_that_is_not_of_the_tree_ends_the_making_before_it() {
    let (place, mut log) = (Place::new(), log_of(1, [300; 4]));
    log.0[2] = log_of(2, [300; 3]).0.pop().unwrap();
    let other = LedgerError::OtherTree { first: at(601), last: at(900) };
    assert_eq!(place.follow(&log), Err(TileError::Ledger(other)));
    // What was read of it is shown to nobody.
    assert!(place.tiles.size() <= 600);
    log.0[2] = log_of(1, [300; 3]).0.pop().unwrap();
    place.follow(&log).unwrap();
    place.proves(&Closed, 1200, &root_of(&log, 1200), &[1, 700, 900]);
}

#[test]
fn a_tile_that_the_log_cannot_make_is_not_proved_from() {
    let (place, log) = (Place::new(), long_log());
    place.follow(&log).unwrap();
    fs::remove_file(place.file(0, 3)).unwrap();
    let unreadable = place.tiles.inclusion(&Closed, at(769), 70_000);
    assert_eq!(unreadable, Err(LedgerError::Unreadable { position: at(769) }.into()));
    let other = place.tiles.inclusion(&log_of(2, [700; 100]), at(769), 70_000);
    let expected = LedgerError::OtherTree { first: at(769), last: at(1024) };
    assert_eq!(other, Err(expected.into()));
}

#[test]
fn a_directory_that_cannot_be_written_ends_the_making_and_it_goes_on_later() {
    let (place, log) = (Place::new(), log_of(1, [200; 3]));
    let dir = place.dir.path().join("tiles");
    fs::write(&dir, b"in the way").unwrap();
    assert!(matches!(place.follow(&log), Err(TileError::Unwritable(_))));
    fs::remove_file(&dir).unwrap();
    place.follow(&log).unwrap();
    place.proves(&Closed, 600, &root_of(&log, 600), &[1, 300, 600]);
}

#[test]
fn a_builder_stops_when_it_is_told() {
    let (place, log) = (Place::new(), log_of(1, [1; 10]));
    let mut builder = TileBuilder::begin(&place.tiles, &log).unwrap();
    let stopped = builder.follow(&log, &AtomicBool::new(true), |_| {});
    assert_eq!(stopped, Err(TileError::Stopped));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn proofs_hold_at_any_size_after_restarts_anywhere(
        frames in prop::collection::vec(1_u64..200, 1..30),
        stops in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        picks in prop::collection::vec((any::<u64>(), any::<u64>()), 8),
    ) {
        let log = log_of(1, frames);
        let mut ends: Vec<_> = stops.iter().map(|stop| stop.index(log.0.len())).collect();
        ends.sort_unstable();
        let mut place = Place::new();
        for end in ends {
            place.follow(&FrameLog(log.0[..end].to_vec())).unwrap();
            place = place.again();
        }
        place.follow(&log).unwrap();
        let total = place.tiles.size();
        for (one, other) in picks {
            let size = one % total + 1;
            let position = other % size + 1;
            let root = root_of(&log, size);
            place.proves(&Closed, size, &root, &[position]);
            let proof = place.tiles.consistency(&Closed, at(position), size).unwrap();
            let old = root_of(&log, position);
            prop_assert!(verify_consistency((position, &old), (size, &root), &proof).is_ok());
        }
    }
}
