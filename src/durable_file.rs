//! Small files that survive power loss: written aside, synced, renamed, their directory synced.
//!
//! A file made here is whole or absent, never partial. The caller MUST be the only writer of the
//! directory, by a lock of its own.

mod aside;

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags};

pub use aside::Aside;

/// What is added to a name while its file is being written.
const UNFINISHED: &str = ".tmp";

/// What the operating system said, copied out of an [`io::Error`], which cannot be copied itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    kind: io::ErrorKind,
    code: Option<i32>,
}

impl From<&io::Error> for Cause {
    fn from(error: &io::Error) -> Self {
        Cause { kind: error.kind(), code: error.raw_os_error() }
    }
}

impl Cause {
    /// Whether there was no room: on the disk, or in what the process may use of it.
    #[must_use]
    pub fn is_no_room(&self) -> bool {
        matches!(self.kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            // A failing disk has no kind of its own, only a code.
            Some(code) => io::Error::from_raw_os_error(code).fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

/// Whether there is something at `path`, a dangling link included.
///
/// # Errors
/// If the file system cannot tell: what cannot be seen MUST NOT be taken for absent.
pub fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the file `path` hold `bytes`, readable as `mode` says (less the process's umask). When
/// this returns, the file survives power loss. What an earlier call left unfinished is replaced.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if `path` exists: it is not touched. Otherwise whatever the
/// file system answers; `path` may then exist, whole, but be lost again with the power.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if is_there(path)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    write_replacing(path, bytes, mode)
}

/// As [`write_new`], but what is at `path` is replaced: whatever happens, it is the old file or the new
/// one, whole.
///
/// # Errors
/// Whatever the file system answers; `path` may then be either.
pub fn write_replacing(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = unfinished_name(path);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_parent(path)
}

/// Opens the regular file `path` to read. What is none, such as a FIFO that nobody writes to, is not waited
/// for.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if it is no regular file; or it cannot be opened.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    regular(OpenOptions::new().read(true).custom_flags(flags).open(path)?)
}

/// The file, if it is a regular one.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if it is not.
pub fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Overwrites the regular file `path` with zeroes, durably, before it is removed. A link is not followed: what is behind it
/// is another's.
///
/// # Errors
/// Whatever the file system answers.
pub fn overwrite(path: &Path) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = regular(OpenOptions::new().write(true).custom_flags(flags).open(path)?)?;
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_data()
}

/// Opens the file `path` to lock it (`flock`); makes it if it is not there.
///
/// # Errors
/// If it cannot be opened to write at once, as a FIFO cannot.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// Reads all of the regular file `path`; none if it is longer than `most` bytes.
///
/// # Errors
/// As [`open_regular`]; or it cannot be read.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((read as u64 <= most).then_some(bytes))
}

/// Makes the names in the directory `path` durable.
///
/// # Errors
/// If the directory cannot be opened or synced.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the name `path` durable: [`sync_dir`] of the directory it stands in.
///
/// # Errors
/// As [`sync_dir`].
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(parent_of(path))
}

/// Makes the directory `path`, and each one above it that is missing, for their owner alone (0700),
/// and their names durable. A directory that is there already is left as it is.
///
/// # Errors
/// If one cannot be made or synced.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let parent = parent_of(path);
    if !parent.try_exists()? {
        create_private_dir(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_dir(parent),
    }
}

/// Makes later reads of `file` come from the disk: what the cache holds is written out, synced and
/// dropped. After a failed sync the cache may hold, as clean, what the disk does not.
///
/// # Errors
/// If the sync or the advice fails.
pub fn settle(file: &File) -> io::Result<()> {
    file.sync_all()?;
    forget_cached(file)
}

/// Makes later reads of `file` come from the disk, as far as it was written out already.
///
/// # Errors
/// If the advice fails.
pub fn forget_cached(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

/// How many bytes this process may still write to the disk that `path` is on.
///
/// # Errors
/// If the file system cannot tell.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The directory `path` stands in.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The name under which the file or directory `path` is made until it is whole.
#[must_use]
pub fn unfinished_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_file_has_its_bytes_and_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_new(&path, b"one", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_existing_file_or_dangling_link_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_new(&path, b"one", 0o600).unwrap();
        let again = write_new(&path, b"two", 0o600).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");

        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let through = write_new(&link, b"two", 0o600).unwrap_err();
        assert_eq!(through.kind(), io::ErrorKind::AlreadyExists);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_file_is_overwritten_and_one_behind_a_link_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a"), dir.path().join("link"));
        let bytes = vec![7; 10_000];
        fs::write(&path, &bytes).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(overwrite(&link).is_err());
        assert_eq!(fs::read(&path).unwrap(), bytes);
        overwrite(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), vec![0; 10_000]);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_replacing(&path, b"a longer text", 0o600).unwrap();
        write_replacing(&path, b"one", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_taken_for_absent() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"").unwrap();
        let below_a_file = dir.path().join("file/a");
        assert_eq!(is_there(&below_a_file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        let refused = write_new(&below_a_file, b"one", 0o600).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotADirectory);
        assert!(!is_there(&dir.path().join("none")).unwrap());
    }

    #[test]
    fn a_cause_without_a_kind_still_says_what_failed() {
        const EIO: i32 = 5;
        let cause = Cause::from(&io::Error::from_raw_os_error(EIO));
        assert_eq!(cause.to_string(), "Input/output error (os error 5)");
        let cause = Cause::from(&io::Error::from(io::ErrorKind::UnexpectedEof));
        assert_eq!(cause.to_string(), "unexpected end of file");
    }

    #[test]
    fn what_an_interrupted_write_left_is_replaced_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(unfinished_name(&path), b"half of a much longer text").unwrap();
        write_new(&path, b"whole", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!unfinished_name(&path).exists());
    }

    #[test]
    fn a_private_directory_is_for_its_owner_and_making_it_again_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("deep/keys");
        create_private_dir(&keys).unwrap();
        for made in [keys.as_path(), keys.parent().unwrap()] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::write(keys.join("a"), b"").unwrap();
        create_private_dir(&keys).unwrap();
        assert!(keys.join("a").exists());
    }

    #[test]
    fn a_disk_has_a_bound_and_what_is_on_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let free = free_bytes(dir.path()).unwrap();
        assert!(free > 0 && free < u64::MAX, "{free}");
        assert!(free_bytes(&dir.path().join("none")).is_err());
        let full = Cause::from(&io::Error::from(io::ErrorKind::StorageFull));
        assert!(full.is_no_room());
        assert!(!Cause::from(&io::Error::from(io::ErrorKind::NotFound)).is_no_room());
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once_and_one_that_is_too_long_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, file) = (dir.path().join("fifo"), dir.path().join("file"));
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        for other in [&fifo, dir.path(), Path::new("/dev/zero")] {
            let refused = open_regular(other).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{}", other.display());
        }
        assert!(open_lock(&fifo).is_err());
        fs::write(&file, b"four").unwrap();
        assert_eq!(read_bounded(&file, 4).unwrap().as_deref(), Some(&b"four"[..]));
        assert_eq!(read_bounded(&file, 3).unwrap(), None);
    }

    #[test]
    fn settling_keeps_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"kept").unwrap();
        settle(&File::open(&path).unwrap()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }
}
