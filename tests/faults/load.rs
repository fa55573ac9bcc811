//! kill -9 while many callers change things at once.

use std::sync::{Arc, Mutex};

use keyledger::proto::v1;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::common::process::Process;
use crate::common::{Client, new_key};

/// Callers at a time, each of which creates keys and revokes every second one.
const CALLERS: usize = 16;

/// Acknowledged revocations after which the server is killed.
const ENOUGH: usize = 150;

/// Kills in a row on one directory.
const KILLS: usize = 3;

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    active: Vec<String>,
    revoked: Vec<String>,
    /// Asked to be revoked without an answer.
    perhaps: Vec<String>,
}

/// Creates and revokes until the server is gone.
async fn change(admin: Client, found: Arc<Mutex<Acknowledged>>, told: mpsc::Sender<()>) {
    for n in 0.. {
        let request = new_key("acme", "billing", &format!("key {n}"));
        let Ok(made) = admin.keys.clone().create_key(request).await else { return };
        let made = made.into_inner();
        if n % 2 == 0 {
            found.lock().expect("no panic").active.push(made.secret);
            continue;
        }
        let key_id = made.key.expect("a key").key_id;
        let request = v1::RevokeKeyRequest { key_id, ..Default::default() };
        let revoked = admin.keys.clone().revoke_key(request).await.is_ok();
        let list = |found: &mut Acknowledged| {
            let list = if revoked { &mut found.revoked } else { &mut found.perhaps };
            list.push(made.secret);
        };
        list(&mut found.lock().expect("no panic"));
        if !revoked {
            return;
        }
        let _ = told.send(()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_under_load_revives_no_key_whose_revocation_was_acknowledged() {
    let directory = TempDir::new().expect("a directory");
    let data_dir = directory.path().join("data");
    let found = Arc::new(Mutex::new(Acknowledged::default()));
    let mut server = Process::start(&data_dir);
    server.admin(&data_dir).await.put_account("billing", "enterprise", &[]).await;
    for _ in 0..KILLS {
        let admin = server.admin(&data_dir).await;
        let (told, mut tells) = mpsc::channel(1);
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(change(admin.clone(), Arc::clone(&found), told.clone()));
        }
        for _ in 0..ENOUGH {
            tells.recv().await.expect("the server works");
        }
        server.kill();
        drop(tells);
        while callers.join_next().await.is_some() {}
        server = Process::start(&data_dir);
        verify(&server.admin(&data_dir).await, &found).await;
    }
    server.terminate();
    let found = found.lock().expect("no panic");
    assert!(found.revoked.len() >= ENOUGH * KILLS);
    eprintln!(
        "kill -9 under load: {KILLS} kills, {} keys and {} revocations acknowledged, none lost",
        found.active.len() + found.revoked.len() + found.perhaps.len(),
        found.revoked.len()
    );
}

async fn verify(admin: &Client, found: &Mutex<Acknowledged>) {
    let (active, revoked, perhaps) = {
        let found = found.lock().expect("no panic");
        (found.active.clone(), found.revoked.clone(), found.perhaps.clone())
    };
    for secret in active {
        assert_eq!(admin.verdict(&secret).await, Ok(()));
    }
    for secret in revoked {
        assert_eq!(admin.verdict(&secret).await, Err(v1::DenialReason::Revoked));
    }
    for secret in perhaps {
        let verdict = admin.verdict(&secret).await;
        assert!(matches!(verdict, Ok(()) | Err(v1::DenialReason::Revoked)), "{verdict:?}");
    }
}
