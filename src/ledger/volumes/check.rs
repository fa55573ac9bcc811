//! Reading a whole ledger that nobody uses, and changing nothing in it.
//!
//! Sealed volumes are read where they lie. Opening sled rewrites parts of its files, so a volume in sled
//! is copied first, and the copy is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{live_name, open, sealed_name};
use crate::durable_file::create_private_dir;
use crate::ledger::engine::{LedgerError, io_failed};
use crate::ledger::frame::Frame;
use crate::ledger::sled_engine::SledVolume;
use crate::ledger::volume::{SealedVolume, Seen, check_watched};
use crate::merkle::{Frontier, leaf_hash};

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 * 1024;

/// Who wants to know what is found.
pub trait Watch {
    /// The next whole frame. Unless a problem was told before, it continues the ones before it.
    fn frame(&mut self, frame: &Frame);

    /// So many bytes of the ledger's files have been read.
    fn read(&mut self, bytes: u64);

    /// Something that is not as it should be: `name` in the ledger's directory.
    fn problem(&mut self, name: &str, problem: Problem);
}

/// What is not as it should be in a ledger's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The volume is damaged, missing, or not one of this ledger.
    Damaged(LedgerError),
    /// The volume was not read: the one before is damaged, so where it should begin is not known.
    NotRead,
    /// Left by something that was interrupted; the next start clears it away.
    Leftover,
    /// Not the ledger's: a start refuses it at the top of the directory and ignores it elsewhere.
    Foreign,
}

/// The volumes in a directory by their numbers.
#[derive(Default)]
struct Names {
    sealed: BTreeSet<u64>,
    live: BTreeMap<u64, PathBuf>,
}

/// Reads the ledger in `dir`. Answers the tree over all its records; none if a problem leaves that
/// open. The caller MUST hold the lock of the data directory, and `scratch` MUST be an empty directory
/// elsewhere with room for the volumes in sled, one after another.
///
/// # Errors
/// If `scratch` cannot be written. What is wrong with the ledger is told to `watch`.
pub fn check(dir: &Path, scratch: &Path, watch: &mut dyn Watch) -> io::Result<Option<Frontier>> {
    let Some(names) = look(dir, watch) else { return Ok(None) };
    let mut tree = Some(Frontier::new());
    let mut expected = 1;
    for number in &names.sealed {
        tree = missing(expected, *number, watch).and(tree);
        tree = check_sealed(dir, *number, tree, watch);
        expected = number + 1;
    }
    let mut empty: Option<u64> = None;
    let mut any = false;
    for (number, path) in &names.live {
        if *number < expected && names.sealed.contains(number) {
            watch.problem(&name_of(path), Problem::Leftover);
            continue;
        }
        any = true;
        tree = missing(expected, *number, watch).and(tree);
        let before = tree.as_ref().map_or(0, Frontier::size);
        tree = check_live(path, scratch, tree, watch)?;
        let is_empty = tree.as_ref().is_some_and(|tree| tree.size() == before);
        if let (Some(number), false) = (empty, is_empty) {
            let error = LedgerError::MissingVolume { number };
            watch.problem(&name_of(&live_name(dir, number)), Problem::Damaged(error));
        }
        empty = is_empty.then_some(*number);
        expected = number + 1;
    }
    if !any {
        tree = missing(expected, u64::MAX, watch).and(tree);
    }
    Ok(tree)
}

/// Tells of the volume `expected` unless it is the one found; none then.
fn missing(expected: u64, found: u64, watch: &mut dyn Watch) -> Option<()> {
    if expected == found {
        return Some(());
    }
    let error = LedgerError::MissingVolume { number: expected };
    watch.problem(&format!("volume-{expected:08}"), Problem::Damaged(error));
    None
}

/// What lies in the directory; none if it cannot be listed.
fn look(dir: &Path, watch: &mut dyn Watch) -> Option<Names> {
    let mut names = Names::default();
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut paths: Vec<_> = match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) => {
            let error = match error.kind() {
                io::ErrorKind::NotFound => LedgerError::Missing,
                _ => io_failed("reading", &error),
            };
            watch.problem("", Problem::Damaged(error));
            return None;
        }
    };
    paths.sort();
    for path in paths {
        let name = name_of(&path);
        match open::kind_of(&name) {
            open::Kind::Sealed(number) => drop(names.sealed.insert(number)),
            open::Kind::Live(number) => drop(names.live.insert(number, path)),
            open::Kind::FirstForm if path.is_dir() => drop(names.live.entry(1).or_insert(path)),
            open::Kind::Leftover => watch.problem(&name, Problem::Leftover),
            _ => watch.problem(&name, Problem::Foreign),
        }
    }
    Some(names)
}

