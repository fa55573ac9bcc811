//! Spans of time of which uses may be missing from the log.

use rusqlite::params;

use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::projection::usage::fold::cause;
use crate::projection::usage::reader::Moment;
use crate::projection::usage::{Gap, Range, UsageStoreError};

const DAMAGED: UsageStoreError = UsageStoreError::Damaged("a gap");

pub(super) fn within(
    moment: &Moment<'_>,
    range: Range,
    limit: usize,
) -> Result<Vec<Gap>, UsageStoreError> {
    let sql = "SELECT position, from_time, to_time, cause, lost FROM gaps
               WHERE from_time < ?2 AND to_time > ?1 ORDER BY position DESC LIMIT ?3";
    let (from, until) = (range.from.as_micros(), range.until.as_micros());
    let mut gaps = Vec::new();
    moment.each(sql, params![from, until, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        let position = row.get::<_, i64>(0)?.cast_unsigned();
        gaps.push(Gap {
            position: Position::new(position).ok_or(DAMAGED)?,
            from: Time::from_micros(row.get(1)?),
            to: Time::from_micros(row.get(2)?),
            cause: cause(row.get(3)?).ok_or(DAMAGED)?,
            lost: row.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs),
        });
        Ok(())
    })?;
    gaps.reverse();
    Ok(gaps)
}
