//! Who calls: a caller's bearer credential, or its client certificate.

pub mod certificate;

use std::fmt;
use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::domain::caller::{Caller, Role};
use crate::domain::certificate_name::CertificateName;
use crate::domain::event::Mechanism;
use crate::domain::ids::{CallerId, Position, TenantId};
use crate::domain::key_format::{self, Environment, Secret};
use crate::domain::tag::KeyTag;
use crate::domain::tag::{Purpose, Tag};
use crate::domain::time::Time;
use crate::projection::key_table::KeyTable;

/// What a caller was recognised by.
#[derive(Clone)]
pub enum Proof {
    /// Its bearer credential.
    Credential {
        /// What recognised it.
        tag: KeyTag,
        /// The record that gave the caller this credential; none if it is the one before the present one.
        secret_at: Option<Position>,
    },
    /// The client certificate of its connection.
    Certificate {
        /// What the certificate names.
        name: CertificateName,
        /// From when the certificate is no longer valid.
        until: Time,
    },
}

impl Proof {
    /// Whether it still is one of this caller at `now`.
    fn is_in_force(&self, caller: &Caller, now: Time) -> bool {
        match self {
            Proof::Credential { tag, secret_at } => {
                let retiring = caller.retiring.as_ref().filter(|old| now < old.retire_time);
                // The same secret, though another pepper may recognise it by now.
                *secret_at == Some(caller.secret_at)
                    || retiring.is_some_and(|retiring| retiring.tag == *tag)
            }
            Proof::Certificate { name, until } => {
                caller.certificate_name.as_ref() == Some(name) && now < *until
            }
        }
    }
}

/// A caller whose credential or certificate has been checked.
#[derive(Clone)]
pub struct Identity {
    /// Its id.
    pub id: CallerId,
    /// The caller as it was when the call came in.
    pub caller: Arc<Caller>,
    /// What it was recognised by.
    pub proof: Proof,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.id).finish()
    }
}

impl Identity {
    /// How the caller was recognised.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        match self.proof {
            Proof::Credential { .. } => Mechanism::Bearer,
            Proof::Certificate { .. } => Mechanism::ClientCertificate,
        }
    }

    /// Until when what it was recognised by is valid, whatever becomes of the caller; none: as long as the caller says.
    pub(crate) fn valid_until(&self) -> Option<Time> {
        match self.proof {
            Proof::Credential { .. } => None,
            Proof::Certificate { until, .. } => Some(until),
        }
    }

    /// Whether the caller may act in any of these roles.
    #[must_use]
    pub fn has_any_role(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.caller.roles.include(*role))
    }

    /// Whether the caller may see or touch what belongs to `tenant`.
    #[must_use]
    pub fn may_enter(&self, tenant: &TenantId) -> bool {
        self.caller.may_enter(tenant)
    }

    /// Refuses a tenant the caller is not bound to, whether the tenant exists or not.
    ///
    /// # Errors
    /// [`AppError::TenantNotAllowed`].
    pub fn enter(&self, tenant: &TenantId) -> Result<(), AppError> {
        if self.may_enter(tenant) { Ok(()) } else { Err(AppError::TenantNotAllowed) }
    }

    /// The tenants that a question is about that names one, or none: then all that the caller is bound to. None: all
    /// there are.
    ///
    /// # Errors
    /// [`AppError::TenantNotAllowed`] for a tenant that the caller may not enter.
    pub fn tenants_of(&self, named: Option<TenantId>) -> Result<Option<Vec<TenantId>>, AppError> {
        match named {
            Some(tenant) => self.enter(&tenant).map(|()| Some(vec![tenant])),
            None => Ok(Some(self.caller.tenants.to_vec()).filter(|bound| !bound.is_empty())),
        }
    }

    /// The one tenant the caller is bound to, if it is bound to one.
    #[must_use]
    pub fn only_tenant(&self) -> Option<&TenantId> {
        match &*self.caller.tenants {
            [tenant] => Some(tenant),
            _ => None,
        }
    }
}

impl App {
    /// Recognises the caller of a credential. An unknown caller costs as much as a known one.
    ///
    /// # Errors
    /// [`AppError::CredentialInvalid`] for every credential that does not work, whatever the reason.
    pub fn identify(&self, credential: &str) -> Result<Identity, AppError> {
        let invalid = AppError::CredentialInvalid;
        if credential.len() > key_format::MAX_PRESENTED_BYTES {
            return Err(invalid);
        }
        let presented = key_format::parse(&self.prefix, credential).map_err(|_| invalid.clone())?;
        if presented.environment != Environment::Service {
            return Err(invalid);
        }
        let id = CallerId(presented.id);
        let now = self.now();
        let Some(caller) = self.table.caller(&id) else {
            let nobody = Tag::from_bytes([0; 32]);
            let tag = self.pepper().tag(Purpose::Caller, &id.0, &presented.secret);
            let _ = tag.matches(&nobody);
            return Err(invalid);
        };
        let present = self.is_of(&caller.tag, &id, &presented.secret);
        let retiring = caller
            .retiring
            .as_ref()
            .filter(|retiring| !present && self.is_of(&retiring.tag, &id, &presented.secret));
        if !present && retiring.is_none() {
            return Err(invalid);
        }
        if !caller.works_at(now) || retiring.is_some_and(|retiring| retiring.retire_time <= now) {
            self.table.witness(now);
            return Err(invalid);
        }
        if present {
            self.note_pepper_of_caller(id, &caller, &presented.secret);
        }
        let tag = retiring.map_or(&caller.tag, |retiring| &retiring.tag).clone();
        let secret_at = present.then_some(caller.secret_at);
        Ok(Identity { id, caller, proof: Proof::Credential { tag, secret_at } })
    }

    /// Looks once more whether what a call was recognised by still works: between its headers and its
    /// message a caller can take its time, and be revoked meanwhile.
    ///
    /// # Errors
    /// [`AppError::CredentialInvalid`].
    pub(crate) fn confirm(&self, identity: &Identity) -> Result<(), AppError> {
        let works = works(&self.table, identity, self.now());
        if works { Ok(()) } else { Err(AppError::CredentialInvalid) }
    }

    fn is_of(&self, stored: &KeyTag, id: &CallerId, secret: &Secret) -> bool {
        let tag = self.vault.peppers.tag(stored.pepper, Purpose::Caller, &id.0, secret);
        tag.is_some_and(|tag| tag.matches(&stored.tag))
    }
}

/// Whether what a caller was recognised by still works at `now`.
pub(crate) fn works(table: &KeyTable, identity: &Identity, now: Time) -> bool {
    let caller = table.caller(&identity.id);
    caller.is_some_and(|caller| identity.proof.is_in_force(&caller, now) && caller.works_at(now))
}
