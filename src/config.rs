//! The configuration: parsed once, before any port opens. A bad value names its setting, and is
//! never printed.

mod audit;
mod data;
mod keys;
mod ledger;
mod limits;
mod log;
mod notices;
mod policy;
mod privacy;
mod proxies;
pub mod settings;
mod tls;
mod tracing;
mod usage;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::key_format::KeyPrefix;
use crate::domain::policy::Policy;

use audit::FileAudit;
pub use audit::{AnchorSettings, AuditSettings, PostUrl, Witness, WitnessSettings};
pub use data::DataSettings;
use data::FileData;
use keys::FileKeys;
pub use keys::{KeySettings, KeySource, VERSION_PLACE};
use ledger::FileLedger;
pub use ledger::LedgerSettings;
use limits::FileLimits;
pub use limits::Limits;
use log::FileLog;
pub use log::{LOG_LEVEL, LogFormat, LogSettings, is_log_level};
use notices::FileNotices;
pub use notices::NoticeSettings;
pub use policy::shipped_policy;
use policy::{FilePlan, FileRole, add_policy};
use privacy::FilePrivacy;
pub use privacy::PrivacySettings;
use proxies::FileProxies;
pub use proxies::ProxySettings;
use tls::FileTls;
pub use tls::{ClientCertificates, TlsSettings};
use tracing::FileTracing;
pub use tracing::TracingSettings;
use usage::FileUsage;
pub use usage::{Detail, Durability, UsageSettings, WhenBehind};

/// The most bytes of a configuration file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What the service is told from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// What must be so of it.
    pub data: DataSettings,
    /// Where gRPC is served.
    pub grpc_addr: SocketAddr,
    /// Where metrics and probes are served; none: nowhere.
    pub ops_addr: Option<SocketAddr>,
    /// How connections to gRPC are encrypted; none: not at all.
    pub tls: Option<TlsSettings>,
    /// Whether gRPC may be served unencrypted on an address that other machines reach. Credentials, keys and
    /// answers can then be read and changed on the way.
    pub danger_serve_plaintext_beyond_loopback: bool,
    /// What every key's text begins with. Keys issued under another prefix stop being recognised.
    pub key_prefix: KeyPrefix,
    /// Plans and roles.
    pub policy: Policy,
    /// Bounds of the server.
    pub limits: Limits,
    /// How the log is kept.
    pub ledger: LedgerSettings,
    /// How uses are recorded.
    pub usage: UsageSettings,
    /// What holders of keys are told.
    pub notices: NoticeSettings,
    /// How the log is proved.
    pub audit: AuditSettings,
    /// Where keys come from.
    pub keys: KeySettings,
    /// For how long personal data can be read.
    pub privacy: PrivacySettings,
    /// How proxies ask that do not speak gRPC.
    pub proxies: ProxySettings,
    /// What it says of itself.
    pub log: LogSettings,
    /// Where spans of calls are sent.
    pub tracing: TracingSettings,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("./data"),
            data: DataSettings::default(),
            grpc_addr: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50051)),
            ops_addr: Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464))),
            tls: None,
            danger_serve_plaintext_beyond_loopback: false,
            key_prefix: KeyPrefix::default(),
            policy: shipped_policy(),
            limits: Limits::default(),
            ledger: LedgerSettings::default(),
            usage: UsageSettings::default(),
            notices: NoticeSettings::default(),
            audit: AuditSettings::default(),
            keys: KeySettings::default(),
            privacy: PrivacySettings::default(),
            proxies: ProxySettings::default(),
            log: LogSettings::default(),
            tracing: TracingSettings::default(),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is larger than a configuration can be.
    #[error("the configuration file is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// The file is not TOML, or has a setting there is not, or one of the wrong type.
    #[error("the configuration file, line {line}: {problem}")]
    Malformed {
        /// Where, from 1.
        line: usize,
        /// What is wrong, without the value.
        problem: String,
    },
    /// A setting has a value it cannot have.
    #[error("setting {setting}: {problem}")]
    Setting {
        /// The setting.
        setting: String,
        /// What it must be.
        problem: String,
    },
}

