//! The entries of a snapshot: one thing each, as bytes and back.
//!
//! Texts are a length of one byte and that many bytes. A list of texts is a count of 4 bytes and the
//! texts. Times are microseconds since 1970, signed, 8 bytes; positions 8 bytes. Flags are bits of one
//! byte, the first being 1; what a flag announces follows in the order of the flags, in its table. A bit
//! or number without a meaning makes the entry damaged.
//!
//! Policy: the plans (a count of 4 bytes; each: name; flags: cap on keys, requests a minute; each is 4 bytes),
//! the roles (a count of 4 bytes; each: name, list of permissions). Plans and roles are sorted by name. Behind
//! them, if the log is not of generation 1 or has uses or signing keys on record: the generation (8), the losses that are not
//! resolved (a count of 4 bytes; each: generation (8), first position, last position or 0, root (32)), and, if
//! uses or signing keys are on record, the highest number of a usage journal they name (8), 0 if there is none;
//! behind that the signing keys in the order in which they came, if there are any (a count of 1 byte; each 32).
//!
//! Pepper: version (2), check value (16); behind it, if it is retired: position and time of its retirement.
//!
//! | caller: bytes | what |
//! |---|---|
//! | 12 | caller id |
//! | 1 | flags: retiring secret, expiry, revocation, name in certificates, its secret is older than its position |
//! | 2 ‖ 32 | pepper and tag |
//! | 1 | roles: a bit for each, in the order authenticator, issuer, provisioner, auditor, analyst, operator, admin |
//! | 8 ‖ 8 ‖ 8 | create time, position, position of its personal fields |
//! | … | list of tenants |
//! | 2 ‖ 32 ‖ 8 | if retiring: pepper, tag, retire time |
//! | 8 | if it expires: when |
//! | 8 | if it is revoked: when |
//! | 1 ‖ 2 ‖ … | if it has a name in certificates: 1 a SPIFFE id, 2 a DNS name; its length; the name |
//! | 8 | if its secret is older: position of the record that gave it |
//!
//! | account: bytes | what |
//! |---|---|
//! | … | tenant, 0, account, 0: no id has a byte 0, so accounts sort as these bytes do |
//! | 1 | status: 1 active, 2 suspended, 3 closed, 4 closed and erased |
//! | 8 ‖ 8 ‖ 8 ‖ 8 | create time, update time, position, position of its status |
//! | … | plan; list of permissions; list of roles |
//!
//! Keys and requests have their tables in `key` and `request`.

pub(super) mod key;
pub(super) mod request;

use std::sync::Arc;

use super::bytes::{Cursor, Put};
use crate::domain::account::{Account, AccountState, AccountStatus};
use crate::domain::caller::{Caller, Retiring, Role, Roles};
use crate::domain::certificate_name::{CertificateName, DnsName, SpiffeId};
use crate::domain::ids::{AccountId, AccountRef, CallerId, PepperVersion, Position, TenantId};
use crate::domain::log_state::{LogState, Loss, TreeRoot};
use crate::domain::peppers::{Registered, Retirement};
use crate::domain::permission::{Permission, Permissions, PlanName, RoleName};
use crate::domain::policy::{Plan, Policy};
use crate::domain::signing::{MAX_SIGNING_KEYS, SigningKey};
use crate::domain::tag::{KeyTag, PepperCheck, Tag};

/// The flags set in a byte, if it has none but the first `count`.
fn flags<const N: usize>(byte: u8) -> Option<[bool; N]> {
    let set = std::array::from_fn(|bit| byte & (1 << bit) != 0);
    (u32::from(byte) < 1 << N).then_some(set)
}

fn byte_of<const N: usize>(flags: [bool; N]) -> u8 {
    flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag))
}

/// The account of these names.
fn account_ref(tenant: &str, account: &str) -> Option<AccountRef> {
    let (tenant, account) = (TenantId::parse(tenant).ok()?, AccountId::parse(account).ok()?);
    Some(AccountRef { tenant, account })
}

