//! `keyledger audit export`, the real program against a real server: what is taken out is whole, can be verified
//! by who trusts nothing but a verifier key, and holds no secret.

mod common;

use std::fs;
use std::io::Read as _;

use common::TestServer;
use common::desk::{Desk, events, verifier_key, with_history};
use flate2::read::GzDecoder;
use keyledger::archive::{Archive, Proof};
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::leaf_hash;
use keyledger::merkle::proof::verify_inclusion;
use keyledger::proto::v1;
use keyledger::verify::History;
use serde_json::Value;

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
    let trusted = std::slice::from_ref(&key);
    assert_eq!(archive.keys(), trusted);
    let mut records = archive.records(trusted).expect("signed");
    let checkpoint = records.checkpoint().clone();
    let (mut history, mut disclosed) = (History::default(), 0);
    for event in &events {
        let (record, clear) = records.next_entry().expect("whole").expect("as many");
        assert_eq!(record, event.record);
        let shown = event.disclosure.as_ref().map(|shown| &shown.personal[..]);
        assert_eq!(clear, shown);
        disclosed += u64::from(clear.is_some());
        history.take(record, clear).expect("sound");
    }
    assert_eq!(records.next_entry().expect("whole"), None);
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
    let client = server.admin().await;
    client.covered(client.put_account("later", "standard", &[]).await.position).await;
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
    let beyond = (head + 1).to_string();
    let beyond = desk.audit(&["export", "--json-lines", "-", "--after", &beyond]).await;
    assert!(!beyond.refused().contains("go on with"), "{beyond:?}");
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
        let checkpoint = Checkpoint::open(&proof.note, std::slice::from_ref(&key)).expect("signed");
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
