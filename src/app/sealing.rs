//! Personal fields on their way to a record and back: sealed before the writer sees them, opened on
//! first need and kept, bounded, for what is in use.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::event::{Event, EventKind, Recorded};
use crate::domain::ids::{AccountRef, EventId, Position};
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::sealed::{DataKeyId, Private};
use crate::domain::source::{SourceRange, Sources};
use crate::domain::subject::Subject;
use crate::ledger::engine::LedgerReader;
use crate::ledger::record;
pub(crate) use crate::projection::private::open;
use crate::projection::private::{context, open_private};
use crate::projection::snapshot::{Bound, KeyEntry};
use crate::random::{self, Random};
use crate::vault::{DataKeys, OpenError, Scope, Vault, VaultError, commitment};

/// Bytes of opened personal fields that are kept: at 150 bytes a key, those of about 400,000 keys.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// About how many entries that is.
const CACHE_ENTRIES: usize = 400_000;

/// Bytes an entry takes besides its texts.
const ENTRY_BYTES: usize = 200;

/// How many records are read at once for what is not kept. When a service starts under load each key's first use reads
/// one, and each thread that reads has memory of its own: without a bound they are as many as calls under way.
const READS_AT_ONCE: usize = 8;

/// Opened personal fields by the position of their record, which never changes.
#[derive(Debug)]
pub(crate) struct OpenedFields {
    kept: Cache<Position, Kept, PersonalWeight>,
    reads: Arc<Semaphore>,
}

impl Default for OpenedFields {
    fn default() -> Self {
        OpenedFields {
            kept: Cache::with_weighter(CACHE_ENTRIES, CACHE_BYTES, PersonalWeight),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
        }
    }
}

/// Opened personal fields, until the data key they were sealed under is destroyed.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    personal: Arc<Personal>,
    /// None: nothing was sealed.
    data_key: Option<DataKeyId>,
}

impl Kept {
    fn is_erased(&self, data_keys: &DataKeys) -> bool {
        self.data_key.is_some_and(|id| !data_keys.is_live(id))
    }
}

/// What an entry of the cache weighs: about its bytes.
#[derive(Clone, Debug)]
pub(crate) struct PersonalWeight;

