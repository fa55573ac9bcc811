//! What lies on the disk of an erased account: with every key of the server nothing of it can be opened, whatever interrupted
//! the erasure, and the history still verifies.

mod common;

use std::fs;
use std::sync::Arc;

use common::TestServer;
use common::desk::{Desk, events as history, verifier_key};
use common::erasure::{
    PERSONAL, SLOT_BYTES, Scene, erased, is_anns, opened, scene, shows_nothing, vault_of,
};
use common::usage::{context, end_minute, put_on_record};
use keyledger::proto::v1::{self, AuditEvent, DenialReason};
use keyledger::vault::OpenError;
use tempfile::TempDir;

/// Holds that with every key of a stopped server nothing of Ann's opens, and all of the others' does.
fn assert_only_anns_are_shut(dir: &TempDir, events: &[AuditEvent]) {
    let vault = vault_of(&dir.path().join("data"));
    let (mut shut, mut open) = (0, 0);
    for event in events {
        match opened(&vault, event) {
            None => {}
            Some(Err(error)) => {
                assert!(is_anns(event), "position {}: {error}", event.position);
                assert_eq!(error, OpenError::Erased);
                shut += 1;
            }
            Some(Ok(clear)) => {
                let text = String::from_utf8_lossy(&clear);
                let named = PERSONAL.iter().find(|personal| text.contains(**personal));
                assert_eq!(named, None, "position {}", event.position);
                open += 1;
            }
        }
    }
    assert!(shut >= 4 && open >= 3, "{shut} shut and {open} open");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_key_of_the_server_nothing_of_the_account_can_be_opened() {
    let Scene { server, admin, secret, before, .. } = scene().await;
    let dir = {
        let clear = vault_of(&server.data_dir());
        let anns = before.iter().filter(|event| is_anns(event));
        let texts: Vec<_> = anns.filter_map(|event| opened(&clear, event)?.ok()).collect();
        let text = texts.iter().map(|clear| String::from_utf8_lossy(clear)).collect::<String>();
        assert!(PERSONAL.iter().all(|personal| text.contains(personal)), "all of it was there");
        erased(&admin, "ann").await;
        // Denied uses go on record as well, and tell nothing of where they came from.
        let request = v1::AuthenticateRequest {
            api_key: secret,
            context: context("read", "203.0.113.77", "ann-agent"),
            ..Default::default()
        };
        let answer = admin.keys.clone().authenticate(request).await.expect("an answer");
        assert_eq!(answer.into_inner().denial_reason(), DenialReason::AccountInactive);
        end_minute(&server, &admin).await;
        let (server, admin) = put_on_record(server).await;
        let events = history(&admin).await;
        let used = events.iter().rev().find(|event| is_anns(event)).expect("a use");
        let Some(v1::event::Kind::KeyUsed(used)) = used.event.clone().and_then(|it| it.kind) else {
            panic!("{used:?}")
        };
        let window = used.window.expect("a window");
        assert_eq!(window.totals[0].count, 1, "counted");
        assert!(window.counts.iter().all(|line| line.source == 0), "and from nowhere");
        assert!(window.samples.iter().all(|it| (it.source, it.agent) == (0, 0)));
        let dir = server.stop().await;
        assert_only_anns_are_shut(&dir, &events);
        dir
    };
    for (file, bytes) in common::process::contents(&dir.path().join("data")) {
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let held = PERSONAL.iter().find(|text| holds(text));
        assert_eq!(held, None, "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_ends_an_erasure_that_was_interrupted_before_the_data_keys_were_wiped() {
    let Scene { server, admin, ann, .. } = scene().await;
    let file = server.data_dir().join("datakeys");
    let whole = fs::read(&file).expect("there");
    erased(&admin, "ann").await;
    let events = history(&admin).await;
    let clock = Arc::clone(&server.clock);
    let dir = server.stop().await;
    let wiped = fs::read(&file).expect("there");
    assert_ne!(wiped, whole);

    // As a process leaves it that ends once the event is durable: before the first slot, with some bytes of one
    // wiped, or before the last, which is the account's own.
    let starts = (0..whole.len()).step_by(SLOT_BYTES);
    let slots: Vec<_> = starts.map(|at| at..at + SLOT_BYTES).collect();
    let mut changed = slots.into_iter().filter(|slot| whole[slot.clone()] != wiped[slot.clone()]);
    let (own, month) = (changed.next().expect("a slot"), changed.next().expect("a slot"));
    let state = month.start + 5..month.start + 6;
    let half = month.start..month.start + 90;
    for done in [vec![], vec![state.clone()], vec![state, half], vec![month]] {
        let mut left = whole.clone();
        for range in &done {
            left[range.clone()].copy_from_slice(&wiped[range.clone()]);
        }
        assert_eq!(left[own.clone()], whole[own.clone()]);
        fs::write(&file, &left).expect("written");
        let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
        shows_nothing(&server.admin().await, &ann).await;
        server.stop().await;
        assert_eq!(fs::read(&file).expect("there"), wiped, "{done:?}");
        assert_only_anns_are_shut(&dir, &events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_asks_erases_and_tells_and_the_history_still_verifies() {
    let Scene { server, admin, ann, secret, .. } = scene().await;
    let desk = Desk::at(&server);
    let erase = ["admin", "erase-account", "acme", "ann"];
    let unasked = desk.run("json", &erase).await;
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert!(unasked.said.contains("--yes"), "{unasked:?}");
    assert_eq!(admin.verdict(&secret).await, Err(DenialReason::SourceNotAllowed), "not erased");
    let erase = [&erase[..], &["--yes"]].concat();
    let told = desk.run("json", &erase).await.json();
    assert_eq!(told["data_keys"], 2);
    let again = desk.run("table", &erase).await;
    assert!(again.out.contains("destroyed before"), "{again:?}");

    let shown = desk.run("table", &["key", "get", &ann.key_id]).await;
    assert!(shown.out.contains("[erased]"), "{shown:?}");
    let timeline = desk.run("table", &["audit", "timeline", &ann.key_id]).await;
    let created = timeline.out.lines().find(|line| line.contains("key created"));
    assert!(created.is_some_and(|line| line.contains("[erased]")), "{timeline:?}");

    admin.covered(told["position"].as_u64().expect("a position")).await;
    let key = verifier_key(&admin).await.to_string();
    let verify = ["audit", "verify", "--state", "state", "--verifier-key", &key];
    let verified = desk.run("json", &verify).await.json();
    assert_eq!(verified["sound"], true, "{verified}");
    let export = ["audit", "export", "--archive", "history.tar.gz"];
    desk.run("json", &export).await.json();
    let verify = ["audit", "verify", "--archive", "history.tar.gz", "--verifier-key", &key];
    let verified = desk.run("json", &verify).await.json();
    assert_eq!(verified["sound"], true, "{verified}");
}
