//! The slot: the bytes of one wrapped data key in the data key file.
//!
//! The file is a run of slots of 128 bytes without a header; slot `n`, from 1, holds data key `n`.
//! Numbers are big-endian.
//!
//! | at  | bytes | what |
//! |-----|-------|------|
//! | 0   | 4     | `KLDK` |
//! | 4   | 1     | format version: 1 |
//! | 5   | 1     | state: 1 live, 2 destroyed |
//! | 6   | 1     | kind of scope: 0 the service, 1 an account, 2 an account in one month, 3 the service in one month |
//! | 7   | 1     | 0 |
//! | 8   | 2     | version of the key-encryption key |
//! | 10  | 6     | 0 |
//! | 16  | 8     | data key id |
//! | 24  | 8     | batch: the lowest data key id that was written together with this one |
//! | 32  | 32    | scope: SHA-256(kind ‖ length of tenant (2) ‖ tenant ‖ length of account (2) ‖ account), lengths 0 for the service; behind them, of kinds 2 and 3, the month (4), counted from January 1970 |
//! | 64  | 12    | nonce |
//! | 76  | 48    | wrapped key: AES-256-GCM-SIV (RFC 8452) of the 32 bytes under the key-encryption key, the tag last; additional data: bytes 0 to 63 |
//! | 124 | 4     | CRC-32 (ISO-HDLC) of bytes 0 to 123 |
//!
//! Of a destroyed slot, bytes 64 to 123 are 0. While it is being wiped they, and the checksum, may be anything: its
//! state is on disk before, in one byte, which no write tears, and counts whatever is behind the head.

use aes_gcm_siv::aead::{Aead, Payload};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::ids::AccountRef;
use crate::domain::sealed::{DataKeyId, NONCE_BYTES};
use crate::domain::time::Month;
use crate::random::{self, Random};
use crate::vault::error::VaultError;
use crate::vault::secret_key::SecretKey;

/// Bytes of a slot. A divisor of every sector size, so that no slot lies in two sectors.
pub(super) const SLOT_BYTES: usize = 128;

const MAGIC: [u8; 4] = *b"KLDK";
const VERSION: u8 = 1;
const LIVE: u8 = 1;
const DESTROYED: u8 = 2;

/// Where the state is.
pub(super) const STATE: usize = 5;

const CLEAR: std::ops::Range<usize> = 0..64;
const NONCE: std::ops::Range<usize> = 64..76;
const WRAPPED: std::ops::Range<usize> = 76..124;
const CRC: std::ops::Range<usize> = 124..128;

/// What a data key is for: when the key is destroyed, all personal fields of the scope are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Facts that belong to no account.
    Service,
    /// Facts about one account and its keys.
    Account(AccountRef),
    /// Where the uses of an account's keys came from in one month.
    AccountMonth(AccountRef, Month),
    /// Where tries with unknown keys, and refused calls, came from in one month.
    ServiceMonth(Month),
}

/// A scope as a slot holds it: its kind and its hash, which covers the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ScopeName {
    kind: u8,
    hash: [u8; 32],
}

/// A scope that is to have a data key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) scope: ScopeName,
    /// The scope without whose data key this one is given none: of an account in one month, the account.
    pub(super) within: Option<ScopeName>,
}

impl From<&Scope> for Wanted {
    fn from(scope: &Scope) -> Self {
        let within = match scope {
            Scope::Service | Scope::Account(_) | Scope::ServiceMonth(_) => None,
            Scope::AccountMonth(of, _) => Some(ScopeName::from(&Scope::Account(of.clone()))),
        };
        Wanted { scope: scope.into(), within }
    }
}