#[expect(clippy::needless_pass_by_value, reason = "called with texts and with errors alike")]
fn setting(setting: impl Into<String>, problem: impl ToString) -> ConfigError {
    ConfigError::Setting { setting: setting.into(), problem: problem.to_string() }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    data_dir: Option<PathBuf>,
    grpc_addr: Option<SocketAddr>,
    ops_addr: Option<String>,
    http_addr: Option<String>,
    danger_serve_plaintext_beyond_loopback: Option<bool>,
    key_prefix: Option<String>,
    #[serde(default)]
    data: FileData,
    #[serde(default)]
    plans: BTreeMap<String, FilePlan>,
    #[serde(default)]
    roles: BTreeMap<String, FileRole>,
    #[serde(default)]
    limits: FileLimits,
    #[serde(default)]
    ledger: FileLedger,
    #[serde(default)]
    usage: FileUsage,
    #[serde(default)]
    notices: FileNotices,
    #[serde(default)]
    audit: FileAudit,
    tls: Option<FileTls>,
    #[serde(default)]
    keys: FileKeys,
    #[serde(default)]
    privacy: FilePrivacy,
    #[serde(default)]
    proxies: FileProxies,
    #[serde(default)]
    log: FileLog,
    #[serde(default)]
    tracing: FileTracing,
}

impl Config {
    /// Reads a configuration file; what it does not set keeps its default. Plans and roles are
    /// added to those as shipped; one of the same name takes its place.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Config::parse(&Config::read_text(path)?)
    }

    /// The text of a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read, is too large or no text.
    pub fn read_text(path: &Path) -> Result<String, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
            return Err(ConfigError::TooLarge);
        }
        std::fs::read_to_string(path).map_err(unreadable)
    }

    /// As [`Config::read`], of the file's text.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: FileConfig = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            ConfigError::Malformed { line, problem: without_value(error.message()) }
        })?;
        let mut config = Config::default();
        if let Some(data_dir) = file.data_dir {
            config.data_dir = data_dir;
        }
        config.data = file.data.settings();
        if let Some(grpc_addr) = file.grpc_addr {
            config.grpc_addr = grpc_addr;
        }
        if let Some(ops_addr) = file.ops_addr {
            config.ops_addr =
                parse_addr_or_off(&ops_addr).ok_or_else(|| setting("ops_addr", ADDR_OR_OFF))?;
        }
        config.tls = file.tls.map(FileTls::settings).transpose()?;
        config.danger_serve_plaintext_beyond_loopback =
            file.danger_serve_plaintext_beyond_loopback.unwrap_or_default();
        if let Some(prefix) = file.key_prefix {
            config.key_prefix =
                KeyPrefix::parse(&prefix).map_err(|error| setting("key_prefix", error))?;
        }
        config.limits = file.limits.settings()?;
        config.ledger = file.ledger.settings()?;
        config.usage = file.usage.settings()?;
        config.notices = file.notices.settings()?;
        config.audit = file.audit.settings()?;
        config.keys = file.keys.settings()?;
        config.privacy = file.privacy.settings()?;
        config.proxies = file.proxies.settings(file.http_addr.as_deref())?;
        config.log = file.log.settings()?;
        config.tracing = file.tracing.settings()?;
        add_policy(&mut config.policy, &file.plans, &file.roles)?;
        Ok(config)
    }
}

/// The days of a span that is set in days.
fn whole_days(span: Duration) -> u64 {
    span.as_secs() / (24 * 3600)
}

/// What the address of a port must be that need not be there.
pub const ADDR_OR_OFF: &str = "must be an IP address and a port, or off";

/// The address of such a port; inside, none for `off`.
#[must_use]
#[expect(clippy::option_option, reason = "not an address, off, or an address")]
pub fn parse_addr_or_off(text: &str) -> Option<Option<SocketAddr>> {
    if text == "off" { Some(None) } else { text.parse().ok().map(Some) }
}

