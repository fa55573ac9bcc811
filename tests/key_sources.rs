//! Keys that lie apart from the data directory or come from elsewhere, for every command that needs them.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::new_key;
use common::process::{self, Process, contents};
use keyledger::proto::v1;
use tempfile::TempDir;

/// A directory with a configuration, and a data directory that the commands are run on.
struct Home(TempDir);

impl Home {
    fn new(config: &str) -> Self {
        let home = Home(TempDir::new().expect("a directory"));
        let config = config.replace("HOME", home.0.path().to_str().expect("text"));
        fs::write(home.path("config.toml"), config).expect("written");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn serve(&self, data: &str) -> Command {
        let mut command = process::serve(&self.path(data), "127.0.0.1:0");
        command.arg("--config").arg(self.path("config.toml"));
        command
    }

    fn admin(&self, data: &str, arguments: &[&str]) -> Command {
        let mut command = process::command();
        command.arg("admin").args(arguments).arg("--data-dir").arg(self.path(data));
        command.arg("--config").arg(self.path("config.toml")).current_dir(self.0.path());
        command
    }

    /// Takes the keys of a first start out of the data directory of the name, each as the line that it is.
    fn take_keys(&self, data: &str) -> Vec<(String, String)> {
        let taken = ["pepper-1", "kek-1"].map(|name| {
            let file = self.path(data).join("keys").join(format!("{name}.key"));
            let line = fs::read_to_string(&file).expect("a key");
            fs::remove_file(file).expect("removed");
            (name.to_owned(), line)
        });
        taken.into()
    }
}

/// Runs a command that must succeed.
fn done(mut command: Command) -> String {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("text")
}

/// Makes an account with a key; answers the key's secret.
async fn issue(server: &Process, data: &Path) -> String {
    let admin = server.admin(data).await;
    admin.put_account("billing", "standard", &[]).await;
    let request = new_key("acme", "billing", "nightly");
    let created = admin.keys.clone().create_key(request).await.expect("created").into_inner();
    created.secret
}

async fn allows(server: &Process, data: &Path, secret: &str) {
    assert_eq!(server.admin(data).await.verdict(secret).await, Ok(()));
}

/// Every command but those that make the directory, on a log with one key, with variables besides.
async fn every_command_works(home: &Home, secret: &str, variables: &[(String, String)]) {
    let with = |mut command: Command| {
        command.envs(variables.iter().map(|(name, line)| (name, line)));
        command
    };
    let backup = {
        let server = Process::spawn(with(home.serve("data")));
        allows(&server, &home.path("data"), secret).await;
        let mut command = process::command();
        command.args(["admin", "backup", "--server", &server.address, "--token-file"]);
        command.arg(home.path("data/admin.credential")).arg("--to").arg(home.path("backup"));
        let backup = tokio::task::spawn_blocking(|| done(command)).await.expect("no panic");
        server.terminate();
        backup
    };
    assert!(!backup.is_empty());
    done(with(home.admin("data", &["rebuild"])));
    let whole = done(with(home.admin("data", &["check", "--output", "json"])));
    assert!(!whole.contains("\"severity\":\"damage\""), "{whole}");
    let recovered = ["recover-admin", "--yes", "--credential-out", "recovered"];
    done(with(home.admin("data", &recovered)));
    done(home.admin("data", &["add-signing-key"]));

    // Not done until the loss is accepted, but restored. Files are copied for the keys that are files.
    let mut restore = vec!["restore", "--from", "backup", "--output", "json"];
    if home.path("data/keys").exists() {
        restore.extend(["--keys", "data/keys"]);
    }
    let output = with(home.admin("restored", &restore)).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"losses\""), "{said}");
    fs::copy(home.path("data/admin.credential"), home.path("restored/admin.credential"))
        .expect("copied");
    let restored = Process::spawn(with(home.serve("restored")));
    let admin = restored.admin(&home.path("restored")).await;
    let request = v1::ListKeysRequest { tenant_id: "acme".to_owned(), ..Default::default() };
    let keys = admin.keys.clone().list_keys(request).await.expect("listed").into_inner().keys;
    assert_eq!(keys[0].name, "nightly", "personal fields open");
    restored.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_with_keys_in_a_directory_of_their_own() {
    let home = Home::new("[keys]\ndir = \"HOME/apart\"\n");
    let server = Process::spawn(home.serve("data"));
    let secret = issue(&server, &home.path("data")).await;
    server.terminate();
    assert!(!home.path("data/keys").exists());
    let names: Vec<_> = contents(&home.path("apart")).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        names,
        ["kek-1.key", "pepper-1.key", "signing-1.key"].map(|name| home.path("apart").join(name))
    );
    every_command_works(&home, &secret, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_with_keys_from_the_environment() {
    let home = Home::new("");
    let server = Process::spawn(home.serve("data"));
    let secret = issue(&server, &home.path("data")).await;
    server.terminate();
    let keys = home.take_keys("data");
    fs::write(
        home.path("config.toml"),
        "[keys.pepper]\nsource = \"environment\"\n[keys.kek]\nsource = \"environment\"\n",
    )
    .expect("written");
    let (status, said) = process::refused(home.serve("data"));
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("KEYLEDGER_PEPPER_1: it is not set"), "{said}");
    let variable = |name: &str| format!("KEYLEDGER_{}", name.to_uppercase().replace('-', "_"));
    let variables: Vec<_> = keys.into_iter().map(|(name, line)| (variable(&name), line)).collect();
    every_command_works(&home, &secret, &variables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_with_keys_from_a_command() {
    let home = Home::new("");
    let server = Process::spawn(home.serve("data"));
    let secret = issue(&server, &home.path("data")).await;
    server.terminate();
    let script = "#!/bin/sh\necho \"$1\" >> \"$0.asked\"\nexec cat \"$0.$1\"\n";
    fs::write(home.path("get"), script).expect("written");
    fs::set_permissions(home.path("get"), fs::Permissions::from_mode(0o700)).expect("set");
    for (name, line) in home.take_keys("data") {
        fs::write(home.path(&format!("get.{name}")), line).expect("written");
    }
    let source = |role: &str| {
        let get = home.path("get").display().to_string();
        format!(
            "[keys.{role}]\nsource = \"command\"\ncommand = [\"{get}\", \"{role}-{{version}}\"]\n"
        )
    };
    fs::write(home.path("config.toml"), source("pepper") + &source("kek")).expect("written");
    every_command_works(&home, &secret, &[]).await;

    // A start asks for what is needed and for the next one, and no call asks.
    fs::remove_file(home.path("get.asked")).expect("there");
    let server = Process::spawn(home.serve("data"));
    allows(&server, &home.path("data"), &secret).await;
    server.terminate();
    let asked = fs::read_to_string(home.path("get.asked")).expect("asked");
    assert_eq!(asked, "kek-1\nkek-2\npepper-1\npepper-2\n");

    fs::remove_file(home.path("get.pepper-1")).expect("there");
    let (_, said) = process::refused(home.serve("data"));
    assert!(
        said.contains(
            "pepper version 1 is not to be had from keys.pepper.command: it ended with exit code 1"
        ),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mounted_secrets_serve_through_links_and_for_a_group() {
    let home = Home::new("[keys]\ndir = \"HOME/mounted\"\n");
    let server = Process::spawn(home.serve("data"));
    let secret = issue(&server, &home.path("data")).await;
    server.terminate();
    // As Kubernetes mounts them.
    fs::rename(home.path("mounted"), home.path("..2026")).expect("renamed");
    fs::create_dir(home.path("mounted")).expect("made");
    fs::rename(home.path("..2026"), home.path("mounted/..2026")).expect("renamed");
    symlink("..2026", home.path("mounted/..data")).expect("linked");
    for name in ["kek-1.key", "pepper-1.key", "signing-1.key"] {
        symlink(format!("..data/{name}"), home.path("mounted").join(name)).expect("linked");
        let file = home.path("mounted/..2026").join(name);
        fs::set_permissions(file, fs::Permissions::from_mode(0o440)).expect("set");
    }
    let server = Process::spawn(home.serve("data"));
    allows(&server, &home.path("data"), &secret).await;
    server.terminate();

    let kek = home.path("mounted/..2026/kek-1.key");
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o444)).expect("set");
    let (_, said) = process::refused(home.serve("data"));
    assert!(
        said.contains("kek-1.key (key-encryption key version 1) is open to other users"),
        "{said}"
    );
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o440)).expect("set");
    fs::rename(home.path("mounted"), home.path("data/keys")).expect("renamed");
    fs::write(home.path("config.toml"), "").expect("written");
    let (_, said) = process::refused(home.serve("data"));
    assert!(said.contains("open to other users: chmod 600 it"), "in the data directory: {said}");
}

