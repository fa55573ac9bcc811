//! Every setting by its name, as the structs have it that the configuration file is read into: what is in force, and
//! where it comes from. Nothing here lists settings; a struct that gets another has it here too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    Config, FileAudit, FileConfig, FileData, FileKeys, FileLedger, FileLimits, FileLog,
    FileNotices, FilePlan, FilePrivacy, FileProxies, FileRole, FileTls, FileTracing, FileUsage,
};

/// The settings and tables of settings that a reload takes. Others are taken at a start alone.
const RELOADED: [&str; 3] = ["plans", "roles", "log.level"];

/// Settings that may let in whoever knows them: URLs whose path may be a secret, commands whose arguments may.
const WITHHELD: [&str; 4] =
    ["audit.anchor.url", "audit.witnesses.url", "keys.kek.command", "keys.pepper.command"];

/// Tables whose members are named by who writes the file, and are set whole.
const NAMED: [&str; 2] = ["plans", "roles"];

/// A path is not text, which is all that a configuration file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a path of the configuration is not UTF-8, and cannot be written down")]
pub struct NotText;

/// Whether a reload takes a change of the setting of this name.
#[must_use]
pub fn is_reloaded(name: &str) -> bool {
    RELOADED.iter().any(|taken| {
        name.strip_prefix(taken).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Where the values of a configuration come from; what is in none of these is a default.
#[derive(Clone, Copy, Debug)]
pub struct Origins<'a> {
    /// The configuration file and its text.
    pub file: Option<(&'a Path, &'a str)>,
    /// By the name of a setting, the flag or variable that set it and goes before the file.
    pub given: &'a BTreeMap<String, String>,
}

impl Config {
    /// The names of the settings that differ between two configurations, in their order.
    ///
    /// # Errors
    /// [`NotText`].
    pub fn differences(&self, other: &Config) -> Result<BTreeSet<String>, NotText> {
        let (ours, theirs) = (tree(self)?, tree(other)?);
        let (ours, theirs) = (by_name(&ours), by_name(&theirs));
        let names = ours.keys().chain(theirs.keys());
        Ok(names.filter(|name| ours.get(*name) != theirs.get(*name)).cloned().collect())
    }

    /// The whole configuration as the text of a file, each setting with where it comes from. A secret is withheld; what
    /// stands in its place is refused when it is read.
    ///
    /// # Errors
    /// [`NotText`].
    pub fn printed(&self, origins: Origins<'_>) -> Result<String, NotText> {
        let file = origins.file.and_then(|(path, text)| Some((path, toml::from_str(text).ok()?)));
        let mut page = Page { text: String::new(), file, given: origins.given };
        page.text.push_str(
            "# What `keyledger serve` runs with: every setting, and behind it where it comes from. What each means,\n\
             # and its bounds, is in deploy/keyledger.toml.\n",
        );
        if let Value::Object(settings) = tree(self)? {
            page.table(&[], &settings);
        }
        Ok(page.text)
    }
}

impl FileConfig {
    /// The file that sets everything as it is in `config`.
    fn of(config: &Config) -> Self {
        let addr_or_off = |address: Option<SocketAddr>| {
            address.map_or_else(|| "off".to_owned(), |address| address.to_string())
        };
        let (plans, roles) = (&config.policy.plans, &config.policy.roles);
        let danger = config.danger_serve_plaintext_beyond_loopback;
        FileConfig {
            data_dir: Some(config.data_dir.clone()),
            grpc_addr: Some(config.grpc_addr),
            ops_addr: Some(addr_or_off(config.ops_addr)),
            http_addr: Some(addr_or_off(config.proxies.http_addr)),
            danger_serve_plaintext_beyond_loopback: Some(danger),
            key_prefix: Some(config.key_prefix.to_string()),
            plans: plans
                .iter()
                .map(|(name, plan)| (name.to_string(), FilePlan::of(plan)))
                .collect(),
            roles: roles
                .iter()
                .map(|(name, role)| (name.to_string(), FileRole::of(role)))
                .collect(),
            data: FileData::of(config.data),
            limits: FileLimits::of(&config.limits),
            ledger: FileLedger::of(&config.ledger),
            usage: FileUsage::of(&config.usage),
            notices: FileNotices::of(&config.notices),
            audit: FileAudit::of(&config.audit),
            tls: config.tls.as_ref().map(FileTls::of),
            keys: FileKeys::of(&config.keys),
            privacy: FilePrivacy::of(&config.privacy),
            proxies: FileProxies::of(&config.proxies),
            log: FileLog::of(&config.log),
            tracing: FileTracing::of(&config.tracing),
        }
    }
}

/// What a file would set that sets everything; null where a setting has no value.
fn tree(config: &Config) -> Result<Value, NotText> {
    serde_json::to_value(FileConfig::of(config)).map_err(|_| NotText)
}

/// The values by the names of their settings. Tables in a list are one value.
fn by_name(tree: &Value) -> BTreeMap<String, &Value> {
    fn walk<'a>(at: &str, value: &'a Value, found: &mut BTreeMap<String, &'a Value>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, member) in members {
                    let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    walk(&at, member, found);
                }
            }
            value => {
                found.insert(at.to_owned(), value);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk("", tree, &mut found);
    found
}

/// The text of a configuration file as it grows.
struct Page<'a> {
    text: String,
    file: Option<(&'a Path, toml::Table)>,
    given: &'a BTreeMap<String, String>,
}

impl Page<'_> {
    /// The settings of a table, then the tables below it: TOML lets no setting of a table follow those.
    fn table(&mut self, path: &[&str], settings: &Map<String, Value>) {
        let at = |name| [path, &[name]].concat();
        for (name, value) in settings.iter().filter(|(_, value)| tables(value).is_none()) {
            self.setting(&at(name.as_str()), value);
        }
        for (name, value) in settings {
            let Some(tables) = tables(value) else { continue };
            let path = at(name.as_str());
            let header = path.iter().map(|name| key(name)).collect::<Vec<_>>().join(".");
            let bare = tables
                .iter()
                .all(|table| table.values().all(|value| self::tables(value).is_some()));
            for table in tables {
                match value {
                    Value::Array(_) => self.text.push_str(&format!("\n[[{header}]]\n")),
                    _ if bare => {}
                    _ => self.text.push_str(&format!("\n[{header}]\n")),
                }
                self.table(&path, table);
            }
        }
    }

    fn setting(&mut self, path: &[&str], value: &Value) {
        let (name, source) = (key(path[path.len() - 1]), self.source(path));
        let value = if WITHHELD.contains(&path.join(".").as_str()) {
            toml_of(&withheld(value))
        } else {
            toml_of(value)
        };
        let line = match value {
            Some(value) => format!("{name} = {value}  # {source}\n"),
            None => format!("#{name}: not set  # {source}\n"),
        };
        self.text.push_str(&line);
    }

    fn source(&self, path: &[&str]) -> String {
        if let Some(given) = self.given.get(&path.join(".")) {
            return given.clone();
        }
        // What a plan of the file leaves open is open because of it.
        let counts = if NAMED.contains(&path[0]) { path.len().min(2) } else { path.len() };
        match &self.file {
            // A control character would end the comment.
            Some((file, table)) if sets(table, &path[..counts]) => {
                format!("file {}", file.display().to_string().escape_debug())
            }
            _ => "default".to_owned(),
        }
    }
}

