//! What a reader gives: clauses R1 to R3.

use super::*;

pub(super) fn r1_each_position_finds_its_frame<B: Bench>() {
    let log = Log::<B>::with_frames(20);
    // Also from inside a frame: a frame of three records is followed by one of two and one of one.
    assert_eq!(log.frames.last().unwrap().last(), at(41));
    log.check();
    let found = log.ledger.reader().frame_at(at(2)).unwrap().unwrap();
    assert_eq!((found.first(), found.last()), (at(1), at(3)));
    let log = log.close().open();
    log.check();
}

pub(super) fn r1_each_of_many_small_frames_is_found<B: Bench>() {
    let mut log = Log::<B>::new();
    for n in 0..400_u16 {
        log.append(&[&n.to_be_bytes()]);
    }
    log.check();
    let log = log.close().open();
    log.check();
}

pub(super) fn r2_frames_follow_each_other_from_any_start<B: Bench>() {
    let log = Log::<B>::with_frames(12);
    let reader = log.ledger.reader();
    for (n, frame) in log.frames.iter().enumerate() {
        for position in frame.first().get()..=frame.last().get() {
            assert_eq!(shown_from(&*reader, at(position)), bytes_of(&log.frames[n..]));
        }
    }
}

pub(super) fn r2_frames_appended_meanwhile_are_reached<B: Bench>() {
    // What was appended since the opening may be kept elsewhere than what was found by it.
    appended_meanwhile(Log::<B>::with_frames(3));
    appended_meanwhile(Log::<B>::with_frames(3).close().open());
}

fn appended_meanwhile<B: Bench>(mut log: Log<B>) {
    let reader = log.ledger.reader();
    for start in [1, 3, 5] {
        let mut shown = Vec::new();
        for frame in reader.frames_from(at(start)) {
            shown.push(frame.unwrap());
            if shown.len() == 1 {
                log.append(&[b"appended", b"meanwhile"]);
            }
            if shown.len() == 2 {
                log.append(&[b"and again"]);
            }
        }
        let from = log.frames.iter().position(|frame| frame.last() >= at(start)).unwrap();
        assert_eq!(bytes_of(&shown), bytes_of(&log.frames[from..]));
    }
    // One that begins beyond the head ends there, and sees what has come since when asked anew.
    let beyond = log.frames.last().unwrap().last().next();
    assert_eq!(shown_from(&*reader, beyond).len(), 0);
    log.append(&[b"there now"]);
    assert_eq!(shown_from(&*reader, beyond).len(), 1);
}

pub(super) fn r3_a_damaged_frame_is_named_and_never_another_shown<B: Bench>() {
    const FRAMES: u8 = 9;
    for n in 0..FRAMES - 1 {
        let log = Log::<B>::with_frames(FRAMES).close();
        log.bench.alter(&marker(n));
        let damaged = &log.frames[usize::from(n)];
        let holds = |error: LedgerError| {
            let position = named(error).unwrap_or_else(|| panic!("no position in: {error}"));
            assert!((damaged.first()..=damaged.last()).contains(&position), "{error}");
        };
        let ledger = match log.bench.open() {
            Ok(ledger) => ledger,
            Err(error) => {
                holds(error);
                continue;
            }
        };
        let reader = ledger.reader();
        for (other, frame) in log.frames.iter().enumerate() {
            for position in frame.first().get()..=frame.last().get() {
                match reader.frame_at(at(position)) {
                    Err(error) => {
                        assert_eq!(other, usize::from(n));
                        holds(error);
                    }
                    Ok(found) => {
                        assert_ne!(other, usize::from(n));
                        assert_eq!(found.expect("there").as_bytes(), frame.as_bytes());
                    }
                }
            }
        }
        let shown: Vec<_> = reader.frames_from(Position::FIRST).collect();
        assert_eq!(shown.len(), usize::from(n) + 1);
        holds(shown.last().unwrap().clone().expect_err("it is damaged"));
    }
}