/// Reads a sealed volume behind the tree `before`, if that is known; answers the tree behind it.
fn check_sealed(
    dir: &Path,
    number: u64,
    before: Option<Frontier>,
    watch: &mut dyn Watch,
) -> Option<Frontier> {
    let path = sealed_name(dir, number);
    let name = name_of(&path);
    let volume = match SealedVolume::open(&path, number) {
        Ok(volume) => volume,
        Err(error) => {
            watch.problem(&name, Problem::Damaged(error));
            return None;
        }
    };
    if before.is_some_and(|before| before != *volume.before()) {
        watch.problem(&name, Problem::Damaged(LedgerError::OtherVolume { number }));
    }
    let mut tree = None;
    let checked = check_watched::<Infallible>(&path, number, &mut |seen| {
        match seen {
            Seen::Frame(frame) => {
                tree = Some(frame.frontier().clone());
                watch.read(frame.as_bytes().len() as u64);
                watch.frame(frame);
            }
            Seen::Bytes(bytes) => watch.read(bytes),
        }
        ControlFlow::Continue(())
    });
    match checked {
        Ok(ControlFlow::Continue(checked)) => Some(checked.after),
        Err(error) => {
            watch.problem(&name, Problem::Damaged(error));
            // What lies behind can be read all the same if where it begins is known.
            let sealed = volume.sealed();
            let is_last =
                |tree: &Frontier| (tree.size(), tree.root()) == (sealed.last.get(), sealed.root);
            tree.filter(is_last).or_else(|| open::after(&volume).ok())
        }
    }
}

/// Reads a volume in sled behind the tree `before`; answers the tree behind it.
fn check_live(
    path: &Path,
    scratch: &Path,
    before: Option<Frontier>,
    watch: &mut dyn Watch,
) -> io::Result<Option<Frontier>> {
    let name = name_of(path);
    let Some(before) = before else {
        watch.problem(&name, Problem::NotRead);
        return Ok(None);
    };
    let copy = scratch.join(&name);
    let read = match copy_volume(path, &copy, &name, watch)? {
        Ok(()) => read_live(&copy, before, watch),
        Err(error) => Err(error),
    };
    fs::remove_dir_all(&copy)?;
    Ok(match read {
        Ok(after) => Some(after),
        Err(error) => {
            watch.problem(&name, Problem::Damaged(error));
            None
        }
    })
}

fn read_live(
    copy: &Path,
    before: Frontier,
    watch: &mut dyn Watch,
) -> Result<Frontier, LedgerError> {
    let volume = SledVolume::open(copy, &before)?;
    let mut frames = volume.reader().frames_from(volume.first());
    let mut tree = before;
    while let Some(frame) = frames.read_next()? {
        for (_, record) in frame.records() {
            tree.push(leaf_hash(record));
        }
        if tree != *frame.frontier() {
            return Err(LedgerError::OtherTree { first: frame.first(), last: frame.last() });
        }
        watch.frame(&frame);
    }
    Ok(tree)
}

/// Copies what sled keeps of a volume, holes left holes. The inner error is one of reading.
fn copy_volume(
    from: &Path,
    to: &Path,
    name: &str,
    watch: &mut dyn Watch,
) -> io::Result<Result<(), LedgerError>> {
    create_private_dir(to)?;
    let entries = fs::read_dir(from).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => return Ok(Err(io_failed("reading", &error))),
    };
    for entry in entries {
        let (path, file) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let name = format!("{name}/{file}");
        if path.is_dir() {
            if file != "blobs" {
                watch.problem(&name, Problem::Foreign);
            } else if let Err(error) = copy_volume(&path, &to.join(&file), &name, watch)? {
                return Ok(Err(error));
            }
            continue;
        }
        if file.ends_with(".generating") {
            watch.problem(&name, Problem::Leftover);
        } else if !(file == "db" || file == "conf" || file.starts_with("snap.")) {
            watch.problem(&name, Problem::Foreign);
        }
        if let Err(error) = copy_file(&path, &to.join(&file), watch)? {
            return Ok(Err(io_failed("reading", &error)));
        }
    }
    Ok(Ok(()))
}

fn copy_file(from: &Path, to: &Path, watch: &mut dyn Watch) -> io::Result<io::Result<()>> {
    let mut from = match File::open(from) {
        Ok(from) => from,
        Err(error) => return Ok(Err(error)),
    };
    let mut to = File::create_new(to)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut length = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        if buffer[..read].iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Current(i64::try_from(read).unwrap_or(i64::MAX)))?;
        } else {
            to.write_all(&buffer[..read])?;
        }
        length += read as u64;
        watch.read(read as u64);
    }
    to.set_len(length)?;
    Ok(Ok(()))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
