//! Peppers: another one is put in force, keys and callers move to it as they are used, and the old one is retired.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::process::contents;
use common::{Client, TestServer, reason};
use keyledger::proto::v1::event::Kind;
use keyledger::proto::v1::pepper_dependent::Dependent;
use keyledger::proto::v1::stream_events_response::Answer;
use keyledger::proto::v1::{self, DenialReason, EventKind, Role};
use tonic::{Code, Status};

async fn rotate(admin: &Client) -> v1::RotatePepperResponse {
    let request = v1::RotatePepperRequest::default();
    admin.admin.clone().rotate_pepper(request).await.expect("rotated").into_inner()
}

async fn retire(
    admin: &Client,
    version: u32,
    expected: Option<u64>,
) -> Result<v1::RetirePepperResponse, Status> {
    let request = v1::RetirePepperRequest {
        version,
        force: expected.is_some(),
        expected_remaining: expected.unwrap_or(0),
        ..Default::default()
    };
    Ok(admin.admin.clone().retire_pepper(request).await?.into_inner())
}

/// How many keys and callers each pepper recognises.
async fn counts(admin: &Client) -> Vec<(u32, u64, u64)> {
    let status = admin.admin.clone().get_status(v1::GetStatusRequest {}).await.expect("up");
    let peppers = status.into_inner().peppers;
    peppers.iter().map(|pepper| (pepper.version, pepper.keys, pepper.callers)).collect()
}

/// Waits until so many events of these kinds are on record; answers the key or caller of each.
async fn recorded(admin: &Client, kinds: &[EventKind], count: usize) -> Vec<String> {
    let kinds = kinds.iter().map(|kind| i32::from(*kind)).collect();
    let filter = Some(v1::EventFilter { kinds, ..Default::default() });
    let request = v1::StreamEventsRequest { filter, follow: true, ..Default::default() };
    let mut stream = admin.audit.clone().stream_events(request).await.expect("begun").into_inner();
    let mut found = Vec::new();
    while found.len() < count {
        let answer = stream.message().await.expect("an answer").expect("it follows");
        let Some(Answer::Event(event)) = answer.answer else { continue };
        let event = event.event.expect("decoded");
        found.push(if event.key_id.is_empty() { event.caller_id } else { event.key_id });
    }
    found
}

