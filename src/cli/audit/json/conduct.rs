//! Reads of the history and refused calls as programs read them.

use serde_json::{Value, json};

use crate::cli::resources::{enum_or_null, time};
use crate::proto::v1::{self, NamedByCall};

pub(super) fn read(read: &v1::AuditRead) -> Value {
    json!({
        "window_time": time(read.window_time.as_ref()),
        "other": read.other,
        "caller_id": read.caller_id,
        "rpc": read.rpc,
        "named": read.named.as_ref().map(named),
        "calls": read.calls,
        "events": read.events,
        "first_position": read.first_position,
        "last_position": read.last_position,
        "first_time": time(read.first_time.as_ref()),
        "last_time": time(read.last_time.as_ref()),
    })
}

pub(super) fn refused(calls: &v1::CallsRefused) -> Value {
    let source =
        |source: &v1::RefusedSource| json!({"source": source.source, "count": source.count});
    let sample = |call: &v1::RefusedCall| {
        json!({
            "time": time(call.time.as_ref()),
            "trace_id": call.trace_id,
            "named": call.named.as_ref().map(named),
            "source": call.source,
        })
    };
    json!({
        "window_time": time(calls.window_time.as_ref()),
        "other": calls.other,
        "caller_id": calls.caller_id,
        "rpc": calls.rpc,
        "reason": enum_or_null::<v1::ErrorReason>(calls.reason),
        "count": calls.count,
        "first_time": time(calls.first_time.as_ref()),
        "last_time": time(calls.last_time.as_ref()),
        "sources": calls.sources.iter().map(source).collect::<Vec<_>>(),
        "samples": calls.samples.iter().map(sample).collect::<Vec<_>>(),
    })
}

fn named(named: &NamedByCall) -> Value {
    json!({
        "tenant_id": named.tenant_id,
        "account_id": named.account_id,
        "key_id": named.key_id,
        "caller_id": named.caller_id,
    })
}
