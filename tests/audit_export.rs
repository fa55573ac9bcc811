//! `keyledger audit export`, the real program against a real server: what is taken out is whole, can be verified
//! by who trusts nothing but a verifier key, and holds no secret.

mod common;

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Output;

use common::usage::{context, use_key};
use common::{Client, TestServer, process};
use flate2::read::GzDecoder;
use keyledger::archive::{Archive, Proof};
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::leaf_hash;
use keyledger::merkle::note::VerifierKey;
use keyledger::merkle::proof::verify_inclusion;
use keyledger::proto::v1::{self, Role};
use keyledger::verify::History;
use serde_json::Value;
use tempfile::TempDir;

/// What an auditor at a terminal has: a directory of their own, a server elsewhere, a credential.
struct Desk {
    dir: TempDir,
    server: String,
    credential: PathBuf,
}

/// How a run of the program ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    said: String,
}

impl Ran {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(self.out.trim()).expect("one object")
    }

    fn refused(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        &self.said
    }
}

impl Desk {
    fn at(server: &TestServer) -> Desk {
        let credential = server.data_dir().join("admin.credential");
        let dir = TempDir::new().expect("a directory");
        Desk { dir, server: server.address.clone(), credential }
    }

    /// Whoever has this credential.
    fn of(server: &TestServer, credential: &str) -> Desk {
        let desk = Desk::at(server);
        let path = desk.path("credential");
        fs::write(&path, credential).expect("written");
        Desk { credential: path, ..desk }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("there")
    }

    /// Runs `keyledger audit` here.
    async fn audit(&self, arguments: &[&str]) -> Ran {
        let mut command = process::command();
        command.args(["audit", "--output", "json", "--server", &self.server, "--token-file"]);
        command.arg(&self.credential).args(arguments).current_dir(self.dir.path());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        let Output { status, stdout, stderr } = output.expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ran { code: status.code(), out: text(stdout), said: text(stderr) }
    }
}

/// A server with some history: accounts of two tenants, keys, names, uses, a revocation. And all secrets there
/// are.
async fn with_history() -> (TestServer, Vec<String>) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:read"]).await;
    admin.put_account_of("other", "shop", "enterprise", &[]).await;
    let (key, secret) = admin.create_key("billing", "nightly export").await;
    let from = context("reports.list", "192.0.2.7", "curl/8");
    use_key(&admin, &secret, 3, true, from.clone()).await;
    use_key(&admin, &secret, 2, false, from).await;
    let request = v1::RevokeKeyRequest {
        key_id: key.key_id,
        comment: "seen in a log".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().revoke_key(request).await.expect("revoked");
    let other = common::new_key("other", "shop", "till");
    let till = admin.keys.clone().create_key(other).await.expect("created").into_inner();
    let (_, credential) = admin.create_caller(&[Role::Auditor], &["acme"]).await;
    let secrets = vec![secret, till.secret, credential, server.admin_credential()];
    // Its uses are put on record when it ends.
    (server.restart().await, secrets)
}

/// Every event there is.
async fn events(client: &Client) -> Vec<v1::AuditEvent> {
    let request = v1::StreamEventsRequest::default();
    let mut answers =
        client.audit.clone().stream_events(request).await.expect("begun").into_inner();
    let mut events = Vec::new();
    while let Some(answer) = answers.message().await.expect("an answer") {
        if let Some(v1::stream_events_response::Answer::Event(event)) = answer.answer {
            events.push(*event);
        }
    }
    events
}

async fn verifier_key(client: &Client) -> VerifierKey {
    let answer = client.audit.clone().get_verifier_key(v1::GetVerifierKeyRequest {}).await;
    VerifierKey::parse(&answer.expect("a key").into_inner().verifier_key).expect("a key")
}

