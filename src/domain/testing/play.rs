//! Scripts: random stories of accounts, keys and callers, for tests of what holds whatever is asked.

use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::domain::account::AccountStatus;
use crate::domain::account_rules::EraseAccount;
use crate::domain::caller_rules::{CreateCaller, RevokeCaller};
use crate::domain::event::{CallerCreated, KeyCreated};
use crate::domain::peppers::{RehashCaller, RehashKey, RetirePepper, RotatePepper, dependents};
use crate::domain::policy::Plan;
use crate::domain::requests::{Method, Request};
use crate::domain::source::SourceRange;
use crate::domain::tag::{KeyTag, PepperCheck, Tag};

/// The accounts of `acme` that a script is about.
pub(crate) const ACCOUNTS: [&str; 2] = ["a", "b"];
const PLANS: [&str; 3] = ["tiny", "standard", "enterprise"];
const SCOPES: [&[&str]; 5] = [&[], &["*"], &["a:*"], &["a:x", "b:*"], &["a:x"]];
const STATUSES: [AccountStatus; 3] =
    [AccountStatus::Active, AccountStatus::Suspended, AccountStatus::Closed];

/// One step of a script. Keys and callers are chosen among those there are so far.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put {
        account: usize,
        plan: Option<usize>,
        status: Option<usize>,
    },
    Create {
        account: usize,
        scopes: Option<usize>,
        expires_in: Option<i64>,
        request: Option<u8>,
        bound: bool,
    },
    Update {
        key: usize,
        scopes: Option<usize>,
        expires_in: Option<i64>,
        rename: bool,
        bound: bool,
    },
    Disable(usize),
    Enable(usize),
    Rotate {
        key: usize,
        overlap: u64,
        request: Option<u8>,
    },
    Retire(usize),
    Revoke(usize),
    SetCap(u32),
    CreateCaller {
        admin: bool,
    },
    RevokeCaller(usize),
    Erase(usize),
    Rehash(usize),
    RehashCaller(usize),
    /// The next of a pepper's life: another is put in force, the admin moves to it, the old one is retired.
    AgePepper {
        accepted: bool,
    },
    Wait(u64),
}

/// Any step.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let scopes = || option::of(0..SCOPES.len());
    let expiry = || option::of(-1..40_i64);
    let request = || option::weighted(0.3, 0..3_u8);
    let bound = || proptest::bool::weighted(0.3);
    let (plan, status) = (option::of(0..PLANS.len()), option::weighted(0.3, 0..10_usize));
    prop_oneof![
        3 => (0..2_usize, plan, status)
            .prop_map(|(account, plan, status)| Step::Put { account, plan, status }),
        8 => (0..2_usize, scopes(), expiry(), request(), bound()).prop_map(
            |(account, scopes, expires_in, request, bound)| {
                Step::Create { account, scopes, expires_in, request, bound }
            }
        ),
        5 => (0..9_usize, scopes(), expiry(), any::<bool>(), bound()).prop_map(
            |(key, scopes, expires_in, rename, bound)| {
                Step::Update { key, scopes, expires_in, rename, bound }
            }
        ),
        2 => (0..9_usize).prop_map(Step::Disable),
        2 => (0..9_usize).prop_map(Step::Enable),
        5 => (0..9_usize, 0..30_u64, request())
            .prop_map(|(key, overlap, request)| Step::Rotate { key, overlap, request }),
        4 => (0..9_usize).prop_map(Step::Retire),
        2 => (0..9_usize).prop_map(Step::Revoke),
        1 => (0..4_u32).prop_map(Step::SetCap),
        1 => any::<bool>().prop_map(|admin| Step::CreateCaller { admin }),
        1 => (0..4_usize).prop_map(Step::RevokeCaller),
        1 => (0..2_usize).prop_map(Step::Erase),
        4 => (0..9_usize).prop_map(Step::Rehash),
        1 => (0..4_usize).prop_map(Step::RehashCaller),
        4 => any::<bool>().prop_map(|accepted| Step::AgePepper { accepted }),
        3 => (1..20_u64).prop_map(Step::Wait),
    ]
}

/// The sources of keys in scripts: one range, if they are bound.
pub(crate) fn sources(bound: bool) -> Sources {
    let range = || SourceRange::parse("192.0.2.0/24").expect("valid");
    if bound { Sources::Only([range()].into()) } else { Sources::Any }
}

fn erase(name: &str) -> EraseAccount {
    EraseAccount { account: account(name), expected: None, private: Some(private()) }
}

fn until(seconds: Option<i64>, now: Time) -> Option<Time> {
    seconds.map(|seconds| Time::from_micros(now.as_micros() + seconds * 1_000_000))
}

/// A world on its way through a script.
pub(crate) struct Play {
    pub(crate) world: World,
    /// Ids already given to keys, and to callers.
    used: u8,
}

