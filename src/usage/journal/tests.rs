//! Journals: their bytes, what a crash leaves of them, and that damage is found with its place.

use std::fs;
use std::path::PathBuf;

use super::testing::{header, journals, number, time};
use super::*;
use crate::domain::time::Time;

const HEADER: u64 = 36;
/// Bytes of a frame besides what was appended: 52, and the place that the tests' cover adds.
const AROUND: u64 = 52 + 16;

fn room() -> (tempfile::TempDir, Journals) {
    let dir = tempfile::tempdir().unwrap();
    let journals = journals(&dir.path().join("usage"));
    (dir, journals)
}

fn file(dir: &tempfile::TempDir, of: u64) -> PathBuf {
    dir.path().join(format!("usage/usage-{of:020}.klj"))
}

/// Makes a journal with a frame for each text, and gives it back.
fn written(journals: &Journals, of: u64, texts: &[&str]) -> JournalWriter {
    let mut writer = journals.create(&header(of)).unwrap();
    for (at, text) in (1..).zip(texts) {
        writer.append(time(at), time(60), text.as_bytes()).unwrap();
    }
    writer
}

/// All that is read of all journals: the texts, and what was found.
fn read(journals: &Journals) -> (Vec<String>, Vec<Found>) {
    let mut texts = Vec::new();
    let text = |frame: Frame| String::from_utf8(frame.clear).unwrap();
    let found = journals.read_all(|_, frame| texts.push(text(frame))).unwrap();
    (texts, found)
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

#[test]
fn the_layout_is_the_documented_one() {
    let (dir, journals) = room();
    let mut writer = journals.create(&header(1)).unwrap();
    writer.append(time(258), time(-60), b"uses").unwrap();
    let length = writer.length();
    writer.rotate(time(259), time(-60)).unwrap();

    let mut head = b"KLUJ\x00\x01\x02\x01".to_vec();
    head.extend([0, 0, 0, 0, 0, 0, 0, 1]); // number
    head.extend([0, 0, 0, 0, 0, 0, 0, 7]); // head
    head.extend([0, 0, 0, 0, 0, 0, 3, 0xe8]); // made
    let frame = |kind: u8, sequence: u8, wall: [u8; 2], payload: &[u8]| {
        let mut frame = b"KLUF".to_vec();
        frame.extend([0, 0, 0, u8::try_from(payload.len()).unwrap()]);
        frame.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend([0, 0, 0, 0, 0, 0, 0, 1]); // number
        frame.extend([0, 0, 0, 0, 0, 0, 0, sequence]);
        frame.extend([0, 0, 0, 0, 0, 0, wall[0], wall[1]]);
        frame.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc4]); // window
        frame.extend(payload);
        with_checksum(frame)
    };
    let place = [0, 0, 0, 0, 0, 0, 0, 1];
    let payload = [&b"uses"[..], &place, &place].concat();
    let expected =
        [with_checksum(head), frame(1, 1, [1, 2], &payload), frame(2, 2, [1, 3], &[])].concat();
    assert_eq!(fs::read(file(&dir, 1)).unwrap(), expected);
    assert_eq!(length, HEADER + AROUND + 4);

    let mut reader = journals.read(number(1)).unwrap();
    assert_eq!(reader.header(), &header(1));
    assert_eq!(reader.ending(), None);
    let uses = Frame { sequence: 1, wall: time(258), window: time(-60), clear: b"uses".to_vec() };
    assert_eq!(reader.next_frame().unwrap(), Some(uses));
    assert_eq!(reader.next_frame().unwrap(), None);
    assert_eq!(reader.ending(), Some(Ending::Rotated));
}

#[test]
fn each_ending_is_told_from_the_others() {
    let (_dir, journals) = room();
    written(&journals, 1, &["a"]).rotate(time(9), time(60)).unwrap();
    written(&journals, 2, &["b"]).stop(time(9), time(60)).unwrap();
    written(&journals, 3, &["c", "d"]);
    let (texts, found) = read(&journals);
    assert_eq!(texts, ["a", "b", "c", "d"]);
    let endings: Vec<_> = found.iter().map(|journal| journal.ending).collect();
    assert_eq!(endings, [Ending::Rotated, Ending::Stopped, Ending::Unfinished { torn: 0 }]);
    assert!(found.iter().all(|journal| journal.damaged_at.is_none()));
    assert_eq!(
        (found[2].frames, found[2].last, found[2].window),
        (2, Some(time(2)), Some(time(60)))
    );

    journals.put_end(&found[2], time(50)).unwrap();
    let (texts, found) = read(&journals);
    assert_eq!(texts.len(), 4);
    assert_eq!((found[2].ending, found[2].last), (Ending::Recovered, Some(time(2))));
}

