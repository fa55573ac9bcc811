use std::io::{Read as _, Write as _};

use ed25519_dalek::{Signer as _, SigningKey};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::merkle::note::{KeyName, NoteError, VerifierKey};
use crate::merkle::{Frontier, Hash, leaf_hash};

/// A key of the log's name, and a note of this text that it signed.
fn signed(seed: u8, text: &str) -> (VerifierKey, String) {
    let secret = SigningKey::from_bytes(&[seed; 32]);
    let name = KeyName::parse("example.com/log").unwrap();
    let key = VerifierKey::of(name, secret.verifying_key().as_bytes()).unwrap();
    let line = key.signature_line(&secret.sign(text.as_bytes()).to_bytes());
    (key, format!("{text}\n{line}"))
}

fn record(number: u64) -> Vec<u8> {
    format!("record {number}").into_bytes()
}

/// What is disclosed of a record: of each third something.
fn disclosed(number: u64) -> Vec<u8> {
    if number.is_multiple_of(3) { format!("clear {number}").into_bytes() } else { Vec::new() }
}

fn checkpoint(size: u64) -> Checkpoint {
    let mut tree = Frontier::new();
    (1..=size).for_each(|number| tree.push(leaf_hash(&record(number))));
    let origin = KeyName::parse("example.com/log").unwrap();
    Checkpoint { origin, size, root: tree.root() }
}

