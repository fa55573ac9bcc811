//! The history is proved to a client that trusts nothing but a verifier key: checkpoints, inclusion and
//! consistency, over restarts, damage and new keys.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::place::Place;
use common::{Client, TestServer, fields, reason};
use keyledger::app::proofs::add_signing_key;
use keyledger::config::Config;
use keyledger::domain::base62;
use keyledger::domain::ids::Position;
use keyledger::ledger::engine::Ledger as _;
use keyledger::ledger::frame::Frame;
use keyledger::ledger::volumes::VolumeLedger;
use keyledger::merkle::checkpoint::Checkpoint;
use keyledger::merkle::note::VerifierKey;
use keyledger::merkle::proof::{verify_consistency, verify_inclusion};
use keyledger::merkle::{Hash, leaf_hash};
use keyledger::proto::v1;
use keyledger::proto::v1::Role;
use keyledger::random::SystemRandom;
use keyledger::verify::History;
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// What a client believes: a key, and the last checkpoint it has seen.
struct Verifier {
    keys: Vec<VerifierKey>,
    seen: Option<Checkpoint>,
}

impl Verifier {
    async fn trusting(client: &Client) -> Self {
        let keys = verifier_keys(client).await;
        Verifier { keys, seen: None }
    }

    /// Takes the checkpoint that the server gives now, if it continues the one before.
    async fn advance(&mut self, client: &Client, min_size: u64) -> Checkpoint {
        let found = checkpoint(client, min_size).await.expect("a checkpoint");
        let opened = Checkpoint::open(&found.checkpoint, &self.keys).expect("signed");
        assert_eq!((opened.origin.as_str(), opened.size), (&*found.origin, found.tree_size));
        assert_eq!(opened.root.0[..], found.root_hash);
        assert!(opened.size >= min_size.max(1));
        if let Some(seen) = &self.seen {
            let proof = consistency(client, seen.size, opened.size).await.expect("a proof");
            verify_consistency((seen.size, &seen.root), (opened.size, &opened.root), &proof)
                .expect("it continues the one before");
        }
        self.seen = Some(opened.clone());
        opened
    }
}

async fn verifier_keys(client: &Client) -> Vec<VerifierKey> {
    let answer = client.audit.clone().get_verifier_key(v1::GetVerifierKeyRequest {}).await;
    let answer = answer.expect("keys").into_inner();
    let keys = std::iter::once(answer.verifier_key).chain(answer.older_verifier_keys);
    keys.map(|key| VerifierKey::parse(&key).expect("a key")).collect()
}

async fn checkpoint(client: &Client, min_size: u64) -> Result<v1::GetCheckpointResponse, Status> {
    let request = v1::GetCheckpointRequest { min_size };
    client.audit.clone().get_checkpoint(request).await.map(tonic::Response::into_inner)
}

async fn inclusion(client: &Client, position: u64, size: u64) -> Result<Vec<Hash>, Status> {
    let request = v1::GetInclusionProofRequest { position, tree_size: size };
    let answer = client.audit.clone().get_inclusion_proof(request).await?;
    Ok(hashes(answer.into_inner().hashes))
}

async fn consistency(client: &Client, from: u64, to: u64) -> Result<Vec<Hash>, Status> {
    let request = v1::GetConsistencyProofRequest { from_size: from, to_size: to };
    let answer = client.audit.clone().get_consistency_proof(request).await?;
    Ok(hashes(answer.into_inner().hashes))
}

fn hashes(proof: Vec<Vec<u8>>) -> Vec<Hash> {
    proof.into_iter().map(|hash| Hash(hash.try_into().expect("32 bytes"))).collect()
}

/// Records so many accounts, many at a time; answers a position that is at least theirs.
async fn grow(client: &Client, accounts: std::ops::Range<u32>) -> u64 {
    let mut all = JoinSet::new();
    for number in accounts {
        let client = client.clone();
        all.spawn(async move {
            client.put_account(&format!("a{number}"), "standard", &[]).await.position
        });
    }
    all.join_all().await.into_iter().max().expect("some")
}

