//! The whole check of a sealed volume: every byte of its file is read and held to what it must be.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Sealed;
use super::layout::{ENTRIES_A_PAGE, ENTRY_BYTES, FOOTER_BYTES, PAGE_BYTES, encode_page};
use super::read::{SealedVolume, damaged, read_failed};
use super::write::{Tables, subject_entry};
use crate::ledger::engine::LedgerError;
use crate::merkle::{Frontier, leaf_hash};

/// What a volume was found to be.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Checked {
    pub(in crate::ledger) sealed: Sealed,
    /// The tree over all records before its first.
    pub(in crate::ledger) before: Frontier,
    /// The tree over all records up to its last.
    pub(in crate::ledger) after: Frontier,
}

/// Reads all of the file `path` of the volume of that number. What is answered for holds in itself;
/// that it continues the volume before is for the caller to compare, who knows that one.
///
/// # Errors
/// The first damage, with its position or the part it is in.
pub(in crate::ledger) fn check_file(path: &Path, number: u64) -> Result<Checked, LedgerError> {
    let volume = SealedVolume::open(path, number)?;
    let (footer, sealed) = (volume.footer(), volume.sealed());
    let mut tree = volume.before().clone();
    let mut tables = Tables::default();
    let mut frames = volume.frames_from(footer.first)?;
    loop {
        let offset = frames.offset();
        let Some(frame) = frames.read_next()? else { break };
        for (_, record) in frame.records() {
            tree.push(leaf_hash(record));
        }
        if tree != *frame.frontier() {
            return Err(LedgerError::OtherTree { first: frame.first(), last: frame.last() });
        }
        tables.note(&frame, offset)?;
    }
    let counted = (tables.index.len() as u64, tables.subjects.len() as u64);
    let times = (tables.first_time, tables.last_time);
    if tree.size() != footer.last.get()
        || tree.root() != footer.root
        || counted != (footer.frames, footer.subjects)
        || times != (Some(footer.first_time), footer.last_time)
    {
        return Err(damaged(number, "its footer"));
    }
    check_bytes(&volume, &tables)?;
    Ok(Checked { sealed, before: volume.before().clone(), after: tree })
}

/// Compares the tables with those the frames give, and the file with its digest.
fn check_bytes(volume: &SealedVolume, tables: &Tables) -> Result<(), LedgerError> {
    let footer = volume.footer();
    let subjects: Vec<_> =
        tables.subjects.iter().map(|(name, last)| subject_entry(*name, *last)).collect();
    let mut file = volume.file()?;
    let mut hash = Sha256::new();
    let mut left = footer.length - FOOTER_BYTES as u64;
    let mut at = 0;
    let mut buffer = vec![0; 64 * PAGE_BYTES];
    while at < footer.index_at {
        let wanted = usize::try_from(footer.index_at - at).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact(&mut buffer[..wanted]).map_err(read_failed)?;
        hash.update(&buffer[..wanted]);
        at += wanted as u64;
        left -= wanted as u64;
    }
    for (entries, part) in [(&tables.index, "its index"), (&subjects, "its table of subjects")] {
        for expected in pages_of(entries) {
            let page = &mut buffer[..PAGE_BYTES];
            file.read_exact(page).map_err(read_failed)?;
            if *page != expected {
                return Err(damaged(footer.number, part));
            }
            hash.update(&*page);
            left -= PAGE_BYTES as u64;
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    if left == 0 && digest == footer.digest {
        Ok(())
    } else {
        Err(damaged(footer.number, "its digest"))
    }
}

fn pages_of(entries: &[[u8; ENTRY_BYTES]]) -> impl Iterator<Item = [u8; PAGE_BYTES]> + '_ {
    entries.chunks(usize::try_from(ENTRIES_A_PAGE).unwrap_or(usize::MAX)).map(encode_page)
}
