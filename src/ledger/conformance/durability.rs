//! What outlives a crash: clauses D1 to D4.

use super::*;

pub(super) fn d1_a_crash_right_after_an_append_loses_nothing<B: Bench>() {
    let mut log = Log::<B>::new();
    for n in 0..12_u8 {
        log.append(&[&[n; 500], b"", &marker(n)]);
        // Another process finds it all; this one goes on as if nothing had happened.
        let left = Kept { bench: log.bench.crash(), frames: log.frames.clone() };
        left.open().check();
    }
    log.check();
}

pub(super) fn d2_the_pending_frame_is_there_whole_or_not_at_all<B: Bench>() {
    for seed in 0..B::SEEDS {
        let mut log = Log::<B>::seeded(seed);
        log.append(&[b"a", b"b"]);
        log.append(&[b"c"]);
        let pending = log.next(&[b"d", b"e", b"f"]);
        log.bench.break_append();
        log.ledger.append(&pending).expect_err("it was to fail");
        let mut log = log.crash().open();
        if log.ledger.head() == Some(pending.last()) {
            log.frames.push(pending);
        }
        log.check();
        log.append(&[b"what follows"]);
        log.check();
        log.close().open().check();
    }
}

pub(super) fn d3_what_an_opening_has_shown_outlives_the_next_crash<B: Bench>() {
    for seed in 0..B::SEEDS {
        let mut log = Log::<B>::seeded(seed);
        log.append(&[b"a"]);
        let pending = log.next(&[b"b", b"c"]);
        log.bench.break_append();
        log.ledger.append(&pending).expect_err("it was to fail");
        let mut log = log.crash().open();
        if log.ledger.head() == Some(pending.last()) {
            log.frames.push(pending);
        }
        for _ in 0..3 {
            log = log.crash().open();
            log.check();
        }
    }
}

pub(super) fn d4_a_ledger_dropped_under_its_readers_loses_nothing<B: Bench>() {
    let log = Log::<B>::with_frames(7);
    let reader = log.ledger.reader();
    let Log { bench, ledger, frames } = log;
    drop(ledger);
    check_reader(&*reader, &frames);
    drop(reader);
    let mut log = Kept { bench, frames }.open();
    log.check();
    log.append(&[b"one more"]);
    log.check();
}
