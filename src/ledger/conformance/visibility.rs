//! What readers see, and when: clauses V1 to V3.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;

pub(super) fn v1_a_frame_whose_append_failed_is_shown_to_nobody<B: Bench>() {
    for seed in 0..B::SEEDS {
        let mut log = Log::<B>::seeded(seed);
        log.append(&[b"a", b"b"]);
        let old = log.ledger.reader();
        let pending = log.next(&[b"c"]);
        log.bench.break_append();
        log.ledger.append(&pending).expect_err("it was to fail");
        check_reader(&*old, &log.frames);
        log.check();
    }
}

pub(super) fn v2_a_reader_shows_a_frame_as_soon_as_its_append_returned<B: Bench>() {
    let mut log = Log::<B>::new();
    let oldest = log.ledger.reader();
    let mut iteration = oldest.frames_from(Position::FIRST);
    assert!(iteration.next().is_none());
    for n in 0..20_u8 {
        log.append(&[&[n], &[n; 100]]);
        let last = log.frames.last().unwrap();
        assert_eq!(log.ledger.head(), Some(last.last()));
        for reader in [&oldest, &log.ledger.reader()] {
            let found = reader.frame_at(last.last()).unwrap().expect("shown");
            assert_eq!(found.as_bytes(), last.as_bytes());
            assert_eq!(
                shown_from(&**reader, last.first()),
                bytes_of(&log.frames[usize::from(n)..])
            );
        }
    }
    check_reader(&*oldest, &log.frames);
}

pub(super) fn v3_many_readers_beside_the_writer_see_the_same_frames<B: Bench>() {
    const FRAMES: u8 = 60;
    // Some are there when the ledger is opened.
    const FOUND: usize = 20;
    let mut log = Log::<B>::new();
    let mut frames: Vec<Frame> = Vec::new();
    for n in 0..FRAMES {
        frames.push(frame(&tree(&frames), &[&[n; 900], &[n]]));
    }
    frames[..FOUND].iter().for_each(|frame| log.ledger.append(frame).expect("acknowledged"));
    let mut log = log.close().open();
    // How many appends have begun, and how many have returned.
    let (begun, returned) = (AtomicUsize::new(FOUND), AtomicUsize::new(FOUND));
    let readers: Vec<_> = (0..4).map(|_| log.ledger.reader()).collect();
    thread::scope(|scope| {
        let (frames, begun, returned, ledger) = (&frames, &begun, &returned, &mut log.ledger);
        let writing = Arc::new(scope.spawn(move || {
            for frame in &frames[FOUND..] {
                begun.fetch_add(1, Ordering::SeqCst);
                ledger.append(frame).expect("acknowledged");
                returned.fetch_add(1, Ordering::SeqCst);
            }
        }));
        for (n, reader) in readers.iter().enumerate() {
            let writing = Arc::clone(&writing);
            scope.spawn(move || {
                loop {
                    let over = writing.is_finished();
                    let at_least = returned.load(Ordering::SeqCst);
                    // Each reader begins elsewhere, inside a frame or at its beginning.
                    let from = at((n as u64 * 7 + 1).min(at_least.max(1) as u64 * 2));
                    let shown = shown_from(&**reader, from);
                    let at_most = begun.load(Ordering::SeqCst);
                    let skipped = usize::try_from((from.get() - 1) / 2).unwrap();
                    let until = (skipped + shown.len()).max(at_least);
                    assert!(until <= at_most, "{until} shown, {at_most} begun");
                    assert_eq!(shown, bytes_of(&frames[skipped.min(until)..until]));
                    if over {
                        assert_eq!(until, at_least);
                        break;
                    }
                }
            });
        }
    });
    drop(readers);
    log.frames = frames;
    log.check();
}
