//! Keys of the MACs that snapshots carry: what this installation wrote is told from all else.
//!
//! ```text
//! snapshot key = HMAC-SHA-256(key-encryption key, `keyledger/v1/snapshot`)
//! key of one   = HMAC-SHA-256(snapshot key, position (8) ‖ root (32))
//! MAC          = first 16 bytes of HMAC-SHA-256(key of one, message)
//! ```
//!
//! Numbers are big-endian. Each snapshot has a key of its own, so that no part of one passes for a
//! part of another.

use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::ids::Position;
use crate::vault::kek_ring::KekRing;
use crate::vault::secret_key::SecretKey;

/// Bytes of a MAC.
pub const MAC_BYTES: usize = 16;

const LABEL: &[u8] = b"keyledger/v1/snapshot";

/// The snapshot keys of all key-encryption keys, by their versions; never empty.
#[derive(Debug)]
pub struct SnapshotKeys {
    keys: BTreeMap<u16, SecretKey>,
}

impl SnapshotKeys {
    /// The keys derived from those of `keks`.
    pub(super) fn derive(keks: &KekRing) -> Self {
        let derive = |(version, kek): (u16, &SecretKey)| {
            let derived = Zeroizing::new(hmac(kek.bytes(), &[LABEL]));
            let key = SecretKey::filled_by(|bytes| {
                bytes.copy_from_slice(&*derived);
                Some(())
            });
            Some((version, key?))
        };
        SnapshotKeys { keys: keks.iter().filter_map(derive).collect() }
    }

    /// The version that new snapshots are made under: the highest.
    #[must_use]
    pub fn current(&self) -> u16 {
        self.keys.last_key_value().map_or(0, |(version, _)| *version)
    }

    /// The key of the snapshot at `position`, where the tree has the root `root`, made under the
    /// key-encryption key of `version`; none if that is not here.
    #[must_use]
    pub fn of(&self, version: u16, position: Position, root: &[u8; 32]) -> Option<SnapshotMac> {
        let key = self.keys.get(&version)?;
        let derived = Zeroizing::new(hmac(key.bytes(), &[&position.get().to_be_bytes(), root]));
        Some(SnapshotMac { keyed: keyed(&derived) })
    }
}

/// Makes and checks the MACs of one snapshot. Wiped when dropped.
#[derive(Clone)]
pub struct SnapshotMac {
    keyed: Hmac<Sha256>,
}

impl SnapshotMac {
    /// The MAC of a message, given in pieces.
    #[must_use]
    pub fn mac(&self, message: &[&[u8]]) -> [u8; MAC_BYTES] {
        let mut keyed = self.keyed.clone();
        message.iter().for_each(|piece| keyed.update(piece));
        let whole: [u8; 32] = keyed.finalize().into_bytes().into();
        let (start, _) = whole.split_first_chunk().expect("32 bytes have a first 16");
        *start
    }

    /// Whether `mac` is the MAC of the message, in a time that does not tell where they differ.
    #[must_use]
    pub fn is_of(&self, message: &[&[u8]], mac: &[u8; MAC_BYTES]) -> bool {
        self.mac(message).ct_eq(mac).into()
    }
}

impl fmt::Debug for SnapshotMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotMac(..)")
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn hmac(key: &[u8; 32], message: &[&[u8]]) -> [u8; 32] {
    let mut keyed = keyed(key);
    message.iter().for_each(|piece| keyed.update(piece));
    keyed.finalize().into_bytes().into()
}

#[cfg(test)]
#[path = "snapshot_key_tests.rs"]
mod tests;
