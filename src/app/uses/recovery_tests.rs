//! What a recovery keeps of journals, and what a gap says of one that cannot be read.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::domain::testing::{account, key_id};
use crate::domain::usage::{Use, UseOutcome};
use crate::random::SeededRandom;
use crate::usage::journal::Cover;
use crate::usage::recorder::Shed;

struct Glass;

impl Cover for Glass {
    fn seal(&self, _: JournalNumber, _: u64, clear: &[u8]) -> Vec<u8> {
        clear.to_vec()
    }

    fn open(&self, _: JournalNumber, _: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }
}

const HOUR: i64 = 3_600_000_000;
const WINDOW: Time = Time::from_micros(10 * HOUR);
const MADE: Time = Time::from_micros(9 * HOUR);

fn number(number: u64) -> JournalNumber {
    JournalNumber::new(number).expect("not 0")
}

/// Journals of which each is made at `MADE`, and has a frame of `WINDOW` or none.
fn found(path: &Path, made: &[(u64, bool)]) -> Vec<Found> {
    let journals = Journals::open(path, Arc::new(Glass)).expect("a directory");
    for (of, with_frame) in made {
        let (number, created) = (number(*of), MADE);
        let durability = Durability::BeforeReply;
        let first_of_run = *of == 1;
        let header = Header { number, head: None, created, durability, first_of_run };
        let mut journal = journals.create(&header).expect("made");
        if *with_frame {
            journal.append(WINDOW, WINDOW, b"uses").expect("appended");
        }
    }
    journals.read_all(|_, _| ()).expect("read")
}

#[test]
fn a_gap_of_a_headless_journal_is_as_long_as_it_may_be_and_no_longer() {
    let later = Time::from_micros(20 * HOUR);
    let soon = WINDOW.plus(Duration::from_secs(1));
    let hour = Duration::from_hours(1);
    // The others, whether its window is known, the time: the gap.
    type Case<'a> = (&'a [(u64, bool)], bool, Time, (Time, Time));
    let cases: [Case<'_>; 8] = [
        (&[(1, true), (3, true)], true, later, (WINDOW, WINDOW.plus(hour))),
        (&[(1, true), (3, true)], true, soon, (WINDOW, soon)),
        // The clock was set back.
        (&[(1, true), (3, true)], true, MADE, (WINDOW, WINDOW)),
        // It may have been in use at a crash.
        (&[(1, true), (3, false)], true, later, (WINDOW, later)),
        (&[], true, later, (WINDOW, later)),
        (&[(1, true), (3, true)], false, later, (MADE, later)),
        (&[(1, false)], false, later, (MADE, later)),
        // Nothing says since when.
        (&[(3, true)], false, later, (Time::EPOCH, later)),
    ];
    for (others, is_known, now, expected) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let found = found(&dir.path().join("usage"), others);
        let headless = Headless { number: number(2), window: is_known.then_some(WINDOW) };
        let gap = unread(&headless, &[], &found, now);
        assert_eq!((gap.from, gap.to), expected, "{others:?}, known: {is_known}, at {now:?}");
        assert_eq!((gap.journal, gap.cause, gap.lost), (2, GapCause::Damaged, None));
    }
}

#[test]
fn a_journal_on_the_roll_that_is_not_there_is_missing_since_it_was_made() {
    let roll = [1, 2, 4].map(|of| Listed { number: number(of), created: MADE });
    assert_eq!(missing(&roll, &HashSet::from([1, 3, 4].map(number))), [number(2)]);
    let later = Time::from_micros(20 * HOUR);
    let gone = Headless { number: number(2), window: None };
    let gap = unread(&gone, &roll, &[], later);
    assert_eq!((gap.journal, gap.from, gap.to), (2, MADE.minus(MARGIN), later));
    // What a frame says is closer.
    let headless = Headless { window: Some(WINDOW), ..gone };
    assert_eq!(unread(&headless, &roll, &[], later).from, WINDOW);
}

#[test]
fn what_is_on_record_of_a_journal_is_forgotten_before_the_next_is_read() {
    let on_record = OnRecord {
        parts: HashSet::from([(1, Some(key_id(1)), 0), (2, Some(key_id(2)), 0)]),
        gaps: HashSet::from([(1, 0)]),
    };
    let mut ranks = Ranks::new(&SeededRandom::new(1));
    let mut folding = Folding::new(&on_record);
    let shed = Shed { count: 3, from: MADE, to: MADE };
    let flushed =
        Flushed { span: Duration::from_mins(1), uses: [1, 2].map(used).to_vec(), shed: Some(shed) };
    let keys = |unsealed: &Unsealed| unsealed.parts.iter().map(key_of).collect::<Vec<_>>();
    folding.add(1, &flushed, &mut ranks);
    folding.add(1, &flushed, &mut ranks);
    folding.add(2, &flushed, &mut ranks);
    assert_eq!(keys(&folding.folded[&1]), [Some(key_id(2))]);
    let gaps: Vec<_> = folding.folded[&1].gaps.iter().map(|gap| gap.part).collect();
    assert_eq!(gaps, [1], "the second of the two flushes");
    let folded = folding.finish();
    assert_eq!(keys(&folded[&2]), [Some(key_id(1))]);
    assert_eq!(folded[&2].gaps.len(), 1);
}

fn used(key: u8) -> Use {
    Use {
        tried: Tried::Key(key_id(key), account("a")),
        outcome: UseOutcome::Allowed,
        caller: None,
        action: String::new(),
        source: None,
        agent: String::new(),
        trace_id: None,
        required: Vec::new(),
        position: None,
        time: MADE,
        cost: 1,
        alone: false,
    }
}
