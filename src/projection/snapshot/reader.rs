//! Reads a snapshot: its header and index at once, its blocks one by one, each checked by its MAC.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::bytes::Cursor;
use super::header::{self, Header};
use super::{Section, SnapshotError, Standpoint, entry};
use crate::domain::log_state::LogState;
use crate::domain::peppers::Peppers;
use crate::domain::policy::Policy;
use crate::vault::snapshot_key::MAC_BYTES;
use crate::vault::{SnapshotKeys, SnapshotMac};

use SnapshotError::Damaged;

/// Blocks that are read at once where all are read: about 1 MB.
const BLOCKS_OF_A_RUN: usize = 256;

/// Bytes of the length before each entry.
const ENTRY_LENGTH_BYTES: u32 = 4;

/// A snapshot on disk whose header and index are as they were written.
pub struct Snapshot {
    file: File,
    header: Header,
    mac: SnapshotMac,
    index: Vec<u8>,
    blocks: Vec<Place>,
    /// The blocks of each section.
    sections: [Range<usize>; Section::ALL.len()],
}

/// Where a block is, and its first order key in the index.
struct Place {
    at: u64,
    bytes: u32,
    entries: u32,
    /// Entries of its section in the blocks before it.
    before: u64,
    first: Range<u32>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Opens the snapshot `path` and checks its header and index.
    ///
    /// # Errors
    /// [`SnapshotError`] if it cannot be used.
    pub fn open(path: &Path, keys: &SnapshotKeys) -> Result<Self, SnapshotError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let most = usize::try_from(length).unwrap_or(usize::MAX).min(header::MOST_BYTES);
        let start = read(&file, 0, most)?;
        let header = Header::decode(&start)?;
        let Header { kek_version, ref standpoint, index_at, index_bytes, .. } = header;
        let start = &start[..Header::length(standpoint.position)];
        let end =
            index_at.checked_add(index_bytes).and_then(|end| end.checked_add(MAC_BYTES as u64));
        if end != Some(length) || index_at < start.len() as u64 {
            return Err(Damaged("its length"));
        }
        let index_bytes = usize::try_from(index_bytes).map_err(|_| Damaged("its length"))?;
        let mut index = read(&file, index_at, index_bytes + MAC_BYTES)?;
        let sum = index.split_off(index_bytes);
        let mac = keys.of(kek_version, standpoint.position, &standpoint.root().0);
        let mac = mac.ok_or(SnapshotError::KeyMissing(kek_version))?;
        if !mac.is_of(&[&[2], start, &index], &exact(&sum)?) {
            return Err(Damaged("the MAC of its header and index"));
        }
        let (blocks, sections) = read_index(&index, &header).ok_or(Damaged("its index"))?;
        Ok(Snapshot { file, header, mac, index, blocks, sections })
    }

    /// Where it stands.
    #[must_use]
    pub fn standpoint(&self) -> &Standpoint {
        &self.header.standpoint
    }

    /// The version of the key-encryption key that its MACs derive from.
    #[must_use]
    pub fn kek_version(&self) -> u16 {
        self.header.kek_version
    }

    /// How many keys it has.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.count(Section::Keys)
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.header.index_at + self.header.index_bytes + MAC_BYTES as u64
    }

    /// The numbers of the blocks of a section.
    pub(super) fn blocks(&self, section: Section) -> Range<usize> {
        self.sections[section as usize].clone()
    }

    pub(super) fn count(&self, section: Section) -> u64 {
        self.header.counts[section as usize]
    }

    /// Where a block lies in the file, with its MAC.
    #[cfg(test)]
    pub(super) fn place(&self, number: usize) -> Range<usize> {
        let Place { at, bytes, .. } = self.blocks[number];
        let at = usize::try_from(at).expect("a file of a test");
        at..at + bytes as usize + MAC_BYTES
    }

    /// The bytes of some blocks that follow each other, read at once; hand each to `take` with its number.
    pub(super) fn read_blocks<E: From<SnapshotError>>(
        &self,
        section: Section,
        numbers: Range<usize>,
        mut take: impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let places = &self.blocks[numbers.clone()];
        let length: usize = places.iter().map(|place| place.bytes as usize + MAC_BYTES).sum();
        let at = places.first().map_or(0, |place| place.at);
        let run = read(&self.file, at, length)?;
        let mut rest = &run[..];
        for (number, place) in numbers.zip(places) {
            let (bytes, behind) = rest.split_at(place.bytes as usize);
            let (sum, behind) = behind.split_at(MAC_BYTES);
            let numbered = (number as u64).to_be_bytes();
            let message = [&[1, section.number()], &numbered[..], bytes];
            if !self.mac.is_of(&message, &exact(sum)?) {
                return Err(Damaged("the MAC of a block").into());
            }
            take(number, bytes)?;
            rest = behind;
        }
        Ok(())
    }

    /// The bytes of one block.
    pub(super) fn block(&self, section: Section, number: usize) -> Result<Vec<u8>, SnapshotError> {
        let mut block = Vec::new();
        self.read_blocks(section, number..number + 1, |_, bytes| {
            block.extend(bytes);
            Ok::<_, SnapshotError>(())
        })?;
        Ok(block)
    }

    /// Hands each entry of a section to `take`, in order.
    pub(super) fn for_each<E: From<SnapshotError>>(
        &self,
        section: Section,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for run in runs(self.blocks(section)) {
            self.read_blocks(section, run, |_, block| {
                entries(block).try_for_each(|entry| take(entry.ok_or(Damaged("an entry"))?))
            })?;
        }
        Ok(())
    }

    /// The plans and roles in force, and what the log itself is.
    pub(super) fn policy(&self) -> Result<(Policy, LogState), SnapshotError> {
        let mut policy = None;
        self.for_each(Section::Policy, |entry| {
            policy = entry::decode_policy(entry);
            Ok::<_, SnapshotError>(())
        })?;
        policy.ok_or(Damaged("its policy"))
    }

    /// The peppers that the log has registered.
    pub(super) fn peppers(&self) -> Result<Peppers, SnapshotError> {
        let mut peppers = Peppers::default();
        self.for_each(Section::Peppers, |entry| -> Result<(), SnapshotError> {
            let (version, pepper) = entry::decode_pepper(entry).ok_or(Damaged("a pepper"))?;
            peppers = std::mem::take(&mut peppers).with(version, pepper);
            Ok(())
        })?;
        Ok(peppers)
    }

    /// The block that has the entry of that order key, if there is such an entry.
    pub(super) fn block_for(&self, section: Section, order_key: &[u8]) -> Option<usize> {
        let blocks = self.blocks(section);
        let before = self.blocks[blocks.clone()]
            .partition_point(|place| self.first_order_key(place) <= order_key);
        before.checked_sub(1).map(|behind| blocks.start + behind)
    }

    /// The block that has the entry of that number, from 0, in a section, and its number in the block.
    pub(super) fn block_of_number(&self, section: Section, number: u32) -> Option<(usize, usize)> {
        let number = u64::from(number);
        let blocks = self.blocks(section);
        let before = self.blocks[blocks.clone()].partition_point(|place| place.before <= number);
        let block = blocks.start + before.checked_sub(1)?;
        Some((block, usize::try_from(number - self.blocks[block].before).ok()?))
    }

    fn first_order_key(&self, place: &Place) -> &[u8] {
        &self.index[place.first.start as usize..place.first.end as usize]
    }

    /// Reads every block and holds it to its MAC and to the index: count and order of its entries.
    ///
    /// # Errors
    /// The first that is not as it was written.
    pub fn check(&self) -> Result<(), SnapshotError> {
        let mut on = |_| ControlFlow::<Infallible>::Continue(());
        let ControlFlow::Continue(()) = self.check_watched(&mut on)?;
        Ok(())
    }

    /// As [`Snapshot::check`]; `watch` is told how many bytes have been read, and can end it.
    ///
    /// # Errors
    /// As [`Snapshot::check`].
    pub fn check_watched<B>(
        &self,
        watch: &mut dyn FnMut(u64) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, SnapshotError> {
        let mut last: Option<(Section, Vec<u8>)> = None;
        for section in Section::ALL {
            for number in self.blocks(section) {
                let block = self.block(section, number)?;
                let place = &self.blocks[number];
                let mut found = 0;
                for entry in entries(&block) {
                    let order_key = entry.and_then(|entry| section.order_key(entry));
                    let order_key = order_key.ok_or(Damaged("an entry"))?;
                    let here = (section, order_key.to_vec());
                    let first = found == 0 && order_key != self.first_order_key(place);
                    if first || last.as_ref().is_some_and(|last| *last >= here) {
                        return Err(Damaged("the order of its entries"));
                    }
                    last = Some(here);
                    found += 1;
                }
                if found != place.entries {
                    return Err(Damaged("the count of its entries"));
                }
                if let ControlFlow::Break(why) = watch((block.len() + MAC_BYTES) as u64) {
                    return Ok(ControlFlow::Break(why));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The blocks of a section in runs that are read at once.
pub(super) fn runs(blocks: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = blocks.end;
    blocks.step_by(BLOCKS_OF_A_RUN).map(move |start| start..end.min(start + BLOCKS_OF_A_RUN))
}

/// The entries of a block; none instead of one that is not whole, which is the last.
pub(super) fn entries(block: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut from = Cursor(block);
    std::iter::from_fn(move || {
        if from.0.is_empty() {
            return None;
        }
        let entry = from.length().and_then(|length| from.take(length));
        if entry.is_none() {
            from.0 = &[];
        }
        Some(entry)
    })
}

fn exact(mac: &[u8]) -> Result<[u8; MAC_BYTES], SnapshotError> {
    mac.try_into().map_err(|_| Damaged("its length"))
}

/// `length` bytes at `at`. The length MUST have been held to that of the file.
fn read(file: &File, at: u64, length: usize) -> Result<Vec<u8>, SnapshotError> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

type Index = (Vec<Place>, [Range<usize>; Section::ALL.len()]);

/// The blocks by the index: they fill the room between header and index, sections ascend, and the counts
/// are those of the header.
fn read_index(index: &[u8], header: &Header) -> Option<Index> {
    let mut from = Cursor(index);
    let mut blocks = Vec::new();
    let mut sections = [const { 0..0 }; Section::ALL.len()];
    let mut counts = [0_u64; Section::ALL.len()];
    let mut at = Header::length(header.standpoint.position) as u64;
    let mut last = Section::Policy;
    while !from.0.is_empty() {
        let section = Section::of_number(from.u8()?).filter(|section| *section >= last)?;
        let bytes = from.u32()?;
        // Room is made for so many: no entry is shorter than its length.
        let entries = from.u32().filter(|entries| *entries <= bytes / ENTRY_LENGTH_BYTES)?;
        let length = from.u16()?;
        let start = u32::try_from(index.len() - from.0.len()).ok()?;
        from.take(usize::from(length))?;
        let first = start..start + u32::from(length);
        let here = &mut sections[section as usize];
        if here.end == 0 {
            here.start = blocks.len();
        }
        here.end = blocks.len() + 1;
        let before = counts[section as usize];
        counts[section as usize] += u64::from(entries);
        blocks.push(Place { at, bytes, entries, before, first });
        at = at.checked_add(u64::from(bytes) + MAC_BYTES as u64)?;
        last = section;
    }
    let fits = at == header.index_at && counts == header.counts;
    fits.then_some((blocks, sections))
}
