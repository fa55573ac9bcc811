//! The data directory: what is taken, what is refused, and that what is refused is not touched.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::domain::ids::Position;
use crate::merkle::leaf_hash;

/// Every name at the top of `path` with what a file holds.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    let name_and_bytes = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap_or_default())
    };
    entries.map(name_and_bytes).collect()
}

/// That `path` is refused with a text that has `part` in it, and is left as it was.
fn refused_untouched(path: &Path, part: &str) {
    let before = contents(path);
    let text = DataDir::open_or_prepare(path).unwrap_err().to_string();
    assert!(text.contains(part), "{text}");
    assert_eq!(contents(path), before);
}

#[test]
fn a_new_directory_is_private_and_needs_initialisation_until_it_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let mut data = DataDir::open_or_prepare(&path).unwrap();
    assert!(data.needs_initialisation());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("LOCK"))), (0o700, 0o600));
    data.finish_initialisation().unwrap();
    assert!(!data.needs_initialisation());
    drop(data);

    assert_eq!(fs::read(path.join("FORMAT")).unwrap(), b"keyledger data directory, format 0\n");
    assert_eq!(mode(&path.join("FORMAT")), 0o600);
    assert!(!DataDir::open_or_prepare(&path).unwrap().needs_initialisation());
}

#[test]
fn a_second_holder_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = DataDir::open_or_prepare(dir.path()).unwrap();
    refused_untouched(dir.path(), "another keyledger process uses this data directory");
    first.finish_initialisation().unwrap();
    refused_untouched(dir.path(), "another keyledger process uses this data directory");
    let text = DataDir::open_existing(dir.path()).unwrap_err().to_string();
    assert!(text.contains("another keyledger process"), "{text}");
    drop(first);
    assert!(DataDir::open_or_prepare(dir.path()).is_ok());
}

#[test]
fn a_newer_format_is_refused_and_nothing_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("FORMAT"), "keyledger data directory, format 1\n").unwrap();
    refused_untouched(dir.path(), "has format 1, newer than format 0");
    let text = DataDir::open_existing(dir.path()).unwrap_err().to_string();
    assert!(text.contains("use a newer keyledger"), "{text}");
    assert_eq!(contents(dir.path()).len(), 1);
}

#[test]
fn a_damaged_format_file_is_refused_and_nothing_touched() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["", "keyledger data directory, format 0", "format 0\n", "\u{fffd}"] {
        fs::write(dir.path().join("FORMAT"), text).unwrap();
        refused_untouched(dir.path(), "damaged or not keyledger's");
    }
}

#[test]
fn a_directory_with_foreign_files_is_refused_and_nothing_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "").unwrap();
    refused_untouched(dir.path(), "thesis.tex");
    let file = dir.path().join("thesis.tex");
    let text = DataDir::open_or_prepare(&file).unwrap_err().to_string();
    assert!(text.contains("is not a directory"), "{text}");
}

#[test]
fn what_an_interrupted_first_start_left_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(dir.path().join("FORMAT.tmp"), "keyl").unwrap();
    Anchor::create(&dir.path().join("anchor")).unwrap();
    let mut data = DataDir::open_or_prepare(dir.path()).unwrap();
    assert!(data.needs_initialisation());
    data.finish_initialisation().unwrap();
    drop(data);
    assert!(!DataDir::open_or_prepare(dir.path()).unwrap().needs_initialisation());
}

#[test]
fn a_lost_format_file_is_not_taken_for_a_first_start() {
    let dir = tempfile::tempdir().unwrap();
    let anchor = dir.path().join("anchor");
    let five = Position::new(5).unwrap();
    Anchor::create(&anchor).unwrap().write(five, leaf_hash(b"a")).unwrap();
    let text = DataDir::open_or_prepare(dir.path()).unwrap_err().to_string();
    assert!(text.contains("has lost its file FORMAT"), "{text}");

    fs::write(&anchor, "").unwrap();
    let text = DataDir::open_or_prepare(dir.path()).unwrap_err().to_string();
    assert!(text.contains("its anchor cannot be read"), "{text}");
}

#[test]
fn an_offline_command_makes_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    assert!(matches!(DataDir::open_existing(&path), Err(DataDirError::Missing(_))));
    assert!(!path.exists());
    // Nor does it take up a first start.
    assert!(matches!(DataDir::open_existing(dir.path()), Err(DataDirError::Missing(_))));
    assert!(contents(dir.path()).is_empty());
}

#[test]
fn a_fifo_named_as_the_format_file_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("FORMAT");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let text = DataDir::open_or_prepare(dir.path()).unwrap_err().to_string();
    assert!(text.contains("FORMAT"), "{text}");
    let text = DataDir::open_existing(dir.path()).unwrap_err().to_string();
    assert!(text.contains("FORMAT"), "{text}");
}