#[test]
fn a_journal_cut_anywhere_gives_the_frames_that_are_whole_and_can_be_ended() {
    let (dir, journals) = room();
    written(&journals, 1, &["one", "two", "three"]);
    let whole = fs::read(file(&dir, 1)).unwrap();
    let ends = [3, 6, 11].map(|text| HEADER + text).into_iter().zip(1..);
    let ends: Vec<u64> = ends.map(|(text, frames)| text + frames * AROUND).collect();
    for length in HEADER..=whole.len() as u64 {
        let cut = usize::try_from(length).unwrap();
        fs::write(file(&dir, 1), &whole[..cut]).unwrap();
        let (texts, found) = read(&journals);
        let expected = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(texts, ["one", "two", "three"][..expected], "cut at {length}");
        let end = if expected == 0 { HEADER } else { ends[expected - 1] };
        assert_eq!(found[0].ending, Ending::Unfinished { torn: length - end });
        assert_eq!(found[0].damaged_at, None);

        journals.put_end(&found[0], time(5)).unwrap();
        let (again, found) = read(&journals);
        assert_eq!((again, found[0].ending), (texts, Ending::Recovered));
    }
    for length in 0..36 {
        fs::write(file(&dir, 1), &whole[..length]).unwrap();
        assert_eq!(read(&journals), (vec![], vec![]));
        assert_eq!(journals.headers().unwrap().1, [Headless { number: number(1), window: None }]);
    }
}

#[test]
fn every_flipped_byte_is_found_with_its_place_or_is_a_torn_tail() {
    let (dir, journals) = room();
    written(&journals, 1, &["one", "two", "three"]).rotate(time(9), time(60)).unwrap();
    let whole = fs::read(file(&dir, 1)).unwrap();
    let begins = [HEADER, HEADER + AROUND + 3, HEADER + 2 * AROUND + 6, HEADER + 3 * AROUND + 11];
    for at in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            fs::write(file(&dir, 1), &bytes).unwrap();
            if at < 36 {
                let headless = Headless { number: number(1), window: Some(time(60)) };
                assert_eq!(journals.headers().unwrap().1, [headless], "byte {at}");
                assert_eq!(read(&journals), (vec![], vec![]), "byte {at}");
                continue;
            }
            let (texts, found) = read(&journals);
            let frame = begins.iter().rposition(|begin| *begin <= at as u64).unwrap();
            let mut expected = vec!["one", "two", "three"];
            if frame < 3 {
                expected.remove(frame);
                assert_eq!(found[0].damaged_at, Some(begins[frame]), "byte {at}");
                assert_eq!(found[0].ending, Ending::Rotated);
            } else {
                let torn = whole.len() as u64 - begins[3];
                assert_eq!(found[0].ending, Ending::Unfinished { torn });
            }
            assert_eq!(texts, expected, "byte {at}");
        }
    }
}

