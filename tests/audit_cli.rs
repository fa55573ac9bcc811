//! `keyledger audit`, the real program against a real server: what an auditor at a terminal and a script see.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::process::{self, Process};
use keyledger::proto::v1;
use serde_json::Value;
use tempfile::TempDir;

fn audit(address: &str, data: &Path, arguments: &[&str]) -> Command {
    let mut command = process::command();
    command.args(["audit", "--server", address, "--token-file"]);
    command.arg(data.join("admin.credential")).args(arguments);
    command
}

/// What a command shows; it must end well.
async fn shown(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let Output { status, stdout, stderr } = output.expect("it runs");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// A tail that runs on, killed when it is dropped.
struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_goes_on_over_a_restart_without_gap_or_repeat() {
    let home = TempDir::new().expect("a directory");
    let data = home.path().join("data");
    let server = Process::start(&data);
    let address = server.address.clone();
    let admin = server.admin(&data).await;
    admin.put_account("first", "standard", &[]).await;
    let mut command = audit(&address, &data, &["tail", "--after", "0", "--output", "json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    let mut tail = Tail(child);
    let mut lines = BufReader::new(tail.0.stdout.take().expect("piped")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("it goes on").expect("text");
        serde_json::from_str(&line).expect("an object")
    };
    let mut seen = Vec::new();
    let mut read_to = |next: &mut dyn FnMut() -> Value, account: &str| loop {
        let event = next();
        if event["heartbeat"].is_object() {
            continue;
        }
        seen.push(event["position"].as_u64().expect("a position"));
        if event["account_id"] == account {
            return seen.clone();
        }
    };
    let idle = tokio::task::block_in_place(|| {
        read_to(&mut next, "first");
        next()
    });
    let checkpoint = idle["heartbeat"]["checkpoint"].as_str().expect("a heartbeat");
    assert!(checkpoint.starts_with("keyledger/") && checkpoint.contains("\n\n\u{2014} "), "{idle}");
    admin.put_account("second", "standard", &[]).await;
    drop(admin);
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");

    let port = address.strip_prefix("http://").expect("an address");
    let server = Process::spawn(process::serve(&data, port));
    let admin = server.admin(&data).await;
    let third = admin.put_account("third", "standard", &[]).await;
    let seen = tokio::task::block_in_place(|| read_to(&mut next, "third"));
    assert_eq!(seen, (1..=third.position).collect::<Vec<_>>());
    drop(tail);
    drop(admin);
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_key_reads_well_and_is_json_for_programs() {
    let home = TempDir::new().expect("a directory");
    let data = home.path().join("data");
    let server = Process::start(&data);
    let admin = server.admin(&data).await;
    admin.put_account("billing", "standard", &["reports:read"]).await;
    let (key, _) = admin.create_key("billing", "nightly").await;
    let request = v1::RevokeKeyRequest {
        key_id: key.key_id.clone(),
        reason: v1::RevokeReason::KeyCompromise.into(),
        comment: "seen in a log".to_owned(),
        on_behalf_of: Some(v1::OnBehalfOf { subject: "ada".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    admin.keys.clone().revoke_key(request).await.expect("revoked");
    let run = async |arguments: &[&str]| shown(audit(&server.address, &data, arguments)).await;

    let timeline = run(&["timeline", &key.key_id, "--output", "table"]).await;
    let [revoked, created] = timeline.lines().collect::<Vec<_>>().try_into().expect("two lines");
    for words in ["key revoked", "acme/billing", "KEY_COMPROMISE", "“seen in a log”", "for ada"]
    {
        assert!(revoked.contains(words), "{words}: {revoked}");
    }
    assert!(created.contains("key created") && created.contains("(nightly)"), "{created}");

    let tail = run(&["tail", "--once", "--last", "2", "--output", "table"]).await;
    assert_eq!(tail.lines().collect::<Vec<_>>(), [created, revoked]);
    let of_kind = ["tail", "--once", "--after", "0", "--kind", "account-registered"];
    let events = run(&of_kind).await;
    let event: Value = serde_json::from_str(&events).expect("one object");
    assert_eq!(
        (&event["kind"], &event["details"]["plan"]),
        (&"ACCOUNT_REGISTERED".into(), &"standard".into())
    );
    assert_eq!(event["disclosure"]["display_name"], "Account billing");

    let position = key.position.to_string();
    let was = run(&["at", &key.key_id, "--position", &position, "--output", "table"]).await;
    assert!(
        was.contains("valid            yes") && was.contains("granted          reports:read"),
        "{was}"
    );
    let now: Value =
        serde_json::from_str(&run(&["at", &key.key_id, "--time", "0s"]).await).expect("json");
    assert_eq!((&now["valid"], &now["denial_reason"]), (&false.into(), &"REVOKED".into()));
    let account = run(&["at", "acme", "billing", "--position", &position]).await;
    let account: Value = serde_json::from_str(&account).expect("json");
    assert_eq!((&account["valid"], &account["plan"]["active_keys"]), (&true.into(), &5.into()));
    drop(admin);
    server.terminate();
}
