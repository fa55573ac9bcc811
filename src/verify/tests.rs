use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::command::Act;
use crate::domain::event::{Event, Recorded};
use crate::domain::ids::CallerId;
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;
use crate::domain::testing::{
    World, account, at, by, create, key_id, private, revoke, the_service,
};
use crate::domain::usage::rules::RecordUses;
use crate::domain::usage::used::UsedWindow;
use crate::domain::usage::window::Window;
use crate::domain::usage::{Tried, Use, UseOutcome};
use crate::ledger::record::{self, encode, encode_personal};
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::KeyName;
use crate::merkle::proof::{BadProof, inclusion_proof};
use crate::merkle::{Frontier, Hash, leaf_hash};
use crate::vault::commitment;

/// Allowed uses of key 1 in a window of their own, decided at this position.
fn uses(journal: u64, decided: u64, count: usize) -> Act {
    let mut window = Window::new(at(0));
    for _ in 0..count {
        let used = Use {
            tried: Tried::Key(key_id(1), account("a")),
            outcome: UseOutcome::Allowed,
            caller: Some(CallerId([7; 12])),
            action: String::new(),
            source: None,
            agent: String::new(),
            trace_id: None,
            required: Vec::new(),
            position: Position::new(decided),
            time: at(1),
            cost: 1,
            alone: false,
        };
        window.add(&used, 1);
    }
    let window = UsedWindow::of(&window, Duration::from_mins(1)).0;
    let (key, account) = (key_id(1), account("a"));
    Act::RecordUses(RecordUses { key, account, journal, part: 0, window, private: None })
}

fn does(world: &mut World, act: Act) -> Position {
    let done = world.carry_out(&by(the_service(), act)).expect("not refused");
    done.expect("something changes")
}

/// Two keys, uses of one before and after its revocation is on record; and where that is.
fn history() -> (Vec<Recorded>, Position) {
    let mut world = World::with_key();
    let created = does(&mut world, uses(1, 3, 2)).get();
    world.does(Act::CreateKey(create("a", 2)));
    does(&mut world, uses(2, created, 1));
    let revoked = world.does(Act::RevokeKey(revoke(1)));
    // Decided before, sealed after.
    does(&mut world, uses(3, revoked.get() - 1, 3));
    (world.log, revoked)
}

fn encoded(log: &[Recorded]) -> Vec<Vec<u8>> {
    log.iter().map(encode).collect()
}

fn taken(records: &[Vec<u8>]) -> Result<History, Unsound> {
    let mut history = History::default();
    records.iter().try_for_each(|record| history.take(record, None))?;
    Ok(history)
}

fn signed(records: &[Vec<u8>]) -> Checkpoint {
    let mut tree = Frontier::new();
    records.iter().for_each(|record| tree.push(leaf_hash(record)));
    let origin = KeyName::parse("example.com/log").unwrap();
    Checkpoint { origin, size: tree.size(), root: tree.root() }
}

#[test]
fn a_history_as_it_was_recorded_holds_to_its_checkpoint() {
    let records = encoded(&history().0);
    let history = taken(&records).unwrap();
    assert_eq!(history.hold_to(&signed(&records)), Ok(()));
    assert_eq!(history.next().get(), records.len() as u64 + 1);
    let (found, signed_size) = (records.len() as u64, records.len() as u64 - 1);
    let shorter = Unsound::OtherSize { found, signed: signed_size };
    assert_eq!(history.hold_to(&signed(&records[1..])), Err(shorter));
}

#[test]
fn a_use_that_was_allowed_at_or_after_the_revocation_is_found() {
    for decided in [0, 1] {
        let (mut log, revoked) = history();
        let last = log.last_mut().unwrap();
        let Event::KeyUsed(used) = &mut last.event else { panic!("uses") };
        let at = Position::new(revoked.get() + decided).unwrap();
        used.window.positions = Some((Position::FIRST, at));
        let position = last.position;
        let found = taken(&encoded(&log)).unwrap_err();
        assert_eq!(found, Unsound::UsedAfterRevocation { position, revoked });
    }
}

