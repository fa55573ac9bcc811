//! Sealing of addresses that are told apart without being opened: the usage projection's.
//!
//! ```text
//! source key = HMAC-SHA-256(data key, `keyledger/v1/source`)
//! sealed     = AES-256-GCM-SIV (RFC 8452) of the address under the source key, nonce 0, the tag last
//! address    = 16 bytes: IPv6, or the IPv4-mapped form of IPv4
//! ```
//!
//! The nonce is always the same, so that an address has one sealed form under a data key. Whoever reads these learns
//! which are equal, and nothing more: that is what AES-GCM-SIV leaves of its secrecy when a nonce repeats. Records
//! are sealed under the data key itself, so the nonces of the two never meet under one key.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::Aead;
use zeroize::Zeroizing;

use crate::domain::sealed::{DataKeyId, NONCE_BYTES};
use crate::domain::usage::signals::{SOURCE_NAME_BYTES, SourceName, SourceNetwork};
use crate::vault::data_keys::DataKeys;
use crate::vault::error::OpenError;
use crate::vault::seal::hmac;
use crate::vault::secret_key::SecretKey;

/// Bytes of a sealed address.
pub const SEALED_SOURCE_BYTES: usize = 32;

const LABEL: &[u8] = b"keyledger/v1/source";
const NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];

/// Seals and opens addresses under one data key. Wiped when dropped.
pub struct SourceKey {
    cipher: Aes256GcmSiv,
}

impl fmt::Debug for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceKey(..)")
    }
}

impl DataKeys {
    /// What seals and opens addresses under the data key `id`.
    ///
    /// # Errors
    /// [`OpenError::Erased`] if it is destroyed, [`OpenError::KeyMissing`] if there is no such key,
    /// [`OpenError::Altered`] if it cannot be unwrapped.
    pub fn source_key(&self, id: DataKeyId) -> Result<SourceKey, OpenError> {
        let key = self.key(id)?;
        let derived = Zeroizing::new(hmac(key.bytes(), LABEL));
        let derived = SecretKey::filled_by(|bytes| {
            bytes.copy_from_slice(&*derived);
            Some(())
        });
        let cipher = derived.ok_or(OpenError::Altered)?.cipher();
        Ok(SourceKey { cipher })
    }
}

impl SourceKey {
    /// The one sealed form of `address`; of an IPv4-mapped address, that of the IPv4 address.
    #[must_use]
    pub fn seal(&self, address: IpAddr) -> [u8; SEALED_SOURCE_BYTES] {
        let bytes = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let sealed = self.cipher.encrypt(&NONCE.into(), bytes.as_slice());
        let sealed = sealed.expect("16 bytes are not too long");
        sealed.try_into().expect("16 bytes and a tag of 16")
    }

    /// What a network is recognised by, without being opened: the first bytes of the tag of the sealed form of its
    /// first address. Like the sealed form, it says only which are equal, and nothing when the data key is gone.
    #[must_use]
    pub fn name(&self, network: &SourceNetwork) -> SourceName {
        let sealed = self.seal(network.first());
        let mut name = [0; SOURCE_NAME_BYTES];
        name.copy_from_slice(&sealed[SEALED_SOURCE_BYTES - 16..][..SOURCE_NAME_BYTES]);
        SourceName(name)
    }

    /// The address that was sealed.
    ///
    /// # Errors
    /// [`OpenError::Altered`] if these bytes are not [`SourceKey::seal`]'s.
    pub fn open(&self, sealed: &[u8]) -> Result<IpAddr, OpenError> {
        let clear = self.cipher.decrypt(&NONCE.into(), sealed).map_err(|_| OpenError::Altered)?;
        let bytes: [u8; 16] = clear.try_into().map_err(|_| OpenError::Altered)?;
        Ok(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{AccountId, AccountRef, TenantId};
    use crate::domain::time::Month;
    use crate::random::SeededRandom;
    use crate::vault::{Scope, Vault};

    fn vault(place: &std::path::Path) -> Vault {
        let (keys, data_keys) = (place.join("keys"), place.join("datakeys"));
        Vault::create_missing(&keys, &data_keys, &SeededRandom::new(1)).unwrap();
        Vault::open(&keys, &data_keys).unwrap()
    }

    fn scope(month: i32) -> Scope {
        let account = AccountRef {
            tenant: TenantId::parse("acme").unwrap(),
            account: AccountId::parse("ann").unwrap(),
        };
        Scope::AccountMonth(account, Month(month))
    }

    #[test]
    fn an_address_has_one_sealed_form_under_each_data_key() {
        let place = tempfile::tempdir().unwrap();
        let vault = vault(place.path());
        let other = vault.data_keys.ensure(&scope(1), &SeededRandom::new(2)).unwrap();
        let one = vault.data_keys.source_key(DataKeyId(1)).unwrap();
        let other = vault.data_keys.source_key(other).unwrap();
        for text in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            let address: IpAddr = text.parse().unwrap();
            let sealed = one.seal(address);
            assert_eq!(sealed, one.seal(address));
            assert_eq!(one.open(&sealed), Ok(address));
            assert_ne!(sealed, other.seal(address));
            assert_eq!(other.open(&sealed), Err(OpenError::Altered));
        }
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(one.seal(mapped), one.seal("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_network_has_one_name_under_each_data_key() {
        let place = tempfile::tempdir().unwrap();
        let vault = vault(place.path());
        let other = vault.data_keys.ensure(&scope(1), &SeededRandom::new(2)).unwrap();
        let one = vault.data_keys.source_key(DataKeyId(1)).unwrap();
        let other = vault.data_keys.source_key(other).unwrap();
        let of = |text: &str| SourceNetwork::of(text.parse().unwrap());
        assert_eq!(one.name(&of("2001:db8::1")), one.name(&of("2001:db8::2")));
        assert_ne!(one.name(&of("2001:db8::1")), one.name(&of("2001:db8:0:1::1")));
        assert_ne!(one.name(&of("192.0.2.1")), one.name(&of("192.0.2.2")));
        assert_ne!(one.name(&of("192.0.2.1")), other.name(&of("192.0.2.1")));
    }

    #[test]
    fn altered_bytes_and_those_of_a_key_that_is_missing_or_destroyed_do_not_open() {
        let place = tempfile::tempdir().unwrap();
        let vault = vault(place.path());
        let key = vault.data_keys.source_key(DataKeyId(1)).unwrap();
        let sealed = key.seal("192.0.2.1".parse().unwrap());
        for at in 0..sealed.len() {
            let mut altered = sealed;
            altered[at] ^= 1;
            assert_eq!(key.open(&altered), Err(OpenError::Altered), "byte {at}");
            assert_eq!(key.open(&sealed[..at]), Err(OpenError::Altered), "cut at {at}");
        }
        let missing = vault.data_keys.source_key(DataKeyId(2));
        assert_eq!(missing.map(|_| ()), Err(OpenError::KeyMissing));
        vault.data_keys.destroy(&[Scope::Service]).unwrap();
        let destroyed = vault.data_keys.source_key(DataKeyId(1));
        assert_eq!(destroyed.map(|_| ()), Err(OpenError::Erased));
    }
}
