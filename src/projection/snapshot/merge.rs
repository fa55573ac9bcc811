//! Merges an earlier snapshot and what has been folded since into a new file, entry by entry.
//!
//! A key names its account by the account's number in its section, so an account that is new
//! changes the numbers of those behind it: keys that are only copied are given the new ones.

use std::collections::HashMap;
use std::io;
use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::key::{self, KeyEntry};
use super::entry::{self, request};
use super::fold::{Fold, TouchedKey};
use super::writer::SnapshotWriter;
use super::{BuildError, Section, Snapshot, SnapshotError};
use crate::domain::ids::KeyId;
use crate::domain::requests::{REMEMBERED_AT_MOST, REMEMBERED_FOR, Remembered, RequestKey};
use crate::domain::source::Sources;
use crate::progress::Progress;

use SnapshotError::Damaged;

/// Entries that are merged between two words about it.
const REPORTED_EACH: u64 = 4096;

/// The entries of the base and those of the fold on their way into one file.
pub(super) struct Merge<'a> {
    pub(super) base: Option<&'a Snapshot>,
    pub(super) fold: &'a Fold<'a>,
    pub(super) out: SnapshotWriter,
    pub(super) stop: &'a AtomicBool,
    pub(super) progress: &'a dyn Progress,
}

/// The numbers of accounts in the new file.
struct Numbers {
    /// By their numbers in the base.
    of_base: Vec<u32>,
    /// Of the accounts of touched keys, by their numbers in the fold.
    of_touched: Vec<Option<u32>>,
}

/// An entry and its order key.
type Ordered = (Vec<u8>, Vec<u8>);

impl Merge<'_> {
    pub(super) fn write(mut self) -> Result<(), BuildError> {
        let fold = self.fold;
        self.out.push(Section::Policy, &entry::encode_policy(&fold.policy, &fold.log_state))?;
        for (version, pepper) in fold.peppers.iter() {
            self.out.push(Section::Peppers, &entry::encode_pepper(version, pepper))?;
        }
        for (id, caller) in &fold.callers {
            self.out.push(Section::Callers, &entry::encode_caller(*id, caller))?;
        }
        let numbers = self.accounts()?;
        self.keys(&numbers)?;
        self.requests()?;
        self.out.finish()?;
        Ok(())
    }

    fn accounts(&mut self) -> Result<Numbers, BuildError> {
        let mut accounts: Vec<_> = self.fold.accounts.iter().collect();
        accounts.sort_unstable_by_key(|(name, _)| *name);
        let touched = accounts.into_iter().map(|(name, account)| {
            Ok((entry::account_order(name), entry::encode_account(name, account)))
        });
        let names = self.fold.names.iter();
        let owners: HashMap<Vec<u8>, usize> =
            names.map(|(name, owner)| (entry::account_order(name), *owner as usize)).collect();
        let mut numbers = Numbers { of_base: Vec::new(), of_touched: vec![None; owners.len()] };
        self.merge(Section::Accounts, touched, |out, entry, side| {
            let number = u32::try_from(out.count(Section::Accounts)).map_err(io::Error::other)?;
            if side != Side::Touched {
                numbers.of_base.push(number);
            }
            if side == Side::Replaced {
                // What replaces it comes next and gets this number.
                return Ok(());
            }
            let order_key = Section::Accounts.order_key(entry).unwrap_or_default();
            if let Some(owner) = owners.get(order_key) {
                numbers.of_touched[*owner] = Some(number);
            }
            out.push(Section::Accounts, entry)
        })?;
        Ok(numbers)
    }

    fn keys(&mut self, numbers: &Numbers) -> Result<(), BuildError> {
        let fold = self.fold;
        let mut keys: Vec<_> = fold.keys.iter().collect();
        keys.sort_unstable_by_key(|(id, _)| *id);
        let touched = keys
            .into_iter()
            .map(|(id, touched)| Ok((id.0.to_vec(), key_entry(fold, numbers, *id, touched)?)));
        let mut renumbered = Vec::new();
        self.merge(Section::Keys, touched, |out, entry, side| match side {
            Side::Replaced => Ok(()),
            Side::Touched => out.push(Section::Keys, entry),
            Side::Base => {
                let before = key::account_number(entry).and_then(|at| usize::try_from(at).ok());
                let number = before.and_then(|before| numbers.of_base.get(before));
                let number = *number.ok_or(io::ErrorKind::InvalidData)?;
                if let Some(ended) = ended_in_base(fold, entry, number)? {
                    return out.push(Section::Keys, &ended);
                }
                renumbered.clear();
                renumbered.extend(entry);
                key::renumber(&mut renumbered, number);
                out.push(Section::Keys, &renumbered)
            }
        })
    }

    /// Hands the entries of a section to `pass`, in order: `touched`, which are sorted, and those of the
    /// base, also the ones that touched ones replace.
    fn merge(
        &mut self,
        section: Section,
        touched: impl Iterator<Item = Result<Ordered, SnapshotError>>,
        mut pass: impl FnMut(&mut SnapshotWriter, &[u8], Side) -> io::Result<()>,
    ) -> Result<(), BuildError> {
        let Merge { base, out, stop, progress, .. } = self;
        let (mut touched, mut seen) = (touched.peekable(), 0);
        if let Some(base) = base {
            base.for_each(section, |entry| {
                let order_key = section.order_key(entry).ok_or(Damaged("an entry"))?;
                while let Some(next) = next_before(&mut touched, Some(order_key)) {
                    pass(out, &next?.1, Side::Touched)?;
                }
                let replaced = matches!(touched.peek(), Some(Ok((next, _))) if next == order_key);
                pass(out, entry, if replaced { Side::Replaced } else { Side::Base })?;
                seen += 1;
                if seen % REPORTED_EACH == 0 {
                    progress.reached(seen);
                }
                if stop.load(Ordering::Relaxed) { Err(BuildError::Stopped) } else { Ok(()) }
            })?;
        }
        while let Some(next) = next_before(&mut touched, None) {
            pass(out, &next?.1, Side::Touched)?;
        }
        Ok(())
    }

    /// Writes the calls that are still remembered: what [`Requests`](crate::domain::requests::Requests)
    /// would hold after the whole log, less what is too old at its last record.
    fn requests(&mut self) -> Result<(), BuildError> {
        let Merge { base, fold, out, .. } = self;
        let fresh = |did: &Remembered| fold.last_time.since(did.time) < REMEMBERED_FOR;
        let kept = |entry: &[u8]| -> Result<bool, BuildError> {
            let (key, did) = request::decode(entry).ok_or(Damaged("a request"))?;
            Ok(fresh(&did) && fold.requests.get(&key).is_none())
        };
        let new =
            || fold.requests.iter().filter(|(_, did): &(&RequestKey, &Remembered)| fresh(did));
        if let Some(base) = base {
            let mut older = 0;
            base.for_each(Section::Requests, |entry| {
                older += usize::from(kept(entry)?);
                Ok::<_, BuildError>(())
            })?;
            let mut too_many = (older + new().count()).saturating_sub(REMEMBERED_AT_MOST);
            base.for_each(Section::Requests, |entry| {
                if !kept(entry)? {
                    return Ok(());
                }
                if too_many > 0 {
                    too_many -= 1;
                    return Ok(());
                }
                out.push(Section::Requests, entry).map_err(BuildError::from)
            })?;
        }
        for (key, did) in new() {
            out.push(Section::Requests, &request::encode(key, did))?;
        }
        Ok(())
    }
}