#[test]
fn uses_that_were_allowed_at_no_position_and_uses_of_no_key_are_found() {
    let (mut log, _) = history();
    let last = log.last_mut().unwrap();
    let Event::KeyUsed(used) = &mut last.event else { panic!("uses") };
    used.window.positions = None;
    let position = last.position;
    assert_eq!(taken(&encoded(&log)).unwrap_err(), Unsound::UsedNowhere { position });
    log.last_mut().unwrap().subject = Subject::Service;
    assert_eq!(taken(&encoded(&log)).unwrap_err(), Unsound::UsesOfNoKey { position });
}

#[test]
fn totals_that_are_not_the_sum_of_the_uses_are_found() {
    let (mut log, _) = history();
    let last = log.last_mut().unwrap();
    let Event::KeyUsed(used) = &mut last.event else { panic!("uses") };
    used.total_allowed -= 1;
    let position = last.position;
    assert_eq!(taken(&encoded(&log)).unwrap_err(), Unsound::BrokenTotals { position });
}

#[test]
fn a_record_that_skips_one_of_its_subject_is_found() {
    let (mut log, revoked) = history();
    let skipping = log.iter_mut().find(|fact| fact.position == revoked).unwrap();
    skipping.previous = Position::new(skipping.previous.unwrap().get() - 1);
    assert_eq!(taken(&encoded(&log)).unwrap_err(), Unsound::BrokenChain { position: revoked });
}

#[test]
fn what_is_disclosed_must_be_what_the_record_commits_to() {
    let (mut log, _) = history();
    let clear = |name: &str| {
        let personal = Personal { name: name.to_owned(), ..Personal::default() };
        encode_personal(&personal, [7; record::SALT_BYTES])
    };
    let (told, other) = (clear("nightly export"), clear("somebody else"));
    let last = log.last_mut().unwrap();
    let bound = private();
    last.private = Some(crate::domain::sealed::Private { commitment: commitment(&told), ..bound });
    last.event_id = last.private.as_ref().unwrap().event_id;
    let (position, records) = (last.position, encoded(&log));
    let (end, before) = records.split_last().unwrap();
    let held = taken(before).unwrap();
    assert_eq!(held.clone().take(end, Some(&told)), Ok(()));
    assert_eq!(held.clone().take(end, None), Ok(()));
    let wrong = Err(Unsound::OtherDisclosure { position });
    assert_eq!(held.clone().take(end, Some(&other)), wrong);
    // Of a record that commits to nothing nothing can be disclosed.
    let first = History::default().take(&records[0], Some(&told));
    assert_eq!(first, Err(Unsound::OtherDisclosure { position: Position::FIRST }));
}

#[test]
fn a_record_older_than_the_one_before_it_is_found() {
    let (mut log, _) = history();
    let last = log.last_mut().unwrap();
    let position = last.position;
    last.time = at(-1);
    assert_eq!(taken(&encoded(&log)).unwrap_err(), Unsound::OutOfTime { position });
}

#[test]
fn a_key_does_not_change_its_account() {
    let (mut log, revoked) = history();
    let moved = log.iter_mut().find(|fact| fact.position == revoked).unwrap();
    moved.subject = Subject::Key(account("b"), key_id(1));
    assert_eq!(taken(&encoded(&log)).unwrap_err(), Unsound::BrokenChain { position: revoked });
}

#[test]
fn records_that_were_signed_before_must_still_be_there() {
    let records = encoded(&history().0);
    let seen = signed(&records[..3]);
    let mut history = History::default();
    history.expect(&seen);
    records.iter().try_for_each(|record| history.take(record, None)).unwrap();
    let mut other = History::default();
    other.expect(&Checkpoint { root: leaf_hash(b"other"), ..seen });
    let result = records.iter().try_for_each(|record| other.take(record, None));
    assert_eq!(result, Err(Unsound::OtherRoot { size: 3 }));
}

#[test]
fn a_history_that_was_kept_goes_on_as_one_that_was_read_through() {
    let records = encoded(&history().0);
    let through = taken(&records).unwrap();
    for size in 0..=records.len() {
        let kept = taken(&records[..size]).unwrap().to_bytes("example.com/log");
        let mut resumed = History::from_bytes(&kept, "example.com/log").unwrap();
        records[size..].iter().try_for_each(|record| resumed.take(record, None)).unwrap();
        assert_eq!(resumed, through);
        assert_eq!(resumed.tally().records, records.len() as u64);
    }
}

