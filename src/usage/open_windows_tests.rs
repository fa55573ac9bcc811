//! That a journal's uses come to the same parts however often and in whatever pieces they are folded.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::testing::{account, at, key_id};
use crate::domain::usage::UseOutcome;

const MINUTE: Duration = Duration::from_mins(1);

fn used(key: u8, second: i64, alone: bool) -> Use {
    let known = key > 0;
    Use {
        tried: if known { Tried::Key(key_id(key), account("a")) } else { Tried::Unknown(None) },
        outcome: if known { UseOutcome::Allowed } else { UseOutcome::UnknownKey },
        caller: None,
        action: String::new(),
        source: None,
        agent: String::new(),
        trace_id: None,
        required: Vec::new(),
        position: None,
        time: at(second),
        cost: 1,
        alone,
    }
}

fn flush(uses: Vec<Use>, span: Duration) -> Flushed {
    Flushed { span, uses, shed: None }
}

/// Whose, which part, when it begins, how many uses; sorted.
fn picture(windows: OpenWindows) -> Vec<(String, u32, Time, u64)> {
    let (parts, _) = windows.into_parts();
    let mut picture: Vec<_> = parts
        .iter()
        .map(|part| {
            let count = part.window.totals().iter().map(|total| total.count).sum();
            (format!("{:?}", part.whose), part.number, part.window.start(), count)
        })
        .collect();
    picture.sort();
    picture
}

fn fold(flushes: &[Flushed]) -> OpenWindows {
    let mut windows = OpenWindows::default();
    flushes.iter().for_each(|flushed| windows.add(flushed, || 1));
    windows
}

#[test]
fn each_key_has_a_part_for_each_minute_and_for_each_use_that_stands_alone() {
    let start = window_start(at(0), MINUTE);
    let uses = vec![
        used(1, 0, false),
        used(2, 1, false),
        used(1, 61, true),
        used(1, 2, true),
        used(0, 3, false),
        used(1, 62, false),
        used(1, 4, false),
    ];
    let parts = picture(fold(&[flush(uses, MINUTE)]));
    let of_1: Vec<_> = parts
        .iter()
        .filter(|(whose, ..)| whose.contains(&key_id(1).to_string()))
        .map(|(_, number, begins, count)| (*number, *begins, *count))
        .collect();
    let next = start.plus(MINUTE);
    assert_eq!(of_1, [(0, start, 2), (1, next, 1), (2, next, 1), (3, start, 1)]);
    assert_eq!(parts.len(), 6);
}

#[test]
fn a_clock_that_steps_back_adds_to_the_minute_it_repeats() {
    let uses = vec![used(1, 3600, false), used(1, 0, false), used(1, 3601, false)];
    let counts: Vec<u64> =
        picture(fold(&[flush(uses, MINUTE)])).iter().map(|(.., count)| *count).collect();
    assert_eq!(counts, [1, 2]);
}

#[test]
fn windows_of_another_length_are_parts_of_their_own() {
    let flushes =
        [flush(vec![used(1, 0, false)], MINUTE), flush(vec![used(1, 0, false)], MINUTE * 60)];
    let (parts, _) = fold(&flushes).into_parts();
    let spans: Vec<Duration> = parts.iter().map(|part| part.span).collect();
    assert_eq!(parts.len(), 2);
    assert!(spans.contains(&MINUTE) && spans.contains(&(MINUTE * 60)));
}

#[test]
fn uses_beyond_the_bound_of_those_alone_are_counted_with_the_others() {
    let uses = vec![used(1, 0, true); MAX_ALONE + 5];
    let counts: Vec<u64> =
        picture(fold(&[flush(uses, MINUTE)])).iter().map(|(.., count)| *count).collect();
    assert_eq!(counts.len(), MAX_ALONE + 1);
    assert_eq!(counts.iter().sum::<u64>(), MAX_ALONE as u64 + 5);
    assert!(counts.contains(&5));
}

#[test]
fn what_was_shed_is_handed_on() {
    let shed = Shed { from: at(1), to: at(2), count: 5 };
    let windows = fold(&[Flushed { shed: Some(shed), ..flush(Vec::new(), MINUTE) }]);
    assert!(!windows.is_empty());
    assert_eq!(windows.into_parts().1, [shed]);
    assert!(fold(&[flush(Vec::new(), MINUTE)]).is_empty());
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        uses in vec((0..4_u8, 0..200_i64, any::<bool>()), 0..60),
        cut in 0..60_usize,
    ) {
        let uses: Vec<Use> =
            uses.into_iter().map(|(key, second, alone)| used(key, second, alone)).collect();
        let (first, rest) = uses.split_at(cut.min(uses.len()));
        let pieces = fold(&[flush(first.to_vec(), MINUTE), flush(rest.to_vec(), MINUTE)]);
        prop_assert_eq!(picture(pieces), picture(fold(&[flush(uses.clone(), MINUTE)])));
    }
}
