//! The addresses that sealed sources are.

use std::collections::HashMap;
use std::net::IpAddr;

use quick_cache::sync::Cache;

use crate::domain::sealed::DataKeyId;
use crate::projection::usage::UsageStoreError;
use crate::projection::usage::reader::Moment;
use crate::projection::usage::schema::OTHER;
use crate::vault::{OpenError, SEALED_SOURCE_BYTES, Vault};

/// Opened addresses that are kept: about 10 MB.
const KEPT: usize = 100_000;

type SealedSource = (DataKeyId, [u8; SEALED_SOURCE_BYTES]);

/// Addresses that were opened lately: a sealed form is one address for ever.
#[derive(Debug)]
pub(super) struct Clear(Cache<SealedSource, IpAddr>);

impl Default for Clear {
    fn default() -> Self {
        Clear(Cache::new(KEPT))
    }
}

/// Opens addresses until their data key is destroyed.
#[derive(Clone, Copy)]
pub(super) struct Opener<'a> {
    pub(super) vault: &'a Vault,
    pub(super) clear: &'a Clear,
}

impl Opener<'_> {
    /// The address; none if its data key is destroyed.
    fn open(&self, data_key: DataKeyId, sealed: &[u8]) -> Result<Option<IpAddr>, UsageStoreError> {
        let data_keys = &self.vault.data_keys;
        // It came when its data key was destroyed already, or the key is by now.
        if sealed.is_empty() || !data_keys.is_live(data_key) {
            return Ok(None);
        }
        let name: SealedSource = match sealed.try_into() {
            Ok(sealed) => (data_key, sealed),
            Err(_) => return Err(ALTERED),
        };
        if let Some(address) = self.clear.0.get(&name) {
            return Ok(Some(address));
        }
        let opened = data_keys.source_key(data_key).and_then(|key| key.open(sealed));
        match opened {
            Ok(address) => {
                self.clear.0.insert(name, address);
                Ok(Some(address))
            }
            Err(OpenError::Erased) => Ok(None),
            Err(_) => Err(ALTERED),
        }
    }
}

const ALTERED: UsageStoreError = UsageStoreError::Damaged("a source");

/// Where uses came from, as rows tell it apart, in the order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Origin {
    /// It was not given, or was no address.
    NotGiven,
    /// From there, as exactly as the question tells sources apart.
    Address(IpAddr),
    /// It was known once.
    Erased,
    /// It was not told apart.
    Other,
}

/// The origins that one question meets: each is opened once, and has one number however many sources it is.
pub(super) struct Origins<'a> {
    moment: &'a Moment<'a>,
    met: HashMap<i64, i64>,
    numbers: HashMap<Origin, i64>,
    origins: Vec<Origin>,
}

impl<'a> Origins<'a> {
    pub(super) fn new(moment: &'a Moment<'a>) -> Self {
        Origins { moment, met: HashMap::new(), numbers: HashMap::new(), origins: Vec::new() }
    }

    /// The number of the origin that the source of that number is.
    pub(super) fn number(&mut self, source: i64) -> Result<i64, UsageStoreError> {
        if let Some(met) = self.met.get(&source) {
            return Ok(*met);
        }
        let origin = self.open(source)?;
        let new = self.origins.len();
        let number = *self.numbers.entry(origin).or_insert(new.try_into().unwrap_or(i64::MAX));
        if number.unsigned_abs() == new as u64 {
            self.origins.push(origin);
        }
        self.met.insert(source, number);
        Ok(number)
    }

    /// The origin of that number.
    pub(super) fn origin(&self, number: i64) -> Origin {
        let known = usize::try_from(number).ok().and_then(|at| self.origins.get(at));
        known.copied().unwrap_or(Origin::Other)
    }

    fn open(&self, source: i64) -> Result<Origin, UsageStoreError> {
        match source {
            0 => return Ok(Origin::NotGiven),
            OTHER => return Ok(Origin::Other),
            _ => {}
        }
        let sql = "SELECT data_key, sealed FROM sources WHERE id = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
        let (data_key, sealed) = self.moment.one(sql, [source], read)?.ok_or(ALTERED)?;
        let opened = self.moment.opener.open(DataKeyId(data_key.cast_unsigned()), &sealed)?;
        let shown = |address| Origin::Address(self.moment.detail.of(address));
        Ok(opened.map_or(Origin::Erased, shown))
    }
}
