//! Which window something is noted in, and what is taken when.

use super::*;
use crate::domain::ids::{CallerId, Position};
use crate::domain::testing::at;

const BEGINS: Read = Read { begins: true, events: 0, positions: None, of_reads_alone: false };

fn by(number: u8) -> Reader {
    let (caller, named) = (CallerId([number; 12]), Named::default());
    Reader { caller, rpc: rpc::STREAM_EVENTS.into(), named }
}

/// The start of a window and how many calls it has.
fn told(window: Option<ConductWindow>) -> Option<(Time, u64)> {
    let window = window?;
    let start = window.start();
    Some((start, window.into_records().0.iter().map(|read| read.calls).sum()))
}

#[test]
fn a_window_is_taken_when_its_minute_is_over_whichever_way_the_clock_went() {
    let conduct = Conduct::default();
    let start = start_of(at(0));
    let second = |seconds: u64| start.plus(Duration::from_secs(seconds));
    conduct.note_read(&by(1), &BEGINS, second(59));
    assert_eq!(told(conduct.take_ended(second(59))), None);
    assert_eq!(told(conduct.take_ended(second(60))), Some((start, 1)));
    assert_eq!(told(conduct.take_ended(second(600))), None);
    conduct.note_read(&by(1), &BEGINS, second(601));
    conduct.note_read(&by(1), &BEGINS, second(30));
    assert_eq!(told(conduct.take_ended(second(30))), Some((second(600), 1)));
    assert_eq!(told(conduct.take_any()), Some((start, 1)));
    assert_eq!(told(conduct.take_any()), None);
}

#[test]
fn while_too_many_windows_wait_the_open_one_goes_on_and_nothing_is_lost() {
    let conduct = Conduct::default();
    let start = start_of(at(0));
    let minute = |minutes: u64| start.plus(Duration::from_secs(60 * minutes));
    for number in 0..20 {
        conduct.note_read(&by(1), &BEGINS, minute(number));
    }
    let windows = std::iter::from_fn(|| told(conduct.take_any())).collect::<Vec<_>>();
    let mut expected: Vec<_> = (0..4).map(|number| (minute(number), 1)).collect();
    expected.push((minute(4), 16));
    assert_eq!(windows, expected);
}

#[test]
fn positions_and_events_come_through() {
    let conduct = Conduct::default();
    let positions = Position::new(3).zip(Position::new(5));
    let read = Read { begins: false, events: 3, positions, of_reads_alone: false };
    conduct.note_read(&by(1), &read, at(5));
    let (reads, refusals) = conduct.take_any().expect("a window").into_records();
    assert_eq!((reads[0].events, reads[0].positions, refusals.len()), (3, positions, 0));
}
