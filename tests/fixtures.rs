//! Data directories that earlier programs wrote: each one opens, answers what it answered then, is whole
//! by the offline check, and goes on. `tests/fixtures/make.sh` made them.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::process::{self, Process};
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

async fn opens_and_goes_on(fixture: &Path) {
    let directory = unpack(fixture);
    let data_dir = directory.path().join("data");
    let expected = fs::read_to_string(fixture.with_extension("").with_extension("expected"));
    let expected = expected.expect("readable");
    assert!(expected.lines().count() >= 10, "there is something to ask");
    for _ in 0..2 {
        let server = Process::start(&data_dir);
        check_keys(&server, &data_dir, &expected).await;
        server.admin(&data_dir).await.put_account("later", "standard", &[]).await;
        let (status, log) = server.terminate();
        assert_eq!(status.code(), Some(0), "{log}");
    }
    let check = process::command().args(["admin", "check", "--data-dir"]).arg(&data_dir).output();
    let check = check.expect("it runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fixture_opens_answers_as_it_did_and_goes_on() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut tried = 0;
    for entry in fs::read_dir(fixtures).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "gz") {
            opens_and_goes_on(&path).await;
            tried += 1;
        }
    }
    assert!(tried >= 2, "{tried} fixtures");
}
