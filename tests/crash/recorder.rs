//! Runs the real program under the shim and reads what it did.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;
use keyledger::clock::{Clock, SystemClock};
use keyledger::domain::time::Time;
use tempfile::TempDir;

use super::dice::Dice;
use super::disk::{Disk, Faults};
use super::modes::{Mode, crash};
use super::trace::{self, Op};
use super::tree::Tree;
use crate::common::process::{self, Process};

/// What the names of SQLite's shared memory end with; see the shim.
const SHARED_MEMORY: &str = "-shm";

/// A directory whose changes are recorded, over one start after the other.
pub struct Recorder {
    home: TempDir,
    root: PathBuf,
    /// What makes the directory as it was before the first start.
    before: Vec<Op>,
    starts: usize,
    /// If set: how many times as fast clocks run.
    pub speed: Option<u32>,
    /// When it was made, by the machine's clock.
    since: Time,
}

/// The shim, built once; answers where it is.
pub fn build_shim() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(compile_shim).clone()
}

fn compile_shim() -> PathBuf {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash_gate_shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/shim.c");
    // Aside and renamed: another run may have it loaded.
    let aside = built.with_extension(std::process::id().to_string());
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-fvisibility=hidden", "-o"]).arg(&aside).arg(source);
    let status = compiler.args(["-ldl", "-lpthread"]).status();
    assert!(status.expect("a C compiler, cc").success(), "the shim does not compile");
    fs::rename(aside, &built).expect("the shim gets its name");
    built
}

impl Recorder {
    pub fn new() -> Self {
        let home = TempDir::new().expect("a directory");
        let root = home.path().canonicalize().expect("it is there").join("root");
        fs::create_dir(&root).expect("a directory");
        let since = SystemClock::new().wall();
        Recorder { home, root, before: Vec::new(), starts: 0, speed: None, since }
    }

    /// Begins with a directory that is there already, and durable; whether it has been announced as
    /// ready.
    pub fn on(tree: &Tree, ready: bool) -> Self {
        let mut recorder = Recorder::new();
        let Tree::Dir(entries) = tree else { panic!("the root is a directory") };
        for (name, entry) in entries {
            entry.write(&recorder.root.join(name));
        }
        make_again(entries, &recorder.root, "", &mut recorder.before);
        recorder.before.push(Op::SyncAll);
        recorder.before.extend(ready.then_some(Op::Said { data: Bytes::new() }));
        recorder
    }

    /// Operations before the first start.
    pub fn before(&self) -> usize {
        self.before.len()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Puts a command under the shim.
    pub fn record(&mut self, command: &mut Command, shim: &Path) {
        command.env("LD_PRELOAD", shim).env("GATE_ROOT", &self.root);
        command.env("GATE_TRACE", self.trace_of(self.starts));
        if let Some(speed) = self.speed {
            let since = self.since.as_micros() / 1_000_000;
            command.env("GATE_SPEED", speed.to_string()).env("GATE_SINCE", since.to_string());
        }
        self.starts += 1;
    }

    /// Starts the server with these further arguments.
    pub fn serve(&mut self, shim: &Path, arguments: &[&OsStr]) -> Process {
        let mut command = process::serve(&self.data_dir(), "127.0.0.1:0");
        command.args(arguments);
        self.record(&mut command, shim);
        Process::spawn(command)
    }

    /// A kill -9 between two operations, so that the trace knows what was done.
    pub fn kill(server: Process) {
        let id = server.id().to_string();
        let kill = Command::new("kill").args(["-USR2", &id]).status();
        assert!(kill.expect("kill runs").success());
        server.wait();
    }

    /// A file outside of the directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn trace_of(&self, start: usize) -> PathBuf {
        self.beside(&format!("trace-{start}"))
    }

    /// All that was recorded. Replayed, it must give the directory as it is now: the shim has seen
    /// everything.
    pub fn finish(&self) -> Vec<Op> {
        let starts = 0..self.starts;
        let recorded = starts.flat_map(|start| trace::read(&self.trace_of(start)));
        let ops: Vec<_> = self.before.iter().cloned().chain(recorded).collect();
        let mut disk = Disk::new(Faults::default());
        ops.iter().for_each(|op| disk.apply(op));
        let replayed = crash(&disk, Mode::Kill, &mut Dice::new(0));
        let mut left = Tree::read(&self.root);
        // What the shim leaves out on purpose.
        left.remove_ending(SHARED_MEMORY);
        let differences = replayed.differences(&left, "");
        assert!(differences.is_empty(), "the shim has missed something: {differences:#?}");
        ops
    }
}

/// The operations that make what is written at `path` already, with the numbers it has there.
fn make_again(entries: &BTreeMap<String, Tree>, path: &Path, inner: &str, ops: &mut Vec<Op>) {
    for (name, entry) in entries {
        let (path, inner) = (path.join(name), format!("{inner}/{name}"));
        let inode = fs::metadata(&path).expect("just written").ino();
        let made = inner.trim_start_matches('/').to_owned();
        match entry {
            Tree::Dir(entries) => {
                ops.push(Op::MakeDir { path: made, inode });
                make_again(entries, &path, &inner, ops);
            }
            Tree::File(bytes) => {
                ops.push(Op::MakeFile { path: made, inode });
                ops.push(Op::Write { inode, at: 0, data: Bytes::copy_from_slice(bytes) });
            }
        }
    }
}

#[cfg(test)]
const SIGABRT: i32 = 6;

#[test]
fn what_a_shell_and_its_tools_do_is_replayed_byte_for_byte() {
    let mut recorder = Recorder::new();
    let mut shell = Command::new("sh");
    let script = "mkdir -p d/e && cd d && echo one > a && echo two >> a && mv a e/b && ln e/b c \
                  && truncate -s 2 c && mv e f && echo longer | dd of=f/b seek=1 bs=3 conv=notrunc,fsync \
                  && touch g && rm g c && cd .. && rmdir d/none || rm -r d/f && echo done > last";
    shell.current_dir(recorder.root()).args(["-c", script]).stderr(std::process::Stdio::null());
    recorder.record(&mut shell, &build_shim());
    assert!(shell.status().expect("it runs").success());
    let ops = recorder.finish();
    let renamed = |op: &Op| *op == Op::Rename { from: "d/e".to_owned(), to: "d/f".to_owned() };
    assert!(ops.iter().any(renamed), "{ops:?}");
    assert!(ops.iter().any(|op| matches!(op, Op::Sync { .. })), "{ops:?}");
    let last = Tree::Dir([("last".to_owned(), Tree::File(b"done\n".to_vec()))].into());
    let Tree::Dir(left) = Tree::read(recorder.root()) else { panic!("the root is a directory") };
    assert_eq!(Tree::Dir(left.into_iter().filter(|(name, _)| name == "last").collect()), last);
}

#[test]
fn what_cannot_be_recorded_ends_the_process() {
    let mut recorder = Recorder::new();
    let mut link = Command::new("ln");
    link.current_dir(recorder.root()).args(["-s", "nowhere", "link"]);
    recorder.record(&mut link, &build_shim());
    let output = link.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains("cannot record symlink"), "{said}");
}
