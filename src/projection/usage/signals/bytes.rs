//! What is remembered of keys and sources, as bytes. Numbers are big-endian; times are microseconds since 1970.
//!
//! | key's history: bytes | what |
//! |---|---|
//! | 8, 8 | first use, first allowed use; the lowest number: none |
//! | 1 | how many hours |
//! | each 8, 8, 8, 8 | first window, uses, first record, above what it was a burst or 0 |
//! | 1 | how many days |
//! | each 8, 8 | day, uses of the busiest hour |
//! | 1 | how many days of an ended key |
//! | each 8, 8 | day, tries |
//! | 1 | how many sources |
//! | each 8, 8 | name, last window |
//!
//! | a source's tries: bytes | what |
//! |---|---|
//! | 8, 8, 8 | tries, first record, first window |
//! | each 12 | a key id that was presented |

use crate::domain::ids::{KeyId, PUBLIC_ID_BYTES, Position};
use crate::domain::time::Time;
use crate::domain::usage::signals::{
    DAY, EndedDay, HOUR, HourUses, KeyHistory, Peak, REMEMBERED, Sighting, SourceName, SourceTries,
};
use crate::domain::usage::window_start;

/// Stands for no time.
const NEVER: i64 = i64::MIN;

fn put(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend(number.to_be_bytes());
}

fn put_time(bytes: &mut Vec<u8>, time: Option<Time>) {
    bytes.extend(time.map_or(NEVER, Time::as_micros).to_be_bytes());
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.push(u8::try_from(count).expect("these lists have at most 20 entries"));
}

/// A key's history as bytes.
pub(super) fn history(history: &KeyHistory) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_time(&mut bytes, history.first_use);
    put_time(&mut bytes, history.first_allowed);
    put_count(&mut bytes, history.hours.iter().flatten().count());
    for hour in history.hours.iter().flatten() {
        put_time(&mut bytes, Some(hour.from));
        [hour.uses, hour.first.get(), hour.burst.unwrap_or(0)]
            .into_iter()
            .for_each(|number| put(&mut bytes, number));
    }
    put_count(&mut bytes, history.peaks.iter().flatten().count());
    for peak in history.peaks.iter().flatten() {
        put_time(&mut bytes, Some(peak.day));
        put(&mut bytes, peak.uses);
    }
    put_count(&mut bytes, history.ended.iter().flatten().count());
    for ended in history.ended.iter().flatten() {
        put_time(&mut bytes, Some(ended.day));
        put(&mut bytes, ended.tries);
    }
    put_count(&mut bytes, history.sources.len());
    for source in &history.sources {
        bytes.extend(source.name.0);
        put_time(&mut bytes, Some(source.last));
    }
    bytes
}

/// The history that these bytes are of; none if they are of none.
pub(super) fn read_history(bytes: &[u8]) -> Option<KeyHistory> {
    let mut bytes = Bytes(bytes);
    let mut history = KeyHistory {
        first_use: bytes.time_or_never()?,
        first_allowed: bytes.time_or_never()?,
        ..KeyHistory::default()
    };
    for _ in 0..bytes.count()? {
        let from = bytes.time()?;
        let (uses, first) = (bytes.number()?, Position::new(bytes.number()?)?);
        let burst = Some(bytes.number()?).filter(|above| *above > 0);
        let hour = window_start(from, HOUR);
        *history.hour_slot(hour) = Some(HourUses { hour, uses, first, from, burst });
    }
    for _ in 0..bytes.count()? {
        let (day, uses) = (window_start(bytes.time()?, DAY), bytes.number()?);
        *history.peak_slot(day) = Some(Peak { day, uses });
    }
    for _ in 0..bytes.count()? {
        let (day, tries) = (window_start(bytes.time()?, DAY), bytes.number()?);
        *history.ended_slot(day) = Some(EndedDay { day, tries });
    }
    let sources = bytes.count()?;
    if sources > REMEMBERED {
        return None;
    }
    for _ in 0..sources {
        let name = SourceName(bytes.take()?);
        history.sources.push(Sighting { name, last: bytes.time()? });
    }
    bytes.0.is_empty().then_some(history)
}

