//! Witnesses are asked to cosign checkpoints, by a real server over real HTTP; what they cosign is checked, kept
//! and answered, and auditors can ask for it.

mod common;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use common::TestServer;
use common::desk::{Desk, Ran};
use common::place::{copy, shows, status, warned};
use common::witness::{Conduct, House, Witness, cosigned_checkpoint, house, serve};
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::note::VerifierKey;
use serde_json::Value;

const INTERVAL: Duration = Duration::from_secs(60);

fn of_witness(number: usize, figure: &str, value: u64) -> String {
    format!("keyledger_witness_{figure}{{witness=\"witness.example/w{number}\"}} {value}")
}

#[tokio::test]
async fn all_witnesses_cosign_the_same_checkpoint_and_one_that_continues_it_an_interval_later() {
    let mut house = house(3, "witness_quorum = 3").await;
    let first = house.cosigned(1, 3).await;
    let first = Checkpoint::open(&first, std::slice::from_ref(&house.log)).expect("signed");
    for witness in &mut house.witnesses {
        assert_eq!(witness.asked(), [0]);
        assert_eq!(witness.seen(), (first.size, first.root));
    }
    let last = house.grow("a").await;
    house.server.clock.advance(INTERVAL);
    let next = house.cosigned(last, 3).await;
    let next = Checkpoint::open(&next, std::slice::from_ref(&house.log)).expect("signed");
    for (number, witness) in (1..).zip(&mut house.witnesses) {
        assert_eq!(witness.asked(), [first.size], "with a proof from there");
        assert_eq!(witness.seen(), (next.size, next.root));
        shows(&house.server, &of_witness(number, "position", next.size)).await;
        shows(&house.server, &of_witness(number, "failures_total", 0)).await;
    }
    shows(&house.server, &format!("keyledger_cosigned_position {}", next.size)).await;
    shows(&house.server, "keyledger_witness_quorum 3").await;
    assert_eq!(status(&house.client).await.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_cosigned_is_there_after_a_restart_and_a_witness_says_how_far_it_is() {
    let mut house = house(1, "").await;
    let note = house.cosigned(1, 1).await;
    let (size, _) = house.witnesses[0].seen();
    assert_eq!(house.witnesses[0].asked(), [0]);
    house.witnesses[0].behave(Conduct::Gone);
    let mut house = house.restart().await;
    assert_eq!(house.cosigned(1, 1).await, note);
    let last = house.grow("a").await;
    assert_eq!(house.witnesses[0].asked_from().await, 0, "it does not know");
    shows(&house.server, &of_witness(1, "failing", 1)).await;
    house.witnesses[0].asked();
    house.witnesses[0].behave(Conduct::Well);
    house.server.clock.advance(2 * INTERVAL);
    house.cosigned(last, 1).await;
    assert_eq!(house.witnesses[0].asked(), [0, size]);
    shows(&house.server, &of_witness(1, "failing", 0)).await;
}

#[tokio::test]
async fn a_witness_that_has_lost_its_memory_is_told_all_anew() {
    let mut house = house(1, "").await;
    house.cosigned(1, 1).await;
    let size = {
        let mut state = house.witnesses[0].state();
        std::mem::take(&mut state.size)
    };
    let last = house.grow("a").await;
    house.server.clock.advance(INTERVAL);
    house.cosigned(last, 1).await;
    assert_eq!(house.witnesses[0].asked(), [0, size, 0]);
}

#[tokio::test]
async fn what_does_not_hold_is_not_kept_and_told_at_once() {
    use Conduct::{Garbage, Smuggles, WrongKey, WrongText};
    for conduct in [WrongText, WrongKey, Garbage, Smuggles] {
        let house = house(1, "").await;
        house.cosigned(1, 1).await;
        house.witnesses[0].behave(conduct);
        house.grow("a").await;
        let before = cosigned_checkpoint(&house.client).await;
        house.server.clock.advance(INTERVAL);
        warned(&house.client, "witness.example/w1; what it answered is no cosignature").await;
        assert_eq!(cosigned_checkpoint(&house.client).await, before, "{conduct:?}");
    }
}

#[tokio::test]
async fn a_witness_that_does_not_know_the_log_or_its_key_is_told() {
    let house = house(1, "").await;
    house.cosigned(1, 1).await;
    let other =
        VerifierKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
            .expect("a key");
    house.witnesses[0].state().logs = vec![other];
    house.grow("a").await;
    house.server.clock.advance(INTERVAL);
    warned(&house.client, "witness.example/w1; it does not know its origin").await;
    let mut public = [7; 32];
    let of_log = (0..=u8::MAX).find_map(|byte| {
        public[0] = byte;
        VerifierKey::of(house.log.name().clone(), &public)
    });
    house.witnesses[0].state().logs = vec![of_log.expect("half of all are keys")];
    house.server.clock.advance(INTERVAL);
    warned(&house.client, "it does not know a key that signs it").await;
}

#[tokio::test]
async fn too_few_cosign_nothing_and_that_is_told_once_they_are_overdue() {
    let house = house(3, "").await;
    house.cosigned(1, 3).await;
    for gone in &house.witnesses[..2] {
        gone.behave(Conduct::Gone);
    }
    let last = house.grow("a").await;
    let before = cosigned_checkpoint(&house.client).await;
    house.server.clock.advance(INTERVAL);
    shows(&house.server, &of_witness(3, "position", last)).await;
    shows(&house.server, &of_witness(1, "failing", 1)).await;
    shows(&house.server, &of_witness(2, "failing", 1)).await;
    assert_eq!(cosigned_checkpoint(&house.client).await, before);
    assert_eq!(
        status(&house.client).await.warnings,
        Vec::<String>::new(),
        "they have had little time"
    );
    house.server.clock.advance(4 * INTERVAL);
    warned(&house.client, "not cosigned by the witness witness.example/w1; the server's log").await;
    warned(&house.client, "too few witnesses cosign checkpoints, and 2 must").await;
    house.witnesses[0].behave(Conduct::Well);
    house.server.clock.advance(4 * INTERVAL);
    house.cosigned(last, 2).await;
    warned(&house.client, "not cosigned by the witness witness.example/w2").await;
    let warnings = status(&house.client).await.warnings;
    assert!(!warnings.iter().any(|warning| warning.contains("too few")), "{warnings:?}");
}

#[tokio::test]
async fn a_data_directory_put_back_to_an_earlier_state_is_told_by_a_witness() {
    let start = house(1, "").await;
    start.cosigned(1, 1).await;
    let House { server, client, witnesses, .. } = start;
    drop(client);
    let (clock, config) = (Arc::clone(&server.clock), witnesses[0].settings());
    let dir = server.stop().await;
    let (data, before) = (dir.path().join("data"), dir.path().join("before"));
    copy(&data, &before);
    let server = serve(&dir, &clock, &config).await;
    let client = server.admin().await;
    for account in ["a", "b"] {
        client.grow(account).await;
    }
    let last = client.grow("c").await;
    clock.advance(2 * INTERVAL);
    shows(&server, &of_witness(1, "position", last)).await;
    drop(client);
    server.stop().await;

    fs::remove_dir_all(&data).expect("removed");
    fs::rename(&before, &data).expect("put back");
    let server = serve(&dir, &clock, &config).await;
    let client = server.admin().await;
    warned(&client, &format!("it has cosigned a checkpoint of {last} records, and this log has"))
        .await;
    // It goes on, and is longer soon, but not the same.
    for account in ["d", "e", "f", "g", "h"] {
        client.grow(account).await;
    }
    clock.advance(2 * INTERVAL);
    warned(&client, "it has cosigned a checkpoint that this log does not continue").await;
    assert_eq!(witnesses[0].seen().0, last);
}

#[tokio::test]
async fn a_witness_that_never_answers_holds_up_no_command_and_its_server_stops() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound");
    let witness = Witness::start("w", 1, &[]).await;
    let config =
        format!("[[audit.witnesses]]\nurl = \"http://{address}\"\nkey = \"{}\"\n", witness.key);
    let server = TestServer::builder().config(&config).start().await;
    let (connection, _) = tokio::task::spawn_blocking(move || silent.accept())
        .await
        .expect("no panic")
        .expect("it was asked");
    let admin = server.admin().await;
    assert!(admin.grow("a").await > 0);
    assert_eq!(cosigned_checkpoint(&admin).await, "");
    drop(admin);
    server.stop().await;
    drop(connection);
}

/// The verdict of a run.
fn verdict(ran: &Ran) -> Value {
    serde_json::from_str(ran.out.trim()).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_asks_for_a_quorum_of_witnesses_live_and_of_what_was_exported() {
    let house = house(2, "").await;
    let (log, keys) = (house.log.to_string(), house.keys());
    house.cosigned(1, 2).await;
    let desk = Desk::at(&house.server);
    let [first, second] = [keys[0].to_string(), keys[1].to_string()];
    fs::write(desk.path("witnesses"), format!("{first}\n{second}\n")).expect("written");
    let stranger = Witness::start("witness.example/w3", 3, &[]).await.key.to_string();
    let of_log = ["--state", "log.state", "--verifier-key", &log];
    let with = |more: &[&'static str]| [&["verify"][..], &of_log, more].concat();

    let sound = desk.audit(&with(&["--witness", "witnesses"])).await.json();
    let size = sound["cosigned"]["tree_size"].as_u64().expect("a size");
    let by = sound["cosigned"]["by"].as_array().expect("witnesses");
    assert_eq!(by.len(), 2, "{sound}");
    assert_eq!(by[0]["witness"], keys[0].short());
    assert_eq!(by[0]["time"], "2026-01-01T00:00:00Z");
    let checked = sound["checked"].to_string();
    assert!(
        checked.contains(&format!("2 witnesses cosigned the log of {size} records")),
        "{sound}"
    );

    // Whatever is recorded since is not cosigned yet, and continues what is.
    house.grow("a").await;
    let mut arguments = with(&["--witness", "witnesses"]);
    let sound = desk.audit(&arguments).await.json();
    assert_eq!(sound["cosigned"]["tree_size"], size);
    assert!(sound["tree_size"].as_u64() > Some(size), "{sound}");
    let behind = format!("another log behind position {size}");
    assert!(sound["not_checked"].to_string().contains(&behind), "{sound}");

    // One more is asked for than have.
    arguments.extend(["--witness", &stranger]);
    let ran = desk.audit(&arguments).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let fault = verdict(&ran)["fault"].to_string();
    assert!(
        fault.contains("2 of the 3 witnesses have cosigned") && fault.contains("and 3 must"),
        "{fault}"
    );
    arguments.extend(["--quorum", "2"]);
    assert_eq!(desk.audit(&arguments).await.json()["sound"], true);

    // The newest checkpoint of a state file likewise.
    let shown = ["checkpoint", "--verify", "log.state", "--witness", "witnesses"];
    let ran = desk.audit(&shown).await;
    assert_eq!(ran.json()["cosigned"]["tree_size"], size);
    assert!(ran.said.contains("2 witnesses cosigned"), "{ran:?}");
    let ran = desk.audit(&["checkpoint", "--verify", "log.state", "--witness", &stranger]).await;
    assert!(ran.refused().contains("0 of the 1 witnesses have cosigned"), "{ran:?}");
    let note = desk.audit(&["checkpoint", "--cosigned", "--output", "table"]).await;
    assert!(note.out.contains("\u{2014} witness.example/w2 "), "{note:?}");
    exports(&house, &desk, size, &log, &stranger).await;
}

/// An archive and a proof up to the cosigned checkpoint, verified without the server.
async fn exports(house: &House, desk: &Desk, size: u64, log: &str, stranger: &str) {
    for (form, file, more) in [
        ("--archive", "history.tar.gz", &[][..]),
        ("--proof", "one.tlog-proof", &["--position", "1"]),
    ] {
        let export = [&["export", "--cosigned", form, file][..], more].concat();
        desk.audit(&export).await.json();
        let mut verify =
            vec!["verify", form, file, "--verifier-key", log, "--witness", "witnesses"];
        let sound = desk.audit(&verify).await.json();
        assert_eq!(
            (&sound["tree_size"], &sound["cosigned"]["tree_size"]),
            (&size.into(), &size.into())
        );
        verify.extend(["--witness", stranger]);
        let ran = desk.audit(&verify).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(verdict(&ran)["fault"].to_string().contains("and 3 must"), "{ran:?}");
    }
    // The newest checkpoint has no cosignatures, and a later record is not cosigned.
    desk.audit(&["export", "--archive", "newest.tar.gz"]).await.json();
    let verify = ["verify", "--archive", "newest.tar.gz", "--verifier-key", log];
    assert_eq!(desk.audit(&verify).await.json()["cosigned"], Value::Null);
    let ran = desk.audit(&[&verify[..], &["--witness", "witnesses"]].concat()).await;
    assert!(verdict(&ran)["fault"].to_string().contains("0 of the 2"), "{ran:?}");
    let last = house.grow("b").await.to_string();
    let late = ["export", "--cosigned", "--proof", "late", "--position", &last];
    assert!(desk.audit(&late).await.refused().contains("not yet the one at position"));
}
