//! What the shim has recorded: the operations on files below the root and the bytes sent, in order.

use std::fmt;
use std::fs;
use std::path::Path;

use bytes::{Buf, Bytes};

/// One recorded operation. Paths are below the root, without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A process began.
    Start,
    MakeFile {
        path: String,
        inode: u64,
    },
    MakeDir {
        path: String,
        inode: u64,
    },
    Write {
        inode: u64,
        at: usize,
        data: Bytes,
    },
    /// The file has this length from here on.
    Length {
        inode: u64,
        length: usize,
    },
    /// The file is at least this long from here on.
    Allocate {
        inode: u64,
        length: usize,
    },
    /// fsync, of a file or a directory.
    Sync {
        inode: u64,
    },
    /// fdatasync.
    SyncData {
        inode: u64,
    },
    /// `sync_file_range`; a length of 0 is up to the end.
    SyncRange {
        inode: u64,
        at: usize,
        length: usize,
    },
    SyncAll,
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    /// Bytes went to standard output.
    Said {
        data: Bytes,
    },
    /// Bytes left by a socket.
    Sent {
        socket: u64,
        data: Bytes,
    },
}

const HEADER_BYTES: usize = 40;

/// Reads the trace of one process. Every operation that was recorded was done, and whole.
pub fn read(path: &Path) -> Vec<Op> {
    let mut bytes = Bytes::from(fs::read(path).expect("the shim made a trace"));
    let mut ops = vec![Op::Start];
    while !bytes.is_empty() {
        ops.push(parse(&mut bytes));
    }
    ops
}

fn parse(bytes: &mut Bytes) -> Op {
    assert!(bytes.len() >= HEADER_BYTES, "the trace ends within a record");
    let kind = char::from_u32(bytes.get_u32_le()).expect("a kind");
    let path_length = bytes.get_u32_le() as usize;
    let inode = bytes.get_u64_le();
    let mut number = || usize::try_from(bytes.get_u64_le()).expect("a usize");
    let (at, length, data_length) = (number(), number(), number());
    assert!(bytes.len() >= path_length + data_length, "the trace ends within a record");
    let path = text(&bytes.split_to(path_length));
    let data = bytes.split_to(data_length);
    match kind {
        'C' => Op::MakeFile { path, inode },
        'D' => Op::MakeDir { path, inode },
        'W' => Op::Write { inode, at, data },
        'T' => Op::Length { inode, length },
        'A' => Op::Allocate { inode, length: at + length },
        'S' => Op::Sync { inode },
        's' => Op::SyncData { inode },
        'R' => Op::SyncRange { inode, at, length },
        'Y' => Op::SyncAll,
        'M' => Op::Rename { from: path, to: text(&data) },
        'L' => Op::Link { from: path, to: text(&data) },
        'U' => Op::Remove { path },
        'O' => Op::Said { data },
        'N' => Op::Sent { socket: inode, data },
        other => panic!("the trace has a record of kind {other:?}"),
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).expect("a path of ours is UTF-8")
}

/// As a line for a person who looks into a failure.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Write { inode, at, data } => {
                write!(f, "write {inode} at {at}: {} bytes", data.len())
            }
            Op::Said { data } => write!(f, "said {:?}", String::from_utf8_lossy(data)),
            Op::Sent { socket, data } => write!(f, "sent {} bytes by {socket}", data.len()),
            other => write!(f, "{other:?}"),
        }
    }
}
