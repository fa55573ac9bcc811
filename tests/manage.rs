//! Keys and accounts are listed, changed and paged; a call that names itself is done once.

mod common;

use common::{Client, TestServer, fields, new_key, reason};
use keyledger::proto::v1::{self, KeyState};
use tonic::Code;

const REQUEST_ID: &str = "6f9619ff-8b86-4011-b42d-00cf4fc964ff";

async fn started() -> (TestServer, Client) {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("billing", "enterprise", &["reports:*"]).await;
    (server, admin)
}

fn list(page_size: i32, page_token: &str) -> v1::ListKeysRequest {
    v1::ListKeysRequest {
        tenant_id: "acme".to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    }
}

async fn all_keys(admin: &Client, mut request: v1::ListKeysRequest) -> Vec<v1::Key> {
    let mut keys = Vec::new();
    loop {
        let page =
            admin.keys.clone().list_keys(request.clone()).await.expect("a page").into_inner();
        assert!(
            page.keys.len() <= 50.max(usize::try_from(request.page_size).expect("not negative"))
        );
        keys.extend(page.keys);
        if page.next_page_token.is_empty() {
            return keys;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn a_list_shows_each_key_once_in_the_order_of_creation_whatever_the_page_size() {
    let (server, admin) = started().await;
    for n in 0..23 {
        admin.create_key("billing", &format!("key {n}")).await;
        server.clock.advance(std::time::Duration::from_micros(n % 3));
    }
    for size in [0, 1, 7, 23, 1000] {
        let keys = all_keys(&admin, list(size, "")).await;
        assert_eq!(keys.len(), 23, "page size {size}");
        let places: Vec<_> = keys
            .iter()
            .map(|key| {
                let time = key.create_time.expect("a time");
                (time.seconds, time.nanos, key.key_id.clone())
            })
            .collect();
        let mut sorted = places.clone();
        sorted.sort();
        assert_eq!(places, sorted);
    }
}

#[tokio::test]
async fn a_list_is_filtered_by_state_name_metadata_and_expiry() {
    let (_server, admin) = started().await;
    let (revoked, _) = admin.create_key("billing", "web 1").await;
    admin.revoke(&revoked.key_id).await.expect("revoked");
    admin.create_key("billing", "web 2").await;
    let soon =
        prost_types::Timestamp { seconds: common::START.as_micros() / 1_000_000 + 60, nanos: 0 };
    let request = v1::CreateKeyRequest {
        metadata: [("team".to_owned(), "red".to_owned())].into(),
        expire_time: Some(soon),
        ..new_key("acme", "billing", "job")
    };
    admin.keys.clone().create_key(request).await.expect("created");
    let later = prost_types::Timestamp { seconds: soon.seconds + 1, nanos: 0 };
    let cases = [
        (
            v1::KeyFilter { states: vec![KeyState::Revoked.into()], ..Default::default() },
            vec!["web 1"],
        ),
        (
            v1::KeyFilter { name_prefix: "web".to_owned(), ..Default::default() },
            vec!["web 1", "web 2"],
        ),
        (
            v1::KeyFilter {
                metadata: [("team".to_owned(), "red".to_owned())].into(),
                ..Default::default()
            },
            vec!["job"],
        ),
        (v1::KeyFilter { expire_before: Some(later), ..Default::default() }, vec!["job"]),
        (v1::KeyFilter { expire_before: Some(soon), ..Default::default() }, vec![]),
    ];
    for (filter, expected) in cases {
        let request = v1::ListKeysRequest { filter: Some(filter.clone()), ..list(0, "") };
        let mut names: Vec<_> =
            all_keys(&admin, request).await.into_iter().map(|key| key.name).collect();
        names.sort();
        assert_eq!(names, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn page_sizes_out_of_range_and_foreign_tokens_are_refused() {
    let (_server, admin) = started().await;
    for n in 0..3 {
        admin.create_key("billing", &format!("key {n}")).await;
    }
    let mut keys = admin.keys.clone();
    for size in [-1, 1001] {
        let refused = keys.list_keys(list(size, "")).await.expect_err("out of range");
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["page_size".to_owned()])
        );
    }
    let token = keys.list_keys(list(2, "")).await.expect("a page").into_inner().next_page_token;
    let foreign = v1::ListKeysRequest { account_id: "billing".to_owned(), ..list(2, &token) };
    for request in [foreign, list(2, "nonsense"), list(2, &format!("{token}00"))] {
        let refused = keys.list_keys(request).await.expect_err("a foreign token");
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["page_token".to_owned()])
        );
    }
}

fn update(key: v1::Key, paths: &[&str]) -> v1::UpdateKeyRequest {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    let update_mask = Some(prost_types::FieldMask { paths });
    v1::UpdateKeyRequest { key: Some(key), update_mask, ..Default::default() }
}

#[tokio::test]
async fn a_key_is_changed_by_mask_and_can_only_be_narrowed() {
    let (_server, admin) = started().await;
    let (key, secret) = admin.create_key("billing", "ci").await;
    let id = || v1::Key { key_id: key.key_id.clone(), ..Default::default() };
    let scopes = |words: &[&str]| {
        Some(v1::Scopes { permissions: words.iter().map(|&word| word.to_owned()).collect() })
    };
    let mut keys = admin.keys.clone();
    let renamed = v1::Key { name: "ci 2".to_owned(), scopes: scopes(&["x:y"]), ..id() };
    let updated = keys.update_key(update(renamed, &["name"])).await.expect("renamed").into_inner();
    let shown = updated.key.expect("a key");
    assert_eq!((shown.name.as_str(), shown.scopes), ("ci 2", None));
    assert_eq!(shown.position, updated.position);
    let principal = admin.authenticate(&secret, &[]).await.principal.expect("allowed");
    assert_eq!(principal.key_name, "ci 2");

    let narrowed = v1::Key { scopes: scopes(&["reports:read", "reports:list"]), ..id() };
    keys.update_key(update(narrowed, &["scopes"])).await.expect("narrowed");
    let wider = v1::Key { scopes: scopes(&["reports:*"]), ..id() };
    let refused = keys.update_key(update(wider, &["scopes"])).await.expect_err("wider");
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec!["key.scopes".to_owned()])
    );
    let refused = keys.update_key(update(id(), &["scopes"])).await.expect_err("not removable");
    assert_eq!(fields(&refused), ["key.scopes"]);
    let answer = admin.authenticate(&secret, &["reports:write"]).await;
    assert_eq!(answer.denial_reason(), v1::DenialReason::PermissionMissing);

    let seconds = common::START.as_micros() / 1_000_000;
    let at = |after| Some(prost_types::Timestamp { seconds: seconds + after, nanos: 0 });
    keys.update_key(update(v1::Key { expire_time: at(100), ..id() }, &["expire_time"]))
        .await
        .expect("set");
    for (after, why) in [(101, "later"), (-1, "past")] {
        let request = update(v1::Key { expire_time: at(after), ..id() }, &["expire_time"]);
        let refused = keys.update_key(request).await.expect_err(why);
        assert_eq!(fields(&refused), ["key.expire_time"], "{why}");
    }
    let stale = v1::UpdateKeyRequest {
        expected_position: Some(key.position),
        ..update(v1::Key { name: "ci 3".to_owned(), ..id() }, &["name"])
    };
    let refused = keys.update_key(stale).await.expect_err("stale");
    assert_eq!((refused.code(), reason(&refused).0.as_str()), (Code::Aborted, "STALE_POSITION"));
    let unknown = keys.update_key(update(id(), &["secret"])).await.expect_err("no such field");
    assert_eq!(unknown.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_account_is_put_by_mask_and_closing_it_is_final() {
    let (_server, admin) = started().await;
    let account = admin.put_account("web", "standard", &["a:b"]).await;
    assert_eq!(account.status(), v1::AccountStatus::Active);
    let again = admin.put_account("web", "standard", &["a:b"]).await;
    assert_eq!(again.position, account.position, "the same once more changes nothing");
    let web = || v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "web".to_owned(),
        ..Default::default()
    };
    let mut accounts = admin.accounts.clone();
    let mut put = async |account: v1::Account, paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        let update_mask = (!paths.is_empty()).then_some(prost_types::FieldMask { paths });
        let request =
            v1::PutAccountRequest { account: Some(account), update_mask, ..Default::default() };
        accounts.put_account(request).await
    };
    let renamed =
        v1::Account { display_name: "Web".to_owned(), plan: "nonsense".to_owned(), ..web() };
    let shown =
        put(renamed, &["display_name"]).await.expect("renamed").into_inner().account.expect("one");
    assert_eq!((shown.display_name.as_str(), shown.plan.as_str()), ("Web", "standard"));
    assert_eq!(shown.permissions, ["a:b"]);
    let refused = put(v1::Account { plan: "gold".to_owned(), ..web() }, &["plan"])
        .await
        .expect_err("unknown");
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec!["account.plan".to_owned()])
    );
    assert!(refused.get_details_text().contains("standard"), "it names the plans there are");
    let roles = v1::Account { roles: vec!["nobody".to_owned()], ..web() };
    let refused = put(roles, &["roles"]).await.expect_err("unknown");
    assert_eq!(fields(&refused), ["account.roles"]);
    let closed = v1::Account { status: v1::AccountStatus::Closed.into(), ..web() };
    put(closed, &["status"]).await.expect("closed");
    let reopened = v1::Account { status: v1::AccountStatus::Active.into(), ..web() };
    let refused = put(reopened, &["status"]).await.expect_err("final");
    assert_eq!(
        (refused.code(), reason(&refused).0.as_str()),
        (Code::FailedPrecondition, "ACCOUNT_CLOSED")
    );
    let refused =
        admin.keys.clone().create_key(new_key("acme", "web", "k")).await.expect_err("closed");
    assert_eq!(reason(&refused).0, "ACCOUNT_NOT_ACTIVE");
    let listed = v1::ListAccountsRequest {
        tenant_id: "acme".to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let first =
        admin.accounts.clone().list_accounts(listed.clone()).await.expect("a page").into_inner();
    assert_eq!(first.accounts[0].account_id, "billing");
    let rest = v1::ListAccountsRequest { page_token: first.next_page_token, ..listed };
    let second = admin.accounts.clone().list_accounts(rest).await.expect("a page").into_inner();
    assert_eq!(
        (second.accounts[0].account_id.as_str(), second.next_page_token.as_str()),
        ("web", "")
    );
}

