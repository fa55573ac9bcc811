//! What an engine does once an append has failed: clauses F1 to F3.

use super::*;
use crate::ledger::frame::MAX_FRAME_BYTES;

/// How often a poisoned ledger is asked once more: for longer than it takes to make another volume.
const MANY: u32 = 500_000;

/// A ledger of a few frames whose last append failed, as it went with this seed.
fn broken<B: Bench>(seed: u64) -> (Log<B>, Frame) {
    let mut log = Log::<B>::seeded(seed);
    log.append(&[b"a", b"b"]);
    log.append(&[b"c"]);
    let pending = log.next(&[b"d"]);
    log.bench.break_append();
    log.ledger.append(&pending).expect_err("it was to fail");
    (log, pending)
}

pub(super) fn f1_after_an_error_nothing_more_is_taken<B: Bench>() {
    let refused = |mut log: Log<B>| {
        let next = log.next(&[b"next"]);
        for _ in 0..2 {
            assert_eq!(log.ledger.append(&next), Err(LedgerError::Poisoned));
        }
        log.check();
        assert_eq!(B::close(log.ledger), Err(LedgerError::Poisoned));
    };
    for seed in 0..B::SEEDS {
        refused(broken(seed).0);
    }
    // Nor later, when an engine that divides its log would go on in another place.
    let mut log = Log::<B>::new();
    log.append(&[&[7; 5000]]);
    let pending = log.next(&[b"pending"]);
    log.bench.break_append();
    log.ledger.append(&pending).expect_err("it was to fail");
    for _ in 0..MANY {
        assert_eq!(log.ledger.append(&pending), Err(LedgerError::Poisoned));
    }
    refused(log);
    // Refusals poison as well: who hands in such a frame has lost its place.
    let mut log = Log::<B>::with_frames(2);
    let again = log.frames[1].clone();
    assert!(matches!(log.ledger.append(&again), Err(LedgerError::OutOfOrder { .. })));
    refused(log);
    let mut log = Log::<B>::with_frames(2);
    let long = log.next(&[&vec![0; MAX_FRAME_BYTES]]);
    assert!(matches!(log.ledger.append(&long), Err(LedgerError::FrameTooLong { .. })));
    refused(log);
}

pub(super) fn f2_after_an_error_all_that_was_acknowledged_is_shown<B: Bench>() {
    for seed in 0..B::SEEDS {
        let (log, _) = broken::<B>(seed);
        log.check();
        let old = log.ledger.reader();
        let Log { ledger, frames, .. } = log;
        drop(ledger);
        check_reader(&*old, &frames);
    }
}

pub(super) fn f3_a_poisoned_ledger_writes_nothing_when_it_goes<B: Bench>() {
    for seed in 0..B::SEEDS {
        let (log, pending) = broken::<B>(seed);
        let at_once = log.bench.crash();
        let refused = log.next(&[b"refused"]);
        let Log { mut ledger, bench, .. } = log;
        assert_eq!(ledger.append(&refused), Err(LedgerError::Poisoned));
        drop(ledger);
        let later = bench.crash();
        let found = [at_once, later].map(|left| {
            let ledger = left.open().expect("it opens");
            shown_from(&*ledger.reader(), Position::FIRST)
        });
        assert_eq!(found[0], found[1]);
        assert!(found[0].len() == 2 || found[0][2..] == [pending.as_bytes().to_vec()]);
    }
}
