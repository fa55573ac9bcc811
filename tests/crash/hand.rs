//! A client of a recorded server, which notes what it is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use keyledger::proto::v1;
use tokio::sync::Semaphore;
use tonic::Status;

use super::truth::GivenKey;
use crate::common::{Client, new_key};

const ACCOUNT: &str = "billing";

/// What the clients of a run have been told.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Notes>>);

#[derive(Default)]
pub struct Notes {
    /// With their secrets.
    pub keys: Vec<GivenKey>,
    pub positions: BTreeSet<u64>,
    /// By the position of the head.
    pub roots: Vec<(u64, Vec<u8>)>,
}

impl Told {
    /// With keys of an earlier run.
    pub fn of(keys: Vec<GivenKey>) -> Self {
        Told(Arc::new(Mutex::new(Notes { keys, ..Notes::default() })))
    }

    pub fn take(&self) -> Notes {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }

    fn secret_of(&self, id: &str) -> String {
        let notes = self.0.lock().expect("no panic");
        let key = notes.keys.iter().find(|key| key.id == id).expect("a key of this run");
        key.secret.clone()
    }

    fn position(&self, position: u64) {
        self.0.lock().expect("no panic").positions.insert(position);
    }

    pub fn head(&self, position: u64, root: &[u8]) {
        self.position(position);
        self.0.lock().expect("no panic").roots.push((position, root.to_vec()));
    }

    fn key(&self, key: Option<v1::Key>, secret: String, position: u64) -> String {
        let id = key.expect("a key").key_id;
        self.0.lock().expect("no panic").keys.push(GivenKey { id: id.clone(), secret });
        self.position(position);
        id
    }
}

#[derive(Clone)]
pub struct Hand {
    pub client: Client,
    pub told: Told,
}

impl Hand {
    pub async fn put_account(&self) {
        let account = self.client.put_account(ACCOUNT, "enterprise", &[]).await;
        self.told.position(account.position);
    }

    /// A key, with this much metadata.
    pub async fn create(&self, name: &str, metadata: usize) -> Result<String, Status> {
        let metadata = (0..metadata).map(|at| (format!("{at}"), "x".repeat(500))).collect();
        let request = v1::CreateKeyRequest { metadata, ..new_key("acme", ACCOUNT, name) };
        self.create_key(request).await
    }

    /// A key, and its secret.
    pub async fn create_with_secret(&self, name: &str) -> (String, String) {
        let id = self.create(name, 0).await.expect("created");
        let secret = self.told.secret_of(&id);
        (id, secret)
    }

    async fn create_key(&self, request: v1::CreateKeyRequest) -> Result<String, Status> {
        let made = self.client.keys.clone().create_key(request).await?.into_inner();
        Ok(self.told.key(made.key, made.secret, made.position))
    }

    pub async fn rotate(&self, key_id: String) {
        let overlap = Some(prost_types::Duration::default());
        let request = v1::RotateKeyRequest { key_id, overlap, ..Default::default() };
        let made =
            self.client.keys.clone().rotate_key(request).await.expect("rotated").into_inner();
        self.told.key(made.new_key, made.secret, made.position);
    }

    pub async fn disable(&self, key_id: String) {
        let request = v1::DisableKeyRequest { key_id, ..Default::default() };
        let answer = self.client.keys.clone().disable_key(request).await.expect("disabled");
        self.told.position(answer.into_inner().position);
    }

    pub async fn revoke(&self, key_id: &str) {
        let answer = self.client.revoke(key_id).await.expect("revoked");
        self.told.position(answer.position);
    }

    /// Asks for the head: what was read once must stay.
    pub async fn status(&self) {
        let status = self.client.admin.clone().get_status(v1::GetStatusRequest {}).await;
        let status = status.expect("up").into_inner();
        self.told.head(status.head, &status.tree_root);
    }

    /// Creates keys until the server ends, and tells of each.
    pub async fn create_until_the_end(self, of: usize, created: Arc<Semaphore>) {
        for n in 0.. {
            if self.create(&format!("key {of}.{n}"), 0).await.is_err() {
                return;
            }
            created.add_permits(1);
        }
    }
}
