//! A world for tests of the rules: the facts on plain maps, and given / when / then over them.

mod build;
pub(crate) mod play;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::account::Account;
use crate::domain::account_rules::PutAccount;
use crate::domain::apply::{DoesNotFollow, apply};
use crate::domain::caller::{Caller, Role};
use crate::domain::command::{Act, Command, Decision, decide};
use crate::domain::event::{Actor, Event, Proposal, Recorded};
use crate::domain::facts::{Facts, FactsMut};
use crate::domain::ids::{AccountRef, CallerId, EventId, KeyId, PepperVersion, Position};
use crate::domain::key::Key;
use crate::domain::key::RevokeReason;
use crate::domain::key_rules::{RetireKey, RotateKey, UpdateKey};
use crate::domain::log_state::LogState;
use crate::domain::peppers::{Peppers, Retirement, ended_key, works_on};
use crate::domain::policy::Policy;
use crate::domain::refusal::Refusal;
use crate::domain::requests::{REMEMBERED_FOR, Remembered, RequestKey};
use crate::domain::source::Sources;
use crate::domain::subject::Subject;
use crate::domain::time::Time;

pub(crate) use build::*;

/// The facts so far, as plain maps, and the clock.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) keys: BTreeMap<KeyId, Key>,
    pub(crate) accounts: BTreeMap<AccountRef, Arc<Account>>,
    pub(crate) log: Vec<Recorded>,
    open: BTreeMap<AccountRef, BTreeSet<(KeyId, Option<Time>)>>,
    callers: BTreeMap<CallerId, Arc<Caller>>,
    policy: Arc<Policy>,
    peppers: Arc<Peppers>,
    requests: HashMap<RequestKey, Remembered>,
    service_position: Option<Position>,
    log_state: Arc<LogState>,
}

impl World {
    /// Before the first record, at [`at`]`(0)`.
    pub(crate) fn empty() -> Self {
        World {
            now: at(0),
            keys: BTreeMap::new(),
            accounts: BTreeMap::new(),
            log: Vec::new(),
            open: BTreeMap::new(),
            callers: BTreeMap::new(),
            policy: Arc::default(),
            peppers: Arc::default(),
            requests: HashMap::new(),
            service_position: None,
            log_state: Arc::default(),
        }
    }

    /// With [`policy`] in force and the caller [`ADMIN`].
    pub(crate) fn new() -> Self {
        let mut world = World::empty();
        world.given(Subject::Service, Event::PolicyChanged(policy()));
        world.given(Subject::Caller(ADMIN), Event::CallerCreated(caller(&[Role::Admin], &[])));
        world
    }

    /// As [`World::new`], with the account `acme/a` on the plan `standard`.
    pub(crate) fn with_account() -> Self {
        let mut world = World::new();
        world.does(Act::PutAccount(put("a")));
        world
    }

    /// As [`World::with_account`], with [`key_id`]`(1)` in that account.
    pub(crate) fn with_key() -> Self {
        let mut world = World::with_account();
        world.does(Act::CreateKey(create("a", 1)));
        world
    }

    /// Lets `seconds` pass.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    /// Given that this happened: records and applies it.
    pub(crate) fn given(&mut self, subject: Subject, event: Event) -> Position {
        let proposal = Proposal { subject, event, private: None };
        let command = by(the_service(), Act::SetPolicy(Policy::default()));
        let fact = self.record(&command, proposal);
        self.take(&fact).expect("the given event follows");
        fact.position
    }

    /// When the admin asks this: the events that follow, not applied.
    pub(crate) fn when(&self, act: Act) -> Result<Vec<Event>, Refusal> {
        self.when_by(admin(), act)
    }

    /// When this actor asks this: the events that follow, not applied.
    pub(crate) fn when_by(&self, actor: Actor, act: Act) -> Result<Vec<Event>, Refusal> {
        match decide(self, &by(actor, act), self.now)? {
            Decision::Events(proposals) => {
                Ok(proposals.into_iter().map(|proposal| proposal.event).collect())
            }
            Decision::Repeat(_) => panic!("the command has no request id"),
        }
    }

    /// The admin asks this and it is done; answers the position of the last record.
    pub(crate) fn does(&mut self, act: Act) -> Position {
        let done = self.carry_out(&by(admin(), act)).expect("not refused");
        done.expect("something changes")
    }

    /// Decides and applies; answers the position of the last record, of the first time if repeated.
    pub(crate) fn carry_out(&mut self, command: &Command) -> Result<Option<Position>, Refusal> {
        match decide(self, command, self.now)? {
            Decision::Repeat(found) => Ok(Some(found.position)),
            Decision::Events(proposals) => Ok(self.carry_out_all(command, proposals)),
        }
    }

    /// Records and applies proposals of one decision: all chained to what was before it.
    fn carry_out_all(&mut self, command: &Command, proposals: Vec<Proposal>) -> Option<Position> {
        let mut facts = Vec::new();
        for proposal in proposals {
            let mut fact = self.record(command, proposal);
            fact.position = Position::new(fact.position.get() + facts.len() as u64)?;
            facts.push(fact);
        }
        for fact in &facts {
            self.take(fact).expect("a decided event follows");
        }
        facts.last().map(|fact| fact.position)
    }

    /// The record that would come next.
    pub(crate) fn record(&self, command: &Command, proposal: Proposal) -> Recorded {
        let position = Position::new(self.log.len() as u64 + 1).expect("not 0");
        Recorded {
            position,
            event_id: EventId([0; 16]),
            time: self.now,
            previous: self.last_record(&proposal.subject),
            actor: command.actor,
            trace_id: command.trace_id,
            request: command.request,
            subject: proposal.subject,
            event: proposal.event,
            private: proposal.private,
        }
    }

