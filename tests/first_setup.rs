//! A ledger that is made once and must be there from then on, as containers and service managers have it.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::credential_in;
use common::process::{self, Process, contents, refused};
use tempfile::TempDir;

const MUST_EXIST: &str = "[data]\nmust_exist = true\n";

fn home(config: &str) -> TempDir {
    let home = TempDir::new().expect("a directory");
    fs::write(home.path().join("config.toml"), config).expect("written");
    home
}

fn with_config(mut command: Command, home: &Path) -> Command {
    command.arg("--config").arg(home.join("config.toml"));
    command
}

fn serve(home: &Path) -> Command {
    with_config(process::serve(&home.join("data"), "127.0.0.1:0"), home)
}

fn init(home: &Path) -> (Option<i32>, String) {
    let mut command = process::command();
    command.args(["admin", "init", "--data-dir"]).arg(home.join("data"));
    let (status, said) = refused(with_config(command, home));
    (status.code(), said)
}

#[test]
fn what_must_exist_and_does_not_is_refused_and_left_alone() {
    let home = home(MUST_EXIST);
    let data = home.path().join("data");
    let refusal = || {
        let (status, said) = refused(serve(home.path()));
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains("data.must_exist") && said.contains("keyledger admin init"),
            "{said}"
        );
    };
    refusal();
    assert!(!data.exists(), "not made");
    // A volume that was just made; one that a file system lies on; a first start that was interrupted.
    for name in ["", "lost+found", "keys"] {
        fs::create_dir_all(data.join(name)).expect("made");
        refusal();
        assert!(contents(&data).is_empty(), "left as it was");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_makes_is_served_and_a_second_init_touches_nothing() {
    let home = home(MUST_EXIST);
    let data = home.path().join("data");
    let (code, said) = init(home.path());
    assert_eq!(code, Some(0), "{said}");
    let place = data.join("admin.credential");
    assert!(said.contains(place.to_str().expect("text")), "{said}");
    let credential = credential_in(&data);
    assert!(!said.contains(&credential), "shown nowhere");

    let before = contents(&data);
    let (code, said) = init(home.path());
    assert!(code == Some(0) && said.contains("already"), "{said}");
    assert_eq!(contents(&data), before);

    let server = Process::spawn(serve(home.path()));
    server.admin(&data).await.put_account("billing", "standard", &[]).await;
    let (code, said) = init(home.path());
    assert!(code == Some(1) && said.contains("another keyledger process"), "{said}");
    server.terminate();
    assert_eq!(credential_in(&data), credential);
}

/// Writes the keys as Kubernetes mounts a secret: links to files in a directory that is replaced whole, which the group
/// may read and nobody write.
fn mounted_secret(home: &Path, kinds: &[&str]) -> PathBuf {
    let mount = home.join("secret");
    let version = mount.join("..2026_11_29");
    fs::create_dir_all(&version).expect("made");
    symlink("..2026_11_29", mount.join("..data")).expect("linked");
    for kind in kinds {
        let mut command = process::command();
        command.args(["admin", "generate-key", kind, "1"]);
        let line = command.output().expect("it runs").stdout;
        let name = format!("{kind}-1.key");
        fs::write(version.join(&name), line).expect("written");
        fs::set_permissions(version.join(&name), fs::Permissions::from_mode(0o440)).expect("set");
        symlink(Path::new("..data").join(&name), mount.join(&name)).expect("linked");
    }
    mount
}

#[test]
fn all_keys_can_come_from_a_mounted_secret() {
    let home = home("");
    let secret = mounted_secret(home.path(), &["pepper", "kek", "signing"]);
    let before = contents(&secret);
    let config = format!("{MUST_EXIST}[keys]\ndir = \"{}\"\n", secret.display());
    fs::write(home.path().join("config.toml"), config).expect("written");
    let (code, said) = init(home.path());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(contents(&secret), before, "nothing was made there");
    assert!(!home.path().join("data/keys").exists());
    Process::spawn(serve(home.path())).terminate();
}
