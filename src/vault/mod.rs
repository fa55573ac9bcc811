//! The vault: peppers, data keys, the sealing of personal fields, and the keys that sign checkpoints.
//!
//! Peppers, key-encryption keys and signing keys are files of the operator's keys directory, or the first two come
//! from elsewhere; data keys lie wrapped in the data directory. Destroying a data key destroys what was sealed under it, in every
//! copy of the log. Stands beside `domain`: knows no log, no clock and no network.

pub mod data_keys;
pub mod error;
pub mod kek_ring;
mod key_command;
pub mod key_file;
pub mod key_name;
pub mod key_source;
pub mod pepper_ring;
pub mod seal;
mod secret_key;
pub mod signing_ring;
pub mod slot;
pub mod snapshot_key;
pub mod source_key;

use std::path::Path;

use zeroize::Zeroizing;

use crate::random::Random;
use crate::vault::key_name::{KeyName, Role};
use crate::vault::secret_key::SecretKey;

pub use data_keys::{DataKeys, first_foreign_slot};
pub use error::{OpenError, VaultError};
pub use kek_ring::KekRing;
pub use key_source::KeySources;
pub use pepper_ring::{Destroyed, PepperRing};
pub use seal::{SealContext, commitment};
pub use signing_ring::SigningRing;
pub use slot::Scope;
pub use snapshot_key::{SnapshotKeys, SnapshotMac};
pub use source_key::{SEALED_SOURCE_BYTES, SourceKey};

/// Copies the key files of `from` to the directory of `to`, which is made if it is not there: of the roles whose keys
/// are files there. Each must be whole, for its owner alone and in its place. One that is there already must be the
/// same. There may be no signing key: what was made by a version that did not sign has none.
///
/// # Errors
/// The first key that is missing or unfit; [`VaultError::Io`] if another key is there already.
pub fn copy_keys(from: &Path, to: &KeySources) -> Result<(), VaultError> {
    // Read as a start would read them.
    if to.are_files(Role::Pepper) {
        PepperRing::open(from)?;
    }
    if to.are_files(Role::Kek) {
        KekRing::open(from)?;
    }
    match SigningRing::open(from) {
        Ok(_) | Err(VaultError::MissingSigningKey { .. }) => {}
        Err(unfit) => return Err(unfit),
    }
    key_file::create_dir(to.dir())?;
    for role in Role::ALL.into_iter().filter(|role| to.are_files(*role)) {
        key_file::copy_all(from, to.dir(), role)?;
    }
    Ok(())
}

/// The line of a key file for a new key of that name.
#[must_use]
pub fn new_key(name: KeyName, random: &dyn Random) -> Zeroizing<String> {
    key_file::render(name, &SecretKey::random(random))
}

/// All keys of one server.
#[derive(Debug)]
pub struct Vault {
    /// Where the keys below come from.
    pub sources: KeySources,
    /// Under which tags are made.
    pub peppers: PepperRing,
    /// Under which personal fields are sealed.
    pub data_keys: DataKeys,
}

impl Vault {
    /// Makes what a first start lacks: the directory of key files (0700), pepper 1 and key-encryption key 1 where
    /// they come from files, and the data key file with the service's key. What is there is kept, so a first start
    /// that was interrupted goes on; a key-encryption key is not made where data keys are already wrapped
    /// by one. The caller MUST know that the log is empty.
    ///
    /// # Errors
    /// If a file cannot be made, one that is there is unfit, or a key does not come from where it should.
    pub fn create_missing(
        sources: impl Into<KeySources>,
        data_keys: &Path,
        random: &dyn Random,
    ) -> Result<(), VaultError> {
        let sources = sources.into();
        key_file::create_dir(sources.dir())?;
        PepperRing::create_first(&sources, random)?;
        if data_keys.try_exists().map_err(VaultError::io("look for", data_keys))? {
            return Ok(());
        }
        KekRing::create_first(&sources, random)?;
        let mut keks = KekRing::open(&sources)?;
        keks.complete([])?;
        DataKeys::create(data_keys, &keks, random)
    }

    /// Reads all keys. Peppers that come from a command are read when it is known which there should be. The caller
    /// then holds the log against them: [`PepperRing::complete`], [`PepperRing::verify`] and [`DataKeys::is_known`].
    ///
    /// # Errors
    /// The first key that is missing, unfit or wrong.
    pub fn open(sources: impl Into<KeySources>, data_keys: &Path) -> Result<Self, VaultError> {
        let sources = sources.into();
        let peppers = PepperRing::open(&sources)?;
        let data_keys = DataKeys::open(data_keys, KekRing::open(&sources)?)?;
        Ok(Vault { sources, peppers, data_keys })
    }
}

#[cfg(test)]
mod tests;
