//! Personal fields on their way to a record and back: sealed before the writer sees them, opened on
//! first need and kept, bounded, for what is in use.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::event::{Event, EventKind, Recorded};
use crate::domain::ids::{AccountRef, EventId, Position};
use crate::domain::personal::Personal;
use crate::domain::sealed::Private;
use crate::domain::source::{SourceRange, Sources};
use crate::domain::subject::Subject;
use crate::ledger::engine::LedgerReader;
use crate::ledger::record;
pub(crate) use crate::projection::private::open;
use crate::projection::private::{context, open_private};
use crate::projection::snapshot::{Bound, KeyEntry};
use crate::random::{self, Random};
use crate::vault::{DataKeys, OpenError, Scope, Vault, commitment};

/// Bytes of opened personal fields that are kept: at 150 bytes a key, those of about 400,000 keys.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// About how many entries that is.
const CACHE_ENTRIES: usize = 400_000;

/// Bytes an entry takes besides its texts.
const ENTRY_BYTES: usize = 200;

/// Opened personal fields by the position of their record, which never changes.
pub(crate) type PersonalCache = Cache<Position, Arc<Personal>, PersonalWeight>;

/// What an entry of the cache weighs: about its bytes.
#[derive(Clone, Debug)]
pub(crate) struct PersonalWeight;

impl Weighter<Position, Arc<Personal>> for PersonalWeight {
    fn weight(&self, _: &Position, personal: &Arc<Personal>) -> u64 {
        u64::try_from(weight(personal)).unwrap_or(u64::MAX)
    }
}

/// About how many bytes personal fields take.
pub(crate) fn weight(personal: &Personal) -> usize {
    let metadata = personal.metadata.iter().map(|(key, value)| key.len() + value.len() + 48);
    let cidrs = personal.allowed_cidrs.iter().map(|cidr| cidr.len() + 24);
    let asides =
        personal.on_behalf_of.iter().map(|of| of.subject.len() + of.ticket.len() + of.note.len());
    let texts = [&personal.name, &personal.display_name, &personal.owner, &personal.comment];
    let texts = texts.map(String::len).iter().sum::<usize>() + asides.sum::<usize>();
    ENTRY_BYTES + texts + metadata.sum::<usize>() + cidrs.sum::<usize>()
}

/// An empty cache of opened personal fields.
pub(crate) fn personal_cache() -> PersonalCache {
    Cache::with_weighter(CACHE_ENTRIES, CACHE_BYTES, PersonalWeight)
}

/// Whose data key a subject's personal fields are sealed under.
pub(crate) fn scope_of(subject: &Subject) -> Scope {
    match subject {
        Subject::Key(account, _) | Subject::Account(account) => {
            Scope::Account(AccountRef::clone(account))
        }
        Subject::Caller(_) | Subject::Service => Scope::Service,
    }
}

/// Seals the personal fields of an event to be. The scope of `subject` must have a data key.
///
/// # Errors
/// [`AppError::Internal`] if it has none or it cannot be used.
pub(crate) fn seal(
    data_keys: &DataKeys,
    random: &dyn Random,
    subject: &Subject,
    kind: EventKind,
    personal: &Personal,
) -> Result<Private, AppError> {
    seal_under(data_keys, random, &scope_of(subject), subject, kind, personal)
}

/// As [`seal`], under the data key of a scope that is not the subject's own.
///
/// # Errors
/// As [`seal`].
pub(crate) fn seal_under(
    data_keys: &DataKeys,
    random: &dyn Random,
    scope: &Scope,
    subject: &Subject,
    kind: EventKind,
    personal: &Personal,
) -> Result<Private, AppError> {
    let Some(key) = data_keys.find(scope) else {
        return Err(AppError::Internal);
    };
    let event_id = EventId(random::bytes(random));
    let clear = record::encode_personal(personal, random::bytes(random));
    let sealed = data_keys.seal(key, &context(subject, kind, event_id), &clear, random)?;
    Ok(Private { event_id, sealed, commitment: commitment(&clear) })
}

/// Puts the opened address ranges into an event that was read from the log. Ranges that cannot be
/// opened stay [`Sources::Unreadable`], which admits nobody.
///
/// # Errors
/// [`OpenError`] if the sealed fields are altered.
pub(crate) fn open_sources(data_keys: &DataKeys, fact: &mut Recorded) -> Result<(), OpenError> {
    let bound = match &fact.event {
        Event::KeyCreated(created) => created.sources == Sources::Unreadable,
        Event::KeyUpdated(updated) => updated.sources == Sources::Unreadable,
        _ => false,
    };
    if !bound {
        return Ok(());
    }
    let private = fact.private.as_ref().ok_or(OpenError::Altered)?;
    let opened = bound_sources(open_private(data_keys, &fact.subject, fact.event.kind(), private))?;
    match &mut fact.event {
        Event::KeyCreated(created) => created.sources = opened,
        Event::KeyUpdated(updated) => updated.sources = opened,
        _ => {}
    }
    Ok(())
}

