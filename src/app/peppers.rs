//! RotatePepper, RetirePepper and ListPepperDependents; and which pepper new tags are made under.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::app::App;
use crate::app::call::{Attempts, Call};
use crate::app::callers::CallerView;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::key_view::KeyView;
use crate::app::own_command::{self, OwnCommandError};
use crate::app::page::{Page, PageRequest};
use crate::app::rehash::Rehashing;
use crate::domain::caller::Caller;
use crate::domain::command::Act;
use crate::domain::event::{EventKind, Mechanism};
use crate::domain::ids::{CallerId, KeyId, PUBLIC_ID_BYTES, PepperVersion, Position};
use crate::domain::peppers::{
    Dependents, Peppers, RetirePepper, RotatePepper, depends_on, works_on,
};
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::subject::Subject;
use crate::domain::tag::Pepper;
use crate::ledger::lanes::Lane;
use crate::vault::{Destroyed, PepperRing, Scope, VaultError};

/// The work on peppers under way.
#[derive(Debug, Default)]
pub(crate) struct PepperWork {
    /// Who changes peppers has the next wait: the file of a version is made once.
    turn: Mutex<()>,
    pub(crate) rehashing: Rehashing,
}

/// A pepper that tags are recognised by, and who depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PepperFigures {
    /// Which.
    pub version: PepperVersion,
    /// Who depends on it, of those that can still work.
    pub dependents: Dependents,
}

/// What RotatePepper did.
#[derive(Clone, Copy, Debug)]
pub struct RotatedPepper {
    /// The pepper in force.
    pub version: PepperVersion,
    /// The record.
    pub position: Position,
    /// Whether the call came before.
    pub replayed: bool,
}

/// What RetirePepper did.
#[derive(Clone, Copy, Debug)]
pub struct RetiredPepper {
    /// The record.
    pub position: Position,
    /// Whether the call came before.
    pub replayed: bool,
    /// Whether the server has no copy of the pepper any more.
    pub destroyed: bool,
}

/// Who ends if a pepper is retired now.
#[derive(Debug)]
pub enum Dependent {
    /// A caller.
    Caller(CallerView),
    /// A key.
    Key(KeyView),
}

/// A place in the list of those: callers first, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Caller(CallerId),
    Key(KeyId),
}

impl Place {
    fn encode(self) -> Vec<u8> {
        match self {
            Place::Caller(id) => [&[0], &id.0[..]].concat(),
            Place::Key(id) => [&[1], &id.0[..]].concat(),
        }
    }

    fn decode(cursor: &[u8]) -> Option<Self> {
        let (kind, id) = cursor.split_first()?;
        let id: [u8; PUBLIC_ID_BYTES] = id.try_into().ok()?;
        match kind {
            0 => Some(Place::Caller(CallerId(id))),
            1 => Some(Place::Key(KeyId(id))),
            _ => None,
        }
    }
}

impl App {
    /// The pepper that new tags are made under: the one in force on record.
    pub(crate) fn pepper(&self) -> Arc<Pepper> {
        let in_force = self.table.pepper_in_force();
        let pepper = in_force.and_then(|version| self.vault.peppers.get(version));
        // None is in force only while a first start makes the first.
        pepper.unwrap_or_else(|| self.vault.peppers.newest())
    }

    /// The pepper in force, if it is a newer one than `pepper`.
    pub(crate) fn newer_pepper(&self, pepper: PepperVersion) -> Option<PepperVersion> {
        self.table.pepper_in_force().filter(|in_force| *in_force > pepper)
    }

    /// The peppers that tags are recognised by, oldest first.
    pub(crate) fn pepper_figures(&self) -> Vec<PepperFigures> {
        let now = self.now();
        let of = |version| {
            let keys = self.table.ends().working_on(version, now);
            let callers = self.table.callers_on(version, now);
            PepperFigures { version, dependents: Dependents { keys, callers } }
        };
        self.table.peppers().in_use().map(|(version, _)| of(version)).collect()
    }