trait DetailsText {
    fn get_details_text(&self) -> String;
}

impl DetailsText for tonic::Status {
    fn get_details_text(&self) -> String {
        use tonic_types::StatusExt;
        let details = self.get_error_details();
        let violations = details.bad_request().map(|request| request.field_violations.clone());
        violations.unwrap_or_default().into_iter().map(|violation| violation.description).collect()
    }
}

#[tokio::test]
async fn roles_of_the_policy_reach_every_key_of_an_account_and_change_with_it() {
    let config = |word: &str| format!("[roles.reader]\npermissions = [\"{word}\"]\n");
    let server = TestServer::builder().config(&config("reports:read")).start().await;
    let admin = server.admin().await;
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        plan: "standard".to_owned(),
        roles: vec!["reader".to_owned()],
        ..Default::default()
    };
    let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
    admin.accounts.clone().put_account(request).await.expect("put");
    let (_, secret) = admin.create_key("billing", "ci").await;
    let principal =
        admin.authenticate(&secret, &["reports:read"]).await.principal.expect("allowed");
    assert_eq!(
        (principal.roles, principal.permissions),
        (vec!["reader".to_owned()], vec!["reports:read".to_owned()])
    );
    let clock = std::sync::Arc::clone(&server.clock);
    let dir = server.stop().await;
    let server =
        TestServer::builder().dir(&dir).clock(&clock).config(&config("jobs:run")).start().await;
    let principal = server.admin().await.authenticate(&secret, &["jobs:run"]).await.principal;
    assert_eq!(principal.expect("allowed").permissions, ["jobs:run"]);
}

