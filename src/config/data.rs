//! `[data]`: what must be so of the data directory.

use serde::Deserialize;

/// What must be so of the data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataSettings {
    /// Whether a server starts only on a data directory that is there already: a volume that is empty, or is not mounted,
    /// is then refused, where it would begin another log. Default false.
    pub must_exist: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileData {
    must_exist: Option<bool>,
}

impl FileData {
    /// The settings.
    pub(super) fn settings(&self) -> DataSettings {
        DataSettings { must_exist: self.must_exist.unwrap_or_default() }
    }
}
