//! The peppers: every version whose tags may still be in use.
//!
//! Which one new tags are made under is for the log to say: a pepper is here before the log has it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::domain::ids::{PUBLIC_ID_BYTES, PepperVersion};
use crate::domain::key_format::Secret;
use crate::domain::tag::{Pepper, PepperCheck, Purpose, Tag};
use crate::random::Random;
use crate::vault::error::VaultError;
use crate::vault::key_name::{KeyName, Role};
use crate::vault::key_source::KeySources;
use crate::vault::secret_key::SecretKey;

type ByVersion = BTreeMap<PepperVersion, Arc<Pepper>>;

/// All peppers by version; never empty once it is complete. Read without locks; who adds or takes away one waits for who
/// does so.
pub struct PepperRing {
    sources: KeySources,
    peppers: ArcSwap<ByVersion>,
    changing: Mutex<()>,
}

/// What became of where a pepper came from that is not needed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// Its file was overwritten and removed, now or before.
    Gone,
    /// It is still there, where this process may not remove it: somebody else must.
    Left,
    /// It comes from the environment or a command: whoever keeps it there must remove it.
    Elsewhere,
}

impl PepperRing {
    /// Makes pepper version 1 in the directory of key files if peppers are files and none of any version is there; a
    /// first start that was interrupted may do so again. The caller MUST know that the log registers no pepper.
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
        let sources = sources.into();
        let peppers: ByVersion =
            sources.listed(Role::Pepper)?.into_iter().map(|(at, key)| pepper(at, &key)).collect();
        Ok(PepperRing {
            sources,
            peppers: ArcSwap::from_pointee(peppers),
            changing: Mutex::new(()),
        })
    }

    /// Adds those of the versions that the log `registered` which are not here yet, and newer ones; there is at
    /// least one then. Blocks.
    ///
    /// # Errors
    /// The first one that is missing or unfit.
    pub fn complete(
        &self,
        registered: impl IntoIterator<Item = PepperVersion>,
    ) -> Result<(), VaultError> {
        let _changing = self.change();
        let mut peppers = ByVersion::clone(&self.peppers.load());
        let known: Vec<u16> = peppers.keys().map(|version| version.0).collect();
        let needed = registered.into_iter().map(|version| version.0);
        let found = self.sources.further(Role::Pepper, known, needed)?;
        peppers.extend(found.into_iter().map(|(at, key)| pepper(at, &key)));
        self.peppers.store(Arc::new(peppers));
        Ok(())
    }

    /// The pepper of the highest version.
    #[must_use]
    pub fn newest(&self) -> Arc<Pepper> {
        let peppers = self.peppers.load();
        let (_, pepper) = peppers.last_key_value().expect("complete refuses to leave none");
        Arc::clone(pepper)
    }

    /// The pepper of `version`, if it is here.
    #[must_use]
    pub fn get(&self, version: PepperVersion) -> Option<Arc<Pepper>> {
        self.peppers.load().get(&version).cloned()
    }

    /// The tag of `secret` under the pepper of `version`, if that is here.
    #[must_use]
    pub fn tag(
        &self,
        version: PepperVersion,
        purpose: Purpose,
        id: &[u8; PUBLIC_ID_BYTES],
        secret: &Secret,
    ) -> Option<Tag> {
        self.peppers.load().get(&version).map(|pepper| pepper.tag(purpose, id, secret))
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

    /// Sees to it that the pepper of `version`, which the log has not registered, is here, and answers it: looks again
    /// where peppers come from, and makes it, durably, if that is files and it is not there either. Blocks.
    ///
    /// # Errors
    /// [`VaultError::Unsupplied`] if it must come from the environment or a command and does not; whatever makes a
    /// pepper unfit; if its file cannot be made durable.
    pub fn provide(
        &self,
        version: PepperVersion,
        random: &dyn Random,
    ) -> Result<Arc<Pepper>, VaultError> {
        let _changing = self.change();
        let name = KeyName { role: Role::Pepper, version: version.0 };
        let (_, pepper) = pepper(version.0, &self.sources.provide(name, random)?);
        let mut peppers = ByVersion::clone(&self.peppers.load());
        peppers.insert(version, Arc::clone(&pepper));
        self.peppers.store(Arc::new(peppers));
        Ok(pepper)
    }

    /// Forgets the pepper of `version`, and overwrites and removes its file if it comes from one. The caller MUST know
    /// that the log has durably retired it, and that another remains. Blocks.
    ///
    /// # Errors
    /// If the directory cannot be listed, or what was removed cannot be made durable.
    pub fn destroy(&self, version: PepperVersion) -> Result<Destroyed, VaultError> {
        let _changing = self.change();
        let mut peppers = ByVersion::clone(&self.peppers.load());
        if peppers.remove(&version).is_some() && !peppers.is_empty() {
            self.peppers.store(Arc::new(peppers));
        }
        let name = KeyName { role: Role::Pepper, version: version.0 };
        Ok(match self.sources.destroy(name)? {
            None => Destroyed::Elsewhere,
            Some(true) => Destroyed::Gone,
            Some(false) => Destroyed::Left,
        })
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PepperRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PepperRing").field("peppers", &self.peppers.load()).finish_non_exhaustive()
    }
}