    /// RotatePepper: makes the next pepper, or takes the one that is there, and puts it in force.
    ///
    /// # Errors
    /// [`AppError`]: a caller bound to tenants; the pepper cannot be made, or does not come from where it should.
    pub async fn rotate_pepper(self: &Arc<Self>, call: &Call) -> Result<RotatedPepper, AppError> {
        self.refuse_if_bound(&call.identity)?;
        let request = self.name_request(call, &Scope::Service)?;
        let _turn = self.pepper_work.turn.lock().await;
        let mut attempts = Attempts::new();
        loop {
            let result = async {
                let next = PepperVersion(self.pepper().version().0.saturating_add(1));
                let app = Arc::clone(self);
                let provide = move || app.vault.peppers.provide(next, &*app.random);
                let provided = blocking("making a pepper", provide).await?;
                let pepper = provided.map_err(|error| not_provided(next, error))?;
                let (version, check) = (pepper.version(), pepper.check());
                let private = self.pepper_asides(call, EventKind::PepperRotated)?;
                let act = Act::RotatePepper(RotatePepper { version, check, private });
                self.commit(call, request, act).await
            };
            if let Some(settled) = attempts.settle(result.await) {
                let done = settled?;
                let position = done.position.ok_or(AppError::Internal)?;
                let version = self.pepper().version();
                return Ok(RotatedPepper { version, position, replayed: done.replayed });
            }
        }
    }

    /// RetirePepper: from the answer on nothing is recognised by it, and the server's own copy is destroyed.
    /// `accepted` is how many keys and callers it may end; none: no one.
    ///
    /// # Errors
    /// [`AppError`]: a caller bound to tenants; no such pepper, or the one in force; others depend on it than is
    /// accepted; no admin would be left.
    pub async fn retire_pepper(
        self: &Arc<Self>,
        call: &Call,
        version: PepperVersion,
        accepted: Option<u64>,
    ) -> Result<RetiredPepper, AppError> {
        self.refuse_if_bound(&call.identity)?;
        let request = self.name_request(call, &Scope::Service)?;
        let _turn = self.pepper_work.turn.lock().await;
        let private = self.pepper_asides(call, EventKind::PepperRetired)?;
        let act = Act::RetirePepper(RetirePepper { version, accepted, private });
        let done = self.commit(call, request, act).await?;
        let retired = self.table.peppers().get(version).and_then(|pepper| pepper.retired);
        let retired = retired.ok_or(AppError::Internal)?;
        let app = Arc::clone(self);
        let destroy = move || destroy(&app.vault.peppers, version);
        let destroyed = blocking("destroying a pepper", destroy).await??;
        Ok(RetiredPepper {
            position: done.position.unwrap_or(retired.position),
            replayed: done.replayed,
            destroyed,
        })
    }

    /// ListPepperDependents: who would end if the pepper were retired now; callers first, then keys, each by id.
    ///
    /// # Errors
    /// [`AppError`]: a caller bound to tenants; no such pepper; a foreign page token; a damaged record.
    pub async fn pepper_dependents(
        self: &Arc<Self>,
        identity: &Identity,
        version: PepperVersion,
        page: &PageRequest,
    ) -> Result<Page<Dependent>, AppError> {
        self.confirm(identity)?;
        self.refuse_if_bound(identity)?;
        if self.table.peppers().get(version).is_none() {
            return Err(Refusal::PepperNotFound.into());
        }
        let (after, size, app) = (page.cursor(Place::decode)?, page.size, Arc::clone(self));
        let find = move || app.dependents_after(version, after, size + 1);
        let mut places = blocking("looking for keys", find).await?;
        let more = places.len() > size;
        places.truncate(size);
        let mut items = Vec::new();
        for place in &places {
            // What has ended or moved since is told as it is now.
            match place {
                Place::Caller(id) => {
                    let caller = self.table.caller(id).ok_or(AppError::Internal)?;
                    items.push(Dependent::Caller(self.caller_view(*id, caller).await?));
                }
                Place::Key(id) => {
                    let row = self.table.row(id).ok_or(AppError::Internal)?;
                    items.push(Dependent::Key(self.view(*id, row.key).await?));
                }
            }
        }
        let next = places.last().filter(|_| more).map(|place| page.token(&place.encode()));
        Ok(Page { items, next })
    }