async fn dependents(admin: &Client, version: u32, page_size: i32) -> Vec<String> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListPepperDependentsRequest { version, page_size, page_token };
        let page = admin.admin.clone().list_pepper_dependents(request).await.expect("a page");
        let page = page.into_inner();
        found.extend(page.dependents.into_iter().map(|one| match one.dependent {
            Some(Dependent::Key(key)) => key.key_id,
            Some(Dependent::Caller(caller)) => caller.caller_id,
            None => panic!("nobody"),
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn keys_and_callers_move_to_a_new_pepper_when_they_are_next_used() {
    let server = TestServer::builder().ops().start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let (used, secret) = admin.create_key("billing", "used").await;
    let (asking, own) = admin.create_key("billing", "asks who it is").await;
    let (_, unused) = admin.create_key("billing", "unused").await;
    let (idle, _) = admin.create_caller(&[Role::Auditor], &[]).await;
    assert_eq!(counts(&admin).await, [(1, 3, 2)]);

    let rotated = rotate(&admin).await;
    assert_eq!((rotated.version, rotated.replayed), (2, false));
    assert!(server.data_dir().join("keys/pepper-2.key").exists());
    let (_, newer) = admin.create_key("billing", "newer").await;
    // Whoever asks moves too, and its open connection goes on.
    let callers = recorded(&admin, &[EventKind::CallerRehashed], 1).await;
    assert_ne!(callers[0], idle.caller_id);
    assert_eq!(counts(&admin).await, [(1, 3, 1), (2, 1, 1)]);

    assert_eq!(admin.verdict(&secret).await, Ok(()));
    let who = server.client(&own).await.keys.who_am_i(v1::WhoAmIRequest {}).await;
    who.expect("an answer");
    let moved = recorded(&admin, &[EventKind::KeyRehashed], 2).await;
    assert_eq!(
        moved.into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([used.key_id.clone(), asking.key_id])
    );
    assert_eq!(counts(&admin).await, [(1, 1, 1), (2, 3, 1)]);
    assert_eq!(server.metric("keyledger_keys_by_pepper{version=\"1\"}").await, 1);
    assert_eq!(server.metric("keyledger_callers_by_pepper{version=\"2\"}").await, 1);

    let server = server.restart().await;
    let admin = server.admin().await;
    assert_eq!(counts(&admin).await, [(1, 1, 1), (2, 3, 1)]);
    for text in [&secret, &own, &unused, &newer] {
        assert_eq!(admin.verdict(text).await, Ok(()));
    }
    let all = recorded(&admin, &[EventKind::KeyRehashed], 3).await;
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3, "each moved once");
    let key = admin.get_key(&used.key_id).await.expect("there");
    assert_eq!((key.state(), key.name.as_str()), (v1::KeyState::Active, "used"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_keys_under_load_all_keep_working_while_they_move() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let mut secrets = Vec::new();
    for n in 0..100 {
        secrets.push(admin.create_key("billing", &format!("key {n}")).await.1);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for part in secrets.chunks(25).map(<[String]>::to_vec) {
        let (client, stop) = (server.admin().await, Arc::clone(&stop));
        load.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                for secret in &part {
                    assert_eq!(client.verdict(secret).await, Ok(()));
                }
            }
        });
    }
    rotate(&admin).await;
    let moved = recorded(&admin, &[EventKind::KeyRehashed], 100).await;
    assert_eq!(moved.into_iter().collect::<BTreeSet<_>>().len(), 100, "each once");
    stop.store(true, Ordering::SeqCst);
    while let Some(ended) = load.join_next().await {
        ended.expect("every answer was to allow");
    }
    assert_eq!(counts(&admin).await, [(1, 0, 0), (2, 100, 1)]);
    assert!(retire(&admin, 1, None).await.expect("nobody depends on it").destroyed);
    assert_eq!(counts(&admin).await, [(2, 100, 1)]);
    for secret in &secrets {
        assert_eq!(admin.verdict(secret).await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_does_not_move_and_is_not_revived_by_a_move_on_its_way() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &[]).await;
    let mut keys = Vec::new();
    for n in 0..40 {
        keys.push(admin.create_key("billing", &format!("key {n}")).await);
    }
    rotate(&admin).await;
    let mut racing = tokio::task::JoinSet::new();
    for (key, secret) in keys {
        let client = admin.clone();
        racing.spawn(async move {
            let (_, revoked) = tokio::join!(client.verdict(&secret), client.revoke(&key.key_id));
            revoked.expect("revoked");
            assert_eq!(client.verdict(&secret).await, Err(DenialReason::Revoked));
            let request =
                v1::GetKeyTimelineRequest { key_id: key.key_id.clone(), ..Default::default() };
            let timeline = client.audit.clone().get_key_timeline(request).await.expect("a page");
            let events = timeline.into_inner().events.into_iter().filter_map(|event| event.event);
            let kinds = events.filter_map(|event| event.kind);
            // The newest first.
            let last = kinds.into_iter().find(|kind| !matches!(kind, Kind::KeyUsed(_)));
            assert!(matches!(last, Some(Kind::KeyRevoked(_))), "{last:?}");
            assert_eq!(client.get_key(&key.key_id).await.unwrap().state(), v1::KeyState::Revoked);
        });
    }
    while let Some(ended) = racing.join_next().await {
        ended.expect("no panic");
    }
    let server = server.restart().await;
    assert_eq!(counts(&server.admin().await).await.first().map(|first| first.1), Some(0));
}

#[tokio::test]
async fn a_pepper_is_retired_once_nobody_depends_on_it_or_by_force_with_those_that_were_shown() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (moved, secret) = admin.create_key("billing", "used").await;
    let (stays, unused) = admin.create_key("billing", "unused").await;
    let (caller, credential) = admin.create_caller(&[Role::Auditor], &[]).await;
    let refused = retire(&admin, 1, None).await.expect_err("it is in force");
    assert_eq!(reason(&refused).0, "PEPPER_IN_FORCE");
    rotate(&admin).await;
    admin.verdict(&secret).await.expect("it works");
    recorded(&admin, &[EventKind::KeyRehashed, EventKind::CallerRehashed], 2).await;

    for expected in [None, Some(1), Some(3)] {
        let refused = retire(&admin, 1, expected).await.expect_err("others depend on it");
        let (why, figures) = reason(&refused);
        assert_eq!((refused.code(), why.as_str()), (Code::FailedPrecondition, "PEPPER_IN_USE"));
        assert_eq!((figures["keys"].as_str(), figures["callers"].as_str()), ("1", "1"));
    }
    let shown = dependents(&admin, 1, 1).await;
    assert_eq!(shown, [caller.caller_id, stays.key_id.clone()]);
    let retired = retire(&admin, 1, Some(2)).await.expect("forced");
    assert!(retired.destroyed);
    assert!(!server.data_dir().join("keys/pepper-1.key").exists());

    assert_eq!(admin.verdict(&unused).await, Err(DenialReason::UnknownKey));
    assert_eq!(admin.verdict(&secret).await, Ok(()));
    let key = admin.get_key(&stays.key_id).await.expect("there");
    assert_eq!(key.state(), v1::KeyState::Revoked);
    assert!(key.revoke_time.is_some());
    let stopped = server.client(&credential).await.get_key(&moved.key_id).await;
    assert_eq!(stopped.expect_err("it ended").code(), Code::Unauthenticated);
    let at = async |position| {
        let at = Some(v1::get_key_at_request::At::Position(position));
        let request = v1::GetKeyAtRequest { key_id: stays.key_id.clone(), at };
        let answer = admin.audit.clone().get_key_at(request).await.expect("a snapshot");
        answer.into_inner().key_snapshot.expect("one").denial_reason()
    };
    assert_eq!(at(retired.position - 1).await, DenialReason::Unspecified);
    assert_eq!(at(retired.position).await, DenialReason::Revoked);

    // A start needs it no longer, and destroys what is found of it again.
    let again = retire(&admin, 1, None).await.expect("it is retired");
    assert_eq!(again.position, retired.position);
    let left = server.data_dir().join("keys/pepper-1.key");
    let (clock, dir) = (Arc::clone(&server.clock), server.stop().await);
    let other = TestServer::start().await;
    fs::copy(other.data_dir().join("keys/pepper-1.key"), &left).expect("put back");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    assert!(!left.exists());
    let admin = server.admin().await;
    assert_eq!(admin.verdict(&unused).await, Err(DenialReason::UnknownKey));
    assert_eq!(admin.verdict(&secret).await, Ok(()));
    let state = admin.get_key(&stays.key_id).await.expect("there").state();
    assert_eq!(state, v1::KeyState::Revoked);
    assert_eq!(counts(&admin).await, [(2, 1, 1)]);
}

#[tokio::test]
async fn a_rotation_that_ended_between_the_file_and_the_record_is_made_good_by_the_next() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "before").await;
    let made = server.data_dir().join("keys/pepper-2.key");
    let (clock, dir) = (Arc::clone(&server.clock), server.stop().await);
    let other = TestServer::start().await;
    rotate(&other.admin().await).await;
    fs::copy(other.data_dir().join("keys/pepper-2.key"), &made).expect("left by that run");
    let bytes = fs::read(&made).expect("there");

    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    let admin = server.admin().await;
    assert_eq!(counts(&admin).await, [(1, 1, 1)], "the log says which is in force");
    let (_, meanwhile) = admin.create_key("billing", "meanwhile").await;
    assert_eq!(counts(&admin).await, [(1, 2, 1)]);
    assert_eq!(rotate(&admin).await.version, 2);
    assert_eq!(fs::read(&made).expect("there"), bytes, "it is the one that was there");
    for text in [&secret, &meanwhile] {
        assert_eq!(admin.verdict(text).await, Ok(()));
    }
}

