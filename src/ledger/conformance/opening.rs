//! Making, opening and closing: clauses C1 to C4.

use super::*;

fn error_of<L>(opened: Result<L, LedgerError>) -> LedgerError {
    opened.err().expect("it was to be refused")
}

pub(super) fn c1_a_ledger_is_made_once_and_opened_only_where_it_is<B: Bench>() {
    let bench = B::new(1);
    for _ in 0..2 {
        let refused = error_of(bench.open());
        let missing = [LedgerError::Missing, LedgerError::MissingVolume { number: 1 }];
        assert!(missing.contains(&refused), "{refused}");
    }
    let ledger = bench.create().unwrap();
    let mut log = Log { bench, ledger, frames: Vec::new() };
    log.check();
    log.append(&[b"a"]);
    let kept = log.close();
    match kept.bench.create() {
        Err(refused) => assert_eq!(refused, LedgerError::Exists),
        Ok(ledger) => B::close(ledger).unwrap(),
    }
    kept.open().check();
}

pub(super) fn c2_closing_and_opening_changes_no_byte<B: Bench>() {
    let mut log = Log::<B>::with_frames(30);
    for n in 30..33 {
        log = log.close().open();
        log.check();
        log.append(&[&marker(n)]);
        log.check();
    }
}

pub(super) fn c2_an_empty_ledger_stays_empty<B: Bench>() {
    let log = Log::<B>::new();
    log.check();
    let log = log.close().open();
    log.check();
    let mut log = log.crash().open();
    log.check();
    log.append(&[b"the first"]);
    log.check();
}

pub(super) fn c3_a_second_handle_is_refused<B: Bench>() {
    let log = Log::<B>::with_frames(2);
    assert_eq!(error_of(log.bench.open()), LedgerError::InUse);
    log.check();
    let log = log.close().open();
    log.check();
}

pub(super) fn c4_a_damaged_ledger_is_not_repaired<B: Bench>() {
    for n in [0, 4, 7] {
        let log = Log::<B>::with_frames(9).close();
        let mut altered = marker(n);
        log.bench.alter(&altered);
        altered[0] ^= 1;
        for _ in 0..2 {
            // What is wrong is said by opening or by reading, each time anew.
            if let Ok(ledger) = log.bench.open() {
                let reader = ledger.reader();
                assert!(reader.frames_from(Position::FIRST).any(|frame| frame.is_err()));
            }
        }
        // Once the medium is as it was, so is the ledger: nothing behind the damage was cut off.
        log.bench.alter(&altered);
        log.open().check();
    }
}
