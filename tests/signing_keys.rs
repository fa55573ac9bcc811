//! Which keys sign checkpoints is on record, and none is replaced unseen.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{Client, TestServer};
use keyledger::app::proofs::add_signing_key;
use keyledger::config::Config;
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::note::VerifierKey;
use keyledger::proto::v1;
use keyledger::proto::v1::SigningKeyChange::{self, Added, First, Lost, Retired};
use keyledger::proto::v1::event::Kind;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::random::SystemRandom;

/// What the log says of signing keys: which change, how it came, and the public key.
async fn recorded(client: &Client) -> Vec<(SigningKeyChange, v1::Mechanism, Vec<u8>)> {
    let kinds = vec![v1::EventKind::SigningKeyChanged.into()];
    let filter = Some(v1::EventFilter { kinds, ..Default::default() });
    let request = v1::StreamEventsRequest { filter, ..Default::default() };
    let mut stream = client.audit.clone().stream_events(request).await.expect("up").into_inner();
    let mut found = Vec::new();
    while let Some(answer) = stream.message().await.expect("an answer") {
        let Some(Answer::Event(event)) = answer.answer else { continue };
        let event = event.event.expect("decoded");
        let mechanism = event.actor.as_ref().expect("an actor").mechanism();
        let Some(Kind::SigningKeyChanged(changed)) = event.kind else { panic!("{event:?}") };
        found.push((changed.change(), mechanism, changed.public_key));
    }
    found
}

fn changes(found: &[(SigningKeyChange, v1::Mechanism, Vec<u8>)]) -> Vec<SigningKeyChange> {
    found.iter().map(|(change, ..)| *change).collect()
}

/// Makes another key in place of those lost, as an operator would.
async fn replace_lost(data: &Path) -> (bool, String) {
    let mut command: Command = common::process::command();
    command.args(["admin", "add-signing-key", "--replace-lost", "--data-dir"]).arg(data);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let ran = ran.expect("it runs");
    (ran.status.success(), String::from_utf8(ran.stderr).expect("text"))
}

fn of(data: &Path) -> Config {
    Config { data_dir: data.to_owned(), ..Config::default() }
}

#[tokio::test]
async fn keys_that_come_and_go_are_on_record_once() {
    let server = TestServer::start().await;
    let (clock, data) = (Arc::clone(&server.clock), server.data_dir());
    let found = recorded(&server.admin().await).await;
    assert_eq!(changes(&found), [First]);
    assert_eq!(found[0].1, v1::Mechanism::Service);
    let server = server.restart().await;
    assert_eq!(recorded(&server.admin().await).await, found);

    let dir = server.stop().await;
    add_signing_key(&of(&data), &SystemRandom).expect("made");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    let found = recorded(&server.admin().await).await;
    assert_eq!(changes(&found), [First, Added]);

    server.stop().await;
    fs::remove_file(data.join("keys/signing-1.key")).expect("removed");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    let found = recorded(&server.admin().await).await;
    assert_eq!(changes(&found), [First, Added, Retired]);
    assert_eq!(found[2].2, found[0].2);
    let server = server.restart().await;
    assert_eq!(recorded(&server.admin().await).await, found);
}

#[tokio::test]
async fn a_start_without_the_keys_that_signed_is_refused_until_an_operator_replaces_them() {
    let server = TestServer::start().await;
    let (clock, data) = (Arc::clone(&server.clock), server.data_dir());
    let before = recorded(&server.admin().await).await;
    let dir = server.stop().await;
    let (done, said) = replace_lost(&data).await;
    assert!(!done && said.contains("a signing key is left"), "{said}");

    let (key, aside) = (data.join("keys/signing-1.key"), dir.path().join("aside"));
    fs::rename(&key, &aside).expect("taken away");
    let refused = TestServer::builder().dir(&dir).clock(&clock).try_start().await;
    let said = refused.err().expect("refused").to_string();
    assert!(said.contains("add-signing-key --replace-lost"), "{said}");
    assert!(!key.exists(), "none was made in its place");

    // It was found again.
    fs::rename(&aside, &key).expect("put back");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    assert_eq!(recorded(&server.admin().await).await, before);
    server.stop().await;

    fs::remove_file(&key).expect("lost");
    let (done, said) = replace_lost(&data).await;
    assert!(done && said.contains("on record"), "{said}");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    let admin = server.admin().await;
    let found = recorded(&admin).await;
    assert_eq!(changes(&found), [First, Added, Lost]);
    assert_eq!(found[2].2, before[0].2);
    assert_eq!([found[1].1, found[2].1], [v1::Mechanism::Offline; 2]);
    let keys = admin.audit.clone().get_verifier_key(v1::GetVerifierKeyRequest {}).await;
    let keys = keys.expect("a key").into_inner();
    assert_eq!(keys.older_verifier_keys, Vec::<String>::new());
    let key = VerifierKey::parse(&keys.verifier_key).expect("a key");
    let request = v1::GetCheckpointRequest { min_size: 0 };
    let note = admin.audit.clone().get_checkpoint(request).await.expect("one").into_inner();
    assert!(Checkpoint::open(&note.checkpoint, &[key]).is_ok());
}

#[tokio::test]
async fn no_key_has_the_number_of_one_that_is_on_record() {
    let server = TestServer::start().await;
    let (clock, data) = (Arc::clone(&server.clock), server.data_dir());
    let dir = server.stop().await;
    let start = async || TestServer::builder().dir(&dir).clock(&clock).start().await.stop().await;
    let mut had = vec![data.join("keys/signing-1.key")];
    let mut signing = had[0].clone();
    for newest_goes in [false, true, false] {
        let added = add_signing_key(&of(&data), &SystemRandom).expect("made");
        assert!(!had.contains(&added), "{had:?}");
        had.push(added.clone());
        start().await;
        let gone = if newest_goes { added } else { std::mem::replace(&mut signing, added) };
        fs::remove_file(gone).expect("retired");
        start().await;
    }
    fs::remove_file(signing).expect("lost");
    let (done, said) = replace_lost(&data).await;
    assert!(done, "{said}");
    assert!(had.iter().all(|key| !key.exists()), "{said}");
    start().await;
}

#[tokio::test]
async fn a_key_that_has_not_signed_does_not_take_the_place_of_those_that_have() {
    let server = TestServer::start().await;
    let (clock, data) = (Arc::clone(&server.clock), server.data_dir());
    let dir = server.stop().await;
    let other = TestServer::start().await;
    let foreign = other.data_dir().join("keys/signing-1.key");
    fs::copy(foreign, data.join("keys/signing-1.key")).expect("copied");
    let refused = TestServer::builder().dir(&dir).clock(&clock).try_start().await;
    let said = refused.err().expect("refused").to_string();
    assert!(said.contains("none of the signing keys is left"), "{said}");
}
