//! A volume in sled on real directories: what it keeps, what it refuses, what it finds damaged.

mod damage;

use std::convert::Infallible;
use std::fs;

use super::*;
use crate::ledger::anchor::AnchorState;
use crate::ledger::engine::LedgerReader;
use crate::ledger::frame::{FrameBuilder, FrameError};
use crate::ledger::replay::{Head, replay};
use crate::merkle::Frontier;

fn at(position: u64) -> Position {
    Position::new(position).unwrap()
}

fn frame(after: &Frontier, records: &[&[u8]]) -> Frame {
    let mut builder = FrameBuilder::new(after, at(after.size() + 1));
    records.iter().for_each(|record| builder.push(record));
    builder.finish()
}

/// A ledger in a directory that goes with it, and what was appended to it.
struct Log {
    ledger: SledVolume,
    frontier: Frontier,
    records: Vec<Vec<u8>>,
    dir: PathBuf,
    _home: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("live");
        let ledger = SledVolume::create(&dir).unwrap();
        Log { ledger, frontier: Frontier::new(), records: Vec::new(), dir, _home: home }
    }

    fn append(&mut self, records: &[&[u8]]) {
        let frame = frame(&self.frontier, records);
        self.ledger.append(&frame).unwrap();
        self.frontier = frame.frontier().clone();
        self.records.extend(records.iter().map(|record| record.to_vec()));
    }

    fn anchor(&self) -> AnchorState {
        AnchorState { position: Position::new(self.frontier.size()), root: self.frontier.root() }
    }

    /// Closes the ledger; the rest goes on.
    fn close(self) -> Closed {
        let (anchor, records) = (self.anchor(), self.records);
        self.ledger.close().unwrap();
        Closed { anchor, records, dir: self.dir, _home: self._home }
    }
}

/// A closed ledger and what it must hold.
struct Closed {
    anchor: AnchorState,
    records: Vec<Vec<u8>>,
    dir: PathBuf,
    _home: tempfile::TempDir,
}

impl Closed {
    fn bytes(&self) -> Vec<u8> {
        fs::read(self.dir.join("db")).unwrap()
    }

    /// A start on a copy of the ledger whose log is `log`: all records, or what is wrong.
    fn start_with_log(&self, log: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("live");
        fs::create_dir_all(dir.join("blobs")).unwrap();
        for path in fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_file() {
                fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
            }
        }
        fs::write(dir.join("db"), log).unwrap();
        start(&dir, &self.anchor)
    }
}

fn start(dir: &Path, anchor: &AnchorState) -> Result<Vec<Vec<u8>>, String> {
    let ledger = open(dir).map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    let replayed = replay(&Whole(ledger.reader()), Head::empty(), anchor, |_, record| {
        records.push(record.to_vec());
        Ok::<_, Infallible>(())
    });
    replayed.map_err(|error| error.to_string())?;
    Ok(records)
}

fn open(dir: &Path) -> Result<SledVolume, LedgerError> {
    SledVolume::open(dir, &Frontier::new())
}

/// A volume as the whole history.
struct Whole(SledReader);

impl LedgerReader for Whole {
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        self.0.frame_at(position)
    }

    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
        let mut frames = Some(self.0.frames_from(position));
        Box::new(std::iter::from_fn(move || {
            let next = frames.as_mut()?.read_next();
            if next.is_err() {
                frames = None;
            }
            next.transpose()
        }))
    }
}

fn error_of(result: Result<SledVolume, LedgerError>) -> LedgerError {
    result.expect_err("the ledger is refused")
}

#[test]
fn what_was_appended_is_there_after_a_reopen_and_goes_on() {
    let mut log = Log::new();
    assert_eq!(log.ledger.head(), None);
    assert!(log.ledger.reader().frame_at(at(1)).unwrap().is_none());
    for n in 0..60_u8 {
        log.append(&[&[n; 40], b"second", &[]]);
    }
    let mut reopened = log.close();
    assert_eq!(start(&reopened.dir, &reopened.anchor), Ok(reopened.records.clone()));

    let mut ledger = open(&reopened.dir).unwrap();
    assert_eq!(ledger.head(), Some(at(180)));
    let last = ledger.reader().frame_at(at(179)).unwrap().unwrap();
    let next = frame(last.frontier(), &[b"one more"]);
    ledger.append(&next).unwrap();
    assert_eq!(ledger.head(), Some(at(181)));
    // Dropped without a close: what was acknowledged is there all the same.
    drop(ledger);
    reopened.records.push(b"one more".to_vec());
    assert_eq!(start(&reopened.dir, &reopened.anchor), Ok(reopened.records));
}