/// As [`account_ref`], each time a name of its own.
pub(super) fn own_account(tenant: &str, account: &str) -> Option<Arc<AccountRef>> {
    account_ref(tenant, account).map(Arc::new)
}

fn put_list<'a>(texts: impl ExactSizeIterator<Item = &'a str>, out: &mut Vec<u8>) {
    out.put_length(texts.len());
    texts.for_each(|text| out.put_text(text));
}

/// A list of texts, each as `parse` reads it.
fn list<T>(from: &mut Cursor<'_>, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    (0..from.u32()?).map(|_| parse(from.text()?)).collect()
}

fn put_permissions(permissions: &Permissions, out: &mut Vec<u8>) {
    put_list(permissions.iter().map(Permission::as_str), out);
}

fn permissions(from: &mut Cursor<'_>) -> Option<Permissions> {
    list(from, |word| Permission::parse(word).ok()).map(Permissions::new)
}

fn put_tag(tag: &KeyTag, out: &mut Vec<u8>) {
    out.extend(tag.pepper.0.to_be_bytes());
    out.extend(tag.tag.as_bytes());
}

fn tag(from: &mut Cursor<'_>) -> Option<KeyTag> {
    let pepper = PepperVersion(from.u16()?);
    Some(KeyTag { pepper, tag: Tag::from_bytes(from.array()?) })
}

pub(super) fn encode_policy(policy: &Policy, log: &LogState) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_length(policy.plans.len());
    for (name, plan) in &policy.plans {
        out.put_text(name.as_str());
        let limits = [plan.active_keys, plan.requests_per_minute];
        out.push(byte_of(limits.map(|limit| limit.is_some())));
        out.extend(limits.into_iter().flatten().flat_map(u32::to_be_bytes));
    }
    out.put_length(policy.roles.len());
    for (name, granted) in &policy.roles {
        out.put_text(name.as_str());
        put_permissions(granted, &mut out);
    }
    put_log_state(log, &mut out);
    out
}

pub(super) fn decode_policy(bytes: &[u8]) -> Option<(Policy, LogState)> {
    let mut from = Cursor(bytes);
    let mut policy = Policy::default();
    for _ in 0..from.u32()? {
        let name = PlanName::parse(from.text()?).ok()?;
        let [capped, limited] = flags(from.u8()?)?;
        let active_keys = if capped { Some(from.u32()?) } else { None };
        let requests_per_minute = if limited { Some(from.u32()?) } else { None };
        let plan = Plan { active_keys, requests_per_minute };
        policy.plans.insert(name, plan.is_in_bounds().then_some(plan)?);
    }
    for _ in 0..from.u32()? {
        let name = RoleName::parse(from.text()?).ok()?;
        policy.roles.insert(name, permissions(&mut from)?);
    }
    let log = log_state(&mut from)?;
    from.end((policy, log))
}

/// Nothing for a log that was never restored and has no uses and signing keys; what stands at the end only if
/// it has that.
fn put_log_state(log: &LogState, out: &mut Vec<u8>) {
    if *log == LogState::default() {
        return;
    }
    out.extend(log.generation.to_be_bytes());
    out.put_length(log.losses.len());
    for Loss { generation, first, last, root } in &log.losses {
        out.extend(generation.to_be_bytes());
        out.put_position(*first);
        out.extend(last.map_or(0, Position::get).to_be_bytes());
        out.extend(root.0);
    }
    if log.last_journal > 0 || !log.signing_keys.is_empty() {
        out.extend(log.last_journal.to_be_bytes());
    }
    if !log.signing_keys.is_empty() {
        out.push(u8::try_from(log.signing_keys.len()).unwrap_or(u8::MAX));
        out.extend(log.signing_keys.iter().flat_map(|key| key.0));
    }
}

