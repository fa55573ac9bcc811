//! What a gate has tried and found, as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::backups::has_leftover;
use super::case::Case;
use super::points::Class;

#[derive(Debug, Default)]
pub struct Tally {
    modes: BTreeMap<&'static str, Count>,
    traces: BTreeMap<&'static str, Count>,
    classes: BTreeMap<Class, Count>,
    /// States that were equal to one tried before.
    pub equal: usize,
    /// States that held the leftover of a backup.
    leftovers: usize,
    pub time: Duration,
    failures: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    tried: usize,
    failed: usize,
}

/// The failures told in full.
const TOLD: usize = 12;

impl Tally {
    /// Takes in what another run has found.
    pub fn add(&mut self, other: Tally) {
        add(&mut self.modes, other.modes);
        add(&mut self.traces, other.traces);
        add(&mut self.classes, other.classes);
        self.equal += other.equal;
        self.leftovers += other.leftovers;
        self.time += other.time;
        self.failures.extend(other.failures);
    }

    pub fn count(&mut self, case: &Case, problem: Option<&String>) {
        let failed = usize::from(problem.is_some());
        let counts = [
            self.modes.entry(case.mode.row()).or_default(),
            self.traces.entry(case.trace.name).or_default(),
            self.classes.entry(case.class).or_default(),
        ];
        for count in counts {
            count.tried += 1;
            count.failed += failed;
        }
        self.leftovers += usize::from(has_leftover(&case.tree));
        self.failures.extend(problem.map(|problem| format!("{case}: {problem}")));
    }

    pub fn tried(&self) -> usize {
        self.modes.values().map(|count| count.tried).sum()
    }

    pub fn failed(&self) -> usize {
        self.failures.len()
    }

    pub fn failures(&self) -> String {
        self.failures.iter().take(TOLD).map(|failure| format!("  {failure}\n")).collect()
    }

    fn per_second(&self) -> usize {
        let millis = usize::try_from(self.time.as_millis()).expect("a short time").max(1);
        self.tried() * 1000 / millis
    }
}

fn add<K: Ord>(counts: &mut BTreeMap<K, Count>, others: BTreeMap<K, Count>) {
    for (name, other) in others {
        let count = counts.entry(name).or_default();
        count.tried += other.tried;
        count.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes = self.classes.iter().map(|(class, count)| (class.row(), count));
        let row = |f: &mut fmt::Formatter<'_>, name: &str, count: &Count| {
            let Count { tried, failed } = count;
            writeln!(f, "  {name:<26}{tried:>7}{:>7}{failed:>9}", tried - failed)
        };
        writeln!(f, "  {:<26}{:>7}{:>7}{:>9}", "", "tried", "ok", "failures")?;
        self.modes.iter().try_for_each(|(name, count)| row(f, name, count))?;
        writeln!(f, "  by point")?;
        classes.into_iter().try_for_each(|(name, count)| row(f, name, count))?;
        writeln!(f, "  by trace")?;
        self.traces.iter().try_for_each(|(name, count)| row(f, name, count))?;
        let (tried, equal, seconds) = (self.tried(), self.equal, self.time.as_secs());
        let (rate, leftovers) = (self.per_second(), self.leftovers);
        writeln!(f, "  {leftovers} states held the leftover of a backup")?;
        write!(
            f,
            "  {tried} distinct states ({equal} more were equal) in {seconds} s, {rate} a second"
        )
    }
}
