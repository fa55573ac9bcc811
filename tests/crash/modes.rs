//! What a crash may leave of what was not durable, by how the machine and its file system behave.

use std::collections::BTreeMap;
use std::fmt;

use super::dice::Dice;
use super::disk::{Change, Dir, Disk, Entry, File, Node, NodeId, What, put};
use super::tree::Tree;

/// How the machine behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The process alone ends: every write is there.
    Kill,
    /// Power fails on a system that keeps what POSIX makes it keep and nothing more.
    Strict(Data, Names),
    /// Power fails on a journalled file system: names and lengths are lost from the end only, a
    /// length comes with its bytes; what was written into a file's inside may be there or not.
    Journalled,
    /// Power fails where bytes under `sync_file_range` are kept, but not the length they need.
    Ranged(Names),
}

/// What is left of the changes of a file that were not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    None,
    All,
    Some,
    AllButOne,
    Prefix,
    /// Each block of 512 bytes of each write is there or not.
    TornSectors,
    /// Each block of 4,096 bytes of each write is there or not.
    TornPages,
    /// All bytes, but not a greater length.
    LengthMissing,
    /// A greater length, but zeros for its bytes.
    BytesMissing,
    /// One of these, for each file its own.
    Mixed,
}

/// What is left of the changes of a directory that were not durable. A rename within it is one step,
/// as it is on every file system of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    All,
    None,
    Some,
    /// Files are gone, but no file is there under a new name.
    OnlyRemovals,
}

const PLAIN_DATA: [Data; 9] = [
    Data::None,
    Data::All,
    Data::Some,
    Data::AllButOne,
    Data::Prefix,
    Data::TornSectors,
    Data::TornPages,
    Data::LengthMissing,
    Data::BytesMissing,
];
const ALL_NAMES: [Names; 4] = [Names::All, Names::None, Names::Some, Names::OnlyRemovals];

const SECTOR: usize = 512;
const PAGE: usize = 4096;

impl Mode {
    /// Half strict, which has the most to try.
    pub fn pick(dice: &mut Dice) -> Mode {
        let names = dice.one_of(&ALL_NAMES);
        match dice.below(10) {
            0 => Mode::Kill,
            1 | 2 => Mode::Journalled,
            3 | 4 => Mode::Ranged(names),
            5 => Mode::Strict(Data::Mixed, names),
            _ => Mode::Strict(dice.one_of(&PLAIN_DATA), names),
        }
    }

    /// The row of the table it is counted in.
    pub fn row(self) -> &'static str {
        match self {
            Mode::Kill => "process killed",
            Mode::Strict(..) => "strict",
            Mode::Journalled => "journalled",
            Mode::Ranged(_) => "sync_file_range kept",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The directory that a crash leaves here.
pub fn crash(disk: &Disk, mode: Mode, dice: &mut Dice) -> Tree {
    // The operation up to which the journal got.
    let point = disk.committed + dice.below(disk.done - disk.committed + 1);
    let mut leave = Leave { mode, point, dice };
    leave.node(disk, 0)
}

struct Leave<'a> {
    mode: Mode,
    point: usize,
    dice: &'a mut Dice,
}

impl Leave<'_> {
    fn node(&mut self, disk: &Disk, node: NodeId) -> Tree {
        match &disk.nodes[node] {
            Node::File(file) => Tree::File(self.file(file)),
            Node::Dir(dir) => {
                let names = self.names(dir);
                Tree::Dir(
                    names.into_iter().map(|(name, node)| (name, self.node(disk, node))).collect(),
                )
            }
        }
    }

    fn file(&mut self, file: &File) -> Vec<u8> {
        match self.mode {
            Mode::Kill => file.live(),
            Mode::Strict(Data::Mixed, _) => {
                let data = self.dice.one_of(&PLAIN_DATA);
                strict(file, data, self.dice)
            }
            Mode::Strict(data, _) => strict(file, data, self.dice),
            Mode::Journalled => journalled(file, self.point, self.dice),
            Mode::Ranged(_) => ranged(file, self.dice),
        }
    }

