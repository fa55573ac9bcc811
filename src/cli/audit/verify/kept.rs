//! What a run keeps beside the state file, so that a later one reads only what is new.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::failure::Failure;
use crate::cli::output::note;
use crate::clock::{Clock as _, SystemClock};
use crate::durable_file;
use crate::verify::MOST_BYTES;

/// How often a long run keeps how far it is: what was read since is read again if it is cut off.
const KEEP_EACH: Duration = Duration::from_secs(30);

/// Reads and writes the file that is kept; nothing if there is no state file.
#[derive(Debug)]
pub(super) struct Keeper {
    path: Option<PathBuf>,
    /// What the checkpoints are of that all is held to.
    origin: String,
    /// Whether what is there is passed over.
    anew: bool,
    clock: SystemClock,
    kept: Duration,
}

impl Keeper {
    pub(super) fn new(state: Option<&Path>, origin: &str, anew: bool) -> Self {
        let beside = |state: &Path| {
            let mut path = state.as_os_str().to_owned();
            path.push(".progress");
            PathBuf::from(path)
        };
        let clock = SystemClock::new();
        let kept = clock.monotonic();
        Keeper { path: state.map(beside), origin: origin.to_owned(), anew, clock, kept }
    }

    /// What the checkpoints are of that all is held to.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// What an earlier run kept, as `read` makes it out; none if there is nothing of use: people are told.
    pub(super) fn load<T>(
        &self,
        read: impl FnOnce(&[u8], &str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(path) = self.path.as_deref().filter(|_| !self.anew) else { return Ok(None) };
        match durable_file::read_bounded(path, MOST_BYTES) {
            Ok(bytes) => {
                let kept = bytes.and_then(|bytes| read(&bytes, &self.origin));
                if kept.is_none() {
                    self.tell_anew(
                        "it is of other records (as with and without --tenant), or damaged",
                    );
                }
                Ok(kept)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(told(path, &error)),
        }
    }

    /// Tells people that what is kept is of no use, and why.
    pub(super) fn tell_anew(&self, why: &str) {
        if let Some(path) = &self.path {
            note(&format!("{}: {why}; everything is verified from the beginning", path.display()));
        }
    }

    /// Whether it is time to keep how far the run is.
    pub(super) fn is_due(&self) -> bool {
        self.path.is_some() && self.clock.monotonic().saturating_sub(self.kept) >= KEEP_EACH
    }

    /// Keeps how far the run is, in the place of what was kept before.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        durable_file::write_replacing(path, bytes, 0o600).map_err(|error| told(path, &error))?;
        self.kept = self.clock.monotonic();
        Ok(())
    }
}

fn told(path: &Path, error: &io::Error) -> Failure {
    Failure::Local(format!("{}: {error}", path.display()))
}
