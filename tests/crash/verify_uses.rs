//! Holds the uses on record, once a state was recovered and stopped in order, to what was answered before
//! the crash and to what was durable in it.

use std::collections::{BTreeMap, BTreeSet};

use keyledger::domain::event::Event;
use keyledger::domain::subject::Subject;
use keyledger::domain::usage::used::{GapCause, UsageGap, UsedWindow};
use keyledger::ledger::record;
use serde::{Deserialize, Serialize};

use super::journal::{Counts, Uses, add, name_of};
use super::verify::Seen;

/// What a crash demands of the uses on record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseBounds {
    /// Whether answers waited for the disk: then none that was answered is missing.
    pub before_reply: bool,
    /// What had been answered.
    pub answered: Counts,
    /// What was durable in journals: none of it is missing.
    pub durable: Counts,
    /// What had been written to journals: no more than that is there.
    pub written: Counts,
    /// If a flush was written and not yet durable: what is on record at least if it is there, and when the last of
    /// its uses was decided.
    pub torn: Option<(Counts, i64)>,
    /// When the last use of the next flush was decided, if there was one before the server ended.
    pub next: Option<i64>,
}

impl Uses {
    /// What a crash here demands.
    pub fn at(&self, point: usize, starts: &[usize]) -> UseBounds {
        let mut bounds = UseBounds { before_reply: self.before_reply, ..UseBounds::default() };
        for verdict in self.verdicts.iter().filter(|verdict| verdict.op < point) {
            *bounds.answered.entry(verdict.name.clone()).or_default() += 1;
        }
        for flush in self.flushes.iter().filter(|flush| flush.written < point) {
            add(&mut bounds.written, &flush.uses);
            if flush.synced.is_some_and(|synced| synced < point) {
                add(&mut bounds.durable, &flush.uses);
            }
        }
        let begun = starts.iter().rfind(|start| **start < point).copied().unwrap_or(0);
        let ended = starts.iter().find(|start| **start >= point).copied().unwrap_or(usize::MAX);
        let mut of_run =
            self.flushes.iter().filter(|flush| (begun..ended).contains(&flush.written));
        let last = of_run.clone().rfind(|flush| flush.written < point);
        bounds.torn = last.filter(|flush| flush.synced.is_none_or(|at| at >= point)).map(|flush| {
            let mut with_it = bounds.durable.clone();
            add(&mut with_it, &flush.uses);
            (with_it, flush.latest)
        });
        bounds.next = of_run.find(|flush| flush.written >= point).map(|flush| flush.latest);
        bounds
    }
}

/// The uses that a log has.
#[derive(Debug, Default)]
struct OnRecord {
    all: Counts,
    by_journal: BTreeMap<u64, Counts>,
    gaps: Vec<UsageGap>,
}

/// Says what is wrong with the uses in the log, if anything is. `seen` has the uses of the gate itself, and
/// `left` what the journals hold that are still there.
pub fn verify_uses(
    log: &[Vec<u8>],
    bounds: &UseBounds,
    seen: &[Seen],
    left: &BTreeMap<u64, Counts>,
) -> Result<(), String> {
    let found = read(log)?;
    let mut ours = Counts::new();
    for (key, verdict) in seen.iter().flat_map(|seen| &seen.verdicts) {
        let name = match verdict {
            None => name_of(key, "Allowed"),
            Some((why, _)) if why == "UnknownKey" => name_of("", why),
            Some((why, _)) => name_of(key, why),
        };
        *ours.entry(name).or_default() += 1;
    }
    let mut highest = bounds.written.clone();
    add(&mut highest, &ours);
    no_more(&found.all, &highest, "are on record, and no more than", "were journaled")?;
    if bounds.before_reply {
        let mut lowest = bounds.answered.clone();
        add(&mut lowest, &ours);
        no_more(&lowest, &found.all, "were answered, and only", "are on record")?;
    }
    no_more(&bounds.durable, &found.all, "were durable, and only", "are on record")?;
    if !bounds.before_reply && no_more(&bounds.answered, &bounds.durable, "", "").is_err() {
        let torn = bounds.torn.as_ref();
        let lost = torn.filter(|(with_it, _)| no_more(with_it, &found.all, "", "").is_err());
        check_gap(&found.gaps, lost.map(|(_, at)| *at).or(bounds.next))?;
    }
    if let Some(gap) = found.gaps.iter().find(|gap| gap.cause == GapCause::Damaged) {
        return Err(format!("a crash is taken for damage: {gap:?}"));
    }
    let nothing = Counts::new();
    for (journal, uses) in left {
        let sealed = found.by_journal.get(journal).unwrap_or(&nothing);
        if sealed != uses {
            return Err(format!("journal {journal} holds {uses:?}, on record of it: {sealed:?}"));
        }
    }
    Ok(())
}

/// Uses may be missing: a gap says so, and covers them.
fn check_gap(gaps: &[UsageGap], missing: Option<i64>) -> Result<(), String> {
    let covers = |gap: &&UsageGap| {
        gap.cause == GapCause::UncleanStop
            && gap.from < gap.to
            && missing.is_none_or(|at| (gap.from.as_micros()..=gap.to.as_micros()).contains(&at))
    };
    match gaps.iter().find(covers) {
        Some(_) => Ok(()),
        None => Err(format!("uses at {missing:?} may be missing, and no gap says so: {gaps:?}")),
    }
}

pub fn no_more(these: &Counts, those: &Counts, than: &str, what: &str) -> Result<(), String> {
    for (name, count) in these {
        let most = those.get(name).copied().unwrap_or(0);
        if *count > most {
            return Err(format!("{count} uses [{name}] {than} {most} {what}"));
        }
    }
    Ok(())
}

/// Reads the uses in a log: no window is there twice, and the running totals are the sums.
fn read(log: &[Vec<u8>]) -> Result<OnRecord, String> {
    let mut found = OnRecord::default();
    let mut windows = BTreeSet::new();
    let mut totals = BTreeMap::<String, (u64, u64)>::new();
    for (position, record) in (1..).zip(log) {
        let fact =
            record::decode(record).map_err(|error| format!("position {position}: {error}"))?;
        let (key, journal, part, window) = match (&fact.subject, &fact.event) {
            (Subject::Key(_, key), Event::KeyUsed(used)) => {
                let key = key.to_string();
                let counts = used.window.use_counts();
                let sum = totals.entry(key.clone()).or_default();
                *sum = (sum.0 + counts.allowed, sum.1 + counts.denied);
                if *sum != (used.total_allowed, used.total_denied) {
                    return Err(format!("position {position}: the totals of {key} do not chain"));
                }
                (key, used.journal, used.part, &used.window)
            }
            (_, Event::UnknownKeyTried(tried)) => {
                (String::new(), tried.journal, tried.part, &tried.window)
            }
            (_, Event::UsageGap(gap)) => {
                found.gaps.push(*gap);
                continue;
            }
            _ => continue,
        };
        let counts = counts_of(&key, window);
        add(&mut found.all, &counts);
        add(found.by_journal.entry(journal).or_default(), &counts);
        if !windows.insert((journal, key.clone(), part)) {
            return Err(format!(
                "position {position}: window {part} of [{key}] in journal {journal} again"
            ));
        }
    }
    Ok(found)
}

fn counts_of(key: &str, window: &UsedWindow) -> Counts {
    let totals = window.totals.iter();
    totals.map(|total| (name_of(key, &format!("{:?}", total.outcome)), total.count)).collect()
}
