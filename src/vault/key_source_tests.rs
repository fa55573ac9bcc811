//! Tests of keys that do not come from files.

use super::*;
use crate::config::VERSION_PLACE;
use crate::domain::ids::PepperVersion;
use crate::random::SeededRandom;
use crate::vault::{PepperRing, Vault};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tempfile::TempDir;

const SECOND: KeyName = KeyName { role: Role::Kek, version: 2 };

fn line(name: KeyName) -> Zeroizing<String> {
    key_file::render(name, &SecretKey::random(&SeededRandom::new(u64::from(name.version))))
}

/// A place where a script answers from a file for each version, as a key-management service would.
struct Service {
    dir: TempDir,
}

impl Service {
    /// Answers with what the lines of the script `body` do; `$1` is the version.
    fn saying(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("get");
        let text = format!("#!/bin/sh\ncd {}\n{body}\n", dir.path().display());
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        Service { dir }
    }

    /// Has the keys of `role` of these versions.
    fn holding(role: Role, versions: &[u16]) -> Self {
        let service = Service::saying("echo $1 >> asked; exec cat version-$1");
        for version in versions {
            service.put(KeyName { role, version: *version });
        }
        service
    }

    fn put(&self, name: KeyName) {
        let path = self.dir.path().join(format!("version-{}", name.version));
        fs::write(path, line(name).as_bytes()).unwrap();
    }

    fn words(&self) -> Vec<String> {
        vec![self.dir.path().join("get").display().to_string(), VERSION_PLACE.to_owned()]
    }

    fn sources(&self) -> KeySources {
        let source = || KeySource::Command(self.words());
        let settings = KeySettings { dir: None, pepper: source(), kek: source() };
        KeySources::new(&settings, self.dir.path())
    }

    /// Which versions were asked for.
    fn asked(&self) -> String {
        fs::read_to_string(self.dir.path().join("asked")).unwrap().replace('\n', " ")
    }

    fn refusal(&self) -> String {
        self.sources().get(SECOND).unwrap_err().to_string()
    }
}

#[test]
fn a_command_is_asked_for_what_is_needed_and_then_for_each_next_version() {
    let service = Service::holding(Role::Kek, &[3, 5, 6, 7, 9]);
    let found = service.sources().further(Role::Kek, [4], [3, 4, 5, 3]).unwrap();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [3, 5, 6, 7]);
    assert_eq!(service.asked(), "3 5 6 7 8 ");
}

#[test]
fn where_nothing_is_needed_the_first_version_must_be_there() {
    let service = Service::holding(Role::Pepper, &[]);
    let refusal = service.sources().further(Role::Pepper, [], []).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "pepper version 1 is not to be had from keys.pepper.command: it ended with exit code 1"
    );
    service.put(KeyName { role: Role::Pepper, version: 1 });
    assert_eq!(service.sources().further(Role::Pepper, [], []).unwrap().len(), 1);
}

#[test]
fn what_a_command_does_wrong_is_told_without_what_it_wrote() {
    let line = line(SECOND);
    let cases = [
        ("echo s3cret >&2; exit 3", "it ended with exit code 3"),
        ("kill -TERM $$", "it was ended by signal 15"),
        ("exit 0", "it wrote nothing"),
        ("echo s3cret", "what it holds is no whole line of a key file"),
        (&format!("echo '{}x'", line.trim_end()), "what it holds is no whole line of a key file"),
        ("head -c 257 /dev/zero | tr '\\0' s", "it wrote more than 256 bytes"),
        ("exec cat /dev/zero", "it wrote more than 256 bytes"),
    ];
    for (body, what) in cases {
        let said = Service::saying(body).refusal();
        let expected =
            format!("key-encryption key version 2 is not to be had from keys.kek.command: {what}");
        assert_eq!(said, expected);
    }
    let other = Service::holding(Role::Pepper, &[2]);
    assert!(other.refusal().ends_with("what it holds is pepper version 2"), "{}", other.refusal());
    let gone = Service::saying("");
    fs::remove_file(gone.dir.path().join("get")).unwrap();
    let said = gone.refusal();
    assert!(said.ends_with("it cannot be run: No such file or directory (os error 2)"), "{said}");
}

#[test]
fn only_a_version_that_a_command_says_it_has_not_is_passed_over() {
    for (body, missing) in [("exit 1", true), ("", true), ("echo s3cret", false)] {
        let found = Service::saying(body).sources().find(SECOND);
        assert_eq!(matches!(found, Ok(None)), missing, "{body}");
        assert_eq!(found.is_err(), !missing, "{body}");
    }
}

#[test]
fn a_command_that_does_not_end_is_killed_with_all_that_it_began() {
    // The first never ends, the second closes its output first, the third leaves a child that holds it.
    let bodies = ["sleep 1000", "exec >&-; sleep 1000", "sleep 1000 & echo $! > child"];
    for body in bodies {
        let service = Service::saying(&format!("echo $$ > group; {body}"));
        let timeout = Duration::from_millis(300);
        let outcome = key_command::output_of(&service.words(), 2, timeout);
        assert_eq!(outcome.unwrap_err(), SourceFault::TooSlow, "{body}");
    }
}

