//! The model of the file system, held to its rules one by one.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::dice::Dice;
use super::disk::{Disk, Faults};
use super::modes::{Data, Mode, Names, crash};
use super::trace::Op;
use super::tree::Tree;

fn make(path: &str, inode: u64) -> Op {
    Op::MakeFile { path: path.to_owned(), inode }
}

fn make_dir(path: &str, inode: u64) -> Op {
    Op::MakeDir { path: path.to_owned(), inode }
}

fn write(inode: u64, at: usize, data: &[u8]) -> Op {
    Op::Write { inode, at, data: Bytes::copy_from_slice(data) }
}

fn rename(from: &str, to: &str) -> Op {
    Op::Rename { from: from.to_owned(), to: to.to_owned() }
}

const ROOT: Op = Op::Sync { inode: 0 };
const FILE: Op = Op::Sync { inode: 1 };
const FILE_DATA: Op = Op::SyncData { inode: 1 };

fn disk(ops: &[Op]) -> Disk {
    faulty(ops, Faults::default())
}

fn faulty(ops: &[Op], faults: Faults) -> Disk {
    let mut disk = Disk::new(faults);
    ops.iter().for_each(|op| disk.apply(op));
    disk
}

/// All that a crash in this mode can leave of one file at the root, `a`; none: no such name.
fn outcomes(disk: &Disk, mode: Mode) -> Vec<Option<Vec<u8>>> {
    let mut found = Vec::new();
    for seed in 0..200 {
        let Tree::Dir(mut names) = crash(disk, mode, &mut Dice::new(seed)) else {
            panic!("a file")
        };
        found.push(names.remove("a").map(|tree| match tree {
            Tree::File(bytes) => bytes,
            Tree::Dir(_) => panic!("a is a file"),
        }));
    }
    found.sort();
    found.dedup();
    found
}

fn strict(data: Data) -> Mode {
    Mode::Strict(data, Names::None)
}

fn some(all: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    all.iter().map(|bytes| Some(bytes.to_vec())).collect()
}

fn names(disk: &Disk, mode: Mode) -> Vec<String> {
    let tree = crash(disk, mode, &mut Dice::new(1));
    let Tree::Dir(names) = tree else { panic!("the root is a directory") };
    names.into_keys().collect()
}

#[test]
fn a_killed_process_leaves_every_write() {
    let disk = disk(&[make("a", 1), write(1, 0, b"one"), write(1, 3, b"two")]);
    assert_eq!(outcomes(&disk, Mode::Kill), some(&[b"onetwo"]));
}

#[test]
fn bytes_without_a_sync_may_be_lost_and_with_one_may_not() {
    let unsynced = [make("a", 1), ROOT, write(1, 0, b"one")];
    assert_eq!(outcomes(&disk(&unsynced), strict(Data::None)), some(&[b""]));
    for sync in [FILE, FILE_DATA] {
        let synced = [&unsynced[..], &[sync, write(1, 3, b"two")]].concat();
        assert_eq!(outcomes(&disk(&synced), strict(Data::None)), some(&[b"one"]));
        assert_eq!(outcomes(&disk(&synced), strict(Data::All)), some(&[b"onetwo"]));
        assert_eq!(outcomes(&disk(&synced), strict(Data::Some)), some(&[b"one", b"onetwo"]));
    }
}

#[test]
fn a_sync_of_another_file_helps_nothing() {
    let ops = [make("a", 1), make("b", 2), ROOT, write(1, 0, b"one"), Op::Sync { inode: 2 }];
    assert_eq!(outcomes(&disk(&ops), strict(Data::None)), some(&[b""]));
}

#[test]
fn a_name_needs_a_sync_of_its_directory_and_of_no_other() {
    let ops =
        [make_dir("d", 9), ROOT, make("a", 1), write(1, 0, b"x"), FILE, Op::Sync { inode: 9 }];
    assert_eq!(outcomes(&disk(&ops), strict(Data::All)), [None]);
    let ops = [&ops[..], &[ROOT]].concat();
    assert_eq!(outcomes(&disk(&ops), strict(Data::None)), some(&[b"x"]));
}

