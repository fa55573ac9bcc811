//! Secrets on their way through the command line: read from standard input or a file, never from an
//! argument; written once, to standard output or a new file of the owner's.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal as _, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::{Zeroize as _, Zeroizing};

use super::failure::Failure;

/// More than any key or credential is long; what is longer is not one.
const MOST_BYTES: usize = 4_096;

/// A key or a credential. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SecretText(String);

impl SecretText {
    pub(super) fn new(text: String) -> Self {
        SecretText(text)
    }

    /// The text itself, to be sent or shown.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Where a command reads a secret.
#[derive(Debug, Default, clap::Args)]
pub(super) struct SecretInput {
    /// Read the API key from this file instead of standard input. One newline at its end is dropped
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretInput {
    /// Reads the secret from the file, from what is piped in, or from the terminal, where it asks for it
    /// and shows nothing of it.
    pub(super) fn read(&self) -> Result<SecretText, Failure> {
        if let Some(path) = &self.secret_file {
            return read_file(path);
        }
        let stdin = io::stdin();
        let read = if stdin.is_terminal() {
            let _ = write!(io::stderr(), "API key: ");
            let echo = EchoOff::new(&stdin);
            let read = from_reader(FirstLine::of(stdin.lock()));
            drop(echo);
            let _ = writeln!(io::stderr());
            read
        } else {
            from_reader(stdin.lock())
        };
        read.map_err(|why| Failure::Local(format!("standard input {why}")))
    }
}

/// Reads a secret from the file.
pub(super) fn read_file(path: &Path) -> Result<SecretText, Failure> {
    let read =
        File::open(path).map_err(|error| format!("cannot be read: {error}")).and_then(from_reader);
    read.map_err(|why| Failure::Local(format!("{} {why}", path.display())))
}

/// Reads all there is, bounded, and drops one newline at the end and nothing else: keyledger never trims.
fn from_reader(reader: impl Read) -> Result<SecretText, String> {
    // The room is there from the start, so no copy is left behind by growth.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 1));
    let most = u64::try_from(MOST_BYTES).map_or(u64::MAX, |most| most + 1);
    reader
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > MOST_BYTES {
        return Err(format!("holds more than {MOST_BYTES} bytes: it is no key"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "does not hold UTF-8 text".to_owned())?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(SecretText(text.to_owned()))
}

/// A reader that ends after the first newline: on a terminal that is all there is to wait for.
struct FirstLine<R> {
    inner: R,
    ended: bool,
}

impl<R: BufRead> FirstLine<R> {
    fn of(inner: R) -> Self {
        FirstLine { inner, ended: false }
    }
}

impl<R: BufRead> Read for FirstLine<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let ready = self.inner.fill_buf()?;
        let line = ready.iter().position(|byte| *byte == b'\n').map_or(ready.len(), |end| end + 1);
        let count = line.min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.ended = buffer[..count].ends_with(b"\n");
        self.inner.consume(count);
        Ok(count)
    }
}

/// While it lives the terminal does not show what is typed.
struct EchoOff<'a> {
    terminal: &'a io::Stdin,
    before: Termios,
}

impl<'a> EchoOff<'a> {
    fn new(terminal: &'a io::Stdin) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent).ok()?;
        Some(EchoOff { terminal, before })
    }
}

impl Drop for EchoOff<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// A file of the owner's alone that is there before the secret is, so that no secret is made for a place
/// that cannot take it. Removed again unless a secret is written to it.
#[derive(Debug)]
pub(super) struct SecretFile {
    path: PathBuf,
    file: File,
    written: bool,
}

impl SecretFile {
    /// Makes the file, which must not be there, with mode 0600.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = made.map_err(|error| {
            Failure::Local(format!("cannot create {}: {error}", path.display()))
        })?;
        Ok(SecretFile { path: path.to_owned(), file, written: false })
    }

    /// Writes the secret and a newline, and syncs it.
    pub(super) fn write(&mut self, secret: &SecretText) -> Result<(), Failure> {
        let file = &mut self.file;
        let wrote = file.write_all(secret.reveal().as_bytes()).and_then(|()| file.write_all(b"\n"));
        wrote.and_then(|()| file.sync_all()).map_err(|error| {
            Failure::Local(format!("cannot write {}: {error}", self.path.display()))
        })?;
        self.written = true;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if !self.written {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{FirstLine, MOST_BYTES, SecretFile, SecretText, from_reader, read_file};

    fn read(bytes: &[u8]) -> Result<String, String> {
        from_reader(bytes).map(|secret| secret.reveal().to_owned())
    }

    #[test]
    fn one_newline_at_the_end_is_dropped_and_nothing_else() {
        assert_eq!(read(b"kl_live_a"), Ok("kl_live_a".to_owned()));
        assert_eq!(read(b"kl_live_a\n"), Ok("kl_live_a".to_owned()));
        assert_eq!(read(b"kl_live_a\r\n"), Ok("kl_live_a".to_owned()));
        assert_eq!(read(b" kl_live_a \n\n"), Ok(" kl_live_a \n".to_owned()));
        assert_eq!(read(b"kl_live_a\r"), Ok("kl_live_a\r".to_owned()));
        assert_eq!(read(b""), Ok(String::new()));
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused_without_being_shown() {
        let long = "x".repeat(MOST_BYTES);
        assert_eq!(read(long.as_bytes()), Ok(long.clone()));
        assert!(read(format!("{long}\n").as_bytes()).is_err_and(|why| !why.contains("xx")));
        assert!(read(b"kl_live_\xff").is_err_and(|why| !why.contains("kl_live")));
    }

    #[test]
    fn a_terminal_is_read_to_the_end_of_the_line() {
        let mut terminal = io::BufReader::with_capacity(3, &b"first\nsecond\n"[..]);
        for expected in ["first", "second", ""] {
            let line = from_reader(FirstLine::of(&mut terminal));
            assert_eq!(line.map(|secret| secret.reveal().to_owned()), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        assert_eq!(format!("{:?}", SecretText::new("kl_live_a".to_owned())), "[redacted]");
    }

    #[test]
    fn a_secret_file_is_the_owners_alone_and_never_replaces_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        let mut file = SecretFile::create(&path).expect("is made");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        assert!(SecretFile::create(&path).is_err());
        file.write(&SecretText::new("kl_live_a".to_owned())).expect("is written");
        drop(file);
        assert_eq!(fs::read_to_string(&path).expect("is kept"), "kl_live_a\n");
        assert_eq!(read_file(&path).expect("reads").reveal(), "kl_live_a");
    }

    #[test]
    fn a_secret_file_that_got_no_secret_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        drop(SecretFile::create(&path).expect("is made"));
        assert!(!path.exists());
    }
}
