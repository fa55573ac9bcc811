//! QueryUsage.

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::page::PageRequest;
use crate::app::usage_question::{Counted, TooMany, gaps, source_detail};
use crate::app::usage_range::AskedRange;
use crate::domain::ids::TenantId;
use crate::domain::source_detail::SourceDetail;
use crate::projection::usage::{AsOf, Dimension, Gap, Order, Range, Row, UsageFilter, UsageQuery};

/// Groups are added up in memory, also those that no page shows.
const TOO_MANY: TooMany = TooMany {
    field: "group_by",
    must: "must tell fewer groups apart: ask for a shorter range, larger buckets, or uses of fewer keys",
};

/// Which rows are wanted.
#[derive(Debug)]
pub enum Wanted {
    /// So many, those with the most uses.
    Top(usize),
    /// A page of all.
    Page(PageRequest),
}

/// What is asked.
#[derive(Debug)]
pub struct UsageQuestion {
    /// When the uses were, and by which buckets rows are told apart too.
    pub range: AskedRange,
    /// The tenant of the keys; none: all that the caller may see.
    pub tenant: Option<TenantId>,
    /// What the uses are like, tenants aside.
    pub filter: UsageFilter,
    /// What rows are told apart by.
    pub group_by: Vec<Dimension>,
    /// Which rows.
    pub wanted: Wanted,
}

/// Rows of uses.
#[derive(Debug)]
pub struct UsageRows {
    /// The rows that have uses.
    pub rows: Vec<Row>,
    /// How exactly sources are shown.
    pub detail: SourceDetail,
    /// The token of the next page; none after the last.
    pub next: Option<String>,
    /// What was asked for, on the bounds of buckets.
    pub range: Range,
    /// How many uses may or may not fit.
    pub unattributed: u64,
    /// Where uses may be missing.
    pub gaps: Vec<Gap>,
}

impl App {
    /// QueryUsage. To a caller that is bound to tenants, there are no others. To one that may not read the history,
    /// a source is its network, in the filter too: no row says more of an address than that.
    ///
    /// # Errors
    /// [`AppError`]: foreign tenant, a range that cannot be, foreign page token, a projection that is behind.
    pub async fn query_usage(
        &self,
        identity: &Identity,
        question: UsageQuestion,
    ) -> Result<Counted<UsageRows>, AppError> {
        self.confirm(identity)?;
        let UsageQuestion { range, tenant, filter, group_by, wanted } = question;
        let tenants = identity.tenants_of(tenant)?;
        let granularity = range.granularity;
        let range = range.settle(self.clock.wall(), &self.usage_kept())?;
        let (order, page) = match wanted {
            Wanted::Top(most) => (Order::Top(most), None),
            Wanted::Page(page) => {
                let after = page.cursor(|bytes| Some(bytes.to_vec()))?;
                (Order::Page { after, size: page.size }, Some(page))
            }
        };
        let filter = UsageFilter { tenants, ..filter };
        let query = UsageQuery { range, granularity, filter, group_by, order };
        let (identity, detail) = (identity.clone(), source_detail(identity));
        self.ask_usage(TOO_MANY, move |reader| {
            let found = reader.with_sources_as(detail).query(&query)?;
            let AsOf { position, value: found } = found;
            let next = found.next.zip(page).map(|(next, page)| page.token(&next));
            let gaps = gaps(reader, range, &identity)?;
            let unattributed = found.unattributed;
            let value = UsageRows { rows: found.rows, detail, next, range, unattributed, gaps };
            Ok(AsOf { position, value })
        })
        .await
    }
}
