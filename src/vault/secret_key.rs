//! A key of 32 bytes: wiped when dropped, never shown.

use std::fmt;

use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::random::Random;

/// Bytes of a pepper, a key-encryption key or a data key.
pub(super) const KEY_BYTES: usize = 32;

/// The bytes of one key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    /// A new key.
    pub(super) fn random(random: &dyn Random) -> Self {
        let mut key = SecretKey([0; KEY_BYTES]);
        random.fill(&mut key.0);
        key
    }

    /// The key that `fill` writes; none if it has none to write.
    pub(super) fn filled_by(fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Option<()>) -> Option<Self> {
        let mut key = SecretKey([0; KEY_BYTES]);
        fill(&mut key.0)?;
        Some(key)
    }

    /// The cipher under this key: AES-256-GCM-SIV (RFC 8452).
    pub(super) fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new((&self.0).into())
    }

    /// The bytes, for a MAC or a file.
    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}
