//! Where peppers and key-encryption keys come from: files, the environment, or the output of a command, so that any
//! key-management service fits. Signing keys are always files.
//!
//! Files and variables are all read; a command, which cannot say what there is, is asked for the versions that are
//! needed and then for each next one until there is none. All of it happens at a start or when a key is changed,
//! never on a call.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::{KeySettings, KeySource};
use crate::durable_file::Cause;
use crate::random::Random;
use crate::vault::error::VaultError;
use crate::vault::key_command::{self, MAX_OUTPUT_BYTES, TIMEOUT};
use crate::vault::key_file::{self, Readers};
use crate::vault::key_name::{KeyName, Role};
use crate::vault::secret_key::SecretKey;

/// The directory of key files in a data directory, unless they are kept elsewhere.
const KEYS: &str = "keys";

/// Where the keys of an installation come from.
#[derive(Clone, Debug)]
pub struct KeySources {
    dir: PathBuf,
    readers: Readers,
    pepper: KeySource,
    kek: KeySource,
}

impl KeySources {
    /// Those of the data directory `data_dir`. The group of a file may read it if the directory of key files is
    /// there and outside the data directory, links followed.
    #[must_use]
    pub fn new(settings: &KeySettings, data_dir: &Path) -> Self {
        let dir = settings.dir.clone().unwrap_or_else(|| data_dir.join(KEYS));
        let readers = if is_apart(&dir, data_dir) { Readers::Group } else { Readers::Owner };
        KeySources { dir, readers, pepper: settings.pepper.clone(), kek: settings.kek.clone() }
    }

    /// The directory of key files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether keys of `role` come from files.
    #[must_use]
    pub fn are_files(&self, role: Role) -> bool {
        *self.of(role) == KeySource::File
    }

    fn of(&self, role: Role) -> &KeySource {
        match role {
            Role::Pepper => &self.pepper,
            Role::Kek => &self.kek,
            Role::Signing => &KeySource::File,
        }
    }

    /// Makes the first key of `role` if it comes from files and there is none; whether it did. What
    /// [`key_file::create_first`] asks of the caller holds.
    pub(super) fn create_first(&self, role: Role, random: &dyn Random) -> Result<bool, VaultError> {
        Ok(self.are_files(role) && key_file::create_first(&self.dir, role, random)?)
    }

    /// All keys of `role` that can be told without being asked for: at least one, but none from a command.
    pub(super) fn listed(&self, role: Role) -> Result<BTreeMap<u16, SecretKey>, VaultError> {
        match self.of(role) {
            KeySource::File => key_file::read_all(&self.dir, self.readers, role),
            KeySource::Environment => {
                let keys = in_environment(environment(), role)?;
                if keys.is_empty() {
                    let first = KeyName { role, version: 1 };
                    return Err(Origin::Environment.lacks(first, SourceFault::NotSet));
                }
                Ok(keys)
            }
            KeySource::Command(_) => Ok(BTreeMap::new()),
        }
    }

    /// The keys of `role` that are missing where those of the versions `known` are: of the versions `needed` and,
    /// from a command, each that follows the highest. If nothing is known there is at least one.
    pub(super) fn further(
        &self,
        role: Role,
        known: impl IntoIterator<Item = u16>,
        needed: impl IntoIterator<Item = u16>,
    ) -> Result<BTreeMap<u16, SecretKey>, VaultError> {
        let known: BTreeSet<u16> = known.into_iter().collect();
        let mut found = BTreeMap::new();
        for version in needed {
            if !known.contains(&version) && !found.contains_key(&version) {
                found.insert(version, self.get(KeyName { role, version })?);
            }
        }
        let mut highest = known.last().max(found.keys().last()).copied().unwrap_or(0);
        if matches!(self.of(role), KeySource::Command(_)) {
            while let Some(version) = highest.checked_add(1)
                && let Some(key) = self.find(KeyName { role, version })?
            {
                found.insert(version, key);
                highest = version;
            }
        }
        if highest == 0 {
            found.insert(1, self.get(KeyName { role, version: 1 })?);
        }
        Ok(found)
    }

    /// The key `name`, which is made, durably, if it is not there and keys of its role come from files.
    pub(super) fn provide(
        &self,
        name: KeyName,
        random: &dyn Random,
    ) -> Result<SecretKey, VaultError> {
        if !self.are_files(name.role) {
            return self.get(name);
        }
        // All of them, so that the name of one that is there is durable too.
        let there = key_file::read_all(&self.dir, self.readers, name.role)?.remove(&name.version);
        there.map_or_else(
            || match key_file::create(&self.dir, name, random) {
                // As of a mounted secret: whoever keeps it puts the next key there.
                Err(VaultError::Io { source, .. }) if is_closed(&source) => {
                    Err(Origin::Directory.lacks(name, SourceFault::NotThere))
                }
                made => made.and_then(|()| self.get(name)),
            },
            Ok,
        )
    }

    /// Overwrites and removes the file of the key `name`; whether it is gone. None if keys of its role do not come from
    /// files.
    pub(super) fn destroy(&self, name: KeyName) -> Result<Option<bool>, VaultError> {
        self.are_files(name.role).then(|| key_file::destroy(&self.dir, name)).transpose()
    }

