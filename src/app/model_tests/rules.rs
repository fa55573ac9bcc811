//! What follows from an order, told once more and apart from the rules that this is held against.

use super::model::{About, Account, Act, Answer, Key, Model, Order, PERMISSIONS, Place, Status};
use super::verdict::any_allows;

const A_DAY: i64 = 86_400;

/// What happens to the log if an order is done.
pub(super) type Outcome = Result<Option<Place>, String>;

pub(super) fn no<T>(refusal: &str) -> Result<T, String> {
    Err(refusal.to_owned())
}

/// Who asks when, under which name of the call.
#[derive(Clone, Copy)]
pub(super) struct Cause {
    pub(super) now: i64,
    pub(super) by: Option<usize>,
    request: Option<(u8, u8)>,
}

impl Model {
    /// Does what is ordered, or says why not.
    pub(super) fn carry_out(&mut self, order: &Order, now: i64) -> Answer {
        let Order { act, by, request } = order;
        let call = match (by, request) {
            (Some(by), Some((id, _))) => Some((*by, act.name(), *id)),
            _ => None,
        };
        let digest = request.map_or(0, |(_, digest)| digest);
        if let Some((then, place, time)) = call.and_then(|call| self.calls.get(&call)).copied()
            && now - time < A_DAY
        {
            return if then == digest { Ok((Some(place), true)) } else { no("RequestIdReused") };
        }
        if by.is_some_and(|by| !self.callers[&by].works_at(now)) {
            return no("ActorOver");
        }
        let place = self.act(act, Cause { now, by: *by, request: *request })?;
        if let (Some(call), Some(place)) = (call, place) {
            self.calls.insert(call, (digest, place, now));
        }
        Ok((place, false))
    }

    fn act(&mut self, act: &Act, cause: Cause) -> Outcome {
        if act.new_pepper().is_some_and(|pepper| self.retired.contains(&pepper)) {
            return no("Moved");
        }
        match act {
            Act::Put { .. } => self.put(act, cause),
            Act::Create { account, key, scopes, expires, pepper, .. } => {
                self.create(*account, *key, *scopes, *expires, *pepper, cause)
            }
            Act::Update { .. } => self.update(act, cause),
            Act::Disable(key) => self.switch(*key, true, cause),
            Act::Enable(key) => self.switch(*key, false, cause),
            Act::Rotate { key, successor, overlap, basis, pepper } => {
                self.rotate(*key, (*successor, *pepper), *overlap, *basis, cause)
            }
            Act::Retire { key, basis } => self.retire(*key, *basis, cause),
            Act::Revoke(key) => self.revoke(*key, cause),
            Act::SetPolicy(policy) => {
                if self.policy == Some(*policy) {
                    return Ok(None);
                }
                self.policy = Some(*policy);
                Ok(Some(self.note("PolicyChanged", About::Service, cause)))
            }
            Act::CreateCaller { caller, admin, expires, pepper } => {
                self.create_caller(*caller, *admin, *expires, *pepper, cause)
            }
            Act::RotateCaller { caller, pepper } => self.rotate_caller(*caller, *pepper, cause),
            Act::RevokeCaller(caller) => self.revoke_caller(*caller, cause),
            Act::Erase(account) => self.erase(*account, cause),
            Act::Rehash { key, from, to } => self.rehash(*key, *from, *to, cause),
            Act::RehashCaller { caller, tag, from, to } => {
                self.rehash_caller(*caller, *tag, (*from, *to), cause)
            }
            Act::RotatePepper(version) => self.rotate_pepper(*version, cause),
            Act::RetirePepper { version, accepted } => {
                self.retire_pepper(*version, *accepted, cause)
            }
        }
    }

    pub(super) fn note(&mut self, kind: &'static str, about: About, cause: Cause) -> Place {
        self.record(kind, about, cause.now, cause.by, cause.request)
    }

