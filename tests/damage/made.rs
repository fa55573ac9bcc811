//! Data directories as the real server leaves them.

use std::path::{Path, PathBuf};

use keyledger::proto::v1;
use tempfile::TempDir;

use crate::common::process::{Process, serve};
use crate::common::{Client, new_key};

/// Small volumes, so that a few hundred changes seal some.
pub(crate) const CONFIG: &str = "[ledger]\nvolume_bytes = 65536\n";

/// How a server ended.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Stopped,
    Killed,
}

/// A directory of files in memory where there is such a place: thousands of them are written here.
pub(crate) fn home() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a directory")
}

/// Keys that were made, and whether each still works.
pub(crate) type Secrets = Vec<(String, bool)>;

/// Runs a server in `home`, has it do `rounds` rounds of changes, ends it once `sealed` volumes are sealed.
/// Answers the secrets of these rounds.
pub(crate) async fn run(home: &Path, rounds: usize, sealed: usize, end: End) -> (PathBuf, Secrets) {
    let (data, config) = (home.join("data"), home.join("config.toml"));
    std::fs::write(&config, CONFIG).expect("written");
    let mut command = serve(&data, "127.0.0.1:0");
    command.arg("--config").arg(&config);
    let server = Process::spawn(command);
    let admin = server.admin(&data).await;
    let mut secrets = Secrets::new();
    for round in 0..rounds {
        one_round(&admin, round, &mut secrets).await;
    }
    // The anchor has caught up: what is killed now is what a check can know all about.
    loop {
        let status = admin.admin.clone().get_status(v1::GetStatusRequest {}).await;
        let status = status.expect("up").into_inner();
        if status.anchor_position == status.head && sealed_in(&data) >= sealed {
            break;
        }
    }
    match end {
        End::Stopped => {
            let (status, log) = server.terminate();
            assert!(status.success(), "{log}");
        }
        End::Killed => drop(server.kill()),
    }
    (data, secrets)
}

fn sealed_in(data: &Path) -> usize {
    let entries = std::fs::read_dir(data.join("ledger")).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("volume-") && !name.ends_with(".tmp")
        })
        .count()
}

/// An account, a caller, keys plain and bound to addresses, rotated, revoked and disabled.
async fn one_round(admin: &Client, round: usize, secrets: &mut Secrets) {
    let account = format!("account-{}", round % 4);
    admin.put_account(&account, "enterprise", &["reports:*"]).await;
    let (plain, plain_secret) = admin.create_key(&account, "plain").await;
    let request = v1::CreateKeyRequest {
        allowed_cidrs: vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()],
        ..new_key("acme", &account, "bound")
    };
    let bound = admin.keys.clone().create_key(request).await.expect("made").into_inner();
    let (revoked, revoked_secret) = admin.create_key(&account, "revoked").await;
    admin.revoke(&revoked.key_id).await.expect("revoked");
    let disable = v1::DisableKeyRequest {
        key_id: bound.key.expect("a key").key_id,
        comment: "seen nowhere".to_owned(),
        ..Default::default()
    };
    admin.keys.clone().disable_key(disable).await.expect("disabled");
    let rotate = v1::RotateKeyRequest {
        key_id: plain.key_id,
        overlap: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        ..Default::default()
    };
    let rotated = admin.keys.clone().rotate_key(rotate).await.expect("rotated").into_inner();
    secrets.extend([(plain_secret, false), (revoked_secret, false), (rotated.secret, true)]);
    if round.is_multiple_of(5) {
        admin.create_caller(&[v1::Role::Authenticator], &["acme"]).await;
    }
}
