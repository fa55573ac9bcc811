//! Names as numbers, for the writer: looked up once and kept, given if they are new.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension as _, Params, params};

use crate::domain::ids::{AccountRef, CallerId, KeyId};
use crate::domain::sealed::DataKeyId;
use crate::domain::usage::signals::{SourceName, SourceNetwork};
use crate::projection::usage::UsageStoreError;
use crate::vault::{OpenError, Vault};

/// Numbers of one kind that are kept in memory; beyond that they are forgotten and looked up again.
const KEPT: usize = 200_000;

/// Whose a key is, in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyNumbers {
    pub(super) tenant: i64,
    pub(super) account: i64,
    pub(super) key: i64,
}

impl KeyNumbers {
    /// No key: numbers begin at 1.
    pub(super) const NONE: KeyNumbers = KeyNumbers { tenant: 0, account: 0, key: 0 };
}

/// A number, and the last day that its name is known to be needed for.
#[derive(Clone, Copy, Debug)]
struct Dated {
    number: i64,
    day: i64,
}

/// The numbers of names that came lately.
#[derive(Debug, Default)]
pub(super) struct Names {
    keys: HashMap<KeyId, KeyNumbers>,
    callers: HashMap<CallerId, i64>,
    actions: HashMap<String, Dated>,
    sources: HashMap<(DataKeyId, Option<IpAddr>), Dated>,
    networks: HashMap<(DataKeyId, SourceNetwork), SourceName>,
}

fn keep<K: Eq + Hash, V>(kept: &mut HashMap<K, V>, key: K, value: V) {
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(key, value);
}

/// The number that `find` finds; else that of the row which `make` adds.
fn number(
    database: &Connection,
    find: &str,
    make: &str,
    name: impl Params + Clone,
) -> Result<i64, UsageStoreError> {
    let found = database.prepare_cached(find)?.query_row(name.clone(), |row| row.get(0));
    match found.optional()? {
        Some(number) => Ok(number),
        None => Ok(database.prepare_cached(make)?.insert(name)?),
    }
}

impl Names {
    /// Forgets all: what was given last may not have been kept.
    pub(super) fn forget(&mut self) {
        *self = Names::default();
    }

    pub(super) fn key(
        &mut self,
        database: &Connection,
        key: &KeyId,
        of: &AccountRef,
    ) -> Result<KeyNumbers, UsageStoreError> {
        if let Some(numbers) = self.keys.get(key) {
            return Ok(*numbers);
        }
        let tenant = number(
            database,
            "SELECT id FROM tenants WHERE name = ?1",
            "INSERT INTO tenants (name) VALUES (?1)",
            params![of.tenant.as_str()],
        )?;
        let account = number(
            database,
            "SELECT id FROM accounts WHERE tenant = ?1 AND name = ?2",
            "INSERT INTO accounts (tenant, name) VALUES (?1, ?2)",
            params![tenant, of.account.as_str()],
        )?;
        let number = number(
            database,
            "SELECT id FROM keys WHERE key = ?1 AND account = ?2",
            "INSERT INTO keys (key, account) VALUES (?1, ?2)",
            params![key.0, account],
        )?;
        let numbers = KeyNumbers { tenant, account, key: number };
        keep(&mut self.keys, *key, numbers);
        Ok(numbers)
    }

    pub(super) fn caller(
        &mut self,
        database: &Connection,
        caller: &CallerId,
    ) -> Result<i64, UsageStoreError> {
        if let Some(known) = self.callers.get(caller) {
            return Ok(*known);
        }
        let number = number(
            database,
            "SELECT id FROM callers WHERE caller = ?1",
            "INSERT INTO callers (caller) VALUES (?1)",
            params![caller.0],
        )?;
        keep(&mut self.callers, *caller, number);
        Ok(number)
    }

    pub(super) fn action(
        &mut self,
        database: &Connection,
        action: &str,
        day: i64,
    ) -> Result<i64, UsageStoreError> {
        if let Some(known) = self.actions.get(action).filter(|known| known.day >= day) {
            return Ok(known.number);
        }
        let sql = "INSERT INTO actions (action, day) VALUES (?1, ?2)
                   ON CONFLICT (action) DO UPDATE SET day = max(day, excluded.day) RETURNING id, day";
        let dated = dated(database, sql, params![action, day])?;
        keep(&mut self.actions, action.to_owned(), dated);
        Ok(dated.number)
    }

    /// Of an address that came with an event sealed under `data_key`; none: it cannot be opened any more.
    pub(super) fn source(
        &mut self,
        database: &Connection,
        vault: &Vault,
        data_key: DataKeyId,
        address: Option<IpAddr>,
        day: i64,
    ) -> Result<i64, UsageStoreError> {
        let name = (data_key, address);
        if let Some(known) = self.sources.get(&name).filter(|known| known.day >= day) {
            return Ok(known.number);
        }
        let sealed = match (address, vault.data_keys.source_key(data_key)) {
            (Some(address), Ok(key)) => key.seal(address).to_vec(),
            (None, _) | (_, Err(OpenError::Erased)) => Vec::new(),
            (_, Err(error)) => return Err(error.into()),
        };
        let sql = "INSERT INTO sources (data_key, sealed, day) VALUES (?1, ?2, ?3)
                   ON CONFLICT (data_key, sealed) DO UPDATE SET day = max(day, excluded.day)
                   RETURNING id, day";
        let dated = dated(database, sql, params![data_key.0.cast_signed(), sealed, day])?;
        keep(&mut self.sources, name, dated);
        Ok(dated.number)
    }

    /// What a network is recognised by under `data_key`; none if that is destroyed.
    pub(super) fn network(
        &mut self,
        vault: &Vault,
        data_key: DataKeyId,
        network: &SourceNetwork,
    ) -> Result<Option<SourceName>, UsageStoreError> {
        if !vault.data_keys.is_live(data_key) {
            return Ok(None);
        }
        let named = (data_key, *network);
        if let Some(known) = self.networks.get(&named) {
            return Ok(Some(*known));
        }
        let name = vault.data_keys.source_key(data_key)?.name(network);
        keep(&mut self.networks, named, name);
        Ok(Some(name))
    }
}

fn dated(database: &Connection, sql: &str, name: impl Params) -> Result<Dated, UsageStoreError> {
    let mut statement = database.prepare_cached(sql)?;
    let dated = |row: &rusqlite::Row<'_>| Ok(Dated { number: row.get(0)?, day: row.get(1)? });
    Ok(statement.query_row(name, dated)?)
}