/// A source's tries as bytes.
pub(super) fn tries(tries: &SourceTries) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, tries.tries);
    put(&mut bytes, tries.first.get());
    put_time(&mut bytes, Some(tries.from));
    tries.presented.iter().for_each(|key| bytes.extend(key.0));
    bytes
}

/// The tries that these bytes are of; none if they are of none.
pub(super) fn read_tries(bytes: &[u8]) -> Option<SourceTries> {
    let mut bytes = Bytes(bytes);
    let (tries, first, from) = (bytes.number()?, Position::new(bytes.number()?)?, bytes.time()?);
    let (ids, rest) = bytes.0.as_chunks::<PUBLIC_ID_BYTES>();
    let presented = ids.iter().map(|id| KeyId(*id)).collect();
    rest.is_empty().then_some(SourceTries { tries, first, from, presented })
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Option<Time> {
        self.take().map(|bytes| Time::from_micros(i64::from_be_bytes(bytes)))
    }

    fn time_or_never(&mut self) -> Option<Option<Time>> {
        self.time().map(|time| Some(time).filter(|time| time.as_micros() != NEVER))
    }

    fn count(&mut self) -> Option<usize> {
        self.take().map(|[count]| usize::from(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hours() -> impl Strategy<Value = Vec<(i64, u64, u64, u64)>> {
        let hour = (-400_000..400_000_i64, any::<u64>(), 1..u64::MAX, 1..u64::MAX);
        proptest::collection::vec(hour, 0..6)
    }

    proptest! {
        #[test]
        fn what_is_remembered_reads_back_as_it_was(
            hours in hours(),
            days in proptest::collection::vec((-20_000..20_000_i64, any::<u64>()), 0..12),
            sources in proptest::collection::vec((any::<[u8; 8]>(), any::<i64>()), 0..=REMEMBERED),
            firsts in proptest::option::of(-9_000_000_000..9_000_000_000_i64),
        ) {
            let at = |span: std::time::Duration, number: i64| {
                Time::from_micros(number * i64::try_from(span.as_micros()).unwrap())
            };
            let mut kept = KeyHistory {
                first_use: firsts.map(Time::from_micros),
                first_allowed: firsts.map(|first| Time::from_micros(first + 1)),
                ..KeyHistory::default()
            };
            for (hour, uses, first, burst) in hours {
                let hour = at(HOUR, hour);
                let from = Time::from_micros(hour.as_micros() + 60_000_000);
                let first = Position::new(first).unwrap();
                let burst = Some(burst).filter(|burst| burst % 2 == 0);
                *kept.hour_slot(hour) = Some(HourUses { hour, uses, first, from, burst });
            }
            for (day, uses) in days {
                let day = at(DAY, day);
                *kept.peak_slot(day) = Some(Peak { day, uses });
                *kept.ended_slot(day) = Some(EndedDay { day, tries: uses });
            }
            let sighting = |(name, last)| Sighting { name: SourceName(name), last: Time::from_micros(last) };
            kept.sources = sources.into_iter().map(sighting).collect();
            let bytes = history(&kept);
            prop_assert_eq!(read_history(&bytes), Some(kept));
            prop_assert_eq!(read_history(&bytes[..bytes.len() - 1]), None);
            prop_assert_eq!(read_history(&[&bytes[..], &[0]].concat()), None);
        }

        #[test]
        fn tries_read_back_as_they_were(
            count: u64, first in 1..u64::MAX, from: i64,
            ids in proptest::collection::btree_set(any::<[u8; 12]>(), 0..16),
        ) {
            let (first, from) = (Position::new(first).unwrap(), Time::from_micros(from));
            let presented = ids.into_iter().map(KeyId).collect();
            let kept = SourceTries { tries: count, first, from, presented };
            let bytes = tries(&kept);
            prop_assert_eq!(read_tries(&bytes), Some(kept));
            prop_assert_eq!(read_tries(&bytes[..bytes.len() - 1]), None);
        }
    }
}
