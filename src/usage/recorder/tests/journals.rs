//! Journals follow each other with the windows, whatever the clock does; and go when they may.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::house::*;
use crate::config::{Durability, WhenBehind};
use crate::usage::journal::testing::{journals_in_use, number};
use crate::usage::journal::{Ending, gap_since};
use crate::usage::recorder::*;

fn minute(time: Time) -> Time {
    Time::from_micros(time.as_micros().div_euclid(60_000_000) * 60_000_000)
}

fn house() -> House {
    House::new(Durability::Bounded, WhenBehind::Refuse)
}

/// Each use once, in its own window, no journal with uses of two, all but the last ended in order.
fn check(house: &House, expected: u64) {
    let (mut uses, _, found) = house.read();
    assert!(uses.iter().all(|(it, window)| minute(it.time) == *window));
    uses.sort_unstable();
    assert!(uses.iter().map(|(it, _)| it.id).eq(0..expected), "lost or doubled");
    let mut windows = BTreeMap::new();
    let all = journals_in_use(house.dir.path()).read_all(|header, frame| {
        assert_eq!(*windows.entry(header.number).or_insert(frame.window), frame.window);
    });
    assert_eq!(all.unwrap(), found);
    let with_uses: Vec<_> = found.iter().filter(|journal| journal.frames > 0).collect();
    assert!(found.iter().all(|journal| journal.damaged_at.is_none()));
    let ended: Vec<_> = house.ended().iter().filter(|it| it.frames > 0).copied().collect();
    assert_eq!(ended.len(), with_uses.len());
    for (journal, ended) in with_uses.iter().zip(ended) {
        assert_eq!((journal.header.number, journal.frames), (ended.journal, ended.frames));
        assert_eq!(journal.window, Some(ended.window));
        let ending = if ended.stopped { Ending::Stopped } else { Ending::Rotated };
        assert_eq!(journal.ending, ending);
    }
}