impl Play {
    /// Both accounts are there from the start: one on the plan `standard`, one on `tiny`.
    pub(crate) fn new() -> Self {
        let mut world = World::new();
        world.does(Act::RegisterPepper { version: PepperVersion(1), check: PepperCheck([1; 16]) });
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

    fn update(&self, step: &Step) -> Act {
        let Step::Update { key, scopes, expires_in, rename, bound } = step else {
            unreachable!("only updates come here")
        };
        let mut update = self.world.update(self.pick(*key));
        update.scopes = scopes.map(|n| permissions(SCOPES[n]));
        update.expire_time = until(*expires_in, self.world.now);
        update.resealed = if *rename { vec!["name"] } else { Vec::new() };
        let now_bound = self.world.keys.get(&update.key).is_some_and(|key| {
            key.limits.as_ref().is_some_and(|limits| limits.sources != Sources::Any)
        });
        update.sources = sources(*bound);
        if *bound != now_bound {
            update.resealed.push("allowed_cidrs");
        }
        Act::UpdateKey(update)
    }

    /// The pepper in force.
    fn pepper(&self) -> PepperVersion {
        self.world.peppers().current().expect("one is from the start on")
    }

    /// A tag under it.
    fn moved(&self) -> KeyTag {
        let pepper = self.pepper();
        KeyTag { pepper, tag: Tag::from_bytes([pepper.0.to_be_bytes()[1] ^ 0xff; 32]) }
    }

    fn rehash_caller(&self, caller: CallerId) -> Act {
        let from = self.world.caller(&caller).expect("there").tag.clone();
        Act::RehashCaller(RehashCaller { caller, from, to: self.moved() })
    }

    fn age_pepper(&self, accepted: bool) -> Act {
        let peppers = self.world.peppers();
        let (version, _) = peppers.in_use().next().expect("one is in force");
        if version == self.pepper() {
            let version = PepperVersion(version.0 + 1);
            let check = PepperCheck([version.0.to_be_bytes()[1]; 16]);
            return Act::RotatePepper(RotatePepper { version, check, private: None });
        }
        if self.world.caller(&ADMIN).is_some_and(|admin| admin.tag.pepper == version) {
            return self.rehash_caller(ADMIN);
        }
        let ended = dependents(&self.world, version, self.world.now);
        let accepted = accepted.then(|| ended.total());
        Act::RetirePepper(RetirePepper { version, accepted, private: None })
    }

    fn rotate(&mut self, key: usize, overlap: u64) -> RotateKey {
        let successor = self.fresh();
        let mut rotate = self.world.rotate(self.pick(key), successor, overlap);
        rotate.tag.pepper = self.pepper();
        let limits = self.world.keys.get(&rotate.key).and_then(|key| key.limits.clone());
        rotate.sources = limits.map(|limits| limits.sources.clone()).unwrap_or_default();
        // Some of them may retire early.
        rotate.retire_when_idle_for = overlap.is_multiple_of(2).then(|| Duration::from_mins(1));
        rotate
    }

    /// What the step asks of the world as it is; none if it only lets time pass.
    pub(crate) fn command(&mut self, step: &Step) -> Option<Command> {
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
            Step::Create { account, scopes, expires_in, request, bound } => {
                name = request.map(|id| (Method::CreateKey, id));
                let mut create = create(ACCOUNTS[*account], self.fresh());
                create.created = KeyCreated {
                    scopes: scopes.map(|n| permissions(SCOPES[n])),
                    expire_time: until(*expires_in, now),
                    sources: sources(*bound),
                    ..create.created
                };
                create.created.tag.pepper = self.pepper();
                Act::CreateKey(create)
            }
            Step::Update { .. } => self.update(step),
            Step::Disable(key) => Act::DisableKey(switch(self.pick(*key))),
            Step::Enable(key) => Act::EnableKey(switch(self.pick(*key))),
            Step::Rotate { key, overlap, request } => {
                name = request.map(|id| (Method::RotateKey, id));
                Act::RotateKey(self.rotate(*key, *overlap))
            }
            Step::Retire(key) => Act::RetireKey(self.world.retire(self.pick(*key))),
            Step::Revoke(key) => Act::RevokeKey(revoke(self.pick(*key))),
            Step::SetCap(cap) => {
                let mut policy = policy();
                let plan = Plan { active_keys: Some(*cap), ..Plan::default() };
                policy.plans.insert(plan_name("standard"), plan);
                Act::SetPolicy(policy)
            }
            Step::CreateCaller { admin } => Act::CreateCaller(some_caller(self.fresh(), *admin)),
            Step::RevokeCaller(n) => {
                let callers = self.world.callers();
                let caller = callers[n % callers.len()].0;
                Act::RevokeCaller(RevokeCaller { caller, private: None })
            }
            Step::Erase(n) => Act::EraseAccount(erase(ACCOUNTS[*n])),
            Step::Rehash(key) => {
                let key = key_id(self.pick(*key));
                let from = self.world.keys.get(&key);
                let from = from.map(|key| KeyTag { pepper: key.pepper, tag: key.tag.clone() });
                Act::RehashKey(RehashKey { key, from: from.unwrap_or(tag(0)), to: self.moved() })
            }
            Step::RehashCaller(n) => {
                let callers = self.world.callers();
                self.rehash_caller(callers[n % callers.len()].0)
            }
            Step::AgePepper { accepted } => self.age_pepper(*accepted),
        };
        // The digest is that of the id: a repeat asks the same.
        let request = name.map(|(method, id)| Request { id: [id; 16], method, digest: [id; 16] });
        Some(Command { request, ..by(admin(), act) })
    }
}

/// An admin, or an issuer with a name in certificates that others may have too.
fn some_caller(n: u8, admin: bool) -> CreateCaller {
    let role = if admin { Role::Admin } else { Role::Issuer };
    let name = spiffe(&format!("spiffe://example.org/{}", n % 3));
    let certificate_name = Some(name).filter(|_| !admin);
    create_caller(n, CallerCreated { certificate_name, ..caller(&[role], &[]) })
}
