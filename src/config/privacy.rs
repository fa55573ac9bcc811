//! `[privacy]`: for how long personal data can be read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, setting, whole_days};

/// Hours of a day.
const HOURS: u64 = 24;

/// Most days sources are kept: a hundred years.
const MAX_DAYS: u64 = 36_525;

/// For how long personal data can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivacySettings {
    /// How long after the end of a month the sources and agents of its uses, tries with unknown keys and refused
    /// calls can be read; none: for ever. Default 400 days: a year, and time to look back at it. From 1 to 36,525
    /// days; written as 0 for ever.
    pub source_retention: Option<Duration>,
}

impl Default for PrivacySettings {
    fn default() -> Self {
        PrivacySettings { source_retention: Some(Duration::from_hours(400 * HOURS)) }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePrivacy {
    source_retention_days: Option<u64>,
}

impl FilePrivacy {
    pub(super) fn of(settings: &PrivacySettings) -> Self {
        FilePrivacy { source_retention_days: Some(settings.source_retention.map_or(0, whole_days)) }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(&self) -> Result<PrivacySettings, ConfigError> {
        let source_retention = match self.source_retention_days {
            None => return Ok(PrivacySettings::default()),
            Some(0) => None,
            Some(days) if days <= MAX_DAYS => Some(Duration::from_hours(days * HOURS)),
            Some(_) => {
                let problem = format!("must be from 0 to {MAX_DAYS}");
                return Err(setting("privacy.source_retention_days", problem));
            }
        };
        Ok(PrivacySettings { source_retention })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn sources_are_kept_for_the_days_that_are_set_or_for_ever() {
        let kept = |text: &str| {
            let privacy = Config::parse(text).expect(text).privacy;
            privacy.source_retention.map(|kept| kept.as_secs() / 86_400)
        };
        assert_eq!(kept(""), Some(400));
        assert_eq!(kept("[privacy]\nsource_retention_days = 0"), None);
        assert_eq!(kept("[privacy]\nsource_retention_days = 1"), Some(1));
        assert_eq!(kept("[privacy]\nsource_retention_days = 36525"), Some(36_525));
        let refused = Config::parse("[privacy]\nsource_retention_days = 36526").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "setting privacy.source_retention_days: must be from 0 to 36525"
        );
    }
}
