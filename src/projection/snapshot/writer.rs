//! Writes a snapshot, entry after entry, to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::bytes::Put;
use super::header::Header;
use super::{BLOCK_BYTES, Section, Standpoint};
use crate::vault::{SnapshotKeys, SnapshotMac};

/// Bytes handed to the file system at a time.
const BUFFER_BYTES: usize = 1024 * 1024;

/// A snapshot being written. It is whole once [`SnapshotWriter::finish`] has returned.
pub(super) struct SnapshotWriter {
    file: BufWriter<File>,
    mac: SnapshotMac,
    header: Header,
    /// Where the next block begins.
    at: u64,
    blocks: u64,
    block: Block,
    index: Vec<u8>,
}

/// The block being filled.
struct Block {
    section: Section,
    bytes: Vec<u8>,
    entries: u32,
    first_order_key: Vec<u8>,
}

impl SnapshotWriter {
    /// Makes the file `path`, which must not exist, for the snapshot at `standpoint`, made under the key
    /// of `kek_version`.
    pub(super) fn create(
        path: &Path,
        standpoint: Standpoint,
        keys: &SnapshotKeys,
        kek_version: u16,
    ) -> io::Result<Self> {
        let mac = keys.of(kek_version, standpoint.position, &standpoint.root().0);
        let mac = mac.ok_or(io::ErrorKind::NotFound)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let length = Header::length(standpoint.position);
        // Its counts are known at the end.
        file.write_all(&vec![0; length])?;
        let (counts, at) = ([0; Section::ALL.len()], length as u64);
        let header = Header { kek_version, standpoint, counts, index_at: 0, index_bytes: 0 };
        let bytes = Vec::with_capacity(BLOCK_BYTES);
        let section = Section::Policy;
        let block = Block { section, bytes, entries: 0, first_order_key: Vec::new() };
        Ok(SnapshotWriter { file, mac, header, at, blocks: 0, block, index: Vec::new() })
    }

    /// Adds an entry. Sections and the order keys within them MUST ascend: reading back checks it.
    pub(super) fn push(&mut self, section: Section, entry: &[u8]) -> io::Result<()> {
        let full = self.block.bytes.len() + 4 + entry.len() > BLOCK_BYTES;
        if self.block.entries > 0 && (full || section != self.block.section) {
            self.end_block()?;
        }
        if self.block.entries == 0 {
            self.block.section = section;
            let order_key = section.order_key(entry).ok_or(io::ErrorKind::InvalidData)?;
            self.block.first_order_key.extend(order_key);
        }
        self.block.bytes.put_length(entry.len());
        self.block.bytes.extend(entry);
        self.block.entries += 1;
        self.header.counts[section as usize] += 1;
        Ok(())
    }

    /// How many entries of a section have been added.
    pub(super) fn count(&self, section: Section) -> u64 {
        self.header.counts[section as usize]
    }

    fn end_block(&mut self) -> io::Result<()> {
        let Block { section, bytes, entries, first_order_key } = &mut self.block;
        let mac = self.mac.mac(&[&[1, section.number()], &self.blocks.to_be_bytes(), bytes]);
        self.file.write_all(bytes)?;
        self.file.write_all(&mac)?;
        self.index.push(section.number());
        self.index.put_length(bytes.len());
        self.index.extend(entries.to_be_bytes());
        let length = u16::try_from(first_order_key.len()).map_err(io::Error::other)?;
        self.index.extend(length.to_be_bytes());
        self.index.extend(&*first_order_key);
        self.at += (bytes.len() + mac.len()) as u64;
        self.blocks += 1;
        *entries = 0;
        bytes.clear();
        first_order_key.clear();
        Ok(())
    }

    /// Writes what is left, the index and the header, and syncs the file.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.block.entries > 0 {
            self.end_block()?;
        }
        self.header.index_at = self.at;
        self.header.index_bytes = self.index.len() as u64;
        let header = self.header.encode();
        let mac = self.mac.mac(&[&[2], &header, &self.index]);
        self.file.write_all(&self.index)?;
        self.file.write_all(&mac)?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(&header, 0)?;
        file.sync_all()
    }
}
