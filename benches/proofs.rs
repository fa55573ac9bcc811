//! Proofs: what the hash tiles cost for each record, and how long a proof takes at a given size.
//!
//!     cargo bench --bench proofs                                    one million records
//!     KEYLEDGER_BENCH_RECORDS=10000000 cargo bench --bench proofs   as many as that
//!
//! The log is made up frame by frame as it is read, so that its size costs no memory; what that takes is
//! measured alone and taken off.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use keyledger::domain::ids::Position;
use keyledger::ledger::engine::{LedgerError, LedgerReader};
use keyledger::ledger::frame::{Frame, FrameBuilder};
use keyledger::merkle::Frontier;
use keyledger::projection::tiles::{TileBuilder, Tiles};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records of a frame, and bytes of a record: those of a KeyUsed are a little more.
const PER_FRAME: u64 = 100;
const RECORD_BYTES: usize = 300;

/// Proofs of each kind that are timed.
const PROOFS: u64 = 20_000;

/// A log that is made as it is read: of each frame, the tree before it is known.
struct MadeUp {
    before: Vec<Frontier>,
}

impl MadeUp {
    fn of(records: u64) -> Self {
        let mut before = vec![Frontier::new()];
        while before.last().expect("one").size() < records {
            let frame = frame(before.last().expect("one"));
            before.push(frame.frontier().clone());
        }
        before.pop();
        MadeUp { before }
    }
}

fn frame(before: &Frontier) -> Frame {
    let first = Position::new(before.size() + 1).expect("at least 1");
    let mut builder = FrameBuilder::new(before, first);
    let mut record = [7; RECORD_BYTES];
    for at in first.get()..first.get() + PER_FRAME {
        record[..8].copy_from_slice(&at.to_be_bytes());
        builder.push(&record);
    }
    builder.finish()
}

impl LedgerReader for MadeUp {
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        let at = usize::try_from((position.get() - 1) / PER_FRAME).expect("small");
        Ok(self.before.get(at).map(frame))
    }

    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
        let at = usize::try_from((position.get() - 1) / PER_FRAME).expect("small");
        Box::new(self.before.iter().skip(at).map(|before| Ok(frame(before))))
    }
}

/// SplitMix64: places that no cache foresees, the same in each run.
struct Places(u64);

impl Places {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn timed(what: &str, mut one: impl FnMut()) {
    let mut took: Vec<Duration> = (0..PROOFS)
        .map(|_| {
            let begun = now();
            one();
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    let of_a_thousand = |n: usize| took[took.len() * n / 1000];
    tell(&format!(
        "{what:<44} p50 {:>9.1?}  p99 {:>9.1?}  p99.9 {:>9.1?}",
        of_a_thousand(500),
        of_a_thousand(990),
        of_a_thousand(999)
    ));
}

#[expect(clippy::print_stdout, reason = "a bench says what it measured")]
fn tell(line: &str) {
    println!("{line}");
}

fn per_record(took: Duration, records: u64) -> f64 {
    took.as_secs_f64() * 1e9 / records as f64
}

fn main() {
    // `cargo test` runs benches too: then it is enough that it works.
    let quick = std::env::args().any(|argument| argument == "--test");
    let asked = std::env::var("KEYLEDGER_BENCH_RECORDS").ok().and_then(|text| text.parse().ok());
    let records: u64 = if quick { 20_000 } else { asked.unwrap_or(1_000_000) };
    let log = MadeUp::of(records);
    let size = log.before.last().map_or(0, Frontier::size) + PER_FRAME;

    let begun = now();
    let read =
        log.frames_from(Position::FIRST).flatten().fold(0, |sum, frame| sum + frame.last().get());
    let alone = begun.elapsed();
    assert!(read > 0);
    let dir = tempfile::tempdir().expect("a directory");
    let tiles = Arc::new(Tiles::new(&dir.path().join("tiles")));
    let begun = now();
    let mut builder = TileBuilder::begin(&tiles, &log).expect("begun");
    builder.follow(&log, &AtomicBool::new(false), |_| {}).expect("made");
    let with_tiles = begun.elapsed();
    assert_eq!(tiles.size(), size);
    tell(&format!("{size} records of {RECORD_BYTES} bytes, {PER_FRAME} in a frame"));
    tell(&format!(
        "making frames with their tree {:.0} ns a record; tiles, off the writer's thread, {:.0} ns more",
        per_record(alone, size),
        per_record(with_tiles.saturating_sub(alone), size)
    ));

    let begun = now();
    let again = Arc::new(Tiles::new(&dir.path().join("tiles")));
    TileBuilder::begin(&again, &log).expect("begun");
    tell(&format!("taking the tiles on disk at a start {:.1?}", begun.elapsed()));

    let (mut places, log) = (Places(1), &log);
    timed("inclusion in the newest tree, any record", || {
        let position = Position::new(places.below(size) + 1).expect("at least 1");
        assert!(!tiles.inclusion(log, position, size).expect("a proof").is_empty());
    });
    timed("inclusion in any tree, any record", || {
        let of = places.below(size - 1) + 2;
        let position = Position::new(places.below(of) + 1).expect("at least 1");
        assert!(!tiles.inclusion(log, position, of).expect("a proof").is_empty());
    });
    timed("consistency of any two trees", || {
        let to = places.below(size - 1) + 2;
        let from = Position::new(places.below(to - 1) + 1).expect("at least 1");
        assert!(!tiles.consistency(log, from, to).expect("a proof").is_empty());
    });
}
