//! Backups of a real server: consistent under load, incremental, and whole or not there.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::place::{Place, grow, hex, status};
use common::process::{self, contents};
use common::{TestServer, credential_in, new_key};
use keyledger::app::restore::verify;
use keyledger::backup_dir::{Content, Digest32, Manifest, read_manifest};
use keyledger::progress::Silent;
use keyledger::proto::v1::{self, backup_response::Part};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_holds_all_that_was_acknowledged_before_it_began() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    admin.put_account("load", "enterprise", &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut working = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (admin, stop) = (admin.clone(), Arc::clone(&stop));
        working.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let (key, _) = admin.create_key("load", &format!("key of {n}")).await;
                admin.revoke(&key.key_id).await.expect("revoked");
            }
        });
    }
    let mut expected = BTreeMap::new();
    for secret in grow(&admin, 3).await {
        expected.insert(secret, Ok(()));
    }
    for n in 0..10 {
        let (key, secret) = admin.create_key("load", &format!("revoked {n}")).await;
        admin.revoke(&key.key_id).await.expect("revoked");
        expected.insert(secret, Err(v1::DenialReason::Revoked));
    }
    let acknowledged = status(&admin).await.head;
    let made = place.must_backup(&server, "b").await;
    stop.store(true, Ordering::SeqCst);
    while let Some(done) = working.join_next().await {
        done.expect("no panic");
    }
    let after = status(&admin).await.head;
    server.terminate();
    let head = made["head"].as_u64().expect("a head");
    assert!((acknowledged..=after).contains(&head), "{acknowledged} <= {head} <= {after}");

    let last_head = format!("{head}:{}", made["root"].as_str().expect("a root"));
    let arguments = ["--from", "b", "--keys", "data/keys", "--last-head", &last_head];
    let ran = place.restore("new", &arguments).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json, json!({"head": head, "generation": 1, "losses": [], "replayed": null}));
    let restored = place.serve("new");
    let client = restored.client(&credential_in(&place.path("data"))).await;
    let now = status(&client).await;
    assert_eq!((now.head, hex(&now.tree_root)), (head, made["root"].as_str().unwrap().to_owned()));
    // Before any use: those are put on record too, whenever a minute ends.
    let (key, secret) = client.create_key("load", "the next").await;
    assert_eq!((key.position, client.verdict(&secret).await), (head + 1, Ok(())));
    for (secret, verdict) in &expected {
        assert_eq!(client.verdict(secret).await, *verdict);
    }
    restored.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_new_is_fetched() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    grow(&admin, 2).await;
    let first = place.must_backup(&server, "b").await;
    let there = first["volumes"].as_u64().expect("a count");
    assert!(there >= 2 && first["received_bytes"] == first["bytes"], "{first}");
    let files = |count: u64| -> Vec<u64> {
        let path = |n| place.path("b").join(format!("volume-{n:08}"));
        (1..=count).map(|n| fs::metadata(path(n)).expect("there").ino()).collect()
    };
    let kept = files(there);

    grow(&admin, 5).await;
    let second = place.must_backup(&server, "b").await;
    assert_eq!(files(there), kept, "they are the files there were");
    let manifest = read_manifest(&place.path("b")).expect("a manifest");
    let first_new = usize::try_from(there).expect("few");
    let new = manifest.volumes[first_new..].iter().chain(&manifest.tail);
    let new_bytes = new.map(|volume| volume.content.bytes).sum::<u64>() + manifest.data_keys.bytes;
    assert_eq!(second["new_volumes"], manifest.volumes.len() as u64 - there);
    assert_eq!(second["received_bytes"], new_bytes);
    let old = manifest.volumes[..first_new].iter().map(|volume| volume.content.bytes).sum::<u64>();
    assert_eq!(second["bytes"], old + new_bytes);
    server.terminate();
    verify(&place.path("b"), &Silent).expect("whole");
}

/// A way to a server that lets through so many bytes of its answers and is then cut.
async fn cut_after(server: &str, mut bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let server = server.strip_prefix("http://").expect("a scheme").to_owned();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("a client");
        let server = TcpStream::connect(server).await.expect("up");
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let asking = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        });
        let mut buffer = vec![0; 4096];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            let passed = read.min(bytes);
            to_client.write_all(&buffer[..passed]).await.expect("the client is there");
            bytes -= passed;
            if bytes == 0 {
                break;
            }
        }
        asking.abort();
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_cut_off_leaves_the_one_before_and_goes_on_the_next_time() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    grow(&admin, 1).await;
    place.must_backup(&server, "b").await;
    let before = read_manifest(&place.path("b")).expect("a manifest");

    grow(&admin, 8).await;
    let cut = cut_after(&server.address, 200 * 1024).await;
    let ran = place.backup(&cut, "data", "b").await;
    assert!(ran.code != Some(0), "{ran:?}");
    assert_eq!(verify(&place.path("b"), &Silent).expect("still whole"), before);
    let received = fs::read_to_string(place.path("b/received")).expect("noted");
    let received = received.lines().count() - before.volumes.len();
    assert!(received >= 1);

    let ran = place.must_backup(&server, "b").await;
    let after = verify(&place.path("b"), &Silent).expect("whole");
    let new = after.volumes.len() - before.volumes.len() - received;
    assert_eq!(ran["new_volumes"], new as u64, "what was received is not fetched again");
    assert!(!place.path("b/received").exists());
    server.terminate();
}

