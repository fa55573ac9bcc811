//! How far a verification has got, as bytes to keep: a later one goes on from there and reads only what is new.
//!
//! They are as trustworthy as where they are kept, like the checkpoint they lie beside; a checksum tells damage
//! from what was written. The peaks of a whole history lead to no signed root unless they are its own.
//!
//! Numbers are big-endian; a position of 0 is none.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `klverif1` |
//! | 1 | 1: a whole history; 2: a part |
//! | 2 + n | length of the origin, and the origin of the checkpoints it is held to |
//! | whole: 8 + 1 + 32 n | size of the tree, number of peaks, and the peaks, that of the largest subtree first |
//! | part: 3 × (2 + n) | tenant, account (UTF-8) and key (12 bytes) that were asked for; of length 0 if any |
//! | part: 8 + 8 + 32 | position that was reached; size and root of the tree that its records were proved to be in |
//! | 8 × 5 | records, records disclosed, not disclosed, first and last time |
//! | 8 | the service's last record |
//! | 8 + (12 + 8) n | number of callers; of each its id and last record |
//! | 8 + (2 + t + 2 + a + 8) n | number of accounts; of each tenant, account and last record |
//! | 8 + (12 + 8 × 5) n | number of keys; of each its id, the place of its account from 0, its last record, its revocation, how often it was allowed, how often denied |
//! | 32 | SHA-256 of all before |

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::chains::{Accounts, Chains, KeySeen, Tally};
use super::{History, Part, Scope};
use crate::domain::ids::{AccountId, AccountRef, CallerId, KeyId, Position, TenantId};
use crate::merkle::{Frontier, HASH_BYTES, Hash};

const MAGIC: &[u8] = b"klverif1";
const WHOLE: u8 = 1;
const PART: u8 = 2;

/// Most bytes that are kept: those of about a hundred million keys.
pub const MOST_BYTES: u64 = 8 << 30;

impl History {
    /// How far it has got, held to checkpoints of `origin`.
    #[must_use]
    pub fn to_bytes(&self, origin: &str) -> Vec<u8> {
        let mut bytes = begin(WHOLE, origin);
        number(&mut bytes, self.tree.size());
        let peaks = self.tree.peaks();
        bytes.push(u8::try_from(peaks.len()).expect("a size has at most 64 bits"));
        peaks.iter().for_each(|peak| bytes.extend(peak.0));
        self.chains.write(&mut bytes);
        sealed(bytes)
    }

    /// What was kept of a history held to checkpoints of `origin`; none if it is of another, or damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], origin: &str) -> Option<Self> {
        let mut kept = Kept::open(bytes, WHOLE, origin)?;
        let (size, peaks) = (kept.number()?, kept.array::<1>()?[0]);
        let peaks = (0..peaks).map(|_| kept.array().map(Hash)).collect::<Option<_>>()?;
        let tree = Frontier::from_parts(size, peaks)?;
        let chains = Chains::read(&mut kept)?;
        kept.end(History::resumed(tree, chains))
    }
}

impl Part {
    /// How far it has got, held to checkpoints of `origin`.
    #[must_use]
    pub fn to_bytes(&self, origin: &str) -> Vec<u8> {
        let mut bytes = begin(PART, origin);
        let Scope { tenant, account, key } = &self.scope;
        text(&mut bytes, tenant.as_ref().map_or("", TenantId::as_str).as_bytes());
        text(&mut bytes, account.as_ref().map_or("", AccountId::as_str).as_bytes());
        text(&mut bytes, key.as_ref().map_or(&[], |key| &key.0));
        number(&mut bytes, self.reached);
        let (size, root) = self.proved_in.unwrap_or((0, Hash([0; HASH_BYTES])));
        number(&mut bytes, size);
        bytes.extend(root.0);
        self.chains.write(&mut bytes);
        sealed(bytes)
    }

    /// What was kept of the part that `scope` asks for, held to checkpoints of `origin`; none if it is of
    /// another, or damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], origin: &str, scope: &Scope) -> Option<Self> {
        let mut kept = Kept::open(bytes, PART, origin)?;
        let asked = [
            scope.tenant.as_ref().map_or("", TenantId::as_str).as_bytes(),
            scope.account.as_ref().map_or("", AccountId::as_str).as_bytes(),
            scope.key.as_ref().map_or(&[], |key| &key.0),
        ];
        let same = asked.iter().all(|asked| kept.text() == Some(asked));
        let (reached, size) = (kept.number().filter(|_| same)?, kept.number()?);
        let proved_in = Some((size, Hash(kept.array()?))).filter(|(size, _)| *size > 0);
        let chains = Chains::read(&mut kept)?;
        kept.end(Part { scope: scope.clone(), chains, reached, proved_in })
    }
}