fn pepper(version: u16, key: &SecretKey) -> (PepperVersion, Arc<Pepper>) {
    let version = PepperVersion(version);
    (version, Arc::new(Pepper::new(version, key.bytes())))
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
    fn the_first_pepper_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = new_ring(dir.path(), 1).newest().check();
        let again = new_ring(dir.path(), 2);
        assert_eq!(again.newest().check(), first);
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
        let foreign = new_ring(other.path(), 2).newest().check();
        let own = ring.newest().check();
        let refusal = ring.verify([(V1, foreign)]).unwrap_err();
        assert!(matches!(refusal, VaultError::WrongPepper { version: V1 }));
        let refusal = ring.verify([(V1, own), (PepperVersion(2), own)]).unwrap_err();
        assert!(matches!(refusal, VaultError::MissingPepper { version: PepperVersion(2) }));
    }

    #[test]
    fn the_highest_version_is_the_newest_by_number_not_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for version in [9, 10, 2] {
            key_file::tests::write_key(dir.path(), Role::Pepper, version, u64::from(version));
        }
        let ring = PepperRing::open(dir.path()).unwrap();
        let highest = ring.get(PepperVersion(10)).unwrap().check();
        assert_eq!(ring.newest().check(), highest);
        assert_ne!(ring.get(PepperVersion(9)).unwrap().check(), highest);
    }

    #[test]
    fn debug_shows_no_pepper() {
        let dir = tempfile::tempdir().unwrap();
        let ring = new_ring(dir.path(), 1);
        assert_eq!(
            format!("{ring:?}"),
            "PepperRing { peppers: {PepperVersion(1): Pepper { version: PepperVersion(1), .. }}, .. }"
        );
    }

    #[test]
    fn a_pepper_is_made_once_and_one_that_is_there_already_is_taken() {
        let (dir, v2, v3) = (tempfile::tempdir().unwrap(), PepperVersion(2), PepperVersion(3));
        let ring = new_ring(dir.path(), 1);
        let made = ring.provide(v2, &SeededRandom::new(2)).unwrap().check();
        assert_eq!(ring.provide(v2, &SeededRandom::new(3)).unwrap().check(), made);
        assert_eq!(PepperRing::open(dir.path()).unwrap().get(v2).unwrap().check(), made);
        key_file::tests::write_key(dir.path(), Role::Pepper, 3, 7);
        assert!(ring.get(v3).is_none());
        let there = ring.provide(v3, &SeededRandom::new(4)).unwrap().check();
        assert_eq!(PepperRing::open(dir.path()).unwrap().get(v3).unwrap().check(), there);
    }

    #[test]
    fn a_destroyed_pepper_is_gone_from_memory_and_from_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let ring = new_ring(dir.path(), 1);
        ring.provide(PepperVersion(2), &SeededRandom::new(2)).unwrap();
        let path = dir.path().join("pepper-1.key");
        // A second name of the file shows what its bytes became.
        let other_name = dir.path().join("other");
        std::fs::hard_link(&path, &other_name).unwrap();
        let bytes = std::fs::read(&path).unwrap().len();
        assert_eq!(ring.destroy(V1).unwrap(), Destroyed::Gone);
        assert!(ring.get(V1).is_none() && !path.exists());
        assert_eq!(std::fs::read(&other_name).unwrap(), vec![0; bytes]);
        assert_eq!(ring.destroy(V1).unwrap(), Destroyed::Gone, "as a start repeats it");
        assert!(ring.get(PepperVersion(2)).is_some());
    }
}
