//! ListIdleKeys: keys that could be used and are not. As of now: uses on their way to the log count.

use std::time::Duration;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::key_view::KeyView;
use crate::app::list_keys::KeyFilter;
use crate::app::page::{Page, PageRequest};
use crate::app::usage_question::Counted;
use crate::domain::ids::TenantId;
use crate::domain::key::KeyState;
use crate::domain::time::Time;

/// The shortest and the longest span for which keys can be asked to be idle.
pub const UNUSED_FOR: std::ops::RangeInclusive<Duration> =
    Duration::from_mins(1)..=Duration::from_hours(3650 * 24);

/// A page of idle keys.
#[derive(Debug)]
pub struct IdleKeys {
    /// The keys.
    pub page: Page<KeyView>,
    /// Since when none of them was allowed or made.
    pub unused_since: Time,
}

impl App {
    /// ListIdleKeys: the keys of a tenant in state ACTIVE or RETIRING that were neither allowed nor made for
    /// `unused_for`, by (create_time, key_id).
    ///
    /// # Errors
    /// As [`App::list_keys`].
    pub async fn list_idle_keys(
        &self,
        identity: &Identity,
        tenant: &TenantId,
        unused_for: Duration,
        page: &PageRequest,
    ) -> Result<Counted<IdleKeys>, AppError> {
        let (position, now) = (self.table.head(), self.now());
        let unused_since = now.minus(unused_for);
        let filter = KeyFilter {
            states: vec![KeyState::Active, KeyState::Retiring],
            created_before: Some(unused_since),
            unused_since: Some(unused_since),
            ..KeyFilter::default()
        };
        let page = self.list_keys(identity, tenant, None, &filter, page).await?;
        Ok(Counted { value: IdleKeys { page, unused_since }, position, complete_until: now })
    }
}
