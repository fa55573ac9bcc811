//! What holds whatever is asked in whatever order: deciding and applying never break an invariant,
//! and an overlay answers as its base would once the group is applied to it.

use std::collections::{BTreeSet, HashMap};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::domain::account::AccountStatus;
use crate::domain::apply::apply;
use crate::domain::caller::Role;
use crate::domain::event::KeyCreated;
use crate::domain::ids::{KeyId, Position};
use crate::domain::key::{Key, KeyState};
use crate::domain::overlay::Overlay;
use crate::domain::permission::Permissions;
use crate::domain::policy::Plan;
use crate::domain::requests::Method;
use crate::domain::testing::*;

const ACCOUNTS: [&str; 2] = ["a", "b"];
const PLANS: [&str; 3] = ["tiny", "standard", "enterprise"];
const SCOPES: [&[&str]; 5] = [&[], &["*"], &["a:*"], &["a:x", "b:*"], &["a:x"]];
const WORDS: [&str; 6] = ["a:x", "a:y", "a:*", "b:z", "c", "*"];
const STATUSES: [AccountStatus; 3] =
    [AccountStatus::Active, AccountStatus::Suspended, AccountStatus::Closed];

/// One step of a script. Keys and callers are chosen among those there are so far.
#[derive(Clone, Debug)]
enum Step {
    Put { account: usize, plan: Option<usize>, status: Option<usize> },
    Create { account: usize, scopes: Option<usize>, expires_in: Option<i64>, request: Option<u8> },
    Update { key: usize, scopes: Option<usize>, expires_in: Option<i64>, rename: bool },
    Disable(usize),
    Enable(usize),
    Rotate { key: usize, overlap: u64, request: Option<u8> },
    Revoke(usize),
    SetCap(u32),
    CreateCaller { admin: bool },
    RevokeCaller(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let scopes = || option::of(0..SCOPES.len());
    let expiry = || option::of(-1..40_i64);
    let request = || option::weighted(0.3, 0..3_u8);
    let (plan, status) = (option::of(0..PLANS.len()), option::weighted(0.3, 0..10_usize));
    prop_oneof![
        3 => (0..2_usize, plan, status)
            .prop_map(|(account, plan, status)| Step::Put { account, plan, status }),
        8 => (0..2_usize, scopes(), expiry(), request()).prop_map(
            |(account, scopes, expires_in, request)| {
                Step::Create { account, scopes, expires_in, request }
            }
        ),
        5 => (0..9_usize, scopes(), expiry(), any::<bool>()).prop_map(
            |(key, scopes, expires_in, rename)| Step::Update { key, scopes, expires_in, rename }
        ),
        2 => (0..9_usize).prop_map(Step::Disable),
        2 => (0..9_usize).prop_map(Step::Enable),
        4 => (0..9_usize, 0..30_u64, request())
            .prop_map(|(key, overlap, request)| Step::Rotate { key, overlap, request }),
        2 => (0..9_usize).prop_map(Step::Revoke),
        1 => (0..4_u32).prop_map(Step::SetCap),
        1 => any::<bool>().prop_map(|admin| Step::CreateCaller { admin }),
        1 => (0..4_usize).prop_map(Step::RevokeCaller),
        3 => (1..20_u64).prop_map(Step::Wait),
    ]
}

/// A world on its way through a script.
struct Play {
    world: World,
    /// Ids already given to keys, and to callers.
    used: u8,
}

impl Play {
    /// Both accounts are there from the start: one on the plan `standard`, one on `tiny`.
    fn new() -> Self {
        let mut world = World::new();
        for (name, plan) in [("a", "standard"), ("b", "tiny")] {
            world.does(Act::PutAccount(crate::domain::account_rules::PutAccount {
                plan: Some(plan_name(plan)),
                ..put(name)
            }));
        }
        Play { world, used: 0 }
    }

    fn fresh(&mut self) -> u8 {
        self.used += 1;
        self.used
    }

    /// The `n`th key there is; one that never was if there is none.
    fn pick(&self, n: usize) -> u8 {
        let ids: Vec<&KeyId> = self.world.keys.keys().collect();
        ids.get(n % ids.len().max(1)).map_or(0xff, |id| id.0[0])
    }