/// Each record, read from the data directory of a server that is stopped.
fn records(data: &Path) -> Vec<Vec<u8>> {
    let ledger = VolumeLedger::open(&data.join("ledger"), 64 * 1024 * 1024).expect("opened");
    let reader = ledger.reader();
    let frames: Vec<Frame> =
        reader.frames_from(Position::FIRST).collect::<Result<_, _>>().expect("readable");
    drop(reader);
    ledger.close().expect("closed");
    frames.iter().flat_map(Frame::records).map(|(_, record)| record.to_vec()).collect()
}

#[tokio::test]
async fn a_client_verifies_the_whole_history_across_a_restart() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let mut verifier = Verifier::trusting(&admin).await;
    verifier.advance(&admin, 0).await;
    for round in 0..4 {
        let last = grow(&admin, round * 100..(round + 1) * 100).await;
        verifier.advance(&admin, last).await;
    }
    let before = verifier.keys.clone();
    let server = server.restart().await;
    let admin = server.admin().await;
    assert_eq!(verifier_keys(&admin).await, before);
    let last = grow(&admin, 400..560).await;
    let end = verifier.advance(&admin, last).await;
    let mut proofs = Vec::new();
    for position in 1..=end.size {
        // Of the tree of the checkpoint, and of one just large enough.
        let proof = inclusion(&admin, position, end.size).await.expect("a proof");
        proofs.push(proof);
        let size = position + position % 3;
        if size <= end.size {
            inclusion(&admin, position, size).await.expect("a proof");
        }
    }
    let data = server.data_dir();
    let _dir = server.stop().await;
    let mut history = History::default();
    for (at, (proof, record)) in proofs.iter().zip(&records(&data)).enumerate() {
        verify_inclusion(&leaf_hash(record), at as u64, end.size, proof, &end.root)
            .expect("included");
        history.take(record, None).expect("it follows");
    }
    assert_eq!(history.hold_to(&end), Ok(()));
}

#[tokio::test]
async fn sizes_and_positions_that_cannot_be_are_refused_by_name() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let head = grow(&admin, 0..3).await;
    let refused = |answer: Result<Vec<Hash>, Status>| {
        let refused = answer.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        fields(&refused)
    };
    assert_eq!(refused(inclusion(&admin, 0, head).await), ["position"]);
    assert_eq!(refused(inclusion(&admin, 3, 2).await), ["position"]);
    assert_eq!(refused(inclusion(&admin, 0, 0).await), ["position", "tree_size"]);
    assert_eq!(refused(inclusion(&admin, u64::MAX, u64::MAX - 1).await), ["position"]);
    assert_eq!(refused(consistency(&admin, 0, head).await), ["from_size"]);
    assert_eq!(refused(consistency(&admin, head, head - 1).await), ["from_size"]);
    assert_eq!(refused(consistency(&admin, 0, 0).await), ["from_size", "to_size"]);
    for beyond in [head + 1, u64::MAX] {
        let answers = [
            inclusion(&admin, 1, beyond).await.map(|_| ()),
            consistency(&admin, 1, beyond).await.map(|_| ()),
            checkpoint(&admin, beyond).await.map(|_| ()),
        ];
        for answer in answers {
            let refused = answer.expect_err("beyond the head");
            assert_eq!(refused.code(), Code::OutOfRange);
            assert_eq!(reason(&refused).0, "POSITION_BEYOND_HEAD");
            assert_eq!(reason(&refused).1["head"], head.to_string());
        }
    }
    assert_eq!(inclusion(&admin, 1, 1).await.expect("a proof"), []);
    assert_eq!(consistency(&admin, head, head).await.expect("a proof"), []);
}

