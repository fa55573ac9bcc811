//! A directory for the copies that a check opens: private, and gone when the check is done.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::random::{self, Random};

/// A new directory, removed with all that is in it when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it in `base`, under a name that nobody can have prepared.
    pub(super) fn make(base: &Path, random: &dyn Random) -> io::Result<Self> {
        let name = u64::from_be_bytes(random::bytes(random));
        let path = base.join(format!("keyledger-check-{name:016x}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "copies made for the check are left");
        }
    }
}
