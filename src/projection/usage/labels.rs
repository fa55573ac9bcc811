//! Numbers as names again, and the order of rows.

use std::collections::HashMap;
use std::net::IpAddr;

use rusqlite::types::FromSql;

use crate::domain::ids::{AccountId, CallerId, KeyId, PUBLIC_ID_BYTES, TenantId};
use crate::projection::usage::UsageStoreError;
use crate::projection::usage::reader::Moment;
use crate::projection::usage::schema::OTHER;
use crate::projection::usage::sources::Origin;

const GONE: UsageStoreError = UsageStoreError::Damaged("a name");

/// A key and whose it is.
#[derive(Clone, Debug)]
pub(super) struct KeyLabel {
    pub(super) key: KeyId,
    pub(super) account: i64,
}

/// The names that one answer needs, each looked up once.
pub(super) struct Labels<'a> {
    moment: &'a Moment<'a>,
    tenants: HashMap<i64, TenantId>,
    accounts: HashMap<i64, (TenantId, AccountId)>,
    callers: HashMap<i64, CallerId>,
    actions: HashMap<i64, String>,
}

impl<'a> Labels<'a> {
    pub(super) fn new(moment: &'a Moment<'a>) -> Self {
        Labels {
            moment,
            tenants: HashMap::new(),
            accounts: HashMap::new(),
            callers: HashMap::new(),
            actions: HashMap::new(),
        }
    }

    fn read<T: FromSql>(&self, sql: &str, number: i64) -> Result<T, UsageStoreError> {
        self.moment.one(sql, [number], |row| row.get(0))?.ok_or(GONE)
    }

    pub(super) fn tenant(&mut self, number: i64) -> Result<TenantId, UsageStoreError> {
        if let Some(known) = self.tenants.get(&number) {
            return Ok(known.clone());
        }
        let name: String = self.read("SELECT name FROM tenants WHERE id = ?1", number)?;
        let tenant = TenantId::parse(&name).map_err(|_| GONE)?;
        self.tenants.insert(number, tenant.clone());
        Ok(tenant)
    }

    pub(super) fn account(
        &mut self,
        number: i64,
    ) -> Result<(TenantId, AccountId), UsageStoreError> {
        if let Some(known) = self.accounts.get(&number) {
            return Ok(known.clone());
        }
        let sql = "SELECT tenant, name FROM accounts WHERE id = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?));
        let (tenant, name) = self.moment.one(sql, [number], read)?.ok_or(GONE)?;
        let account = AccountId::parse(&name).map_err(|_| GONE)?;
        let named = (self.tenant(tenant)?, account);
        self.accounts.insert(number, named.clone());
        Ok(named)
    }

    /// A key is asked for once: nothing is kept.
    pub(super) fn key(&self, number: i64) -> Result<KeyLabel, UsageStoreError> {
        let sql = "SELECT key, account FROM keys WHERE id = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(KeyLabel {
                key: KeyId(row.get::<_, [u8; PUBLIC_ID_BYTES]>(0)?),
                account: row.get(1)?,
            })
        };
        self.moment.one(sql, [number], read)?.ok_or(GONE)
    }

    /// None: it is known that there was none, or it was not told apart.
    pub(super) fn caller(&mut self, number: i64) -> Result<Option<CallerId>, UsageStoreError> {
        if matches!(number, 0 | OTHER) {
            return Ok(None);
        }
        if let Some(known) = self.callers.get(&number) {
            return Ok(Some(*known));
        }
        let id = self.read("SELECT caller FROM callers WHERE id = ?1", number)?;
        self.callers.insert(number, CallerId(id));
        Ok(Some(CallerId(id)))
    }

    /// None: it was not given, or not told apart.
    pub(super) fn action(&mut self, number: i64) -> Result<Option<String>, UsageStoreError> {
        if matches!(number, 0 | OTHER) {
            return Ok(None);
        }
        if let Some(known) = self.actions.get(&number) {
            return Ok(Some(known.clone()));
        }
        let action: String = self.read("SELECT action FROM actions WHERE id = ?1", number)?;
        self.actions.insert(number, action.clone());
        Ok(Some(action))
    }
}

/// A row's place among the others: bytes that are in order as rows are. Also what asks for the next page.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(pub(super) Vec<u8>);

impl Place {
    pub(super) fn number(&mut self, number: i64) {
        // With the sign turned over, negative numbers come first.
        self.0.extend((number ^ i64::MIN).to_be_bytes());
    }

    /// The number that the bytes of a place begin with.
    pub(super) fn begins_with_number(bytes: &[u8]) -> Option<i64> {
        let (number, _) = bytes.split_first_chunk::<8>()?;
        Some(i64::from_be_bytes(*number) ^ i64::MIN)
    }

    /// Ends with two zeros; a zero in the text becomes 0 and 255, so a text comes before those it begins.
    pub(super) fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self.0.extend([0, 0]);
    }

    pub(super) fn id(&mut self, id: &[u8; PUBLIC_ID_BYTES]) {
        self.0.extend(id);
    }

    /// Of a caller or an action: first not given, then those given, then what is not told apart.
    pub(super) fn kind(&mut self, number: i64) {
        self.0.push(match number {
            0 => 0,
            OTHER => 2,
            _ => 1,
        });
    }

    pub(super) fn origin(&mut self, origin: Origin) {
        match origin {
            Origin::NotGiven => self.0.push(0),
            Origin::Address(IpAddr::V4(address)) => {
                self.0.push(1);
                self.0.extend(address.octets());
            }
            Origin::Address(IpAddr::V6(address)) => {
                self.0.push(2);
                self.0.extend(address.octets());
            }
            Origin::Erased => self.0.push(3),
            Origin::Other => self.0.push(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(number: i64, text: &str, rest: i64) -> Place {
        let mut place = Place::default();
        place.number(number);
        place.text(text);
        place.number(rest);
        place
    }

    proptest! {
        #[test]
        fn places_are_in_the_order_of_what_they_are_made_of(
            one in (any::<i64>(), "[\0\u{1}ab\u{ff}]{0,4}", any::<i64>()),
            two in (any::<i64>(), "[\0\u{1}ab\u{ff}]{0,4}", any::<i64>()),
            same: bool,
        ) {
            let first = if same { two.0 } else { one.0 };
            let places = place(first, &one.1, one.2).cmp(&place(two.0, &two.1, two.2));
            prop_assert_eq!(places, (first, one.1, one.2).cmp(&(two.0, two.1, two.2)));
        }
    }
}
