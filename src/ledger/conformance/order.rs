//! What an engine takes, and that it keeps it as it is: clauses O1 to O3.

use super::*;
use crate::ledger::frame::MAX_FRAME_BYTES;
use crate::merkle::leaf_hash;

/// A tree over `size` records that are in no ledger.
fn other_tree(size: u64) -> Frontier {
    let mut tree = Frontier::new();
    (0..size).for_each(|_| tree.push(leaf_hash(b"elsewhere")));
    tree
}

pub(super) fn o1_only_what_begins_right_behind_the_head_is_taken<B: Bench>() {
    // Behind frames 1-3 and 4-5 only 6 will do; on an empty ledger only 1.
    for (held, wrong) in [(2, 1), (2, 4), (2, 5), (2, 7), (2, 100), (0, 2), (0, 9)] {
        let mut log = Log::<B>::with_frames(held);
        let expected = log.frames.last().map_or(at(1), |frame| frame.last().next());
        let refused = log.ledger.append(&frame(&other_tree(wrong - 1), &[b"out of order"]));
        assert_eq!(refused, Err(LedgerError::OutOfOrder { expected, found: at(wrong) }));
        log.check();
        let mut log = log.crash().open();
        log.check();
        log.append(&[b"in order"]);
        log.check();
    }
}

pub(super) fn o2_a_frame_over_the_bound_is_refused<B: Bench>() {
    let mut log = Log::<B>::with_frames(1);
    let long = log.next(&[&vec![7; MAX_FRAME_BYTES]]);
    let (position, bytes) = (long.first(), long.as_bytes().len());
    let refused = log.ledger.append(&long);
    assert_eq!(refused, Err(LedgerError::FrameTooLong { position, bytes }));
    log.check();
    let log = log.crash().open();
    log.check();
}

pub(super) fn o2_frames_of_exactly_the_bound_are_taken<B: Bench>() {
    let mut log = Log::<B>::new();
    for n in 0..40_u8 {
        // Header and counts, the record's own overhead, one peak for each bit set, root, checksum.
        let position = u64::from(n) + 1;
        let overhead = 24 + 8 + 1 + 32 * position.count_ones() as usize + 32 + 4;
        log.append(&[&vec![n; MAX_FRAME_BYTES - overhead]]);
        assert_eq!(log.frames.last().unwrap().as_bytes().len(), MAX_FRAME_BYTES);
    }
    log.check();
    let log = log.close().open();
    log.check();
}

pub(super) fn o3_frames_stay_as_they_are_whatever_comes_after_them<B: Bench>() {
    let mut log = Log::<B>::new();
    let mut sizes = (1..).map(|n| usize::from(n * 37_u16 % 4001));
    for generation in 0..3_u8 {
        for n in 0..30 {
            let record = vec![generation * 64 + n; sizes.next().unwrap()];
            log.append(&[&record, b"", &record]);
        }
        log.check();
        log = if generation % 2 == 0 { log.close().open() } else { log.crash().open() };
    }
    log.check();
}
