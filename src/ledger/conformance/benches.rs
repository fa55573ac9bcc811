//! The benches of the engines there are: volumes in a directory of their own, and the simulated engine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::TempDir;

use super::{Bench, alter_each};
use crate::ledger::engine::LedgerError;
use crate::ledger::sim::{Odds, SimDisk, SimLedger};
use crate::ledger::volumes::VolumeLedger;

/// Room that a directory in memory must have, so that the tests that run at once never fill it.
const ROOM: u64 = 1 << 30;

/// A directory that goes when it is dropped: in memory where there is room, since thousands of runs
/// would wait for syncs. What a sync is worth is for the crash gate, on a file system of disks.
pub(crate) fn fast_home() -> TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    let in_memory = if room < ROOM { tempfile::tempdir() } else { tempfile::tempdir_in(memory) };
    in_memory.or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// The embedded ledger in a directory that goes with the bench; its volumes are full with so many
/// bytes. A crash leaves what the file system has been told, as the end of the process does; loss of
/// power is for the crash gate.
pub(crate) struct VolumeBench<const VOLUME_BYTES: u64> {
    home: TempDir,
}

impl<const VOLUME_BYTES: u64> VolumeBench<VOLUME_BYTES> {
    fn dir(&self) -> PathBuf {
        self.home.path().join("ledger")
    }
}

impl<const VOLUME_BYTES: u64> Bench for VolumeBench<VOLUME_BYTES> {
    type L = VolumeLedger;
    const SEEDS: u64 = 1;

    fn new(_: u64) -> Self {
        VolumeBench { home: fast_home() }
    }

    fn create(&self) -> Result<VolumeLedger, LedgerError> {
        fs::create_dir_all(self.dir()).expect("a directory");
        VolumeLedger::create(&self.dir())?;
        self.open()
    }

    fn open(&self) -> Result<VolumeLedger, LedgerError> {
        VolumeLedger::open(&self.dir(), VOLUME_BYTES)
    }

    fn close(ledger: VolumeLedger) -> Result<(), LedgerError> {
        ledger.close()
    }

    fn crash(&self) -> Self {
        // Of a directory that is changed meanwhile, a copy is what no instant was: it is made again.
        loop {
            let left = Self::new(0);
            let before = look(&self.dir());
            let copied = copy(&self.dir(), &left.dir());
            if copied.is_ok() && look(&self.dir()) == before {
                return left;
            }
        }
    }

    /// With a large item in a file of its own an append fails when the frame is durable already.
    fn break_append(&self) {
        for (path, _) in look(&self.dir()) {
            if path.ends_with("blobs") && !path.to_string_lossy().contains(".tmp") {
                fs::write(self.dir().join(path).join(BLOB), b"").expect("written");
            }
        }
    }

    fn alter(&self, bytes: &[u8]) {
        for (path, _) in look(&self.dir()) {
            let path = self.dir().join(path);
            if path.is_file() {
                let mut content = fs::read(&path).expect("readable");
                alter_each(&mut content, bytes);
                fs::write(&path, content).expect("written");
            }
        }
    }
}

/// What [`Bench::break_append`] puts where no large items may be.
const BLOB: &str = "4711";

/// Everything below a directory, by its path there, with its length and when it was changed last.
/// What goes away meanwhile is left out.
fn look(dir: &Path) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
    let mut found = BTreeMap::new();
    let mut rooms = vec![dir.to_owned()];
    while let Some(room) = rooms.pop() {
        let entries = fs::read_dir(&room).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let Ok(about) = fs::metadata(&path) else { continue };
            if about.is_dir() {
                rooms.push(path.clone());
            }
            let inside = path.strip_prefix(dir).expect("below it").to_owned();
            found.insert(inside, (about.len(), about.modified().ok()));
        }
    }
    found
}

/// Copies everything but what [`Bench::break_append`] put there.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    // A directory comes before what is in it.
    for path in look(from).into_keys().filter(|path| !path.ends_with(BLOB)) {
        let (source, target) = (from.join(&path), to.join(&path));
        if source.is_dir() {
            fs::create_dir(target)?;
        } else {
            fs::copy(source, target)?;
        }
    }
    Ok(())
}

/// The simulated engine on a disk of its own.
pub(crate) struct SimBench {
    pub(crate) disk: SimDisk,
}

impl Bench for SimBench {
    type L = SimLedger;
    const SEEDS: u64 = 16;

    fn new(seed: u64) -> Self {
        SimBench { disk: SimDisk::new(seed) }
    }

    fn create(&self) -> Result<SimLedger, LedgerError> {
        SimLedger::create(&self.disk)
    }

    fn open(&self) -> Result<SimLedger, LedgerError> {
        SimLedger::open(&self.disk)
    }

    fn close(ledger: SimLedger) -> Result<(), LedgerError> {
        ledger.close()
    }

    fn crash(&self) -> Self {
        SimBench { disk: self.disk.crash() }
    }

    fn break_append(&self) {
        self.disk.set_odds(Odds { append_fails: 1000, ..Odds::default() });
    }

    fn alter(&self, bytes: &[u8]) {
        self.disk.alter(bytes);
    }
}
