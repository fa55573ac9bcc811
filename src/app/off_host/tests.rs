use super::*;
use crate::app::checkpoint::CheckpointSigner;
use crate::clock::ManualClock;
use crate::domain::ids::Position;
use crate::ledger::anchor::AnchorState;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::cosignature::{WitnessKey, message, signature_line};
use crate::merkle::{Hash, leaf_hash};
use crate::projection::tiles::Tiles;
use crate::random::SeededRandom;
use crate::vault::SigningRing;
use tokio::sync::watch;

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

fn at_seconds(clock: &ManualClock, seconds: u64) {
    let span = Duration::from_secs(seconds);
    clock.advance(span.saturating_sub(clock.monotonic()));
}

#[test]
fn witnesses_are_shown_one_checkpoint_for_an_interval_and_the_newest_when_the_log_has_grown() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW));
    let tree = |size| AnchorState { position: Position::new(size), root: leaf_hash(b"one") };
    let (log, anchored) = watch::channel(tree(5));
    let tiles = Arc::new(Tiles::new(dir.path()));
    let source = Source {
        signer: Arc::new(signer(&dir.path().join("keys"), "a")),
        anchored,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        round: Some(Arc::new(Round::new(Duration::from_secs(60), tiles))),
    };
    assert_eq!(source.size(), 5);
    assert!(!source.is_ready(5), "no tile is made");
    log.send_replace(tree(7));
    at_seconds(&clock, 59);
    assert_eq!((source.size(), source.newest().unwrap().checkpoint.size), (5, 5));
    at_seconds(&clock, 60);
    assert_eq!((source.size(), source.newest().unwrap().checkpoint.size), (7, 7));
    // One that has waited for long is not made to wait longer.
    at_seconds(&clock, 300);
    assert_eq!(source.size(), 7);
    log.send_replace(tree(8));
    assert_eq!(source.size(), 8);
    log.send_replace(tree(9));
    at_seconds(&clock, 359);
    assert_eq!(source.size(), 8);
}

/// Two witnesses' keys, and the line of each on a checkpoint.
fn cosigners(signed: &SignedCheckpoint) -> (Vec<WitnessKey>, [String; 2]) {
    use ed25519_dalek::{Signer as _, SigningKey};
    let made = [1, 2].map(|seed| {
        let signing = SigningKey::from_bytes(&[seed; 32]);
        let name = crate::merkle::note::KeyName::parse(&format!("w{seed}")).unwrap();
        let key = WitnessKey::of(name, &signing.verifying_key().to_bytes()).unwrap();
        let signature = signing.sign(message(&signed.checkpoint.text(), 7).as_bytes());
        let line = signature_line(&key, 7, &signature.to_bytes());
        (key, line)
    });
    let lines = made.each_ref().map(|(_, line)| line.clone());
    (made.into_iter().map(|(key, _)| key).collect(), lines)
}

#[test]
fn a_checkpoint_is_kept_once_enough_have_cosigned_it_and_read_again_only_if_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (file, keys) = (dir.path().join("cosigned"), dir.path().join("keys"));
    let first = signed(&keys, "a", 5, leaf_hash(b"one"));
    let (witnesses, [one, two]) = cosigners(&first);
    let open = |origin: &str, most, by: &[WitnessKey], quorum| {
        let clock = Arc::new(ManualClock::new(NOW)) as Arc<dyn Clock>;
        Cosigned::open(file.clone(), (&signer(&keys, origin), &clock), most, (by, quorum))
    };
    let kept = open("a", 5, &witnesses, 2);
    assert_eq!(kept.newest(), None);
    kept.add(&first, 1, two.clone()).unwrap();
    assert!(kept.newest().is_none() && !file.exists(), "one is too few");
    kept.add(&first, 1, two.clone()).unwrap();
    assert!(kept.newest().is_none(), "however often");
    kept.add(&first, 0, one.clone()).unwrap();
    let note = format!("{}{one}{two}", first.note);
    assert_eq!(kept.newest().unwrap().note, note);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), note);

    // A larger one begins anew, and the one before stays until it has enough.
    let (_, [late, _]) = cosigners(&signed(&keys, "a", 6, leaf_hash(b"one")));
    kept.add(&signed(&keys, "a", 6, leaf_hash(b"one")), 0, late).unwrap();
    kept.add(&first, 1, two.clone()).unwrap();
    assert_eq!(kept.newest().unwrap().size, 5);

    assert_eq!(open("a", 5, &witnesses, 2).newest().unwrap().note, note);
    assert_eq!(open("a", 5, &witnesses[1..], 1).newest().unwrap().size, 5);
    let unused = [
        open("a", 4, &witnesses, 2),
        open("a/generation-2", 5, &witnesses, 2),
        open("a", 5, &witnesses[1..], 2),
        open("a", 5, &[], 1),
        open("a", 5, &[], 0),
    ];
    assert!(unused.iter().all(|kept| kept.newest().is_none()));
    let other_size = note.replacen("\n5\n", "\n4\n", 1);
    let other_line = format!("{}{one}{}", first.note, one.replace("w1 ", "w2 "));
    for text in ["", "else", &other_size, &other_line] {
        std::fs::write(&file, text).unwrap();
        assert!(open("a", 5, &witnesses, 2).newest().is_none(), "{text}");
    }
    std::fs::remove_file(&file).unwrap();
    kept.close();
    let last = signed(&keys, "a", 9, leaf_hash(b"one"));
    for (number, line) in cosigners(&last).1.into_iter().enumerate() {
        kept.add(&last, number, line).unwrap();
    }
    assert!(!file.exists(), "the directory is no longer ours");
}

