//! Key files: one key each, in a form that shows whether it is whole and in its place.
//!
//! `<keys-dir>/pepper-<n>.key`, `kek-<n>.key` and `signing-<n>.key` hold one line of ASCII, mode 0600:
//!
//! ```text
//! keyledger-pepper 1 <43 digits> <6 digits>
//! keyledger-kek 1 <43 digits> <6 digits>
//! keyledger-signing 1 <43 digits> <6 digits>
//! ```
//!
//! The words are the role, the version in decimal, the 32 bytes of the key in base62, and the
//! CRC-32 (ISO-HDLC, as in zip) of all that stands before the last space, big-endian, in base62. Where a key does
//! not come from a file, what it comes as is that line.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::domain::base62;
use crate::durable_file;
use crate::random::Random;
use crate::vault::error::VaultError;
use crate::vault::key_name::{KeyName, Role};
use crate::vault::secret_key::{KEY_BYTES, SecretKey};

/// Longest line: 17 for the role, 5 for the version, 43 and 6 digits, 3 spaces, the line's end.
const MAX_FILE_BYTES: usize = 75;

/// Owner reads and writes.
const MODE: u32 = 0o600;

/// Who may read a key file besides its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Nobody.
    Owner,
    /// Its group: of secrets that are mounted, often the only way in.
    Group,
}

impl Readers {
    /// The bits of a mode that no file may have.
    fn refused_bits(self) -> u32 {
        match self {
            Readers::Owner => 0o077,
            Readers::Group => 0o037,
        }
    }
}

/// Makes the first key of `role` in `dir` if there is none of any version; whether it did. The caller MUST
/// know that nothing that needs it has been written under an earlier one.
pub(super) fn create_first(
    dir: &Path,
    role: Role,
    random: &dyn Random,
) -> Result<bool, VaultError> {
    if !versions(dir, role)?.is_empty() {
        return Ok(false);
    }
    create(dir, KeyName { role, version: 1 }, random)?;
    Ok(true)
}

/// Makes the key `name` in `dir`, where it MUST NOT be yet.
pub(super) fn create(dir: &Path, name: KeyName, random: &dyn Random) -> Result<(), VaultError> {
    let path = dir.join(name.file_name());
    let line = render(name, &SecretKey::random(random));
    durable_file::write_new(&path, line.as_bytes(), MODE).map_err(VaultError::io("write", &path))
}

/// All keys of `role` in `dir`, by version: at least one. Their names are durable when this returns,
/// so that nothing is written under a key which the next power loss could take away.
pub(super) fn read_all(
    dir: &Path,
    readers: Readers,
    role: Role,
) -> Result<BTreeMap<u16, SecretKey>, VaultError> {
    let keys = versions(dir, role)?
        .into_iter()
        .map(|version| Ok((version, read(dir, readers, KeyName { role, version })?)))
        .collect::<Result<BTreeMap<_, _>, VaultError>>()?;
    if keys.is_empty() {
        return Err(VaultError::missing(KeyName { role, version: 1 }));
    }
    match durable_file::sync_dir(dir) {
        // Nothing of it is this program's to lose.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
        synced => synced.map_err(VaultError::io("sync", dir))?,
    }
    Ok(keys)
}

/// Makes the directory of key files if it is not there.
pub(super) fn create_dir(dir: &Path) -> Result<(), VaultError> {
    if dir.is_dir() {
        return Ok(());
    }
    durable_file::create_private_dir(dir).map_err(VaultError::io("make", dir))
}

/// Overwrites the key file `name` in `dir` with zeros and removes it, durably; what a disk keeps of old blocks is out
/// of reach. First it loses its name, so that an interrupted run leaves no key file that is not whole; one more ends
/// it. False if it is there and this process may not do that; true too if there is none.
pub(super) fn destroy(dir: &Path, name: KeyName) -> Result<bool, VaultError> {
    let path = dir.join(name.file_name());
    let nameless = durable_file::unfinished_name(&path);
    let destroyed = unless_missing(fs::rename(&path, &nameless))
        .and_then(|()| durable_file::sync_dir(dir))
        .and_then(|()| unless_missing(zero(&nameless)))
        .and_then(|()| unless_missing(fs::remove_file(&nameless)));
    if let Err(error) = destroyed {
        let path = path.display();
        tracing::warn!(%path, %error, "a key file that is not needed any more cannot be removed");
        return Ok(false);
    }
    durable_file::sync_dir(dir).map_err(VaultError::io("sync", dir))?;
    Ok(true)
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn zero(path: &Path) -> io::Result<()> {
    let mut file = durable_file::regular(fs::OpenOptions::new().write(true).open(path)?)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(MAX_FILE_BYTES);
    file.write_all(&[0; MAX_FILE_BYTES][..length])?;
    file.sync_all()
}

/// Copies the key files of `role` to the directory `to`, durably.
pub(super) fn copy_all(from: &Path, to: &Path, role: Role) -> Result<(), VaultError> {
    for version in versions(from, role)? {
        let name = KeyName { role, version };
        let path = from.join(name.file_name());
        let bytes = fs::read(&path).map(Zeroizing::new).map_err(VaultError::io("read", &path))?;
        let path = to.join(name.file_name());
        match durable_file::write_new(&path, &bytes, MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = fs::read(&path).map(Zeroizing::new);
                if *there.map_err(VaultError::io("read", &path))? != *bytes {
                    return Err(VaultError::io("replace", &path)(error));
                }
            }
            written => written.map_err(VaultError::io("write", &path))?,
        }
    }
    Ok(())
}