#[tokio::test]
async fn a_call_that_names_itself_is_done_once_even_across_a_restart() {
    let (server, admin) = started().await;
    let request = v1::CreateKeyRequest {
        request_id: REQUEST_ID.to_owned(),
        ..new_key("acme", "billing", "ci")
    };
    let first = admin.keys.clone().create_key(request.clone()).await.expect("created").into_inner();
    assert!(!first.replayed && !first.secret.is_empty());
    let server = {
        let again =
            admin.keys.clone().create_key(request.clone()).await.expect("known").into_inner();
        assert_same(&first, &again);
        server.restart().await
    };
    let admin = server.admin().await;
    let again = admin.keys.clone().create_key(request.clone()).await.expect("known").into_inner();
    assert_same(&first, &again);
    let other = v1::CreateKeyRequest { name: "other".to_owned(), ..request };
    let refused = admin.keys.clone().create_key(other).await.expect_err("another request");
    assert_eq!(reason(&refused).0, "REQUEST_ID_REUSED");
    let keys = all_keys(&admin, list(0, "")).await;
    assert_eq!(keys.len(), 1);
    server.clock.advance(std::time::Duration::from_secs(24 * 60 * 60));
    let request = v1::CreateKeyRequest {
        request_id: REQUEST_ID.to_owned(),
        ..new_key("acme", "billing", "ci")
    };
    let anew = admin.keys.clone().create_key(request).await.expect("forgotten").into_inner();
    assert!(!anew.replayed);
}

fn assert_same(first: &v1::CreateKeyResponse, again: &v1::CreateKeyResponse) {
    assert!(again.replayed);
    assert_eq!(again.secret, "", "a secret is shown once");
    assert_eq!(again.position, first.position);
    assert_eq!(
        again.key.as_ref().map(|key| &key.key_id),
        first.key.as_ref().map(|key| &key.key_id)
    );
}

#[tokio::test]
async fn the_same_call_sent_many_times_at_once_is_done_once() {
    let (_server, admin) = started().await;
    let request = v1::CreateKeyRequest {
        request_id: REQUEST_ID.to_owned(),
        ..new_key("acme", "billing", "ci")
    };
    let mut calling = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (mut keys, request) = (admin.keys.clone(), request.clone());
        calling
            .spawn(async move { keys.create_key(request).await.expect("an answer").into_inner() });
    }
    let answers = calling.join_all().await;
    assert_eq!(answers.iter().filter(|answer| !answer.secret.is_empty()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.replayed).count(), 31);
    assert_eq!(all_keys(&admin, list(0, "")).await.len(), 1);
}
