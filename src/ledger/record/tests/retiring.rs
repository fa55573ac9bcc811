//! Records of rotations that may end early, and of those that did: their bytes, and what is refused.

use std::time::Duration;

use super::super::{RecordError, decode};
use super::golden::{Wire, holds, key, of_key, wire};
use crate::domain::event::Event;
use crate::domain::ids::KeyId;
use crate::domain::key::RevokeReason;
use crate::domain::time::Time;

fn rotated(idle: i64) -> Wire {
    of_key(34, &wire().bytes(1, [0xdd; 12]).number(2, 9).number(3, 2).number(4, idle))
}

#[test]
fn a_rotation_that_may_end_early_says_after_how_long_a_silence() {
    let fact = key(Event::KeyRotated {
        successor: KeyId([0xdd; 12]),
        retire_time: Time::from_micros(9),
        retire_when_idle_for: Some(Duration::from_micros(300)),
        reason: RevokeReason::Superseded,
    });
    holds(&fact, &rotated(300));
    // A silence of nothing is none that was written.
    assert_eq!(decode(&rotated(0).0), Err(RecordError::Field("retire_when_idle_for")));
}

#[test]
fn a_retirement_says_when_the_key_was_last_used() {
    holds(&key(Event::KeyRetired { last_use: None }), &of_key(37, &wire()));
    // A use at the epoch is not none.
    for micros in [0, -5, 300] {
        let last_use = Some(Time::from_micros(micros));
        holds(&key(Event::KeyRetired { last_use }), &of_key(37, &wire().number(1, micros)));
    }
}
