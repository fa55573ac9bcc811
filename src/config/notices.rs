//! `[notices]`: what the holders of keys that work are told besides.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, setting, whole_days};

/// Hours of a day.
const HOURS: u64 = 24;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeSettings {
    /// How long before a key expires that is said with each of its uses, and the key is among those that
    /// expire soon. Default 14 days: time to make a new key and bring it out without haste. From 0, which is
    /// never, to 365 days.
    pub expires_soon: Duration,
}

impl Default for NoticeSettings {
    fn default() -> Self {
        NoticeSettings { expires_soon: Duration::from_hours(14 * HOURS) }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileNotices {
    expires_soon_days: Option<u64>,
}

impl FileNotices {
    pub(super) fn of(settings: &NoticeSettings) -> Self {
        FileNotices { expires_soon_days: Some(whole_days(settings.expires_soon)) }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(&self) -> Result<NoticeSettings, ConfigError> {
        match self.expires_soon_days {
            None => Ok(NoticeSettings::default()),
            Some(days) if days <= 365 => {
                Ok(NoticeSettings { expires_soon: Duration::from_hours(days * HOURS) })
            }
            Some(_) => Err(setting("notices.expires_soon_days", "must be from 0 to 365")),
        }
    }
}
