//! Holds one projection to another, table by table: by what rows say, not by numbers of names or bytes of files, which
//! differ with the order of folding.

use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

use crate::domain::sealed::DataKeyId;
use crate::domain::usage::signals::SignalKind;
use crate::projection::usage::schema::LEVELS;
use crate::projection::usage::{UsageStore, UsageStoreError};
use crate::vault::Vault;

/// What the rows of a table say together. The order of rows makes no difference, nor whether a count is in one row or
/// in two: sources whose data key is destroyed are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TableDigest(u128);

/// A table: what it is called, and its rows with names for numbers. If `counted`, the columns are the count, the data
/// key and the sealed source, then others.
struct Table {
    name: String,
    sql: String,
    counted: bool,
}

const FACTS: &str = "
SELECT tenants.name, bucket, accounts.name, keys.key, outcome, count, first, last
FROM facts_{level} AS facts JOIN tenants ON tenants.id = facts.tenant
JOIN accounts ON accounts.id = facts.account JOIN keys ON keys.id = facts.key";

const LINES: &str = "
SELECT count, data_key, sealed, tenants.name, bucket, accounts.name, keys.key, outcome,
    min(lines.caller, 0), callers.caller, min(lines.action, 0), actions.action, min(lines.source, 0)
FROM lines_{level} AS lines JOIN tenants ON tenants.id = lines.tenant
JOIN accounts ON accounts.id = lines.account JOIN keys ON keys.id = lines.key
LEFT JOIN callers ON callers.id = lines.caller LEFT JOIN actions ON actions.id = lines.action
LEFT JOIN sources ON sources.id = lines.source";

const GAPS: &str = "SELECT * FROM gaps";

/// Without the sources they name, which differ once a data key is destroyed.
const SIGNALS: &str = "
SELECT kind, tenants.name, accounts.name, keys.key, span, about, first, last, from_time, until_time, uses, observed,
    threshold, callers, presented
FROM signals LEFT JOIN tenants ON tenants.id = signals.tenant
LEFT JOIN accounts ON accounts.id = signals.account LEFT JOIN keys ON keys.id = signals.key
WHERE kind IN ({kinds})";

fn tables(kinds: &[SignalKind]) -> impl Iterator<Item = Table> {
    let of_level = |what, sql: &str, level: &str, counted| Table {
        name: format!("{what} by {level}"),
        sql: sql.replace("{level}", level),
        counted,
    };
    let levels = LEVELS.into_iter().flat_map(move |level| {
        [of_level("facts", FACTS, level, false), of_level("lines", LINES, level, true)]
    });
    let gaps = Table { name: "gaps".to_owned(), sql: GAPS.to_owned(), counted: false };
    let kinds: Vec<String> = kinds.iter().map(|kind| (*kind as u8).to_string()).collect();
    let sql = SIGNALS.replace("{kinds}", &kinds.join(", "));
    let signals = Table { name: "signals".to_owned(), sql, counted: false };
    levels.chain([gaps, signals])
}

impl UsageStore {
    /// The first table in which this one says something else than `other`; none if they say the same.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn difference(&self, other: &UsageStore) -> Result<Option<String>, UsageStoreError> {
        for table in tables(self.comparable_signals()?) {
            if self.digest(&table)? != other.digest(&table)? {
                return Ok(Some(table.name));
            }
        }
        Ok(None)
    }

    /// New sources and tries with unknown keys are found again only while every source can be read that there was.
    fn comparable_signals(&self) -> Result<&'static [SignalKind], UsageStoreError> {
        let (database, vault) = self.database();
        let mut statement = database.prepare("SELECT DISTINCT data_key FROM sources")?;
        let mut data_keys = statement.query([])?;
        while let Some(row) = data_keys.next()? {
            if !vault.data_keys.is_live(DataKeyId(row.get::<_, i64>(0)?.cast_unsigned())) {
                return Ok(&[SignalKind::EndedKeyTried, SignalKind::Burst]);
            }
        }
        Ok(SignalKind::ALL)
    }

    fn digest(&self, table: &Table) -> Result<TableDigest, UsageStoreError> {
        let (database, vault) = self.database();
        let mut statement = database.prepare(&table.sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        let mut sum = 0_u128;
        while let Some(row) = rows.next()? {
            let mut hash = Sha256::new();
            for column in usize::from(table.counted)..columns {
                let value = row.get_ref(column)?;
                let gone = table.counted && column == 2 && is_gone(row, vault)?;
                add(&mut hash, if gone { ValueRef::Blob(&[]) } else { value });
            }
            let mut first = [0; 16];
            first.copy_from_slice(&hash.finalize()[..16]);
            let hash = u128::from_be_bytes(first);
            let count = if table.counted { row.get::<_, i64>(0)?.unsigned_abs() } else { 1 };
            sum = sum.wrapping_add(hash.wrapping_mul(count.into()));
        }
        Ok(TableDigest(sum))
    }
}

/// Whether the data key of a counted row's source is destroyed.
fn is_gone(row: &rusqlite::Row<'_>, vault: &Vault) -> Result<bool, UsageStoreError> {
    let data_key = row.get::<_, Option<i64>>(1)?;
    Ok(data_key.is_some_and(|id| !vault.data_keys.is_live(DataKeyId(id.cast_unsigned()))))
}

/// A value with its kind and length, so that no two rows are the same bytes.
fn add(hash: &mut Sha256, value: ValueRef<'_>) {
    let (kind, bytes): (u8, &[u8]) = match value {
        ValueRef::Null => (0, &[]),
        ValueRef::Integer(number) => {
            hash.update([1]);
            return hash.update(number.to_be_bytes());
        }
        ValueRef::Real(number) => {
            hash.update([2]);
            return hash.update(number.to_be_bytes());
        }
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(blob) => (4, blob),
    };
    hash.update([kind]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
