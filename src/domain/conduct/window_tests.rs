//! What goes on record of a minute.

use super::*;
use crate::domain::conduct::Named;
use crate::domain::ids::{CallerId, KeyId};
use crate::domain::testing::at;

fn by(number: u8) -> Reader {
    let key = Some(KeyId([number; 12]));
    let named = Named { key, ..Named::default() };
    Reader { caller: CallerId([7; 12]), rpc: "AuditService/GetKeyTimeline".into(), named }
}

fn events(first: u64, last: u64) -> Read {
    let positions = Position::new(first).zip(Position::new(last));
    Read { begins: false, events: last - first + 1, positions, of_reads_alone: false }
}

const BEGINS: Read = Read { begins: true, events: 0, positions: None, of_reads_alone: false };

fn reads(window: ConductWindow) -> Vec<AuditRead> {
    let (reads, refusals) = window.into_records();
    assert!(refusals.is_empty());
    assert!(reads.iter().all(AuditRead::holds_together));
    reads
}

#[test]
fn reads_of_one_reader_add_up_and_those_of_others_are_apart() {
    let mut window = ConductWindow::new(at(0));
    window.note_read(&by(1), &BEGINS, at(3));
    window.note_read(&by(1), &events(5, 9), at(4));
    window.note_read(&by(2), &events(7, 7), at(9));
    window.note_read(&by(1), &events(2, 3), at(8));
    let of_one = AuditRead {
        window: at(0),
        reader: Some(by(1)),
        calls: 1,
        events: 7,
        positions: Position::new(2).zip(Position::new(9)),
        first: at(3),
        last: at(8),
    };
    let positions = Position::new(7).zip(Position::new(7));
    let (first, last) = (at(9), at(9));
    let of_other = AuditRead {
        reader: Some(by(2)),
        calls: 0,
        events: 1,
        positions,
        first,
        last,
        ..of_one.clone()
    };
    assert_eq!(reads(window), [of_one, of_other]);
}

#[test]
fn events_of_reads_alone_make_no_line_and_count_in_one_that_is_there() {
    let own = Read { of_reads_alone: true, ..events(8, 8) };
    let mut window = ConductWindow::new(at(0));
    window.note_read(&by(1), &own, at(1));
    assert_eq!(reads(window), []);

    let mut window = ConductWindow::new(at(0));
    window.note_read(&by(1), &events(3, 4), at(1));
    window.note_read(&by(1), &own, at(2));
    let read = reads(window).pop().expect("a line");
    assert_eq!((read.events, read.positions), (3, Position::new(3).zip(Position::new(8))));

    let mut window = ConductWindow::new(at(0));
    window.note_read(&by(1), &Read { begins: true, ..own }, at(1));
    assert_eq!(reads(window).len(), 1, "a call leaves a line whatever it is shown");
}

#[test]
fn readers_beyond_the_bound_are_counted_together() {
    let mut window = ConductWindow::new(at(0));
    let numbered = |number: usize| {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Reader { caller: CallerId(id), ..by(1) }
    };
    for number in 0..MAX_READ_LINES + 5 {
        window.note_read(&numbered(number), &BEGINS, at(1));
        window.note_read(&numbered(number), &events(2, 3), at(1));
    }
    let own = Read { of_reads_alone: true, ..events(8, 8) };
    window.note_read(&numbered(MAX_READ_LINES), &own, at(9));
    let reads = reads(window);
    assert_eq!(reads.len(), MAX_READ_LINES + 1);
    let others: Vec<_> = reads.iter().filter(|read| read.reader.is_none()).collect();
    let [other] = others[..] else { panic!("{others:?}") };
    assert_eq!((other.calls, other.events, other.last), (5, 10, at(1)));
}

#[test]
fn who_names_much_hides_nobody_else() {
    let mut window = ConductWindow::new(at(0));
    let naming = |number: usize| {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Reader { named: Named { key: Some(KeyId(id)), ..Named::default() }, ..by(1) }
    };
    for number in 0..MAX_LINES + 5 {
        window.note_read(&naming(number), &BEGINS, at(1));
    }
    let other = Reader { caller: CallerId([9; 12]), ..naming(1) };
    window.note_read(&other, &BEGINS, at(2));
    let reads = reads(window);
    assert_eq!(reads.len(), MAX_LINES + 2);
    let calls = |reader: Reader| {
        let reader = Some(Reader { named: Named::default(), ..reader });
        reads.iter().find(|read| read.reader == reader).map(|read| read.calls)
    };
    assert_eq!((calls(by(1)), calls(other)), (Some(5), Some(1)));
}

fn refused(reason: u32, source: u8) -> RefusedOne {
    let source = Some(IpAddr::from([192, 0, 2, source]));
    RefusedOne {
        refused: Refused { caller: None, rpc: "KeyService/CreateKey".into(), reason },
        named: Named::default(),
        trace_id: None,
        source,
    }
}

fn refusals(window: ConductWindow) -> Vec<(CallsRefused, Personal)> {
    let (reads, refusals) = window.into_records();
    assert!(reads.is_empty());
    assert!(refusals.iter().all(|(refused, _)| refused.holds_together()));
    refusals
}

#[test]
fn refusals_are_counted_by_source_and_the_first_are_told() {
    let mut window = ConductWindow::new(at(0));
    for second in 0..20 {
        window.note_refused(refused(10, 1 + u8::from(second > 2)), at(second));
    }
    window.note_refused(refused(11, 9), at(30));
    let mut refusals = refusals(window);
    assert_eq!(refusals.len(), 2);
    let (calls, personal) = refusals.remove(0);
    assert_eq!(personal.sources, ["192.0.2.1", "192.0.2.2"]);
    assert_eq!((calls.count, calls.first, calls.last), (20, at(0), at(19)));
    let counts: Vec<_> = calls.sources.iter().map(|line| (line.source.get(), line.count)).collect();
    assert_eq!(counts, [(1, 3), (2, 17)]);
    assert_eq!(calls.samples.len(), MAX_SAMPLES);
    let told: Vec<_> = calls.samples.iter().map(|call| call.source.map(NonZeroU32::get)).collect();
    assert_eq!(told[..4], [Some(1), Some(1), Some(1), Some(2)]);
}

#[test]
fn sources_and_reasons_beyond_their_bounds_are_counted_all_the_same() {
    let mut window = ConductWindow::new(at(0));
    for source in 0..100 {
        window.note_refused(refused(10, source), at(1));
    }
    let (calls, personal) = refusals(window).remove(0);
    assert_eq!((calls.count, calls.sources.len(), personal.sources.len()), (100, 16, 16));

    let mut window = ConductWindow::new(at(0));
    for reason in 0..u32::try_from(MAX_LINES).expect("few") + 7 {
        window.note_refused(refused(reason, 1), at(1));
    }
    let refusals = refusals(window);
    assert_eq!(refusals.len(), MAX_LINES + 1);
    let (other, personal) =
        refusals.iter().find(|(calls, _)| calls.refused.is_none()).expect("one");
    assert_eq!((other.count, other.samples.len(), personal.is_empty()), (7, 0, true));
}

#[test]
fn a_window_begins_with_its_minute() {
    let micros = Time::from_micros;
    assert_eq!(start_of(micros(59_999_999)), micros(0));
    assert_eq!(start_of(micros(60_000_000)), micros(60_000_000));
    assert_eq!(start_of(micros(-1)), micros(-60_000_000));
}
