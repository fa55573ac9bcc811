//! Questions to the usage projection: asked once it has reached the head, off the reactor.

use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::caller::Role;
use crate::domain::ids::Position;
use crate::domain::source_detail::SourceDetail;
use crate::domain::time::Time;
use crate::projection::usage::{AsOf, UsageReader, UsageStoreError};
pub use crate::projection::usage::{
    Bucket, Counts, Dimension, Gap, Granularity, MAX_GROUP_BY, MAX_ROWS, Range, Row, UsageFilter,
    Way,
};

/// Most gaps that an answer names, the last ones: there is one for each crash.
const MAX_GAPS: usize = 100;

/// An answer, and what it takes into account.
#[derive(Debug)]
pub struct Counted<T> {
    /// The answer.
    pub value: T,
    /// All events up to this one; none: there are none.
    pub position: Option<Position>,
    /// Up to when every use counts that is on record.
    pub complete_until: Time,
}

/// What to refuse if a question has a larger answer than one may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooMany {
    pub(crate) field: &'static str,
    pub(crate) must: &'static str,
}

impl App {
    /// Asks of what was in the log when the question came. Nothing that is complete before is missing.
    pub(crate) async fn ask_usage<T: Send + 'static>(
        &self,
        too_many: TooMany,
        ask: impl FnOnce(&UsageReader) -> Result<AsOf<T>, UsageStoreError> + Send + 'static,
    ) -> Result<Counted<T>, AppError> {
        // First: what is complete now is in the log up to the head that is waited for.
        let complete_until = self.complete_until();
        let reader = self.usage_reader_at_head().await?;
        // Not on one of the threads that everything else that blocks waits for too.
        let room = Arc::clone(&self.usage_model.questions).acquire_owned().await;
        let room = room.map_err(|_| AppError::Internal)?;
        let ask = move || {
            let _room = room;
            ask(&reader)
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        let asked = asked.map_err(|error| AppError::internal("asking of uses", &error))?;
        let AsOf { position, value } = asked.map_err(|error| match error {
            UsageStoreError::Behind => self.usage_behind(),
            UsageStoreError::TooSlow => AppError::TooSlow,
            UsageStoreError::TooMany => AppError::field(too_many.field, too_many.must),
            _ => AppError::internal("reading the usage projection", &error),
        })?;
        Ok(Counted { value, position, complete_until })
    }
}

/// How exactly the caller may know where uses came from: to the address if it may read the history, which has them.
pub(crate) fn source_detail(identity: &Identity) -> SourceDetail {
    if identity.has_any_role(&[Role::Auditor]) {
        SourceDetail::Address
    } else {
        SourceDetail::Network
    }
}

/// The gaps that reach into a range, as the caller may know them: how many uses are missing is of all tenants
/// together.
pub(crate) fn gaps(
    reader: &UsageReader,
    range: Range,
    identity: &Identity,
) -> Result<Vec<Gap>, UsageStoreError> {
    let mut gaps = reader.gaps(range, MAX_GAPS)?.value;
    if !identity.caller.tenants.is_empty() {
        gaps.iter_mut().for_each(|gap| gap.lost = None);
    }
    Ok(gaps)
}
