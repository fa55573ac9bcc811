//! Erasure and backups: an up-to-date one cannot bring back what was erased, nor can an older one with the data keys
//! that there are now.

mod common;

use std::fs;
use std::path::Path;

use common::Client;
use common::place::Place;
use common::process::{Process, contents};
use keyledger::proto::v1::{self, AccountStatus, DenialReason};
use serde_json::Value;

/// A server whose backup was copied to `old` before an account was erased, and brought up to date in `b` afterwards.
/// It is stopped.
struct Erased {
    place: Place,
    /// What the older backup and the newer one were said to be.
    made: [Value; 2],
    key_id: String,
    secrets: [String; 2],
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("there");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

async fn erase(admin: &Client, account: &str) -> u64 {
    let request = v1::EraseAccountRequest {
        tenant_id: "acme".to_owned(),
        account_id: account.to_owned(),
        ..Default::default()
    };
    admin.admin.clone().erase_account(request).await.expect("erased").into_inner().position
}

async fn erased() -> Erased {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    let mut made = Vec::new();
    for account in ["ann", "bob"] {
        admin.put_account(account, "standard", &[]).await;
        made.push(admin.create_key(account, &format!("key of {account}")).await);
    }
    let old = place.must_backup(&server, "b").await;
    copy(&place.path("b"), &place.path("old"));
    erase(&admin, "ann").await;
    let new = place.must_backup(&server, "b").await;
    server.terminate();
    let key_id = made[0].0.key_id.clone();
    let secrets = [made[0].1.clone(), made[1].1.clone()];
    Erased { place, made: [old, new], key_id, secrets }
}

impl Erased {
    /// Restores the older backup with these arguments besides, and serves what comes of it.
    async fn restored(&self, to: &str, more: &[&str]) -> (Process, Client) {
        // What the events say that are read is not lost.
        let known = &self.made[usize::from(more.contains(&"--events-from"))];
        let lost = format!("{}-", known["head"].as_u64().expect("a head") + 1);
        let arguments =
            ["--from", "old", "--keys", "data/keys", "--accept-lost-revocations", &lost];
        let ran = self.place.restore(to, &[&arguments[..], more].concat()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let server = self.place.serve(to);
        // What the first admin's credential is, a restore does not know.
        let kept = self.place.path("data/admin.credential");
        fs::copy(kept, self.place.path(to).join("admin.credential")).expect("copied");
        let admin = server.admin(&self.place.path(to)).await;
        (server, admin)
    }

    async fn shows_nothing(&self, admin: &Client) {
        let key = admin.get_key(&self.key_id).await.expect("still known");
        assert!(key.erased && key.name.is_empty());
        assert_eq!(admin.verdict(&self.secrets[0]).await, Err(DenialReason::AccountInactive));
        assert_eq!(admin.verdict(&self.secrets[1]).await, Ok(()));
        let (tenant_id, account_id) = ("acme".to_owned(), "ann".to_owned());
        let request = v1::GetAccountRequest { tenant_id, account_id };
        let account = admin.accounts.clone().get_account(request).await.expect("there");
        let account = account.into_inner().account.expect("an account");
        assert!(account.erased && account.display_name.is_empty());
        assert_eq!(account.status(), AccountStatus::Closed);
    }
}

/// The slots of the files of data keys below a directory: how many are live, and how many destroyed.
fn slots(dir: &Path) -> (usize, usize) {
    let files = contents(dir).into_iter().filter(|(file, _)| {
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("datakeys"))
    });
    let files: Vec<_> = files.collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let states: Vec<u8> = files[0].1.chunks(128).map(|slot| slot[5]).collect();
    let count = |state| states.iter().filter(|found| **found == state).count();
    (count(1), count(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_brought_up_to_date_has_the_destroyed_keys_no_more() {
    let erased = erased().await;
    assert_eq!(slots(&erased.place.path("old")), (3, 0));
    assert_eq!(slots(&erased.place.path("b")), (2, 1), "and the file before is gone");
    let ran = erased.place.restore("new", &["--from", "b", "--keys", "data/keys"]).await;
    assert_eq!(ran.code, Some(1), "nothing says how far the log went: {ran:?}");
    assert_eq!(slots(&erased.place.path("new")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_comes_back_without_what_a_later_data_key_file_has_destroyed() {
    let erased = erased().await;
    // Its own file of data keys still brings all of it back: that is what has to be gone by then.
    let (server, admin) = erased.restored("whole", &[]).await;
    assert_eq!(admin.get_key(&erased.key_id).await.expect("known").name, "key of ann");
    server.terminate();

    for (to, from) in [("by-backup", "b"), ("by-file", "data/datakeys")] {
        let (server, admin) = erased.restored(to, &["--data-keys", from]).await;
        erased.shows_nothing(&admin).await;
        server.terminate();
        let server = erased.place.serve(to);
        erased.shows_nothing(&server.admin(&erased.place.path(to)).await).await;
        server.terminate();
        assert_eq!(slots(&erased.place.path(to)).1, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_among_the_lost_events_is_done_again() {
    let erased = erased().await;
    let (server, admin) = erased.restored("new", &["--events-from", "b"]).await;
    erased.shows_nothing(&admin).await;
    server.terminate();
    assert_eq!(slots(&erased.place.path("new")).1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_key_file_that_the_backups_has_not_become_is_refused() {
    let erased = erased().await;
    let older = ["--from", "b", "--keys", "data/keys", "--data-keys", "old"];
    let ran = erased.place.restore("new", &older).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("not a later copy") && ran.said.contains("slot 2"), "{ran:?}");
    let alone = erased.place.restore("new", &["--data-keys", "b"]).await;
    assert_eq!(alone.code, Some(2), "{alone:?}");
}
