//! Putting uses on record: what was counted becomes events, each once.

use std::sync::Arc;

use crate::domain::event::{Event, Proposal};
use crate::domain::facts::{Facts, FactsMut};
use crate::domain::ids::{AccountRef, KeyId, Position};
use crate::domain::log_state::LogState;
use crate::domain::refusal::Refusal;
use crate::domain::sealed::Private;
use crate::domain::subject::Subject;
use crate::domain::usage::used::{KeyUsed, UnknownKeyTried, UsageGap, UsedWindow};
use crate::domain::usage::{UseOutcome, Used};

/// A key's window to put on record.
#[derive(Clone, Debug)]
pub struct RecordUses {
    /// Which key.
    pub key: KeyId,
    /// Its account.
    pub account: Arc<AccountRef>,
    /// The usage journal that holds the uses.
    pub journal: u64,
    /// Tells the events of one journal and key apart.
    pub part: u32,
    /// The uses.
    pub window: UsedWindow,
    /// The sealed sources and agents.
    pub private: Option<Private>,
}

/// A window of unknown keys to put on record.
#[derive(Clone, Debug)]
pub struct RecordUnknown {
    /// What is recorded.
    pub tried: UnknownKeyTried,
    /// The sealed sources and agents.
    pub private: Option<Private>,
}

/// Decides that a key's uses go on record, with its running totals; of an erased account without where they came
/// from.
///
/// # Errors
/// [`Refusal::KeyNotFound`] if there is no such key of that account.
pub fn decide_uses(facts: &impl Facts, uses: &RecordUses) -> Result<Vec<Proposal>, Refusal> {
    let key = facts.key(&uses.key).filter(|key| key.account == uses.account);
    let before = key.ok_or(Refusal::KeyNotFound)?.used;
    let before = before.map(|used| used.counts).unwrap_or_default();
    let (mut window, mut private) = (uses.window.clone(), uses.private.clone());
    if facts.account(&uses.account).is_some_and(|account| account.erased) {
        window.forget_origins();
        private = None;
    }
    let after = before.plus(window.use_counts());
    let event = Event::KeyUsed(Box::new(KeyUsed {
        journal: uses.journal,
        part: uses.part,
        total_allowed: after.allowed,
        total_denied: after.denied,
        window,
    }));
    let subject = Subject::Key(Arc::clone(&uses.account), uses.key);
    Ok(vec![Proposal { subject, event, private }])
}

/// Decides that tries of unknown keys go on record.
#[must_use]
pub fn decide_unknown(unknown: &RecordUnknown) -> Vec<Proposal> {
    let event = Event::UnknownKeyTried(Box::new(unknown.tried.clone()));
    vec![Proposal { subject: Subject::Service, event, private: unknown.private.clone() }]
}

/// Decides that a gap goes on record.
#[must_use]
pub fn decide_gap(gap: UsageGap) -> Vec<Proposal> {
    vec![Proposal { subject: Subject::Service, event: Event::UsageGap(gap), private: None }]
}

/// What is known of a key's uses after a record of more of them; none if the record does not follow:
/// its totals are not those before and its own together, or it holds what is no use of a key.
#[must_use]
pub fn used_after(before: Option<&Used>, used: &KeyUsed, recorded: Position) -> Option<Used> {
    let before = before.map(|used| used.counts).unwrap_or_default();
    let window = &used.window;
    let counts = before.plus(window.use_counts());
    let follows = (used.total_allowed, used.total_denied) == (counts.allowed, counts.denied)
        && window.holds_together()
        && window.totals.iter().all(|total| total.outcome.is_of_key());
    follows.then_some(Used { recorded, counts })
}

/// Whether tries of unknown keys can be what a record says of them.
#[must_use]
pub fn unknown_follows(tried: &UnknownKeyTried) -> bool {
    let unknown = |outcome: UseOutcome| !outcome.is_of_key();
    let window = &tried.window;
    window.holds_together() && window.totals.iter().all(|total| unknown(total.outcome))
}

/// Notes the journal that a record names, so that no later one has its number.
pub fn note_journal(facts: &mut impl FactsMut, journal: u64) {
    let state = facts.log_state();
    if journal > state.last_journal {
        facts.put_log_state(LogState { last_journal: journal, ..LogState::clone(&state) });
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