#[test]
fn a_rename_is_lost_or_kept_as_one_step() {
    let disk = disk(&[make("a", 1), ROOT, rename("a", "b")]);
    let left = |of| names(&disk, Mode::Strict(Data::None, of));
    assert_eq!(left(Names::None), ["a"]);
    assert_eq!(left(Names::All), ["b"]);
    assert_eq!(left(Names::OnlyRemovals), ["a"]);
    for seed in 0..50 {
        let mode = Mode::Strict(Data::None, Names::Some);
        let Tree::Dir(found) = crash(&disk, mode, &mut Dice::new(seed)) else { panic!("a file") };
        assert_eq!(found.len(), 1, "a rename is one step");
    }
}

#[test]
fn a_removal_may_be_kept_where_an_earlier_new_name_is_lost() {
    let remove = Op::Remove { path: "a".to_owned() };
    let disk = disk(&[make("a", 1), ROOT, make("b", 2), remove]);
    let left = |of| names(&disk, Mode::Strict(Data::None, of));
    assert_eq!(left(Names::None), ["a"]);
    assert_eq!(left(Names::All), ["b"]);
    assert_eq!(left(Names::OnlyRemovals), [""; 0]);
}

#[test]
fn a_file_follows_its_number_through_renames_and_a_number_is_used_again() {
    let again = [make("a", 1), rename("a", "b"), write(1, 0, b"old"), make("a", 1)];
    let ops = [&again[..], &[write(1, 0, b"new"), Op::SyncAll]].concat();
    let Tree::Dir(found) = crash(&disk(&ops), strict(Data::None), &mut Dice::new(1)) else {
        panic!("a file")
    };
    let file = |text: &str| Tree::File(text.as_bytes().to_vec());
    let expected = [("a".to_owned(), file("new")), ("b".to_owned(), file("old"))];
    assert_eq!(found, BTreeMap::from(expected));
}

#[test]
fn a_torn_write_loses_blocks_of_the_file_and_no_parts_of_blocks() {
    let ops = [make("a", 1), ROOT, write(1, 0, &[1; 1024]), FILE, write(1, 500, &[2; 24])];
    let found = outcomes(&disk(&ops), strict(Data::TornSectors));
    assert_eq!(found.len(), 4, "the write covers parts of two sectors");
    let (first, second) = (500..512, 512..524);
    for bytes in found.into_iter().flatten() {
        for part in [first.clone(), second.clone()] {
            let part = &bytes[part];
            assert!(part.iter().all(|byte| *byte == part[0]), "a sector is torn");
        }
    }
    assert_eq!(outcomes(&disk(&ops), strict(Data::TornPages)).len(), 2);
}

#[test]
fn a_length_may_be_lost_without_the_bytes_and_the_bytes_without_the_length() {
    let grown = write(1, 2, b"XYZ");
    let disk = disk(&[make("a", 1), ROOT, write(1, 0, b"abc"), FILE, grown]);
    assert_eq!(outcomes(&disk, strict(Data::LengthMissing)), some(&[b"abX"]));
    assert_eq!(outcomes(&disk, strict(Data::BytesMissing)), some(&[b"abc\0\0"]));
}

#[test]
fn a_prefix_ends_anywhere_and_all_but_one_loses_any() {
    let writes = [write(1, 0, b"a"), write(1, 1, b"b"), write(1, 2, b"c")];
    let disk = disk(&[&[make("a", 1), ROOT][..], &writes].concat());
    assert_eq!(outcomes(&disk, strict(Data::Prefix)), some(&[b"", b"a", b"ab", b"abc"]));
    let left = some(&[b"\0bc", b"a\0c", b"ab", b"abc"]);
    assert_eq!(outcomes(&disk, strict(Data::AllButOne)), left);
}

