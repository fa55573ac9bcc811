//! Peppers that come from a command are changed while the service runs: the next one is taken from there, and an old one is
//! its keeper's to destroy.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use common::{Client, TestServer, reason};
use keyledger::app::keys::new_pepper;
use keyledger::proto::v1;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::random::SeededRandom;
use tempfile::TempDir;
use tonic::{Code, Status};

/// Puts the pepper where the command finds it.
fn supply(place: &Path, version: u16) {
    let line = new_pepper(version, &SeededRandom::new(version.into()));
    fs::write(place.join(format!("pepper-{version}")), line.as_bytes()).expect("written");
}

/// A place that peppers come from, and the configuration that says so.
fn place() -> (TempDir, String) {
    let place = TempDir::new().expect("a directory");
    let script = place.path().join("get");
    fs::write(&script, "#!/bin/sh\nexec cat \"${0%/*}/$1\"\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("set");
    let script = script.display();
    let config = format!(
        "[keys.pepper]\nsource = \"command\"\ncommand = [\"{script}\", \"pepper-{{version}}\"]\n"
    );
    (place, config)
}

/// Waits until a caller has moved to another pepper.
async fn caller_moved(admin: &Client) {
    let kinds = vec![v1::EventKind::CallerRehashed.into()];
    let filter = Some(v1::EventFilter { kinds, ..Default::default() });
    let request = v1::StreamEventsRequest { filter, follow: true, ..Default::default() };
    let mut stream = admin.audit.clone().stream_events(request).await.expect("begun").into_inner();
    loop {
        let answer = stream.message().await.expect("an answer").expect("it follows");
        if matches!(answer.answer, Some(Answer::Event(_))) {
            return;
        }
    }
}

async fn rotate(admin: &Client) -> Result<u32, Status> {
    let request = v1::RotatePepperRequest::default();
    Ok(admin.admin.clone().rotate_pepper(request).await?.into_inner().version)
}

#[tokio::test]
async fn the_next_pepper_is_taken_from_the_command_and_without_it_nothing_changes() {
    let (place, config) = place();
    supply(place.path(), 1);
    let server = TestServer::builder().config(&config).start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "nightly").await;

    let refused = rotate(&admin).await.expect_err("there is none");
    let (why, figures) = reason(&refused);
    assert_eq!((refused.code(), why.as_str()), (Code::FailedPrecondition, "PEPPER_NOT_SUPPLIED"));
    assert_eq!(figures["version"], "2");
    assert_eq!(figures["place"], "keys.pepper.command");
    fs::write(place.path().join("pepper-2"), "no key\n").expect("written");
    let refused = rotate(&admin).await.expect_err("it is none");
    assert_eq!(reason(&refused).0, "PEPPER_NOT_SUPPLIED");
    assert!(!refused.message().contains("no key"), "{refused:?}");
    let status = admin.admin.clone().get_status(v1::GetStatusRequest {}).await.expect("up");
    assert_eq!(status.into_inner().pepper_version, 1);

    supply(place.path(), 2);
    assert_eq!(rotate(&admin).await.expect("rotated"), 2);
    assert!(!server.data_dir().join("keys/pepper-2.key").exists());
    assert_eq!(admin.verdict(&secret).await, Ok(()));
    admin.create_key("billing", "under the new one").await;

    // Every start needs both, until the old one is retired.
    let (clock, dir) = (Arc::clone(&server.clock), server.stop().await);
    fs::rename(place.path().join("pepper-1"), place.path().join("aside")).expect("taken away");
    let started = TestServer::builder().dir(&dir).clock(&clock).config(&config).try_start().await;
    let said = started.err().expect("refused").to_string();
    assert!(said.contains("pepper version 1 is not to be had from keys.pepper.command"), "{said}");
    fs::rename(place.path().join("aside"), place.path().join("pepper-1")).expect("put back");
    let server = TestServer::builder().dir(&dir).clock(&clock).config(&config).start().await;
    assert_eq!(server.admin().await.verdict(&secret).await, Ok(()));
}

#[tokio::test]
async fn a_retired_pepper_is_its_keepers_to_destroy_and_no_start_asks_for_it() {
    let (place, config) = place();
    supply(place.path(), 1);
    supply(place.path(), 2);
    let server = TestServer::builder().config(&config).start().await;
    let admin = server.admin().await;
    // A first start takes the newest there is.
    assert_eq!(
        rotate(&admin).await.expect_err("there is no other").code(),
        Code::FailedPrecondition
    );
    supply(place.path(), 3);
    assert_eq!(rotate(&admin).await.expect("rotated"), 3);
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "nightly").await;
    caller_moved(&admin).await;
    let request = v1::RetirePepperRequest { version: 2, ..Default::default() };
    let retired = admin.admin.clone().retire_pepper(request).await.expect("retired");
    assert!(!retired.into_inner().destroyed);
    assert!(place.path().join("pepper-2").exists());

    let (clock, dir) = (Arc::clone(&server.clock), server.stop().await);
    for version in [1, 2] {
        fs::remove_file(place.path().join(format!("pepper-{version}"))).expect("removed");
    }
    let server = TestServer::builder().dir(&dir).clock(&clock).config(&config).start().await;
    assert_eq!(server.admin().await.verdict(&secret).await, Ok(()));
}