/// A crash while a tail is written, or a client that leaves then, may leave its file by either name.
#[tokio::test(flavor = "multi_thread")]
async fn the_leftover_of_a_backup_disturbs_nothing_and_goes_with_the_next_backup_or_start() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    grow(&admin, 1).await;
    let tails = ["backup-tail.tmp", "backup-tail.tmp.tmp"];
    let tails = tails.map(|name| place.path("data/ledger").join(name));
    let volume = fs::read(place.path("data/ledger/volume-00000001")).expect("there");
    let leave = || {
        fs::write(&tails[0], &volume).expect("written");
        fs::write(&tails[1], &volume[..volume.len() / 2]).expect("written");
    };
    let left = || tails.iter().filter(|path| path.exists()).count();
    leave();
    let first = place.must_backup(&server, "b").await;
    assert_eq!(left(), 0, "the next backup takes their place");
    assert_eq!(verify(&place.path("b"), &Silent).expect("whole").head, first["head"]);

    leave();
    let before = status(&admin).await;
    server.terminate();
    let mut check = process::command();
    let check = check.args(["admin", "check", "--data-dir"]).arg(place.path("data")).output();
    let check = check.expect("it runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    assert_eq!(left(), 2, "a check changes nothing");
    let server = place.serve("data");
    assert_eq!(left(), 0, "the next start removes them");
    let admin = server.admin(&place.path("data")).await;
    let after = status(&admin).await;
    assert_eq!((after.head, after.tree_root), (before.head, before.tree_root));
    place.must_backup(&server, "b").await;
    verify(&place.path("b"), &Silent).expect("whole");
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_no_key_no_credential_and_nothing_personal_in_clear() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    let mut secrets = grow(&admin, 1).await;
    let (_, credential) = admin.create_caller(&[v1::Role::Issuer], &[]).await;
    secrets.extend([credential, credential_in(&place.path("data"))]);
    place.must_backup(&server, "b").await;
    server.terminate();
    let digits = |text: &str| keyledger::domain::base62::decode::<32>(text.as_bytes());
    let mut hidden: Vec<Vec<u8>> =
        vec![b"Account bulk".to_vec(), b"bulky".to_vec(), b"xxxxxxxx".to_vec()];
    for secret in &secrets {
        let body = &secret[secret.len() - 49..secret.len() - 6];
        hidden.extend([body.as_bytes().to_vec(), digits(body).expect("base62").to_vec()]);
    }
    for file in ["pepper-1.key", "kek-1.key"] {
        let line = fs::read_to_string(place.path("data/keys").join(file)).expect("a key");
        let key = line.split(' ').nth(2).expect("the key").to_owned();
        hidden.extend([digits(&key).expect("base62").to_vec(), key.into_bytes()]);
    }
    for (file, bytes) in contents(&place.path("b")) {
        for text in &hidden {
            let found = bytes.windows(text.len()).any(|window| window == text);
            assert!(!found, "{} holds {:?}", file.display(), String::from_utf8_lossy(text));
        }
        let mode = fs::metadata(&file).expect("there").mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_altered_byte_of_a_backup_is_found_and_its_file_named() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    grow(&admin, 1).await;
    place.must_backup(&server, "b").await;
    server.terminate();
    verify(&place.path("b"), &Silent).expect("whole");
    let mut flips = 0;
    for (file, bytes) in contents(&place.path("b")) {
        let name = file.file_name().expect("a name").to_str().expect("text").to_owned();
        // Every byte of the small files, some 200 of a volume.
        for at in (0..bytes.len()).step_by((bytes.len() / 200).max(1)) {
            let mut altered = bytes.clone();
            altered[at] ^= 0x10;
            fs::write(&file, &altered).expect("written");
            let error = verify(&place.path("b"), &Silent).expect_err("found").to_string();
            assert!(error.contains(&name), "byte {at} of {name}: {error}");
            flips += 1;
        }
        fs::write(&file, &bytes[..bytes.len().saturating_sub(1)]).expect("written");
        let whole = verify(&place.path("b"), &Silent);
        assert!(bytes.is_empty() || whole.is_err(), "{name} is one byte shorter");
        fs::write(&file, &bytes).expect("written");
    }
    assert!(flips > 800, "{flips}");
    verify(&place.path("b"), &Silent).expect("whole again");
}

/// A volume whose digest in the manifest fits, but which is no volume, is found by its own checks.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_not_believed_for_its_digest_alone() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    grow(&admin, 2).await;
    place.must_backup(&server, "b").await;
    server.terminate();
    let manifest = read_manifest(&place.path("b")).expect("a manifest");
    let file = place.path("b/volume-00000001");
    let whole = fs::read(&file).expect("there");
    let forge = |bytes: &[u8]| {
        fs::write(&file, bytes).expect("written");
        let sha256 = Digest32(Sha256::digest(bytes).into());
        let mut forged: Manifest = manifest.clone();
        forged.volumes[0].content = Content { bytes: bytes.len() as u64, sha256 };
        fs::write(place.path("b/manifest"), forged.render()).expect("written");
        verify(&place.path("b"), &Silent).map(drop)
    };
    for at in (0..whole.len()).step_by(whole.len() / 50) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        let error = forge(&altered).expect_err("found").to_string();
        assert!(error.contains("volume-00000001"), "byte {at}: {error}");
    }
    let other = fs::read(place.path("b/volume-00000002")).expect("there");
    assert!(forge(&other).is_err(), "another volume in its place");
    forge(&whole).expect("whole again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_volume_is_not_passed_on_as_a_backup() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    grow(&admin, 2).await;
    let file = place.path("data/ledger/volume-00000002");
    let mut bytes = fs::read(&file).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("written");
    let ran = place.backup(&server.address, "data", "b").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.said.contains("damaged"), "{ran:?}");
    assert!(!place.path("b/manifest").exists());
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_refused_leaves_no_directory_and_an_empty_one_empty() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    let credential = admin.create_caller(&[v1::Role::Authenticator], &[]).await.1;
    fs::create_dir(place.path("other")).expect("made");
    fs::write(place.path("other/admin.credential"), format!("{credential}\n")).expect("written");
    fs::create_dir(place.path("empty")).expect("made");
    for to in ["absent", "empty"] {
        let ran = place.backup(&server.address, "other", to).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.said.contains("ROLE_MISSING"), "{ran:?}");
    }
    assert!(!place.path("absent").exists() && contents(&place.path("empty")).is_empty());
    let address = server.address.clone();
    let made = place.must_backup(&server, "empty").await;
    let head = verify(&place.path("empty"), &Silent).expect("whole").head;
    assert_eq!(made["head"], head);
    server.terminate();
    let ran = place.backup(&address, "data", "absent").await;
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(!place.path("absent").exists());
}

