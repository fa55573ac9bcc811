//! The directory of journals: listing, making, reading and removing them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::{FrameHead, Header, Kind};
use super::read::{Found, Frame, Headless, JournalReader};
use super::roll::{self, Listed};
use super::write::{AppendTo, JournalWriter};
use super::{Cover, Ending, JournalError, JournalNumber};
use crate::domain::time::Time;
use crate::durable_file::{
    create_private_dir, is_there, read_bounded, sync_dir, write_new, write_replacing,
};

const NAME: (&str, &str) = ("usage-", ".klj");
const DIGITS: usize = 20;
const UNFINISHED: &str = ".tmp";
const ASIDE: &str = ".damaged";

/// Owner reads and writes.
const MODE: u32 = 0o600;

/// A journal, and what it holds or why it cannot be read.
pub type Examined = (JournalNumber, Result<Found, JournalError>);

type Wrap = dyn Fn(File) -> Box<dyn AppendTo> + Send + Sync;

/// The journals of a data directory. The caller MUST hold the directory's lock.
#[derive(Clone)]
pub struct Journals {
    path: PathBuf,
    cover: Arc<dyn Cover>,
    wrap: Arc<Wrap>,
}

impl fmt::Debug for Journals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journals").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Journals {
    /// The name of the file that lists the journals.
    pub const ROLL: &str = roll::NAME;

    /// The directory `path`, which is made if it is not there. What the making of a journal left, when it
    /// was interrupted, is removed.
    ///
    /// # Errors
    /// [`JournalError::Io`], or [`JournalError::Foreign`] if it holds something else.
    pub fn open(path: &Path, cover: Arc<dyn Cover>) -> Result<Self, JournalError> {
        create_private_dir(path).map_err(JournalError::io("make the directory of"))?;
        let journals = Journals::look_at(path, cover);
        for name in journals.names()? {
            if name.strip_suffix(UNFINISHED).is_some_and(is_ours) {
                fs::remove_file(path.join(name)).map_err(JournalError::io("tidy away"))?;
            }
        }
        journals.list()?;
        Ok(journals)
    }

    /// The journals in `path`, to look at them: nothing is made or removed.
    #[must_use]
    pub fn look_at(path: &Path, cover: Arc<dyn Cover>) -> Self {
        let wrap = Arc::new(|file| Box::new(file) as Box<dyn AppendTo>);
        Journals { path: path.to_owned(), cover, wrap }
    }

    /// What each journal holds, by its checksums, or why it cannot be read; the lowest number first.
    ///
    /// # Errors
    /// As [`Journals::list`].
    pub fn examine(&self) -> Result<Vec<Examined>, JournalError> {
        let mut all: Vec<Examined> = Vec::new();
        for number in self.list()? {
            let read = self.read(number).and_then(|mut journal| journal.read_rest(&mut |_, _| {}));
            if read.as_ref().is_ok_and(|found| found.frames > 0) {
                all.iter_mut().flat_map(|(_, read)| read).for_each(Found::is_followed);
            }
            all.push((number, read));
        }
        Ok(all)
    }

    /// The name of a journal's file.
    #[must_use]
    pub fn file_name(number: JournalNumber) -> String {
        format!("{}{:020}{}", NAME.0, number.get(), NAME.1)
    }

    /// As it is, but what is written goes through what `wrap` makes of each file.
    #[cfg(test)]
    pub(in crate::usage) fn through(
        mut self,
        wrap: impl Fn(File) -> Box<dyn AppendTo> + Send + Sync + 'static,
    ) -> Self {
        self.wrap = Arc::new(wrap);
        self
    }

    /// The numbers of the journals that are there, the lowest first; not of those that were set aside.
    ///
    /// # Errors
    /// [`JournalError::Io`] or [`JournalError::Foreign`].
    pub fn list(&self) -> Result<Vec<JournalNumber>, JournalError> {
        let mut numbers = Vec::new();
        for name in self.names()? {
            // What is unfinished is made at this moment by the recorder.
            let unfinished = name.strip_suffix(UNFINISHED).is_some_and(is_ours);
            match number_of(&name) {
                Some(number) => numbers.push(number),
                None if unfinished || name == roll::NAME || aside_of(&name).is_some() => {}
                None => return Err(JournalError::Foreign { name }),
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The numbers of the journals that were set aside, in order.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn aside(&self) -> Result<Vec<JournalNumber>, JournalError> {
        let mut numbers: Vec<_> = self.names()?.iter().filter_map(|name| aside_of(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The name of a journal's file once it is set aside.
    #[must_use]
    pub fn name_aside(number: JournalNumber) -> String {
        format!("{}{ASIDE}", Journals::file_name(number))
    }

    /// The roll of the journals, in the order of their making; empty if there is none, as before the first is made.
    ///
    /// # Errors
    /// [`JournalError::Io`], or [`JournalError::DamagedRoll`] if it is not as it was written.
    pub fn roll(&self) -> Result<Vec<Listed>, JournalError> {
        let path = self.path.join(roll::NAME);
        let failed = JournalError::io("read the roll of");
        if !is_there(&path).map_err(&failed)? {
            return Ok(Vec::new());
        }
        let bytes = read_bounded(&path, roll::MAX_BYTES).map_err(&failed)?;
        bytes.and_then(|bytes| roll::decode(&bytes)).ok_or(JournalError::DamagedRoll)
    }

    /// Writes the roll anew. When this returns it survives loss of power.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn put_roll(&self, listed: &[Listed]) -> Result<(), JournalError> {
        let path = self.path.join(roll::NAME);
        let written = write_replacing(&path, &roll::encode(listed), MODE);
        written.map_err(JournalError::io("write the roll of"))
    }

    /// What the journals say of themselves, and those whose headers are not as they were written; the lowest number
    /// first.
    ///
    /// # Errors
    /// As [`Journals::list`] and [`Journals::read`], but for such a header.
    pub fn headers(&self) -> Result<(Vec<Header>, Vec<Headless>), JournalError> {
        let (mut headers, mut headless) = (Vec::new(), Vec::new());
        for number in self.list()? {
            match self.read(number) {
                Ok(journal) => headers.push(*journal.header()),
                Err(JournalError::Damaged { .. }) => {
                    let window =
                        JournalReader::window_behind_header(&self.path_of(number), number)?;
                    headless.push(Headless { number, window });
                }
                Err(error) => return Err(error),
            }
        }
        Ok((headers, headless))
    }

    /// Gives a headless journal another name, durably: it is kept to be looked at, and is no journal any more.
    /// What is missing with it MUST be on record before.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn set_aside(&self, number: JournalNumber) -> Result<(), JournalError> {
        let path = self.path_of(number);
        let aside = self.path.join(Journals::name_aside(number));
        let renamed = fs::rename(path, aside).and_then(|()| sync_dir(&self.path));
        renamed.map_err(JournalError::io("set aside"))
    }

    /// Makes a journal. When this returns, the empty journal survives loss of power.
    ///
    /// # Errors
    /// [`JournalError::Io`]; with `AlreadyExists` if there is one of that number, which is not touched.
    pub fn create(&self, header: &Header) -> Result<JournalWriter, JournalError> {
        let path = self.path_of(header.number);
        let open = || {
            write_new(&path, &header.encode(), MODE)?;
            OpenOptions::new().append(true).open(&path)
        };
        let file = open().map_err(JournalError::io("make"))?;
        Ok(JournalWriter::new(header.number, (self.wrap)(file), Arc::clone(&self.cover)))
    }

    /// Reads a journal from the disk. What is read survives loss of power.
    ///
    /// # Errors
    /// [`JournalError`] if there is no such journal or its header is not as it was written.
    pub fn read(&self, number: JournalNumber) -> Result<JournalReader, JournalError> {
        JournalReader::open(&self.path_of(number), number, Arc::clone(&self.cover))
    }

    /// Reads all journals but the headless ones, the lowest number first, and hands each frame to
    /// `each`. Damage does not end it: what is behind is read, and the place is in the answer, for the caller to
    /// judge.
    ///
    /// # Errors
    /// [`JournalError`] if the file system fails, a journal is of a newer version, or a frame cannot be unsealed.
    pub fn read_all(
        &self,
        mut each: impl FnMut(&Header, Frame),
    ) -> Result<Vec<Found>, JournalError> {
        let mut all: Vec<Found> = Vec::new();
        for number in self.list()? {
            let mut reader = match self.read(number) {
                Err(JournalError::Damaged { .. }) => continue,
                read => read?,
            };
            let found = reader.read_rest(&mut each)?;
            if found.frames > 0 {
                all.iter_mut().for_each(Found::is_followed);
            }
            all.push(found);
        }
        Ok(all)
    }

    /// Puts an end to a journal that has none, as [`Journals::read_all`] found it, and cuts off what was
    /// being appended. Done to each before the first frame of a new journal, so that from then on a
    /// journal without an end is known to be damaged.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn put_end(&self, found: &Found, wall: Time) -> Result<(), JournalError> {
        if !matches!(found.ending, Ending::Unfinished { .. }) {
            return Ok(());
        }
        let file = OpenOptions::new().append(true).open(self.path_of(found.header.number));
        let file = file.map_err(JournalError::io("open"))?;
        file.set_len(found.whole).map_err(JournalError::io("shorten"))?;
        let window = found.window.unwrap_or(wall);
        let end = FrameHead {
            payload_bytes: 0,
            kind: Kind::Recovered,
            number: found.header.number,
            sequence: found.next,
            wall,
            window,
        };
        let mut bytes = Vec::new();
        end.encode(&[], &mut bytes);
        let mut file = (self.wrap)(file);
        file.append(&bytes).and_then(|()| file.sync()).map_err(JournalError::io("end"))
    }

    /// Removes journals, durably. One that is not there is fine.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn remove(&self, numbers: &[JournalNumber]) -> Result<(), JournalError> {
        for number in numbers {
            match fs::remove_file(self.path_of(*number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(JournalError::io("remove")(error));
                }
                _ => {}
            }
        }
        sync_dir(&self.path).map_err(JournalError::io("sync the directory of"))
    }

    fn path_of(&self, number: JournalNumber) -> PathBuf {
        self.path.join(Journals::file_name(number))
    }

    fn names(&self) -> Result<Vec<String>, JournalError> {
        let failed = JournalError::io("list");
        let entries = fs::read_dir(&self.path).map_err(&failed)?;
        let name = |entry: io::Result<fs::DirEntry>| {
            Ok(entry.map_err(&failed)?.file_name().to_string_lossy().into_owned())
        };
        entries.map(name).collect()
    }
}

/// Whether what is made under this name is a journal or the roll.
fn is_ours(name: &str) -> bool {
    name == roll::NAME || number_of(name).is_some()
}

/// The number in the name of a journal that was set aside.
fn aside_of(name: &str) -> Option<JournalNumber> {
    name.strip_suffix(ASIDE).and_then(number_of)
}

/// The number in a journal's name.
fn number_of(name: &str) -> Option<JournalNumber> {
    let digits = name.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    JournalNumber::new(plain.then(|| digits.parse().ok())??)
}