    /// The key `name`; none if the source has none of that version.
    pub(super) fn find(&self, name: KeyName) -> Result<Option<SecretKey>, VaultError> {
        match self.get(name) {
            Ok(key) => Ok(Some(key)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The key `name`, which must be there.
    pub(super) fn get(&self, name: KeyName) -> Result<SecretKey, VaultError> {
        match self.of(name.role) {
            KeySource::File => key_file::read(&self.dir, self.readers, name),
            KeySource::Environment => {
                let origin = Origin::Environment;
                match std::env::var_os(format!("{}{}", prefix(name.role), name.version)) {
                    Some(value) => parse(origin, name, &Zeroizing::new(value.into_vec())),
                    None => Err(origin.lacks(name, SourceFault::NotSet)),
                }
            }
            KeySource::Command(words) => {
                let output = key_command::output_of(words, name.version, TIMEOUT);
                let output = output.map_err(|fault| Origin::Command.lacks(name, fault))?;
                parse(Origin::Command, name, &output)
            }
        }
    }
}

impl From<&Path> for KeySources {
    /// Key files in that directory, for their owner alone.
    fn from(dir: &Path) -> Self {
        let (pepper, kek) = (KeySource::File, KeySource::File);
        KeySources { dir: dir.to_owned(), readers: Readers::Owner, pepper, kek }
    }
}

impl From<&PathBuf> for KeySources {
    fn from(dir: &PathBuf) -> Self {
        KeySources::from(dir.as_path())
    }
}

impl From<&KeySources> for KeySources {
    fn from(sources: &KeySources) -> Self {
        sources.clone()
    }
}

/// Whether the directory `dir` is there and does not lie in `data_dir`.
fn is_apart(dir: &Path, data_dir: &Path) -> bool {
    let Ok(dir) = fs::canonicalize(dir) else { return false };
    match fs::canonicalize(data_dir) {
        Ok(data_dir) => !dir.starts_with(data_dir),
        // What is not there holds no directory.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Whether it says that nothing can be written there by this process.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// The beginning of the names of the variables that hold keys of `role`.
fn prefix(role: Role) -> &'static str {
    match role {
        Role::Pepper => "KEYLEDGER_PEPPER_",
        Role::Kek => "KEYLEDGER_KEK_",
        Role::Signing => "KEYLEDGER_SIGNING_",
    }
}

/// The variables of this process. The copies of their values are wiped.
pub(super) fn environment() -> impl Iterator<Item = (OsString, Zeroizing<Vec<u8>>)> {
    std::env::vars_os().map(|(name, value)| (name, Zeroizing::new(value.into_vec())))
}

fn in_environment(
    variables: impl IntoIterator<Item = (OsString, Zeroizing<Vec<u8>>)>,
    role: Role,
) -> Result<BTreeMap<u16, SecretKey>, VaultError> {
    let mut keys = BTreeMap::new();
    for (variable, value) in variables {
        let variable = variable.to_string_lossy();
        let Some(version) = variable.strip_prefix(prefix(role)) else { continue };
        let misnamed = || VaultError::MisnamedVariable { variable: variable.to_string() };
        let version = key_file::parse_version(version).ok_or_else(misnamed)?;
        keys.insert(version, parse(Origin::Environment, KeyName { role, version }, &value)?);
    }
    Ok(keys)
}

/// The key `name` from its line, with or without the line's end.
fn parse(origin: Origin, name: KeyName, text: &[u8]) -> Result<SecretKey, VaultError> {
    let fault = match key_file::parse_text(text.trim_ascii_end()) {
        Some((held, key)) if held == name => return Ok(key),
        Some((held, _)) => SourceFault::Another(held),
        None => SourceFault::Malformed,
    };
    Err(origin.lacks(name, fault))
}

/// Where a key comes from that this program cannot make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A directory of key files that it cannot write.
    Directory,
    /// A variable of the environment.
    Environment,
    /// The output of a command.
    Command,
}

impl Origin {
    fn lacks(self, key: KeyName, fault: SourceFault) -> VaultError {
        let place = match (self, key.role) {
            (Origin::Directory, _) => key.file_name(),
            (Origin::Environment, role) => format!("{}{}", prefix(role), key.version),
            (Origin::Command, Role::Kek) => "keys.kek.command".to_owned(),
            (Origin::Command, _) => "keys.pepper.command".to_owned(),
        };
        VaultError::Unsupplied { key, place, fault }
    }
}

/// Why a key is not to be had where it should come from. Texts hold nothing of what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SourceFault {
    /// There is no such file, and none can be made.
    #[error("it is not there, and the directory of key files cannot be written")]
    NotThere,
    /// There is no such variable.
    #[error("it is not set")]
    NotSet,
    /// There is no such command, or the operating system refuses.
    #[error("it cannot be run: {0}")]
    NotRun(Cause),
    /// The command failed.
    #[error("it ended with exit code {0}")]
    Failed(i32),
    /// The command was killed.
    #[error("it was ended by signal {0}")]
    Killed(i32),
    /// The command wrote nothing.
    #[error("it wrote nothing")]
    Silent,
    /// The command wrote more than a key can be.
    #[error("it wrote more than {MAX_OUTPUT_BYTES} bytes")]
    TooLong,
    /// The command did not end.
    #[error("it did not end within {} s", TIMEOUT.as_secs())]
    TooSlow,
    /// What is there is no key.
    #[error("what it holds is no whole line of a key file")]
    Malformed,
    /// What is there is another key.
    #[error("what it holds is {0}")]
    Another(KeyName),
}

impl SourceFault {
    /// Whether there is no key, as far as can be told.
    pub(super) fn is_missing(self) -> bool {
        matches!(self, SourceFault::NotSet | SourceFault::Failed(_) | SourceFault::Silent)
    }
}

#[cfg(test)]
#[path = "key_source_tests.rs"]
mod tests;