/// A record with where it is, and what proves it.
type Proved = (u64, Vec<u8>, Vec<Hash>);

/// The records of key 1.
fn of_key() -> (Vec<Proved>, Checkpoint) {
    let log = history().0;
    let records = encoded(&log);
    let leaves: Vec<Hash> = records.iter().map(|record| leaf_hash(record)).collect();
    let node = |level: u32, at: u64| {
        let width = 1 << level;
        let first = usize::try_from(at).unwrap() * width;
        let mut tree = Frontier::new();
        leaves[first..first + width].iter().for_each(|leaf| tree.push(*leaf));
        Ok::<_, BadProof>(tree.root())
    };
    let size = records.len() as u64;
    let of_it = log.iter().zip(&records);
    let of_it =
        of_it.filter(|(fact, _)| matches!(&fact.subject, Subject::Key(_, id) if *id == key_id(1)));
    let shown = of_it.map(|(fact, record)| {
        let position = fact.position.get();
        (position, record.clone(), inclusion_proof(node, position - 1, size).unwrap())
    });
    (shown.collect(), signed(&records))
}

fn scope() -> Scope {
    Scope::parse("", "", &key_id(1).to_string()).unwrap()
}

#[test]
fn a_part_holds_if_each_of_its_records_is_proved_and_none_is_missing() {
    let (shown, checkpoint) = of_key();
    let mut part = Part::of(scope());
    for (position, record, proof) in &shown {
        let leaf = part.take(*position, record, None).unwrap();
        assert_eq!(leaf.hold_to(&checkpoint, proof), Ok(()));
        let other = Checkpoint { root: leaf_hash(b"other"), ..checkpoint.clone() };
        assert!(matches!(leaf.hold_to(&other, proof), Err(Unsound::NotIncluded { .. })));
    }
    part.proved(checkpoint.size, &checkpoint);
    assert_eq!((part.reached(), part.tally().keys), (checkpoint.size, 1));
    for missing in 0..shown.len() - 1 {
        let mut part = Part::of(scope());
        let rest = shown.iter().enumerate().filter(|(at, _)| *at != missing);
        let mut taken = rest.map(|(_, (position, record, _))| part.take(*position, record, None));
        let broken = taken.find_map(Result::err);
        assert!(matches!(broken, Some(Unsound::BrokenChain { .. })), "{missing}: {broken:?}");
    }
}

#[test]
fn a_part_takes_what_was_asked_for_in_order_and_nothing_else() {
    let (shown, _) = of_key();
    let log = history().0;
    let (position, record, _) = &shown[0];
    let mut part = Part::of(scope());
    let foreign = encode(&log[0]);
    assert_eq!(part.take(1, &foreign, None), Err(Unsound::NotAsked { position: log[0].position }));
    let elsewhere = part.take(position + 1, record, None);
    assert!(matches!(elsewhere, Err(Unsound::Misplaced { .. })), "{elsewhere:?}");
    part.take(*position, record, None).unwrap();
    let (said, reached) = (*position, *position);
    assert_eq!(part.take(said, record, None), Err(Unsound::OutOfOrder { said, reached }));
    assert_eq!(part.take(0, record, None), Err(Unsound::OutOfOrder { said: 0, reached }));
}

#[test]
fn a_scope_names_ids_and_nothing_else() {
    assert_eq!(Scope::parse("", "", ""), Some(Scope::default()));
    assert!(Scope::parse("acme", "billing", "").is_some());
    for (tenant, account, key) in [("/", "", ""), ("acme", "a b", ""), ("", "", "key_")] {
        assert_eq!(Scope::parse(tenant, account, key), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_altered_history_holds(
        way in 0..6_u8,
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        let records = encoded(&history().0);
        let mut altered = records.clone();
        let (at, other) = (at.index(records.len()), other.index(records.len()));
        match way {
            0 => drop(altered.remove(at)),
            1 => altered.swap(at, other),
            2 => altered.insert(at, records[other].clone()),
            3 => altered.truncate(at),
            4 => altered[at] = records[other].clone(),
            _ => {
                let byte = other % altered[at].len();
                altered[at][byte] ^= flip;
            }
        }
        prop_assume!(altered != records);
        let held = taken(&altered).and_then(|history| history.hold_to(&signed(&records)));
        prop_assert!(held.is_err());
    }
}
