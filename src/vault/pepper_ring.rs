//! The peppers: every version whose tags may still be in use, the highest for new tags.

use std::collections::BTreeMap;

use crate::domain::ids::PepperVersion;
use crate::domain::tag::{Pepper, PepperCheck};
use crate::random::Random;
use crate::vault::error::VaultError;
use crate::vault::key_name::Role;
use crate::vault::key_source::KeySources;
use crate::vault::secret_key::SecretKey;

/// All peppers by version; never empty once it is complete.
#[derive(Debug)]
pub struct PepperRing {
    peppers: BTreeMap<PepperVersion, Pepper>,
}

impl PepperRing {
    /// Makes pepper version 1 if they come from files and no pepper of any version is there; a first start that
    /// was interrupted may do so again. The caller MUST know that the log registers no pepper.
    ///
    /// # Errors
    /// If the directory cannot be listed or the file not be made durable.
    pub fn create_first(
        sources: impl Into<KeySources>,
        random: &dyn Random,
    ) -> Result<(), VaultError> {
        sources.into().create_first(Role::Pepper, random).map(|_| ())
    }

    /// Reads every pepper that can be told without being asked for: all of them but from a command. What is left
    /// is for [`PepperRing::complete`].
    ///
    /// # Errors
    /// [`VaultError::MissingPepper`] or [`VaultError::Unsupplied`] if there is none; whatever makes one of them
    /// unfit.
    pub fn open(sources: impl Into<KeySources>) -> Result<Self, VaultError> {
        let keys = sources.into().listed(Role::Pepper)?;
        Ok(PepperRing { peppers: keys.into_iter().map(pepper).collect() })
    }

    /// Adds those of the versions that the log `registered` which are not here yet, and newer ones; there is at
    /// least one then.
    ///
    /// # Errors
    /// The first one that is missing or unfit.
    pub fn complete(
        &mut self,
        sources: &KeySources,
        registered: impl IntoIterator<Item = PepperVersion>,
    ) -> Result<(), VaultError> {
        let known = self.peppers.keys().map(|version| version.0);
        let missing = registered.into_iter().map(|version| version.0);
        let found = sources.further(Role::Pepper, known, missing)?;
        self.peppers.extend(found.into_iter().map(pepper));
        Ok(())
    }

    /// The pepper of the highest version: the one for new tags.
    #[must_use]
    pub fn current(&self) -> &Pepper {
        let (_, pepper) = self.peppers.last_key_value().expect("complete refuses to leave none");
        pepper
    }

    /// The pepper of `version`, if it is here.
    #[must_use]
    pub fn get(&self, version: PepperVersion) -> Option<&Pepper> {
        self.peppers.get(&version)
    }

    /// Checks that each pepper that the log registered is here and is the same. Peppers beyond those
    /// are no fault: one is added here before the log says so.
    ///
    /// # Errors
    /// [`VaultError::MissingPepper`] or [`VaultError::WrongPepper`] for the first one that is not.
    pub fn verify(
        &self,
        registered: impl IntoIterator<Item = (PepperVersion, PepperCheck)>,
    ) -> Result<(), VaultError> {
        for (version, check) in registered {
            let pepper = self.get(version).ok_or(VaultError::MissingPepper { version })?;
            if pepper.check() != check {
                return Err(VaultError::WrongPepper { version });
            }
        }
        Ok(())
    }
}

fn pepper((version, key): (u16, SecretKey)) -> (PepperVersion, Pepper) {
    let version = PepperVersion(version);
    (version, Pepper::new(version, key.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;
    use crate::vault::key_file;
    use std::path::Path;

    const V1: PepperVersion = PepperVersion(1);

    fn new_ring(dir: &Path, seed: u64) -> PepperRing {
        PepperRing::create_first(dir, &SeededRandom::new(seed)).unwrap();
        PepperRing::open(dir).unwrap()
    }

    #[test]
    fn the_first_pepper_is_made_once_and_is_current() {
        let dir = tempfile::tempdir().unwrap();
        let first = new_ring(dir.path(), 1).current().check();
        let again = new_ring(dir.path(), 2);
        assert_eq!(again.current().check(), first);
        assert_eq!(again.get(V1).unwrap().check(), first);
        assert!(again.get(PepperVersion(2)).is_none());
        again.verify([(V1, first)]).unwrap();
    }

    #[test]
    fn without_any_pepper_the_message_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = PepperRing::open(dir.path()).unwrap_err();
        assert!(matches!(refusal, VaultError::MissingPepper { version: V1 }));
        assert_eq!(
            refusal.to_string(),
            "pepper version 1 is missing: expected pepper-1.key in the keys directory"
        );
        let refusal = PepperRing::open(&dir.path().join("none")).unwrap_err();
        assert!(matches!(refusal, VaultError::MissingPepper { version: V1 }));
    }

    #[test]
    fn a_pepper_that_is_missing_or_not_the_registered_one_is_named() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ring = new_ring(dir.path(), 1);
        let foreign = new_ring(other.path(), 2).current().check();
        let own = ring.current().check();
        let refusal = ring.verify([(V1, foreign)]).unwrap_err();
        assert!(matches!(refusal, VaultError::WrongPepper { version: V1 }));
        let refusal = ring.verify([(V1, own), (PepperVersion(2), own)]).unwrap_err();
        assert!(matches!(refusal, VaultError::MissingPepper { version: PepperVersion(2) }));
    }

    #[test]
    fn the_highest_version_is_current_by_number_not_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for version in [9, 10, 2] {
            key_file::tests::write_key(dir.path(), Role::Pepper, version, u64::from(version));
        }
        let ring = PepperRing::open(dir.path()).unwrap();
        let highest = ring.get(PepperVersion(10)).unwrap().check();
        assert_eq!(ring.current().check(), highest);
        assert_ne!(ring.get(PepperVersion(9)).unwrap().check(), highest);
    }

    #[test]
    fn debug_shows_no_pepper() {
        let dir = tempfile::tempdir().unwrap();
        let ring = new_ring(dir.path(), 1);
        assert_eq!(
            format!("{ring:?}"),
            "PepperRing { peppers: {PepperVersion(1): Pepper { version: PepperVersion(1), .. }} }"
        );
    }
}
