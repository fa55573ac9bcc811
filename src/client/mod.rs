//! For services that ask keyledger whose a key is: a client of Authenticate, and a layer that guards a service with it.
//!
//! A denied key is a normal answer on the wire. Here it is an error, as is no answer at all, so that `?` refuses.
//!
//! ```text
//! let keyledger = Keyledger::at("https://keys.example.com:50051", &credential)?;
//! let guard = Guard::new(keyledger).require("reports:read");
//! Server::builder().add_service(guard.named_layer(ReportsServer::new(reports)))     // tonic
//! Router::new().route("/reports", get(reports)).layer(guard)                        // axum
//! ```
//!
//! `examples/guarded_service` has it whole. Nothing is remembered between two uses: each is asked about, so no use outruns a revocation, and each is on record.

mod bearer;
mod guard;
mod refused;

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, IntoRequest, Request, Status};
use tonic_types::StatusExt as _;

use crate::proto::v1;
use crate::proto::v1::key_service_client::KeyServiceClient;

pub use bearer::{Bearer, InvalidCredential};
pub use guard::{Guard, Guarded};
pub use refused::Refused;

/// For an answer, with all that is done to get one. keyledger answers in well under a millisecond once connected; this
/// is how long a request to a guarded service may wait for it at worst.
const DEADLINE: Duration = Duration::from_secs(2);
/// How often a connection is tried while nothing is heard on it, and how long that may take: a server whose host is
/// gone without a word is missed after both.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// A connection whose calls carry a credential.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// keyledger, as a service that guards itself with it sees it. Cheap to clone; clones share a connection.
#[derive(Clone, Debug)]
pub struct Keyledger {
    keys: KeyServiceClient<Authorized>,
    deadline: Duration,
}

/// A use of a key that is allowed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Allowed {
    /// Who the key speaks for. Where the question named no tenant, keep to this one.
    pub principal: v1::Principal,
    /// What is left of the account's requests a minute; none: it has no limit.
    pub rate_limit: Option<v1::RateLimit>,
    /// What the holder of the key should know: that it will not work for much longer.
    pub notices: Vec<v1::KeyNotice>,
    /// The position of the log at which it was decided.
    pub position: u64,
}

/// Why keyledger cannot be called at an address.
#[derive(Debug, Error)]
pub enum Unusable {
    /// The address is none.
    #[error("expected http://HOST:PORT or https://HOST:PORT")]
    Address,
    /// What is said would not be encrypted.
    #[error(
        "a server on another machine is called by https:// only: credentials and keys are on the way"
    )]
    Plaintext,
    /// The credential can be none.
    #[error(transparent)]
    Credential(#[from] InvalidCredential),
    /// The certificates that this machine trusts cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[source] tonic::transport::Error),
}

impl Keyledger {
    /// keyledger at `http://HOST:PORT`, on this machine alone, or `https://HOST:PORT`, where the certificates that this
    /// machine trusts vouch for it; `credential` is that of a caller with the role `authenticator`. Connects with the
    /// first call, and again whenever the connection is lost.
    ///
    /// # Errors
    /// If the address or the credential can be none, or calls to another machine would not be encrypted.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn at(server: &str, credential: &str) -> Result<Self, Unusable> {
        let uri: Uri = server.parse().map_err(|_| Unusable::Address)?;
        let bearer = Bearer::new(credential)?;
        let endpoint = Endpoint::from(uri.clone());
        let endpoint = match uri.scheme_str() {
            Some("https") => {
                // The brackets of an IPv6 address are no part of the name in its certificate.
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
                let tls = ClientTlsConfig::new().with_native_roots().domain_name(host);
                endpoint.tls_config(tls).map_err(Unusable::Tls)?
            }
            Some("http") if is_this_machine(&uri) => endpoint,
            Some("http") => return Err(Unusable::Plaintext),
            _ => return Err(Unusable::Address),
        };
        let (interval, timeout) = KEEP_ALIVE;
        let endpoint = endpoint.http2_keep_alive_interval(interval).keep_alive_timeout(timeout);
        let endpoint = endpoint.keep_alive_while_idle(true).connect_timeout(DEADLINE);
        Ok(Keyledger::over(endpoint.connect_lazy(), bearer))
    }

    /// keyledger over a connection made otherwise: with a client certificate or with authorities of one's own, say.
    #[must_use]
    pub fn over(channel: Channel, bearer: Bearer) -> Self {
        let keys = KeyServiceClient::with_interceptor(channel, bearer);
        Keyledger { keys, deadline: DEADLINE }
    }

    /// The same, with another time than 2 s for an answer.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Keyledger { deadline, ..self }
    }

    /// Asks whether a key may do what its holder asks for.
    ///
    /// # Errors
    /// If it may not, or if that is not known: there is no answer within the deadline, or one that is not understood.
    pub async fn authenticate(
        &self,
        request: impl IntoRequest<v1::AuthenticateRequest>,
    ) -> Result<Allowed, Refused> {
        // From without, since the time in which a connection is made counts too.
        let answer = tokio::time::timeout(self.deadline, self.ask(request.into_request())).await;
        let late = |_| Err(Status::deadline_exceeded("no answer within the deadline"));
        let answer = answer.unwrap_or_else(late).map_err(Refused::unanswered)?;
        verdict(answer)
    }

    /// Asks, and once more if the server could not be reached: the connection may have been one that had just ended.
    /// A use that was counted, but whose answer was lost, is counted twice.
    async fn ask(
        &self,
        request: Request<v1::AuthenticateRequest>,
    ) -> Result<v1::AuthenticateResponse, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let mut keys = self.keys.clone();
        let first = Request::from_parts(metadata.clone(), extensions, message.clone());
        let answer = match keys.authenticate(self.timed(first)).await {
            Err(status) if worth_a_repeat(&status) => {
                let again = Request::from_parts(metadata, http::Extensions::new(), message);
                keys.authenticate(self.timed(again)).await
            }
            answer => answer,
        };
        answer.map(tonic::Response::into_inner)
    }

    /// The same request, telling the server by when an answer is of use.
    fn timed<T>(&self, mut request: Request<T>) -> Request<T> {
        request.set_timeout(self.deadline);
        request
    }
}

