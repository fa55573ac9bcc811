//! Data directories with accounts and keys in them, made over the wire by the real program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyledger::proto::v1;
use keyledger::proto::v1::account_service_client::AccountServiceClient;
use keyledger::proto::v1::admin_service_client::AdminServiceClient;
use keyledger::proto::v1::key_service_client::KeyServiceClient;
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::asks::{GRANTED, Secrets, question};
use crate::now;
use crate::program::{Process, serve};
use crate::rivals::Measured;

pub(crate) const TENANT: &str = "acme";

/// A limit that is judged and never reached.
const PLAN: &str = "bench";
const REQUESTS_A_MINUTE: u32 = 10_000_000;

/// Keys of an account.
const KEYS_OF_ONE: usize = 10;

/// Keys that are revoked before anything is measured.
const REVOKED: usize = 100;

/// Calls under way when all this is made, and connections.
const MAKING: usize = 512;
const CONNECTIONS: usize = 4;

/// How often a key is made and one revoked while a load runs.
const CHANGES: Duration = Duration::from_millis(100);

type Bearer = MetadataValue<Ascii>;
type Keys = KeyServiceClient<Channel>;

/// A data directory that is not open.
pub(crate) struct House {
    pub(crate) data_dir: PathBuf,
    /// The file of [`Secrets`].
    pub(crate) secrets: PathBuf,
    /// An answer of this server's, encoded.
    pub(crate) answer: PathBuf,
    /// Of an authenticator.
    pub(crate) credential: String,
}

/// Writes the configuration with that durability of uses; all else is as shipped.
pub(crate) fn write_config(dir: &Path, durability: &str) -> PathBuf {
    let path = dir.join(format!("{durability}.toml"));
    let text = format!(
        "[plans.{PLAN}]\nrequests_per_minute = {REQUESTS_A_MINUTE}\n\n[usage]\ndurability = \"{durability}\"\n"
    );
    std::fs::write(&path, text).expect("written");
    path
}

impl House {
    /// Makes one below `dir` with so many keys, ten to an account.
    pub(crate) async fn furnish(dir: &Path, keys: usize) -> Self {
        let data_dir = dir.join("data");
        let server = Process::start(&mut serve(&data_dir, &write_config(dir, "bounded")));
        let admin = Admin::of(&data_dir, &server).await;
        let credential = admin.make_caller().await;
        admin.make_accounts((keys + REVOKED).div_ceil(KEYS_OF_ONE)).await;
        let working = admin.make_keys(0..keys).await;
        let revoked = admin.make_keys(keys..keys + REVOKED).await;
        for (id, _) in &revoked {
            admin.revoke(id.clone()).await;
        }
        let secret_of = |(_, secret)| secret;
        let secrets = Secrets {
            working: working.into_iter().map(secret_of).collect(),
            revoked: revoked.into_iter().map(secret_of).collect(),
        };
        let answer = dir.join("answer");
        std::fs::write(&answer, admin.ask(&secrets.working[0]).await).expect("written");
        server.stop();
        let file = dir.join("secrets");
        secrets.write(&file);
        House { data_dir, secrets: file, answer, credential }
    }

    /// A copy of the data directory below `dir`.
    pub(crate) fn copy_data(&self, dir: &Path) -> PathBuf {
        let to = dir.join("data");
        let copied = Command::new("cp").arg("-a").arg(&self.data_dir).arg(&to).status();
        assert!(copied.expect("cp runs").success(), "it was copied");
        to
    }
}

/// An admin's client.
#[derive(Clone)]
pub(crate) struct Admin {
    channels: Vec<Channel>,
    bearer: Bearer,
}

