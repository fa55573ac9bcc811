//! Replays of logs that fit and that do not.

use super::*;
use crate::ledger::frame::{FrameBuilder, FrameError};
use crate::ledger::testing::FrameLog;
use std::convert::Infallible;
use std::fmt::Debug;

fn at(position: u64) -> Position {
    Position::new(position).unwrap()
}

fn frame(after: &Frontier, records: &[&str]) -> Frame {
    let first = Position::new(after.size() + 1).unwrap();
    let mut builder = FrameBuilder::new(after, first);
    records.iter().for_each(|record| builder.push(record.as_bytes()));
    builder.finish()
}

/// Positions 1 to 6 in three frames.
fn frames() -> [Frame; 3] {
    let one = frame(&Frontier::new(), &["a", "b"]);
    let two = frame(one.frontier(), &["c"]);
    let three = frame(two.frontier(), &["d", "e", "f"]);
    [one, two, three]
}

fn anchor_at(frame: &Frame) -> AnchorState {
    AnchorState { position: Some(frame.last()), root: frame.root() }
}

fn empty() -> AnchorState {
    AnchorState { position: None, root: Frontier::new().root() }
}

fn run(frames: &[Frame], anchor: &AnchorState) -> Result<Head, ReplayError<Infallible>> {
    run_from(Head::empty(), frames, anchor)
}

fn run_from(
    from: Head,
    frames: &[Frame],
    anchor: &AnchorState,
) -> Result<Head, ReplayError<Infallible>> {
    replay(&FrameLog(frames.iter().cloned().map(Ok).collect()), from, anchor, |_, _| Ok(()))
}

fn head_of(frame: &Frame) -> Head {
    Head { position: Some(frame.last()), frontier: frame.frontier().clone() }
}

