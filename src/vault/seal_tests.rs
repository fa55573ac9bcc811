//! Tests of sealing, with vectors made by OpenSSL and Python's hashlib.

use super::*;
use crate::durable_file;
use crate::random::SeededRandom;
use crate::vault::KekRing;
use crate::vault::data_keys::tests::account;
use crate::vault::key_file::tests::write_key;
use crate::vault::key_name::Role;
use crate::vault::secret_key::SecretKey;
use crate::vault::slot::{Scope, ScopeName, Slot, SlotHead};
use tempfile::TempDir;

const FIRST: DataKeyId = DataKeyId(1);

/// Fills with 0xcc.
#[derive(Debug)]
struct Constant;

impl Random for Constant {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0xcc);
    }
}

/// Data keys of which the first is 32 bytes of 0xbb.
fn data_keys() -> (TempDir, DataKeys) {
    let dir = tempfile::tempdir().unwrap();
    write_key(dir.path(), Role::Kek, 1, 1);
    let keks = KekRing::open(dir.path()).unwrap();
    let scope = ScopeName::from(&Scope::Service);
    let head = SlotHead { id: FIRST, batch: FIRST, kek_version: 1, scope };
    let key = SecretKey::filled_by(|bytes| {
        *bytes = [0xbb; 32];
        Some(())
    });
    let slot = Slot::wrap(head, keks.current().1, &key.unwrap(), [1; 12]);
    let path = dir.path().join("datakeys");
    durable_file::write_new(&path, slot.bytes(), 0o600).unwrap();
    let keys = DataKeys::open(&path, keks).unwrap();
    (dir, keys)
}

