//! What was measured, round by round, as a table and as JSON.

use std::path::PathBuf;

use serde::Serialize;

use crate::order::Measured;
use crate::say;

/// A server in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Case {
    /// The server that does nothing: what the others are compared with.
    Empty,
    Bounded,
    BeforeReply,
}

impl Case {
    pub(crate) const ALL: [Case; 3] = [Case::Empty, Case::Bounded, Case::BeforeReply];

    fn name(self) -> &'static str {
        match self {
            Case::Empty => "empty RPC",
            Case::Bounded => "keyledger, bounded",
            Case::BeforeReply => "keyledger, before_reply",
        }
    }
}

/// One measurement.
#[derive(Debug, Serialize)]
struct Entry {
    case: Case,
    /// In one round the servers took turns.
    round: usize,
    #[serde(flatten)]
    measured: Measured,
    /// Bytes that the server held when it was over.
    memory: u64,
}

/// What one kind of load measured.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    title: String,
    entries: Vec<Entry>,
}

/// The middle of some values, the least and the greatest.
pub(crate) fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[values.len() / 2], values[0], values[values.len() - 1]]
}

impl Part {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Part { title: title.into(), entries: Vec::new() }
    }

    pub(crate) fn add(&mut self, case: Case, round: usize, measured: Measured, memory: u64) {
        self.entries.push(Entry { case, round, measured, memory });
    }

    fn values(&self, case: Case, value: impl Fn(&Entry) -> f64) -> Vec<f64> {
        self.entries.iter().filter(|entry| entry.case == case).map(value).collect()
    }

    pub(crate) fn middle(&self, case: Case, value: impl Fn(&Measured) -> f64) -> f64 {
        spread(self.values(case, |entry| value(&entry.measured)))[0]
    }

    /// The ratio to the empty RPC of the same round, each.
    fn ratio(&self, case: Case, value: impl Fn(&Measured) -> f64) -> String {
        let [ours, empty] = [case, Case::Empty].map(|case| {
            let in_rounds = self.entries.iter().filter(move |entry| entry.case == case);
            in_rounds.map(|entry| (entry.round, value(&entry.measured))).collect::<Vec<_>>()
        });
        let of_round = |round| empty.iter().find(|(other, _)| *other == round);
        let ratios = ours.iter().filter_map(|(round, ours)| Some(ours / of_round(*round)?.1));
        let [middle, least, most] = spread(ratios.collect());
        format!("{middle:.2} ({least:.2}-{most:.2})")
    }

    pub(crate) fn print(&self) {
        say(&format!("\n{}", self.title));
        say(&format!(
            "{:<24} {:>10} {:>8} {:>8} {:>8} {:>8} {:>7}  {:<18} {:<18}",
            "",
            "calls/s",
            "p50 µs",
            "p99 µs",
            "p99.9",
            "CPU µs",
            "MB",
            "rate : empty",
            "p99 : empty"
        ));
        for case in Case::ALL {
            let middle = |value: fn(&Measured) -> f64| self.middle(case, value);
            let memory = spread(self.values(case, |entry| entry.memory as f64 / 1e6))[0];
            say(&format!(
                "{:<24} {:>10.0} {:>8.0} {:>8.0} {:>8.0} {:>8.2} {:>7.0}  {:<18} {:<18}",
                case.name(),
                middle(|it| it.rate),
                middle(|it| it.p50),
                middle(|it| it.p99),
                middle(|it| it.p999),
                middle(|it| it.server_cpu),
                memory,
                self.ratio(case, |it| it.rate),
                self.ratio(case, |it| it.p99),
            ));
        }
    }
}

/// Writes what was measured beside the table.
pub(crate) fn write_json(name: &str, what: &impl Serialize) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = serde_json::to_vec_pretty(what).expect("plain");
    std::fs::write(&path, text).expect("written");
    say(&format!("\nall of it, round by round: {}", path.display()));
}