    fn dependents_after(
        &self,
        version: PepperVersion,
        after: Option<Place>,
        limit: usize,
    ) -> Vec<Place> {
        let now = self.now();
        let depends = |caller: &Caller| depends_on(caller, version, now);
        let callers = self.table.callers().into_iter().filter(|(_, caller)| depends(caller));
        let callers = callers.map(|(id, _)| Place::Caller(id));
        let mut places: Vec<_> = callers.filter(|place| Some(*place) > after).collect();
        places.sort_unstable();
        places.truncate(limit);
        let after_key = match after {
            Some(Place::Key(id)) => Some(id),
            _ => None,
        };
        let room = limit - places.len();
        let keys = self
            .table
            .first_keys(after_key, room, |key| key.pepper == version && works_on(key, now));
        places.extend(keys.into_iter().map(Place::Key));
        places
    }

    fn pepper_asides(
        &self,
        call: &Call,
        kind: EventKind,
    ) -> Result<Option<crate::domain::sealed::Private>, AppError> {
        let asides = Personal { on_behalf_of: call.on_behalf_of.clone(), ..Personal::default() };
        self.seal_asides(&Subject::Service, kind, &asides)
    }

    /// What is about every tenant is not for callers bound to some.
    fn refuse_if_bound(&self, identity: &Identity) -> Result<(), AppError> {
        if identity.caller.tenants.is_empty() { Ok(()) } else { Err(AppError::TenantNotAllowed) }
    }
}

/// The next pepper is not to be had.
fn not_provided(version: PepperVersion, error: VaultError) -> AppError {
    match error {
        VaultError::Unsupplied { place, fault, .. } => {
            AppError::PepperNotSupplied { version, place, why: fault.to_string() }
        }
        error => error.into(),
    }
}

/// Does what blocks where it may.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    what: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AppError> {
    tokio::task::spawn_blocking(what).await.map_err(|error| AppError::internal(doing, &error))
}

/// At start: puts the first pepper on record where the log has none.
///
/// # Errors
/// [`OwnCommandError`].
pub(crate) fn record_first(app: &App) -> Result<(), OwnCommandError> {
    let pepper = app.vault.peppers.newest();
    let act = Act::RegisterPepper { version: pepper.version(), check: pepper.check() };
    own_command::commit(app, Lane::Background, Mechanism::Service, act).map(drop)
}

/// At start: reads what is missing of the peppers, holds them to those on record, and destroys those that are retired, in
/// case the last run ended before it had.
///
/// # Errors
/// [`VaultError`] for the first one that is missing or wrong, or could not be destroyed durably.
pub(crate) fn settle(ring: &PepperRing, registered: &Peppers) -> Result<(), VaultError> {
    ring.complete(registered.in_use().map(|(version, _)| version))?;
    ring.verify(registered.in_use())?;
    let retired = registered.iter().filter(|(_, pepper)| pepper.retired.is_some());
    retired.map(|(version, _)| version).try_for_each(|version| destroy(ring, version).map(drop))
}

/// Destroys the ring's copy of a pepper that the log has retired; whether none is left where peppers come from.
fn destroy(ring: &PepperRing, version: PepperVersion) -> Result<bool, VaultError> {
    let known = ring.get(version).is_some();
    let destroyed = ring.destroy(version)?;
    if destroyed == Destroyed::Elsewhere && known {
        tracing::warn!(%version, "a retired pepper comes from the environment or a command: remove it there");
    }
    Ok(destroyed == Destroyed::Gone)
}
