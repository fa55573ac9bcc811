//! The proof file: one record and what shows that it is in the log, as C2SP tlog-proof has it:
//! <https://c2sp.org/tlog-proof>. The record and what is disclosed of it are the extra data.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{MAX_ITEM_BYTES, put_item, split_item};
use crate::merkle::note::MAX_NOTE_BYTES;
use crate::merkle::proof::MAX_PROOF_HASHES;
use crate::merkle::{HASH_BYTES, Hash};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Most bytes of a proof file: its extra data, hashes and checkpoint at their longest, and room for the words.
pub const MAX_PROOF_BYTES: usize =
    3 * MAX_ITEM_BYTES + MAX_PROOF_HASHES * 2 * HASH_BYTES + MAX_NOTE_BYTES + 1024;

/// What a proof file holds. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The record as it is stored; at most 65,535 bytes.
    pub record: Vec<u8>,
    /// The clear bytes of its personal fields, empty if they are not disclosed; at most 65,535 bytes.
    pub disclosed: Vec<u8>,
    /// Which leaf of the tree the record is, from 0: its position less 1.
    pub leaf: u64,
    /// The inclusion proof.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub note: String,
}

impl Proof {
    /// The proof of a file; none if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let extra = STANDARD.decode(lines.next()?.strip_prefix("extra ")?).ok()?;
        let (record, rest) = split_item(&extra)?;
        let (disclosed, rest) = split_item(rest)?;
        let digits = lines.next()?.strip_prefix("index ")?;
        let leaf = digits.parse().ok().filter(|leaf| u64::to_string(leaf) == digits)?;
        let hash = |line| STANDARD.decode(line).ok()?.try_into().ok().map(Hash);
        let hashes: Vec<Hash> = lines.map(hash).collect::<Option<_>>()?;
        let fits = rest.is_empty() && hashes.len() <= MAX_PROOF_HASHES;
        let (record, disclosed, note) = (record.to_vec(), disclosed.to_vec(), note.to_owned());
        fits.then_some(Proof { record, disclosed, leaf, hashes, note })
    }
}

impl fmt::Display for Proof {
    /// The text of the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut extra = Vec::with_capacity(4 + self.record.len() + self.disclosed.len());
        put_item(&mut extra, &self.record);
        put_item(&mut extra, &self.disclosed);
        writeln!(f, "{FIRST_LINE}\nextra {}\nindex {}", STANDARD.encode(extra), self.leaf)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash.0))?;
        }
        write!(f, "\n{}", self.note)
    }
}
