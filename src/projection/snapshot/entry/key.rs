//! A key in a snapshot: what its row in the key table needs. Its address ranges are personal and
//! stand there sealed, as in the record that set them.
//!
//! | bytes | what |
//! |---|---|
//! | 12 | key id |
//! | 4 | number of its account: its place in the section of accounts, from 0 |
//! | 1 | flags: a test key, its maker is known, it has limits, it has a life, it was used |
//! | 2 ‖ 32 | pepper and tag |
//! | 8 ‖ 8 ‖ 8 | create time, position of its creation, position of its last change |
//! | 12 | if known: the caller who made it |
//! | … | if it has limits: limits |
//! | … | if it replaced a key or something became of it: life |
//! | … | if uses of it are on record: uses |
//!
//! | limits: bytes | what |
//! |---|---|
//! | 1 | flags: scopes, expiry, bound to address ranges |
//! | 8 | position of the record that set them |
//! | … | if it has scopes: list of permissions |
//! | 8 | if it expires: when |
//! | 1 ‖ 16 | if bound: kind of event of that record, and its event id |
//! | 4 ‖ 8 ‖ 12 ‖ 32 | if bound: scheme, data key id, nonce, commitment |
//! | 4 ‖ … | if bound: length of the ciphertext, the ciphertext |
//!
//! | life: bytes | what |
//! |---|---|
//! | 1 | flags: it replaces a key, is disabled, is rotated, is revoked, retires when nobody uses it, so retired |
//! | 12 | if it replaces a key: which |
//! | 8 | if disabled: position |
//! | 8 ‖ 12 ‖ 8 | if rotated: position, successor, retire time |
//! | 8 ‖ 8 ‖ 1 | if revoked: position, time, reason (0 none given, 1 key compromise, 2 superseded, 3 cessation of operation, 4 affiliation changed, 5 privilege withdrawn) |
//! | 8 | if it retires when nobody uses it: for how long, in microseconds; only of one that is rotated |
//! | 8 | if so retired: position; only of one that is rotated |
//!
//! | uses: bytes | what |
//! |---|---|
//! | 1 | flags: allowed once, denied once |
//! | 8 ‖ 8 ‖ 8 | position of the last record of uses, how often allowed, how often denied |
//! | 8 | if allowed once: when last |
//! | 8 | if denied once: when last |

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{byte_of, flags, permissions, put_permissions, put_tag, tag};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountRef, CallerId, EventId, KeyId, PUBLIC_ID_BYTES, PepperVersion};
use crate::domain::key::{Key, Life, Limits, Revocation, RevokeReason, Rotation};
use crate::domain::key_format::Environment;
use crate::domain::sealed::{Commitment, DataKeyId, Private, Sealed};
use crate::domain::source::Sources;
use crate::domain::tag::KeyTag;
use crate::domain::usage::{UseCounts, Used};
use crate::projection::snapshot::bytes::{Cursor, Put};

/// The reasons in the order of their numbers.
const REASONS: [RevokeReason; 6] = [
    RevokeReason::Unspecified,
    RevokeReason::KeyCompromise,
    RevokeReason::Superseded,
    RevokeReason::CessationOfOperation,
    RevokeReason::AffiliationChanged,
    RevokeReason::PrivilegeWithdrawn,
];

/// The sealed fields that hold a key's address ranges, and what they are bound to besides the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The kind of the event that set the ranges.
    pub kind: EventKind,
    /// Its personal fields.
    pub private: Private,
}

/// A key as a snapshot holds it. If it is bound, its sources are [`Sources::Unreadable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Its id.
    pub id: KeyId,
    /// The key.
    pub key: Key,
    /// Its sealed address ranges, if it is bound to any.
    pub bound: Option<Bound>,
}

