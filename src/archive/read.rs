//! Reading an archive once, from its beginning to its end, holding no more than a bundle and the right edge of
//! the tree. Which member comes next is known from the size of the checkpoint, so nothing can be left out, put
//! in or moved.

use std::io::{BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

use super::tar::TarReader;
use super::{
    ArchiveError, CHECKPOINT, END, MAX_ITEM_BYTES, README, TITLE, VERIFIER_KEYS, disclosures_name,
    entries_name, readme, split_item, tile_name,
};
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::merkle::tile::{Edge, TILE_HASHES};
use crate::merkle::{HASH_BYTES, leaf_hash};

/// Most bytes of a README: a name of 255 bytes is the longest thing in it.
const MAX_README_BYTES: usize = 4 * 1024;

/// Most bytes of a bundle: 256 items, each behind its length.
const MAX_BUNDLE_BYTES: usize = TILE_HASHES * (2 + MAX_ITEM_BYTES);

/// An archive of which no record has been read.
#[derive(Debug)]
pub struct Archive<R> {
    tar: TarReader<GzDecoder<R>>,
    readme: String,
    note: String,
    keys: Vec<VerifierKey>,
}

impl<R: BufRead> Archive<R> {
    /// Reads what comes before the records.
    ///
    /// # Errors
    /// If it is no archive.
    pub fn open(mut from: R) -> Result<Self, ArchiveError> {
        match from.fill_buf() {
            Ok([]) => return Err(ArchiveError::Empty),
            Err(error) => return Err(ArchiveError::unreadable(README, error)),
            Ok(_) => {}
        }
        let mut tar = TarReader::new(GzDecoder::new(from));
        let mut bytes = Vec::new();
        match tar.member(README, MAX_README_BYTES, &mut bytes) {
            // What the decompressor does not know, or what another program has packed.
            Err(ArchiveError::Unreadable { error, .. })
                if error.kind() == ErrorKind::InvalidInput =>
            {
                return Err(ArchiveError::OtherForm);
            }
            Err(ArchiveError::Foreign { .. } | ArchiveError::Malformed { .. }) => {
                return Err(ArchiveError::OtherForm);
            }
            read => read?,
        }
        let readme = text(README, &bytes)?;
        if readme.split('\n').next() != Some(TITLE) {
            return Err(ArchiveError::OtherForm);
        }
        tar.member(CHECKPOINT, MAX_NOTE_BYTES, &mut bytes)?;
        let note = text(CHECKPOINT, &bytes)?;
        tar.member(VERIFIER_KEYS, MAX_NOTE_BYTES, &mut bytes)?;
        let lines = text(VERIFIER_KEYS, &bytes)?;
        let keys = lines.strip_suffix('\n').map(|lines| lines.split('\n').map(VerifierKey::parse));
        let keys = keys.and_then(Iterator::collect::<Option<Vec<_>>>);
        let keys =
            keys.ok_or_else(|| malformed(VERIFIER_KEYS, "a line of it is no verifier key"))?;
        Ok(Archive { tar, readme, note, keys })
    }

    /// The signed checkpoint.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The keys that it says are the log's. They came with what they verify: alone they prove nothing.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// Opens the checkpoint with keys that are trusted, and goes on to its records.
    ///
    /// # Errors
    /// [`ArchiveError::Checkpoint`] if none of them signed it; or what stands before the records does not fit it.
    pub fn records(self, trusted: &[VerifierKey]) -> Result<Records<R>, ArchiveError> {
        let checkpoint = Checkpoint::open(&self.note, trusted)?;
        let signed = |key| Checkpoint::open(&self.note, std::slice::from_ref(key)).is_ok();
        if !self.keys.iter().all(signed) {
            return Err(malformed(VERIFIER_KEYS, "a key of it has not signed the checkpoint"));
        }
        if ![true, false].iter().any(|disclosed| readme(&checkpoint, *disclosed) == self.readme) {
            return Err(malformed(README, "it does not say what the checkpoint says"));
        }
        let Archive { tar, .. } = self;
        let (entries, disclosures) = (Bundle::default(), Bundle::default());
        Ok(Records {
            tar,
            checkpoint,
            edge: Edge::default(),
            entries,
            disclosures,
            tile: Vec::new(),
        })
    }
}

/// The items of a bundle, and where the next one is.
#[derive(Debug, Default)]
struct Bundle {
    bytes: Vec<u8>,
    at: usize,
}

impl Bundle {
    /// Where the next item is; none if it is not whole.
    fn next(&mut self) -> Option<std::ops::Range<usize>> {
        let (item, _) = split_item(self.bytes.get(self.at..)?)?;
        let begin = self.at + 2;
        self.at = begin + item.len();
        Some(begin..self.at)
    }
}

/// The records of an archive, one after the other.
#[derive(Debug)]
pub struct Records<R> {
    tar: TarReader<GzDecoder<R>>,
    checkpoint: Checkpoint,
    edge: Edge,
    entries: Bundle,
    disclosures: Bundle,
    tile: Vec<u8>,
}

/// A record and the clear bytes of its personal fields, if they are disclosed.
pub type Entry<'a> = (&'a [u8], Option<&'a [u8]>);

impl<R: BufRead> Records<R> {
    /// What the archive is of.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The next record; none behind the last. Tiles are held to the records as they pass.
    ///
    /// # Errors
    /// [`ArchiveError`] at what is not as it must be; behind it nothing is to be believed.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, ArchiveError> {
        let read = self.edge.size();
        if read == self.checkpoint.size {
            return Ok(None);
        }
        let (place, within) = (read / TILE_HASHES as u64, read % TILE_HASHES as u64);
        let left = usize::try_from(self.checkpoint.size - (read - within)).unwrap_or(usize::MAX);
        let count = left.min(TILE_HASHES);
        let (entries, disclosures) = (entries_name(place, count), disclosures_name(place, count));
        if within == 0 {
            self.tar.member(&entries, MAX_BUNDLE_BYTES, &mut self.entries.bytes)?;
            self.tar.member(&disclosures, MAX_BUNDLE_BYTES, &mut self.disclosures.bytes)?;
            (self.entries.at, self.disclosures.at) = (0, 0);
        }
        let record =
            self.entries.next().ok_or_else(|| malformed(&entries, "it has too few records"))?;
        let clear = self.disclosures.next();
        let clear = clear.ok_or_else(|| malformed(&disclosures, "it has too few disclosures"))?;
        let whole = self.edge.push(leaf_hash(&self.entries.bytes[record.clone()]));
        if within + 1 == count as u64 {
            for (bundle, name) in [(&self.entries, &entries), (&self.disclosures, &disclosures)] {
                if bundle.at != bundle.bytes.len() {
                    return Err(malformed(name, "it is too long"));
                }
            }
        }
        for (id, tile) in whole {
            require_tile(
                &mut self.tar,
                &tile_name(id, TILE_HASHES),
                &tile.to_bytes(),
                &mut self.tile,
            )?;
        }
        let clear = (!clear.is_empty()).then(|| &self.disclosures.bytes[clear]);
        Ok(Some((&self.entries.bytes[record], clear)))
    }

    /// Reads on to the end, behind the last record.
    ///
    /// # Errors
    /// As [`Records::next_entry`]; [`ArchiveError::OtherRecords`] if the records are not those that were signed.
    pub fn finish(mut self) -> Result<(), ArchiveError> {
        for (id, hashes) in self.edge.partial_tiles() {
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            require_tile(&mut self.tar, &tile_name(id, hashes.len()), &bytes, &mut self.tile)?;
        }
        let (records, root) = (self.edge.size(), self.edge.frontier().root());
        let Checkpoint { size: signed, root: expected, .. } = self.checkpoint;
        if (records, root) != (signed, expected) {
            return Err(ArchiveError::OtherRecords { records, signed });
        }
        let mut compressed = self.tar.end()?;
        // At its end the decompressor checks what it has read.
        let more =
            compressed.read(&mut [0]).map_err(|error| ArchiveError::unreadable(END, error))?;
        let mut behind = compressed.into_inner();
        let rest = behind.fill_buf().map_err(|error| ArchiveError::unreadable(END, error))?;
        if more == 0 && rest.is_empty() { Ok(()) } else { Err(ArchiveError::Trailing) }
    }
}

/// Reads a tile, which must be of these bytes.
fn require_tile<R: Read>(
    tar: &mut TarReader<R>,
    name: &str,
    expected: &[u8],
    found: &mut Vec<u8>,
) -> Result<(), ArchiveError> {
    tar.member(name, TILE_HASHES * HASH_BYTES, found)?;
    if found == expected {
        Ok(())
    } else {
        Err(ArchiveError::OtherTile { member: name.to_owned() })
    }
}

fn malformed(member: &str, what: &'static str) -> ArchiveError {
    ArchiveError::Malformed { member: member.to_owned(), what }
}

fn text(member: &str, bytes: &[u8]) -> Result<String, ArchiveError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| malformed(member, "it is no text"))
}
