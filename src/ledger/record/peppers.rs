//! Tags and peppers in records.

use crate::domain::event::Event;
use crate::domain::ids::PepperVersion;
use crate::domain::peppers::Dependents;
use crate::domain::tag::{KeyTag, PepperCheck, Tag};
use crate::proto::ledger as wire;
use crate::proto::ledger::record::Event as WireEvent;

use super::RecordError;
use super::decode::exact;
use RecordError::Field;

pub(super) fn encode_tag(tag: &KeyTag) -> wire::KeyTag {
    wire::KeyTag { pepper: u32::from(tag.pepper.0), tag: tag.tag.as_bytes().to_vec() }
}

pub(super) fn decode_tag(tag: Option<wire::KeyTag>) -> Result<KeyTag, RecordError> {
    let tag = tag.ok_or(Field("tag"))?;
    Ok(KeyTag {
        pepper: pepper_version(tag.pepper)?,
        tag: Tag::from_bytes(exact(&tag.tag, "tag")?),
    })
}

pub(super) fn encode_key_rehashed(tag: &KeyTag) -> WireEvent {
    WireEvent::KeyRehashed(wire::KeyRehashed { tag: Some(encode_tag(tag)) })
}

pub(super) fn encode_caller_rehashed(tag: &KeyTag) -> WireEvent {
    WireEvent::CallerRehashed(wire::CallerRehashed { tag: Some(encode_tag(tag)) })
}

pub(super) fn encode_rotated(version: PepperVersion, check: PepperCheck) -> WireEvent {
    let version = u32::from(version.0);
    WireEvent::PepperRotated(wire::PepperRotated { version, check: check.0.to_vec() })
}

pub(super) fn decode_rotated(rotated: &wire::PepperRotated) -> Result<Event, RecordError> {
    let check = PepperCheck(exact(&rotated.check, "check")?);
    Ok(Event::PepperRotated { version: pepper_version(rotated.version)?, check })
}

pub(super) fn encode_retired(version: PepperVersion, ended: Dependents) -> WireEvent {
    let Dependents { keys, callers } = ended;
    let version = u32::from(version.0);
    WireEvent::PepperRetired(wire::PepperRetired {
        version,
        ended_keys: keys,
        ended_callers: callers,
    })
}

pub(super) fn decode_retired(retired: &wire::PepperRetired) -> Result<Event, RecordError> {
    let ended = Dependents { keys: retired.ended_keys, callers: retired.ended_callers };
    Ok(Event::PepperRetired { version: pepper_version(retired.version)?, ended })
}

fn pepper_version(version: u32) -> Result<PepperVersion, RecordError> {
    match u16::try_from(version) {
        Ok(version) if version > 0 => Ok(PepperVersion(version)),
        _ => Err(Field("pepper")),
    }
}
