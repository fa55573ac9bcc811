//! What the tests share: uses, a fold that keeps them as they are, a disk that can be held up.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::clock::ManualClock;
use crate::config::{Durability, WhenBehind};
use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::usage::journal::testing::{journals, journals_in_use};
use crate::usage::journal::{AppendTo, Found};
use crate::usage::recorder::*;

/// A Sunday, at noon.
pub(super) const NOON: Time =
    Time::from_micros(1_700_000_000_000_000 / 3_600_000_000 * 3_600_000_000);
const USE_BYTES: usize = 16;
/// What a frame has before and behind its uses: its head and the shed; the place and the checksum.
const AROUND: (usize, usize) = (48 + 24, 16 + 4);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Use {
    pub(super) id: u64,
    pub(super) time: Time,
}

impl Timed for Use {
    fn time(&self) -> Time {
        self.time
    }
}

/// Keeps uses as they are: 24 bytes of what was shed, then 16 for each use.
#[derive(Clone, Default)]
pub(super) struct Plain {
    pub(super) ended: Arc<Mutex<Vec<Ended>>>,
    pub(super) panics: bool,
}

impl Fold for Plain {
    type Entry = Use;

    fn flush(&mut self, batch: &Batch, entries: impl Iterator<Item = Use>, payload: &mut Vec<u8>) {
        assert!(!self.panics, "the fold is broken");
        assert!(payload.is_empty());
        let shed = batch.shed.map_or([0; 3], |shed| {
            [i64::try_from(shed.count).unwrap(), shed.from.as_micros(), shed.to.as_micros()]
        });
        shed.iter().for_each(|number| payload.extend(number.to_be_bytes()));
        for entry in entries {
            payload.extend(entry.id.to_be_bytes());
            payload.extend(entry.time.as_micros().to_be_bytes());
        }
    }

    fn ended(&mut self, ended: Ended) {
        self.ended.lock().unwrap().push(ended);
    }
}

fn numbers(bytes: &[u8]) -> Vec<i64> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    numbers.iter().map(|bytes| i64::from_be_bytes(*bytes)).collect()
}

/// A use as it was found, with the window it was found in.
pub(super) type InWindow = (Use, Time);

/// All uses in the journals below `path`, what was shed, and what was found.
pub(super) fn read(path: &Path) -> (Vec<InWindow>, Vec<Shed>, Vec<Found>) {
    let (mut uses, mut all_shed) = (Vec::new(), Vec::new());
    let found = journals_in_use(path).read_all(|_, frame| {
        let (shed, entries) = frame.clear.split_at(24);
        if let [count, from, to] = numbers(shed)[..]
            && count > 0
        {
            let (from, to) = (Time::from_micros(from), Time::from_micros(to));
            all_shed.push(Shed { count: u64::try_from(count).unwrap(), from, to });
        }
        for entry in entries.as_chunks::<USE_BYTES>().0 {
            let entry = numbers(entry);
            let id = u64::try_from(entry[0]).unwrap();
            uses.push((Use { id, time: Time::from_micros(entry[1]) }, frame.window));
        }
    });
    (uses, all_shed, found.unwrap())
}

#[derive(Default)]
struct Held {
    is_held: bool,
    fails: bool,
    durable: HashSet<u64>,
}

/// A disk whose syncs can be held up or fail, and which knows the uses that are durable.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<(Mutex<Held>, Condvar)>);

impl Disk {
    pub(super) fn hold(&self, is_held: bool) {
        self.0.0.lock().unwrap().is_held = is_held;
        self.0.1.notify_all();
    }

    pub(super) fn fail(&self) {
        self.0.0.lock().unwrap().fails = true;
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.0.0.lock().unwrap().durable.contains(&id)
    }
}

struct OnDisk {
    file: File,
    disk: Disk,
    appended: Vec<u64>,
}

impl AppendTo for OnDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > AROUND.0 + AROUND.1 {
            let uses = &bytes[AROUND.0..bytes.len() - AROUND.1];
            let ids = uses.as_chunks::<USE_BYTES>().0.iter().map(|entry| numbers(entry)[0]);
            self.appended.extend(ids.map(|id| u64::try_from(id).unwrap()));
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (held, changed) = &*self.disk.0;
        let mut held = changed.wait_while(held.lock().unwrap(), |held| held.is_held).unwrap();
        if held.fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        drop(held);
        self.file.sync()?;
        held = self.disk.0.0.lock().unwrap();
        held.durable.extend(self.appended.drain(..));
        Ok(())
    }
}

/// A recorder in a directory of its own.
pub(super) struct House {
    pub(super) dir: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) disk: Disk,
    pub(super) settings: RecorderSettings,
    pub(super) fold: Plain,
    pub(super) log_is_behind: Arc<AtomicBool>,
}

impl House {
    pub(super) fn new(durability: Durability, when_behind: WhenBehind) -> Self {
        let settings = RecorderSettings {
            window: Duration::from_mins(1),
            flush_interval: Duration::from_millis(1),
            max_lag: Duration::from_secs(1),
            max_unflushed: MAX_UNFLUSHED,
            durability,
            when_behind,
        };
        House {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(NOON)),
            disk: Disk::default(),
            settings,
            fold: Plain::default(),
            log_is_behind: Arc::default(),
        }
    }

    pub(super) fn start(&self) -> (Recorder<Use>, Running<Plain>) {
        let disk = self.disk.clone();
        let journals = journals(self.dir.path()).through(move |file| {
            Box::new(OnDisk { file, disk: disk.clone(), appended: Vec::new() })
        });
        let behind = Arc::clone(&self.log_is_behind);
        let setup = Setup {
            settings: self.settings,
            found: journals.read_all(|_, _| ()).unwrap(),
            journals,
            clock: Arc::clone(&self.clock) as _,
            head: Box::new(|| Position::new(3)),
            log_is_behind: Arc::new(move || behind.load(Ordering::Relaxed)),
            fold: self.fold.clone(),
            recorded: None,
        };
        Running::start(setup).unwrap()
    }

    /// A use now.
    pub(super) fn now(&self, id: u64) -> Use {
        Use { id, time: self.clock.wall() }
    }

    /// Records a use now.
    pub(super) fn record(&self, recorder: &Recorder<Use>, id: u64) -> Ticket {
        recorder.record(recorder.admit().unwrap(), self.now(id)).unwrap()
    }

    pub(super) fn read(&self) -> (Vec<InWindow>, Vec<Shed>, Vec<Found>) {
        read(self.dir.path())
    }

    pub(super) fn ended(&self) -> Vec<Ended> {
        self.fold.ended.lock().unwrap().clone()
    }
}

/// Waits, on this thread, until `ticket` is durable.
pub(super) fn wait(recorder: &Recorder<Use>, ticket: Ticket) {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(recorder.durable(ticket));
}

/// Has two flushes made: what the first leaves to do when it is published is done before the second.
pub(super) fn flush(recorder: &Recorder<Use>) {
    wait(recorder, recorder.flush());
    wait(recorder, recorder.flush());
}