#[tokio::test]
async fn auditors_get_proofs_whatever_tenants_they_are_bound_to_and_others_get_none() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let (_, auditor) = admin.create_caller(&[Role::Auditor], &["acme"]).await;
    let (_, analyst) = admin.create_caller(&[Role::Analyst, Role::Issuer], &[]).await;
    let bound = server.client(&auditor).await;
    let mut verifier = Verifier::trusting(&bound).await;
    let end = verifier.advance(&bound, 0).await;
    inclusion(&bound, 1, end.size).await.expect("a proof");
    let other = server.client(&analyst).await;
    let answers = [
        checkpoint(&other, 0).await.map(|_| ()),
        inclusion(&other, 1, 1).await.map(|_| ()),
        consistency(&other, 1, 1).await.map(|_| ()),
        other.audit.clone().get_verifier_key(v1::GetVerifierKeyRequest {}).await.map(|_| ()),
    ];
    for answer in answers {
        assert_eq!(answer.expect_err("no auditor").code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn an_idle_log_has_one_checkpoint_which_the_status_names() {
    let server =
        TestServer::builder().config("[audit]\norigin = \"example.com/keys\"\n").start().await;
    let admin = server.admin().await;
    let head = grow(&admin, 0..2).await;
    let first = checkpoint(&admin, head).await.expect("a checkpoint");
    assert_eq!(first.origin, "example.com/keys");
    let status = admin.admin.clone().get_status(v1::GetStatusRequest {}).await;
    let status = status.expect("a status").into_inner();
    let named = status.checkpoint.expect("one");
    assert_eq!((named.tree_size, &named.root_hash), (first.tree_size, &first.root_hash));
    assert_eq!(named.origin, first.origin);
    let [key] = &verifier_keys(&admin).await[..] else { panic!("one key") };
    assert_eq!(named.key_names, [format!("example.com/keys+{}", key.id_text())]);
    if status.head == first.tree_size {
        assert_eq!(status.tree_root, first.root_hash);
        assert_eq!(checkpoint(&admin, head).await.expect("the same"), first);
    }
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn whatever_became_of_the_tiles_proofs_hold_after_the_next_start() {
    let mut server = TestServer::start().await;
    let admin = server.admin().await;
    let mut verifier = Verifier::trusting(&admin).await;
    let last = grow(&admin, 0..300).await;
    verifier.advance(&admin, last).await;
    inclusion(&admin, 1, last).await.expect("a proof");
    let damages: [fn(&Path); 4] = [
        |tile| fs::write(tile, [7; 8192]).expect("written"),
        |tile| fs::write(tile, [7; 100]).expect("written"),
        |tile| fs::remove_file(tile).expect("removed"),
        |tile| {
            fs::remove_dir_all(tile.parent().and_then(Path::parent).expect("tiles"))
                .expect("removed")
        },
    ];
    for damage in damages {
        let (clock, data) = (Arc::clone(&server.clock), server.data_dir());
        let dir = server.stop().await;
        let tiles = files(&data.join("tiles"));
        assert!(!tiles.is_empty());
        damage(&tiles[0]);
        server = TestServer::builder().dir(&dir).clock(&clock).start().await;
        let admin = server.admin().await;
        verifier.advance(&admin, last).await;
        for position in [1, 200, 256, 257, last] {
            inclusion(&admin, position, last).await.expect("a proof");
        }
    }
}

#[tokio::test]
async fn a_new_signing_key_signs_beside_the_old_one_until_that_is_taken_away() {
    let server = TestServer::start().await;
    let mut old = Verifier::trusting(&server.admin().await).await;
    old.advance(&server.admin().await, 0).await;
    let (clock, keys) = (Arc::clone(&server.clock), server.data_dir().join("keys"));
    let dir = server.stop().await;
    let config = Config { data_dir: dir.path().join("data"), ..Config::default() };
    add_signing_key(&config, &SystemRandom).expect("made");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    old.advance(&server.admin().await, 0).await;
    let mut both = Verifier::trusting(&server.admin().await).await;
    assert_eq!((both.keys.len(), &both.keys[1]), (2, &old.keys[0]));
    let new = both.keys.remove(0);
    let mut of_new = Verifier { keys: vec![new.clone()], seen: None };
    of_new.advance(&server.admin().await, 0).await;

    server.stop().await;
    fs::remove_file(keys.join("signing-1.key")).expect("removed");
    let server = TestServer::builder().dir(&dir).clock(&clock).start().await;
    of_new.advance(&server.admin().await, 0).await;
    assert_eq!(verifier_keys(&server.admin().await).await, [new]);
    let found = checkpoint(&server.admin().await, 0).await.expect("a checkpoint");
    assert!(Checkpoint::open(&found.checkpoint, &old.keys).is_err());

    server.stop().await;
    fs::write(keys.join("signing-2.key"), "keyledger-signing 2 0 0\n").expect("written");
    let refused = TestServer::builder().dir(&dir).clock(&clock).try_start().await;
    let said = refused.err().expect("refused").to_string();
    assert!(said.contains("signing-2.key"), "{said}");
}

/// The line of a key file under version 2: the checksum is of all before the last space.
fn renumbered(line: &str) -> String {
    let (key, _) = line.rsplit_once(' ').expect("a checksum");
    let key = key.replacen(" 1 ", " 2 ", 1);
    let mut checksum = String::new();
    base62::append(&crc32fast::hash(key.as_bytes()).to_be_bytes(), &mut checksum);
    format!("{key} {checksum}\n")
}

/// Runs `audit checkpoint` against the server with a state file.
async fn run(server: &TestServer, state: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let state = state.to_str().expect("text");
    show(server, &[&["--verify", state], more].concat()).await
}

/// Runs `audit checkpoint` against the server.
async fn show(server: &TestServer, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = common::process::command();
    command.args(["audit", "checkpoint", "--output", "json", "--server", &server.address]);
    command.arg("--token-file").arg(server.data_dir().join("admin.credential"));
    command.args(more);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let ran = ran.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

#[tokio::test]
async fn the_command_line_holds_each_checkpoint_to_the_one_before() {
    let config = "[audit]\norigin = \"example.com/keys\"\n";
    let server = TestServer::builder().config(config).start().await;
    let admin = server.admin().await;
    let home = tempfile::tempdir().expect("a directory");
    let state = home.path().join("state");
    let (code, _, said) = run(&server, &state, &[]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("--trust"), "{said}");
    let key = verifier_keys(&admin).await.remove(0).to_string();
    let (code, shown, said) = show(&server, &["--keys"]).await;
    assert!(code == Some(0) && shown.contains(&key), "{said}");
    for round in 0..2 {
        let last = grow(&admin, round * 4..(round + 1) * 4).await.to_string();
        let trust = ["--min-size", &last, "--trust", &key];
        let (code, shown, said) = run(&server, &state, &trust[..4 - 2 * round as usize]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(shown.contains("\"verified\":true") && shown.contains("example.com/keys"));
    }
    let kept = fs::read_to_string(&state).expect("a state");

    // Another log of the same name, even one that is signed by the same key.
    let keys = server.data_dir().join("keys/signing-1.key");
    let other = TestServer::builder().config(config).start().await;
    let (code, _, said) = run(&other, &state, &[]).await;
    assert!(code == Some(1) && said.contains("none of the known keys"), "{said}");
    grow(&other.admin().await, 0..10).await;
    let clock = Arc::clone(&other.clock);
    let dir = other.stop().await;
    // What has signed that log is left, so the start takes the other key for one that was added.
    let own = dir.path().join("data/keys/signing-1.key");
    let line = fs::read_to_string(&own).expect("a key");
    fs::copy(keys, &own).expect("copied");
    fs::write(dir.path().join("data/keys/signing-2.key"), renumbered(&line)).expect("written");
    fs::set_permissions(dir.path().join("data/keys/signing-2.key"), Permissions::from_mode(0o600))
        .expect("set");
    let other = TestServer::builder().config(config).dir(&dir).clock(&clock).start().await;
    let (code, _, said) = run(&other, &state, &[]).await;
    assert!(code == Some(1) && said.contains("was changed"), "{said}");
    assert!(said.contains("example.com/keys\n"), "the evidence is shown: {said}");
    assert_eq!(fs::read_to_string(&state).expect("a state"), kept, "and what was seen is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_may_have_lost_records_goes_on_under_another_origin() {
    let place = Place::new();
    let server = place.serve("data");
    let admin = server.admin(&place.path("data")).await;
    admin.put_account("a", "standard", &[]).await;
    let mut before = Verifier::trusting(&admin).await;
    let seen = before.advance(&admin, 0).await;
    place.must_backup(&server, "b").await;
    server.terminate();
    let ran = place.restore("new", &["--from", "b", "--keys", "data/keys"]).await;
    assert_eq!(ran.json["generation"], 2, "{ran:?}");

    let server = place.serve("new");
    let admin = server.admin(&place.path("data")).await;
    let found = checkpoint(&admin, 0).await.expect("a checkpoint");
    assert_eq!(found.origin, format!("{}/generation-2", seen.origin));
    assert!(Checkpoint::open(&found.checkpoint, &before.keys).is_err());
    let mut after = Verifier::trusting(&admin).await;
    after.advance(&admin, 0).await;
    // The same key, under another name.
    let public =
        |key: &VerifierKey| key.to_string().rsplit_once('+').map(|(_, key)| key.to_owned());
    assert_eq!(public(&after.keys[0]), public(&before.keys[0]));
}
