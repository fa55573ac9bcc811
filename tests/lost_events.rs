//! What a restore lost: no key is authenticated until its revocations are replayed or the loss is accepted.

mod common;

use common::place::{Place, status};
use common::process::Process;
use common::{Client, credential_in, new_key, reason};
use keyledger::proto::v1::{self, DenialReason};
use prost_types::{Duration, FieldMask};
use serde_json::{Value, json};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// What the story is about.
struct Story {
    place: Place,
    /// Secrets of keys, by name.
    keys: Vec<(&'static str, String)>,
    /// Credentials of callers, by name.
    callers: Vec<(&'static str, String)>,
    /// Head of the backup `b`.
    head: u64,
    /// The last position there was: that of the later copy `later`.
    last: u64,
}

const KEYS: [&str; 8] =
    ["kept", "revoked", "disabled", "switched", "bound", "rotated", "gone over", "suspended"];

impl Story {
    fn key(&self, name: &str) -> &str {
        &self.keys.iter().find(|(found, _)| *found == name).expect("a key").1
    }

    fn caller(&self, name: &str) -> &str {
        &self.callers.iter().rfind(|(found, _)| *found == name).expect("a caller").1
    }

    async fn admin(&self, server: &Process) -> Client {
        server.client(&credential_in(&self.place.path("data"))).await
    }
}

async fn rotate(admin: &Client, key_id: &str, seconds: i64) -> String {
    let overlap = Some(Duration { seconds, nanos: 0 });
    let request = v1::RotateKeyRequest { key_id: key_id.to_owned(), overlap, ..Default::default() };
    admin.keys.clone().rotate_key(request).await.expect("rotated").into_inner().secret
}

async fn switch(admin: &Client, key_id: &str, on: bool) {
    let (mut keys, key_id) = (admin.keys.clone(), key_id.to_owned());
    if on {
        let request = v1::EnableKeyRequest { key_id, ..Default::default() };
        keys.enable_key(request).await.expect("enabled");
    } else {
        let request = v1::DisableKeyRequest { key_id, ..Default::default() };
        keys.disable_key(request).await.expect("disabled");
    }
}

/// Keys, accounts and callers that are backed up to `b`; then much is taken away, which only the copy
/// `later` has.
async fn story() -> Story {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    admin.put_account("a", "enterprise", &["a:*", "b"]).await;
    admin.put_account("s", "enterprise", &["a:*"]).await;
    let (mut keys, mut ids) = (Vec::new(), Vec::new());
    for name in KEYS {
        let account = if name == "suspended" { "s" } else { "a" };
        let (key, secret) = admin.create_key(account, name).await;
        keys.push((name, secret));
        ids.push(key.key_id);
    }
    let mut callers = Vec::new();
    let mut caller_ids = Vec::new();
    for name in ["dismissed", "renewed"] {
        let (caller, credential) = admin.create_caller(&[v1::Role::Authenticator], &[]).await;
        callers.push((name, credential));
        caller_ids.push(caller.caller_id);
    }
    let made = place.must_backup(&server, "b").await;

    take_away(&admin, &ids).await;
    let request =
        v1::RevokeCallerRequest { caller_id: caller_ids[0].clone(), ..Default::default() };
    admin.admin.clone().revoke_caller(request).await.expect("revoked");
    let overlap = Some(Duration::default());
    let caller_id = caller_ids[1].clone();
    let request = v1::RotateCallerRequest { caller_id, overlap, ..Default::default() };
    let renewed = admin.admin.clone().rotate_caller(request).await.expect("rotated").into_inner();
    callers.push(("renewed", renewed.credential));
    let (_, made_later) = admin.create_key("a", "made later").await;
    keys.push(("made later", made_later));
    let later = place.must_backup(&server, "later").await;
    server.terminate();
    let number = |made: &Value| made["head"].as_u64().expect("a head");
    Story { head: number(&made), last: number(&later), place, keys, callers }
}

async fn take_away(admin: &Client, ids: &[String]) {
    let id = |name| &ids[KEYS.iter().position(|found| *found == name).expect("a key")];
    admin.revoke(id("revoked")).await.expect("revoked");
    switch(admin, id("disabled"), false).await;
    switch(admin, id("switched"), false).await;
    switch(admin, id("switched"), true).await;
    let key = v1::Key {
        key_id: id("bound").clone(),
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..Default::default()
    };
    let update_mask = Some(FieldMask { paths: vec!["allowed_cidrs".to_owned()] });
    let request = v1::UpdateKeyRequest { key: Some(key), update_mask, ..Default::default() };
    admin.keys.clone().update_key(request).await.expect("updated");
    rotate(admin, id("rotated"), 3600).await;
    rotate(admin, id("gone over"), 0).await;
    let account = |account: &str, permissions: &[&str], status: v1::AccountStatus| v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: account.to_owned(),
        permissions: permissions.iter().map(|&word| word.to_owned()).collect(),
        status: status.into(),
        ..Default::default()
    };
    for (account, path) in [
        (account("s", &[], v1::AccountStatus::Suspended), "status"),
        (account("a", &["a:x", "c"], v1::AccountStatus::Active), "permissions"),
    ] {
        let update_mask = Some(FieldMask { paths: vec![path.to_owned()] });
        let account = Some(account);
        let request = v1::PutAccountRequest { account, update_mask, ..Default::default() };
        admin.accounts.clone().put_account(request).await.expect("put");
    }
}

async fn must_be_held(story: &Story, server: &Process, last: u64) {
    let admin = story.admin(server).await;
    let api_key = story.key("kept").to_owned();
    let request = v1::AuthenticateRequest { api_key: api_key.clone(), ..Default::default() };
    let refused = admin.keys.clone().authenticate(request).await.expect_err("held");
    let expected = [("first", story.head + 1), ("last", last)];
    let expected = expected.map(|(name, position)| (name.to_owned(), position.to_string()));
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(&refused), ("REVOCATIONS_UNRESOLVED".to_owned(), expected.into()));
    let who = server.client(&api_key).await.keys.who_am_i(v1::WhoAmIRequest {}).await;
    assert_eq!(reason(&who.expect_err("held")).0, "REVOCATIONS_UNRESOLVED");
    // Whoever resolves it can look and act.
    let now = status(&admin).await;
    let loss = v1::Loss { generation: 2, first: story.head + 1, last };
    assert_eq!((now.generation, now.losses), (2, vec![loss]));
    for (service, expected) in [
        ("", ServingStatus::NotServing),
        ("keyledger.v1.KeyService", ServingStatus::NotServing),
        ("keyledger.v1.AccountService", ServingStatus::Serving),
        ("keyledger.v1.AdminService", ServingStatus::Serving),
    ] {
        let channel = tonic::transport::Channel::from_shared(server.address.clone());
        let channel = channel.expect("an address").connect().await.expect("up");
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel).check(request).await.expect("open").into_inner();
        assert_eq!(answer.status(), expected, "{service:?}");
    }
}

