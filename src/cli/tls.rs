//! How a client command encrypts what it says, and whether it may say it unencrypted.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity, Uri};
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::client::is_this_machine;
use crate::durable_file;

/// Most bytes of a file of certificates or of a key.
const MOST_BYTES: u64 = 1024 * 1024;

/// What every command needs to encrypt what it says.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection and output")]
pub(super) struct TlsArgs {
    /// File with the certificates, in PEM, of those who may vouch for the server [default: those that this
    /// machine trusts]
    #[arg(long, global = true, env = "KEYLEDGER_CA", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// File with a certificate, in PEM, to show to the server; where it names a caller no credential is needed
    #[arg(long, global = true, env = "KEYLEDGER_CLIENT_CERTIFICATE", value_name = "FILE")]
    pub(super) client_certificate: Option<PathBuf>,
    /// File with the key, in PEM, of that certificate
    #[arg(long, global = true, env = "KEYLEDGER_CLIENT_KEY", value_name = "FILE")]
    pub(super) client_key: Option<PathBuf>,
    /// Call a server on another machine by http://: whoever is on the way reads and changes credentials, keys
    /// and answers
    #[arg(long, global = true)]
    pub(super) danger_plaintext_beyond_loopback: bool,
}

impl TlsArgs {
    /// Whether a certificate is shown to the server.
    pub(super) fn shows_certificate(&self) -> bool {
        self.client_certificate.is_some()
    }

    /// How to encrypt what is said to `server`; none if it is not encrypted.
    ///
    /// # Errors
    /// If it would not be and the server is on another machine, or the files cannot be used.
    pub(super) fn for_server(&self, server: &Uri) -> Result<Option<ClientTlsConfig>, Failure> {
        if server.scheme_str() == Some("https") {
            return self.config(server).map(Some);
        }
        if self.shows_certificate() {
            let text =
                "a client certificate is shown over https:// only: give --server https://HOST:PORT";
            return Err(Failure::Usage(text.to_owned()));
        }
        if is_this_machine(server) || self.danger_plaintext_beyond_loopback {
            return Ok(None);
        }
        Err(Failure::Usage(format!(
            "{server} is not on this machine, and what is said to it would not be encrypted: give \
             --server https://HOST:PORT, or --danger-plaintext-beyond-loopback if whoever is on the way may read \
             credentials and keys"
        )))
    }

    fn config(&self, server: &Uri) -> Result<ClientTlsConfig, Failure> {
        // The brackets of an IPv6 address are no part of the name in its certificate.
        let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
        let config = ClientTlsConfig::new().domain_name(host);
        let config = match &self.ca {
            Some(path) => {
                let pem = read(path)?;
                if !pem.windows(PEM_CERTIFICATE.len()).any(|bytes| bytes == PEM_CERTIFICATE) {
                    let problem = format!("{} holds no certificate in PEM", path.display());
                    return Err(Failure::Local(problem));
                }
                config.ca_certificate(Certificate::from_pem(&*pem))
            }
            None => config.with_native_roots(),
        };
        match (&self.client_certificate, &self.client_key) {
            (None, None) => Ok(config),
            (Some(certificate), Some(key)) => {
                let identity = Identity::from_pem(&*read(certificate)?, &*read(key)?);
                Ok(config.identity(identity))
            }
            _ => {
                let text = "--client-certificate and --client-key are given together";
                Err(Failure::Usage(text.to_owned()))
            }
        }
    }
}

/// What a certificate begins with in PEM.
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// All of a file, which may hold a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let told = |why: String| Failure::Local(format!("{} {why}", path.display()));
    let read = durable_file::read_bounded(path, MOST_BYTES);
    let read = read.map_err(|error| told(format!("cannot be read: {error}")))?;
    read.map(Zeroizing::new).ok_or_else(|| told(format!("holds more than {MOST_BYTES} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &TlsArgs, server: &str) -> Option<String> {
        match args.for_server(&server.parse().expect("an address")) {
            Ok(_) => None,
            Err(Failure::Usage(text) | Failure::Local(text)) => Some(text),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn another_machine_is_called_unencrypted_only_where_the_danger_is_named() {
        let args = TlsArgs::default();
        for here in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert_eq!(refused(&args, here), None);
        }
        let text = refused(&args, "http://10.0.0.1:1").expect("refused");
        assert!(text.contains("--danger-plaintext-beyond-loopback"), "{text}");
        let args = TlsArgs { danger_plaintext_beyond_loopback: true, ..args };
        assert_eq!(refused(&args, "http://10.0.0.1:1"), None);
    }

    #[test]
    fn a_certificate_is_shown_with_its_key_and_over_tls_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file.pem");
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n").expect("written");
        let args = TlsArgs {
            ca: Some(file.clone()),
            client_certificate: Some(file.clone()),
            ..TlsArgs::default()
        };
        let text = refused(&args, "http://127.0.0.1:1").expect("refused");
        assert!(text.contains("https://"), "{text}");
        let text = refused(&args, "https://10.0.0.1:1").expect("refused");
        assert!(text.contains("--client-key"), "{text}");
        let args = TlsArgs { client_key: Some(file.clone()), ..args };
        assert_eq!(refused(&args, "https://10.0.0.1:1"), None);
        let args = TlsArgs { client_certificate: None, ..args };
        assert!(refused(&args, "https://10.0.0.1:1").is_some());
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_its_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file.pem");
        let args = TlsArgs { ca: Some(file.clone()), ..TlsArgs::default() };
        let refused = || refused(&args, "https://10.0.0.1:1").expect("refused");
        assert!(refused().contains("file.pem cannot be read"));
        std::fs::write(&file, "nothing\n").expect("written");
        assert!(refused().contains("file.pem holds no certificate"));
    }
}
