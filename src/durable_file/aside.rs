//! A file that is too long to be written at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{sync_parent, unfinished_name};

/// A file that is written piece by piece and gets its name once it is whole and synced. Dropped before, it
/// leaves nothing behind, and what had its name is as it was.
#[derive(Debug)]
pub struct Aside {
    file: File,
    path: PathBuf,
    unfinished: Option<PathBuf>,
}

impl Aside {
    /// Begins the file that will be `path`, readable as `mode` says (less the process's umask). What an
    /// earlier one left unfinished is replaced.
    ///
    /// # Errors
    /// Whatever the file system answers.
    pub fn begin(path: &Path, mode: u32) -> io::Result<Self> {
        let unfinished = unfinished_name(path);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode).open(&unfinished)?;
        Ok(Aside { file, path: path.to_owned(), unfinished: Some(unfinished) })
    }

    /// Gives the file its name. When this returns, it survives power loss, and what had that name is gone.
    ///
    /// # Errors
    /// Whatever the file system answers; `path` may then be either.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(unfinished) = &self.unfinished {
            fs::rename(unfinished, &self.path)?;
        }
        self.unfinished = None;
        sync_parent(&self.path)
    }
}

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            let _ = fs::remove_file(unfinished);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_written_in_pieces_has_its_name_when_it_is_whole_and_leaves_nothing_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"old").unwrap();
        fs::write(unfinished_name(&path), b"left by another").unwrap();
        let mut dropped = Aside::begin(&path, 0o600).unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let mut aside = Aside::begin(&path, 0o600).unwrap();
        aside.write_all(b"ne").unwrap();
        aside.write_all(b"w").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        aside.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
