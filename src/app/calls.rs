//! Calls, counted and timed by what was called and how they ended: for monitoring. Which calls there are is said by
//! whoever serves them.

use std::time::Duration;

use crate::counting::{Counters, DURATIONS, Distribution, Histogram};

/// The statuses of gRPC by their numbers, in its own words.
pub const RPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The most codes that calls of one kind end with.
const MOST_CODES: usize = RPC_CODES.len();

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callable {
    /// What it is called; among the first it is the only one of that name.
    pub name: &'static str,
    /// What its calls may end with; the first is success.
    pub codes: &'static [&'static str],
}

/// How a call ended: with success, or with one of the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was answered.
    Success,
    /// It was not, for what the client is or asks or does.
    ClientError(usize),
    /// It was not, for what is so here.
    ServerError(usize),
}

/// The names of the kinds of [`End`].
pub const OUTCOMES: [&str; 3] = ["ok", "client_error", "server_error"];

#[derive(Debug)]
struct Row {
    callable: Callable,
    /// By outcome.
    durations: [Histogram; 3],
    /// Of calls that failed. Those that did not are counted by their durations.
    failures: Counters<MOST_CODES>,
}

/// The counts of all calls.
#[derive(Debug)]
pub struct Calls(Box<[Row]>);

/// What was counted of calls.
#[derive(Clone, Debug)]
pub struct CallFigures {
    /// What was called.
    pub callable: Callable,
    /// How long it took, by outcome.
    pub durations: [Distribution; 3],
    /// How many ended with each code; those with success first.
    pub codes: Vec<u64>,
}

impl Calls {
    /// Counts of what may be called.
    pub fn of(callables: impl IntoIterator<Item = Callable>) -> Self {
        let row = |callable| Row {
            callable,
            durations: [(); 3].map(|()| Histogram::new(&DURATIONS)),
            failures: Counters::default(),
        };
        Calls(callables.into_iter().map(row).collect())
    }

    /// Counts a call of what has that number.
    pub fn note(&self, number: usize, end: End, took: Duration) {
        let Some(row) = self.0.get(number) else { return };
        let (outcome, code) = match end {
            End::Success => (0, None),
            End::ClientError(code) => (1, Some(code)),
            End::ServerError(code) => (2, Some(code)),
        };
        row.durations[outcome].note_duration(took);
        code.inspect(|code| row.failures.count(*code));
    }

    /// What was counted, without what was never called.
    #[must_use]
    pub fn figures(&self) -> Vec<CallFigures> {
        let figures = self.0.iter().map(Row::figures);
        figures.filter(|row| row.durations.iter().any(|found| found.count() > 0)).collect()
    }
}

impl Row {
    fn figures(&self) -> CallFigures {
        let durations = self.durations.each_ref().map(Histogram::read);
        let mut codes = self.failures.read()[..self.callable.codes.len()].to_vec();
        if let Some(success) = codes.first_mut() {
            *success = durations[0].count();
        }
        CallFigures { callable: self.callable, durations, codes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_how_they_ended_and_what_was_never_called_is_left_out() {
        let callable = |name| Callable { name, codes: &["fine", "wrong", "broken"] };
        let calls = Calls::of(["one", "other"].map(callable));
        calls.note(1, End::Success, Duration::from_millis(1));
        calls.note(1, End::Success, Duration::from_millis(2));
        calls.note(1, End::ClientError(1), Duration::from_millis(3));
        calls.note(1, End::ServerError(2), Duration::from_millis(4));
        calls.note(2, End::Success, Duration::ZERO);
        let figures = calls.figures();
        let [other] = &figures[..] else { panic!("{figures:?}") };
        assert_eq!((other.callable.name, &other.codes[..]), ("other", &[2, 1, 1][..]));
        let counted = other.durations.map(|found| (found.count(), found.sum()));
        assert_eq!(counted, [(2, 3_000_000), (1, 3_000_000), (1, 4_000_000)]);
    }
}
