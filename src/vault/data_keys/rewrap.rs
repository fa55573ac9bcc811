//! Wrapping data keys anew, so that an older key-encryption key can go.
//!
//! The file is written anew beside itself and renamed: whatever power loss leaves, it is the old one or the new one, and
//! both open as long as both key-encryption keys are there. Then the old one is overwritten with zeroes, so that of a
//! data key that is destroyed later no other copy is left, as far as [`super::destroy`] says that of a slot. Only power
//! loss in between leaves one, wrapped by the older key-encryption key alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::PoisonError;

use super::{DataKeys, Durable, MODE, open_to_write};
use crate::durable_file;
use crate::random::{self, Random};
use crate::vault::error::VaultError;

impl DataKeys {
    /// How many data keys lie under each key-encryption key, by its version. The newest is always there.
    #[must_use]
    pub fn under_each_kek(&self) -> BTreeMap<u16, u64> {
        let (newest, _) = self.keks.current();
        let mut counts = BTreeMap::from([(newest, 0)]);
        for slot in self.durable().slots.iter().filter(|slot| !slot.is_destroyed()) {
            *counts.entry(slot.kek_version()).or_default() += 1;
        }
        counts
    }

    /// Wraps every data key anew, durably, that does not lie under the newest key-encryption key. `each` is told how
    /// many have been. The data keys stay what they are, so whatever is sealed opens as before. What an append
    /// left unfinished MUST have been cut off.
    ///
    /// # Errors
    /// [`VaultError::DamagedSlot`] for a data key that cannot be unwrapped: the file is then as it was.
    /// [`VaultError::Io`]: it is the old one or the new one.
    pub fn rewrap(
        &mut self,
        random: &dyn Random,
        each: &mut dyn FnMut(u64),
    ) -> Result<(), VaultError> {
        let (newest, kek) = self.keks.current();
        let durable = self.durable.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut slots = Vec::with_capacity(durable.slots.len());
        let mut done = 0;
        for slot in &durable.slots {
            if slot.kek_version() == newest || slot.is_destroyed() {
                slots.push(slot.clone());
                continue;
            }
            let old = self.keks.get(slot.kek_version())?;
            let anew = slot.rewrapped(old, (newest, kek), random::bytes(random));
            slots.push(anew.ok_or(VaultError::DamagedSlot { slot: slot.id().0 })?);
            done += 1;
            each(done);
        }
        let mut bytes: Vec<u8> = slots.iter().flat_map(|slot| *slot.bytes()).collect();
        durable_file::write_replacing(&self.path, &bytes, MODE)
            .map_err(VaultError::io("replace", &self.path))?;
        let old = std::mem::replace(&mut self.file, open_to_write(&self.path)?);
        *durable = Durable::new(slots)?;
        bytes.fill(0);
        old.write_all_at(&bytes, 0)
            .and_then(|()| old.sync_data())
            .map_err(VaultError::io("overwrite the former", &self.path))
    }
}

