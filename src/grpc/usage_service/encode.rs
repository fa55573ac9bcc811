//! The answers to questions on uses.

use std::net::IpAddr;

use crate::app::list_signals::Signal;
use crate::app::usage_question::{Bucket, Counts, Gap, Row, Way};
use crate::domain::source_detail::SourceDetail;
use crate::domain::usage::UseOutcome;
use crate::grpc::encode::{position, time};
use crate::grpc::enums;
use crate::proto::v1;

/// How often, and when.
pub(super) fn counts(counts: &Counts) -> v1::UsageCounts {
    let allowed = |outcome: &UseOutcome| *outcome == UseOutcome::Allowed;
    let of = |wanted: bool| {
        let fitting = counts.by_outcome.iter().filter(move |(one, _)| allowed(one) == wanted);
        fitting.map(|(_, count)| *count).fold(0, u64::saturating_add)
    };
    let denied = counts.by_outcome.iter().filter(|(outcome, _)| !allowed(outcome));
    let denied = denied.map(|(outcome, count)| v1::DeniedCount {
        reason: enums::use_outcome(*outcome).into(),
        count: *count,
    });
    v1::UsageCounts {
        allowed: of(true),
        denied: of(false),
        denied_by_reason: denied.collect(),
        first_use: counts.first_use.map(time),
        last_use: counts.last_use.map(time),
    }
}

/// The uses of one bucket.
pub(super) fn bucket(bucket: &Bucket) -> v1::UsageBucket {
    v1::UsageBucket { start_time: Some(time(bucket.start)), counts: Some(counts(&bucket.counts)) }
}

/// Where uses may be missing.
pub(super) fn gap(gap: &Gap) -> v1::UsageGapSpan {
    v1::UsageGapSpan {
        start_time: Some(time(gap.from)),
        end_time: Some(time(gap.to)),
        lost: gap.lost.unwrap_or_default(),
        position: position(Some(gap.position)),
    }
}

/// The uses of one group.
pub(super) fn row(row: &Row, detail: SourceDetail) -> v1::UsageRow {
    v1::UsageRow {
        bucket_start: row.bucket.map(time),
        tenant_id: text(row.tenant.as_ref()),
        account_id: text(row.account.as_ref()),
        key_id: text(row.key.as_ref()),
        caller_id: text(row.caller.as_ref()),
        action: text(row.action.as_ref()),
        source: source(row.source, detail),
        reason: row.outcome.map_or(0, |outcome| enums::use_outcome(outcome).into()),
        other: row.other,
        erased: row.erased,
        counts: Some(counts(&row.counts)),
    }
}

/// One way in which a key is still used, and what such uses said they came from.
pub(super) fn straggler(
    (way, user_agents): (Way, Vec<String>),
    detail: SourceDetail,
) -> v1::Straggler {
    v1::Straggler {
        caller_id: text(way.caller.as_ref()),
        action: text(way.action.as_ref()),
        source: source(way.source, detail),
        user_agents,
        allowed: way.allowed,
        denied: way.denied,
        last_bucket: Some(time(way.last_bucket)),
        other: way.other,
        erased: way.erased,
    }
}

/// Unusual activity.
pub(super) fn signal(signal: &Signal, detail: SourceDetail) -> v1::Signal {
    let (tenant, account, key) = signal
        .whose
        .as_ref()
        .map(|(tenant, account, key)| (tenant.to_string(), account.to_string(), key.to_string()))
        .unwrap_or_default();
    v1::Signal {
        kind: enums::signal_kind(signal.kind).into(),
        tenant_id: tenant,
        account_id: account,
        key_id: key,
        start_time: Some(time(signal.from)),
        end_time: Some(time(signal.until)),
        uses: signal.uses,
        observed: signal.observed,
        threshold: signal.threshold,
        first_position: position(Some(signal.first)),
        last_position: position(Some(signal.last)),
        sources: signal.sources.iter().map(|address| detail.text(*address)).collect(),
        more_sources: signal.more_sources,
        erased: signal.erased,
        caller_ids: signal.callers.iter().map(ToString::to_string).collect(),
        more_callers: signal.more_callers,
        presented_keys: signal.presented,
    }
}

fn source(known: Option<IpAddr>, detail: SourceDetail) -> String {
    known.map(|address| detail.text(address)).unwrap_or_default()
}

fn text(known: Option<&impl ToString>) -> String {
    known.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Time;

    #[test]
    fn denied_uses_are_divided_by_their_reasons_in_the_order_of_the_api() {
        let of_keys = UseOutcome::ALL.iter().filter(|outcome| outcome.is_of_key());
        let by_outcome: Vec<_> = of_keys.map(|outcome| (*outcome, *outcome as u64)).collect();
        let last_use = Some(Time::from_micros(1));
        let sent = counts(&Counts { by_outcome, first_use: None, last_use });
        assert_eq!((sent.allowed, sent.denied), (1, (2..=10).sum()));
        assert_eq!((sent.first_use, sent.last_use.map(|time| time.nanos)), (None, Some(1000)));
        let reasons: Vec<_> = sent.denied_by_reason.iter().map(|one| one.reason).collect();
        assert!(reasons.is_sorted() && reasons.len() == 9, "{reasons:?}");
        assert_eq!(sent.denied_by_reason[0].reason(), v1::DenialReason::Revoked);
    }

    #[test]
    fn what_is_not_known_of_a_group_is_empty() {
        let sent = row(&Row { other: true, ..Row::default() }, SourceDetail::Network);
        let expected = v1::UsageRow {
            other: true,
            counts: Some(v1::UsageCounts::default()),
            ..Default::default()
        };
        assert_eq!(sent, expected);
    }
}
