//! What only an engine that fails as told can show: failed reads, lost frames, every way a failed
//! append can end. Also that the simulated engine does what its seed says, so that the suite is not
//! blind on it.

use super::*;
use crate::ledger::frame::FrameError;
use crate::ledger::sim::Odds;

#[test]
fn a_read_that_fails_may_be_tried_again() {
    let mut log = Log::<SimBench>::with_frames(6);
    let reader = log.ledger.reader();
    let disk = log.bench.disk.clone();
    let mut failed = 0;
    for round in 0..200 {
        disk.set_odds(Odds { read_fails: 300, ..Odds::default() });
        let position = at(round % 12 + 1);
        match reader.frame_at(position) {
            Ok(found) => assert!(found.is_some()),
            Err(error) => {
                assert_eq!(error, LedgerError::Unreadable { position });
                failed += 1;
                // An append in between goes on as ever.
                if failed % 10 == 0 {
                    log.append(&[b"in between"]);
                }
            }
        }
        disk.set_odds(Odds::default());
        log.check();
    }
    assert!((20..120).contains(&failed), "{failed} of 200 failed");
}

#[test]
fn an_iteration_ends_behind_an_error() {
    let log = Log::<SimBench>::with_frames(9);
    let disk = log.bench.disk.clone();
    let reader = log.ledger.reader();
    disk.lose(log.frames[4].first());
    let missing = LedgerError::MissingFrame { position: log.frames[4].first() };
    let shown: Vec<_> =
        reader.frames_from(Position::FIRST).map(|frame| frame.map(|_| ())).collect();
    assert_eq!(shown, [Ok(()), Ok(()), Ok(()), Ok(()), Err(missing)]);
    for position in log.frames[4].first().get()..=log.frames[4].last().get() {
        let missing = LedgerError::MissingFrame { position: at(position) };
        assert_eq!(reader.frame_at(at(position)).unwrap_err(), missing);
    }

    disk.set_odds(Odds { read_fails: 1000, ..Odds::default() });
    let shown: Vec<_> = reader.frames_from(at(2)).map(|frame| frame.map(|_| ())).collect();
    assert_eq!(shown, [Err(LedgerError::Unreadable { position: at(2) })]);
}

#[test]
fn a_bit_altered_anywhere_in_a_frame_is_found_by_reading_or_by_opening() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let mut log = Log::<SimBench>::seeded(seed);
        for n in 0..5_u8 {
            log.append(&[&[n; 30], &[n; 5], b""]);
        }
        let altered = usize::try_from(seed % 5).unwrap();
        let (first, last) = (log.frames[altered].first(), log.frames[altered].last());
        let left = log.crash();
        left.bench.disk.damage(last);
        let found = match left.bench.open() {
            Err(error) => {
                assert_eq!(altered, 4, "opening reads the last frame");
                error
            }
            Ok(ledger) => {
                let shown: Vec<_> = ledger.reader().frames_from(Position::FIRST).collect();
                assert_eq!(shown.len(), altered + 1);
                shown.into_iter().last().unwrap().unwrap_err()
            }
        };
        let LedgerError::DamagedFrame { position, reason } = found else { panic!("{found}") };
        assert_eq!(position, first);
        kinds.insert(match reason {
            FrameError::DamagedRecord(position) => {
                assert!((first..=last).contains(&position));
                "in a record"
            }
            _ => "elsewhere",
        });
    }
    assert_eq!(kinds.len(), 2, "{kinds:?}");
}

/// What became of a frame whose append failed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fate {
    durable_when_it_failed: bool,
    found_after_the_crash: bool,
}

fn fate(seed: u64) -> Fate {
    let mut log = Log::<SimBench>::seeded(seed);
    log.bench.disk.set_odds(Odds { append_fails: 200, ..Odds::default() });
    let (pending, error) = loop {
        let next = log.next(&[b"a", b"b"]);
        match log.ledger.append(&next) {
            Ok(()) => log.frames.push(next),
            Err(error) => break (next, error),
        }
    };
    let durable_when_it_failed = error == LedgerError::Engine { doing: "flushing" };
    let mut log = log.crash().open();
    let found_after_the_crash = log.ledger.head() == Some(pending.last());
    if found_after_the_crash {
        log.frames.push(pending);
    }
    log.check();
    Fate { durable_when_it_failed, found_after_the_crash }
}

#[test]
fn a_failed_append_ends_in_every_way_and_a_seed_tells_which() {
    let fates: std::collections::BTreeSet<Fate> = (0..64).map(fate).collect();
    let lost = Fate { durable_when_it_failed: true, found_after_the_crash: false };
    assert!(!fates.contains(&lost) && fates.len() == 3, "{fates:?}");
    for seed in 0..64 {
        assert_eq!(fate(seed), fate(seed));
    }
}