impl KeyEntry {
    pub(in crate::projection::snapshot) fn encode(&self, account: u32) -> Vec<u8> {
        let KeyEntry { id, key, bound } = self;
        let mut out = Vec::with_capacity(128);
        out.extend(id.0);
        out.extend(account.to_be_bytes());
        out.push(byte_of([
            key.environment == Environment::Test,
            key.created_by.is_some(),
            key.limits.is_some(),
            key.life.is_some(),
            key.used.is_some(),
        ]));
        put_tag(&KeyTag { pepper: key.pepper, tag: key.tag.clone() }, &mut out);
        out.put_time(key.create_time);
        out.put_position(key.created);
        out.put_position(key.last);
        out.extend(key.created_by.iter().flat_map(|caller| caller.0));
        if let Some(limits) = &key.limits {
            put_limits(limits, bound.as_ref(), &mut out);
        }
        if let Some(life) = &key.life {
            put_life(life, &mut out);
        }
        if let Some(used) = &key.used {
            put_used(used, &mut out);
        }
        out
    }

    /// The key of an entry. `account` answers the account of a number.
    pub(in crate::projection::snapshot) fn decode(
        bytes: &[u8],
        account: impl FnOnce(u32) -> Option<Arc<AccountRef>>,
    ) -> Option<Self> {
        let mut from = Cursor(bytes);
        let id = KeyId(from.array()?);
        let account = account(from.u32()?)?;
        let [test, maker_known, limited, lived, used] = flags(from.u8()?)?;
        let KeyTag { pepper, tag } = tag(&mut from)?;
        let mut key = Key {
            tag,
            pepper,
            create_time: from.time()?,
            created: from.position()?,
            last: from.position()?,
            account,
            limits: None,
            life: None,
            used: None,
            created_by: None,
            environment: if test { Environment::Test } else { Environment::Live },
        };
        if maker_known {
            key.created_by = Some(CallerId(from.array()?));
        }
        let mut bound = None;
        if limited {
            let (limits, sealed) = limits(&mut from)?;
            key.limits = Some(Arc::new(limits));
            bound = sealed;
        }
        if lived {
            key.life = Some(Arc::new(life(&mut from)?));
        }
        if used {
            key.used = Some(Arc::new(used_so_far(&mut from)?));
        }
        from.end(KeyEntry { id, key, bound })
    }
}

/// Where the number of the account stands in an entry.
const ACCOUNT_AT: Range<usize> = PUBLIC_ID_BYTES..PUBLIC_ID_BYTES + 4;

/// The number of the account in an entry.
pub(in crate::projection::snapshot) fn account_number(entry: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(entry.get(ACCOUNT_AT)?.try_into().ok()?))
}

/// Where the version of the pepper stands in an entry: behind the flags.
const PEPPER_AT: Range<usize> = ACCOUNT_AT.end + 1..ACCOUNT_AT.end + 3;

/// The pepper of the tag in an entry.
pub(in crate::projection::snapshot) fn pepper(entry: &[u8]) -> Option<PepperVersion> {
    Some(PepperVersion(u16::from_be_bytes(entry.get(PEPPER_AT)?.try_into().ok()?)))
}

/// Puts another number in the place of an account's, which the entry has.
pub(in crate::projection::snapshot) fn renumber(entry: &mut [u8], account: u32) {
    entry[ACCOUNT_AT].copy_from_slice(&account.to_be_bytes());
}

fn put_limits(limits: &Limits, bound: Option<&Bound>, out: &mut Vec<u8>) {
    out.push(byte_of([limits.scopes.is_some(), limits.expire_time.is_some(), bound.is_some()]));
    out.put_position(limits.set_at);
    if let Some(scopes) = &limits.scopes {
        put_permissions(scopes, out);
    }
    if let Some(time) = limits.expire_time {
        out.put_time(time);
    }
    if let Some(Bound { kind, private }) = bound {
        out.push(*kind as u8);
        out.extend(private.event_id.0);
        let Sealed { scheme, data_key, nonce, ciphertext } = &private.sealed;
        out.extend(scheme.to_be_bytes());
        out.extend(data_key.0.to_be_bytes());
        out.extend(nonce);
        out.extend(private.commitment.0);
        out.put_length(ciphertext.len());
        out.extend(&**ciphertext);
    }
}

fn limits(from: &mut Cursor<'_>) -> Option<(Limits, Option<Bound>)> {
    let [scoped, expires, is_bound] = flags(from.u8()?)?;
    let limits = Limits {
        set_at: from.position()?,
        scopes: if scoped { Some(permissions(from)?) } else { None },
        expire_time: if expires { Some(from.time()?) } else { None },
        sources: if is_bound { Sources::Unreadable } else { Sources::Any },
    };
    Some((limits, if is_bound { Some(bound(from)?) } else { None }))
}

