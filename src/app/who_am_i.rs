//! WhoAmI: the holder of a key asks what it is. The key is the credential.

use crate::app::App;
use crate::app::authenticate::{Decided, Outcome, Principal, UseContext};
use crate::app::error::AppError;
use crate::app::uses::record::Asked;
use crate::domain::rate_window::RateLimit;
use crate::domain::verdict::{Ask, Denial};

/// What WhoAmI costs of the account's limit.
const COST: u32 = 1;

impl App {
    /// WhoAmI, which is a use of the key like any other. What fails is bounded per source, since no caller
    /// stands behind it; a key that works is never refused for what others try from the same source.
    ///
    /// # Errors
    /// [`AppError::ApiKeyInvalid`], [`AppError::ApiKeyUnauthorized`] as Authenticate's public
    /// messages have it; [`AppError::RateLimited`]; [`AppError::SourceOverloaded`];
    /// [`AppError::RevocationsUnresolved`].
    pub async fn who_am_i(
        &self,
        api_key: &str,
        context: UseContext,
    ) -> Result<(Principal, Option<RateLimit>), AppError> {
        self.refuse_if_held()?;
        let admission = self.admit_use()?;
        let (source, position) = (context.source, self.table.head());
        let ask = Ask { tenant: None, required: &[], source };
        let decided = self.decide_key(api_key, &ask, COST, |_| true).await?;
        let Decided { outcome, tried, recorded, rate_limit, charged } = decided;
        self.decisions.note(&outcome);
        let asked = Asked { caller: None, required: Vec::new(), context, position, charged };
        let error = match outcome {
            Outcome::Allowed(principal) => {
                self.record_use(admission, tried, recorded, asked).await?;
                return Ok((principal, rate_limit));
            }
            Outcome::MissingKey
            | Outcome::MalformedKey(_)
            | Outcome::UnknownKey
            | Outcome::TooManyUnknown => AppError::ApiKeyInvalid,
            Outcome::Denied(_, denied) => match denied.denial {
                Denial::Revoked | Denial::Superseded | Denial::Expired | Denial::Disabled => {
                    AppError::ApiKeyInvalid
                }
                Denial::TenantMismatch
                | Denial::AccountInactive
                | Denial::PermissionMissing
                | Denial::SourceNotAllowed => AppError::ApiKeyUnauthorized,
                // The key works, so it is not charged to its source: nobody guesses there.
                Denial::RateLimited => {
                    self.record_use(admission, tried, recorded, asked).await?;
                    let retry_after = rate_limit.and_then(|left| left.retry_after);
                    return Err(AppError::RateLimited {
                        retry_after: retry_after.unwrap_or_default(),
                    });
                }
            },
        };
        // Past the budget of its source an attempt is refused before it is an answer about a key.
        let spent = self.guessing.who_am_i_failed(source, self.clock.monotonic());
        spent.map_err(|spent| AppError::SourceOverloaded {
            retry_after: spent.retry_after.unwrap_or_default(),
        })?;
        self.record_use(admission, tried, recorded, asked).await?;
        Err(error)
    }
}