#[tokio::test]
async fn a_start_with_a_missing_or_another_pepper_is_refused_and_says_which() {
    let server = TestServer::start().await;
    rotate(&server.admin().await).await;
    let keys = server.data_dir().join("keys");
    let (clock, dir) = (Arc::clone(&server.clock), server.stop().await);
    let other = TestServer::start().await;
    rotate(&other.admin().await).await;
    let refused = async || {
        let started = TestServer::builder().dir(&dir).clock(&clock).try_start().await;
        started.err().expect("refused").to_string()
    };
    for version in [1, 2] {
        let name = format!("pepper-{version}.key");
        let (path, aside) = (keys.join(&name), dir.path().join("aside"));
        fs::rename(&path, &aside).expect("taken away");
        let said = refused().await;
        assert!(said.contains(&format!("pepper version {version} is missing")), "{said}");
        fs::copy(other.data_dir().join("keys").join(&name), &path).expect("another");
        let said = refused().await;
        assert!(said.contains(&format!("pepper version {version} is not the one")), "{said}");
        fs::rename(&aside, &path).expect("put back");
    }
    TestServer::builder().dir(&dir).clock(&clock).start().await;
}

#[tokio::test]
async fn peppers_are_for_admins_of_everything_and_a_repeat_changes_nothing() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (_, bound) = admin.create_caller(&[Role::Admin], &["acme"]).await;
    let bound = server.client(&bound).await;
    let (_, operator) = admin.create_caller(&[Role::Operator], &[]).await;
    let operator = server.client(&operator).await;
    for (client, why) in [(&bound, "TENANT_NOT_ALLOWED"), (&operator, "ROLE_MISSING")] {
        let mut service = client.admin.clone();
        let request = v1::RotatePepperRequest::default();
        let rotated = service.rotate_pepper(request).await.expect_err("refused");
        let retired = retire(client, 1, None).await.expect_err("refused");
        let request = v1::ListPepperDependentsRequest { version: 1, ..Default::default() };
        let listed = service.list_pepper_dependents(request).await.expect_err("refused");
        for refused in [rotated, retired, listed] {
            assert_eq!(
                (refused.code(), reason(&refused).0.as_str()),
                (Code::PermissionDenied, why)
            );
        }
    }
    let request = v1::ListPepperDependentsRequest { version: 7, ..Default::default() };
    let unknown = admin.admin.clone().list_pepper_dependents(request).await.expect_err("none");
    assert_eq!(reason(&unknown).0, "PEPPER_NOT_FOUND");

    let request = v1::RotatePepperRequest {
        request_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".to_owned(),
        ..Default::default()
    };
    let first = admin.admin.clone().rotate_pepper(request.clone()).await.expect("rotated");
    let again = admin.admin.clone().rotate_pepper(request).await.expect("answered");
    let (first, again) = (first.into_inner(), again.into_inner());
    assert_eq!((first.version, first.replayed), (2, false));
    assert_eq!((again.version, again.position, again.replayed), (2, first.position, true));
}

