//! One suite for every engine: a test for each clause of the contract in
//! [`engine`](crate::ledger::engine), run on each engine on its [`Bench`].
//!
//! A test's name begins with the clause it is for. What only an engine that fails as told can show is
//! tested beside it, and the clauses of the holder (H) beside the writer and replay; the end of this
//! file names those tests.

mod benches;
mod controls;
mod durability;
mod failure;
mod opening;
mod order;
mod reading;
mod simulated;
mod visibility;

use crate::domain::ids::Position;
use crate::ledger::engine::{Ledger, LedgerError, LedgerReader};
use crate::ledger::frame::{Frame, FrameBuilder};
use crate::merkle::Frontier;

pub(crate) use benches::{SimBench, VolumeBench, fast_home};

/// Where a ledger of one engine is, and what can happen to it there.
pub(crate) trait Bench: Send + Sync + Sized + 'static {
    /// The engine.
    type L: Ledger + 'static;
    /// How many seeds are worth telling a story of: those that chance makes differ.
    const SEEDS: u64;

    /// A place where no ledger is yet. `seed` decides whatever the place leaves to chance.
    fn new(seed: u64) -> Self;
    /// Makes the ledger and opens it.
    fn create(&self) -> Result<Self::L, LedgerError>;
    /// Opens the ledger.
    fn open(&self) -> Result<Self::L, LedgerError>;
    /// Closes the ledger in order.
    fn close(ledger: Self::L) -> Result<(), LedgerError>;
    /// A place as a crash at this instant would leave this one. The ledger here may go on: what it
    /// does from now on reaches the other place no more.
    fn crash(&self) -> Self;
    /// Lets the next append fail once the frame has been handed to the medium.
    fn break_append(&self);
    /// Alters one bit of each stored copy of `bytes`; done twice, nothing is altered. No ledger may
    /// be open.
    fn alter(&self, bytes: &[u8]);
}

/// Alters the lowest bit of the first byte of each copy of `needle` in `bytes`, which is then found
/// by what it has become.
pub(crate) fn alter_each(bytes: &mut [u8], needle: &[u8]) {
    let found = |at: &usize| bytes[*at..].starts_with(needle);
    let copies: Vec<usize> = (0..bytes.len()).filter(found).collect();
    copies.into_iter().for_each(|at| bytes[at] ^= 1);
}

pub(crate) fn at(position: u64) -> Position {
    Position::new(position).expect("not 0")
}

/// A frame of these records behind the tree `after`.
fn frame(after: &Frontier, records: &[&[u8]]) -> Frame {
    let mut builder = FrameBuilder::new(after, at(after.size() + 1));
    records.iter().for_each(|record| builder.push(record));
    builder.finish()
}

/// The tree over everything up to the last of these frames.
fn tree(frames: &[Frame]) -> Frontier {
    frames.last().map_or_else(Frontier::new, |frame| frame.frontier().clone())
}

/// An open ledger and the frames it has acknowledged.
struct Log<B: Bench> {
    bench: B,
    ledger: B::L,
    frames: Vec<Frame>,
}

/// A place whose ledger is not open, and the frames it has acknowledged.
struct Kept<B> {
    bench: B,
    frames: Vec<Frame>,
}

impl<B: Bench> Log<B> {
    fn new() -> Self {
        Self::seeded(1)
    }

    fn seeded(seed: u64) -> Self {
        let bench = B::new(seed);
        let ledger = bench.create().expect("a new ledger");
        Log { bench, ledger, frames: Vec::new() }
    }

    /// `count` frames of one to three records, the last with a marker: [`marker`].
    fn with_frames(count: u8) -> Self {
        let mut log = Self::new();
        for n in 0..count {
            log.append(&records(n).each_ref().map(Vec::as_slice)[usize::from(n % 3)..]);
        }
        log
    }

    /// The frame that would come next.
    fn next(&self, records: &[&[u8]]) -> Frame {
        frame(&tree(&self.frames), records)
    }

    fn append(&mut self, records: &[&[u8]]) {
        let frame = self.next(records);
        self.ledger.append(&frame).expect("acknowledged");
        self.frames.push(frame);
    }

    /// That the ledger shows what it has acknowledged and nothing else.
    fn check(&self) {
        assert_eq!(self.ledger.head(), self.frames.last().map(Frame::last));
        check_reader(&*self.ledger.reader(), &self.frames);
    }

    fn close(self) -> Kept<B> {
        B::close(self.ledger).expect("closed in order");
        Kept { bench: self.bench, frames: self.frames }
    }

    /// What a crash leaves; this process's handle goes after it.
    fn crash(self) -> Kept<B> {
        Kept { bench: self.bench.crash(), frames: self.frames }
    }
}

impl<B: Bench> Kept<B> {
    fn open(self) -> Log<B> {
        let ledger = self.bench.open().expect("it opens");
        Log { bench: self.bench, ledger, frames: self.frames }
    }
}

/// The three records of frame `n`, of which it has the last one to three.
fn records(n: u8) -> [Vec<u8>; 3] {
    [vec![n; 40], Vec::new(), marker(n)]
}

/// Bytes that only frame `n` of [`Log::with_frames`] holds.
fn marker(n: u8) -> Vec<u8> {
    [&b"marker-"[..], &[n; 300]].concat()
}

