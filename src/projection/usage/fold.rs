//! What an event adds to the tables.

use std::net::IpAddr;
use std::sync::LazyLock;

use rusqlite::{Connection, params};

use crate::domain::event::{Event, KeyCreated, Recorded};
use crate::domain::ids::{AccountRef, KeyId};
use crate::domain::personal::Personal;
use crate::domain::source::parse_source;
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::domain::usage::UseOutcome;
use crate::domain::usage::signals::SignalKind;
use crate::domain::usage::used::{
    GapCause, KeyUsed, Place, UnknownKeyTried, UsageGap, UsedWindow, at,
};
use crate::projection::private;
use crate::projection::usage::levels::Horizons;
use crate::projection::usage::names::{KeyNumbers, Names};
use crate::projection::usage::schema::{OTHER, each_level};
use crate::projection::usage::signals::Opened;
use crate::projection::usage::{Granularity, UsageStoreError};
use crate::vault::{OpenError, Vault};

/// The most that a row counts: beyond it nothing is added.
const FULL: &str = "9223372036854775807";

static ADD_FACT: LazyLock<[String; 3]> = LazyLock::new(|| {
    let sql = "INSERT INTO facts_{level} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        ON CONFLICT DO UPDATE SET count = min(count + excluded.count, {full}),
            first = min(first, excluded.first), last = max(last, excluded.last)";
    each_level(&sql.replace("{full}", FULL))
});

static ADD_LINE: LazyLock<[String; 3]> = LazyLock::new(|| {
    let sql = "INSERT INTO lines_{level} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT DO UPDATE SET count = min(count + excluded.count, {full})";
    each_level(&sql.replace("{full}", FULL))
});

/// One line of a window, in numbers.
#[derive(Clone, Copy, Debug)]
struct Line {
    outcome: UseOutcome,
    caller: i64,
    action: i64,
    source: i64,
    count: i64,
}

/// Adds events to the tables, within a transaction of the caller's.
pub(super) struct Adding<'a> {
    pub(super) database: &'a Connection,
    pub(super) vault: &'a Vault,
    pub(super) names: &'a mut Names,
    pub(super) horizons: Horizons,
    /// How many signals of each kind were found.
    pub(super) signals: [u64; SignalKind::ALL.len()],
}