fn log_state(from: &mut Cursor<'_>) -> Option<LogState> {
    if from.0.is_empty() {
        return Some(LogState::default());
    }
    let generation = from.u64()?;
    let loss = |from: &mut Cursor<'_>| {
        Some(Loss {
            generation: from.u64()?,
            first: from.position()?,
            last: Position::new(from.u64()?),
            root: TreeRoot(from.array()?),
        })
    };
    let losses = (0..from.u32()?).map(|_| loss(from)).collect::<Option<_>>()?;
    let last_journal = if from.0.is_empty() { None } else { Some(from.u64()?) };
    let signing_keys = match from.0.is_empty() {
        true => Vec::new(),
        false => signing_keys(from)?,
    };
    if last_journal == Some(0) && signing_keys.is_empty() {
        return None;
    }
    let last_journal = last_journal.unwrap_or_default();
    let log = LogState { generation, losses, last_journal, signing_keys };
    // There is one way to write each state.
    (generation > 0 && log != LogState::default()).then_some(log)
}

fn signing_keys(from: &mut Cursor<'_>) -> Option<Vec<SigningKey>> {
    let count =
        from.u8().filter(|count| (1..=2 * MAX_SIGNING_KEYS).contains(&usize::from(*count)))?;
    (0..count).map(|_| from.array().map(SigningKey)).collect()
}

pub(super) fn encode_pepper(version: PepperVersion, pepper: &Registered) -> Vec<u8> {
    let mut out = [&version.0.to_be_bytes()[..], &pepper.check.0].concat();
    if let Some(Retirement { position, time }) = pepper.retired {
        out.put_position(position);
        out.put_time(time);
    }
    out
}

pub(super) fn decode_pepper(bytes: &[u8]) -> Option<(PepperVersion, Registered)> {
    let mut from = Cursor(bytes);
    let (version, check) = (PepperVersion(from.u16()?), PepperCheck(from.array()?));
    let retired = match from.0.is_empty() {
        true => None,
        false => Some(Retirement { position: from.position()?, time: from.time()? }),
    };
    from.end((version, Registered { check, retired }))
}

pub(super) fn encode_caller(id: CallerId, caller: &Caller) -> Vec<u8> {
    let mut out = id.0.to_vec();
    let Caller { tag, retiring, roles, tenants, .. } = caller;
    out.push(byte_of([
        retiring.is_some(),
        caller.expire_time.is_some(),
        caller.revoke_time.is_some(),
        caller.certificate_name.is_some(),
        caller.secret_at != caller.position,
    ]));
    put_tag(tag, &mut out);
    out.push(byte_of(Role::ALL.map(|role| roles.iter().any(|held| held == role))));
    out.put_time(caller.create_time);
    out.put_position(caller.position);
    out.put_position(caller.personal_at);
    put_list(tenants.iter().map(TenantId::as_str), &mut out);
    if let Some(Retiring { tag, retire_time }) = retiring {
        put_tag(tag, &mut out);
        out.put_time(*retire_time);
    }
    [caller.expire_time, caller.revoke_time]
        .into_iter()
        .flatten()
        .for_each(|time| out.put_time(time));
    if let Some(name) = &caller.certificate_name {
        put_certificate_name(name, &mut out);
    }
    if caller.secret_at != caller.position {
        out.put_position(caller.secret_at);
    }
    out
}

fn put_certificate_name(name: &CertificateName, out: &mut Vec<u8>) {
    out.push(match name {
        CertificateName::Spiffe(_) => 1,
        CertificateName::Dns(_) => 2,
    });
    let text = name.as_str().as_bytes();
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text);
}

fn certificate_name(from: &mut Cursor<'_>) -> Option<CertificateName> {
    let (kind, length) = (from.u8()?, from.u16()?);
    let text = str::from_utf8(from.take(usize::from(length))?).ok()?;
    match kind {
        1 => SpiffeId::parse(text).ok().map(CertificateName::Spiffe),
        2 => DnsName::parse(text).ok().map(CertificateName::Dns),
        _ => None,
    }
}

