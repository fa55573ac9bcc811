//! The manifest is one text, and any change to it is seen; what is interrupted leaves what was there.

use std::collections::BTreeSet;

use super::*;

fn digest(byte: u8) -> Digest32 {
    Digest32([byte; 32])
}

fn content(bytes: &[u8]) -> Content {
    Content { bytes: bytes.len() as u64, sha256: Digest32(Sha256::digest(bytes).into()) }
}

fn volume(number: u64, first: u64, last: u64, bytes: &[u8]) -> Volume {
    Volume { number, first, last, root: digest(0xb0), content: content(bytes) }
}

fn manifest() -> Manifest {
    Manifest {
        origin: digest(0x0a),
        generation: 2,
        head: 25,
        root: digest(0xb0),
        volumes: vec![volume(1, 1, 10, b"one"), volume(2, 11, 20, b"two")],
        tail: Some(volume(3, 21, 25, b"tail")),
        data_keys: content(b"keys"),
    }
}

#[test]
fn a_manifest_is_text_that_people_can_read() {
    let text = manifest().render();
    let (a, b) = ("0a".repeat(32), "b0".repeat(32));
    let sha = |bytes: &[u8]| Digest32(Sha256::digest(bytes).into()).to_string();
    let body = format!(
        "keyledger backup, format 1\norigin {a}\ngeneration 2\nhead 25\nroot {b}\n\
         volume 1 1 10 {b} 3 {}\nvolume 2 11 20 {b} 3 {}\ntail 3 21 25 {b} 4 {}\ndatakeys 4 {}\n",
        sha(b"one"),
        sha(b"two"),
        sha(b"tail"),
        sha(b"keys"),
    );
    assert_eq!(text, format!("{body}sha256 {}\n", sha(body.as_bytes())));
    assert_eq!(Manifest::parse(text.as_bytes()), Ok(manifest()));
    let short = Manifest { tail: None, head: 20, ..manifest() };
    assert_eq!(Manifest::parse(short.render().as_bytes()), Ok(short));
}

#[test]
fn every_bit_of_a_manifest_counts() {
    let text = manifest().render();
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            assert!(Manifest::parse(&bytes).is_err(), "bit {bit} of byte {at}");
        }
        assert!(Manifest::parse(&text.as_bytes()[..at]).is_err(), "cut at {at}");
    }
    assert!(Manifest::parse(format!("{text}\n").as_bytes()).is_err());
}

#[test]
fn a_newer_manifest_is_said_to_be_newer() {
    let text = manifest().render().replace("format 1", "format 2");
    assert_eq!(Manifest::parse(text.as_bytes()), Err(ManifestError::Newer(2)));
}

#[test]
fn volumes_follow_one_another_up_to_the_head() {
    let with = |volumes: Vec<Volume>, head| {
        let made = Manifest { volumes, tail: None, head, ..manifest() };
        Manifest::parse(made.render().as_bytes()).is_ok()
    };
    let (one, two) = (volume(1, 1, 10, b""), volume(2, 11, 20, b""));
    assert!(with(vec![one, two], 20));
    assert!(!with(vec![one, two], 21));
    assert!(!with(vec![two], 20));
    assert!(!with(vec![one, volume(3, 11, 20, b"")], 20));
    assert!(!with(vec![one, volume(2, 12, 20, b"")], 20));
    assert!(!with(vec![], 0));
}

#[test]
fn files_longer_than_can_be_counted_are_damage() {
    let mut manifest = manifest();
    manifest.volumes[0].content.bytes = u64::MAX - 10;
    assert_eq!(Manifest::parse(manifest.render().as_bytes()), Err(ManifestError::Damaged));
    manifest.volumes[0].content.bytes -= 1;
    assert_eq!(Manifest::parse(manifest.render().as_bytes()), Ok(manifest));
}

/// A backup of [`manifest`], finished.
fn finished() -> (tempfile::TempDir, BackupDir) {
    let home = tempfile::tempdir().unwrap();
    let dir = BackupDir::open_or_make(&home.path().join("b")).unwrap();
    let files: [&[u8]; 4] = [b"one", b"two", b"tail", b"keys"];
    for (name, bytes) in names(&manifest()).into_iter().zip(files) {
        receive(&dir, &name, bytes);
    }
    dir.finish(&manifest()).unwrap();
    (home, dir)
}

/// The names of volumes, tail and data keys, in this order.
fn names(manifest: &Manifest) -> Vec<String> {
    let volumes = manifest.volume_files().map(|(_, name)| name);
    volumes.chain([manifest.data_keys_name()]).collect()
}

fn receive(dir: &BackupDir, name: &str, bytes: &[u8]) {
    let part = dir.part(name);
    fs::write(&part, bytes).unwrap();
    dir.keep(&part, name).unwrap();
}

fn check(dir: &BackupDir) -> Result<(), BackupDirError> {
    let manifest = dir.manifest()?.unwrap();
    let volumes = manifest.volume_files().map(|(volume, name)| (name, volume.content));
    let mut files = volumes.chain([(manifest.data_keys_name(), manifest.data_keys)]);
    files.try_for_each(|(name, content)| read_content(dir.path(), &name, &content, |_| Ok(())))
}

