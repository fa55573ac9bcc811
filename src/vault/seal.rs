//! Sealing of personal fields, the commitment to them, and digests of requests.

use aes_gcm_siv::aead::{Aead, Payload};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::ids::{AccountId, EventId, TenantId};
use crate::domain::sealed::{Commitment, DataKeyId, Sealed};
use crate::random::{self, Random};
use crate::vault::data_keys::DataKeys;
use crate::vault::error::{OpenError, VaultError};
use crate::vault::slot::id_length;

/// The scheme AES-256-GCM-SIV (RFC 8452), random nonce, tag last.
pub const AES_256_GCM_SIV: u32 = 1;

/// Bytes of a request digest.
pub const REQUEST_DIGEST_BYTES: usize = 16;

const CONTEXT_LABEL: &[u8] = b"keyledger/v1/sealed\0";
const COMMITMENT_LABEL: &[u8] = b"keyledger/v1/personal\0";
const REQUEST_LABEL: &[u8] = b"keyledger/v1/request";

/// What sealed fields are bound to: they open in this context alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealContext<'a> {
    /// The tenant of the event, if it has one.
    pub tenant: Option<&'a TenantId>,
    /// The account of the event, if it has one.
    pub account: Option<&'a AccountId>,
    /// The number of the event's kind.
    pub kind: u32,
    /// The event.
    pub event_id: EventId,
}

impl SealContext<'_> {
    /// The additional data: `keyledger/v1/sealed` ‖ 0x00 ‖ length of tenant (2) ‖ tenant ‖ length of
    /// account (2) ‖ account ‖ kind (4) ‖ event id (16). Numbers are big-endian; an absent id has
    /// length 0, which no id has.
    fn additional_data(&self) -> Vec<u8> {
        let mut data = CONTEXT_LABEL.to_vec();
        let (tenant, account) =
            (self.tenant.map(TenantId::as_str), self.account.map(AccountId::as_str));
        for id in [tenant, account].map(Option::unwrap_or_default) {
            data.extend(id_length(id).to_be_bytes());
            data.extend(id.as_bytes());
        }
        data.extend(self.kind.to_be_bytes());
        data.extend(self.event_id.0);
        data
    }
}

/// The commitment to the personal fields of one record, for auditors to check:
///
/// SHA-256(`keyledger/v1/personal` ‖ 0x00 ‖ `plaintext`)
///
/// `plaintext` is exactly what was sealed. It MUST begin with the encoding of a field of 32 random
/// bytes, the salt, made for this record alone: else who guesses the fields can check the guess.
#[must_use]
pub fn commitment(plaintext: &[u8]) -> Commitment {
    let hash = Sha256::new_with_prefix(COMMITMENT_LABEL).chain_update(plaintext);
    Commitment(hash.finalize().into())
}

impl DataKeys {
    /// Seals `plaintext` under the data key `key`, bound to `context`.
    ///
    /// # Errors
    /// [`VaultError::UnknownDataKey`]; [`VaultError::Destroyed`]; [`VaultError::DamagedSlot`] if the key cannot be unwrapped;
    /// [`VaultError::TooLong`] above 64 GiB.
    pub fn seal(
        &self,
        key: DataKeyId,
        context: &SealContext<'_>,
        plaintext: &[u8],
        random: &dyn Random,
    ) -> Result<Sealed, VaultError> {
        let cipher = self.key(key)?.cipher();
        let nonce = random::bytes(random);
        let payload = Payload { msg: plaintext, aad: &context.additional_data() };
        let ciphertext = cipher.encrypt(&nonce.into(), payload).map_err(|_| VaultError::TooLong)?;
        Ok(Sealed { scheme: AES_256_GCM_SIV, data_key: key, nonce, ciphertext: ciphertext.into() })
    }

    /// The plaintext of `sealed`, which was sealed in `context`. It is wiped when dropped; its type
    /// would show it in Debug, so the caller MUST NOT print it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_sealed(
        &self,
        sealed: &Sealed,
        context: &SealContext<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if sealed.scheme != AES_256_GCM_SIV {
            return Err(OpenError::UnknownScheme);
        }
        let key = self.key(sealed.data_key)?;
        let payload = Payload { msg: &sealed.ciphertext, aad: &context.additional_data() };
        let plaintext = key.cipher().decrypt(&sealed.nonce.into(), payload);
        plaintext.map(Zeroizing::new).map_err(|_| OpenError::Altered)
    }

    /// A digest of a request, kept in the log to tell a repeat from another request with the same
    /// id: HMAC-SHA-256(HMAC-SHA-256(data key, `keyledger/v1/request`), `message`), its first 16
    /// bytes. Without the data key, who guesses a request's body cannot check the guess.
    ///
    /// # Errors
    /// As [`DataKeys::seal`].
    pub fn request_digest(
        &self,
        key: DataKeyId,
        message: &[u8],
    ) -> Result<[u8; REQUEST_DIGEST_BYTES], VaultError> {
        let subkey = Zeroizing::new(hmac(self.key(key)?.bytes(), REQUEST_LABEL));
        let mut digest = [0; REQUEST_DIGEST_BYTES];
        digest.copy_from_slice(&hmac(&subkey, message)[..REQUEST_DIGEST_BYTES]);
        Ok(digest)
    }
}

pub(super) fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.chain_update(message).finalize().into_bytes().into()
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
