//! Putting a ledger together from sealed volumes: each is read whole before it gets its name, and held
//! to the one before. Behind the last one an empty volume is made, in which the log goes on.

use std::convert::Infallible;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{live_name, sealed_name};
use crate::domain::ids::Position;
use crate::domain::time::Time;
use crate::durable_file::{settle, sync_dir, unfinished_name};
use crate::ledger::engine::{LedgerError, io_failed};
use crate::ledger::sled_engine::SledVolume;
use crate::ledger::volume::{Sealed, Seen, check_watched};
use crate::merkle::{Frontier, Hash};

/// Reads all of a sealed volume's file, wherever it lies, and holds it to the volume before, if that is
/// named. `each` gets every whole record in order, and can end it.
///
/// # Errors
/// [`LedgerError`] at the first damage; [`LedgerError::OtherVolume`] if it does not continue `before`.
pub fn check_volume<B>(
    path: &Path,
    number: u64,
    before: Option<&Sealed>,
    each: &mut dyn FnMut(Position, &[u8]) -> ControlFlow<B>,
) -> Result<ControlFlow<B, Sealed>, LedgerError> {
    let mut watch = |seen: Seen<'_>| match seen {
        Seen::Frame(frame) => frame.records().try_for_each(|(at, record)| each(at, record)),
        Seen::Bytes(_) => ControlFlow::Continue(()),
    };
    let checked = match check_watched(path, number, &mut watch)? {
        ControlFlow::Continue(checked) => checked,
        ControlFlow::Break(why) => return Ok(ControlFlow::Break(why)),
    };
    let (size, root) = match before {
        None => (0, Frontier::new().root()),
        Some(before) => (before.last.get(), before.root),
    };
    let continues = checked.before.size() == size && checked.before.root() == root;
    if !continues || checked.sealed.number != number {
        return Err(LedgerError::OtherVolume { number });
    }
    Ok(ControlFlow::Continue(checked.sealed))
}

/// A ledger that is being put together in a directory of its own, which holds nothing else.
#[derive(Debug)]
pub struct Restoring {
    dir: PathBuf,
    last: Option<Sealed>,
}

/// Where a ledger that was put together ends.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The last position.
    pub position: Position,
    /// The root of the tree over all records.
    pub root: Hash,
    /// When the last record was made.
    pub time: Time,
}

impl Restoring {
    /// Begins in `dir`, which exists and is empty. The caller MUST hold the lock of the data directory.
    #[must_use]
    pub fn begin(dir: &Path) -> Self {
        Restoring { dir: dir.to_owned(), last: None }
    }

    /// Where the caller is to put the file of the next volume.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        unfinished_name(&sealed_name(&self.dir, self.next_number()))
    }

    /// Takes the volume that was put in its place: its bytes are read back from the disk and checked,
    /// then it gets its name, durably.
    ///
    /// # Errors
    /// [`LedgerError`] if it is damaged or does not continue the one before.
    pub fn take(&mut self) -> Result<Sealed, LedgerError> {
        let (number, place) = (self.next_number(), self.place());
        let failed = |error: std::io::Error| io_failed("restoring", &error);
        File::open(&place).and_then(|file| settle(&file)).map_err(failed)?;
        let mut each = |_, _: &[u8]| ControlFlow::<Infallible>::Continue(());
        let checked = check_volume(&place, number, self.last.as_ref(), &mut each)?;
        let ControlFlow::Continue(sealed) = checked;
        let named = fs::rename(&place, sealed_name(&self.dir, number));
        named.and_then(|()| sync_dir(&self.dir)).map_err(failed)?;
        self.last = Some(sealed);
        Ok(sealed)
    }

    /// Makes the empty volume behind the last.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] if no volume was taken: no log is that empty; or it cannot be made.
    pub fn finish(self) -> Result<End, LedgerError> {
        let last = self.last.ok_or(LedgerError::Missing)?;
        SledVolume::create(&live_name(&self.dir, self.next_number()))?.close()?;
        Ok(End { position: last.last, root: last.root, time: last.last_time })
    }

    fn next_number(&self) -> u64 {
        self.last.map_or(1, |last| last.number + 1)
    }
}
