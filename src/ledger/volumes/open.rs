//! Finding the volumes of a ledger at open, and tidying what an interrupted seal left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::sealer::remove_sled_volume;
use super::{live_name, sealed_name};
use crate::durable_file::{settle, sync_dir};
use crate::ledger::engine::{LedgerError, io_failed};
use crate::ledger::sled_engine::SledVolume;
use crate::ledger::volume::{SealedVolume, check_file};
use crate::merkle::Frontier;

/// The volumes of a ledger, in order and without a gap.
pub(super) struct Found {
    pub(super) sealed: Vec<SealedVolume>,
    pub(super) live: Vec<Live>,
}

/// A volume in sled.
pub(super) struct Live {
    pub(super) number: u64,
    pub(super) volume: SledVolume,
    /// Bytes of its frames.
    pub(super) bytes: u64,
    /// The tree over all records before its first.
    pub(super) before: Frontier,
    /// The tree over all records up to its last.
    pub(super) after: Frontier,
}

impl Live {
    fn is_empty(&self) -> bool {
        self.volume.head().is_none()
    }
}

/// Opens all volumes of the ledger in `dir`.
///
/// # Errors
/// [`LedgerError`] if one is missing, damaged, or does not continue the one before.
pub(super) fn open(dir: &Path) -> Result<Found, LedgerError> {
    adopt_first_form(dir)?;
    let (sealed_numbers, live_numbers) = numbers(dir)?;
    let sealed = open_sealed(dir, &sealed_numbers)?;
    let count = sealed.len() as u64;
    let mut live_numbers = live_numbers.into_iter().peekable();
    while let Some(number) = live_numbers.next_if(|number| *number <= count) {
        // Stopped between the sealed file's rename and the database's removal. What replaces the
        // database for ever is read once more before it goes.
        check_file(&sealed_name(dir, number), number)?;
        remove_sled_volume(&live_name(dir, number))
            .map_err(|error| io_failed("opening", &error))?;
    }
    let mut tree = match sealed.last() {
        None => Frontier::new(),
        Some(volume) => after(volume)?,
    };
    let mut live = Vec::new();
    for (number, expected) in live_numbers.zip(count + 1..) {
        if number != expected {
            return Err(LedgerError::MissingVolume { number: expected });
        }
        let volume = open_live(dir, number, &tree)?;
        if let Some(Live { number, .. }) = live.last().filter(|before: &&Live| before.is_empty())
            && !volume.is_empty()
        {
            return Err(LedgerError::MissingVolume { number: *number });
        }
        tree = volume.after.clone();
        live.push(volume);
    }
    if live.is_empty() {
        return Err(LedgerError::MissingVolume { number: count + 1 });
    }
    Ok(Found { sealed, live })
}

/// The first program kept its only volume as `live`.
fn adopt_first_form(dir: &Path) -> Result<(), LedgerError> {
    let (first_form, now) = (dir.join("live"), live_name(dir, 1));
    if first_form.is_dir() && !now.exists() {
        let renamed = fs::rename(&first_form, &now).and_then(|()| sync_dir(dir));
        renamed.map_err(|error| io_failed("opening", &error))?;
    }
    Ok(())
}

/// The numbers of sealed volumes and of those in sled. What was being made or removed goes.
fn numbers(dir: &Path) -> Result<(BTreeSet<u64>, BTreeSet<u64>), LedgerError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => LedgerError::Missing,
        _ => io_failed("opening", &error),
    };
    let (mut sealed, mut live) = (BTreeSet::new(), BTreeSet::new());
    let mut cleared = false;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match kind_of(name) {
            Kind::Leftover => {
                let is_dir = path.is_dir();
                let removed =
                    if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(failed)?;
                cleared = true;
            }
            Kind::Sealed(number) => drop(sealed.insert(number)),
            Kind::Live(number) => drop(live.insert(number)),
            Kind::FirstForm | Kind::Foreign => return Err(LedgerError::Foreign),
        }
    }
    if cleared {
        sync_dir(dir).map_err(failed)?;
    }
    Ok((sealed, live))
}

/// What a name in the ledger's directory is of.
pub(super) enum Kind {
    /// The sealed volume of that number.
    Sealed(u64),
    /// The volume of that number in sled.
    Live(u64),
    /// The only volume, as the first program named it.
    FirstForm,
    /// Something that was being made or removed.
    Leftover,
    /// Not the ledger's.
    Foreign,
}

/// What `name` is of.
pub(super) fn kind_of(name: &str) -> Kind {
    let number = |prefix: &str| {
        let digits = name.strip_prefix(prefix)?;
        digits.parse().ok().filter(|number: &u64| format!("{prefix}{number:08}") == name)
    };
    if name.ends_with(".tmp") || name.ends_with(".gone") {
        return Kind::Leftover;
    }
    match (number("volume-"), number("live-")) {
        (Some(number), _) => Kind::Sealed(number),
        (_, Some(number)) => Kind::Live(number),
        _ if name == "live" => Kind::FirstForm,
        _ => Kind::Foreign,
    }
}

/// Opens the sealed volumes and holds each to the one before.
fn open_sealed(dir: &Path, numbers: &BTreeSet<u64>) -> Result<Vec<SealedVolume>, LedgerError> {
    let mut volumes: Vec<SealedVolume> = Vec::with_capacity(numbers.len());
    for (number, expected) in numbers.iter().zip(1..) {
        if *number != expected {
            return Err(LedgerError::MissingVolume { number: expected });
        }
        let path = sealed_name(dir, expected);
        // After a failed sync the cache may hold what the disk does not: read what the disk has.
        fs::File::open(&path)
            .and_then(|file| settle(&file))
            .map_err(|error| io_failed("opening", &error))?;
        let volume = SealedVolume::open(&path, expected)?;
        let (last, root) = match volumes.last() {
            None => (0, Frontier::new().root()),
            Some(before) => (before.sealed().last.get(), before.sealed().root),
        };
        if volume.before().size() != last || volume.before().root() != root {
            return Err(LedgerError::OtherVolume { number: expected });
        }
        volumes.push(volume);
    }
    Ok(volumes)
}

/// The tree over all records up to the last of a sealed volume.
pub(super) fn after(volume: &SealedVolume) -> Result<Frontier, LedgerError> {
    let sealed = volume.sealed();
    let frame = volume.frame_at(sealed.last)?;
    if frame.last() != sealed.last || frame.root() != sealed.root {
        return Err(LedgerError::DamagedVolume { number: sealed.number, part: "its last frame" });
    }
    Ok(frame.frontier().clone())
}

fn open_live(dir: &Path, number: u64, before: &Frontier) -> Result<Live, LedgerError> {
    let volume = SledVolume::open(&live_name(dir, number), before)?;
    let mut frames = volume.reader().frames_from(volume.first());
    let (mut bytes, mut after) = (0, before.clone());
    while let Some(frame) = frames.read_next()? {
        bytes += frame.as_bytes().len() as u64;
        after = frame.frontier().clone();
    }
    Ok(Live { number, volume, bytes, before: before.clone(), after })
}
