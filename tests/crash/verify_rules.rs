//! The check of a recovered log, held to each way in which a log can be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyledger::domain::event::{Actor, Event, Mechanism, Recorded};
use keyledger::domain::ids::{AccountId, AccountRef, EventId, KeyId, Position, TenantId};
use keyledger::domain::key::RevokeReason;
use keyledger::domain::subject::Subject;
use keyledger::domain::time::Time;
use keyledger::ledger::record::encode;
use keyledger::merkle::{Frontier, leaf_hash};

use super::truth::{Truth, hash};
use super::verify::{Act, Change, Demand, Seen, verify};

const KEY: KeyId = KeyId([7; 12]);

fn record(position: u64, event: Event, mechanism: Mechanism) -> Vec<u8> {
    let tenant = TenantId::parse("acme").expect("a constant");
    let account = AccountRef { tenant, account: AccountId::parse("billing").expect("a constant") };
    encode(&Recorded {
        position: Position::new(position).expect("from 1"),
        event_id: EventId([1; 16]),
        time: Time::from_micros(1),
        previous: None,
        actor: Actor { caller: None, mechanism },
        trace_id: None,
        request: None,
        subject: Subject::Key(Arc::new(account), KEY),
        event,
        private: None,
    })
}

fn revoked() -> Event {
    Event::KeyRevoked { reason: RevokeReason::Unspecified, leaked: false }
}

/// A key that works, is disabled, works again, and is revoked.
fn log() -> Vec<Vec<u8>> {
    let events = [Event::KeyEnabled, Event::KeyDisabled, Event::KeyEnabled, revoked()];
    let records = (1..).zip(events);
    records.map(|(position, event)| record(position, event, Mechanism::Bearer)).collect()
}

fn truth(log: &[Vec<u8>]) -> Truth {
    let records: Vec<_> = log.iter().map(|record| hash(record)).collect();
    let proposed: BTreeSet<_> = (1..).zip(records.iter().copied()).collect();
    Truth { records, proposed, ..Truth::default() }
}

fn seen(log: &[Vec<u8>], state: &str, verdict: Option<(&str, u64)>) -> Seen {
    let mut frontier = Frontier::new();
    log.iter().for_each(|record| frontier.push(leaf_hash(record)));
    let verdict = verdict.map(|(why, evidence)| (why.to_owned(), evidence));
    Seen {
        head: log.len() as u64,
        root: frontier.root().0,
        verdicts: vec![(KEY.to_string(), verdict)],
        listed: BTreeMap::from([(KEY.to_string(), state.to_owned())]),
    }
}

fn problem(log: &[Vec<u8>], answered: u64, seen: &[Seen], acts: &[Act]) -> String {
    let truth = truth(&self::log());
    verify(log, &Demand { truth: &truth, answered, seen, acts }).err().unwrap_or_default()
}

#[test]
fn a_log_as_it_was_is_right_and_so_is_one_that_lost_what_nobody_was_told_of() {
    let log = log();
    let seen = [
        seen(&log[..1], "Active", None),
        seen(&log[..2], "Disabled", Some(("Disabled", 2))),
        seen(&log, "Revoked", Some(("Revoked", 4))),
    ];
    assert_eq!(problem(&log, 4, &seen, &[]), "");
    assert_eq!(problem(&log[..2], 2, &seen[..2], &[]), "");
}

#[test]
fn an_acknowledged_record_that_is_lost_or_changed_is_found() {
    let mut log = log();
    assert_eq!(problem(&log[..3], 4, &[], &[]), "acknowledged position 4 of 4 is lost");
    log[1] = record(2, revoked(), Mechanism::Bearer);
    assert_eq!(problem(&log, 4, &[], &[]), "acknowledged position 2 has other bytes");
}

#[test]
fn a_record_that_was_never_proposed_is_found_unless_recovery_or_the_gate_made_it() {
    let mut log = log();
    log.push(record(5, Event::KeyDisabled, Mechanism::Bearer));
    assert!(problem(&log, 2, &[], &[]).starts_with("position 5 was never proposed"));
    let act = Act { position: 5, key: KEY.to_string(), what: Change::Revoked };
    assert!(problem(&log, 2, &[], std::slice::from_ref(&act)).contains("was acknowledged, now"));
    log[4] = record(5, revoked(), Mechanism::Bearer);
    assert_eq!(problem(&log, 2, &[], &[act]), "");
    log[4] = record(5, revoked(), Mechanism::Service);
    assert_eq!(problem(&log, 2, &[], &[]), "");
    // Nothing of the trace comes back behind what was made anew.
    log[2] = record(3, revoked(), Mechanism::Service);
    assert!(problem(&log, 2, &[], &[]).starts_with("position 4 was never proposed"));
}

#[test]
fn what_was_seen_once_and_is_gone_or_other_is_found() {
    let log = log();
    let all = seen(&log, "Revoked", Some(("Revoked", 4)));
    let gone = problem(&log[..3], 2, std::slice::from_ref(&all), &[]);
    assert_eq!(gone, "opening 1: head 4 was seen, the log ends at 3");
    let other = Seen { root: [0; 32], ..all };
    assert!(problem(&log, 4, &[other], &[]).contains("root seen at head 4"));
    let act = Act { position: 5, key: KEY.to_string(), what: Change::Revoked };
    assert!(problem(&log, 4, &[], &[act]).contains("was acknowledged and is lost"));
}

#[test]
fn a_table_that_is_no_fold_of_the_log_is_found() {
    let log = log();
    let cases = [
        ("Active", Some(("Revoked", 4)), "listed"),
        ("Revoked", None, "was judged None"),
        ("Revoked", Some(("Revoked", 2)), "was judged"),
        ("Revoked", Some(("Disabled", 4)), "was judged"),
    ];
    for (state, verdict, found) in cases {
        let seen = [seen(&log, state, verdict)];
        let problem = problem(&log, 4, &seen, &[]);
        assert!(problem.contains(found), "{state} {verdict:?}: {problem}");
    }
}
