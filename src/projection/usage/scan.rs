//! Rows of facts and lines: of a tenant, an account or a key, over buckets that follow each other.

use rusqlite::{Row, params_from_iter};

use crate::domain::time::Time;
use crate::domain::usage::UseOutcome;
use crate::projection::usage::levels::Stretch;
use crate::projection::usage::reader::Moment;
use crate::projection::usage::schema::LEVELS;
use crate::projection::usage::{Counts, UsageStoreError};

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Totals, with the time of the first and the last use.
    Facts,
    /// By caller, action and source.
    Lines,
}

/// Whose rows, in numbers; a key with its account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub(super) tenant: i64,
    pub(super) account: Option<i64>,
    pub(super) key: Option<i64>,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) bucket: i64,
    pub(super) account: i64,
    pub(super) key: i64,
    pub(super) outcome: UseOutcome,
    pub(super) count: u64,
    /// Of facts: when the first was and the last.
    pub(super) times: Option<(Time, Time)>,
    /// Of lines: the numbers of caller, action and source.
    pub(super) way: [i64; 3],
}

/// Hands each row to `each`.
pub(super) fn scan(
    moment: &Moment<'_>,
    of: Of,
    scope: Scope,
    stretch: Stretch,
    mut each: impl FnMut(Found) -> Result<(), UsageStoreError>,
) -> Result<(), UsageStoreError> {
    let Scope { tenant, account, key } = scope;
    let params = [Some(tenant), Some(stretch.first), Some(stretch.end), account, key];
    moment.each(&statement(of, scope, stretch), params_from_iter(params.iter().flatten()), |row| {
        each(found(of, stretch, row)?)
    })
}

/// A tenant's rows are one run; those of an account or a key are one run in each bucket.
fn statement(of: Of, scope: Scope, stretch: Stretch) -> String {
    let (table, columns) = match of {
        Of::Facts => ("facts", "first, last"),
        Of::Lines => ("lines", "caller, action, source"),
    };
    let level = LEVELS[stretch.granularity as usize];
    let select = format!("SELECT bucket, account, key, outcome, count, {columns} FROM");
    if scope.account.is_none() {
        return format!(
            "{select} {table}_{level} WHERE tenant = ?1 AND bucket >= ?2 AND bucket < ?3"
        );
    }
    let key = if scope.key.is_some() { "AND key = ?5" } else { "" };
    format!(
        "WITH RECURSIVE span (at) AS (SELECT ?2 UNION ALL SELECT at + 1 FROM span WHERE at + 1 < ?3)
         {select} span CROSS JOIN {table}_{level}
         ON tenant = ?1 AND bucket = at AND account = ?4 {key}"
    )
}

fn found(of: Of, stretch: Stretch, row: &Row<'_>) -> Result<Found, UsageStoreError> {
    let bucket = row.get(0)?;
    let outcome = UseOutcome::from_number(row.get(3)?);
    let (times, way) = match of {
        Of::Facts => {
            let start = stretch.granularity.start(bucket).as_micros();
            let time = |offset: i64| Time::from_micros(start.saturating_add(offset));
            (Some((time(row.get(5)?), time(row.get(6)?))), [0; 3])
        }
        Of::Lines => (None, [row.get(5)?, row.get(6)?, row.get(7)?]),
    };
    Ok(Found {
        bucket,
        account: row.get(1)?,
        key: row.get(2)?,
        outcome: outcome.ok_or(UsageStoreError::Damaged("an outcome"))?,
        count: row.get::<_, i64>(4)?.unsigned_abs(),
        times,
        way,
    })
}

/// Outcomes, and one more: their numbers begin at 1.
const OUTCOMES: usize = UseOutcome::ALL.len() + 1;

/// Rows added up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    by_outcome: [u64; OUTCOMES],
    first_use: Option<Time>,
    last_use: Option<Time>,
}

impl Sum {
    pub(super) fn add(&mut self, found: &Found) {
        let sum = &mut self.by_outcome[found.outcome as usize];
        *sum = sum.saturating_add(found.count);
        if let Some((first, last)) = found.times
            && found.outcome == UseOutcome::Allowed
        {
            self.first_use = Some(self.first_use.map_or(first, |known| known.min(first)));
            self.last_use = self.last_use.max(Some(last));
        }
    }

    pub(super) fn of(&self, outcome: UseOutcome) -> u64 {
        self.by_outcome[outcome as usize]
    }

    pub(super) fn total(&self) -> u64 {
        self.by_outcome.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub(super) fn counts(&self) -> Counts {
        let counts = UseOutcome::ALL.iter().map(|outcome| (*outcome, self.of(*outcome)));
        let (first_use, last_use) = (self.first_use, self.last_use);
        Counts { by_outcome: counts.filter(|(_, count)| *count > 0).collect(), first_use, last_use }
    }
}
