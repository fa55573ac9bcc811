//! Engines that break a clause, one each: the suite must find every one of them, else it is blind.

use super::*;
use crate::ledger::sim::{Breach, SimLedger};

/// The simulated engine with the breach whose number is `N`.
struct Breaking<const N: usize>(SimBench);

impl<const N: usize> Bench for Breaking<N> {
    type L = SimLedger;
    const SEEDS: u64 = SimBench::SEEDS;

    fn new(seed: u64) -> Self {
        let bench = SimBench::new(seed);
        let breach = CONTROLS.iter().find(|(breach, ..)| *breach as usize == N);
        bench.disk.set_breach(breach.expect("there is such a breach").0);
        Breaking(bench)
    }

    fn create(&self) -> Result<SimLedger, LedgerError> {
        self.0.create()
    }

    fn open(&self) -> Result<SimLedger, LedgerError> {
        self.0.open()
    }

    fn close(ledger: SimLedger) -> Result<(), LedgerError> {
        SimBench::close(ledger)
    }

    fn crash(&self) -> Self {
        Breaking(self.0.crash())
    }

    fn break_append(&self) {
        self.0.break_append();
    }

    fn alter(&self, bytes: &[u8]) {
        self.0.alter(bytes);
    }
}

macro_rules! controls {
    ($($breach:ident: $room:ident $test:ident;)+) => {
        /// Each breach, the test that must find it, and that test run on it.
        const CONTROLS: &[(Breach, &str, fn())] = &[$((
            Breach::$breach,
            stringify!($test),
            $room::$test::<Breaking<{ Breach::$breach as usize }>>,
        )),+];
    };
}

controls! {
    TakesAnyPlace: order o1_only_what_begins_right_behind_the_head_is_taken;
    TakesAnyLength: order o2_a_frame_over_the_bound_is_refused;
    AcknowledgesEarly: durability d1_a_crash_right_after_an_append_loses_nothing;
    TearsPending: durability d2_the_pending_frame_is_there_whole_or_not_at_all;
    ShowsPending: visibility v1_a_frame_whose_append_failed_is_shown_to_nobody;
    ShowsTheStart: visibility v2_a_reader_shows_a_frame_as_soon_as_its_append_returned;
    GoesOn: failure f1_after_an_error_nothing_more_is_taken;
    WritesAtTheEnd: failure f3_a_poisoned_ledger_writes_nothing_when_it_goes;
    FindsFirstsOnly: reading r1_each_position_finds_its_frame;
    SkipsTheBegun: reading r2_frames_follow_each_other_from_any_start;
    HidesDamage: reading r3_a_damaged_frame_is_named_and_never_another_shown;
    MakesOnOpening: opening c1_a_ledger_is_made_once_and_opened_only_where_it_is;
    LosesAtClose: opening c2_closing_and_opening_changes_no_byte;
    SharesTheDisk: opening c3_a_second_handle_is_refused;
    CutsBehindDamage: opening c4_a_damaged_ledger_is_not_repaired;
}

#[test]
fn an_engine_that_breaks_a_clause_is_found_by_the_test_of_that_clause() {
    for (breach, name, test) in CONTROLS {
        assert!(std::panic::catch_unwind(test).is_err(), "{name} does not find {breach:?}");
    }
}
