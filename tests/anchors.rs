//! Checkpoints are kept off the host: in files and at a URL of the operator's, by a real server.

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::desk::verifier_key;
use common::place::{Place, copy, shows, status, warned};
use common::process::get;
use common::receiver::{Answer, Receiver};
use common::{Client, TestServer};
use keyledger::merkle::Hash;
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::proof::verify_consistency;
use keyledger::proto::v1;
use serde_json::Value;

const INTERVAL: Duration = Duration::from_secs(60);

/// Holds that the later checkpoint continues the earlier one.
async fn hold(client: &Client, earlier: &Checkpoint, later: &Checkpoint) {
    let request = v1::GetConsistencyProofRequest { from_size: earlier.size, to_size: later.size };
    let proof = client.audit.clone().get_consistency_proof(request).await.expect("a proof");
    let proof = proof.into_inner().hashes.into_iter();
    let proof: Vec<_> = proof.map(|hash| Hash(hash.try_into().expect("32 bytes"))).collect();
    verify_consistency((earlier.size, &earlier.root), (later.size, &later.root), &proof)
        .expect("it continues the one before");
}

fn anchor(settings: &str) -> String {
    format!("[audit.anchor]\n{settings}\n")
}

#[tokio::test]
async fn a_checkpoint_is_posted_at_the_start_and_again_when_the_log_has_grown_and_an_interval_passed()
 {
    let mut receiver = Receiver::start(|_| Answer::of(204)).await;
    let config = anchor(&format!("url = \"{}/anchors/a?token=b\"", receiver.url));
    let server = TestServer::builder().config(&config).ops().start().await;
    let admin = server.admin().await;
    let keys = [verifier_key(&admin).await];
    let posted = receiver.next().await;
    assert_eq!((&*posted.path, &*posted.content_type), ("/anchors/a", "text/plain; charset=utf-8"));
    let first = Checkpoint::open(&posted.body, &keys).expect("signed");
    shows(&server, &format!("keyledger_anchor_position{{place=\"url\"}} {}", first.size)).await;
    let last = admin.grow("a").await;
    assert!(receiver.rest().is_empty(), "no interval has passed");
    server.clock.advance(INTERVAL);
    let next = Checkpoint::open(&receiver.next().await.body, &keys).expect("signed");
    assert!(next.size >= last);
    hold(&admin, &first, &next).await;
    shows(&server, "keyledger_anchor_failing{place=\"url\"} 0").await;
    shows(&server, "keyledger_anchor_failures_total{place=\"url\"} 0").await;
    assert_eq!(status(&admin).await.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn the_last_checkpoint_is_kept_at_an_orderly_stop() {
    let home = tempfile::tempdir().expect("a directory");
    let (file, history) = (home.path().join("newest"), home.path().join("history"));
    let mut receiver = Receiver::start(|_| Answer::of(200)).await;
    let config = anchor(&format!(
        "file = \"{}\"\nhistory = \"{}\"\nurl = \"{}\"",
        file.display(),
        history.display(),
        receiver.url
    ));
    let server = TestServer::builder().config(&config).start().await;
    let admin = server.admin().await;
    let keys = [verifier_key(&admin).await];
    receiver.next().await;
    let last = admin.grow("a").await;
    drop(admin);
    let clock = Arc::clone(&server.clock);
    let dir = server.stop().await;
    let note = fs::read_to_string(&file).expect("a checkpoint");
    let kept = Checkpoint::open(&note, &keys).expect("signed");
    assert!(kept.size >= last);
    assert_eq!(receiver.rest().last().map(|posted| &posted.body), Some(&note));

    // A line that was cut off does not take the next one with it.
    let mut text = fs::read_to_string(&history).expect("lines");
    text.push_str("{\"time\":\"20");
    fs::write(&history, &text).expect("written");
    let server = TestServer::builder().dir(&dir).clock(&clock).config(&config).start().await;
    let admin = server.admin().await;
    admin.grow("b").await;
    drop(admin);
    server.stop().await;
    let text = fs::read_to_string(&history).expect("lines");
    let mut sizes = Vec::new();
    let lines: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(lines.len(), text.lines().count() - 1);
    for line in lines {
        let kept = Checkpoint::open(line["checkpoint"].as_str().expect("a note"), &keys);
        let kept = kept.expect("signed");
        assert_eq!(line["size"], kept.size);
        assert!(line["time"].as_str().expect("a time").starts_with("2026-01-01T00:00:00"));
        sizes.push(kept.size);
    }
    assert!(sizes.is_sorted() && sizes.len() >= 3, "{sizes:?}");
}

#[tokio::test]
async fn a_data_directory_put_back_to_an_earlier_state_is_told_and_the_evidence_is_kept() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("newest");
    let config = anchor(&format!("file = \"{}\"", file.display()));
    let server = TestServer::builder().config(&config).start().await;
    let clock = Arc::clone(&server.clock);
    let dir = server.stop().await;
    let (data, before) = (dir.path().join("data"), dir.path().join("before"));
    copy(&data, &before);
    let server = TestServer::builder().dir(&dir).clock(&clock).config(&config).start().await;
    for account in ["a", "b", "c"] {
        server.admin().await.grow(account).await;
    }
    server.stop().await;
    let evidence = fs::read_to_string(&file).expect("a checkpoint");

    fs::remove_dir_all(&data).expect("removed");
    fs::rename(&before, &data).expect("put back");
    let server = TestServer::builder().dir(&dir).clock(&clock).config(&config).ops().start().await;
    let admin = server.admin().await;
    shows(&server, "keyledger_anchor_failing{place=\"file\"} 1").await;
    // At once: no time mends it.
    warned(&admin, "the data directory was put back to an earlier state").await;
    drop(admin);
    server.stop().await;
    assert_eq!(fs::read_to_string(&file).expect("a checkpoint"), evidence);
}

#[tokio::test]
async fn what_is_no_checkpoint_is_not_replaced() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("precious");
    fs::write(&file, "something else\n").expect("written");
    let config = anchor(&format!("file = \"{}\"", file.display()));
    let server = TestServer::builder().config(&config).ops().start().await;
    shows(&server, "keyledger_anchor_failing{place=\"file\"} 1").await;
    server.stop().await;
    assert_eq!(fs::read_to_string(&file).expect("there"), "something else\n");
}