impl Admin {
    pub(crate) async fn of(data_dir: &Path, server: &Process) -> Self {
        let credential = std::fs::read_to_string(data_dir.join("admin.credential")).expect("made");
        let bearer = format!("Bearer {}", credential.trim()).parse().expect("ascii");
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            let channel = Channel::from_shared(server.address.clone());
            channels.push(channel.expect("an address").connect().await.expect("up"));
        }
        Admin { channels, bearer }
    }

    fn with<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
    }

    fn channel(&self, n: usize) -> Channel {
        self.channels[n % CONNECTIONS].clone()
    }

    fn keys(&self) -> Keys {
        KeyServiceClient::new(self.channel(0))
    }

    /// A caller that may authenticate; answers its credential.
    async fn make_caller(&self) -> String {
        let request = v1::CreateCallerRequest {
            name: "bench".to_owned(),
            owner: "bench".to_owned(),
            roles: vec![v1::Role::Authenticator.into()],
            ..Default::default()
        };
        let mut admin = AdminServiceClient::new(self.channel(0));
        admin.create_caller(self.with(request)).await.expect("made").into_inner().credential
    }

    async fn make_accounts(&self, count: usize) {
        let next = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        for task in 0..MAKING.min(count) {
            let (admin, next) = (self.clone(), Arc::clone(&next));
            running.spawn(async move {
                let mut accounts = AccountServiceClient::new(admin.channel(task));
                while let Some(n) = take(&next, count) {
                    let account = v1::Account {
                        tenant_id: TENANT.to_owned(),
                        account_id: account_of(n * KEYS_OF_ONE),
                        plan: PLAN.to_owned(),
                        permissions: vec![GRANTED.to_owned()],
                        ..Default::default()
                    };
                    let request =
                        v1::PutAccountRequest { account: Some(account), ..Default::default() };
                    accounts.put_account(admin.with(request)).await.expect("put");
                }
            });
        }
        running.join_all().await;
    }

    /// Makes the keys of these numbers; answers ids and secrets.
    async fn make_keys(&self, numbers: std::ops::Range<usize>) -> Vec<(String, String)> {
        let (first, count) = (numbers.start, numbers.len());
        let next = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        for task in 0..MAKING.min(count) {
            let (admin, next) = (self.clone(), Arc::clone(&next));
            running.spawn(async move {
                let mut keys = KeyServiceClient::new(admin.channel(task));
                let mut made = Vec::new();
                while let Some(n) = take(&next, count) {
                    made.push(admin.make_key(&mut keys, first + n).await);
                }
                made
            });
        }
        running.join_all().await.into_iter().flatten().collect()
    }

    async fn make_key(&self, keys: &mut Keys, number: usize) -> (String, String) {
        let request = v1::CreateKeyRequest {
            tenant_id: TENANT.to_owned(),
            account_id: account_of(number),
            name: format!("key {number}"),
            environment: "live".to_owned(),
            ..Default::default()
        };
        let request = self.with(request);
        let made = match keys.create_key(request).await {
            Ok(made) => made.into_inner(),
            Err(status) => panic!("a key is made: {status}"),
        };
        (made.key.expect("a key").key_id, made.secret)
    }

    async fn revoke(&self, key_id: String) {
        let request = v1::RevokeKeyRequest { key_id, ..Default::default() };
        self.keys().revoke_key(self.with(request)).await.expect("revoked");
    }

    /// The answer about a key, encoded.
    async fn ask(&self, secret: &str) -> Vec<u8> {
        let answer = self.keys().authenticate(self.with(question(secret, GRANTED))).await;
        let answer = answer.expect("answered").into_inner();
        assert!(answer.principal.is_some(), "it is allowed");
        answer.encode_to_vec()
    }

    /// Makes keys for a while, so many at once.
    pub(crate) async fn time_creating(&self, in_flight: usize, span: Duration) -> Measured {
        let began = now();
        let mut running = JoinSet::new();
        for task in 0..in_flight {
            let admin = self.clone();
            running.spawn(async move {
                let mut keys = KeyServiceClient::new(admin.channel(task));
                let mut latencies = Vec::new();
                while began.elapsed() < span {
                    let sent = now();
                    admin.make_key(&mut keys, task).await;
                    latencies.push(sent.elapsed());
                }
                latencies
            });
        }
        let latencies = running.join_all().await.into_iter().flatten().collect();
        Measured::of(latencies, began)
    }

    /// Makes a key and revokes the one made before, in time, for ever.
    pub(crate) async fn keep_changing(self) {
        let (mut tick, mut before) = (tokio::time::interval(CHANGES), None);
        let mut keys = self.keys();
        loop {
            tick.tick().await;
            let (id, _) = self.make_key(&mut keys, 0).await;
            if let Some(before) = before.replace(id) {
                self.revoke(before).await;
            }
        }
    }
}

fn account_of(key: usize) -> String {
    format!("account-{}", key / KEYS_OF_ONE)
}

fn take(next: &AtomicUsize, count: usize) -> Option<usize> {
    let n = next.fetch_add(1, Ordering::Relaxed);
    (n < count).then_some(n)
}
