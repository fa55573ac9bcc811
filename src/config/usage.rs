//! `[usage]`: how uses are recorded, and in what detail.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, setting, whole_days};
use crate::domain::ids::TenantId;

/// The most tenants with a detail of their own.
const MAX_TENANTS: usize = 10_000;

/// Seconds of the shortest and the longest usage window.
const WINDOW_SECONDS: (u64, u64) = (60, 3600);

/// The most windows that may be set to wait for their record: at 1 KB each, a hundred gigabytes.
const MAX_WINDOWS_WAITING: u64 = 100_000_000;

/// Days of the longest time that figures are kept for: ten years.
const MAX_KEPT_DAYS: u64 = 3_653;

/// Whether an answer may leave before the use it rests on is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// By one flush interval at most, besides the flush under way; what a crash then loses is on record.
    Bounded,
    /// Never: the answer waits.
    BeforeReply,
}

/// What becomes of a use when the disk has been behind for too long, or too many windows wait for their record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenBehind {
    /// It is refused before it is decided.
    Refuse,
    /// It is answered and not recorded; how many were not, and from when to when, is.
    Shed,
}

/// How much of each use is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Every use is counted in its window, a few of each kind are kept as samples.
    Window,
    /// Besides, every denied use is a record of its own.
    Denied,
    /// Besides, every use is a record of its own.
    Every,
}

/// How uses are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSettings {
    /// The span whose uses of a key become one record. It divides an hour, so windows begin with the
    /// hour. Default 1 minute. From 1 minute to 1 hour.
    pub window: Duration,
    /// How often uses are made durable. Default 100 ms: ten syncs a second, and at most so much to lose.
    /// From 1 ms to 10 s.
    pub flush_interval: Duration,
    /// How long a use may wait to be durable before the disk counts as behind. Default 1 s. From 100 ms
    /// to 60 s, and at least two flush intervals.
    pub max_lag: Duration,
    /// How many windows of ended journals may wait in memory for their record before the log counts as behind.
    /// Default a million: about 1 GB, and ten minutes of 100,000 keys in use. From 1 to a hundred millions.
    pub max_windows_waiting: u64,
    /// Whether answers wait. Default: they do not.
    pub durability: Durability,
    /// What happens when disk or log are behind. Default: uses are refused.
    pub when_behind: WhenBehind,
    /// How much of each use is kept. Default: windows.
    pub detail: Detail,
    /// Tenants for whom that is different.
    pub tenants: BTreeMap<TenantId, Detail>,
    /// For how long figures are kept by minute. Default 7 days. From 1 day to ten years.
    pub keep_minutes: Duration,
    /// For how long by hour. Default 90 days; at least as long as by minute.
    pub keep_hours: Duration,
    /// For how long by day. Default 1,100 days: three years and a month; at least as long as by hour.
    pub keep_days: Duration,
}

impl Default for UsageSettings {
    fn default() -> Self {
        UsageSettings {
            window: Duration::from_mins(1),
            flush_interval: Duration::from_millis(100),
            max_lag: Duration::from_secs(1),
            max_windows_waiting: 1_000_000,
            durability: Durability::Bounded,
            when_behind: WhenBehind::Refuse,
            detail: Detail::Window,
            tenants: BTreeMap::new(),
            keep_minutes: days(7),
            keep_hours: days(90),
            keep_days: days(1_100),
        }
    }
}

