//! `[tls]`: with which files connections are encrypted, and who of those that come must show a certificate.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, setting};

/// Seconds between two looks at the files, unless told otherwise.
const CHECK_SECONDS: u64 = 5;

/// Clients are not asked for certificates.
const OFF: &str = "off";

/// Most seconds between two looks at the files: an hour.
const MAX_CHECK_SECONDS: u64 = 3600;

/// Handshakes under way at once, unless told otherwise.
pub(super) const HANDSHAKES: usize = 512;

/// Most handshakes under way at once.
const MAX_HANDSHAKES: usize = 100_000;

/// How long a handshake may take, unless told otherwise.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Most seconds that a handshake may take.
const MAX_HANDSHAKE_SECONDS: u64 = 60;

/// `limits.tls_handshakes`.
pub(super) fn handshakes(given: Option<usize>) -> Result<usize, ConfigError> {
    match given.unwrap_or(HANDSHAKES) {
        given @ 1..=MAX_HANDSHAKES => Ok(given),
        _ => Err(setting("limits.tls_handshakes", format!("must be from 1 to {MAX_HANDSHAKES}"))),
    }
}

/// `limits.tls_handshake_seconds`.
pub(super) fn handshake_time(given: Option<u64>) -> Result<Duration, ConfigError> {
    match given {
        None => Ok(HANDSHAKE_TIME),
        Some(given @ 1..=MAX_HANDSHAKE_SECONDS) => Ok(Duration::from_secs(given)),
        Some(_) => {
            let problem = format!("must be from 1 to {MAX_HANDSHAKE_SECONDS}");
            Err(setting("limits.tls_handshake_seconds", problem))
        }
    }
}

/// How connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The server's certificate and those that vouch for it, in PEM.
    pub certificate: PathBuf,
    /// The key of the certificate, in PEM.
    pub private_key: PathBuf,
    /// What is asked of clients.
    pub clients: ClientCertificates,
    /// How often it is seen whether the files hold something else. Default 5 seconds. From 1 second to 1 hour.
    pub check_interval: Duration,
}

/// What is asked of clients. The file holds the certificates, in PEM, of those who vouch for theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing.
    Off,
    /// A certificate, which they may leave out.
    Optional(PathBuf),
    /// A certificate; a connection without one is refused.
    Required(PathBuf),
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTls {
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    client_certificate: Option<String>,
    check_interval_seconds: Option<u64>,
}

impl FileTls {
    pub(super) fn of(settings: &TlsSettings) -> Self {
        let (clients, client_ca) = match &settings.clients {
            ClientCertificates::Off => (OFF, None),
            ClientCertificates::Optional(path) => ("optional", Some(path.clone())),
            ClientCertificates::Required(path) => ("required", Some(path.clone())),
        };
        FileTls {
            certificate: Some(settings.certificate.clone()),
            private_key: Some(settings.private_key.clone()),
            client_ca,
            client_certificate: Some(clients.to_owned()),
            check_interval_seconds: Some(settings.check_interval.as_secs()),
        }
    }

    /// What is so unless `[tls]` says otherwise.
    #[cfg(test)]
    pub(super) fn defaults() -> Self {
        FileTls {
            client_certificate: Some(OFF.to_owned()),
            check_interval_seconds: Some(CHECK_SECONDS),
            ..FileTls::default()
        }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(self) -> Result<TlsSettings, ConfigError> {
        let file = |name, path: Option<PathBuf>| match path {
            Some(path) if path.file_name().is_some() => Ok(path),
            _ => Err(setting(name, "must name a file")),
        };
        let client_ca = |path| file("tls.client_ca", path);
        let clients = match self.client_certificate.as_deref() {
            None | Some(OFF) if self.client_ca.is_some() => {
                let problem = "must be \"optional\" or \"required\", since tls.client_ca is set";
                return Err(setting("tls.client_certificate", problem));
            }
            None | Some(OFF) => ClientCertificates::Off,
            Some("optional") => ClientCertificates::Optional(client_ca(self.client_ca)?),
            Some("required") => ClientCertificates::Required(client_ca(self.client_ca)?),
            Some(_) => {
                let problem = "must be \"off\", \"optional\" or \"required\"";
                return Err(setting("tls.client_certificate", problem));
            }
        };
        let check_interval = match self.check_interval_seconds {
            None => Duration::from_secs(CHECK_SECONDS),
            Some(given) if (1..=MAX_CHECK_SECONDS).contains(&given) => Duration::from_secs(given),
            Some(_) => {
                let problem = format!("must be from 1 to {MAX_CHECK_SECONDS}");
                return Err(setting("tls.check_interval_seconds", problem));
            }
        };
        Ok(TlsSettings {
            certificate: file("tls.certificate", self.certificate)?,
            private_key: file("tls.private_key", self.private_key)?,
            clients,
            check_interval,
        })
    }
}

impl Config {
    /// Whether what is said to the server and what it answers would cross a network unencrypted.
    #[must_use]
    pub fn is_plaintext_beyond_loopback(&self) -> bool {
        self.tls.is_none() && !self.grpc_addr.ip().is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &str = "[tls]\ncertificate = \"server.pem\"\nprivate_key = \"server.key\"\n";

    fn parsed(more: &str) -> Result<TlsSettings, String> {
        let parsed = Config::parse(&format!("{PAIR}{more}"));
        parsed.map(|config| config.tls.expect("set")).map_err(|error| error.to_string())
    }

    #[test]
    fn two_files_are_enough_and_a_third_asks_clients_for_certificates() {
        assert!(Config::parse("").expect("empty").tls.is_none());
        let settings = parsed("").expect("two files");
        assert_eq!(settings.certificate, PathBuf::from("server.pem"));
        assert_eq!(settings.private_key, PathBuf::from("server.key"));
        assert_eq!(settings.clients, ClientCertificates::Off);
        assert_eq!(settings.check_interval, Duration::from_secs(5));
        let ca = || PathBuf::from("clients.pem");
        for (word, clients) in [
            ("optional", ClientCertificates::Optional(ca())),
            ("required", ClientCertificates::Required(ca())),
        ] {
            let more = format!("client_ca = \"clients.pem\"\nclient_certificate = \"{word}\"\n");
            assert_eq!(parsed(&more).expect(word).clients, clients);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_its_setting() {
        let ca = "client_ca = \"clients.pem\"\n";
        for (more, name) in [
            (ca, "tls.client_certificate"),
            (&format!("{ca}client_certificate = \"off\""), "tls.client_certificate"),
            ("client_certificate = \"s3cret\"", "tls.client_certificate"),
            ("client_certificate = \"required\"", "tls.client_ca"),
            ("client_ca = \"/\"\nclient_certificate = \"required\"", "tls.client_ca"),
            ("check_interval_seconds = 0", "tls.check_interval_seconds"),
            ("check_interval_seconds = 3601", "tls.check_interval_seconds"),
        ] {
            let said = parsed(more).expect_err(more);
            assert!(said.starts_with(&format!("setting {name}: ")), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
        for (text, name) in [
            ("[tls]", "tls.certificate"),
            ("[tls]\ncertificate = \"server.pem\"", "tls.private_key"),
            ("[tls]\ncertificate = \"..\"\nprivate_key = \"server.key\"", "tls.certificate"),
        ] {
            let said = Config::parse(text).expect_err(text).to_string();
            assert!(said.contains(name), "{said}");
        }
    }
}