/// Removes what a replacement that was interrupted left: it holds data keys, which may be destroyed by now.
pub(super) fn remove_unfinished(path: &Path) -> Result<(), VaultError> {
    let unfinished = durable_file::unfinished_name(path);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(VaultError::io("remove", &unfinished)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Place, account};
    use super::*;
    use crate::domain::sealed::DataKeyId;
    use crate::vault::key_file::tests::write_key;
    use crate::vault::key_name::Role;
    use std::fs;

    fn rewrap(place: &Place) -> Result<Vec<u64>, VaultError> {
        let mut told = Vec::new();
        place.open()?.rewrap(&place.random, &mut |done| told.push(done))?;
        Ok(told)
    }

    fn keys(place: &Place) -> Vec<[u8; 32]> {
        let keys = place.open().unwrap();
        let count = keys.durable().slots.len() as u64;
        (1..=count).map(|id| *keys.key(DataKeyId(id)).unwrap().bytes()).collect()
    }

    #[test]
    fn every_data_key_lies_under_the_newest_key_afterwards_and_is_what_it_was() {
        let place = Place::with_keys(1, 3);
        write_key(place.dir.path(), Role::Kek, 2, 2);
        place.open().unwrap().ensure(&account(4), &place.random).unwrap();
        let before = keys(&place);
        let opened = place.open().unwrap();
        assert_eq!(opened.under_each_kek(), [(1, 3), (2, 1)].into());

        assert_eq!(rewrap(&place).unwrap(), [1, 2, 3]);
        fs::remove_file(place.dir.path().join("kek-1.key")).unwrap();
        assert_eq!(keys(&place), before);
        let opened = place.open().unwrap();
        assert_eq!(opened.under_each_kek(), [(2, 4)].into());
        assert_eq!(opened.find(&account(3)), Some(DataKeyId(3)));
        assert!(rewrap(&place).unwrap().is_empty());
    }

    #[test]
    fn new_data_keys_go_into_the_new_file() {
        let place = Place::with_keys(1, 2);
        write_key(place.dir.path(), Role::Kek, 2, 2);
        let mut open = place.open().unwrap();
        open.rewrap(&place.random, &mut |_| {}).unwrap();
        assert_eq!(open.ensure(&account(3), &place.random).unwrap(), DataKeyId(3));
        let made = *open.key(DataKeyId(3)).unwrap().bytes();
        drop(open);
        fs::remove_file(place.dir.path().join("kek-1.key")).unwrap();
        assert_eq!(keys(&place)[2], made);
    }

    #[test]
    fn a_destroyed_data_key_stays_so_and_keeps_no_key_encryption_key() {
        let place = Place::with_keys(1, 3);
        place.open().unwrap().destroy(&[account(2)]).unwrap();
        write_key(place.dir.path(), Role::Kek, 2, 2);
        assert_eq!(rewrap(&place).unwrap(), [1, 2]);
        fs::remove_file(place.dir.path().join("kek-1.key")).unwrap();
        let opened = place.open().unwrap();
        assert!(opened.is_destroyed(&account(2)) && opened.key(DataKeyId(3)).is_ok());
        assert_eq!(opened.under_each_kek(), [(2, 2)].into());
    }

    #[test]
    fn nothing_is_left_of_the_former_file() {
        let place = Place::with_keys(1, 3);
        let former = fs::File::open(&place.path).unwrap();
        write_key(place.dir.path(), Role::Kek, 2, 2);
        rewrap(&place).unwrap();
        let mut bytes = vec![1; 3 * 128];
        former.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [0; 3 * 128]);
    }

    #[test]
    fn a_data_key_that_does_not_unwrap_stops_it_and_nothing_is_replaced() {
        let place = Place::with_keys(1, 3);
        let mut bytes = place.bytes();
        let slot = &mut bytes[128..256];
        slot[80] ^= 1;
        let crc = crc32fast::hash(&slot[..124]);
        slot[124..].copy_from_slice(&crc.to_be_bytes());
        place.put(&bytes);
        write_key(place.dir.path(), Role::Kek, 2, 2);
        let refusal = rewrap(&place).unwrap_err();
        assert!(matches!(refusal, VaultError::DamagedSlot { slot: 2 }), "{refusal}");
        assert_eq!(place.bytes(), bytes);
    }

    #[test]
    fn what_an_interrupted_rewrapping_left_is_removed_and_it_is_done_again() {
        let place = Place::with_keys(1, 3);
        let (before, whole) = (keys(&place), place.bytes());
        write_key(place.dir.path(), Role::Kek, 2, 2);
        rewrap(&place).unwrap();
        let anew = place.bytes();
        let unfinished = durable_file::unfinished_name(&place.path);
        // Power is lost while the new file is written, before it has its name.
        for cut in [0, 1, 128, 200, anew.len()] {
            place.put(&whole);
            fs::write(&unfinished, &anew[..cut]).unwrap();
            assert_eq!(keys(&place), before, "cut at {cut}");
            assert!(!unfinished.exists(), "cut at {cut}");
            assert_eq!(rewrap(&place).unwrap().len(), 3, "cut at {cut}");
            assert_eq!(keys(&place), before, "cut at {cut}");
        }
    }
}
