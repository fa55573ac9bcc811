//! The signing keys of checkpoints: all of them sign, so that one can follow another unhurried.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};

use crate::random::Random;
use crate::vault::error::VaultError;
use crate::vault::key_file;
use crate::vault::key_name::{KeyName, Role};
use crate::vault::key_source::KeySources;

/// All signing keys by version; never empty. Wiped when dropped.
#[derive(Debug)]
pub struct SigningRing {
    keys: BTreeMap<u16, SigningKey>,
}

impl SigningRing {
    /// Reads every `signing-<n>.key` in the directory of key files, and makes version 1 if there is none: at a first start,
    /// and at the first start of a version that signs.
    ///
    /// # Errors
    /// If the directory cannot be listed or the file not be made durable; whatever makes a key unfit.
    pub fn open_or_create(
        sources: impl Into<KeySources>,
        random: &dyn Random,
    ) -> Result<Self, VaultError> {
        let sources = sources.into();
        key_file::create_dir(sources.dir())?;
        if sources.create_first(Role::Signing, random)? {
            tracing::info!("made the first key that signs checkpoints");
        }
        Self::open(sources)
    }

    /// Makes another key, which signs beside those there are from the next start on, and answers the name of
    /// its file. Its number is at least `unused`, and higher than those of the keys that are there.
    ///
    /// # Errors
    /// If the keys that are there are unfit, or none; if the file cannot be made durable.
    pub fn add(
        sources: impl Into<KeySources>,
        unused: u16,
        random: &dyn Random,
    ) -> Result<KeyName, VaultError> {
        let sources = sources.into();
        let newest = Self::open(&sources)?.keys.last_key_value().map_or(0, |(version, _)| *version);
        let name = KeyName { role: Role::Signing, version: newest.saturating_add(1).max(unused) };
        key_file::create(sources.dir(), name, random)?;
        Ok(name)
    }

    /// Makes the key of a version, where none is of any.
    ///
    /// # Errors
    /// If the file cannot be made durable; as [`SigningRing::open`].
    pub fn create(
        sources: impl Into<KeySources>,
        version: u16,
        random: &dyn Random,
    ) -> Result<Self, VaultError> {
        let sources = sources.into();
        let name = KeyName { role: Role::Signing, version: version.max(1) };
        key_file::create(sources.dir(), name, random)?;
        Self::open(sources)
    }

    /// Reads every `signing-<n>.key` in the directory of key files.
    ///
    /// # Errors
    /// [`VaultError::MissingSigningKey`] if there is none; whatever makes one of them unfit.
    pub fn open(sources: impl Into<KeySources>) -> Result<Self, VaultError> {
        let keys = sources.into().listed(Role::Signing)?;
        let keys =
            keys.iter().map(|(version, key)| (*version, SigningKey::from_bytes(key.bytes())));
        Ok(SigningRing { keys: keys.collect() })
    }

    /// The public keys, the newest first.
    pub fn public(&self) -> impl Iterator<Item = [u8; 32]> {
        self.keys.values().rev().map(|key| key.verifying_key().to_bytes())
    }

    /// The signatures of a message (RFC 8032) in the order of [`SigningRing::public`].
    pub fn sign(&self, message: &[u8]) -> impl Iterator<Item = [u8; 64]> {
        self.keys.values().rev().map(|key| key.sign(message).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;
    use ed25519_dalek::{Signature, Verifier, VerifyingKey};

    #[test]
    fn the_first_key_is_made_once_and_every_key_signs_the_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let first = SigningRing::open_or_create(&keys, &SeededRandom::new(1)).unwrap();
        let again = SigningRing::open_or_create(&keys, &SeededRandom::new(2)).unwrap();
        let [one] = first.public().collect::<Vec<_>>()[..] else { panic!("one key") };
        assert_eq!(again.public().collect::<Vec<_>>(), [one]);

        let added = SigningRing::add(&keys, 1, &SeededRandom::new(2)).unwrap();
        assert_eq!(added.file_name(), "signing-2.key");
        let both = SigningRing::open(&keys).unwrap();
        let public: Vec<_> = both.public().collect();
        assert_eq!((public.len(), public[1]), (2, one));
        for (public, signature) in both.public().zip(both.sign(b"text")) {
            let key = VerifyingKey::from_bytes(&public).unwrap();
            key.verify(b"text", &Signature::from_bytes(&signature)).unwrap();
            assert!(key.verify(b"other", &Signature::from_bytes(&signature)).is_err());
        }
    }

    #[test]
    fn without_any_key_the_message_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            SigningRing::open(dir.path()).unwrap_err().to_string(),
            "signing key version 1 is missing: expected signing-1.key in the keys directory"
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let dir = tempfile::tempdir().unwrap();
        key_file::tests::write_key(dir.path(), Role::Signing, 1, 7);
        let secret = *KeySources::from(dir.path()).listed(Role::Signing).unwrap()[&1].bytes();
        let shown = format!("{:?}", SigningRing::open(dir.path()).unwrap());
        let hex: String = secret[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!shown.contains(&format!("{:?}", &secret[..4])[1..12]) && !shown.contains(&hex));
    }
}