/// That a reader shows these frames, byte for byte, at each position and from each, and no more.
fn check_reader(reader: &dyn LedgerReader, frames: &[Frame]) {
    for (n, expected) in frames.iter().enumerate() {
        for position in expected.first().get()..=expected.last().get() {
            let found = reader.frame_at(at(position)).expect("readable").expect("there");
            assert_eq!(found.as_bytes(), expected.as_bytes(), "position {position}");
        }
        // Every frame's beginning would be quadratic in what it checks; each third will do.
        if n % 3 == 0 {
            assert_eq!(shown_from(reader, expected.last()), bytes_of(&frames[n..]));
        }
    }
    let beyond = frames.last().map_or(Position::FIRST, |frame| frame.last().next());
    assert_eq!(shown_from(reader, Position::FIRST), bytes_of(frames));
    for position in [beyond, beyond.next(), at(u64::MAX)] {
        assert!(reader.frame_at(position).expect("readable").is_none());
        assert_eq!(reader.frames_from(position).count(), 0);
    }
}

/// All frames a reader shows from a position on.
fn shown_from(reader: &dyn LedgerReader, position: Position) -> Vec<Vec<u8>> {
    let frames = reader.frames_from(position);
    frames.map(|frame| frame.expect("readable").as_bytes().to_vec()).collect()
}

fn bytes_of(frames: &[Frame]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.as_bytes().to_vec()).collect()
}

/// The position an error names.
fn named(error: LedgerError) -> Option<Position> {
    match error {
        LedgerError::DamagedFrame { position, .. }
        | LedgerError::MissingFrame { position }
        | LedgerError::Unreadable { position } => Some(position),
        _ => None,
    }
}

macro_rules! suite {
    ($($room:ident: $($clause:ident)+;)+) => {
        /// Runs the suite on one engine.
        macro_rules! run_on {
            ($engine:ident, $bench:ty) => {
                mod $engine {
                    use super::*;
                    $($(
                        #[test]
                        fn $clause() {
                            $room::$clause::<$bench>();
                        }
                    )+)+
                }
            };
        }

        /// The names of all tests of the suite.
        const SUITE: &[&str] = &[$($(stringify!($clause)),+),+];
    };
}

suite! {
    order:
        o1_only_what_begins_right_behind_the_head_is_taken
        o2_a_frame_over_the_bound_is_refused
        o2_frames_of_exactly_the_bound_are_taken
        o3_frames_stay_as_they_are_whatever_comes_after_them;
    durability:
        d1_a_crash_right_after_an_append_loses_nothing
        d2_the_pending_frame_is_there_whole_or_not_at_all
        d3_what_an_opening_has_shown_outlives_the_next_crash
        d4_a_ledger_dropped_under_its_readers_loses_nothing;
    visibility:
        v1_a_frame_whose_append_failed_is_shown_to_nobody
        v2_a_reader_shows_a_frame_as_soon_as_its_append_returned
        v3_many_readers_beside_the_writer_see_the_same_frames;
    failure:
        f1_after_an_error_nothing_more_is_taken
        f2_after_an_error_all_that_was_acknowledged_is_shown
        f3_a_poisoned_ledger_writes_nothing_when_it_goes;
    reading:
        r1_each_position_finds_its_frame
        r1_each_of_many_small_frames_is_found
        r2_frames_follow_each_other_from_any_start
        r2_frames_appended_meanwhile_are_reached
        r3_a_damaged_frame_is_named_and_never_another_shown;
    opening:
        c1_a_ledger_is_made_once_and_opened_only_where_it_is
        c2_closing_and_opening_changes_no_byte
        c2_an_empty_ledger_stays_empty
        c3_a_second_handle_is_refused
        c4_a_damaged_ledger_is_not_repaired;
}

run_on!(volumes, VolumeBench<{ 64 << 20 }>);
run_on!(small_volumes, VolumeBench<1024>);
run_on!(sim, SimBench);

/// Tests of clauses elsewhere: of what only an engine that fails as told can show, and of the holder.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("F4", include_str!("conformance/simulated.rs"), "fn a_read_that_fails_may_be_tried_again()"),
    ("R4", include_str!("conformance/simulated.rs"), "fn an_iteration_ends_behind_an_error()"),
    ("R4", include_str!("sled_engine/tests.rs"), "fn a_frame_missing_in_the_middle_is_named()"),
    (
        "H1",
        include_str!("writer/tests.rs"),
        "fn what_does_not_fit_the_frame_goes_first_into_the_next()",
    ),
    (
        "H2",
        include_str!("writer/tests.rs"),
        "fn nothing_is_seen_and_nobody_is_answered_before_the_frame_is_durable()",
    ),
    (
        "H3",
        include_str!("writer/tests/fail_stop.rs"),
        "fn a_frame_that_cannot_be_made_durable_ends_the_process_before_any_answer()",
    ),
    (
        "H4",
        include_str!("data_dir/tests.rs"),
        "fn a_second_holder_is_refused_until_the_first_is_gone()",
    ),
    (
        "H5",
        include_str!("replay_tests.rs"),
        "fn a_ledger_shorter_than_the_anchor_is_refused_with_both_positions()",
    ),
];

#[test]
fn every_clause_of_the_contract_has_a_test_that_names_it() {
    let contract = include_str!("engine.rs");
    let clauses: Vec<&str> = contract
        .lines()
        .filter_map(|line| line.strip_prefix("//! - **")?.split_once("**"))
        .map(|(clause, _)| clause)
        .collect();
    assert_eq!(clauses.len(), 27, "the contract was read: {clauses:?}");
    for clause in clauses {
        let begins = format!("{}_", clause.to_lowercase());
        let in_suite = SUITE.iter().any(|test| test.starts_with(&begins));
        let mut elsewhere = ELSEWHERE.iter().filter(|(name, ..)| *name == clause).peekable();
        assert!(in_suite || elsewhere.peek().is_some(), "{clause} has no test");
        for (_, file, test) in elsewhere {
            assert!(file.contains(test), "{clause}: there is no {test}");
        }
    }
}