impl Adding<'_> {
    pub(super) fn event(&mut self, recorded: &Recorded) -> Result<(), UsageStoreError> {
        match (&recorded.subject, &recorded.event) {
            (Subject::Key(account, key), Event::KeyUsed(used)) => {
                self.used(recorded, (key, account), used)
            }
            (
                Subject::Key(account, key),
                Event::KeyCreated(KeyCreated { replaces: Some(old), .. }),
            ) => self.replaced(account, old, key),
            (_, Event::UnknownKeyTried(tried)) => self.tried(recorded, tried),
            (_, Event::UsageGap(gap)) => self.gap(recorded, gap),
            (_, Event::AccountErased) => {
                // Addresses that came with its events are among them.
                self.names.forget();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn used(
        &mut self,
        recorded: &Recorded,
        (key, account): (&KeyId, &AccountRef),
        used: &KeyUsed,
    ) -> Result<(), UsageStoreError> {
        let window = &used.window;
        let key = self.names.key(self.database, key, account)?;
        let sources = self.sources(recorded)?;
        if self.keeps(Granularity::Day, window.start) {
            let lines = self.lines(recorded, window, sources.as_deref())?;
            for granularity in Granularity::ALL {
                if self.keeps(granularity, window.start) {
                    self.facts(granularity, key, window)?;
                    self.add_lines(granularity, key, window.start, &lines)?;
                }
            }
        }
        // What is remembered of a key is of all that it was ever used for, whatever is kept of it besides.
        self.watch_key((account, key), &Opened { recorded, window, sources: sources.as_deref() })
    }

    pub(super) fn keeps(&self, granularity: Granularity, start: Time) -> bool {
        granularity.bucket(start) >= self.horizons.of(granularity)
    }

    fn facts(
        &self,
        granularity: Granularity,
        key: KeyNumbers,
        window: &UsedWindow,
    ) -> Result<(), UsageStoreError> {
        let bucket = granularity.bucket(window.start);
        let start = granularity.start(bucket);
        let offset = |time: Time| time.as_micros().saturating_sub(start.as_micros());
        let KeyNumbers { tenant, account, key } = key;
        let mut add = self.database.prepare_cached(&ADD_FACT[granularity as usize])?;
        for total in &window.totals {
            let (first, last) = (offset(total.first), offset(total.last));
            let (outcome, count) = (total.outcome as u8, counted(total.count));
            add.execute(params![tenant, bucket, account, key, outcome, count, first, last])?;
        }
        Ok(())
    }

    fn add_lines(
        &self,
        granularity: Granularity,
        key: KeyNumbers,
        start: Time,
        lines: &[Line],
    ) -> Result<(), UsageStoreError> {
        let bucket = granularity.bucket(start);
        let KeyNumbers { tenant, account, key } = key;
        let mut add = self.database.prepare_cached(&ADD_LINE[granularity as usize])?;
        for line in lines {
            let Line { outcome, caller, action, source, count } = *line;
            let outcome = outcome as u8;
            add.execute(params![
                tenant, bucket, account, key, outcome, caller, action, source, count
            ])?;
        }
        Ok(())
    }

    /// The lines of a window; what its totals have beyond them is a line of its own.
    fn lines(
        &mut self,
        recorded: &Recorded,
        window: &UsedWindow,
        sources: Option<&[String]>,
    ) -> Result<Vec<Line>, UsageStoreError> {
        let day = Granularity::Day.bucket(window.start);
        let mut lines = Vec::with_capacity(window.counts.len() + 1);
        for line in &window.counts {
            let caller = match at(&window.callers, line.caller) {
                Some(caller) => self.names.caller(self.database, caller)?,
                None => 0,
            };
            let action = match at(&window.actions, line.action) {
                Some(action) => self.names.action(self.database, action, day)?,
                None => 0,
            };
            let source = self.source(recorded, sources, line.source, day)?;
            let (outcome, count) = (line.outcome, counted(line.count));
            lines.push(Line { outcome, caller, action, source, count });
        }
        for total in &window.totals {
            let of_it = window.counts.iter().filter(|line| line.outcome == total.outcome);
            let told_apart = of_it.map(|line| line.count).sum::<u64>();
            let rest = total.count.saturating_sub(told_apart);
            if rest > 0 {
                let (outcome, count) = (total.outcome, counted(rest));
                lines.push(Line { outcome, caller: OTHER, action: OTHER, source: OTHER, count });
            }
        }
        Ok(lines)
    }

    /// The addresses of an event; none if they cannot be opened any more.
    fn sources(&self, recorded: &Recorded) -> Result<Option<Vec<String>>, UsageStoreError> {
        match private::open(&self.vault.data_keys, recorded) {
            Ok(personal) => {
                Ok(Some(personal.map_or_else(Vec::new, |Personal { sources, .. }| sources)))
            }
            Err(OpenError::Erased) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn source(
        &mut self,
        recorded: &Recorded,
        sources: Option<&[String]>,
        place: Place,
        day: i64,
    ) -> Result<i64, UsageStoreError> {
        let Some(private) = recorded.private.as_ref().filter(|_| place.is_some()) else {
            return Ok(0);
        };
        let data_key = private.sealed.data_key;
        let address: Option<IpAddr> = match sources {
            None => None,
            Some(sources) => match at(sources, place).and_then(|text| parse_source(text)) {
                Some(address) => Some(address),
                None => return Ok(0),
            },
        };
        self.names.source(self.database, self.vault, data_key, address, day)
    }

    fn tried(
        &mut self,
        recorded: &Recorded,
        tried: &UnknownKeyTried,
    ) -> Result<(), UsageStoreError> {
        let window = &tried.window;
        if !self.keeps(Granularity::Hour, window.start) {
            return Ok(());
        }
        let sources = self.sources(recorded)?;
        self.watch_tries(&Opened { recorded, window, sources: sources.as_deref() })
    }

    fn gap(&self, recorded: &Recorded, gap: &UsageGap) -> Result<(), UsageStoreError> {
        if !self.keeps(Granularity::Day, gap.to) {
            return Ok(());
        }
        let position = recorded.position.get().cast_signed();
        let (from, to) = (gap.from.as_micros(), gap.to.as_micros());
        let lost = gap.lost.map(counted);
        let mut add =
            self.database.prepare_cached("INSERT INTO gaps VALUES (?1, ?2, ?3, ?4, ?5)")?;
        add.execute(params![position, from, to, cause_number(gap.cause), lost])?;
        Ok(())
    }
}

pub(super) fn counted(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The number of a cause, as the record format has it.
fn cause_number(cause: GapCause) -> u8 {
    match cause {
        GapCause::UncleanStop => 1,
        GapCause::Shed => 2,
        GapCause::Damaged => 3,
    }
}

/// The cause of that number.
pub(super) fn cause(number: u8) -> Option<GapCause> {
    [GapCause::UncleanStop, GapCause::Shed, GapCause::Damaged]
        .into_iter()
        .find(|cause| cause_number(*cause) == number)
}