    /// What the step asks of the world as it is; none if it only lets time pass.
    fn command(&mut self, step: &Step) -> Option<Command> {
        let until = |seconds: &Option<i64>, now: Time| {
            seconds.map(|seconds| Time::from_micros(now.as_micros() + seconds * 1_000_000))
        };
        let now = self.world.now;
        let mut name = None;
        let act = match step {
            Step::Wait(seconds) => {
                self.world.wait(*seconds);
                return None;
            }
            Step::Put { account, plan, status } => {
                let mut put = self.world.change(ACCOUNTS[*account]);
                put.plan = plan.map(|plan| plan_name(PLANS[plan]));
                // Mostly active: a closed account has no further story.
                put.status = status.map(|n| STATUSES[[0, 0, 0, 0, 0, 1, 1, 1, 1, 2][n]]);
                Act::PutAccount(put)
            }
            Step::Create { account, scopes, expires_in, request } => {
                name = request.map(|id| (Method::CreateKey, id));
                let mut create = create(ACCOUNTS[*account], self.fresh());
                create.created = KeyCreated {
                    scopes: scopes.map(|n| permissions(SCOPES[n])),
                    expire_time: until(expires_in, now),
                    ..create.created
                };
                Act::CreateKey(create)
            }
            Step::Update { key, scopes, expires_in, rename } => {
                let mut update = self.world.update(self.pick(*key));
                update.scopes = scopes.map(|n| permissions(SCOPES[n]));
                update.expire_time = until(expires_in, now);
                update.resealed = if *rename { vec!["name"] } else { Vec::new() };
                Act::UpdateKey(update)
            }
            Step::Disable(key) => Act::DisableKey(switch(self.pick(*key))),
            Step::Enable(key) => Act::EnableKey(switch(self.pick(*key))),
            Step::Rotate { key, overlap, request } => {
                name = request.map(|id| (Method::RotateKey, id));
                let successor = self.fresh();
                Act::RotateKey(self.world.rotate(self.pick(*key), successor, *overlap))
            }
            Step::Revoke(key) => Act::RevokeKey(revoke(self.pick(*key))),
            Step::SetCap(cap) => {
                let mut policy = policy();
                policy.plans.insert(plan_name("standard"), Plan { active_keys: Some(*cap) });
                Act::SetPolicy(policy)
            }
            Step::CreateCaller { admin } => {
                let role = if *admin { Role::Admin } else { Role::Issuer };
                Act::CreateCaller(create_caller(self.fresh(), caller(&[role], &[])))
            }
            Step::RevokeCaller(n) => {
                let callers = self.world.callers();
                let caller = callers[n % callers.len()].0;
                Act::RevokeCaller(RevokeCaller { caller, private: None })
            }
        };
        // The digest is that of the id: a repeat asks the same.
        let request = name.map(|(method, id)| Request { id: [id; 16], method, digest: [id; 16] });
        Some(Command { request, ..by(admin(), act) })
    }
}

/// How many keys of an account count to its cap, counted from the keys themselves.
fn recount(world: &World, name: &str) -> u32 {
    let counts = |key: &&Key| {
        let life = key.life.as_deref();
        key.account == account(name)
            && life.is_none_or(|life| life.rotation.is_none() && life.revocation.is_none())
            && key.expire_time().is_none_or(|time| world.now < time)
    };
    u32::try_from(world.keys.values().filter(counts).count()).unwrap()
}

fn cap(world: &World, name: &str) -> Option<u32> {
    let plan = &world.accounts[&*account(name)].state.plan;
    world.policy().plans.get(plan).and_then(|plan| plan.active_keys)
}

/// That `after` allows nothing that `before` did not.
fn narrower(before: Option<&Permissions>, after: Option<&Permissions>) -> bool {
    let allows = |set: Option<&Permissions>, word| set.is_none_or(|set| set.cover_text(word));
    WORDS.iter().all(|word| allows(before, word) || !allows(after, word))
}

/// What one step may do to the keys, accounts and callers there were.
fn check_step(before: &World, after: &World) -> Result<(), TestCaseError> {
    for (id, old) in &before.keys {
        let new = &after.keys[id];
        prop_assert!(narrower(old.scopes(), new.scopes()), "scopes of {id} widened");
        if let Some(expire_time) = old.expire_time() {
            prop_assert!(new.expire_time().is_some_and(|time| time <= expire_time));
        }
        let (old_life, new_life) = (old.life.as_deref(), new.life.as_deref());
        if let Some(revocation) = old_life.and_then(|life| life.revocation.as_ref()) {
            prop_assert_eq!(new_life.and_then(|life| life.revocation.as_ref()), Some(revocation));
            prop_assert_eq!(new.state_at(after.now), KeyState::Revoked);
        }
        if let Some(rotation) = old_life.and_then(|life| life.rotation.as_ref()) {
            prop_assert_eq!(new_life.and_then(|life| life.rotation.as_ref()), Some(rotation));
        }
    }
    for (name, old) in &before.accounts {
        let closed = old.state.status == AccountStatus::Closed;
        prop_assert!(!closed || after.accounts[name] == *old, "a closed account changed");
    }
    for name in ACCOUNTS {
        prop_assert_eq!(after.open_keys(&account(name), after.now), recount(after, name));
    }
    let governs = |(_, caller): &(_, std::sync::Arc<crate::domain::caller::Caller>)| {
        caller.holds(crate::domain::caller::Roles::of(&[Role::Admin]), &[])
            && caller.works_at(after.now)
    };
    prop_assert!(after.callers().iter().any(governs), "no admin is left");
    Ok(())
}

/// That every key has one successor and every successor one predecessor, which know each other.
fn check_succession(world: &World) -> Result<(), TestCaseError> {
    let mut successors = BTreeSet::new();
    for (id, key) in &world.keys {
        let Some(rotation) = key.life.as_ref().and_then(|life| life.rotation.as_ref()) else {
            continue;
        };
        prop_assert!(successors.insert(rotation.successor), "a key has two predecessors");
        let successor = &world.keys[&rotation.successor];
        prop_assert_eq!(successor.life.as_ref().and_then(|life| life.replaces), Some(*id));
        prop_assert_eq!(&successor.account, &key.account);
    }
    Ok(())
}

/// That positions have no gaps and each record names the one before it of its subject.
fn check_chains(world: &World) -> Result<(), TestCaseError> {
    let mut last: HashMap<&Subject, Position> = HashMap::new();
    for (at, fact) in (1..).zip(&world.log) {
        prop_assert_eq!(fact.position.get(), at);
        prop_assert_eq!(fact.previous, last.insert(&fact.subject, fact.position));
    }
    for (subject, position) in last {
        prop_assert_eq!(world.last_record(subject), Some(position));
    }
    Ok(())
}

/// That both answer every question alike.
fn check_alike(overlay: &impl Facts, direct: &World) -> Result<(), TestCaseError> {
    for id in (0..=u8::MAX).map(|n| KeyId([n; 12])) {
        prop_assert_eq!(overlay.key(&id), direct.key(&id));
    }
    for name in ACCOUNTS {
        prop_assert_eq!(overlay.account(&account(name)), direct.account(&account(name)));
        for seconds in 0..45 {
            let time = direct.now.plus(std::time::Duration::from_secs(seconds));
            let expected = direct.open_keys(&account(name), time);
            prop_assert_eq!(overlay.open_keys(&account(name), time), expected, "in {} s", seconds);
        }
    }
    let mut callers = overlay.callers();
    callers.sort_by_key(|(id, _)| *id);
    prop_assert_eq!(callers, direct.callers());
    prop_assert_eq!(overlay.policy(), direct.policy());
    prop_assert_eq!(overlay.service_position(), direct.service_position());
    for method in [Method::CreateKey, Method::RotateKey] {
        for id in 0..3 {
            let key = RequestKey { caller: ADMIN, method, id: [id; 16] };
            let expected = direct.remembered(&key, direct.now);
            prop_assert_eq!(overlay.remembered(&key, direct.now), expected);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn deciding_and_applying_never_break_an_invariant(script in vec(step(), 1..60)) {
        let mut play = Play::new();
        for step in &script {
            let before = play.world.clone();
            let Some(command) = play.command(step) else { continue };
            let refused = play.world.carry_out(&command).is_err();
            prop_assert!(!refused || play.world.log.len() == before.log.len());
            check_step(&before, &play.world)?;
            if let (Act::CreateKey(create), true) = (&command.act, play.world.log.len() > before.log.len()) {
                let name = create.account.account.as_str();
                let within = cap(&play.world, name).is_none_or(|cap| recount(&play.world, name) <= cap);
                prop_assert!(within, "a key was created beyond the cap of {name}");
            }
        }
        check_succession(&play.world)?;
        check_chains(&play.world)?;
    }

    #[test]
    fn an_overlay_answers_as_its_base_would(
        script in vec(step(), 0..20), group in vec(step(), 1..20),
    ) {
        let mut play = Play::new();
        for step in &script {
            if let Some(command) = play.command(step) {
                let _ = play.world.carry_out(&command);
            }
        }
        // All of a group is decided at one time.
        let group = group.iter().filter(|step| !matches!(step, Step::Wait(_)));
        let base = play.world.clone();
        let mut overlay = Overlay::new(&base);
        for step in group {
            let command = play.command(step).expect("a command");
            let now = play.world.now;
            let decided = format!("{:?}", decide(&overlay, &command, now));
            prop_assert_eq!(decided, format!("{:?}", decide(&play.world, &command, now)));
            let known = play.world.log.len();
            let _ = play.world.carry_out(&command);
            for fact in &play.world.log[known..] {
                prop_assert_eq!(apply(&mut overlay, fact), Ok(()));
            }
        }
        check_alike(&overlay, &play.world)?;
    }
}

/// The properties say little if most of a script is refused.
#[test]
fn scripts_do_most_of_what_they_ask() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let script = vec(step(), 400).new_tree(&mut runner).unwrap().current();
    let (mut done, mut asked) = (BTreeSet::new(), 0);
    let (mut events, mut play) = (0, Play::new());
    for step in script {
        // A story of its own from time to time, since accounts get closed and ids run out.
        if asked % 40 == 0 {
            play = Play::new();
        }
        asked += 1;
        let Some(command) = play.command(&step) else { continue };
        if let Ok(Decision::Events(proposals)) = decide(&play.world, &command, play.world.now) {
            events += usize::from(!proposals.is_empty());
            done.extend(proposals.iter().map(|proposal| proposal.event.kind() as u32));
        }
        let _ = play.world.carry_out(&command);
    }
    assert!(events > 100, "{events} of {asked}");
    assert_eq!(
        done.len(),
        10,
        "every kind of event of keys, accounts, callers and policy: {done:?}"
    );
}
