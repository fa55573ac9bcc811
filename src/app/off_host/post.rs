//! Checkpoints posted to a URL of the operator's; and what posts to witnesses.

use std::io;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::{NotKept, Place};
use crate::app::checkpoint::SignedCheckpoint;
use crate::config::PostUrl;
use crate::domain::time::Time;

/// How long a request may take, from the name being looked up to the answer being read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most bytes of an answer's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Most bytes of an answer that is read.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// What requests say they are from.
const USER_AGENT: &str = concat!("keyledger/", env!("CARGO_PKG_VERSION"));

/// Posts to one URL: no redirect is followed and no proxy used. TLS is held to the certificates that the
/// host trusts.
#[derive(Debug)]
pub(super) struct Poster {
    agent: Agent,
    uri: Uri,
}

impl Poster {
    pub(super) fn new(url: &PostUrl) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEAD_BYTES)
            .proxy(None)
            .user_agent(USER_AGENT)
            .tls_config(tls);
        Poster { agent: config.build().into(), uri: url.uri().clone() }
    }

    /// The status that the answer has. Its body is not read.
    pub(super) fn post(&self, body: &str) -> Result<u16, NotKept> {
        Ok(self.send(body)?.status().as_u16())
    }

    /// The answer, whole.
    pub(super) fn ask(&self, body: &str) -> Result<Answer, NotKept> {
        let mut answer = self.send(body)?;
        let media_type = answer.headers().get(CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok().map(str::to_owned));
        let read = answer.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_string();
        let body = read.map_err(|error| not_kept(&error))?;
        Ok(Answer { status: answer.status().as_u16(), media_type, body })
    }

    fn send(&self, body: &str) -> Result<Response<Body>, NotKept> {
        let request = self.agent.post(&self.uri).content_type("text/plain; charset=utf-8");
        request.send(body).map_err(|error| not_kept(&error))
    }
}

/// What a request was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    media_type: Option<String>,
    pub(super) body: String,
}

impl Answer {
    /// What the body is, without parameters.
    pub(super) fn media_type(&self) -> Option<&str> {
        Some(self.media_type.as_deref()?.split(';').next()?.trim())
    }
}

/// What became of a request, in words of our own: those of others may name the URL.
fn not_kept(error: &ureq::Error) -> NotKept {
    use ureq::Error;
    match error {
        Error::Timeout(_) => NotKept::TooSlow,
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => NotKept::TooSlow,
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            NotKept::Unreachable("it refuses connections")
        }
        Error::HostNotFound => NotKept::Unreachable("its host is not found"),
        Error::Tls(_) | Error::Rustls(_) => NotKept::Unreachable(
            "TLS fails: this host does not trust its certificate, or it has none",
        ),
        Error::Protocol(_) | Error::LargeResponseHeader(..) | Error::BodyExceedsLimit(_) => {
            NotKept::Unreachable("its answer is not HTTP, or too long")
        }
        _ => NotKept::Unreachable("the connection fails"),
    }
}

/// A URL that takes checkpoints.
pub(super) struct UrlPlace(Poster);

impl UrlPlace {
    pub(super) fn new(url: &PostUrl) -> Self {
        UrlPlace(Poster::new(url))
    }
}

impl Place for UrlPlace {
    fn keep(&mut self, signed: &SignedCheckpoint, _now: Time) -> Result<(), NotKept> {
        match self.0.post(&signed.note)? {
            200..=299 => Ok(()),
            status => Err(NotKept::Answered(status)),
        }
    }
}
