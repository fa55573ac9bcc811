//! Which window something is noted in, and what is taken when.

use super::*;
use crate::domain::conduct::Refused;
use crate::domain::conduct::window::ConductWindow;
use crate::domain::ids::{CallerId, Position};
use crate::domain::testing::at;
use crate::random::SeededRandom;

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

#[test]
fn sources_are_sealed_for_their_month_and_left_out_when_its_data_key_is_destroyed() {
    let place = tempfile::tempdir().unwrap();
    let (keys, data_keys) = (place.path().join("keys"), place.path().join("datakeys"));
    let random = SeededRandom::new(1);
    Vault::create_missing(&keys, &data_keys, &random).unwrap();
    let vault = Vault::open(&keys, &data_keys).unwrap();
    let recorded = |source: Option<&str>| {
        let mut window = ConductWindow::new(start_of(at(0)));
        let refused = Refused { caller: None, rpc: rpc::GET_KEY_AT.into(), reason: 1 };
        let source = source.map(|text| text.parse().unwrap());
        let one = RefusedOne { refused, named: Named::default(), trace_id: None, source };
        window.note_refused(one, at(1));
        let (refused, sources) = window.into_records().1.remove(0);
        match sealed(&vault, &random, refused, &sources).unwrap() {
            RecordConduct::Refused(refused, private) => (refused, private),
            RecordConduct::Read(_) => unreachable!("it is a refusal"),
        }
    };
    let scope = Scope::ServiceMonth(at(0).month());
    assert_eq!(recorded(None).1, None);
    assert_eq!(vault.data_keys.find(&scope), None, "nothing is to be sealed");

    let (refused, private) = recorded(Some("192.0.2.1"));
    assert_eq!(private.map(|it| it.sealed.data_key), vault.data_keys.find(&scope));
    assert_eq!((refused.sources.len(), refused.samples[0].source.is_some()), (1, true));

    assert_eq!(vault.data_keys.destroy(&[scope]).unwrap(), 1);
    let (refused, private) = recorded(Some("192.0.2.1"));
    assert_eq!((private, refused.count, refused.samples.len()), (None, 1, 1));
    assert_eq!((refused.sources.len(), refused.samples[0].source), (0, None));
    assert!(refused.holds_together());
}