#[test]
fn rotation_while_uses_are_recorded_loses_and_doubles_nothing() {
    const EACH: u64 = 5_000;
    const THREADS: u64 = 4;
    let house = house();
    let (recorder, running) = house.start();
    let (begin, over) = (Barrier::new(5), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (house, recorder, begin, over) = (&house, &recorder, &begin, &over);
        let threads = (0..THREADS).map(|thread| {
            scope.spawn(move || {
                begin.wait();
                for id in thread * EACH..(thread + 1) * EACH {
                    let _ = house.record(recorder, id);
                    if id % 500 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        scope.spawn(move || {
            begin.wait();
            while !over.load(Ordering::Relaxed) {
                // Less than the lag that would refuse them.
                house.clock.step_wall_to(house.clock.wall().plus(Duration::from_secs(7)));
                wait(recorder, recorder.flush());
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    drop(running.stop());
    check(&house, EACH * THREADS);
}

#[test]
fn a_clock_that_steps_by_hours_puts_no_use_into_another_window() {
    let house = house();
    let (recorder, running) = house.start();
    // Held up, so that one flush gets uses from before and after each step.
    let mut id = 0;
    for round in 0..4 {
        house.disk.hold(round % 2 == 1);
        for hours in [5, -3, 0, -26, 1] {
            let _ = house.record(&recorder, id);
            let step = hours * 3_600_000_000 + 1;
            house.clock.step_wall_to(Time::from_micros(house.clock.wall().as_micros() + step));
            let _ = house.record(&recorder, id + 1);
            id += 2;
        }
        house.disk.hold(false);
        flush(&recorder);
    }
    drop(running.stop());
    check(&house, id);
}

#[test]
fn a_window_that_passes_ends_its_journal_without_another_use() {
    let house = house();
    let (recorder, running) = house.start();
    wait(&recorder, house.record(&recorder, 0));
    house.clock.advance(Duration::from_secs(59));
    flush(&recorder);
    assert_eq!(house.ended(), []);
    house.clock.advance(Duration::from_secs(1));
    flush(&recorder);
    let first = Ended { journal: number(1), window: NOON, frames: 1, stopped: false };
    assert_eq!(house.ended(), [first]);
    // A journal without uses is not ended, however long it is.
    house.clock.advance(Duration::from_hours(3));
    flush(&recorder);
    assert_eq!(house.ended(), [first]);
    assert_eq!((recorder.state().journal, recorder.state().files), (2, 3));
    drop(running.stop());
    let window = house.clock.wall();
    let last = Ended { journal: number(2), frames: 0, stopped: true, ..first };
    assert_eq!(house.ended()[1], Ended { window: house.ended()[1].window, ..last });
    assert!(house.ended()[1].window <= window);
    check(&house, 1);
}

#[test]
fn uses_ahead_of_the_clock_do_not_end_a_journal_each() {
    let house = house();
    let (recorder, running) = house.start();
    // As after a step back, when decisions keep the time they have reached.
    let ahead = NOON.plus(Duration::from_hours(2));
    for id in 0..5 {
        let entry = Use { id, time: ahead };
        wait(&recorder, recorder.record(recorder.admit().unwrap(), entry).unwrap());
        flush(&recorder);
    }
    assert_eq!(house.ended(), []);
    // But the journal ends with the clock's window all the same.
    house.clock.advance(Duration::from_mins(1));
    flush(&recorder);
    assert_eq!(house.ended().len(), 1);
    drop(running.stop());
    check(&house, 5);
}

#[test]
fn in_each_minute_without_uses_it_is_said_that_nothing_waited() {
    let house = house();
    let (recorder, running) = house.start();
    wait(&recorder, house.record(&recorder, 0));
    for seconds in [59, 1, 59, 1, 3600] {
        house.clock.advance(Duration::from_secs(seconds));
        flush(&recorder);
    }
    let found = house.read().2;
    assert_eq!(gap_since(&found), Some(house.clock.wall()), "as if it crashed now");
    // One in the first journal's minute, none for the rest of it: the others are in the next.
    assert_eq!(found.iter().map(|it| it.frames).sum::<u64>(), 1);
    drop(running.stop());
}

#[test]
fn a_journal_goes_when_it_is_on_record_and_61_seconds_have_passed() {
    for (sealed, seconds, goes) in
        [(true, 61, true), (true, 60, false), (false, 61, false), (false, 1000, false)]
    {
        let house = house();
        let (recorder, running) = house.start();
        wait(&recorder, house.record(&recorder, 0));
        house.clock.advance(Duration::from_mins(1));
        flush(&recorder);
        if sealed {
            recorder.sealed(number(1));
        }
        house.clock.advance(Duration::from_secs(seconds));
        flush(&recorder);
        assert_eq!(recorder.state().files, if goes { 2 } else { 3 });
        drop(running.stop());
        let numbers: Vec<_> = house.read().2.iter().map(|it| it.header.number.get()).collect();
        let expected: &[u64] = if goes { &[2, 3] } else { &[1, 2, 3] };
        assert_eq!(numbers, expected, "sealed: {sealed}, after {seconds} s");
        let roll = journals_in_use(house.dir.path()).roll().unwrap();
        let listed: Vec<_> = roll.iter().map(|it| it.number.get()).collect();
        assert_eq!(listed, expected, "each that is there is on the roll, and no other");
    }
}

#[test]
fn a_start_ends_what_a_crash_left_and_goes_on_with_a_higher_number() {
    let house = house();
    let (recorder, running) = house.start();
    wait(&recorder, house.record(&recorder, 0));
    flush(&recorder);
    // What is on disk at this moment is what a crash leaves.
    let crashed = House { dir: tempfile::tempdir().unwrap(), ..self::house() };
    for name in ["usage-00000000000000000001.klj", "usage-00000000000000000002.klj"] {
        let from = house.dir.path().join(name);
        // The second is made ahead, at leisure.
        while !from.exists() {
            std::thread::yield_now();
        }
        std::fs::copy(from, crashed.dir.path().join(name)).unwrap();
    }
    drop(running.stop());

    let (_, _, found) = crashed.read();
    assert_eq!(found.len(), 2);
    assert_eq!(gap_since(&found), Some(NOON));
    let (recorder, running) = crashed.start();
    assert_eq!(recorder.state().journal, 3);
    wait(&recorder, crashed.record(&recorder, 1));
    recorder.sealed(number(1));
    crashed.clock.advance(Duration::from_secs(30));
    flush(&recorder);
    drop(running.stop());

    let (uses, _, found) = crashed.read();
    assert_eq!(uses.iter().map(|(it, _)| it.id).collect::<Vec<_>>(), [0, 1]);
    let seen: Vec<_> = found.iter().map(|it| (it.header.number.get(), it.ending)).collect();
    let made_ahead = (4, Ending::Unfinished { torn: 0 });
    assert_eq!(seen, [(1, Ending::Recovered), (3, Ending::Stopped), made_ahead]);
    assert!(found.iter().all(|it| it.damaged_at.is_none()));
    assert!(found[1].header.first_of_run && found[1].header.head == Position::new(3));
    assert_eq!(gap_since(&found), None);
}