    /// Applies a record and keeps it.
    pub(crate) fn take(&mut self, fact: &Recorded) -> Result<(), DoesNotFollow> {
        apply(self, fact)?;
        self.log.push(fact.clone());
        Ok(())
    }

    /// What UpdateKey asks if it changes nothing.
    pub(crate) fn update(&self, key: u8) -> UpdateKey {
        UpdateKey {
            key: key_id(key),
            scopes: None,
            expire_time: None,
            sources: Sources::Any,
            resealed: Vec::new(),
            basis: self.position_of(key),
            expected: None,
            private: private(),
        }
    }

    /// What RotateKey asks: `successor` takes over after `overlap` seconds.
    pub(crate) fn rotate(&self, key: u8, successor: u8, overlap: u64) -> RotateKey {
        RotateKey {
            key: key_id(key),
            successor: key_id(successor),
            tag: tag(successor),
            overlap: Duration::from_secs(overlap),
            retire_when_idle_for: None,
            reason: RevokeReason::Superseded,
            basis: self.position_of(key),
            sources: Sources::Any,
            private: private(),
            aside: None,
        }
    }

    /// What is asked of a key that was found unused, and never used.
    pub(crate) fn retire(&self, key: u8) -> RetireKey {
        RetireKey { key: key_id(key), basis: self.position_of(key), last_use: None }
    }

    /// What PutAccount asks of `acme/<name>` if it changes nothing.
    pub(crate) fn change(&self, name: &str) -> PutAccount {
        let basis = self.accounts.get(&*account(name)).map(|account| account.position);
        PutAccount { plan: None, basis, ..put(name) }
    }

    /// Where a key is; any position if there is no such key.
    fn position_of(&self, key: u8) -> Position {
        self.keys.get(&key_id(key)).map_or(Position::FIRST, Key::position)
    }
}

impl Facts for World {
    fn key(&self, id: &KeyId) -> Option<Key> {
        self.keys.get(id).cloned()
    }

    fn account(&self, account: &AccountRef) -> Option<Arc<Account>> {
        self.accounts.get(account).cloned()
    }

    fn each_account(&self, see: &mut dyn FnMut(&AccountRef, &Account)) {
        self.accounts.iter().for_each(|(name, account)| see(name, account));
    }

    fn open_keys(&self, account: &AccountRef, now: Time) -> u32 {
        let open = self.open.get(account).into_iter().flatten();
        let unexpired = open.filter(|(_, expire_time)| expire_time.is_none_or(|time| now < time));
        u32::try_from(unexpired.count()).expect("few")
    }

    fn caller(&self, id: &CallerId) -> Option<Arc<Caller>> {
        self.callers.get(id).cloned()
    }

    fn callers(&self) -> Vec<(CallerId, Arc<Caller>)> {
        self.callers.iter().map(|(id, caller)| (*id, Arc::clone(caller))).collect()
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    fn peppers(&self) -> Arc<Peppers> {
        Arc::clone(&self.peppers)
    }

    fn keys_on(&self, version: PepperVersion, now: Time) -> u64 {
        let on = self.keys.values().filter(|key| key.pepper == version && works_on(key, now));
        on.count() as u64
    }

    fn remembered(&self, key: &RequestKey, now: Time) -> Option<Remembered> {
        self.requests.get(key).filter(|found| now.since(found.time) < REMEMBERED_FOR).cloned()
    }

    fn service_position(&self) -> Option<Position> {
        self.service_position
    }

    fn log_state(&self) -> Arc<LogState> {
        Arc::clone(&self.log_state)
    }
}

impl FactsMut for World {
    fn put_key(&mut self, id: KeyId, key: Key) {
        self.keys.insert(id, key);
    }

    fn put_account(&mut self, name: &Arc<AccountRef>, account: Account) {
        self.accounts.insert(AccountRef::clone(name), Arc::new(account));
    }

    fn forget_sources(&mut self, account: &AccountRef) {
        let own = self.keys.values_mut().filter(|key| *key.account == *account);
        own.for_each(Key::forget_sources);
    }

    fn open_key(&mut self, account: &Arc<AccountRef>, key: KeyId, expire_time: Option<Time>) {
        let new =
            self.open.entry(AccountRef::clone(account)).or_default().insert((key, expire_time));
        assert!(new, "a key is opened once");
    }

    fn close_key(&mut self, account: &Arc<AccountRef>, key: KeyId, expire_time: Option<Time>) {
        let open = self.open.entry(AccountRef::clone(account)).or_default();
        assert!(open.remove(&(key, expire_time)), "what is closed was open");
    }

    fn put_caller(&mut self, id: CallerId, caller: Caller) {
        self.callers.insert(id, Arc::new(caller));
    }

    fn put_policy(&mut self, policy: Policy) {
        self.policy = Arc::new(policy);
    }

    fn put_peppers(&mut self, peppers: Peppers) {
        self.peppers = Arc::new(peppers);
    }

    fn end_keys(&mut self, version: PepperVersion, retirement: &Retirement) {
        let on = self.keys.iter().filter(|(_, key)| key.pepper == version);
        let ended: Vec<_> =
            on.filter_map(|(id, key)| Some((*id, ended_key(key, retirement)?))).collect();
        for (id, key) in ended {
            let before = self.keys.insert(id, key.clone()).expect("it was there");
            if before.counts() {
                self.close_key(&key.account, id, before.expire_time());
            }
        }
    }

    fn remember(&mut self, key: RequestKey, did: Remembered) {
        self.requests.insert(key, did);
    }

    fn put_service_position(&mut self, position: Position) {
        self.service_position = Some(position);
    }

    fn put_log_state(&mut self, state: LogState) {
        self.log_state = Arc::new(state);
    }
}
