//! Holds a recovered log, and what was seen of it on the way, to what must be true of it.

use std::collections::{BTreeMap, HashMap};

use keyledger::domain::event::{Event, Mechanism};
use keyledger::domain::ids::KeyId;
use keyledger::domain::key::KeyState;
use keyledger::domain::subject::Subject;
use keyledger::ledger::record;
use keyledger::merkle::{Frontier, leaf_hash};
use serde::{Deserialize, Serialize};

use super::truth::{Truth, hash};

/// What was seen through an open server before it was used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub head: u64,
    pub root: [u8; 32],
    /// What each key asked about was answered: none, it is allowed; else why not, and the evidence.
    pub verdicts: Vec<(String, Option<(String, u64)>)>,
    /// The list of keys, with their states.
    pub listed: BTreeMap<String, String>,
}

/// A change that was acknowledged to the gate when it used the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Act {
    pub position: u64,
    pub key: String,
    pub what: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Account,
    Created,
    Revoked,
}

/// What the log of a state must be.
#[derive(Debug)]
pub struct Demand<'a> {
    pub truth: &'a Truth,
    /// The last position the server had answered with when the crash came.
    pub answered: u64,
    /// In the order in which it was seen.
    pub seen: &'a [Seen],
    pub acts: &'a [Act],
}

/// Says what is wrong with the log, if anything is.
pub fn verify(log: &[Vec<u8>], demand: &Demand<'_>) -> Result<(), String> {
    let Demand { truth, answered, seen, acts } = demand;
    check_acknowledged(log, truth, *answered)?;
    check_proposed(log, demand)?;
    for (at, seen) in seen.iter().enumerate() {
        check_seen(log, seen).map_err(|problem| format!("opening {}: {problem}", at + 1))?;
    }
    acts.iter().try_for_each(|act| check_act(log, act))
}

fn check_acknowledged(log: &[Vec<u8>], truth: &Truth, answered: u64) -> Result<(), String> {
    for (position, expected) in (1..=answered).zip(&truth.records) {
        match log.get(index(position)) {
            None => return Err(format!("acknowledged position {position} of {answered} is lost")),
            Some(record) if hash(record) != *expected => {
                return Err(format!("acknowledged position {position} has other bytes"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Beyond what was acknowledged there may be what was under way, then what recovery itself and the
/// gate have added.
fn check_proposed(log: &[Vec<u8>], demand: &Demand<'_>) -> Result<(), String> {
    let mut added = false;
    for (position, record) in (1..).zip(log).skip(index(demand.answered + 1)) {
        if !added && demand.truth.proposed.contains(&(position, hash(record))) {
            continue;
        }
        added = true;
        let fact =
            record::decode(record).map_err(|error| format!("position {position}: {error}"))?;
        let is_ours = demand.acts.iter().any(|act| act.position == position);
        let is_services = fact.actor.mechanism == Mechanism::Service;
        if !is_ours && !is_services {
            return Err(format!("position {position} was never proposed: {:?}", fact.event));
        }
    }
    Ok(())
}

fn check_seen(log: &[Vec<u8>], seen: &Seen) -> Result<(), String> {
    let Some(then) = log.get(..index(seen.head + 1)) else {
        return Err(format!("head {} was seen, the log ends at {}", seen.head, log.len()));
    };
    let mut frontier = Frontier::new();
    then.iter().for_each(|record| frontier.push(leaf_hash(record)));
    if frontier.root().0 != seen.root {
        return Err(format!("the root seen at head {} is not that of the log", seen.head));
    }
    let keys = fold(then)?;
    let folded: BTreeMap<_, _> =
        keys.iter().map(|(id, key)| (id.to_string(), format!("{:?}", key.state))).collect();
    if folded != seen.listed {
        return Err(format!("listed {:?}, a fold of the log has {folded:?}", seen.listed));
    }
    for (id, verdict) in &seen.verdicts {
        let key = KeyId::parse(id).and_then(|id| keys.get(&id));
        let expected = match key {
            None => Some(("UnknownKey".to_owned(), 0)),
            Some(key) if key.state == KeyState::Active => None,
            Some(key) => Some((format!("{:?}", key.state), key.evidence)),
        };
        if *verdict != expected {
            return Err(format!(
                "{id} was judged {verdict:?}, a fold of the log says {expected:?}"
            ));
        }
    }
    Ok(())
}

fn check_act(log: &[Vec<u8>], act: &Act) -> Result<(), String> {
    let position = act.position;
    let record = log.get(index(position));
    let record = record.ok_or_else(|| format!("{act:?} was acknowledged and is lost"))?;
    let fact = record::decode(record).map_err(|error| format!("position {position}: {error}"))?;
    let is_about = match &fact.subject {
        Subject::Key(_, id) => id.to_string() == act.key,
        subject => matches!(subject, Subject::Account(_)) && act.key.is_empty(),
    };
    let is_it = match act.what {
        Change::Account => true,
        Change::Created => matches!(fact.event, Event::KeyCreated(_)),
        Change::Revoked => matches!(fact.event, Event::KeyRevoked { .. }),
    };
    if is_about && is_it { Ok(()) } else { Err(format!("{act:?} was acknowledged, now {fact:?}")) }
}

struct FoldedKey {
    state: KeyState,
    evidence: u64,
}

/// The keys as the log has them, folded without the project's own rules.
fn fold(log: &[Vec<u8>]) -> Result<HashMap<KeyId, FoldedKey>, String> {
    let mut keys = HashMap::new();
    for (position, record) in (1..).zip(log) {
        let fact =
            record::decode(record).map_err(|error| format!("position {position}: {error}"))?;
        let Subject::Key(_, id) = fact.subject else { continue };
        let state = match fact.event {
            Event::KeyCreated(_) | Event::KeyEnabled => KeyState::Active,
            Event::KeyDisabled => KeyState::Disabled,
            Event::KeyRotated { .. } | Event::KeyRetired { .. } => KeyState::Superseded,
            Event::KeyRevoked { .. } => KeyState::Revoked,
            _ => continue,
        };
        keys.insert(id, FoldedKey { state, evidence: position });
    }
    Ok(keys)
}

fn index(position: u64) -> usize {
    usize::try_from(position).expect("a small log") - 1
}