#[test]
fn a_finished_backup_holds_its_files_and_nothing_else() {
    let (_home, dir) = finished();
    check(&dir).unwrap();
    receive(&dir, "tail-1-2-00000000", b"stray");
    dir.note_received(&[volume(1, 1, 10, b"one")]).unwrap();
    dir.finish(&manifest()).unwrap();
    let found: BTreeSet<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected = manifest().names();
    expected.extend(["LOCK".to_owned(), "manifest".to_owned()]);
    assert_eq!(found, expected);
}

#[test]
fn what_somebody_puts_into_a_backup_meanwhile_is_not_removed() {
    let (_home, dir) = finished();
    fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    dir.finish(&manifest()).unwrap();
    assert_eq!(fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
    assert!(dir.path().join("sub").is_dir());
}

#[test]
fn what_a_newer_backup_has_received_leaves_the_old_one_whole() {
    let (_home, dir) = finished();
    let third = volume(3, 21, 40, b"three");
    receive(&dir, &third.name(), b"three");
    dir.note_received(&[third]).unwrap();
    let newer = Manifest {
        volumes: [manifest().volumes, vec![third]].concat(),
        tail: Some(volume(4, 41, 42, b"more")),
        head: 42,
        data_keys: content(b"keys and more"),
        ..manifest()
    };
    receive(&dir, &newer.tail.unwrap().tail_name(), b"more");
    receive(&dir, &newer.data_keys_name(), b"keys and more");
    assert_eq!(dir.manifest().unwrap(), Some(manifest()));
    check(&dir).unwrap();
    let last = manifest().volumes.pop();
    assert_eq!(dir.received(last.as_ref()).unwrap(), [third]);
    dir.finish(&newer).unwrap();
    check(&dir).unwrap();
    assert!(dir.received(newer.volumes.last()).unwrap().is_empty());
}

#[test]
fn a_torn_or_foreign_note_of_what_was_received_is_not_believed() {
    let (_home, dir) = finished();
    let (third, fourth) = (volume(3, 21, 40, b"three"), volume(4, 41, 50, b"four"));
    dir.note_received(&[third, fourth]).unwrap();
    let last = manifest().volumes.pop();
    let path = dir.path().join(RECEIVED);
    let text = fs::read_to_string(&path).unwrap();
    for (cut, count) in [(0, 2), (1, 1), (70, 1), (text.len() - 10, 0)] {
        fs::write(&path, &text[..text.len() - cut]).unwrap();
        assert_eq!(dir.received(last.as_ref()).unwrap().len(), count, "{cut} cut off");
    }
    fs::write(&path, &text).unwrap();
    assert!(dir.received(None).unwrap().is_empty(), "they do not follow");
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(dir.received(last.as_ref()).unwrap().is_empty());
}

#[test]
fn a_missing_a_longer_and_an_altered_file_are_named() {
    for damage in ["", "twoo", "twO"] {
        let (_home, dir) = finished();
        let path = dir.path().join("volume-00000002");
        if damage.is_empty() {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, damage).unwrap();
        }
        let text = check(&dir).unwrap_err().to_string();
        assert!(text.contains("volume-00000002"), "{text}");
    }
}

#[test]
fn a_directory_of_something_else_and_one_in_use_are_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("notes.txt"), b"mine").unwrap();
    let refused = BackupDir::open_or_make(home.path()).unwrap_err().to_string();
    assert!(refused.contains("notes.txt"), "{refused}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is touched");
    let (_home, dir) = finished();
    let refused = BackupDir::open_or_make(dir.path());
    assert!(matches!(refused, Err(BackupDirError::InUse(_))), "{refused:?}");
}

fn make_fifo(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_is_no_file_where_one_should_be_is_refused_by_name_and_not_waited_for() {
    for name in [MANIFEST, "volume-00000001"] {
        let (_home, dir) = finished();
        make_fifo(&dir.path().join(name));
        let text = check(&dir).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("not a regular file"), "{text}");
    }
    let (_home, dir) = finished();
    make_fifo(&dir.path().join(RECEIVED));
    assert!(dir.received(None).is_err());
    let path = dir.path().to_owned();
    drop(dir);
    make_fifo(&path.join(LOCK));
    let refused = BackupDir::open_or_make(&path).unwrap_err().to_string();
    assert!(refused.contains(LOCK), "{refused}");
}

#[test]
fn a_manifest_longer_than_any_is_not_read() {
    let (_home, dir) = finished();
    let file = fs::File::options().write(true).open(dir.path().join(MANIFEST)).unwrap();
    // A hole: takes no room.
    file.set_len(MOST_TEXT_BYTES + 1).unwrap();
    let refused = dir.manifest();
    assert!(
        matches!(refused, Err(BackupDirError::Manifest { reason: ManifestError::TooLong, .. })),
        "{refused:?}"
    );
}