#[tokio::test]
async fn what_fails_is_tried_again_until_it_succeeds() {
    let works = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&works);
    let answer = move |_: &_| Answer::of(if now.load(Ordering::SeqCst) { 200 } else { 503 });
    let mut receiver = Receiver::start(answer).await;
    let config = anchor(&format!("url = \"{}\"", receiver.url));
    let server = TestServer::builder().config(&config).ops().start().await;
    let admin = server.admin().await;
    receiver.next().await;
    shows(&server, "keyledger_anchor_failures_total{place=\"url\"} 1").await;
    assert_eq!(status(&admin).await.warnings, Vec::<String>::new(), "it has had little time");
    server.clock.advance(Duration::from_secs(1));
    receiver.next().await;
    shows(&server, "keyledger_anchor_failures_total{place=\"url\"} 2").await;
    server.clock.advance(4 * INTERVAL);
    receiver.next().await;
    warned(&admin, "audit.anchor.url").await;
    shows(&server, "keyledger_anchor_overdue{place=\"url\"} 1").await;
    shows(&server, "keyledger_anchor_failures_total{place=\"url\"} 3").await;
    works.store(true, Ordering::SeqCst);
    server.clock.advance(4 * INTERVAL);
    receiver.next().await;
    shows(&server, "keyledger_anchor_failing{place=\"url\"} 0").await;
    assert_eq!(status(&admin).await.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_is_no_success() {
    let mut elsewhere = Receiver::start(|_| Answer::of(200)).await;
    for status in [301, 302, 307, 308] {
        let location = Some(elsewhere.url.clone());
        let answer = Answer { location, ..Answer::of(status) };
        let mut receiver = Receiver::start(move |_| answer.clone()).await;
        let config = anchor(&format!("url = \"{}\"", receiver.url));
        let server = TestServer::builder().config(&config).ops().start().await;
        receiver.next().await;
        shows(&server, "keyledger_anchor_failures_total{place=\"url\"} 1").await;
        server.stop().await;
    }
    assert!(elsewhere.rest().is_empty());
}

#[tokio::test]
async fn whoever_does_not_speak_tls_is_not_sent_a_checkpoint_over_https() {
    let mut receiver = Receiver::start(|_| Answer::of(200)).await;
    let url = receiver.url.replace("http://", "https://");
    let server =
        TestServer::builder().config(&anchor(&format!("url = \"{url}\""))).ops().start().await;
    shows(&server, "keyledger_anchor_failing{place=\"url\"} 1").await;
    server.stop().await;
    assert!(receiver.rest().is_empty());
}

#[tokio::test]
async fn a_receiver_that_never_answers_holds_up_neither_commands_nor_the_stop() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound");
    let config = anchor(&format!("url = \"http://{address}\""));
    let server = TestServer::builder().config(&config).start().await;
    let (connection, _) = tokio::task::spawn_blocking(move || silent.accept())
        .await
        .expect("no panic")
        .expect("it was asked");
    let admin = server.admin().await;
    assert!(admin.grow("a").await > 0);
    drop(admin);
    server.stop().await;
    drop(connection);
}

#[tokio::test]
async fn the_log_names_the_file_that_cannot_be_written_and_nobody_else_is_told_where_it_is() {
    let place = Place::new();
    let missing = place.path("missing/newest");
    let config = anchor(&format!("file = \"{}\"", missing.display()));
    fs::write(place.path("config.toml"), config).expect("written");
    let server = place.serve("data");
    let page = loop {
        let ops = server.ops.clone();
        let page = tokio::task::spawn_blocking(move || get(&ops, "/metrics").1).await;
        let page = page.expect("no panic");
        if page.contains("keyledger_anchor_failing{place=\"file\"} 1") {
            break page;
        }
    };
    let status = status(&server.admin(&place.path("data")).await).await;
    let named = missing.display().to_string();
    assert!(!page.contains(&named) && !format!("{status:?}").contains(&named));
    let log = server.kill();
    let line = log.lines().find(|line| line.contains("cannot be kept off the host"));
    assert!(line.expect("told").contains(&named), "{log}");
}

#[tokio::test]
async fn the_status_warns_while_nothing_is_kept_off_the_host() {
    let server = TestServer::start().await;
    warned(&server.admin().await, "no checkpoint is kept off this host").await;
}

#[tokio::test]
async fn a_file_in_the_data_directory_is_refused() {
    let dir = TestServer::start().await.stop().await;
    let inside: PathBuf = dir.path().join("data/newest");
    for name in ["file", "history"] {
        let config = anchor(&format!("{name} = \"{}\"", inside.display()));
        let refused = TestServer::builder().dir(&dir).config(&config).try_start().await;
        let said = refused.err().expect("refused").to_string();
        assert!(said.contains(&format!("audit.anchor.{name} must not lie in the data")), "{said}");
    }
    assert!(!inside.exists());
}