/// What is wrong with a setting of the wrong type, without the value it has.
fn without_value(problem: &str) -> String {
    match problem.split_once(", expected ") {
        Some((told, expected)) if told.starts_with("invalid ") => format!("expected {expected}"),
        _ => problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::{PlanName, RoleName};

    #[test]
    fn an_empty_file_leaves_everything_as_shipped() {
        let config = Config::parse("").expect("empty");
        assert_eq!(config.policy, shipped_policy());
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.key_prefix.as_str(), "kl");
    }

    #[test]
    fn plans_and_roles_are_added_to_those_as_shipped() {
        let text = "key_prefix = \"acme\"\n[plans.tiny]\nactive_keys = 1\nrequests_per_minute = 2\n[plans.standard]\nactive_keys = 7\n\
                    [roles.reader]\npermissions = [\"reports:read\", \"a:*\"]\n[limits]\ndrain_seconds = 3\n";
        let config = Config::parse(text).expect("well-formed");
        let limits = |name| {
            let plan = config.policy.plans[&PlanName::parse(name).expect("a name")];
            (plan.active_keys, plan.requests_per_minute)
        };
        assert_eq!(limits("tiny"), (Some(1), Some(2)));
        assert_eq!(limits("standard"), (Some(7), None), "the whole plan is replaced");
        assert_eq!(limits("enterprise"), (None, Some(60_000)));
        let reader = &config.policy.roles[&RoleName::parse("reader").expect("a name")];
        assert_eq!(reader.len(), 2);
        assert_eq!(config.limits.drain, Duration::from_secs(3));
        let days = |text| Config::parse(text).expect(text).notices.expires_soon.as_secs() / 86_400;
        let given = "[notices]\nexpires_soon_days = ";
        let texts = [String::new(), format!("{given}0"), format!("{given}365")];
        assert_eq!(texts.each_ref().map(|text| days(text)), [14, 0, 365]);
    }

    #[test]
    fn a_bad_value_names_its_setting_and_is_not_printed() {
        let cases = [
            ("key_prefix = \"UPPER\"", "key_prefix"),
            ("[limits]\ndrain_seconds = 0", "limits.drain_seconds"),
            ("[limits]\ncalls_in_flight = 0", "limits.calls_in_flight"),
            (
                "[limits]\nunknown_keys_per_caller_per_minute = 1000001",
                "limits.unknown_keys_per_caller_per_minute",
            ),
            ("[limits]\ntls_handshakes = 0", "limits.tls_handshakes"),
            ("[limits]\ntls_handshake_seconds = 61", "limits.tls_handshake_seconds"),
            ("ops_addr = \"s3cret:1\"", "ops_addr"),
            ("[ledger]\nvolume_bytes = 65535", "ledger.volume_bytes"),
            ("[ledger]\nscrub_bytes_per_second = 1", "ledger.scrub_bytes_per_second"),
            ("[ledger]\nscrub_interval_hours = 0", "ledger.scrub_interval_hours"),
            ("[notices]\nexpires_soon_days = 366", "notices.expires_soon_days"),
            ("[audit]\norigin = \"s3cret s3cret\"", "audit.origin"),
            ("[audit]\norigin = \"\"", "audit.origin"),
            ("[roles.r]\npermissions = [\"s3cret s3cret\"]", "roles.r.permissions"),
            ("[plans.\"S3CRET\"]\nactive_keys = 1", "plans"),
            ("[plans.p]\nrequests_per_minute = 0", "plans.p.requests_per_minute"),
            ("[plans.p]\nrequests_per_minute = 1000000001", "plans.p.requests_per_minute"),
        ];
        for (text, name) in cases {
            let said = Config::parse(text).expect_err(text).to_string();
            assert!(said.contains(name), "{said}");
            assert!(!said.to_lowercase().contains("s3cret") && !said.contains("UPPER"), "{said}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_printed() {
        for value in ["\"s3cret\"", "-31337"] {
            let text = format!("[ledger]\nvolume_bytes = {value}\n");
            let said = Config::parse(&text).expect_err("the wrong type").to_string();
            assert!(said.contains("line 2") && said.contains("expected"), "{said}");
            assert!(!said.contains("s3cret") && !said.contains("31337"), "{said}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_with_its_line() {
        let said = Config::parse("\n\nnonsense = 1\n").expect_err("unknown").to_string();
        assert!(said.contains("line 3") && said.contains("nonsense"), "{said}");
    }
}
