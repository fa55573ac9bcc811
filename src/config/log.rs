//! `[log]`: what the server says of itself, and how.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::usage::{choice, word};
use super::{ConfigError, setting};

/// Most bytes of a filter.
const MAX_LEVEL_BYTES: usize = 1024;

/// What a filter must be.
pub const LOG_LEVEL: &str = "must be a level (off, error, warn, info, debug, trace) or levels by module, such as warn,keyledger::server=debug; \
     at most 1024 bytes";

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object.
    Json,
}

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// What the server says of itself, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// What a line looks like. Default: text.
    pub format: LogFormat,
    /// Which lines are written: a level, or levels by module. Default: from `info` on.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// Whether this says which lines are written.
#[must_use]
pub fn is_log_level(text: &str) -> bool {
    text.len() <= MAX_LEVEL_BYTES && EnvFilter::try_new(text).is_ok()
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLog {
    format: Option<String>,
    level: Option<String>,
}

impl FileLog {
    pub(super) fn of(settings: &LogSettings) -> Self {
        FileLog {
            format: Some(word(settings.format, &FORMATS)),
            level: Some(settings.level.clone()),
        }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(self) -> Result<LogSettings, ConfigError> {
        let default = LogSettings::default();
        let format = choice("log.format", self.format.as_deref(), &FORMATS)?;
        let level = self.level.unwrap_or(default.level);
        if !is_log_level(&level) {
            return Err(setting("log.level", LOG_LEVEL));
        }
        Ok(LogSettings { format: format.unwrap_or(default.format), level })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_filter_names_levels_by_module_and_a_bad_one_is_refused_unprinted() {
        let level = |text: &str| Config::parse(&format!("[log]\nlevel = \"{text}\"\n"));
        let long = "x".repeat(MAX_LEVEL_BYTES + 1);
        for good in ["off", "warn", "warn,keyledger::server=debug", ""] {
            assert_eq!(level(good).expect(good).log.level, good);
        }
        for bad in ["info,s3cret=s3cret", "keyledger=s3cret", long.as_str()] {
            let said = level(bad).expect_err(bad).to_string();
            assert!(said.contains("log.level") && !said.contains("s3cret"), "{said}");
        }
        let said = Config::parse("[log]\nformat = \"s3cret\"").expect_err("no format").to_string();
        assert!(said.contains("log.format: must be text or json"), "{said}");
    }
}
