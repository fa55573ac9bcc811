//! The model: what the service must do, told as simply as it can be. Plain maps, whole seconds, one
//! command after the other. It knows neither groups nor tables nor frames, and shares no code with
//! the rules: what both get wrong would have to be got wrong twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::picks::pick;
use super::script::Step;

/// A position in the log, from 1.
pub(super) type Place = u64;

/// The names of the accounts and plans a script picks from; the last plan is never in a policy.
pub(super) const ACCOUNTS: [&str; 3] = ["a", "b", "c"];
pub(super) const PLANS: [&str; 4] = ["standard", "tiny", "enterprise", "gold"];

/// Sets of permissions, for accounts and as scopes of keys.
pub(super) const PERMISSIONS: [&[&str]; 5] =
    [&[], &["*"], &["reports:*", "a:x"], &["reports:read"], &["a:*"]];

/// What a presented key may be asked for.
pub(super) const WORDS: [&[&str]; 4] = [&[], &["reports:read"], &["a:x", "reports:read"], &["b"]];

/// Caps by plan, and what the role `reader` grants if there is one.
type Policy = (&'static [(&'static str, Option<u32>)], Option<&'static [&'static str]>);

/// The policies that may be put in force.
pub(super) const POLICIES: [Policy; 3] = [
    (&[("standard", Some(4)), ("tiny", Some(1)), ("enterprise", None)], Some(&["reports:read"])),
    (&[("standard", Some(2)), ("tiny", Some(1)), ("enterprise", None)], Some(&["reports:*", "b"])),
    (&[("standard", Some(4)), ("enterprise", None)], None),
];

/// Before any instant of a script.
const LONG_AGO: i64 = -1_000_000_000;

/// Whom or what a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum About {
    Account(usize),
    Key(usize),
    Caller(usize),
    Service,
}

/// A record, as far as the model goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: &'static str,
    pub(super) about: About,
    pub(super) time: i64,
    pub(super) previous: Option<Place>,
    pub(super) by: Option<usize>,
    pub(super) request: Option<(u8, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Active,
    Suspended,
    Closed,
}

#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) plan: usize,
    pub(super) permissions: usize,
    pub(super) is_reader: bool,
    pub(super) status: Status,
    pub(super) place: Place,
    pub(super) status_place: Place,
    pub(super) erased: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) account: usize,
    pub(super) scopes: Option<usize>,
    pub(super) expires: Option<i64>,
    pub(super) limits_place: Option<Place>,
    pub(super) disabled: Option<Place>,
    pub(super) rotated: Option<(Place, i64)>,
    pub(super) revoked: Option<Place>,
    pub(super) pepper: u16,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) admin: bool,
    pub(super) expires: Option<i64>,
    pub(super) revoked: bool,
    pub(super) tag: u8,
    pub(super) pepper: u16,
    /// The pepper of the secret before, and until when that works.
    pub(super) before: Option<(u16, i64)>,
    pub(super) place: Place,
}

/// A command as it is handed in: an [`Ask`] with its picks made.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) act: Act,
    /// None: the service itself.
    pub(super) by: Option<usize>,
    pub(super) request: Option<(u8, u8)>,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Put {
        account: usize,
        plan: Option<usize>,
        permissions: Option<usize>,
        role: Option<bool>,
        status: Option<Status>,
        renamed: bool,
        basis: Option<Place>,
        expected: Option<Place>,
    },
    Create {
        account: usize,
        key: usize,
        scopes: Option<usize>,
        expires: Option<i64>,
        bulky: bool,
        pepper: u16,
    },
    Update {
        key: usize,
        scopes: Option<usize>,
        expires: Option<i64>,
        renamed: bool,
        basis: Place,
        expected: Option<Place>,
    },
    Disable(usize),
    Enable(usize),
    Rotate {
        key: usize,
        successor: usize,
        overlap: i64,
        basis: Place,
        pepper: u16,
    },
    Revoke(usize),
    SetPolicy(usize),
    CreateCaller {
        caller: usize,
        admin: bool,
        expires: Option<i64>,
        pepper: u16,
    },
    RotateCaller {
        caller: usize,
        pepper: u16,
    },
    Retire {
        key: usize,
        basis: Place,
    },
    RevokeCaller(usize),
    Erase(usize),
    Rehash {
        key: usize,
        from: u16,
        to: u16,
    },
    RehashCaller {
        caller: usize,
        tag: u8,
        from: u16,
        to: u16,
    },
    RotatePepper(u16),
    RetirePepper {
        version: u16,
        accepted: Option<u64>,
    },
}

/// What an order is answered: the place of its last record, if anything changed, and whether that is
/// what it did before; or the name of the refusal, with its figures.
pub(super) type Answer = Result<(Option<Place>, bool), String>;