impl UsageSettings {
    /// How much of the uses of a tenant's keys is kept.
    #[must_use]
    pub fn detail_of(&self, tenant: &TenantId) -> Detail {
        self.tenants.get(tenant).copied().unwrap_or(self.detail)
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileUsage {
    window_seconds: Option<u64>,
    flush_interval_ms: Option<u64>,
    max_lag_ms: Option<u64>,
    max_windows_waiting: Option<u64>,
    durability: Option<String>,
    when_behind: Option<String>,
    detail: Option<String>,
    keep_minutes_days: Option<u64>,
    keep_hours_days: Option<u64>,
    keep_days_days: Option<u64>,
    #[serde(default)]
    pub(super) tenants: BTreeMap<String, FileTenant>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTenant {
    detail: String,
}

impl FileUsage {
    pub(super) fn of(settings: &UsageSettings) -> Self {
        let millis = |span: Duration| u64::try_from(span.as_millis()).ok();
        let tenants = settings.tenants.iter().map(|(tenant, detail)| {
            let detail = word(*detail, &DETAILS);
            (tenant.as_str().to_owned(), FileTenant { detail })
        });
        FileUsage {
            window_seconds: Some(settings.window.as_secs()),
            flush_interval_ms: millis(settings.flush_interval),
            max_lag_ms: millis(settings.max_lag),
            max_windows_waiting: Some(settings.max_windows_waiting),
            durability: Some(word(settings.durability, &DURABILITIES)),
            when_behind: Some(word(settings.when_behind, &WHEN_BEHIND)),
            detail: Some(word(settings.detail, &DETAILS)),
            keep_minutes_days: Some(whole_days(settings.keep_minutes)),
            keep_hours_days: Some(whole_days(settings.keep_hours)),
            keep_days_days: Some(whole_days(settings.keep_days)),
            tenants: tenants.collect(),
        }
    }

    /// The settings, each within its bounds.
    pub(super) fn settings(&self) -> Result<UsageSettings, ConfigError> {
        let default = UsageSettings::default();
        let window = match self.window_seconds {
            None => default.window,
            Some(given) if is_window(given) => Duration::from_secs(given),
            Some(_) => {
                let problem = "must be from 60 to 3600 and divide an hour";
                return Err(setting("usage.window_seconds", problem));
            }
        };
        let flush_interval = match self.flush_interval_ms {
            None => default.flush_interval,
            Some(given) if (1..=10_000).contains(&given) => Duration::from_millis(given),
            Some(_) => return Err(setting("usage.flush_interval_ms", "must be from 1 to 10000")),
        };
        let max_lag = match self.max_lag_ms {
            None => default.max_lag,
            Some(given) if (100..=60_000).contains(&given) => Duration::from_millis(given),
            Some(_) => return Err(setting("usage.max_lag_ms", "must be from 100 to 60000")),
        };
        // Less would count a disk as behind that is not.
        if max_lag < flush_interval * 2 {
            let problem = "must be at least twice usage.flush_interval_ms";
            return Err(setting("usage.max_lag_ms", problem));
        }
        let max_windows_waiting = match self.max_windows_waiting {
            None => default.max_windows_waiting,
            Some(given) if (1..=MAX_WINDOWS_WAITING).contains(&given) => given,
            Some(_) => {
                let problem = format!("must be from 1 to {MAX_WINDOWS_WAITING}");
                return Err(setting("usage.max_windows_waiting", problem));
            }
        };
        let [keep_minutes, keep_hours, keep_days] = self.kept(&default)?;
        Ok(UsageSettings {
            window,
            flush_interval,
            max_lag,
            max_windows_waiting,
            durability: choice("usage.durability", self.durability.as_deref(), &DURABILITIES)?
                .unwrap_or(default.durability),
            when_behind: choice("usage.when_behind", self.when_behind.as_deref(), &WHEN_BEHIND)?
                .unwrap_or(default.when_behind),
            detail: choice("usage.detail", self.detail.as_deref(), &DETAILS)?
                .unwrap_or(default.detail),
            tenants: self.tenants()?,
            keep_minutes,
            keep_hours,
            keep_days,
        })
    }

    /// For how long figures are kept: no finer ones for longer than coarser ones.
    fn kept(&self, default: &UsageSettings) -> Result<[Duration; 3], ConfigError> {
        let one = |name: &str, given: Option<u64>, default| match given {
            None => Ok(default),
            Some(given) if (1..=MAX_KEPT_DAYS).contains(&given) => Ok(days(given)),
            Some(_) => Err(setting(name, format!("must be from 1 to {MAX_KEPT_DAYS}"))),
        };
        let minutes = one("usage.keep_minutes_days", self.keep_minutes_days, default.keep_minutes)?;
        let hours = one("usage.keep_hours_days", self.keep_hours_days, default.keep_hours)?;
        let days = one("usage.keep_days_days", self.keep_days_days, default.keep_days)?;
        if hours < minutes {
            let problem = "must be at least usage.keep_minutes_days";
            return Err(setting("usage.keep_hours_days", problem));
        }
        if days < hours {
            let problem = "must be at least usage.keep_hours_days";
            return Err(setting("usage.keep_days_days", problem));
        }
        Ok([minutes, hours, days])
    }

    fn tenants(&self) -> Result<BTreeMap<TenantId, Detail>, ConfigError> {
        if self.tenants.len() > MAX_TENANTS {
            return Err(setting("usage.tenants", format!("must be at most {MAX_TENANTS}")));
        }
        let mut tenants = BTreeMap::new();
        for (name, tenant) in &self.tenants {
            let id = TenantId::parse(name).map_err(|error| setting("usage.tenants", error))?;
            let at = format!("usage.tenants.{name}.detail");
            if let Some(detail) = choice(at, Some(&tenant.detail), &DETAILS)? {
                tenants.insert(id, detail);
            }
        }
        Ok(tenants)
    }
}

const DURABILITIES: [(&str, Durability); 2] =
    [("bounded", Durability::Bounded), ("before_reply", Durability::BeforeReply)];
const WHEN_BEHIND: [(&str, WhenBehind); 2] =
    [("refuse", WhenBehind::Refuse), ("shed", WhenBehind::Shed)];
const DETAILS: [(&str, Detail); 3] =
    [("window", Detail::Window), ("denied", Detail::Denied), ("every", Detail::Every)];

/// The value that `given` names, if it is given.
pub(super) fn choice<T: Copy>(
    name: impl Into<String>,
    given: Option<&str>,
    choices: &[(&str, T)],
) -> Result<Option<T>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    match choices.iter().find(|(word, _)| *word == given) {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>();
            Err(setting(name, format!("must be {}", words.join(" or "))))
        }
    }
}

/// The word that names `value`, which is one of the choices.
pub(super) fn word<T: Copy + PartialEq>(value: T, choices: &[(&str, T)]) -> String {
    let found = choices.iter().find(|(_, choice)| *choice == value);
    found.map(|(word, _)| (*word).to_owned()).unwrap_or_default()
}

fn days(count: u64) -> Duration {
    Duration::from_hours(24 * count)
}

fn is_window(seconds: u64) -> bool {
    (WINDOW_SECONDS.0..=WINDOW_SECONDS.1).contains(&seconds) && 3600 % seconds == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parsed(text: &str) -> UsageSettings {
        Config::parse(text).expect("well-formed").usage
    }

    #[test]
    fn nothing_set_leaves_it_as_shipped() {
        assert_eq!(parsed(""), UsageSettings::default());
        assert_eq!(parsed("[usage]"), UsageSettings::default());
    }

    #[test]
    fn every_setting_is_read() {
        let settings = parsed(
            "[usage]\nwindow_seconds = 900\nflush_interval_ms = 20\nmax_lag_ms = 5000\n\
             max_windows_waiting = 7\n\
             durability = \"before_reply\"\nwhen_behind = \"shed\"\ndetail = \"denied\"\n\
             keep_minutes_days = 3\nkeep_hours_days = 30\nkeep_days_days = 3653\n\
             [usage.tenants.acme]\ndetail = \"every\"\n[usage.tenants.\"b.example\"]\ndetail = \"window\"\n",
        );
        let tenant = |name| TenantId::parse(name).expect("a tenant");
        let tenants = [(tenant("acme"), Detail::Every), (tenant("b.example"), Detail::Window)];
        let expected = UsageSettings {
            window: Duration::from_mins(15),
            flush_interval: Duration::from_millis(20),
            max_lag: Duration::from_secs(5),
            max_windows_waiting: 7,
            durability: Durability::BeforeReply,
            when_behind: WhenBehind::Shed,
            detail: Detail::Denied,
            tenants: BTreeMap::from(tenants),
            keep_minutes: days(3),
            keep_hours: days(30),
            keep_days: days(3653),
        };
        assert_eq!(settings, expected);
        assert_eq!(settings.detail_of(&tenant("acme")), Detail::Every);
        assert_eq!(settings.detail_of(&tenant("another")), Detail::Denied);
    }

    #[test]
    fn windows_begin_with_the_hour() {
        for seconds in [60, 72, 600, 1800, 3600] {
            let text = format!("[usage]\nwindow_seconds = {seconds}");
            assert_eq!(parsed(&text).window, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn a_bad_value_names_its_setting_and_is_not_printed() {
        let cases = [
            ("window_seconds = 30", "usage.window_seconds"),
            ("window_seconds = 7200", "usage.window_seconds"),
            ("window_seconds = 61", "usage.window_seconds"),
            ("flush_interval_ms = 0", "usage.flush_interval_ms"),
            ("flush_interval_ms = 10001", "usage.flush_interval_ms"),
            ("max_lag_ms = 99", "usage.max_lag_ms"),
            ("max_lag_ms = 60001", "usage.max_lag_ms"),
            ("max_lag_ms = 1000\nflush_interval_ms = 501", "usage.max_lag_ms"),
            ("max_windows_waiting = 0", "usage.max_windows_waiting: must be from 1 to 100000000"),
            ("max_windows_waiting = 100000001", "usage.max_windows_waiting"),
            ("durability = \"s3cret\"", "usage.durability: must be bounded or before_reply"),
            ("when_behind = \"s3cret\"", "usage.when_behind"),
            ("detail = \"s3cret\"", "usage.detail: must be window or denied or every"),
            ("[usage.tenants.acme]\ndetail = \"s3cret\"", "usage.tenants.acme.detail"),
            ("[usage.tenants.\"s3cret s3cret\"]\ndetail = \"every\"", "usage.tenants"),
            ("[usage.tenants.acme]\ndetails = \"every\"", "details"),
            ("[usage.tenants.acme]", "detail"),
            ("windows = 1", "windows"),
            ("keep_minutes_days = 0", "usage.keep_minutes_days"),
            ("keep_days_days = 3654", "usage.keep_days_days: must be from 1 to 3653"),
            ("keep_minutes_days = 91", "usage.keep_hours_days"),
            (
                "keep_hours_days = 1101",
                "usage.keep_days_days: must be at least usage.keep_hours_days",
            ),
        ];
        for (text, name) in cases {
            let said = Config::parse(&format!("[usage]\n{text}\n")).expect_err(text).to_string();
            assert!(said.contains(name), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
