//! Windows of uses as messages of the wire.

use super::hex;
use crate::domain::ids::CallerId;
use crate::domain::usage::UseOutcome;
use crate::domain::usage::used::{
    GapCause, KeyUsed, Place, UnknownKeyTried, UsageGap, UsedCount, UsedSample, UsedWindow, at,
};
use crate::domain::usage::window::Total;
use crate::grpc::encode::{position, span, time};
use crate::grpc::enums;
use crate::proto::v1;

pub(super) fn key_used(used: &KeyUsed) -> v1::KeyUsed {
    v1::KeyUsed {
        journal: used.journal,
        part: used.part,
        window: Some(window(&used.window)),
        total_allowed: used.total_allowed,
        total_denied: used.total_denied,
    }
}

pub(super) fn unknown_key_tried(tried: &UnknownKeyTried) -> v1::UnknownKeyTried {
    v1::UnknownKeyTried {
        journal: tried.journal,
        part: tried.part,
        window: Some(window(&tried.window)),
    }
}

pub(super) fn gap(gap: &UsageGap) -> v1::UsageGap {
    let cause = match gap.cause {
        GapCause::UncleanStop => v1::UsageGapCause::UncleanStop,
        GapCause::Shed => v1::UsageGapCause::Shed,
        GapCause::Damaged => v1::UsageGapCause::Damaged,
    };
    v1::UsageGap {
        journal: gap.journal,
        part: gap.part,
        cause: cause.into(),
        from_time: Some(time(gap.from)),
        to_time: Some(time(gap.to)),
        lost: gap.lost,
    }
}

fn window(window: &UsedWindow) -> v1::UsageWindow {
    v1::UsageWindow {
        start_time: Some(time(window.start)),
        span: Some(span(window.span)),
        totals: window.totals.iter().map(total).collect(),
        first_position: position(window.positions.map(|(first, _)| first)),
        last_position: position(window.positions.map(|(_, last)| last)),
        counts: window.counts.iter().map(|line| count(window, line)).collect(),
        samples: window.samples.iter().map(|used| sample(window, used)).collect(),
    }
}

fn total(total: &Total) -> v1::UsageTotal {
    let (outcome, denial_reason) = outcome(total.outcome);
    v1::UsageTotal {
        outcome: outcome.into(),
        denial_reason: denial_reason.into(),
        count: total.count,
        first_time: Some(time(total.first)),
        last_time: Some(time(total.last)),
    }
}

fn count(window: &UsedWindow, line: &UsedCount) -> v1::UsageCount {
    let (outcome, denial_reason) = outcome(line.outcome);
    v1::UsageCount {
        outcome: outcome.into(),
        denial_reason: denial_reason.into(),
        caller_id: caller(window, line.caller),
        action: action(window, line.action),
        source: number(line.source),
        count: line.count,
    }
}

fn sample(window: &UsedWindow, sample: &UsedSample) -> v1::UsageSample {
    let (outcome, denial_reason) = outcome(sample.outcome);
    v1::UsageSample {
        outcome: outcome.into(),
        denial_reason: denial_reason.into(),
        time: Some(time(sample.time)),
        trace_id: sample.trace_id.map(|trace| hex(&trace.0)).unwrap_or_default(),
        caller_id: caller(window, sample.caller),
        action: action(window, sample.action),
        source: number(sample.source),
        agent: number(sample.agent),
        required_permissions: sample.required.clone(),
        presented_key_id: sample.presented.map(|key| key.to_string()).unwrap_or_default(),
    }
}

fn caller(window: &UsedWindow, place: Place) -> String {
    at(&window.callers, place).map(CallerId::to_string).unwrap_or_default()
}

fn action(window: &UsedWindow, place: Place) -> String {
    at(&window.actions, place).cloned().unwrap_or_default()
}

fn number(place: Place) -> u32 {
    place.map_or(0, std::num::NonZeroU32::get)
}

fn outcome(outcome: UseOutcome) -> (v1::Outcome, v1::DenialReason) {
    let answered = match outcome {
        UseOutcome::Allowed => v1::Outcome::Allowed,
        _ => v1::Outcome::Denied,
    };
    (answered, enums::use_outcome(outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_pair_of_its_own_named_as_it_is() {
        for of_log in UseOutcome::ALL {
            let (answered, reason) = outcome(*of_log);
            let name = format!("{of_log:?}");
            if *of_log == UseOutcome::Allowed {
                assert_eq!(
                    (answered, reason),
                    (v1::Outcome::Allowed, v1::DenialReason::Unspecified)
                );
            } else {
                assert_eq!((answered, format!("{reason:?}")), (v1::Outcome::Denied, name));
            }
        }
    }
}
