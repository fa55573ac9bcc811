//! What seals the frames of usage journals: they name addresses and agents before these have a record
//! and a data key of their own.

use std::sync::Arc;

use crate::domain::ids::EventId;
use crate::domain::sealed::{DataKeyId, NONCE_BYTES, Sealed};
use crate::random::Random;
use crate::usage::journal::{Cover, JournalNumber};
use crate::vault::{Scope, SealContext, Vault};

/// Stands where the kind of an event stands when a record's fields are sealed; no event has it.
const KIND: u32 = 0;

/// Seals under the data key of the service: scheme (4) ‖ data key id (8) ‖ nonce (12) ‖ ciphertext,
/// numbers big-endian, bound to the number of the journal and of the frame.
pub(crate) struct VaultCover {
    pub(crate) vault: Arc<Vault>,
    pub(crate) random: Arc<dyn Random>,
}

fn context(number: JournalNumber, sequence: u64) -> SealContext<'static> {
    let mut place = [0; 16];
    let (journal, frame) = place.split_at_mut(8);
    journal.copy_from_slice(&number.get().to_be_bytes());
    frame.copy_from_slice(&sequence.to_be_bytes());
    SealContext { tenant: None, account: None, kind: KIND, event_id: EventId(place) }
}

impl Cover for VaultCover {
    /// # Panics
    /// If the data key of the service cannot be used, which every start makes sure of.
    fn seal(&self, number: JournalNumber, sequence: u64, clear: &[u8]) -> Vec<u8> {
        let data_keys = &self.vault.data_keys;
        let key = data_keys.find(&Scope::Service).expect("the first data key is the service's");
        let sealed = data_keys.seal(key, &context(number, sequence), clear, &*self.random);
        let Sealed { scheme, data_key, nonce, ciphertext } =
            sealed.expect("the service's data key was unwrapped at the start");
        let mut bytes = Vec::with_capacity(12 + NONCE_BYTES + ciphertext.len());
        bytes.extend(scheme.to_be_bytes());
        bytes.extend(data_key.0.to_be_bytes());
        bytes.extend(nonce);
        bytes.extend(&*ciphertext);
        bytes
    }

    fn open(&self, number: JournalNumber, sequence: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let (scheme, rest) = sealed.split_first_chunk::<4>()?;
        let (data_key, rest) = rest.split_first_chunk::<8>()?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let sealed = Sealed {
            scheme: u32::from_be_bytes(*scheme),
            data_key: DataKeyId(u64::from_be_bytes(*data_key)),
            nonce: *nonce,
            ciphertext: ciphertext.into(),
        };
        let clear = self.vault.data_keys.open_sealed(&sealed, &context(number, sequence)).ok()?;
        Some(clear.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn a_frame_opens_in_its_own_place_only_and_not_if_a_byte_is_altered() {
        let place = tempfile::tempdir().unwrap();
        let (keys, data_keys) = (place.path().join("keys"), place.path().join("datakeys"));
        let random = Arc::new(SeededRandom::new(1));
        Vault::create_missing(&keys, &data_keys, &*random).unwrap();
        let vault = Arc::new(Vault::open(&keys, &data_keys).unwrap());
        let cover = VaultCover { vault, random };
        let first = JournalNumber::FIRST;
        let sealed = cover.seal(first, 7, b"192.0.2.1 curl");
        assert!(!sealed.windows(4).any(|bytes| bytes == b"curl"));
        assert_eq!(cover.open(first, 7, &sealed).as_deref(), Some(&b"192.0.2.1 curl"[..]));
        assert_eq!(cover.open(first, 8, &sealed), None);
        assert_eq!(cover.open(first.next(), 7, &sealed), None);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(cover.open(first, 7, &altered), None, "byte {at}");
            assert_eq!(cover.open(first, 7, &sealed[..at]), None, "cut at {at}");
        }
    }
}
