//! Who calls: a client certificate that names a caller.
//!
//! The certificate was verified, and what it names read, once for its connection. What that says is looked up on
//! every call, so that a caller which is revoked is refused at once.

use std::fmt;
use std::sync::Arc;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::identify::{Identity, Proof};
use crate::domain::certificate_name::CertificateName;
use crate::domain::time::Time;

/// Most names of one certificate that are looked up on each call: a workload has one or two.
pub const MAX_NAMES: usize = 16;

/// What a verified client certificate says.
#[derive(Clone)]
pub struct ClientCertificate(Arc<Said>);

struct Said {
    names: Vec<CertificateName>,
    until: Time,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate").field(&self.0.names).finish()
    }
}

impl ClientCertificate {
    /// A certificate that names these, at most [`MAX_NAMES`], and is valid until then.
    #[must_use]
    pub fn new(names: Vec<CertificateName>, until: Time) -> Self {
        ClientCertificate(Arc::new(Said { names, until }))
    }

    /// What it names.
    #[must_use]
    pub fn names(&self) -> &[CertificateName] {
        &self.0.names
    }
}

impl App {
    /// Recognises the caller that a certificate names; none if it names no caller that works.
    ///
    /// # Errors
    /// [`AppError::CredentialInvalid`] if its names are those of different callers: whose it is cannot be told.
    pub fn identify_certificate(
        &self,
        certificate: &ClientCertificate,
    ) -> Result<Option<Identity>, AppError> {
        let now = self.now();
        let Said { names, until } = &*certificate.0;
        if *until <= now {
            return Ok(None);
        }
        let mut found: Option<Identity> = None;
        for name in names {
            let Some((id, caller)) = self.table.caller_named(name) else { continue };
            if !caller.works_at(now) {
                self.table.witness(now);
                continue;
            }
            match &found {
                Some(other) if other.id != id => return Err(AppError::CredentialInvalid),
                Some(_) => {}
                None => {
                    let proof = Proof::Certificate { name: name.clone(), until: *until };
                    found = Some(Identity { id, caller, proof });
                }
            }
        }
        Ok(found)
    }
}

/// The one caller that a call is by: whom its credential and the certificate of its connection name, where each may be
/// absent or name nobody. A call that has presented both is by its credential.
///
/// # Errors
/// [`AppError::CredentialInvalid`] if they name different callers.
pub fn one_caller(
    by_credential: Option<Identity>,
    by_certificate: Option<Identity>,
) -> Result<Option<Identity>, AppError> {
    match (by_credential, by_certificate) {
        (Some(one), Some(other)) if one.id != other.id => Err(AppError::CredentialInvalid),
        (Some(identity), _) | (None, Some(identity)) => Ok(Some(identity)),
        (None, None) => Ok(None),
    }
}
