//! WhoAmI for whoever has a key and no gRPC: the test request of a new integration.

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use crate::app::App;
use crate::app::authenticate::Principal;
use crate::app::error::AppError;
use crate::domain::proxied::context::ClientAddress;
use crate::domain::proxied::refusal::{Refused, retry_after_seconds};
use crate::domain::rate_window::RateLimit;
use crate::http::proxied::{Asked, refusal, set};

/// The path it is asked at.
pub const WHO_AM_I: &str = "/whoami";

/// Who the key of a request speaks for, in JSON; or 401, 403 and 429. It comes from where a proxy says, if one does,
/// else from the other end of the connection.
///
/// # Errors
/// [`AppError`] for what is not about the key.
pub async fn who_am_i(
    app: &App,
    asked: &Asked,
    from: Option<&ClientAddress>,
    peer: Option<std::net::IpAddr>,
) -> Result<Response<String>, AppError> {
    let mut context = asked.context(from);
    if from.is_none() {
        context.source = peer;
    }
    let limited = |again| {
        let again = Some(retry_after_seconds(again));
        Ok(refusal(Refused::RateLimited, StatusCode::TOO_MANY_REQUESTS, again))
    };
    match app.who_am_i(asked.api_key(), context).await {
        Ok((principal, rate_limit)) => Ok(answer(&principal, rate_limit.as_ref())),
        Err(AppError::ApiKeyInvalid) => {
            Ok(refusal(Refused::InvalidKey, StatusCode::UNAUTHORIZED, None))
        }
        Err(AppError::ApiKeyUnauthorized) => {
            Ok(refusal(Refused::Unauthorized, StatusCode::FORBIDDEN, None))
        }
        Err(AppError::RateLimited { retry_after } | AppError::SourceOverloaded { retry_after }) => {
            limited(retry_after)
        }
        Err(error) => Err(error),
    }
}

fn answer(principal: &Principal, rate_limit: Option<&RateLimit>) -> Response<String> {
    let time = |micros| Timestamp::from_microsecond(micros).ok().map(|time| time.to_string());
    let roles: Vec<_> = principal.roles.iter().map(|role| role.as_str()).collect();
    let permissions: Vec<_> = principal.permissions.iter().map(|word| word.as_str()).collect();
    let told = json!({
        "key_id": principal.key_id.to_string(),
        "key_name": principal.personal.name,
        "tenant_id": principal.account.tenant.as_str(),
        "account_id": principal.account.account.as_str(),
        "environment": principal.environment.as_str(),
        "roles": roles,
        "permissions": permissions,
        "plan": principal.plan.as_str(),
        "expire_time": principal.expire_time.and_then(|at| time(at.as_micros())),
        "rate_limit": rate_limit.map(|left| json!({
            "limit": left.limit,
            "remaining": left.remaining,
            "reset_after_seconds": retry_after_seconds(left.reset_after),
        })),
    });
    let mut answer = Response::new(format!("{told}\n"));
    set(&mut answer, CONTENT_TYPE, "application/json");
    answer
}
