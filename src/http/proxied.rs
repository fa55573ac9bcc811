//! Forward-auth: a proxy that does not speak gRPC passes on the headers of each request and waits for a status.
//!
//! nginx takes 401 and 403 for denials and all else but success for a failure; Caddy and Traefik pass on whatever
//! is no success. So our own failure, and the proxy's, is never one of those two.

use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::app::App;
use crate::app::authenticate::UseContext;
use crate::app::error::AppError;
use crate::app::identify::Identity;
use crate::app::proxied::{self, Passage, Proxied, identity_headers};
use crate::domain::proxied::context::{self, ClientAddress, client_address};
use crate::domain::proxied::refusal::{Refused, retry_after_seconds};
use crate::domain::proxied::route::{Route, RouteError};
use crate::domain::proxied::{credential, identity, query};
use crate::domain::trace_context::{TRACEPARENT, trace_of_all};

/// The path that proxies ask at.
pub const AUTHZ: &str = "/authz";

/// Where a proxy says by which credential it asks: `authorization` is its client's.
pub const CALLER: &str = "x-keyledger-caller";

/// What a proxy may set beside what a route asks: the status of a limit that is used up, 429 or, for proxies that
/// cannot carry it, 403.
const LIMIT_STATUS: &str = "limit_status";

/// Says why a request is refused, in a word: a proxy that cannot carry 429 has to look there.
const REASON: &str = "x-keyledger-reason";

/// A request to the HTTP port.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds keys")]
pub struct Asked {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its query; empty if it has none.
    pub query: String,
}

impl Asked {
    /// All values of a header.
    pub(super) fn all(&self, name: &str) -> Vec<&[u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
    }

    /// The key it presents; empty if none.
    pub(super) fn api_key(&self) -> &str {
        let [authorization, x_api_key] = credential::HEADERS.map(|name| self.all(name));
        credential::presented(&authorization, &x_api_key)
    }

    /// What is known of the use, without what it is for.
    pub(super) fn context(&self, from: Option<&ClientAddress>) -> UseContext {
        UseContext {
            action: String::new(),
            source: from
                .and_then(|from| client_address(&self.all(&from.header), from.trusted_hops)),
            agent: context::agent(self.headers.get(USER_AGENT).map(HeaderValue::as_bytes)),
            trace_id: trace_of_all(self.all(TRACEPARENT)),
        }
    }
}

/// Whether the proxy is to let the request through: 200, or 401, 403 and 429.
///
/// # Errors
/// [`AppError`] for the proxy's own faults and ours.
pub async fn authz(
    app: &App,
    identity: &Identity,
    asked: &Asked,
    from: Option<&ClientAddress>,
) -> Result<Response<String>, AppError> {
    let (route, limit_status) = settings(&asked.query)?;
    let request = Proxied { api_key: asked.api_key(), route, context: asked.context(from) };
    match app.pass(identity, request).await? {
        Passage::Anonymous => Ok(let_through(&[])),
        Passage::Decided(decision) => Ok(match proxied::let_through(&decision) {
            Ok(principal) => let_through(&identity_headers(principal, decision.position)),
            Err((Refused::RateLimited, again)) => {
                refusal(Refused::RateLimited, limit_status, again.map(retry_after_seconds))
            }
            Err((refused, _)) => refusal(refused, status(refused), None),
        }),
    }
}

