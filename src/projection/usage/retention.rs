//! Deletes what has been kept for long enough, some at a time.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::projection::usage::levels::Horizons;
use crate::projection::usage::schema::each_level;
use crate::projection::usage::{Granularity, UsageStoreError};

/// Rows after which a call has deleted enough. A bucket of a tenant goes whole.
const ENOUGH: usize = 10_000;

/// The statements for one length of buckets and one of its tables.
struct Deleting {
    /// A tenant's first bucket.
    first: String,
    /// A bucket of a tenant.
    delete: String,
}

/// Before what a statement deletes.
type Before = fn(&Horizons) -> i64;

/// What goes whatever its tenant, and before what it goes: gaps, signals, and names that no line has any more, for each is dated
/// with the last day it came on.
const OTHERS: [(&str, Before); 4] = [
    (
        "DELETE FROM gaps WHERE position IN
            (SELECT position FROM gaps WHERE to_time < ?1 LIMIT ?2)",
        |horizons| Granularity::Day.start(horizons.of(Granularity::Day)).as_micros(),
    ),
    (
        "DELETE FROM signals WHERE id IN (SELECT id FROM signals WHERE span < ?1 LIMIT ?2)",
        |horizons| Granularity::Hour.start(horizons.of(Granularity::Hour)).as_micros(),
    ),
    (
        "DELETE FROM actions WHERE id IN (SELECT id FROM actions WHERE day < ?1 LIMIT ?2)",
        |horizons| horizons.of(Granularity::Day),
    ),
    (
        "DELETE FROM sources WHERE id IN (SELECT id FROM sources WHERE day < ?1 LIMIT ?2)",
        |horizons| horizons.of(Granularity::Day),
    ),
];

/// From which of these on they are names.
const NAMES_FROM: usize = 2;

static DELETING: LazyLock<[[Deleting; 2]; 3]> = LazyLock::new(|| {
    let deleting = |table: &str| {
        let [first, delete] = [
            format!("SELECT min(bucket) FROM {table} WHERE tenant = ?1"),
            format!("DELETE FROM {table} WHERE tenant = ?1 AND bucket = ?2"),
        ];
        Deleting { first, delete }
    };
    let [facts, lines] = ["facts_{level}", "lines_{level}"].map(each_level);
    std::array::from_fn(|at| [deleting(&facts[at]), deleting(&lines[at])])
});

/// What was deleted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deleted {
    /// Whether there may be more.
    pub(super) more: bool,
    /// How many names of actions and sources.
    pub(super) names: usize,
}

/// Deletes some of what lies before the horizons.
pub(super) fn delete_some(
    database: &Connection,
    horizons: &Horizons,
) -> Result<Deleted, UsageStoreError> {
    let mut deleted = 0;
    let mut tenants = database.prepare_cached("SELECT id FROM tenants")?;
    let tenants = tenants.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    for tenant in tenants {
        for granularity in Granularity::ALL {
            for deleting in &DELETING[granularity as usize] {
                let horizon = horizons.of(granularity);
                while let Some(bucket) = first(database, deleting, tenant)?
                    && bucket < horizon
                {
                    let mut delete = database.prepare_cached(&deleting.delete)?;
                    deleted += delete.execute(params![tenant, bucket])?;
                    if deleted >= ENOUGH {
                        return Ok(Deleted { more: true, names: 0 });
                    }
                }
            }
        }
    }
    let others = OTHERS.map(|(sql, before)| (sql, before(horizons)));
    let mut names = 0;
    for (at, (sql, before)) in others.into_iter().enumerate() {
        let left = (ENOUGH - deleted) as u64;
        let gone = database.prepare_cached(sql)?.execute(params![before, left.cast_signed()])?;
        deleted += gone;
        names += if at < NAMES_FROM { 0 } else { gone };
    }
    Ok(Deleted { more: deleted >= ENOUGH, names })
}

fn first(
    database: &Connection,
    deleting: &Deleting,
    tenant: i64,
) -> Result<Option<i64>, UsageStoreError> {
    let mut first = database.prepare_cached(&deleting.first)?;
    Ok(first.query_row([tenant], |row| row.get::<_, Option<i64>>(0)).optional()?.flatten())
}
