//! What the steps of a script ask, with their picks made among what there is.

use std::collections::BTreeMap;

use super::model::{Act, Caller, Model, Order, Place, Status};
use super::script::{Ask, What};

impl Model {
    pub(super) fn orders_of(&mut self, asked: &[Ask]) -> Vec<Order> {
        asked.iter().map(|ask| self.order_of(ask)).collect()
    }

    fn put_of(&self, what: &What) -> Act {
        let What::Put { account, plan, permissions, role, status, renamed, expects } = what else {
            unreachable!("only puts come here")
        };
        let basis = self.accounts.get(account).map(|account| account.place);
        Act::Put {
            account: *account,
            plan: *plan,
            permissions: *permissions,
            role: *role,
            status: status.map(|n| [Status::Active, Status::Suspended, Status::Closed][n]),
            renamed: *renamed,
            basis,
            expected: stated(*expects, basis.unwrap_or(1)),
        }
    }

    fn order_of(&mut self, ask: &Ask) -> Order {
        let in_seconds = |seconds: &Option<i64>| seconds.map(|seconds| self.wall + seconds);
        // There may be no key yet: one that never was is asked for then.
        let key = |n: &usize| pick(&self.keys, *n).unwrap_or(usize::from(u16::MAX));
        let caller = |n: &usize| pick(&self.callers, *n).unwrap_or(0);
        let place = |key: usize| self.keys.get(&key).map_or(1, |key| key.place);
        let fresh = self.ids;
        let act = match &ask.what {
            What::Put { .. } => self.put_of(&ask.what),
            What::Create { account, scopes, expires_in, bulky } => Act::Create {
                account: *account,
                key: fresh,
                scopes: *scopes,
                expires: in_seconds(expires_in),
                bulky: *bulky,
                pepper: self.pepper,
            },
            What::Update { key: n, scopes, expires_in, renamed, expects } => Act::Update {
                key: key(n),
                scopes: *scopes,
                expires: in_seconds(expires_in),
                renamed: *renamed,
                basis: place(key(n)),
                expected: stated(*expects, place(key(n))),
            },
            What::Disable(n) => Act::Disable(key(n)),
            What::Enable(n) => Act::Enable(key(n)),
            What::Rotate { key: n, overlap } => {
                let (key, overlap) = (key(n), *overlap);
                let pepper = self.pepper;
                Act::Rotate { key, successor: fresh, overlap, basis: place(key), pepper }
            }
            What::Retire(n) => Act::Retire { key: key(n), basis: place(key(n)) },
            What::Revoke(n) => Act::Revoke(key(n)),
            What::SetPolicy(n) => Act::SetPolicy(*n),
            What::CreateCaller { admin, expires_in } => {
                let (admin, pepper) = (*admin, self.pepper);
                Act::CreateCaller { caller: fresh, admin, expires: in_seconds(expires_in), pepper }
            }
            What::RotateCaller(n) => Act::RotateCaller { caller: caller(n), pepper: self.pepper },
            What::RevokeCaller(n) => Act::RevokeCaller(caller(n)),
            What::Rehash(n) => {
                let from = self.keys.get(&key(n)).map_or(1, |key| key.pepper);
                Act::Rehash { key: key(n), from, to: self.pepper }
            }
            What::RehashCaller(n) => {
                let Caller { tag, pepper, .. } = self.callers[&caller(n)];
                Act::RehashCaller { caller: caller(n), tag, from: pepper, to: self.pepper }
            }
            What::AgePepper { accepted } => self.ageing(*accepted),
            What::Erase(account) => Act::Erase(*account),
        };
        let of_service = act.is_of_service();
        let order = Order {
            by: (!of_service).then(|| caller(&ask.by)),
            request: ask.request.filter(|_| !of_service),
            act,
        };
        self.ids += 1;
        order
    }
}

impl Act {
    /// Whether the service asks it, or nobody's roles matter for what is asked.
    fn is_of_service(&self) -> bool {
        matches!(
            self,
            Act::SetPolicy(_)
                | Act::Retire { .. }
                | Act::Rehash { .. }
                | Act::RehashCaller { .. }
                | Act::RotatePepper(_)
                | Act::RetirePepper { .. }
        )
    }
}

impl Order {
    /// As it is asked where all orders of a group must fit one frame.
    pub(super) fn of_one_frame(mut self) -> Self {
        match &mut self.act {
            Act::Create { bulky, .. } => *bulky = false,
            // One that is done ends its group; one that expects more than there can be is not.
            Act::RetirePepper { accepted, .. } => *accepted = Some(u64::MAX),
            _ => {}
        }
        self
    }
}

/// The `n`th there is, counted round.
pub(super) fn pick<T>(there: &BTreeMap<usize, T>, n: usize) -> Option<usize> {
    there.keys().nth(n.checked_rem(there.len())?).copied()
}

/// What the asker expects: the place as it is, or one that it has never been at.
fn stated(expects: Option<bool>, place: Place) -> Option<Place> {
    expects.map(|right| if right { place } else { 1 })
}