/// All headers there are, without a value where nothing is told: of one that is not there, a proxy would leave what the
/// client sent, or, as Caddy 2.6 does, put in words of its own configuration.
fn let_through(told: &[(&'static str, String)]) -> Response<String> {
    let mut answer = plain(StatusCode::OK, "");
    for name in identity::ALL {
        let value = told.iter().find(|(told, _)| *told == name);
        let value = value.map_or("", |(_, value)| value.as_str());
        set(&mut answer, HeaderName::from_static(name), value);
    }
    answer
}

/// What the proxy's configuration asks, and which status a limit that is used up has.
fn settings(query: &str) -> Result<(Route, StatusCode), AppError> {
    let pairs = query::pairs(query)
        .ok_or_else(|| AppError::field("the query", "must be name=value with & between them"))?;
    let (of_limit, of_route): (Vec<_>, Vec<_>) =
        pairs.iter().partition(|(name, _)| name == LIMIT_STATUS);
    let limit_status = match of_limit.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>()[..]
    {
        [] | ["429"] => StatusCode::TOO_MANY_REQUESTS,
        ["403"] => StatusCode::FORBIDDEN,
        _ => return Err(AppError::field(LIMIT_STATUS, "must be 429 or 403")),
    };
    let route = Route::read(of_route.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let route = route.map_err(|RouteError { name, must }| {
        AppError::field(if name.is_empty() { "the query" } else { name }, must)
    })?;
    Ok((route, limit_status))
}

fn status(refused: Refused) -> StatusCode {
    StatusCode::from_u16(refused.status()).expect("a status that HTTP has")
}

/// The answer to who is not let through.
pub(super) fn refusal(
    refused: Refused,
    status: StatusCode,
    retry_after: Option<u64>,
) -> Response<String> {
    let mut answer = plain(status, refused.message());
    set(&mut answer, HeaderName::from_static(REASON), refused.reason());
    if refused == Refused::InvalidKey {
        set(&mut answer, WWW_AUTHENTICATE, "Bearer");
    }
    if let Some(seconds) = retry_after {
        set(&mut answer, RETRY_AFTER, &seconds.to_string());
    }
    answer
}

/// A text as an answer; nothing, if it is empty.
#[must_use]
pub fn plain(status: StatusCode, text: &str) -> Response<String> {
    let body = if text.is_empty() { String::new() } else { format!("{text}\n") };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, "text/plain; charset=utf-8");
    answer
}

pub(super) fn set(answer: &mut Response<String>, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("what is set is visible ASCII");
    answer.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_as_the_proxy_can_carry_it() {
        let of = |query: &str| settings(query).map(|(_, status)| status.as_u16()).ok();
        assert_eq!(of(""), Some(429));
        assert_eq!(of("limit_status=403&permission=a"), Some(403));
        for query in ["limit_status=200", "limit_status=", "limit_status=403&limit_status=403"] {
            assert_eq!(of(query), None, "{query}");
        }
    }

    #[test]
    fn a_query_that_is_not_understood_names_what_is_wrong_and_not_what_was_sent() {
        for (query, name) in [
            ("permision=s3cret", "the query"),
            ("s3cret", "the query"),
            ("permission=s3%20&tenant=", "tenant"),
            ("cost=s3cret", "cost"),
        ] {
            let Err(AppError::Invalid(violations)) = settings(query) else { panic!("{query}") };
            assert_eq!(violations[0].field, name, "{query}");
            assert!(!format!("{violations:?}").contains("s3cret"), "{violations:?}");
        }
    }

    #[test]
    fn nothing_is_left_for_a_proxy_to_make_up() {
        let answer = let_through(&[(identity::TENANT, "acme".to_owned())]);
        for name in identity::ALL {
            assert_eq!(answer.headers()[name], if name == identity::TENANT { "acme" } else { "" });
        }
    }

    #[test]
    fn who_is_refused_is_told_why_in_a_word_and_when_to_come_back() {
        let answer = refusal(Refused::RateLimited, StatusCode::FORBIDDEN, Some(7));
        assert_eq!(
            (answer.status().as_u16(), answer.body().as_str()),
            (403, "Rate limit exceeded\n")
        );
        assert_eq!(answer.headers()[REASON], "rate-limited");
        assert_eq!(answer.headers()[RETRY_AFTER], "7");
        let answer = refusal(Refused::InvalidKey, status(Refused::InvalidKey), None);
        assert_eq!(answer.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
