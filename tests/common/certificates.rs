//! Real certificates: authorities of a test's own, what they sign, and clients that show and trust it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The day a certificate ends.
pub type Day = (i32, u8, u8);

/// Later than any test runs.
const NEVER: Day = (2099, 1, 1);

pub fn spiffe(id: &str) -> SanType {
    SanType::URI(id.try_into().expect("ascii"))
}

pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ascii"))
}

fn valid_until((year, month, day): Day) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, month, day);
    params
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = valid_until(NEVER);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its own certificate, as a server would show it that has no other.
    pub fn own(&self) -> Pair {
        Pair { certificate: self.pem(), key: self.0.key().serialize_pem() }
    }

    /// A server's certificate for 127.0.0.1 and localhost.
    pub fn server(&self) -> Pair {
        self.server_until(NEVER)
    }

    pub fn server_until(&self, end: Day) -> Pair {
        let names = vec![SanType::IpAddress([127, 0, 0, 1].into()), dns("localhost")];
        self.sign(names, ExtendedKeyUsagePurpose::ServerAuth, end)
    }

    /// A client's certificate with these names.
    pub fn client(&self, names: Vec<SanType>) -> Pair {
        self.client_until(names, NEVER)
    }

    pub fn client_until(&self, names: Vec<SanType>, end: Day) -> Pair {
        self.sign(names, ExtendedKeyUsagePurpose::ClientAuth, end)
    }

    fn sign(&self, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose, end: Day) -> Pair {
        let mut params = valid_until(end);
        params.subject_alt_names = names;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A connection that trusts this authority.
    pub async fn connect(&self, address: &str, shown: Option<&Pair>) -> Result<Channel, Error> {
        let address = address.replace("http://", "https://");
        let trusted = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.pem()));
        let tls = match shown {
            Some(pair) => trusted.identity(Identity::from_pem(&pair.certificate, &pair.key)),
            None => trusted,
        };
        Endpoint::from_shared(address)?.tls_config(tls)?.connect().await
    }
}

/// The files of a server.
pub struct Files(TempDir);

impl Files {
    /// With a server's certificate and, where clients are asked for certificates, those who vouch for them.
    pub fn new(server: &Pair, client_ca: Option<&Authority>) -> Self {
        let files = Files(TempDir::new().expect("a directory"));
        files.put(server);
        if let Some(authority) = client_ca {
            files.write("clients.pem", &authority.pem(), 0o644);
        }
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces the certificate and its key.
    pub fn put(&self, server: &Pair) {
        self.write("server.pem", &server.certificate, 0o644);
        self.write("server.key", &server.key, 0o600);
    }

    /// Replaces a file whole.
    pub fn write(&self, name: &str, text: &str, mode: u32) {
        let aside = self.path("aside");
        fs::write(&aside, text).expect("written");
        fs::set_permissions(&aside, Permissions::from_mode(mode)).expect("set");
        fs::rename(aside, self.path(name)).expect("renamed");
    }

    /// The settings that name them.
    pub fn config(&self) -> String {
        let path = |name: &str| Path::display(&self.path(name)).to_string();
        format!(
            "[tls]\ncertificate = {:?}\nprivate_key = {:?}\ncheck_interval_seconds = 1\n",
            path("server.pem"),
            path("server.key")
        )
    }

    /// As [`Files::config`], with what is asked of clients.
    pub fn config_asking(&self, clients: &str) -> String {
        let ca = self.path("clients.pem").display().to_string();
        format!("{}client_ca = {ca:?}\nclient_certificate = {clients:?}\n", self.config())
    }
}
