//! The ledger in volumes: rotation, sealing, reading across them, and what an interruption leaves.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::domain::command::Act;
use crate::domain::testing::{World, put};
use crate::ledger::frame::FrameBuilder;
use crate::ledger::record;

/// Bytes of a volume in these tests: some thirty records.
const VOLUME_BYTES: u64 = 8 * 1024;

/// A ledger, and what was appended to it.
struct Log {
    ledger: VolumeLedger,
    sealed: Receiver<Sealed>,
    world: World,
    appended: Vec<Vec<u8>>,
    home: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        VolumeLedger::create(home.path()).unwrap();
        Log::open(home, World::new(), Vec::new())
    }

    fn open(home: tempfile::TempDir, world: World, appended: Vec<Vec<u8>>) -> Self {
        let mut ledger = VolumeLedger::open(home.path(), VOLUME_BYTES).unwrap();
        let sealed = ledger.sealed_volumes().unwrap();
        Log { ledger, sealed, world, appended, home }
    }

    /// Appends one more change of an account as a frame.
    fn append(&mut self) {
        let renamed = crate::domain::account_rules::PutAccount {
            renamed: true,
            basis: self.world.accounts.values().next().map(|account| account.position),
            ..put("a")
        };
        self.world.does(Act::PutAccount(renamed));
        let done = self.appended.len();
        let frontier = self.ledger.frontier().clone();
        let first = Position::new(frontier.size() + 1).unwrap();
        let mut builder = FrameBuilder::new(&frontier, first);
        for fact in &self.world.log[done..] {
            let bytes = record::encode(fact);
            builder.push(&bytes);
            self.appended.push(bytes);
        }
        self.ledger.append(&builder.finish()).unwrap();
    }

    /// Fills so many volumes and has each sealed before the next is begun, so that no more are, however fast
    /// the sealer is. No volume may be waiting.
    fn seal(&mut self, volumes: usize) -> Vec<Sealed> {
        let seal_one = |_| {
            let full = self.ledger.live_number;
            while self.ledger.live_number == full {
                self.append();
            }
            self.sealed.recv().unwrap()
        };
        (0..volumes).map(seal_one).collect()
    }

    /// That the count of unsealed bytes is right, also while a volume is being sealed.
    fn check_unsealed_bytes(&self) {
        let reader = self.ledger.reader();
        loop {
            let sealed = reader.sealed();
            let told = reader.unsealed_bytes();
            let first = Position::new(sealed.last().map_or(1, |volume| volume.last.get() + 1));
            let frames = reader.frames_from(first.unwrap()).map(Result::unwrap);
            let bytes: usize = frames.map(|frame| frame.as_bytes().len()).sum();
            if sealed == reader.sealed() {
                assert_eq!(told, bytes as u64);
                return;
            }
        }
    }

    fn check(&self) {
        self.check_unsealed_bytes();
        let reader = self.ledger.reader();
        for start in (1..=self.appended.len()).step_by(11) {
            let position = Position::new(start as u64).unwrap();
            let frames: Vec<Frame> = reader.frames_from(position).map(Result::unwrap).collect();
            let records: Vec<&[u8]> =
                frames.iter().flat_map(Frame::records).map(|(_, bytes)| bytes).collect();
            let behind = usize::try_from(frames[0].first().get() - 1).unwrap();
            assert!(records == self.appended[behind..], "from {start}");
            let one = reader.frame_at(position).unwrap().unwrap();
            assert_eq!(one.record(position), Some(&self.appended[start - 1][..]));
        }
        let beyond = Position::new(self.appended.len() as u64 + 1).unwrap();
        assert!(reader.frame_at(beyond).unwrap().is_none());
        assert_eq!(self.ledger.head().map(Position::next), Some(beyond));
    }

    fn close(self) -> (tempfile::TempDir, World, Vec<Vec<u8>>) {
        let Log { ledger, world, appended, home, .. } = self;
        ledger.close().unwrap();
        (home, world, appended)
    }

    fn names(&self) -> Vec<String> {
        names(self.home.path())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn full_volumes_are_sealed_and_everything_is_read_alike_before_and_after_a_reopen() {
    let mut log = Log::new();
    let sealed = log.seal(3);
    log.check();
    let mut next = 1;
    for (volume, number) in sealed.iter().zip(1..) {
        assert_eq!((volume.number, volume.first.get()), (number, next));
        next = volume.last.get() + 1;
    }
    assert_eq!(log.ledger.reader().sealed()[..3], sealed[..]);
    let (home, world, appended) = log.close();
    let mut log = Log::open(home, world, appended);
    log.check();
    assert_eq!(log.ledger.reader().sealed()[..3], sealed[..]);
    log.seal(1);
    log.check();
}

#[test]
fn a_reader_that_began_in_a_live_volume_goes_on_when_it_is_sealed_meanwhile() {
    let mut log = Log::new();
    log.append();
    let reader = log.ledger.reader();
    let mut frames = reader.frames_from(Position::FIRST);
    let first = frames.next().unwrap().unwrap();
    log.seal(2);
    let rest: Vec<Frame> = frames.map(Result::unwrap).collect();
    let records: Vec<Vec<u8>> = std::iter::once(&first)
        .chain(&rest)
        .flat_map(Frame::records)
        .map(|(_, bytes)| bytes.to_vec())
        .collect();
    assert!(records == log.appended);
}

#[test]
fn without_a_prepared_volume_the_live_one_grows_on() {
    let mut log = Log::new();
    // As if the sealer could not make one.
    log.ledger.sealer.end();
    drop(log.ledger.sealer.take_prepared());
    let number = log.ledger.live_number;
    for _ in 0..200 {
        log.append();
    }
    assert!(log.ledger.live_bytes > 2 * VOLUME_BYTES);
    assert_eq!(log.ledger.live_number, number);
    log.check();
}

/// A closed ledger with one sealed volume, and a copy of that volume in sled as it was before.
fn sealed_with_its_past() -> (tempfile::TempDir, World, Vec<Vec<u8>>, PathBuf) {
    let mut log = Log::new();
    while log.ledger.live_number == 1 && log.ledger.live_bytes < VOLUME_BYTES {
        log.append();
    }
    let (home, world, appended) = log.close();
    // The next volume is there at once: a frame more, in this one, would not be in its copy.
    prepare(&home, 2..=2);
    let past = home
        .path()
        .join("../")
        .join(format!("{}-past", home.path().file_name().unwrap().display()));
    copy(&home.path().join("live-00000001"), &past);
    let mut log = Log::open(home, world, appended);
    log.seal(1);
    let (home, world, appended) = log.close();
    (home, world, appended, past)
}

/// Makes empty volumes, unless the sealer has made them.
fn prepare(home: &tempfile::TempDir, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        match SledVolume::create(&live_name(home.path(), number)) {
            Ok(volume) => volume.close().unwrap(),
            Err(error) => assert_eq!(error, LedgerError::Exists),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

#[test]
fn a_stop_between_the_rename_of_a_seal_and_the_end_of_its_database_is_tidied() {
    let (home, world, appended, past) = sealed_with_its_past();
    fs::rename(&past, home.path().join("live-00000001")).unwrap();
    fs::create_dir(home.path().join("live-00000009.gone")).unwrap();
    fs::write(home.path().join("live-00000009.gone/db"), b"half").unwrap();
    fs::write(home.path().join("volume-00000009.tmp"), b"half").unwrap();
    let log = Log::open(home, world, appended);
    log.check();
    let names = log.names();
    assert!(!names.iter().any(|name| name.contains("00000009")), "{names:?}");
    assert!(!names.contains(&"live-00000001".to_owned()), "{names:?}");
}

#[test]
fn a_full_volume_that_was_not_sealed_is_sealed_after_the_next_open() {
    let (home, world, appended, past) = sealed_with_its_past();
    fs::remove_file(home.path().join("volume-00000001")).unwrap();
    fs::rename(&past, home.path().join("live-00000001")).unwrap();
    let log = Log::open(home, world, appended);
    log.check();
    assert_eq!(log.sealed.recv().unwrap().number, 1);
    log.check();
}

#[test]
fn a_stop_before_the_first_frame_of_the_next_volume_loses_nothing_of_the_full_one() {
    let mut log = Log::new();
    while log.ledger.live_bytes < VOLUME_BYTES {
        log.append();
    }
    let (home, world, appended) = log.close();
    // The next volume was taken and the one behind it prepared when the power failed.
    prepare(&home, 2..=3);
    let mut log = Log::open(home, world, appended);
    log.check();
    log.append();
    log.check();
}

#[test]
fn the_only_volume_of_the_first_program_is_taken_over() {
    let mut log = Log::new();
    log.append();
    let (home, world, appended) = log.close();
    fs::remove_dir_all(home.path().join("live-00000002")).ok();
    fs::rename(home.path().join("live-00000001"), home.path().join("live")).unwrap();
    Log::open(home, world, appended).check();
}

#[test]
fn a_volume_that_is_missing_altered_or_of_another_history_is_refused_by_its_number() {
    let mut log = Log::new();
    log.seal(2);
    let (home, ..) = log.close();
    let refused = || VolumeLedger::open(home.path(), VOLUME_BYTES).unwrap_err();
    let path = |number: u64| sealed_name(home.path(), number);
    let away = home.path().with_extension("away");

    fs::rename(path(1), &away).unwrap();
    assert_eq!(refused(), LedgerError::MissingVolume { number: 1 });
    fs::rename(&away, path(1)).unwrap();
    fs::rename(path(2), &away).unwrap();
    assert!(matches!(refused(), LedgerError::MissingVolume { number: 2 }));

    let mut other = Log::new();
    other.world.wait(60);
    other.seal(2);
    let (others_home, ..) = other.close();
    fs::copy(others_home.path().join("volume-00000002"), path(2)).unwrap();
    assert_eq!(refused(), LedgerError::OtherVolume { number: 2 });
    fs::remove_file(path(2)).unwrap();
    fs::rename(&away, path(2)).unwrap();

    // Swapped.
    fs::rename(path(1), &away).unwrap();
    fs::rename(path(2), path(1)).unwrap();
    fs::rename(&away, path(2)).unwrap();
    assert!(matches!(refused(), LedgerError::DamagedVolume { number: 1, .. }));
    fs::rename(path(1), &away).unwrap();
    fs::rename(path(2), path(1)).unwrap();
    fs::rename(&away, path(2)).unwrap();

    fs::write(home.path().join("notes.txt"), b"what is this").unwrap();
    assert_eq!(refused(), LedgerError::Foreign);
    fs::remove_file(home.path().join("notes.txt")).unwrap();
    for name in names(home.path()).into_iter().filter(|name| name.starts_with("live-")) {
        fs::remove_dir_all(home.path().join(name)).unwrap();
    }
    assert_eq!(refused(), LedgerError::MissingVolume { number: 3 });
}
