//! What a server has been asked and what it has acknowledged, and whether a server knows all of it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use keyledger::proto::v1;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::common::{Client, new_key};

/// A call without an answer for this long hangs: the server's own bound is a third of it.
const ANSWER: Duration = Duration::from_secs(60);

/// What is known of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Never asked for.
    No,
    /// Asked for, and answered with an error: it may have happened.
    Perhaps,
    /// Acknowledged.
    Yes,
}

/// A key whose creation was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) revoked: Known,
}

/// All that was asked of a server about the tenant `acme`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// Accounts whose PutAccount was acknowledged.
    pub(crate) accounts: Vec<String>,
    pub(crate) keys: Vec<Key>,
    /// The names of all keys that were asked for, acknowledged or not.
    proposed: Vec<String>,
}

impl Model {
    pub(crate) async fn put_account(
        &mut self,
        client: &Client,
        account: &str,
    ) -> Result<(), Status> {
        let request = v1::PutAccountRequest {
            account: Some(v1::Account {
                tenant_id: "acme".to_owned(),
                account_id: account.to_owned(),
                display_name: format!("Account {account}"),
                plan: "standard".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        answer(client.accounts.clone().put_account(request)).await?;
        self.accounts.push(account.to_owned());
        Ok(())
    }

    pub(crate) async fn create_key(
        &mut self,
        client: &Client,
        account: &str,
    ) -> Result<(), Status> {
        self.create(client, new_key("acme", account, "")).await
    }

    /// A key whose record takes a quarter of the smallest volume.
    pub(crate) async fn create_bulky_key(
        &mut self,
        client: &Client,
        account: &str,
    ) -> Result<(), Status> {
        let metadata = (0..32).map(|n| (format!("bulk {n}"), "x".repeat(512))).collect();
        let request = v1::CreateKeyRequest { metadata, ..new_key("acme", account, "") };
        self.create(client, request).await
    }

    async fn create(
        &mut self,
        client: &Client,
        mut request: v1::CreateKeyRequest,
    ) -> Result<(), Status> {
        request.name = format!("key {}", self.proposed.len());
        self.proposed.push(request.name.clone());
        let made = answer(client.keys.clone().create_key(request)).await?;
        let id = made.key.expect("a key").key_id;
        self.keys.push(Key { id, secret: made.secret, revoked: Known::No });
        Ok(())
    }

    /// Revokes the key at a place of the list.
    pub(crate) async fn revoke(&mut self, client: &Client, at: usize) -> Result<(), Status> {
        let key = &mut self.keys[at];
        key.revoked = Known::Perhaps;
        let request = v1::RevokeKeyRequest { key_id: key.id.clone(), ..Default::default() };
        answer(client.keys.clone().revoke_key(request)).await?;
        key.revoked = Known::Yes;
        Ok(())
    }

    /// Holds the server's verdict on the key at a place of the list to what is known of it.
    pub(crate) async fn authenticate(
        &self,
        client: &Client,
        at: usize,
        told: &impl fmt::Display,
    ) -> Result<(), Status> {
        let key = &self.keys[at];
        let request = v1::AuthenticateRequest { api_key: key.secret.clone(), ..Default::default() };
        let found = answer(client.keys.clone().authenticate(request)).await?;
        let allowed = match found.outcome() {
            v1::Outcome::Allowed => true,
            v1::Outcome::Denied => {
                assert_eq!(found.denial_reason(), v1::DenialReason::Revoked, "{told}: {key:?}");
                false
            }
            v1::Outcome::Unspecified => panic!("{told}: no outcome"),
        };
        match key.revoked {
            Known::No => assert!(allowed, "{told}: {key:?} is lost or denied"),
            Known::Yes => assert!(!allowed, "{told}: {key:?} works after its revocation"),
            Known::Perhaps => {}
        }
        Ok(())
    }

    /// Reads a key with its name, which the server takes from the ledger.
    pub(crate) async fn get_key(&self, client: &Client, at: usize) -> Result<(), Status> {
        let request = v1::GetKeyRequest { key_id: self.keys[at].id.clone() };
        let key = answer(client.keys.clone().get_key(request)).await?.key.expect("a key");
        assert!(self.proposed.contains(&key.name), "{:?}", key.name);
        Ok(())
    }

    /// Holds everything a server says to what is known.
    pub(crate) async fn verify(
        &self,
        client: &Client,
        told: &impl fmt::Display,
    ) -> Result<(), Status> {
        for at in 0..self.keys.len() {
            self.authenticate(client, at, told).await?;
        }
        for account in &self.accounts {
            let request =
                v1::GetAccountRequest { tenant_id: "acme".to_owned(), account_id: account.clone() };
            let found = answer(client.accounts.clone().get_account(request)).await?.account;
            let found = found.expect("an account").account_id;
            assert_eq!(found, *account, "{told}: another account");
        }
        let request = v1::ListKeysRequest { tenant_id: "acme".to_owned(), ..Default::default() };
        let listed = answer(client.keys.clone().list_keys(request)).await?.keys;
        for key in &listed {
            let proposed = self.proposed.contains(&key.name);
            assert!(proposed, "{told}: key {:?} was never asked for", key.name);
        }
        for key in &self.keys {
            let there = listed.iter().any(|found| found.key_id == key.id);
            assert!(there, "{told}: {key:?} is not listed");
        }
        Ok(())
    }
}

/// What a call answers, if it answers at all.
async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    let answered = tokio::time::timeout(ANSWER, call).await.expect("the server hangs");
    Ok(answered?.into_inner())
}

/// Whether an error is the server's own answer; if so, holds it to what callers may be told. Else
/// the process ended under the call.
pub(crate) fn is_an_answer(status: &Status, data_dir: &Path, told: &impl fmt::Display) -> bool {
    if status.get_error_details().error_info().is_none() {
        return false;
    }
    let kind = status.code();
    assert!(
        matches!(kind, Code::Internal | Code::DataLoss | Code::Unavailable),
        "{told}: {status}"
    );
    let inner = ["os error", "sled", "/", &data_dir.display().to_string()].map(str::to_owned);
    for word in inner {
        assert!(!status.message().contains(&word), "{told}: {status}");
    }
    true
}
