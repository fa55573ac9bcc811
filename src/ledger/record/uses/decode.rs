//! Events of uses from their wire form.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::domain::ids::{CallerId, KeyId, Position, TraceId};
use crate::domain::time::Time;
use crate::domain::usage::UseOutcome;
use crate::domain::usage::used::{
    GapCause, KeyUsed, UnknownKeyTried, UsageGap, UsedCount, UsedSample, UsedWindow,
};
use crate::domain::usage::window::Total;
use crate::ledger::record::RecordError;
use crate::ledger::record::decode::{exact, known, optional};
use crate::proto::ledger as wire;
use RecordError::Field;

pub(in crate::ledger::record) fn key_used(used: wire::KeyUsed) -> Result<KeyUsed, RecordError> {
    Ok(KeyUsed {
        journal: used.journal,
        part: used.part,
        window: window(used.window)?,
        total_allowed: used.total_allowed,
        total_denied: used.total_denied,
    })
}

pub(in crate::ledger::record) fn unknown_key_tried(
    tried: wire::UnknownKeyTried,
) -> Result<UnknownKeyTried, RecordError> {
    let wire::UnknownKeyTried { journal, part, window: tries } = tried;
    Ok(UnknownKeyTried { journal, part, window: window(tries)? })
}

pub(in crate::ledger::record) fn usage_gap(gap: &wire::UsageGap) -> Result<UsageGap, RecordError> {
    let cause = match known(gap.cause, "cause")? {
        wire::UsageGapCause::UncleanStop => GapCause::UncleanStop,
        wire::UsageGapCause::Shed => GapCause::Shed,
        wire::UsageGapCause::Damaged => GapCause::Damaged,
        wire::UsageGapCause::Unspecified => return Err(Field("cause")),
    };
    Ok(UsageGap {
        journal: gap.journal,
        part: gap.part,
        cause,
        from: Time::from_micros(gap.from),
        to: Time::from_micros(gap.to),
        lost: gap.lost,
    })
}

fn window(window: Option<wire::UsageWindow>) -> Result<UsedWindow, RecordError> {
    let window = window.ok_or(Field("window"))?;
    let positions = match (window.first_position, window.last_position) {
        (0, 0) => None,
        (low, high) => Position::new(low).zip(Position::new(high)),
    };
    if positions.is_none() && window.last_position != window.first_position {
        return Err(Field("window.first_position"));
    }
    let callers = window.callers.iter().map(|id| exact(id, "window.callers").map(CallerId));
    let read = UsedWindow {
        start: Time::from_micros(window.start),
        span: Duration::from_secs(window.span_seconds.into()),
        totals: window.totals.iter().map(total).collect::<Result<_, _>>()?,
        positions,
        callers: callers.collect::<Result<_, _>>()?,
        actions: window.actions,
        counts: window.counts.iter().map(count).collect::<Result<_, _>>()?,
        samples: window.samples.into_iter().map(sample).collect::<Result<_, _>>()?,
    };
    if read.holds_together() { Ok(read) } else { Err(Field("window")) }
}

fn total(total: &wire::UsageTotal) -> Result<Total, RecordError> {
    Ok(Total {
        outcome: outcome(total.outcome)?,
        count: total.count,
        first: Time::from_micros(total.first),
        last: Time::from_micros(total.last),
    })
}

fn count(line: &wire::UsageCount) -> Result<UsedCount, RecordError> {
    Ok(UsedCount {
        outcome: outcome(line.outcome)?,
        caller: NonZeroU32::new(line.caller),
        action: NonZeroU32::new(line.action),
        source: NonZeroU32::new(line.source),
        count: line.count,
    })
}

fn sample(sample: wire::UsageSample) -> Result<UsedSample, RecordError> {
    Ok(UsedSample {
        outcome: outcome(sample.outcome)?,
        time: Time::from_micros(sample.time),
        trace_id: optional(&sample.trace_id, "window.samples.trace_id")?.map(TraceId),
        caller: NonZeroU32::new(sample.caller),
        action: NonZeroU32::new(sample.action),
        source: NonZeroU32::new(sample.source),
        agent: NonZeroU32::new(sample.agent),
        required: sample.required_permissions,
        presented: optional(&sample.presented_key, "window.samples.presented_key")?.map(KeyId),
    })
}

fn outcome(number: i32) -> Result<UseOutcome, RecordError> {
    let known = u8::try_from(number).ok().and_then(UseOutcome::from_number);
    known.ok_or(Field("outcome"))
}
