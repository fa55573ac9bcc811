//! `keyledger usage`, the real program against a real server.

mod common;

use std::process::Output;
use std::time::Duration;

use common::usage::{context, end_minute, put_on_record, use_key};
use common::{Client, TestServer, process};
use keyledger::proto::v1;
use serde_json::Value;

/// The hour in which test clocks start. The program's own clock is the machine's.
const RANGE: [&str; 4] = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"];

async fn started() -> (TestServer, Client, v1::Key, String) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:*"]).await;
    let (key, secret) = admin.create_key("billing", "nightly").await;
    use_key(&admin, &secret, 5, true, context("read", "192.0.2.1", "curl/8")).await;
    use_key(&admin, &secret, 1, false, context("write", "192.0.2.1", "curl/8")).await;
    end_minute(&server, &admin).await;
    (server, admin, key, secret)
}

/// Runs `keyledger usage …`.
async fn usage(server: &TestServer, line: &[&str]) -> Output {
    let mut command = process::command();
    command.arg("usage").args(line).args(["--server", &server.address, "--token-file"]);
    command.arg(server.data_dir().join("admin.credential"));
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends")
}

/// What it prints if all goes well.
async fn printed(server: &TestServer, line: &[&str]) -> String {
    let output = usage(server, line).await;
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("text")
}

async fn json(server: &TestServer, line: &[&str]) -> Value {
    let text = printed(server, line).await;
    assert_eq!(text.lines().count(), 1, "one object a line: {text}");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn the_uses_of_a_key_are_shown_to_programs_and_people() {
    let (server, _, key, _) = started().await;
    let line = [&["key", &key.key_id, "--granularity", "minute"], &RANGE[..]].concat();
    let answer = json(&server, &line).await;
    assert_eq!(answer["total"]["allowed"], 5);
    assert_eq!(answer["buckets"][0]["start_time"], "2026-01-01T00:00:00Z");
    assert_eq!(answer["total"]["denied_by_reason"][0]["reason"], "PERMISSION_MISSING");
    assert_eq!(answer["complete_until"], "2026-01-01T00:01:00Z");
    let page = printed(&server, &[&line[..], &["--output", "table"]].concat()).await;
    assert!(page.starts_with(&format!("key      {}\nrange    2026-01-01 00:00Z", key.key_id)));
    // No terminal, so no block elements.
    assert!(page.contains("\nALLOWED             5  @"), "{page}");
    assert!(page.contains("\n2026-01-01 00:00Z        5       1"), "{page}");
    assert!(page.ends_with("  1 PERMISSION_MISSING\n"), "{page}");
}

#[tokio::test]
async fn what_is_used_most_is_shown_with_bars() {
    let (server, admin, key, _) = started().await;
    let line = [&["top", "--by", "action,reason"], &RANGE[..]].concat();
    let answer = json(&server, &line).await;
    assert_eq!(answer["rows"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&answer["rows"][0]["action"], &answer["rows"][0]["reason"]),
        (&"read".into(), &Value::Null)
    );
    let page = printed(&server, &[&line[..], &["--output", "table"]].concat()).await;
    assert!(page.contains("\nACTION  REASON              ALLOWED  DENIED\nread    ALLOWED                   5       0  ####"), "{page}");
    let line = [&["top", "--by", "key", "--tenant", "globex"], &RANGE[..]].concat();
    assert_eq!(json(&server, &line).await["rows"], Value::Array(Vec::new()));
    let line =
        [&["top", "--key", &key.key_id, "-n", "1", "--reason", "permission-missing"], &RANGE[..]]
            .concat();
    assert_eq!(json(&server, &line).await["rows"][0]["counts"]["denied"], 1);
    drop(admin);
}

#[tokio::test]
async fn idle_keys_and_stragglers_are_listed() {
    let (server, admin, key, secret) = started().await;
    let (idle, _) = admin.create_key("billing", "idle").await;
    server.clock.advance(Duration::from_hours(2));
    use_key(&admin, &secret, 1, true, None).await;
    let found = json(&server, &["idle", "--tenant", "acme", "--unused-for", "1h"]).await;
    assert_eq!(found["key_id"], idle.key_id.as_str());
    let refused = usage(&server, &["stragglers", &key.key_id]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("KEY_NOT_ROTATED"));

    let overlap = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let rotate = v1::RotateKeyRequest { key_id: key.key_id.clone(), overlap, ..Default::default() };
    admin.keys.clone().rotate_key(rotate).await.expect("rotated");
    use_key(&admin, &secret, 2, true, context("read", "192.0.2.1", "curl/8")).await;
    let (server, _) = put_on_record(server).await;
    let found = json(&server, &["stragglers", &key.key_id]).await;
    assert_eq!(found["stragglers"][0]["allowed"], 2);
    assert_eq!(found["stragglers"][0]["user_agents"], Value::from(vec!["curl/8"]));
    let page = printed(&server, &["stragglers", &key.key_id, "--output", "table"]).await;
    let ways = page.split("\n\n").nth(1).expect("the ways");
    assert!(
        ways.contains(
            "  read  192.0.2.1\n    2 allowed, 0 denied, last 2026-01-01 02:01Z\n    curl/8\n"
        ),
        "{page}"
    );
}

#[tokio::test]
async fn unusual_activity_is_shown_to_programs_and_people() {
    let (server, admin, key, secret) = started().await;
    let line = [&["signals", "--tenant", "acme"], &RANGE[..]].concat();
    let page = printed(&server, &[&line[..], &["--output", "table"]].concat()).await;
    assert!(page.ends_with("\n\nNothing unusual was found.\n"), "{page}");
    admin.revoke(&key.key_id).await.expect("revoked");
    use_key(&admin, &secret, 2, false, context("read", "192.0.2.9", "")).await;
    let server = server.restart().await;
    let found = json(&server, &line).await;
    let signal = &found["signals"][0];
    assert_eq!(signal["kind"], "ENDED_KEY_TRIED");
    assert_eq!((&signal["key_id"], &signal["observed"]), (&key.key_id.into(), &2.into()));
    assert_eq!(signal["sources"], Value::from(vec!["192.0.2.9"]));
    let page = printed(&server, &[&line[..], &["--output", "table"]].concat()).await;
    let told =
        "\n    revoked or superseded, and tried 2 times that day\n    from 192.0.2.9, through ";
    assert!(page.contains(told), "{page}");
}

#[tokio::test]
async fn a_faulty_line_and_a_refused_question_have_their_exit_codes() {
    let (server, _, key, _) = started().await;
    let usage_error = usage(&server, &["top", "--by", "colour"]).await;
    assert_eq!(usage_error.status.code(), Some(2));
    let future = usage(&server, &["key", &key.key_id, "--from", "2026-01-02T00:00:00Z"]).await;
    assert_eq!(future.status.code(), Some(1));
    let said = String::from_utf8(future.stderr).expect("text");
    assert!(said.contains("start_time: must not be in the future"), "{said}");
    let mut away = process::command();
    away.args(["usage", "top", "--server", "http://127.0.0.1:1", "--token-file"]);
    away.arg(server.data_dir().join("admin.credential"));
    let away = tokio::task::spawn_blocking(move || away.output().expect("it runs"));
    assert_eq!(away.await.expect("it ends").status.code(), Some(3));
}
