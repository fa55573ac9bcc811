//! Targets that read what was exported: proof files and archives.

use std::io::{Cursor, Read, Write};
use std::str::from_utf8;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use keyledger::archive::{Archive, ArchiveWriter, Proof};
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::note::VerifierKey;
use keyledger::merkle::proof::{verify_consistency, verify_inclusion};
use keyledger::merkle::{Hash, leaf_hash};
use keyledger::verify::{History, Single};

/// A proof file that is taken is written again as it was; whether it proves anything is answered of any.
pub fn proofs(input: &[u8]) -> bool {
    let Ok(text) = from_utf8(input) else { return false };
    let Some(proof) = Proof::parse(text) else { return false };
    assert_eq!(proof.to_string(), text);
    let said = Checkpoint::of_unverified(&proof.note);
    let (size, root) = said.map_or((0, Hash([0; 32])), |said| (said.size, said.root));
    let leaf = leaf_hash(&proof.record);
    let proved = verify_inclusion(&leaf, proof.leaf, size, &proof.hashes, &root).is_ok();
    assert!(!proved || proof.leaf < size);
    let _ = verify_consistency((proof.leaf, &leaf), (size, &root), &proof.hashes);
    let _ = Single::of(proof.leaf.saturating_add(1), &proof.record, Some(&proof.disclosed));
    proved
}

/// An archive that is taken holds what its checkpoint signed, and written anew it is the same.
pub fn archives(input: &[u8]) -> bool {
    let mut resealed = input.to_vec();
    if seal_headers(&mut resealed).is_some() {
        archive(&packed(&resealed));
    }
    // As it lies on disk, and as it is in the corpus: unpacked.
    archive(input) | archive(&packed(input))
}

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::fast());
    to.write_all(tar).and_then(|()| to.finish()).expect("packed")
}

fn archive(bytes: &[u8]) -> bool {
    let Ok(archive) = Archive::open(Cursor::new(bytes)) else { return false };
    let (note, keys) = (archive.note().to_owned(), archive.keys().to_vec());
    let Ok(mut records) = archive.records(&keys) else { return false };
    let checkpoint = records.checkpoint().clone();
    let (mut history, mut all) = (History::default(), Vec::new());
    loop {
        match records.next_entry() {
            Ok(Some((record, disclosed))) => {
                let _ = history.take(record, disclosed);
                all.push((record.to_vec(), disclosed.unwrap_or_default().to_vec()));
            }
            Ok(None) => break,
            Err(_) => return false,
        }
    }
    if records.finish().is_err() {
        return false;
    }
    assert_eq!(all.len() as u64, checkpoint.size);
    let found = unpacked(bytes);
    let shown = [true, false].map(|disclosed| unpacked(&written(&note, &keys, disclosed, &all)));
    assert!(shown.contains(&found), "an archive was taken that is not written so");
    true
}

fn written(
    note: &str,
    keys: &[VerifierKey],
    disclosed: bool,
    all: &[(Vec<u8>, Vec<u8>)],
) -> Vec<u8> {
    let mut to = ArchiveWriter::begin(Vec::new(), note, keys, disclosed).expect("begun");
    for (record, shown) in all {
        to.add(record, shown).expect("added");
    }
    to.finish().expect("written")
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    GzDecoder::new(Cursor::new(bytes)).read_to_end(&mut tar).expect("packed");
    tar
}

/// Makes the checksums of the headers hold, as far as their sizes lead.
fn seal_headers(tar: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + 512).filter(|header| header[0] != 0) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = from_utf8(&header[124..135]).ok()?;
        let size = usize::from_str_radix(size, 8).ok()?;
        at = size.checked_next_multiple_of(512)?.checked_add(at)?.checked_add(512)?;
    }
    Some(())
}
