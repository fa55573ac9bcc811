use super::*;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::{Hash, leaf_hash};
use crate::random::SeededRandom;
use crate::vault::SigningRing;

const NOW: Time = Time::from_micros(1_767_225_600_000_000);

fn signer(dir: &Path, origin: &str) -> CheckpointSigner {
    let ring = SigningRing::open_or_create(dir, &SeededRandom::new(1)).unwrap();
    CheckpointSigner::new(crate::merkle::note::KeyName::parse(origin).unwrap(), ring)
}

fn signed(dir: &Path, origin: &str, size: u64, root: Hash) -> Arc<SignedCheckpoint> {
    let tree = (Position::new(size).unwrap(), root);
    signer(dir, origin).sign(tree, Duration::ZERO, Duration::ZERO)
}

#[test]
fn a_file_is_replaced_only_by_what_may_continue_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, keys) = (dir.path().join("newest"), dir.path().join("keys"));
    let (one, other) = (leaf_hash(b"one"), leaf_hash(b"other"));
    let mut place = FilePlace::newest(&file);
    let first = signed(&keys, "a", 5, one);
    for _ in 0..2 {
        assert_eq!(place.keep(&first, NOW), Ok(()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), first.note);
    }
    for (size, root) in [(4, one), (5, other)] {
        let refused = place.keep(&signed(&keys, "a", size, root), NOW);
        assert_eq!(refused, Err(NotKept::Contradicted { kept: 5, size }));
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first.note);
    assert_eq!(place.keep(&signed(&keys, "a", 6, other), NOW), Ok(()));
    let restored = signed(&keys, "a/generation-2", 3, one);
    assert_eq!(place.keep(&restored, NOW), Ok(()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), restored.note);
}

#[test]
fn what_is_no_checkpoint_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (file, keys) = (dir.path().join("newest"), dir.path().join("keys"));
    let new = signed(&keys, "a", 5, leaf_hash(b"one"));
    let long = "x".repeat(200_000);
    for text in ["", "a\n", &long] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(FilePlace::newest(&file).keep(&new, NOW), Err(NotKept::NoCheckpoint));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    for mut place in [FilePlace::newest(&file), FilePlace::history(&file)] {
        assert!(matches!(place.keep(&new, NOW), Err(NotKept::File(_))));
    }
}

#[test]
fn each_checkpoint_is_a_line_even_behind_one_that_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (file, keys) = (dir.path().join("history"), dir.path().join("keys"));
    let mut place = FilePlace::history(&file);
    let new = signed(&keys, "a", 5, leaf_hash(b"one"));
    place.keep(&new, NOW).unwrap();
    let line = std::fs::read_to_string(&file).unwrap();
    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({
        "time": "2026-01-01T00:00:00Z", "size": 5, "checkpoint": new.note,
    });
    assert_eq!(read, expected);
    std::fs::write(&file, format!("{line}half")).unwrap();
    place.keep(&new, NOW).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{line}half\n{line}"));
    assert!(Checkpoint::of_unverified(&new.note).is_some());
}

#[test]
fn a_file_lies_in_a_directory_whatever_its_path_looks_like() {
    let dir = tempfile::tempdir().unwrap();
    let (data, beside) = (dir.path().join("data"), dir.path().join("beside"));
    std::fs::create_dir_all(data.join("deep")).unwrap();
    std::fs::create_dir(&beside).unwrap();
    let link = beside.join("link");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    for inside in [data.join("a"), data.join("deep/../a"), link.join("a"), link.join("deep/a")] {
        assert!(lies_in(&inside, &data), "{}", inside.display());
    }
    assert!(!lies_in(&beside.join("a"), &data));
    assert!(!lies_in(&dir.path().join("database"), &data));
}

#[test]
fn a_place_is_overdue_once_it_has_waited_for_longer_than_it_may() {
    let state = PlaceState::new("file".to_owned());
    let at = |seconds| state.figures(Duration::from_secs(seconds), Duration::from_secs(10)).overdue;
    assert!(!at(1000), "nothing waits");
    state.waits(Duration::from_secs(5));
    state.waits(Duration::from_secs(14));
    assert_eq!([at(14), at(15), at(16)], [false, false, true]);
}
