//! What the uses of a key said they came from: from the samples in the key's last records, which lead from
//! one to the one before.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::app::error::AppError;
use crate::app::sealing::{self, read_fact};
use crate::domain::event::{Event, Recorded};
use crate::domain::ids::{CallerId, Position};
use crate::domain::source::parse_source;
use crate::domain::source_detail::SourceDetail;
use crate::domain::time::Time;
use crate::domain::usage::used::{UsedSample, UsedWindow, at};
use crate::ledger::engine::LedgerReader;
use crate::projection::usage::Way;
use crate::vault::{DataKeys, OpenError};

/// The most records that are read for one answer: four hours of a key that is used every minute, and at most
/// 16 MB of frames.
const MAX_RECORDS: usize = 256;

/// The most agents that are told of one way.
const MAX_AGENTS: usize = 8;

/// Caller, action and source.
type Told = (Option<CallerId>, Option<String>, Option<IpAddr>);

/// What the uses of a key said they came from, by the way in which it was used.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    told: HashMap<Told, Vec<String>>,
    detail: SourceDetail,
}

impl Agents {
    /// None so far, of ways whose sources are told apart as exactly as that.
    pub(crate) fn told_apart_as(detail: SourceDetail) -> Self {
        Agents { told: HashMap::new(), detail }
    }

    /// Reads the records of a key from `last` back to the one at `until`, which is left out, and takes from them
    /// the uses since `start`.
    ///
    /// # Errors
    /// [`AppError::Damaged`] if a record, or what is sealed in it, fails its check.
    pub(crate) fn read(
        &mut self,
        reader: &dyn LedgerReader,
        data_keys: &DataKeys,
        last: Position,
        until: Position,
        start: Time,
    ) -> Result<(), AppError> {
        let mut next = Some(last);
        for _ in 0..MAX_RECORDS {
            let Some(position) = next.filter(|position| *position > until) else { break };
            let fact = read_fact(reader, position)?;
            next = fact.previous;
            self.take(data_keys, &fact, start)?;
        }
        Ok(())
    }

    /// What uses of that way said, the latest first.
    pub(crate) fn of(&self, way: &Way) -> Vec<String> {
        if way.other || way.erased {
            return Vec::new();
        }
        let told = (way.caller, way.action.clone(), way.source);
        self.told.get(&told).cloned().unwrap_or_default()
    }

    fn take(&mut self, data_keys: &DataKeys, fact: &Recorded, start: Time) -> Result<(), AppError> {
        let Event::KeyUsed(used) = &fact.event else { return Ok(()) };
        let personal = match sealing::open(data_keys, fact) {
            Ok(personal) => personal.unwrap_or_default(),
            // Erased: it is not known any more.
            Err(OpenError::Erased) => return Ok(()),
            Err(error) => {
                tracing::error!(position = %fact.position, cause = %error, "sealed fields cannot be opened");
                return Err(AppError::Damaged { position: Some(fact.position) });
            }
        };
        let mut samples: Vec<_> =
            used.window.samples.iter().filter(|sample| sample.time >= start).collect();
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.time));
        for sample in samples {
            if let Some(agent) = at(&personal.agents, sample.agent) {
                let (caller, action, source) = told(&used.window, sample, &personal.sources);
                let source = source.map(|address| self.detail.of(address));
                let known = self.told.entry((caller, action, source)).or_default();
                if known.len() < MAX_AGENTS && !known.contains(agent) {
                    known.push(agent.clone());
                }
            }
        }
        Ok(())
    }
}

