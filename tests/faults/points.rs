//! Where faults are put: every n-th operation, or some of them by a seed; two servers at a time.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use keyledger::random::{self, Random, SeededRandom, SystemRandom};
use tempfile::TempDir;

use crate::common::process::contents;

/// Widens the tests: everything everywhere, lasting faults too.
const WIDEN: &str = "KEYLEDGER_FAULTS";

/// Repeats the choice of an earlier run.
const SEED: &str = "KEYLEDGER_FAULTS_SEED";

/// Servers at a time.
const WORKERS: usize = 4;

/// Whether everything is to be tried.
pub(crate) fn all() -> bool {
    std::env::var_os(WIDEN).is_some_and(|value| value == OsStr::new("all"))
}

/// The tests of this file take turns, since each has servers enough.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `run` with 1, 2, 3, … and a directory of its own until it says that its fault did not happen
/// any more.
pub(crate) fn every(run: impl Fn(u64, &Path) -> bool + Sync) {
    let next = AtomicU64::new(1);
    let over = AtomicBool::new(false);
    on_workers(|| {
        while !over.load(Ordering::SeqCst) {
            let directory = TempDir::new().expect("a directory");
            let over_if_it_panics = OverOnPanic(&over);
            if !run(next.fetch_add(1, Ordering::SeqCst), directory.path()) {
                over.store(true, Ordering::SeqCst);
            }
            drop(over_if_it_panics);
        }
    });
}

/// Keeps a worker from going on when another has failed.
struct OverOnPanic<'a>(&'a AtomicBool);

impl Drop for OverOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// Calls `run` with `wanted` numbers from 1 to `last`, all of them if everything is to be tried.
pub(crate) fn some(wanted: u64, last: u64, run: impl Fn(u64, &Path) -> bool + Sync) {
    if all() || last <= wanted {
        return every(run);
    }
    let random = SeededRandom::new(seed());
    let mut chosen = BTreeSet::new();
    while (chosen.len() as u64) < wanted {
        chosen.insert(u64::from_be_bytes(random::bytes(&random)) % last + 1);
    }
    let chosen = Mutex::new(chosen);
    on_workers(|| {
        loop {
            let point = chosen.lock().expect("no panic").pop_first();
            let Some(point) = point else { return };
            let directory = TempDir::new().expect("a directory");
            run(point, directory.path());
        }
    });
}

/// Runs `work` on every worker; ends with the panic of one, if one panics.
fn on_workers(work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        let workers = (0..WORKERS).map(|_| scope.spawn(&work));
        for worker in workers.collect::<Vec<_>>() {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

fn seed() -> u64 {
    static CHOSEN: OnceLock<u64> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let given = std::env::var(SEED).ok().map(|text| text.parse().expect("a number"));
        let seed = given.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            SystemRandom.fill(&mut bytes);
            u64::from_be_bytes(bytes)
        });
        eprintln!("{SEED}={seed}");
        seed
    })
}

/// A copy of a data directory at `to`.
pub(crate) fn copy(from: &Path, to: &Path) {
    make_dir(to);
    for (path, bytes) in contents(from) {
        let target: PathBuf = to.join(path.strip_prefix(from).expect("below"));
        make_dir(target.parent().expect("not the root"));
        fs::write(&target, bytes).expect("written");
        let mode = fs::metadata(&path).expect("there").permissions();
        fs::set_permissions(&target, mode).expect("set");
    }
    // The engine's directories for large items are empty, and must be there.
    for entry in fs::read_dir(from.join("ledger")).expect("a directory") {
        let volume = entry.expect("an entry").file_name();
        if volume.to_string_lossy().starts_with("live-") {
            make_dir(&to.join("ledger").join(volume).join("blobs"));
        }
    }
}

fn make_dir(path: &Path) {
    fs::create_dir_all(path).expect("made");
}