    fn put(&mut self, act: &Act, cause: Cause) -> Outcome {
        let Act::Put { account: id, plan, permissions, role, status, renamed, basis, expected } =
            act
        else {
            unreachable!("only puts come here")
        };
        let before = self.accounts.get(id).cloned();
        let place = before.as_ref().map(|account| account.place);
        if expected.is_some() && *expected != place {
            return Err(format!("StalePosition {place:?}"));
        }
        if *basis != place {
            return no("Moved");
        }
        let Some(mut account) = before.clone().or_else(|| {
            let (place, status) = (0, Status::Active);
            plan.map(|plan| Account {
                plan,
                permissions: 0,
                is_reader: false,
                status,
                place,
                status_place: place,
                erased: false,
            })
        }) else {
            return no("PlanMissing");
        };
        account.plan = plan.unwrap_or(account.plan);
        account.permissions = permissions.unwrap_or(account.permissions);
        account.is_reader = role.unwrap_or(account.is_reader);
        account.status = status.unwrap_or(account.status);
        if let Some(before) = &before {
            let same = before.plan == account.plan
                && before.permissions == account.permissions
                && before.is_reader == account.is_reader
                && before.status == account.status;
            if same && !renamed {
                return Ok(None);
            }
            if before.status == Status::Closed {
                return no("AccountClosed");
            }
        }
        let new_plan = before.as_ref().is_none_or(|before| before.plan != account.plan);
        if new_plan && self.cap(account.plan).is_none() {
            return no("UnknownPlan");
        }
        let new_role = account.is_reader && before.as_ref().is_none_or(|before| !before.is_reader);
        if new_role && self.reader_grants().is_none() {
            return no("UnknownRole");
        }
        let kind = if before.is_none() { "AccountRegistered" } else { "AccountChanged" };
        account.place = self.note(kind, About::Account(*id), cause);
        if before.is_none_or(|before| before.status != account.status) {
            account.status_place = account.place;
        }
        let place = account.place;
        self.accounts.insert(*id, account);
        Ok(Some(place))
    }

    fn create(
        &mut self,
        account: usize,
        id: usize,
        scopes: Option<usize>,
        expires: Option<i64>,
        pepper: u16,
        cause: Cause,
    ) -> Outcome {
        let Some(owner) = self.accounts.get(&account) else { return no("AccountNotFound") };
        if owner.status != Status::Active {
            return no("AccountNotActive");
        }
        if expires.is_some_and(|expires| expires <= cause.now) {
            return no("ExpiryPast");
        }
        let Some(cap) = self.cap(owner.plan) else { return no("UnknownPlan") };
        let counted = self.counted(account, cause.now);
        if let Some(cap) = cap
            && counted >= cap
        {
            return Err(format!("ActiveKeyLimit {cap} {counted}"));
        }
        Ok(Some(self.add_key(account, (id, pepper), scopes, expires, cause)))
    }

    fn add_key(
        &mut self,
        account: usize,
        (id, pepper): (usize, u16),
        scopes: Option<usize>,
        expires: Option<i64>,
        cause: Cause,
    ) -> Place {
        let place = self.note("KeyCreated", About::Key(id), cause);
        let limited = scopes.is_some() || expires.is_some();
        let key = Key {
            account,
            scopes,
            expires,
            limits_place: limited.then_some(place),
            disabled: None,
            rotated: None,
            revoked: None,
            pepper,
            place,
        };
        self.keys.insert(id, key);
        place
    }

    fn key(&self, id: usize) -> Result<Key, String> {
        self.keys.get(&id).cloned().ok_or_else(|| "KeyNotFound".to_owned())
    }

    fn update(&mut self, act: &Act, cause: Cause) -> Outcome {
        let Act::Update { key: id, scopes, expires, renamed, basis, expected } = act else {
            unreachable!("only updates come here")
        };
        let mut key = self.key(*id)?;
        if expected.is_some_and(|expected| expected != key.place) {
            return Err(format!("StalePosition {:?}", Some(key.place)));
        }
        if *basis != key.place {
            return no("Moved");
        }
        key.refuse_if_over(cause.now)?;
        if let (Some(new), Some(present)) = (scopes, key.scopes) {
            let narrower =
                PERMISSIONS[*new].iter().all(|word| any_allows(PERMISSIONS[present], word));
            if !narrower {
                return no("ScopesWiden");
            }
        }
        match (expires, key.expires) {
            (Some(new), Some(present)) if *new > present => return no("ExpiryLater"),
            (Some(new), present) if *new <= cause.now && Some(*new) != present => {
                return no("ExpiryPast");
            }
            _ => {}
        }
        let after = (scopes.or(key.scopes), expires.or(key.expires));
        if after == (key.scopes, key.expires) && !renamed {
            return Ok(None);
        }
        self.refuse_if_erased(key.account)?;
        (key.scopes, key.expires) = after;
        key.place = self.note("KeyUpdated", About::Key(*id), cause);
        key.limits_place = Some(key.place);
        self.put_key(*id, key)
    }