/// The parts of a file, what is read of it, and where it is damaged.
type Case<'a> = (&'a [&'a [u8]], &'a [&'a str], u64);

#[test]
fn a_frame_that_is_missing_or_moved_is_damage() {
    let (dir, journals) = room();
    written(&journals, 1, &["one", "two", "six"]);
    let whole = fs::read(file(&dir, 1)).unwrap();
    let (head, frames) = whole.split_at(36);
    let (one, rest) = frames.split_at(frames.len() / 3);
    let (two, three) = rest.split_at(frames.len() / 3);
    let cases: [Case<'_>; 3] = [
        (&[head, one, three], &["one", "six"], HEADER + AROUND + 3),
        (&[head, two, one, three], &["two", "six"], HEADER),
        (&[head, one, one, two], &["one", "two"], HEADER + AROUND + 3),
    ];
    for (parts, expected, at) in cases {
        fs::write(file(&dir, 1), parts.concat()).unwrap();
        let (texts, found) = read(&journals);
        assert_eq!(texts, expected);
        assert_eq!(found[0].damaged_at, Some(at));
    }
    // Of another journal: as good as no frame.
    written(&journals, 2, &["own"]);
    let own = fs::read(file(&dir, 2)).unwrap();
    fs::write(file(&dir, 2), [&own, two].concat()).unwrap();
    fs::write(file(&dir, 1), &whole).unwrap();
    let (texts, found) = read(&journals);
    assert_eq!(texts, ["one", "two", "six", "own"]);
    assert_eq!(found[1].ending, Ending::Unfinished { torn: two.len() as u64 });
}

#[test]
fn what_stands_behind_an_end_is_damage() {
    let (dir, journals) = room();
    written(&journals, 1, &["one"]).stop(time(9), time(60)).unwrap();
    let mut bytes = fs::read(file(&dir, 1)).unwrap();
    let end = bytes.len() as u64;
    bytes.extend_from_within(36..);
    fs::write(file(&dir, 1), &bytes).unwrap();
    let (texts, found) = read(&journals);
    assert_eq!((texts.len(), found[0].damaged_at), (1, Some(end)));
    assert_eq!(found[0].ending, Ending::Stopped);
}

#[test]
fn a_journal_without_its_end_is_damaged_if_a_later_one_has_frames() {
    let (dir, journals) = room();
    written(&journals, 1, &["one"]).rotate(time(9), time(60)).unwrap();
    let writer = journals.create(&header(2)).unwrap();
    let whole = fs::read(file(&dir, 1)).unwrap();
    fs::write(file(&dir, 1), &whole[..whole.len() - 20]).unwrap();
    assert_eq!(read(&journals).1[0].damaged_at, None);
    let mut writer = writer;
    writer.append(time(10), time(60), b"two").unwrap();
    assert_eq!(read(&journals).1[0].damaged_at, Some(HEADER + AROUND + 3));
}

#[test]
fn a_length_beyond_the_file_is_no_frame_and_takes_no_memory() {
    let (dir, journals) = room();
    written(&journals, 1, &["one"]);
    let mut bytes = fs::read(file(&dir, 1)).unwrap();
    for length in [0xffff_ffff_u32, 0x0800_0000, 0x0800_0001, 20] {
        bytes[40..44].copy_from_slice(&length.to_be_bytes());
        fs::write(file(&dir, 1), &bytes).unwrap();
        let (texts, found) = read(&journals);
        assert!(texts.is_empty());
        assert_eq!(found[0].ending, Ending::Unfinished { torn: AROUND + 3 });
    }
}

#[test]
fn a_frame_is_found_behind_damage_that_is_longer_than_one_read() {
    let (dir, journals) = room();
    let long = "x".repeat(3 * 65536);
    written(&journals, 1, &[&long, "behind"]);
    let whole = fs::read(file(&dir, 1)).unwrap();
    // The frame behind begins at each place around the end of a read.
    for shift in 0..8 {
        let mut bytes = whole[..36].to_vec();
        bytes.resize(36 + 65536 - shift, b'K');
        bytes.extend_from_slice(&whole[36 + long.len() + 68..]);
        fs::write(file(&dir, 1), &bytes).unwrap();
        let (texts, found) = read(&journals);
        assert_eq!((texts, found[0].damaged_at), (vec!["behind".to_owned()], Some(HEADER)));
    }
}

#[test]
fn a_frame_that_does_not_open_is_told() {
    let (dir, journals) = room();
    written(&journals, 1, &["one"]);
    let mut bytes = fs::read(file(&dir, 1)).unwrap();
    bytes.truncate(bytes.len() - 4);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let checksum = crc32fast::hash(&bytes[36..]);
    bytes.extend(checksum.to_be_bytes());
    fs::write(file(&dir, 1), bytes).unwrap();
    let error = journals.read_all(|_, _| ()).unwrap_err();
    assert_eq!(error, JournalError::Covered { number: number(1), sequence: 1 });
}

#[test]
fn a_newer_version_is_refused() {
    let (dir, journals) = room();
    written(&journals, 1, &[]);
    let mut bytes = fs::read(file(&dir, 1)).unwrap();
    bytes.truncate(32);
    bytes[5] = 2;
    fs::write(file(&dir, 1), with_checksum(bytes)).unwrap();
    let error = journals.read(number(1)).unwrap_err();
    assert_eq!(error, JournalError::Newer { number: number(1), version: 2 });
}

#[test]
fn the_directory_lists_makes_and_removes_and_refuses_what_is_not_its_own() {
    let (dir, journals) = room();
    for of in [10, 2, 9] {
        written(&journals, of, &[]);
    }
    assert_eq!(journals.list().unwrap(), [2, 9, 10].map(number));
    let again = journals.create(&header(9)).unwrap_err();
    assert!(matches!(again, JournalError::Io { doing: "make", .. }), "{again}");
    journals.remove(&[number(9), number(5)]).unwrap();
    assert_eq!(journals.list().unwrap(), [2, 10].map(number));

    let path = dir.path().join("usage");
    journals.set_aside(number(10)).unwrap();
    assert_eq!(journals.list().unwrap(), [2].map(number));
    assert_eq!(journals.aside().unwrap(), [number(10)]);
    assert!(path.join("usage-00000000000000000010.klj.damaged").exists());
    assert_eq!(journals.roll().unwrap(), []);
    let roll = [Listed { number: number(2), created: time(5) }];
    journals.put_roll(&roll).unwrap();
    assert_eq!((journals.roll().unwrap(), journals.list().unwrap().len()), (roll.to_vec(), 1));
    fs::write(path.join("roll"), b"KLUR").unwrap();
    assert_eq!(journals.roll().unwrap_err(), JournalError::DamagedRoll);
    for half in ["usage-00000000000000000011.klj.tmp", "roll.tmp"].map(|name| path.join(name)) {
        fs::write(&half, b"KL").unwrap();
        assert_eq!(super::testing::journals(&path).list().unwrap().len(), 1);
        assert!(!half.exists());
    }
    for foreign in ["usage-1.klj", "usage-00000000000000000000.klj", "notes"] {
        fs::write(path.join(foreign), b"").unwrap();
        let error = Journals::open(&path, std::sync::Arc::new(super::testing::Glass)).unwrap_err();
        assert_eq!(error, JournalError::Foreign { name: foreign.to_owned() });
        fs::remove_file(path.join(foreign)).unwrap();
    }
}

/// Makes a journal of one run or the next, with frames and an end as told; none is without an end.
fn journal(journals: &Journals, of: u64, first_of_run: bool, frames: &[i64], end: Option<bool>) {
    let header = Header { first_of_run, created: Time::from_micros(100), ..header(of) };
    let mut writer = journals.create(&header).unwrap();
    for wall in frames {
        writer.append(time(*wall), time(0), b"u").unwrap();
    }
    match end {
        Some(true) => writer.stop(time(999), time(0)).unwrap(),
        Some(false) => writer.rotate(time(999), time(0)).unwrap(),
        None => {}
    }
}

#[test]
fn a_gap_begins_no_earlier_than_when_nothing_waited() {
    let (dir, journals) = room();
    let mut writer = written(&journals, 1, &["one"]);
    writer.quiet(time(500)).unwrap();
    writer.quiet(time(600)).unwrap();
    assert_eq!(writer.frames(), 1);
    let (texts, found) = read(&journals);
    assert_eq!(
        (texts, found[0].frames, found[0].window),
        (vec!["one".to_owned()], 1, Some(time(60)))
    );
    assert_eq!(gap_since(&found), Some(time(600)));
    writer.append(time(700), time(60), b"two").unwrap();
    assert_eq!(gap_since(&read(&journals).1), Some(time(700)));

    // A quiet frame is of no window.
    let mut writer = written(&journals, 2, &[]);
    writer.quiet(time(800)).unwrap();
    let (_, found) = read(&journals);
    assert_eq!((found[1].frames, found[0].damaged_at), (0, None));
    assert_eq!(gap_since(&found), Some(time(800)));
    let headless = |window| {
        let mut bytes = fs::read(file(&dir, 2)).unwrap();
        bytes[20] ^= 1;
        fs::write(file(&dir, 2), &bytes).unwrap();
        assert_eq!(journals.headers().unwrap().1[0].window, window);
        bytes[20] ^= 1;
        fs::write(file(&dir, 2), bytes).unwrap();
    };
    headless(None);
    writer.append(time(900), time(60), b"three").unwrap();
    headless(Some(time(60)));
}

#[test]
fn a_gap_begins_with_the_last_flush_of_a_run_that_was_not_stopped() {
    type Made<'a> = (bool, &'a [i64], Option<bool>);
    let cases: [(&[Made<'_>], Option<i64>); 8] = [
        (&[], None),
        (&[(true, &[200, 300], None), (false, &[], None)], Some(300)),
        (&[(true, &[200], Some(false)), (false, &[], None)], Some(200)),
        (&[(true, &[200], Some(false)), (false, &[250], Some(true)), (false, &[], None)], None),
        // The next run crashed before its first flush.
        (&[(true, &[200], Some(true)), (false, &[], None), (true, &[], None)], Some(100)),
        // Its first journals are on record and gone.
        (&[(false, &[400], None)], Some(400)),
        (&[(false, &[], None)], Some(100)),
        // So are they, and an older one is kept for something else.
        (&[(true, &[200], Some(true)), (false, &[400], None)], Some(400)),
    ];
    for (made, expected) in cases {
        let (_dir, journals) = room();
        for (of, (first, frames, end)) in (1..).zip(made) {
            journal(&journals, of, *first, frames, *end);
        }
        let (_, found) = read(&journals);
        assert_eq!(gap_since(&found), expected.map(time), "{made:?}");
    }
}
