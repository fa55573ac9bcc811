//! Sealed volumes: bytes built by hand, reading through the index, and every byte altered.

use std::fs;
use std::path::PathBuf;

use super::layout::{FOOTER_BYTES, MAX_HEADER_BYTES, PAGE_BYTES};
use super::*;
use crate::domain::command::Act;
use crate::domain::event::Recorded;
use crate::domain::testing::{World, create, key_id};
use crate::ledger::engine::LedgerError;
use crate::ledger::frame::{Frame, FrameBuilder};
use crate::ledger::record;
use crate::merkle::Frontier;

/// What the records of a volume are about: two accounts' worth of keys.
fn facts(keys: u8) -> Vec<Recorded> {
    let mut world = World::with_account();
    world.does(Act::PutAccount(crate::domain::account_rules::PutAccount {
        plan: Some(crate::domain::testing::plan_name("enterprise")),
        ..crate::domain::testing::put("b")
    }));
    for key in 1..=keys {
        world.wait(1);
        world.does(Act::CreateKey(create("b", key)));
    }
    world.log
}

/// Frames of these facts, `each` a frame, behind a tree of their first position less one.
fn frames(facts: &[Recorded], each: usize) -> (Frontier, Vec<Frame>) {
    let mut tree = Frontier::new();
    for _ in 1..facts[0].position.get() {
        tree.push(crate::merkle::leaf_hash(b"before"));
    }
    let before = tree.clone();
    let frames = facts.chunks(each).map(|facts| {
        let mut builder = FrameBuilder::new(&tree, facts[0].position);
        facts.iter().for_each(|fact| builder.push(&record::encode(fact)));
        let frame = builder.finish();
        tree = frame.frontier().clone();
        frame
    });
    let frames = frames.collect();
    (before, frames)
}

struct Written {
    home: tempfile::TempDir,
    before: Frontier,
    frames: Vec<Frame>,
    sealed: Sealed,
}

impl Written {
    fn new(facts: &[Recorded], each: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (before, frames) = frames(facts, each);
        let path = home.path().join("volume-00000007");
        let mut writer = VolumeWriter::begin(&path, 7, &before).unwrap();
        frames.iter().for_each(|frame| writer.push(frame).unwrap());
        let sealed = writer.finish().unwrap();
        Written { home, before, frames, sealed }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("volume-00000007")
    }

    fn volume(&self) -> SealedVolume {
        SealedVolume::open(&self.path(), 7).unwrap()
    }
}

#[test]
fn a_volume_is_built_as_the_table_says() {
    let facts = &facts(3)[2..];
    let written = Written::new(facts, 2);
    let frames: Vec<u8> =
        written.frames.iter().flat_map(|frame| frame.as_bytes().to_vec()).collect();
    let crc = |bytes: &mut Vec<u8>, from: usize| {
        let checksum = crc32fast::hash(&bytes[from..]);
        bytes.extend(checksum.to_be_bytes());
    };
    // The first record is at 3: before it is a tree of two, with one peak.
    let mut built = [&b"KLVO"[..], &[0, 1, 0, 0], &[0, 0, 0, 0, 0, 0, 0, 7]].concat();
    built.extend([0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0]);
    built.extend(written.before.peaks()[0].0);
    crc(&mut built, 0);
    let first_at = built.len() as u64;
    let second_at = first_at + written.frames[0].as_bytes().len() as u64;
    built.extend(frames);
    let third_at = second_at + written.frames[1].as_bytes().len() as u64;

    let page = |built: &mut Vec<u8>, entries: Vec<Vec<u8>>| {
        let at = built.len();
        built.extend(entries.concat());
        built.resize(at + PAGE_BYTES - 4, 0);
        crc(built, at);
        at as u64
    };
    let index =
        [(3, first_at), (5, second_at), (7, third_at)].map(|(position, offset): (u64, u64)| {
            let fact = facts.iter().find(|fact| fact.position.get() == position).unwrap();
            let time = fact.time.as_micros().to_be_bytes();
            [position.to_be_bytes(), time, offset.to_be_bytes()].concat()
        });
    let index_at = page(&mut built, index.to_vec());
    let account = |name: &str| {
        let hash = Sha256::digest([&[0, 4][..], b"acme", name.as_bytes()].concat());
        [&[1], &hash[..15]].concat()
    };
    let key = |n: u8| [&[2][..], &key_id(n).0, &[0; 3]].concat();
    let mut subjects: Vec<(Vec<u8>, u64)> =
        vec![(account("a"), 3), (account("b"), 4), (key(1), 5), (key(2), 6), (key(3), 7)];
    subjects.sort();
    let subjects =
        subjects.into_iter().map(|(name, last)| [name, last.to_be_bytes().to_vec()].concat());
    let subjects_at = page(&mut built, subjects.collect());

    let digest = Sha256::digest(&built);
    let length = built.len() as u64 + FOOTER_BYTES as u64;
    let end = built.len();
    let times = [facts[0].time, facts[4].time].map(|time| time.as_micros().cast_unsigned());
    for number in [7, 3, 7, times[0], times[1], 3, index_at, 5, subjects_at] {
        built.extend(number.to_be_bytes());
    }
    built.extend(written.frames[2].root().0);
    built.extend(digest);
    built.extend(length.to_be_bytes());
    built.extend([0; 24]);
    built.extend(b"KLVE");
    crc(&mut built, end);
    assert!(fs::read(written.path()).unwrap() == built);
}

