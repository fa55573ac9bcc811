//! The program as operators run it: started, stopped, killed, started wrongly.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use common::process::{self, Process, contents, refused, serve};
use common::{credential_in, new_key};
use keyledger::proto::v1;
use tempfile::TempDir;

fn data_dir() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("data");
    (directory, path)
}

/// The same command behind a shell that has set limits for it.
fn limited(limits: &str, command: &Command) -> Command {
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!("{limits}; exec \"$@\"")).arg("bash");
    shell.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_makes_private_files_and_a_stop_ends_with_zero() {
    let (_directory, path) = data_dir();
    let server = Process::start(&path);
    server.admin(&path).await.put_account("billing", "standard", &[]).await;
    let credential = credential_in(&path);
    let files = contents(&path);
    assert!(files.len() > 5, "{} files", files.len());
    for (file, _) in files {
        // A file the server has taken away since is open to nobody.
        let Ok(metadata) = fs::metadata(&file) else { continue };
        let mode = metadata.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others", file.display());
    }
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o077, 0);
    let (status, log) = server.terminate();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains(&credential));
    let server = Process::start(&path);
    assert_eq!(credential_in(&path), credential, "a second start makes no second admin");
    server.terminate();
}

#[test]
fn what_others_may_read_or_replace_is_told_at_a_start() {
    let (_directory, path) = data_dir();
    let (_, log) = Process::start(&path).terminate();
    let told = "other users may read or replace";
    assert!(!log.contains(told), "{log}");
    for (open, mode) in [(path.clone(), 0o770), (path.join("admin.credential"), 0o604)] {
        let private = fs::metadata(&open).expect("there").permissions();
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).expect("set");
        let (status, log) = Process::start(&path).terminate();
        let told_of: Vec<_> = log.lines().filter(|line| line.contains(told)).collect();
        assert!(told_of.len() == 1 && told_of[0].contains(&format!("{}", open.display())), "{log}");
        assert!(status.success());
        fs::set_permissions(&open, private).expect("set");
    }
}

#[test]
fn a_server_leaves_no_core_dump_though_it_was_started_where_they_are_left() {
    let (_directory, path) = data_dir();
    let command = serve(&path, "127.0.0.1:0");
    let server = Process::spawn(limited("ulimit -S -c \"$(ulimit -H -c)\"", &command));
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("it runs");
    let of_core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    // The limit, and the most that it may be raised to.
    let of_core: Vec<_> = of_core.expect("there is one").split_whitespace().collect();
    assert_eq!(of_core[..2], ["0", "0"]);
    let mut abort = std::process::Command::new("kill");
    assert!(abort.args(["-ABRT", &server.id().to_string()]).status().expect("kill runs").success());
    let (status, _) = server.wait();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_a_thousand_creations_loses_no_acknowledged_key() {
    let (_directory, path) = data_dir();
    let server = Process::start(&path);
    let admin = server.admin(&path).await;
    admin.put_account("billing", "enterprise", &[]).await;
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let (enough, reached) = tokio::sync::oneshot::channel();
    let enough = Arc::new(Mutex::new(Some(enough)));
    let mut creating = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let mut keys = admin.keys.clone();
        let (acknowledged, enough) = (Arc::clone(&acknowledged), Arc::clone(&enough));
        creating.spawn(async move {
            let request = new_key("acme", "billing", &format!("key {n}"));
            let Ok(answer) = keys.create_key(request).await else { return };
            let answer = answer.into_inner();
            let id = answer.key.expect("a key").key_id;
            let mut acknowledged = acknowledged.lock().expect("no panic");
            acknowledged.insert((id, answer.secret));
            if acknowledged.len() == 300
                && let Some(enough) = enough.lock().expect("no panic").take()
            {
                let _ = enough.send(());
            }
        });
    }
    reached.await.expect("three hundred are acknowledged");
    server.kill();
    while creating.join_next().await.is_some() {}

    let acknowledged = acknowledged.lock().expect("no panic").clone();
    assert!(acknowledged.len() >= 300);
    let server = Process::start(&path);
    let admin = server.admin(&path).await;
    for (id, secret) in &acknowledged {
        let answer = admin.authenticate(secret, &[]).await;
        assert_eq!((answer.outcome(), &answer.key_id), (v1::Outcome::Allowed, id));
    }
    server.terminate();
}