impl Weighter<Position, Kept> for PersonalWeight {
    fn weight(&self, _: &Position, kept: &Kept) -> u64 {
        u64::try_from(weight(&kept.personal)).unwrap_or(u64::MAX)
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

/// Whose data key a subject's personal fields are sealed under.
pub(crate) fn scope_of(subject: &Subject) -> Scope {
    match subject {
        Subject::Key(account, _) | Subject::Account(account) => {
            Scope::Account(AccountRef::clone(account))
        }
        Subject::Caller(_) | Subject::Service => Scope::Service,
    }
}

/// The data key of a scope, which must have one.
///
/// # Errors
/// [`Refusal::AccountClosed`] if it is destroyed; [`AppError::Internal`] if there is none.
pub(crate) fn data_key(data_keys: &DataKeys, scope: &Scope) -> Result<DataKeyId, AppError> {
    match data_keys.find(scope) {
        Some(key) => Ok(key),
        None if data_keys.is_destroyed(scope) => Err(Refusal::AccountClosed.into()),
        None => Err(AppError::Internal),
    }
}

/// Seals the personal fields of an event to be. The scope of `subject` must have a data key.
///
/// # Errors
/// As [`data_key`]; [`AppError::Internal`] if it cannot be used.
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
    let key = data_key(data_keys, scope)?;
    let event_id = EventId(random::bytes(random));
    let clear = record::encode_personal(personal, random::bytes(random));
    let sealed = data_keys.seal(key, &context(subject, kind, event_id), &clear, random)?;
    Ok(Private { event_id, sealed, commitment: commitment(&clear) })
}

/// As [`seal_under`]; none if the data key of the scope is destroyed.
///
/// # Errors
/// Otherwise as [`seal_under`].
pub(crate) fn seal_unless_over(
    data_keys: &DataKeys,
    random: &dyn Random,
    scope: &Scope,
    subject: &Subject,
    kind: EventKind,
    personal: &Personal,
) -> Result<Option<Private>, AppError> {
    match seal_under(data_keys, random, scope, subject, kind, personal) {
        Err(AppError::Refused(Refusal::AccountClosed)) => Ok(None),
        sealed => sealed.map(Some),
    }
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

/// Reads a record and opens its personal fields; none if they are erased.
pub(crate) fn read_personal(
    reader: &dyn LedgerReader,
    data_keys: &DataKeys,
    position: Position,
) -> Result<Option<Personal>, AppError> {
    let fact = read_fact(reader, position)?;
    open_personal(data_keys, position, &fact)
}

fn open_personal(
    data_keys: &DataKeys,
    position: Position,
    fact: &Recorded,
) -> Result<Option<Personal>, AppError> {
    match open(data_keys, fact) {
        Ok(personal) => Ok(Some(personal.unwrap_or_default())),
        Err(OpenError::Erased) => Ok(None),
        Err(error) => {
            tracing::error!(%position, cause = %error, "sealed fields cannot be opened");
            Err(AppError::Damaged { position: Some(position) })
        }
    }
}

impl App {
    /// The personal fields of the record at `position`; none if they are erased. Reads the log, off the reactor, if
    /// they are not kept.
    pub(crate) async fn personal_at(
        &self,
        position: Position,
    ) -> Result<Option<Arc<Personal>>, AppError> {
        let OpenedFields { kept, reads } = &self.personal;
        if let Some(kept) = kept.get(&position) {
            return Ok(Some(kept.personal));
        }
        let turn = Arc::clone(reads).acquire_owned().await;
        let turn = turn.map_err(|error| AppError::internal("reading a record", &error))?;
        // Others may have asked for it too, and read it meanwhile.
        if let Some(kept) = kept.get(&position) {
            return Ok(Some(kept.personal));
        }
        let (reader, vault) = (Arc::clone(&self.reader), Arc::clone(&self.vault));
        let read = move || {
            let _turn = turn;
            let fact = read_fact(&*reader, position)?;
            let opened = open_personal(&vault.data_keys, position, &fact)?;
            let data_key = fact.private.map(|private| private.sealed.data_key);
            Ok(opened.map(|personal| Kept { personal: Arc::new(personal), data_key }))
        };
        let read: Result<Option<Kept>, AppError> = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| AppError::internal("reading a record", &error))?;
        let Some(opened) = read? else { return Ok(None) };
        kept.insert(position, opened.clone());
        // Erased since it was opened, and since what is kept was gone through.
        if opened.is_erased(&self.vault.data_keys) {
            kept.remove(&position);
            return Ok(None);
        }
        Ok(Some(opened.personal))
    }

    /// Forgets what was opened under data keys that are destroyed.
    pub(crate) fn forget_erased(&self) {
        self.personal.kept.retain(|_, kept| !kept.is_erased(&self.vault.data_keys));
    }

    /// Makes sure that a scope has a data key, durably, off the reactor; refuses if it is destroyed.
    pub(crate) async fn ensure_data_key(&self, scope: Scope) -> Result<(), AppError> {
        if self.vault.data_keys.find(&scope).is_some() {
            return Ok(());
        }
        let (vault, random) = (Arc::clone(&self.vault), Arc::clone(&self.random));
        let ensure = move || ensure_or_stop(&vault, &scope, &*random);
        tokio::task::spawn_blocking(ensure)
            .await
            .map_err(|error| AppError::internal("making a data key", &error))?
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
fn ensure_or_stop(vault: &Vault, scope: &Scope, random: &dyn Random) -> Result<(), AppError> {
    match vault.data_keys.ensure(scope, random) {
        Ok(_) => Ok(()),
        Err(destroyed @ VaultError::Destroyed) => Err(destroyed.into()),
        Err(error) => {
            crate::ledger::durable::fail_stop("a data key could not be made durable", &error)
        }
    }
}

#[cfg(test)]
#[path = "sealing_tests.rs"]
mod tests;
