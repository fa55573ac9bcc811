//! TLS: the certificate that new connections see, and the files it comes from, which may change while connections
//! go on.
//!
//! TLS 1.2 and 1.3 are spoken: everyone can speak 1.3, but some proxies do so as clients only when told to, and of
//! 1.2 rustls knows only what is still sound (forward secrecy, authenticated encryption). No session is taken up again:
//! it would bring the client's certificate as it was verified then, and a connection lives for minutes.

mod certificate;
mod files;
mod handshake;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use crate::app::transport::{TransportState, Validity};
use crate::clock::Clock;
use crate::config::{ClientCertificates, TlsSettings};
use crate::server::reload::hangup;
use files::{Digest, Files};

pub(super) use handshake::{Handshakes, Secured};

/// What HTTP/2 is called when a protocol is agreed on.
const HTTP2: &[u8] = b"h2";

/// Why TLS files cannot be used. For operators: texts name settings, never what is in a file.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{setting}: the file cannot be read: {source}")]
    Unreadable {
        /// Which.
        setting: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is larger than it can be.
    #[error("{setting}: the file is larger than {most} bytes")]
    TooLarge {
        /// Which.
        setting: &'static str,
        /// The bound.
        most: u64,
    },
    /// The key can be read by others.
    #[error(
        "tls.private_key: others can read or change the file: take that away with chmod o= and, of the group, \
         everything but reading; inside the data directory everything (chmod 600)"
    )]
    LooseKey,
    /// A file holds no certificate, or something that is none.
    #[error(
        "{0}: the file does not hold certificates in PEM, and nothing but them that begins as one"
    )]
    NoCertificate(&'static str),
    /// The file of the key holds none.
    #[error(
        "tls.private_key: the file does not hold a private key in PEM (PKCS #8, PKCS #1 or SEC1)"
    )]
    NoKey,
    /// The key is not that of the certificate.
    #[error("tls.private_key is not the key of the first certificate in tls.certificate")]
    Mismatch,
    /// The pair cannot be used.
    #[error("tls.certificate and tls.private_key cannot be used: {0}")]
    Unusable(rustls::Error),
    /// Clients' certificates cannot be held to these.
    #[error("tls.client_ca cannot be used: {0}")]
    UnusableClientCa(String),
}

/// What files hold, ready to be used.
pub(super) struct Loaded {
    config: Arc<ServerConfig>,
    certificate: Validity,
    digest: Digest,
}

/// Reads the files that the settings name.
#[derive(Debug)]
pub(super) struct Loader {
    pub(super) settings: TlsSettings,
    pub(super) data_dir: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
}

impl Loader {
    /// What the files hold now. Blocks.
    pub(super) fn load(&self) -> Result<Loaded, TlsError> {
        self.prepare(&Files::read(&self.settings, &self.data_dir)?)
    }

    fn prepare(&self, files: &Files) -> Result<Loaded, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("tls.certificate", &files.certificate)?;
        let own = chain.first().and_then(certificate::validity);
        let own = own.ok_or(TlsError::NoCertificate("tls.certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| TlsError::NoKey)?;
        let clock = Arc::new(Wall(Arc::clone(&self.clock)));
        let builder = ServerConfig::builder_with_details(Arc::clone(&provider), clock);
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Unusable)?;
        let builder = match self.verifier(files, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
            error => TlsError::Unusable(error),
        })?;
        config.alpn_protocols = vec![HTTP2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded { config: Arc::new(config), certificate: own, digest: files.digest() })
    }

    /// Who verifies clients' certificates; none if they are not asked for any.
    fn verifier(
        &self,
        files: &Files,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(pem) = &files.client_ca else { return Ok(None) };
        let unusable =
            |error: &dyn std::error::Error| TlsError::UnusableClientCa(error.to_string());
        let mut roots = RootCertStore::empty();
        for root in certificates("tls.client_ca", pem)? {
            roots.add(root).map_err(|error| unusable(&error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match self.settings.clients {
            ClientCertificates::Optional(_) => builder.allow_unauthenticated(),
            ClientCertificates::Off | ClientCertificates::Required(_) => builder,
        };
        builder.build().map(Some).map_err(|error| unusable(&error))
    }
}

/// The certificates of a PEM file, at least one.
fn certificates(
    setting: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(TlsError::NoCertificate(setting))
}

/// The time by which clients' certificates are judged.
#[derive(Debug)]
struct Wall(Arc<dyn Clock>);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.0.wall().as_micros()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}

/// What new connections are encrypted with.
#[derive(Debug)]
pub(super) struct Tls {
    loader: Loader,
    current: ArcSwap<ServerConfig>,
    /// What was in the files when they were looked at last, and what is in use.
    seen: Mutex<Seen>,
    state: Arc<TransportState>,
}

#[derive(Debug)]
struct Seen {
    used: Digest,
    /// None: they could not be read.
    last: Option<Digest>,
}

impl Tls {
    /// Begins with what was loaded at the start, and tells `state` how it goes.
    pub(super) fn begin(loader: Loader, loaded: Loaded, state: Arc<TransportState>) -> Self {
        let Loaded { config, certificate, digest } = loaded;
        state.begin(certificate);
        let seen = Mutex::new(Seen { used: digest, last: Some(digest) });
        let tls = Tls { loader, current: ArcSwap::new(config), seen, state };
        tls.warn_of(certificate);
        tls
    }

    /// What the next connection is encrypted with.
    fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Looks at the files from time to time, and whenever the process gets a SIGHUP, until it is dropped.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => Some(hangups),
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be taken: TLS files are looked at all the same");
                None
            }
        };
        let mut due = tokio::time::interval(self.loader.settings.check_interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = due.tick() => false,
                () = hangup(hangups.as_mut()) => true,
            };
            let tls = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || tls.look(asked)).await {
                tracing::error!(%error, "internal fault: looking at the TLS files");
            }
        }
    }

    /// Takes what the files hold if it differs from what was seen last, or if somebody `asked` for it. Blocks.
    fn look(&self, asked: bool) {
        let files = Files::read(&self.loader.settings, &self.loader.data_dir);
        let found = files.as_ref().ok().map(Files::digest);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if found == seen.last && !asked {
            return;
        }
        seen.last = found;
        if found == Some(seen.used) && !asked {
            tracing::info!("the TLS files are those in use again");
            return self.state.settle();
        }
        match files.and_then(|files| self.loader.prepare(&files)) {
            Ok(loaded) => {
                seen.used = loaded.digest;
                self.current.store(loaded.config);
                self.state.take(loaded.certificate);
                tracing::info!("the TLS files were taken for new connections");
                self.warn_of(loaded.certificate);
            }
            Err(error) => {
                tracing::error!(%error, "the TLS files cannot be used: those before are still");
                self.state.refuse(error.to_string());
            }
        }
    }

    fn warn_of(&self, certificate: Validity) {
        if let Some(doubt) = certificate.doubt_at(self.loader.clock.wall()) {
            tracing::warn!("{doubt}");
        }
    }
}