#[test]
fn a_shorter_length_is_pending_until_it_is_synced() {
    let shorter = Op::Length { inode: 1, length: 1 };
    let ops = [make("a", 1), ROOT, write(1, 0, b"abc"), FILE, shorter];
    assert_eq!(outcomes(&disk(&ops), strict(Data::Some)), some(&[b"a", b"abc"]));
    let ops = [&ops[..], &[FILE_DATA]].concat();
    assert_eq!(outcomes(&disk(&ops), strict(Data::None)), some(&[b"a"]));
}

#[test]
fn a_journal_loses_names_from_the_end_only_and_a_length_comes_with_its_bytes() {
    let ops = [make("b", 2), make("a", 1), write(1, 0, b"one"), make("c", 3)];
    let disk = disk(&ops);
    for seed in 0..100 {
        let tree = crash(&disk, Mode::Journalled, &mut Dice::new(seed));
        let Tree::Dir(found) = tree else { panic!("a file") };
        let found: Vec<_> = found.into_keys().collect();
        let whole = [["b"].as_slice(), &["a", "b"], &["a", "b", "c"], &[]];
        assert!(
            whole.contains(&&*found.iter().map(String::as_str).collect::<Vec<_>>()),
            "{found:?}"
        );
    }
    let left = [vec![None], some(&[b"", b"one"])].concat();
    assert_eq!(outcomes(&disk, Mode::Journalled), left);
}

#[test]
fn a_journal_promises_nothing_for_what_is_written_inside_a_file() {
    let ops = [make("a", 1), write(1, 0, b"abc"), FILE, write(1, 1, b"XYZ")];
    let left = some(&[b"aXY", b"aXYZ", b"abc", b"abcZ"]);
    assert_eq!(outcomes(&disk(&ops), Mode::Journalled), left);
}

#[test]
fn an_fsync_takes_the_journal_along_and_an_fdatasync_only_if_the_file_has_grown() {
    let inside = [make("b", 2), write(2, 0, b"12"), Op::Sync { inode: 2 }, make("a", 1)];
    let at = |last: &[Op]| outcomes(&disk(&[&inside[..], last].concat()), Mode::Journalled);
    let lost_or_empty = [vec![None], some(&[b""])].concat();
    assert_eq!(at(&[write(2, 0, b"3"), Op::SyncData { inode: 2 }]), lost_or_empty);
    assert_eq!(at(&[write(2, 2, b"3"), Op::SyncData { inode: 2 }]), some(&[b""]));
    assert_eq!(at(&[Op::Sync { inode: 2 }]), some(&[b""]));
}

#[test]
fn sync_file_range_keeps_bytes_in_its_mode_alone_and_never_a_length() {
    let range = Op::SyncRange { inode: 1, at: 1, length: 3 };
    let start = [make("a", 1), ROOT, write(1, 0, b"abc"), FILE];
    let disk = disk(&[&start[..], &[write(1, 1, b"XYZ"), range]].concat());
    let found = outcomes(&disk, Mode::Ranged(Names::None));
    assert_eq!(found, some(&[b"aXY", b"aXYZ"]));
    assert_eq!(outcomes(&disk, strict(Data::None)), some(&[b"abc"]));
    // Only what lies within the range.
    let other = Op::SyncRange { inode: 1, at: 2, length: 0 };
    let disk = self::disk(&[&start[..], &[write(1, 1, b"XY"), other]].concat());
    assert_eq!(outcomes(&disk, Mode::Ranged(Names::None)), some(&[b"aXY", b"abc"]));
}

#[test]
fn an_fdatasync_can_be_made_to_do_nothing() {
    let ops = [make("a", 1), ROOT, write(1, 0, b"one"), FILE_DATA];
    for begin in ["", "a"] {
        let deaf = Faults { no_fdatasync: Some(begin) };
        assert_eq!(outcomes(&faulty(&ops, deaf), strict(Data::None)), some(&[b""]));
    }
    let other = Faults { no_fdatasync: Some("b") };
    assert_eq!(outcomes(&faulty(&ops, other), strict(Data::None)), some(&[b"one"]));
    assert_eq!(outcomes(&disk(&ops), strict(Data::None)), some(&[b"one"]));
}