fn told(window: &UsedWindow, sample: &UsedSample, sources: &[String]) -> Told {
    let source = at(sources, sample.source).and_then(|text| parse_source(text));
    (
        at(&window.callers, sample.caller).copied(),
        at(&window.actions, sample.action).cloned(),
        source,
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::testing::{account, key_id};
    use crate::domain::usage::Use;
    use crate::ledger::testing::FrameLog;
    use crate::projection::usage::testing::{Ground, address, minute, plain_use};

    fn used(agent: &str, action: &str, time: Time) -> Use {
        let plain = plain_use(key_id(1), &account("a"), time);
        let (agent, action) = (agent.to_owned(), action.to_owned());
        Use { agent, action, source: address("192.0.2.1"), ..plain }
    }

    /// The records of a key, one for each minute, each leading to the one before.
    fn records(ground: &Ground, minutes: &[Vec<Use>]) -> Vec<Recorded> {
        let one = |(uses, position): (&Vec<Use>, u64)| Recorded {
            previous: Position::new(position - 1),
            ..ground.used(position, uses)
        };
        minutes.iter().zip(1..).map(one).collect()
    }

    fn way(action: &str) -> Way {
        Way {
            caller: None,
            action: Some(action.to_owned()),
            source: address("192.0.2.1"),
            other: false,
            erased: false,
            allowed: 1,
            denied: 0,
            last_bucket: minute(0),
        }
    }

    fn read(ground: &Ground, records: &[Recorded], until: u64, start: Time) -> Agents {
        let last = records.last().expect("some").position;
        let until = Position::new(until).expect("a position");
        let log = FrameLog::of(records, 7);
        let mut agents = Agents::default();
        agents.read(&log, &ground.vault.data_keys, last, until, start).expect("it reads");
        agents
    }

    #[test]
    fn a_way_has_the_agents_of_its_uses_the_latest_first_and_each_once() {
        let ground = Ground::new();
        let second = |n| minute(1).plus(Duration::from_secs(n));
        let records = records(
            &ground,
            &[
                vec![used("of before", "read", minute(0))],
                vec![used("a", "read", second(1)), used("b", "read", second(2))],
                vec![used("other", "write", minute(2)), used("a", "read", minute(2))],
            ],
        );
        let agents = read(&ground, &records, 1, minute(0));
        assert_eq!(agents.of(&way("read")), ["a", "b"]);
        assert_eq!(agents.of(&way("write")), ["other"]);
        assert_eq!(agents.of(&way("none")), [""; 0]);
        assert_eq!(agents.of(&Way { other: true, ..way("read") }), [""; 0]);
        let later = read(&ground, &records, 1, second(2));
        assert_eq!(later.of(&way("read")), ["a", "b"], "those since then");
        assert_eq!(read(&ground, &records, 1, minute(2)).of(&way("read")), ["a"]);
    }

    #[test]
    fn so_many_records_and_agents_are_looked_at_and_no_more() {
        let ground = Ground::new();
        let minutes = u64::try_from(MAX_RECORDS).expect("few") + 2;
        let uses = |n: u64| {
            let action = if n <= 2 { format!("action {n}") } else { "read".to_owned() };
            vec![used(&format!("agent {n}"), &action, minute(n))]
        };
        let records = records(&ground, &(1..=minutes).map(uses).collect::<Vec<_>>());
        let last = Position::new(minutes - 1).expect("a position");
        let (log, data_keys) = (FrameLog::of(&records, 7), &ground.vault.data_keys);
        let mut agents = Agents::default();
        agents.read(&log, data_keys, last, Position::FIRST, minute(0)).expect("it reads");
        let latest: Vec<_> = (0..8).map(|back| format!("agent {}", minutes - 1 - back)).collect();
        assert_eq!(agents.of(&way("read")), latest);
        assert_eq!(agents.of(&way("action 2")), ["agent 2"], "the last that is read");
        let one_later = read(&ground, &records, 1, minute(0));
        assert_eq!(one_later.of(&way("action 2")), [""; 0], "one too far back");
    }

    #[test]
    fn ways_whose_sources_are_networks_have_the_agents_of_all_addresses_in_them() {
        let ground = Ground::new();
        let near = Use { source: address("192.0.2.9"), ..used("b", "read", minute(2)) };
        let far = Use { source: address("192.0.3.1"), ..used("c", "read", minute(2)) };
        let records = records(
            &ground,
            &[vec![used("a", "read", minute(0))], vec![used("a", "read", minute(1)), near, far]],
        );
        let (last, log) = (records[1].position, FrameLog::of(&records, 1));
        let mut agents = Agents::told_apart_as(SourceDetail::Network);
        agents
            .read(&log, &ground.vault.data_keys, last, Position::FIRST, minute(0))
            .expect("it reads");
        let shown = Way { source: address("192.0.2.0"), ..way("read") };
        assert_eq!(agents.of(&shown), ["b", "a"]);
    }

    #[test]
    fn what_was_erased_has_no_agents_and_is_no_fault() {
        let ground = Ground::new();
        let records = records(&ground, &[0, 1].map(|_| vec![used("a", "read", minute(0))]));
        let erased = ground.vault_without_keys_of(&[&account("a")]);
        let (last, until) = (records[1].position, Position::FIRST);
        let log = FrameLog::of(&records, 1);
        let mut agents = Agents::default();
        agents.read(&log, &erased.data_keys, last, until, minute(0)).expect("it reads");
        assert_eq!(agents.of(&way("read")), [""; 0]);
    }
}
