//! What a key and a caller are worth at an instant, told once more and apart from the rules that this
//! is held against.

use super::model::{Caller, Key, Model, PERMISSIONS, PLANS, POLICIES, Place, Status, Verdict};

/// Whether a word of permission, which may end in `*`, allows another.
fn allows(own: &str, asked: &str) -> bool {
    own == asked || own.strip_suffix('*').is_some_and(|stem| asked.starts_with(stem))
}

pub(super) fn any_allows(own: &[&str], asked: &str) -> bool {
    own.iter().any(|own| allows(own, asked))
}

impl Key {
    /// Why it does not work at `now`, whatever its account says; nothing if it does.
    pub(super) fn over_at(&self, now: i64) -> Option<(&'static str, Option<Place>)> {
        if self.revoked.is_some() {
            return Some(("Revoked", self.revoked));
        }
        match self.rotated {
            Some((place, retires)) if retires <= now => return Some(("Superseded", Some(place))),
            _ => {}
        }
        self.expires.filter(|expires| *expires <= now).map(|_| ("Expired", self.limits_place))
    }

    pub(super) fn refuse_if_over(&self, now: i64) -> Result<(), String> {
        self.over_at(now).map_or(Ok(()), |(why, _)| Err(format!("Key{why}")))
    }
}

impl Caller {
    pub(super) fn works_at(&self, now: i64) -> bool {
        !self.revoked && self.expires.is_none_or(|expires| now < expires)
    }
}

impl Model {
    /// What a presented key must be answered now.
    pub(super) fn verdict(&self, key: usize, asked: &[&str]) -> Verdict {
        let key = &self.keys[&key];
        if let Some(over) = key.over_at(self.judging_time()) {
            return Some(over);
        }
        if key.disabled.is_some() {
            return Some(("Disabled", key.disabled));
        }
        let account = &self.accounts[&key.account];
        if account.status != Status::Active {
            return Some(("AccountInactive", Some(account.status_place)));
        }
        for word in asked {
            let by_role = self.reader_grants().filter(|_| account.is_reader).unwrap_or(&[]);
            let own = PERMISSIONS[account.permissions];
            if !any_allows(own, word) && !any_allows(by_role, word) {
                return Some(("PermissionMissing", Some(account.place)));
            }
            if key.scopes.is_some_and(|scopes| !any_allows(PERMISSIONS[scopes], word)) {
                return Some(("PermissionMissing", key.limits_place));
            }
        }
        None
    }

    /// How many keys of an account count to its cap.
    pub(super) fn counted(&self, account: usize, now: i64) -> u32 {
        let counts = |key: &&Key| {
            key.account == account
                && key.rotated.is_none()
                && key.revoked.is_none()
                && key.expires.is_none_or(|expires| now < expires)
        };
        u32::try_from(self.keys.values().filter(counts).count()).expect("few")
    }

    pub(super) fn reader_grants(&self) -> Option<&'static [&'static str]> {
        self.policy.and_then(|policy| POLICIES[policy].1)
    }

    /// The cap of a plan: no such plan, no cap, or a number.
    pub(super) fn cap(&self, plan: usize) -> Option<Option<u32>> {
        let plans = self.policy.map_or(&[][..], |policy| POLICIES[policy].0);
        plans.iter().find(|(name, _)| *name == PLANS[plan]).map(|(_, cap)| *cap)
    }
}
