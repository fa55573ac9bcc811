//! Tests of key files.

use super::*;
use crate::random::SeededRandom;

/// Puts a key drawn from `seed` into `dir`.
pub(in crate::vault) fn write_key(dir: &Path, role: Role, version: u16, seed: u64) {
    let name = KeyName { role, version };
    let key = SecretKey::random(&SeededRandom::new(seed));
    write_file(dir, &name.file_name(), render(name, &key).as_bytes());
}

fn write_file(dir: &Path, file: &str, bytes: &[u8]) {
    durable_file::write_new(&dir.join(file), bytes, MODE).unwrap();
}

const PEPPER: KeyName = KeyName { role: Role::Pepper, version: 1 };

#[test]
fn the_line_is_role_version_key_and_checksum() {
    let key = SecretKey::filled_by(|bytes| {
        bytes[31] = 62;
        Some(())
    });
    let line = render(PEPPER, &key.unwrap());
    let digits = "0".repeat(41) + "10";
    let checked = format!("keyledger-pepper 1 {digits}");
    let crc = base62::encode(&crc32fast::hash(checked.as_bytes()).to_be_bytes());
    assert_eq!(*line, format!("{checked} {crc}\n"));
}

#[test]
fn the_longest_line_fits_the_bound_exactly() {
    let name = KeyName { role: Role::Signing, version: u16::MAX };
    let line = render(name, &SecretKey::random(&SeededRandom::new(1)));
    assert_eq!(line.len(), MAX_FILE_BYTES);
    assert!(parse(line.as_bytes()).is_some());
}

#[test]
fn every_altered_or_missing_byte_is_refused() {
    let line = render(PEPPER, &SecretKey::random(&SeededRandom::new(1)));
    for at in 0..line.len() {
        assert!(parse(&line.as_bytes()[..at]).is_none(), "cut at {at}");
        for flip in [0x01, 0x20, 0x80] {
            let mut altered = line.as_bytes().to_vec();
            altered[at] ^= flip;
            assert!(parse(&altered).is_none(), "byte {at} ^ {flip}");
        }
    }
    assert!(parse(format!("{}\n", *line).as_bytes()).is_none());
}

#[test]
fn a_file_that_is_too_short_or_too_long_is_damaged() {
    let line = render(PEPPER, &SecretKey::random(&SeededRandom::new(1)));
    for bytes in [&line.as_bytes()[..40], b"", &[b'x'; 5000], &line.repeat(2).into_bytes()] {
        let dir = tempfile::tempdir().unwrap();
        write_file(dir.path(), "pepper-1.key", bytes);
        let refusal = read_all(dir.path(), Readers::Owner, Role::Pepper).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "pepper-1.key (pepper version 1) is truncated or altered: restore it from its backup"
        );
    }
}

#[test]
fn a_file_of_another_role_or_version_is_named_as_mixed_up() {
    let kek =
        render(KeyName { role: Role::Kek, version: 1 }, &SecretKey::random(&SeededRandom::new(1)));
    let second = render(
        KeyName { role: Role::Pepper, version: 2 },
        &SecretKey::random(&SeededRandom::new(1)),
    );
    for (line, held) in [(kek, "key-encryption key version 1"), (second, "pepper version 2")] {
        let dir = tempfile::tempdir().unwrap();
        write_file(dir.path(), "pepper-1.key", line.as_bytes());
        assert_eq!(
            read_all(dir.path(), Readers::Owner, Role::Pepper).unwrap_err().to_string(),
            format!(
                "pepper-1.key should hold pepper version 1 but holds {held}: files were mixed up"
            )
        );
    }
}

#[test]
fn a_file_others_may_read_is_refused_until_chmod() {
    let dir = tempfile::tempdir().unwrap();
    write_key(dir.path(), Role::Kek, 3, 1);
    let path = dir.path().join("kek-3.key");
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            read_all(dir.path(), Readers::Owner, Role::Kek).unwrap_err().to_string(),
            "kek-3.key (key-encryption key version 3) is open to other users: chmod 600 it"
        );
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(read_all(dir.path(), Readers::Owner, Role::Kek).unwrap().contains_key(&3));
    }
}

#[test]
fn a_mounted_file_may_be_read_by_its_group_and_reached_through_links() {
    let dir = tempfile::tempdir().unwrap();
    let (mounted, version) = (dir.path().join("mounted"), dir.path().join("mounted/..2026"));
    fs::create_dir_all(&version).unwrap();
    write_key(&version, Role::Kek, 3, 1);
    std::os::unix::fs::symlink("..2026", mounted.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/kek-3.key", mounted.join("kek-3.key")).unwrap();
    let path = version.join("kek-3.key");
    for mode in [0o640, 0o440, 0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(read_all(&mounted, Readers::Group, Role::Kek).unwrap().contains_key(&3));
    }
    for mode in [0o644, 0o660, 0o650, 0o641] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refusal = read_all(&mounted, Readers::Group, Role::Kek).unwrap_err();
        assert!(matches!(refusal, VaultError::LooseKeyFile { key } if key.version == 3));
    }
}

#[test]
fn a_name_that_is_no_version_is_refused_and_foreign_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    write_key(dir.path(), Role::Pepper, 1, 1);
    for foreign in ["pepper-1.key.tmp", "pepper-2.key.bak", "README", "kek-x.key"] {
        write_file(dir.path(), foreign, b"");
    }
    assert_eq!(read_all(dir.path(), Readers::Owner, Role::Pepper).unwrap().len(), 1);
    for misnamed in ["01", "0", "+1", "65536", "", "old"] {
        let file = format!("pepper-{misnamed}.key");
        write_file(dir.path(), &file, b"");
        let refusal = read_all(dir.path(), Readers::Owner, Role::Pepper).unwrap_err();
        assert!(matches!(&refusal, VaultError::MisnamedKeyFile { file: named } if *named == file));
        fs::remove_file(dir.path().join(&file)).unwrap();
    }
}

#[test]
fn no_refusal_and_no_debug_shows_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::random(&SeededRandom::new(1));
    let digits = base62::encode(key.bytes());
    let line = render(KeyName { role: Role::Kek, version: 1 }, &key);
    write_file(dir.path(), "pepper-1.key", line.as_bytes());
    let refusal = read_all(dir.path(), Readers::Owner, Role::Pepper).unwrap_err();
    for shown in [refusal.to_string(), format!("{refusal:?}"), format!("{key:?}")] {
        assert!(!shown.contains(&digits[..8]), "{shown}");
        assert!(!shown.contains(&format!("{}, {}", key.bytes()[0], key.bytes()[1])), "{shown}");
    }
}