/// Whether a file sets what is there. Of a list of tables it sets all.
fn sets(table: &toml::Table, path: &[&str]) -> bool {
    match (path.split_first(), path.first().and_then(|name| table.get(*name))) {
        (Some((_, rest)), Some(toml::Value::Table(inner))) if !rest.is_empty() => sets(inner, rest),
        (_, found) => found.is_some(),
    }
}

/// The tables that a value is; none if it is a value of its own, or a table without members.
fn tables(value: &Value) -> Option<Vec<&Map<String, Value>>> {
    match value {
        Value::Object(table) if !table.is_empty() => Some(vec![table]),
        Value::Array(list) if !list.is_empty() => list.iter().map(Value::as_object).collect(),
        _ => None,
    }
}

/// The value as TOML has it; none where nothing is set.
fn toml_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Object(_) => None,
        value => toml::Value::try_from(value).ok().map(|value| value.to_string()),
    }
}

fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        toml::Value::String(name.to_owned()).to_string()
    }
}

/// A secret with what lets somebody in replaced: of a URL all behind the host, of a command its arguments.
fn withheld(value: &Value) -> Value {
    match value {
        Value::String(url) => {
            let host = url.find("://").map_or(0, |at| at + 3);
            let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
            match &url[end..] {
                "" | "/" => value.clone(),
                _ => format!("{} (the rest is withheld)", &url[..end]).into(),
            }
        }
        Value::Array(words) => {
            let program = words.first().cloned().unwrap_or_default();
            Value::Array(vec![program, "(withheld)".into()])
        }
        other => other.clone(),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