/// Where an entry comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Touched,
    /// From the base; a touched one of the same order key comes next.
    Replaced,
    Base,
}

/// The next of `touched` if it comes before `order_key`, or at all.
fn next_before(
    touched: &mut Peekable<impl Iterator<Item = Result<Ordered, SnapshotError>>>,
    order_key: Option<&[u8]>,
) -> Option<Result<Ordered, SnapshotError>> {
    touched.next_if(|next| match (next, order_key) {
        (Ok((next, _)), Some(order_key)) => next.as_slice() < order_key,
        _ => true,
    })
}

/// The entry of a key of the base that ended with its pepper; none if it did not.
fn ended_in_base(fold: &Fold<'_>, entry: &[u8], number: u32) -> io::Result<Option<Vec<u8>>> {
    if !key::pepper(entry).is_some_and(|pepper| fold.retired.contains(&pepper)) {
        return Ok(None);
    }
    let decoded = KeyEntry::decode(entry, |number| fold.name_in_base(number));
    let entry = decoded.ok_or(io::ErrorKind::InvalidData)?;
    let ended = fold.peppers.ended_key(&entry.key);
    Ok(ended.map(|key| KeyEntry { key, ..entry }.encode(number)))
}

/// The entry of a touched key. The sealed ranges are those of the folded record that set them, or else
/// those in the base.
fn key_entry(
    fold: &Fold<'_>,
    numbers: &Numbers,
    id: KeyId,
    TouchedKey { key, owner }: &TouchedKey,
) -> Result<Vec<u8>, SnapshotError> {
    let is_bound = key.limits.as_ref().is_some_and(|limits| limits.sources != Sources::Any);
    let bound = match fold.bounds.get(&id) {
        _ if !is_bound => None,
        Some(bound) => Some(bound.clone()),
        None => Some(fold.bound_in_base(&id)?),
    };
    let number = numbers.of_touched.get(*owner as usize).copied().flatten();
    let number = number.ok_or(Damaged("a key without its account"))?;
    Ok(KeyEntry { id, key: key.clone(), bound }.encode(number))
}
