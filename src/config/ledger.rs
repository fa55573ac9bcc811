//! `[ledger]`: how the log is kept and looked after.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, setting};

/// Seconds of an hour.
const SECONDS_OF_AN_HOUR: u64 = 3600;

/// How the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    /// Bytes of frames after which a volume of the log is sealed. Default 64 MiB: opening sled again
    /// takes time and memory by what is in the live volume. From 64 KiB to 1 GiB.
    pub volume_bytes: u64,
    /// Bytes that the scrub reads in a second, at most; none: there is no scrub. Default 4 MiB: a disk's
    /// other readers do not notice. From 64 KiB to 1 GiB; written as 0 for none.
    pub scrub_bytes_per_second: Option<NonZeroU64>,
    /// How long the scrub rests when it has read everything. Default 24 hours. From 1 hour to 90 days.
    pub scrub_interval: Duration,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        LedgerSettings {
            volume_bytes: 64 * 1024 * 1024,
            scrub_bytes_per_second: NonZeroU64::new(4 * 1024 * 1024),
            scrub_interval: Duration::from_hours(24),
        }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLedger {
    volume_bytes: Option<u64>,
    scrub_bytes_per_second: Option<u64>,
    scrub_interval_hours: Option<u64>,
}

impl FileLedger {
    pub(super) fn of(settings: &LedgerSettings) -> Self {
        FileLedger {
            volume_bytes: Some(settings.volume_bytes),
            scrub_bytes_per_second: Some(
                settings.scrub_bytes_per_second.map_or(0, NonZeroU64::get),
            ),
            scrub_interval_hours: Some(settings.scrub_interval.as_secs() / SECONDS_OF_AN_HOUR),
        }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(&self) -> Result<LedgerSettings, ConfigError> {
        let default = LedgerSettings::default();
        let volume_bytes = self.volume_bytes.unwrap_or(default.volume_bytes);
        if !(64 * 1024..=1024 * 1024 * 1024).contains(&volume_bytes) {
            return Err(setting("ledger.volume_bytes", "must be from 65536 to 1073741824"));
        }
        let scrub_bytes_per_second = match self.scrub_bytes_per_second {
            None => default.scrub_bytes_per_second,
            Some(given) if given == 0 || (64 * 1024..=1024 * 1024 * 1024).contains(&given) => {
                NonZeroU64::new(given)
            }
            Some(_) => {
                let problem = "must be 0 or from 65536 to 1073741824";
                return Err(setting("ledger.scrub_bytes_per_second", problem));
            }
        };
        let scrub_interval = match self.scrub_interval_hours {
            None => default.scrub_interval,
            Some(given) if (1..=90 * 24).contains(&given) => Duration::from_hours(given),
            Some(_) => {
                return Err(setting("ledger.scrub_interval_hours", "must be from 1 to 2160"));
            }
        };
        Ok(LedgerSettings { volume_bytes, scrub_bytes_per_second, scrub_interval })
    }
}