impl From<&Scope> for ScopeName {
    fn from(scope: &Scope) -> Self {
        let (kind, tenant, account, month) = match scope {
            Scope::Service => (0, "", "", None),
            Scope::Account(of) => (1, of.tenant.as_str(), of.account.as_str(), None),
            Scope::AccountMonth(of, month) => {
                (2, of.tenant.as_str(), of.account.as_str(), Some(month))
            }
            Scope::ServiceMonth(month) => (3, "", "", Some(month)),
        };
        let mut hash = Sha256::new_with_prefix([kind]);
        for part in [tenant, account] {
            hash.update(id_length(part).to_be_bytes());
            hash.update(part);
        }
        if let Some(Month(number)) = month {
            hash.update(number.to_be_bytes());
        }
        ScopeName { kind, hash: hash.finalize().into() }
    }
}

/// The length of a tenant or account id, as hashes and additional data hold it.
pub(super) fn id_length(id: &str) -> u16 {
    u16::try_from(id.len()).expect("ids are at most 128 characters")
}

/// Why bytes are no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotFault {
    /// What an append that never finished may leave: nothing, or only the slot's beginning.
    Torn,
    /// Not as it was written.
    Damaged,
    /// Whole, but of a version, state or kind that this program does not know.
    Newer,
}

impl SlotFault {
    /// The error for slot `id`.
    pub(super) fn at(self, id: DataKeyId) -> VaultError {
        match self {
            SlotFault::Newer => VaultError::NewerSlot { slot: id.0 },
            SlotFault::Torn | SlotFault::Damaged => VaultError::DamagedSlot { slot: id.0 },
        }
    }
}

/// What is to stand in a new slot beside the key.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotHead {
    pub(super) id: DataKeyId,
    pub(super) batch: DataKeyId,
    pub(super) kek_version: u16,
    pub(super) scope: ScopeName,
}

/// One slot, whole, as it is in the file.
#[derive(Clone, Debug)]
pub(super) struct Slot([u8; SLOT_BYTES]);

impl Slot {
    /// A new data key, wrapped by `kek`.
    pub(super) fn new(head: SlotHead, kek: &SecretKey, random: &dyn Random) -> Self {
        let key = SecretKey::random(random);
        Self::wrap(head, kek, &key, random::bytes(random))
    }

    /// The data key `key`, wrapped by `kek`.
    pub(super) fn wrap(
        head: SlotHead,
        kek: &SecretKey,
        key: &SecretKey,
        nonce: [u8; NONCE_BYTES],
    ) -> Self {
        let mut slot = [0; SLOT_BYTES];
        slot[0..4].copy_from_slice(&MAGIC);
        (slot[4], slot[STATE], slot[6]) = (VERSION, LIVE, head.scope.kind);
        slot[8..10].copy_from_slice(&head.kek_version.to_be_bytes());
        slot[16..24].copy_from_slice(&head.id.0.to_be_bytes());
        slot[24..32].copy_from_slice(&head.batch.0.to_be_bytes());
        slot[32..64].copy_from_slice(&head.scope.hash);
        slot[NONCE].copy_from_slice(&nonce);
        let payload = Payload { msg: key.bytes(), aad: &slot[CLEAR] };
        let wrapped = kek.cipher().encrypt(&nonce.into(), payload);
        slot[WRAPPED].copy_from_slice(&wrapped.expect("32 bytes are below the cipher's limit"));
        Slot(slot).with_checksum()
    }

    /// The same data key, wrapped by the key-encryption key `to`, given with its version; none if `from` is not what
    /// wraps it now.
    pub(super) fn rewrapped(
        &self,
        from: &SecretKey,
        to: (u16, &SecretKey),
        nonce: [u8; NONCE_BYTES],
    ) -> Option<Self> {
        let key = self.unwrap_key(from)?;
        let (id, batch, scope) = (self.id(), self.batch(), self.scope());
        Some(Self::wrap(SlotHead { id, batch, kek_version: to.0, scope }, to.1, &key, nonce))
    }

