//! WhoAmI: the holder of a key asks what it is. The key is the credential.

use std::net::IpAddr;

use crate::app::App;
use crate::app::authenticate::{Outcome, Principal};
use crate::app::error::AppError;
use crate::domain::verdict::{Ask, Denial};

impl App {
    /// WhoAmI, asked from `source`. What fails is bounded per source, since no caller stands behind it;
    /// a key that works is never refused for what others try from the same source.
    ///
    /// # Errors
    /// [`AppError::ApiKeyInvalid`], [`AppError::ApiKeyUnauthorized`] as Authenticate's public
    /// messages have it; [`AppError::SourceOverloaded`]; [`AppError::RevocationsUnresolved`].
    pub async fn who_am_i(
        &self,
        api_key: &str,
        source: Option<IpAddr>,
    ) -> Result<Principal, AppError> {
        self.refuse_if_held()?;
        let ask = Ask { tenant: None, required: &[], source };
        let error = match self.decide_key(api_key, &ask, |_| true).await? {
            Outcome::Allowed(principal) => return Ok(principal),
            Outcome::MissingKey | Outcome::MalformedKey(_) | Outcome::UnknownKey => {
                AppError::ApiKeyInvalid
            }
            Outcome::Denied(_, denied) => match denied.denial {
                Denial::Revoked | Denial::Superseded | Denial::Expired | Denial::Disabled => {
                    AppError::ApiKeyInvalid
                }
                Denial::TenantMismatch
                | Denial::AccountInactive
                | Denial::PermissionMissing
                | Denial::SourceNotAllowed => AppError::ApiKeyUnauthorized,
            },
        };
        self.who_am_i_budget.spend(source, self.clock.monotonic())?;
        Err(error)
    }
}
