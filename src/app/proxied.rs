//! A proxy asks about a request before it lets it through. Authenticate, and what the client and the service behind
//! are to be told of its answer, whichever way the proxy asks.

use std::time::Duration;

use crate::app::App;
use crate::app::authenticate::{Decision, Outcome, Principal, Question, UseContext};
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::domain::ids::Position;
use crate::domain::proxied::identity;
use crate::domain::proxied::refusal::Refused;
use crate::domain::proxied::route::Route;

/// A request that a proxy asks about.
#[derive(Debug)]
pub struct Proxied<'a> {
    /// The key it presents; empty if none.
    pub api_key: &'a str,
    /// What its route asks of keys.
    pub route: Route,
    /// What is known of the use besides; its action is the route's.
    pub context: UseContext,
}

/// Whether a request is let through.
#[derive(Clone, Debug)]
pub enum Passage {
    /// It presents no key, and its route asks for none.
    Anonymous,
    /// As its key has it.
    Decided(Decision),
}

impl App {
    /// Whether a proxy is to let a request through.
    ///
    /// # Errors
    /// As [`App::authenticate`]: that a request is not let through is an answer, not an error.
    pub async fn pass(
        &self,
        identity: &Identity,
        request: Proxied<'_>,
    ) -> Result<Passage, AppError> {
        let Proxied { api_key, route, context } = request;
        if route.anonymous && api_key.is_empty() {
            self.confirm(identity)?;
            return Ok(Passage::Anonymous);
        }
        let question = Question {
            api_key,
            tenant: route.tenant.as_ref(),
            required: route.required,
            context: UseContext { action: route.action, ..context },
            cost: route.cost,
            min_position: None,
        };
        self.authenticate(identity, question).await.map(Passage::Decided)
    }
}

/// Whose key lets a request through.
///
/// # Errors
/// Why it is not let through, as its client may know, and when it may come back.
pub fn let_through(decision: &Decision) -> Result<&Principal, (Refused, Option<Duration>)> {
    let refused = match &decision.outcome {
        Outcome::Allowed(principal) => return Ok(principal),
        Outcome::MissingKey | Outcome::MalformedKey(_) | Outcome::UnknownKey => Refused::InvalidKey,
        Outcome::TooManyUnknown => Refused::RateLimited,
        Outcome::Denied(_, denied) => denied.denial.into(),
    };
    Err((refused, decision.rate_limit.and_then(|left| left.retry_after)))
}

/// The request headers that tell the service behind who calls it; nothing is told that is empty.
#[must_use]
pub fn identity_headers(
    principal: &Principal,
    position: Option<Position>,
) -> Vec<(&'static str, String)> {
    let one = |name, text: &str| (name, Some(identity::encoded(text)));
    let position = position.map(|position| position.get().to_string());
    let roles = principal.roles.iter().map(|role| role.as_str());
    let permissions = principal.permissions.iter().map(|word| word.as_str());
    let headers = [
        one(identity::KEY_ID, &principal.key_id.to_string()),
        one(identity::KEY_NAME, &principal.personal.name),
        one(identity::TENANT, principal.account.tenant.as_str()),
        one(identity::ACCOUNT, principal.account.account.as_str()),
        one(identity::ENVIRONMENT, principal.environment.as_str()),
        one(identity::PLAN, principal.plan.as_str()),
        (identity::ROLES, identity::list(roles)),
        (identity::PERMISSIONS, identity::list(permissions)),
        (identity::POSITION, position),
    ];
    let told = |(name, value): (_, Option<String>)| Some((name, value.filter(|v| !v.is_empty())?));
    headers.into_iter().filter_map(told).collect()
}
