//! The database file: its tables, its settings, and whether a file is one of these.
//!
//! Facts and lines are in the order of tenant and bucket, so that a day of one tenant is one run of rows. Names are
//! numbers there; `sources` names addresses by their sealed form, so none is in the clear in any file.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::projection::usage::UsageStoreError;

/// Tells our files from other programs': `KLUP`.
const APPLICATION: i32 = 0x4b4c_5550;

/// The version of the tables. A file of another one is made anew.
const VERSION: i32 = 1;

/// KiB of pages that the writer keeps in memory.
const WRITER_CACHE_KIB: i64 = 64 * 1024;

/// KiB of pages that each reader keeps in memory.
const READER_CACHE_KIB: i64 = 16 * 1024;

/// Pages of the write-ahead log at which they are put into the database: 2 MiB. More at a time would be written less
/// often in all, but what the ledger writes would wait longer behind it.
const CHECKPOINT_PAGES: i64 = 512;

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 64;

/// Owner reads and writes.
const MODE: u32 = 0o600;

/// The tables that are there once.
const TABLES: &str = "
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL,
    event BLOB NOT NULL,
    minutes INTEGER NOT NULL,
    hours INTEGER NOT NULL,
    days INTEGER NOT NULL,
    kept_minutes INTEGER NOT NULL,
    kept_hours INTEGER NOT NULL,
    kept_days INTEGER NOT NULL
) STRICT;
CREATE TABLE tenants (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (tenant, name)
) STRICT;
CREATE TABLE keys (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, account INTEGER NOT NULL
) STRICT;
CREATE TABLE callers (id INTEGER PRIMARY KEY, caller BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE actions (
    id INTEGER PRIMARY KEY, action TEXT NOT NULL UNIQUE, day INTEGER NOT NULL
) STRICT;
CREATE INDEX actions_by_day ON actions (day);
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, data_key INTEGER NOT NULL, sealed BLOB NOT NULL, day INTEGER NOT NULL,
    UNIQUE (data_key, sealed)
) STRICT;
CREATE INDEX sources_by_day ON sources (day);
CREATE TABLE gaps (
    position INTEGER PRIMARY KEY, from_time INTEGER NOT NULL, to_time INTEGER NOT NULL,
    cause INTEGER NOT NULL, lost INTEGER
) STRICT;
CREATE TABLE signals (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, tenant INTEGER NOT NULL, account INTEGER NOT NULL,
    key INTEGER NOT NULL, span INTEGER NOT NULL, about BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    from_time INTEGER NOT NULL, until_time INTEGER NOT NULL, uses INTEGER NOT NULL, observed INTEGER NOT NULL,
    threshold INTEGER NOT NULL, sources BLOB NOT NULL, callers BLOB NOT NULL, presented INTEGER NOT NULL,
    UNIQUE (key, kind, span, about)
) STRICT;
CREATE INDEX signals_by_span ON signals (span);
CREATE INDEX signals_by_tenant ON signals (tenant, span);
CREATE TABLE key_histories (key INTEGER PRIMARY KEY, history BLOB NOT NULL) STRICT;
CREATE TABLE source_tries (
    hour INTEGER NOT NULL, name BLOB NOT NULL, tries BLOB NOT NULL, PRIMARY KEY (hour, name)
) STRICT, WITHOUT ROWID;
";

/// The tables that there is one of for each length of buckets. `first` and `last` count from the bucket's start.
const LEVEL_TABLES: &str = "
CREATE TABLE facts_{level} (
    tenant INTEGER NOT NULL, bucket INTEGER NOT NULL, account INTEGER NOT NULL, key INTEGER NOT NULL,
    outcome INTEGER NOT NULL, count INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (tenant, bucket, account, key, outcome)
) STRICT, WITHOUT ROWID;
CREATE TABLE lines_{level} (
    tenant INTEGER NOT NULL, bucket INTEGER NOT NULL, account INTEGER NOT NULL, key INTEGER NOT NULL,
    outcome INTEGER NOT NULL, caller INTEGER NOT NULL, action INTEGER NOT NULL, source INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (tenant, bucket, account, key, outcome, caller, action, source)
) STRICT, WITHOUT ROWID;
";

/// What the tables of each length of buckets are called, the finest first.
pub(super) const LEVELS: [&str; 3] = ["minute", "hour", "day"];

/// Not told apart: of a caller, an action and a source alike. Known and not given is 0.
pub(super) const OTHER: i64 = -1;

/// `sql` with the names of the tables of each length of buckets.
pub(super) fn each_level(sql: &str) -> [String; 3] {
    LEVELS.map(|level| sql.replace("{level}", level))
}

/// Opens the database for its writer; makes it if it is missing.
///
/// # Errors
/// [`UsageStoreError::Unfit`] if the file is not one of these, and other errors of the database.
pub(super) fn open(path: &Path) -> Result<Connection, UsageStoreError> {
    // The files that SQLite makes beside it get the same mode.
    OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(path)?;
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settle(&connection, WRITER_CACHE_KIB)?;
    // First, so that nothing is changed of what is not ours.
    let is_made = is_ours(&connection)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // What power loss may take are the last folds, whole: they are folded again.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    if !is_made {
        make(&mut connection)?;
    }
    Ok(connection)
}

/// Whether the tables are there; not if the file is empty.
fn is_ours(connection: &Connection) -> Result<bool, UsageStoreError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION, VERSION) => return Ok(true),
        (APPLICATION, _) => return Err(UsageStoreError::Unfit("it is of another version")),
        (0, 0) => {}
        _ => return Err(UsageStoreError::Unfit("it is another program's")),
    }
    let tables = "SELECT count(*) FROM sqlite_schema";
    if connection.query_row(tables, [], |row| row.get::<_, i64>(0))? > 0 {
        return Err(UsageStoreError::Unfit("it is another program's"));
    }
    Ok(false)
}

/// Makes the tables, all or none.
fn make(connection: &mut Connection) -> Result<(), UsageStoreError> {
    let making = connection.transaction()?;
    making.execute_batch(TABLES)?;
    for tables in each_level(LEVEL_TABLES) {
        making.execute_batch(&tables)?;
    }
    making.pragma_update(None, "application_id", APPLICATION)?;
    making.pragma_update(None, "user_version", VERSION)?;
    making.commit()?;
    Ok(())
}

/// Opens the database to read it beside its writer.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, UsageStoreError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settle(&connection, READER_CACHE_KIB)?;
    Ok(connection)
}

fn settle(connection: &Connection, cache_kib: i64) -> Result<(), UsageStoreError> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// What SQLite adds to the name of a database for the files beside it.
const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];

/// Puts the files of a database aside, in place of those that were put aside before.
pub(super) fn set_aside(path: &Path, added: &str) -> io::Result<PathBuf> {
    let aside = path.with_added_extension(added);
    rename(path, &aside)?;
    Ok(aside)
}

/// Gives the files of a database another name, in place of those that have it.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    remove(to)?;
    ENDINGS.iter().try_for_each(|ending| {
        if_there(fs::rename(with_ending(from, ending), with_ending(to, ending)))
    })
}

/// Removes the files of a database.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    ENDINGS.iter().try_for_each(|ending| if_there(fs::remove_file(with_ending(path, ending))))
}

/// What is not there need not be.
fn if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Bytes of the files of a database.
pub(super) fn bytes(path: &Path) -> u64 {
    let files = ["", "-wal"].map(|ending| with_ending(path, ending));
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|data| data.len()).sum()
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Whether the database says of itself that it is damaged or none.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}
