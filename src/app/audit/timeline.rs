//! GetKeyTimeline: what happened to one key, newest first.

use std::sync::Arc;

use super::chain::{LogReader, is_of};
use super::entry::AuditEntry;
use crate::app::App;
use crate::app::conduct::{reader, rpc};
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::page::{Page, PageRequest};
use crate::domain::caller::Role;
use crate::domain::conduct::Named;
use crate::domain::conduct::window::Read;
use crate::domain::ids::{KeyId, Position};
use crate::domain::subject::Subject;
use crate::domain::time::Time;
use crate::ledger::record;

/// The most bytes of a page's events, so that an answer nobody reads holds little: past it the page is
/// short and its token leads on.
const PAGE_BYTES: usize = 1024 * 1024;

/// Which part of a key's history is asked for.
#[derive(Debug)]
pub struct TimelineAsk {
    /// Whose.
    pub key: KeyId,
    /// Nothing that was recorded before this.
    pub start: Option<Time>,
    /// Nothing that was recorded then or later.
    pub end: Option<Time>,
    /// Which page.
    pub page: PageRequest,
}

impl App {
    /// GetKeyTimeline: the events of a key, newest first, along their chain. Personal fields are disclosed to
    /// auditors.
    ///
    /// # Errors
    /// [`AppError`]: unknown key, foreign page token, damaged record.
    pub async fn key_timeline(
        self: &Arc<Self>,
        identity: &Arc<Identity>,
        ask: TimelineAsk,
    ) -> Result<Page<AuditEntry>, AppError> {
        let named = Named { key: Some(ask.key), ..Named::default() };
        let reader = reader(identity, rpc::GET_KEY_TIMELINE, named);
        let identity = Arc::clone(identity);
        let read = self.read_history(move |app, log| app.read_timeline(log, &identity, &ask));
        let page = read.await?;
        let position = |entry: &AuditEntry| entry.fact.position;
        let positions = page.items.last().map(position).zip(page.items.first().map(position));
        let events = u64::try_from(page.items.len()).unwrap_or(u64::MAX);
        let read = Read { begins: true, events, positions, of_reads_alone: false };
        self.note_read(&reader, &read);
        Ok(page)
    }

    fn read_timeline(
        &self,
        log: &mut LogReader<'_>,
        identity: &Identity,
        ask: &TimelineAsk,
    ) -> Result<Page<AuditEntry>, AppError> {
        self.confirm(identity)?;
        let head = self.table.head();
        let key = self.visible_key(identity, &ask.key)?;
        let subject = Subject::Key(Arc::clone(&key.account), ask.key);
        let disclose = identity.has_any_role(&[Role::Auditor]);
        let newest = key.last_record();
        let head = head.map_or(newest, |head| head.max(newest));
        let cursor = ask.page.cursor(|bytes| {
            let position = Position::new(u64::from_be_bytes(bytes.try_into().ok()?))?;
            (position <= newest).then_some(position)
        })?;
        let mut next = match (cursor, ask.end) {
            (Some(cursor), _) => Some(cursor),
            (None, None) => Some(newest),
            (None, Some(end)) => match log.last_before(end, head)? {
                Some(bound) => log.newest_up_to(&subject, bound, newest)?,
                None => None,
            },
        };
        // A token can be forged: what it names must be of this key.
        let ours = |bytes: &[u8]| record::glance(bytes).is_ok_and(|seen| is_of(&seen, &subject));
        if let Some(cursor) = cursor
            && !log.with_record(cursor, ours)?
        {
            let must = "must be a next_page_token of this timeline";
            return Err(AppError::field("page_token", must));
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(position) = next {
            if let Some(start) = ask.start
                && log.link(position)?.time < start
            {
                break;
            }
            if items.len() == ask.page.size || bytes >= PAGE_BYTES {
                let token = ask.page.token(&position.get().to_be_bytes());
                return Ok(Page { items, next: Some(token) });
            }
            let read = |bytes: &[u8]| self.audit_entry(position, bytes, disclose);
            let entry = log.with_record(position, read)??;
            next = entry.fact.previous;
            bytes += entry.weight();
            items.push(entry);
        }
        Ok(Page { items, next: None })
    }
}
