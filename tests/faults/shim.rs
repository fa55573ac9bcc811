//! The shim in `fault.c` and the board by which a test tells it what is to go wrong.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::common::process;

const BOARD_BYTES: usize = 256;

// Where things lie on the board; see fault.c.
const ARMED: u64 = 0;
const STRIKE_AT: u64 = 8;
const KIND: u64 = 16;
const PERSISTENT: u64 = 24;
const COUNTED: u64 = 32;
const STRUCK: u64 = 40;
const FIRST: u64 = 48;
const FIRST_BYTES: usize = 208;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SIGKILL right behind an operation that changes something.
    Kill = 1,
    /// SIGKILL behind the first half of a write.
    KillTorn = 2,
    /// EIO instead of an operation that changes something.
    Fail = 3,
    /// EIO instead of one that reads or looks.
    FailLook = 4,
    /// ENOSPC instead of an operation that may need space.
    NoSpace = 5,
    /// Half of the bytes are read or written.
    Short = 6,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Kill => "SIGKILL after an operation",
            Kind::KillTorn => "SIGKILL after half of a write",
            Kind::Fail => "EIO on a change",
            Kind::FailLook => "EIO on a read",
            Kind::NoSpace => "ENOSPC",
            Kind::Short => "half of the bytes",
        })
    }
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Which operation, of those that this can happen to, from 1; 0 only counts them.
    pub(crate) at: u64,
    /// Whether every operation from there on goes wrong too.
    pub(crate) persistent: bool,
}

impl Fault {
    pub(crate) fn once(kind: Kind, at: u64) -> Fault {
        Fault { kind, at, persistent: false }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = if self.persistent { ", and from there on" } else { "" };
        write!(f, "{}, number {}{on}", self.kind, self.at)
    }
}

/// The board of one server.
pub(crate) struct Board {
    path: PathBuf,
    file: File,
}

impl Board {
    /// A board at `path` for a fault that does not happen before it is armed.
    pub(crate) fn new(path: &Path, fault: Fault) -> Board {
        fs::write(path, [0; BOARD_BYTES]).expect("written");
        let file = File::options().read(true).write(true).open(path).expect("there");
        let board = Board { path: path.to_owned(), file };
        board.put(KIND, fault.kind as u64);
        board.put(STRIKE_AT, fault.at);
        board.put(PERSISTENT, fault.persistent.into());
        board
    }

    /// From here on operations are counted, and the fault happens when its operation comes.
    pub(crate) fn arm(&self) {
        self.put(ARMED, 1);
    }

    /// How many operations of the kind there were since it was armed.
    pub(crate) fn counted(&self) -> u64 {
        self.get(COUNTED)
    }

    /// The first operation that went wrong; none if the fault did not happen.
    pub(crate) fn struck(&self) -> Option<String> {
        if self.get(STRUCK) == 0 {
            return None;
        }
        let mut text = [0; FIRST_BYTES];
        self.file.read_exact_at(&mut text, FIRST).expect("readable");
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Some(String::from_utf8_lossy(&text[..end]).into_owned())
    }

    /// A server on `data_dir` under this board.
    pub(crate) fn serve(&self, data_dir: &Path) -> Command {
        let mut command = process::serve(data_dir, "127.0.0.1:0");
        // Where the command line names none.
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/server.toml");
        command.env("KEYLEDGER_CONFIG", config);
        self.preload(command, data_dir)
    }

    /// A command that works on `data_dir`, under this board.
    pub(crate) fn preload(&self, mut command: Command, data_dir: &Path) -> Command {
        let above = data_dir.parent().expect("not the root").canonicalize().expect("there");
        let data_dir = above.join(data_dir.file_name().expect("a name"));
        command.env("LD_PRELOAD", shim());
        command.env("KEYLEDGER_FAULT_ROOT", &data_dir);
        command.env("KEYLEDGER_FAULT_BOARD", &self.path);
        command
    }

    fn put(&self, at: u64, value: u64) {
        self.file.write_all_at(&value.to_ne_bytes(), at).expect("written");
    }

    fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at).expect("readable");
        u64::from_ne_bytes(bytes)
    }
}

/// The shim, compiled once a run.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/fault.c");
        let library =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fault-{}.so", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        cc.arg(&library).arg(source).args(["-ldl", "-lpthread"]);
        let output = cc.output().expect("a C compiler is needed as `cc`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        library
    })
}
