//! CreateCaller, RotateCaller, RevokeCaller and ListCallers.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::app::call::Call;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::page::{Page, PageRequest};
use crate::app::switch_key::Changed;
use crate::domain::caller::{Caller, Roles};
use crate::domain::caller_rules::{CreateCaller, RevokeCaller, RotateCaller};
use crate::domain::certificate_name::CertificateName;
use crate::domain::command::Act;
use crate::domain::event::{CallerCreated, EventKind};
use crate::domain::ids::{CallerId, TenantId};
use crate::domain::key_format::{Environment, KeyText};
use crate::domain::personal::Personal;
use crate::domain::refusal::Refusal;
use crate::domain::subject::Subject;
use crate::domain::tag::Purpose;
use crate::domain::time::Time;
use crate::ledger::writer::Done;
use crate::random;
use crate::vault::Scope;

/// What a new caller is to be.
#[derive(Debug)]
pub struct NewCaller {
    /// Its name.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// What it may do.
    pub roles: Roles,
    /// The tenants it is bound to; empty: all.
    pub tenants: Vec<TenantId>,
    /// From when its credential no longer works; none: never.
    pub expire_time: Option<Time>,
    /// What a client certificate names that speaks for it; none: none does.
    pub certificate_name: Option<CertificateName>,
}

/// A caller as those who manage it see it.
#[derive(Clone, Debug)]
pub struct CallerView {
    /// Its id.
    pub id: CallerId,
    /// The caller.
    pub caller: Arc<Caller>,
    /// Its name and owner.
    pub personal: Arc<Personal>,
    /// When it last called.
    pub last_use: Option<Time>,
    /// Until when the credential of before its last rotation still works; none: that does not.
    pub retire_time: Option<Time>,
}

/// A caller and, unless the call came before, its credential.
#[derive(Debug)]
pub struct IssuedCaller {
    /// The caller and the record.
    pub changed: Changed<CallerView>,
    /// The credential, shown this once; none for a repeated call.
    pub credential: Option<KeyText>,
}

impl App {
    /// CreateCaller.
    ///
    /// # Errors
    /// [`AppError`]: grants more than the caller holds, expiry past, too many callers.
    pub async fn create_caller(
        &self,
        call: &Call,
        new: NewCaller,
    ) -> Result<IssuedCaller, AppError> {
        let request = self.name_request(call, &Scope::Service)?;
        let id = CallerId(random::bytes(&*self.random));
        let minted = self.mint(Purpose::Caller, Environment::Service, &id.0);
        let personal = Personal {
            name: new.name,
            owner: new.owner,
            on_behalf_of: call.on_behalf_of.clone(),
            ..Personal::default()
        };
        let mut tenants = new.tenants;
        tenants.sort();
        tenants.dedup();
        let act = Act::CreateCaller(CreateCaller {
            caller: id,
            created: CallerCreated {
                tag: minted.tag,
                roles: new.roles,
                tenants: tenants.into(),
                expire_time: new.expire_time,
                certificate_name: new.certificate_name,
            },
            private: self.seal(&Subject::Caller(id), EventKind::CallerCreated, &personal)?,
        });
        let done = self.commit(call, request, act).await?;
        self.issued_caller(&done, minted.text).await
    }

    /// RotateCaller: a new credential; the one in force works until the overlap ends, one that an
    /// earlier rotation left working stops at once.
    ///
    /// # Errors
    /// [`AppError`]: unknown or finished caller, or one that holds more than who asks.
    pub async fn rotate_caller(
        &self,
        call: &Call,
        id: CallerId,
        overlap: Duration,
    ) -> Result<IssuedCaller, AppError> {
        let request = self.name_request(call, &Scope::Service)?;
        let minted = self.mint(Purpose::Caller, Environment::Service, &id.0);
        let asides = Personal { on_behalf_of: call.on_behalf_of.clone(), ..Personal::default() };
        let subject = Subject::Caller(id);
        let act = Act::RotateCaller(RotateCaller {
            caller: id,
            tag: minted.tag,
            overlap,
            private: self.seal_asides(&subject, EventKind::CallerRotated, &asides)?,
        });
        let done =
            self.commit(call, request, act).await.map_err(|error| self.hide(call, &id, error))?;
        self.issued_caller(&done, minted.text).await
    }