pub(super) fn decode_caller(bytes: &[u8]) -> Option<(CallerId, Caller)> {
    let mut from = Cursor(bytes);
    let id = CallerId(from.array()?);
    let [retires, expires, revoked, named, moved] = flags(from.u8()?)?;
    let own = tag(&mut from)?;
    let held: [bool; Role::ALL.len()] = flags(from.u8()?)?;
    let roles: Vec<Role> =
        Role::ALL.into_iter().zip(held).filter_map(|(role, held)| held.then_some(role)).collect();
    let mut caller = Caller {
        tag: own,
        retiring: None,
        roles: Roles::of(&roles),
        create_time: from.time()?,
        position: from.position()?,
        personal_at: from.position()?,
        secret_at: Position::FIRST,
        tenants: list(&mut from, |id| TenantId::parse(id).ok())?.into(),
        expire_time: None,
        revoke_time: None,
        certificate_name: None,
    };
    if retires {
        caller.retiring = Some(Retiring { tag: tag(&mut from)?, retire_time: from.time()? });
    }
    if expires {
        caller.expire_time = Some(from.time()?);
    }
    if revoked {
        caller.revoke_time = Some(from.time()?);
    }
    if named {
        caller.certificate_name = Some(certificate_name(&mut from)?);
    }
    caller.secret_at = if moved { from.position()? } else { caller.position };
    // There is one way to write each state.
    if moved && caller.secret_at == caller.position {
        return None;
    }
    from.end((id, caller))
}

/// What accounts are sorted and looked up by.
pub(super) fn account_order(name: &AccountRef) -> Vec<u8> {
    [name.tenant.as_str().as_bytes(), &[0], name.account.as_str().as_bytes()].concat()
}

pub(super) fn encode_account(name: &AccountRef, account: &Account) -> Vec<u8> {
    let mut out = account_order(name);
    out.push(0);
    out.push(match account.state.status {
        AccountStatus::Active => 1,
        AccountStatus::Suspended => 2,
        AccountStatus::Closed if account.erased => 4,
        AccountStatus::Closed => 3,
    });
    out.put_time(account.create_time);
    out.put_time(account.update_time);
    out.put_position(account.position);
    out.put_position(account.status_position);
    out.put_text(account.state.plan.as_str());
    put_permissions(&account.state.permissions, &mut out);
    put_list(account.state.roles.iter().map(RoleName::as_str), &mut out);
    out
}

/// The name of an account, and the rest of its entry.
fn split_account(bytes: &[u8]) -> Option<(Arc<AccountRef>, &[u8])> {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let mut name = || str::from_utf8(parts.next()?).ok();
    let name = account_ref(name()?, name()?)?;
    Some((Arc::new(name), parts.next()?))
}

/// The name of an account, without the rest.
pub(super) fn account_name(bytes: &[u8]) -> Option<Arc<AccountRef>> {
    split_account(bytes).map(|(name, _)| name)
}

pub(super) fn decode_account(bytes: &[u8]) -> Option<(Arc<AccountRef>, Account)> {
    let (name, rest) = split_account(bytes)?;
    let mut from = Cursor(rest);
    let number = from.u8()?;
    let status = match number {
        1 => AccountStatus::Active,
        2 => AccountStatus::Suspended,
        3 | 4 => AccountStatus::Closed,
        _ => return None,
    };
    let (create_time, update_time) = (from.time()?, from.time()?);
    let (position, status_position) = (from.position()?, from.position()?);
    let state = AccountState {
        plan: PlanName::parse(from.text()?).ok()?,
        permissions: permissions(&mut from)?,
        roles: list(&mut from, |role| RoleName::parse(role).ok())?,
        status,
    };
    let erased = number == 4;
    let account = Account { state, create_time, update_time, position, status_position, erased };
    from.end((name, account))
}
