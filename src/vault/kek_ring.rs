//! The key-encryption keys: each wraps data keys, the highest version those to come.

use std::collections::BTreeMap;

use crate::random::Random;
use crate::vault::error::VaultError;
use crate::vault::key_name::Role;
use crate::vault::key_source::KeySources;
use crate::vault::secret_key::SecretKey;

/// All key-encryption keys by version; never empty once it is complete.
#[derive(Debug)]
pub struct KekRing {
    sources: KeySources,
    keks: BTreeMap<u16, SecretKey>,
}

impl KekRing {
    /// Makes key-encryption key version 1 if they come from files and none of any version is there. The caller
    /// MUST know that no data key has been wrapped yet.
    ///
    /// # Errors
    /// If the directory cannot be listed or the file not be made durable.
    pub fn create_first(
        sources: impl Into<KeySources>,
        random: &dyn Random,
    ) -> Result<(), VaultError> {
        sources.into().create_first(Role::Kek, random).map(|_| ())
    }

    /// Reads every key-encryption key that can be told without being asked for: all of them but from a command.
    /// What is left is for [`KekRing::complete`].
    ///
    /// # Errors
    /// [`VaultError::MissingKek`] or [`VaultError::Unsupplied`] if there is none; whatever makes one of them
    /// unfit.
    pub fn open(sources: impl Into<KeySources>) -> Result<Self, VaultError> {
        let sources = sources.into();
        Ok(KekRing { keks: sources.listed(Role::Kek)?, sources })
    }

    /// Adds those of the versions `needed` that are not here yet, and newer ones; there is at least one then.
    ///
    /// # Errors
    /// The first one that is missing or unfit.
    pub(super) fn complete(
        &mut self,
        needed: impl IntoIterator<Item = u16>,
    ) -> Result<(), VaultError> {
        let found = self.sources.further(Role::Kek, self.keks.keys().copied(), needed)?;
        self.keks.extend(found);
        Ok(())
    }

    /// The highest version and its key: for new data keys.
    pub(super) fn current(&self) -> (u16, &SecretKey) {
        let (version, kek) = self.keks.last_key_value().expect("complete refuses to leave none");
        (*version, kek)
    }

    /// Every version and its key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &SecretKey)> {
        self.keks.iter().map(|(version, kek)| (*version, kek))
    }

    /// The key of `version`.
    pub(super) fn get(&self, version: u16) -> Result<&SecretKey, VaultError> {
        self.keks.get(&version).ok_or(VaultError::MissingKek { version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;
    use crate::vault::key_file;

    #[test]
    fn without_any_key_the_message_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            KekRing::open(dir.path()).unwrap_err().to_string(),
            "key-encryption key version 1 is missing: expected kek-1.key in the keys directory"
        );
    }

    #[test]
    fn the_first_key_is_made_once_and_the_highest_is_current() {
        let dir = tempfile::tempdir().unwrap();
        KekRing::create_first(dir.path(), &SeededRandom::new(1)).unwrap();
        let first = *KekRing::open(dir.path()).unwrap().current().1.bytes();
        key_file::tests::write_key(dir.path(), Role::Kek, 2, 2);
        KekRing::create_first(dir.path(), &SeededRandom::new(3)).unwrap();
        let ring = KekRing::open(dir.path()).unwrap();
        assert_eq!(ring.current().0, 2);
        assert_eq!(*ring.get(1).unwrap().bytes(), first);
        assert!(matches!(ring.get(3), Err(VaultError::MissingKek { version: 3 })));
    }
}
