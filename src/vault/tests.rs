//! Tests of the vault as a whole: the first start, an interrupted one, and files in wrong places.

use super::*;
use crate::random::SeededRandom;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

struct Place {
    _dir: TempDir,
    keys: PathBuf,
    data_keys: PathBuf,
}

impl Place {
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (keys, data_keys) = (dir.path().join("keys"), dir.path().join("datakeys"));
        Place { _dir: dir, keys, data_keys }
    }

    fn create(&self, seed: u64) -> Result<(), VaultError> {
        Vault::create_missing(&self.keys, &self.data_keys, &SeededRandom::new(seed))
    }

    fn open(&self) -> Result<Vault, VaultError> {
        Vault::open(&self.keys, &self.data_keys)
    }

    fn refusal(&self) -> String {
        self.open().unwrap_err().to_string()
    }

    /// Every file with its bytes.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        [self.keys.join("pepper-1.key"), self.keys.join("kek-1.key"), self.data_keys.clone()]
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .into()
    }
}

#[test]
fn a_first_start_makes_private_files_that_open() {
    let place = Place::empty();
    place.create(1).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.keys), 0o700);
    for (path, _) in place.files() {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let vault = place.open().unwrap();
    assert!(vault.data_keys.find(&Scope::Service).is_some());
    vault
        .peppers
        .verify([(vault.peppers.newest().version(), vault.peppers.newest().check())])
        .unwrap();
}

#[test]
fn an_interrupted_first_start_goes_on_and_keeps_what_was_made() {
    // Each file is made after the ones before it: take away the last one, the last two, all.
    for missing in 0..=3 {
        let place = Place::empty();
        place.create(1).unwrap();
        let before = place.files();
        for (path, _) in before.iter().rev().take(missing) {
            fs::remove_file(path).unwrap();
        }
        place.create(2).unwrap();
        let after = place.files();
        assert_eq!(before[..3 - missing], after[..3 - missing]);
        assert!(before[3 - missing..].iter().zip(&after[3 - missing..]).all(|(b, a)| b != a));
        place.open().unwrap();
    }
}

#[test]
fn no_key_encryption_key_is_made_where_data_keys_are_wrapped_already() {
    let place = Place::empty();
    place.create(1).unwrap();
    fs::remove_file(place.keys.join("kek-1.key")).unwrap();
    place.create(2).unwrap();
    assert_eq!(
        place.refusal(),
        "key-encryption key version 1 is missing: expected kek-1.key in the keys directory"
    );
}

#[test]
fn swapped_key_files_are_named() {
    let place = Place::empty();
    place.create(1).unwrap();
    let (pepper, kek) = (place.keys.join("pepper-1.key"), place.keys.join("kek-1.key"));
    let aside = place.keys.join("aside");
    fs::rename(&pepper, &aside).unwrap();
    fs::rename(&kek, &pepper).unwrap();
    fs::rename(&aside, &kek).unwrap();
    assert_eq!(
        place.refusal(),
        "pepper-1.key should hold pepper version 1 but holds key-encryption key version 1: files \
         were mixed up"
    );
}

#[test]
fn keys_of_another_server_are_refused() {
    let (place, other) = (Place::empty(), Place::empty());
    place.create(1).unwrap();
    other.create(2).unwrap();
    let registered = place.open().unwrap().peppers.newest().check();

    let vault = Vault::open(&other.keys, &place.data_keys);
    assert_eq!(
        vault.unwrap_err().to_string(),
        "key-encryption key version 1 is not the one the data keys were wrapped by: restore the \
         right kek-1.key"
    );
    let peppers = other.open().unwrap().peppers;
    let refusal = peppers.verify([(peppers.newest().version(), registered)]).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "pepper version 1 is not the one this log was written with: restore the right pepper-1.key"
    );
}

#[test]
fn debug_of_the_vault_shows_no_key() {
    let place = Place::empty();
    place.create(1).unwrap();
    let vault = place.open().unwrap();
    assert_eq!(
        format!("{vault:?}"),
        format!(
            "Vault {{ sources: {:?}, peppers: {:?}, data_keys: DataKeys {{ keys: 1, .. }} }}",
            vault.sources, vault.peppers
        )
    );
    let keks = KekRing::open(&place.keys).unwrap();
    assert_eq!(
        format!("{keks:?}"),
        format!("KekRing {{ sources: {:?}, keks: {{1: SecretKey(..)}} }}", vault.sources)
    );
}