    fn names(&mut self, dir: &Dir) -> BTreeMap<String, NodeId> {
        let names = match self.mode {
            Mode::Kill => return dir.live.clone(),
            Mode::Journalled => return kept_names(dir, |entry| entry.op <= self.point),
            Mode::Strict(_, names) | Mode::Ranged(names) => names,
        };
        match names {
            Names::All => dir.live.clone(),
            Names::None => dir.durable.clone(),
            Names::OnlyRemovals => {
                let adds =
                    |op| dir.pending.iter().any(|entry| entry.op == op && entry.node.is_some());
                kept_names(dir, |entry| !adds(entry.op))
            }
            Names::Some => {
                let mut kept = BTreeMap::new();
                kept_names(dir, |entry| *kept.entry(entry.op).or_insert_with(|| self.dice.toss()))
            }
        }
    }
}

fn kept_names(dir: &Dir, mut keep: impl FnMut(&Entry) -> bool) -> BTreeMap<String, NodeId> {
    let mut names = dir.durable.clone();
    for entry in dir.pending.iter().filter(|entry| keep(entry)) {
        match entry.node {
            Some(node) => names.insert(entry.name.clone(), node),
            None => names.remove(&entry.name),
        };
    }
    names
}

fn strict(file: &File, data: Data, dice: &mut Dice) -> Vec<u8> {
    let count = file.pending.len();
    let kept = |keep: &mut dyn FnMut(usize) -> bool| {
        let mut bytes = file.durable.clone();
        let changes = file.pending.iter().enumerate().filter(|(at, _)| keep(*at));
        changes.for_each(|(_, change)| change.what.apply_to(&mut bytes));
        bytes
    };
    match data {
        Data::None => file.durable.clone(),
        Data::All | Data::Mixed => file.live(),
        Data::Some => kept(&mut |_| dice.toss()),
        Data::AllButOne => {
            let lost = dice.below(count + 1);
            kept(&mut |at| at != lost)
        }
        Data::Prefix => {
            let end = dice.below(count + 1);
            kept(&mut |at| at < end)
        }
        Data::TornSectors => torn(file, SECTOR, dice),
        Data::TornPages => torn(file, PAGE, dice),
        Data::LengthMissing => {
            let mut bytes = file.live();
            bytes.truncate(file.durable.len());
            bytes
        }
        Data::BytesMissing => {
            let mut bytes = file.durable.clone();
            bytes.resize(file.live_length(), 0);
            bytes
        }
    }
}

/// Each block of each write is there or not.
fn torn(file: &File, block: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    for Change { what, .. } in &file.pending {
        match what {
            What::Write { at, data, .. } => {
                for (at, part) in blocks(*at, data, block) {
                    if dice.toss() {
                        put(&mut bytes, at, part);
                    }
                }
            }
            other => other.apply_to(&mut bytes),
        }
    }
    bytes
}

/// The parts of a write, cut where blocks of the file begin.
fn blocks(mut at: usize, mut data: &[u8], block: usize) -> Vec<(usize, &[u8])> {
    let mut parts = Vec::new();
    while !data.is_empty() {
        let (part, rest) = data.split_at(data.len().min(block - at % block));
        parts.push((at, part));
        at += part.len();
        data = rest;
    }
    parts
}

fn journalled(file: &File, point: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    for Change { op, what } in &file.pending {
        let is_known = *op <= point;
        let What::Write { at, data, .. } = what else {
            if is_known {
                what.apply_to(&mut bytes);
            }
            continue;
        };
        let inside = bytes.len().saturating_sub(*at).min(data.len());
        for (at, part) in blocks(*at, &data[..inside], PAGE) {
            if dice.toss() {
                put(&mut bytes, at, part);
            }
        }
        if is_known && inside < data.len() {
            put(&mut bytes, at + inside, &data[inside..]);
        }
    }
    bytes
}

fn ranged(file: &File, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    let loses_length = dice.toss();
    for Change { what, .. } in &file.pending {
        if matches!(what, What::Write { ranged: true, .. }) || dice.toss() {
            what.apply_to(&mut bytes);
        }
    }
    if loses_length {
        bytes.truncate(file.durable.len());
    }
    bytes
}
