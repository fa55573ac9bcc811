//! `[audit]`: how the log is proved, where its checkpoints are kept besides, and who cosigns them.

mod witness;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Serialize};

use super::{ConfigError, setting};
use crate::merkle::note::KeyName;
use witness::FileWitness;

pub use witness::{Witness, WitnessSettings};

/// Most bytes of the origin: with the generation behind it, it is the name of a key.
const MAX_ORIGIN_BYTES: usize = 200;

/// Most bytes of a URL.
const MAX_URL_BYTES: usize = 2048;

/// Most seconds between two anchors: a day.
const MAX_INTERVAL_SECONDS: u64 = 86_400;

/// How the log is proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditSettings {
    /// What checkpoints say they are of; none: a name that is derived from the first record. From 1 to 200
    /// bytes, without spaces, control characters and plus signs. Two logs MUST NOT have the same.
    pub origin: Option<KeyName>,
    /// Where checkpoints are kept off the host.
    pub anchor: AnchorSettings,
    /// Who is asked to cosign them, in the same interval.
    pub witnesses: WitnessSettings,
}

/// Where checkpoints are kept off the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorSettings {
    /// The file that holds the newest one; none: no file.
    pub file: Option<PathBuf>,
    /// The file to which each is appended as a line; none: no such file.
    pub history: Option<PathBuf>,
    /// Where each is posted to; none: nowhere.
    pub url: Option<PostUrl>,
    /// How long after one that was kept the next is, if the log has grown. Default 1 minute: what a host that
    /// was broken into could still rewrite unseen. From 1 second to 1 day.
    pub interval: Duration,
}

impl Default for AnchorSettings {
    fn default() -> Self {
        let interval = Duration::from_mins(1);
        AnchorSettings { file: None, history: None, url: None, interval }
    }
}

/// An `http://` or `https://` URL to post to. Its path may let in whoever knows it, so it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PostUrl(Uri);