async fn from(client: &Client, api_key: &str, source: &str) -> Result<(), DenialReason> {
    let context =
        Some(v1::AuthenticateContext { source_ip: source.to_owned(), ..Default::default() });
    let api_key = api_key.to_owned();
    let request = v1::AuthenticateRequest { api_key, context, ..Default::default() };
    let answer = client.keys.clone().authenticate(request).await.expect("an answer").into_inner();
    match answer.outcome() {
        v1::Outcome::Allowed => Ok(()),
        _ => Err(answer.denial_reason()),
    }
}

/// That all is denied that was denied when the log was lost.
async fn must_be_as_it_was(story: &Story, server: &Process) {
    let admin = story.admin(server).await;
    for (name, verdict) in [
        ("kept", Ok(())),
        ("revoked", Err(DenialReason::Revoked)),
        ("disabled", Err(DenialReason::Disabled)),
        ("switched", Ok(())),
        ("rotated", Ok(())),
        ("gone over", Err(DenialReason::Revoked)),
        ("suspended", Err(DenialReason::AccountInactive)),
        ("made later", Err(DenialReason::UnknownKey)),
    ] {
        assert_eq!(admin.verdict(story.key(name)).await, verdict, "{name}");
    }
    let bound = story.key("bound");
    assert_eq!(from(&admin, bound, "192.0.2.9").await, Ok(()));
    let elsewhere = from(&admin, bound, "198.51.100.1").await;
    assert_eq!(elsewhere, Err(DenialReason::SourceNotAllowed));
    let key_id = admin.authenticate(story.key("rotated"), &[]).await.key_id;
    let key = admin.get_key(&key_id).await.expect("there");
    assert!(key.expire_time.is_some() && key.name == "rotated", "{key:?}");
    for (permission, verdict) in [("a:x", true), ("a:y", false), ("b", false), ("c", false)] {
        let answer = admin.authenticate(story.key("kept"), &[permission]).await;
        assert_eq!(answer.outcome() == v1::Outcome::Allowed, verdict, "{permission}");
    }
    let [dismissed, before, now] = ["dismissed", "renewed", "renewed"];
    let old = &story.callers.iter().find(|(name, _)| *name == before).expect("a caller").1;
    for (credential, works) in
        [(story.caller(dismissed), false), (old.as_str(), false), (story.caller(now), true)]
    {
        let mut keys = server.client(credential).await.keys;
        let asked = keys.authenticate(v1::AuthenticateRequest::default()).await;
        assert_eq!(
            asked.map_err(|status| status.code()).err(),
            (!works).then_some(Code::Unauthenticated)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_denied_is_denied_again_once_the_lost_events_are_replayed() {
    let story = story().await;
    let place = &story.place;
    let ran = place.restore("new", &["--from", "b", "--keys", "data/keys"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let server = place.serve("new");
    must_be_held(&story, &server, 0).await;
    let (_, log) = server.terminate();
    assert!(log.contains("WARN") && log.contains("no key is authenticated"), "{log}");

    // Nobody knows whether they were all: what may have come behind them is to be accepted.
    let ran = place.restore("new", &["--events-from", "later"]).await;
    let rest = json!([{"generation": 2, "first": story.last + 1, "last": null}]);
    assert_eq!((ran.code, &ran.json["losses"]), (Some(1), &rest), "{ran:?}");
    let replayed = &ran.json["replayed"];
    assert_eq!(
        (&replayed["first"], &replayed["last"]),
        (&json!(story.head + 1), &json!(story.last))
    );
    assert_eq!(replayed["refused"], json!([]));
    // Five keys, two accounts, two callers.
    assert_eq!(replayed["recorded"].as_array().map(Vec::len), Some(9), "{replayed}");
    let range = format!("{}-", story.last + 1);
    let ran = place.restore("new", &["--accept-lost-revocations", &range]).await;
    assert_eq!((ran.code, &ran.json["losses"]), (Some(0), &json!([])), "{ran:?}");
    for _ in 0..2 {
        let server = place.serve("new");
        must_be_as_it_was(&story, &server).await;
        server.terminate();
    }
    let again = place.restore("new", &["--events-from", "later"]).await;
    assert!(again.said.contains("lost nothing"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_at_hand_are_replayed_by_the_restore_itself() {
    let story = story().await;
    let last = story.last.to_string();
    let known = ["--last-known", &last, "--events-from", "later"];
    let arguments = [&["--from", "b", "--keys", "data/keys"], &known[..]].concat();
    let ran = story.place.restore("new", &arguments).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let server = story.place.serve("new");
    must_be_as_it_was(&story, &server).await;
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_end_too_early_leave_the_rest_to_be_resolved() {
    let story = story().await;
    let (place, last) = (&story.place, story.last + 3);
    let last_known = last.to_string();
    let arguments = ["--from", "b", "--keys", "data/keys", "--last-known", &last_known];
    let ran = place.restore("new", &arguments).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let server = place.serve("new");
    must_be_held(&story, &server, last).await;
    server.terminate();
    let ran = place.restore("new", &["--events-from", "later"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let rest = json!([{"generation": 2, "first": story.last + 1, "last": last}]);
    assert_eq!(ran.json["losses"], rest);
    let range = format!("{}-{last}", story.last + 1);
    let ran = place.restore("new", &["--accept-lost-revocations", &range]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let server = place.serve("new");
    must_be_as_it_was(&story, &server).await;
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_range_that_was_lost_can_be_accepted() {
    let story = story().await;
    let (place, first, last) = (&story.place, story.head + 1, story.last);
    let last_known = last.to_string();
    let arguments = ["--from", "b", "--keys", "data/keys", "--last-known", &last_known];
    let right = format!("{first}-{last}");
    let wrong = [&arguments[..], &["--accept-lost-revocations", "1-2"]].concat();
    let ran = place.restore("new", &wrong).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.said.contains(&right), "the right one is named: {ran:?}");
    for wrong in
        [format!("{first}-"), format!("{first}-{}", last - 1), format!("{}-{last}", first + 1)]
    {
        let ran = place.restore("new", &["--accept-lost-revocations", &wrong]).await;
        assert_eq!(ran.code, Some(1), "{wrong}: {ran:?}");
        assert!(ran.said.contains(&right), "{ran:?}");
    }
    let server = place.serve("new");
    must_be_held(&story, &server, last).await;
    let busy = place.restore("new", &["--accept-lost-revocations", &right]).await;
    assert!(busy.said.contains("another keyledger process"), "{busy:?}");
    server.terminate();
    let ran = place.restore("new", &["--accept-lost-revocations", &right]).await;
    assert_eq!((ran.code, &ran.json["losses"]), (Some(0), &json!([])), "{ran:?}");
    let server = place.serve("new");
    let admin = story.admin(&server).await;
    // That is what is accepted.
    assert_eq!(admin.verdict(story.key("revoked")).await, Ok(()));
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_another_log_and_events_that_do_not_reach_are_refused() {
    let (story, other) = (story().await, story().await);
    let place = &story.place;
    let foreign = other.place.path("later");
    let foreign = foreign.to_str().expect("text");
    let from = ["--from", "b", "--keys", "data/keys", "--events-from"];
    for (events, said) in [
        (foreign, "not those of this log"),
        ("b", "do not go on"),
        ("data/keys", "no sealed volume"),
    ] {
        let ran = place.restore("new", &[&from[..], &[events]].concat()).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.said.contains(said), "{ran:?}");
        assert!(!place.path("new").exists(), "nothing is made");
    }
    place.restore("new", &from[..4]).await;
    let ran = place.restore("new", &["--events-from", foreign]).await;
    assert!(ran.said.contains("not those of this log"), "{ran:?}");
    let tail = std::fs::read_dir(place.path("later"))
        .expect("there")
        .map(|entry| entry.expect("an entry").path());
    let tail =
        tail.into_iter().find(|path| path.to_string_lossy().contains("tail-")).expect("a tail");
    let mut bytes = std::fs::read(&tail).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&tail, bytes).expect("written");
    let ran = place.restore("new", &["--events-from", "later"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.said.contains("tail-"), "{ran:?}");
    let server = place.serve("new");
    must_be_held(&story, &server, 0).await;
    // A key of a held log can still be made and revoked.
    let admin = story.admin(&server).await;
    let made = admin.keys.clone().create_key(new_key("acme", "a", "meanwhile")).await;
    let key_id = made.expect("created").into_inner().key.expect("a key").key_id;
    admin.revoke(&key_id).await.expect("revoked");
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_by_hand_meanwhile_is_not_undone_by_the_lost_events() {
    let story = story().await;
    let place = &story.place;
    let last = story.last.to_string();
    let arguments = ["--from", "b", "--keys", "data/keys", "--last-known", &last];
    place.restore("new", &arguments).await;
    let server = place.serve("new");
    let admin = story.admin(&server).await;
    let request = v1::ListKeysRequest { tenant_id: "acme".to_owned(), ..Default::default() };
    let keys = admin.keys.clone().list_keys(request).await.expect("a page").into_inner().keys;
    let id = |name: &str| &keys.iter().find(|key| key.name == name).expect("a key").key_id;
    admin.revoke(id("revoked")).await.expect("revoked");
    switch(&admin, id("disabled"), false).await;
    admin.revoke(id("kept")).await.expect("revoked");
    server.terminate();
    let ran = place.restore("new", &["--events-from", "later"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let recorded = ran.json["replayed"]["recorded"].as_array().map(Vec::len);
    assert_eq!(recorded, Some(7), "two of nine were done by hand: {ran:?}");
    let server = place.serve("new");
    let admin = story.admin(&server).await;
    for (name, denial) in [
        ("kept", DenialReason::Revoked),
        ("revoked", DenialReason::Revoked),
        ("disabled", DenialReason::Disabled),
        ("suspended", DenialReason::AccountInactive),
    ] {
        assert_eq!(admin.verdict(story.key(name)).await, Err(denial), "{name}");
    }
    server.terminate();
}
