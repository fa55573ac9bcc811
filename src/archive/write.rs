//! Writing an archive: records in, a stream of bytes out, holding no more than a bundle and the right edge of
//! the tree.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use super::tar::TarWriter;
use super::{
    ArchiveError, CHECKPOINT, MAX_ITEM_BYTES, README, VERIFIER_KEYS, disclosures_name,
    entries_name, put_item, readme, tile_name,
};
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::VerifierKey;
use crate::merkle::tile::{Edge, TILE_HASHES};
use crate::merkle::{Hash, leaf_hash};

/// Writes an archive.
#[derive(Debug)]
pub struct ArchiveWriter<W: Write> {
    tar: TarWriter<GzEncoder<W>>,
    checkpoint: Checkpoint,
    edge: Edge,
    entries: Vec<u8>,
    disclosures: Vec<u8>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins the archive of a checkpoint, which was signed as `note` by each of these keys. `disclosed` is
    /// whether personal fields are put in where they are known.
    ///
    /// # Errors
    /// If it cannot be written, or a key has not signed the checkpoint.
    pub fn begin(
        to: W,
        note: &str,
        keys: &[VerifierKey],
        disclosed: bool,
    ) -> Result<Self, ArchiveError> {
        let checkpoint = Checkpoint::open(note, keys)?;
        for key in keys {
            Checkpoint::open(note, std::slice::from_ref(key))?;
        }
        // No name and no time: the same history gives the same bytes.
        let mut tar = TarWriter::new(GzBuilder::new().write(to, Compression::default()));
        tar.member(README, readme(&checkpoint, disclosed).as_bytes())?;
        tar.member(CHECKPOINT, note.as_bytes())?;
        let keys: String = keys.iter().map(|key| format!("{key}\n")).collect();
        tar.member(VERIFIER_KEYS, keys.as_bytes())?;
        let (edge, entries, disclosures) = (Edge::default(), Vec::new(), Vec::new());
        Ok(ArchiveWriter { tar, checkpoint, edge, entries, disclosures })
    }

    /// What the archive is of.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// How many records it has so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.edge.size()
    }

    /// Adds the next record, and the clear bytes of its personal fields, empty if they are not disclosed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, record: &[u8], disclosed: &[u8]) -> Result<(), ArchiveError> {
        if record.is_empty() || record.len().max(disclosed.len()) > MAX_ITEM_BYTES {
            let member = format!("the record at position {}", self.edge.size() + 1);
            return Err(ArchiveError::Malformed { member, what: "it is empty or too long" });
        }
        put_item(&mut self.entries, record);
        put_item(&mut self.disclosures, disclosed);
        let tiles = self.edge.push(leaf_hash(record));
        if !tiles.is_empty() {
            self.put_bundle(TILE_HASHES)?;
        }
        for (id, tile) in tiles {
            self.tar.member(&tile_name(id, TILE_HASHES), &tile.to_bytes())?;
        }
        Ok(())
    }

    /// Writes the records of the bundle, of which there are `count`.
    fn put_bundle(&mut self, count: usize) -> io::Result<()> {
        let place = (self.edge.size() - 1) / TILE_HASHES as u64;
        self.tar.member(&entries_name(place, count), &self.entries)?;
        self.tar.member(&disclosures_name(place, count), &self.disclosures)?;
        self.entries.clear();
        self.disclosures.clear();
        Ok(())
    }

    /// Ends the archive and answers where it was written to, flushed.
    ///
    /// # Errors
    /// [`ArchiveError::OtherRecords`] if the records are not those of the checkpoint: what was written is not to
    /// be used. Or it cannot be written.
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        let (size, root) = (self.edge.size(), self.edge.frontier().root());
        if (size, root) != (self.checkpoint.size, self.checkpoint.root) {
            return Err(ArchiveError::OtherRecords { records: size, signed: self.checkpoint.size });
        }
        if !self.entries.is_empty() {
            let count = size % TILE_HASHES as u64;
            self.put_bundle(usize::try_from(count).expect("less than 256"))?;
        }
        for (id, hashes) in self.edge.partial_tiles() {
            let bytes: Vec<u8> = hashes.iter().flat_map(|Hash(bytes)| *bytes).collect();
            self.tar.member(&tile_name(id, hashes.len()), &bytes)?;
        }
        let mut to = self.tar.finish()?.finish()?;
        to.flush()?;
        Ok(to)
    }
}
