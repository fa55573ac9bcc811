//! Commands: what may be asked of the writer, and the one door to deciding them.

use crate::domain::account_rules;
use crate::domain::account_rules::{EraseAccount, PutAccount};
use crate::domain::caller_rules;
use crate::domain::caller_rules::{CreateCaller, RevokeCaller, RotateCaller};
use crate::domain::conduct::{self, RecordConduct};
use crate::domain::event::{Actor, Event, Proposal};
use crate::domain::facts::Facts;
use crate::domain::ids::{PepperVersion, TraceId};
use crate::domain::key_rules::{
    self, CreateKey, RetireKey, RevokeKey, RotateKey, SwitchKey, UpdateKey,
};
use crate::domain::log_state::{self, LogRestored, LossResolved};
use crate::domain::peppers::{self, RehashCaller, RehashKey, RetirePepper, RotatePepper};
use crate::domain::policy::Policy;
use crate::domain::policy_rules;
use crate::domain::refusal::Refusal;
use crate::domain::requests::{Remembered, Request, RequestKey};
use crate::domain::signing::{self, SigningKey};
use crate::domain::subject::Subject;
use crate::domain::tag::{KeyTag, PepperCheck};
use crate::domain::time::Time;
use crate::domain::usage::rules::{self, RecordUnknown, RecordUses};
use crate::domain::usage::used::UsageGap;

/// What is asked.
#[derive(Clone, Debug)]
pub enum Act {
    /// Register or change an account.
    PutAccount(PutAccount),
    /// Close an account for ever and erase it.
    EraseAccount(EraseAccount),
    /// Create a key.
    CreateKey(CreateKey),
    /// Change a key's name, metadata, scopes, expiry or sources.
    UpdateKey(UpdateKey),
    /// Stop a key until it is enabled.
    DisableKey(SwitchKey),
    /// Let a disabled key work again.
    EnableKey(SwitchKey),
    /// Give a key a successor.
    RotateKey(RotateKey),
    /// End a rotated key's overlap early.
    RetireKey(RetireKey),
    /// Stop a key for ever.
    RevokeKey(RevokeKey),
    /// Make a caller.
    CreateCaller(CreateCaller),
    /// Give a caller a new secret.
    RotateCaller(RotateCaller),
    /// Stop a caller for ever.
    RevokeCaller(RevokeCaller),
    /// Put a key's uses on record.
    RecordUses(RecordUses),
    /// Put tries of unknown keys on record.
    RecordUnknown(RecordUnknown),
    /// Put on record that uses are missing.
    RecordGap(UsageGap),
    /// Put on record what was read of the history, or refused.
    RecordConduct(RecordConduct),
    /// Put plans and roles in force.
    SetPolicy(Policy),
    /// Put plans and roles in force, but take none away that accounts use.
    ChangePolicy(Policy),
    /// Put a pepper in force where none is.
    RegisterPepper {
        /// The pepper's number.
        version: PepperVersion,
        /// Tells a wrong pepper at start.
        check: PepperCheck,
    },
    /// Put another pepper in force.
    RotatePepper(RotatePepper),
    /// Let nothing be recognised by a pepper any more.
    RetirePepper(RetirePepper),
    /// Let a key's secret be recognised by the pepper in force.
    RehashKey(RehashKey),
    /// Let a caller's secret be recognised by the pepper in force.
    RehashCaller(RehashCaller),
    /// Let these keys sign checkpoints: at least one, each once.
    SetSigningKeys(Vec<SigningKey>),
    /// Let the log go on as another generation.
    RestoreLog(LogRestored),
    /// Settle what a restore lost.
    ResolveLoss(LossResolved),
}

impl Act {
    /// What is to recognise a new secret, if the act brings one.
    fn new_tag(&self) -> Option<&KeyTag> {
        match self {
            Act::CreateKey(create) => Some(&create.created.tag),
            Act::RotateKey(rotate) => Some(&rotate.tag),
            Act::CreateCaller(create) => Some(&create.created.tag),
            Act::RotateCaller(rotate) => Some(&rotate.tag),
            _ => None,
        }
    }
}

/// What is asked, by whom, as part of what.
#[derive(Clone, Debug)]
pub struct Command {
    /// What is asked.
    pub act: Act,
    /// By whom.
    pub actor: Actor,
    /// The trace the call is part of.
    pub trace_id: Option<TraceId>,
    /// The call's own name, if it has one.
    pub request: Option<Request>,
}

impl Command {
    /// What the command's request id is unique within; none if it has none or no caller asks.
    #[must_use]
    pub fn request_key(&self) -> Option<RequestKey> {
        let request = self.request.as_ref()?;
        Some(RequestKey { caller: self.actor.caller?, method: request.method, id: request.id })
    }
}