/// The versions of `role` that have a file in `dir`; none if there is no such directory.
fn versions(dir: &Path, role: Role) -> Result<Vec<u16>, VaultError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(VaultError::io("list", dir))?,
    };
    let mut versions = Vec::new();
    for entry in entries {
        let file = entry.map_err(VaultError::io("list", dir))?.file_name();
        let file = file.to_string_lossy();
        let version = file.strip_prefix(role.prefix()).and_then(|rest| rest.strip_suffix(".key"));
        if let Some(version) = version {
            let misnamed = || VaultError::MisnamedKeyFile { file: file.to_string() };
            versions.push(parse_version(version).ok_or_else(misnamed)?);
        }
    }
    Ok(versions)
}

/// The one way to write a version: decimal, no sign, no leading zero, not 0.
pub(super) fn parse_version(text: &str) -> Option<u16> {
    let version = text.parse::<u16>().ok().filter(|version| *version != 0)?;
    (version.to_string() == text).then_some(version)
}

/// The key `name` from its file in `dir`.
pub(super) fn read(dir: &Path, readers: Readers, name: KeyName) -> Result<SecretKey, VaultError> {
    let path = dir.join(name.file_name());
    let mut file = match durable_file::open_regular(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(VaultError::missing(name));
        }
        opened => opened.map_err(VaultError::io("open", &path))?,
    };
    let about = file.metadata().map_err(VaultError::io("read", &path))?;
    if about.permissions().mode() & readers.refused_bits() != 0 {
        return Err(VaultError::LooseKeyFile { key: name });
    }
    // One more than a key file can have, so that a longer file is seen to be one.
    let mut buffer = Zeroizing::new([0_u8; MAX_FILE_BYTES + 1]);
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]).map_err(VaultError::io("read", &path))? {
            0 => break,
            read => length += read,
        }
    }
    let (held, key) = parse(&buffer[..length]).ok_or(VaultError::DamagedKeyFile { key: name })?;
    if held == name { Ok(key) } else { Err(VaultError::MixedUpKeyFile { key: name, held }) }
}

/// The line that holds `key`.
pub(super) fn render(name: KeyName, key: &SecretKey) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES));
    line.push_str(&format!("{} {} ", name.role.label(), name.version));
    base62::append(key.bytes(), &mut line);
    let crc = crc32fast::hash(line.as_bytes()).to_be_bytes();
    line.push(' ');
    base62::append(&crc, &mut line);
    line.push('\n');
    line
}

/// The key that a whole line holds, and its name; none if the line is not whole.
fn parse(line: &[u8]) -> Option<(KeyName, SecretKey)> {
    parse_text(line.strip_suffix(b"\n")?)
}

/// As [`parse`], of a line without its end.
pub(super) fn parse_text(line: &[u8]) -> Option<(KeyName, SecretKey)> {
    let line = str::from_utf8(line).ok()?;
    let (checked, crc) = line.rsplit_once(' ')?;
    if base62::decode(crc.as_bytes())? != crc32fast::hash(checked.as_bytes()).to_be_bytes() {
        return None;
    }
    let mut words = checked.split(' ');
    let label = words.next()?;
    let role = Role::ALL.into_iter().find(|role| role.label() == label)?;
    let version = parse_version(words.next()?)?;
    let digits = words.next()?.as_bytes();
    let key = SecretKey::filled_by(|bytes| base62::decode_into::<KEY_BYTES>(digits, bytes))?;
    words.next().is_none().then_some((KeyName { role, version }, key))
}

#[cfg(test)]
#[path = "key_file_tests.rs"]
pub(super) mod tests;
