//! ListSignals: unusual activity.

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::page::{Page, PageRequest};
use crate::app::usage_question::{Counted, TooMany, gaps, source_detail};
use crate::app::usage_range::AskedRange;
use crate::domain::ids::TenantId;
use crate::domain::source_detail::SourceDetail;
pub use crate::domain::usage::signals::SignalKind;
pub use crate::projection::usage::Signal;
use crate::projection::usage::{AsOf, Gap, Range, SignalPlace};

const TOO_MANY: TooMany = TooMany { field: "start_time", must: "must be later: there is too much" };

/// Signals of a time.
#[derive(Debug)]
pub struct FoundSignals {
    /// The signals, the latest first.
    pub page: Page<Signal>,
    /// How exactly sources are shown.
    pub detail: SourceDetail,
    /// What was asked for, on the bounds of buckets.
    pub range: Range,
    /// Where uses may be missing.
    pub gaps: Vec<Gap>,
}

impl App {
    /// ListSignals: those of a tenant, or of all that the caller may see. What belongs to no tenant is shown only to
    /// a caller that is bound to none. To a caller that may not read the history, a source is its network.
    ///
    /// # Errors
    /// [`AppError`]: foreign tenant, a range that cannot be, foreign page token, a projection that is behind.
    pub async fn list_signals(
        &self,
        identity: &Identity,
        tenant: Option<TenantId>,
        range: AskedRange,
        page: PageRequest,
    ) -> Result<Counted<FoundSignals>, AppError> {
        self.confirm(identity)?;
        let tenants = identity.tenants_of(tenant)?;
        let range = range.settle_kept_as_hours(self.clock.wall(), &self.usage_kept())?;
        let after = page.cursor(SignalPlace::read)?;
        let (identity, detail) = (identity.clone(), source_detail(identity));
        self.ask_usage(TOO_MANY, move |reader| {
            let shown = reader.with_sources_as(detail);
            let found = shown.signals(tenants.as_deref(), range, after, page.size)?;
            let AsOf { position, value: found } = found;
            let next = found.next.map(|next| page.token(&next.bytes()));
            let page = Page { items: found.signals, next };
            let gaps = gaps(reader, range, &identity)?;
            Ok(AsOf { position, value: FoundSignals { page, detail, range, gaps } })
        })
        .await
    }
}
