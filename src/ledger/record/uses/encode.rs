//! Events of uses to their wire form.

use std::num::NonZeroU32;

use crate::domain::ids::Position;
use crate::domain::usage::UseOutcome;
use crate::domain::usage::used::{
    GapCause, KeyUsed, Place, UnknownKeyTried, UsageGap, UsedCount, UsedSample, UsedWindow,
};
use crate::domain::usage::window::Total;
use crate::proto::ledger as wire;

pub(in crate::ledger::record) fn key_used(used: &KeyUsed) -> wire::KeyUsed {
    wire::KeyUsed {
        journal: used.journal,
        part: used.part,
        window: Some(window(&used.window)),
        total_allowed: used.total_allowed,
        total_denied: used.total_denied,
    }
}

pub(in crate::ledger::record) fn unknown_key_tried(
    tried: &UnknownKeyTried,
) -> wire::UnknownKeyTried {
    wire::UnknownKeyTried {
        journal: tried.journal,
        part: tried.part,
        window: Some(window(&tried.window)),
    }
}

pub(in crate::ledger::record) fn usage_gap(gap: &UsageGap) -> wire::UsageGap {
    let cause = match gap.cause {
        GapCause::UncleanStop => wire::UsageGapCause::UncleanStop,
        GapCause::Shed => wire::UsageGapCause::Shed,
        GapCause::Damaged => wire::UsageGapCause::Damaged,
    };
    wire::UsageGap {
        journal: gap.journal,
        part: gap.part,
        cause: cause.into(),
        from: gap.from.as_micros(),
        to: gap.to.as_micros(),
        lost: gap.lost,
    }
}

fn window(window: &UsedWindow) -> wire::UsageWindow {
    let (low, high) = window.positions.unzip();
    wire::UsageWindow {
        start: window.start.as_micros(),
        span_seconds: u32::try_from(window.span.as_secs()).unwrap_or(u32::MAX),
        totals: window.totals.iter().map(total).collect(),
        first_position: low.map_or(0, Position::get),
        last_position: high.map_or(0, Position::get),
        callers: window.callers.iter().map(|id| id.0.to_vec()).collect(),
        actions: window.actions.clone(),
        counts: window.counts.iter().map(count).collect(),
        samples: window.samples.iter().map(sample).collect(),
    }
}

fn total(total: &Total) -> wire::UsageTotal {
    wire::UsageTotal {
        outcome: outcome(total.outcome),
        count: total.count,
        first: total.first.as_micros(),
        last: total.last.as_micros(),
    }
}

fn count(line: &UsedCount) -> wire::UsageCount {
    wire::UsageCount {
        outcome: outcome(line.outcome),
        caller: number(line.caller),
        action: number(line.action),
        source: number(line.source),
        count: line.count,
    }
}

fn sample(sample: &UsedSample) -> wire::UsageSample {
    wire::UsageSample {
        outcome: outcome(sample.outcome),
        time: sample.time.as_micros(),
        trace_id: sample.trace_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        caller: number(sample.caller),
        action: number(sample.action),
        source: number(sample.source),
        agent: number(sample.agent),
        required_permissions: sample.required.clone(),
        presented_key: sample.presented.map(|id| id.0.to_vec()).unwrap_or_default(),
    }
}

/// The two lists of outcomes have the same numbers: a test of the record format holds them together.
fn outcome(outcome: UseOutcome) -> i32 {
    i32::from(outcome as u8)
}

fn number(place: Place) -> u32 {
    place.map_or(0, NonZeroU32::get)
}
