//! The whole check of a sealed volume: every byte of its file is read and held to what it must be.

use std::convert::Infallible;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Sealed;
use super::layout::{ENTRIES_A_PAGE, ENTRY_BYTES, FOOTER_BYTES, PAGE_BYTES, encode_page};
use super::read::{SealedVolume, damaged, read_failed};
use super::write::{Tables, subject_entry};
use crate::ledger::engine::LedgerError;
use crate::ledger::frame::Frame;
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

/// What a check has just read and found in order.
#[derive(Clone, Copy, Debug)]
pub(in crate::ledger) enum Seen<'a> {
    /// The next frame; its tree is that over the records before it and its own.
    Frame(&'a Frame),
    /// So many other bytes.
    Bytes(u64),
}

/// Reads all of the file `path` of the volume of that number. What is answered for holds in itself;
/// that it continues the volume before is for the caller to compare, who knows that one.
///
/// # Errors
/// The first damage, with its position or the part it is in.
pub(in crate::ledger) fn check_file(path: &Path, number: u64) -> Result<Checked, LedgerError> {
    let mut on: fn(Seen<'_>) -> ControlFlow<Infallible> = |_| ControlFlow::Continue(());
    let ControlFlow::Continue(checked) = check_watched(path, number, &mut on)?;
    Ok(checked)
}

/// As [`check_file`]; `watch` sees what is read, and can end it.
///
/// # Errors
/// As [`check_file`]. Frames that `watch` has seen before are whole all the same.
pub(in crate::ledger) fn check_watched<B>(
    path: &Path,
    number: u64,
    watch: &mut dyn FnMut(Seen<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B, Checked>, LedgerError> {
    let volume = SealedVolume::open(path, number)?;
    let (footer, sealed) = (volume.footer(), volume.sealed());
    let file = volume.file()?;
    let mut hash = Sha256::new();
    hash.update(read(&file, 0, volume.frames_at())?);
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
        hash.update(frame.as_bytes());
        if let ControlFlow::Break(why) = watch(Seen::Frame(&frame)) {
            return Ok(ControlFlow::Break(why));
        }
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
    if let ControlFlow::Break(why) = check_tables(&volume, &file, &tables, &mut hash, watch)? {
        return Ok(ControlFlow::Break(why));
    }
    let digest: [u8; 32] = hash.finalize().into();
    if digest != footer.digest {
        return Err(damaged(number, "its digest"));
    }
    Ok(ControlFlow::Continue(Checked { sealed, before: volume.before().clone(), after: tree }))
}

/// Compares the tables with those the frames give. They and the footer are all there is behind the
/// frames: opening the volume has seen to that.
fn check_tables<B>(
    volume: &SealedVolume,
    file: &File,
    tables: &Tables,
    hash: &mut Sha256,
    watch: &mut dyn FnMut(Seen<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, LedgerError> {
    let footer = volume.footer();
    let subjects: Vec<_> =
        tables.subjects.iter().map(|(name, last)| subject_entry(*name, *last)).collect();
    let mut at = footer.index_at;
    for (entries, part) in [(&tables.index, "its index"), (&subjects, "its table of subjects")] {
        for expected in pages_of(entries) {
            let page = read(file, at, PAGE_BYTES as u64)?;
            if page != expected {
                return Err(damaged(footer.number, part));
            }
            hash.update(&page);
            at += PAGE_BYTES as u64;
            if let ControlFlow::Break(why) = watch(Seen::Bytes(PAGE_BYTES as u64)) {
                return Ok(ControlFlow::Break(why));
            }
        }
    }
    if at + FOOTER_BYTES as u64 == footer.length {
        Ok(ControlFlow::Continue(()))
    } else {
        Err(damaged(footer.number, "its footer"))
    }
}

fn read(file: &File, at: u64, length: u64) -> Result<Vec<u8>, LedgerError> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, at).map_err(read_failed)?;
    Ok(bytes)
}

fn pages_of(entries: &[[u8; ENTRY_BYTES]]) -> impl Iterator<Item = [u8; PAGE_BYTES]> + '_ {
    entries.chunks(usize::try_from(ENTRIES_A_PAGE).unwrap_or(usize::MAX)).map(encode_page)
}
