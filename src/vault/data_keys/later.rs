//! Telling a later copy of a data key file from another file.

use super::read::whole_slots;
use crate::vault::error::VaultError;

/// The first slot of `earlier` that `later` does not have, both being bytes of data key files; none if it has all, each
/// as it was, wrapped anew, or destroyed.
///
/// # Errors
/// The first slot of either that is damaged.
pub fn first_foreign_slot(earlier: &[u8], later: &[u8]) -> Result<Option<u64>, VaultError> {
    let (earlier, later) = (whole_slots(earlier)?, whole_slots(later)?);
    let mut later = later.iter();
    let foreign = earlier.iter().find(|slot| !later.next().is_some_and(|it| it.is_later_of(slot)));
    Ok(foreign.map(|slot| slot.id().0))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Place, account};
    use super::*;
    use crate::vault::slot::SLOT_BYTES;

    #[test]
    fn a_file_that_has_grown_or_lost_keys_is_a_later_one_and_an_earlier_or_foreign_one_is_not() {
        let place = Place::with_keys(1, 3);
        let earlier = place.bytes();
        let keys = place.open().unwrap();
        keys.destroy(&[account(2)]).unwrap();
        keys.ensure(&account(4), &place.random).unwrap();
        let later = place.bytes();
        assert_eq!(first_foreign_slot(&earlier, &later).unwrap(), None);
        assert_eq!(first_foreign_slot(&earlier, &earlier).unwrap(), None);
        assert_eq!(first_foreign_slot(&later, &later).unwrap(), None);
        assert_eq!(first_foreign_slot(&later, &earlier).unwrap(), Some(2), "a key comes to life");
        assert_eq!(first_foreign_slot(&earlier, &later[..2 * SLOT_BYTES]).unwrap(), Some(3));

        let other = Place::with_keys(2, 4).bytes();
        assert_eq!(first_foreign_slot(&earlier, &other).unwrap(), Some(1), "another service");
        let mut mixed = later.clone();
        mixed[2 * SLOT_BYTES..].copy_from_slice(&other[2 * SLOT_BYTES..]);
        assert_eq!(first_foreign_slot(&earlier, &mixed).unwrap(), Some(3), "another key");
        assert!(first_foreign_slot(&earlier, &later[1..]).is_err());
    }
}
