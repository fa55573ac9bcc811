//! The hash of key ids in the table. They are 96 random bits that this service chose, so what is in the
//! table cannot be made to collide, and one multiplication spreads them well enough.

use std::hash::{BuildHasherDefault, Hasher};

/// Makes [`IdHasher`]s.
pub(super) type BuildIdHasher = BuildHasherDefault<IdHasher>;

/// 2^64 divided by the golden ratio, odd.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Folds the bytes of an id.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(SPREAD);
        }
    }

    fn finish(&self) -> u64 {
        // The table takes the low bits for the place and the high ones to tell neighbours apart; the
        // multiplication leaves the best ones high.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;
    use crate::domain::ids::KeyId;

    #[test]
    fn ids_that_count_up_or_differ_in_one_bit_spread_over_low_and_high_bits() {
        let hash = |id: [u8; 12]| BuildIdHasher::default().hash_one(KeyId(id));
        let mut ids = Vec::new();
        for n in 0..2000_u32 {
            let mut id = [0; 12];
            id[8..].copy_from_slice(&n.to_be_bytes());
            ids.push(id);
            let mut id = [7; 12];
            id[..4].copy_from_slice(&n.to_be_bytes());
            ids.push(id);
        }
        for bit in 0..96 {
            let mut id = [0x55; 12];
            id[bit / 8] ^= 1 << (bit % 8);
            ids.push(id);
        }
        let distinct =
            |of: fn(u64) -> u64| ids.iter().map(|id| of(hash(*id))).collect::<HashSet<_>>().len();
        assert_eq!(distinct(|hash| hash), ids.len());
        // Of 4,096 ids thrown into 65,536 places about 3,970 places are hit.
        assert!(distinct(|hash| hash & 0xffff) > 3_850, "{}", distinct(|hash| hash & 0xffff));
        assert_eq!(distinct(|hash| hash >> 57), 128);
    }
}
