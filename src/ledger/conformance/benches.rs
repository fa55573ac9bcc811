//! The benches of the engines there are: sled in a directory of its own, and the simulated engine.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Bench, alter_each};
use crate::ledger::engine::LedgerError;
use crate::ledger::sim::{Odds, SimDisk, SimLedger};
use crate::ledger::sled_engine::SledLedger;

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

/// sled in a directory that goes with the bench. A crash leaves what the file system has been told,
/// as the end of the process does; loss of power is for the crash gate.
pub(crate) struct SledBench {
    home: TempDir,
}

impl SledBench {
    fn dir(&self) -> PathBuf {
        self.home.path().join("live")
    }
}

impl Bench for SledBench {
    type L = SledLedger;

    fn new(_: u64) -> Self {
        SledBench { home: fast_home() }
    }

    fn create(&self) -> Result<SledLedger, LedgerError> {
        SledLedger::create(&self.dir())
    }

    fn open(&self) -> Result<SledLedger, LedgerError> {
        SledLedger::open(&self.dir())
    }

    fn close(ledger: SledLedger) -> Result<(), LedgerError> {
        ledger.close()
    }

    fn crash(&self) -> Self {
        let left = Self::new(0);
        copy(&self.dir(), &left.dir());
        left
    }

    /// With a large item in a file of its own an append fails when the frame is durable already.
    fn break_append(&self) {
        fs::write(self.dir().join("blobs/4711"), b"").expect("written");
    }

    fn alter(&self, bytes: &[u8]) {
        for path in files(&self.dir()) {
            let mut content = fs::read(&path).expect("readable");
            alter_each(&mut content, bytes);
            fs::write(&path, content).expect("written");
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

/// The directory as it is at this instant, but for what [`Bench::break_append`] put there.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("blobs")).expect("a directory");
    for path in files(from) {
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

/// The simulated engine on a disk of its own.
pub(crate) struct SimBench {
    pub(crate) disk: SimDisk,
}

impl Bench for SimBench {
    type L = SimLedger;

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