#[test]
fn a_command_inherits_none_of_the_services_own_variables() {
    // What cargo sets for tests shows that the rest is inherited.
    let service =
        Service::saying("test -n \"$CARGO_MANIFEST_DIR\" && env > seen; exec cat version-$1");
    service.put(SECOND);
    assert!(service.sources().get(SECOND).is_ok());
    let seen = fs::read_to_string(service.dir.path().join("seen")).unwrap();
    assert!(!seen.contains("\nKEYLEDGER_"), "{seen}");
}

#[test]
fn variables_hold_lines_of_key_files_and_others_are_left_alone() {
    let of = |name: &str, value: &str| (name.into(), Zeroizing::new(value.as_bytes().to_vec()));
    let (first, second) = (line(KeyName { version: 1, ..SECOND }), line(SECOND));
    let variables = [
        of("KEYLEDGER_KEK_1", first.trim_end()),
        of("KEYLEDGER_PEPPER_9", "s3cret"),
        of("KEYLEDGER_KEK_2", &second),
        of("HOME", "s3cret"),
    ];
    let keys = in_environment(variables, Role::Kek).unwrap();
    assert_eq!(keys.keys().copied().collect::<Vec<_>>(), [1, 2]);
    let cases: [(&str, &str, &str); 4] = [
        (
            "KEYLEDGER_KEK_2",
            &first,
            "KEYLEDGER_KEK_2: what it holds is key-encryption key version 1",
        ),
        (
            "KEYLEDGER_KEK_2",
            "s3cret",
            "KEYLEDGER_KEK_2: what it holds is no whole line of a key file",
        ),
        ("KEYLEDGER_KEK_02", &second, "KEYLEDGER_KEK_02 in the environment is named like a key"),
        ("KEYLEDGER_KEK_", "s3cret", "KEYLEDGER_KEK_ in the environment is named like a key"),
    ];
    for (name, value, what) in cases {
        let said = in_environment([of(name, value)], Role::Kek).unwrap_err().to_string();
        assert!(said.contains(what) && !said.contains("s3cret"), "{said}");
    }
    let none = KeySettings { kek: KeySource::Environment, ..KeySettings::default() };
    let refusal = KeySources::new(&none, Path::new("/none")).get(SECOND).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "key-encryption key version 2 is not to be had from KEYLEDGER_KEK_2: it is not set"
    );
}

#[test]
fn a_vault_opens_with_the_keys_of_a_command_and_learns_its_peppers_from_the_log() {
    let service = Service::saying("exec cat $2-$1");
    let put = |role: Role, version| {
        let file = service.dir.path().join(format!("{}{version}", role.prefix()));
        fs::write(file, line(KeyName { role, version }).as_bytes()).unwrap();
    };
    let command =
        |which: &str| KeySource::Command([service.words(), vec![which.to_owned()]].concat());
    let settings = KeySettings { dir: None, pepper: command("pepper"), kek: command("kek") };
    let sources = KeySources::new(&settings, service.dir.path());
    let data_keys = service.dir.path().join("datakeys");
    put(Role::Kek, 1);
    Vault::create_missing(&sources, &data_keys, &SeededRandom::new(1)).unwrap();
    assert!(!service.dir.path().join("keys/kek-1.key").exists());

    let vault = Vault::open(&sources, &data_keys).unwrap();
    put(Role::Pepper, 2);
    put(Role::Pepper, 3);
    vault.peppers.complete([PepperVersion(2)]).unwrap();
    assert_eq!(vault.peppers.newest().version(), PepperVersion(3));
    let check = vault.peppers.get(PepperVersion(2)).unwrap().check();
    let again = Vault::open(&sources, &data_keys).unwrap();
    again.peppers.complete([PepperVersion(2)]).unwrap();
    again.peppers.verify([(PepperVersion(2), check)]).unwrap();
    let missing = again.peppers.complete([PepperVersion(1)]).unwrap_err();
    assert!(matches!(missing, VaultError::Unsupplied { key, .. } if key.version == 1));
    assert_eq!(PepperRing::open(&sources).map(|_| ()).ok(), Some(()));
}

#[test]
fn a_group_may_read_files_only_outside_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (data_dir, apart) = (dir.path().join("data"), dir.path().join("apart"));
    let inside = data_dir.join("keys");
    for made in [&inside, &apart] {
        fs::create_dir_all(made).unwrap();
    }
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    let readers = |keys: &Path, data_dir: &Path| {
        let settings = KeySettings { dir: Some(keys.to_owned()), ..KeySettings::default() };
        KeySources::new(&settings, data_dir).readers
    };
    assert_eq!(readers(&apart, &data_dir), Readers::Group);
    assert_eq!(readers(&apart, &dir.path().join("none")), Readers::Group);
    assert_eq!(readers(&inside, &data_dir), Readers::Owner);
    assert_eq!(readers(&link, &data_dir), Readers::Owner);
    assert_eq!(readers(&dir.path().join("none"), &data_dir), Readers::Owner);
    let default = KeySources::new(&KeySettings::default(), &data_dir);
    assert_eq!((default.dir(), default.readers), (inside.as_path(), Readers::Owner));
}
