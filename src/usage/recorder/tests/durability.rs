//! Nothing is acknowledged that is not durable; what happens when the disk is behind.

use std::fs;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use super::house::*;
use crate::config::{Durability, WhenBehind};
use crate::usage::journal::Ending;
use crate::usage::recorder::*;

#[test]
fn no_use_is_acknowledged_before_it_is_durable() {
    for durability in [Durability::BeforeReply, Durability::Bounded] {
        let house = House::new(durability, WhenBehind::Refuse);
        let (recorder, running) = house.start();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        let tasks = (0..64_u64).map(|task| {
            let (recorder, disk, time) = (recorder.clone(), house.disk.clone(), NOON);
            runtime.spawn(async move {
                for id in task * 50..(task + 1) * 50 {
                    let admission = recorder.admit().unwrap();
                    let ticket = recorder.record(admission, Use { id, time }).unwrap();
                    recorder.durable(ticket).await;
                    assert!(disk.has(id), "{id} was acknowledged and is not durable");
                }
            })
        });
        let tasks: Vec<_> = tasks.collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert_eq!(recorder.state().entries, 64 * 50);
        drop(running.stop());
        let (mut uses, ..) = house.read();
        uses.sort_unstable();
        assert!(uses.iter().map(|(it, _)| it.id).eq(0..64 * 50));
    }
}

#[test]
fn a_flush_of_more_uses_than_a_frame_takes_has_several_frames() {
    const MORE: u64 = MAX_FRAME_USES as u64 * 2 + 1;
    let house = House::new(Durability::BeforeReply, WhenBehind::Refuse);
    let (recorder, running) = house.start();
    house.disk.hold(true);
    let first = house.record(&recorder, 0);
    // Of the flush that waits for the disk, or of the next: none is of a third.
    for id in 1..=MORE {
        let _ = house.record(&recorder, id);
    }
    house.disk.hold(false);
    wait(&recorder, first);
    flush(&recorder);
    drop(running.stop());
    let (mut uses, _, found) = house.read();
    uses.sort_unstable();
    assert!(uses.iter().map(|(it, _)| it.id).eq(0..=MORE));
    let frames = found.iter().map(|journal| journal.frames).sum::<u64>();
    assert!((3..=5).contains(&frames), "{frames}");
    assert!(found.iter().all(|journal| journal.damaged_at.is_none()));
}

#[test]
fn a_use_waits_as_long_as_the_disk_does() {
    let house = House::new(Durability::BeforeReply, WhenBehind::Refuse);
    let (recorder, running) = house.start();
    house.disk.hold(true);
    let ticket = house.record(&recorder, 1);
    let mut durable = pin!(recorder.durable(ticket));
    let mut context = Context::from_waker(Waker::noop());
    assert!(durable.as_mut().poll(&mut context).is_pending());
    house.clock.advance(Duration::from_millis(700));
    assert_eq!(recorder.state().lag, Duration::from_millis(700));
    assert!(durable.as_mut().poll(&mut context).is_pending());
    house.disk.hold(false);
    wait(&recorder, ticket);
    assert!(durable.as_mut().poll(&mut context).is_ready());
    // Of a flush that is over the lag is soon gone: the next sees it gone.
    flush(&recorder);
    assert_eq!(recorder.state().lag, Duration::ZERO);
    drop(running);
}

#[test]
fn uses_are_refused_while_the_oldest_waits_too_long() {
    let house = House::new(Durability::Bounded, WhenBehind::Refuse);
    let (recorder, running) = house.start();
    // Nothing waits: an idle recorder is never behind.
    house.clock.advance(Duration::from_secs(3600));
    house.disk.hold(true);
    let ticket = house.record(&recorder, 1);
    house.clock.advance(Duration::from_secs(1));
    let second = house.record(&recorder, 2);
    house.clock.advance(Duration::from_micros(1));
    assert_eq!(recorder.admit().unwrap_err(), Behind);
    assert_eq!(recorder.state().refused, 1);
    house.disk.hold(false);
    wait(&recorder, ticket.max(second));
    flush(&recorder);
    wait(&recorder, house.record(&recorder, 3));
    drop(running.stop());
    assert_eq!(house.read().0.len(), 3);
}

#[test]
fn uses_are_refused_while_too_many_wait() {
    let mut house = House::new(Durability::Bounded, WhenBehind::Refuse);
    house.settings.max_unflushed = 128;
    let (recorder, running) = house.start();
    house.disk.hold(true);
    // The disk holds this one; the others wait in their buffer.
    let first = house.record(&recorder, 0);
    let mut id = 0;
    let mut last = first;
    while recorder.admit().is_ok() {
        id += 1;
        last = house.record(&recorder, id);
        assert!(id < 400, "the bound is not kept");
    }
    assert!(id >= 127);
    house.disk.hold(false);
    wait(&recorder, last);
    flush(&recorder);
    wait(&recorder, house.record(&recorder, id + 1));
    drop(running.stop());
    assert_eq!(house.read().0.len() as u64, id + 2);
}