    fn put_key(&mut self, id: usize, key: Key) -> Outcome {
        let place = key.place;
        self.keys.insert(id, key);
        Ok(Some(place))
    }

    fn switch(&mut self, id: usize, off: bool, cause: Cause) -> Outcome {
        let mut key = self.key(id)?;
        key.refuse_if_over(cause.now)?;
        if key.disabled.is_some() == off {
            return Ok(None);
        }
        key.place =
            self.note(if off { "KeyDisabled" } else { "KeyEnabled" }, About::Key(id), cause);
        key.disabled = off.then_some(key.place);
        self.put_key(id, key)
    }

    fn rotate(
        &mut self,
        id: usize,
        (successor, pepper): (usize, u16),
        overlap: i64,
        basis: Place,
        cause: Cause,
    ) -> Outcome {
        let mut key = self.key(id)?;
        // What is final is said before what can still change.
        match key.over_at(cause.now) {
            Some(("Superseded", _)) => return no("KeyAlreadyRotated"),
            Some((why, _)) => return Err(format!("Key{why}")),
            None => {}
        }
        if key.disabled.is_some() {
            return no("KeyDisabled");
        }
        if key.rotated.is_some() {
            return no("KeyAlreadyRotated");
        }
        if basis != key.place {
            return no("Moved");
        }
        if self.accounts[&key.account].status != Status::Active {
            return no("AccountNotActive");
        }
        let retires = key.expires.unwrap_or(i64::MAX).min(cause.now + overlap);
        key.place = self.note("KeyRotated", About::Key(id), cause);
        key.rotated = Some((key.place, retires));
        let (account, scopes, expires) = (key.account, key.scopes, key.expires);
        self.keys.insert(id, key);
        Ok(Some(self.add_key(account, (successor, pepper), scopes, expires, cause)))
    }

    fn retire(&mut self, id: usize, basis: Place, cause: Cause) -> Outcome {
        let mut key = self.key(id)?;
        if basis != key.place {
            return no("Moved");
        }
        if key.rotated.is_none() || key.over_at(cause.now).is_some() {
            return Ok(None);
        }
        key.place = self.note("KeyRetired", About::Key(id), cause);
        key.rotated = Some((key.place, cause.now));
        self.put_key(id, key)
    }

    fn revoke(&mut self, id: usize, cause: Cause) -> Outcome {
        let mut key = self.key(id)?;
        if key.revoked.is_some() {
            return Ok(None);
        }
        key.place = self.note("KeyRevoked", About::Key(id), cause);
        key.revoked = Some(key.place);
        self.put_key(id, key)
    }
}

impl Act {
    /// The call a request id is a name within.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Act::Put { .. } => "PutAccount",
            Act::Create { .. } => "CreateKey",
            Act::Update { .. } => "UpdateKey",
            Act::Disable(_) => "DisableKey",
            Act::Enable(_) => "EnableKey",
            Act::Rotate { .. } => "RotateKey",
            Act::Retire { .. } => "RetireKey",
            Act::Revoke(_) => "RevokeKey",
            Act::SetPolicy(_) => "SetPolicy",
            Act::CreateCaller { .. } => "CreateCaller",
            Act::RotateCaller { .. } => "RotateCaller",
            Act::RevokeCaller(_) => "RevokeCaller",
            Act::Erase(_) => "EraseAccount",
            Act::Rehash { .. } => "RehashKey",
            Act::RehashCaller { .. } => "RehashCaller",
            Act::RotatePepper(_) => "RotatePepper",
            Act::RetirePepper { .. } => "RetirePepper",
        }
    }
}