fn bound(from: &mut Cursor<'_>) -> Option<Bound> {
    let number = from.u8()?;
    let kinds = [EventKind::KeyCreated, EventKind::KeyUpdated];
    let kind = kinds.into_iter().find(|kind| *kind as u8 == number)?;
    let event_id = EventId(from.array()?);
    let (scheme, data_key) = (from.u32()?, DataKeyId(from.u64()?));
    let (nonce, commitment) = (from.array()?, Commitment(from.array()?));
    let length = from.length()?;
    let sealed = Sealed { scheme, data_key, nonce, ciphertext: from.take(length)?.into() };
    Some(Bound { kind, private: Private { event_id, sealed, commitment } })
}

fn put_life(life: &Life, out: &mut Vec<u8>) {
    let Life { replaces, disabled_at, rotation, revocation, .. } = life;
    let idle_for = rotation.as_ref().and_then(|rotation| rotation.retire_when_idle_for);
    let retired_at = rotation.as_ref().and_then(|rotation| rotation.retired_at);
    out.push(byte_of([
        replaces.is_some(),
        disabled_at.is_some(),
        rotation.is_some(),
        revocation.is_some(),
        idle_for.is_some(),
        retired_at.is_some(),
    ]));
    out.extend(replaces.iter().flat_map(|id| id.0));
    if let Some(position) = disabled_at {
        out.put_position(*position);
    }
    if let Some(Rotation { position, successor, retire_time, .. }) = rotation {
        out.put_position(*position);
        out.extend(successor.0);
        out.put_time(*retire_time);
    }
    if let Some(Revocation { position, time, reason }) = revocation {
        out.put_position(*position);
        out.put_time(*time);
        let number = REASONS.iter().position(|other| other == reason);
        out.push(number.and_then(|number| u8::try_from(number).ok()).unwrap_or_default());
    }
    if let Some(span) = idle_for {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        out.extend(micros.to_be_bytes());
    }
    if let Some(position) = retired_at {
        out.put_position(position);
    }
}

fn life(from: &mut Cursor<'_>) -> Option<Life> {
    let [replaces, disabled, rotated, revoked, may_retire, retired] = flags(from.u8()?)?;
    let mut life = Life::default();
    if replaces {
        life.replaces = Some(KeyId(from.array()?));
    }
    if disabled {
        life.disabled_at = Some(from.position()?);
    }
    if rotated {
        life.rotation = Some(Rotation {
            position: from.position()?,
            successor: KeyId(from.array()?),
            retire_time: from.time()?,
            retire_when_idle_for: None,
            retired_at: None,
        });
    }
    if revoked {
        let (position, time) = (from.position()?, from.time()?);
        let reason = *REASONS.get(usize::from(from.u8()?))?;
        life.revocation = Some(Revocation { position, time, reason });
    }
    if may_retire {
        life.rotation.as_mut()?.retire_when_idle_for = Some(Duration::from_micros(from.u64()?));
    }
    if retired {
        life.rotation.as_mut()?.retired_at = Some(from.position()?);
    }
    Some(life)
}

/// What the log says of the key's uses: nothing that an open usage journal holds.
fn put_used(used: &Used, out: &mut Vec<u8>) {
    let UseCounts { allowed, denied, last_use, last_denied } = used.counts;
    out.push(byte_of([last_use.is_some(), last_denied.is_some()]));
    out.put_position(used.recorded);
    out.extend(allowed.to_be_bytes());
    out.extend(denied.to_be_bytes());
    [last_use, last_denied].into_iter().flatten().for_each(|time| out.put_time(time));
}

fn used_so_far(from: &mut Cursor<'_>) -> Option<Used> {
    let [allowed_once, denied_once] = flags(from.u8()?)?;
    let recorded = from.position()?;
    let counts = UseCounts {
        allowed: from.u64()?,
        denied: from.u64()?,
        last_use: if allowed_once { Some(from.time()?) } else { None },
        last_denied: if denied_once { Some(from.time()?) } else { None },
    };
    Some(Used { recorded, counts })
}