/// Not where the server says itself when to come back.
fn worth_a_repeat(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.get_details_retry_info().is_none()
}

/// What an answer means: allowed only if it says so and for whom.
fn verdict(answer: v1::AuthenticateResponse) -> Result<Allowed, Refused> {
    match (answer.outcome(), answer.principal) {
        (v1::Outcome::Allowed, Some(principal)) => Ok(Allowed {
            principal,
            rate_limit: answer.rate_limit,
            notices: answer.notices,
            position: answer.position,
        }),
        (v1::Outcome::Denied, principal) => {
            Err(Refused::Denied(Box::new(v1::AuthenticateResponse { principal, ..answer })))
        }
        _ => Err(Refused::unanswered(Status::internal("an answer that is no verdict"))),
    }
}

/// Whether a server is on this machine, as far as its address says.
#[must_use]
pub fn is_this_machine(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(server: &str, credential: &str) -> Option<Unusable> {
        Keyledger::at(server, credential).err()
    }

    #[tokio::test]
    async fn a_server_elsewhere_is_called_encrypted_or_not_at_all() {
        for server in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert!(refused(server, "kl_svc_a").is_none(), "{server}");
        }
        assert!(refused("https://keys.example:1", "kl_svc_a").is_none());
        assert!(matches!(refused("http://10.0.0.1:1", "a"), Some(Unusable::Plaintext)));
        for server in ["", "127.0.0.1:1", "ftp://127.0.0.1:1", "https://"] {
            assert!(matches!(refused(server, "a"), Some(Unusable::Address)), "{server}");
        }
        assert!(matches!(refused("http://[::1]:1", "a\n"), Some(Unusable::Credential(_))));
    }

    #[test]
    fn loopback_addresses_are_this_machine() {
        for (server, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://127.8.8.8:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("http://10.0.0.1:1", false),
            ("http://localhost.example:1", false),
        ] {
            assert_eq!(is_this_machine(&server.parse().expect("an address")), expected, "{server}");
        }
    }

    fn answer(outcome: i32, principal: bool) -> v1::AuthenticateResponse {
        let principal = principal.then(v1::Principal::default);
        v1::AuthenticateResponse { outcome, principal, ..Default::default() }
    }

    #[test]
    fn only_an_answer_that_says_allowed_and_for_whom_allows() {
        let allowed = v1::Outcome::Allowed.into();
        assert!(verdict(answer(allowed, true)).is_ok());
        let denied = v1::Outcome::Denied.into();
        for principal in [false, true] {
            assert!(matches!(verdict(answer(denied, principal)), Err(Refused::Denied(_))));
        }
        for (outcome, principal) in [(allowed, false), (0, true), (7, true), (-1, true)] {
            let verdict = verdict(answer(outcome, principal));
            assert!(matches!(verdict, Err(Refused::Unanswered(_))), "{outcome}");
        }
    }
}