#[test]
fn a_witness_that_is_slow_counts_for_what_it_was_asked_and_it_is_told_if_none_is_cosigned_by_enough()
 {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let manual = Arc::new(ManualClock::new(NOW));
    let clock = Arc::clone(&manual) as Arc<dyn Clock>;
    let of = |size| signed(&keys, "a", size, leaf_hash(b"one"));
    let (witnesses, _) = cosigners(&of(1));
    let by = (&signer(&keys, "a"), &clock);
    let kept = Cosigned::open(dir.path().join("cosigned"), by, 0, (&witnesses, 2));
    let add = |size, number: usize| {
        let line = cosigners(&of(size)).1[number].clone();
        kept.add(&of(size), number, line).unwrap();
        kept.size()
    };
    let patience = Duration::from_secs(180);
    let overdue = |seconds| {
        at_seconds(&manual, seconds);
        kept.is_overdue(manual.monotonic(), patience)
    };
    assert_eq!([add(5, 0), add(6, 0), add(7, 0)], [0; 3], "by one of two");
    assert!(!overdue(180) && overdue(181));
    assert_eq!(add(6, 1), 6, "asked when that was the newest");
    assert!(!overdue(361), "enough have cosigned another, if not the newest");
    assert_eq!([add(5, 1), add(8, 1), add(8, 0)], [6, 6, 8]);
    assert!(!overdue(9999), "nothing waits");
    for size in 9..=100 {
        add(size, 0);
    }
    assert_eq!([add(9, 1), add(100, 1)], [8, 100], "of so many the oldest are forgotten");
}

/// Says that it was asked, and answers when it is let go.
struct Held(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);

impl Place for Held {
    fn keep(&mut self, _: &SignedCheckpoint, _: Time) -> Result<(), NotKept> {
        self.0.send(()).unwrap();
        let _ = self.1.recv();
        Ok(())
    }
}

/// It would hang if it were waited for.
#[test]
fn witnesses_are_left_while_one_has_not_answered() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let clock = Arc::new(ManualClock::new(NOW)) as Arc<dyn Clock>;
    let tree = AnchorState { position: Position::new(5), root: leaf_hash(b"one") };
    let (_log, anchored) = watch::channel(tree);
    let source = Source {
        signer: Arc::new(signer(&keys, "a")),
        anchored,
        clock: Arc::clone(&clock),
        round: None,
    };
    let by = (&*source.signer, &clock);
    let cosigned = Arc::new(Cosigned::open(dir.path().join("cosigned"), by, 5, (&[], 0)));
    let prover = Arc::new(Prover::new(Arc::new(Tiles::new(dir.path())), None));
    let ((asked, was_asked), (let_go, go)) =
        (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let place: Named = ("held".to_owned(), Box::new(Held(asked, go)));
    let witnesses = keep(vec![place], &source, Duration::from_secs(60)).unwrap();
    let mut off_host = OffHost { keepers: Vec::new(), witnesses, prover, cosigned, clock };
    was_asked.recv().unwrap();
    off_host.leave_witnesses();
    off_host.stop();
    drop(let_go);
}