#[test]
fn readers_find_the_frame_of_any_position_and_follow_the_writer() {
    let mut log = Log::new();
    let reader = Whole(log.ledger.reader());
    for n in 0..20_u8 {
        log.append(&[&[n], &[n], &[n]]);
    }
    for position in 1..=60 {
        let frame = reader.frame_at(at(position)).unwrap().unwrap();
        let expected = u8::try_from((position - 1) / 3).unwrap();
        assert_eq!(frame.record(at(position)), Some(&[expected][..]));
    }
    assert!(reader.frame_at(at(61)).unwrap().is_none());

    let mut frames = reader.frames_from(at(53));
    assert_eq!(frames.next().unwrap().unwrap().first(), at(52));
    log.append(&[b"later"]);
    let rest: Vec<_> = frames.map(|frame| frame.unwrap().first().get()).collect();
    assert_eq!(rest, [55, 58, 61]);
    assert_eq!(reader.frames_from(at(62)).count(), 0);
}

#[test]
fn a_frame_out_of_order_is_refused_and_poisons_the_ledger() {
    for (size, found) in [(0, 1), (4, 5)] {
        let mut log = Log::new();
        log.append(&[b"a", b"b"]);
        let mut other = Frontier::new();
        (0..size).for_each(|_| other.push(crate::merkle::leaf_hash(b"x")));
        let refused = log.ledger.append(&frame(&other, &[b"overwrites or leaves a gap"]));
        let expected = LedgerError::OutOfOrder { expected: at(3), found: at(found) };
        assert_eq!(refused, Err(expected));
        let in_order = frame(&log.frontier, &[b"c"]);
        assert_eq!(log.ledger.append(&in_order), Err(LedgerError::Poisoned));
        assert_eq!(log.ledger.close(), Err(LedgerError::Poisoned));
    }
}

#[test]
fn a_frame_over_the_bound_is_refused() {
    let mut log = Log::new();
    let long = frame(&log.frontier, &[&[0; MAX_FRAME_BYTES]]);
    let bytes = long.as_bytes().len();
    let refused = LedgerError::FrameTooLong { position: at(1), bytes };
    assert_eq!(log.ledger.append(&long), Err(refused));
}

#[test]
fn largest_frames_stay_out_of_files_of_their_own() {
    let mut log = Log::new();
    let record = [7; MAX_FRAME_BYTES - 24 - 8 - 37 - 32 * 6];
    for _ in 0..60 {
        log.append(&[&record]);
    }
    let closed = log.close();
    assert_eq!(fs::read_dir(closed.dir.join("blobs")).unwrap().count(), 0);
    assert_eq!(start(&closed.dir, &closed.anchor), Ok(closed.records));
}

#[test]
fn a_frame_is_shown_to_nobody_before_it_is_durable_nor_written_once_an_append_failed() {
    let mut log = Log::new();
    log.append(&[b"a"]);
    let reader = Whole(log.ledger.reader());
    let marker = b"in memory and never acknowledged";
    let next = frame(&log.frontier, &[marker]);
    log.ledger.db.insert(2_u64.to_be_bytes(), next.as_bytes()).unwrap();
    assert!(reader.frame_at(at(2)).unwrap().is_none());
    assert_eq!(reader.frames_from(at(1)).count(), 1);

    let other = frame(&log.frontier, &[b"b"]);
    assert_eq!(log.ledger.append(&other), Err(LedgerError::Occupied { position: at(2) }));
    let Log { ledger, dir, .. } = &log;
    assert!(ledger.poisoned);
    let db = dir.join("db");
    let Log { ledger, _home, .. } = log;
    drop((ledger, reader));
    let written = fs::read(db).unwrap();
    assert!(!written.windows(marker.len()).any(|bytes| bytes == marker));
}