fn names() -> (TenantId, AccountId) {
    (TenantId::parse("acme").unwrap(), AccountId::parse("bo").unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn sealing_commitment_and_digest_agree_with_other_implementations() {
    let (_dir, keys) = data_keys();
    let (tenant, account) = names();
    let event_id = EventId([0x11; 16]);
    let context = SealContext { tenant: Some(&tenant), account: Some(&account), kind: 3, event_id };
    let sealed = keys.seal(FIRST, &context, b"name", &Constant).unwrap();
    assert_eq!((sealed.scheme, sealed.data_key, sealed.nonce), (1, FIRST, [0xcc; 12]));
    assert_eq!(hex(&sealed.ciphertext), "ce4d6deb054241efafe637258e4b74f8e20c5770");
    assert_eq!(
        hex(&commitment(b"name").0),
        "131a5ecf4aa6187f8011e32bc34c32f471827e238911f1e45a8cbd1d76bdaaa6"
    );
    assert_eq!(
        hex(&keys.request_digest(FIRST, b"body").unwrap()),
        "253e2791e49a1e9522290be6cd92c304"
    );
}

#[test]
fn what_is_sealed_opens_in_its_context_and_is_not_in_the_ciphertext() {
    let (_dir, keys) = data_keys();
    let random = SeededRandom::new(1);
    let key = keys.ensure(&account(1), &random).unwrap();
    let (tenant, id) = names();
    let plaintext = b"a name that stands out, long enough to be looked for".as_slice();
    for (tenant, account) in [(Some(&tenant), Some(&id)), (Some(&tenant), None), (None, None)] {
        let context = SealContext { tenant, account, kind: 1, event_id: EventId([1; 16]) };
        for plaintext in [plaintext, b""] {
            let sealed = keys.seal(key, &context, plaintext, &random).unwrap();
            assert_eq!(sealed.ciphertext.len(), plaintext.len() + 16);
            assert!(!sealed.ciphertext.windows(6).any(|window| window == b"stands"));
            assert_eq!(*keys.open_sealed(&sealed, &context).unwrap(), plaintext);
        }
    }
}

#[test]
fn any_other_context_is_refused() {
    let (_dir, keys) = data_keys();
    let (tenant, account) = names();
    let (other_tenant, other_account) =
        (TenantId::parse("acmeb").unwrap(), AccountId::parse("o").unwrap());
    let event_id = EventId([1; 16]);
    let right = SealContext { tenant: Some(&tenant), account: Some(&account), kind: 1, event_id };
    let sealed = keys.seal(FIRST, &right, b"name", &SeededRandom::new(1)).unwrap();
    let same_letters = AccountId::parse(tenant.as_str()).unwrap();
    for wrong in [
        SealContext { tenant: Some(&other_tenant), ..right },
        SealContext { tenant: Some(&other_tenant), account: Some(&other_account), ..right },
        SealContext { tenant: None, ..right },
        SealContext { account: Some(&other_account), ..right },
        SealContext { account: Some(&same_letters), ..right },
        SealContext { account: None, ..right },
        SealContext { kind: 2, ..right },
        SealContext { event_id: EventId([2; 16]), ..right },
    ] {
        assert_eq!(keys.open_sealed(&sealed, &wrong).unwrap_err(), OpenError::Altered, "{wrong:?}");
    }
    assert!(keys.open_sealed(&sealed, &right).is_ok());
}

#[test]
fn altered_bytes_are_refused() {
    let (_dir, keys) = data_keys();
    let random = SeededRandom::new(1);
    let context = SealContext { tenant: None, account: None, kind: 1, event_id: EventId([1; 16]) };
    let sealed = keys.seal(FIRST, &context, b"name", &random).unwrap();
    for at in 0..sealed.ciphertext.len() {
        let mut bytes = sealed.ciphertext.to_vec();
        bytes[at] ^= 1;
        let altered = Sealed { ciphertext: bytes.into(), ..sealed.clone() };
        assert_eq!(keys.open_sealed(&altered, &context).unwrap_err(), OpenError::Altered);
    }
    for length in [0, 15] {
        let cut = Sealed { ciphertext: sealed.ciphertext[..length].into(), ..sealed.clone() };
        assert_eq!(keys.open_sealed(&cut, &context).unwrap_err(), OpenError::Altered);
    }
    let other_nonce = Sealed { nonce: [0; 12], ..sealed.clone() };
    assert_eq!(keys.open_sealed(&other_nonce, &context).unwrap_err(), OpenError::Altered);
    let data_key = keys.ensure(&account(1), &random).unwrap();
    let other_key = Sealed { data_key, ..sealed };
    assert_eq!(keys.open_sealed(&other_key, &context).unwrap_err(), OpenError::Altered);
}

#[test]
fn an_unknown_scheme_or_data_key_is_told_apart() {
    let (_dir, keys) = data_keys();
    let random = SeededRandom::new(1);
    let context = SealContext { tenant: None, account: None, kind: 1, event_id: EventId([1; 16]) };
    let sealed = keys.seal(FIRST, &context, b"name", &random).unwrap();
    let newer = Sealed { scheme: 2, ..sealed.clone() };
    assert_eq!(keys.open_sealed(&newer, &context).unwrap_err(), OpenError::UnknownScheme);
    let data_key = DataKeyId(9);
    let gone = Sealed { data_key, ..sealed };
    assert_eq!(keys.open_sealed(&gone, &context).unwrap_err(), OpenError::KeyMissing);
    let refusal = keys.seal(data_key, &context, b"", &random).unwrap_err();
    assert!(matches!(refusal, VaultError::UnknownDataKey { id } if id == data_key));
    assert!(keys.request_digest(data_key, b"").is_err());
}

#[test]
fn request_digests_depend_on_the_message_and_the_data_key() {
    let (_dir, keys) = data_keys();
    let other = keys.ensure(&account(1), &SeededRandom::new(1)).unwrap();
    let digest = |key, message: &[u8]| keys.request_digest(key, message).unwrap();
    assert_eq!(digest(FIRST, b"a"), digest(FIRST, b"a"));
    assert_ne!(digest(FIRST, b"a"), digest(FIRST, b"b"));
    assert_ne!(digest(FIRST, b"a"), digest(other, b"a"));
}