/// What follows from a command.
#[derive(Clone, Debug)]
pub enum Decision {
    /// These events, in this order; none: nothing has to change.
    Events(Vec<Proposal>),
    /// The call came before; this is what it did then.
    Repeat(Remembered),
}

/// Decides a command on the facts so far. Pure: `now` is the time the events will carry.
///
/// # Errors
/// [`Refusal`] says why nothing happens.
pub fn decide(facts: &impl Facts, command: &Command, now: Time) -> Result<Decision, Refusal> {
    if let (Some(key), Some(request)) = (command.request_key(), &command.request)
        && let Some(found) = facts.remembered(&key, now)
    {
        let same = found.digest == request.digest;
        return if same { Ok(Decision::Repeat(found)) } else { Err(Refusal::RequestIdReused) };
    }
    let actor = &command.actor;
    if actor.mechanism.is_of_a_caller() {
        let caller = actor.caller.and_then(|id| facts.caller(&id));
        if !caller.is_some_and(|caller| caller.works_at(now)) {
            return Err(Refusal::ActorOver);
        }
    }
    // Its pepper was retired between the making of the tag and now: nothing would ever recognise the secret.
    if command.act.new_tag().is_some_and(|tag| facts.peppers().is_retired(tag.pepper)) {
        return Err(Refusal::Moved);
    }
    match &command.act {
        Act::PutAccount(put) => account_rules::decide_put(facts, put),
        Act::EraseAccount(erase) => account_rules::decide_erase(facts, erase),
        Act::CreateKey(create) => key_rules::decide_create(facts, create, now),
        Act::UpdateKey(update) => key_rules::decide_update(facts, update, now),
        Act::DisableKey(switch) => key_rules::decide_disable(facts, switch, now),
        Act::EnableKey(switch) => key_rules::decide_enable(facts, switch, now),
        Act::RotateKey(rotate) => key_rules::decide_rotate(facts, rotate, now),
        Act::RetireKey(retire) => key_rules::decide_retire(facts, retire, now),
        Act::RevokeKey(revoke) => key_rules::decide_revoke(facts, revoke),
        Act::CreateCaller(create) => caller_rules::decide_create(facts, actor, create, now),
        Act::RotateCaller(rotate) => caller_rules::decide_rotate(facts, actor, rotate, now),
        Act::RevokeCaller(revoke) => caller_rules::decide_revoke(facts, actor, revoke, now),
        Act::RecordUses(uses) => rules::decide_uses(facts, uses),
        Act::RecordUnknown(unknown) => Ok(rules::decide_unknown(unknown)),
        Act::RecordGap(gap) => Ok(rules::decide_gap(*gap)),
        Act::RecordConduct(record) => Ok(conduct::decide(record)),
        Act::SetPolicy(policy) => Ok(policy_rules::decide_set(facts, policy)),
        Act::ChangePolicy(policy) => policy_rules::decide_change(facts, policy),
        Act::RegisterPepper { version, check } => Ok(register_pepper(facts, *version, *check)),
        Act::RotatePepper(rotate) => peppers::decide_rotate(facts, rotate),
        Act::RetirePepper(retire) => peppers::decide_retire(facts, retire, now),
        Act::RehashKey(rehash) => Ok(peppers::decide_rehash_key(facts, rehash, now)),
        Act::RehashCaller(rehash) => Ok(peppers::decide_rehash_caller(facts, rehash, now)),
        Act::SetSigningKeys(keys) => Ok(signing::decide_signing_keys(facts, keys)),
        Act::RestoreLog(restored) => log_state::decide_restored(facts, restored),
        Act::ResolveLoss(resolved) => log_state::decide_resolved(facts, resolved),
    }
    .and_then(|events| refuse_of_erased(facts, events))
    .map(Decision::Events)
}

/// Nothing more is sealed about an erased account: the key it would be sealed under is destroyed.
fn refuse_of_erased(facts: &impl Facts, events: Vec<Proposal>) -> Result<Vec<Proposal>, Refusal> {
    let erased = |event: &Proposal| match &event.subject {
        Subject::Key(account, _) | Subject::Account(account) => {
            event.private.is_some() && facts.account(account).is_some_and(|found| found.erased)
        }
        Subject::Caller(_) | Subject::Service => false,
    };
    if events.iter().any(erased) { Err(Refusal::AccountClosed) } else { Ok(events) }
}

fn register_pepper(
    facts: &impl Facts,
    version: PepperVersion,
    check: PepperCheck,
) -> Vec<Proposal> {
    if facts.peppers().current().is_some() {
        return Vec::new();
    }
    vec![service(Event::PepperRotated { version, check })]
}

fn service(event: Event) -> Proposal {
    Proposal { subject: Subject::Service, event, private: None }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "properties_tests.rs"]
mod properties;