#[test]
fn a_held_ledger_is_not_opened_again() {
    let log = Log::new();
    assert_eq!(error_of(open(&log.dir)), LedgerError::InUse);
}

#[test]
fn an_unfinished_snapshot_is_removed_before_sled_can_take_it_for_one() {
    let mut log = Log::new();
    log.append(&[b"a"]);
    let closed = log.close();
    let snapshot = closed.dir.join("snap.7FFFFFFFFFFFFFFF.generating");
    fs::write(&snapshot, b"half a snapshot").unwrap();
    assert_eq!(start(&closed.dir, &closed.anchor), Ok(closed.records));
    assert!(!snapshot.exists());
}

#[test]
fn blobs_are_found_when_opening_and_before_an_append_answers() {
    let mut log = Log::new();
    log.append(&[b"a"]);
    let blob = log.dir.join("blobs/4711");
    fs::write(&blob, b"").unwrap();
    let next = frame(&log.frontier, &[b"b"]);
    assert_eq!(log.ledger.append(&next), Err(LedgerError::Unsafe));
    assert_eq!(log.ledger.head(), Some(at(1)));

    fs::remove_file(blob).unwrap();
    let closed = Log::new().close();
    fs::write(closed.dir.join("blobs/9999999999"), b"").unwrap();
    assert_eq!(error_of(open(&closed.dir)), LedgerError::Unsafe);
}

#[test]
fn a_ledger_is_made_once_and_what_an_interrupted_making_left_goes() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("live");
    let unfinished = home.path().join("live.tmp");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("conf"), b"half").unwrap();
    SledVolume::create(&dir).unwrap().close().unwrap();
    assert!(!unfinished.exists());
    assert_eq!(error_of(SledVolume::create(&dir)), LedgerError::Exists);
    assert_eq!(start(&dir, &Log::new().anchor()), Ok(vec![]));
}

#[test]
fn a_ledger_that_is_absent_in_part_or_not_ours_is_refused_and_not_made_anew() {
    let missing = tempfile::tempdir().unwrap().path().join("live");
    assert_eq!(error_of(open(&missing)), LedgerError::Missing);
    assert!(!missing.exists());

    for name in ["db", "conf"] {
        let closed = Log::new().close();
        fs::remove_file(closed.dir.join(name)).unwrap();
        assert_eq!(error_of(open(&closed.dir)), LedgerError::Missing);
        assert!(!closed.dir.join(name).exists());
    }

    let closed = Log::new().close();
    let other = b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n1234";
    fs::write(closed.dir.join("conf"), other).unwrap();
    assert_eq!(error_of(open(&closed.dir)), LedgerError::Foreign);

    let log = Log::new();
    log.ledger.db.open_tree("another").unwrap();
    let closed = log.close();
    assert_eq!(error_of(open(&closed.dir)), LedgerError::Foreign);
}

#[test]
fn a_frame_missing_in_the_middle_is_named() {
    let mut log = Log::new();
    for record in [b"a", b"b", b"c"] {
        log.append(&[record]);
    }
    log.ledger.db.remove(2_u64.to_be_bytes()).unwrap();
    let reader = Whole(log.ledger.reader());
    let missing = LedgerError::MissingFrame { position: at(2) };
    assert_eq!(reader.frame_at(at(2)).unwrap_err(), missing);
    let found: Vec<_> = reader.frames_from(at(1)).map(|frame| frame.map(|_| ())).collect();
    assert_eq!(found, [Ok(()), Err(missing)]);
}

#[test]
fn a_record_altered_under_sleds_own_checksums_is_named() {
    let mut log = Log::new();
    log.append(&[b"a"]);
    let next = frame(&log.frontier, &[b"bbbb", b"cccc"]);
    let mut bytes = next.as_bytes().to_vec();
    bytes[24 + 8 + 4 + 8] ^= 1;
    log.append(&[b"bbbb", b"cccc"]);
    log.ledger.db.insert(2_u64.to_be_bytes(), bytes).unwrap();
    let reason = FrameError::DamagedRecord(at(3));
    let damaged = LedgerError::DamagedFrame { position: at(2), reason };
    assert_eq!(log.ledger.reader().frame_at(at(3)).unwrap_err(), damaged);
    assert!(damaged.to_string().ends_with("the record at position 3 is damaged"));
}
