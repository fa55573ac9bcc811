//! The tag: the only thing derived from a secret that is ever stored.
//!
//! A tag is HMAC-SHA-256 (RFC 2104) under a pepper, over
//!
//! ```text
//! label: 8 ASCII | id: 12 bytes | secret: 32 bytes
//! ```
//!
//! so it belongs to one purpose and one id, and is worthless without the pepper, which is not in
//! the log. The message has a fixed layout, hence one reading. Its 52 bytes and SHA-256's 9 bytes
//! of padding fit one block of 64: with the pepper absorbed beforehand, a tag costs two
//! compressions, one inside and one outside.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::ids::{PUBLIC_ID_BYTES, PepperVersion};
use crate::domain::key_format::Secret;

/// Bytes of a pepper.
pub const PEPPER_BYTES: usize = 32;

/// What a pepper is asked to sign to be recognised. Its length differs from every tag's message.
const CHECK_MESSAGE: &[u8] = b"kl/pepper-check/1";

/// What a tag recognises. A key's tag never recognises a caller, nor the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A key.
    Key,
    /// A caller's credential.
    Caller,
}

impl Purpose {
    /// Begins the message. The digit is the version of the layout.
    const fn label(self) -> &'static [u8; 8] {
        match self {
            Purpose::Key => b"kl/key/1",
            Purpose::Caller => b"kl/svc/1",
        }
    }
}

/// The HMAC of a secret. Compared in constant time, always.
#[derive(Clone)]
pub struct Tag([u8; 32]);

impl Tag {
    /// A tag as it was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Tag(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both tags are the same, in a time that does not tell where they differ.
    #[must_use]
    pub fn matches(&self, other: &Tag) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other)
    }
}

impl Eq for Tag {}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(..)")
    }
}

/// Whether two credentials, of which no tag is made, are the same, in a time that tells nothing but their lengths. By
/// words: by bytes it would cost as much as the tag that it saves.
#[must_use]
pub fn credentials_match(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let mut same = words.len().ct_eq(&other_words.len()) & rest.ct_eq(other_rest);
    for (word, other) in words.iter().zip(other_words) {
        same &= u64::from_ne_bytes(*word).ct_eq(&u64::from_ne_bytes(*other));
    }
    same.into()
}

/// Tells which pepper a version is, without revealing it: the start of its HMAC over a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PepperCheck(pub [u8; 16]);

/// A secret key of the installation, held as HMAC states that have absorbed it. Wiped when dropped.
pub struct Pepper {
    version: PepperVersion,
    keyed: Hmac<Sha256>,
}

impl Pepper {
    /// The pepper made of `bytes`, which the caller MUST wipe.
    #[must_use]
    pub fn new(version: PepperVersion, bytes: &[u8; PEPPER_BYTES]) -> Self {
        let keyed = Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length");
        Pepper { version, keyed }
    }

    /// Which pepper it is.
    #[must_use]
    pub fn version(&self) -> PepperVersion {
        self.version
    }

    /// The tag of `secret` for the key or caller `id`.
    #[must_use]
    pub fn tag(&self, purpose: Purpose, id: &[u8; PUBLIC_ID_BYTES], secret: &Secret) -> Tag {
        let mut hmac = self.keyed.clone();
        hmac.update(purpose.label());
        hmac.update(id);
        hmac.update(secret.expose());
        Tag(hmac.finalize().into_bytes().into())
    }

    /// What the log keeps to recognise this pepper by.
    #[must_use]
    pub fn check(&self) -> PepperCheck {
        let mut hmac = self.keyed.clone();
        hmac.update(CHECK_MESSAGE);
        let whole: [u8; 32] = hmac.finalize().into_bytes().into();
        let (start, _) = whole.split_first_chunk().expect("32 bytes have a first 16");
        PepperCheck(*start)
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A tag and the pepper it was computed under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTag {
    /// The pepper.
    pub pepper: PepperVersion,
    /// The tag.
    pub tag: Tag,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counting<const N: usize>(from: u8) -> [u8; N] {
        std::array::from_fn(|i| from + u8::try_from(i).expect("small"))
    }

    fn pepper() -> Pepper {
        Pepper::new(PepperVersion(7), &counting(200))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Computed with another language's HMAC.
    #[test]
    fn known_secrets_have_known_tags() {
        let (id, secret) = (counting(1), Secret::from_bytes(counting(100)));
        let key = "f056efb6ccb271b0f49b17beb4d80337d732c45114bb5a7231764477c765f035";
        assert_eq!(hex(pepper().tag(Purpose::Key, &id, &secret).as_bytes()), key);
        let caller = "87f938881a86cfbd7facbc1887fd04a1fefa9ea4041fd2a0fcf127f3b18759ea";
        assert_eq!(hex(pepper().tag(Purpose::Caller, &id, &secret).as_bytes()), caller);
        assert_eq!(hex(&pepper().check().0), "126c94b23ddc7b1a91abb8107652a79e");
    }

    #[test]
    fn a_tag_differs_by_purpose_id_secret_and_pepper() {
        let (id, secret) = (counting(1), Secret::from_bytes(counting(100)));
        let tag = pepper().tag(Purpose::Key, &id, &secret);
        assert!(tag.matches(&pepper().tag(Purpose::Key, &id, &secret)));
        assert!(!tag.matches(&pepper().tag(Purpose::Caller, &id, &secret)));
        assert!(!tag.matches(&pepper().tag(Purpose::Key, &counting(2), &secret)));
        let other = Secret::from_bytes(counting(101));
        assert!(!tag.matches(&pepper().tag(Purpose::Key, &id, &other)));
        let other = Pepper::new(PepperVersion(7), &counting(201));
        assert!(!tag.matches(&other.tag(Purpose::Key, &id, &secret)));
        assert_ne!(other.check(), pepper().check());
    }

    #[test]
    fn the_message_and_its_padding_fit_one_block() {
        let message = Purpose::Key.label().len() + PUBLIC_ID_BYTES + 32;
        assert_eq!(message, 52);
        assert!(message + 9 <= 64);
        assert_ne!(message, CHECK_MESSAGE.len());
    }

    /// Compiles only with the `zeroize` feature of sha2, which wipes the states of a pepper and
    /// the buffer that a secret goes through.
    #[test]
    fn hash_states_are_wiped_when_dropped() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<Sha256>();
    }

    #[test]
    fn credentials_match_if_each_byte_does() {
        for length in 0..40 {
            let text: Vec<u8> = (0..length).collect();
            assert!(credentials_match(&text, &text.clone()));
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!credentials_match(&text, &other));
                assert!(!credentials_match(&text, &text[..at]));
                assert!(!credentials_match(&text[..at], &text));
            }
        }
    }

    #[test]
    fn nothing_shows_a_tag_or_a_pepper() {
        assert_eq!(format!("{:?}", Tag::from_bytes([1; 32])), "Tag(..)");
        assert_eq!(format!("{:?}", pepper()), "Pepper { version: PepperVersion(7), .. }");
    }

    proptest! {
        #[test]
        fn tags_match_only_if_every_bit_does(bytes: [u8; 32], at in 0..32_usize, bit in 0..8_u32) {
            let tag = Tag::from_bytes(bytes);
            prop_assert!(tag.matches(&tag.clone()));
            let mut other = bytes;
            other[at] ^= 1 << bit;
            prop_assert!(!tag.matches(&Tag::from_bytes(other)));
            prop_assert_ne!(tag, Tag::from_bytes(other));
        }
    }
}
