//! The files that TLS is configured by: read whole, within bounds, the key only if it is kept from others.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::TlsError;
use crate::config::{ClientCertificates, TlsSettings};
use crate::durable_file;

/// Most bytes of a certificate with those that vouch for it: some dozens.
const MAX_CERTIFICATE_BYTES: u64 = 64 * 1024;

/// Most bytes of a private key: an RSA key of 16,384 bits takes 13 KB.
const MAX_KEY_BYTES: u64 = 32 * 1024;

/// Most bytes of the certificates that vouch for clients: some hundreds.
const MAX_CLIENT_CA_BYTES: u64 = 512 * 1024;

/// What only the owner of a key in the data directory may do: all that is allowed at all.
const OTHERS: u32 = 0o077;

/// As [`OTHERS`], of a key elsewhere: a mounted secret is often its group's to read.
const OTHERS_BUT_READING_GROUP: u32 = 0o037;

/// Tells one state of the files from another.
pub(super) type Digest = [u8; 32];

/// What the files hold.
pub(super) struct Files {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) client_ca: Option<Vec<u8>>,
}

impl Files {
    pub(super) fn read(settings: &TlsSettings, data_dir: &Path) -> Result<Self, TlsError> {
        let certificate = "tls.certificate";
        let certificate = read(certificate, &settings.certificate, MAX_CERTIFICATE_BYTES)?;
        let key = read_key(&settings.private_key, data_dir)?;
        let client_ca = match &settings.clients {
            ClientCertificates::Off => None,
            ClientCertificates::Optional(path) | ClientCertificates::Required(path) => {
                Some(read("tls.client_ca", path, MAX_CLIENT_CA_BYTES)?)
            }
        };
        Ok(Files { certificate, key, client_ca })
    }

    pub(super) fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for part in [&self.certificate, &*self.key, self.client_ca.as_ref().unwrap_or(&Vec::new())]
        {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

fn read(setting: &'static str, path: &Path, most: u64) -> Result<Vec<u8>, TlsError> {
    let read = durable_file::read_bounded(path, most);
    let read = read.map_err(|source| TlsError::Unreadable { setting, source })?;
    read.ok_or(TlsError::TooLarge { setting, most })
}

fn read_key(path: &Path, data_dir: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let setting = "tls.private_key";
    let unreadable = |source| TlsError::Unreadable { setting, source };
    let file = durable_file::open_regular(path).map_err(unreadable)?;
    let barred = if lies_in(path, data_dir) { OTHERS } else { OTHERS_BUT_READING_GROUP };
    if file.metadata().map_err(unreadable)?.mode() & barred != 0 {
        return Err(TlsError::LooseKey);
    }
    read_secret(file)
        .map_err(unreadable)?
        .ok_or(TlsError::TooLarge { setting, most: MAX_KEY_BYTES })
}

/// All of the file, in memory that is wiped and never moved; none if it is too long.
fn read_secret(mut file: File) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let most = usize::try_from(MAX_KEY_BYTES).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(vec![0; most + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..])? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    Ok((length <= most).then_some(bytes))
}

/// Whether a file lies below a directory, as far as that can be seen.
fn lies_in(path: &Path, dir: &Path) -> bool {
    match (path.canonicalize(), dir.canonicalize()) {
        (Ok(path), Ok(dir)) => path.starts_with(dir),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_read_only_if_it_is_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        fs::create_dir(&data_dir).unwrap();
        let (inside, outside) = (data_dir.join("key"), dir.path().join("key"));
        let readable = |path: &Path, mode| {
            fs::write(path, "secret").unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            match read_key(path, &data_dir) {
                Ok(read) => {
                    assert_eq!(*read, b"secret");
                    true
                }
                Err(TlsError::LooseKey) => false,
                Err(other) => panic!("{other}"),
            }
        };
        for (mode, where_inside, where_outside) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o640, false, true),
            (0o660, false, false),
            (0o604, false, false),
            (0o602, false, false),
            (0o644, false, false),
        ] {
            assert_eq!(readable(&inside, mode), where_inside, "{mode:o} inside");
            assert_eq!(readable(&outside, mode), where_outside, "{mode:o} outside");
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&inside, &link).unwrap();
        fs::set_permissions(&inside, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_key(&link, &data_dir), Err(TlsError::LooseKey)), "by another name");
    }

    #[test]
    fn a_key_that_is_too_long_or_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for (length, fits) in [(MAX_KEY_BYTES, true), (MAX_KEY_BYTES + 1, false)] {
            fs::write(&path, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let read = read_key(&path, dir.path());
            assert_eq!(read.is_ok(), fits);
            assert!(fits || matches!(read, Err(TlsError::TooLarge { .. })));
        }
        assert!(matches!(read_key(dir.path(), dir.path()), Err(TlsError::Unreadable { .. })));
    }
}