#[test]
fn uses_are_refused_while_the_log_is_behind() {
    let house = House::new(Durability::Bounded, WhenBehind::Refuse);
    let (recorder, _running) = house.start();
    assert!(recorder.admit().is_ok());
    house.log_is_behind.store(true, Ordering::Relaxed);
    assert_eq!(recorder.admit().unwrap_err(), Behind);
    assert_eq!(recorder.state().refused, 1);
    house.log_is_behind.store(false, Ordering::Relaxed);
    assert!(recorder.admit().is_ok());
}

#[test]
fn what_is_shed_is_counted_exactly_with_its_times() {
    let house = House::new(Durability::Bounded, WhenBehind::Shed);
    let (recorder, running) = house.start();
    house.disk.hold(true);
    let admitted = recorder.admit().unwrap();
    assert!(!admitted.is_shed());
    let kept = house.record(&recorder, 1);
    house.clock.advance(Duration::from_secs(2));
    let from = house.clock.wall();
    std::thread::scope(|scope| {
        for thread in 0..5_i64 {
            let recorder = &recorder;
            scope.spawn(move || {
                for second in 0..200 {
                    let time = Time::from_micros(from.as_micros() + second * 1000 + thread);
                    let admission = recorder.admit().unwrap();
                    assert!(admission.is_shed());
                    let ticket = recorder.record(admission, Use { id: 9, time }).unwrap();
                    // Nobody waits for what is not recorded.
                    wait(recorder, ticket);
                }
            });
        }
    });
    house.disk.hold(false);
    wait(&recorder, kept);
    flush(&recorder);
    let state = recorder.state();
    assert_eq!((state.entries, state.shed), (1, 1000));
    // Who was admitted before is recorded, whatever has happened since.
    let _ = recorder.record(admitted, house.now(2)).unwrap();
    drop(running.stop());
    let (uses, shed, _) = house.read();
    assert_eq!(uses.iter().map(|(it, _)| it.id).collect::<Vec<_>>(), [1, 2]);
    let to = Time::from_micros(from.as_micros() + 199 * 1000 + 4);
    // A flush that was under way may have taken the first of them.
    let all = (
        shed.iter().map(|shed| shed.count).sum::<u64>(),
        shed.iter().map(|shed| shed.from).min(),
        shed.iter().map(|shed| shed.to).max(),
    );
    assert_eq!(all, (1000, Some(from), Some(to)));
}

#[test]
fn what_was_acknowledged_is_there_wherever_the_file_is_cut_behind_it() {
    let house = House::new(Durability::BeforeReply, WhenBehind::Refuse);
    let (recorder, running) = house.start();
    let path = house.dir.path().join("usage-00000000000000000001.klj");
    let acknowledged = (1..=12).map(|id| {
        wait(&recorder, house.record(&recorder, id));
        fs::metadata(&path).unwrap().len()
    });
    let acknowledged: Vec<u64> = acknowledged.collect();
    drop(running.stop());
    let whole = fs::read(&path).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let cut = elsewhere.path().join("usage-00000000000000000001.klj");
    for length in 36..=whole.len() {
        fs::write(&cut, &whole[..length]).unwrap();
        let (uses, _, found) = read(elsewhere.path());
        let there = acknowledged.iter().filter(|at| **at <= length as u64).count() as u64;
        assert!(uses.iter().map(|(it, _)| it.id).eq(1..=there), "cut at {length}");
        let stopped = found[0].ending == Ending::Stopped;
        assert_eq!((stopped, found[0].damaged_at), (length == whole.len(), None));
    }
}

#[test]
fn a_stopped_recorder_has_recorded_what_it_took_and_takes_no_more() {
    let house = House::new(Durability::Bounded, WhenBehind::Refuse);
    let (recorder, running) = house.start();
    let recorded = std::thread::scope(|scope| {
        let threads = (0..3_u64).map(|thread| {
            let recorder = &recorder;
            scope.spawn(move || {
                let ids = thread << 32..;
                let took = ids.take_while(|id| {
                    let entry = Use { id: *id, time: NOON };
                    recorder.admit().is_ok_and(|it| recorder.record(it, entry).is_ok())
                });
                took.collect::<Vec<_>>()
            })
        });
        let threads: Vec<_> = threads.collect();
        flush(&recorder);
        drop(running.stop());
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut found: Vec<u64> = house.read().0.iter().map(|(it, _)| it.id).collect();
    found.sort_unstable();
    assert_eq!(found, recorded);
}

#[test]
fn a_null_recorder_keeps_nobody_waiting() {
    let recorder = Recorder::<Use>::null();
    let ticket = recorder.record(recorder.admit().unwrap(), Use { id: 1, time: NOON }).unwrap();
    wait(&recorder, ticket);
    wait(&recorder, recorder.flush());
    assert_eq!(recorder.state(), RecorderState::default());
}