#[test]
fn a_port_in_use_is_named_with_its_flag_and_nothing_is_touched() {
    let (_directory, path) = data_dir();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let (status, said) = refused(serve(&path, &address));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("--grpc-addr"), "{said}");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_directory_stops_and_touches_nothing() {
    let (_directory, path) = data_dir();
    let first = Process::start(&path);
    let mut admin = first.admin(&path).await.admin;
    // The anchor follows the head and the next volume is prepared; then the first server writes
    // nothing more.
    loop {
        let status = admin.get_status(v1::GetStatusRequest {}).await.expect("up").into_inner();
        if status.anchor_position == status.head && next_volume_is_prepared(&path) {
            break;
        }
    }
    let others = |path: &Path| {
        let mut found = contents(path);
        // The first server goes on with these by itself.
        let next_volume = path.join("ledger").join(NEXT_VOLUME);
        let own = [next_volume, path.join("projections"), path.join("usage")];
        found.retain(|(file, _)| !own.iter().any(|own| file.starts_with(own)));
        found
    };
    let before = others(&path);
    let (status, said) = refused(serve(&path, "127.0.0.1:0"));
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("another keyledger process uses this data directory"), "{said}");
    assert_eq!(others(&path), before);
    first.terminate();
}

/// The volume that a new server prepares while it serves.
const NEXT_VOLUME: &str = "live-00000002";

/// Whether the engine has opened it: it leaves a snapshot of its own then.
fn next_volume_is_prepared(data_dir: &Path) -> bool {
    let entries = fs::read_dir(data_dir.join("ledger").join(NEXT_VOLUME));
    entries.into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("snap.") && !name.ends_with(".generating")
    })
}

