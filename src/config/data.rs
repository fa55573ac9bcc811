//! `[data]`: what must be so of the data directory.

use serde::{Deserialize, Serialize};

/// What must be so of the data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataSettings {
    /// Whether a server starts only on a data directory that is there already: a volume that is empty, or is not mounted,
    /// is then refused, where it would begin another log. Default false.
    pub must_exist: bool,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileData {
    must_exist: Option<bool>,
}

impl FileData {
    pub(super) fn of(settings: DataSettings) -> Self {
        FileData { must_exist: Some(settings.must_exist) }
    }

    /// The settings.
    pub(super) fn settings(&self) -> DataSettings {
        DataSettings { must_exist: self.must_exist.unwrap_or_default() }
    }
}
