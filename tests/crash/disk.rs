//! The model of a file system: for each file and directory what is durable, and what was done to it
//! since and may be lost.
//!
//! - fsync of a file makes its bytes and its length durable, not its name.
//! - fdatasync does the same: a length that reads need is not left behind.
//! - fsync of a directory makes its names durable, not what the files in it hold.
//! - `sync_file_range` promises nothing but that the bytes are on their way; see `modes`.
//! - A journalled file system makes what concerns names and lengths durable in order, over all files:
//!   an fsync, and an fdatasync of a file that has grown, take all before them along.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::trace::Op;

/// Where a file or directory is in the model; the root is 0.
pub type NodeId = usize;

const ROOT: NodeId = 0;

#[derive(Clone, Debug)]
pub enum Node {
    File(File),
    Dir(Dir),
}

#[derive(Clone, Debug, Default)]
pub struct File {
    pub durable: Vec<u8>,
    pub pending: Vec<Change>,
}

/// What was done to a file by the operation of number `op` and has not been synced.
#[derive(Clone, Debug)]
pub struct Change {
    pub op: usize,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// `ranged`: it is under a later `sync_file_range`.
    Write {
        at: usize,
        data: Bytes,
        ranged: bool,
    },
    Length(usize),
    Allocate(usize),
}

#[derive(Clone, Debug, Default)]
pub struct Dir {
    pub live: BTreeMap<String, NodeId>,
    pub durable: BTreeMap<String, NodeId>,
    pub pending: Vec<Entry>,
}

/// A name that the operation of number `op` has added, or removed if there is no node.
#[derive(Clone, Debug)]
pub struct Entry {
    pub op: usize,
    pub name: String,
    pub node: Option<NodeId>,
}

/// Which promises of the system are broken on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// fdatasync does nothing to files that were made at a path that begins so.
    pub no_fdatasync: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub struct Disk {
    pub nodes: Vec<Node>,
    by_inode: HashMap<u64, NodeId>,
    /// Operations done.
    pub done: usize,
    /// The operation up to which the journal is durable.
    pub committed: usize,
    faults: Faults,
    /// Files that fdatasync does nothing to.
    deaf: HashSet<NodeId>,
}

impl Disk {
    /// An empty, durable root.
    pub fn new(faults: Faults) -> Self {
        let nodes = vec![Node::Dir(Dir::default())];
        let (by_inode, deaf) = (HashMap::new(), HashSet::new());
        Disk { nodes, by_inode, done: 0, committed: 0, faults, deaf }
    }

    pub fn apply(&mut self, op: &Op) {
        self.done += 1;
        match op {
            Op::Start | Op::Said { .. } | Op::Sent { .. } => {}
            Op::MakeFile { path, inode } => self.make(path, *inode, Node::File(File::default())),
            Op::MakeDir { path, inode } => self.make(path, *inode, Node::Dir(Dir::default())),
            Op::Write { inode, at, data } => {
                let what = What::Write { at: *at, data: data.clone(), ranged: false };
                self.change(*inode, what);
            }
            Op::Length { inode, length } => self.change(*inode, What::Length(*length)),
            Op::Allocate { inode, length } => self.change(*inode, What::Allocate(*length)),
            Op::Sync { inode } => {
                self.committed = self.done;
                let node = self.node_of(*inode);
                self.nodes[node].sync();
            }
            Op::SyncData { inode } if self.deaf.contains(&self.node_of(*inode)) => {}
            Op::SyncData { inode } => {
                let node = self.node_of(*inode);
                if matches!(&self.nodes[node], Node::File(file) if file.has_grown()) {
                    self.committed = self.done;
                }
                self.nodes[node].sync();
            }
            Op::SyncRange { inode, at, length } => self.range(*inode, *at, *length),
            Op::SyncAll => {
                self.committed = self.done;
                self.nodes.iter_mut().for_each(Node::sync);
            }
            Op::Rename { from, to } => {
                let node = self.look_up(from);
                self.enter(from, None);
                self.enter(to, Some(node));
            }
            Op::Link { from, to } => self.enter(to, Some(self.look_up(from))),
            Op::Remove { path } => self.enter(path, None),
        }
    }

    fn make(&mut self, path: &str, inode: u64, node: Node) {
        let id = self.nodes.len();
        if self.faults.no_fdatasync.is_some_and(|begin| path.starts_with(begin)) {
            self.deaf.insert(id);
        }
        self.nodes.push(node);
        // The number of a removed file may be used again.
        self.by_inode.insert(inode, id);
        self.enter(path, Some(id));
    }

    /// The file or directory; the root, and what holds it, were there before.
    fn node_of(&self, inode: u64) -> NodeId {
        self.by_inode.get(&inode).copied().unwrap_or(ROOT)
    }

    fn change(&mut self, inode: u64, what: What) {
        let op = self.done;
        let node = self.node_of(inode);
        match &mut self.nodes[node] {
            Node::File(file) => file.pending.push(Change { op, what }),
            Node::Dir(_) => panic!("operation {op} changes a file that nobody has made: {what:?}"),
        }
    }

    fn range(&mut self, inode: u64, start: usize, length: usize) {
        let end = if length == 0 { usize::MAX } else { start + length };
        let node = self.node_of(inode);
        let Node::File(file) = &mut self.nodes[node] else { return };
        for change in &mut file.pending {
            if let What::Write { at, data, ranged } = &mut change.what {
                *ranged |= *at >= start && *at + data.len() <= end;
            }
        }
    }

    fn enter(&mut self, path: &str, node: Option<NodeId>) {
        let op = self.done;
        let (room, name) = path.rsplit_once('/').unwrap_or(("", path));
        let room = self.look_up(room);
        let Node::Dir(dir) = &mut self.nodes[room] else { panic!("{path} is not in a directory") };
        match node {
            Some(node) => dir.live.insert(name.to_owned(), node),
            None => dir.live.remove(name),
        };
        dir.pending.push(Entry { op, name: name.to_owned(), node });
    }

    fn look_up(&self, path: &str) -> NodeId {
        path.split('/').filter(|name| !name.is_empty()).fold(ROOT, |room, name| {
            let Node::Dir(dir) = &self.nodes[room] else { panic!("{path} leads through a file") };
            *dir.live.get(name).unwrap_or_else(|| panic!("the trace never made {path}"))
        })
    }
}

impl Node {
    fn sync(&mut self) {
        match self {
            Node::File(file) => {
                for Change { what, .. } in std::mem::take(&mut file.pending) {
                    what.apply_to(&mut file.durable);
                }
            }
            Node::Dir(dir) => {
                dir.durable.clone_from(&dir.live);
                dir.pending.clear();
            }
        }
    }
}

impl File {
    /// What a read sees.
    pub fn live(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        self.pending.iter().for_each(|change| change.what.apply_to(&mut bytes));
        bytes
    }

    pub fn live_length(&self) -> usize {
        self.pending.iter().fold(self.durable.len(), |length, change| match &change.what {
            What::Write { at, data, .. } => length.max(at + data.len()),
            What::Length(length) => *length,
            What::Allocate(least) => length.max(*least),
        })
    }

    fn has_grown(&self) -> bool {
        self.live_length() != self.durable.len()
    }
}

impl What {
    pub fn apply_to(&self, bytes: &mut Vec<u8>) {
        match self {
            What::Write { at, data, .. } => put(bytes, *at, data),
            What::Length(length) => bytes.resize(*length, 0),
            What::Allocate(least) => bytes.resize(bytes.len().max(*least), 0),
        }
    }
}

/// Writes into a file; a hole before the place reads as zeros.
pub fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(data);
}