/// A directory a server has used, and one key of it.
async fn used() -> (TempDir, PathBuf) {
    let (directory, path) = data_dir();
    let server = Process::start(&path);
    let admin = server.admin(&path).await;
    admin.put_account("billing", "standard", &[]).await;
    for n in 0..3 {
        admin.create_key("billing", &format!("key {n}")).await;
    }
    server.terminate();
    (directory, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_newer_format_is_refused_untouched() {
    let (_directory, path) = used().await;
    fs::write(path.join("FORMAT"), "keyledger data directory, format 9\n").expect("written");
    let before = contents(&path);
    let (status, said) = refused(serve(&path, "127.0.0.1:0"));
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("newer"), "{said}");
    assert_eq!(contents(&path), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_foreign_keys_are_refused_by_name() {
    let (_directory, path) = used().await;
    let (_other_directory, other) = used().await;
    for (file, name) in
        [("pepper-1.key", "pepper version 1"), ("kek-1.key", "key-encryption key version 1")]
    {
        let key = path.join("keys").join(file);
        let own = fs::read(&key).expect("there");
        fs::copy(other.join("keys").join(file), &key).expect("copied");
        let (status, said) = refused(serve(&path, "127.0.0.1:0"));
        assert_eq!(status.code(), Some(1));
        assert!(said.contains(name) && said.contains("not the one"), "{said}");
        fs::remove_file(&key).expect("removed");
        let (_, said) = refused(serve(&path, "127.0.0.1:0"));
        assert!(said.contains(name) && said.contains("missing"), "{said}");
        fs::write(&key, &own).expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("set");
    }
    Process::start(&path).terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_or_truncated_ledger_stops_the_start() {
    for damage in [alter, truncate] {
        let (_directory, path) = used().await;
        damage(&path.join("ledger/live-00000001/db"));
        let (status, said) = refused(serve(&path, "127.0.0.1:0"));
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("position"), "{said}");
    }
}

/// Changes one byte in the middle of the second record's frame.
fn alter(log: &Path) {
    let mut bytes = fs::read(log).expect("there");
    let frames: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, w)| *w == b"KLFR").map(|(at, _)| at).collect();
    for at in frames {
        bytes[at + 60] ^= 1;
    }
    fs::write(log, bytes).expect("written");
}

/// Cuts everything behind the first frame.
fn truncate(log: &Path) {
    let bytes = fs::read(log).expect("there");
    let first = bytes.windows(4).position(|window| window == b"KLFR").expect("a frame");
    fs::write(log, &bytes[..first + 8]).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_admin_credential_is_replaced_offline_and_on_record() {
    let (_directory, path) = used().await;
    let lost = credential_in(&path);
    fs::remove_file(path.join("admin.credential")).expect("removed");
    let mut command = process::command();
    command.args(["admin", "recover-admin", "--yes", "--data-dir"]).arg(&path);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = credential_in(&path);
    assert_ne!(found, lost);
    let said = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8(said).expect("text").contains(&found));
    let server = Process::start(&path);
    let admin = server.admin(&path).await;
    let callers =
        admin.admin.clone().list_callers(v1::ListCallersRequest::default()).await.expect("a page");
    let names: Vec<_> =
        callers.into_inner().callers.into_iter().map(|caller| caller.name).collect();
    assert_eq!(names, ["first admin", "recovered admin"]);
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_process_and_what_was_acknowledged_is_there_afterwards() {
    let (_directory, path) = data_dir();
    // A bound on the size of files stands for the full disk: writes behind it fail.
    let command = serve(&path, "127.0.0.1:0");
    let server = Process::spawn(limited("trap '' XFSZ; ulimit -c 0 -f 6000", &command));
    let admin = server.admin(&path).await;
    admin.put_account("billing", "enterprise", &[]).await;
    let bulk = (0..32).map(|n| (format!("bulk {n}"), "x".repeat(512))).collect();
    let mut request =
        v1::CreateKeyRequest { metadata: bulk, ..new_key("acme", "billing", "bulky") };
    let mut acknowledged = Vec::new();
    loop {
        assert!(acknowledged.len() < 2000, "the disk never filled");
        request.name = format!("bulky {}", acknowledged.len());
        match admin.keys.clone().create_key(request.clone()).await {
            Ok(made) => acknowledged.push(made.into_inner().secret),
            Err(_) => break,
        }
    }
    assert!(!acknowledged.is_empty());
    let (status, log) = server.wait();
    assert_eq!(status.signal(), Some(6), "it aborts: {log}");
    assert!(log.contains("a frame could not be made durable"), "{log}");

    let server = Process::start(&path);
    let admin = server.admin(&path).await;
    for secret in &acknowledged {
        assert_eq!(admin.verdict(secret).await, Ok(()));
    }
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_take_the_files_that_the_ledger_needs() {
    let (_directory, path) = data_dir();
    let command = serve(&path, "127.0.0.1:0");
    let server = Process::spawn(limited("ulimit -n 400", &command));
    let admin = server.admin(&path).await;
    let address = server.address.strip_prefix("http://").expect("a scheme");
    let mut idle = Vec::new();
    for _ in 0..600 {
        idle.push(tokio::net::TcpStream::connect(address).await.expect("accepted by the kernel"));
    }
    for n in 0..20 {
        admin.put_account(&format!("a{n}"), "standard", &[]).await;
    }
    drop(idle);
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    assert!(log.contains("raise the limit of open files"), "{log}");
}

#[test]
fn a_bad_configuration_is_refused_by_setting_before_anything_is_made() {
    let (directory, path) = data_dir();
    let file = directory.path().join("keyledger.toml");
    fs::write(&file, "[limits]\ndrain_seconds = 0\n").expect("written");
    let mut command = serve(&path, "127.0.0.1:0");
    command.arg("--config").arg(&file);
    let (status, said) = refused(command);
    assert!(!status.success());
    assert!(said.contains("limits.drain_seconds"), "{said}");
    assert!(!path.exists());
}

#[test]
fn calls_that_are_not_encrypted_are_taken_from_this_machine_alone() {
    let (_directory, path) = data_dir();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let (status, said) = refused(serve(&path, address));
        assert!(!status.success());
        assert!(
            said.contains(&format!("--grpc-addr {address}: without TLS only loopback addresses")),
            "{said}"
        );
        assert!(!path.exists());
    }
    let mut http = serve(&path, "127.0.0.1:0");
    http.args(["--http-addr", "0.0.0.0:0"]);
    let (status, said) = refused(http);
    assert!(!status.success() && !path.exists());
    assert!(said.contains("--http-addr: only loopback addresses are served"), "{said}");
}
