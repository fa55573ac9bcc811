//! Records of conduct: how reads and refusals are written and read.

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::RecordError;
use super::decode::optional;
use crate::domain::conduct::{
    AuditRead, CallsRefused, Named, Reader, Refused, RefusedCall, RefusedSource,
};
use crate::domain::ids::{AccountId, CallerId, KeyId, Position, TenantId, TraceId};
use crate::domain::time::Time;
use crate::proto::ledger as wire;
use RecordError::Field;

pub(super) fn encode_read(read: &AuditRead) -> wire::AuditRead {
    let reader = read.reader.as_ref();
    let (low, high) = read.positions.unzip();
    wire::AuditRead {
        window: read.window.as_micros(),
        other: reader.is_none(),
        caller_id: reader.map(|reader| reader.caller.0.to_vec()).unwrap_or_default(),
        rpc: reader.map(|reader| reader.rpc.to_string()).unwrap_or_default(),
        named: reader.and_then(|reader| encode_named(&reader.named)),
        calls: read.calls,
        events: read.events,
        first_position: low.map_or(0, Position::get),
        last_position: high.map_or(0, Position::get),
        first: read.first.as_micros(),
        last: read.last.as_micros(),
    }
}

pub(super) fn decode_read(read: wire::AuditRead) -> Result<AuditRead, RecordError> {
    let caller = optional(&read.caller_id, "caller_id")?.map(CallerId);
    let named = decode_named(read.named.as_ref())?;
    let reader = match (read.other, caller) {
        (true, None) if read.rpc.is_empty() && read.named.is_none() => None,
        (true, _) => return Err(Field("other")),
        (false, caller) => {
            let caller = caller.ok_or(Field("caller_id"))?;
            Some(Reader { caller, rpc: Cow::Owned(read.rpc), named })
        }
    };
    let positions = match (read.first_position, read.last_position) {
        (0, 0) => None,
        (low, high) => {
            Some(Position::new(low).zip(Position::new(high)).ok_or(Field("first_position"))?)
        }
    };
    let read = AuditRead {
        window: Time::from_micros(read.window),
        reader,
        calls: read.calls,
        events: read.events,
        positions,
        first: Time::from_micros(read.first),
        last: Time::from_micros(read.last),
    };
    if read.holds_together() { Ok(read) } else { Err(Field("audit_read")) }
}

pub(super) fn encode_refused(calls: &CallsRefused) -> wire::CallsRefused {
    let refused = calls.refused.as_ref();
    let caller = refused.and_then(|refused| refused.caller);
    wire::CallsRefused {
        window: calls.window.as_micros(),
        other: refused.is_none(),
        caller_id: caller.map(|id| id.0.to_vec()).unwrap_or_default(),
        rpc: refused.map(|refused| refused.rpc.to_string()).unwrap_or_default(),
        reason: refused.map_or(0, |refused| refused.reason),
        count: calls.count,
        first: calls.first.as_micros(),
        last: calls.last.as_micros(),
        sources: calls.sources.iter().map(encode_source).collect(),
        samples: calls.samples.iter().map(encode_call).collect(),
    }
}

pub(super) fn decode_refused(calls: wire::CallsRefused) -> Result<CallsRefused, RecordError> {
    let caller = optional(&calls.caller_id, "caller_id")?.map(CallerId);
    let refused = match (calls.other, caller) {
        (true, None) if calls.rpc.is_empty() && calls.reason == 0 => None,
        (true, _) => return Err(Field("other")),
        (false, caller) => {
            Some(Refused { caller, rpc: Cow::Owned(calls.rpc), reason: calls.reason })
        }
    };
    let calls = CallsRefused {
        window: Time::from_micros(calls.window),
        refused,
        count: calls.count,
        first: Time::from_micros(calls.first),
        last: Time::from_micros(calls.last),
        sources: calls.sources.iter().map(decode_source).collect::<Result<_, _>>()?,
        samples: calls.samples.iter().map(decode_call).collect::<Result<_, _>>()?,
    };
    if calls.holds_together() { Ok(calls) } else { Err(Field("calls_refused")) }
}

fn encode_source(source: &RefusedSource) -> wire::RefusedSource {
    wire::RefusedSource { source: source.source.get(), count: source.count }
}

fn decode_source(source: &wire::RefusedSource) -> Result<RefusedSource, RecordError> {
    let place = NonZeroU32::new(source.source).ok_or(Field("sources.source"))?;
    Ok(RefusedSource { source: place, count: source.count })
}

fn encode_call(call: &RefusedCall) -> wire::RefusedCall {
    wire::RefusedCall {
        time: call.time.as_micros(),
        trace_id: call.trace_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        named: encode_named(&call.named),
        source: call.source.map_or(0, NonZeroU32::get),
    }
}

fn decode_call(call: &wire::RefusedCall) -> Result<RefusedCall, RecordError> {
    Ok(RefusedCall {
        time: Time::from_micros(call.time),
        trace_id: optional(&call.trace_id, "samples.trace_id")?.map(TraceId),
        named: decode_named(call.named.as_ref())?,
        source: NonZeroU32::new(call.source),
    })
}

/// None if nothing was named.
fn encode_named(named: &Named) -> Option<wire::NamedByCall> {
    if *named == Named::default() {
        return None;
    }
    Some(wire::NamedByCall {
        tenant_id: named.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        account_id: named.account.as_ref().map(ToString::to_string).unwrap_or_default(),
        key_id: named.key.map(|id| id.0.to_vec()).unwrap_or_default(),
        caller_id: named.caller.map(|id| id.0.to_vec()).unwrap_or_default(),
    })
}

fn decode_named(named: Option<&wire::NamedByCall>) -> Result<Named, RecordError> {
    let Some(named) = named else { return Ok(Named::default()) };
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let tenant = given(&named.tenant_id).map(|text| TenantId::parse(&text)).transpose();
    let account = given(&named.account_id).map(|text| AccountId::parse(&text)).transpose();
    Ok(Named {
        tenant: tenant.map_err(|_| Field("named.tenant_id"))?,
        account: account.map_err(|_| Field("named.account_id"))?,
        key: optional(&named.key_id, "named.key_id")?.map(KeyId),
        caller: optional(&named.caller_id, "named.caller_id")?.map(CallerId),
    })
}