/// The sources of a bound key in a snapshot, as [`open_sources`] opens them.
///
/// # Errors
/// As [`open_sources`].
pub(crate) fn open_bound(data_keys: &DataKeys, entry: &KeyEntry) -> Result<Sources, OpenError> {
    let Some(Bound { kind, private }) = &entry.bound else { return Ok(Sources::Any) };
    let subject = Subject::Key(Arc::clone(&entry.key.account), entry.id);
    bound_sources(open_private(data_keys, &subject, *kind, private))
}

/// The sources that the opened fields of a bound key name: some, or ones that cannot be read any more.
fn bound_sources(opened: Result<Personal, OpenError>) -> Result<Sources, OpenError> {
    match opened {
        Err(OpenError::Erased) => Ok(Sources::Unreadable),
        Err(error) => Err(error),
        Ok(personal) => {
            let sources = sources_of(&personal).filter(|sources| *sources != Sources::Any);
            sources.ok_or(OpenError::Altered)
        }
    }
}

/// The sources that personal fields bind a key to; none if a range is not one.
pub(crate) fn sources_of(personal: &Personal) -> Option<Sources> {
    let ranges = personal.allowed_cidrs.iter().map(|text| SourceRange::parse(text).ok());
    Some(Sources::requested(ranges.collect::<Option<_>>()?))
}

/// Reads a record.
///
/// # Errors
/// [`AppError::Damaged`] if it is not there or fails its check.
pub(crate) fn read_fact(
    reader: &dyn LedgerReader,
    position: Position,
) -> Result<Recorded, AppError> {
    let damaged = || AppError::Damaged { position: Some(position) };
    let frame = reader.frame_at(position)?.ok_or_else(damaged)?;
    record::decode(frame.record(position).ok_or_else(damaged)?).map_err(|_| damaged())
}

/// Reads a record and opens its personal fields.
pub(crate) fn read_personal(
    reader: &dyn LedgerReader,
    data_keys: &DataKeys,
    position: Position,
) -> Result<Personal, AppError> {
    match open(data_keys, &read_fact(reader, position)?) {
        Ok(personal) => Ok(personal.unwrap_or_default()),
        Err(error) => {
            tracing::error!(%position, cause = %error, "sealed fields cannot be opened");
            Err(AppError::Damaged { position: Some(position) })
        }
    }
}

impl App {
    /// The personal fields of the record at `position`. Reads the log, off the reactor, if they are
    /// not kept.
    pub(crate) async fn personal_at(&self, position: Position) -> Result<Arc<Personal>, AppError> {
        if let Some(kept) = self.personal.get(&position) {
            return Ok(kept);
        }
        let (reader, vault) = (Arc::clone(&self.reader), Arc::clone(&self.vault));
        let read = move || read_personal(&*reader, &vault.data_keys, position);
        let personal = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| AppError::internal("reading a record", &error))??;
        let personal = Arc::new(personal);
        self.personal.insert(position, Arc::clone(&personal));
        Ok(personal)
    }

    /// Makes sure that a scope has a data key, durably, off the reactor.
    pub(crate) async fn ensure_data_key(&self, scope: Scope) -> Result<(), AppError> {
        if self.vault.data_keys.find(&scope).is_some() {
            return Ok(());
        }
        let (vault, random) = (Arc::clone(&self.vault), Arc::clone(&self.random));
        let ensure = move || ensure_or_stop(&vault, &scope, &*random);
        tokio::task::spawn_blocking(ensure)
            .await
            .map_err(|error| AppError::internal("making a data key", &error))
    }

    /// As [`seal`], with this service's keys and randomness.
    pub(crate) fn seal(
        &self,
        subject: &Subject,
        kind: EventKind,
        personal: &Personal,
    ) -> Result<Private, AppError> {
        seal(&self.vault.data_keys, &*self.random, subject, kind, personal)
    }

    /// Seals the asides of a call, if it has any.
    pub(crate) fn seal_asides(
        &self,
        subject: &Subject,
        kind: EventKind,
        personal: &Personal,
    ) -> Result<Option<Private>, AppError> {
        if personal.is_empty() { Ok(None) } else { self.seal(subject, kind, personal).map(Some) }
    }
}

/// Makes sure that each scope has a data key, durably.
pub(crate) fn ensure_all_or_stop(vault: &Vault, scopes: &[Scope], random: &dyn Random) {
    if let Err(error) = vault.data_keys.ensure_all(scopes, random) {
        crate::ledger::durable::fail_stop("data keys could not be made durable", &error);
    }
}

/// A data key file that could not be written leaves the disk in an unknown state: nothing may be
/// acknowledged after that.
fn ensure_or_stop(vault: &Vault, scope: &Scope, random: &dyn Random) {
    if let Err(error) = vault.data_keys.ensure(scope, random) {
        crate::ledger::durable::fail_stop("a data key could not be made durable", &error);
    }
}

#[cfg(test)]
#[path = "sealing_tests.rs"]
mod tests;
