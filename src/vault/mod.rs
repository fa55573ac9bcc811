//! The vault: peppers, data keys, the sealing of personal fields, and the keys that sign checkpoints.
//!
//! Peppers, key-encryption keys and signing keys are files of the operator's keys directory; data keys lie
//! wrapped in the data directory. Destroying a data key destroys what was sealed under it, in every
//! copy of the log. Stands beside `domain`: knows no log, no clock and no network.

pub mod data_keys;
pub mod error;
pub mod kek_ring;
pub mod key_file;
pub mod key_name;
pub mod pepper_ring;
pub mod seal;
mod secret_key;
pub mod signing_ring;
pub mod slot;
pub mod snapshot_key;
pub mod source_key;

use std::path::Path;

use crate::durable_file;
use crate::random::Random;

pub use data_keys::{DataKeys, first_foreign_slot};
pub use error::{OpenError, VaultError};
pub use kek_ring::KekRing;
pub use pepper_ring::PepperRing;
pub use seal::{SealContext, commitment};
pub use signing_ring::SigningRing;
pub use slot::Scope;
pub use snapshot_key::{SnapshotKeys, SnapshotMac};
pub use source_key::{SEALED_SOURCE_BYTES, SourceKey};

/// Copies every key file of `from` to `to`, which is made if it is not there. Each must be whole, for its
/// owner alone and in its place. One that is there already must be the same. There may be no signing key:
/// what was made by a version that did not sign has none.
///
/// # Errors
/// The first key that is missing or unfit; [`VaultError::Io`] if another key is there already.
pub fn copy_keys(from: &Path, to: &Path) -> Result<(), VaultError> {
    // Read as a start would read them.
    PepperRing::open(from)?;
    KekRing::open(from)?;
    match SigningRing::open(from) {
        Ok(_) | Err(VaultError::MissingSigningKey { .. }) => {}
        Err(unfit) => return Err(unfit),
    }
    durable_file::create_private_dir(to).map_err(VaultError::io("make", to))?;
    key_file::copy_all(from, to)
}

/// All keys of one server.
#[derive(Debug)]
pub struct Vault {
    /// Under which tags are made.
    pub peppers: PepperRing,
    /// Under which personal fields are sealed.
    pub data_keys: DataKeys,
}

impl Vault {
    /// Makes what a first start lacks: the directory `keys_dir` (0700), pepper 1, key-encryption key
    /// 1, and the data key file with the service's key. What is there is kept, so a first start that
    /// was interrupted goes on; a key-encryption key is not made where data keys are already wrapped
    /// by one. The caller MUST know that the log is empty.
    ///
    /// # Errors
    /// If a file cannot be made, or one that is there is unfit.
    pub fn create_missing(
        keys_dir: &Path,
        data_keys: &Path,
        random: &dyn Random,
    ) -> Result<(), VaultError> {
        durable_file::create_private_dir(keys_dir).map_err(VaultError::io("make", keys_dir))?;
        PepperRing::create_first(keys_dir, random)?;
        if data_keys.try_exists().map_err(VaultError::io("look for", data_keys))? {
            return Ok(());
        }
        KekRing::create_first(keys_dir, random)?;
        DataKeys::create(data_keys, &KekRing::open(keys_dir)?, random)
    }

    /// Reads all keys. The caller then holds the log against them: [`PepperRing::verify`] and
    /// [`DataKeys::is_known`].
    ///
    /// # Errors
    /// The first key that is missing, unfit or wrong.
    pub fn open(keys_dir: &Path, data_keys: &Path) -> Result<Self, VaultError> {
        let peppers = PepperRing::open(keys_dir)?;
        let data_keys = DataKeys::open(data_keys, KekRing::open(keys_dir)?)?;
        Ok(Vault { peppers, data_keys })
    }
}

#[cfg(test)]
mod tests;
