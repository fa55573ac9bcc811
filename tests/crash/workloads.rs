//! The runs that are recorded: the real program, driven by a real client.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use keyledger::proto::v1;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::Status;

use super::answers::answers;
use super::gate::Trace;
use super::recorder::Recorder;
use super::truth::{GivenKey, Truth, hash, proposed, read_log};
use crate::common::{Client, credential_in, new_key};

const ACCOUNT: &str = "billing";

/// What the clients of a run have been told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<(Vec<GivenKey>, BTreeSet<u64>)>>);

impl Told {
    fn position(&self, position: u64) {
        self.0.lock().expect("no panic").1.insert(position);
    }

    fn key(&self, key: Option<v1::Key>, secret: String, position: u64) -> String {
        let id = key.expect("a key").key_id;
        self.0.lock().expect("no panic").0.push(GivenKey { id: id.clone(), secret });
        self.position(position);
        id
    }
}

/// A client that notes what it is told.
#[derive(Clone)]
struct Hand {
    client: Client,
    told: Told,
}

impl Hand {
    async fn put_account(&self) {
        let account = self.client.put_account(ACCOUNT, "enterprise", &[]).await;
        self.told.position(account.position);
    }

    async fn create(&self, request: v1::CreateKeyRequest) -> Result<String, Status> {
        let made = self.client.keys.clone().create_key(request).await?.into_inner();
        Ok(self.told.key(made.key, made.secret, made.position))
    }

    async fn rotate(&self, key_id: String) {
        let overlap = Some(prost_types::Duration::default());
        let request = v1::RotateKeyRequest { key_id, overlap, ..Default::default() };
        let made =
            self.client.keys.clone().rotate_key(request).await.expect("rotated").into_inner();
        self.told.key(made.new_key, made.secret, made.position);
    }

    async fn disable(&self, key_id: String) {
        let request = v1::DisableKeyRequest { key_id, ..Default::default() };
        let answer = self.client.keys.clone().disable_key(request).await.expect("disabled");
        self.told.position(answer.into_inner().position);
    }

    async fn revoke(&self, key_id: &str) {
        let answer = self.client.revoke(key_id).await.expect("revoked");
        self.told.position(answer.position);
    }

    /// Asks for the head: what was read once must stay.
    async fn status(&self) {
        let status = self.client.admin.clone().get_status(v1::GetStatusRequest {}).await;
        self.told.position(status.expect("up").into_inner().head);
    }

    /// Creates keys until the server ends, and tells of each.
    async fn create_until_the_end(self, of: usize, created: Arc<Semaphore>) {
        for n in 0.. {
            let name = format!("key {of}.{n}");
            if self.create(new_key("acme", ACCOUNT, &name)).await.is_err() {
                return;
            }
            created.add_permits(1);
        }
    }
}

/// One client, one call after the other: small frames.
pub async fn small_frames(shim: &Path) -> Trace {
    let mut recorder = Recorder::new();
    let server = recorder.serve(shim, &[]);
    let client = server.admin(&recorder.data_dir()).await;
    let hand = Hand { client, told: Told::default() };
    hand.put_account().await;
    for n in 0..12 {
        let mut keys = Vec::new();
        for part in 0..4 {
            let request = new_key("acme", ACCOUNT, &format!("key {n}.{part}"));
            keys.push(hand.create(request).await.expect("created"));
        }
        hand.revoke(&keys[0]).await;
        hand.disable(keys[1].clone()).await;
        hand.rotate(keys[2].clone()).await;
        hand.status().await;
    }
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    finish("small frames", &recorder, &hand.told)
}

/// Many calls in flight, each with as much personal data as a key may have: the largest frames.
pub async fn large_frames(shim: &Path) -> Trace {
    let mut recorder = Recorder::new();
    let server = recorder.serve(shim, &[]);
    let client = server.admin(&recorder.data_dir()).await;
    let hand = Hand { client, told: Told::default() };
    hand.put_account().await;
    let mut calls = JoinSet::new();
    for n in 0..128 {
        let hand = hand.clone();
        let metadata = (0..32).map(|at| (format!("{at} {n}"), "x".repeat(500))).collect();
        let name = "n".repeat(200);
        let request = v1::CreateKeyRequest { metadata, ..new_key("acme", ACCOUNT, &name) };
        calls.spawn(async move { hand.create(request).await.expect("created") });
    }
    while let Some(id) = calls.join_next().await {
        let id = id.expect("no panic");
        if id.as_bytes().last().is_some_and(|digit| digit % 4 == 0) {
            hand.revoke(&id).await;
        }
    }
    let (status, log) = server.terminate();
    assert!(status.success(), "{log}");
    finish("largest frames", &recorder, &hand.told)
}

/// One start after the other, some ended by kill -9 under load.
pub async fn restarts(shim: &Path) -> Trace {
    let mut recorder = Recorder::new();
    let told = Told::default();
    for start in 0..6 {
        let server = recorder.serve(shim, &[]);
        let client = server.admin(&recorder.data_dir()).await;
        let hand = Hand { client, told: told.clone() };
        hand.put_account().await;
        hand.status().await;
        if start % 3 == 2 {
            let request = new_key("acme", ACCOUNT, &format!("key of start {start}"));
            let id = hand.create(request).await.expect("created");
            hand.revoke(&id).await;
            let (status, log) = server.terminate();
            assert!(status.success(), "{log}");
            continue;
        }
        let created = Arc::new(Semaphore::new(0));
        let mut clients = JoinSet::new();
        for of in 0..4 {
            clients.spawn(hand.clone().create_until_the_end(of, Arc::clone(&created)));
        }
        let enough = created.acquire_many(12).await;
        drop(enough.expect("nobody closes it"));
        Recorder::kill(server);
        while clients.join_next().await.is_some() {}
    }
    finish("restarts", &recorder, &told)
}

fn finish(name: &'static str, recorder: &Recorder, told: &Told) -> Trace {
    let ops = recorder.finish();
    let answers = answers(&ops);
    let (keys, positions) = std::mem::take(&mut *told.0.lock().expect("no panic"));
    let left: BTreeSet<_> = answers.iter().map(|answer| answer.position).collect();
    let unseen: Vec<_> = positions.difference(&left).collect();
    assert!(unseen.is_empty(), "clients were told of {unseen:?}, the shim saw no such answer");
    let log = read_log(&recorder.data_dir()).expect("a whole log");
    let records: Vec<_> = log.iter().map(|record| hash(record)).collect();
    let mut proposed = proposed(&ops);
    for (position, record) in (1..).zip(&records) {
        assert!(!proposed.insert((position, *record)), "position {position} was never written");
    }
    let credential = credential_in(&recorder.data_dir());
    let truth = Truth { credential, records, proposed, keys };
    Trace { name, ops, answers, truth, frame_bytes: 0 }
}