/// The bytes of an archive, unpacked.
fn unpacked(archive: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    GzDecoder::new(archive).read_to_end(&mut tar).expect("gzip");
    tar
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_holds_the_whole_history_and_every_check_of_a_verifier_passes() {
    // The whole recipe: a server, its admin's credential, one command.
    let (server, secrets) = with_history().await;
    let desk = Desk::at(&server);
    let exported = desk.audit(&["export", "--archive", "history.tar.gz"]).await.json();

    let client = server.admin().await;
    let (events, key) = (events(&client).await, verifier_key(&client).await);
    let bytes = desk.read("history.tar.gz");
    let archive = Archive::open(&bytes[..]).expect("an archive");
    assert_eq!(archive.keys(), [key.clone()]);
    let mut records = archive.records(&[key.clone()]).expect("signed");
    let checkpoint = records.checkpoint().clone();
    let (mut history, mut disclosed) = (History::default(), 0);
    for event in &events {
        let (record, clear) = records.next().expect("whole").expect("as many");
        assert_eq!(record, event.record);
        let shown = event.disclosure.as_ref().map(|shown| &shown.personal[..]);
        assert_eq!(clear, shown);
        disclosed += u64::from(clear.is_some());
        history.take(record, clear).expect("sound");
    }
    assert_eq!(records.next().expect("whole"), None);
    records.finish().expect("whole");
    assert_eq!(history.hold_to(&checkpoint), Ok(()));
    assert!(events.iter().any(|event| matches!(
        event.event.as_ref().expect("decoded").kind,
        Some(v1::event::Kind::KeyUsed(_))
    )));

    assert_eq!(exported["origin"], checkpoint.origin.as_str());
    assert_eq!(exported["tree_size"], events.len());
    assert_eq!(
        (&exported["bytes"], &exported["disclosed"]),
        (&bytes.len().into(), &disclosed.into())
    );
    assert_eq!(exported["verifier_keys"][0], key.to_string());
    let tar = unpacked(&bytes);
    for secret in secrets {
        assert!(!holds(&tar, &secret));
    }
    for personal in ["nightly export", "seen in a log", "192.0.2.7", "Account billing"] {
        assert!(holds(&tar, personal), "{personal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_history_gives_the_same_archive_which_is_its_owners_and_replaced_only_by_force() {
    use std::os::unix::fs::PermissionsExt as _;
    let (server, _) = with_history().await;
    let desk = Desk::at(&server);
    let export = ["export", "--archive", "history.tar.gz"];
    desk.audit(&export).await.json();
    let first = desk.read("history.tar.gz");
    let mode = fs::metadata(desk.path("history.tar.gz")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = desk.audit(&export).await;
    assert!(again.refused().contains("--force"), "{again:?}");
    desk.audit(&["export", "--archive", "again.tar.gz"]).await.json();
    assert!(desk.read("again.tar.gz") == first);
    server.admin().await.put_account("later", "standard", &[]).await;
    desk.audit(&[&export[..], &["--force"]].concat()).await.json();
    assert!(desk.read("history.tar.gz") != first);
    let names = fs::read_dir(desk.dir.path()).expect("a directory").count();
    assert_eq!(names, 2, "nothing is left beside them");
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_fields_can_be_left_out() {
    let (server, _) = with_history().await;
    let desk = Desk::at(&server);
    let leave_out = ["export", "--archive", "bare.tar.gz", "--without-disclosures"];
    let exported = desk.audit(&leave_out).await.json();
    assert_eq!(exported["disclosed"], 0);
    let tar = unpacked(&desk.read("bare.tar.gz"));
    for personal in ["nightly export", "seen in a log", "192.0.2.7", "Account billing"] {
        assert!(!holds(&tar, personal), "{personal}");
    }
    assert!(holds(&tar, "Personal fields:  left out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_bound_to_a_tenant_gets_no_archive_but_lines_and_proofs_of_what_is_its_own() {
    let (server, secrets) = with_history().await;
    let (desk, all) = (Desk::of(&server, &secrets[2]), events(&server.admin().await).await);
    let refused = desk.audit(&["export", "--archive", "history.tar.gz"]).await;
    for word in ["bound to tenants", "--json-lines", "--proof"] {
        assert!(refused.refused().contains(word), "{refused:?}");
    }
    assert!(!desk.path("history.tar.gz").exists());

    let lines = desk.audit(&["export", "--json-lines", "-"]).await;
    let is_of = |tenant: &str| {
        let of =
            |event: &&v1::AuditEvent| event.event.as_ref().expect("decoded").tenant_id == tenant;
        all.iter().filter(of).map(|event| event.position).collect::<Vec<_>>()
    };
    let (own, foreign) = (is_of("acme"), is_of("other"));
    let shown = lines.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let shown: Vec<_> =
        shown.map(|event| event["position"].as_u64().expect("a position")).collect();
    assert_eq!(shown, own);
    let prove = async |position: u64| {
        let position = position.to_string();
        desk.audit(&["export", "--proof", "of.tlog-proof", "--position", &position, "--force"])
            .await
    };
    prove(own[0]).await.json();
    let refused = prove(foreign[0]).await;
    assert!(refused.refused().contains("bound to other tenants"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_go_on_where_they_ended_without_gap_or_repeat() {
    let (server, secrets) = with_history().await;
    let (desk, admin) = (Desk::at(&server), server.admin().await);
    let first = desk.audit(&["export", "--json-lines", "1.jsonl"]).await.json();
    admin.put_account("later", "standard", &[]).await;
    admin.create_key("later", "last").await;
    let after = first["resume_after"].to_string();
    let second = desk.audit(&["export", "--json-lines", "2.jsonl", "--after", &after]).await.json();
    let written = [desk.read("1.jsonl"), desk.read("2.jsonl")].concat();
    let written = String::from_utf8(written).expect("text");
    let positions: Vec<_> = written
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["position"].clone())
        .collect();
    let head = events(&admin).await.len() as u64;
    assert_eq!(positions, (1..=head).map(Value::from).collect::<Vec<_>>());
    assert_eq!(second["resume_after"], head);
    assert_eq!(
        first["events"].as_u64().zip(second["events"].as_u64()).map(|(a, b)| a + b),
        Some(head)
    );
    for secret in secrets {
        assert!(!written.contains(&secret));
    }

    // What a filter passes over counts as reached, on standard output as well.
    let revoked = desk.audit(&["export", "--json-lines", "-", "--kind", "key-revoked"]).await;
    assert_eq!((revoked.code, revoked.out.lines().count()), (Some(0), 1));
    assert!(
        revoked.said.ends_with(&format!("1 events; go on with --after {head}\n")),
        "{revoked:?}"
    );
    let none = desk.audit(&["export", "--json-lines", "-", "--after", &head.to_string()]).await;
    assert_eq!((none.code, &*none.out), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_file_shows_one_record_to_who_has_the_verifier_key_alone() {
    let (server, _) = with_history().await;
    let (desk, admin) = (Desk::at(&server), server.admin().await);
    let key = verifier_key(&admin).await;
    let events = events(&admin).await;
    let named = |event: &&v1::AuditEvent| {
        event.disclosure.as_ref().is_some_and(|shown| shown.comment == "seen in a log")
    };
    let event = events.iter().find(named).expect("the revocation");
    let position = event.position.to_string();
    for (more, clear) in [
        (&[][..], &event.disclosure.as_ref().expect("shown").personal[..]),
        (&["--without-disclosures"], &[]),
    ] {
        let export = ["export", "--force", "--proof", "a.tlog-proof", "--position", &position];
        desk.audit(&[&export[..], more].concat()).await.json();
        let text = String::from_utf8(desk.read("a.tlog-proof")).expect("text");
        let proof = Proof::parse(&text).expect("a proof");
        assert_eq!((&proof.record, &proof.disclosed[..]), (&event.record, clear));
        let checkpoint = Checkpoint::open(&proof.note, &[key.clone()]).expect("signed");
        let (leaf, hash) = (event.position - 1, leaf_hash(&proof.record));
        assert_eq!(proof.leaf, leaf);
        verify_inclusion(&hash, leaf, checkpoint.size, &proof.hashes, &checkpoint.root)
            .expect("in it");
    }
    let beyond = ["export", "--proof", "b.tlog-proof", "--position", "100000"];
    assert!(desk.audit(&beyond).await.refused().contains("POSITION_BEYOND_HEAD"));
    assert!(!desk.path("b.tlog-proof").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_go_together_is_said_before_anything_is_done() {
    let server = TestServer::start().await;
    let desk = Desk::at(&server);
    let cases: [&[&str]; 7] = [
        &["export"],
        &["export", "--archive", "a", "--json-lines", "b"],
        &["export", "--archive", "a", "--tenant", "acme"],
        &["export", "--archive", "a", "--after", "3"],
        &["export", "--archive", "a", "--position", "3"],
        &["export", "--proof", "a"],
        &["export", "--json-lines", "a", "--without-disclosures"],
    ];
    for arguments in cases {
        let ran = desk.audit(arguments).await;
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
    }
    assert_eq!(fs::read_dir(desk.dir.path()).expect("a directory").count(), 0);
}