#[test]
fn every_record_is_found_through_the_index_and_every_subjects_last_through_the_table() {
    let facts = facts(200);
    for each in [1, 3, 1000] {
        let written = Written::new(&facts, each);
        let volume = written.volume();
        assert_eq!(volume.sealed(), written.sealed);
        for fact in &facts {
            let frame = volume.frame_at(fact.position).unwrap();
            assert_eq!(frame.record(fact.position), Some(&record::encode(fact)[..]));
            let mut behind = volume.frames_from(fact.position).unwrap();
            assert_eq!(behind.read_next().unwrap().map(|found| found.first()), Some(frame.first()));
            let last = facts.iter().rfind(|other| other.subject == fact.subject).unwrap();
            assert_eq!(volume.last_of(&fact.subject).unwrap(), Some(last.position));
        }
        let mut all = volume.frames_from(written.sealed.first).unwrap();
        for frame in &written.frames {
            assert_eq!(all.read_next().unwrap().unwrap().as_bytes(), frame.as_bytes());
        }
        assert!(all.read_next().unwrap().is_none());
        let nobody = Subject::Key(crate::domain::testing::account("b"), key_id(250));
        assert_eq!(volume.last_of(&nobody).unwrap(), None);
    }
}

#[test]
fn any_altered_byte_is_found_by_the_whole_check_and_reads_are_right_or_refused() {
    let facts = facts(4);
    let written = Written::new(&facts, 3);
    let whole = fs::read(written.path()).unwrap();
    let checked = check_file(&written.path(), 7).unwrap();
    assert_eq!((checked.sealed, &checked.before), (written.sealed, &written.before));
    assert_eq!(&checked.after, written.frames.last().unwrap().frontier());
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1 << (at % 8);
        fs::write(written.path(), &altered).unwrap();
        assert!(check_file(&written.path(), 7).is_err(), "byte {at} was altered unseen");
        let Ok(volume) = SealedVolume::open(&written.path(), 7) else { continue };
        for fact in &facts {
            if let Ok(frame) = volume.frame_at(fact.position) {
                assert_eq!(
                    frame.record(fact.position),
                    Some(&record::encode(fact)[..]),
                    "byte {at}"
                );
            }
            if let Ok(last) = volume.last_of(&fact.subject) {
                let expected = facts.iter().rfind(|other| other.subject == fact.subject).unwrap();
                assert_eq!(last, Some(expected.position), "byte {at}");
            }
        }
    }
}

#[test]
fn a_truncated_or_longer_file_and_another_number_are_refused() {
    let written = Written::new(&facts(4), 3);
    let whole = fs::read(written.path()).unwrap();
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        fs::write(written.path(), &whole[..length]).unwrap();
        let refused = SealedVolume::open(&written.path(), 7).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "sealed volume 7 is damaged: its header or footer is truncated or altered"
        );
    }
    fs::write(written.path(), [&whole[..], b"x"].concat()).unwrap();
    assert!(SealedVolume::open(&written.path(), 7).is_err());
    fs::write(written.path(), &whole).unwrap();
    assert!(SealedVolume::open(&written.path(), 8).is_err());
    let missing = SealedVolume::open(&written.home.path().join("volume-00000008"), 8);
    assert_eq!(missing.unwrap_err(), LedgerError::MissingVolume { number: 8 });
}

#[test]
fn a_newer_version_is_refused_as_newer() {
    let written = Written::new(&facts(1), 3);
    let mut bytes = fs::read(written.path()).unwrap();
    bytes[5] = 2;
    let header = 32 + 32 * written.before.peaks().len();
    let checksum = crc32fast::hash(&bytes[..header]);
    bytes[header..header + 4].copy_from_slice(&checksum.to_be_bytes());
    fs::write(written.path(), bytes).unwrap();
    let refused = SealedVolume::open(&written.path(), 7).unwrap_err();
    assert_eq!(refused, LedgerError::NewerVolume { number: 7, version: 2 });
}

#[test]
fn a_frame_that_does_not_follow_is_refused_and_an_unfinished_file_is_replaced() {
    let facts = facts(4);
    let (before, frames) = frames(&facts, 2);
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("volume-00000001");
    let mut writer = VolumeWriter::begin(&path, 1, &before).unwrap();
    let refused = writer.push(&frames[1]).unwrap_err();
    let expected =
        LedgerError::OutOfOrder { expected: frames[0].first(), found: frames[1].first() };
    assert_eq!(refused, expected);
    drop(writer);
    assert!(!path.exists());
    let mut writer = VolumeWriter::begin(&path, 1, &before).unwrap();
    frames.iter().for_each(|frame| writer.push(frame).unwrap());
    writer.finish().unwrap();
    assert!(check_file(&path, 1).is_ok());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn no_volume_is_longer_than_it_may_be_expected_to_be() {
    for (keys, each) in [(1, 1), (200, 1), (200, 7)] {
        let facts = facts(keys);
        let written = Written::new(&facts, each);
        let frames = written.frames.iter().map(|frame| frame.as_bytes().len() as u64).sum();
        let most = most_bytes(frames, facts.len() as u64);
        let spare = MAX_HEADER_BYTES + 2 * PAGE_BYTES;
        assert!((most - spare as u64..=most).contains(&written.sealed.bytes), "{keys} by {each}");
    }
}