/// How many data keys lie under each key-encryption key, by the server.
async fn under_each_kek(server: &Process, data: &Path) -> Vec<(u32, u64)> {
    let admin = server.admin(data).await;
    let status = admin.admin.clone().get_status(v1::GetStatusRequest {}).await.expect("it is");
    let keks = status.into_inner().key_encryption_keys;
    keks.iter().map(|kek| (kek.version, kek.data_keys)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_encryption_key_takes_the_place_of_the_old_one_at_the_next_start() {
    let home = Home::new("");
    let data = home.path("data");
    let server = Process::spawn(home.serve("data"));
    let secret = issue(&server, &data).await;
    let before = under_each_kek(&server, &data).await;
    let [(1, count)] = before[..] else { panic!("one key: {before:?}") };
    server.terminate();

    let kek = |version: u32| data.join(format!("keys/kek-{version}.key"));
    let mut command = process::command();
    command.args(["admin", "generate-key", "kek", "2"]);
    fs::write(kek(2), done(command)).expect("written");
    fs::set_permissions(kek(2), fs::Permissions::from_mode(0o600)).expect("set");
    let server = Process::spawn(home.serve("data"));
    assert_eq!(under_each_kek(&server, &data).await, [(2, count)]);
    allows(&server, &data, &secret).await;
    let (_, log) = server.terminate();
    assert!(log.contains("all data keys lie under the newest key-encryption key"), "{log}");

    // Nothing needs the old one any more, killed or not.
    fs::remove_file(kek(1)).expect("there");
    let server = Process::spawn(home.serve("data"));
    allows(&server, &data, &secret).await;
    server.kill();
    let server = Process::spawn(home.serve("data"));
    let after = under_each_kek(&server, &data).await;
    assert!(
        matches!(after[..], [(2, more)] if more > count),
        "and that of its uses' month: {after:?}"
    );
    server.terminate();
}
