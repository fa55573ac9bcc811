//! What is secret or personal lies nowhere in clear: every byte of the data directory and of a log at
//! its finest is searched.

mod common;

use std::path::PathBuf;

use common::process::{Process, contents, serve};
use common::{Client, credential_in, new_key};
use keyledger::proto::v1;
use tempfile::TempDir;

/// One text for each personal field there is.
const PERSONAL: [&str; 14] = [
    "Zaphod Display",
    "Trillian Subject",
    "TICKET-4711",
    "Marvin Note",
    "ownerword",
    "Arthur Metadata",
    "203.0.113.0",
    "Ford Keyname",
    "Slartibartfast Comment",
    "Deep Thought Comment",
    "Tricia Callername",
    "Zarniwoop Owner",
    "Heart of Gold Source",
    "2001:db8:77:",
];

/// Gives keys every personal field they can have. Answers the secrets.
async fn use_keys(server: &Process, admin: &Client) -> Vec<String> {
    let account = v1::Account {
        tenant_id: "acme".to_owned(),
        account_id: "billing".to_owned(),
        plan: "standard".to_owned(),
        display_name: "Zaphod Display".to_owned(),
        ..Default::default()
    };
    let request = v1::PutAccountRequest { account: Some(account), ..Default::default() };
    admin.accounts.clone().put_account(request).await.expect("put");
    let on_behalf_of = Some(v1::OnBehalfOf {
        subject: "Trillian Subject".to_owned(),
        ticket: "TICKET-4711".to_owned(),
        note: "Marvin Note".to_owned(),
    });
    let request = v1::CreateKeyRequest {
        metadata: [("ownerword".to_owned(), "Arthur Metadata".to_owned())].into(),
        allowed_cidrs: vec!["203.0.113.0/24".to_owned(), "2001:db8:77::/48".to_owned()],
        on_behalf_of,
        ..new_key("acme", "billing", "Ford Keyname")
    };
    let created = admin.keys.clone().create_key(request).await.expect("created").into_inner();
    let key_id = created.key.expect("a key").key_id;
    admin.authenticate(&created.secret, &[]).await;
    let mut secrets = vec![created.secret];
    let mut more = end_keys(server, admin, key_id).await;
    secrets.append(&mut more);
    secrets
}

/// Makes a caller with every personal field it can have. Answers its credential.
async fn use_callers(admin: &Client) -> String {
    let request = v1::CreateCallerRequest {
        name: "Tricia Callername".to_owned(),
        owner: "Zarniwoop Owner".to_owned(),
        roles: vec![v1::Role::Issuer.into()],
        ..Default::default()
    };
    let caller = admin.admin.clone().create_caller(request).await.expect("made").into_inner();
    caller.credential
}

/// Disables, rotates, reports and revokes with every aside there is. Answers the new secret.
async fn end_keys(server: &Process, admin: &Client, key_id: String) -> Vec<String> {
    let request = v1::DisableKeyRequest {
        key_id: key_id.clone(),
        comment: "Deep Thought Comment".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().disable_key(request).await.expect("disabled");
    let request = v1::EnableKeyRequest { key_id: key_id.clone(), ..Default::default() };
    admin.keys.clone().enable_key(request).await.expect("enabled");
    let overlap = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = v1::RotateKeyRequest { key_id: key_id.clone(), overlap, ..Default::default() };
    let rotated = admin.keys.clone().rotate_key(request).await.expect("rotated").into_inner();
    let who = server.client(&rotated.secret).await.keys.who_am_i(v1::WhoAmIRequest {}).await;
    assert!(who.is_err(), "it is bound to other sources");
    let request = v1::ReportLeakedKeyRequest {
        api_key: rotated.secret.clone(),
        source: "Heart of Gold Source".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().report_leaked_key(request).await.expect("reported");
    let request = v1::RevokeKeyRequest {
        key_id,
        comment: "Slartibartfast Comment".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().revoke_key(request).await.expect("revoked");
    vec![rotated.secret]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_personal_field_lies_in_the_data_directory_or_the_log() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("data");
    let mut command = serve(&path, "127.0.0.1:0");
    command.env("KEYLEDGER_LOG", "trace");
    let server = Process::spawn(command);
    let admin = server.admin(&path).await;
    let mut secrets = use_keys(&server, &admin).await;
    secrets.push(use_callers(&admin).await);
    let (_, log) = server.terminate();
    secrets.push(credential_in(&path));
    let mut places = contents(&path);
    places.retain(|(file, _)| !file.ends_with("admin.credential"));
    places.push((PathBuf::from("the log"), log.into_bytes()));
    for (place, bytes) in &places {
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for text in PERSONAL {
            assert!(!holds(text), "{} holds {text:?}", place.display());
        }
        for secret in &secrets {
            // The part after environment and public id, as text and as it is decoded.
            let body = &secret[secret.len() - 49..secret.len() - 6];
            assert!(!holds(body), "{} holds a secret", place.display());
            let raw = keyledger::domain::base62::decode::<32>(body.as_bytes()).expect("base62");
            assert!(
                !bytes.windows(32).any(|window| window == raw),
                "{} holds a secret",
                place.display()
            );
        }
    }
}