    /// RevokeCaller: at once and for ever.
    ///
    /// # Errors
    /// [`AppError`]: unknown caller, the last admin, or one that holds more than who asks.
    pub async fn revoke_caller(
        &self,
        call: &Call,
        id: CallerId,
        comment: String,
    ) -> Result<Changed<CallerView>, AppError> {
        let request = self.name_request(call, &Scope::Service)?;
        let on_behalf_of = call.on_behalf_of.clone();
        let asides = Personal { comment, on_behalf_of, ..Personal::default() };
        let private = self.seal_asides(&Subject::Caller(id), EventKind::CallerRevoked, &asides)?;
        let act = Act::RevokeCaller(RevokeCaller { caller: id, private });
        let done =
            self.commit(call, request, act).await.map_err(|error| self.hide(call, &id, error))?;
        self.changed_caller(id, &done).await
    }

    /// ListCallers: those the caller could manage, in the order of creation.
    ///
    /// # Errors
    /// [`AppError`]: foreign page token, damaged record.
    pub async fn list_callers(
        &self,
        identity: &Identity,
        page: &PageRequest,
    ) -> Result<Page<CallerView>, AppError> {
        self.confirm(identity)?;
        let after = page.cursor(decode_place)?;
        let mut callers = self.table.callers();
        callers.retain(|(id, caller)| {
            manages(identity, caller) && after.is_none_or(|after| after < (caller.create_time, *id))
        });
        let more = callers.len() > page.size;
        let mut items = Vec::new();
        for (id, caller) in callers.into_iter().take(page.size) {
            items.push(self.caller_view(id, caller).await?);
        }
        let last = items.last().filter(|_| more);
        let next = last.map(|view| page.token(&encode_place(view.caller.create_time, view.id)));
        Ok(Page { items, next })
    }

    /// To a caller bound to tenants, a caller it could not manage is no caller.
    fn hide(&self, call: &Call, id: &CallerId, error: AppError) -> AppError {
        let bound = !call.identity.caller.tenants.is_empty();
        let hidden = self.table.caller(id).is_none_or(|caller| !manages(&call.identity, &caller));
        if bound && hidden { AppError::Refused(Refusal::CallerNotFound) } else { error }
    }

    async fn issued_caller(&self, done: &Done, text: KeyText) -> Result<IssuedCaller, AppError> {
        let Some(Subject::Caller(id)) = done.subject else { return Err(AppError::Internal) };
        let changed = self.changed_caller(id, done).await?;
        Ok(IssuedCaller { changed, credential: (!done.replayed).then_some(text) })
    }

    async fn changed_caller(
        &self,
        id: CallerId,
        done: &Done,
    ) -> Result<Changed<CallerView>, AppError> {
        let caller = self.table.caller(&id).ok_or(AppError::Internal)?;
        let position = done.position.unwrap_or(caller.position);
        let resource = self.caller_view(id, caller).await?;
        Ok(Changed { resource, position, replayed: done.replayed })
    }

    pub(crate) async fn caller_view(
        &self,
        id: CallerId,
        caller: Arc<Caller>,
    ) -> Result<CallerView, AppError> {
        let personal = self.personal_at(caller.personal_at).await?.unwrap_or_default();
        let last_use = self.table.last_call(&id);
        let (now, retiring) = (self.now(), caller.retiring.as_ref());
        let retire_time = retiring.map(|retiring| retiring.retire_time);
        let retire_time = retire_time.filter(|time| caller.works_at(now) && now < *time);
        Ok(CallerView { id, caller, personal, last_use, retire_time })
    }
}

fn manages(identity: &Identity, caller: &Caller) -> bool {
    identity.caller.holds(caller.roles, &caller.tenants)
}

fn encode_place(time: Time, id: CallerId) -> Vec<u8> {
    [&time.as_micros().to_be_bytes()[..], &id.0].concat()
}

fn decode_place(cursor: &[u8]) -> Option<(Time, CallerId)> {
    let (time, id) = cursor.split_first_chunk::<8>()?;
    let time = Time::from_micros(i64::from_be_bytes(*time));
    Some((time, CallerId(id.try_into().ok()?)))
}