    /// The slot `id`, from `bytes` at its place in the file.
    pub(super) fn read(bytes: &[u8; SLOT_BYTES], id: DataKeyId) -> Result<Self, SlotFault> {
        let slot = Slot(*bytes);
        let is_known = bytes[0..4] == MAGIC
            && bytes[4] == VERSION
            && [LIVE, DESTROYED].contains(&bytes[STATE])
            && bytes[6] <= 3;
        let unused = bytes[7] == 0 && bytes[10..16] == [0; 6];
        let in_place = unused && slot.id() == id && (1..=id.0).contains(&slot.batch().0);
        if is_known && in_place && slot.is_destroyed() {
            return Ok(slot);
        }
        let whole = slot.checksum() == bytes[CRC];
        // The checksum is the slot's end: an append that stopped within the slot did not reach it.
        if !whole && bytes[CRC] == [0; 4] {
            return Err(SlotFault::Torn);
        }
        if !whole || bytes[0..4] != MAGIC {
            return Err(SlotFault::Damaged);
        }
        if !is_known {
            return Err(SlotFault::Newer);
        }
        if in_place { Ok(slot) } else { Err(SlotFault::Damaged) }
    }

    /// The slot as it is when its key is destroyed and wiped.
    pub(super) fn destroyed(&self) -> Self {
        let mut slot = self.clone();
        slot.0[STATE] = DESTROYED;
        slot.0[NONCE.start..].fill(0);
        slot.with_checksum()
    }

    /// Whether the key is destroyed: there is none any more, even if it is not wiped yet.
    pub(super) fn is_destroyed(&self) -> bool {
        self.0[STATE] == DESTROYED
    }

    /// Whether the key is destroyed and nothing is left of it.
    pub(super) fn is_wiped(&self) -> bool {
        self.0 == self.destroyed().0
    }

    /// Whether this is what became of an `earlier` slot: the same, or for the same scope and wrapped anew or destroyed.
    pub(super) fn is_later_of(&self, earlier: &Slot) -> bool {
        let head = |slot: &Slot| (slot.id(), slot.batch(), slot.scope());
        let wrapped_anew = !earlier.is_destroyed() && self.kek_version() > earlier.kek_version();
        let became = self.is_destroyed() || wrapped_anew || self.0 == earlier.0;
        head(self) == head(earlier) && became
    }

    fn with_checksum(mut self) -> Self {
        let checksum = self.checksum();
        self.0[CRC].copy_from_slice(&checksum);
        self
    }

    fn checksum(&self) -> [u8; 4] {
        crc32fast::hash(&self.0[..CRC.start]).to_be_bytes()
    }

    pub(super) fn bytes(&self) -> &[u8; SLOT_BYTES] {
        &self.0
    }

    pub(super) fn id(&self) -> DataKeyId {
        DataKeyId(self.number(16))
    }

    pub(super) fn batch(&self) -> DataKeyId {
        DataKeyId(self.number(24))
    }

    pub(super) fn kek_version(&self) -> u16 {
        u16::from_be_bytes([self.0[8], self.0[9]])
    }

    pub(super) fn scope(&self) -> ScopeName {
        let mut hash = [0; 32];
        hash.copy_from_slice(&self.0[32..64]);
        ScopeName { kind: self.0[6], hash }
    }

    /// The data key; none if `kek` is not what wrapped it, a byte is not as it was written, or it is destroyed.
    pub(super) fn unwrap_key(&self, kek: &SecretKey) -> Option<SecretKey> {
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&self.0[NONCE]);
        let payload = Payload { msg: &self.0[WRAPPED], aad: &self.0[CLEAR] };
        let key = Zeroizing::new(kek.cipher().decrypt(&nonce.into(), payload).ok()?);
        SecretKey::filled_by(|bytes| {
            *bytes = key.as_slice().try_into().ok()?;
            Some(())
        })
    }

    fn number(&self, at: usize) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.0[at..at + 8]);
        u64::from_be_bytes(number)
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
