//! Reads of the history and refused calls as messages of the wire.

use super::hex;
use crate::domain::conduct::{AuditRead, CallsRefused, Named, RefusedCall, RefusedSource};
use crate::domain::ids::TraceId;
use crate::grpc::encode::{position, time};
use crate::proto::v1;

pub(super) fn audit_read(read: &AuditRead) -> v1::AuditRead {
    let reader = read.reader.as_ref();
    v1::AuditRead {
        window_time: Some(time(read.window)),
        other: reader.is_none(),
        caller_id: reader.map(|reader| reader.caller.to_string()).unwrap_or_default(),
        rpc: reader.map(|reader| reader.rpc.to_string()).unwrap_or_default(),
        named: reader.and_then(|reader| named(&reader.named)),
        calls: read.calls,
        events: read.events,
        first_position: position(read.positions.map(|(first, _)| first)),
        last_position: position(read.positions.map(|(_, last)| last)),
        first_time: Some(time(read.first)),
        last_time: Some(time(read.last)),
    }
}

pub(super) fn calls_refused(calls: &CallsRefused) -> v1::CallsRefused {
    let refused = calls.refused.as_ref();
    let caller = refused.and_then(|refused| refused.caller);
    v1::CallsRefused {
        window_time: Some(time(calls.window)),
        other: refused.is_none(),
        caller_id: caller.map(|caller| caller.to_string()).unwrap_or_default(),
        rpc: refused.map(|refused| refused.rpc.to_string()).unwrap_or_default(),
        reason: refused.and_then(|refused| i32::try_from(refused.reason).ok()).unwrap_or_default(),
        count: calls.count,
        first_time: Some(time(calls.first)),
        last_time: Some(time(calls.last)),
        sources: calls.sources.iter().map(source).collect(),
        samples: calls.samples.iter().map(sample).collect(),
    }
}

fn source(source: &RefusedSource) -> v1::RefusedSource {
    v1::RefusedSource { source: source.source.get(), count: source.count }
}

fn sample(call: &RefusedCall) -> v1::RefusedCall {
    v1::RefusedCall {
        time: Some(time(call.time)),
        trace_id: call.trace_id.map(|TraceId(id)| hex(&id)).unwrap_or_default(),
        named: named(&call.named),
        source: call.source.map_or(0, std::num::NonZeroU32::get),
    }
}

/// None if nothing was named.
fn named(named: &Named) -> Option<v1::NamedByCall> {
    if *named == Named::default() {
        return None;
    }
    Some(v1::NamedByCall {
        tenant_id: named.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        account_id: named.account.as_ref().map(ToString::to_string).unwrap_or_default(),
        key_id: named.key.map(|key| key.to_string()).unwrap_or_default(),
        caller_id: named.caller.map(|caller| caller.to_string()).unwrap_or_default(),
    })
}
