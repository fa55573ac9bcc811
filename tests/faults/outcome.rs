//! How a server that met a fault may end, what it must say then, and the count of it all.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Mutex;

use crate::shim::{Fault, Kind};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// What became of a server that met a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Killed by the fault itself.
    Killed,
    /// It went on and gave right answers, or ended in order.
    Survived,
    /// It ended with exit code 1 and said why: at a start or at its end.
    Refused,
    /// It called `abort()` and said why.
    Aborted,
    /// It was refused, and is from then on: what is lost is named.
    Destroyed,
}

/// What the end of a process was, held to what it must say.
pub(crate) fn judge(status: ExitStatus, log: &str, told: &impl fmt::Display) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(0), None) => Outcome::Survived,
        (Some(1), None) => {
            let errors = log.lines().filter(|line| line.starts_with("error: "));
            let errors: Vec<_> = errors.collect();
            assert_eq!(errors.len(), 1, "{told}: one line says why\n{log}");
            is_clear(errors[0], log, told);
            Outcome::Refused
        }
        (None, Some(SIGABRT)) => {
            let lines = log.lines().filter(|line| line.starts_with("keyledger: "));
            let lines: Vec<_> = lines.filter(|line| line.ends_with("; stopping")).collect();
            assert_eq!(lines.len(), 1, "{told}: one line says why\n{log}");
            is_clear(lines[0], log, told);
            Outcome::Aborted
        }
        (None, Some(SIGKILL)) => Outcome::Killed,
        _ => panic!("{told}: {status}\n{log}"),
    }
}

/// Says what failed, in words that are not a program's own troubles.
fn is_clear(line: &str, log: &str, told: &impl fmt::Display) {
    for empty in ["panicked", "unwrap", "uncategorized", "internal error", "task"] {
        assert!(!line.contains(empty), "{told}: {line}\n{log}");
    }
}

/// How often each kind of fault ended how, for each place where it was tried.
pub(crate) struct Tally {
    place: &'static str,
    counts: Mutex<BTreeMap<(Kind, bool), BTreeMap<Outcome, u64>>>,
}

impl Tally {
    pub(crate) fn of(place: &'static str) -> Tally {
        Tally { place, counts: Mutex::default() }
    }

    pub(crate) fn add(&self, fault: Fault, outcome: Outcome) {
        let mut counts = self.counts.lock().expect("no panic");
        let row = counts.entry((fault.kind, fault.persistent)).or_default();
        *row.entry(outcome).or_default() += 1;
    }

    /// How many points of a kind were tried.
    pub(crate) fn tried(&self, kind: Kind) -> u64 {
        let counts = self.counts.lock().expect("no panic");
        let rows = counts.iter().filter(|((found, _), _)| *found == kind);
        rows.flat_map(|(_, row)| row.values()).sum()
    }

    /// One line a kind. Shown by `--nocapture`.
    pub(crate) fn print(&self) {
        for ((kind, persistent), row) in &*self.counts.lock().expect("no panic") {
            let count = |outcome| row.get(&outcome).copied().unwrap_or_default();
            eprintln!(
                "{:<28} {kind:<30}{} {:>4} tried: {:>4} killed, {:>4} survived, {:>4} refused, {:>4} aborted, {:>2} destroyed",
                self.place,
                if *persistent { " lasting" } else { "" },
                row.values().sum::<u64>(),
                count(Outcome::Killed),
                count(Outcome::Survived),
                count(Outcome::Refused),
                count(Outcome::Aborted),
                count(Outcome::Destroyed),
            );
        }
    }
}