fn says<T: Debug, E: std::error::Error>(result: Result<T, ReplayError<E>>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn every_record_is_handed_on_in_order_and_the_head_is_the_last_frame() {
    let frames = frames();
    for anchor in [empty(), anchor_at(&frames[0]), anchor_at(&frames[2])] {
        let mut seen = Vec::new();
        let reader = FrameLog(frames.iter().cloned().map(Ok).collect());
        let head = replay(&reader, Head::empty(), &anchor, |position, record| {
            seen.push((position.get(), String::from_utf8(record.to_vec()).unwrap()));
            Ok::<_, Infallible>(())
        });
        let head = head.unwrap();
        assert_eq!((head.position, &head.frontier), (Some(at(6)), frames[2].frontier()));
        let expected: Vec<_> = (1..=6).zip("abcdef".chars().map(String::from)).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn an_empty_ledger_fits_an_empty_anchor_only() {
    assert_eq!(run(&[], &empty()).unwrap(), Head::empty());
    let anchor = anchor_at(&frames()[0]);
    assert_eq!(
        says(run(&[], &anchor)),
        "the ledger ends at position 0 but the head anchor names 2"
    );
    let other = AnchorState { position: None, root: leaf_hash(b"a") };
    assert!(says(run(&[], &other)).contains("at position 0 is not the one"));
}

#[test]
fn a_ledger_shorter_than_the_anchor_is_refused_with_both_positions() {
    let frames = frames();
    let refused = run(&frames[..2], &anchor_at(&frames[2]));
    assert_eq!(says(refused), "the ledger ends at position 3 but the head anchor names 6");
}

#[test]
fn another_history_than_the_anchors_is_refused() {
    let frames = frames();
    let other_root = AnchorState { position: Some(at(3)), root: leaf_hash(b"x") };
    let refused = "the ledger at position 3 is not the one the head anchor names";
    assert_eq!(says(run(&frames, &other_root)), refused);
    // A position inside a frame was never a head.
    let inside = AnchorState { position: Some(at(5)), root: frames[2].root() };
    assert!(says(run(&frames, &inside)).contains("at position 5"));
}

#[test]
fn a_missing_frame_is_a_gap() {
    let frames = frames();
    let refused = run(&[frames[0].clone(), frames[2].clone()], &empty());
    let text = "the ledger goes on at position 4 where position 3 should be";
    assert_eq!(says(refused), text);
}

#[test]
fn a_frame_whose_tree_does_not_continue_the_one_before_is_refused() {
    let [one, _, three] = frames();
    let forged = frame(frame(&Frontier::new(), &["a", "x"]).frontier(), &["c"]);
    assert!(says(run(&[one, forged, three], &empty())).contains("positions 3 to 3"));
}

#[test]
fn a_damaged_frame_and_a_refused_record_stop_the_replay_with_their_position() {
    let [one, two, _] = frames();
    let reason = FrameError::DamagedRecord(at(4));
    let damaged = LedgerError::DamagedFrame { position: at(4), reason };
    let reader = FrameLog(vec![Ok(one), Ok(two), Err(damaged)]);
    let mut seen = 0;
    let refused = replay(&reader, Head::empty(), &empty(), |_, _| {
        seen += 1;
        Ok::<_, Infallible>(())
    });
    assert!(says(refused).ends_with("the record at position 4 is damaged"));
    assert_eq!(seen, 3);

    let refused = replay(&reader, Head::empty(), &empty(), |position, _| match position.get() {
        2 => Err(std::io::Error::other("unheard of")),
        _ => Ok(()),
    });
    assert_eq!(says(refused), "the record at position 2 is refused: unheard of");
}

#[test]
fn a_replay_from_a_head_hands_on_what_follows_and_ends_as_one_from_the_beginning() {
    let frames = frames();
    for from in &frames {
        let mut seen = Vec::new();
        let reader = FrameLog(frames.iter().cloned().map(Ok).collect());
        let head = replay(&reader, head_of(from), &empty(), |position, _| {
            seen.push(position);
            Ok::<_, Infallible>(())
        });
        assert_eq!(head.unwrap(), head_of(&frames[2]));
        let expected: Vec<_> = (from.last().get() + 1..=6).map(at).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn the_anchor_is_held_to_the_log_also_where_the_replay_begins_behind_it() {
    let frames = frames();
    let from = || head_of(&frames[1]);
    for anchor in [empty(), anchor_at(&frames[0]), anchor_at(&frames[1]), anchor_at(&frames[2])] {
        assert_eq!(run_from(from(), &frames, &anchor).unwrap(), head_of(&frames[2]));
    }
    for position in [1, 2, 3] {
        let other = AnchorState { position: Some(at(position)), root: leaf_hash(b"x") };
        let refused = format!("the ledger at position {position} is not the one");
        assert!(says(run_from(from(), &frames, &other)).starts_with(&refused));
    }
    // A position inside a frame was never a head.
    let inside = AnchorState { position: Some(at(1)), root: frames[0].root() };
    assert!(says(run_from(from(), &frames, &inside)).contains("at position 1"));
    let other = AnchorState { position: None, root: leaf_hash(b"a") };
    assert!(says(run_from(from(), &frames, &other)).contains("at position 0 is not the one"));
}

#[test]
fn a_head_is_of_the_log_that_has_a_frame_ending_there_with_its_tree() {
    let frames = frames();
    let reader = FrameLog(frames.iter().cloned().map(Ok).collect());
    assert!(Head::empty().is_of(&reader).unwrap());
    assert!(frames.iter().all(|frame| head_of(frame).is_of(&reader).unwrap()));
    let other = frame(&Frontier::new(), &["a", "x"]);
    assert!(!head_of(&other).is_of(&reader).unwrap());
    let inside = frame(&Frontier::new(), &["a"]);
    assert!(!head_of(&inside).is_of(&reader).unwrap());
    let beyond = frame(frames[2].frontier(), &["g"]);
    assert!(!head_of(&beyond).is_of(&reader).unwrap());
}

#[test]
fn a_replay_of_some_ends_behind_the_frame_that_is_enough() {
    let frames = frames();
    let reader = FrameLog(frames.iter().cloned().map(Ok).collect());
    let some = |enough: u64| {
        let each = |_, _: &[u8]| Ok::<_, Infallible>(());
        replay_some(&reader, Head::empty(), each, |last| last >= at(enough)).unwrap()
    };
    assert_eq!(some(1), head_of(&frames[0]));
    assert_eq!(some(3), head_of(&frames[1]));
    assert_eq!(some(9), head_of(&frames[2]));
}
