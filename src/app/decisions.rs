//! Decisions on keys, counted by what was answered: for monitoring.
//!
//! Each is counted once, whatever way it was asked for: Authenticate, a question of AuthenticateStream, Check, WhoAmI, or
//! their forms over HTTP. A WhoAmI that is refused because too many from its source failed counts as what its key was.

use crate::app::authenticate::Outcome;
use crate::app::calls::RPC_CODES;
use crate::app::outcome_words::{answered, word};
use crate::counting::Counters;
use crate::domain::usage::UseOutcome;

/// What is answered about keys, by number: an outcome as it goes on record has its own, and that more were tried than
/// may be, which goes on record as what was tried, has what is over.
const ANSWERS: usize = UseOutcome::ALL.len() + 2;

/// The number of [`Outcome::TooManyUnknown`].
const TOO_MANY_UNKNOWN: usize = ANSWERS - 1;

/// Counts of decisions, and of what questions of streams ended with.
#[derive(Debug, Default)]
pub struct Decisions {
    answered: Counters<ANSWERS>,
    in_streams: Counters<{ RPC_CODES.len() }>,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct DecisionFigures {
    /// Answers about keys with their names.
    pub answered: Vec<(&'static str, u64)>,
    /// By the number of a status of gRPC, how many questions of streams it was the end of.
    pub in_streams: [u64; RPC_CODES.len()],
}

impl Decisions {
    pub(crate) fn note(&self, outcome: &Outcome) {
        let number = answered(outcome).map_or(TOO_MANY_UNKNOWN, |it| usize::from(it as u8));
        self.answered.count(number);
    }

    /// Counts a question of a stream that ended with the status of that number.
    pub fn note_in_stream(&self, code: usize) {
        self.in_streams.count(code);
    }

    /// What was counted.
    #[must_use]
    pub fn figures(&self) -> DecisionFigures {
        let counted = self.answered.read();
        let named = |outcome: &UseOutcome| (word(*outcome), counted[usize::from(*outcome as u8)]);
        let too_many = ("TOO_MANY_UNKNOWN", counted[TOO_MANY_UNKNOWN]);
        let answered = UseOutcome::ALL.iter().map(named).chain([too_many]).collect();
        DecisionFigures { answered, in_streams: self.in_streams.read() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::KeyId;
    use crate::domain::verdict::{Denial, Denied};

    #[test]
    fn a_decision_is_counted_as_what_was_answered() {
        let decisions = Decisions::default();
        let denied = Denied { denial: Denial::Revoked, evidence: None };
        for outcome in [
            Outcome::UnknownKey,
            Outcome::TooManyUnknown,
            Outcome::TooManyUnknown,
            Outcome::Denied(KeyId([1; 12]), denied),
        ] {
            decisions.note(&outcome);
        }
        let mut counted = decisions.figures().answered;
        assert_eq!(counted.len(), UseOutcome::ALL.len() + 1);
        counted.retain(|(_, count)| *count > 0);
        assert_eq!(counted, [("REVOKED", 1), ("UNKNOWN_KEY", 1), ("TOO_MANY_UNKNOWN", 2)]);
    }
}