impl Chains {
    fn write(&self, bytes: &mut Vec<u8>) {
        let Tally { records, keys: _, disclosed, undisclosed, first_time, last_time } = self.tally;
        for value in [records, disclosed, undisclosed] {
            number(bytes, value);
        }
        bytes.extend(first_time.to_be_bytes());
        bytes.extend(last_time.to_be_bytes());
        place(bytes, self.service);
        number(bytes, self.callers.len() as u64);
        for (caller, last) in &self.callers {
            bytes.extend(caller.0);
            number(bytes, last.get());
        }
        number(bytes, self.accounts.all().len() as u64);
        for seen in self.accounts.all() {
            text(bytes, seen.account.tenant.as_str().as_bytes());
            text(bytes, seen.account.account.as_str().as_bytes());
            place(bytes, seen.last);
        }
        number(bytes, self.keys.len() as u64);
        for (id, seen) in &self.keys {
            let KeySeen { account, last, revoked, allowed, denied } = seen;
            bytes.extend(id.0);
            number(bytes, *account as u64);
            number(bytes, last.get());
            place(bytes, *revoked);
            number(bytes, *allowed);
            number(bytes, *denied);
        }
    }

    fn read(kept: &mut Kept<'_>) -> Option<Self> {
        let [records, disclosed, undisclosed] = [kept.number()?, kept.number()?, kept.number()?];
        let (first_time, last_time) = (kept.time()?, kept.time()?);
        let tally = Tally { records, keys: 0, disclosed, undisclosed, first_time, last_time };
        let service = Position::new(kept.number()?);
        let mut callers = HashMap::new();
        for _ in 0..kept.number()? {
            callers.insert(CallerId(kept.array()?), Position::new(kept.number()?)?);
        }
        let mut accounts = Accounts::default();
        for _ in 0..kept.number()? {
            let (tenant, account) = (kept.string()?, kept.string()?);
            let (tenant, account) =
                (TenantId::parse(tenant).ok()?, AccountId::parse(account).ok()?);
            let account = Arc::new(AccountRef { tenant, account });
            match Position::new(kept.number()?) {
                Some(last) => drop(accounts.note(&account, last)),
                None => drop(accounts.place(&account)),
            }
        }
        let mut keys = HashMap::new();
        for _ in 0..kept.number()? {
            let id = KeyId(kept.array()?);
            let account = usize::try_from(kept.number()?).ok()?;
            accounts.all().get(account)?;
            let last = Position::new(kept.number()?)?;
            let revoked = Position::new(kept.number()?);
            let (allowed, denied) = (kept.number()?, kept.number()?);
            keys.insert(id, KeySeen { account, last, revoked, allowed, denied });
        }
        Some(Chains { service, callers, accounts, keys, tally })
    }
}

fn begin(form: u8, origin: &str) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(form);
    text(&mut bytes, origin.as_bytes());
    bytes
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    bytes
}

fn number(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend(value.to_be_bytes());
}

fn place(bytes: &mut Vec<u8>, position: Option<Position>) {
    number(bytes, position.map_or(0, Position::get));
}

fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).expect("names and ids are far shorter than 64 KiB");
    bytes.extend(length.to_be_bytes());
    bytes.extend(text);
}

/// Bytes that were kept and are not read yet.
struct Kept<'a>(&'a [u8]);

impl<'a> Kept<'a> {
    /// What is behind the origin of bytes that are whole, of this form and of this origin.
    fn open(bytes: &'a [u8], form: u8, origin: &str) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<HASH_BYTES>()?;
        let mut kept = Kept(body.strip_prefix(MAGIC)?.strip_prefix(&[form])?);
        let whole = Sha256::digest(body)[..] == checksum[..];
        (whole && kept.text()? == origin.as_bytes()).then_some(kept)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.array()?);
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some(text)
    }

    fn string(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text()?).ok()
    }

    /// What was read, if nothing is behind it.
    fn end<T>(self, read: T) -> Option<T> {
        self.0.is_empty().then_some(read)
    }
}