/// Waits until the server cuts a connection that was made now because of its age.
async fn outlive_a_connection(server: &TestServer) {
    let address = server.address.strip_prefix("http://").expect("a scheme");
    let mut idle = TcpStream::connect(address).await.expect("accepted");
    // What it sends first, then nothing more until the end.
    while let Ok(1..) = idle.read(&mut [0; 1024]).await {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_outlives_the_age_of_its_connection() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put_account("bulk", "enterprise", &[]).await;
    let bulk = (0..32).map(|n| (format!("bulk {n}"), "x".repeat(512))).collect();
    let request = v1::CreateKeyRequest { metadata: bulk, ..new_key("acme", "bulk", "bulky") };
    for _ in 0..200 {
        admin.keys.clone().create_key(request.clone()).await.expect("created");
    }
    drop(admin);
    let dir = server.stop().await;
    let limits = "[limits]\nconnection_age_seconds = 1\ndrain_seconds = 1\n";
    let server = TestServer::builder().dir(&dir).config(limits).start().await;
    // A connection of its own, and more than any window of it holds.
    let mut client = server.admin().await.admin;
    let parts = client.backup(v1::BackupRequest::default()).await.expect("a stream");
    let mut parts = parts.into_inner();
    let first = parts.message().await.expect("a part").and_then(|message| message.part);
    assert!(matches!(first, Some(Part::Head(_))), "{first:?}");
    // Two ages and drain times, less their spread, are longer than one with it.
    outlive_a_connection(&server).await;
    outlive_a_connection(&server).await;
    let (mut bytes, mut end) = (0, None);
    while let Some(message) = parts.message().await.expect("it goes on") {
        match message.part {
            Some(Part::Data(data)) => bytes += data.len() as u64,
            Some(Part::End(whole)) => end = Some(whole),
            _ => {}
        }
    }
    assert!(bytes > 3 * 1024 * 1024, "{bytes}");
    assert_eq!(end.expect("whole").bytes, bytes);
    server.stop().await;
}
