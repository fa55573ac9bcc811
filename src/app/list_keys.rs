//! ListKeys.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::key_view::KeyView;
use crate::app::page::{Page, PageRequest};
use crate::app::sealing::weight;
use crate::domain::ids::{AccountId, AccountRef, KeyId, TenantId};
use crate::domain::key::{Key, KeyState};
use crate::domain::personal::Personal;
use crate::domain::time::Time;
use crate::domain::usage::UseCounts;
use crate::projection::directory::KeyPlace;
use crate::projection::key_table::Row;

/// The most keys looked at for one page, so that a filter that fits few keys does not hold the
/// server: the page is then short and its token leads on.
const LOOKED_AT: usize = 10_000;

/// The most bytes of names, metadata and ranges of one page, so that an answer nobody reads holds little:
/// past it the page is short and its token leads on.
const PAGE_BYTES: usize = 1024 * 1024;

/// How many places are taken from the directory at once.
const CHUNK: usize = 256;

/// Which keys a list shows: those that fit all of what is set.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// In one of these states; empty: in any.
    pub states: Vec<KeyState>,
    /// With a name that begins so.
    pub name_prefix: String,
    /// With all of this metadata.
    pub metadata: BTreeMap<String, String>,
    /// Expiring before this.
    pub expire_before: Option<Time>,
    /// Made before this.
    pub created_before: Option<Time>,
    /// Not used, that is allowed, since this; whether it was ever used or not.
    pub unused_since: Option<Time>,
}

impl KeyFilter {
    fn fits_row(&self, key: &Key, uses: &UseCounts, now: Time) -> bool {
        let in_time = |before| key.expire_time().is_some_and(|time| time < before);
        (self.states.is_empty() || self.states.contains(&key.state_at(now)))
            && self.expire_before.is_none_or(in_time)
            && self.unused_since.is_none_or(|since| uses.last_use.is_none_or(|last| last < since))
    }

    fn reads_personal(&self) -> bool {
        !self.name_prefix.is_empty() || !self.metadata.is_empty()
    }

    fn fits_personal(&self, personal: &Personal) -> bool {
        personal.name.starts_with(&self.name_prefix)
            && self.metadata.iter().all(|(key, value)| personal.metadata.get(key) == Some(value))
    }
}

impl App {
    /// ListKeys: the keys of a tenant or of one account of it, by (create_time, key_id).
    ///
    /// # Errors
    /// [`AppError`]: foreign tenant, foreign page token, damaged record.
    pub async fn list_keys(
        &self,
        identity: &Identity,
        tenant: &TenantId,
        account: Option<AccountId>,
        filter: &KeyFilter,
        page: &PageRequest,
    ) -> Result<Page<KeyView>, AppError> {
        self.confirm(identity)?;
        identity.enter(tenant)?;
        let account = account.map(|account| AccountRef { tenant: tenant.clone(), account });
        let mut after = page.cursor(decode_place)?;
        let now = self.now();
        let mut items = Vec::new();
        let (mut looked_at, mut bytes) = (0, 0);
        loop {
            let places = self.table.directory().keys(tenant, account.as_ref(), after, CHUNK);
            let last_chunk = places.len() < CHUNK;
            for place in places {
                if filter.created_before.is_some_and(|before| place.0 >= before) {
                    return Ok(Page { items, next: None });
                }
                if items.len() == page.size || looked_at == LOOKED_AT || bytes >= PAGE_BYTES {
                    let next = after.map(|after| page.token(&encode_place(after)));
                    return Ok(Page { items, next });
                }
                looked_at += 1;
                after = Some(place);
                if let Some(view) = self.fitting(place.1, filter, now).await? {
                    bytes += weight(&view.personal);
                    items.push(view);
                }
            }
            if last_chunk {
                return Ok(Page { items, next: None });
            }
        }
    }

    async fn fitting(
        &self,
        id: KeyId,
        filter: &KeyFilter,
        now: Time,
    ) -> Result<Option<KeyView>, AppError> {
        let fits = |row: &Row| filter.fits_row(&row.key, &self.table.uses(&id, &row.key), now);
        let Some(row) = self.table.row(&id).filter(fits) else { return Ok(None) };
        if filter.reads_personal() {
            let personal = self.personal_at(row.key.personal_at()).await?;
            if !personal.is_some_and(|personal| filter.fits_personal(&personal)) {
                return Ok(None);
            }
        }
        self.view(id, row.key).await.map(Some)
    }
}

fn encode_place((time, id): KeyPlace) -> Vec<u8> {
    [&time.as_micros().to_be_bytes()[..], &id.0].concat()
}

fn decode_place(cursor: &[u8]) -> Option<KeyPlace> {
    let (time, id) = cursor.split_first_chunk::<8>()?;
    Some((Time::from_micros(i64::from_be_bytes(*time)), KeyId(id.try_into().ok()?)))
}