#[tokio::test]
async fn the_last_admin_does_not_end_with_a_pepper() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (_, other) = admin.create_caller(&[Role::Admin], &[]).await;
    rotate(&admin).await;
    recorded(&admin, &[EventKind::CallerRehashed], 1).await;
    // Another admin, under the new pepper, is left; the other one is not used.
    let shown = dependents(&admin, 1, 10).await;
    assert_eq!(shown.len(), 1);
    retire(&admin, 1, Some(1)).await.expect("forced");
    let ended = server.client(&other).await.admin.get_status(v1::GetStatusRequest {}).await;
    assert_eq!(ended.expect_err("it ended").code(), Code::Unauthenticated);
    assert_eq!(counts(&admin).await, [(2, 0, 1)]);
}

#[tokio::test]
async fn a_secret_that_moved_is_nowhere_on_disk() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "standard", &[]).await;
    let (_, secret) = admin.create_key("billing", "used").await;
    rotate(&admin).await;
    admin.verdict(&secret).await.expect("it works");
    recorded(&admin, &[EventKind::KeyRehashed, EventKind::CallerRehashed], 2).await;
    let (credential, data) = (server.admin_credential(), server.data_dir());
    let _dir = server.stop().await;
    for (place, bytes) in contents(&data) {
        if place.ends_with("admin.credential") {
            continue;
        }
        for text in [&secret, &credential] {
            let body = &text[text.len() - 49..text.len() - 6];
            let raw = keyledger::domain::base62::decode::<32>(body.as_bytes()).expect("base62");
            let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
            assert!(!holds(body.as_bytes()) && !holds(&raw), "{}", place.display());
        }
    }
}
