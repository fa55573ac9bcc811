//! What can be wrong with keys. Texts name files, roles, versions and slots, never contents.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::domain::ids::PepperVersion;
use crate::domain::sealed::DataKeyId;
use crate::vault::key_name::{KeyName, Role};
use crate::vault::key_source::SourceFault;

/// Why the vault cannot be opened or used.
#[derive(Debug, Error)]
pub enum VaultError {
    /// A pepper that tags in the log were made with is not there.
    #[error(
        "pepper version {version} is missing: expected pepper-{version}.key in the keys directory"
    )]
    MissingPepper {
        /// The version that is not there.
        version: PepperVersion,
    },
    /// The pepper of this version is not the one that the log registered.
    #[error(
        "pepper version {version} is not the one this log was written with: restore the right \
         pepper-{version}.key"
    )]
    WrongPepper {
        /// The version whose check value differs.
        version: PepperVersion,
    },
    /// A key-encryption key that data keys are wrapped by is not there.
    #[error(
        "key-encryption key version {version} is missing: expected kek-{version}.key in the keys \
         directory"
    )]
    MissingKek {
        /// The version that is not there.
        version: u16,
    },
    /// There is no key to sign checkpoints with.
    #[error(
        "signing key version {version} is missing: expected signing-{version}.key in the keys directory"
    )]
    MissingSigningKey {
        /// The version that is not there.
        version: u16,
    },
    /// The key-encryption key of this version does not unwrap the data keys that name it.
    #[error(
        "key-encryption key version {version} is not the one the data keys were wrapped by: restore \
         the right kek-{version}.key"
    )]
    WrongKek {
        /// The version that does not fit.
        version: u16,
    },
    /// A key file that others may read.
    #[error("{} ({key}) is open to other users: chmod 600 it", .key.file_name())]
    LooseKeyFile {
        /// The key the file is for.
        key: KeyName,
    },
    /// A key file that holds no whole key.
    #[error("{} ({key}) is truncated or altered: restore it from its backup", .key.file_name())]
    DamagedKeyFile {
        /// The key the file is for.
        key: KeyName,
    },
    /// A key file that holds another key than its name says.
    #[error("{} should hold {key} but holds {held}: files were mixed up", .key.file_name())]
    MixedUpKeyFile {
        /// The key the file is for.
        key: KeyName,
        /// The key it says it holds.
        held: KeyName,
    },
    /// A file in the keys directory that is named almost as a key file is.
    #[error(
        "{file} in the keys directory is named like a key file but for no version: rename or remove it"
    )]
    MisnamedKeyFile {
        /// The name of the file.
        file: String,
    },
    /// A key that this program cannot make is not there, or is not what it should be.
    #[error("{key} is not to be had from {place}: {fault}")]
    Unsupplied {
        /// The key that was asked for.
        key: KeyName,
        /// Where it should come from: the file, the variable, or the setting of the command.
        place: String,
        /// What is wrong.
        fault: SourceFault,
    },
    /// A variable of the environment that is named almost as one of a key is.
    #[error(
        "{variable} in the environment is named like a key but for no version: rename or remove it"
    )]
    MisnamedVariable {
        /// The name of the variable.
        variable: String,
    },
    /// A slot of the data key file that is not as it was written.
    #[error("data key file: slot {slot} is truncated or altered: restore the file from its backup")]
    DamagedSlot {
        /// The number of the slot, from 1: the data key's id.
        slot: u64,
    },
    /// A slot of the data key file that this version of the program cannot read.
    #[error("data key file: slot {slot} was written by a newer version of this program")]
    NewerSlot {
        /// The number of the slot, from 1: the data key's id.
        slot: u64,
    },
    /// Two slots of the data key file are for the same scope.
    #[error("data key file: slot {slot} is for the same scope as an earlier one")]
    RepeatedScope {
        /// The number of the later slot.
        slot: u64,
    },
    /// No slot has this data key.
    #[error("data key {} is not in the data key file", .id.0)]
    UnknownDataKey {
        /// The data key asked for.
        id: DataKeyId,
    },
    /// The data key is destroyed, which is final: what was sealed under it is erased, and nothing more is sealed.
    #[error("the data key is destroyed: what was sealed under it is erased")]
    Destroyed,
    /// The fields are too long to be sealed.
    #[error("the fields are too long to be sealed")]
    TooLong,
    /// An earlier write to the data key file failed, so nothing can be said of the disk. The caller
    /// MUST end the process.
    #[error("the data key file could not be written before: the process must stop")]
    Poisoned,
    /// The file system refused. If `what` was to write, the caller MUST end the process.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The answer of the file system.
        source: io::Error,
    },
}

impl VaultError {
    /// That there is no file of the key `name`.
    pub(super) fn missing(name: KeyName) -> VaultError {
        match name.role {
            Role::Pepper => VaultError::MissingPepper { version: PepperVersion(name.version) },
            Role::Kek => VaultError::MissingKek { version: name.version },
            Role::Signing => VaultError::MissingSigningKey { version: name.version },
        }
    }

    /// Whether it says that a key is not there, rather than not fit.
    pub(super) fn is_missing(&self) -> bool {
        match self {
            VaultError::MissingPepper { .. }
            | VaultError::MissingKek { .. }
            | VaultError::MissingSigningKey { .. } => true,
            VaultError::Unsupplied { fault, .. } => fault.is_missing(),
            _ => false,
        }
    }

    /// Makes the error for `what` being refused on `path`: for `map_err`.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VaultError {
        move |source| VaultError::Io { what, path: path.to_owned(), source }
    }
}

/// Why sealed fields stay shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The data key is destroyed: the fields are erased.
    #[error("the sealed fields are erased: their data key is destroyed")]
    Erased,
    /// The data key is not in the data key file, which has lost it or is another log's.
    #[error("the data key of the sealed fields is missing from the data key file")]
    KeyMissing,
    /// The sealed bytes, their data key or their context are not those of the sealing.
    #[error("the sealed fields are altered or belong elsewhere")]
    Altered,
    /// The fields were sealed in a way this program does not know.
    #[error("the fields are sealed by an unknown scheme")]
    UnknownScheme,
}

impl From<VaultError> for OpenError {
    /// Why what was sealed under a data key stays shut that cannot be used.
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Destroyed => OpenError::Erased,
            VaultError::UnknownDataKey { .. } => OpenError::KeyMissing,
            _ => OpenError::Altered,
        }
    }
}
