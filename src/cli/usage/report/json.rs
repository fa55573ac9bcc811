//! The answers on uses for programs: fields named as in the API.

use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::cli::output::Resource as _;
use crate::cli::resources::enum_or_null;
use crate::cli::times::rfc3339;
use crate::proto::v1;

fn time(time: Option<&Timestamp>) -> Value {
    time.map_or(Value::Null, |time| rfc3339(time).into())
}

fn counts(counts: Option<&v1::UsageCounts>) -> Value {
    let Some(counts) = counts else { return Value::Null };
    let denied = |one: &v1::DeniedCount| json!({"reason": enum_or_null::<v1::DenialReason>(one.reason), "count": one.count});
    json!({
        "allowed": counts.allowed,
        "denied": counts.denied,
        "denied_by_reason": counts.denied_by_reason.iter().map(denied).collect::<Vec<_>>(),
        "first_use": time(counts.first_use.as_ref()),
        "last_use": time(counts.last_use.as_ref()),
    })
}

fn gaps(gaps: &[v1::UsageGapSpan]) -> Vec<Value> {
    let gap = |gap: &v1::UsageGapSpan| {
        json!({
            "start_time": time(gap.start_time.as_ref()),
            "end_time": time(gap.end_time.as_ref()),
            "lost": gap.lost,
            "position": gap.position,
        })
    };
    gaps.iter().map(gap).collect()
}

fn bucket(bucket: &v1::UsageBucket) -> Value {
    json!({
        "start_time": time(bucket.start_time.as_ref()),
        "counts": counts(bucket.counts.as_ref()),
    })
}

/// Of `usage key`.
pub(super) fn key_usage(answer: &v1::GetKeyUsageResponse) -> Value {
    json!({
        "buckets": answer.buckets.iter().map(bucket).collect::<Vec<_>>(),
        "total": counts(answer.total.as_ref()),
        "start_time": time(answer.start_time.as_ref()),
        "end_time": time(answer.end_time.as_ref()),
        "complete_until": time(answer.complete_until.as_ref()),
        "position": answer.position,
        "gaps": gaps(&answer.gaps),
    })
}

fn row(row: &v1::UsageRow) -> Value {
    json!({
        "bucket_start": time(row.bucket_start.as_ref()),
        "tenant_id": row.tenant_id,
        "account_id": row.account_id,
        "key_id": row.key_id,
        "caller_id": row.caller_id,
        "action": row.action,
        "source": row.source,
        "reason": enum_or_null::<v1::DenialReason>(row.reason),
        "other": row.other,
        "erased": row.erased,
        "counts": counts(row.counts.as_ref()),
    })
}

/// Of `usage top`.
pub(super) fn query(answer: &v1::QueryUsageResponse) -> Value {
    json!({
        "rows": answer.rows.iter().map(row).collect::<Vec<_>>(),
        "next_page_token": answer.next_page_token,
        "start_time": time(answer.start_time.as_ref()),
        "end_time": time(answer.end_time.as_ref()),
        "complete_until": time(answer.complete_until.as_ref()),
        "position": answer.position,
        "unattributed": answer.unattributed,
        "gaps": gaps(&answer.gaps),
    })
}

fn straggler(straggler: &v1::Straggler) -> Value {
    json!({
        "caller_id": straggler.caller_id,
        "action": straggler.action,
        "source": straggler.source,
        "user_agents": straggler.user_agents,
        "allowed": straggler.allowed,
        "denied": straggler.denied,
        "last_bucket": time(straggler.last_bucket.as_ref()),
        "other": straggler.other,
        "erased": straggler.erased,
    })
}

/// Of `usage stragglers`.
pub(super) fn stragglers(answer: &v1::GetStragglersResponse) -> Value {
    json!({
        "stragglers": answer.stragglers.iter().map(straggler).collect::<Vec<_>>(),
        "next_page_token": answer.next_page_token,
        "key": answer.key.as_ref().map(|key| key.json()),
        "rotate_time": time(answer.rotate_time.as_ref()),
        "start_time": time(answer.start_time.as_ref()),
        "complete_until": time(answer.complete_until.as_ref()),
        "position": answer.position,
    })
}

fn signal(signal: &v1::Signal) -> Value {
    json!({
        "kind": enum_or_null::<v1::SignalKind>(signal.kind),
        "tenant_id": signal.tenant_id,
        "account_id": signal.account_id,
        "key_id": signal.key_id,
        "start_time": time(signal.start_time.as_ref()),
        "end_time": time(signal.end_time.as_ref()),
        "uses": signal.uses,
        "observed": signal.observed,
        "threshold": signal.threshold,
        "first_position": signal.first_position,
        "last_position": signal.last_position,
        "sources": signal.sources,
        "more_sources": signal.more_sources,
        "erased": signal.erased,
        "caller_ids": signal.caller_ids,
        "more_callers": signal.more_callers,
        "presented_keys": signal.presented_keys,
    })
}

/// Of `usage signals`.
pub(super) fn signals(answer: &v1::ListSignalsResponse) -> Value {
    json!({
        "signals": answer.signals.iter().map(signal).collect::<Vec<_>>(),
        "next_page_token": answer.next_page_token,
        "start_time": time(answer.start_time.as_ref()),
        "end_time": time(answer.end_time.as_ref()),
        "complete_until": time(answer.complete_until.as_ref()),
        "position": answer.position,
        "gaps": gaps(&answer.gaps),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::resources::tests::assert_fields_of_message;

    #[test]
    fn json_has_the_fields_of_the_api_in_their_order() {
        let denied = v1::DeniedCount { reason: v1::DenialReason::Expired.into(), count: 2 };
        let counted = v1::UsageCounts { denied_by_reason: vec![denied], ..Default::default() };
        let gap = v1::UsageGapSpan::default();
        let answer = v1::GetKeyUsageResponse {
            buckets: vec![v1::UsageBucket { counts: Some(counted), ..Default::default() }],
            gaps: vec![gap],
            ..Default::default()
        };
        let json = key_usage(&answer);
        assert_fields_of_message("GetKeyUsageResponse", &json);
        assert_fields_of_message("UsageBucket", &json["buckets"][0]);
        assert_fields_of_message("UsageCounts", &json["buckets"][0]["counts"]);
        let of_reason = &json["buckets"][0]["counts"]["denied_by_reason"][0];
        assert_fields_of_message("DeniedCount", of_reason);
        assert_eq!(of_reason["reason"], "EXPIRED");
        assert_fields_of_message("UsageGapSpan", &json["gaps"][0]);
        assert_eq!(json["total"], Value::Null);

        let rows = vec![v1::UsageRow::default()];
        let json = query(&v1::QueryUsageResponse { rows, ..Default::default() });
        assert_fields_of_message("QueryUsageResponse", &json);
        assert_fields_of_message("UsageRow", &json["rows"][0]);

        let answer = v1::GetStragglersResponse {
            stragglers: vec![v1::Straggler::default()],
            key: Some(v1::Key::default()),
            ..Default::default()
        };
        let json = stragglers(&answer);
        assert_fields_of_message("GetStragglersResponse", &json);
        assert_fields_of_message("Straggler", &json["stragglers"][0]);
        assert_fields_of_message("Key", &json["key"]);

        let signals_of = vec![v1::Signal::default()];
        let json = signals(&v1::ListSignalsResponse { signals: signals_of, ..Default::default() });
        assert_fields_of_message("ListSignalsResponse", &json);
        assert_fields_of_message("Signal", &json["signals"][0]);
    }
}
