//! Two accounts with all that is personal, of which one is erased.

use std::path::Path;

use keyledger::domain::event::Recorded;
use keyledger::domain::ids::{AccountId, EventId, TenantId};
use keyledger::domain::subject::Subject;
use keyledger::ledger::record;
use keyledger::proto::v1::{self, AuditEvent};
use keyledger::vault::{OpenError, SealContext, Vault};

use super::desk::events as history;
use super::usage::{context, end_minute, of_tenant, put_on_record, use_key};
use super::{Client, TestServer, new_key};

/// One text for each personal field that an account and its keys have.
pub const PERSONAL: [&str; 9] = [
    "Ann Display",
    "Ann Keyname",
    "ann-meta",
    "Ann Metadata",
    "Ann Comment",
    "Ann Subject",
    "203.0.113.0",
    "203.0.113.77",
    "ann-agent",
];

/// Bytes of a slot of the data key file.
pub const SLOT_BYTES: usize = 128;

/// A server on which `acme/ann` and `acme/bob` have used a key each, and what Ann's is.
pub struct Scene {
    pub server: TestServer,
    pub admin: Client,
    pub ann: v1::Key,
    pub secret: String,
    /// All events before the erasure.
    pub before: Vec<AuditEvent>,
}

/// Opens what is sealed in a record with all keys that there are.
pub fn opened(vault: &Vault, event: &AuditEvent) -> Option<Result<Vec<u8>, OpenError>> {
    let fact: Recorded = record::decode(&event.record).expect("a record");
    let private = fact.private.as_ref()?;
    let (tenant, account): (Option<&TenantId>, Option<&AccountId>) = match &fact.subject {
        Subject::Key(of, _) | Subject::Account(of) => (Some(&of.tenant), Some(&of.account)),
        _ => (None, None),
    };
    let (kind, event_id): (u32, EventId) = (fact.event.kind() as u32, fact.event_id);
    let context = SealContext { tenant, account, kind, event_id };
    let opened = vault.data_keys.open_sealed(&private.sealed, &context);
    Some(opened.map(|clear| clear.to_vec()))
}

/// The vault of a data directory.
pub fn vault_of(data: &Path) -> Vault {
    Vault::open(&data.join("keys"), &data.join("datakeys")).expect("a vault")
}

pub fn account(id: &str, name: &str) -> v1::PutAccountRequest {
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: id.to_owned(),
        display_name: name.to_owned(),
        plan: "enterprise".to_owned(),
        ..Default::default()
    };
    v1::PutAccountRequest { account: Some(account), ..Default::default() }
}

pub fn on_behalf_of(subject: &str) -> Option<v1::OnBehalfOf> {
    Some(v1::OnBehalfOf { subject: subject.to_owned(), ..Default::default() })
}

pub async fn scene() -> Scene {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    for (id, name) in [("ann", "Ann Display"), ("bob", "Bob Display")] {
        admin.accounts.clone().put_account(account(id, name)).await.expect("put");
    }
    let request = v1::CreateKeyRequest {
        metadata: [("ann-meta".to_owned(), "Ann Metadata".to_owned())].into(),
        allowed_cidrs: vec!["203.0.113.0/24".to_owned()],
        on_behalf_of: on_behalf_of("Ann Subject"),
        ..new_key("acme", "ann", "Ann Keyname")
    };
    let made = admin.keys.clone().create_key(request).await.expect("created").into_inner();
    let (ann, secret) = (made.key.expect("a key"), made.secret);
    let request = v1::DisableKeyRequest {
        key_id: ann.key_id.clone(),
        comment: "Ann Comment".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().disable_key(request).await.expect("disabled");
    let request = v1::EnableKeyRequest { key_id: ann.key_id.clone(), ..Default::default() };
    admin.keys.clone().enable_key(request).await.expect("enabled");
    let (_, bobs) = admin.create_key("bob", "Bob Keyname").await;
    use_key(&admin, &secret, 3, true, context("read", "203.0.113.77", "ann-agent")).await;
    use_key(&admin, &bobs, 2, true, context("read", "198.51.100.7", "bob-agent")).await;
    end_minute(&server, &admin).await;
    let (server, admin) = put_on_record(server).await;
    let before = history(&admin).await;
    Scene { server, admin, ann, secret, before }
}

pub fn erase(account: &str) -> v1::EraseAccountRequest {
    v1::EraseAccountRequest {
        tenant_id: "acme".to_owned(),
        account_id: account.to_owned(),
        ..Default::default()
    }
}

pub async fn erased(admin: &Client, account: &str) -> v1::EraseAccountResponse {
    admin.admin.clone().erase_account(erase(account)).await.expect("erased").into_inner()
}

pub fn is_anns(event: &AuditEvent) -> bool {
    event.event.as_ref().is_some_and(|event| event.account_id == "ann")
}

/// Holds that nothing personal of Ann is shown any more, and all of Bob.
pub async fn shows_nothing(admin: &Client, ann: &v1::Key) {
    let key = admin.get_key(&ann.key_id).await.expect("still known");
    assert!(key.erased && key.name.is_empty() && key.metadata.is_empty());
    assert!(key.allowed_cidrs.is_empty());
    assert_eq!((key.create_time, key.use_count), (ann.create_time, 3));
    let list = v1::ListKeysRequest { tenant_id: "acme".to_owned(), ..Default::default() };
    let keys = admin.keys.clone().list_keys(list.clone()).await.expect("a page").into_inner().keys;
    let mut told: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.erased)).collect();
    told.sort_unstable();
    assert_eq!(told, [("", true), ("Bob Keyname", false)]);
    let filter = Some(v1::KeyFilter { name_prefix: "Ann".to_owned(), ..Default::default() });
    let named = v1::ListKeysRequest { filter, ..list };
    assert!(
        admin.keys.clone().list_keys(named).await.expect("a page").into_inner().keys.is_empty()
    );

    let request = v1::ListAccountsRequest { tenant_id: "acme".to_owned(), ..Default::default() };
    let accounts = admin.accounts.clone().list_accounts(request).await.expect("a page");
    let accounts = accounts.into_inner().accounts;
    let told: Vec<_> =
        accounts.iter().map(|it| (it.display_name.as_str(), it.erased, it.status())).collect();
    let (closed, active) = (v1::AccountStatus::Closed, v1::AccountStatus::Active);
    assert_eq!(told, [("", true, closed), ("Bob Display", false, active)]);

    let events = history(admin).await;
    for event in events.iter().filter(|event| is_anns(event)) {
        let kind = event.event.as_ref().and_then(|event| event.kind.clone());
        let is_erasure = matches!(kind, Some(v1::event::Kind::AccountErased(_)));
        assert_eq!(event.disclosure, None, "{event:?}");
        assert!(event.erased || is_erasure || record_seals_nothing(event), "{event:?}");
    }
    let uses = of_tenant("acme", &[v1::GroupBy::Account, v1::GroupBy::Source]);
    let rows = admin.query(uses).await.rows;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.account_id.as_str(), row.source.as_str(), row.erased, allowed(row)))
        .collect();
    assert_eq!(told, [("ann", "", true, 3), ("bob", "198.51.100.7", false, 2)]);
}

fn allowed(row: &v1::UsageRow) -> u64 {
    row.counts.as_ref().expect("counted").allowed
}

fn record_seals_nothing(event: &AuditEvent) -> bool {
    record::decode(&event.record).expect("a record").private.is_none()
}
