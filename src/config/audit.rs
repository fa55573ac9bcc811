//! `[audit]`: how the log is proved.

use serde::Deserialize;

use super::{ConfigError, setting};
use crate::merkle::note::KeyName;

/// Most bytes of the origin: with the generation behind it, it is the name of a key.
const MAX_ORIGIN_BYTES: usize = 200;

/// How the log is proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditSettings {
    /// What checkpoints say they are of; none: a name that is derived from the first record. From 1 to 200
    /// bytes, without spaces, control characters and plus signs. Two logs MUST NOT have the same.
    pub origin: Option<KeyName>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAudit {
    origin: Option<String>,
}

impl FileAudit {
    /// The settings, each within its bounds.
    pub(super) fn settings(&self) -> Result<AuditSettings, ConfigError> {
        let must = "must be 1 to 200 bytes without spaces, control characters and plus signs";
        let name = |text: &String| {
            let fits = text.len() <= MAX_ORIGIN_BYTES;
            KeyName::parse(text).filter(|_| fits).ok_or_else(|| setting("audit.origin", must))
        };
        Ok(AuditSettings { origin: self.origin.as_ref().map(name).transpose()? })
    }
}
