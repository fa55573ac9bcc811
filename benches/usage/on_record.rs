//! What the log of a stopped server says of uses.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use keyledger::domain::event::Event;
use keyledger::domain::ids::Position;
use keyledger::domain::subject::Subject;
use keyledger::domain::usage::UseOutcome;
use keyledger::ledger::engine::{Ledger, LedgerReader};
use keyledger::ledger::record;
use keyledger::ledger::volumes::VolumeLedger;

/// How often each outcome came.
pub(crate) type Counts = BTreeMap<UseOutcome, u64>;

/// All uses on record.
#[derive(Default)]
pub(crate) struct OnRecord {
    /// By key.
    pub(crate) keys: BTreeMap<String, Counts>,
    /// Of attempts that were no key's.
    pub(crate) unknown: Counts,
    /// How many gaps there are.
    pub(crate) gaps: u64,
    /// How many records of uses there are.
    pub(crate) records: u64,
    /// Bytes of these records.
    pub(crate) record_bytes: u64,
    /// Bytes of the frames that hold such records.
    pub(crate) frame_bytes: u64,
    /// Keys whose last running total is not the sum of their records.
    pub(crate) wrong_totals: Vec<String>,
}

impl OnRecord {
    pub(crate) fn of(data_dir: &Path) -> Self {
        let ledger = VolumeLedger::open(&data_dir.join("ledger"), u64::MAX).expect("it opens");
        let reader: Arc<dyn LedgerReader> = ledger.reader();
        let mut found = OnRecord::default();
        let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for frame in reader.frames_from(Position::FIRST) {
            let frame = frame.expect("it reads");
            let before = found.records;
            for (_, bytes) in frame.records() {
                let fact = record::decode(bytes).expect("a record");
                let (counts, window) = match (fact.subject, fact.event) {
                    (Subject::Key(_, id), Event::KeyUsed(used)) => {
                        let id = id.to_string();
                        totals.insert(id.clone(), (used.total_allowed, used.total_denied));
                        (found.keys.entry(id).or_default(), used.window)
                    }
                    (_, Event::UnknownKeyTried(tried)) => (&mut found.unknown, tried.window),
                    (_, Event::UsageGap(_)) => {
                        found.gaps += 1;
                        continue;
                    }
                    _ => continue,
                };
                for total in &window.totals {
                    *counts.entry(total.outcome).or_default() += total.count;
                }
                found.records += 1;
                found.record_bytes += bytes.len() as u64;
            }
            if found.records > before {
                found.frame_bytes += frame.as_bytes().len() as u64;
            }
        }
        drop(reader);
        ledger.close().expect("it closes");
        found.wrong_totals = totals
            .into_iter()
            .filter(|(id, totals)| allowed_and_denied(&found.keys[id]) != *totals)
            .map(|(id, _)| id)
            .collect();
        found
    }
}

pub(crate) fn allowed_and_denied(counts: &Counts) -> (u64, u64) {
    let all = counts.values().sum::<u64>();
    let allowed = counts.get(&UseOutcome::Allowed).copied().unwrap_or_default();
    (allowed, all - allowed)
}
