//! Restoring, as operators do it: refused where something is missing, never half, and never another
//! history under the same name.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::place::{Place, grow, hex, status};
use common::process::contents;
use common::{Client, credential_in};
use keyledger::app::check::check_files;
use keyledger::app::restore::verify;
use keyledger::backup_dir::{Digest32, Manifest, read_manifest};
use keyledger::domain::key_format::KeyPrefix;
use keyledger::progress::Silent;
use keyledger::proto::v1;
use serde_json::{Value, json};

/// A server that has been backed up to `b` and is stopped: its data in `data`, a few volumes.
async fn backed_up() -> (Place, Value) {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    grow(&admin, 2).await;
    let made = place.must_backup(&server, "b").await;
    server.terminate();
    (place, made)
}

fn head_of(made: &Value) -> String {
    format!("{}:{}", made["head"], made["root"].as_str().expect("a root"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_empty_is_refused_untouched() {
    let (place, _) = backed_up().await;
    let before = contents(&place.path("data"));
    let ran = place.restore("data", &["--from", "b"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("not empty"), "{ran:?}");
    assert_eq!(contents(&place.path("data")), before);
    fs::create_dir(place.path("mine")).expect("made");
    fs::write(place.path("mine/notes.txt"), "mine").expect("written");
    let ran = place.restore("mine", &["--from", "b", "--keys", "data/keys"]).await;
    assert!(ran.said.contains("notes.txt"), "{ran:?}");
    assert_eq!(contents(&place.path("mine")).len(), 1);
    let ran = place.restore("new", &["--from", "data"]).await;
    assert!(ran.said.contains("no keyledger backup"), "{ran:?}");
    assert!(!place.path("new").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_wrong_and_open_keys_are_refused_by_name_and_a_later_run_succeeds() {
    let (place, made) = backed_up().await;
    let ran = place.restore("new", &["--from", "b"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("pepper-1.key") && ran.said.contains("--keys"), "{ran:?}");
    assert!(place.refused("new").contains("interrupted"), "a half directory does not start");
    let report = check_files(&place.path("new"), &KeyPrefix::default()).expect("can be checked");
    let told = |place| report.findings.iter().filter(move |finding| finding.place == place);
    let format: Vec<_> = told("FORMAT").map(|finding| &finding.what).collect();
    assert!(format.len() == 1 && format[0].contains("interrupted"), "{format:?}");
    assert_eq!(told("RESTORING").count(), 0, "it is ours: {report:?}");

    let ran = place.restore("new", &["--from", "b", "--keys", "nokeys"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("in nokeys") && ran.said.contains("pepper-1.key"), "{ran:?}");

    let other = backed_up().await.0;
    for file in ["pepper-1.key", "kek-1.key"] {
        let mixed = place.path(&format!("mixed-{file}"));
        fs::create_dir(&mixed).expect("made");
        for name in ["pepper-1.key", "kek-1.key"] {
            let from = if name == file { &other } else { &place };
            fs::copy(from.path("data/keys").join(name), mixed.join(name)).expect("copied");
        }
        let directory = format!("wrong-{file}");
        let keys = mixed.to_str().expect("text");
        let ran = place.restore(&directory, &["--from", "b", "--keys", keys]).await;
        assert!(ran.said.contains("not the one"), "{ran:?}");
        assert!(place.refused(&directory).contains("interrupted"));
        fs::set_permissions(mixed.join(file), fs::Permissions::from_mode(0o640)).expect("set");
        let ran = place.restore(&format!("open-{file}"), &["--from", "b", "--keys", keys]).await;
        assert!(ran.said.contains("chmod 600"), "{ran:?}");
    }

    // The keys put in place by hand, in the directory that an earlier run has left.
    fs::create_dir_all(place.path("new/keys")).expect("made");
    for name in ["pepper-1.key", "kek-1.key", "signing-1.key"] {
        fs::copy(place.path("data/keys").join(name), place.path("new/keys").join(name))
            .expect("copied");
    }
    let ran = place.restore("new", &["--from", "b", "--last-head", &head_of(&made)]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    place.serve("new").terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_stopped_anywhere_is_refused_and_begins_anew() {
    let (place, made) = backed_up().await;
    let damaged = place.path("b/volume-00000002");
    let whole = fs::read(&damaged).expect("there");
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&damaged, altered).expect("written");
        let ran = place.restore("new", &["--from", "b", "--keys", "data/keys"]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.said.contains("volume-00000002"), "{ran:?}");
        assert!(!place.path("new/FORMAT").exists());
        assert!(place.refused("new").contains("interrupted"));
    }
    fs::write(&damaged, whole).expect("written");
    // As if it had stopped behind each of its steps.
    for left in ["anchor", "datakeys", "datakeys.tmp", "ledger"] {
        let path = place.path("new").join(left);
        let _ = fs::remove_file(&path);
        if left == "ledger" {
            let _ = fs::create_dir(&path);
            fs::write(path.join("volume-00000001"), b"half").expect("written");
        } else {
            fs::write(&path, b"half").expect("written");
        }
        assert!(place.refused("new").contains("interrupted"));
    }
    let arguments = ["--from", "b", "--keys", "data/keys", "--last-head", &head_of(&made)];
    let ran = place.restore("new", &arguments).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(place.path("new/FORMAT").exists() && !place.path("new/RESTORING").exists());
    for (file, _) in contents(&place.path("new")) {
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others", file.display());
    }
    place.serve("new").terminate();
    place.serve("new").terminate();
    let again = place.restore("new", &["--from", "b", "--keys", "data/keys"]).await;
    assert!(again.said.contains("not empty"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_head_must_be_the_backups() {
    let (place, made) = backed_up().await;
    let head = made["head"].as_u64().expect("a head");
    let (root, other) = (made["root"].as_str().expect("a root"), "00".repeat(32));
    let position = (head - 1).to_string();
    for (option, value, said) in [
        ("--last-head", format!("{head}:{other}"), "not the one"),
        ("--last-head", format!("{position}:{root}"), "further than"),
        ("--last-known", position.clone(), "further than"),
        ("--last-known", head.to_string(), "further than"),
    ] {
        let arguments = ["--from", "b", "--keys", "data/keys", option, &value];
        let ran = place.restore("new", &arguments).await;
        assert_eq!(ran.code, Some(1), "{option} {value}");
        assert!(ran.said.contains(said), "{ran:?}");
        assert!(!place.path("new").exists(), "nothing is made");
    }
    let ran = place.restore("new", &["--from", "b", "--last-head", "12"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_names_another_origin_or_generation_is_refused_and_nothing_is_recorded() {
    let (place, made) = backed_up().await;
    let whole = read_manifest(&place.path("b")).expect("a manifest");
    let origin = Manifest { origin: Digest32([0; 32]), ..whole.clone() };
    let generation = Manifest { generation: 7, ..whole.clone() };
    let file = place.path("b/manifest");
    for other in [origin, generation] {
        fs::write(&file, other.render()).expect("written");
        let checked = verify(&place.path("b"), &Silent).expect_err("a check finds it too");
        assert!(checked.to_string().contains("another origin or generation"), "{checked}");
        let ran = place.restore("new", &["--from", "b", "--keys", "data/keys"]).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.said.contains("another origin or generation"), "{ran:?}");
        assert!(place.refused("new").contains("interrupted"));
    }
    fs::write(&file, whole.render()).expect("written");
    let arguments = ["--from", "b", "--keys", "data/keys", "--last-head", &head_of(&made)];
    assert_eq!(place.restore("new", &arguments).await.code, Some(0));
}

/// A client with the first admin's credential, which is in no backup.
async fn admin_of(place: &Place, server: &common::process::Process) -> Client {
    server.client(&credential_in(&place.path("data"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_histories_of_one_size_are_of_two_generations() {
    let (place, made) = backed_up().await;
    let head = made["head"].as_u64().expect("a head");
    let server = place.serve("data");
    let admin = admin_of(&place, &server).await;
    admin.put_account("another", "standard", &[]).await;
    let first = status(&admin).await;
    server.terminate();

    let ran = place.restore("new", &["--from", "b", "--keys", "data/keys"]).await;
    assert_eq!(ran.code, Some(1), "no key is authenticated yet: {ran:?}");
    let losses = json!([{"generation": 2, "first": head + 1, "last": null}]);
    let expected = json!({"head": head + 1, "generation": 2, "losses": losses, "replayed": null});
    assert_eq!(ran.json, expected);
    let restored = place.serve("new");
    let second = status(&admin_of(&place, &restored).await).await;
    restored.terminate();
    assert_eq!((first.head, second.head), (head + 1, head + 1));
    assert_ne!(first.tree_root, second.tree_root);
    assert_eq!((first.generation, second.generation), (1, 2));

    // Restored once more from the same backup: another history, told apart by its first record's id.
    place.restore("twice", &["--from", "b", "--keys", "data/keys"]).await;
    let restored = place.serve("twice");
    let third = status(&admin_of(&place, &restored).await).await;
    assert_ne!(third.tree_root, second.tree_root);
    // Neither of the two others' backups is continued by it.
    let refused = place.backup(&restored.address, "data", "c").await;
    assert_eq!(refused.code, Some(0), "a new directory is: {refused:?}");
    restored.terminate();
    let server = place.serve("data");
    let refused = place.backup(&server.address, "data", "c").await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.said.contains("not the beginning of this log"), "{refused:?}");
    server.terminate();
    let restored = place.serve("new");
    let refused = place.backup(&restored.address, "data", "c").await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    // The backup that it was restored from is its own beginning.
    let went_on = place.backup(&restored.address, "data", "b").await;
    assert_eq!((went_on.code, &went_on.json["generation"]), (Some(0), &json!(2)), "{went_on:?}");
    restored.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_restored_twice_holds_two_losses() {
    let (place, made) = backed_up().await;
    let head = made["head"].as_u64().expect("a head");
    place.restore("new", &["--from", "b", "--keys", "data/keys"]).await;
    let restored = place.serve("new");
    let copy = place.backup(&restored.address, "data", "c").await;
    assert_eq!(copy.code, Some(0), "{copy:?}");
    restored.terminate();
    assert_eq!(verify(&place.path("c"), &Silent).expect("whole").generation, 2);
    let last = (head + 9).to_string();
    let arguments = ["--from", "c", "--keys", "data/keys", "--last-known", &last];
    let ran = place.restore("again", &arguments).await;
    let losses = json!([
        {"generation": 2, "first": head + 1, "last": null},
        {"generation": 3, "first": head + 2, "last": head + 9},
    ]);
    assert_eq!(ran.json["losses"], losses);
    for range in [format!("{}-{}", head + 2, head + 9), format!("{}-", head + 1)] {
        let held = place.serve("again");
        let admin = admin_of(&place, &held).await;
        let request = v1::AuthenticateRequest::default();
        let refused = admin.keys.clone().authenticate(request).await.expect_err("held");
        assert_eq!(common::reason(&refused).0, "REVOCATIONS_UNRESOLVED");
        let probe = common::process::get(&held.ops, "/readyz");
        assert_eq!(probe, (503, "revocations unresolved\n".to_owned()));
        held.terminate();
        place.restore("again", &["--accept-lost-revocations", &range]).await;
    }
    let free = place.serve("again");
    let now = status(&admin_of(&place, &free).await).await;
    assert_eq!((now.generation, now.losses.len()), (3, 0));
    assert_ne!(hex(&now.tree_root), made["root"].as_str().expect("a root"));
    free.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_salvaged_from_the_lost_machine_are_events_too() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = admin_of(&place, &server).await;
    admin.put_account("a", "enterprise", &[]).await;
    let (first, first_secret) = admin.create_key("a", "first").await;
    let (second, second_secret) = admin.create_key("a", "second").await;
    let made = place.must_backup(&server, "b").await;
    admin.revoke(&first.key_id).await.expect("revoked");
    grow(&admin, 1).await;
    admin.revoke(&second.key_id).await.expect("revoked");
    // Until the volume that this went to, the last but the prepared one at most, is sealed.
    let ledger = place.path("data/ledger");
    let last = (1..).take_while(|n| {
        let named = |kind| ledger.join(format!("{kind}-{n:08}")).exists();
        named("volume") || named("live")
    });
    grow(&admin, last.count() as u64).await;
    server.terminate();
    // As found: an overlapping tail, volumes in no order, and what is no volume.
    let salvaged = place.path("salvaged");
    fs::create_dir(&salvaged).expect("made");
    let tail = contents(&place.path("b")).into_iter().map(|(file, _)| file);
    let tail = tail.into_iter().find(|file| file.to_string_lossy().contains("/tail-"));
    fs::copy(tail.expect("a tail"), salvaged.join("tail-1")).expect("copied");
    let sealed: Vec<_> = (1..)
        .map(|n| ledger.join(format!("volume-{n:08}")))
        .take_while(|file| file.exists())
        .collect();
    for (n, file) in sealed.iter().rev().enumerate() {
        fs::copy(file, salvaged.join(format!("volume-{n}"))).expect("copied");
    }
    fs::write(salvaged.join("notes.txt"), "found on the disk").expect("written");
    let one = ("data/ledger/volume-00000001", [true, false]);
    for (events, revoked) in [one, ("salvaged", [true, true]), ("data", [true, true])] {
        let name = format!("from-{}", events.replace('/', "-"));
        let arguments = ["--from", "b", "--keys", "data/keys", "--events-from", events];
        let ran = place.restore(&name, &arguments).await;
        assert_eq!(ran.json["replayed"]["first"], made["head"].as_u64().expect("a head") + 1);
        // Nobody knows whether there was more: that is held until it is accepted.
        let rest = ran.json["replayed"]["last"].as_u64().expect("the last") + 1;
        let losses = json!([{"generation": 2, "first": rest, "last": null}]);
        assert_eq!((ran.code, &ran.json["losses"]), (Some(1), &losses), "{ran:?}");
        let range = format!("{rest}-");
        let ran = place.restore(&name, &["--accept-lost-revocations", &range]).await;
        assert_eq!((ran.code, &ran.json["losses"]), (Some(0), &json!([])), "{ran:?}");
        let restored = place.serve(&name);
        let admin = admin_of(&place, &restored).await;
        for (secret, revoked) in [&first_secret, &second_secret].into_iter().zip(revoked) {
            let verdict = if revoked { Err(v1::DenialReason::Revoked) } else { Ok(()) };
            assert_eq!(admin.verdict(secret).await, verdict, "{events}");
        }
        restored.terminate();
    }
    // A gap: the second volume without the first.
    let alone = "data/ledger/volume-00000002";
    let arguments = ["--from", "b", "--keys", "data/keys", "--events-from", alone];
    let ran = place.restore("gap", &arguments).await;
    assert!(ran.said.contains("do not go on"), "{ran:?}");
}