fn archive(size: u64) -> (VerifierKey, Vec<u8>) {
    let (key, note) = signed(1, &checkpoint(size).text());
    let keys = std::slice::from_ref(&key);
    let mut writer = ArchiveWriter::begin(Vec::new(), &note, keys, true).unwrap();
    for number in 1..=size {
        writer.add(&record(number), &disclosed(number)).unwrap();
    }
    assert_eq!(writer.records(), size);
    (key, writer.finish().unwrap())
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn read(bytes: &[u8], key: &VerifierKey) -> Result<Entries, ArchiveError> {
    let mut records = Archive::open(bytes)?.records(std::slice::from_ref(key))?;
    let mut entries = Vec::new();
    while let Some((record, clear)) = records.next_entry()? {
        entries.push((record.to_vec(), clear.unwrap_or_default().to_vec()));
    }
    records.finish()?;
    Ok(entries)
}

fn unpacked(archive: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    GzDecoder::new(archive).read_to_end(&mut tar).unwrap();
    tar
}

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

/// The members of a tar: name, header and content whole; the end is the last.
fn members(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (mut members, mut rest) = (Vec::new(), tar);
    while rest[0] != 0 {
        let name = rest[..100].split(|byte| *byte == 0).next().unwrap();
        let size = std::str::from_utf8(&rest[124..135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let (member, behind) = rest.split_at(512 + size.next_multiple_of(512));
        members.push((String::from_utf8(name.to_vec()).unwrap(), member.to_vec()));
        rest = behind;
    }
    members.push(("the end".to_owned(), rest.to_vec()));
    members
}

fn joined(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    packed(&members.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>())
}

#[test]
fn an_archive_comes_back_as_it_was_written_and_is_the_same_each_time() {
    for size in [1, 2, 255, 256, 257, 512, 700, 65_536, 65_537] {
        let (key, bytes) = archive(size);
        let expected: Entries = (1..=size).map(|n| (record(n), disclosed(n))).collect();
        assert!(read(&bytes, &key).unwrap() == expected, "{size} records");
        assert_eq!(archive(size).1, bytes);
    }
}

#[test]
fn members_are_those_of_the_specification_in_the_order_of_the_document() {
    let names = |size| -> Vec<String> {
        let members = members(&unpacked(&archive(size).1));
        members.into_iter().map(|(name, _)| name).collect()
    };
    let first = ["README", "checkpoint", "verifier.key"];
    let small = ["tile/entries/000.p/3", "disclosures/000.p/3", "tile/0/000.p/3", "the end"];
    assert_eq!(names(3), [&first[..], &small].concat());
    let whole = ["tile/entries/000", "disclosures/000", "tile/0/000"];
    let last = [
        "tile/entries/001.p/1",
        "disclosures/001.p/1",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
        "the end",
    ];
    assert_eq!(names(257), [&first[..], &whole, &last].concat());
    let large = names(65_536);
    let last = [
        "tile/entries/255",
        "disclosures/255",
        "tile/0/255",
        "tile/1/000",
        "tile/2/000.p/1",
        "the end",
    ];
    assert_eq!(large[large.len() - 6..], last);
    let entries = &members(&unpacked(&archive(3).1))[3].1[512..];
    assert_eq!(entries[..12], *b"\0\x08record 1\0\x08");
    let clear = &members(&unpacked(&archive(3).1))[4].1[512..];
    assert_eq!(clear[..14], *b"\0\0\0\0\0\x07clear 3\0");
}

#[test]
fn every_altered_byte_is_refused_but_of_what_is_disclosed() {
    let (key, bytes) = archive(3);
    let tar = unpacked(&bytes);
    let mut begin = 0;
    for (name, member) in members(&tar) {
        for at in begin..begin + member.len() {
            let mut altered = tar.clone();
            altered[at] ^= 1;
            // What is disclosed is held to the records by who reads them.
            let clear = name.starts_with("disclosures/") && (518..525).contains(&(at - begin));
            assert_eq!(
                read(&packed(&altered), &key).is_ok(),
                clear,
                "byte {} of {name}",
                at - begin
            );
        }
        begin += member.len();
    }
}

#[test]
fn what_is_cut_off_or_goes_on_is_refused() {
    let (key, bytes) = archive(300);
    for cut in (0..bytes.len()).step_by(29) {
        assert!(read(&bytes[..cut], &key).is_err(), "cut at {cut}");
    }
    let more = [&bytes[..], &bytes[..]].concat();
    assert!(matches!(read(&more, &key), Err(ArchiveError::Trailing)));
    let tar = [&unpacked(&bytes)[..], &[0; 512]].concat();
    assert!(matches!(read(&packed(&tar), &key), Err(ArchiveError::Trailing)));
    assert!(matches!(read(b"no archive at all", &key), Err(ArchiveError::OtherForm)));
    assert!(matches!(read(&packed(b"neither"), &key), Err(ArchiveError::Ended { .. })));
}

#[test]
fn members_that_are_missing_doubled_swapped_or_foreign_are_refused_by_name() {
    let (key, bytes) = archive(600);
    let whole = members(&unpacked(&bytes));
    assert!(read(&joined(&whole), &key).is_ok());
    let foreign = members(&unpacked(&archive(1).1))[3].clone();
    for at in 0..whole.len() - 1 {
        let name = &whole[at].0;
        let mut fewer = whole.clone();
        fewer.remove(at);
        let refused = read(&joined(&fewer), &key).unwrap_err();
        assert!(at == 0 || refused.to_string().contains(name), "{name}: {refused}");
        let mut twice = whole.clone();
        twice.insert(at, whole[at].clone());
        assert!(read(&joined(&twice), &key).is_err(), "{name} twice");
        let mut swapped = whole.clone();
        swapped.swap(at, at + 1);
        assert!(read(&joined(&swapped), &key).is_err(), "{name} behind the next");
        let mut more = whole.clone();
        more.insert(at, foreign.clone());
        let refused = read(&joined(&more), &key).unwrap_err();
        assert!(at == 0 || refused.to_string().contains("tile/entries/000.p/1"), "{refused}");
    }
}

#[test]
fn records_that_are_not_those_of_the_checkpoint_are_neither_written_nor_read() {
    let (key, note) = signed(1, &checkpoint(3).text());
    let keys = std::slice::from_ref(&key);
    for numbers in [vec![1, 2], vec![1, 3, 2], vec![1, 2, 3, 4]] {
        let mut writer = ArchiveWriter::begin(Vec::new(), &note, keys, true).unwrap();
        for number in numbers {
            writer.add(&record(number), &[]).unwrap();
        }
        assert!(matches!(writer.finish(), Err(ArchiveError::OtherRecords { signed: 3, .. })));
    }
    let mut writer = ArchiveWriter::begin(Vec::new(), &note, keys, true).unwrap();
    let long = vec![0; MAX_ITEM_BYTES + 1];
    for (record, clear) in [(&[][..], &[][..]), (&long, &[]), (&[1], &long)] {
        assert!(matches!(writer.add(record, clear), Err(ArchiveError::Malformed { .. })));
    }
    // A whole archive of other records, under the checkpoint of these.
    let mut forged = members(&unpacked(&archive(3).1));
    let other = Checkpoint { root: Hash([7; 32]), ..checkpoint(3) };
    let (_, note) = signed(1, &other.text());
    let of_it = {
        let mut tar = tar::TarWriter::new(Vec::new());
        tar.member(README, readme(&other, true).as_bytes()).unwrap();
        tar.member(CHECKPOINT, note.as_bytes()).unwrap();
        members(&tar.finish().unwrap())
    };
    forged[0] = of_it[0].clone();
    forged[1] = of_it[1].clone();
    let refused = read(&joined(&forged), &key);
    assert!(matches!(refused, Err(ArchiveError::OtherRecords { records: 3, signed: 3 })));
}

#[test]
fn the_checkpoint_must_be_signed_by_a_key_that_is_trusted_and_by_each_in_the_archive() {
    let (key, bytes) = archive(3);
    let (other, note) = signed(2, &checkpoint(3).text());
    let unknown = |refused| {
        let error = CheckpointError::Note(NoteError::UnknownKeys);
        matches!(refused, Err(ArchiveError::Checkpoint(found)) if found == error)
    };
    assert!(unknown(read(&bytes, &other).map(drop)));
    assert_eq!(Archive::open(&bytes[..]).unwrap().keys(), std::slice::from_ref(&key));
    let both = [key.clone(), other.clone()];
    assert!(unknown(ArchiveWriter::begin(Vec::new(), &note, &both, true).map(drop)));
    // One that also names a key that has not signed it.
    let mut altered = members(&unpacked(&bytes));
    let mut tar = tar::TarWriter::new(Vec::new());
    tar.member(VERIFIER_KEYS, format!("{key}\n{other}\n").as_bytes()).unwrap();
    altered[2] = members(&tar.finish().unwrap())[0].clone();
    let refused = read(&joined(&altered), &key).unwrap_err();
    assert!(refused.to_string().starts_with(VERIFIER_KEYS), "{refused}");
}

fn proof() -> Proof {
    let (_, note) = signed(1, &checkpoint(3).text());
    let hashes = vec![Hash([1; 32]), Hash([2; 32])];
    Proof { record: record(2), disclosed: b"clear".to_vec(), leaf: 1, hashes, note }
}

#[test]
fn a_proof_file_is_in_the_form_of_the_specification() {
    let proof = proof();
    let text = proof.to_string();
    let lines: Vec<_> = text.lines().collect();
    let expected = [
        "c2sp.org/tlog-proof@v1",
        // 0x0008 "record 2" 0x0005 "clear"
        "extra AAhyZWNvcmQgMgAFY2xlYXI=",
        "index 1",
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
        "",
        "example.com/log",
        "3",
    ];
    assert_eq!(lines[..8], expected);
    assert_eq!(Proof::parse(&text), Some(proof.clone()));
    let alone = Proof { disclosed: Vec::new(), leaf: 0, hashes: Vec::new(), ..proof };
    assert_eq!(Proof::parse(&alone.to_string()), Some(alone));
}

#[test]
fn what_is_no_proof_file_is_refused() {
    let text = proof().to_string();
    let cases = [
        String::new(),
        text.replacen("@v1", "@v2", 1),
        text.replacen("extra ", "", 1),
        text.replacen("extra AAhy", "extra AAly", 1).replacen("AAVj", "", 1),
        text.replacen("AAhyZWNvcmQgMgAFY2xlYXI=", "AAhyZWNvcmQgMgAFY2xlYXIA", 1),
        text.replacen("index 1", "index 01", 1),
        text.replacen("index 1", "index -1", 1),
        text.replacen("AQEB", "AQE", 1),
        text.replacen("\n\n", "\n", 1),
        text.replacen("\n\n", &"\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".repeat(63), 1),
    ];
    for case in cases {
        assert_eq!(Proof::parse(&case), None, "{case}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_read_makes_the_reader_fail(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
        at in any::<prop::sample::Index>(),
    ) {
        let (key, whole) = archive(2);
        let _ = read(&bytes, &key);
        let mut tar = unpacked(&whole);
        let at = at.index(tar.len());
        let end = tar.len().min(at + bytes.len());
        tar[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = read(&packed(&tar), &key);
        let _ = Proof::parse(&String::from_utf8_lossy(&bytes));
    }
}
