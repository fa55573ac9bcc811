//! Personal fields as the rules and the log see them: sealed bytes and a commitment to what is inside.

use std::sync::Arc;

use crate::domain::ids::EventId;

/// Bytes of the nonce of a sealed field set.
pub const NONCE_BYTES: usize = 12;

/// The number of a data key, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataKeyId(pub u64);

/// Personal fields, encrypted under a data key that can be destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// How the bytes were sealed: 1 is AES-256-GCM-SIV.
    pub scheme: u32,
    /// The data key they were sealed under.
    pub data_key: DataKeyId,
    /// The random nonce.
    pub nonce: [u8; NONCE_BYTES],
    /// The ciphertext with its authentication tag.
    pub ciphertext: Arc<[u8]>,
}

/// A salted commitment to the personal fields of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment(pub [u8; 32]);

/// The personal part of an event, sealed before the event has a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
    /// The event the sealing is bound to.
    pub event_id: EventId,
    /// The sealed fields.
    pub sealed: Sealed,
    /// The commitment over the clear fields and their salt.
    pub commitment: Commitment,
}