impl PostUrl {
    /// The URL, if it is one with a host and without user or fragment.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let named = uri.scheme_str().is_some_and(|scheme| ["http", "https"].contains(&scheme));
        let authority = uri.authority()?.as_str();
        let open = !authority.contains('@') && !authority.starts_with(':');
        (text.len() <= MAX_URL_BYTES && named && open && !text.contains('#'))
            .then_some(PostUrl(uri))
    }

    /// What to connect to.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Debug for PostUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostUrl(…)")
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAudit {
    origin: Option<String>,
    #[serde(default)]
    anchor: FileAnchor,
    #[serde(default)]
    witnesses: Vec<FileWitness>,
    witness_quorum: Option<usize>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FileAnchor {
    file: Option<PathBuf>,
    history: Option<PathBuf>,
    url: Option<String>,
    interval_seconds: Option<u64>,
}

impl FileAudit {
    pub(super) fn of(settings: &AuditSettings) -> Self {
        let witnesses = &settings.witnesses;
        FileAudit {
            origin: settings.origin.as_ref().map(ToString::to_string),
            anchor: FileAnchor::of(&settings.anchor),
            witnesses: witnesses.all.iter().map(FileWitness::of).collect(),
            witness_quorum: (!witnesses.all.is_empty()).then_some(witnesses.quorum),
        }
    }

    /// With a witness, to tell which settings one has.
    #[cfg(test)]
    pub(super) fn with_a_witness(self) -> Self {
        FileAudit { witnesses: vec![FileWitness::default()], ..self }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(&self) -> Result<AuditSettings, ConfigError> {
        let must = "must be 1 to 200 bytes without spaces, control characters and plus signs";
        let name = |text: &String| {
            let fits = text.len() <= MAX_ORIGIN_BYTES;
            KeyName::parse(text).filter(|_| fits).ok_or_else(|| setting("audit.origin", must))
        };
        let origin = self.origin.as_ref().map(name).transpose()?;
        let witnesses = witness::settings(&self.witnesses, self.witness_quorum)?;
        Ok(AuditSettings { origin, anchor: self.anchor.settings()?, witnesses })
    }
}

impl FileAnchor {
    fn of(settings: &AnchorSettings) -> Self {
        FileAnchor {
            file: settings.file.clone(),
            history: settings.history.clone(),
            url: settings.url.as_ref().map(|url| url.uri().to_string()),
            interval_seconds: Some(settings.interval.as_secs()),
        }
    }

    fn settings(&self) -> Result<AnchorSettings, ConfigError> {
        let default = AnchorSettings::default();
        let path = |name, path: &Option<PathBuf>| match path {
            Some(path) if path.file_name().is_none() => Err(setting(name, "must name a file")),
            path => Ok(path.clone()),
        };
        let file = path("audit.anchor.file", &self.file)?;
        let history = path("audit.anchor.history", &self.history)?;
        if history.is_some() && history == file {
            return Err(setting("audit.anchor.history", "must not be audit.anchor.file"));
        }
        let url = self.url.as_deref().map(|text| post_url("audit.anchor.url", text)).transpose()?;
        let interval = match self.interval_seconds {
            None => default.interval,
            Some(given) if (1..=MAX_INTERVAL_SECONDS).contains(&given) => {
                Duration::from_secs(given)
            }
            Some(_) => {
                let problem = format!("must be from 1 to {MAX_INTERVAL_SECONDS}");
                return Err(setting("audit.anchor.interval_seconds", problem));
            }
        };
        Ok(AnchorSettings { file, history, url, interval })
    }
}

fn post_url(name: &str, text: &str) -> Result<PostUrl, ConfigError> {
    let problem = format!(
        "must be an http:// or https:// URL of at most {MAX_URL_BYTES} bytes without user, password and \
         fragment"
    );
    PostUrl::parse(text).ok_or_else(|| setting(name, problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parsed(text: &str) -> AuditSettings {
        Config::parse(text).expect("well-formed").audit
    }

    #[test]
    fn nothing_set_keeps_no_checkpoint_elsewhere() {
        for text in ["", "[audit]", "[audit.anchor]"] {
            assert_eq!(parsed(text), AuditSettings::default());
        }
    }

    #[test]
    fn every_setting_of_anchors_is_read() {
        let url = "https://anchors.example.com:8443/keyledger?token=s3cret";
        let text = format!(
            "[audit.anchor]\nfile = \"/mnt/a\"\nhistory = \"b\"\nurl = \"{url}\"\ninterval_seconds = 86400\n"
        );
        let settings = parsed(&text).anchor;
        assert!(!format!("{settings:?}").contains("s3cret"), "the URL is not shown");
        let expected = AnchorSettings {
            file: Some("/mnt/a".into()),
            history: Some("b".into()),
            url: PostUrl::parse(url),
            interval: Duration::from_hours(24),
        };
        assert_eq!(settings, expected);
        assert_eq!(settings.url.map(|url| url.uri().to_string()).as_deref(), Some(url));
    }

    #[test]
    fn a_bad_value_names_its_setting_and_is_not_printed() {
        let long = format!("url = \"http://s3cret/{}\"", "a".repeat(MAX_URL_BYTES));
        let cases = [
            ("url = \"ftp://s3cret\"", "audit.anchor.url"),
            ("url = \"s3cret\"", "audit.anchor.url"),
            ("url = \"/s3cret\"", "audit.anchor.url"),
            ("url = \"http://\"", "audit.anchor.url"),
            ("url = \"http://user:s3cret@host/\"", "audit.anchor.url"),
            ("url = \"http://s3cret@host/\"", "audit.anchor.url"),
            ("url = \"http://host/#s3cret\"", "audit.anchor.url"),
            (&long, "audit.anchor.url"),
            ("file = \"\"", "audit.anchor.file"),
            ("file = \"/s3cret/..\"", "audit.anchor.file"),
            ("history = \"/\"", "audit.anchor.history"),
            ("file = \"s3cret\"\nhistory = \"s3cret\"", "audit.anchor.history"),
            ("interval_seconds = 0", "audit.anchor.interval_seconds"),
            ("interval_seconds = 86401", "audit.anchor.interval_seconds: must be from 1 to 86400"),
            ("intervals = 1", "intervals"),
        ];
        for (text, name) in cases {
            let text = format!("[audit.anchor]\n{text}\n");
            let said = Config::parse(&text).expect_err(&text).to_string();
            assert!(said.contains(name), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
