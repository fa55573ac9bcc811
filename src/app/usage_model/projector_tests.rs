use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::clock::ManualClock;
use crate::config::UsageSettings;
use crate::domain::event::Recorded;
use crate::domain::testing::{account, key_id};
use crate::ledger::engine::LedgerError;
use crate::ledger::frame::Frame;
use crate::ledger::testing::FrameLog;
use crate::projection::usage::testing::{BASE, Ground, minute, plain_use};
use crate::projection::usage::{Granularity, Range, UsageReader};

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unreadable,
    Panics,
}

/// A log in memory that grows and can be made to fail.
#[derive(Default)]
struct Log {
    frames: Mutex<FrameLog>,
    fault: Mutex<Option<Fault>>,
}

impl Log {
    fn now(&self) -> FrameLog {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, events: &[Recorded]) {
        *self.frames.lock().unwrap() = FrameLog::of(events, 3);
    }

    fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }
}

impl LedgerReader for Log {
    fn frame_at(&self, position: Position) -> Result<Option<Frame>, LedgerError> {
        self.now().frame_at(position)
    }

    fn frames_from(
        &self,
        position: Position,
    ) -> Box<dyn Iterator<Item = Result<Frame, LedgerError>> + '_> {
        let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(Fault::Unreadable) => {
                Box::new(std::iter::once(Err(LedgerError::Unreadable { position })))
            }
            Some(Fault::Panics) => panic!("of a test"),
            None => Box::new(self.now().frames_from(position).collect::<Vec<_>>().into_iter()),
        }
    }
}

/// A log, a projection of it, and the projector between the two.
struct Stage {
    ground: Ground,
    log: Arc<Log>,
    clock: Arc<ManualClock>,
    model: Arc<UsageModel>,
    projector: Option<Projector>,
}

impl Stage {
    fn new() -> Self {
        let model = Arc::new(UsageModel::new(&UsageSettings::default()));
        let clock = Arc::new(ManualClock::new(BASE));
        Stage { ground: Ground::new(), log: Arc::default(), clock, model, projector: None }
    }

    /// Uses of one key, an event a minute.
    fn events(&self, count: u64) -> Vec<Recorded> {
        let one = |n| self.ground.used(n + 1, &[plain_use(key_id(1), &account("a"), minute(n))]);
        (0..count).map(one).collect()
    }

    fn start(&mut self) {
        self.projector = None;
        self.model = Arc::new(UsageModel::new(&UsageSettings::default()));
        let setup = Setup {
            dir: self.ground.dir(),
            vault: Arc::clone(&self.ground.vault),
            log: Arc::clone(&self.log) as Arc<dyn LedgerReader>,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            model: Arc::clone(&self.model),
        };
        self.projector = Some(Projector::start(setup).unwrap());
    }

    fn wait_until(&self, is: impl Fn(&UsageModel) -> bool) {
        while !is(&self.model) {
            self.model.bell.ring();
            thread::yield_now();
        }
    }

    fn wait_for(&self, position: u64) {
        self.wait_until(|model| model.figures().position == Position::new(position));
    }

    /// How often the key was used, by the projection.
    fn counted(&self) -> u64 {
        count(&self.model.reader().unwrap()).unwrap()
    }
}

fn count(reader: &UsageReader) -> Result<u64, UsageStoreError> {
    let range = Range { from: BASE, until: minute(100_000) };
    let buckets = reader.key_usage(&key_id(1), range, Granularity::Day)?.value;
    let counts = buckets.iter().flat_map(|bucket| &bucket.counts.by_outcome);
    Ok(counts.map(|(_, count)| count).sum())
}

#[test]
fn it_follows_the_head() {
    let mut stage = Stage::new();
    let events = stage.events(20);
    stage.log.set(&events[..7]);
    stage.start();
    stage.wait_for(7);
    assert_eq!(stage.counted(), 7);
    stage.log.set(&events);
    stage.wait_for(20);
    assert_eq!(stage.counted(), 20);
    assert!(stage.model.figures().bytes > 0 && !stage.model.figures().failing);
}

#[test]
fn a_stop_in_the_middle_of_the_log_loses_and_doubles_nothing() {
    let mut stage = Stage::new();
    let events = stage.events(10_000);
    stage.log.set(&events);
    stage.start();
    stage.wait_until(|model| model.figures().position.is_some());
    stage.start();
    stage.wait_for(10_000);
    assert_eq!(stage.counted(), 10_000);
}

#[test]
fn what_fails_is_said_and_tried_again() {
    for fault in [Fault::Unreadable, Fault::Panics] {
        let mut stage = Stage::new();
        let events = stage.events(9);
        stage.log.set(&events[..3]);
        stage.start();
        stage.wait_for(3);
        stage.log.set_fault(Some(fault));
        stage.log.set(&events);
        stage.wait_until(|model| model.figures().failing);
        assert_eq!(stage.model.figures().position, Position::new(3), "{fault:?}");
        assert_eq!(stage.counted(), 3, "what is folded in is answered");
        stage.log.set_fault(None);
        stage.wait_for(9);
        stage.wait_until(|model| !model.figures().failing);
        assert_eq!(stage.counted(), 9, "{fault:?}");
    }
}

#[test]
fn a_projection_of_another_log_or_of_one_that_was_longer_is_made_anew() {
    let mut stage = Stage::new();
    stage.log.set(&stage.events(9));
    stage.start();
    stage.wait_for(9);
    let aside = PathBuf::from(format!("{}.unfit", stage.ground.file().display()));
    for count in [12, 5] {
        stage.projector = None;
        assert!(!aside.exists());
        // Of other random event ids.
        stage.log.set(&stage.events(count));
        stage.start();
        stage.wait_for(count);
        assert_eq!(stage.counted(), count);
        fs::remove_file(&aside).expect("the one before is set aside");
    }
}

#[test]
fn a_file_that_is_damaged_under_the_service_is_made_anew() {
    let mut stage = Stage::new();
    stage.log.set(&stage.events(3_000));
    stage.start();
    stage.wait_for(3_000);
    // What is in memory of it goes with the connections.
    stage.start();
    stage.wait_for(3_000);
    let file = fs::OpenOptions::new().write(true).open(stage.ground.file()).unwrap();
    let length = file.metadata().unwrap().len();
    // All but the page that says what the file is.
    file.write_all_at(&vec![0x5a; usize::try_from(length - 4096).unwrap()], 4096).unwrap();
    // Whoever finds it first, who asks or the projector: what is left cannot be counted right.
    stage.wait_until(|model| {
        model.reader().is_some_and(|reader| count(&reader).is_ok_and(|count| count == 3_000))
    });
    let aside = PathBuf::from(format!("{}.unfit", stage.ground.file().display()));
    assert!(aside.exists(), "the one before is set aside");
}

#[test]
fn what_is_old_is_deleted_as_time_passes() {
    let mut stage = Stage::new();
    stage.log.set(&stage.events(3));
    stage.start();
    stage.wait_for(3);
    let range = Range { from: BASE, until: minute(60) };
    let found = |model: &UsageModel, granularity| {
        let reader = model.reader().unwrap();
        reader.key_usage(&key_id(1), range, granularity).unwrap().value.len()
    };
    assert_eq!(found(&stage.model, Granularity::Minute), 3);
    stage.clock.advance(Duration::from_hours(8 * 24));
    stage.wait_until(|model| found(model, Granularity::Minute) == 0);
    assert_eq!(found(&stage.model, Granularity::Hour), 1);
}
