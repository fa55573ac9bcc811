//! GetStragglers: who still uses a key that has a successor.

use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::key_view::KeyView;
use crate::app::page::PageRequest;
use crate::app::sealing::read_fact;
use crate::app::usage_agents::Agents;
use crate::app::usage_question::{Counted, TooMany, source_detail};
use crate::app::usage_range::finest_kept;
use crate::domain::ids::{KeyId, Position};
use crate::domain::refusal::Refusal;
use crate::domain::source_detail::SourceDetail;
use crate::domain::time::Time;
use crate::domain::usage::window_start;
use crate::projection::usage::{Granularity, UsageReader, Way};

/// Somebody names another action with each use, say.
const TOO_MANY: TooMany = TooMany {
    field: "key_id",
    must: "must be a key that is used in fewer ways: ask QueryUsage for its callers, actions or sources alone",
};

/// Who still uses a key that has a successor.
#[derive(Debug)]
pub struct Stragglers {
    /// The key as it is now.
    pub key: KeyView,
    /// When it was rotated.
    pub rotate_time: Time,
    /// Since when uses are told apart: the beginning of the bucket that holds the rotation, or of the oldest that
    /// is kept.
    pub start: Time,
    /// The ways in which it was used since, latest first, and what these uses said they came from.
    pub ways: Vec<(Way, Vec<String>)>,
    /// How exactly sources are shown.
    pub detail: SourceDetail,
    /// The token of the next page; none after the last.
    pub next: Option<String>,
}

impl App {
    /// GetStragglers. To a caller that may not read the history, a source is its network.
    ///
    /// # Errors
    /// [`AppError`]: unknown key, one that was not rotated, foreign page token, a projection that is behind, a
    /// damaged record.
    pub async fn get_stragglers(
        &self,
        identity: &Identity,
        id: KeyId,
        page: PageRequest,
    ) -> Result<Counted<Stragglers>, AppError> {
        self.confirm(identity)?;
        let key = self.visible_key(identity, &id)?;
        let rotation = key.life.as_ref().and_then(|life| life.rotation.as_ref());
        let rotated_at = rotation.ok_or(AppError::Refused(Refusal::KeyNotRotated))?.position;
        let after = page.cursor(|bytes| Some(bytes.to_vec()))?;
        let rotate_time = self.record_time(rotated_at).await?;
        let start = self.start_of(rotate_time);
        let (size, detail) = (page.size, source_detail(identity));
        let ask = move |reader: &UsageReader| {
            reader.with_sources_as(detail).ways(&id, start, after.as_deref(), size)
        };
        let Counted { value: found, position, complete_until } =
            self.ask_usage(TOO_MANY, ask).await?;
        // Read again: the last record of the key leads back over its uses up to now.
        let key = self.visible_key(identity, &id)?;
        let agents = self.agents(key.last_record(), rotated_at, start, detail).await?;
        let ways = found.ways.into_iter().map(|way| {
            let said = agents.of(&way);
            (way, said)
        });
        let ways = ways.collect();
        let next = found.next.map(|next| page.token(&next));
        let key = self.view(id, key).await?;
        let value = Stragglers { key, rotate_time, start, ways, detail, next };
        Ok(Counted { value, position, complete_until })
    }

    /// The beginning of the bucket of uses that holds `time`, or of the oldest that is kept.
    fn start_of(&self, time: Time) -> Time {
        let (now, keep) = (self.clock.wall(), self.usage_kept());
        let time = time.max(now.minus(keep.days));
        let granularity = finest_kept(time, now, &keep).unwrap_or(Granularity::Day);
        window_start(window_start(time, self.usage_window()), granularity.span())
    }

    async fn record_time(&self, position: Position) -> Result<Time, AppError> {
        let reader = Arc::clone(&self.reader);
        let read = move || read_fact(&*reader, position).map(|fact| fact.time);
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|error| AppError::internal("reading a record", &error))?
    }

    /// What the uses of a key said they came from, in the records behind `rotated_at` up to `last`.
    async fn agents(
        &self,
        last: Position,
        rotated_at: Position,
        start: Time,
        detail: SourceDetail,
    ) -> Result<Agents, AppError> {
        let (reader, vault) = (Arc::clone(&self.reader), Arc::clone(&self.vault));
        let read = move || {
            let mut agents = Agents::told_apart_as(detail);
            agents.read(&*reader, &vault.data_keys, last, rotated_at, start)?;
            Ok(agents)
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|error| AppError::internal("reading records", &error))?
    }
}
