//! What earlier programs wrote: each data directory opens, answers what it answered then, is whole by the
//! offline check, and goes on; each backup is whole and becomes such a directory. `tests/fixtures/make.sh`
//! made them.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::place::status;
use common::process::{self, Process};
use keyledger::app::restore::verify;
use keyledger::progress::Silent;
use keyledger::proto::v1;
use tempfile::TempDir;

/// A fixture unpacked into a directory of its own.
fn unpack(fixture: &Path) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let status = Command::new("tar")
        .args(["--extract", "--gzip", "--no-same-owner", "--file"])
        .arg(fixture)
        .arg("--directory")
        .arg(directory.path())
        .status();
    assert!(status.expect("tar runs").success());
    directory
}

/// Asks for every key what was noted when the fixture was made: outcome, key id or `-`, secret.
async fn check_keys(server: &Process, data_dir: &Path, expected: &str) {
    let admin = server.admin(data_dir).await;
    for line in expected.lines() {
        let [outcome, id, secret] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("a line has three words");
        };
        let answer = admin.authenticate(secret, &["reports:read"]).await;
        let reason = answer.denial_reason().as_str_name();
        let found = match answer.outcome() {
            v1::Outcome::Allowed => "ALLOWED",
            _ => reason.trim_start_matches("DENIAL_REASON_"),
        };
        assert_eq!(found, outcome, "{id}");
        assert!(id == "-" || answer.key_id == id, "{id}");
        if let Some(principal) = answer.principal {
            // The policy it was written under knew no limit; the start puts the one as shipped in force.
            let limit = answer.rate_limit.map(|left| left.limit);
            assert_eq!(limit, Some(60_000), "{id} is on the plan {}", principal.plan);
            assert!(!principal.key_name.is_empty(), "the sealed name of {id} opens");
        }
    }
}

/// What was noted when the fixture was made.
fn expected_of(fixture: &Path) -> String {
    let expected = fs::read_to_string(fixture.with_extension("").with_extension("expected"));
    let expected = expected.expect("readable");
    assert!(expected.lines().count() >= 10, "there is something to ask");
    expected
}

async fn opens_and_goes_on(data_dir: &Path, expected: &str) {
    for _ in 0..2 {
        let server = Process::start(data_dir);
        check_keys(&server, data_dir, expected).await;
        server.admin(data_dir).await.put_account("later", "standard", &[]).await;
        let (status, log) = server.terminate();
        assert_eq!(status.code(), Some(0), "{log}");
    }
    let check = process::command().args(["admin", "check", "--data-dir"]).arg(data_dir).output();
    let check = check.expect("it runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The fixtures whose names begin so.
fn fixtures(kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixture("")).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.starts_with(kind) && name.ends_with(".tar.gz")
    };
    paths.filter(is_one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_data_directory_opens_answers_as_it_did_and_goes_on() {
    let found = fixtures("format-");
    assert!(found.len() >= 3, "{found:?}");
    for path in found {
        let directory = unpack(&path);
        opens_and_goes_on(&directory.path().join("data"), &expected_of(&path)).await;
    }
}

/// Its snapshots hold the generation, and the log behind them does not say it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_restored_keeps_its_generation_and_that_its_loss_is_resolved() {
    let directory = unpack(&fixture("format-0-restored.tar.gz"));
    let data_dir = directory.path().join("data");
    for with_snapshots in [true, false] {
        if !with_snapshots {
            fs::remove_dir_all(data_dir.join("snapshots")).expect("removed");
        }
        let server = Process::start(&data_dir);
        let now = status(&server.admin(&data_dir).await).await;
        assert_eq!((now.generation, now.losses), (2, Vec::new()), "{with_snapshots}");
        server.terminate();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_backup_is_whole_and_is_restored_with_its_keys_alone() {
    let found = fixtures("backup-");
    assert!(!found.is_empty());
    for path in found {
        let directory = unpack(&path);
        let (backup, keys) = (directory.path().join("backup"), directory.path().join("keys"));
        let manifest = verify(&backup, &Silent).expect("whole");
        assert!(!manifest.volumes.is_empty() && manifest.tail.is_some(), "of both kinds");
        let data_dir = directory.path().join("data");
        let mut restore = process::command();
        restore.args(["admin", "restore", "--from"]).arg(&backup).arg("--keys").arg(&keys);
        restore.arg("--last-head").arg(format!("{}:{}", manifest.head, manifest.root));
        let restored = restore.arg("--data-dir").arg(&data_dir).output().expect("it runs");
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        // The credential of its admin is in no backup.
        let mut recover = process::command();
        recover.args(["admin", "recover-admin", "--yes", "--data-dir"]).arg(&data_dir);
        let recovered = recover.output().expect("it runs");
        assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
        opens_and_goes_on(&data_dir, &expected_of(&path)).await;
    }
}