/// What a presented key is answered: nothing if it may be used, or why not and by which record.
pub(super) type Verdict = Option<(&'static str, Option<Place>)>;

/// What the service must be.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) wall: i64,
    pub(super) monotonic: i64,
    pub(super) log: Vec<Entry>,
    pub(super) accounts: BTreeMap<usize, Account>,
    pub(super) keys: BTreeMap<usize, Key>,
    pub(super) callers: BTreeMap<usize, Caller>,
    pub(super) policy: Option<usize>,
    /// The pepper in force; 0 before the first.
    pub(super) pepper: u16,
    pub(super) retired: BTreeSet<u16>,
    /// What named calls did: (caller, call, id) to (digest, place, time).
    pub(super) calls: HashMap<(usize, &'static str, u8), (u8, Place, i64)>,
    /// The latest time that a record carries, or that something was told over by since the start.
    pub(super) told: i64,
    /// What the clocks showed at the last group since the start.
    seen: Option<(i64, i64)>,
    /// Ids given to keys and callers so far, whether they came to be or not.
    pub(super) ids: usize,
    /// The orders of the last step, and what they must be answered.
    pub(super) orders: Vec<(Order, Answer)>,
    /// How long the log was before the last step.
    pub(super) log_before: usize,
    /// What the key presented in the last step must be answered.
    pub(super) presented: Option<(usize, Verdict)>,
}

impl Model {
    /// A service that has put its policy, its first admin and two of the accounts on record.
    pub(super) fn new() -> Self {
        let mut model = Model {
            wall: 0,
            monotonic: 0,
            log: Vec::new(),
            accounts: BTreeMap::new(),
            keys: BTreeMap::new(),
            callers: BTreeMap::new(),
            policy: None,
            pepper: 0,
            retired: BTreeSet::new(),
            calls: HashMap::new(),
            told: LONG_AGO,
            seen: None,
            ids: 0,
            orders: Vec::new(),
            log_before: 0,
            presented: None,
        };
        let put = |account, plan| Act::Put {
            account,
            plan: Some(plan),
            permissions: Some(2),
            role: None,
            status: None,
            renamed: false,
            basis: None,
            expected: None,
        };
        let first = Act::CreateCaller { caller: 0, admin: true, expires: None, pepper: 1 };
        let acts = [Act::SetPolicy(0), Act::RotatePepper(1), first, put(0, 2), put(1, 0)];
        model.ids = 1;
        model.group(acts.map(|act| Order { act, by: None, request: None }).to_vec());
        model
    }

    /// Lets a step happen.
    pub(super) fn play(&mut self, step: &Step) {
        self.orders.clear();
        self.presented = None;
        self.log_before = self.log.len();
        match step {
            Step::Group(asked) => {
                let orders = self.orders_of(asked);
                self.group(orders);
            }
            Step::Crash { asked, kept } => {
                let orders = self.orders_of(asked).into_iter().map(Order::of_one_frame).collect();
                let mut other = self.clone();
                other.group(orders);
                if *kept {
                    *self = other;
                } else {
                    self.orders = other.orders;
                    self.ids = other.ids;
                }
                self.restart();
            }
            Step::Restart => self.restart(),
            Step::Wait(seconds) => {
                self.wall += seconds;
                self.monotonic += seconds;
            }
            Step::SetWall(seconds) => self.wall += seconds,
            Step::Present { key, word } => {
                let Some(key) = pick(&self.keys, *key) else { return };
                let verdict = self.verdict(key, WORDS[*word]);
                if matches!(verdict, Some(("Expired" | "Superseded", _))) {
                    self.told = self.judging_time();
                }
                self.presented = Some((*word, verdict));
            }
        }
    }

    /// The time by which keys are judged: what was told over stays over until a restart.
    pub(super) fn judging_time(&self) -> i64 {
        self.wall.max(self.told)
    }

    /// The key a step picks.
    pub(super) fn picked_key(&self, n: usize) -> Option<usize> {
        pick(&self.keys, n)
    }

    fn restart(&mut self) {
        self.seen = None;
        self.told = self.log.last().map_or(LONG_AGO, |entry| entry.time);
    }

    fn group(&mut self, orders: Vec<Order>) {
        let last_time = self.log.last().map(|entry| entry.time);
        let expected = match self.seen {
            Some((wall, monotonic)) => Some(wall + self.monotonic - monotonic),
            None => last_time.filter(|last| *last > self.wall),
        };
        self.seen = Some((self.wall, self.monotonic));
        let now = self.wall.max(self.told);
        // An empty crash wakes no writer.
        if !orders.is_empty() && expected.is_some_and(|expected| (expected - self.wall).abs() > 2) {
            self.record("ClockStepped", About::Service, now, None, None);
        }
        for order in orders {
            let answer = self.carry_out(&order, now);
            self.orders.push((order, answer));
        }
        if let Some(last) = self.log.last() {
            self.told = self.told.max(last.time);
        }
    }

    /// Adds a record; answers its place.
    pub(super) fn record(
        &mut self,
        kind: &'static str,
        about: About,
        time: i64,
        by: Option<usize>,
        request: Option<(u8, u8)>,
    ) -> Place {
        let before = self.log.iter().rposition(|entry| entry.about == about);
        let previous = before.map(|at| at as Place + 1);
        self.log.push(Entry { kind, about, time, previous, by, request });
        self.log.len() as Place
    }
}
